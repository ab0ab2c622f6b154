/* op_rwkv7.c: what stands before and after the wkv7 recurrence in an RWKV-7 time mix. Parameters'
 * gradients are sums over rows: the kernels leave per-row terms in scratch, which are then added
 * row after row, channel by channel. */
#include <string.h>

#include "base/num.h"
#include "tensor/op.h"

typedef struct mix_job {
    const rk_kernels *kern;
    const rk_tensor *like; /* (B,T,H,N) */
    int64_t rows, width;
    const rk_node *node;
    const void *grads; /* of backward: the kernel's struct for row 0 */
} mix_job;

static bool all_like_first(const rk_node *n, int from, int to, const rk_tensor *like)
{
    for (int i = from; i < to; i++)
        if (n->in[i] && !rk_tensor_same_shape(n->in[i], like))
            return false;
    return like->n_dims == 4;
}

static bool all_vectors(const rk_node *n, int from, int to, int64_t count)
{
    for (int i = from; i < to; i++)
        if (n->in[i] && rk_tensor_count(n->in[i]) != count)
            return false;
    return true;
}

static int64_t width_of(const rk_tensor *t)
{
    return t->dims[2] * t->dims[3];
}
static int64_t rows_of(const rk_tensor *t)
{
    return t->dims[0] * t->dims[1];
}

/* Sum per-row terms (rows, C) into a vector's gradient. */
typedef struct sum_rows_job {
    const rk_kernels *kern;
    const rk_tensor *like;
    int64_t rows, width;
    const void *terms;
    void *out;
} sum_rows_job;

static void sum_rows_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const sum_rows_job *j = arg;
    (void)worker;
    j->kern->add_rows(j->rows, hi - lo, j->width, rk_at(j->like, j->terms, lo),
                      rk_at(j->like, j->out, lo));
}

static void sum_rows(rk_ctx *ctx, const mix_job *m, const void *terms, void *out)
{
    sum_rows_job j = {m->kern, m->like, m->rows, m->width, terms, out};
    if (out)
        rk_parallel(ctx, j.width, RK_GRAIN_COLS, sum_rows_piece, &j);
}

/* ---- prepare ---- */

enum { W0, A0, V0, K_K, K_A, WL, AL, VL, K, V, V_FIRST, PREPARE_IN };
enum { OUT_W, OUT_K, OUT_A, OUT_B, OUT_V };
/* Per-row terms in backward's scratch. */
enum { ROWS_WL, ROWS_AL, ROWS_VL, ROWS_K_K, ROWS_K_A, PREPARE_SPARE, PREPARE_ROWS };

void rk_rwkv7_prepare_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *k = n->in[K];
    bool present = true;
    for (int i = 0; i < PREPARE_IN; i++)
        present = present && (n->in[i] || i == VL || i == V_FIRST || i == V0);
    if (!rk_expect(ctx, n,
                   present && !n->in[VL] == !n->in[V_FIRST] && !n->in[V0] == !n->in[V_FIRST],
                   "all inputs") ||
        !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   all_like_first(n, WL, PREPARE_IN, k) && all_vectors(n, W0, WL, width_of(k)),
                   "vectors of C and tensors (B,T,H,N)"))
        return;
    n->scratch_bwd_bytes = PREPARE_ROWS * rk_tensor_bytes(k);
    n->n_out = n->in[V_FIRST] ? 5 : 4;
    for (int i = 0; i < n->n_out; i++)
        n->out[i] = rk_new_like(ctx, k);
}

