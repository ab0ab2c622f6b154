/* op_rwkv7.c: what stands before and after the wkv7 recurrence in an RWKV-7 time mix. Parameters'
 * gradients are sums over rows: the kernels leave the terms of a piece of rows in the thread's
 * scratch, where they are added up before the next piece (row_pieces.h). */
#include <string.h>

#include "base/num.h"
#include "tensor/row_pieces.h"

typedef struct mix_job {
    const rk_kernels *kern;
    const rk_tensor *like; /* (B,T,H,N) */
    int64_t rows, width;
    const rk_node *node;
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

/* ---- backward: row by row into the inputs' gradients, sums over rows for vectors ---- */

enum { IN_MAX = 11 }; /* of prepare, which has the most */

typedef struct mix_bwd_job {
    const rk_kernels *kern;
    const rk_tensor *like;
    int64_t width;
    const rk_node *node;
    rk_row_pieces pieces;
    rk_grad_rows in[IN_MAX]; /* of inputs (B,T,H,N); no data where none is needed */
    int n_terms;             /* arrays of per-row terms, and of sums of pieces */
    void *terms;             /* (thread, term, RK_GRAIN_ROWS, C) */
    void *sums;              /* (term, piece, C) */
} mix_bwd_job;

static rk_row_pieces pieces_of(const rk_tensor *like)
{
    return rk_row_pieces_of(rows_of(like), like->dims[1]);
}

static int64_t terms_count(const rk_ctx *ctx, const rk_tensor *like, int n_terms)
{
    return (int64_t)rk_pool_n_threads(ctx->pool) * n_terms * RK_GRAIN_ROWS * width_of(like);
}

static size_t mix_bwd_bytes(const rk_ctx *ctx, const rk_tensor *like, int n_terms)
{
    return rk_reals(like,
                    terms_count(ctx, like, n_terms) + n_terms * pieces_of(like).n * width_of(like));
}

static mix_bwd_job mix_bwd_job_of(rk_ctx *ctx, rk_node *n, const rk_tensor *like, int n_terms)
{
    return (mix_bwd_job){.kern = rk_ctx_kernels(ctx, like->dtype),
                         .like = like,
                         .width = width_of(like),
                         .node = n,
                         .pieces = pieces_of(like),
                         .n_terms = n_terms,
                         .terms = n->scratch,
                         .sums = rk_at(like, n->scratch, terms_count(ctx, like, n_terms))};
}

/* This thread's place for the terms of a piece. */
static void *terms_of(const mix_bwd_job *j, int term, int worker)
{
    return rk_at(j->like, j->terms,
                 ((int64_t)worker * j->n_terms + term) * RK_GRAIN_ROWS * j->width);
}

static void sum_terms(const mix_bwd_job *j, int term, int64_t piece, int64_t rows,
                      const void *terms)
{
    void *sum = rk_at(j->like, j->sums, (term * j->pieces.n + piece) * j->width);
    memset(sum, 0, rk_reals(j->like, j->width));
    j->kern->add_rows(rows, j->width, j->width, terms, sum);
}

static void add_sums(rk_ctx *ctx, const mix_bwd_job *j, int term, void *out)
{
    rk_add_pieces(ctx, j->like, &j->pieces, j->width,
                  rk_at(j->like, j->sums, term * j->pieces.n * j->width), out);
}

/* ---- prepare ---- */

enum { W0, A0, V0, K_K, K_A, WL, AL, VL, K, V, V_FIRST, PREPARE_IN };
enum { OUT_W, OUT_K, OUT_A, OUT_B, OUT_V };
/* Terms of backward; the vectors from W0 on take their sums. The spare one is for inputs that need
 * no gradient. */
enum {
    TERM_WL,
    TERM_AL,
    TERM_VL,
    TERM_K_K,
    TERM_K_A,
    N_VECTORS,
    PREPARE_SPARE = N_VECTORS,
    N_TERMS
};

static void rwkv7_prepare_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *k = n->in[K];
    bool present = true;
    for (int i = 0; i < PREPARE_IN; i++)
        present =
            present && (n->in[i] || i == VL || i == V_FIRST || i == V0 || i == K_K || i == K_A);
    if (!rk_expect(ctx, n,
                   present && !n->in[VL] == !n->in[V_FIRST] && !n->in[V0] == !n->in[V_FIRST] &&
                       !n->in[K_K] == !n->in[K_A],
                   "all inputs") ||
        !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   all_like_first(n, WL, PREPARE_IN, k) && all_vectors(n, W0, WL, width_of(k)),
                   "vectors of C and tensors (B,T,H,N)"))
        return;
    n->scratch_bwd_bytes = mix_bwd_bytes(ctx, k, N_TERMS);
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

