/* op_run.c: running a row of op_cases.h. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "kernels/blocks.h"
#include "selftest/op_cases.h"

/* ---- inputs ---- */

/* Streams of random numbers: a value of each input, then a direction after the other. */
static double random_at(uint64_t seed, uint64_t direction, int i, int64_t e)
{
    const uint64_t stream = direction * RK_CASE_IN + (uint64_t)i;
    return rk_rng_f64(seed, RK_RNG_TEST, stream, (uint64_t)e);
}

static double direction_at(const rk_case_options *o, int i, int64_t e)
{
    return 2.0 * random_at(o->seed, o->direction + 1, i, e) - 1.0;
}

static double value_at(const rk_case_input *in, const rk_case_options *o, int i, int64_t e)
{
    const double x = in->low + (in->high - in->low) * random_at(o->seed, 0, i, e);
    return (double)(float)x + (o->moved >> i & 1 ? o->step * direction_at(o, i, e) : 0.0);
}

static int dims_of(const rk_case_input *in)
{
    int n = 0;
    while (n < RK_MAX_DIMS && in->dims[n])
        n++;
    return n;
}

int rk_op_case_inputs(const rk_op_case *c)
{
    int n = 0;
    while (n < RK_CASE_IN && c->in[n].dims[0])
        n++;
    return n;
}

bool rk_op_case_is_real(const rk_op_case *c, int i)
{
    return c->in[i].ids_below == 0 && c->in[i].stored == RK_F32;
}

static void store(rk_tensor *t, int64_t e, double x)
{
    if (t->dtype == RK_F64)
        ((double *)t->data)[e] = x;
    else
        ((float *)t->data)[e] = (float)x;
}

static rk_tensor *make_ids(rk_ctx *ctx, const rk_case_input *in)
{
    rk_tensor *t = rk_new(ctx, RK_I32, dims_of(in), in->dims);
    const uint64_t below = (uint64_t)in->ids_below;
    for (int64_t e = 0; t && t->data && e < rk_tensor_count(t); e++)
        ((int32_t *)t->data)[e] =
            in->negatives && e % 3 == 1
                ? -1
                : (int32_t)rk_rng_below(7, RK_RNG_TEST, 0, (uint64_t)e, below);
    return t;
}

static rk_tensor *make_reals(rk_ctx *ctx, const rk_case_input *in, const rk_case_options *o, int i,
                             rk_dtype real)
{
    rk_tensor *t = rk_new(ctx, real, dims_of(in), in->dims);
    for (int64_t e = 0; t && t->data && e < rk_tensor_count(t); e++)
        store(t, e, value_at(in, o, i, e));
    return t;
}

/* A weight in its type; in double the numbers that it holds. */
static rk_tensor *make_stored(rk_ctx *ctx, const rk_case_input *in, const rk_case_options *o, int i)
{
    rk_tensor *f32 = make_reals(ctx, in, o, i, RK_F32);
    rk_tensor *t = rk_new(ctx, in->stored, dims_of(in), in->dims);
    rk_tensor *f64 = o->real == RK_F64 ? rk_new(ctx, RK_F64, dims_of(in), in->dims) : NULL;
    const bool blocks = rk_dtype_is_blocks(in->stored);
    if (!t || !t->data)
        return f64 ? f64 : t;
    const int64_t n = rk_tensor_count(f32);
    if (blocks)
        rk_blocks_narrow(in->stored, n, f32->data, NULL, t->data);
    else
        rk_kernels_ref_f32.narrow(n, f32->data, t->data, in->stored);
    if (!f64)
        return t;
    if (blocks)
        rk_blocks_widen(in->stored, n, t->data, f32->data);
    else
        rk_kernels_ref_f32.widen(n, t->data, in->stored, f32->data);
    for (int64_t e = 0; e < n; e++)
        store(f64, e, (double)((const float *)f32->data)[e]);
    return f64;
}

static rk_tensor *make_input(rk_ctx *ctx, const rk_op_case *c, int i, const rk_case_options *o)
{
    const rk_case_input *in = &c->in[i];
    if (in->ids_below)
        return make_ids(ctx, in);
    if (in->stored != RK_F32)
        return make_stored(ctx, in, o, i);
    rk_tensor *t = make_reals(ctx, in, o, i, o->real);
    if (t)
        t->requires_grad = !(o->frozen >> i & 1);
    return t;
}

/* ---- outputs ---- */

static void segment(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    const rk_case_run *r = user;
    r->c->build(ctx, r->c->arg, in, out);
}

