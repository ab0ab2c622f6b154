/* How many threads a pool uses beside other processes, on a clock of the test's own. */
#include "test_util.h"

#include "base/crowd.h"

/* A machine on which more than so many threads lose `lost` of every `period` seconds. */
typedef struct machine {
    int n_free;
    double lost_s, period_s;
} machine;

typedef struct times {
    double now_s, lost_at_s;
    double lost_s, rested_s; /* in all; with fewer threads than there are */
} times;

/* Ask before each job of 0.1 ms, as the pool does, until the time has come. */
static void run(rk_crowd *c, const machine *m, times *t, double until_s)
{
    double lost = 0.0;
    while (t->now_s < until_s) {
        const int n = rk_crowd_threads(c, t->now_s, lost);
        assert_in_range(n, 1, c->n_threads);
        lost = n > m->n_free && t->now_s >= t->lost_at_s + m->period_s ? m->lost_s : 0.0;
        if (lost > 0.0)
            t->lost_at_s = t->now_s;
        const double took = 1e-4 + lost;
        t->lost_s += lost;
        t->rested_s += n < c->n_threads ? took : 0.0;
        t->now_s += took;
    }
}

static const machine half_a_core_lost = {1, 3.5e-3, 7e-3}, quiet = {INT32_MAX, 0.0, 1.0};

static void test_rests_beside_a_neighbour(void **state)
{
    (void)state;
    rk_crowd c = rk_crowd_new(2);
    times t = {.now_s = 1000.0};
    run(&c, &half_a_core_lost, &t, 1010.0);
    assert_true(t.rested_s > 9.5);
    assert_true(t.lost_s < 0.3);
}

static void test_comes_back(void **state)
{
    (void)state;
    rk_crowd c = rk_crowd_new(2);
    times t = {0};
    run(&c, &half_a_core_lost, &t, 10.0);
    run(&c, &quiet, &t, 10.7);
    assert_int_equal(c.n_used, 2);
    t.rested_s = 0.0;
    run(&c, &quiet, &t, 20.0);
    assert_true(t.rested_s == 0.0);
    run(&c, &half_a_core_lost, &t, 20.02); /* the first rest is a short one again */
    assert_int_equal(c.n_used, 1);
    run(&c, &quiet, &t, 20.06);
    assert_int_equal(c.n_used, 2);
}

static void test_bears_a_loss_now_and_then(void **state)
{
    (void)state;
    rk_crowd c = rk_crowd_new(2);
    times t = {0};
    run(&c, &(machine){1, 5e-3, 50e-3}, &t, 10.0);
    assert_true(t.lost_s > 0.5);
    assert_true(t.rested_s == 0.0);
}

static void test_one_of_many_rests(void **state)
{
    (void)state;
    rk_crowd c = rk_crowd_new(16);
    times t = {0};
    run(&c, &(machine){15, 3.5e-3, 7e-3}, &t, 10.0);
    assert_true(t.rested_s > 9.0);
    assert_in_range(c.n_used, 15, 16);
    run(&c, &(machine){8, 3.5e-3, 7e-3}, &t, 20.0);
    assert_in_range(c.n_used, 8, 9);
    run(&c, &quiet, &t, 22.0);
    assert_int_equal(c.n_used, 16);
}

static void test_one_thread_stays(void **state)
{
    (void)state;
    rk_crowd c = rk_crowd_new(1);
    times t = {0};
    run(&c, &(machine){0, 3.5e-3, 7e-3}, &t, 1.0);
    assert_int_equal(c.n_used, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rests_beside_a_neighbour),  cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_bears_a_loss_now_and_then), cmocka_unit_test(test_one_of_many_rests),
        cmocka_unit_test(test_one_thread_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
