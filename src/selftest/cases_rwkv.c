/* cases_rwkv.c: rows of op_cases.h: recurrences of RWKV and what stands around them. */
#include "base/num.h"
#include "selftest/cases.h"

static void previous(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_case_rows(ctx, in[0], arg);
    out[0] = rk_previous(ctx, in[0], in[1]);
}

static void shift_mix(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    int n = 0;
    rk_case_rows(ctx, in[0], arg);
    while (in[2 + n])
        n++;
    out[0] = rk_shift_mix(ctx, in[0], in[1], in + 2, n, &out[1]);
}

/* Heads in an order of their own, two of which share a block of channels where C is less than H N. */
enum { SEVERAL_ROWS = SEVERAL, BEFORE = 2, AS_IT_IS = 4 };
static void self_state(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_case_rows(ctx, in[0], arg & SEVERAL_ROWS);
    const rk_wkv7_in w = {.w = in[3], .k = in[4], .v = in[5], .a = in[6], .b = in[7]};
    const rk_self_state_in s = {
        .x = in[0],
        .gamma = in[1],
        .state = in[2],
        .wkv = in[3] ? &w : NULL,
        .form = {.n_heads = 2, .heads = {2, 0}, .norm = !(arg & AS_IT_IS), .before = arg & BEFORE}};
    out[0] = rk_self_state(ctx, &s);
}

enum { GATED = 8 };
static void route(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const int64_t f = in[0] ? in[0]->dims[in[0]->n_dims - 1] : 0;
    const rk_route_form form = {.block = 8,
                                .best = arg & ~GATED,
                                .n_generations = 2,
                                .ends = {20, f},
                                .gate = (arg & GATED) != 0};
    out[0] = rk_route(ctx, in[0], &form);
}

static void wkv7(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_case_rows(ctx, in[0], arg);
    const rk_wkv7_in w = {.r = in[0],
                          .w = in[1],
                          .k = in[2],
                          .v = in[3],
                          .a = in[4],
                          .b = in[5],
                          .state = in[6],
                          .hop = in[7]};
    out[0] = rk_wkv7(ctx, &w, &out[1]);
}

/* The state goes on, the outputs are not looked at. */
static void wkv7_state(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_tensor *both[2];
    wkv7(ctx, arg, in, both);
    out[0] = rk_scale(ctx, both[1], 1.5);
}

static void wkv6(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_case_rows(ctx, in[0], arg);
    const rk_wkv6_in w = {
        .r = in[0], .k = in[1], .v = in[2], .d = in[3], .u = in[4], .state = in[5]};
    out[0] = rk_wkv6(ctx, &w, &out[1]);
}

/* Two pieces; the exponents of the state start at 0 and are constants of its gradient. */
static void wkv4(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    rk_case_rows(ctx, in[0], arg);
    rk_tensor *const parts[] = {in[4], in[5], rk_scale(ctx, in[4], 0.0)};
    rk_wkv4_in w = {.k = in[0], .v = in[1], .w = in[2], .u = in[3]};
    w.state = rk_concat(ctx, parts, 3, 1);
    out[0] = rk_wkv4(ctx, &w, &w.state);
    out[1] = rk_wkv4(ctx, &w, &w.state);
}

/* Without v_first the value is an input and no result. */
static void put_prepared(rk_ctx *ctx, const rk_rwkv7_prepare_in *p, rk_tensor **out)
{
    const rk_rwkv7_prepare_out o = rk_rwkv7_prepare_op(ctx, p);
    rk_tensor *const all[] = {o.w, o.k, o.a, o.b, p->v_first ? o.v : rk_scale(ctx, o.v, 1.0)};
    for (size_t i = 0; i < RK_COUNT(all); i++)
        out[i] = all[i];
}

static void prepare(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_prepare_in p = {.w0 = in[0],
                                   .a0 = in[1],
                                   .k_k = in[2],
                                   .k_a = in[3],
                                   .wl = in[4],
                                   .al = in[5],
                                   .k = in[6],
                                   .v = in[7],
                                   .v0 = in[8],
                                   .vl = in[9],
                                   .v_first = in[10]};
    put_prepared(ctx, &p, out);
}

/* The same with a balanced state. */
static void balanced(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_prepare_in p = {.w0 = in[0],
                                   .a0 = in[1],
                                   .wl = in[2],
                                   .al = in[3],
                                   .k = in[4],
                                   .v = in[5],
                                   .v0 = in[6],
                                   .vl = in[7],
                                   .v_first = in[8]};
    put_prepared(ctx, &p, out);
}

/* With parts missing: a sum of these bits says which are there. */
enum { GATE = 1, BONUS = 2, NORM = 4, ONE_PLUS = 8 };

