/* Weights of all their parts: a matrix in blocks, a low-rank pair in its place or beside it, an
 * adapter that adds a pair or changes the matrix. Values by their definition, gradients against
 * central differences, the bits of a matrix in blocks against those of the same in f32, groups
 * against one after the other. */
#include "test_util.h"

#include "kernels/blocks.h"
#include "nn/adapter.h"
#include "tensor/ops.h"

enum { ROWS = 19, WIDE = 64, RANK = 5, LORA_RANK = 3 };
/* What is trained, and the input. */
enum { X, LORA_A, LORA_B, DOWN, UP, DIAGONAL, BENT, N_INPUTS };
static const int64_t dims[N_INPUTS][2] = {
    [X] = {ROWS, WIDE},    [LORA_A] = {LORA_RANK, WIDE}, [LORA_B] = {WIDE, LORA_RANK},
    [DOWN] = {RANK, WIDE}, [UP] = {WIDE, RANK},          [DIAGONAL] = {1, WIDE},
    [BENT] = {WIDE, WIDE},
};

typedef struct setting {
    const char *name;
    bool matrix, pair, enhanced, lora, bends;
} setting;

static const setting settings[] = {
    {"matrix", true, false, false, false, false},
    {"matrix + LoRA", true, false, false, true, false},
    {"pair", false, true, false, false, false},
    {"enhanced pair", false, true, true, false, false},
    {"enhanced pair + LoRA", false, true, true, true, false},
    {"matrix + pair", true, true, false, false, false},
    {"matrix + enhanced pair + LoRA", true, true, true, true, false},
    {"matrix, bent", true, false, false, false, true},
};

/* Numbers that f32 and f64 hold alike; the matrix is Q8_0 and what that stands for. */
typedef struct numbers {
    const float *x[N_INPUTS], *loss; /* loss (WIDE): what results are multiplied with */
    float *matrix;
    void *blocks;
} numbers;

static numbers draw(test_ctx *t)
{
    const int64_t n = (int64_t)WIDE * WIDE;
    numbers z;
    for (int i = 0; i < N_INPUTS; i++)
        z.x[i] = test_uniform(t, dims[i][0] * dims[i][1], -0.5f, 0.5f);
    z.loss = test_uniform(t, WIDE, -1, 1);
    z.matrix = test_alloc_f32(t, n);
    z.blocks = test_alloc(t, (size_t)(n / rk_dtype_block(RK_Q8_0)) * rk_dtype_bytes(RK_Q8_0));
    rk_blocks_narrow(RK_Q8_0, n, test_uniform(t, n, -0.5f, 0.5f), NULL, z.blocks);
    rk_blocks_widen(RK_Q8_0, n, z.blocks, z.matrix);
    return z;
}

typedef struct run {
    rk_pool *pool;
    rk_ctx ctx;
    rk_dtype real;
    rk_tensor *in[N_INPUTS], *y;
    double loss;
} run;

static rk_tensor *reals(run *r, const float *x, const int64_t *size)
{
    rk_tensor *t =
        size[0] == 1 ? rk_new(&r->ctx, r->real, 1, size + 1) : rk_new(&r->ctx, r->real, 2, size);
    assert_non_null(t);
    for (int64_t i = 0; i < rk_tensor_count(t); i++)
        if (r->real == RK_F64)
            ((double *)t->data)[i] = (double)x[i];
        else
            ((float *)t->data)[i] = x[i];
    return t;
}

static void run_init(run *r, const rk_kernels *kernels, rk_dtype real)
{
    rk_error err;
    *r = (run){.real = real};
    test_ok(rk_pool_new(&r->pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = kernels, .pool = r->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&r->ctx, &p, &err), &err);
    r->ctx.recording = true;
}

static void run_deinit(run *r)
{
    rk_ctx_deinit(&r->ctx);
    rk_pool_free(r->pool);
}

/* The matrix in the run's reals, or in blocks. */
static rk_tensor *matrix_of(run *r, const numbers *z, bool blocks)
{
    static const int64_t square[] = {WIDE, WIDE};
    if (!blocks)
        return reals(r, z->matrix, square);
    rk_tensor *t = rk_arena_alloc(&r->ctx.meta, sizeof *t);
    *t = rk_tensor_over(RK_Q8_0, 2, square, z->blocks);
    return t;
}

/* A form of this test's own, W + W M: what adapters that change the matrix are like. */
static void bend(rk_ctx *ctx, const rk_adapter *a, rk_terms *t)
{
    t->matrix = rk_add(ctx, rk_matmul(ctx, t->matrix, a->tensor), t->matrix);
}

