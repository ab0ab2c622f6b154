/* test_schedule.c: the learning rate against values worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/schedule.h"

static void test_by_hand(void **state)
{
    (void)state;
    const rk_schedule s = {.lr = 1e-3, .lr_final = 1e-4, .warmup = 10, .steps = 110};
    static const struct {
        int64_t done;
        double lr;
    } rows[] = {
        {0, 1e-5},                    /* 1 % of the rate */
        {5, 0.505e-3},                /* 0.01 + 0.99 / 2 */
        {10, 1e-3},                   /* the top */
        {35, 0.8681980515339464e-3},  /* p = 1/4: 0.55 + 0.45 sqrt(1/2) */
        {60, 0.55e-3},                /* p = 1/2: half way */
        {85, 0.23180194846605365e-3}, /* p = 3/4: 0.55 - 0.45 sqrt(1/2) */
        {110, 1e-4},
        {1000, 1e-4}, /* at the end and past it */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_true(fabs(rk_schedule_lr(&s, rows[i].done) - rows[i].lr) < 1e-17);
}

static void test_edges(void **state)
{
    (void)state;
    const rk_schedule none = {.lr = 1.0, .lr_final = 1.0, .warmup = 0, .steps = 3};
    for (int64_t i = 0; i < 5; i++)
        assert_true(rk_schedule_lr(&none, i) == 1.0);
    /* A run shorter than its warm-up only warms up. */
    const rk_schedule brief = {.lr = 1.0, .lr_final = 0.1, .warmup = 10, .steps = 4};
    assert_true(fabs(rk_schedule_lr(&brief, 3) - 0.307) < 1e-15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
