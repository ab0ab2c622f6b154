/* golden.c: the generator of the golden models, their known results, and the comparison. */
#include "selftest/golden.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"

/* ---- what is known ---- */

static const int32_t tokens[RK_GOLDEN_TOKENS] = {3, 1, 4, 1, 5};
static const int32_t targets[RK_GOLDEN_TOKENS] = {1, 4, 1, 5, 9};

/* An element of a tensor: of a gradient by the parameter's name, of layer 1's state by the part's.
 */
typedef struct known_value {
    const char *name;
    int64_t index;
    double value;
} known_value;

struct rk_golden {
    const rk_arch *arch;
    rk_size sizes[12];                                    /* a name NULL: no more */
    double sum, last_parameter, loss;                     /* sum of all parameters */
    double first[RK_GOLDEN_VOCAB], last[RK_GOLDEN_VOCAB]; /* logits of the first and last token */
    const known_value *state, *grads;
    int n_state, n_grads;
};

static const known_value rwkv4_state[] = {
    {"att.aa", 0, 0.1095193}, {"att.bb", 0, 2.4205762}, {"att.pp", 0, 0.6538752}};
static const known_value rwkv4_grads[] = {{"blocks.0.att.time_decay", 0, -0.000621656},
                                          {"blocks.1.att.time_first", 0, -0.004338875},
                                          {"blocks.0.att.time_mix_k", 0, -0.004861330},
                                          {"blocks.0.att.key.weight", 0, -0.000592190},
                                          {"blocks.1.att.receptance.weight", 0, -0.000791450},
                                          {"blocks.0.ffn.key.weight", 0, -0.002333254},
                                          {"emb.weight", 24, 0.100376629},
                                          {"head.weight", 0, 0.026236951},
                                          {"blocks.0.ln0.weight", 0, -0.008652387}};

static const known_value rwkv5_state[] = {{"att.wkv", 0, 0.7850825},  {"att.wkv", 1, -0.3911322},
                                          {"att.wkv", 2, 0.2240826},  {"att.wkv", 3, -0.5314675},
                                          {"att.wkv", 4, -0.7025549}, {"att.wkv", 5, 0.3401316},
                                          {"att.wkv", 6, -0.2594598}, {"att.wkv", 7, 0.4957729}};
static const known_value rwkv5_grads[] = {{"blocks.0.att.time_decay", 0, -0.004617795},
                                          {"blocks.1.att.time_faaaa", 0, -0.159917834},
                                          {"blocks.0.att.time_mix_g", 0, -0.013549265},
                                          {"blocks.0.att.key.weight", 0, -0.063139094},
                                          {"blocks.1.att.gate.weight", 0, 0.025314200},
                                          {"blocks.0.att.ln_x.weight", 0, -0.014378238},
                                          {"blocks.0.ffn.receptance.weight", 0, 0.002322493},
                                          {"emb.weight", 24, 0.314715493}};

static const known_value rwkv6_state[] = {{"att.wkv", 0, 0.4449963},  {"att.wkv", 1, 0.4262112},
                                          {"att.wkv", 2, 0.3597254},  {"att.wkv", 3, -0.4343120},
                                          {"att.wkv", 4, -0.2902454}, {"att.wkv", 5, -0.3153133},
                                          {"att.wkv", 6, -0.1862626}, {"att.wkv", 7, 0.6908294}};
static const known_value rwkv6_grads[] = {{"blocks.0.att.time_decay", 0, -0.009796333},
                                          {"blocks.0.att.time_decay_w1", 0, -0.000322529},
                                          {"blocks.0.att.time_maa_x", 0, 0.003311664},
                                          {"blocks.0.att.time_maa_w1", 0, -0.000095325},
                                          {"blocks.0.att.time_maa_w2", 0, 0.000005072},
                                          {"blocks.1.att.time_faaaa", 0, -0.025824226},
                                          {"blocks.0.att.time_maa_v", 0, -0.104634288},
                                          {"blocks.0.att.value.weight", 0, -0.028328765},
                                          {"emb.weight", 24, -0.104046728}};