static void output_of(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    int next = 4;
    rk_rwkv7_output_in o = {
        .y = in[0],
        .r = in[1],
        .k = in[2],
        .v = in[3],
        .form = {.eps = 64e-5, .scale = 0.75, .gate_base = arg & ONE_PLUS ? 1 : 0}};
    if (arg & GATE)
        o.g = in[next++];
    if (arg & BONUS)
        o.r_k = in[next++];
    if (arg & NORM) {
        o.ln_w = in[next];
        o.ln_b = in[next + 1];
    }
    out[0] = rk_rwkv7_output_op(ctx, &o);
}

static void output(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_output_in o = {.y = in[0],
                                  .r = in[1],
                                  .k = in[2],
                                  .v = in[3],
                                  .g = in[4],
                                  .r_k = in[5],
                                  .ln_w = in[6],
                                  .ln_b = in[7],
                                  .form = {.eps = 64e-5}};
    out[0] = rk_rwkv7_output_op(ctx, &o);
}

/* Prepare, recurrence and output in one; without a tape in the short class, a head at a time. */
static void heads(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const rk_rwkv7_heads_in h = {.raw = {.w0 = in[0],
                                         .a0 = in[1],
                                         .k_k = in[2],
                                         .k_a = in[3],
                                         .wl = in[4],
                                         .al = in[5],
                                         .k = in[6],
                                         .v = in[7],
                                         .v0 = in[8],
                                         .vl = in[9],
                                         .v_first = in[10]},
                                 .r = in[11],
                                 .g = in[12],
                                 .r_k = in[13],
                                 .ln_w = in[14],
                                 .ln_b = in[15],
                                 .state = in[16],
                                 .form = {.eps = 64e-5}};
    out[0] = rk_rwkv7_heads(ctx, &h, &out[1]);
}

/* clang-format off */
#define WKV7_IN(t, n)                                                                              \
    {IN(-1, 1, 2, t, 2, n), IN(0.3, 0.99, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), \
     IN(-0.5, 0.5, 2, t, 2, n), IN(-0.5, 0.5, 2, t, 2, n), IN(-1, 1, 2, 2, n, n)}
/* Three heads in two blocks of channels and some more. */
#define SELF_STATE_IN(b, t, n)                                                                     \
    {IN(-1, 1, b, t, 2 * (n) + 1), IN(-1, 1, 2, n), IN(-1, 1, b, 3, n, n), IN(0.3, 0.99, b, t, 3, n), \
     IN(-1, 1, b, t, 3, n), IN(-1, 1, b, t, 3, n), IN(-0.5, 0.5, b, t, 3, n), IN(-0.5, 0.5, b, t, 3, n)}
#define WKV7(t, n) {"wkv7 T " #t " N " #n, &rk_op_wkv7, wkv7, 0, WKV7_IN(t, n)}
#define WKV6(t, n)                                                                                 \
    {"wkv6 T " #t " N " #n, &rk_op_wkv6, wkv6, 0,                                                  \
     {IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n),                         \
      IN(0.1, 0.99, 2, t, 2, n), IN(-1, 1, 2, n), IN(-1, 1, 2, 2, n, n)}}
#define WKV6_ROWS(t, n)                                                                            \
    {"wkv6, one decay, T " #t " N " #n, &rk_op_wkv6, wkv6, 0,                                      \
     {IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n), IN(-1, 1, 2, t, 2, n),                         \
      IN(0.1, 0.99, 2, 2, n), IN(-1, 1, 2, 2, n), IN(-1, 1, 2, 2, n, n)}}
#define WKV4(t, a)                                                                                 \
    {"wkv4 T " #t " A " #a, &rk_op_wkv4, wkv4, 0,                                                  \
     {IN(-2, 2, 2, t, a), IN(-1, 1, 2, t, a), IN(-1.5, -0.05, 2, a), IN(-1, 1, a),                 \
      IN(-1, 1, 2, 1, a), IN(0.2, 2, 2, 1, a)}}
#define HEADS_IN(t)                                                                                \
    {ROWS_OF(27), ROWS_OF(2, t, 3, 9), IN(-1, 1, 27), IN(-1, 1, 2, t, 3, 9), IN(-1, 1, 2, t, 3, 9), \
     IN(-1, 1, 2, t, 3, 9), IN(-1, 1, 2, t, 3, 9), IN(-1, 1, 27), IN(-1, 1, 27), IN(-1, 1, 27),    \
     IN(-1, 1, 2, 3, 9, 9)}
#define OUTPUT_IN IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25)