static rk_rwkv7_prepare prepare_at(const rk_node *n, int64_t lo)
{
    const rk_tensor *t = n->in[K];
    const bool first = !n->in[V_FIRST];
    const void *in[PREPARE_IN];
    for (int i = 0; i < PREPARE_IN; i++)
        in[i] = n->in[i] ? rk_at(t, n->in[i]->data, i < WL ? 0 : lo) : NULL;
    return (rk_rwkv7_prepare){.w0 = in[W0],
                              .a0 = in[A0],
                              .v0 = in[V0],
                              .k_k = in[K_K],
                              .k_a = in[K_A],
                              .wl = in[WL],
                              .al = in[AL],
                              .vl = in[VL],
                              .k0 = in[K],
                              .v_in = in[V],
                              .v_first = in[V_FIRST],
                              .w = rk_at(t, n->out[OUT_W]->data, lo),
                              .k = rk_at(t, n->out[OUT_K]->data, lo),
                              .na = rk_at(t, n->out[OUT_A]->data, lo),
                              .b = rk_at(t, n->out[OUT_B]->data, lo),
                              .v = first ? NULL : rk_at(t, n->out[OUT_V]->data, lo)};
}

static void prepare_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rk_node *n = ((const mix_job *)arg)->node;
    const rk_rwkv7_prepare p = prepare_at(n, lo * width_of(n->in[K]));
    (void)worker;
    ((const mix_job *)arg)->kern->rwkv7_prepare(hi - lo, n->in[K]->dims[2], n->in[K]->dims[3], &p);
}

void rk_rwkv7_prepare_forward(rk_ctx *ctx, rk_node *n)
{
    mix_job j = {.kern = rk_ctx_kernels(ctx, n->in[K]->dtype), .node = n};
    rk_parallel(ctx, rows_of(n->in[K]), RK_GRAIN_ROWS, prepare_piece, &j);
}

static void prepare_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const mix_job *j = arg;
    const rk_node *n = j->node;
    const rk_rwkv7_prepare_grads *g = j->grads;
    const int64_t at = lo * j->width;
    const rk_rwkv7_prepare p = prepare_at(n, at);
    const rk_rwkv7_prepare_grads here = {.dw = rk_at(j->like, g->dw, at),
                                         .dk = rk_at(j->like, g->dk, at),
                                         .dna = rk_at(j->like, g->dna, at),
                                         .db = rk_at(j->like, g->db, at),
                                         .dv = rk_at(j->like, g->dv, at),
                                         .dwl = rk_at(j->like, g->dwl, at),
                                         .dal = rk_at(j->like, g->dal, at),
                                         .dvl = rk_at(j->like, g->dvl, at),
                                         .dk0 = rk_at(j->like, g->dk0, at),
                                         .dv_in = rk_at(j->like, g->dv_in, at),
                                         .dv_first = rk_at(j->like, g->dv_first, at),
                                         .dk_k_rows = rk_at(j->like, g->dk_k_rows, at),
                                         .dk_a_rows = rk_at(j->like, g->dk_a_rows, at)};
    (void)worker;
    /* Both are there, as gradient or scratch.
     * NOLINTBEGIN(clang-analyzer-core.NonNullParamChecker) */
    memset(here.dwl, 0, rk_reals(j->like, (hi - lo) * j->width));
    memset(here.dal, 0, rk_reals(j->like, (hi - lo) * j->width));
    /* NOLINTEND(clang-analyzer-core.NonNullParamChecker) */
    if (here.dvl)
        memset(here.dvl, 0, rk_reals(j->like, (hi - lo) * j->width));
    j->kern->rwkv7_prepare_bwd(hi - lo, j->like->dims[2], j->like->dims[3], &p, &here);
}

