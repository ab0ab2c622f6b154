/* random_model.c: a model of a real shape with random weights, for measuring speed without a download.
 *
 *     random_model SHAPE OUT.gguf [ZEROS|lite]          (or .safetensors, .pth)
 *
 * Shapes: 0.1b to 2.9b are RWKV-7's, v5-0.1b to v5-3b RWKV-5.2's; qwen2 is the transformer of the 0.5B shape of Qwen2.5, arwkv7
 * its relative, both without a vocabulary.
 * Matrices are f16 and uniform with the spread that keeps what passes through them of order one,
 * so that both engines of a comparison choose the same tokens; vectors have their initial values.
 * Half of ffn.key's outputs are negative, as chance has it; with ZEROS about so many of a hundred,
 * as in trained models. The same shape gives the same bytes. Takes the memory of the f16 file and
 * of one f32 matrix.
 *
 * lite: all parts of RWKV-Lite (docs/lite.md). Pairs of rank C / 8; records of which the predictor of one bit
 * keeps a fifth; 200 clusters of which so many are chosen that a token reads about 13 % of the head's rows.
 * What a token meets agrees with what the token before met to a share RECURS, so that about a third of the
 * neurons come again: bench/recurrence shows that of the bundled model's 11.8 % a quarter does, which is
 * the same correlation. Clusters that come again cost what others do, as none are kept. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "base/str.h"
#include "format/format.h"
#include "model/init.h"
#include "model/records.h"
#include "rk.h"

enum { SIZES_MAX = 8, CLUSTERS = 200, HIDDEN = 64 };
static const double recurs = 0.3, kept_not = 0.8; /* p of the predictor of one bit */
/* Standard deviation of the clusters' scores of which 13 % have 95 % of the probability: a normal score stands
 * 1.126 deviations above the mean for the first, and as many less 1.645 below its shifted mean for the second. */
static const double cluster_spread = 2.77;
static bool lite;

/* clang-format off */
static const struct shape {
    const char *name;
    const rk_arch *arch;
    const char *vocab; /* NULL: none */
    rk_size sizes[SIZES_MAX];
} shapes[] = {
    {"0.1b", &rk_arch_rwkv7, "world",
     {{"n_vocab", 65536}, {"n_layer", 12}, {"n_embd", 768},
      {"rank_w", 64}, {"rank_a", 64}, {"rank_v", 32}, {"rank_g", 128}}},
    {"0.4b", &rk_arch_rwkv7, "world",
     {{"n_vocab", 65536}, {"n_layer", 24}, {"n_embd", 1024},
      {"rank_w", 64}, {"rank_a", 64}, {"rank_v", 32}, {"rank_g", 128}}},
    {"1.5b", &rk_arch_rwkv7, "world",
     {{"n_vocab", 65536}, {"n_layer", 24}, {"n_embd", 2048},
      {"rank_w", 96}, {"rank_a", 96}, {"rank_v", 64}, {"rank_g", 256}}},
    {"2.9b", &rk_arch_rwkv7, "world",
     {{"n_vocab", 65536}, {"n_layer", 32}, {"n_embd", 2560},
      {"rank_w", 96}, {"rank_a", 96}, {"rank_v", 64}, {"rank_g", 320}}},
    {"v5-0.1b", &rk_arch_rwkv5, "world",
     {{"n_vocab", 65536}, {"n_layer", 12}, {"n_embd", 768}, {"dim_ffn", 2688}}},
    {"v5-0.4b", &rk_arch_rwkv5, "world",
     {{"n_vocab", 65536}, {"n_layer", 24}, {"n_embd", 1024}, {"dim_ffn", 3584}}},
    {"v5-1.5b", &rk_arch_rwkv5, "world",
     {{"n_vocab", 65536}, {"n_layer", 24}, {"n_embd", 2048}, {"dim_ffn", 7168}}},
    {"v5-3b", &rk_arch_rwkv5, "world",
     {{"n_vocab", 65536}, {"n_layer", 32}, {"n_embd", 2560}, {"dim_ffn", 8960}}},
    {"qwen2", &rk_arch_qwen2, NULL,
     {{"n_vocab", 151936}, {"n_layer", 24}, {"n_embd", 896}, {"dim_ffn", 4864},
      {"n_head", 14}, {"n_kv_head", 2}, {"tied", 1}}},
    /* llama.cpp knows the plain gate, not the one that begins as 1. */
    {"arwkv7", &rk_arch_arwkv7, NULL,
     {{"n_vocab", 151936}, {"n_layer", 24}, {"n_embd", 896}, {"dim_ffn", 4864},
      {"wkv_gate_mode", 1}}},
};
/* clang-format on */

/* Half the width of a matrix's uniform distribution. A linear's inputs are its last dimension,
 * those of a low-rank matrix its first. */
