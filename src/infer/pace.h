/* pace.h: how many draft tokens a pass should have, from measured times and the rate of acceptance.
 *
 * Measured are the seconds of a pass for each number of tokens, the seconds of a draft token, and
 * the share of draft tokens that were accepted. The number with the most tokens per second is
 * chosen; where that is none the draft pauses, and is tried again after some tokens, twice as many
 * each time the trial fails. */
#ifndef RK_INFER_PACE_H
#define RK_INFER_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "infer/session.h"

typedef struct rk_pace {
    int64_t n_max;                   /* draft tokens of a pass at most */
    double pass_s[RK_SHORT_MAX + 1]; /* [n]: seconds of a pass of n tokens; 0: not yet measured */
    double guess_s;                  /* seconds of a draft token; 0: not yet measured */
    double share;                    /* of compared draft tokens that were accepted */
    int64_t n_judged;                /* draft tokens that the share is the mean of */
    int64_t plain, trial; /* passes without draft tokens that come next; then passes with them */
    int64_t single;       /* passes until one without draft tokens is measured */
    int64_t rest;         /* length of the draft's next pause, in passes */
} rk_pace;

rk_pace rk_pace_new(int64_t n_max);
/* Draft tokens of the next pass, which begins with n tokens that are certain: at most n_max, and no
 * more than a call of the short class holds. */
int64_t rk_pace_choose(rk_pace *p, int64_t n);

/* Note a measurement: a pass of n tokens; drafting n tokens; whether a draft token was accepted. */
void rk_pace_pass(rk_pace *p, int64_t n, double seconds);
void rk_pace_guesses(rk_pace *p, int64_t n, double seconds);
void rk_pace_verdict(rk_pace *p, bool accepted);

#endif