void rk_rwkv7_prepare_backward(rk_ctx *ctx, rk_node *n)
{
    static const struct {
        int terms, vector, rows_of; /* per-row terms; the vector that takes their sum; the input
                                     * that takes them as they are, or -1 */
    } sums[] = {{ROWS_WL, W0, WL},
                {ROWS_AL, A0, AL},
                {ROWS_VL, V0, VL},
                {ROWS_K_K, K_K, -1},
                {ROWS_K_A, K_A, -1}};
    const bool first = !n->in[V_FIRST];
    const rk_tensor *like = n->in[K];
    const int64_t count = rk_tensor_count(like);
    void *terms[PREPARE_ROWS];
    for (int i = 0; i < PREPARE_ROWS; i++)
        terms[i] = rk_at(like, n->scratch, i * count);
    const rk_rwkv7_prepare_grads g = {
        .dw = rk_grad(ctx, n->out[OUT_W]),
        .dk = rk_grad(ctx, n->out[OUT_K]),
        .dna = rk_grad(ctx, n->out[OUT_A]),
        .db = rk_grad(ctx, n->out[OUT_B]),
        .dv = first ? NULL : rk_grad(ctx, n->out[OUT_V]),
        .dwl = terms[ROWS_WL],
        .dal = terms[ROWS_AL],
        .dvl = first ? NULL : terms[ROWS_VL],
        .dk0 = rk_grad_or(ctx, n->in[K], terms[PREPARE_SPARE]),
        .dv_in = first ? NULL : rk_grad_or(ctx, n->in[V], terms[PREPARE_SPARE]),
        .dv_first = first ? NULL : rk_grad_or(ctx, n->in[V_FIRST], terms[PREPARE_SPARE]),
        .dk_k_rows = terms[ROWS_K_K],
        .dk_a_rows = terms[ROWS_K_A]};
    mix_job j = {rk_ctx_kernels(ctx, like->dtype), like, rows_of(like), width_of(like), n, &g};
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, prepare_bwd_piece, &j);
    for (size_t i = 0; i < RK_COUNT(sums); i++) {
        const int to = sums[i].rows_of;
        if (first && sums[i].terms == ROWS_VL)
            continue;
        sum_rows(ctx, &j, terms[sums[i].terms], rk_grad(ctx, n->in[sums[i].vector]));
        if (to >= 0 && rk_grad(ctx, n->in[to]) && !rk_ctx_failed(ctx))
            j.kern->axpy(count, 1.0, terms[sums[i].terms], rk_grad(ctx, n->in[to]));
    }
}

rk_rwkv7_prepare_out rk_rwkv7_prepare_op(rk_ctx *ctx, const rk_rwkv7_prepare_in *in)
{
    rk_node n = {.op = RK_OP_RWKV7_PREPARE,
                 .n_in = PREPARE_IN,
                 .in = {[W0] = in->w0,
                        [A0] = in->a0,
                        [V0] = in->v_first ? in->v0 : NULL,
                        [K_K] = in->k_k,
                        [K_A] = in->k_a,
                        [WL] = in->wl,
                        [AL] = in->al,
                        [VL] = in->vl,
                        [K] = in->k,
                        [V] = in->v,
                        [V_FIRST] = in->v_first}};
    if (!rk_apply(ctx, &n))
        return (rk_rwkv7_prepare_out){0};
    return (rk_rwkv7_prepare_out){n.out[OUT_W], n.out[OUT_K], n.out[OUT_A], n.out[OUT_B],
                                  in->v_first ? n.out[OUT_V] : in->v};
}

/* ---- output ---- */

enum { Y, R, KEY, VALUE, G, R_K, LN_W, LN_B, OUTPUT_IN };
enum { ROWS_R_K, ROWS_LN_W, ROWS_LN_B, OUTPUT_SPARE, OUTPUT_ROWS };

void rk_rwkv7_output_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *y = n->in[Y];
    bool present = true;
    for (int i = 0; i < OUTPUT_IN; i++)
        present = present && n->in[i];
    if (!rk_expect(ctx, n, present, "all inputs") || !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   all_like_first(n, Y, R_K, y) && all_vectors(n, R_K, OUTPUT_IN, width_of(y)),
                   "vectors of C and tensors (B,T,H,N)"))
        return;
    n->saved_bytes = rk_reals(y, rows_of(y) * y->dims[2] * 2);
    n->scratch_bwd_bytes = OUTPUT_ROWS * rk_tensor_bytes(y);
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, y);
}

static rk_rwkv7_output output_at(const rk_node *n, int64_t row)
{
    const rk_tensor *y = n->in[Y];
    const int64_t lo = row * width_of(y);
    return (rk_rwkv7_output){.y = rk_at(y, y->data, lo),
                             .r = rk_at(y, n->in[R]->data, lo),
                             .k = rk_at(y, n->in[KEY]->data, lo),
                             .v = rk_at(y, n->in[VALUE]->data, lo),
                             .g = rk_at(y, n->in[G]->data, lo),
                             .r_k = n->in[R_K]->data,
                             .ln_w = n->in[LN_W]->data,
                             .ln_b = n->in[LN_B]->data,
                             .eps = n->attr.norm.eps,
                             .stats = rk_at(y, n->saved, row * y->dims[2] * 2),
                             .z = rk_at(y, n->out[0]->data, lo)};
}

