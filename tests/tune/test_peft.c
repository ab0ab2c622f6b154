/* Adapters against peft, as tests/oracle/peft_stack.py has stored what it computes: outputs, gradients
 * and three steps of AdamW of a stack of two linear layers, then the merged matrices; and where PiSSA,
 * OLoRA and LoRA-GA begin. */
#include "test_util.h"

#include "infer/engine.h"
#include "io/tensor_file.h"
#include "nn/adapter.h"
#include "tensor/ops.h"
#include "tune/merge.h"
#include "tune/start.h"

enum { LAYERS = 2, IN = 12, MID = 20, END = 8, TOKENS = 9, STEPS = 3 };
static const char *const layers[LAYERS] = {"down", "up"};
static const int64_t sizes[LAYERS][2] = {{MID, IN}, {END, MID}}; /* (out, in) */

typedef struct oracle_case {
    const char *name;
    rk_adapter_form form;
    int64_t rank, width; /* width 0: the outputs */
    double scale;
    bool residual; /* begins with a part of the matrix */
} oracle_case;

static const oracle_case cases[] = {
    {"lora", RK_PART_LORA, 4, 0, 1.5, false},
    {"rslora", RK_PART_LORA, 4, 0, 3.0, false},
    {"dora", RK_PART_DORA, 4, 0, 1.5, false},
    {"pissa", RK_PART_LORA, 4, 0, 1.5, true},
    {"olora", RK_PART_LORA, 4, 0, 1.5, true},
    {"bone", RK_PART_MISS, 4, 0, 1.0, false},
    {"bone-odd", RK_PART_MISS, 5, 0, 1.0, false},
    {"bone-bat", RK_PART_BAT_OUT, 4, 0, 1.0, false},
    {"miss", RK_PART_MISS, 4, 0, 1.0, false},
    {"miss-odd", RK_PART_MISS, 7, 0, 1.0, false},
    {"miss-bat", RK_PART_BAT_OUT, 4, 0, 1.0, false},
    {"miss-mini", RK_PART_MISS, 4, 2, 1.0, false},
    {"bat-in", RK_PART_BAT_IN, 4, 0, 1.0, false},
};

/* ---- what peft computed ---- */

static rk_file *open_oracle(test_ctx *t, const char *name)
{
    rk_file *f = NULL;
    rk_error err = {0};
    test_ok(rk_file_open(&f, test_source(t, name), &err), &err);
    return f;
}

static const float *stored(const rk_file *f, int64_t n, const char *name)
{
    const rk_file_tensor *x = rk_file_find(f, name);
    if (!x || x->dtype != RK_F32 || x->bytes != (size_t)n * sizeof(float))
        fail_msg("%s: not stored, or of another size", name);
    return x->data;
}

/* "lora.grad.down.lora_A": of tensor i of a layer's part. */
static const float *of_part(const rk_file *f, const char *name, const char *what, int layer,
                            const rk_adapter_part *p, int i)
{
    char full[128];
    snprintf(full, sizeof full, "%s.%s.%s.%s", name, what, layers[layer],
             rk_forms[p->form].tensors[i].name);
    return stored(f, rk_part_count(p, i), full);
}

/* Within tol of the largest. */
static void expect_near(const char *name, const char *what, const float *want, const float *got,
                        int64_t n, double tol)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)want[i] - (double)got[i]) <= tol * largest))
            fail_msg("%s, %s [%" PRId64 "]: want %.9g, got %.9g", name, what, i, (double)want[i],
                     (double)got[i]);
}

/* ---- the same here ---- */

typedef struct stack {
    const oracle_case *c;
    rk_engine *engine;
    rk_ctx ctx;
    rk_adapter_set *set;
    float *weight[LAYERS]; /* what the products are with */
    float *m[LAYERS][RK_PART_TENSORS_MAX], *v[LAYERS][RK_PART_TENSORS_MAX];
} stack;

static void add_part(stack *s, const rk_file *f, int layer)
{
    const oracle_case *c = s->c;
    rk_adapter_part *p = NULL;
    rk_error err = {0};
    rk_adapter_part like = {.form = c->form,
                            .out = sizes[layer][0],
                            .in = sizes[layer][1],
                            .rank = c->rank,
                            .width = c->width ? c->width : sizes[layer][0],
                            .scale = c->scale};
    snprintf(like.name, sizeof like.name, "%s.weight", layers[layer]);
    test_ok(rk_adapter_set_add(s->set, &like, &p, &err), &err);
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
        memcpy(p->tensors[i], of_part(f, c->name, "begin", layer, p, i),
               (size_t)rk_part_count(p, i) * sizeof(float));
}