static void rwkv7_prepare_forward(rk_ctx *ctx, rk_node *n)
{
    mix_job j = {.kern = rk_ctx_kernels(ctx, n->in[K]->dtype), .node = n};
    rk_parallel(ctx, rows_of(n->in[K]), RK_GRAIN_ROWS, prepare_piece, &j);
}

static void prepare_bwd_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const mix_bwd_job *j = arg;
    const rk_node *n = j->node;
    const rk_tensor *like = j->like;
    int64_t lo, hi;
    (void)end;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    const int64_t at = lo * j->width, count = (hi - lo) * j->width;
    const bool first = !n->in[V_FIRST];
    void *terms[N_TERMS], *in[PREPARE_IN] = {NULL};
    for (int q = 0; q < N_TERMS; q++)
        terms[q] = terms_of(j, q, worker);
    for (int q = WL; q < PREPARE_IN; q++)
        if (!(in[q] = rk_grad_rows_at(&j->in[q], lo, hi)))
            in[q] = terms[PREPARE_SPARE];
    memset(terms[TERM_WL], 0, rk_reals(like, count));
    memset(terms[TERM_AL], 0, rk_reals(like, count));
    memset(terms[TERM_VL], 0, rk_reals(like, count));
    const rk_rwkv7_prepare p = prepare_at(n, at);
    const rk_rwkv7_prepare_grads g = {.dw = rk_at(like, n->out[OUT_W]->grad, at),
                                      .dk = rk_at(like, n->out[OUT_K]->grad, at),
                                      .dna = rk_at(like, n->out[OUT_A]->grad, at),
                                      .db = rk_at(like, n->out[OUT_B]->grad, at),
                                      .dv = first ? NULL : rk_at(like, n->out[OUT_V]->grad, at),
                                      .dwl = terms[TERM_WL],
                                      .dal = terms[TERM_AL],
                                      .dvl = first ? NULL : terms[TERM_VL],
                                      .dk0 = in[K],
                                      .dv_in = first ? NULL : in[V],
                                      .dv_first = first ? NULL : in[V_FIRST],
                                      .dk_k_rows = terms[TERM_K_K],
                                      .dk_a_rows = terms[TERM_K_A]};
    j->kern->rwkv7_prepare_bwd(hi - lo, like->dims[2], like->dims[3], &p, &g);
    for (int q = 0; q < N_VECTORS; q++)
        sum_terms(j, q, i, hi - lo, terms[q]);
    for (int q = TERM_WL; q <= TERM_VL; q++)
        if (in[WL + q] != terms[PREPARE_SPARE])
            j->kern->axpy(count, 1.0, terms[q], in[WL + q]);
}

static void rwkv7_prepare_backward(rk_ctx *ctx, rk_node *n)
{
    static const int vectors[N_VECTORS] = {W0, A0, V0, K_K, K_A};
    mix_bwd_job j = mix_bwd_job_of(ctx, n, n->in[K], N_TERMS);
    void *sums[N_VECTORS];
    for (int q = WL; q < PREPARE_IN; q++)
        j.in[q] = rk_grad_rows_of(ctx, n->in[q], j.pieces.rows, NULL);
    for (int q = 0; q < N_VECTORS; q++)
        sums[q] = rk_grad(ctx, n->in[vectors[q]]);
    rk_parallel(ctx, j.pieces.n, 1, prepare_bwd_piece, &j);
    for (int q = 0; q < N_VECTORS; q++)
        add_sums(ctx, &j, q, sums[q]);
}

const rk_op rk_op_rwkv7_prepare = {
    .name = "rwkv7_prepare",
    .shape = rwkv7_prepare_shape,
    .on[RK_CPU] = {rwkv7_prepare_forward, rwkv7_prepare_backward},
};

rk_rwkv7_prepare_out rk_rwkv7_prepare_op(rk_ctx *ctx, const rk_rwkv7_prepare_in *in)
{
    rk_node n = {.op = &rk_op_rwkv7_prepare,
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
/* Terms of backward; the vectors from R_K on take the sums of the first ones. */
enum {
    TERM_R_K,
    TERM_LN_W,
    TERM_LN_B,
    N_OUTPUT_VECTORS,
    OUTPUT_SPARE = N_OUTPUT_VECTORS,
    N_OUTPUT_TERMS
};

static void rwkv7_output_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *y = n->in[Y];
    bool present = true;
    for (int i = 0; i < G; i++)
        present = present && n->in[i];
    if (!rk_expect(ctx, n, present && !n->in[LN_W] == !n->in[LN_B], "all inputs") ||
        !rk_expect_plain(ctx, n) ||
        !rk_expect(ctx, n,
                   all_like_first(n, Y, R_K, y) && all_vectors(n, R_K, OUTPUT_IN, width_of(y)),
                   "vectors of C and tensors (B,T,H,N)"))
        return;
    n->saved_bytes = rk_reals(y, rows_of(y) * y->dims[2] * 2);
    n->scratch_bwd_bytes = mix_bwd_bytes(ctx, y, N_OUTPUT_TERMS);
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, y);
}

