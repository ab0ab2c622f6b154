/* runs.c: finding the pieces of a row. */
#include "tensor/runs.h"

#include "base/num.h"

const int32_t *rk_begins_of(const rk_ctx *ctx, int64_t b, int64_t steps)
{
    return ctx->begins && ctx->begins->data ? (const int32_t *)ctx->begins->data + b * steps : NULL;
}

bool rk_run_from(const int32_t *begins, int64_t steps, int64_t from, rk_run *r)
{
    if (from >= steps)
        return false;
    const bool anew = begins && begins[from];
    const int64_t to = anew ? rk_min_i64(steps, from + RK_WKV_SEGMENT) : steps;
    *r = (rk_run){from, rk_sequence_end(begins, from, to) - from, anew};
    return true;
}

bool rk_run_before(const int32_t *begins, int64_t to, rk_run *r)
{
    if (to <= 0)
        return false;
    int64_t from = begins ? to - 1 : 0;
    while (from > 0 && !begins[from])
        from--;
    const bool anew = begins && begins[from];
    const int64_t rest = from + RK_WKV_SEGMENT;
    if (anew && rest < to)
        *r = (rk_run){rest, to - rest, false};
    else
        *r = (rk_run){from, to - from, anew};
    return true;
}
