/* Model files: read back as they were written, in every type; hostile ones get a sentence. */
#include "infer/test_model_util.h"

enum { N_LAYER = 2, N_EMBD = 32 };

/* ---- round trips ---- */

static float element(const rk_tensor *t, int64_t i)
{
    const uint16_t *half = t->data;
    return t->dtype == RK_BF16  ? rk_bf16_to_f32(half[i])
           : t->dtype == RK_F16 ? rk_f16_to_f32(half[i])
                                : ((const float *)t->data)[i];
}

static float rounded(float x, rk_dtype dtype)
{
    return dtype == RK_BF16  ? rk_bf16_to_f32(rk_f32_to_bf16(x))
           : dtype == RK_F16 ? rk_f16_to_f32(rk_f32_to_f16(x))
                             : x;
}

/* Matrices in the file's type, vectors as they are; one fingerprint for all types. */
static void test_round_trip(void **state)
{
    (void)state;
    static const rk_dtype dtypes[] = {RK_F32, RK_BF16, RK_F16};
    test_ctx t = test_begin(1);
    const test_model from = test_model_open(&t, 1, N_LAYER, N_EMBD, RK_F32);
    for (size_t i = 0; i < RK_COUNT(dtypes); i++) {
        char *path = test_path(&t, test_temp_dir(&t), "copy.safetensors");
        rk_error err = {0};
        rk_model *m = NULL;
        const rk_pair meta = {"note", "a copy"};
        const rk_save_options o = {.dtype = dtypes[i], .meta = &meta, .n_meta = 1};
        test_ok(rk_model_save(from.model, path, &o, &err), &err);
        assert_int_not_equal(rk_model_save(from.model, path, &o, &err),
                             RK_OK); /* it is there already */
        test_ok(rk_model_open(&m, path, &err), &err);
        assert_int_equal(m->fingerprint, from.model->fingerprint);
        assert_string_equal(rk_file_meta(m->file, "note"), "a copy");
        assert_int_equal(m->n_params, from.model->n_params);
        for (int64_t k = 0; k < m->n_params; k++) {
            const rk_tensor *want = &from.model->params[k].tensor, *got = &m->params[k].tensor;
            if (!m->params[k].used)
                continue;
            assert_string_equal(m->params[k].name, from.model->params[k].name);
            for (int64_t e = 0; e < rk_tensor_count(want); e++)
                assert_true(element(got, e) == (rk_tensor_rows(want) == 1
                                                    ? element(want, e)
                                                    : rounded(element(want, e), dtypes[i])));
        }
        rk_model_close(m);
    }
    rk_model_close(from.model);
    test_end(&t);
}

static void test_info(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const test_model a = test_model_open(&t, 1, N_LAYER, N_EMBD, RK_BF16);
    const test_model b = test_model_open(&t, 2, N_LAYER, N_EMBD, RK_BF16);
    rk_error err = {0};
    rk_model_info info, other;
    rk_model *m = NULL;
    size_t bytes = 0;
    rk_model_get_info(a.model, &info);
    rk_model_get_info(b.model, &other);
    assert_string_equal(info.arch, "rwkv7");
    assert_int_equal(info.n_vocab, 97);
    assert_int_equal(info.n_layer, N_LAYER);
    assert_int_equal(info.n_embd, N_EMBD);
    assert_int_equal(info.n_head, 2);
    assert_int_equal(info.head_size, 16);
    assert_int_equal(info.dim_ffn, 4 * N_EMBD);
    assert_int_equal(info.state_bytes, N_LAYER * (2 * N_EMBD + 2 * 16 * 16) * 4);
    assert_true(info.fingerprint != other.fingerprint);

    char *data = test_read_file(&t, a.path, &bytes);
    test_ok(rk_model_open_memory(&m, data, bytes, &err), &err);
    assert_int_equal(m->fingerprint, info.fingerprint);
    rk_model_close(m);
    rk_model_close(a.model);
    rk_model_close(b.model);
    test_end(&t);
}

/* ---- hostile files ---- */

/* A change to the table of a file's tensors. */
typedef struct change {
    const char *tensor, *rename; /* NULL: it keeps its name; "": it is left out */
    int n_dims;                  /* 0: it keeps its shape */
    int64_t dims[2];
    bool integers;
    rk_status status; /* and words of the sentence */
    const char *says, *says_too;
} change;