static void *data_at(const rk_node *n, int i, int64_t place)
{
    return n->in[i] ? rk_at(n->in[Y], n->in[i]->data, place) : NULL;
}

static rk_rwkv7_output output_at(const rk_node *n, int64_t row)
{
    const rk_tensor *y = n->in[Y];
    const int64_t lo = row * width_of(y);
    const rk_rwkv7_form *form = n->attr;
    return (rk_rwkv7_output){.y = rk_at(y, y->data, lo),
                             .r = data_at(n, R, lo),
                             .k = data_at(n, KEY, lo),
                             .v = data_at(n, VALUE, lo),
                             .g = data_at(n, G, lo),
                             .r_k = data_at(n, R_K, 0),
                             .ln_w = data_at(n, LN_W, 0),
                             .ln_b = data_at(n, LN_B, 0),
                             .eps = form->eps,
                             .scale = form->scale,
                             .gate_base = form->gate_base,
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

static void rwkv7_output_forward(rk_ctx *ctx, rk_node *n)
{
    mix_job j = {.kern = rk_ctx_kernels(ctx, n->in[Y]->dtype), .node = n};
    rk_parallel(ctx, rows_of(n->in[Y]), RK_GRAIN_ROWS, output_piece, &j);
}

static void output_bwd_piece(void *arg, int64_t i, int64_t end, int worker)
{
    const mix_bwd_job *j = arg;
    const rk_tensor *like = j->like;
    int64_t lo, hi;
    (void)end;
    rk_row_piece_at(&j->pieces, i, &lo, &hi);
    void *terms[N_OUTPUT_TERMS], *in[R_K];
    for (int q = 0; q < N_OUTPUT_TERMS; q++)
        terms[q] = terms_of(j, q, worker);
    for (int q = Y; q < R_K; q++)
        if (!(in[q] = rk_grad_rows_at(&j->in[q], lo, hi)))
            in[q] = terms[OUTPUT_SPARE];
    const rk_rwkv7_output p = output_at(j->node, lo);
    const rk_rwkv7_output_grads g = {.dz = rk_at(like, j->node->out[0]->grad, lo * j->width),
                                     .dy = in[Y],
                                     .dr = in[R],
                                     .dk = in[KEY],
                                     .dv = in[VALUE],
                                     .dg = in[G],
                                     .dr_k_rows = terms[TERM_R_K],
                                     .dln_w_rows = terms[TERM_LN_W],
                                     .dln_b_rows = terms[TERM_LN_B]};
    j->kern->rwkv7_output_bwd(hi - lo, like->dims[2], like->dims[3], &p, &g);
    for (int q = 0; q < N_OUTPUT_VECTORS; q++)
        sum_terms(j, q, i, hi - lo, terms[q]);
}

static void rwkv7_output_backward(rk_ctx *ctx, rk_node *n)
{
    mix_bwd_job j = mix_bwd_job_of(ctx, n, n->in[Y], N_OUTPUT_TERMS);
    void *sums[N_OUTPUT_VECTORS];
    for (int q = Y; q < R_K; q++)
        j.in[q] = rk_grad_rows_of(ctx, n->in[q], j.pieces.rows, NULL);
    for (int q = 0; q < N_OUTPUT_VECTORS; q++)
        sums[q] = rk_grad(ctx, n->in[R_K + q]);
    rk_parallel(ctx, j.pieces.n, 1, output_bwd_piece, &j);
    for (int q = 0; q < N_OUTPUT_VECTORS; q++)
        add_sums(ctx, &j, q, sums[q]);
}

const rk_op rk_op_rwkv7_output = {
    .name = "rwkv7_output",
    .shape = rwkv7_output_shape,
    .on[RK_CPU] = {rwkv7_output_forward, rwkv7_output_backward},
    .attr_bytes = sizeof(rk_rwkv7_form),
};

rk_tensor *rk_rwkv7_output_op(rk_ctx *ctx, const rk_rwkv7_output_in *in)
{
    rk_node n = {.op = &rk_op_rwkv7_output,
                 .n_in = OUTPUT_IN,
                 .in = {in->y, in->r, in->k, in->v, in->g, in->r_k, in->ln_w, in->ln_b},
                 .attr = &in->form};
    return rk_apply1(ctx, &n);
}