/* The loss of one setting: the sum of silu(y) times numbers of its own. */
static void go(run *r, const setting *s, const numbers *z, bool blocks)
{
    rk_ctx *ctx = &r->ctx;
    for (int i = 0; i < N_INPUTS; i++) {
        r->in[i] = reals(r, z->x[i], dims[i]);
        r->in[i]->requires_grad = true;
    }
    rk_tensor **in = r->in;
    const rk_low_rank pair = {.down = in[DOWN],
                              .up = in[UP],
                              .layout = RK_OUT_IN,
                              .between = s->enhanced ? RK_RELU2 : RK_UNARY_NONE,
                              .diagonal = s->enhanced ? in[DIAGONAL] : NULL,
                              .scale = 1};
    const rk_adapter lora = rk_lora(in[LORA_A], in[LORA_B], 2 * LORA_RANK);
    const rk_adapter bent = {.apply = bend, .tensor = in[BENT]};
    const rk_weight w = {.matrix = s->matrix ? matrix_of(r, z, blocks) : NULL,
                         .layout = RK_OUT_IN,
                         .low_rank = s->pair ? &pair : NULL,
                         .adapter = s->lora    ? &lora
                                    : s->bends ? &bent
                                               : NULL};
    rk_linears(ctx, &(rk_linears_in){in[X], w, RK_SILU}, 1, &r->y);
    rk_tensor *sum = rk_sum(ctx, rk_mul(ctx, r->y, reals(r, z->loss, dims[DIAGONAL])));
    rk_backward(ctx, sum, 1.0);
    test_ok(rk_ctx_status(ctx, NULL), &ctx->err);
    r->loss = r->real == RK_F64 ? *(double *)sum->data : (double)*(float *)sum->data;
}

/* ---- by definition ---- */

/* Row r of x times a matrix (out, in). */
static double dot(const float *x, const float *w, int64_t in)
{
    double sum = 0;
    for (int64_t i = 0; i < in; i++)
        sum += (double)x[i] * (double)w[i];
    return sum;
}

static double through(const float *x, const float *down, const float *up, int64_t rank,
                      bool enhanced)
{
    double sum = 0;
    for (int64_t q = 0; q < rank; q++) {
        const double low = dot(x, down + q * WIDE, WIDE);
        sum += (double)up[q] * (enhanced ? pow(fmax(low, 0), 2) : low);
    }
    return sum;
}

static double bent_dot(const float *x, const numbers *z, int64_t o)
{
    double sum = dot(x, z->matrix + o * WIDE, WIDE);
    for (int64_t i = 0; i < WIDE; i++)
        for (int64_t j = 0; j < WIDE; j++)
            sum +=
                (double)x[i] * (double)z->matrix[o * WIDE + j] * (double)z->x[BENT][j * WIDE + i];
    return sum;
}

static void check_values(const setting *s, const numbers *z, const run *truth)
{
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t o = 0; o < WIDE; o++) {
            const float *x = z->x[X] + r * WIDE;
            double y = 0;
            if (s->matrix)
                y += s->bends ? bent_dot(x, z, o) : dot(x, z->matrix + o * WIDE, WIDE);
            if (s->pair)
                y += through(x, z->x[DOWN], z->x[UP] + o * RANK, RANK, s->enhanced);
            if (s->enhanced)
                y += (double)x[o] * (double)z->x[DIAGONAL][o];
            if (s->lora)
                y += 2 * through(x, z->x[LORA_A], z->x[LORA_B] + o * LORA_RANK, LORA_RANK, false);
            const double want = y / (1 + exp(-y)), got = ((double *)truth->y->data)[r * WIDE + o];
            if (!(fabs(want - got) <= 1e-9))
                fail_msg("%s [%d][%d]: by definition %.12g, got %.12g", s->name, (int)r, (int)o,
                         want, got);
        }
}

static bool is_used(const setting *s, int i)
{
    return i == X || (s->lora && (i == LORA_A || i == LORA_B)) ||
           (s->pair && (i == DOWN || i == UP)) || (s->enhanced && i == DIAGONAL) ||
           (s->bends && i == BENT);
}

/* In f64 with the matrix as reals: (f(x + h d) - f(x - h d)) / 2h for each input. Steps are powers of
 * two, directions of few bits, so that moved numbers are exact in the floats they are drawn as. */
