/* The pace of a draft against machines whose times are given. */
#include "test_util.h"

#include "infer/pace.h"

/* Seconds of a pass of n tokens are fixed + each * n; of a guess, `guess`. */
typedef struct machine {
    double fixed, each, guess, share;
} machine;

/* Let n tokens' worth of passes go by; returns the mean number of guesses of the last half. */
static double run(rk_pace *p, machine m, int n_passes)
{
    double guesses = 0.0;
    for (int i = 0; i < n_passes; i++) {
        const int64_t k = rk_pace_choose(p, 1);
        assert_in_range(k, 0, p->n_max);
        rk_pace_pass(p, 1 + k, m.fixed + m.each * (double)(1 + k));
        if (k > 0)
            rk_pace_guesses(p, k, m.guess * (double)k);
        bool stood = true;
        for (int64_t g = 0; g < k && stood; g++) {
            stood = rk_rng_f64(1, RK_RNG_TEST, (uint64_t)i, (uint64_t)g) < m.share;
            rk_pace_verdict(p, stood);
        }
        if (i >= n_passes / 2)
            guesses += (double)k;
    }
    return guesses / (n_passes - n_passes / 2);
}

static void test_follows_what_pays(void **state)
{
    (void)state;
    const machine memory_bound = {1.0, 0.02, 0.05, 0.9}, rejecting = {1.0, 0.02, 0.05, 0.0};
    const machine compute_bound = {0.0, 1.0, 0.1, 0.9}, slow_draft = {1.0, 0.02, 1.0, 0.9};
    rk_pace p = rk_pace_new(15);
    assert_true(run(&p, memory_bound, 400) > 6.0);
    p = rk_pace_new(2);
    assert_true(run(&p, memory_bound, 400) > 1.9);
    const machine none[] = {rejecting, compute_bound, slow_draft};
    for (size_t i = 0; i < RK_COUNT(none); i++) {
        p = rk_pace_new(15);
        assert_true(run(&p, none[i], 4000) < 0.1); /* some trials remain */
    }
    assert_true(run(&p, memory_bound, 4000) > 6.0); /* and notice that times have changed */
}

static void test_room(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= RK_SHORT_MAX; n++) {
        rk_pace p = rk_pace_new(15);
        run(&p, (machine){1.0, 0.0, 0.0, 1.0}, 400);
        assert_in_range(rk_pace_choose(&p, n), 0, RK_SHORT_MAX - n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_follows_what_pays),
                                       cmocka_unit_test(test_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