static const known_value rwkv7_state[] = {{"att.wkv", 0, -0.2513974}, {"att.wkv", 1, -0.0161283},
                                          {"att.wkv", 2, -0.0801921}, {"att.wkv", 3, 0.0277418},
                                          {"att.wkv", 4, 0.1389700},  {"att.wkv", 5, 0.0187262},
                                          {"att.wkv", 6, 0.0023897},  {"att.wkv", 7, 0.1524022}};
static const known_value rwkv7_grads[] = {{"blocks.0.att.w0", 0, 0.001654323},
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
                                          {"blocks.0.ln0.bias", 0, -0.128185864}};

/* Worked out by tests/oracle/rwkv7a_golden.py. */
static const known_value rwkv7a_state[] = {{"att.wkv", 0, 0.0581278},  {"att.wkv", 1, -0.1366431},
                                           {"att.wkv", 2, -0.0659587}, {"att.wkv", 3, -0.3458628},
                                           {"att.wkv", 4, 0.1845658},  {"att.wkv", 5, 0.3751700},
                                           {"att.wkv", 6, 0.0382452},  {"att.wkv", 7, -0.3338777}};
static const known_value rwkv7a_grads[] = {{"blocks.0.ffn.s_emb.weight", 27, -0.004065994},
                                           {"blocks.1.ffn.s_emb.weight", 36, -0.003668170},
                                           {"blocks.0.ffn.s_emb_x.weight", 0, 0.001330799},
                                           {"blocks.1.ffn.s_emb_x.weight", 71, 0.043637063},
                                           {"blocks.0.ffn.s0", 1, -0.051784123},
                                           {"blocks.0.ffn.s1", 0, -0.007493875},
                                           {"blocks.1.ffn.s1", 23, -0.041716912},
                                           {"blocks.0.ffn.s2", 0, 0.016131625},
                                           {"blocks.1.ffn.s2", 40, 0.001980406},
                                           {"blocks.0.ffn.key.weight", 0, -0.162099550},
                                           {"blocks.1.ffn.value.weight", 5, -0.002038714},
                                           {"blocks.0.ln2.weight", 0, 0.435649806},
                                           {"blocks.0.att.w0", 0, -0.001339656},
                                           {"emb.weight", 24, -0.188800368},
                                           {"blocks.0.ln0.bias", 0, -0.066102509}};

