/* Matrices quantised in memory: which ones, their values, what is computed with them, what is saved. */
#include "infer/test_model_util.h"

#include <unistd.h>

#include "compress/in_memory.h"
#include "infer/engine.h"
#include "kernels/blocks.h"

enum { V = 97, C = 64, LAYERS = 2, N_TEXT = 40 };

static const char *const names[] = {"nf4", "fp4", "4bit", "int8", "fp8", "q8_0", "q4_0"};

static rk_param *find(const rk_model *m, const char *name)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return &m->params[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

static rk_model *open_again(const test_model *f)
{
    rk_model *m = NULL;
    rk_error err = {0};
    test_ok(rk_model_open(&m, f->path, &err), &err);
    return m;
}

static float *values(test_ctx *t, const rk_param *p)
{
    const int64_t cols = rk_tensor_cols(&p->tensor);
    float *x = test_alloc_f32(t, rk_tensor_count(&p->tensor));
    for (int64_t r = 0; r < rk_tensor_rows(&p->tensor); r++) {
        rk_tensor row = p->tensor;
        if (row.n_dims != 2)
            memcpy(x + r * cols, (const float *)row.data + r * cols, (size_t)cols * sizeof *x);
        else
            rk_matrix_row(&row, RK_OUT_IN, r, x + r * cols);
    }
    return x;
}

/* The matrices of the blocks that are not trained have the type and the values; all others are as they
 * were. */
static void check_params(test_ctx *t, const rk_model *m, const rk_model *q, const char *name,
                         const rk_quantise_options *o)
{
    rk_dtype type;
    rk_error err = {0};
    size_t bytes = 0;
    test_ok(rk_quant_find(name, &type, &err), &err);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *a = &m->params[i], *b = &q->params[i];
        const bool meant =
            !b->trained && (rk_param_is_hidden(b) || (o->head && b->role == RK_ROLE_HEAD) ||
                            (o->emb && b->role == RK_ROLE_EMB));
        test_shape(t, "%s, %s", name, a->name);
        assert_int_equal(b->tensor.dtype, meant ? type : a->tensor.dtype);
        if (!a->used)
            continue;
        float *want = values(t, a);
        if (meant)
            test_ok(
                rk_quantised_values(name, a->tensor.dims[0], a->tensor.dims[1], want, NULL, &err),
                &err);
        if (meant)
            bytes += rk_tensor_bytes(&b->tensor);
        test_same(t, "values", want, values(t, b),
                  (size_t)rk_tensor_count(&a->tensor) * sizeof *want);
    }
    assert_true(bytes > 0);
    assert_int_equal(bytes, rk_quantised_bytes(q, type, o));
}

static void test_params(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_BF16);
    rk_engine *e = test_engine(2);
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        const rk_quantise_options o = {
            .emb = i % 2, .head = i / 2 % 2, .pool = i % 3 ? rk_engine_pool(e) : NULL};
        rk_model *q = open_again(&f);
        rk_error err = {0};
        find(q, "blocks.1.ffn.key.weight")->trained = true;
        test_ok(rk_model_quantise(q, names[i], &o, &err), &err);
        check_params(&t, f.model, q, names[i], &o);
        rk_model_close(q);
    }
    rk_engine_free(e);
    rk_model_close(f.model);
    test_end(&t);
}

/* A matrix is rounded as a whole: its rows share the scale of int8. */
static void test_whole(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        rk_dtype type;
        rk_error err = {0};
        test_ok(rk_quant_find(names[i], &type, &err), &err);
        float *w = test_uniform(&t, 3 * C, -1, 1), *want = test_alloc_f32(&t, 3 * C);
        w[C + 7] = 3.0f;
        void *blocks =
            test_alloc(&t, (size_t)(3 * C / rk_dtype_block(type)) * rk_dtype_bytes(type));
        rk_blocks_narrow(type, 3 * C, w, NULL, blocks);
        rk_blocks_widen(type, 3 * C, blocks, want);
        test_ok(rk_quantised_values(names[i], 3, C, w, NULL, &err), &err);
        test_same(&t, names[i], want, w, 3 * C * sizeof *w);
    }
    test_end(&t);
}

/* What a session computes has the bits of the same values in f32, in prompts and in single tokens. */
static rk_status round_values(void *user, const rk_param *p, float *w, rk_error *err)
{
    return rk_quantised_values(user, p->tensor.dims[0], p->tensor.dims[1], w, NULL, err);
}

static const float *logits(test_ctx *t, const rk_model *m, rk_engine *e, const int32_t *text)
{
    rk_session *s = NULL;
    rk_error err = {0};
    float *x = test_alloc_f32(t, 2 * V);
    test_ok(rk_session_new(&s, m, e, &err), &err);
    test_ok(rk_session_eval(s, text, N_TEXT, x, &err), &err);
    test_ok(rk_session_eval(s, text, 1, x + V, &err), &err);
    rk_session_free(s);
    return x;
}

static void test_sessions(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    const int32_t *text = test_tokens(&t, N_TEXT, V);
    rk_engine *e = test_engine(2);
    for (size_t i = 0; i < 5; i++) {
        char name[8];
        rk_error err = {0};
        rk_model *q = open_again(&f), *m = open_again(&f);
        snprintf(name, sizeof name, "%s", names[i]);
        test_shape(&t, "%s", name);
        test_ok(rk_model_quantise(q, name, &(rk_quantise_options){0}, &err), &err);
        test_ok(rk_model_quantise(
                    m, "none", &(rk_quantise_options){.change = round_values, .change_user = name},
                    &err),
                &err);
        assert_int_equal(find(m, "blocks.0.att.key.weight")->tensor.dtype, RK_F32);
        test_same(&t, "logits", logits(&t, m, e, text), logits(&t, q, e, text),
                  2 * V * sizeof(float));
        rk_model_close(m);
        rk_model_close(q);
    }
    rk_engine_free(e);
    rk_model_close(f.model);
    test_end(&t);
}