static const rk_op_case cases[] = {
    {"shift_mix", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 2, 35, 70), IN(-1, 1, 2, 70), IN(0, 1, 70), IN(0, 1, 70), IN(0, 1, 70)}},
    {"shift_mix, one token", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 3, 1, 5), IN(-1, 1, 3, 5), IN(0, 1, 5)}},
    {"shift_mix, six", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 2, 16, 5), IN(-1, 1, 2, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5), IN(0, 1, 5)}},
    {"shift_mix, six, wide", &rk_op_shift_mix, shift_mix, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 2, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"shift_mix, several sequences", &rk_op_shift_mix, shift_mix, SEVERAL, {IN(-1, 1, 3, 50, 70), IN(-1, 1, 3, 70), IN(0, 1, 70), IN(0, 1, 70), IN(0, 1, 70)}},
    {"previous", &rk_op_previous, previous, ONE_SEQUENCE, {IN(-1, 1, 2, 35, 70), IN(-1, 1, 2, 70)}},
    {"previous, one token", &rk_op_previous, previous, ONE_SEQUENCE, {IN(-1, 1, 3, 1, 5), IN(-1, 1, 3, 5)}},
    {"previous, several sequences", &rk_op_previous, previous, SEVERAL, {IN(-1, 1, 3, 50, 70), IN(-1, 1, 3, 70)}},
    WKV7(1, 3), WKV7(1, 4), WKV7(1, 8), WKV7(15, 3), WKV7(15, 4), WKV7(15, 8), WKV7(16, 3), WKV7(16, 4),
    WKV7(16, 8), WKV7(17, 3), WKV7(17, 4), WKV7(17, 8), WKV7(40, 3), WKV7(40, 4), WKV7(40, 8),
    WKV6(1, 4), WKV6(5, 3), WKV6(37, 8), WKV6(18, 70), WKV6_ROWS(19, 5), WKV4(1, 3), WKV4(7, 5), WKV4(35, 70),
    {"wkv6, three heads", &rk_op_wkv6, wkv6, 0,
     {IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(0, 0.99, 2, 37, 3, 25),
      IN(-1, 1, 3, 25), IN(-1, 1, 2, 3, 25, 25)}},
    {"wkv4, wide", &rk_op_wkv4, wkv4, 0, {IN(-4, 4, 2, 37, 75), IN(-1, 1, 2, 37, 75), IN(-3, -0.05, 2, 75), IN(-1, 1, 75), IN(-1, 1, 2, 1, 75), IN(0.2, 1, 2, 1, 75)}},
    {"wkv7, three heads", &rk_op_wkv7, wkv7, 0,
     {IN(-1, 1, 2, 37, 3, 25), IN(0.55, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25),
      IN(-0.3, 0.3, 2, 37, 3, 25), IN(-0.2, 0.2, 2, 37, 3, 25), IN(-1, 1, 2, 3, 25, 25)}},
    {"wkv7, several sequences", &rk_op_wkv7, wkv7, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(0.55, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5),
      IN(-0.3, 0.3, 3, 50, 2, 5), IN(-0.2, 0.2, 3, 50, 2, 5), IN(-1, 1, 3, 2, 5, 5)}},
    {"wkv6, several sequences", &rk_op_wkv6, wkv6, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(0, 0.99, 3, 50, 2, 5),
      IN(-1, 1, 2, 5), IN(-1, 1, 3, 2, 5, 5)}},
    {"wkv6, several sequences, constant decay", &rk_op_wkv6, wkv6, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(0, 0.99, 3, 2, 5),
      IN(-1, 1, 3, 2, 5), IN(-1, 1, 3, 2, 5, 5)}},
    {"wkv4, several sequences", &rk_op_wkv4, wkv4, SEVERAL, {IN(-4, 4, 3, 50, 75), IN(-1, 1, 3, 50, 75), IN(-3, -0.05, 3, 75), IN(-1, 1, 75), IN(-1, 1, 3, 1, 75), IN(0.2, 1, 3, 1, 75)}},
    {"wkv7, read twice", &rk_op_wkv7, wkv7, 0,
     {IN(-1, 1, 2, 37, 2, 5), IN(0.55, 1, 2, 37, 2, 5), IN(-1, 1, 2, 37, 2, 5), IN(-1, 1, 2, 37, 2, 5),
      IN(-0.3, 0.3, 2, 37, 2, 5), IN(-0.2, 0.2, 2, 37, 2, 5), IN(-1, 1, 2, 2, 5, 5), IN(-0.5, 0.5, 2, 5, 5)}},
    {"wkv7, read twice, several sequences", &rk_op_wkv7, wkv7, SEVERAL,
     {IN(-1, 1, 3, 50, 2, 5), IN(0.55, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5), IN(-1, 1, 3, 50, 2, 5),
      IN(-0.3, 0.3, 3, 50, 2, 5), IN(-0.2, 0.2, 3, 50, 2, 5), IN(-1, 1, 3, 2, 5, 5), IN(-0.5, 0.5, 2, 5, 5)}},
    {"wkv7, last state", &rk_op_wkv7, wkv7_state, 0, WKV7_IN(20, 4)},
    {"rwkv7_prepare, layer 0", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(8), ROWS_OF(2, 11, 2, 4)}},
    {"rwkv7_prepare", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(8), ROWS_OF(2, 11, 2, 4), IN(-1, 1, 8), IN(-1, 1, 2, 11, 2, 4), IN(-1, 1, 2, 11, 2, 4)}},
    {"rwkv7_prepare, wide", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(72), ROWS_OF(1, 18, 9, 8), IN(-1, 1, 72), IN(-1, 1, 1, 18, 9, 8), IN(-1, 1, 1, 18, 9, 8)}},
    {"rwkv7_prepare, three heads", &rk_op_rwkv7_prepare, prepare, 0, {ROWS_OF(75), ROWS_OF(2, 37, 3, 25), IN(-1, 1, 75), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25)}},
    {"rwkv7_output", &rk_op_rwkv7_output, output, 0, {ROWS_OF(2, 11, 2, 4), IN(-1, 1, 2, 11, 2, 4), IN(-1, 1, 8), IN(-1, 1, 8), IN(-1, 1, 8)}},
    {"rwkv7_output, wide", &rk_op_rwkv7_output, output, 0, {ROWS_OF(1, 18, 9, 8), IN(-1, 1, 1, 18, 9, 8), IN(-1, 1, 72), IN(-1, 1, 72), IN(-1, 1, 72)}},
    {"rwkv7_output, three heads", &rk_op_rwkv7_output, output, 0, {ROWS_OF(2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"rwkv7_prepare, balanced", &rk_op_rwkv7_prepare, balanced, 0, {IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 75), IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 2, 37, 3, 25)}},
    {"rwkv7_output, nothing more", &rk_op_rwkv7_output, output_of, 0, {OUTPUT_IN}},
    {"rwkv7_output, gate", &rk_op_rwkv7_output, output_of, GATE, {OUTPUT_IN, IN(-1, 1, 2, 37, 3, 25)}},
    {"rwkv7_output, one_plus gate and bonus", &rk_op_rwkv7_output, output_of, GATE | BONUS | ONE_PLUS, {OUTPUT_IN, IN(-1, 1, 2, 37, 3, 25), IN(-1, 1, 75)}},
    {"rwkv7_output, bonus and norm", &rk_op_rwkv7_output, output_of, BONUS | NORM, {OUTPUT_IN, IN(-1, 1, 75), IN(-1, 1, 75), IN(-1, 1, 75)}},
    {"self_state", &rk_op_self_state, self_state, 0, SELF_STATE_IN(2, 5, 4)},
    {"self_state, long", &rk_op_self_state, self_state, 0, SELF_STATE_IN(2, 37, 8)},
    {"self_state, before the token", &rk_op_self_state, self_state, BEFORE, SELF_STATE_IN(2, 37, 5)},
    {"self_state, not normalised", &rk_op_self_state, self_state, AS_IT_IS, SELF_STATE_IN(1, 18, 3)},
    {"self_state, several sequences", &rk_op_self_state, self_state, SEVERAL_ROWS, SELF_STATE_IN(3, 50, 4)},
    {"self_state, several sequences, before", &rk_op_self_state, self_state, SEVERAL_ROWS | BEFORE, SELF_STATE_IN(3, 50, 4)},
    {"self_state, one token", &rk_op_self_state, self_state, 0, {IN(-1, 1, 3, 1, 9), IN(-1, 1, 2, 4), IN(-1, 1, 3, 3, 4, 4)}},
    {"route", &rk_op_route, route, 1, {IN(-1, 1, 2, 11, 75)}},
    {"route, two blocks", &rk_op_route, route, 2, {IN(-1, 1, 37, 33)}},
    {"route, gated", &rk_op_route, route, 1 | GATED, {IN(-1, 1, 2, 11, 75)}},
    {"rwkv7_heads, one step", &rk_op_rwkv7_heads, heads, 0, HEADS_IN(1)},
    {"rwkv7_heads, five steps", &rk_op_rwkv7_heads, heads, 0, HEADS_IN(5)},
};
/* clang-format on */

const rk_op_cases rk_op_cases_rwkv = {cases, RK_COUNT(cases)};
