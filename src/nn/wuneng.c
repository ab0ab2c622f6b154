/* wuneng.c: state heads and middle heads. Where the paper's equations do not fit together this follows
 * RWKV-7: the recurrence, its decay and its removal key are those of nn/rwkv7.h without the options that
 * RWKV-7 always has (value residual, bonus, gate). */
#include "nn/wuneng.h"

#include "base/num.h"

/* (B, T, H N) as (B, T, H, N). */
static rk_tensor *heads(rk_ctx *ctx, const rk_state_heads_io *io, rk_tensor *x)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], io->n_head, io->head_size};
    return rk_view(ctx, x, 4, dims);
}

/* (B, T, H, N) as (B, T, H N). */
static rk_tensor *rows(rk_ctx *ctx, rk_tensor *x)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], x->dims[2] * x->dims[3]};
    return rk_view(ctx, x, 3, dims);
}

/* ---- reading with the receptances of several tokens ---- */

/* Row i of dimension 1, as a tensor of its own. */
static rk_tensor *row_of(rk_ctx *ctx, rk_tensor *x, int64_t i)
{
    return rk_copy(ctx, rk_index(ctx, rk_transpose(ctx, x, 0, 1), i));
}

/* sum_i c_i r_{t-i}. A state is linear in what it is asked, so the sum asks it the questions of the last
 * tokens all at once. Each shift by a token has a row of the history. */
static rk_tensor *tapped(rk_ctx *ctx, rk_tensor *taps, rk_tensor *r, rk_tensor **history)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    const int64_t m = taps->dims[0];
    rk_tensor *sum = rk_mul(ctx, r, rk_index(ctx, taps, 0)), *last[RK_WUNENG_TAPS_MAX];
    rk_tensor *shifted = r;
    for (int64_t i = 1; i < m && !rk_ctx_failed(ctx); i++) {
        rk_tensor *before = shifted;
        shifted = rk_previous(ctx, before, row_of(ctx, *history, i - 1));
        last[i - 1] = rk_slice(ctx, before, 1, before->dims[1] - 1, before->dims[1]);
        sum = rk_add(ctx, sum, rk_mul(ctx, shifted, rk_index(ctx, taps, i)));
    }
    if (m > 1 && !rk_ctx_failed(ctx))
        *history = rk_concat(ctx, last, (int)m - 1, 1);
    return sum;
}

/* ---- state heads ---- */

enum { XR, XW, XK, XV, XA, XG, N_MIX };
enum { R, K, W, A, V, VL, G, N_READS };

/* All products that read the mixes at once, then the second factors of the low-rank pairs. */
static void project(rk_ctx *ctx, const rk_state_heads *p, rk_tensor *x, rk_state_heads_io *io,
                    rk_tensor **q)
{
    rk_tensor *const mu[N_MIX] = {p->x_r, p->x_w, p->x_k, p->x_v, p->x_a, p->x_g};
    rk_tensor *in[N_MIX] = {NULL};
    const int n_mix = p->x_g ? N_MIX : XG;
    rk_tensor *mixed = rk_shift_mix(ctx, x, io->shift, mu, n_mix, &io->shift);
    for (int i = 0; i < n_mix; i++)
        in[i] = rk_index(ctx, mixed, i);
    const bool residual = p->v0 && io->v_first;
    const rk_linears_in reads[N_READS] = {
        [R] = {in[XR], p->receptance, RK_UNARY_NONE},
        [K] = {in[XK], p->key, RK_UNARY_NONE},
        [W] = {in[XW], p->w1, RK_TANH},
        [A] = {in[XA], p->a1, RK_UNARY_NONE},
        [V] = {io->value ? io->value : in[XV], p->value, RK_UNARY_NONE},
        [VL] = {in[XV], p->v1, RK_UNARY_NONE},
        [G] = {in[XG], p->g1, RK_SIGMOID},
    };
    const rk_weight *const second[N_READS] = {
        [W] = &p->w2, [A] = &p->a2, [VL] = &p->v2, [G] = &p->g2};
    rk_linears_in now[N_READS], up[N_READS];
    rk_tensor *got[N_READS] = {NULL}, *raised[N_READS] = {NULL};
    int which[N_READS], n = 0, n_up = 0;
    for (int i = 0; i < N_READS; i++)
        if ((i != VL || residual) && (i != G || p->x_g)) {
            now[n] = reads[i];
            which[n++] = i;
        }
    rk_linears(ctx, now, n, got);
    for (int i = 0; i < n; i++) {
        q[which[i]] = got[i];
        if (second[which[i]])
            up[n_up++] = (rk_linears_in){got[i], *second[which[i]], RK_UNARY_NONE};
    }
    rk_linears(ctx, up, n_up, raised);
    for (int i = 0, at = 0; i < n; i++)
        if (second[which[i]])
            q[which[i]] = raised[at++];
}

/* Group norm, and what options add behind it. */
static rk_tensor *normalised(rk_ctx *ctx, const rk_state_heads *p, const rk_state_heads_io *io,
                             rk_tensor *y, rk_tensor *const *q, rk_tensor *k, rk_tensor *v)
{
    const double eps = 1e-5 * (double)io->head_size;
    if (!p->r_k && !p->x_g)
        return rk_norm(ctx, rows(ctx, y), p->ln_x_w, p->ln_x_b, io->n_head, eps);
    const rk_rwkv7_output_in out = {.y = y,
                                    .r = heads(ctx, io, q[R]),
                                    .k = k,
                                    .v = v,
                                    .g = heads(ctx, io, q[G]),
                                    .r_k = p->r_k,
                                    .ln_w = p->ln_x_w,
                                    .ln_b = p->ln_x_b,
                                    .form = {.eps = eps}};
    return rows(ctx, rk_rwkv7_output_op(ctx, &out));
}

