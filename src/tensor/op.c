/* op.c: the list of ops, applying one, and the tape.
 *
 * The tape is a list of nodes from the newest back; each holds the op's inputs, outputs and what
 * its forward kept. Gradients are memory that is made when first asked for, so what no gradient
 * reaches costs nothing. A recomputed segment is a node like any other whose backward records its
 * segment on a tape of its own. */
#include "tensor/op.h"

#include <string.h>

#include "base/num.h"

#define ROW_OF(name) &rk_op_##name,
static const rk_op *const ops[] = {RK_OP_LIST(ROW_OF)};
#undef ROW_OF

const rk_op *rk_op_at(int i)
{
    return i < (int)RK_COUNT(ops) ? ops[i] : NULL;
}

static const char *const backend_names[RK_N_BACKENDS] = {[RK_CPU] = "cpu"};

/* ---- shape-rule helpers ---- */

void rk_unexpected(rk_ctx *ctx, const rk_node *n, const char *expected)
{
    char a[64] = "nothing", b[64] = "nothing";
    if (n->n_in > 0 && n->in[0])
        rk_tensor_describe(n->in[0], a, sizeof a);
    if (n->n_in > 1 && n->in[1])
        rk_tensor_describe(n->in[1], b, sizeof b);
    rk_ctx_fail(ctx, RK_ERR_ARG, "%s of %s and %s: expected %s", n->op->name, a, b, expected);
}

bool rk_expect_plain(rk_ctx *ctx, const rk_node *n)
{
    const rk_dtype real = n->in[0]->dtype;
    bool ok = real == RK_F32 || real == RK_F64;
    for (int i = 0; ok && i < n->n_in; i++)
        ok = !n->in[i] || (n->in[i]->dtype == real && rk_tensor_is_contiguous(n->in[i]));
    return rk_expect(ctx, n, ok, "contiguous tensors of one real type");
}

void *rk_state_place(const rk_tensor *before, const rk_tensor *after, int64_t parts, int64_t i)
{
    const int64_t count = rk_tensor_count(before) / (before->dims[0] * parts);
    const void *from = rk_at(before, before->data, i * count);
    void *to = rk_at(after, after->data, i * count);
    if (before->streams) {
        const rk_streams *s = before->streams;
        const int64_t at = s->offset + i % parts * count;
        from = s->from[i / parts] + at;
        to = s->to[i / parts] + at;
    }
    /* There is data: a plan runs no kernels.
     * NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker) */
    if (from != to)
        memcpy(to, from, rk_reals(before, count));
    return to;
}

/* ---- gradients by rows ---- */

rk_grad_rows rk_grad_rows_of(rk_ctx *ctx, rk_tensor *t, int64_t rows, void *spare)
{
    rk_grad_rows g = {.data = spare};
    bool fresh;
    void *grad = rk_grad_fresh(ctx, t, &fresh);
    if (grad)
        g = (rk_grad_rows){grad, rk_tensor_bytes(t) / (size_t)rk_max_i64(rows, 1), fresh};
    return g;
}

void *rk_grad_rows_at(const rk_grad_rows *g, int64_t lo, int64_t hi)
{
    if (!g->data)
        return NULL;
    unsigned char *at = (unsigned char *)g->data + (size_t)lo * g->row_bytes;
    if (g->fresh)
        memset(at, 0, (size_t)(hi - lo) * g->row_bytes);
    return at;
}

/* ---- applying ---- */

/* Will a gradient be asked for that goes through this node? The parameters that a segment uses are
 * not among its inputs: its results tell, once it has run. */
static bool needs_gradient(const rk_node *n)
{
    rk_tensor *const *t = n->op->is_segment ? n->out : n->in;
    for (int i = 0; i < (n->op->is_segment ? n->n_out : n->n_in); i++)
        if (t[i] && t[i]->requires_grad)
            return true;
    return false;
}

/* What a gradient reaches is passed on from inputs to outputs. */
static void pass_on(const rk_node *n)
{
    for (int i = 0; i < n->n_out && !n->op->is_segment; i++)
        n->out[i]->requires_grad = true;
}

/* Run one direction of an op with its scratch, which is given back afterwards. A plan counts the
 * scratch and goes into recomputed segments only, which are made of other ops. */
static void run(rk_ctx *ctx, rk_node *n, void (*direction)(rk_ctx *, rk_node *), size_t scratch)
{
    const rk_arena_mark mark = rk_arena_get_mark(&ctx->data);
    n->scratch = scratch ? rk_ctx_alloc(ctx, scratch) : NULL;
    if (!rk_ctx_failed(ctx) && (!ctx->planning || n->op->is_segment))
        direction(ctx, n);
    rk_arena_release(&ctx->data, mark);
    n->scratch = NULL;
}

