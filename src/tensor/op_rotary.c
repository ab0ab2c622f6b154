/* op_rotary.c: positions of tokens and rotary embedding at them. */
#include <math.h>
#include <string.h>

#include "tensor/rotary.h"
#include "tensor/runs.h"

void rk_rotary_rates(rk_dtype real, int64_t n, double theta, void *rates)
{
    for (int64_t j = 0; j < n / 2; j++) {
        const double rate = pow(theta, -2.0 * (double)j / (double)n);
        if (real == RK_F64)
            ((double *)rates)[j] = rate;
        else
            ((float *)rates)[j] = (float)rate;
    }
}

void rk_rotary_angles(rk_dtype real, int64_t n, const void *rates, double position, void *angles)
{
    const int64_t half = n / 2;
    for (int64_t j = 0; j < half; j++) {
        if (real == RK_F64) {
            const double a = position * ((const double *)rates)[j];
            ((double *)angles)[j] = cos(a);
            ((double *)angles)[half + j] = sin(a);
        } else {
            const float a = (float)position * ((const float *)rates)[j];
            ((float *)angles)[j] = cosf(a);
            ((float *)angles)[half + j] = sinf(a);
        }
    }
}

/* ---- positions: in before (B); out (B,T), after (B) ---- */

typedef struct positions_attr {
    int64_t n_tokens;
} positions_attr;

static void positions_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *before = n->in[0];
    const int64_t dims[] = {before->dims[0], ((const positions_attr *)n->attr)->n_tokens};
    if (!rk_expect(ctx, n, before->n_dims == 1 && dims[1] > 0, "(B)") || !rk_expect_plain(ctx, n))
        return;
    n->n_out = 2;
    n->out[0] = rk_new(ctx, before->dtype, 2, dims);
    n->out[1] = rk_new_like(ctx, before);
}

static double get(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static void put(const rk_tensor *t, int64_t i, double x)
{
    if (t->dtype == RK_F64)
        ((double *)t->data)[i] = x;
    else
        ((float *)t->data)[i] = (float)x;
}

static void positions_forward(rk_ctx *ctx, rk_node *n)
{
    const int64_t steps = n->out[0]->dims[1];
    for (int64_t b = 0; b < n->in[0]->dims[0]; b++) {
        const int32_t *begins = rk_begins_of(ctx, b, steps);
        double at = get(n->in[0], b);
        for (int64_t t = 0; t < steps; t++) {
            at = begins && begins[t] ? get(n->in[0], b) : at;
            put(n->out[0], b * steps + t, at);
            at += 1.0;
        }
        put(n->out[1], b, at);
    }
}

const rk_op rk_op_positions = {
    .name = "positions",
    .shape = positions_shape,
    .on[RK_CPU] = {positions_forward, NULL},
    .attr_bytes = sizeof(positions_attr),
};

rk_tensor *rk_positions(rk_ctx *ctx, rk_tensor *before, int64_t n_tokens, rk_tensor **after)
{
    rk_node n = {
        .op = &rk_op_positions, .n_in = 1, .in = {before}, .attr = &(positions_attr){n_tokens}};
    if (!rk_apply(ctx, &n))
        return NULL;
    *after = n.out[1];
    return n.out[0];
}

/* ---- rotary: in x (B,T,H,N), positions (B,T) ---- */

typedef struct rotary_attr {
    double theta;
} rotary_attr;

typedef struct rotary_job {
    const rk_kernels *kern;
    const rk_node *n;
    int64_t heads, size;
    const void *rates;
    unsigned char *angles; /* of each thread */
    size_t angles_bytes;
    unsigned char *turned; /* of each thread: a token's gradients, turned back */
    size_t turned_bytes;
    const void *dy;
    rk_grad_rows dx;
} rotary_job;

static size_t reals_bytes(const rk_tensor *x, int64_t n)
{
    return rk_align_up(rk_reals(x, n), RK_ARENA_ALIGN);
}

static void rotary_shape(rk_ctx *ctx, rk_node *n)
{
    const rk_tensor *x = n->in[0], *at = n->in[1];
    const bool ok = x->n_dims == 4 && x->dims[3] % 2 == 0 && at && at->n_dims == 2 &&
                    at->dims[0] == x->dims[0] && at->dims[1] == x->dims[1] && !at->requires_grad;
    if (!rk_expect(ctx, n, ok, "(B,T,H,N), N even, and (B,T)") || !rk_expect_plain(ctx, n))
        return;
    /* The angles of each thread, the gradient's turned back, and the rates. */
    const size_t angles = reals_bytes(x, x->dims[3]) * (size_t)rk_pool_n_threads(ctx->pool);
    n->scratch_bytes = angles + reals_bytes(x, x->dims[3]);
    n->scratch_bwd_bytes = n->scratch_bytes + reals_bytes(x, x->dims[2] * x->dims[3]) *
                                                  (size_t)rk_pool_n_threads(ctx->pool);
    n->n_out = 1;
    n->out[0] = rk_new_like(ctx, x);
}

static rotary_job rotary_job_of(const rk_ctx *ctx, const rk_node *n)
{
    const rk_tensor *x = n->in[0];
    rotary_job j = {.kern = rk_ctx_kernels(ctx, x->dtype),
                    .n = n,
                    .heads = x->dims[2],
                    .size = x->dims[3],
                    .rates = n->scratch,
                    .angles_bytes = reals_bytes(x, x->dims[3]),
                    .turned_bytes = reals_bytes(x, x->dims[2] * x->dims[3])};
    j.angles = (unsigned char *)n->scratch + j.angles_bytes;
    rk_rotary_rates(x->dtype, j.size, ((const rotary_attr *)n->attr)->theta, n->scratch);
    return j;
}

/* Cosines of token i, the sines behind them. */
static void *angles_of(const rotary_job *j, int64_t i, int worker)
{
    void *angles = j->angles + (size_t)worker * j->angles_bytes;
    rk_rotary_angles(j->n->in[0]->dtype, j->size, j->rates, get(j->n->in[1], i), angles);
    return angles;
}

static void rotary_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rotary_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    for (int64_t i = lo; i < hi; i++) {
        const void *angles = angles_of(j, i, worker);
        const int64_t at = i * j->heads * j->size;
        j->kern->rotary(j->heads, j->size, angles, rk_at(x, angles, j->size / 2), false,
                        rk_at(x, x->data, at), rk_at(x, j->n->out[0]->data, at));
    }
}

