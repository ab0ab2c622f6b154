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
    const rk_schedule s = {
        .lr = 1e-3, .lr_final = 1e-4, .warmup = 10, .steps = 110, .kind = rk_schedules};
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

/* One that begins at step 50 is the same, 50 steps later. */
static void test_later(void **state)
{
    (void)state;
    for (int k = 0; k < rk_n_schedules; k++) {
        const rk_schedule s = {.lr = 1e-3,
                               .lr_final = 1e-4,
                               .warmup = 10,
                               .steps = 110,
                               .kind = &rk_schedules[k],
                               .decay_frac = 0.2};
        rk_schedule later = s;
        later.from = 50;
        later.steps += 50;
        for (int64_t done = 0; done < 120; done++)
            assert_true(rk_schedule_lr(&later, done + 50) == rk_schedule_lr(&s, done));
    }
}

static void test_edges(void **state)
{
    (void)state;
    const rk_schedule none = {
        .lr = 1.0, .lr_final = 1.0, .warmup = 0, .steps = 3, .kind = rk_schedules};
    for (int64_t i = 0; i < 5; i++)
        assert_true(rk_schedule_lr(&none, i) == 1.0);
    /* A run shorter than its warm-up only warms up. */
    const rk_schedule brief = {
        .lr = 1.0, .lr_final = 0.1, .warmup = 10, .steps = 4, .kind = rk_schedules};
    assert_true(fabs(rk_schedule_lr(&brief, 3) - 0.307) < 1e-15);
}

static rk_schedule schedule(const char *name, double lr_final)
{
    return (rk_schedule){.lr = 1e-3,
                         .lr_final = lr_final,
                         .warmup = 10,
                         .steps = 110,
                         .kind = rk_schedule_find(name),
                         .decay_frac = 0.2};
}

static void test_others(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double lr_final;
        int64_t done;
        double lr;
    } rows[] = {
        {"constant", 1e-4, 0, 1e-5},
        {"constant", 1e-4, 5, 0.505e-3},
        {"constant", 1e-4, 109, 1e-3},
        {"linear", 1e-4, 10, 1e-3},
        {"linear", 1e-4, 60, 0.55e-3},
        {"linear", 1e-4, 110, 1e-4},
        {"exponential", 1e-5, 60, 1e-4},
        {"exponential", 0, 60, 0.5e-3}, /* no way to 0 but a line */
        {"wsd", 1e-4, 5, 0.505e-3},
        {"wsd", 1e-4, 88, 1e-3}, /* the last 22 of 110 steps fall */
        {"wsd", 1e-4, 99, 1e-3 - 0.9e-3 * 0.70710678118654752440},
        {"wsd", 1e-4, 110, 1e-4},
        {"wsd", 1e-4, 120, 1e-4},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const rk_schedule s = schedule(rows[i].name, rows[i].lr_final);
        const double got = rk_schedule_lr(&s, rows[i].done);
        if (!(fabs(got - rows[i].lr) < 1e-17))
            fail_msg("%s at %d: %.17g, expected %.17g", rows[i].name, (int)rows[i].done, got,
                     rows[i].lr);
    }
    rk_error err = {0};
    assert_int_equal(rk_schedule_check("wsd", &err), RK_OK);
    assert_int_equal(rk_schedule_check("frob", &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "no schedule 'frob'; there are cosine, wsd, constant, linear, "
                                 "exponential");
}

/* Until its decay begins the rates of wsd are those of a longer run. */
static void test_longer(void **state)
{
    (void)state;
    const rk_schedule brief = schedule("wsd", 0.0);
    rk_schedule longer = brief;
    longer.steps *= 3;
    for (int64_t i = 0; i <= 88; i++)
        assert_true(rk_schedule_lr(&brief, i) == rk_schedule_lr(&longer, i));
    assert_true(rk_schedule_lr(&brief, 89) < rk_schedule_lr(&longer, 89));
    rk_schedule never = brief;
    never.decay_frac = 0.0;
    assert_true(rk_schedule_lr(&never, 109) == never.lr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand), cmocka_unit_test(test_later),  cmocka_unit_test(test_edges),
        cmocka_unit_test(test_others),  cmocka_unit_test(test_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
