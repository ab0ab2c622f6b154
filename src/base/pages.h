/* pages.h: hints to the system about newly allocated memory. */
#ifndef RK_BASE_PAGES_H
#define RK_BASE_PAGES_H

#include <stddef.h>

/* Ask for huge pages under [p, p + bytes), which has not been written yet; does nothing for small
 * arrays and where the system has none. Memory then becomes resident 2 MiB at a time, so this is
 * for arrays that will be used to their end. */
void rk_pages_huge(void *p, size_t bytes);

#endif
