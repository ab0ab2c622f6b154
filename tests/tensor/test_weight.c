/* Weights of all their parts: a matrix in blocks, a low-rank pair in its place or beside it, adapters of
 * every kind and several at once. Values by their definition, gradients against
 * central differences, the bits of a matrix in blocks against those of the same in f32, groups
 * against one after the other. */
#include "test_util.h"

#include "kernels/blocks.h"
#include "nn/adapter.h"
#include "tensor/ops.h"

enum {
    ROWS = 19,
    WIDE = 64,
    RANK = 5,
    LORA_RANK = 3,
    MISS_RANK = 9,
    MINI_RANK = 5,
    MINI = 16,
    BAT = 4
};
/* What is trained, and the input. */
enum { X, LORA_A, LORA_B, DOWN, UP, DIAGONAL, MISS_D, MINI_D, BAT_B, DENSE, N_INPUTS };
static const int64_t dims[N_INPUTS][2] = {
    [X] = {ROWS, WIDE},           [LORA_A] = {LORA_RANK, WIDE}, [LORA_B] = {WIDE, LORA_RANK},
    [DOWN] = {RANK, WIDE},        [UP] = {WIDE, RANK},          [DIAGONAL] = {1, WIDE},
    [MISS_D] = {MISS_RANK, WIDE}, [MINI_D] = {MINI_RANK, MINI}, [BAT_B] = {WIDE, BAT},
    [DENSE] = {WIDE, WIDE},
};

/* Kinds of adapters, as bits: a weight may have several. */
enum { LORA = 1, MISS = 2, MINI_MISS = 4, BAT_IN = 8, BAT_OUT = 16, WHOLE = 32, N_KINDS = 6 };

typedef struct setting {
    const char *name;
    bool matrix, pair, enhanced;
    int adapters;
} setting;

