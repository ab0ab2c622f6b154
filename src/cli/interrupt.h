/* interrupt.h: SIGINT, SIGTERM and SIGHUP as a flag that long work polls.
 *
 * While one is open the first signal is only noted, so that the work can stop at a safe point and save;
 * a second one ends the program at once. A SIGHUP that was ignored before (nohup) stays ignored. */
#ifndef RK_CLI_INTERRUPT_H
#define RK_CLI_INTERRUPT_H

#include "base/error.h"

typedef struct rk_interrupt rk_interrupt;

/* Before any other thread is made: they inherit the blocked signals. One at a time. */
rk_status rk_interrupt_open(rk_interrupt **out, rk_error *err);
/* Call fn(user) before a second signal ends the program: what must not stay as it is, such as a
 * terminal's ways. It runs on a thread of its own. */
void rk_interrupt_at_end(rk_interrupt *i, void (*fn)(void *user), void *user);
/* Print a sentence on stderr when the first signal comes, so that whoever waits for the end knows.
 * It must stay as it is; NULL: nothing. */
void rk_interrupt_say(rk_interrupt *i, const char *sentence);
/* The signals do again what they did before. NULL is fine. */
void rk_interrupt_close(rk_interrupt *i);
/* Close, and let a signal that came meanwhile do what it does outside. */
void rk_interrupt_pass(rk_interrupt *i);
/* The number of the signal that came, 0 while none has. Takes the rk_interrupt, from any thread. */
int rk_interrupt_signal(void *interrupt);
/* The same as a rk_abort_fn: work stops as soon as a signal has come. */
bool rk_interrupt_came(void *interrupt);

#endif