/* The start values become those that peft began with, and are taken from the weight. */
static void begin_with_start(stack *s, int layer)
{
    rk_adapter_part *p = &s->set->parts[layer];
    rk_error err = {0};
    test_ok(rk_part_merge(p, -1.0, s->weight[layer], NULL, &err), &err);
    test_ok(rk_part_make_start(p, &err), &err);
    for (int i = 0; i < 2; i++)
        memcpy(p->start[i], p->tensors[i], (size_t)rk_part_count(p, i) * sizeof(float));
}

static void begin(test_ctx *t, stack *s, const oracle_case *c, const rk_file *f)
{
    rk_error err = {0};
    *s = (stack){.c = c};
    test_ok(rk_engine_new(&s->engine, &(rk_engine_params){.n_threads = 1}, &err), &err);
    const rk_ctx_params params = {.kernels = rk_engine_kernels(s->engine),
                                  .pool = rk_engine_pool(s->engine),
                                  .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&s->ctx, &params, &err), &err);
    test_ok(rk_adapter_set_new(&s->set, &err), &err);
    for (int l = 0; l < LAYERS; l++) {
        const int64_t n = sizes[l][0] * sizes[l][1];
        s->weight[l] = test_copy_f32(t, stored(f, n, layers[l]), n);
        add_part(s, f, l);
        if (c->residual)
            begin_with_start(s, l);
        for (int i = 0; i < rk_forms[c->form].n_tensors; i++) {
            const int64_t count = rk_part_count(&s->set->parts[l], i);
            s->m[l][i] = test_uniform(t, count, 0, 0);
            s->v[l][i] = test_uniform(t, count, 0, 0);
        }
    }
}

static void end(stack *s)
{
    rk_adapter_set_free(s->set);
    rk_ctx_deinit(&s->ctx);
    rk_engine_free(s->engine);
}

static rk_tensor *tensor_of(rk_ctx *ctx, const float *x, int n_dims, const int64_t *dims,
                            bool trained)
{
    rk_tensor *t = rk_new(ctx, RK_F32, n_dims, dims);
    assert_non_null(t);
    memcpy(t->data, x, rk_tensor_bytes(t));
    t->requires_grad = trained;
    return t;
}

/* |w|^2 of its rows. */
static rk_tensor *squares_of(rk_ctx *ctx, const float *w, const rk_adapter_part *p)
{
    rk_tensor *t = rk_new(ctx, RK_F32, 1, &p->out);
    assert_non_null(t);
    for (int64_t o = 0; o < p->out; o++) {
        double sum = 0.0;
        for (int64_t i = 0; i < p->in; i++)
            sum += pow((double)w[o * p->in + i], 2);
        ((float *)t->data)[o] = (float)sum;
    }
    return t;
}

static rk_tensor *ones_of(rk_ctx *ctx, const rk_adapter_part *p)
{
    rk_tensor *t = rk_new(ctx, RK_F32, 1, &p->out);
    assert_non_null(t);
    for (int64_t o = 0; o < p->out; o++)
        ((float *)t->data)[o] = 1.0f;
    return t;
}

static rk_adapter adapter_of(rk_ctx *ctx, const rk_adapter_part *p, const float *w, rk_tensor **in)
{
    switch (p->form) {
    case RK_PART_LORA:
        return rk_lora(in[0], in[1], p->scale);
    case RK_PART_DORA:
        return rk_dora(in[0], in[1], p->scale,
                       &(rk_dora_tensors){in[2], squares_of(ctx, w, p), ones_of(ctx, p)});
    case RK_PART_MISS:
        return rk_miss(in[0]);
    case RK_PART_BAT_IN:
        return rk_bat_in(in[0]);
    default:
        return rk_bat_out(in[0]);
    }
}

typedef struct pass {
    rk_tensor *x, *y, *in[LAYERS][RK_PART_TENSORS_MAX];
} pass;

