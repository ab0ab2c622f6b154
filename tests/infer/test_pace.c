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

/* Means of seconds: the first measurement, half of a fall, a sixteenth of a rise that is at most the
 * mean again. All are exact in binary. */
static void test_means(void **state)
{
    (void)state;
    rk_pace p = rk_pace_new(4);
    rk_pace_pass(&p, 2, 1.0);
    assert_true(p.pass_s[2] == 1.0);
    rk_pace_pass(&p, 2, 0.5);
    assert_true(p.pass_s[2] == 0.75);
    rk_pace_pass(&p, 2, 100.0);
    assert_true(p.pass_s[2] == 0.75 + 0.75 / 16.0);
    assert_true(p.pass_s[1] == 0.0 && p.pass_s[3] == 0.0);
    rk_pace_guesses(&p, 4, 8.0);
    rk_pace_guesses(&p, 2, 6.0);
    assert_true(p.guess_s == 2.0 + 1.0 / 16.0);
}

/* Tokens per second, by the sum over how many of k draft tokens are accepted. After a rejection the
 * token of the pass and the accepted ones are evaluated again. */
static double rate_of(machine m, int64_t n, int64_t k)
{
    double tokens = 0.0, all = 1.0;
    for (int64_t i = 0; i <= k; i++, all *= m.share)
        tokens += all;
    all /= m.share;
    const double certain = (double)(n - 1);
    return tokens / (m.fixed + m.each * (certain + 1.0 + (double)k) + m.guess * (double)k +
                     (1.0 - all) * m.each * (certain + tokens));
}

static int64_t choice_of(machine m, int64_t n, int64_t most)
{
    int64_t best = 0;
    for (int64_t k = 1; k <= most; k++)
        if (rate_of(m, n, k) > rate_of(m, n, best) * (best == 0 ? 1.1 : 1.0))
            best = k;
    return best;
}

/* With times and share known exactly, the choice is that of the definition. */
static void test_chooses_best(void **state)
{
    (void)state;
    int64_t n_of[16] = {0};
    for (uint64_t i = 0; i < 500; i++) {
        const double *const x =
            (double[]){rk_rng_f64(2, RK_RNG_TEST, i, 0), rk_rng_f64(2, RK_RNG_TEST, i, 1),
                       rk_rng_f64(2, RK_RNG_TEST, i, 2)};
        const machine m = {1.0, 0.5 * x[0] * x[0], 0.3 * x[1] * x[1], 0.05 + 0.9 * x[2]};
        const int64_t n = 1 + (int64_t)(i % 5);
        rk_pace p = rk_pace_new(15);
        p.plain = p.trial = 0;
        p.share = m.share;
        p.guess_s = m.guess;
        for (int k = 1; k <= RK_SHORT_MAX; k++)
            rk_pace_pass(&p, k, m.fixed + m.each * k);
        const int64_t want = choice_of(m, n, rk_min_i64(15, RK_SHORT_MAX - n));
        const int64_t got = rk_pace_choose(&p, n);
        if (got != want)
            fail_msg("%" PRId64 " draft tokens, expected %" PRId64 "; machine %d", got, want,
                     (int)i);
        n_of[got]++;
    }
    for (int k = 0; k < 8; k++)
        assert_true(n_of[k] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_follows_what_pays),
                                       cmocka_unit_test(test_room), cmocka_unit_test(test_means),
                                       cmocka_unit_test(test_chooses_best)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
