/* crowd.c: see crowd.h. Time slices are 3 to 6 ms long on Linux, so a period must hold two of them
 * before it is judged, and a single loss, which happens on any machine, changes nothing. */
#include "crowd.h"

#include <math.h>
#include <stdbool.h>

static const double stretch_least_s = 8e-3, stretch_most_s = 40e-3;
static const double rest_least_s = 20e-3, rest_most_s = 640e-3, trial_s = 100e-3;

rk_crowd rk_crowd_new(int n_threads)
{
    return (rk_crowd){.n_threads = n_threads, .n_used = n_threads, .rest_s = rest_least_s};
}

static void begin_stretch(rk_crowd *c, double now_s)
{
    c->began_s = now_s;
    c->lost_s = 0.0;
}

static void rest(rk_crowd *c, double now_s)
{
    const bool on_trial = now_s < c->until_s;
    c->rest_s = on_trial ? fmin(2.0 * c->rest_s, rest_most_s) : rest_least_s;
    c->until_s = now_s + c->rest_s;
    c->n_used--;
    begin_stretch(c, now_s);
}

int rk_crowd_threads(rk_crowd *c, double now_s, double lost_s)
{
    if (lost_s > 0.0) {
        if (now_s - c->began_s > stretch_most_s)
            begin_stretch(c, now_s - lost_s);
        c->lost_s += lost_s;
        const double stretch_s = now_s - c->began_s;
        if (c->n_used > 1 && stretch_s >= stretch_least_s &&
            c->lost_s * 2.0 * c->n_used > stretch_s)
            rest(c, now_s);
    }
    if (c->n_used < c->n_threads && now_s >= c->until_s) {
        c->n_used++;
        c->until_s = now_s + trial_s;
        begin_stretch(c, now_s);
    }
    return c->n_used;
}
