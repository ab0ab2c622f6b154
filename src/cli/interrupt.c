/* interrupt.c: a thread that waits for the signals.
 *
 * A signal handler can reach nothing but globals and may call next to nothing. So the signals are
 * blocked everywhere and one thread takes them out of sigwait like messages: the first becomes a
 * number in the context, the second is _exit. It answers while the other threads are busy. */
#include "cli/interrupt.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct rk_interrupt {
    pthread_t thread;
    sigset_t waited, before;
    atomic_int signal;
    atomic_bool closing;
    void (*_Atomic at_end)(void *user);
    void *user; /* set before at_end */
    const char *_Atomic sentence;
};

static void *wait_for_signals(void *arg)
{
    rk_interrupt *in = arg;
    for (;;) {
        int number = 0;
        if (sigwait(&in->waited, &number) != 0)
            continue;
        if (atomic_load(&in->closing))
            return NULL;
        if (atomic_load(&in->signal)) {
            void (*const at_end)(void *user) = atomic_load(&in->at_end);
            if (at_end)
                at_end(in->user);
            _exit(128 + number);
        }
        atomic_store(&in->signal, number);
        const char *sentence = atomic_load(&in->sentence);
        if (sentence)
            fprintf(stderr, "\n%s\n", sentence);
    }
}

rk_status rk_interrupt_open(rk_interrupt **out, rk_error *err)
{
    struct sigaction hangup;
    rk_interrupt *in = calloc(1, sizeof *in);
    if (!in)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    sigemptyset(&in->waited);
    sigaddset(&in->waited, SIGINT);
    sigaddset(&in->waited, SIGTERM);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(&in->waited, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &in->waited, &in->before);
    const int failed = pthread_create(&in->thread, NULL, wait_for_signals, in);
    if (failed) {
        pthread_sigmask(SIG_SETMASK, &in->before, NULL);
        free(in);
        return rk_fail(err, RK_ERR_NOMEM, "no thread for signals: %s", strerror(failed));
    }
    *out = in;
    return RK_OK;
}

void rk_interrupt_at_end(rk_interrupt *in, void (*fn)(void *user), void *user)
{
    in->user = user;
    atomic_store(&in->at_end, fn);
}

void rk_interrupt_say(rk_interrupt *in, const char *sentence)
{
    atomic_store(&in->sentence, sentence);
}

/* The thread is woken by a signal of its own, which it takes with sigwait and does not die of. */
void rk_interrupt_close(rk_interrupt *in)
{
    if (!in)
        return;
    atomic_store(&in->closing, true);
    pthread_kill(in->thread, SIGTERM); /* NOLINT(bugprone-bad-signal-to-kill-thread) */
    pthread_join(in->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &in->before, NULL);
    free(in);
}

void rk_interrupt_pass(rk_interrupt *in)
{
    const int number = rk_interrupt_signal(in);
    rk_interrupt_close(in);
    if (number)
        raise(number);
}

int rk_interrupt_signal(void *interrupt)
{
    rk_interrupt *in = interrupt;
    return atomic_load(&in->signal);
}

bool rk_interrupt_came(void *interrupt)
{
    return rk_interrupt_signal(interrupt) != 0;
}