static void check_differences(test_ctx *t, const setting *s, const numbers *z, const run *truth)
{
    const double h = 1.0 / (1 << 14);
    for (int i = 0; i < N_INPUTS; i++) {
        const int64_t n = dims[i][0] * dims[i][1];
        const int32_t *steps = test_tokens(t, n, 3);
        double along = 0, f[2];
        if (!is_used(s, i)) {
            assert_null(truth->in[i]->grad);
            continue;
        }
        for (int side = 0; side < 2; side++) {
            numbers moved = *z;
            float *x = test_copy_f32(t, z->x[i], n);
            run r;
            for (int64_t e = 0; e < n; e++)
                x[e] = (float)((double)rk_bf16_to_f32(rk_f32_to_bf16(x[e])) +
                               (side ? -h : h) * (steps[e] - 1));
            moved.x[i] = x;
            run_init(&r, &rk_kernels_ref_f32, RK_F64);
            go(&r, s, &moved, false);
            f[side] = r.loss;
            run_deinit(&r);
        }
        for (int64_t e = 0; e < n; e++)
            along += ((const double *)truth->in[i]->grad)[e] * (steps[e] - 1);
        const double want = (f[0] - f[1]) / (2 * h);
        if (!(fabs(want - along) <= 1e-5 * fmax(1, fabs(want))))
            fail_msg("%s, input %d: difference %.9g, gradient %.9g", s->name, i, want, along);
    }
}

static void check_close(const test_ctx *t, const char *what, const double *want, const float *got,
                        int64_t n)
{
    double largest = 1;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(want[i] - (double)got[i]) <= 1e-5 * largest))
            fail_msg("%s [%" PRId64 "]: f64 %.9g, f32 %.9g; %s", what, i, want[i], (double)got[i],
                     t->shape);
}

/* A path with the matrix in blocks: near f64, and with the bits of the matrix in f32. */
static void check_path(test_ctx *t, const setting *s, const numbers *z, run *truth,
                       const rk_kernels *kernels, bool long_class)
{
    run r[2];
    for (int blocks = 0; blocks < 2; blocks++) {
        run_init(&r[blocks], kernels, RK_F32);
        r[blocks].ctx.long_class = long_class;
        /* What changes the matrix computes with it. */
        go(&r[blocks], s, z, blocks && !s->bends);
    }
    test_shape(t, "%s, %s, long %d", s->name, kernels->name, long_class);
    check_close(t, "y", truth->y->data, r[1].y->data, rk_tensor_count(truth->y));
    test_same(t, "y", r[0].y->data, r[1].y->data, rk_tensor_bytes(r[0].y));
    for (int i = 0; i < N_INPUTS; i++) {
        assert_int_equal(r[1].in[i]->grad != NULL, is_used(s, i));
        if (!is_used(s, i))
            continue;
        check_close(t, "gradient", truth->in[i]->grad, r[1].in[i]->grad,
                    rk_tensor_count(truth->in[i]));
        test_same(t, "gradient", r[0].in[i]->grad, r[1].in[i]->grad, rk_tensor_bytes(r[0].in[i]));
    }
    run_deinit(&r[0]);
    run_deinit(&r[1]);
}

/* Inputs of few bits. */
static numbers rounded(test_ctx *t, const numbers *z)
{
    numbers few = *z;
    for (int i = 0; i < N_INPUTS; i++) {
        const int64_t n = dims[i][0] * dims[i][1];
        float *x = test_copy_f32(t, z->x[i], n);
        for (int64_t e = 0; e < n; e++)
            x[e] = rk_bf16_to_f32(rk_f32_to_bf16(x[e]));
        few.x[i] = x;
    }
    return few;
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t k = 0; k < RK_COUNT(settings); k++) {
        test_ctx t = test_begin(5);
        const numbers drawn = draw(&t), z = rounded(&t, &drawn);
        run truth;
        run_init(&truth, &rk_kernels_ref_f32, RK_F64);
        go(&truth, &settings[k], &z, false);
        check_values(&settings[k], &z, &truth);
        check_differences(&t, &settings[k], &z, &truth);
        for (int p = 0; rk_kernels_at(p); p++)
            for (int long_class = 0; long_class < 2; long_class++)
                check_path(&t, &settings[k], &z, &truth, rk_kernels_at(p), long_class);
        run_deinit(&truth);
        test_end(&t);
    }
}

/* --------------------------------------------------------------------------------------- groups */

enum { N_WEIGHTS = 9 };

/* More terms than one node takes: weights with and without pairs, of two inputs. */
static void weights_of(run *r, const numbers *z, const rk_low_rank *pair, const rk_adapter *lora,
                       rk_linears_in *in)
{
    for (int i = 0; i < N_WEIGHTS; i++) {
        in[i] = (rk_linears_in){r->in[i % 2 ? X : BENT],
                                {.matrix = i % 5 == 4 ? NULL : matrix_of(r, z, i % 3 == 0),
                                 .layout = RK_OUT_IN,
                                 .low_rank = i % 5 == 4 || i == 7 ? pair : NULL,
                                 .adapter = i % 2 ? lora : NULL},
                                i % 4 == 0 ? RK_TANH : RK_UNARY_NONE};
    }
}

