/* schedule.c: warm-up times a schedule. Progress is counted in steps, where BlinkDL/RWKV-LM counts tokens
 * (a step has a fixed number of them):
 *     p  = clamp((done - warmup) / (steps - warmup), 0, 1),  f = lr_final / lr
 *     lr = schedule(p),  times 0.01 + 0.99 done / warmup before warmup
 * cosine is that of its trainer for RWKV-7, exponential and linear those of its trainers before. wsd
 * (warm-up, stable, decay; arXiv 2404.06395) does not depend on the number of steps until the decay
 * begins, so that a run can be made longer from a checkpoint before it; it falls as 1 - sqrt, which
 * ends lower than a straight line (arXiv 2405.18392). */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"

/* From lr down to lr_final, by the share that is left of the way. */
static double between(const rk_schedule *s, double left)
{
    return s->lr_final + (s->lr - s->lr_final) * left;
}

/* p */
static double progress(const rk_schedule *s, double done)
{
    const double part = fmax(done - (double)s->warmup, 0.0);
    const double whole = s->steps > s->warmup ? (double)(s->steps - s->warmup) : 1.0;
    return fmin(part / whole, 1.0);
}

static double cosine(const rk_schedule *s, double done)
{
    static const double pi = 3.14159265358979323846;
    const double wave = cos(pi * progress(s, done));
    return 0.5 * (s->lr + s->lr_final) + 0.5 * (s->lr - s->lr_final) * wave;
}

static double wsd(const rk_schedule *s, double done)
{
    const double falling = s->decay_frac * (double)s->steps;
    const double into = fmin(done, (double)s->steps) - ((double)s->steps - falling);
    return into > 0.0 ? between(s, 1.0 - sqrt(into / falling)) : s->lr;
}

static double constant(const rk_schedule *s, double done)
{
    (void)done;
    return s->lr;
}

static double linear(const rk_schedule *s, double done)
{
    return between(s, 1.0 - progress(s, done));
}

/* Without a way from or to 0, a line instead. */
static double exponential(const rk_schedule *s, double done)
{
    if (s->lr <= 0.0 || s->lr_final <= 0.0)
        return linear(s, done);
    return s->lr * pow(s->lr_final / s->lr, progress(s, done));
}

const rk_schedule_kind rk_schedules[] = {
    {"cosine", cosine},           {"wsd", wsd}, {"constant", constant}, {"linear", linear},
    {"exponential", exponential},
};
const int rk_n_schedules = RK_COUNT(rk_schedules);

const rk_schedule_kind *rk_schedule_find(const char *name)
{
    for (int i = 0; i < rk_n_schedules; i++)
        if (!strcmp(rk_schedules[i].name, name))
            return &rk_schedules[i];
    return NULL;
}

rk_status rk_schedule_check(const char *name, rk_error *err)
{
    char names[128] = "";
    if (rk_schedule_find(name))
        return RK_OK;
    for (int i = 0; i < rk_n_schedules; i++)
        rk_str_list(names, sizeof names, rk_schedules[i].name);
    return rk_fail(err, RK_ERR_ARG, "no schedule '%s'; there are %s", name, names);
}

/* Of one that began at the first step. */
static double rate_after(const rk_schedule *s, int64_t done)
{
    const double rate = s->kind->rate(s, (double)done);
    if (done >= s->warmup)
        return rate;
    return rate * (0.01 + 0.99 * (double)done / (double)s->warmup);
}

double rk_schedule_lr(const rk_schedule *s, int64_t done)
{
    rk_schedule own = *s;
    own.steps -= s->from;
    return rate_after(&own, done - s->from);
}
