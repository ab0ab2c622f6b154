/* pages.h: what the system is told about memory that was just taken. */
#ifndef RK_BASE_PAGES_H
#define RK_BASE_PAGES_H

#include <stddef.h>

/* Ask for huge pages under [p, p + bytes), which has not been written yet; nothing happens where
 * the piece is small or the system has none. Memory is then made resident 2 MiB at a time, so this
 * is for arrays that will be used to their end. */
void rk_pages_huge(void *p, size_t bytes);

#endif
