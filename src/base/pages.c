/* pages.c: huge pages for large arrays.
 *
 * The first training step touches gigabytes that the system has yet to find and clear; in pages of
 * 4 KiB that took four times as long as the step itself. And packing columns of a matrix, each row
 * of which lies in another page, misses the TLB at every row. Most systems give huge pages to
 * processes that ask for them. */
#define _DEFAULT_SOURCE /* madvise() */
#include "pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "num.h"

enum { HUGE_PAGE = 2 << 20, WORTH_IT = 8 * HUGE_PAGE };

void rk_pages_huge(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const size_t skipped = (size_t)(-(uintptr_t)p % HUGE_PAGE);
    if (p && bytes >= WORTH_IT)
        madvise((unsigned char *)p + skipped, (bytes - skipped) / HUGE_PAGE * HUGE_PAGE,
                MADV_HUGEPAGE);
#else
    (void)p;
    (void)bytes;
#endif
}

void *rk_pages_new(size_t bytes)
{
    const size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
    size_t padded;
    void *p = NULL;
    if (rk_add_ok(bytes ? bytes : 1, align - 1, &padded))
        p = aligned_alloc(align, padded / align * align);
#ifdef MADV_HUGEPAGE
    if (p && align == HUGE_PAGE)
        madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return p;
}