static void record(rk_ctx *ctx, const rk_node *n)
{
    rk_node *node = rk_arena_alloc(&ctx->meta, sizeof *node);
    const size_t attr_bytes = n->op->attr_bytes;
    void *attr = attr_bytes ? rk_arena_alloc(&ctx->meta, attr_bytes) : NULL;
    if (!node || (attr_bytes && !attr)) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for the tape");
        return;
    }
    *node = *n;
    node->attr = attr_bytes ? memcpy(attr, n->attr, attr_bytes) : NULL;
    node->begins = ctx->begins;
    node->prev = ctx->tape;
    ctx->tape = node;
}

/* Has the op the functions that this call needs? */
static bool is_supported(rk_ctx *ctx, const rk_node *n)
{
    const rk_op_on *on = &n->op->on[ctx->backend];
    const bool ok = on->forward && (on->backward || !ctx->recording || !needs_gradient(n));
    if (!ok)
        rk_ctx_fail(ctx, RK_ERR_UNSUPPORTED, "%s: no %s on %s", n->op->name,
                    on->forward ? "gradient" : "forward", backend_names[ctx->backend]);
    return ok;
}

static bool has_failed_input(rk_ctx *ctx, const rk_node *n)
{
    if (rk_ctx_failed(ctx))
        return true;
    if (!n->in[0])
        rk_ctx_fail(ctx, RK_ERR_ARG, "%s: its first input is missing", n->op->name);
    return !n->in[0];
}

bool rk_apply(rk_ctx *ctx, rk_node *n)
{
    if (has_failed_input(ctx, n) || !is_supported(ctx, n))
        return false;
    n->op->shape(ctx, n);
    if (rk_ctx_failed(ctx))
        return false;
    const bool saves = ctx->recording && n->saved_bytes && needs_gradient(n);
    n->saved = saves ? rk_ctx_alloc(ctx, n->saved_bytes) : NULL;
    run(ctx, n, n->op->on[ctx->backend].forward, n->scratch_bytes);
    if ((ctx->recording || ctx->recomputed) && needs_gradient(n))
        pass_on(n);
    if (ctx->recording && needs_gradient(n))
        record(ctx, n);
    return !rk_ctx_failed(ctx);
}

rk_tensor *rk_apply1(rk_ctx *ctx, rk_node *n)
{
    return rk_apply(ctx, n) ? n->out[0] : NULL;
}

/* ---- backwards ---- */

/* A sum's gradient is the summand's gradient too, and nothing reads it after the sum's own node. So
 * the summand's can begin in its memory. Not where the summand has a gradient already, or is an
 * input of the node twice: the node would add to that memory while it still reads it. */
static void inherit(const rk_node *n)
{
    rk_tensor *heir = n->heir, *from = n->out[0];
    if (!heir || !heir->requires_grad || heir->base || heir->has_grad || from->base)
        return;
    int times = 0;
    for (int i = 0; i < n->n_in; i++)
        times += n->in[i] && (n->in[i] == heir || n->in[i]->base == heir);
    if (times > 1)
        return;
    heir->grad = from->grad;
    heir->has_grad = true;
}

/* Make the gradients that a node reads and writes, so that planning counts what running takes. */
static bool make_grads(rk_ctx *ctx, rk_node *n)
{
    bool reached = false;
    for (int i = 0; i < n->n_out; i++) {
        const rk_tensor *root = n->out[i]->base ? n->out[i]->base : n->out[i];
        reached = reached || root->has_grad;
    }
    if (!reached)
        return false;
    for (int i = 0; i < n->n_out; i++)
        rk_grad(ctx, n->out[i]);
    inherit(n);
    for (int i = 0; i < n->n_in; i++)
        rk_grad_make(ctx, n->in[i]);
    return true;
}

static void walk_back(rk_ctx *ctx)
{
    const bool recording = ctx->recording;
    rk_tensor *const begins = ctx->begins;
    ctx->recording = false;
    for (rk_node *n = ctx->tape; n && !rk_ctx_failed(ctx); n = n->prev) {
        ctx->begins = n->begins; /* a tape may hold forwards of different rows */
        if (make_grads(ctx, n))
            run(ctx, n, n->op->on[ctx->backend].backward, n->scratch_bwd_bytes);
    }
    ctx->tape = NULL;
    ctx->begins = begins;
    ctx->recording = recording;
}

static void fill_grad(const rk_tensor *t, void *grad, double value)
{
    const int64_t n = rk_tensor_count(t);
    for (int64_t i = 0; i < n; i++) {
        if (t->dtype == RK_F64)
            ((double *)grad)[i] = value;
        else
            ((float *)grad)[i] = (float)value;
    }
}

void rk_backward(rk_ctx *ctx, rk_tensor *t, double seed)
{
    if (rk_ctx_failed(ctx))
        return;
    if (!t->requires_grad || !rk_tensor_is_contiguous(t)) {
        rk_ctx_fail(ctx, RK_ERR_ARG, "backward: the result was not recorded or is a strided view");
        return;
    }
    void *grad = rk_grad(ctx, t);
    if (grad)
        fill_grad(t, grad, seed);
    ctx->loss_share = seed;
    walk_back(ctx);
}

/* ---- recompute: forward keeps the results only, backward records the segment again ---- */

