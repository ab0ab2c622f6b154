/* Matrices that get no gradient, in every type that holds weights: what is computed with them while
 * recording, and the gradients that go through them, have the bits of the same matrix in f32. */
#include "test_util.h"

#include "kernels/blocks.h"
#include "tensor/ops.h"

/* More outputs than are widened at a time; inputs that every type has blocks for. */
enum { ROWS = 37, OUT = 300, IN = 256 };

static const rk_dtype types[] = {RK_Q4_0, RK_Q4_1, RK_Q5_0, RK_Q5_1, RK_Q8_0, RK_Q2_K,
                                 RK_Q3_K, RK_Q4_K, RK_Q5_K, RK_Q6_K, RK_NF4,  RK_FP4,
                                 RK_INT8, RK_FP8,  RK_BF16, RK_F16};

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
} rig;

/* An engine that rounds the inputs of packed matrices, as sessions have them. */
static void rig_init(rig *g, const rk_kernels *kernels, int n_threads)
{
    rk_error err;
    g->t = test_begin(3);
    test_ok(rk_pool_new(&g->pool, n_threads, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = kernels, .pool = g->pool, .data_kind = RK_ARENA_GROWING, .dot8 = rk_dot8_best()};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
    g->ctx.recording = true;
}

static void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

/* ------------------------------------------------------------------------------------- matrices */

/* A matrix (rows, IN) in one type, and the same in f32. */
typedef struct matrix {
    void *data;
    float *widened;
    rk_dot8_matrix packed; /* n 0: has no such form */
} matrix;

/* Blocks of any bytes: those of a format that is only read, too. Of code books, of any floats. */
static void random_blocks(test_ctx *t, rk_dtype type, int64_t n, unsigned char *blocks)
{
    if (!rk_dtype_is_ggml(type)) {
        rk_blocks_narrow(type, n, test_uniform(t, n, -1, 1), NULL, blocks);
        return;
    }
    const rk_block_factors f = rk_blocks_factors(type);
    const size_t size = rk_dtype_bytes(type);
    for (int64_t b = 0; b < n / rk_dtype_block(type); b++, blocks += size) {
        const float *factors = test_uniform(t, f.n, 0.001f, 0.02f);
        const int32_t *bytes = test_tokens(t, (int64_t)size, 256);
        for (size_t i = 0; i < size; i++)
            blocks[i] = (unsigned char)bytes[i];
        for (int i = 0; i < f.n; i++) {
            const uint16_t half = rk_f32_to_f16(factors[i]);
            memcpy(blocks + f.at + 2 * i, &half, sizeof half);
        }
    }
}

static matrix make_matrix(test_ctx *t, rk_dtype type, int64_t rows)
{
    const int64_t n = rows * IN;
    const size_t bytes = (size_t)(n / rk_dtype_block(type)) * rk_dtype_bytes(type);
    matrix m = {test_alloc(t, bytes), test_alloc_f32(t, n), {0}};
    if (!rk_dtype_is_blocks(type)) {
        rk_kernels_ref_f32.narrow(n, test_uniform(t, n, -1, 1), m.data, type);
        rk_kernels_ref_f32.widen(n, m.data, type, m.widened);
        return m;
    }
    random_blocks(t, type, n, m.data);
    rk_blocks_widen(type, n, m.data, m.widened);
    if (rk_dot8_has(type)) {
        m.packed = (rk_dot8_matrix){.dtype = type, .n = rows, .k = IN};
        unsigned char *to = test_alloc(t, rk_dot8_bytes(&m.packed) + 64);
        to += 64 - (uintptr_t)to % 64;
        rk_dot8_pack(&m.packed, m.data, 0, rk_dot8_pieces(&m.packed), to);
        m.packed.data = to;
    }
    return m;
}

/* The matrix as a tensor of `type`, or in f32; transposed: as (IN, rows). */
static rk_tensor *as_tensor(rig *g, const matrix *m, rk_dtype type, int64_t rows, bool transposed)
{
    rk_tensor *t = rk_arena_alloc(&g->ctx.meta, sizeof *t);
    const int64_t dims[] = {rows, IN};
    assert_non_null(t);
    *t = rk_tensor_over(type, 2, dims, type == RK_F32 ? m->widened : m->data);
    if (type != RK_F32 && m->packed.n > 0)
        t->packed = &m->packed;
    return transposed ? rk_transpose(&g->ctx, t, 0, 1) : t;
}

static rk_tensor *reals(rig *g, const float *x, int n_dims, const int64_t *dims)
{
    rk_tensor *t = rk_new(&g->ctx, RK_F32, n_dims, dims);
    assert_non_null(t);
    memcpy(t->data, x, rk_tensor_bytes(t));
    t->requires_grad = true;
    return t;
}
#define DIMS(...)                                                                                  \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[])                   \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* What a run leaves: a result and two gradients. */
typedef struct results {
    const void *y, *dx, *dadd;
    size_t y_bytes, dx_bytes, dadd_bytes;
} results;

static results results_of(rig *g, const rk_tensor *y, rk_tensor *x, rk_tensor *add)
{
    test_ok(rk_ctx_status(&g->ctx, NULL), &g->ctx.err);
    return (results){y->data,
                     rk_grad(&g->ctx, x),
                     rk_grad(&g->ctx, add),
                     rk_tensor_bytes(y),
                     rk_tensor_bytes(x),
                     rk_tensor_bytes(add)};
}

static void same_results(const test_ctx *t, const results *a, const results *b)
{
    test_same(t, "result", a->y, b->y, a->y_bytes);
    test_same(t, "gradient of the input", a->dx, b->dx, a->dx_bytes);
    test_same(t, "gradient of the summand", a->dadd, b->dadd, a->dadd_bytes);
}

/* --------------------------------------------------------------------------------------- linear */

static results run_linear(rig *g, const matrix *m, rk_dtype type, bool transposed, const float *x,
                          const float *add)
{
    rk_tensor *in = reals(g, x, DIMS(ROWS, IN)), *sum = reals(g, add, DIMS(ROWS, OUT));
    rk_tensor *w = as_tensor(g, m, type, OUT, transposed);
    rk_tensor *y = rk_linear(&g->ctx, in, rk_weight_of(w, transposed ? RK_IN_OUT : RK_OUT_IN), sum);
    rk_backward(&g->ctx, rk_sum(&g->ctx, rk_unary_op(&g->ctx, RK_SILU, y)), 0.75);
    return results_of(g, y, in, sum);
}

static void test_linear(void **state)
{
    (void)state;
    for (int p = 0; rk_kernels_at(p); p++)
        for (size_t k = 0; k < RK_COUNT(types); k++)
            for (int how = 0; how < 8; how++) {
                rig g;
                rig_init(&g, rk_kernels_at(p), 1 + how % 2);
                g.ctx.long_class = how & 1;
                g.ctx.round_bf16 = how & 2;
                const matrix m = make_matrix(&g.t, types[k], OUT);
                const float *x = test_uniform(&g.t, (int64_t)ROWS * IN, -1, 1);
                const float *add = test_uniform(&g.t, (int64_t)ROWS * OUT, -1, 1);
                const results want = run_linear(&g, &m, RK_F32, how & 4, x, add);
                const results got = run_linear(&g, &m, types[k], how & 4, x, add);
                test_shape(&g.t, "%s, %s, how %d", rk_kernels_at(p)->name, rk_dtype_name(types[k]),
                           how);
                same_results(&g.t, &want, &got);
                rig_deinit(&g);
            }
}

/* In a recomputed segment, too, whose first forward does not record. */
static void segment(rk_ctx *ctx, void *user, rk_tensor *const *in, rk_tensor **out)
{
    out[0] = rk_linear(ctx, in[0], rk_weight_of(user, RK_OUT_IN), in[1]);
}

static void test_recomputed(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, rk_kernels_at(0), 1);
    const matrix m = make_matrix(&g.t, RK_Q8_0, OUT);
    const float *x = test_uniform(&g.t, (int64_t)ROWS * IN, -1, 1);
    const float *add = test_uniform(&g.t, (int64_t)ROWS * OUT, -1, 1);
    results r[2];
    for (int i = 0; i < 2; i++) {
        rk_tensor *const in[] = {reals(&g, x, DIMS(ROWS, IN)), reals(&g, add, DIMS(ROWS, OUT))};
        rk_tensor *y = rk_new(&g.ctx, RK_F32, DIMS(ROWS, OUT));
        rk_recompute(&g.ctx, segment, as_tensor(&g, &m, i ? RK_Q8_0 : RK_F32, OUT, false), in, 2,
                     &y, 1);
        rk_backward(&g.ctx, rk_sum(&g.ctx, y), 1.0);
        r[i] = results_of(&g, y, in[0], in[1]);
    }
    same_results(&g.t, &r[0], &r[1]);
    rig_deinit(&g);
}

