/* golden.c: the generator of the golden model, its known results, and the comparison. */
#include "model/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

/* ---- what is known ---- */

static const int32_t tokens[RK_GOLDEN_TOKENS] = {3, 1, 4, 1, 5};
static const int32_t targets[RK_GOLDEN_TOKENS] = {1, 4, 1, 5, 9};

static const double known_sum = 133.741894364, known_last_parameter = 0.303643465;
static const double known_loss = 2.657752549;
static const double known_first[RK_GOLDEN_VOCAB] = {-2.249711, 2.086320, -0.249817, 0.696057,
                                                    0.715321,  0.511362, 0.820086,  2.495562,
                                                    0.881453,  0.148951, -0.320634};
static const double known_last[RK_GOLDEN_VOCAB] = {2.044387,  -2.919469, 0.534872,  -1.717555,
                                                   -1.218163, 1.063573,  -0.787115, -1.363664,
                                                   1.693195,  2.060910,  3.804686};
/* Layer 1's matrix state, head 0, rows 0 and 1. */
static const double known_state[8] = {-0.2513974, -0.0161283, -0.0801921, 0.0277418,
                                      0.1389700,  0.0187262,  0.0023897,  0.1524022};

static const struct {
    const char *name;
    int64_t index;
    double value;
} known_grads[] = {
    {"blocks.0.att.w0", 0, 0.001654323},
    {"blocks.0.att.w1", 0, -0.000052910},
    {"blocks.0.att.w2", 0, 0.000337670},
    {"blocks.0.att.a0", 0, -0.003056529},
    {"blocks.0.att.a1", 0, -0.003503281},
    {"blocks.1.att.v0", 0, 0.016307662},
    {"blocks.1.att.v1", 0, -0.007248699},
    {"blocks.0.att.g1", 0, 0.020310781},
    {"blocks.0.att.g2", 0, 0.183397011},
    {"blocks.0.att.k_k", 0, 0.007673221},
    {"blocks.0.att.k_a", 0, 0.002784638},
    {"blocks.0.att.r_k", 0, 0.008853750},
    {"blocks.0.att.x_r", 0, -0.010834484},
    {"blocks.0.att.x_w", 0, -0.000057546},
    {"blocks.0.att.value.weight", 0, -0.012571719},
    {"blocks.0.att.key.weight", 0, 0.000016429},
    {"blocks.0.att.ln_x.weight", 0, 0.155266962},
    {"blocks.1.ffn.x_k", 0, -0.072547047},
    {"blocks.0.ffn.value.weight", 0, 0.005613571},
    {"emb.weight", 24, 0.041194420},
    {"blocks.0.ln0.bias", 0, -0.128185864},
};

/* ---- the generator ---- */

/* value = base + scale u, by how a parameter's name ends; the first row that fits. */
static const struct {
    const char *end;
    double base, scale;
} ranges[] = {
    {"emb.weight", 0, 1},      {"head.weight", 0, 1},  {"ln0.weight", 1, 0.1},
    {"ln1.weight", 1, 0.1},    {"ln2.weight", 1, 0.1}, {"ln_x.weight", 1, 0.1},
    {"ln_out.weight", 1, 0.1}, {"ln0.bias", 0, 0.1},   {"ln1.bias", 0, 0.1},
    {"ln2.bias", 0, 0.1},      {"ln_x.bias", 0, 0.1},  {"ln_out.bias", 0, 0.1},
    {".x_r", 0.5, 0.5},        {".x_w", 0.5, 0.5},     {".x_k", 0.5, 0.5},
    {".x_v", 0.5, 0.5},        {".x_a", 0.5, 0.5},     {".x_g", 0.5, 0.5},
    {".w0", -1, 1.5},          {".k_k", 0.8, 0.2},     {".k_a", 1, 0.2},
    {".r_k", 0, 0.3},          {"", 0, 0.5},
};

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static void fill(const rk_param *p, uint32_t *draws)
{
    size_t row = 0;
    while (!ends_with(p->name, ranges[row].end))
        row++;
    for (int64_t i = 0; i < rk_tensor_count(&p->tensor); i++) {
        *draws = *draws * 1664525u + 1013904223u;
        const double u = (double)(*draws >> 8) / 8388608.0 - 1.0;
        const double x = ranges[row].base + ranges[row].scale * u;
        if (p->tensor.dtype == RK_F64)
            ((double *)p->tensor.data)[i] = x;
        else
            ((float *)p->tensor.data)[i] = (float)x;
    }
}