/* The results of a segment have to be announced: a plan of it knows their shapes. */
static void build_recomputed(rk_ctx *ctx, rk_case_run *r)
{
    rk_ctx plan;
    rk_tensor *shapes[RK_CASE_OUT] = {0};
    rk_error err;
    const rk_ctx_params p = {
        .kernels = ctx->kernels, .pool = ctx->pool, .data_kind = RK_ARENA_COUNTING};
    if (rk_ctx_init(&plan, &p, &err) != RK_OK) {
        rk_ctx_fail(ctx, err.code, "%s", err.msg);
        return;
    }
    r->c->build(&plan, r->c->arg, r->in, shapes);
    int n = 0;
    for (; n < RK_CASE_OUT && shapes[n]; n++)
        r->out[n] = rk_new_like(ctx, shapes[n]);
    rk_ctx_deinit(&plan);
    rk_recompute(ctx, segment, r, r->in, r->n_in, r->out, n);
}

static rk_tensor *loss_of(rk_ctx *ctx, const rk_case_run *r)
{
    rk_tensor *loss = NULL;
    for (int q = 0; q < r->n_out; q++) {
        rk_tensor *c = rk_new_like(ctx, r->out[q]);
        for (int64_t i = 0; c && c->data && i < rk_tensor_count(c); i++) {
            const double u = 0.2 + rk_rng_f64(3, RK_RNG_TEST, (uint64_t)q, (uint64_t)i);
            store(c, i, i % 2 ? u : -u);
        }
        rk_tensor *part = rk_sum(ctx, rk_mul(ctx, r->out[q], c));
        loss = loss ? rk_add(ctx, loss, part) : part;
    }
    return loss;
}

static bool is_on_tape(const rk_ctx *ctx, const rk_op *op)
{
    const rk_node *n = ctx->tape;
    while (n && n->op != op)
        n = n->prev;
    return n != NULL;
}

void rk_op_case_run(rk_ctx *ctx, const rk_op_case *c, const rk_case_options *o, rk_case_run *r)
{
    *r = (rk_case_run){.c = c, .n_in = rk_op_case_inputs(c)};
    rk_ctx_reset(ctx);
    ctx->recording = !o->forward_only;
    ctx->long_class = o->long_class;
    ctx->seed = 11; /* of dropout */
    ctx->step = 2;
    for (int i = 0; i < r->n_in; i++)
        r->in[i] = make_input(ctx, c, i, o);
    if (rk_ctx_failed(ctx))
        return;
    if (o->recompute)
        build_recomputed(ctx, r);
    else
        c->build(ctx, c->arg, r->in, r->out);
    while (r->n_out < RK_CASE_OUT && r->out[r->n_out])
        r->n_out++;
    r->has_op = is_on_tape(ctx, c->op);
    rk_tensor *loss = rk_ctx_failed(ctx) ? NULL : loss_of(ctx, r);
    if (!loss || rk_ctx_failed(ctx))
        return;
    if (!o->forward_only && loss->requires_grad)
        rk_backward(ctx, loss, 1.0);
    if (loss->data)
        r->loss =
            loss->dtype == RK_F64 ? *(double *)loss->data : (double)*(const float *)loss->data;
}

/* ---- gradients against differences ---- */

/* <gradient, direction> over the inputs that move; *length of the terms, which a small sum is
 * measured by. */
static double slope_of(const rk_case_run *r, const rk_case_options *o, double *length)
{
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < r->n_in; i++) {
        const double *grad = o->moved >> i & 1 ? r->in[i]->grad : NULL;
        for (int64_t e = 0; grad && e < rk_tensor_count(r->in[i]); e++) {
            const double term = grad[e] * direction_at(o, i, e);
            sum += term;
            squares += term * term;
        }
    }
    *length = sqrt(squares);
    return sum;
}

double rk_op_case_gradient_error(rk_ctx *ctx, const rk_op_case *c, uint64_t seed, unsigned which,
                                 uint64_t direction)
{
    const double h = 1e-5;
    rk_case_options o = {.real = RK_F64, .seed = seed, .moved = which, .direction = direction};
    rk_case_run r;
    double length = 0.0;
    rk_op_case_run(ctx, c, &o, &r);
    if (rk_ctx_failed(ctx))
        return (double)NAN;
    const double got = slope_of(&r, &o, &length);
    o.step = h;
    rk_op_case_run(ctx, c, &o, &r);
    const double after = r.loss;
    o.step = -h;
    rk_op_case_run(ctx, c, &o, &r);
    const double want = (after - r.loss) / (2.0 * h);
    return want == got ? 0.0 : fabs(want - got) / fmax(fabs(want), length);
}