typedef struct recompute_attr {
    rk_segment_fn *fn;
    void *user;
} recompute_attr;

static void run_segment(rk_ctx *ctx, const rk_node *n, rk_tensor **result)
{
    for (int i = 0; i < n->n_out; i++)
        result[i] = NULL;
    const recompute_attr *a = n->attr;
    a->fn(ctx, a->user, n->in, result);
    for (int i = 0; i < n->n_out && !rk_ctx_failed(ctx); i++)
        if (!result[i] || result[i]->dtype != n->out[i]->dtype ||
            !rk_tensor_is_contiguous(result[i]) || !rk_tensor_same_shape(result[i], n->out[i]))
            rk_ctx_fail(ctx, RK_ERR_ARG, "segment: result %d has not the shape announced", i);
}

static void recompute_shape(rk_ctx *ctx, rk_node *n)
{
    for (int i = 0; i < n->n_out; i++)
        rk_expect(ctx, n, n->out[i] && rk_tensor_is_contiguous(n->out[i]), "contiguous results");
}

/* Run a segment without a tape and copy its results to where they stay. */
static void keep_results(rk_ctx *ctx, const rk_node *n)
{
    rk_tensor *result[RK_MAX_OUT];
    run_segment(ctx, n, result);
    for (int i = 0; i < n->n_out && !rk_ctx_failed(ctx); i++) {
        n->out[i]->requires_grad = result[i]->requires_grad;
        if (!ctx->planning && !rk_tensor_is_streams(n->out[i])) /* else it is where it belongs */
            memcpy(n->out[i]->data, result[i]->data, rk_tensor_bytes(n->out[i]));
    }
}

static void recompute_forward(rk_ctx *ctx, rk_node *n)
{
    const bool recording = ctx->recording, recomputed = ctx->recomputed;
    ctx->recording = false;
    ctx->recomputed = recording || recomputed;
    keep_results(ctx, n);
    ctx->recording = recording;
    ctx->recomputed = recomputed;
}

static void recompute_backward(rk_ctx *ctx, rk_node *n)
{
    rk_node *const outer = ctx->tape;
    rk_tensor *result[RK_MAX_OUT];
    ctx->tape = NULL;
    ctx->recording = true;
    run_segment(ctx, n, result);
    ctx->recording = false;
    for (int i = 0; i < n->n_out && !rk_ctx_failed(ctx); i++) {
        rk_tensor *root = result[i]->base ? result[i]->base : result[i];
        if (root != result[i] || root->has_grad) {
            rk_ctx_fail(ctx, RK_ERR_ARG, "segment: result %d is a view or given twice", i);
            return;
        }
        root->grad = n->out[i]->grad;
        root->has_grad = n->out[i]->requires_grad;
    }
    walk_back(ctx);
    ctx->tape = outer;
}

const rk_op rk_op_recompute = {
    .name = "recompute",
    .shape = recompute_shape,
    .on[RK_CPU] = {recompute_forward, recompute_backward},
    .attr_bytes = sizeof(recompute_attr),
    .is_segment = true,
};

/* A segment as a node; false after a failure. */
static bool segment_node(rk_ctx *ctx, rk_node *n, recompute_attr *attr, rk_tensor *const *in,
                         int n_in, rk_tensor *const *out, int n_out)
{
    *n = (rk_node){.op = &rk_op_recompute, .n_in = n_in, .n_out = n_out, .attr = attr};
    if (n_in < 1 || n_in > RK_MAX_IN || n_out < 1 || n_out > RK_MAX_OUT) {
        rk_ctx_fail(ctx, RK_ERR_ARG, "segment: %d inputs and %d results, expected up to %d and %d",
                    n_in, n_out, RK_MAX_IN, RK_MAX_OUT);
        return false;
    }
    memcpy(n->in, in, (size_t)n_in * sizeof *in);
    memcpy(n->out, out, (size_t)n_out * sizeof *out);
    return !rk_ctx_failed(ctx);
}

void rk_recompute(rk_ctx *ctx, rk_segment_fn *fn, void *user, rk_tensor *const *in, int n_in,
                  rk_tensor *const *out, int n_out)
{
    rk_node n;
    recompute_attr attr = {fn, user};
    if (segment_node(ctx, &n, &attr, in, n_in, out, n_out))
        rk_apply(ctx, &n);
}

void rk_scoped(rk_ctx *ctx, rk_segment_fn *fn, void *user, rk_tensor *const *in, int n_in,
               rk_tensor *const *out, int n_out)
{
    rk_node n;
    recompute_attr attr = {fn, user};
    if (ctx->recording) {
        rk_ctx_fail(ctx, RK_ERR_ARG, "scope: a tape is being recorded");
        return;
    }
    if (!segment_node(ctx, &n, &attr, in, n_in, out, n_out))
        return;
    const rk_arena_mark mark = rk_arena_get_mark(&ctx->data);
    recompute_shape(ctx, &n);
    if (!rk_ctx_failed(ctx))
        keep_results(ctx, &n);
    rk_arena_release(&ctx->data, mark);
}