static const char *apply(test_ctx *t, const rk_file *from, const change *c)
{
    static const double zeros[97 * N_EMBD] = {0};
    const int64_t n = rk_file_count(from);
    rk_file_tensor *tensors = test_alloc(t, (size_t)n * sizeof *tensors);
    rk_error err = {0};
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        rk_file_tensor x = *rk_file_at(from, i);
        if (!strcmp(x.name, c->tensor)) {
            if (c->rename && !c->rename[0])
                continue;
            x.name = c->rename ? c->rename : x.name;
            x.dtype = c->integers ? RK_I32 : x.dtype;
            if (c->n_dims) {
                x.n_dims = c->n_dims;
                memcpy(x.dims, c->dims, sizeof c->dims);
                x.data = zeros;
                x.bytes = rk_dtype_bytes(x.dtype) * (size_t)c->dims[0];
                x.bytes *= c->n_dims > 1 ? (size_t)c->dims[1] : 1;
                assert_true(x.bytes <= sizeof zeros);
            }
        }
        tensors[kept++] = x;
    }
    const char *path = test_path(t, test_temp_dir(t), "hostile.safetensors");
    const rk_file_contents contents = {.tensors = tensors, .n_tensors = kept};
    test_ok(rk_st_write(path, &contents, false, NULL, &err), &err);
    return path;
}

static void test_hostile(void **state)
{
    (void)state;
    static const change changes[] = {
        {"head.weight", NULL, 2, {N_EMBD, 97}, false, RK_ERR_FORMAT, "'head.weight'", "(97,"},
        {"blocks.1.att.x_r", NULL, 1, {31}, false, RK_ERR_FORMAT, "'blocks.1.att.x_r'", "31"},
        {"ln_out.weight", NULL, 0, {0}, true, RK_ERR_FORMAT, "'ln_out.weight'", "float type"},
        {"blocks.1.att.w2", "", 0, {0}, false, RK_ERR_FORMAT, "'blocks.1.att.w2'", "no tensor"},
        {"emb.weight", "", 0, {0}, false, RK_ERR_FORMAT, "'emb.weight'", "no tensor"},
        {"blocks.1.att.v1", "", 0, {0}, false, RK_ERR_FORMAT, "'blocks.1.att.v1'", "no tensor"},
        {"blocks.0.att.v0", "surplus", 0, {0}, false, RK_ERR_UNSUPPORTED, "'surplus'", "rwkv7"},
        {"blocks.1.ffn.x_k", "blocks.999999.x", 0, {0}, false, RK_ERR_FORMAT, "999999", "among"},
        {"blocks.0.att.v0",
         "blocks.2.x",
         0,
         {0},
         false,
         RK_ERR_FORMAT,
         "'blocks.2.ln1.weight'",
         "no tensor"},
        {"blocks.0.att.r_k", "", 0, {0}, false, RK_ERR_UNSUPPORTED, "no architecture", "names"},
        {"blocks.0.att.r_k", NULL, 2, {2, 8}, false, RK_ERR_FORMAT, "r_k", "n_embd is 32"},
        {"blocks.0.att.r_k", NULL, 2, {4, 8}, false, RK_ERR_FORMAT, "blocks.1.att.r_k", "(4,"},
        {"blocks.0.att.r_k", NULL, 1, {32}, false, RK_ERR_FORMAT, "r_k", "1 dimensions"},
        {"blocks.0.att.r_k", NULL, 2, {0, 16}, false, RK_ERR_FORMAT, "a size of 0", "expected 1"},
        {"emb.weight", NULL, 2, {0, N_EMBD}, false, RK_ERR_FORMAT, "a size of 0", "expected 1"},
        {"blocks.0.att.w1", NULL, 2, {N_EMBD, 0}, false, RK_ERR_FORMAT, "a size of 0", "expected"},
        {"emb.weight",
         NULL,
         2,
         {(int64_t)1 << 40, 0},
         false,
         RK_ERR_FORMAT,
         "a size of 1099511627776",
         "expected 1"},
    };
    test_ctx t = test_begin(3);
    const test_model from = test_model_open(&t, 1, N_LAYER, N_EMBD, RK_F32);
    for (size_t i = 0; i < RK_COUNT(changes); i++) {
        const change *c = &changes[i];
        const char *path = apply(&t, from.model->file, c);
        rk_model *m = NULL;
        rk_error err = {0};
        const rk_status st = rk_model_open(&m, path, &err);
        if (st != c->status || m || !strstr(err.msg, "hostile.safetensors") ||
            !strstr(err.msg, c->says) || !strstr(err.msg, c->says_too))
            fail_msg("case %zu: status %d, '%s', expected %s and %s", i, (int)st, err.msg, c->says,
                     c->says_too);
    }
    rk_model_close(from.model);
    test_end(&t);
}