static const rk_golden goldens[] = {
    {.arch = &rk_arch_rwkv4,
     .sizes = {{"n_vocab", RK_GOLDEN_VOCAB}, {"n_embd", 8}, {"n_layer", 2}, {"dim_ffn", 32}},
     .sum = 60.864816189,
     .last_parameter = 0.436354637,
     .loss = 4.553061406,
     .first = {-0.218751, -1.649710, 0.540800, 1.374927, 0.344059, 3.338199, 1.857243, 1.820840,
               2.195332, -0.054306, -0.274021},
     .last = {-0.607366, 1.998208, -1.153165, -1.038048, 1.818790, -2.210527, -1.362763, -0.949460,
              1.006037, -0.253009, -0.898109},
     .state = rwkv4_state,
     .n_state = RK_COUNT(rwkv4_state),
     .grads = rwkv4_grads,
     .n_grads = RK_COUNT(rwkv4_grads)},
    {.arch = &rk_arch_rwkv5,
     .sizes = {{"n_vocab", RK_GOLDEN_VOCAB},
               {"n_embd", 8},
               {"n_layer", 2},
               {"head_size", 4},
               {"dim_ffn", 16}},
     .sum = 98.195650125,
     .last_parameter = 0.174607515,
     .loss = 3.449879102,
     .first = {2.928487, 0.090152, 0.687520, -1.657111, -1.174077, 0.611255, -3.375180, -1.359123,
               3.316273, 0.664562, -1.377156},
     .last = {-0.971509, 1.132540, 0.198148, -1.521627, 0.358979, 1.228606, 2.898728, 1.671745,
              -2.005325, 2.481057, 0.906122},
     .state = rwkv5_state,
     .n_state = RK_COUNT(rwkv5_state),
     .grads = rwkv5_grads,
     .n_grads = RK_COUNT(rwkv5_grads)},
    {.arch = &rk_arch_rwkv6,
     .sizes = {{"n_vocab", RK_GOLDEN_VOCAB},
               {"n_embd", 8},
               {"n_layer", 2},
               {"head_size", 4},
               {"dim_ffn", 16},
               {"rank_w", 3},
               {"rank_m", 2}},
     .sum = 112.563857627,
     .last_parameter = 0.714743853,
     .loss = 2.266492593,
     .first = {1.813019, 1.128951, 1.183885, -1.130287, -1.656168, -1.973241, -2.984427, 1.809010,
               0.008170, 1.711646, -0.837662},
     .last = {0.528025, -0.890846, -0.252977, 3.582655, -0.175675, 2.149843, 0.591316, -0.920554,
              0.110860, 0.827176, -0.222819},
     .state = rwkv6_state,
     .n_state = RK_COUNT(rwkv6_state),
     .grads = rwkv6_grads,
     .n_grads = RK_COUNT(rwkv6_grads)},
    {.arch = &rk_arch_rwkv7,
     .sizes = {{"n_vocab", RK_GOLDEN_VOCAB},
               {"n_embd", 8},
               {"n_layer", 2},
               {"head_size", 4},
               {"dim_ffn", 32},
               {"rank_w", 3},
               {"rank_a", 3},
               {"rank_v", 2},
               {"rank_g", 4}},
     .sum = 133.741894364,
     .last_parameter = 0.303643465,
     .loss = 2.657752549,
     .first = {-2.249711, 2.086320, -0.249817, 0.696057, 0.715321, 0.511362, 0.820086, 2.495562,
               0.881453, 0.148951, -0.320634},
     .last = {2.044387, -2.919469, 0.534872, -1.717555, -1.218163, 1.063573, -0.787115, -1.363664,
              1.693195, 2.060910, 3.804686},
     .state = rwkv7_state,
     .n_state = RK_COUNT(rwkv7_state),
     .grads = rwkv7_grads,
     .n_grads = RK_COUNT(rwkv7_grads)},
    {.arch = &rk_arch_rwkv7a,
     .sizes = {{"n_vocab", RK_GOLDEN_VOCAB},
               {"n_embd", 8},
               {"n_layer", 2},
               {"head_size", 4},
               {"dim_ffn", 32},
               {"rank_w", 3},
               {"rank_a", 3},
               {"rank_v", 2},
               {"rank_g", 4},
               {"rank_s", 3}},
     .sum = 181.392383778,
     .last_parameter = -0.632575512,
     .loss = 2.577325923,
     .first = {-0.164139, -1.470389, -0.524470, 1.090609, -1.797948, 0.037073, -1.974676, -2.408108,
               0.043025, -1.256354, -0.520371},
     .last = {0.583909, 1.032652, -0.516228, -0.708614, 2.026760, 1.832810, 1.974715, 2.258701,
              0.453851, -0.099585, 0.523004},
     .state = rwkv7a_state,
     .n_state = RK_COUNT(rwkv7a_state),
     .grads = rwkv7a_grads,
     .n_grads = RK_COUNT(rwkv7a_grads)},
};

const rk_golden *rk_golden_at(int i)
{
    return i < (int)RK_COUNT(goldens) ? &goldens[i] : NULL;
}

const char *rk_golden_name(const rk_golden *g)
{
    return g->arch->name;
}

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
    {".r_k", 0, 0.3},          {"time_decay", -1, 1},  {"time_first", -1, 1},
    {"mix_k", 0.5, 0.5},       {"mix_v", 0.5, 0.5},    {"mix_r", 0.5, 0.5},
    {"mix_g", 0.5, 0.5},       {"maa_x", 0.5, 0.5},    {"maa_w", 0.5, 0.5},
    {"maa_k", 0.5, 0.5},       {"maa_v", 0.5, 0.5},    {"maa_r", 0.5, 0.5},
    {"maa_g", 0.5, 0.5},       {".s0", 1, 0.5},        {"", 0, 0.5},
};