/* One block for all tensors, doubles or not; what layer 0 does not use stays zero. */
static rk_status give_memory(rk_model *m, rk_dtype real, rk_error *err)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += rk_tensor_count(&m->params[i].tensor);
    /* A model has parameters. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    double *at = m->owned = calloc((size_t)n, sizeof *at);
    if (!at)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the golden model");
    for (int64_t i = 0; i < m->n_params; i++) {
        m->params[i].tensor.dtype = real;
        m->params[i].tensor.data = at;
        at += rk_tensor_count(&m->params[i].tensor);
    }
    return RK_OK;
}

rk_status rk_golden_model(rk_model **out, rk_dtype real, rk_error *err)
{
    const rk_hparams hp = {.n_vocab = RK_GOLDEN_VOCAB,
                           .n_embd = 8,
                           .n_layer = 2,
                           .n_head = 2,
                           .head_size = 4,
                           .dim_ffn = 32,
                           .rank_w = 3,
                           .rank_a = 3,
                           .rank_v = 2,
                           .rank_g = 4,
                           .ln_eps = 1e-5,
                           .ln_x_eps = 64e-5};
    uint32_t draws = 12345;
    rk_model *m = NULL;
    rk_status st = rk_model_new(&m, &rk_arch_rwkv7, &hp, err);
    if (st == RK_OK)
        st = give_memory(m, real, err);
    if (st != RK_OK) {
        rk_model_close(m);
        return st;
    }
    for (int64_t i = 0; i < m->n_params; i++)
        if (m->params[i].used)
            fill(&m->params[i], &draws);
    *out = m;
    return RK_OK;
}

/* ---- comparing ---- */

static double real_at(rk_dtype dtype, const void *data, int64_t i)
{
    return dtype == RK_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

/* NaN counts as infinitely far. */
static void note(double *worst, double known, double found)
{
    const double e = fabs(found - known) / fmax(1.0, fabs(known));
    if (!(e <= *worst))
        *worst = isnan(e) ? (double)INFINITY : e;
}

static void note_row(double *worst, const double *known, int64_t n, const rk_tensor *t, int64_t at)
{
    for (int64_t i = 0; i < n; i++)
        note(worst, known[i], real_at(t->dtype, t->data, at + i));
}

static void compare_weights(const rk_model *m, rk_golden_error *out)
{
    double sum = 0.0, last = 0.0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        for (int64_t e = 0; e < rk_tensor_count(t); e++) {
            last = real_at(t->dtype, t->data, e);
            sum += last;
        }
    }
    note(&out->weights, known_sum, sum);
    note(&out->weights, known_last_parameter, last);
}

static void compare_grads(rk_ctx *ctx, rk_model *m, rk_golden_error *out)
{
    for (size_t g = 0; g < RK_COUNT(known_grads); g++) {
        int64_t i = 0;
        while (strcmp(m->params[i].name, known_grads[g].name) != 0)
            i++;
        rk_tensor *t = &m->params[i].tensor;
        const void *grad = rk_grad(ctx, t);
        const double before = out->grads;
        note(&out->grads, known_grads[g].value,
             grad ? real_at(t->dtype, grad, known_grads[g].index) : (double)NAN);
        if (out->grads != before)
            out->worst_grad = known_grads[g].name;
    }
}

static rk_tensor *ids(rk_ctx *ctx, const int32_t *from)
{
    const int64_t dims[2] = {1, RK_GOLDEN_TOKENS};
    rk_tensor *t = rk_new(ctx, RK_I32, 2, dims);
    if (t && t->data)
        memcpy(t->data, from, RK_GOLDEN_TOKENS * sizeof *from);
    return t;
}

rk_tensor *rk_golden_loss(rk_ctx *ctx, rk_model *m, rk_tensor **logits, rk_tensor **wkv)
{
    rk_tensor *state[2 * RK_STATE_MAX], *head = NULL;
    rk_model_new_state(ctx, m, m->params[0].tensor.dtype, 1, state);
    for (int64_t i = 0; i < m->n_params; i++)
        if (&m->params[i].tensor == m->head)
            head = &m->params[i].tensor;
    const rk_forward f = {.ids = ids(ctx, tokens), .state = state};
    rk_tensor *hidden = m->arch->forward(ctx, m, &f);
    *logits = rk_linear(ctx, hidden, head, RK_OUT_IN, NULL);
    *wkv = state[m->arch->n_state + 1];
    rk_tensor *losses = rk_cross_entropy(ctx, hidden, head, ids(ctx, targets), 0.0);
    return rk_scale(ctx, rk_sum(ctx, losses), 1.0 / RK_GOLDEN_TOKENS);
}

rk_status rk_golden_compare(rk_ctx *ctx, rk_model *m, rk_golden_error *out, rk_error *err)
{
    rk_tensor *logits = NULL, *wkv = NULL;
    *out = (rk_golden_error){.worst_grad = "none"};
    ctx->recording = true;
    for (int64_t i = 0; i < m->n_params; i++)
        m->params[i].tensor.requires_grad = true;
    rk_tensor *loss = rk_golden_loss(ctx, m, &logits, &wkv);
    if (loss)
        rk_backward(ctx, loss, 1.0);
    if (rk_ctx_failed(ctx))
        return rk_ctx_status(ctx, err);
    compare_weights(m, out);
    note_row(&out->logits, known_first, RK_GOLDEN_VOCAB, logits, 0);
    note_row(&out->logits, known_last, RK_GOLDEN_VOCAB, logits,
             (int64_t)(RK_GOLDEN_TOKENS - 1) * RK_GOLDEN_VOCAB);
    note_row(&out->loss, &known_loss, 1, loss, 0);
    note_row(&out->state, known_state, 8, wkv, 0);
    compare_grads(ctx, m, out);
    return RK_OK;
}