/* What layer 0 does not compute with may be missing or of any shape, and changes no fingerprint. */
static void test_unused(void **state)
{
    (void)state;
    static const change changes[] = {
        {.tensor = "blocks.0.att.v1", .rename = ""},
        {.tensor = "blocks.0.att.v1", .n_dims = 1, .dims = {3}},
    };
    test_ctx t = test_begin(4);
    const test_model from = test_model_open(&t, 1, N_LAYER, N_EMBD, RK_F32);
    for (size_t i = 0; i < RK_COUNT(changes); i++) {
        rk_model *m = NULL;
        rk_error err = {0};
        test_ok(rk_model_open(&m, apply(&t, from.model->file, &changes[i]), &err), &err);
        assert_int_equal(m->fingerprint, from.model->fingerprint);
        rk_model_close(m);
    }
    rk_model_close(from.model);
    test_end(&t);
}

/* Known models that are not read: one tensor more than RWKV-7 has, or another architecture in the
 * metadata, and the sentence says what it is. */
static void test_relatives(void **state)
{
    (void)state;
    static const struct {
        const char *tensor, *gguf, *says;
    } rows[] = {
        {"blocks.0.rosa.x_q", NULL, "ROSA"},
        {"blocks.1.qkv.ennk.weight", NULL, "preview of RWKV-8 with attention"},
        {"blocks.0.ffn.enn.weight", NULL, "preview of RWKV-8"},
        {"blocks.0.qkv.k_emb.weight", NULL, "RWKV-7b"},
        {"blocks.1.att.time_maa_rkvw_w1", NULL, "x060b or x060c"},
        {"blocks.1.att.gate_w1", NULL, "x060a"},
        {"blocks.1.tiny_q.weight", NULL, "RWKV-4a"},
        {"blocks.0.att.qq.weight", NULL, "RWKV-4b"},
        {"blocks.0.ffnPre.key.weight", NULL, "two channel mixes"},
        {"head_q.weight", NULL, "copies tokens"},
        {"pos_emb_x", NULL, "for images"},
        {"model.layers.1.self_attn.q_proj.weight", NULL, "softmax"},
        {"model.layers.0.self_attn.k0", NULL, "an hxa model"},
        {NULL, "qwen3", "norms of its queries"},
        {NULL, "qwen2moe", "a Qwen2 of experts"},
    };
    test_ctx t = test_begin(5);
    const test_model from = test_model_open(&t, 1, N_LAYER, N_EMBD, RK_F32);
    const int64_t n = rk_file_count(from.model->file);
    rk_file_tensor *tensors = test_alloc(&t, (size_t)(n + 1) * sizeof *tensors);
    for (int64_t i = 0; i < n; i++)
        tensors[i] = *rk_file_at(from.model->file, i);
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        const char *path = test_path(&t, test_temp_dir(&t), "relative.safetensors");
        const rk_pair meta = {"general.architecture", rows[i].gguf};
        const rk_file_contents contents = {.tensors = tensors,
                                           .n_tensors = n + (rows[i].tensor != NULL),
                                           .meta = &meta,
                                           .n_meta = rows[i].gguf != NULL};
        rk_model *m = NULL;
        rk_error err = {0};
        tensors[n] = tensors[0];
        tensors[n].name = rows[i].tensor;
        test_ok(rk_st_write(path, &contents, false, NULL, &err), &err);
        assert_int_equal(rk_model_open(&m, path, &err), RK_ERR_UNSUPPORTED);
        if (!strstr(err.msg, rows[i].says) || !strstr(err.msg, "relative.safetensors"))
            fail_msg("case %zu: '%s', expected %s", i, err.msg, rows[i].says);
    }
    rk_model_close(from.model);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_info), cmocka_unit_test(test_hostile),
                                       cmocka_unit_test(test_unused),
                                       cmocka_unit_test(test_relatives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