static void run_group(run *r, const numbers *z, bool at_once, rk_tensor **out)
{
    rk_linears_in in[N_WEIGHTS];
    rk_tensor *sum = NULL;
    for (int i = 0; i < N_INPUTS; i++) {
        r->in[i] = reals(r, z->x[i], dims[i]);
        r->in[i]->requires_grad = true;
    }
    const rk_low_rank pair = {.down = r->in[DOWN],
                              .up = r->in[UP],
                              .layout = RK_OUT_IN,
                              .between = RK_RELU2,
                              .diagonal = r->in[DIAGONAL],
                              .scale = 0.5};
    const rk_adapter lora = rk_lora(r->in[LORA_A], r->in[LORA_B], 1);
    weights_of(r, z, &pair, &lora, in);
    if (at_once)
        rk_linears(&r->ctx, in, N_WEIGHTS, out);
    for (int i = 0; i < N_WEIGHTS; i++) {
        if (!at_once) {
            out[i] = rk_linear(&r->ctx, in[i].x, in[i].w, NULL);
            if (in[i].after != RK_UNARY_NONE)
                out[i] = rk_unary_op(&r->ctx, in[i].after, out[i]);
        }
        rk_tensor *one = rk_sum(&r->ctx, rk_unary_op(&r->ctx, RK_SIGMOID, out[i]));
        sum = sum ? rk_add(&r->ctx, sum, one) : one;
    }
    if (r->ctx.recording)
        rk_backward(&r->ctx, sum, 1.0);
    test_ok(rk_ctx_status(&r->ctx, NULL), &r->ctx.err);
}

/* Results have the same bits; sums into what several weights share have another order where the
 * terms of a weight are apart, so gradients are near. Without a tape sums are made in place. */
static void test_group(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    const numbers z = draw(&t);
    for (int p = 0; rk_kernels_at(p); p++)
        for (int how = 0; how < 4; how++) {
            run r[2];
            rk_tensor *out[2][N_WEIGHTS];
            test_shape(&t, "%s, how %d", rk_kernels_at(p)->name, how);
            for (int i = 0; i < 2; i++) {
                run_init(&r[i], rk_kernels_at(p), RK_F32);
                r[i].ctx.long_class = how & 1;
                r[i].ctx.recording = how & 2;
                run_group(&r[i], &z, i == 1, out[i]);
            }
            for (int i = 0; i < N_WEIGHTS; i++)
                test_same(&t, "y", out[0][i]->data, out[1][i]->data, rk_tensor_bytes(out[0][i]));
            for (int i = 0; i < N_INPUTS && (how & 2); i++)
                test_close(&t, "gradient", r[0].in[i]->grad, r[1].in[i]->grad,
                           rk_tensor_count(r[0].in[i]), 1e-4f);
            run_deinit(&r[1]);
            run_deinit(&r[0]);
        }
    test_end(&t);
}

/* Into memory of the caller's, whatever the weight is made of, and added to what is not touched; a
 * weight of nothing is refused. */
static void test_into(void **state)
{
    (void)state;
    test_ctx t = test_begin(9);
    const numbers z = draw(&t);
    for (int how = 0; how < 4; how++) {
        run r;
        run_init(&r, rk_kernels_at(0), RK_F32);
        r.ctx.recording = false;
        for (int i = 0; i < N_INPUTS; i++)
            r.in[i] = reals(&r, z.x[i], dims[i]);
        const rk_low_rank pair = {.down = r.in[DOWN],
                                  .up = r.in[UP],
                                  .layout = RK_OUT_IN,
                                  .between = RK_UNARY_NONE,
                                  .diagonal = how & 2 ? r.in[DIAGONAL] : NULL,
                                  .scale = 1};
        const rk_weight w = {.matrix = how & 1 ? matrix_of(&r, &z, true) : NULL,
                             .layout = RK_OUT_IN,
                             .low_rank = &pair};
        rk_tensor *y = rk_new(&r.ctx, RK_F32, 2, dims[X]);
        rk_linear_into(&r.ctx, r.in[X], w, y);
        rk_tensor *want = rk_linear(&r.ctx, r.in[X], w, NULL);
        test_ok(rk_ctx_status(&r.ctx, NULL), &r.ctx.err);
        test_shape(&t, "how %d", how);
        test_same(&t, "y", want->data, y->data, rk_tensor_bytes(y));
        rk_tensor *add = reals(&r, z.x[X], dims[X]), *sum = rk_linear(&r.ctx, r.in[X], w, add);
        test_close(&t, "sum", rk_add(&r.ctx, want, add)->data, sum->data, rk_tensor_count(y),
                   1e-5f);
        test_same(&t, "summand", z.x[X], add->data, rk_tensor_bytes(add));
        assert_null(rk_linear(&r.ctx, r.in[X], (rk_weight){.matrix = NULL}, NULL));
        assert_non_null(strstr(r.ctx.err.msg, "linear of f32 (19,64) and nothing"));
        run_deinit(&r);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_into),
    };
    return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
