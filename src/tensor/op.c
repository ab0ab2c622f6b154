/* op.c: the op table, applying a row of it, and the tape.
 *
 * The tape is a list of nodes from the newest back; each holds the op's inputs, outputs and what
 * its forward kept. Gradients are memory that is made when first asked for, so what no gradient
 * reaches costs nothing. A recomputed segment is a node like any other whose backward records its
 * segment on a tape of its own. */
#include "tensor/op.h"

#include <string.h>

#include "base/num.h"

#define ROW(name, family)                                                                          \
    {                                                                                              \
        name, rk_##family##_shape, rk_##family##_forward, rk_##family##_backward                   \
    }
const rk_op rk_ops[RK_OP_COUNT] = {
    [RK_OP_UNARY] = ROW("unary", unary),
    [RK_OP_ADD] = ROW("add", binary),
    [RK_OP_MUL] = ROW("mul", binary),
    [RK_OP_LERP] = ROW("lerp", lerp),
    [RK_OP_SCALE] = ROW("scale", scale),
    [RK_OP_SUM] = ROW("sum", sum),
    [RK_OP_COPY] = ROW("copy", copy),
    [RK_OP_CONCAT] = ROW("concat", concat),
    [RK_OP_DROPOUT] = ROW("dropout", dropout),
    [RK_OP_SOFTMAX] = ROW("softmax", rowwise),
    [RK_OP_L2NORM] = ROW("l2norm", rowwise),
    [RK_OP_NORM] = ROW("norm", norm),
    [RK_OP_EMBEDDING] = ROW("embedding", embedding),
    [RK_OP_LINEAR] = ROW("linear", linear),
    [RK_OP_LINEARS] = ROW("linears", linears),
    [RK_OP_MATMUL] = ROW("matmul", matmul),
    [RK_OP_ROW_MATMUL] = ROW("row_matmul", row_matmul),
    [RK_OP_CROSS_ENTROPY] = ROW("cross_entropy", cross_entropy),
    [RK_OP_SHIFT_MIX] = ROW("shift_mix", shift_mix),
    [RK_OP_WKV4] = ROW("wkv4", wkv4),
    [RK_OP_WKV6] = ROW("wkv6", wkv6),
    [RK_OP_WKV7] = ROW("wkv7", wkv7),
    [RK_OP_RWKV7_PREPARE] = ROW("rwkv7_prepare", rwkv7_prepare),
    [RK_OP_RWKV7_OUTPUT] = ROW("rwkv7_output", rwkv7_output),
    [RK_OP_RWKV7_HEADS] = ROW("rwkv7_heads", rwkv7_heads),
    [RK_OP_RECOMPUTE] = ROW("recompute", recompute),
};
#undef ROW

/* ---- shape-rule helpers ---- */

void rk_unexpected(rk_ctx *ctx, const rk_node *n, const char *expected)
{
    char a[64] = "nothing", b[64] = "nothing";
    if (n->n_in > 0 && n->in[0])
        rk_tensor_describe(n->in[0], a, sizeof a);
    if (n->n_in > 1 && n->in[1])
        rk_tensor_describe(n->in[1], b, sizeof b);
    rk_ctx_fail(ctx, RK_ERR_ARG, "%s of %s and %s: expected %s", rk_ops[n->op].name, a, b,
                expected);
}

bool rk_expect_plain(rk_ctx *ctx, const rk_node *n)
{
    const rk_dtype real = n->in[0]->dtype;
    bool ok = real == RK_F32 || real == RK_F64;
    for (int i = 0; ok && i < n->n_in; i++)
        ok = !n->in[i] || (n->in[i]->dtype == real && rk_tensor_is_contiguous(n->in[i]));
    return rk_expect(ctx, n, ok, "contiguous tensors of one real type");
}

void *rk_state_part(const rk_tensor *before, const rk_tensor *after, int64_t parts, int64_t i)
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

static bool needs_tape(const rk_ctx *ctx, const rk_node *n)
{
    if (ctx->recording && n->op == RK_OP_RECOMPUTE)
        return true; /* parameters that its segment uses are not among its inputs */
    for (int i = 0; ctx->recording && i < n->n_in; i++)
        if (n->in[i] && n->in[i]->requires_grad)
            return true;
    return false;
}

/* Run one direction of an op with its scratch, which is given back afterwards. A plan counts the
 * scratch and goes into recomputed segments only, which are made of other ops. */
static void run(rk_ctx *ctx, rk_node *n, void (*direction)(rk_ctx *, rk_node *), size_t scratch)
{
    const rk_arena_mark mark = rk_arena_get_mark(&ctx->data);
    n->scratch = scratch ? rk_ctx_alloc(ctx, scratch) : NULL;
    if (!rk_ctx_failed(ctx) && (!ctx->planning || n->op == RK_OP_RECOMPUTE))
        direction(ctx, n);
    rk_arena_release(&ctx->data, mark);
    n->scratch = NULL;
}

