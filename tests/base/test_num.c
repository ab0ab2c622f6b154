/* Arithmetic that says when it does not fit. */
#include "test_util.h"

static void test_checked(void **state)
{
    (void)state;
    size_t s;
    int64_t i;
    assert_true(rk_mul_ok(SIZE_MAX / 3, 3, &s));
    assert_int_equal(s, SIZE_MAX / 3 * 3);
    assert_false(rk_mul_ok(SIZE_MAX / 2 + 1, 2, &s));
    assert_true(rk_add_ok(SIZE_MAX - 1, 1, &s));
    assert_int_equal(s, SIZE_MAX);
    assert_false(rk_add_ok(SIZE_MAX, 1, &s));
    assert_true(rk_mul_i64_ok(INT64_MIN / 2, 2, &i));
    assert_true(i == INT64_MIN);
    assert_false(rk_mul_i64_ok(INT64_MIN, -1, &i));
    assert_false(rk_mul_i64_ok(INT64_MAX, 2, &i));
}

static void test_helpers(void **state)
{
    (void)state;
    assert_int_equal(rk_min_i64(-3, 2), -3);
    assert_int_equal(rk_max_i64(-3, 2), 2);
    assert_int_equal(rk_ceil_div(0, 4), 0);
    assert_int_equal(rk_ceil_div(8, 4), 2);
    assert_int_equal(rk_ceil_div(9, 4), 3);
    assert_int_equal(rk_align_up(0, 64), 0);
    assert_int_equal(rk_align_up(1, 64), 64);
    assert_int_equal(rk_align_up(64, 64), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checked),
        cmocka_unit_test(test_helpers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
