/* pace.h: how many tokens a draft should guess ahead, from what passes cost and guesses are worth.
 *
 * Seconds of a pass are noted for each number of tokens, seconds of a guess, and the share of
 * guesses that stood. The number with the most tokens a second is chosen; where that is none the
 * draft rests, and is tried again after some tokens, twice as many each time it fails. */
#ifndef RK_INFER_PACE_H
#define RK_INFER_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "infer/session.h"

typedef struct rk_pace {
    int64_t n_max;                   /* guesses of a pass */
    double pass_s[RK_SHORT_MAX + 1]; /* of n tokens; 0: not yet measured */
    double guess_s;                  /* the same */
    double share;                    /* of guesses that stand when they are judged */
    int64_t n_judged;                /* how many guesses it is the mean of */
    int64_t plain, trial;            /* passes without guesses that come next; with them, then */
    int64_t single;                  /* passes until one without guesses is measured */
    int64_t rest;                    /* the next rest of the draft */
} rk_pace;

rk_pace rk_pace_new(int64_t n_max);
/* Guesses of the next pass, which begins with n tokens that are certain: at most n_max, and no more
 * than a call of the short class holds. */
int64_t rk_pace_choose(rk_pace *p, int64_t n);

/* What was measured: a pass of n tokens; n guesses; whether a guess stood. */
void rk_pace_pass(rk_pace *p, int64_t n, double seconds);
void rk_pace_guesses(rk_pace *p, int64_t n, double seconds);
void rk_pace_verdict(rk_pace *p, bool stood);

#endif
