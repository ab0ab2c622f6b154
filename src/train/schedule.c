/* schedule.c: warm-up times cosine, as BlinkDL/RWKV-LM's trainer has it, with progress counted in
 * steps instead of tokens (a step has a fixed number of them):
 *     p  = clamp((done - warmup) / (steps - warmup), 0, 1),  f = lr_final / lr
 *     lr = lr ((1 + f) / 2 + (1 - f) / 2 cos(pi p)),  times 0.01 + 0.99 done / warmup before warmup
 */
#include "train/schedule.h"

#include <math.h>

double rk_schedule_lr(const rk_schedule *s, int64_t done)
{
    static const double pi = 3.14159265358979323846;
    const double part = done > s->warmup ? (double)(done - s->warmup) : 0.0;
    const double whole = s->steps > s->warmup ? (double)(s->steps - s->warmup) : 1.0;
    const double p = fmin(part / whole, 1.0);
    const double rate = 0.5 * (s->lr + s->lr_final) + 0.5 * (s->lr - s->lr_final) * cos(pi * p);
    if (done >= s->warmup)
        return rate;
    return rate * (0.01 + 0.99 * (double)done / (double)s->warmup);
}