/* Forward, and backward of half the squared distance from target. */
static void run(stack *s, const rk_file *f, pass *r)
{
    static const int64_t x_dims[] = {TOKENS, IN}, y_dims[] = {TOKENS, END};
    rk_ctx *ctx = &s->ctx;
    rk_adapter adapters[LAYERS];
    const rk_adapter *of[LAYERS + 1] = {NULL, &adapters[0], &adapters[1]};
    const rk_adapted_rows rows = {of, 0, 1};
    const struct rk_adapting adapting = {&rows, 1, 1};
    rk_ctx_reset(ctx);
    ctx->recording = true;
    ctx->adapting = &adapting;
    rk_tensor *y = r->x = tensor_of(ctx, stored(f, (int64_t)TOKENS * IN, "x"), 2, x_dims, true);
    for (int l = 0; l < LAYERS; l++) {
        const rk_adapter_part *p = &s->set->parts[l];
        for (int i = 0; i < rk_forms[p->form].n_tensors; i++) {
            int64_t dims[RK_MAX_DIMS];
            const int n_dims = rk_part_dims(p, i, dims);
            r->in[l][i] = tensor_of(ctx, p->tensors[i], n_dims, dims, true);
        }
        adapters[l] = adapter_of(ctx, p, s->weight[l], r->in[l]);
        rk_weight w = rk_weight_of(tensor_of(ctx, s->weight[l], 2, sizes[l], false), RK_OUT_IN);
        w.adapted_as = l + 1;
        y = rk_linear(ctx, y, w, NULL);
    }
    r->y = y;
    rk_tensor *target =
        tensor_of(ctx, stored(f, (int64_t)TOKENS * END, "target"), 2, y_dims, false);
    rk_tensor *off = rk_add(ctx, y, rk_scale(ctx, target, -1.0));
    rk_backward(ctx, rk_sum(ctx, rk_mul(ctx, off, off)), 0.5);
    test_ok(rk_ctx_status(ctx, NULL), &ctx->err);
    ctx->adapting = NULL;
}

static void expect_pass(stack *s, const rk_file *f, const pass *r)
{
    const char *name = s->c->name;
    char full[64];
    snprintf(full, sizeof full, "%s.y", name);
    expect_near(name, "y", stored(f, (int64_t)TOKENS * END, full), r->y->data,
                (int64_t)TOKENS * END, 1e-6);
    snprintf(full, sizeof full, "%s.dx", name);
    expect_near(name, "dx", stored(f, (int64_t)TOKENS * IN, full), rk_grad(&s->ctx, r->x),
                (int64_t)TOKENS * IN, 1e-5);
    for (int l = 0; l < LAYERS; l++) {
        const rk_adapter_part *p = &s->set->parts[l];
        for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
            expect_near(name, rk_forms[p->form].tensors[i].name, of_part(f, name, "grad", l, p, i),
                        rk_grad(&s->ctx, r->in[l][i]), rk_part_count(p, i), 1e-5);
    }
}

static void step(stack *s, const rk_file *f, const pass *r, int number)
{
    char what[16];
    const rk_adamw a = {.lr = 1e-2,
                        .beta1 = 0.9,
                        .beta2 = 0.99,
                        .eps = 1e-8,
                        .weight_decay = 0.1,
                        .correct1 = 1.0 - pow(0.9, number),
                        .correct2 = 1.0 - pow(0.99, number),
                        .grad_scale = 1.0};
    snprintf(what, sizeof what, "step%d", number);
    for (int l = 0; l < LAYERS; l++) {
        rk_adapter_part *p = &s->set->parts[l];
        for (int i = 0; i < rk_forms[p->form].n_tensors; i++) {
            const int64_t n = rk_part_count(p, i);
            s->ctx.kernels->adamw(n, &a, rk_grad(&s->ctx, r->in[l][i]), s->m[l][i], s->v[l][i],
                                  p->tensors[i]);
            expect_near(s->c->name, what, of_part(f, s->c->name, what, l, p, i), p->tensors[i], n,
                        1e-4);
        }
    }
}

static void expect_merged(test_ctx *t, stack *s, const rk_file *f)
{
    for (int l = 0; l < LAYERS; l++) {
        const rk_adapter_part *p = &s->set->parts[l];
        const int64_t n = p->in * p->out;
        char full[64];
        rk_error err = {0};
        float *w = test_copy_f32(t, stored(f, n, layers[l]), n);
        snprintf(full, sizeof full, "%s.merged.%s", s->c->name, layers[l]);
        test_ok(rk_part_merge(p, 1.0, w, NULL, &err), &err);
        expect_near(s->c->name, "merged", stored(f, n, full), w, n, 1e-5);
    }
}

static void test_stack(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_file *f = open_oracle(&t, "tests/data/oracle/peft.safetensors");
    for (size_t c = 0; c < RK_COUNT(cases); c++) {
        stack s;
        pass r;
        begin(&t, &s, &cases[c], f);
        for (int number = 1; number <= STEPS; number++) {
            run(&s, f, &r);
            if (number == 1)
                expect_pass(&s, f, &r);
            step(&s, f, &r, number);
        }
        expect_merged(&t, &s, f);
        end(&s);
    }
    rk_file_close(f);
    test_end(&t);
}

