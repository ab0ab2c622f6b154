/* muon.c: Muon (K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024).
 * For a hidden matrix W (R, C) with gradient G:
 *
 *     M = mu M + G,  U = G + mu M,  X = U / |U|
 *     5 times X = a X + b (X X^T) X + c (X X^T)^2 X
 *     W -= lr (s X + decay W),  s = 0.2 sqrt(max(R, C))
 *
 * Each round brings the singular values of X nearer to 1, so that the update is about as long in all
 * directions. a, b, c are the published ones, chosen for speed: values above 0.01 or so end between 0.7 and
 * 1.2, not at 1. s is that of "Muon is scalable for LLM training" (arXiv 2502.16982):
 * elements of the update then have the root mean square of AdamW's, some 0.2, and rate and decay that
 * suit AdamW suit Muon. The other scale in use, sqrt(max(1, R/C)), wants a rate some ten times higher.
 *
 * Of the two products X X^T and X^T X the smaller is taken. All of it is f32, --dtype bf16 or not. */
#include "train/muon.h"

#include <math.h>

#include "base/num.h"
#include "kernels/gemm.h"

enum { PIECE = 16384, ROUNDS = 5, M = 0 };

static const double A = 3.4445, B = -4.7750, C = 2.0315;

/* A matrix on its way to an orthogonal one. */
typedef struct work {
    rk_ctx *ctx;
    int64_t rows, cols, side; /* side: the smaller of them */
    float *x, *next;          /* (rows, cols) */
    float *gram, *poly;       /* (side, side) */
    void *scratch;            /* of products */
} work;

/* ---- products ---- */

static rk_gemm_shape gram_shape(const work *w)
{
    return (rk_gemm_shape){w->side, w->side, rk_max_i64(w->rows, w->cols)};
}
static rk_gemm_shape square_shape(const work *w)
{
    return (rk_gemm_shape){w->side, w->side, w->side};
}
static rk_gemm_shape next_shape(const work *w)
{
    return (rk_gemm_shape){w->rows, w->cols, w->side};
}

static void product(const work *w, rk_gemm_shape s, rk_matrix a, rk_matrix b, float *c, bool add)
{
    rk_gemm(w->ctx->kernels, w->ctx->pool, w->scratch, s, a, b, c, s.n, add, false);
}

static rk_matrix as_is(const float *x, int64_t cols)
{
    return (rk_matrix){x, RK_F32, cols, 1};
}
static rk_matrix transposed(const float *x, int64_t cols)
{
    return (rk_matrix){x, RK_F32, 1, cols};
}

/* ---- element by element ---- */

typedef struct scale_job {
    const rk_kernels *kern;
    double by;
    const float *from;
    float *to;
} scale_job;

static void scale_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const scale_job *j = arg;
    (void)worker;
    j->kern->scale(hi - lo, j->by, j->from + lo, j->to + lo);
}

/* to = by from */
static void scale(rk_ctx *ctx, int64_t n, double by, const float *from, float *to)
{
    scale_job j = {ctx->kernels, by, from, to};
    rk_parallel_whole(ctx, n, PIECE, scale_piece, &j);
}

typedef struct matrix_job {
    const rk_kernels *kern;
    const rk_update *u;
    const rk_optim_step *step;
    float *x;
    double lr, decay; /* of X, and of W as a part of X */
} matrix_job;

static void momentum_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const matrix_job *j = arg;
    const double mu = j->step->p->muon_momentum, by = j->step->grad_scale;
    const float *g = j->u->grad + lo;
    float *m = j->u->state[M] + lo, *x = j->x + lo;
    const int64_t n = hi - lo;
    (void)worker;
    j->kern->scale(n, mu, m, m);
    j->kern->axpy(n, by, g, m);
    j->kern->scale(n, by, g, x);
    j->kern->axpy(n, mu, m, x);
}

static void step_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const matrix_job *j = arg;
    float *w = j->u->weight + lo, *x = j->x + lo;
    (void)worker;
    j->kern->axpy(hi - lo, j->decay, w, x);
    j->kern->axpy(hi - lo, -j->lr, x, w);
}

/* ---- an update ---- */