rk_tensor *rk_state_heads_forward(rk_ctx *ctx, const rk_state_heads *p, rk_tensor *x,
                                  rk_state_heads_io *io)
{
    rk_tensor *q[N_READS] = {NULL};
    project(ctx, p, x, io, q);
    if (rk_ctx_failed(ctx))
        return NULL;
    rk_tensor *v = heads(ctx, io, q[V]);
    const rk_rwkv7_prepare_in raw = {.w0 = p->w0,
                                     .a0 = p->a0,
                                     .v0 = q[VL] ? p->v0 : NULL,
                                     .k_k = p->k_k,
                                     .k_a = p->k_a,
                                     .wl = heads(ctx, io, q[W]),
                                     .al = heads(ctx, io, q[A]),
                                     .vl = heads(ctx, io, q[VL]),
                                     .k = heads(ctx, io, q[K]),
                                     .v = v,
                                     .v_first = q[VL] ? io->v_first : NULL};
    const rk_rwkv7_prepare_out in = rk_rwkv7_prepare_op(ctx, &raw);
    const rk_wkv7_in wkv = {.r = heads(ctx, io, tapped(ctx, p->taps, q[R], &io->history)),
                            .w = in.w,
                            .k = in.k,
                            .v = in.v,
                            .a = in.a,
                            .b = io->removal == 1.0 ? in.b : rk_scale(ctx, in.b, io->removal),
                            .state = io->wkv,
                            .hop = p->hop};
    rk_tensor *y = rk_wkv7(ctx, &wkv, &io->wkv);
    if (!io->v_first)
        io->v_first = v;
    return normalised(ctx, p, io, y, q, in.k, in.v);
}

/* ---- middle heads ---- */

/* Head h of x (B, T, H, n), as (B, T, n) that lies apart. */
static rk_tensor *head_of(rk_ctx *ctx, rk_tensor *x, int64_t h)
{
    if (rk_ctx_failed(ctx))
        return NULL;
    return rk_index(ctx, rk_transpose(ctx, rk_transpose(ctx, x, 0, 2), 1, 2), h);
}

/* For each middle head a product of its own, x_j w_j: (B, T, n_heads out). */
static rk_tensor *each(rk_ctx *ctx, rk_tensor *const *x, rk_tensor *w, rk_unary after)
{
    rk_tensor *y[RK_LINEARS_MAX] = {NULL};
    rk_linears_in in[RK_LINEARS_MAX];
    const int n = (int)w->dims[0];
    for (int j = 0; j < n; j++)
        in[j] = (rk_linears_in){x[j], rk_weight_of(rk_index(ctx, w, j), RK_OUT_IN), after};
    rk_linears(ctx, in, n, y);
    return rk_ctx_failed(ctx) ? NULL : rk_concat(ctx, y, n, 2);
}

/* The heads that the middle heads are paired with, beside each other: side 0 of attention, 1 of states. */
static void partners(rk_ctx *ctx, const rk_middle_heads *p, int n, rk_tensor *x, int side,
                     rk_tensor **out)
{
    for (int j = 0; j < n; j++)
        out[j] = rk_copy(ctx, head_of(ctx, x, p->pairs[j][side]));
}

static int n_middle(const rk_middle_heads *p)
{
    return (int)(p->join ? p->join : p->up)->dims[0];
}

rk_tensor *rk_middle_heads_forward(rk_ctx *ctx, const rk_middle_heads *p, rk_middle_mode mode,
                                   rk_tensor *attention, rk_tensor *states)
{
    rk_tensor *a[RK_LINEARS_MAX] = {NULL}, *s[RK_LINEARS_MAX] = {NULL}, *both[RK_LINEARS_MAX];
    const int n = n_middle(p);
    partners(ctx, p, n, attention, 0, a);
    partners(ctx, p, n, states, 1, s);
    if (rk_ctx_failed(ctx))
        return NULL;
    for (int j = 0; p->join && j < n; j++)
        both[j] = rk_concat(ctx, (rk_tensor *const[]){a[j], s[j]}, 2, 2);
    if (mode == RK_MIDDLE_CONCAT)
        return each(ctx, both, p->join, RK_UNARY_NONE);
    rk_tensor *up = each(ctx, s, p->up, RK_UNARY_NONE), *first = rk_concat(ctx, a, n, 2);
    if (mode == RK_MIDDLE_ADD)
        return rk_add(ctx, first, up);
    const int64_t width = rk_tensor_count(p->bias);
    rk_tensor *g =
        rk_add(ctx, each(ctx, both, p->join, RK_UNARY_NONE), rk_view(ctx, p->bias, 1, &width));
    return rk_lerp(ctx, up, first, rk_unary_op(ctx, RK_SIGMOID, g));
}

rk_tensor *rk_middle_queries(rk_ctx *ctx, const rk_middle_heads *p, rk_tensor *q, rk_tensor *states)
{
    rk_tensor *y = rk_middle_heads_forward(ctx, p, RK_MIDDLE_ADD, q, states);
    if (!y)
        return NULL;
    const int64_t dims[] = {y->dims[0], y->dims[1], n_middle(p), q->dims[3]};
    return rk_view(ctx, y, 4, dims);
}
