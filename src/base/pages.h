/* pages.h: hints to the system about newly allocated memory. */
#ifndef RK_BASE_PAGES_H
#define RK_BASE_PAGES_H

#include <stddef.h>

/* Ask for huge pages under [p, p + bytes), which has not been written yet; does nothing for small
 * arrays and where the system has none. Memory then becomes resident 2 MiB at a time, so this is
 * for arrays that will be used to their end. */
void rk_pages_huge(void *p, size_t bytes);

/* Memory for what is read here and there all the time: in huge pages from 2 MiB on, else aligned to 64
 * bytes. NULL where there is none; free() gives it back. */
void *rk_pages_new(size_t bytes);

#endif