static void output_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const mix_job *j = arg;
    const rk_node *n = j->node;
    const rk_rwkv7_output p = output_at(n, lo);
    (void)worker;
    j->kern->rwkv7_output(hi - lo, n->in[Y]->dims[2], n->in[Y]->dims[3], &p);
}

void rk_rwkv7_output_forward(rk_ctx *ctx, rk_node *n)
{
    mix_job j = {.kern = rk_ctx_kernels(ctx, n->in[Y]->dtype), .node = n};
    rk_parallel(ctx, rows_of(n->in[Y]), RK_GRAIN_ROWS, output_piece, &j);
}

static void output_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const mix_job *j = arg;
    const rk_rwkv7_output_grads *g = j->grads;
    const int64_t at = lo * j->width;
    const rk_rwkv7_output p = output_at(j->node, lo);
    const rk_rwkv7_output_grads here = {.dz = rk_at(j->like, g->dz, at),
                                        .dy = rk_at(j->like, g->dy, at),
                                        .dr = rk_at(j->like, g->dr, at),
                                        .dk = rk_at(j->like, g->dk, at),
                                        .dv = rk_at(j->like, g->dv, at),
                                        .dg = rk_at(j->like, g->dg, at),
                                        .dr_k_rows = rk_at(j->like, g->dr_k_rows, at),
                                        .dln_w_rows = rk_at(j->like, g->dln_w_rows, at),
                                        .dln_b_rows = rk_at(j->like, g->dln_b_rows, at)};
    (void)worker;
    j->kern->rwkv7_output_bwd(hi - lo, j->like->dims[2], j->like->dims[3], &p, &here);
}

void rk_rwkv7_output_backward(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *like = n->in[Y];
    const int64_t count = rk_tensor_count(like);
    void *spare = rk_at(like, n->scratch, OUTPUT_SPARE * count);
    const rk_rwkv7_output_grads g = {.dz = rk_grad(ctx, n->out[0]),
                                     .dy = rk_grad_or(ctx, n->in[Y], spare),
                                     .dr = rk_grad_or(ctx, n->in[R], spare),
                                     .dk = rk_grad_or(ctx, n->in[KEY], spare),
                                     .dv = rk_grad_or(ctx, n->in[VALUE], spare),
                                     .dg = rk_grad_or(ctx, n->in[G], spare),
                                     .dr_k_rows = rk_at(like, n->scratch, ROWS_R_K * count),
                                     .dln_w_rows = rk_at(like, n->scratch, ROWS_LN_W * count),
                                     .dln_b_rows = rk_at(like, n->scratch, ROWS_LN_B * count)};
    mix_job j = {rk_ctx_kernels(ctx, like->dtype), like, rows_of(like), width_of(like), n, &g};
    rk_parallel(ctx, j.rows, RK_GRAIN_ROWS, output_bwd_piece, &j);
    sum_rows(ctx, &j, g.dr_k_rows, rk_grad(ctx, n->in[R_K]));
    sum_rows(ctx, &j, g.dln_w_rows, rk_grad(ctx, n->in[LN_W]));
    sum_rows(ctx, &j, g.dln_b_rows, rk_grad(ctx, n->in[LN_B]));
}

rk_tensor *rk_rwkv7_output_op(rk_ctx *ctx, const rk_rwkv7_output_in *in)
{
    rk_node n = {.op = RK_OP_RWKV7_OUTPUT,
                 .n_in = OUTPUT_IN,
                 .in = {in->y, in->r, in->k, in->v, in->g, in->r_k, in->ln_w, in->ln_b}};
    n.attr.norm.eps = in->eps;
    return rk_apply1(ctx, &n);
}
