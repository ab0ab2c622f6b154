/* Lines reach the listener with their level, those below the logger's level do not; the clock goes
 * forward. */
#include "test_util.h"

#include "base/clock.h"
#include "base/log.h"

typedef struct heard {
    int n;
    rk_log_level level;
    char line[2048];
} heard;

static void listen(void *user, rk_log_level level, const char *line)
{
    heard *h = user;
    h->n++;
    h->level = level;
    snprintf(h->line, sizeof h->line, "%s", line);
}

static void test_levels(void **state)
{
    (void)state;
    heard h = {0};
    const rk_log log = {listen, &h, RK_LOG_INFO};
    rk_log_line(&log, RK_LOG_DEBUG, "not %s", "this");
    assert_int_equal(h.n, 0);
    rk_log_line(&log, RK_LOG_INFO, "step %d", 3);
    assert_string_equal(h.line, "step 3");
    rk_log_line(&log, RK_LOG_ERROR, "%s", "bad");
    assert_int_equal(h.level, RK_LOG_ERROR);
    assert_int_equal(h.n, 2);
    rk_log_line(&(rk_log){0}, RK_LOG_ERROR, "silent");
}

static void test_long_line(void **state)
{
    (void)state;
    heard h = {0};
    const rk_log log = {listen, &h, RK_LOG_INFO};
    rk_log_line(&log, RK_LOG_WARN, "%5000d", 1);
    assert_int_equal(strlen(h.line), 1023);
}

static void test_clock(void **state)
{
    (void)state;
    const double start = rk_now_s();
    double last = start;
    for (int i = 0; i < 1000; i++) {
        const double now = rk_now_s();
        assert_true(now >= last);
        last = now;
    }
    test_sleep_ms(2);
    const double slept = rk_now_s() - start;
    assert_true(slept >= 2e-3 && slept < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
