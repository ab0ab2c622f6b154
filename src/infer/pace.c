/* pace.c: see pace.h. Running means with decay follow the text and the machine's load. Means of
 * seconds fall faster than they rise, and a measurement counts for at most twice the mean: a pass
 * that waited for other programs says little about the cost of passes. */
#include "infer/pace.h"

#include <math.h>

#include "base/num.h"

enum {
    PLAIN_FIRST = 3, /* passes that measure the time of one token */
    TRIAL_FIRST = 8, /* passes that measure the rate of acceptance */
    TRIAL_AGAIN = 3, /* the same after a pause */
    TRIAL_GUESSES = 3,
    JUDGED_MAX = 47,   /* draft tokens that the share is the mean of, nearly */
    SINGLE_EVERY = 32, /* passes */
    REST_FIRST = 32,
    REST_MAX = 1024
};

static const double least_gain = 1.1; /* a gain below this may be an error of measurement */

rk_pace rk_pace_new(int64_t n_max)
{
    return (rk_pace){.n_max = n_max,
                     .share = 0.5,
                     .plain = PLAIN_FIRST,
                     .trial = TRIAL_FIRST,
                     .single = SINGLE_EVERY,
                     .rest = REST_FIRST};
}

static void approach(double *mean, double x)
{
    const double step = fmin(x, 2.0 * *mean) - *mean;
    *mean = *mean > 0.0 ? *mean + (step < 0.0 ? step / 2.0 : step / 16.0) : x;
}

void rk_pace_pass(rk_pace *p, int64_t n, double seconds)
{
    approach(&p->pass_s[n], seconds);
}

void rk_pace_guesses(rk_pace *p, int64_t n, double seconds)
{
    approach(&p->guess_s, seconds / (double)n);
}

void rk_pace_verdict(rk_pace *p, bool accepted)
{
    p->n_judged = rk_min_i64(p->n_judged + 1, JUDGED_MAX);
    p->share += ((accepted ? 1.0 : 0.0) - p->share) / (double)(p->n_judged + 1);
}

/* Seconds that one more token adds to a pass: the median over the numbers of tokens that were
 * measured, since some of them were measured only once, perhaps at a bad moment. */
static double token_seconds(const rk_pace *p)
{
    double sorted[RK_SHORT_MAX] = {0};
    int n = 0;
    for (int i = 2; i <= RK_SHORT_MAX; i++) {
        const double x = (p->pass_s[i] - p->pass_s[1]) / (double)(i - 1);
        if (p->pass_s[i] == 0.0)
            continue;
        int at = n++;
        for (; at > 0 && sorted[at - 1] > x; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = x;
    }
    return n > 0 ? fmax(sorted[n / 2], 0.0) : 0.0;
}

static double pass_seconds(const rk_pace *p, double n)
{
    return p->pass_s[1] + token_seconds(p) * (n - 1.0);
}

/* Tokens per second of a pass with k draft tokens after n certain tokens. A rejection makes the
 * next pass longer by the accepted tokens that are evaluated again. */
static double rate(const rk_pace *p, int64_t n, int64_t k)
{
    const double share = fmin(p->share, 0.99), all = pow(share, (double)k);
    const double tokens = (1.0 - all * share) / (1.0 - share);
    const double again = pass_seconds(p, (double)n + tokens) - pass_seconds(p, 1.0);
    return tokens / (pass_seconds(p, (double)(n + k)) + (double)k * p->guess_s +
                     (1.0 - all) * fmax(again, 0.0));
}

static int64_t best(const rk_pace *p, int64_t n, int64_t most)
{
    int64_t found = 0;
    for (int64_t k = 1; k <= most; k++)
        if (rate(p, n, k) > rate(p, n, found) * (found == 0 ? least_gain : 1.0))
            found = k;
    return found;
}

int64_t rk_pace_choose(rk_pace *p, int64_t n)
{
    const int64_t most = rk_min_i64(p->n_max, RK_SHORT_MAX - n);
    if (p->plain > 0) {
        p->plain--;
        return 0;
    }
    if (p->trial > 0) {
        p->trial--;
        return rk_min_i64(most, TRIAL_GUESSES);
    }
    if (n == 1 && --p->single <= 0) { /* the time that others are compared with stays up to date */
        p->single = SINGLE_EVERY;
        return 0;
    }
    const int64_t k = best(p, n, most);
    if (k > 0)
        p->rest = rk_max_i64(p->rest / 2, REST_FIRST);
    else if (n == 1) {
        p->plain = p->rest - 1;
        p->trial = TRIAL_AGAIN;
        p->rest = rk_min_i64(2 * p->rest, REST_MAX);
    }
    return k;
}
