/* Values that are known without the kernels under test: losses from their definition, weights of 16
 * bits, dropout, recurrences cut in pieces; and what is answered to inputs that do not fit. */
#include "test_util.h"

#include "tensor/ops.h"

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
} rig;

static void rig_init(rig *g, uint64_t seed, const rk_kernels *kernels)
{
    rk_error err;
    g->t = test_begin(seed);
    test_ok(rk_pool_new(&g->pool, 1, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = kernels, .pool = g->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
}

static void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

/* A number of dimensions and the dimensions. */
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* A tensor of random reals that wants a gradient. */
static rk_tensor *draw(rig *g, rk_dtype dtype, int n_dims, const int64_t *dims)
{
    rk_tensor *t = rk_new(&g->ctx, dtype, n_dims, dims);
    assert_non_null(t);
    const int64_t n = rk_tensor_count(t);
    memcpy(t->data,
           dtype == RK_F64 ? (void *)test_uniform_f64(&g->t, n, -1, 1)
                           : (void *)test_uniform(&g->t, n, -1, 1),
           rk_tensor_bytes(t));
    t->requires_grad = true;
    return t;
}

static rk_tensor *integers(rig *g, int64_t n, const int32_t *values)
{
    rk_tensor *t = rk_new(&g->ctx, RK_I32, 1, &n);
    assert_non_null(t);
    memcpy(t->data, values, rk_tensor_bytes(t));
    return t;
}

/* ---------------------------------------------------------------------------------------- loss */

enum { ROWS = 6, WIDTH = 4, VOCAB = 1030 };
static const int32_t targets[ROWS] = {0, 1029, -1, 1024, -100, 1023};

/* The loss of every row, plus 0.5 l2wrap max^2 where it counts. */
static void define_loss(const double *h, const double *head, double l2wrap, double *loss)
{
    for (int r = 0; r < ROWS; r++) {
        double x[VOCAB], max = -HUGE_VAL, sum = 0.0;
        for (int v = 0; v < VOCAB; v++) {
            x[v] = 0.0;
            for (int c = 0; c < WIDTH; c++)
                x[v] += h[r * WIDTH + c] * head[v * WIDTH + c];
            max = fmax(max, x[v]);
        }
        for (int v = 0; v < VOCAB; v++)
            sum += exp(x[v] - max);
        loss[r] = targets[r] < 0 ? 0.0 : max + log(sum) - x[targets[r]] + 0.5 * l2wrap * max * max;
    }
}

static void test_loss(void **state)
{
    (void)state;
    rig g;
    double want[ROWS];
    rig_init(&g, 1, &rk_kernels_ref_f32);
    rk_tensor *h = draw(&g, RK_F64, DIMS(ROWS, WIDTH)),
              *head = draw(&g, RK_F64, DIMS(VOCAB, WIDTH));
    rk_tensor *loss = rk_cross_entropy(&g.ctx, h, head, integers(&g, ROWS, targets), 0.1);
    assert_non_null(loss);
    define_loss(h->data, head->data, 0.0, want);
    test_close_f64(&g.t, "loss", want, loss->data, ROWS, 1e-13);
    rig_deinit(&g);
}

/* sum over rows of (row + 1) loss. */
static double defined_sum(const double *h, const double *head, double l2wrap)
{
    double loss[ROWS], sum = 0.0;
    define_loss(h, head, l2wrap, loss);
    for (int r = 0; r < ROWS; r++)
        sum += (r + 1) * loss[r];
    return sum;
}

/* The gradient is that of the loss with 0.5 l2wrap max^2 added, which the loss itself lacks. */
static void test_l2wrap(void **state)
{
    (void)state;
    const double h_step = 1e-6, l2wrap = 0.3;
    double factor[ROWS];
    rig g;
    rig_init(&g, 2, &rk_kernels_ref_f32);
    rk_tensor *x[] = {draw(&g, RK_F64, DIMS(ROWS, WIDTH)), draw(&g, RK_F64, DIMS(VOCAB, WIDTH))};
    rk_tensor *weight = rk_new(&g.ctx, RK_F64, DIMS(ROWS));
    for (int r = 0; r < ROWS; r++)
        factor[r] = r + 1;
    memcpy(weight->data, factor, sizeof factor);
    g.ctx.recording = true;
    rk_tensor *loss = rk_cross_entropy(&g.ctx, x[0], x[1], integers(&g, ROWS, targets), l2wrap);
    rk_backward(&g.ctx, rk_sum(&g.ctx, rk_mul(&g.ctx, loss, weight)), 1.0);
    assert_false(rk_ctx_failed(&g.ctx));
    for (int i = 0; i < 2; i++) {
        const int64_t n = rk_tensor_count(x[i]);
        double *data = x[i]->data, *keep = test_copy_f64(&g.t, data, n), f[2], got = 0.0;
        const double *d = test_uniform_f64(&g.t, n, -1, 1), *grad = x[i]->grad;
        for (int side = 0; side < 2; side++) {
            for (int64_t e = 0; e < n; e++)
                data[e] = keep[e] + (side ? -h_step : h_step) * d[e];
            f[side] = defined_sum(x[0]->data, x[1]->data, l2wrap);
        }
        memcpy(data, keep, (size_t)n * sizeof *data);
        for (int64_t e = 0; e < n; e++)
            got += grad[e] * d[e];
        const double want = (f[0] - f[1]) / (2 * h_step);
        test_close_f64(&g.t, "gradient", &want, &got, 1, 1e-6);
    }
    rig_deinit(&g);
}

/* What a pass over some rows gives. */
typedef struct loss_pass {
    const void *loss, *best, *dh, *dhead;
} loss_pass;

static loss_pass run_loss(rig *g, const float *h, int64_t rows, const float *head,
                          const int32_t *ids, double seed)
{
    const int64_t h_dims[] = {rows, WIDTH}, head_dims[] = {VOCAB, WIDTH};
    rk_tensor *x = rk_new(&g->ctx, RK_F32, 2, h_dims), *w = rk_new(&g->ctx, RK_F32, 2, head_dims);
    rk_tensor *best = integers(g, rows, ids);
    memcpy(x->data, h, rk_tensor_bytes(x));
    memcpy(w->data, head, rk_tensor_bytes(w));
    x->requires_grad = w->requires_grad = true;
    rk_tensor *loss =
        rk_cross_entropy_of(&g->ctx, &(rk_cross_entropy_in){x, w, integers(g, rows, ids), best,
                                                            .l2wrap = 1e-3, .seed = seed});
    rk_backward(&g->ctx, loss, 0.25);
    assert_false(rk_ctx_failed(&g->ctx));
    return (loss_pass){loss->data, best->data, rk_grad(&g->ctx, x), rk_grad(&g->ctx, w)};
}

/* Rows that do not count change no bit of the others, and get no gradient. More rows count than go
 * into one block; in the last two rounds none does. */
static void test_rows_that_do_not_count(void **state)
{
    (void)state;
    enum { MANY = 3300 };
    for (int round = 0; round < 4; round++) {
        rig g;
        rig_init(&g, 3, &rk_kernels_ref_f32);
        g.ctx.recording = true;
        const float *h = test_uniform(&g.t, MANY * WIDTH, -1, 1);
        const float *head = test_uniform(&g.t, VOCAB * WIDTH, -1, 1), zeros[WIDTH] = {0};
        const int32_t *drawn = test_tokens(&g.t, MANY, VOCAB);
        static float some_h[MANY * WIDTH];
        static int32_t ids[MANY], some_ids[MANY];
        int64_t n = 0;
        for (int i = 0; i < MANY; i++) {
            ids[i] = i % 3 == 1 && round < 2 ? drawn[i] : RK_NO_TARGET;
            if (ids[i] < 0)
                continue;
            memcpy(some_h + n * WIDTH, h + (ptrdiff_t)i * WIDTH, WIDTH * sizeof *h);
            some_ids[n++] = ids[i];
        }
        const double seed = round % 2 ? 0.25 : 0.0;
        const loss_pass got = run_loss(&g, h, MANY, head, ids, seed);
        const loss_pass want = run_loss(&g, some_h, rk_max_i64(n, 1), head,
                                        n ? some_ids : (int32_t[]){RK_NO_TARGET}, seed);
        test_same(&g.t, "head", want.dhead, got.dhead, VOCAB * WIDTH * sizeof(float));
        n = 0;
        for (int i = 0; i < MANY; i++) {
            const bool counts = ids[i] >= 0;
            const float *dh = counts ? (const float *)want.dh + n * WIDTH : zeros;
            const float loss = counts ? ((const float *)want.loss)[n] : 0.0f;
            const int32_t best = counts ? ((const int32_t *)want.best)[n] : RK_NO_TARGET;
            n += counts;
            test_same(&g.t, "row", dh, (const float *)got.dh + (ptrdiff_t)i * WIDTH, sizeof zeros);
            test_same(&g.t, "loss", &loss, (const float *)got.loss + i, sizeof loss);
            assert_int_equal(((const int32_t *)got.best)[i], best);
        }
        rig_deinit(&g);
    }
}

/* The likeliest id is that of the largest logit. */
static void test_best(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 4, &rk_kernels_ref_f32);
    rk_tensor *h = draw(&g, RK_F64, DIMS(ROWS, WIDTH)),
              *head = draw(&g, RK_F64, DIMS(VOCAB, WIDTH));
    rk_tensor *best = integers(&g, ROWS, targets);
    rk_cross_entropy_of(&g.ctx, &(rk_cross_entropy_in){.hidden = h,
                                                       .head = head,
                                                       .targets = integers(&g, ROWS, targets),
                                                       .best = best});
    for (int r = 0; r < ROWS; r++) {
        const double *x = (const double *)h->data + (ptrdiff_t)r * WIDTH, *w = head->data;
        int32_t want = RK_NO_TARGET;
        double most = -HUGE_VAL;
        for (int v = 0; v < VOCAB && targets[r] >= 0; v++, w += WIDTH) {
            const double logit = x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
            want = logit > most ? v : want;
            most = fmax(most, logit);
        }
        assert_int_equal(((const int32_t *)best->data)[r], want);
    }
    rig_deinit(&g);
}

/* ---------------------------------------------------------------------------- weights of 16 bits
 */

/* The same numbers as bf16 or f16, and what they are as f32. */
static rk_tensor *narrowed(rig *g, rk_dtype dtype, rk_tensor *f32)
{
    rk_tensor *t = rk_new(&g->ctx, dtype, f32->n_dims, f32->dims);
    assert_non_null(t);
    g->ctx.kernels->narrow(rk_tensor_count(t), f32->data, t->data, dtype);
    g->ctx.kernels->widen(rk_tensor_count(t), t->data, dtype, f32->data);
    return t;
}

static void same_tensor(const rig *g, const char *what, const rk_tensor *want, const rk_tensor *got)
{
    assert_true(want && got && rk_tensor_same_shape(want, got));
    test_same(&g->t, what, want->data, got->data, rk_tensor_bytes(want));
}

static void check_16_bits(rig *g, rk_dtype dtype)
{
    rk_ctx *ctx = &g->ctx;
    static const int32_t ids[] = {3, 0, 11, 3};
    rk_tensor *x = draw(g, RK_F32, DIMS(3, 12)), *w = draw(g, RK_F32, DIMS(12, 12));
    rk_tensor *w16 = narrowed(g, dtype, w), *which = integers(g, 4, ids);
    rk_tensor *next = integers(g, 3, ids);
    same_tensor(g, "linear", rk_linear(ctx, x, rk_weight_of(w, RK_OUT_IN), NULL),
                rk_linear(ctx, x, rk_weight_of(w16, RK_OUT_IN), NULL));
    same_tensor(g, "linear (in, out)", rk_linear(ctx, x, rk_weight_of(w, RK_IN_OUT), NULL),
                rk_linear(ctx, x, rk_weight_of(w16, RK_IN_OUT), NULL));
    same_tensor(g, "embedding", rk_embedding(ctx, w, which), rk_embedding(ctx, w16, which));
    same_tensor(g, "cross-entropy", rk_cross_entropy(ctx, x, w, next, 0),
                rk_cross_entropy(ctx, x, w16, next, 0));
}

static void test_16_bits(void **state)
{
    (void)state;
    for (int path = 0; rk_kernels_at(path); path++)
        for (int how = 0; how < 4; how++) {
            rig g;
            rig_init(&g, 3, rk_kernels_at(path));
            test_shape(&g.t, "%s, how %d", rk_kernels_at(path)->name, how);
            g.ctx.long_class = how & 1;
            check_16_bits(&g, how & 2 ? RK_BF16 : RK_F16);
            rig_deinit(&g);
        }
}

/* -------------------------------------------------------------------------------------- dropout */

static void test_dropout(void **state)
{
    (void)state;
    enum { N = 20000 };
    rig g;
    rig_init(&g, 4, &rk_kernels_ref_f32);
    rk_tensor *x = draw(&g, RK_F32, DIMS(N));
    assert_ptr_equal(rk_dropout(&g.ctx, x, 0.25, 1), x); /* not recording */
    g.ctx.recording = true;
    assert_ptr_equal(rk_dropout(&g.ctx, x, 0.0, 1), x);
    const rk_tensor *y = rk_dropout(&g.ctx, x, 0.25, 1), *same = rk_dropout(&g.ctx, x, 0.25, 1);
    const rk_tensor *other = rk_dropout(&g.ctx, x, 0.25, 2);
    x->requires_grad = false; /* nothing to go back to: the same numbers, no mask kept */
    same_tensor(&g, "no gradient", y, rk_dropout(&g.ctx, x, 0.25, 1));
    g.ctx.step = 1;
    const rk_tensor *later = rk_dropout(&g.ctx, x, 0.25, 1);
    int64_t dropped = 0;
    for (int64_t i = 0; i < N; i++) {
        const float in = ((const float *)x->data)[i], out = ((const float *)y->data)[i];
        dropped += out == 0.0f;
        if (out != 0.0f)
            test_close(&g.t, "kept", &(float){in / 0.75f}, &out, 1, 1e-6f);
    }
    assert_in_range(dropped, N / 4 - 300, N / 4 + 300); /* 300 are 4.9 standard deviations */
    same_tensor(&g, "same key", y, same);
    assert_memory_not_equal(y->data, other->data, N * sizeof(float));
    assert_memory_not_equal(y->data, later->data, N * sizeof(float));
    rig_deinit(&g);
}

/* ----------------------------------------------------------------- a recurrence cut in pieces */

/* y and the last state of steps [t0, t1), copied so that they outlive the call. */
static rk_tensor *wkv_piece(rk_ctx *ctx, rk_tensor *const *all, int64_t t0, int64_t t1,
                            rk_tensor **state)
{
    rk_tensor *x[6];
    for (int i = 0; i < 6; i++)
        x[i] = rk_copy(ctx, rk_slice(ctx, all[i], 1, t0, t1));
    const rk_wkv7_in in = {
        .r = x[0], .w = x[1], .k = x[2], .v = x[3], .a = x[4], .b = x[5], .state = *state};
    return rk_wkv7(ctx, &in, state);
}

/* The long class: a prompt may be cut at multiples of 64, and the rest may be short. The short one:
 * anywhere. */
static void check_wkv_pieces(const rk_kernels *kernels, bool long_class, int64_t cut, int64_t end)
{
    rig g;
    rig_init(&g, 5, kernels);
    g.ctx.long_class = long_class;
    test_shape(&g.t, "%s, cut %d of %d", kernels->name, (int)cut, (int)end);
    rk_tensor *x[6], *state = draw(&g, RK_F32, DIMS(2, 2, 9, 9)), *state_cut = state;
    for (int i = 0; i < 6; i++)
        x[i] = rk_scale(&g.ctx, draw(&g, RK_F32, DIMS(2, end, 2, 9)), 0.3);
    rk_tensor *whole = wkv_piece(&g.ctx, x, 0, end, &state);
    rk_tensor *y[] = {wkv_piece(&g.ctx, x, 0, cut, &state_cut), NULL};
    y[1] = wkv_piece(&g.ctx, x, cut, end, &state_cut);
    same_tensor(&g, "y", whole, rk_concat(&g.ctx, y, 2, 1));
    same_tensor(&g, "state", state, state_cut);
    rig_deinit(&g);
}

static void test_wkv_pieces(void **state)
{
    (void)state;
    for (int path = 0; rk_kernels_at(path); path++) {
        check_wkv_pieces(rk_kernels_at(path), true, 64, 65);
        check_wkv_pieces(rk_kernels_at(path), true, 64, 100);
        check_wkv_pieces(rk_kernels_at(path), false, 1, 16);
        check_wkv_pieces(rk_kernels_at(path), false, 7, 12);
    }
}

/* --------------------------------------------------------------------------------------- errors */

static void wrong_segment(rk_ctx *c, void *user, rk_tensor *const *in, rk_tensor **out)
{
    (void)user;
    out[0] = rk_scale(c, in[0], 2.0);
}

/* clang-format off */
/* Each gives an op tensors that do not fit. */
#define WRONG(name, ...)                                                                           \
    static void name(rk_ctx *c, rk_tensor *a, rk_tensor *b)                                        \
    {                                                                                              \
        (void)a, (void)b;                                                                          \
        __VA_ARGS__;                                                                               \
    }
WRONG(wrong_add, rk_add(c, a, b))
WRONG(wrong_mul, rk_mul(c, a, b))
WRONG(wrong_lerp, rk_lerp(c, a, b, b))
WRONG(wrong_null, rk_add(c, a, NULL))
WRONG(wrong_unary, rk_unary_op(c, RK_EXP, rk_transpose(c, a, 0, 1)))
WRONG(wrong_view, rk_view(c, a, 1, (const int64_t[]){11}))
WRONG(wrong_slice, rk_slice(c, a, 1, 2, 9))
WRONG(wrong_index, rk_index(c, a, -1))
WRONG(wrong_transpose, rk_transpose(c, a, 0, 2))
WRONG(wrong_concat, rk_concat(c, (rk_tensor *[]){a, b}, 2, 0))
WRONG(wrong_concat_none, rk_concat(c, &a, 0, 0))
WRONG(wrong_concat_null, rk_concat(c, (rk_tensor *[]){a, NULL}, 2, 0))
WRONG(wrong_softmax, rk_softmax(c, rk_slice(c, a, 1, 0, 2)))
WRONG(wrong_norm, rk_norm(c, a, b, b, 1, 0.0))
WRONG(wrong_rms_norm, rk_rms_norm(c, a, b, 0.0))
WRONG(wrong_swiglu, rk_swiglu(c, a, b))
WRONG(wrong_rotary, rk_rotary(c, a, b, 10.0))
WRONG(wrong_groups, rk_tensor *w = rk_index(c, a, 0); rk_norm(c, a, w, w, 3, 0.0))
WRONG(wrong_linear, rk_linear(c, a, rk_weight_of(b, RK_OUT_IN), NULL))
WRONG(wrong_residual, rk_linear(c, a, rk_weight_of(a, RK_OUT_IN), b))
WRONG(wrong_matmul, rk_matmul(c, a, a))
WRONG(wrong_embedding, rk_embedding(c, a, b))
WRONG(wrong_head, rk_cross_entropy(c, a, b, a, 0.0))
WRONG(wrong_shift, rk_tensor *o; rk_shift_mix(c, a, b, &b, 1, &o))
WRONG(wrong_mixes, rk_tensor *o; rk_shift_mix(c, a, b, &b, 47, &o))
WRONG(wrong_wkv7, rk_tensor *o; const rk_wkv7_in in = {.r = a, .w = a, .k = a, .v = a, .a = a, .b = a, .state = b}; rk_wkv7(c, &in, &o))
WRONG(wrong_prepare, const rk_rwkv7_prepare_in in = {.w0 = a, .k = b}; rk_rwkv7_prepare_op(c, &in))
WRONG(wrong_v0, const rk_rwkv7_prepare_in in = {a, a, NULL, a, a, b, b, b, b, b, b};
    rk_rwkv7_prepare_op(c, &in))
WRONG(wrong_output, const rk_rwkv7_output_in in = {.y = a, .r = b}; rk_rwkv7_output_op(c, &in))
WRONG(wrong_backward, b->requires_grad = false; rk_backward(c, b, 1.0))
WRONG(wrong_recompute, rk_recompute(c, wrong_segment, NULL, &a, 1, &b, 1))
WRONG(wrong_scope, c->recording = false; rk_scoped(c, wrong_segment, NULL, &a, 1, &b, 1))
WRONG(wrong_tape, rk_scoped(c, wrong_segment, NULL, &a, 1, &a, 1))
WRONG(wrong_count, rk_recompute(c, wrong_segment, NULL, &a, 1, &b, 17))
WRONG(wrong_no_input, rk_recompute(c, wrong_segment, NULL, &a, 0, &b, 1))
WRONG(wrong_inputs, rk_recompute(c, wrong_segment, NULL, &a, 49, &b, 1))

static const struct {
    const char *says;
    void (*call)(rk_ctx *ctx, rk_tensor *a, rk_tensor *b); /* a (3,4), b (5,6), f32 */
} wrong[] = {
    {"add of f32 (3,4) and f32 (5,6): expected", wrong_add}, {"mul of f32 (3,4) and", wrong_mul},
    {"lerp of", wrong_lerp}, {"add of f32 (3,4) and nothing", wrong_null}, {"unary of f32 (4,3)", wrong_unary},
    {"view: f32 (3,4) as f32 (11)", wrong_view}, {"slice: [2, 9) of dimension 1 of f32 (3,4)", wrong_slice},
    {"slice: [-1, 0)", wrong_index}, {"transpose: dimensions 0 and 2 of 2", wrong_transpose},
    {"concat of", wrong_concat}, {"concat of 0 tensors", wrong_concat_none}, {"concat: input 1 is missing", wrong_concat_null},
    {"softmax of f32 (3,2)", wrong_softmax}, {"norm of", wrong_norm}, {"which the groups divide", wrong_groups},
    {"rms_norm of f32 (3,4) and f32 (5,6): expected a weight", wrong_rms_norm}, {"swiglu of", wrong_swiglu},
    {"rotary of f32 (3,4)", wrong_rotary},
    {"linear of", wrong_linear}, {"a summand of the result's shape", wrong_residual}, {"matmul of", wrong_matmul},
    {"embedding of", wrong_embedding}, {"cross_entropy of", wrong_head}, {"shift_mix of", wrong_shift},
    {"shift_mix: 47 mixes", wrong_mixes}, {"wkv7 of", wrong_wkv7}, {"rwkv7_prepare of", wrong_prepare},
    {"expected all inputs", wrong_v0}, {"rwkv7_output of", wrong_output}, {"backward: the result was not recorded", wrong_backward},
    {"segment: result 0", wrong_recompute}, {"segment: 1 inputs and 17 results", wrong_count},
    {"segment: 0 inputs and 1 results", wrong_no_input}, {"segment: 49 inputs and 1 results", wrong_inputs},
    {"segment: result 0", wrong_scope}, {"scope: a tape is being recorded", wrong_tape},
};
/* clang-format on */

/* The first error stays, and what follows does nothing. */
static void test_errors(void **state)
{
    (void)state;
    for (size_t i = 0; i < RK_COUNT(wrong); i++) {
        rig g;
        rk_error err = {0};
        rig_init(&g, 6, &rk_kernels_ref_f32);
        rk_tensor *a = draw(&g, RK_F32, DIMS(3, 4)), *b = draw(&g, RK_F32, DIMS(5, 6));
        g.ctx.recording = true;
        wrong[i].call(&g.ctx, a, b);
        if (rk_ctx_status(&g.ctx, &err) != RK_ERR_ARG || !strstr(err.msg, wrong[i].says))
            fail_msg("expected '%s', got status %d: '%s'", wrong[i].says, (int)err.code, err.msg);
        const size_t used = g.ctx.data.used;
        assert_null(rk_scale(&g.ctx, a, 2.0));
        assert_null(rk_view(&g.ctx, a, 1, (const int64_t[]){12}));
        assert_null(rk_copy(&g.ctx, NULL));
        assert_null(rk_new_like(&g.ctx, a));
        rk_softmax(&g.ctx, rk_transpose(&g.ctx, NULL, 0, 1));
        rk_backward(&g.ctx, NULL, 1.0);
        assert_null(a->grad);
        assert_int_equal(g.ctx.data.used, used);
        assert_string_equal(g.ctx.err.msg, err.msg);
        rk_ctx_reset(&g.ctx);
        assert_false(rk_ctx_failed(&g.ctx));
        rig_deinit(&g);
    }
}

static void expect_error(rig *g, const char *says)
{
    if (g->ctx.err.code != RK_ERR_ARG || !strstr(g->ctx.err.msg, says))
        fail_msg("expected '%s', got '%s'", says, g->ctx.err.msg);
    rk_ctx_reset(&g->ctx);
}

/* Ids and targets are bytes from outside; weights of 16 bits cannot take gradients. */
static void test_wrong_values(void **state)
{
    (void)state;
    static const int32_t low[] = {0, -1, 2}, high[] = {0, 1, 5};
    rig g;
    rig_init(&g, 7, &rk_kernels_ref_f32);
    rk_embedding(&g.ctx, draw(&g, RK_F32, DIMS(5, 4)), integers(&g, 3, low));
    expect_error(&g, "token 1 is -1: expected 0 to 4");
    rk_embedding(&g.ctx, draw(&g, RK_F32, DIMS(5, 4)), integers(&g, 3, high));
    expect_error(&g, "token 2 is 5: expected 0 to 4");
    rk_tensor *h = draw(&g, RK_F32, DIMS(3, 4));
    rk_cross_entropy(&g.ctx, h, draw(&g, RK_F32, DIMS(5, 4)), integers(&g, 3, high), 0.0);
    expect_error(&g, "target 2 is 5: expected below 5");
    h = draw(&g, RK_F32, DIMS(3, 4));
    rk_cross_entropy(&g.ctx, h, rk_new_zeros(&g.ctx, RK_I32, DIMS(5, 4)), integers(&g, 3, low),
                     0.0);
    expect_error(&g, "cross_entropy of");
    g.ctx.recording = true;
    rk_tensor *w = rk_new_zeros(&g.ctx, RK_BF16, DIMS(5, 4));
    w->requires_grad = true;
    rk_backward(&g.ctx,
                rk_linear(&g.ctx, draw(&g, RK_F32, DIMS(3, 4)), rk_weight_of(w, RK_OUT_IN), NULL),
                1.0);
    expect_error(&g, "gradient of a bf16 tensor: expected f32 or f64");
    rk_add(&g.ctx, rk_new(&g.ctx, RK_F32, DIMS(3, 0)), rk_new(&g.ctx, RK_F32, 1, (int64_t[]){0}));
    expect_error(&g, "add of f32 (3,0)");
    rig_deinit(&g);
}

static void test_abort(void **state)
{
    (void)state;
    rig g;
    atomic_int stop = 1;
    rig_init(&g, 8, &rk_kernels_ref_f32);
    rk_tensor *x = draw(&g, RK_F32, DIMS(3, 4));
    g.ctx.abort = &stop;
    rk_scale(&g.ctx, x, 2.0);
    assert_int_equal(g.ctx.err.code, RK_ERR_ABORTED);
    rk_ctx_reset(&g.ctx);
    rig_deinit(&g);
}

/* An arena that is one unit too small is a sentence, not a crash. */
static void test_full_arena(void **state)
{
    (void)state;
    rk_error err;
    rk_ctx ctx;
    rk_pool *pool;
    test_ok(rk_pool_new(&pool, 1, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {&rk_kernels_ref_f32, pool, NULL, RK_ARENA_FIXED, 192, NULL};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.recording = true;
    rk_tensor *x = rk_new_zeros(&ctx, RK_F32, DIMS(16));
    x->requires_grad = true;
    rk_tensor *y = rk_scale(&ctx, x, 2.0);
    assert_non_null(y);
    rk_backward(&ctx, y, 1.0); /* one of the two gradients fits */
    assert_int_equal(rk_ctx_status(&ctx, &err), RK_ERR_NOMEM);
    assert_non_null(strstr(err.msg, "out of memory: 64 bytes beyond the 192 in use"));
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_l2wrap),
        cmocka_unit_test(test_rows_that_do_not_count),
        cmocka_unit_test(test_best),
        cmocka_unit_test(test_16_bits),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_wkv_pieces),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_full_arena),
    };
    return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