static void fill(const rk_param *p, uint32_t *draws)
{
    size_t row = 0;
    while (!rk_ends_with(p->name, ranges[row].end))
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

rk_status rk_golden_model(rk_model **out, const rk_golden *g, rk_dtype real, rk_error *err)
{
    uint32_t draws = 12345;
    rk_model *m = NULL;
    rk_hparams hp;
    int64_t n = 0;
    while (g->sizes[n].name)
        n++;
    rk_status st = rk_sizes_make(g->arch, g->sizes, n, &hp, err);
    if (st == RK_OK)
        st = rk_model_new(&m, g->arch, &hp, err);
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

static void compare_weights(const rk_golden *g, const rk_model *m, rk_golden_error *out)
{
    double sum = 0.0, last = 0.0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_tensor *t = &m->params[i].tensor;
        for (int64_t e = 0; e < rk_tensor_count(t); e++) {
            last = real_at(t->dtype, t->data, e);
            sum += last;
        }
    }
    note(&out->weights, g->sum, sum);
    note(&out->weights, g->last_parameter, last);
}

static void compare_grads(rk_ctx *ctx, const rk_golden *g, rk_model *m, rk_golden_error *out)
{
    for (int k = 0; k < g->n_grads; k++) {
        const known_value *known = &g->grads[k];
        int64_t i = 0;
        while (strcmp(m->params[i].name, known->name) != 0)
            i++;
        rk_tensor *t = &m->params[i].tensor;
        const void *grad = rk_grad(ctx, t);
        const double before = out->grads;
        note(&out->grads, known->value, grad ? real_at(t->dtype, grad, known->index) : (double)NAN);
        if (out->grads != before)
            out->worst_grad = known->name;
    }
}

/* Layer 1's parts by name. */
static void compare_state(const rk_golden *g, rk_tensor *const *state, rk_golden_error *out)
{
    for (int k = 0; k < g->n_state; k++) {
        const known_value *known = &g->state[k];
        int part = 0;
        while (strcmp(g->arch->state[part].name, known->name) != 0)
            part++;
        const rk_tensor *t = state[g->arch->n_state + part];
        note(&out->state, known->value, real_at(t->dtype, t->data, known->index));
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

rk_tensor *rk_golden_loss(rk_ctx *ctx, rk_model *m, rk_tensor **logits, rk_tensor **state)
{
    rk_tensor *head = NULL;
    rk_model_new_state(ctx, m, m->params[0].tensor.dtype, 1, state);
    for (int64_t i = 0; i < m->n_params; i++)
        if (&m->params[i].tensor == m->head->matrix)
            head = &m->params[i].tensor;
    rk_forward f = {.in = {ids(ctx, tokens)}, .state = state};
    rk_tensor *hidden = rk_model_forward(ctx, m, &f);
    *logits = rk_linear(ctx, hidden, rk_weight_of(head, RK_OUT_IN), NULL);
    rk_tensor *losses = rk_cross_entropy(ctx, hidden, head, ids(ctx, targets), 0.0);
    return rk_scale(ctx, rk_sum(ctx, losses), 1.0 / RK_GOLDEN_TOKENS);
}

rk_status rk_golden_compare(rk_ctx *ctx, const rk_golden *g, rk_model *m, rk_golden_error *out,
                            rk_error *err)
{
    rk_tensor *logits = NULL, *state[RK_GOLDEN_STATE];
    *out = (rk_golden_error){.worst_grad = "none"};
    ctx->recording = true;
    for (int64_t i = 0; i < m->n_params; i++)
        m->params[i].tensor.requires_grad = true;
    rk_tensor *loss = rk_golden_loss(ctx, m, &logits, state);
    if (loss)
        rk_backward(ctx, loss, 1.0);
    if (rk_ctx_failed(ctx))
        return rk_ctx_status(ctx, err);
    compare_weights(g, m, out);
    note_row(&out->logits, g->first, RK_GOLDEN_VOCAB, logits, 0);
    note_row(&out->logits, g->last, RK_GOLDEN_VOCAB, logits,
             (int64_t)(RK_GOLDEN_TOKENS - 1) * RK_GOLDEN_VOCAB);
    note_row(&out->loss, &g->loss, 1, loss, 0);
    compare_state(g, state, out);
    compare_grads(ctx, g, m, out);
    return RK_OK;
}