static double width_of(const rk_param *p)
{
    const rk_tensor *t = &p->tensor;
    const bool linear = rk_ends_with(p->name, ".weight");
    const double unit = sqrt(3.0 / (double)t->dims[linear ? 1 : 0]);
    if (p->role == RK_ROLE_RECORDS)
        return sqrt(3.0 / (double)t->dims[2]);
    if (rk_param_is_table(p) && !rk_param_is_product(p))
        return 1.0;
    if (rk_ends_with(p->name, "w2") || rk_ends_with(p->name, "a2") || rk_ends_with(p->name, "v2"))
        return unit / 4.0; /* decay and rates stay where their vectors put them */
    if (rk_ends_with(p->name, "time_mixer.output.weight"))
        return unit / 8.0; /* what is read of a state without a norm is larger than of order one */
    return rk_ends_with(p->name, "ffn.value.weight") ? unit / 2.0 : unit;
}

/* ln2.bias is a constant, and the sum of every row of ffn.key makes less of it. */
static const float bias = 0.1f;
static double shift; /* of ffn.key's outputs, in standard deviations */

static double shift_for(double zeros)
{
    double s = 0;
    while (0.5 * erfc(-s / sqrt(2)) < zeros / 100 && s < 4)
        s += 0.01;
    return s;
}

static void shift_keys(const rk_param *p, int64_t n, float *x)
{
    const bool key = rk_ends_with(p->name, "ffn.key.weight");
    for (int64_t i = 0; i < n && shift > 0; i++)
        if (key)
            x[i] -= (float)shift / bias / (float)p->tensor.dims[1];
        else if (rk_ends_with(p->name, "ln2.bias"))
            x[i] = bias;
}

/* ---- lite ---- */

/* Before a channel mix and the head, what is the same for all tokens has this share of the variance. */
static void let_recur(const rk_param *p, int64_t n, float *x)
{
    const bool ln2 = rk_ends_with(p->name, "ln2.weight"),
               out = rk_ends_with(p->name, "ln_out.weight");
    const bool bias2 = rk_ends_with(p->name, "ln2.bias"),
               bias_out = rk_ends_with(p->name, "ln_out.bias");
    for (int64_t i = 0; i < n && (ln2 || out); i++)
        x[i] = (float)sqrt(1 - recurs);
    for (int64_t i = 0; i < n && (bias2 || bias_out); i++)
        x[i] =
            (float)(sqrt(3 * recurs) *
                    (2 * (double)rk_rng_f32(7, RK_RNG_TEST, (uint64_t)p->layer, (uint64_t)i) - 1));
}

static void fill_small(const rk_param *p, int64_t n, float *x)
{
    const bool of = rk_ends_with(p->name, "head_clusters"),
               limits = rk_ends_with(p->name, "limits");
    const bool scores = rk_ends_with(p->name, "head_l1.weight");
    const double width = cluster_spread * sqrt(3.0 / (double)rk_tensor_cols(&p->tensor));
    for (int64_t i = 0; i < n; i++)
        if (of)
            x[i] = (float)(i % CLUSTERS);
        else if (limits)
            x[i] = i == 0 ? 0.99f : (float)kept_not;
        else if (scores)
            x[i] = (float)(width * (2 * (double)rk_rng_f32(8, RK_RNG_TEST, 0, (uint64_t)i) - 1));
}

/* The second row of a record is of ffn.value, which is narrower. */
static void narrow_values(const rk_param *p, float *x)
{
    const int64_t f = p->tensor.dims[0], c = p->tensor.dims[2];
    const float factor = (float)(sqrt((double)c / (double)f) / 2);
    for (int64_t i = 0; i < f; i++)
        for (int64_t k = 0; k < c; k++)
            x[(2 * i + 1) * c + k] *= factor;
}

/* Signs of the keys, whose mean size is half the width of their distribution. */
static void fill_planes(const rk_model *m, const rk_param *p)
{
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, "blocks.%lld.ffn.records", (long long)p->layer);
    const rk_tensor *records = &rk_model_param(m, name)->tensor;
    const int64_t f = records->dims[0], c = records->dims[2], row = p->tensor.dims[2];
    const uint16_t *half = records->data;
    unsigned char *bits = p->tensor.data;
    for (int64_t i = 0; i < f; i++)
        for (int64_t k = 0; k < c; k++)
            bits[i * row + k / 8] |= (unsigned char)(half[2 * i * c + k] >> 15 ? 0 : 1 << (k % 8));
}

static rk_status fill_bits(const rk_model *m, rk_param *p, rk_error *err)
{
    p->tensor.dtype = RK_U8;
    p->tensor.data = calloc((size_t)rk_tensor_count(&p->tensor), 1);
    if (!p->tensor.data)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->name);
    fill_planes(m, p);
    return RK_OK;
}

