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
    *r = (rk_run){from, steps - from, begins && begins[from]};
    const int64_t most = r->anew ? rk_min_i64(r->n, RK_WKV_SEGMENT) : r->n;
    int64_t n = 1;
    while (n < most && !(begins && begins[from + n]))
        n++;
    r->n = begins ? n : r->n;
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
