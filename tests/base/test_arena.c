/* Arenas: what a counting one adds up a fixed one of that size holds; a growing one keeps blocks.
 */
#include "test_util.h"

#include "base/arena.h"

static bool aligned(const void *p)
{
    return (uintptr_t)p % RK_ARENA_ALIGN == 0;
}

/* The same requests to any arena; every byte is written. Returns how many were met. */
static int requests(rk_arena *a, unsigned seed)
{
    int n_met = 0;
    for (uint64_t i = 0; i < 100; i++) {
        const size_t n = (size_t)rk_rng_below(seed, RK_RNG_TEST, 0, i, 3000);
        unsigned char *p = rk_arena_alloc(a, n);
        assert_true(aligned(p));
        if (p)
            memset(p, (int)i, n);
        n_met += p != NULL;
    }
    return n_met;
}

static void test_plan_fits(void **state)
{
    (void)state;
    rk_error err;
    rk_arena plan, a;
    test_ok(rk_arena_init(&plan, RK_ARENA_COUNTING, 0, &err), &err);
    assert_int_equal(requests(&plan, 1), 0);
    test_ok(rk_arena_init(&a, RK_ARENA_FIXED, plan.peak, &err), &err);
    assert_int_equal(requests(&a, 1), 100);
    assert_int_equal(a.peak, plan.peak);
    assert_null(rk_arena_alloc(&a, 1)); /* full to the byte */
    assert_int_equal(a.used, plan.peak);
    rk_arena_reset(&a);
    assert_int_equal(a.used, 0);
    assert_int_equal(a.peak, plan.peak);
    assert_non_null(rk_arena_alloc(&a, plan.peak));
    rk_arena_deinit(&a);
    rk_arena_deinit(&plan);
}

static void test_marks(void **state)
{
    (void)state;
    rk_error err;
    static const rk_arena_kind kinds[] = {RK_ARENA_FIXED, RK_ARENA_GROWING};
    for (size_t k = 0; k < RK_COUNT(kinds); k++) {
        rk_arena a;
        test_ok(rk_arena_init(&a, kinds[k], 4096, &err), &err);
        unsigned char *kept = memset(rk_arena_alloc(&a, 100), 7, 100);
        const rk_arena_mark m = rk_arena_get_mark(&a);
        void *second = rk_arena_alloc(&a, 200);
        memset(second, 9, 200);
        rk_arena_alloc(&a, 5000); /* a second block when it grows */
        const size_t peak = a.peak;
        rk_arena_release(&a, m);
        assert_int_equal(a.used, 128);
        assert_int_equal(a.peak, peak);
        assert_ptr_equal(rk_arena_alloc(&a, 200), second);
        assert_int_equal(kept[99], 7);
        rk_arena_deinit(&a);
    }
}

/* Blocks are used again: after a reset the same requests get the same memory, and a large one
 * passes over the blocks that are too small for it. */
static void test_growing(void **state)
{
    (void)state;
    static const size_t sizes[] = {64, 1000, 100000, 10, 0, 70000, 64, 500000, 3};
    static const size_t firsts[] = {0, 64, 1 << 20};
    for (size_t k = 0; k < RK_COUNT(firsts); k++) {
        void *first[RK_COUNT(sizes)];
        rk_error err;
        rk_arena a;
        test_ok(rk_arena_init(&a, RK_ARENA_GROWING, firsts[k], &err), &err);
        const rk_arena_mark start = rk_arena_get_mark(&a);
        for (int round = 0; round < 3; round++) {
            for (size_t i = 0; i < RK_COUNT(sizes); i++) {
                void *p = rk_arena_alloc(&a, sizes[i]);
                assert_non_null(p);
                assert_true(aligned(p));
                memset(p, 1, sizes[i]);
                if (round == 0)
                    first[i] = p;
                assert_ptr_equal(p, first[i]);
            }
            round % 2 ? rk_arena_reset(&a) : rk_arena_release(&a, start);
            assert_int_equal(a.used, 0);
        }
        const bool one_block = firsts[k] == 1 << 20;
        void *large = rk_arena_alloc(&a, 400000);
        assert_ptr_equal(large, first[one_block ? 0 : 7]);
        memset(large, 1, 400000);
        rk_arena_deinit(&a);
    }
}

static void test_no_bytes(void **state)
{
    (void)state;
    rk_error err;
    rk_arena a;
    test_ok(rk_arena_init(&a, RK_ARENA_FIXED, 128, &err), &err);
    const void *first = rk_arena_alloc(&a, 0), *second = rk_arena_alloc(&a, 0);
    assert_non_null(first);
    assert_non_null(second);
    assert_true(first != second);
    assert_null(rk_arena_alloc(&a, 0));
    rk_arena_deinit(&a);
    test_ok(rk_arena_init(&a, RK_ARENA_FIXED, 0, &err), &err);
    assert_null(rk_arena_alloc(&a, 1));
    rk_arena_deinit(&a);
}

static void test_too_large(void **state)
{
    (void)state;
    rk_error err;
    rk_arena a;
    static const rk_arena_kind kinds[] = {RK_ARENA_FIXED, RK_ARENA_GROWING};
    for (size_t k = 0; k < RK_COUNT(kinds); k++) {
        assert_int_equal(rk_arena_init(&a, kinds[k], SIZE_MAX, &err), RK_ERR_NOMEM);
        assert_non_null(strstr(err.msg, "out of memory"));
        rk_arena_deinit(&a);
        test_ok(rk_arena_init(&a, kinds[k], 100, &err), &err);
        assert_null(rk_arena_alloc(&a, SIZE_MAX));
        assert_null(rk_arena_alloc(&a, SIZE_MAX - 100));
        assert_int_equal(a.used, 0);
        assert_non_null(rk_arena_alloc(&a, 100));
        rk_arena_deinit(&a);
    }
    test_ok(rk_arena_init(&a, RK_ARENA_COUNTING, 0, &err), &err);
    rk_arena_alloc(&a, SIZE_MAX / 2);
    rk_arena_alloc(&a, SIZE_MAX / 2);
    rk_arena_alloc(&a, 10);
    assert_int_equal(a.peak, SIZE_MAX); /* not what is left after wrapping */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_fits), cmocka_unit_test(test_marks),
        cmocka_unit_test(test_growing),   cmocka_unit_test(test_no_bytes),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
