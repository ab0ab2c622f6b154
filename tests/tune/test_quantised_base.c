/* Adapters beside a quantised model give what the model has with its matrices rounded the same way and the
 * adapters put into them: what `merge --quant` writes. */
#include "infer/test_model_util.h"

#include "compress/in_memory.h"
#include "infer/engine.h"
#include "tune/attach.h"
#include "tune/merge.h"

enum { LAYERS = 2, C = 64, T = 40, RANK = 4 };

static const char *const quants[] = {"nf4", "fp4", "int8", "fp8", "q8_0", "q4_0"};

static float *random_values(const rk_adapter_part *p, int i, uint64_t seed, float most)
{
    for (int64_t e = 0; e < rk_part_count(p, i); e++)
        p->tensors[i][e] = most * (2.0f * rk_rng_f32(seed, RK_RNG_TEST, 77, (uint64_t)e) - 1.0f);
    return p->tensors[i];
}

/* A part of each form in turn for the matrices of the blocks. */
static rk_adapter_set *make_set(const rk_model *m)
{
    rk_adapter_set *s = NULL;
    rk_error err = {0};
    test_ok(rk_adapter_set_new(&s, &err), &err);
    for (int64_t i = 0, n = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        rk_adapter_part *p = NULL, like = {.form = (rk_adapter_form)(n % RK_PART_FORMS),
                                           .in = t->dims[1],
                                           .out = t->dims[0],
                                           .rank = RANK,
                                           .width = t->dims[0],
                                           .scale = 1.0};
        if (!rk_param_is_hidden(&m->params[i]))
            continue;
        snprintf(like.name, sizeof like.name, "%s", m->params[i].name);
        like.scale = n % RK_PART_FORMS == RK_PART_LORA ? 0.5 : 1.0;
        test_ok(rk_adapter_set_add(s, &like, &p, &err), &err);
        for (int q = 0; q < rk_forms[p->form].n_tensors; q++)
            random_values(p, q, (uint64_t)(3 * i + q), q == 2 ? 1.0f : 0.1f);
        n++;
    }
    return s;
}

typedef struct merging {
    const rk_adapter_set *set;
    const char *quant;
} merging;

static rk_status round_and_merge(void *user, const rk_param *p, float *w, rk_error *err)
{
    const merging *x = user;
    const rk_adapter_part *part = rk_adapter_set_find(x->set, p->name);
    rk_status st = rk_quantised_values(x->quant, part->out, part->in, w, NULL, err);
    return st == RK_OK ? rk_part_merge(part, 1.0, w, NULL, err) : st;
}

/* What the model gives for a text, in one call of either class, in each of n_streams streams, of which the
 * first has the adapters. *n: elements of a stream's. */
static const float *forward(test_ctx *t, const rk_model *m, rk_engine *e, const rk_adapters *a,
                            const int32_t *text, bool long_class, int64_t n_streams, int64_t *n)
{
    const int64_t dims[] = {n_streams, T};
    const rk_adapted_rows rows = {a ? rk_adapters_of(a) : NULL, 0, 1};
    const struct rk_adapting adapting = {&rows, 1, n_streams};
    rk_tensor *state[LAYERS * RK_STATE_MAX];
    rk_ctx ctx;
    rk_error err = {0};
    const rk_ctx_params p = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.long_class = long_class;
    ctx.adapting = a ? &adapting : NULL;
    rk_forward f = {.in = {rk_new(&ctx, RK_I32, 2, dims)}, .state = state};
    for (int64_t b = 0; b < n_streams; b++)
        memcpy((int32_t *)f.in[0]->data + b * T, text, T * sizeof *text);
    rk_model_new_state(&ctx, m, RK_F32, n_streams, state);
    const rk_tensor *y = rk_model_forward(&ctx, m, &f);
    test_ok(rk_ctx_status(&ctx, NULL), &ctx.err);
    *n = rk_tensor_count(y) / n_streams;
    const float *kept = test_copy_f32(t, y->data, n_streams * *n);
    rk_ctx_deinit(&ctx);
    return kept;
}

/* The largest difference over the largest value. */
static double distance(const float *a, const float *b, int64_t n)
{
    double most = 0.0, size = 0.0;
    for (int64_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        size = fmax(size, fabs((double)a[i]));
    }
    return most / size;
}

static void check(test_ctx *t, const test_model *f, const char *quant, rk_engine *e)
{
    rk_error err = {0};
    rk_model *q = NULL, *merged = NULL;
    rk_adapters *applied = NULL;
    int64_t n = 0;
    rk_adapter_set *set = make_set(f->model);
    merging how = {set, quant};
    const int32_t *text = test_tokens(t, T, test_n_vocab);
    test_ok(rk_model_open(&q, f->path, &err), &err);
    test_ok(rk_model_open(&merged, f->path, &err), &err);
    test_ok(rk_model_quantise(q, quant, &(rk_quantise_options){0}, &err), &err);
    test_ok(rk_adapters_apply(&applied, q, &(rk_adapter_use){set, 1.0}, 1, RK_F32, &err), &err);
    const rk_quantise_options o = {.change = round_and_merge, .change_user = &how};
    test_ok(rk_model_quantise(merged, "none", &o, &err), &err);
    for (int long_class = 0; long_class < 2; long_class++) {
        const float *want = forward(t, merged, e, NULL, text, long_class, 1, &n);
        const float *got = forward(t, q, e, applied, text, long_class, 1, &n);
        const float *bare = forward(t, q, e, NULL, text, long_class, 1, &n);
        if (distance(want, got, n) > 1e-4)
            fail_msg("%s: %g from the merged model", quant, distance(want, got, n));
        assert_true(distance(want, bare, n) > 1e-2); /* the adapters do something */
        const float *both = forward(t, q, e, applied, text, long_class, 2, &n);
        test_same(t, "with adapters, in a batch", got, both, (size_t)n * sizeof *got);
        test_same(t, "without, in a batch", bare, both + n, (size_t)n * sizeof *bare);
    }
    rk_adapters_free(applied);
    rk_adapter_set_free(set);
    rk_model_close(merged);
    rk_model_close(q);
}

static void test_merged(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_BF16);
    rk_engine *e = test_engine(2);
    for (size_t i = 0; i < RK_COUNT(quants); i++)
        check(&t, &f, quants[i], e);
    rk_engine_free(e);
    rk_model_close(f.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_merged)};
    return cmocka_run_group_tests_name("quantised base", tests, NULL, NULL);
}
