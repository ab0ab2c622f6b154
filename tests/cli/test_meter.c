/* test_meter.c: a meter on a terminal, in a log, and silenced. The source belongs to the program and
 * is compiled in here. */
#include "cli/meter.c"

#include "test_util.h"

#include <fcntl.h>
#include <pty.h>

/* What is written to stderr while body runs, with stderr a terminal or a pipe. */
static const char *said(bool terminal, void (*body)(void))
{
    static char text[4096];
    int from, to, pipe_ends[2];
    const int before = dup(STDERR_FILENO);
    if (terminal) {
        assert_int_equal(openpty(&from, &to, NULL, NULL, NULL), 0);
    } else {
        assert_int_equal(pipe(pipe_ends), 0);
        from = pipe_ends[0];
        to = pipe_ends[1];
    }
    assert_true(dup2(to, STDERR_FILENO) >= 0);
    body();
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    fcntl(from, F_SETFL, O_NONBLOCK);
    size_t n = 0;
    for (ssize_t got; (got = read(from, text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(before);
    close(from);
    close(to);
    return text;
}

/* Half of 3000000 bytes in 2 seconds, told again at once, and done. */
static void measure(bool quiet, double seconds)
{
    rk_meter m = rk_meter_begin("out.gguf", "MB", 1e6, quiet);
    rk_meter_show(&m, 1, 3000000); /* in the first moment nothing is said */
    m.begun -= seconds;
    m.shown -= seconds;
    rk_meter_show(&m, 1500000, 3000000);
    rk_meter_progress(&m, 1600000, 3000000);
    rk_meter_end(&m);
    rk_meter_end(&m);
}

static void two_seconds(void)
{
    measure(false, 2.0);
}

static void fifty_seconds(void)
{
    measure(false, 50.0);
}

static void quiet(void)
{
    measure(true, 60.0);
}

static void nothing(void)
{
    rk_meter m = {0};
    rk_meter_end(&m);
}

static void test_meter(void **state)
{
    (void)state;
    assert_string_equal(said(true, two_seconds),
                        "\rout.gguf: 1.5 of 3.0 MB, 0.75 MB/s, 2 s left\x1b[K\r\x1b[K");
    assert_string_equal(said(false, two_seconds), "");
    assert_string_equal(said(false, fifty_seconds),
                        "rwkv: out.gguf: 1.5 of 3.0 MB, 0.03 MB/s, 50 s left\n");
    assert_string_equal(said(true, quiet), "");
    assert_string_equal(said(true, nothing), "");
}

static void test_times(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0 s"},        {119, "119 s"},  {120, "2 min"},
                 {7199, "120 min"}, {7200, "2.0 h"}, {90000, "25.0 h"}};
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        char text[32];
        describe_time(cases[i].seconds, text);
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_meter), cmocka_unit_test(test_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