static void rotary_forward(rk_ctx *ctx, rk_node *n)
{
    rotary_job j = rotary_job_of(ctx, n);
    rk_parallel(ctx, n->in[0]->dims[0] * n->in[0]->dims[1], RK_GRAIN_ROWS, rotary_piece, &j);
}

static void rotary_bwd_piece(void *arg, int64_t lo, int64_t hi, int worker)
{
    const rotary_job *j = arg;
    const rk_tensor *x = j->n->in[0];
    const int64_t width = j->heads * j->size;
    void *turned = j->turned + (size_t)worker * j->turned_bytes;
    for (int64_t i = lo; i < hi; i++) {
        const void *angles = angles_of(j, i, worker);
        j->kern->rotary(j->heads, j->size, angles, rk_at(x, angles, j->size / 2), true,
                        rk_at(x, j->dy, i * width), turned);
        j->kern->axpy(width, 1.0, turned, rk_grad_rows_at(&j->dx, i, i + 1));
    }
}

static void rotary_backward(rk_ctx *ctx, rk_node *n)
{
    rk_tensor *x = n->in[0];
    const int64_t rows = x->dims[0] * x->dims[1];
    rotary_job j = rotary_job_of(ctx, n);
    j.turned = j.angles + j.angles_bytes * (size_t)rk_pool_n_threads(ctx->pool);
    j.dy = rk_grad(ctx, n->out[0]);
    j.dx = rk_grad_rows_of(ctx, x, rows, NULL);
    rk_parallel(ctx, rows, RK_GRAIN_ROWS, rotary_bwd_piece, &j);
}

const rk_op rk_op_rotary = {
    .name = "rotary",
    .shape = rotary_shape,
    .on[RK_CPU] = {rotary_forward, rotary_backward},
    .attr_bytes = sizeof(rotary_attr),
};

rk_tensor *rk_rotary(rk_ctx *ctx, rk_tensor *x, rk_tensor *positions, double theta)
{
    rk_node n = {
        .op = &rk_op_rotary, .n_in = 2, .in = {x, positions}, .attr = &(rotary_attr){theta}};
    return rk_apply1(ctx, &n);
}