static const setting settings[] = {
    {"matrix", true, false, false, 0},
    {"matrix + LoRA", true, false, false, LORA},
    {"pair", false, true, false, 0},
    {"enhanced pair", false, true, true, 0},
    {"enhanced pair + LoRA", false, true, true, LORA},
    {"pair + LoRA", false, true, false, LORA},
    {"pair + MiSS", false, true, false, MISS},
    {"enhanced pair + two of MiSS", false, true, true, MISS | MINI_MISS},
    {"matrix + pair", true, true, false, 0},
    {"matrix + enhanced pair + LoRA", true, true, true, LORA},
    {"matrix + MiSS", true, false, false, MISS},
    {"matrix + mini MiSS", true, false, false, MINI_MISS},
    {"matrix + Bat in", true, false, false, BAT_IN},
    {"matrix + Bat out", true, false, false, BAT_OUT},
    {"matrix + matrix", true, false, false, WHOLE},
    {"matrix + three adapters", true, false, false, LORA | MISS | BAT_IN},
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

/* A weight's adapters: chain (N_KINDS) is filled in, from its first on. Returns their number. */
static int chain_of(run *r, int kinds, rk_adapter *chain)
{
    static const int64_t blocks[3] = {WIDE / BAT, BAT, BAT};
    rk_tensor **in = r->in;
    const rk_adapter all[N_KINDS] = {
        rk_lora(in[LORA_A], in[LORA_B], 2),
        rk_miss(in[MISS_D]),
        rk_miss(in[MINI_D]),
        rk_bat_in(rk_view(&r->ctx, in[BAT_B], 3, blocks)),
        rk_bat_out(rk_view(&r->ctx, in[BAT_B], 3, blocks)),
        rk_dense(in[DENSE]),
    };
    int n = 0;
    for (int i = 0; i < N_KINDS; i++)
        if (kinds >> i & 1)
            chain[n++] = all[i];
    for (int i = 0; i + 1 < n; i++)
        chain[i].next = &chain[i + 1];
    return n;
}

/* Adapters of all rows, as number 1. */
typedef struct adapters {
    rk_adapter chain[N_KINDS];
    const rk_adapter *of[2];
    rk_adapted_rows rows;
    struct rk_adapting adapting;
} adapters;

static void adapt(run *r, int kinds, adapters *a)
{
    *a = (adapters){.rows = {a->of, 0, 1}, .adapting = {&a->rows, 1, 1}};
    a->of[1] = chain_of(r, kinds, a->chain) > 0 ? a->chain : NULL;
    r->ctx.adapting = &a->adapting;
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
    const rk_weight w = {.matrix = s->matrix ? matrix_of(r, z, blocks) : NULL,
                         .layout = RK_OUT_IN,
                         .low_rank = s->pair ? &pair : NULL,
                         .adapted_as = 1};
    adapters a;
    adapt(r, s->adapters, &a);
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

/* What the adapters add to element (o, i) of the matrix. */
static double delta(const numbers *z, int kinds, int64_t o, int64_t i)
{
    const float *b = z->x[BAT_B];
    double sum = 0;
    for (int64_t k = 0; kinds & LORA && k < LORA_RANK; k++)
        sum += 2.0 * (double)z->x[LORA_B][o * LORA_RANK + k] * (double)z->x[LORA_A][k * WIDE + i];
    if (kinds & MISS)
        sum += (double)z->x[MISS_D][i % MISS_RANK * WIDE + o];
    if (kinds & MINI_MISS)
        sum += (double)z->x[MINI_D][i % MINI_RANK * MINI + o % MINI];
    if (kinds & WHOLE)
        sum += (double)z->x[DENSE][o * WIDE + i];
    for (int way = BAT_IN; way <= BAT_OUT; way *= 2) {
        const int64_t block = (way == BAT_IN ? i : o) / BAT;
        if (!(kinds & way))
            continue;
        sum += (double)b[(block * BAT + o % BAT) * BAT + i % BAT];
        for (int64_t s = 0; s < BAT; s++)
            sum += (double)z->matrix[o * WIDE + i - i % BAT + s] *
                   (double)b[(block * BAT + s) * BAT + i % BAT];
    }
    return sum;
}

static double delta_dot(const float *x, const numbers *z, int kinds, int64_t o)
{
    double sum = 0;
    for (int64_t i = 0; kinds && i < WIDE; i++)
        sum += (double)x[i] * delta(z, kinds, o, i);
    return sum;
}

static void check_values(const setting *s, const numbers *z, const run *truth)
{
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t o = 0; o < WIDE; o++) {
            const float *x = z->x[X] + r * WIDE;
            double y = 0;
            if (s->matrix)
                y += dot(x, z->matrix + o * WIDE, WIDE);
            if (s->pair)
                y += through(x, z->x[DOWN], z->x[UP] + o * RANK, RANK, s->enhanced);
            if (s->enhanced)
                y += (double)x[o] * (double)z->x[DIAGONAL][o];
            y += delta_dot(x, z, s->adapters, o);
            const double want = y / (1 + exp(-y)), got = ((double *)truth->y->data)[r * WIDE + o];
            if (!(fabs(want - got) <= 1e-9))
                fail_msg("%s [%d][%d]: by definition %.12g, got %.12g", s->name, (int)r, (int)o,
                         want, got);
        }
}

static bool is_used(const setting *s, int i)
{
    static const int of_kind[N_INPUTS] = {[LORA_A] = LORA,
                                          [LORA_B] = LORA,
                                          [MISS_D] = MISS,
                                          [MINI_D] = MINI_MISS,
                                          [BAT_B] = BAT_IN | BAT_OUT,
                                          [DENSE] = WHOLE};
    return i == X || (s->adapters & of_kind[i]) || (s->pair && (i == DOWN || i == UP)) ||
           (s->enhanced && i == DIAGONAL);
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
        go(&r[blocks], s, z, blocks);
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
static void weights_of(run *r, const numbers *z, const rk_low_rank *pair, rk_linears_in *in)
{
    for (int i = 0; i < N_WEIGHTS; i++) {
        in[i] = (rk_linears_in){r->in[i % 2 ? X : DENSE],
                                {.matrix = i % 5 == 4 ? NULL : matrix_of(r, z, i % 3 == 0),
                                 .layout = RK_OUT_IN,
                                 .low_rank = i % 5 == 4 || i == 7 ? pair : NULL,
                                 .adapted_as = i % 2},
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
    adapters a;
    adapt(r, LORA | MISS, &a);
    weights_of(r, z, &pair, in);
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
            for (int i = 0; i < N_INPUTS && (how & 2); i++) {
                const bool unused = i == MINI_D || i == BAT_B;
                assert_int_equal(!r[0].in[i]->grad, unused);
                if (!unused)
                    test_close(&t, "gradient", r[0].in[i]->grad, r[1].in[i]->grad,
                               rk_tensor_count(r[0].in[i]), 1e-4f);
            }
            run_deinit(&r[1]);
            run_deinit(&r[0]);
        }
    test_end(&t);
}

/* ------------------------------------------------------------------------------------- streams */

enum { N_STREAMS = 6 };

/* Streams whose rows lie in one product, each with adapters of its own or with none. */
static void at_once(run *r, const numbers *z, const int *kinds, rk_linears_in *in, int n,
                    rk_tensor **out)
{
    adapters a[N_STREAMS];
    rk_adapted_rows rows[N_STREAMS];
    for (int i = 0; i < N_STREAMS; i++) {
        adapt(r, kinds[i], &a[i]);
        rows[i] = (rk_adapted_rows){a[i].of, i, i + 1};
    }
    r->ctx.adapting = &(struct rk_adapting){rows, N_STREAMS, N_STREAMS};
    (void)z;
    rk_linears(&r->ctx, in, n, out);
    test_ok(rk_ctx_status(&r->ctx, NULL), &r->ctx.err);
}

/* Every stream has the bits that it has alone. */
static void test_streams(void **state)
{
    static const int kinds[N_STREAMS] = {LORA, 0, MISS, LORA | MISS | BAT_IN, MINI_MISS, BAT_OUT};
    static const int64_t several[2] = {N_STREAMS * 2, WIDE}, one[2] = {2, WIDE};
    (void)state;
    test_ctx t = test_begin(11);
    const numbers z = draw(&t);
    for (int p = 0; rk_kernels_at(p); p++) {
        run r;
        rk_tensor *all[2], *alone[2];
        run_init(&r, rk_kernels_at(p), RK_F32);
        r.ctx.recording = false;
        for (int i = 0; i < N_INPUTS; i++)
            r.in[i] = reals(&r, z.x[i], dims[i]);
        rk_linears_in in[2] = {{reals(&r, z.x[DENSE], several),
                                {.matrix = matrix_of(&r, &z, true), .adapted_as = 1},
                                RK_RELU2},
                               {reals(&r, z.x[DENSE] + 99, several),
                                {.matrix = matrix_of(&r, &z, false), .adapted_as = 1},
                                RK_UNARY_NONE}};
        at_once(&r, &z, kinds, in, 2, all);
        for (int i = 0; i < N_STREAMS; i++) {
            adapters a;
            adapt(&r, kinds[i], &a);
            for (int q = 0; q < 2; q++) {
                rk_linears_in mine = in[q];
                mine.x = reals(&r, (const float *)in[q].x->data + i * 2 * WIDE, one);
                rk_linears(&r.ctx, &mine, 1, &alone[q]);
                test_ok(rk_ctx_status(&r.ctx, NULL), &r.ctx.err);
                test_shape(&t, "%s, stream %d, product %d", rk_kernels_at(p)->name, i, q);
                test_same(&t, "y", alone[q]->data, (float *)all[q]->data + i * 2 * WIDE,
                          rk_tensor_bytes(alone[q]));
            }
        }
        run_deinit(&r);
    }
    test_end(&t);
}

/* The whole matrix: with all that is added, and without adapters itself. */
static void test_matrix(void **state)
{
    (void)state;
    test_ctx t = test_begin(13);
    const numbers z = draw(&t);
    run r;
    adapters a;
    run_init(&r, rk_kernels_at(0), RK_F32);
    r.ctx.recording = false;
    for (int i = 0; i < N_INPUTS; i++)
        r.in[i] = reals(&r, z.x[i], dims[i]);
    const rk_weight w = {.matrix = matrix_of(&r, &z, true), .layout = RK_OUT_IN, .adapted_as = 1};
    assert_ptr_equal(rk_weight_matrix(&r.ctx, &w), w.matrix);
    adapt(&r, LORA | MISS | MINI_MISS, &a);
    const rk_tensor *all = rk_weight_matrix(&r.ctx, &w);
    test_ok(rk_ctx_status(&r.ctx, NULL), &r.ctx.err);
    for (int64_t e = 0; e < WIDE * WIDE; e++) {
        const double want =
            (double)z.matrix[e] + delta(&z, LORA | MISS | MINI_MISS, e / WIDE, e % WIDE);
        assert_true(fabs(want - (double)((const float *)all->data)[e]) < 1e-5);
    }
    adapt(&r, BAT_IN, &a);
    assert_null(rk_weight_matrix(&r.ctx, &w));
    assert_int_equal(rk_ctx_status(&r.ctx, NULL), RK_ERR_UNSUPPORTED);
    run_deinit(&r);
    test_end(&t);
}

/* Outputs times magnitude / |row of W + scale B A|. */
static void test_dora(void **state)
{
    (void)state;
    test_ctx t = test_begin(15);
    const numbers z = draw(&t);
    run r;
    run_init(&r, rk_kernels_at(0), RK_F64);
    for (int i = 0; i < N_INPUTS; i++)
        r.in[i] = reals(&r, z.x[i], dims[i]);
    float squares[WIDE];
    for (int64_t o = 0; o < WIDE; o++)
        squares[o] = (float)dot(z.matrix + o * WIDE, z.matrix + o * WIDE, WIDE);
    float ones[WIDE];
    for (int64_t o = 0; o < WIDE; o++)
        ones[o] = 1;
    const rk_dora_tensors d = {r.in[DIAGONAL], reals(&r, squares, dims[DIAGONAL]),
                               reals(&r, ones, dims[DIAGONAL])};
    const rk_adapter dora = rk_dora(r.in[LORA_A], r.in[LORA_B], 2, &d), *of[2] = {NULL, &dora};
    const rk_adapted_rows rows = {of, 0, 1};
    r.ctx.adapting = &(struct rk_adapting){&rows, 1, 1};
    const rk_weight w = {.matrix = matrix_of(&r, &z, false), .layout = RK_OUT_IN, .adapted_as = 1};
    const rk_tensor *y = rk_linear(&r.ctx, r.in[X], w, NULL);
    test_ok(rk_ctx_status(&r.ctx, NULL), &r.ctx.err);
    for (int64_t o = 0; o < WIDE; o++) {
        double square = 0, sum = 0;
        for (int64_t i = 0; i < WIDE; i++) {
            const double v = (double)z.matrix[o * WIDE + i] + delta(&z, LORA, o, i);
            square += v * v;
            sum += v * (double)z.x[X][i];
        }
        const double want = sum * (double)z.x[DIAGONAL][o] / sqrt(square);
        if (!(fabs(want - ((const double *)y->data)[o]) <= 1e-6 * fmax(1, fabs(want))))
            fail_msg("output %d: %.9g, got %.9g", (int)o, want, ((const double *)y->data)[o]);
    }
    run_deinit(&r);
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
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_group),
        cmocka_unit_test(test_into),      cmocka_unit_test(test_streams),
        cmocka_unit_test(test_matrix),    cmocka_unit_test(test_dora),
    };
    return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
