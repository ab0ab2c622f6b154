/* noise.c: the two estimates and their running means. Both begin at zero and forget alike, so that the
 * beginning cancels in their ratio. */
#include "train/noise.h"

#include <math.h>

static const double KEEP = 0.98;

static void keep(double *mean, double x)
{
    *mean = KEEP * *mean + (1.0 - KEEP) * x;
}

void rk_noise_add(rk_noise *n, int64_t batch, int64_t slices, double small, double whole)
{
    const double large_b = (double)batch, small_b = (double)batch / (double)slices;
    keep(&n->grad, (large_b * whole - small_b * small) / (large_b - small_b));
    keep(&n->spread, (small - whole) / (1.0 / small_b - 1.0 / large_b));
}

double rk_noise_scale(const rk_noise *n)
{
    return n->grad > 0.0 && n->spread > 0.0 ? n->spread / n->grad : (double)NAN;
}