/* ---- all ---- */

static bool is_f16(const rk_param *p)
{
    return rk_param_is_product(p) || rk_param_is_table(p) || p->role == RK_ROLE_RECORDS ||
           p->role == RK_ROLE_PREDICTOR_MATRIX;
}

/* A parameter in its final type, made in f32. */
static rk_status fill(rk_model *m, int64_t index, rk_error *err)
{
    rk_param *p = &m->params[index];
    const bool matrix = is_f16(p);
    if (p->role == RK_ROLE_PLANES)
        return fill_bits(m, p, err);
    const int64_t n = rk_tensor_count(&p->tensor);
    float *x = calloc((size_t)n, sizeof *x);
    const rk_init init = {.hp = &m->hp,
                          .layer = p->layer,
                          .index = index,
                          .seed = 42,
                          .rows = rk_tensor_rows(&p->tensor),
                          .cols = rk_tensor_cols(&p->tensor),
                          .x = x,
                          .arg = matrix ? width_of(p) : p->spec->init_arg};
    rk_status st = x ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", p->name);
    if (st == RK_OK)
        st = (matrix ? rk_init_uniform : p->spec->init)(&init, err);
    if (st == RK_OK)
        shift_keys(p, n, x);
    if (st == RK_OK && lite) {
        let_recur(p, n, x);
        fill_small(p, n, x);
    }
    if (st == RK_OK && p->role == RK_ROLE_RECORDS)
        narrow_values(p, x);
    for (int64_t i = 0; st == RK_OK && rk_ends_with(p->name, "plane_scale") && i < n; i++)
        x[i] = (float)(sqrt(3.0 / (double)m->hp.n_embd) / 2);
    p->tensor.dtype = matrix ? RK_F16 : RK_F32;
    p->tensor.data = x;
    for (int64_t i = 0; matrix && x && i < n; i++) { /* in place: what is written has been read */
        const uint16_t half = rk_f32_to_f16(x[i]);
        memcpy((char *)x + (size_t)i * sizeof half, &half, sizeof half);
    }
    void *less = matrix && x ? realloc(x, (size_t)n * sizeof(uint16_t)) : NULL;
    p->tensor.data = less ? less : x;
    return st;
}

static void make_lite(rk_hparams *hp)
{
    hp->n_clusters = CLUSTERS;
    hp->ffn_records = hp->plane_bits = 1;
    hp->plane_bytes = rk_ceil_div(hp->n_embd, 8);
    hp->predictor_size = HIDDEN;
}

static rk_status make(const struct shape *shape, const char *path, rk_error *err)
{
    int n_sizes = 0;
    rk_size all[SIZES_MAX + 1];
    rk_hparams hp;
    rk_tokenizer *vocab = NULL;
    rk_model *m = NULL;
    while (n_sizes < SIZES_MAX && shape->sizes[n_sizes].name)
        n_sizes++;
    memcpy(all, shape->sizes, sizeof shape->sizes);
    if (lite)
        all[n_sizes++] = (rk_size){"low_rank", all[2].value / 8};
    rk_status st = rk_sizes_make(shape->arch, all, n_sizes, &hp, err);
    if (lite)
        make_lite(&hp);
    if (st == RK_OK)
        st = rk_model_new(&m, shape->arch, &hp, err);
    if (st == RK_OK && shape->vocab)
        st = rk_tokenizer_new(&vocab, shape->vocab, err);
    const int64_t n = st == RK_OK ? m->n_params : 0;
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = fill(m, i, err);
    if (st == RK_OK)
        st = rk_model_save(
            m, path, &(rk_save_options){.keep_types = true, .tokenizer = vocab, .overwrite = true},
            err);
    for (int64_t i = 0; i < n; i++)
        free(m->params[i].tensor.data);
    rk_tokenizer_free(vocab);
    rk_model_close(m);
    return st;
}

int main(int argc, char **argv)
{
    rk_error err = {0};
    for (size_t i = 0; i < RK_COUNT(shapes) && (argc == 3 || argc == 4); i++) {
        if (strcmp(shapes[i].name, argv[1]) != 0)
            continue;
        lite = argc == 4 && !strcmp(argv[3], "lite");
        shift = argc == 4 && !lite ? shift_for(atof(argv[3])) : 0;
        const rk_status st = make(&shapes[i], argv[2], &err);
        if (st != RK_OK)
            fprintf(stderr, "random_model: %s\n", err.msg);
        return st == RK_OK ? 0 : 1;
    }
    fprintf(stderr, "usage: random_model SHAPE OUT.gguf [ZEROS|lite], a shape of:");
    for (size_t i = 0; i < RK_COUNT(shapes); i++)
        fprintf(stderr, " %s", shapes[i].name);
    fputc('\n', stderr);
    return 2;
}