/* ----------------------------------------------------------------------------- embedding and head */

static results run_embedding(rig *g, const matrix *m, rk_dtype type, rk_tensor *ids, const float *x)
{
    rk_tensor *in = reals(g, x, DIMS(IN)), *y;
    y = rk_mul(&g->ctx, rk_embedding(&g->ctx, as_tensor(g, m, type, OUT, false), ids), in);
    rk_backward(&g->ctx, rk_sum(&g->ctx, y), 1.0);
    return results_of(g, y, in, in);
}

static results run_loss(rig *g, const matrix *m, rk_dtype type, rk_tensor *targets, const float *x,
                        double seed)
{
    rk_tensor *h = reals(g, x, DIMS(ROWS, IN));
    rk_tensor *head = as_tensor(g, m, type, OUT, false);
    rk_tensor *y = rk_cross_entropy_of(
        &g->ctx, &(rk_cross_entropy_in){h, head, targets, .l2wrap = 1e-4, .seed = seed});
    rk_backward(&g->ctx, rk_sum(&g->ctx, y), 0.5);
    assert_null(rk_grad(&g->ctx, head));
    return results_of(g, y, h, h);
}

static void test_table_and_head(void **state)
{
    (void)state;
    for (int p = 0; rk_kernels_at(p); p++)
        for (size_t k = 0; k < RK_COUNT(types); k++)
            for (int seeded = 0; seeded < 2; seeded++) {
                rig g;
                rig_init(&g, rk_kernels_at(p), 2);
                const matrix m = make_matrix(&g.t, types[k], OUT);
                rk_tensor *ids = rk_new(&g.ctx, RK_I32, DIMS(ROWS));
                memcpy(ids->data, test_tokens(&g.t, ROWS, OUT), rk_tensor_bytes(ids));
                const float *x = test_uniform(&g.t, (int64_t)ROWS * IN, -1, 1);
                const double seed = seeded ? 0.5 : 0.0;
                test_shape(&g.t, "%s, %s", rk_kernels_at(p)->name, rk_dtype_name(types[k]));
                results want = run_embedding(&g, &m, RK_F32, ids, x);
                results got = run_embedding(&g, &m, types[k], ids, x);
                same_results(&g.t, &want, &got);
                want = run_loss(&g, &m, RK_F32, ids, x, seed);
                got = run_loss(&g, &m, types[k], ids, x, seed);
                same_results(&g.t, &want, &got);
                rig_deinit(&g);
            }
}

