/* cases_mediums.c: rows of op_cases.h: mediums of rrwkv. */
#include "base/num.h"
#include "selftest/cases.h"

/* Rows of tokens with a medium every three, from places of all kinds: nothing before, a block that the first
 * token ends, finished mediums. x (B, T + M, C). */
enum { INTERVAL = 3 };
static rk_medium_rows mediums_of(rk_ctx *ctx, int how, const rk_tensor *x, rk_dtype real)
{
    rk_tensor tokens = *x, *after;
    while (tokens.dims[1] + (tokens.dims[1] + INTERVAL - 1) / INTERVAL > x->dims[1])
        tokens.dims[1]--;
    rk_case_rows(ctx, &tokens, how);
    rk_tensor *place = rk_new_zeros(ctx, real, 2, (int64_t[]){x->dims[0], 2});
    for (int64_t i = 0; place && place->data && i < 2 * x->dims[0]; i++) {
        const double at = i == 3 ? INTERVAL - 1 : (double)(i / 2);
        if (real == RK_F64)
            ((double *)place->data)[i] = at;
        else
            ((float *)place->data)[i] = (float)at;
    }
    return rk_medium_walk(ctx, place, tokens.dims[1], (rk_medium_places){INTERVAL, false}, &after);
}

/* in x (B,T,C), start, pool (B,C), rows (B,T+M,1), which say how many there are and are added. */
static void medium_insert(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[3], in[0]->dtype);
    out[0] = rk_medium_insert(ctx, &rows, in[0], in[1], in[2], &out[1]);
    out[2] = rk_scale(ctx, in[3], 0.5);
}

static void medium_previous(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    out[0] = rk_medium_previous(ctx, &rows, in[0], in[1], &out[1]);
}

/* in rows (B,T+M,C), whose mediums count, and sum (B,C). */
static void medium_mean(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    rk_tensor *e = rk_copy(ctx, rk_slice(ctx, in[0], 1, rows.n_tokens, in[0]->dims[1]));
    out[0] = rk_medium_mean(ctx, &rows, e, in[1], &out[1]);
    out[2] = rk_scale(ctx, in[0], 0.5);
}

static void medium_mix(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_mix_in m = {in[0], in[1], in[2], in[3], in[4]};
    (void)arg;
    out[0] = rk_medium_mix(ctx, &m);
}

/* The exponents of the state are constants of its gradient, as in wkv4. */
static rk_tensor *wkv4_state(rk_ctx *ctx, rk_tensor *aa, rk_tensor *bb)
{
    rk_tensor *const parts[] = {aa, bb, rk_scale(ctx, aa, 0.0)};
    return rk_concat(ctx, parts, 3, 1);
}

static void medium_wkv(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    rk_wkv4_in w = {
        .k = in[0], .v = in[1], .w = in[2], .u = in[3], .state = wkv4_state(ctx, in[4], in[5])};
    out[0] = rk_medium_wkv(ctx, &rows, &w, &w.state);
    out[1] = rk_medium_wkv(ctx, &rows, &w, &w.state);
}

/* The state is looked at by RWKV-4's recurrence. */
static void medium_read(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_medium_rows rows = mediums_of(ctx, arg, in[0], in[0]->dtype);
    const rk_medium_read_in r = {
        .k = in[0], .v = in[1], .w = in[2], .y = in[3], .state = wkv4_state(ctx, in[4], in[5])};
    rk_wkv4_in w = {.w = in[2]};
    out[0] = rk_medium_read(ctx, &rows, &r, &w.state);
    if (rk_ctx_failed(ctx))
        return;
    w.k = rk_copy(ctx, rk_slice(ctx, in[0], 1, 0, rows.n_tokens));
    w.v = rk_copy(ctx, rk_slice(ctx, in[1], 1, 0, rows.n_tokens));
    w.u = rk_case_constants(ctx, in[0]->dtype, 1, in[0]->dims[2], 0.5);
    out[1] = rk_wkv4(ctx, &w, &w.state);
}

/* clang-format off */
#define MEDIUM_WKV(b, r, a) IN(-2, 2, b, r, a), IN(-1, 1, b, r, a), IN(-1.5, -0.05, b, a)
#define MEDIUM_STATE(b, a) IN(-1, 1, b, 1, a), IN(0.2, 2, b, 1, a)

static const rk_op_case cases[] = {
    {"medium_insert", &rk_op_medium_insert, medium_insert, 0, {IN(-1, 1, 3, 7, 5), IN(-1, 1, 3, 5), IN(-1, 1, 3, 5), IN(-1, 1, 3, 10, 1)}},
    {"medium_insert, several sequences", &rk_op_medium_insert, medium_insert, SEVERAL, {IN(-1, 1, 3, 50, 75), IN(-1, 1, 3, 75), IN(-1, 1, 3, 75), IN(-1, 1, 3, 67, 1)}},
    {"medium_previous", &rk_op_medium_previous, medium_previous, 0, {IN(-1, 1, 3, 10, 5), IN(-1, 1, 3, 5)}},
    {"medium_previous, several sequences", &rk_op_medium_previous, medium_previous, SEVERAL, {IN(-1, 1, 3, 67, 75), IN(-1, 1, 3, 75)}},
    {"medium_mean", &rk_op_medium_mean, medium_mean, 0, {IN(-1, 1, 3, 10, 5), IN(-1, 1, 3, 5)}},
    {"medium_mean, several sequences", &rk_op_medium_mean, medium_mean, SEVERAL, {IN(-1, 1, 3, 67, 75), IN(-1, 1, 3, 75)}},
    {"medium_mix", &rk_op_medium_mix, medium_mix, 0, {IN(-1, 1, 2, 3, 5), IN(-1, 1, 2, 3, 5), IN(-1, 1, 5), IN(-1, 1, 2, 3, 5), IN(-1, 1, 5)}},
    {"medium_mix, wide", &rk_op_medium_mix, medium_mix, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 2, 37, 75), IN(-1, 1, 75), IN(-1, 1, 2, 37, 75), IN(-1, 1, 75)}},
    {"medium_wkv", &rk_op_medium_wkv, medium_wkv, 0, {MEDIUM_WKV(3, 10, 5), IN(-1, 1, 5), MEDIUM_STATE(3, 5)}},
    {"medium_wkv, one token", &rk_op_medium_wkv, medium_wkv, 0, {MEDIUM_WKV(3, 2, 5), IN(-1, 1, 5), MEDIUM_STATE(3, 5)}},
    {"medium_wkv, several sequences", &rk_op_medium_wkv, medium_wkv, SEVERAL, {MEDIUM_WKV(3, 67, 75), IN(-1, 1, 75), MEDIUM_STATE(3, 75)}},
    {"medium_read", &rk_op_medium_read, medium_read, 0, {MEDIUM_WKV(3, 10, 5), IN(-1, 1, 3, 10, 5), MEDIUM_STATE(3, 5)}},
    {"medium_read, one token", &rk_op_medium_read, medium_read, 0, {MEDIUM_WKV(3, 2, 5), IN(-1, 1, 3, 2, 5), MEDIUM_STATE(3, 5)}},
    {"medium_read, several sequences", &rk_op_medium_read, medium_read, SEVERAL, {MEDIUM_WKV(3, 67, 75), IN(-1, 1, 3, 67, 75), MEDIUM_STATE(3, 75)}},
};
/* clang-format on */

const rk_op_cases rk_op_cases_mediums = {cases, RK_COUNT(cases)};