/* X = a X + b (X X^T) X + c (X X^T)^2 X, or with X^T X behind X. */
static void iterate(const work *w)
{
    const int64_t n = w->rows * w->cols, n_square = w->side * w->side;
    const bool wide = w->rows <= w->cols;
    const rk_matrix x = as_is(w->x, w->cols), x_t = transposed(w->x, w->cols);
    const rk_matrix gram = as_is(w->gram, w->side), poly = as_is(w->poly, w->side);
    product(w, gram_shape(w), wide ? x : x_t, wide ? x_t : x, w->gram, false);
    scale(w->ctx, n_square, B / C, w->gram, w->poly);
    product(w, square_shape(w), gram, gram, w->poly, true);
    scale(w->ctx, n, A / C, w->x, w->next);
    product(w, next_shape(w), wide ? poly : x, wide ? x : poly, w->next, true);
    scale(w->ctx, n, C, w->next, w->x);
}

/* A gradient that has always been zero moves nothing. */
static void orthogonalise(const work *w)
{
    const int64_t n = w->rows * w->cols;
    const double norm = sqrt(w->ctx->kernels->sum_squares(n, w->x));
    if (norm == 0.0)
        return;
    scale(w->ctx, n, 1.0 / norm, w->x, w->x);
    for (int i = 0; i < ROUNDS; i++)
        iterate(w);
}

static void update_matrix(const work *w, const rk_update *u, const rk_optim_step *s)
{
    const rk_train_params *p = s->p;
    const double own = p->muon_lr < 0.0 ? s->lr : p->lr > 0.0 ? s->lr / p->lr * p->muon_lr : 0.0;
    const double size = 0.2 * sqrt((double)rk_max_i64(u->rows, u->cols));
    const double decay = u->decay ? p->weight_decay : 0.0;
    matrix_job j = {.kern = w->ctx->kernels,
                    .u = u,
                    .step = s,
                    .x = w->x,
                    .lr = own * u->lr_scale * size,
                    .decay = decay / size};
    rk_parallel_whole(w->ctx, u->n, PIECE, momentum_piece, &j);
    orthogonalise(w);
    rk_parallel_whole(w->ctx, u->n, PIECE, step_piece, &j);
}

/* ---- memory ---- */

static size_t product_bytes(const work *w, const rk_kernels *kern)
{
    const size_t gram = rk_gemm_scratch(kern, 1, gram_shape(w));
    const size_t square = rk_gemm_scratch(kern, 1, square_shape(w));
    const size_t next = rk_gemm_scratch(kern, 1, next_shape(w));
    const size_t most = gram > square ? gram : square;
    return most > next ? most : next;
}

static work sizes_of(int64_t rows, int64_t cols)
{
    return (work){.rows = rows, .cols = cols, .side = rk_min_i64(rows, cols)};
}

/* The five pieces of a matrix's work, each rounded up as an arena does. */
static size_t bytes_of(const work *w, const rk_kernels *kern)
{
    const size_t n = (size_t)(w->rows * w->cols), square = (size_t)(w->side * w->side);
    return 2 * rk_align_up(n * sizeof(float), RK_ARENA_ALIGN) +
           2 * rk_align_up(square * sizeof(float), RK_ARENA_ALIGN) +
           rk_align_up(product_bytes(w, kern), RK_ARENA_ALIGN);
}

/* The arena was planned for the largest. */
static work begin(rk_ctx *ctx, const rk_update *u)
{
    work w = sizes_of(u->rows, u->cols);
    const size_t n = (size_t)u->n, square = (size_t)(w.side * w.side);
    rk_arena_reset(&ctx->data);
    w.ctx = ctx;
    w.x = rk_ctx_alloc(ctx, n * sizeof(float));
    w.next = rk_ctx_alloc(ctx, n * sizeof(float));
    w.gram = rk_ctx_alloc(ctx, square * sizeof(float));
    w.poly = rk_ctx_alloc(ctx, square * sizeof(float));
    w.scratch = rk_ctx_alloc(ctx, product_bytes(&w, ctx->kernels));
    return w;
}

size_t rk_muon_scratch(const rk_kernels *kern, const rk_model *m)
{
    size_t most = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        const work w = sizes_of(rk_tensor_rows(&p->tensor), rk_tensor_cols(&p->tensor));
        const size_t bytes = rk_param_is_hidden(p) && p->trained ? bytes_of(&w, kern) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

int rk_muon_n_states(const rk_param *p)
{
    return rk_param_is_hidden(p) ? 1 : 2;
}

void rk_muon_update(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_optim_step *s)
{
    rk_ctx_reset(ctx);
    rk_pool_set_whole(ctx->pool, true);
    for (int64_t i = 0; i < n; i++)
        if (u[i].rows > 0) {
            const work w = begin(ctx, &u[i]);
            if (w.scratch)
                update_matrix(&w, &u[i], s);
        } else {
            rk_adamw_update(ctx, &u[i], s);
        }
    rk_pool_set_whole(ctx->pool, false);
}
