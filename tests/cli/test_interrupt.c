/* test_interrupt.c: the first signal is noted, the second ends the program, closing restores. The
 * source belongs to the program and is compiled in here. */
#include "cli/interrupt.c"

#include "test_util.h"

#include <fcntl.h>
#include <sys/wait.h>

static rk_interrupt *opened(void)
{
    rk_interrupt *in = NULL;
    rk_error err = {0};
    test_ok(rk_interrupt_open(&in, &err), &err);
    return in;
}

static bool wait_for(rk_interrupt *in)
{
    for (int i = 0; i < 2000 && !rk_interrupt_came(in); i++)
        test_sleep_ms(1);
    return rk_interrupt_came(in);
}

/* Run body in a child and return its wait status. */
static int in_child(void (*body)(void))
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void one_signal(void)
{
    rk_interrupt *in = opened();
    const bool before = rk_interrupt_came(in);
    kill(getpid(), SIGINT);
    if (before || !wait_for(in) || rk_interrupt_signal(in) != SIGINT)
        _exit(1);
    rk_interrupt_close(in);
    _exit(7);
}

static void two_signals(void)
{
    rk_interrupt *in = opened();
    kill(getpid(), SIGINT);
    wait_for(in);
    kill(getpid(), SIGTERM);
    test_sleep_ms(5000);
}

static void hangup(void)
{
    signal(SIGHUP, SIG_DFL); /* the tests may run under nohup */
    rk_interrupt *in = opened();
    kill(getpid(), SIGHUP);
    if (!wait_for(in) || rk_interrupt_signal(in) != SIGHUP)
        _exit(1);
    rk_interrupt_close(in);
    _exit(7);
}

/* As under nohup. */
static void hangup_ignored(void)
{
    signal(SIGHUP, SIG_IGN);
    rk_interrupt *in = opened();
    kill(getpid(), SIGHUP);
    test_sleep_ms(50);
    if (rk_interrupt_came(in))
        _exit(1);
    rk_interrupt_close(in);
    kill(getpid(), SIGHUP);
    _exit(7);
}

static void leave_a_file(void *path)
{
    close(open(path, O_CREAT | O_WRONLY, 0600));
}

static char left[] = "/tmp/rk-at-end-XXXXXX";

static void two_signals_with_end(void)
{
    rk_interrupt *in = opened();
    rk_interrupt_at_end(in, leave_a_file, left);
    kill(getpid(), SIGINT);
    wait_for(in);
    kill(getpid(), SIGINT);
    test_sleep_ms(5000);
}

static void test_hangup(void **state)
{
    (void)state;
    const int noted = in_child(hangup), ignored = in_child(hangup_ignored);
    assert_true(WIFEXITED(noted) && WEXITSTATUS(noted) == 7);
    assert_true(WIFEXITED(ignored) && WEXITSTATUS(ignored) == 7);
}

static void test_at_end(void **state)
{
    (void)state;
    assert_true(close(mkstemp(left)) == 0 && unlink(left) == 0);
    const int twice = in_child(two_signals_with_end);
    assert_true(WIFEXITED(twice) && WEXITSTATUS(twice) == 128 + SIGINT);
    assert_int_equal(unlink(left), 0);
}

static void signal_after_close(void)
{
    rk_interrupt_close(opened());
    rk_interrupt_close(NULL);
    kill(getpid(), SIGTERM);
}

static void signal_before_pass(void)
{
    rk_interrupt_pass(opened());
    rk_interrupt *in = opened();
    kill(getpid(), SIGINT);
    wait_for(in);
    rk_interrupt_pass(in);
}

static void test_signals(void **state)
{
    (void)state;
    const int noted = in_child(one_signal), twice = in_child(two_signals),
              after = in_child(signal_after_close), passed = in_child(signal_before_pass);
    assert_true(WIFSIGNALED(passed) && WTERMSIG(passed) == SIGINT);
    assert_true(WIFEXITED(noted) && WEXITSTATUS(noted) == 7);
    assert_true(WIFEXITED(twice) && WEXITSTATUS(twice) == 128 + SIGTERM);
    assert_true(WIFSIGNALED(after) && WTERMSIG(after) == SIGTERM);
}

/* An idle one opens and closes again and again without a signal being seen. */
static void test_open_close(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        rk_interrupt *in = opened();
        assert_int_equal(rk_interrupt_signal(in), 0);
        rk_interrupt_close(in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_open_close),
        cmocka_unit_test(test_hangup),
        cmocka_unit_test(test_at_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
