/* Huge pages are asked for where whole ones lie in an array, and nowhere else. */
#define _DEFAULT_SOURCE /* madvise() */
#include "test_util.h"

#include <sys/mman.h>

#include "base/pages.h"

enum { HUGE_PAGE = 2 << 20, N_HUGE = 20, ROOM = (N_HUGE + 2) * HUGE_PAGE };

/* What the kernel tells of the mapping that holds an address: 1: huge pages are asked for. -1: it
 * tells nothing. */
static int advised(const unsigned char *at)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    int found = -1;
    bool here = false;
    while (f && fgets(line, sizeof line, f)) {
        uintptr_t first, end;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &end) == 2)
            here = first <= (uintptr_t)at && (uintptr_t)at < end;
        else if (here && !strncmp(line, "VmFlags:", 8))
            found = strstr(line, " hg") != NULL;
    }
    if (f)
        fclose(f);
    return found;
}

static unsigned char *map_room(void)
{
    void *p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static bool system_has_them(void)
{
#ifdef MADV_HUGEPAGE
    unsigned char *p = map_room();
    const bool ok = madvise(p, ROOM, MADV_HUGEPAGE) == 0 && advised(p) == 1;
    munmap(p, ROOM);
    return ok;
#else
    return false;
#endif
}

static void test_asked_for(void **state)
{
    (void)state;
    if (!system_has_them())
        skip();
    for (size_t before = 0; before <= 4096; before += 4096) {
        unsigned char *room = map_room(), *p = room + before;
        unsigned char *first = p + -(uintptr_t)p % HUGE_PAGE;
        rk_pages_huge(p, (size_t)(first - p) + N_HUGE * HUGE_PAGE + 4096);
        unsigned char *end = first + N_HUGE * HUGE_PAGE;
        assert_int_equal(advised(first), 1);
        assert_int_equal(advised(end - 1), 1);
        assert_int_equal(advised(end), 0);
        if (first > room)
            assert_int_equal(advised(first - 1), 0);
        munmap(room, ROOM);
    }
}

static void test_small(void **state)
{
    (void)state;
    if (!system_has_them())
        skip();
    unsigned char *room = map_room(), *first = room + -(uintptr_t)room % HUGE_PAGE;
    rk_pages_huge(first, 8 * HUGE_PAGE - 1);
    assert_int_equal(advised(first), 0);
    rk_pages_huge(NULL, ROOM);
    rk_pages_huge(first, 8 * HUGE_PAGE);
    assert_int_equal(advised(first), 1);
    munmap(room, ROOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_asked_for),
                                       cmocka_unit_test(test_small)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