/* -------------------------------------------------------------------------------------- refusals */

static void test_refused(void **state)
{
    (void)state;
    for (size_t k = 0; k < RK_COUNT(types); k++)
        for (int op = 0; op < 3; op++) {
            rig g;
            rig_init(&g, rk_kernels_at(0), 1);
            const matrix m = make_matrix(&g.t, types[k], OUT);
            rk_tensor *x = reals(&g, test_uniform(&g.t, IN, -1, 1), DIMS(1, IN)), *y;
            rk_tensor *w = as_tensor(&g, &m, types[k], OUT, false);
            rk_tensor *ids = rk_new_zeros(&g.ctx, RK_I32, DIMS(1));
            w->requires_grad = true;
            y = op == 0   ? rk_linear(&g.ctx, x, rk_weight_of(w, RK_OUT_IN), NULL)
                : op == 1 ? rk_embedding(&g.ctx, w, ids)
                          : rk_cross_entropy(&g.ctx, x, w, ids, 0.0);
            rk_backward(&g.ctx, y, 1.0);
            test_shape(&g.t, "%s, op %d: %s", rk_dtype_name(types[k]), op, g.ctx.err.msg);
            assert_int_equal(g.ctx.err.code, RK_ERR_ARG);
            assert_non_null(strstr(g.ctx.err.msg, rk_dtype_name(types[k])));
            assert_non_null(strstr(g.ctx.err.msg, "convert --type f32"));
            rig_deinit(&g);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_recomputed),
        cmocka_unit_test(test_table_and_head),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("frozen", tests, NULL, NULL);
}