/* ---- starts ---- */

/* Signs of singular vectors are free: the largest of each n numbers, `stride` apart, becomes positive. */
static void fix_sign(float *x, int64_t n, int64_t stride)
{
    float largest = 0.0f;
    for (int64_t i = 0; i < n; i++)
        if (fabsf(x[i * stride]) > fabsf(largest))
            largest = x[i * stride];
    for (int64_t i = 0; i < n && largest < 0.0f; i++)
        x[i * stride] = -x[i * stride];
}

static void expect_pair(test_ctx *t, const char *name, const rk_adapter_part *p,
                        const float *a_want, const float *b_want)
{
    float *a[] = {test_copy_f32(t, a_want, rk_part_count(p, 0)), p->tensors[0]};
    float *b[] = {test_copy_f32(t, b_want, rk_part_count(p, 1)), p->tensors[1]};
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < p->rank; k++) {
            fix_sign(a[i] + k * p->in, p->in, 1);
            fix_sign(b[i] + k, p->out, p->rank);
        }
    expect_near(name, "lora_A", a[0], a[1], rk_part_count(p, 0), 1e-5);
    expect_near(name, "lora_B", b[0], b[1], rk_part_count(p, 1), 1e-5);
}

typedef struct start_case {
    const char *file, *name;
    rk_start_kind kind;
    int64_t rank;
    double scale;
    rk_ga_direction direction;
} start_case;

static const start_case starts[] = {
    {"tests/data/oracle/peft.safetensors", "pissa", RK_START_PISSA, 4, 1.5, RK_GA_ARB2R},
    {"tests/data/oracle/peft.safetensors", "olora", RK_START_OLORA, 4, 1.5, RK_GA_ARB2R},
    {"tests/data/oracle/peft-lora-ga.safetensors", "ArB2r", RK_START_LORA_GA, 2, 3, RK_GA_ARB2R},
    {"tests/data/oracle/peft-lora-ga.safetensors", "ArBr", RK_START_LORA_GA, 2, 3, RK_GA_ARBR},
    {"tests/data/oracle/peft-lora-ga.safetensors", "A2rBr", RK_START_LORA_GA, 2, 3, RK_GA_A2RBR},
};

static void expect_start(test_ctx *t, const start_case *c, rk_engine *engine, int layer)
{
    rk_adapter_set *set = NULL;
    rk_adapter_part *p = NULL;
    rk_error err = {0};
    const int64_t n = sizes[layer][0] * sizes[layer][1];
    const rk_adapter_part like = {.form = RK_PART_LORA,
                                  .out = sizes[layer][0],
                                  .in = sizes[layer][1],
                                  .rank = c->rank,
                                  .scale = c->scale};
    rk_file *f = open_oracle(t, c->file);
    char gradient[32];
    const bool ga = c->kind == RK_START_LORA_GA;
    snprintf(gradient, sizeof gradient, "gradient.%s", layers[layer]);
    const float *from = stored(f, n, ga ? gradient : layers[layer]);
    test_ok(rk_adapter_set_new(&set, &err), &err);
    test_ok(rk_adapter_set_add(set, &like, &p, &err), &err);
    const rk_start how = {.kind = c->kind,
                          .exact = true,
                          .niter = RK_START_NITER,
                          .direction = c->direction,
                          .ga_peft = true,
                          .gamma = RK_GA_GAMMA,
                          .weight = from,
                          .gradient = from,
                          .kernels = rk_engine_kernels(engine),
                          .pool = rk_engine_pool(engine)};
    test_ok(rk_part_start(p, &how, &err), &err);
    expect_pair(t, c->name, p, of_part(f, c->name, "begin", layer, p, 0),
                of_part(f, c->name, "begin", layer, p, 1));
    rk_adapter_set_free(set);
    rk_file_close(f);
}

static void test_starts(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    rk_engine *engine = NULL;
    rk_error err = {0};
    test_ok(rk_engine_new(&engine, &(rk_engine_params){.n_threads = 1}, &err), &err);
    for (size_t i = 0; i < RK_COUNT(starts); i++)
        for (int l = 0; l < LAYERS; l++)
            expect_start(&t, &starts[i], engine, l);
    rk_engine_free(engine);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stack), cmocka_unit_test(test_starts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