/* A change of the values comes before the rounding, one matrix at a time. */
static rk_status double_values(void *user, const rk_param *p, float *w, rk_error *err)
{
    (void)err;
    ++*(int *)user;
    for (int64_t i = 0; i < rk_tensor_count(&p->tensor); i++)
        w[i] *= 2.0f;
    return RK_OK;
}

static rk_status refuse(void *user, const rk_param *p, float *w, rk_error *err)
{
    (void)user;
    (void)w;
    return rk_fail(err, RK_ERR_ARG, "no change for %s", p->name);
}

static void test_change(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    int n = 0;
    rk_error err = {0};
    rk_quantise_options o = {.change = double_values, .change_user = &n};
    rk_model *q = open_again(&f);
    rk_param *p = find(q, "blocks.0.att.key.weight");
    const int64_t count = rk_tensor_count(&p->tensor);
    float *want = values(&t, p);
    test_ok(rk_quantised_values("nf4", C, C, want, NULL, &err), &err);
    test_ok(rk_param_quantise(q, p, RK_NF4, &o, &err), &err);
    const float *got = values(&t, p);
    for (int64_t i = 0; i < count; i++)
        assert_true(got[i] == 2.0f * want[i]); /* scaling by two scales the absmax */
    assert_int_equal(n, 1);
    assert_int_equal(find(q, "blocks.0.att.value.weight")->tensor.dtype, RK_F32);
    o.change = refuse;
    assert_int_equal(rk_model_quantise(q, "nf4", &o, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "no change for blocks.0.att.receptance.weight"));
    rk_model_close(q);
    rk_model_close(f.model);
    test_end(&t);
}

/* Files hold the matrices as the file has that the model came from. */
static void test_saved(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    size_t n = 0, m = 0;
    rk_error err = {0};
    rk_model *q = open_again(&f);
    char *path = test_path(&t, test_temp_dir(&t), "again.safetensors");
    const rk_save_options o = {.keep_types = true};
    test_ok(rk_model_quantise(q, "nf4", &(rk_quantise_options){0}, &err), &err);
    test_ok(rk_model_save(q, path, &o, &err), &err);
    const char *want = test_read_file(&t, f.path, &n), *got = test_read_file(&t, path, &m);
    assert_int_equal(n, m);
    test_same(&t, "file", want, got, n);
    rk_model_close(q);
    rk_model_close(f.model);
    test_end(&t);
}

static rk_dtype always_nf4(void *user, const rk_param *p, rk_dtype own)
{
    (void)user;
    return rk_param_is_hidden(p) ? RK_NF4 : own;
}

/* No file can hold a type of a code book. */
static void test_refused(void **state)
{
    (void)state;
    static const char *const files[] = {"nf4.safetensors", "nf4.pth", "nf4.gguf"};
    test_ctx t = test_begin(6);
    test_model f = test_model_open(&t, 3, LAYERS, C, RK_F32);
    const rk_save_plan plan = {.type = always_nf4};
    const rk_save_options o = {.plan = &plan};
    for (size_t i = 0; i < RK_COUNT(files); i++) {
        rk_error err = {0};
        const char *path = test_path(&t, test_temp_dir(&t), files[i]);
        assert_int_equal(rk_model_save(f.model, path, &o, &err), RK_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.msg, "has no nf4"));
        assert_int_not_equal(access(path, F_OK), 0);
    }
    rk_model_close(f.model);
    test_end(&t);
}

/* Rows that no block divides stay as they are; numbers that do not fit are named. */
static void test_misfits(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    test_model f = test_model_open(&t, 3, 1, 48, RK_F32); /* the inputs of ffn.value are 4 x 48 */
    rk_error err = {0};
    rk_model *q = open_again(&f);
    test_ok(rk_model_quantise(q, "nf4", &(rk_quantise_options){0}, &err), &err);
    assert_int_equal(find(q, "blocks.0.att.key.weight")->tensor.dtype, RK_F32);
    assert_int_equal(find(q, "blocks.0.ffn.value.weight")->tensor.dtype, RK_NF4);
    assert_int_equal(rk_model_quantise(q, "nf5", &(rk_quantise_options){0}, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "'nf5', expected none|nf4|"));
    float *w = test_uniform(&t, C, -1, 1);
    w[7] = 1e5f;
    test_ok(rk_quantised_values("nf4", 1, C, w, NULL, &err), &err);
    w[7] = 1e5f;
    assert_int_equal(rk_quantised_values("q8_0", 1, C, w, NULL, &err), RK_ERR_FORMAT);
    w[7] = NAN;
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        assert_int_equal(rk_quantised_values(names[i], 1, C, w, NULL, &err), RK_ERR_FORMAT);
        assert_non_null(strstr(err.msg, "not finite"));
    }
    rk_model_close(q);
    rk_model_close(f.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_params),  cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_change),  cmocka_unit_test(test_whole),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_saved),
        cmocka_unit_test(test_misfits)};
    return cmocka_run_group_tests_name("in memory", tests, NULL, NULL);
}