static void record(rk_ctx *ctx, const rk_node *n)
{
    rk_node *node = rk_arena_alloc(&ctx->meta, sizeof *node);
    if (!node) {
        rk_ctx_fail(ctx, RK_ERR_NOMEM, "out of memory for the tape");
        return;
    }
    *node = *n;
    node->prev = ctx->tape;
    ctx->tape = node;
    for (int i = 0; i < node->n_out; i++)
        node->out[i]->requires_grad = true;
}

static bool has_failed_input(rk_ctx *ctx, const rk_node *n)
{
    if (rk_ctx_failed(ctx))
        return true;
    if (!n->in[0])
        rk_ctx_fail(ctx, RK_ERR_ARG, "%s: its first input is missing", rk_ops[n->op].name);
    return !n->in[0];
}

bool rk_apply(rk_ctx *ctx, rk_node *n)
{
    const rk_op *op = &rk_ops[n->op];
    if (has_failed_input(ctx, n))
        return false;
    op->shape(ctx, n);
    if (rk_ctx_failed(ctx))
        return false;
    const bool taped = needs_tape(ctx, n);
    n->saved = taped && n->saved_bytes ? rk_ctx_alloc(ctx, n->saved_bytes) : NULL;
    run(ctx, n, op->forward, n->scratch_bytes);
    if (taped)
        record(ctx, n);
    return !rk_ctx_failed(ctx);
}

rk_tensor *rk_apply1(rk_ctx *ctx, rk_node *n)
{
    return rk_apply(ctx, n) ? n->out[0] : NULL;
}

/* ---- backwards ---- */

/* A sum whose gradient was passed on whole is done with: nothing reads it after its own node. So
 * the summand's gradient can begin in its memory, unless it has begun, or the node adds to it while
 * it still reads. */
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
    ctx->recording = false;
    for (rk_node *n = ctx->tape; n && !rk_ctx_failed(ctx); n = n->prev)
        if (make_grads(ctx, n))
            run(ctx, n, rk_ops[n->op].backward, n->scratch_bwd_bytes);
    ctx->tape = NULL;
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
    walk_back(ctx);
}

/* ---- recompute: forward keeps the results only, backward records the segment again ---- */

static void run_segment(rk_ctx *ctx, const rk_node *n, rk_tensor **result)
{
    for (int i = 0; i < n->n_out; i++)
        result[i] = NULL;
    n->attr.recompute.fn(ctx, n->attr.recompute.user, n->in, result);
    for (int i = 0; i < n->n_out && !rk_ctx_failed(ctx); i++)
        if (!result[i] || result[i]->dtype != n->out[i]->dtype ||
            !rk_tensor_is_contiguous(result[i]) || !rk_tensor_same_shape(result[i], n->out[i]))
            rk_ctx_fail(ctx, RK_ERR_ARG, "recompute: result %d has not the shape announced", i);
}

void rk_recompute_shape(rk_ctx *ctx, rk_node *n)
{
    for (int i = 0; i < n->n_out; i++)
        rk_expect(ctx, n, n->out[i] && rk_tensor_is_contiguous(n->out[i]), "contiguous results");
}

void rk_recompute_forward(rk_ctx *ctx, rk_node *n)
{
    const bool recording = ctx->recording, recomputed = ctx->recomputed;
    rk_tensor *result[RK_MAX_OUT];
    ctx->recording = false;
    ctx->recomputed = recording || recomputed;
    run_segment(ctx, n, result);
    ctx->recording = recording;
    ctx->recomputed = recomputed;
    for (int i = 0; i < n->n_out && !rk_ctx_failed(ctx) && !ctx->planning; i++)
        if (!n->out[i]->streams) /* else it is where it belongs */
            memcpy(n->out[i]->data, result[i]->data, rk_tensor_bytes(n->out[i]));
}

void rk_recompute_backward(rk_ctx *ctx, rk_node *n)
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
            rk_ctx_fail(ctx, RK_ERR_ARG, "recompute: result %d is a view or given twice", i);
            return;
        }
        root->grad = n->out[i]->grad;
        root->has_grad = true;
    }
    walk_back(ctx);
    ctx->tape = outer;
}

void rk_recompute(rk_ctx *ctx, rk_segment_fn *fn, void *user, rk_tensor *const *in, int n_in,
                  rk_tensor **out, int n_out)
{
    rk_node n = {.op = RK_OP_RECOMPUTE, .n_in = n_in, .n_out = n_out};
    if (n_in < 1 || n_in > RK_MAX_IN || n_out < 1 || n_out > RK_MAX_OUT) {
        rk_ctx_fail(ctx, RK_ERR_ARG,
                    "recompute: %d inputs and %d results, expected up to %d and %d", n_in, n_out,
                    RK_MAX_IN, RK_MAX_OUT);
        return;
    }
    memcpy(n.in, in, (size_t)n_in * sizeof *in);
    memcpy(n.out, out, (size_t)n_out * sizeof *out);
    n.attr.recompute.fn = fn;
    n.attr.recompute.user = user;
    rk_apply(ctx, &n);
}
