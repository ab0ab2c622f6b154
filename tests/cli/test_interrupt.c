/* test_interrupt.c: the first signal is noted, the second ends the program, closing restores. The
 * source belongs to the program and is compiled in here. */
#include "cli/interrupt.c"

#include "test_util.h"

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

static void signal_after_close(void)
{
    rk_interrupt_close(opened());
    rk_interrupt_close(NULL);
    kill(getpid(), SIGTERM);
}

static void test_signals(void **state)
{
    (void)state;
    const int noted = in_child(one_signal), twice = in_child(two_signals),
              after = in_child(signal_after_close);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
