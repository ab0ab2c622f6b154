/* meta7.c: Meta-State (arXiv 2504.08247, of which no equations and no code are known; docs/meta-state.md):
 * RWKV-7 whose channel mix asks the states of the recurrence beside it, and which can grow. With gamma = 0, or
 * without it, it is RWKV-7.
 *
 * A model that has grown has more heads than C / N, so nothing here follows from the width; and heads may
 * stand behind the others that write and keep a state but are read by the channel mix alone. */
#include "model/meta7.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/records.h"
#include "nn/meta.h"

typedef struct layer {
    rk_rwkv7_layer body;
    rk_tensor *gamma; /* (H_m N) */
    rk_tensor *heads; /* (H_m): which are asked */
    rk_tensor *born;  /* (generations, 3): tokens, heads and asked heads of each */
} layer;
_Static_assert((int)RK_META7_OWN <= (int)RK_OWN_SIZES, "rk_hparams has a place for each");

static int64_t own(const rk_hparams *hp, int i)
{
    return hp->own[i].n;
}

int64_t rk_meta7_usual_head(const rk_hparams *hp, int64_t i)
{
    const int64_t plain = rk_max_i64(own(hp, RK_META7_HEADS) - own(hp, RK_META7_EXTRA), 0);
    return i < plain ? i : hp->n_head + i - plain;
}

/* ---- parameters ---- */

static bool has(const rk_hparams *hp, const rk_param_spec *spec, int64_t l)
{
    (void)l;
    if (spec->field == offsetof(layer, born))
        return own(hp, RK_META7_GENERATIONS) > 0;
    return own(hp, RK_META7_HEADS) > 0 &&
           (spec->field == offsetof(layer, gamma) || own(hp, RK_META7_LISTED));
}

static rk_status init_gamma(const rk_init *p, rk_error *err)
{
    rk_init q = *p;
    q.arg = own(p->hp, RK_META7_ADOPTED) ? 0 : p->arg;
    return rk_init_constant(&q, err);
}

static rk_status init_heads(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t i = 0; i < p->cols; i++)
        p->x[i] = (float)rk_meta7_usual_head(p->hp, i);
    return RK_OK;
}

#define LAYER(f) RK_SCOPE_LAYER, offsetof(layer, f)
#define SOME(f) RK_SCOPE_SOME, offsetof(layer, f)
#define TUNED(f) RK_SCOPE_TUNED, offsetof(layer, f)
#define TUNED_SHIFT(f) RK_SCOPE_TUNED_SHIFT, offsetof(layer, f)
#define LATER(f) RK_SCOPE_LATER, offsetof(layer, f)

/* Those of RWKV-7 with their initial values, in shapes of their own: D channels of all heads, Q of those that
 * are read. Behind them what Meta-State adds. */
/* clang-format off */
static const rk_param_spec params[] = {
    RK_LM_FIRST_PARAMS,
    RK_LM_BLOCK_PARAMS,
    {"blocks.%d.att.x_r", "11C", RK_ROLE_VECTOR, LAYER(body.att.x_r), rk_init_maa, 0.2, 1},
    {"blocks.%d.att.x_w", "11C", RK_ROLE_VECTOR, LAYER(body.att.x_w), rk_init_maa, 0.9, 1},
    {"blocks.%d.att.x_k", "11C", RK_ROLE_VECTOR, LAYER(body.att.x_k), rk_init_maa, 0.7, 1},
    {"blocks.%d.att.x_v", "11C", RK_ROLE_VECTOR, LAYER(body.att.x_v), rk_init_maa, 0.7, 1},
    {"blocks.%d.att.x_a", "11C", RK_ROLE_VECTOR, LAYER(body.att.x_a), rk_init_maa, 0.9, 1},
    {"blocks.%d.att.x_g", "11C", RK_ROLE_VECTOR, LAYER(body.att.x_g), rk_init_maa, 0.2, 1},
    {"blocks.%d.att.w0", "11D", RK_ROLE_VECTOR, LAYER(body.att.w0), rk_init_w0, 0, 2},
    {"blocks.%d.att.w1", "Cw", RK_ROLE_LOW_RANK, LAYER(body.att.w1), rk_init_constant, 0, 1},
    {"blocks.%d.att.w2", "wD", RK_ROLE_LOW_RANK, LAYER(body.att.w2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.a0", "11D", RK_ROLE_VECTOR, LAYER(body.att.a0), rk_init_a0, 0, 1},
    {"blocks.%d.att.a1", "Ca", RK_ROLE_LOW_RANK, LAYER(body.att.a1), rk_init_constant, 0, 1},
    {"blocks.%d.att.a2", "aD", RK_ROLE_LOW_RANK, LAYER(body.att.a2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.v0", "11D", RK_ROLE_VECTOR, LATER(body.att.v0), rk_init_slope, 0.73, 1},
    {"blocks.%d.att.v1", "Cv", RK_ROLE_LOW_RANK, LATER(body.att.v1), rk_init_constant, 0, 1},
    {"blocks.%d.att.v2", "vD", RK_ROLE_LOW_RANK, LATER(body.att.v2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.g1", "Cg", RK_ROLE_LOW_RANK, LAYER(body.att.g1), rk_init_constant, 0, 1},
    {"blocks.%d.att.g2", "gQ", RK_ROLE_LOW_RANK, LAYER(body.att.g2), rk_init_orthogonal_tall, 0.1, 1},
    {"blocks.%d.att.k_k", "11D", RK_ROLE_VECTOR, LAYER(body.att.k_k), rk_init_k_k, 0.71, 1},
    {"blocks.%d.att.k_a", "11D", RK_ROLE_VECTOR, LAYER(body.att.k_a), rk_init_constant, 1.02, 1},
    {"blocks.%d.att.r_k", "HN", RK_ROLE_VECTOR, LAYER(body.att.r_k), rk_init_constant, -0.04, 1},
    {"blocks.%d.att.receptance.weight", "QC", RK_ROLE_ATT_READ, LAYER(body.att.receptance), rk_init_orthogonal, 1, 1},
    {"blocks.%d.att.key.weight", "DC", RK_ROLE_ATT_WRITE, LAYER(body.att.key), rk_init_orthogonal, 0.1, 1},
    {"blocks.%d.att.value.weight", "DC", RK_ROLE_ATT_WRITE, LAYER(body.att.value), rk_init_orthogonal, 1, 1},
    {"blocks.%d.att.output.weight", "CQ", RK_ROLE_ATT_OUT, LAYER(body.att.output), rk_init_constant, 0, 1},
    {"blocks.%d.att.ln_x.weight", "Q", RK_ROLE_VECTOR, LAYER(body.att.ln_x_w), rk_init_ln_x, 0.7, 1},
    {"blocks.%d.att.ln_x.bias", "Q", RK_ROLE_VECTOR, LAYER(body.att.ln_x_b), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.x_k", "11C", RK_ROLE_VECTOR, LAYER(body.ffn.x_k), rk_init_maa_ffn, 4, 1},
    {"blocks.%d.ffn.key.weight", "FC", RK_ROLE_FFN_IN, LAYER(body.ffn.key), rk_init_orthogonal, 1, 1},
    {"blocks.%d.ffn.value.weight", "CF", RK_ROLE_FFN_OUT, LAYER(body.ffn.value), rk_init_constant, 0, 1},
    {"blocks.%d.att.time_state", "ENN", RK_ROLE_STATE, TUNED(body.time_state), rk_init_constant, 0, 1},
    {"blocks.%d.att.ts_state", "C", RK_ROLE_SHIFT, TUNED_SHIFT(body.ts_state), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.meta_gamma", "G", RK_ROLE_VECTOR, SOME(gamma), init_gamma, 0.1, 1},
    {"blocks.%d.ffn.meta_heads", "M", RK_ROLE_PLACES, SOME(heads), init_heads, 0, 1},
    {"blocks.%d.meta_generations", "Y3", RK_ROLE_PLACES, SOME(born), rk_init_constant, 0, 1},
    RK_LM_LAST_PARAMS,
};
/* clang-format on */

enum { ATT_SHIFT, ATT_WKV, FFN_SHIFT, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [ATT_SHIFT] = {.name = "att.shift", .shape = "C", .tuned = offsetof(layer, body.ts_state)},
    [ATT_WKV] = {.name = "att.wkv",
                 .shape = "ENN",
                 .kind = RK_STATE_MATRIX,
                 .tuned = offsetof(layer, body.time_state)},
    [FFN_SHIFT] = {.name = "ffn.shift", .shape = "C"},
};

static const rk_io_spec carry[] = {{"v_first", "BTEN", false}};

/* ---- sizes ---- */

/* Beside the tensors that are its own: whole heads, as many as are read or more, that are not those of the
 * width. */
static bool detect(const rk_file *f)
{
    const rk_file_tensor *key = rk_file_find(f, "blocks.0.att.key.weight");
    const rk_file_tensor *r_k = rk_file_find(f, "blocks.0.att.r_k");
    if (!r_k)
        return false;
    return rk_file_find(f, "blocks.0.ffn.meta_gamma") ||
           rk_file_find(f, "blocks.0.meta_generations") ||
           (key && key->n_dims == 2 && r_k->n_dims == 2 && key->dims[0] != key->dims[1] &&
            r_k->dims[1] > 0 && key->dims[0] % r_k->dims[1] == 0 &&
            key->dims[0] / r_k->dims[1] >= r_k->dims[0]);
}

static double heads_of_width(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)rk_max_i64(1, hp->n_embd / hp->head_size);
}
static double a_quarter(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)(rk_max_i64(1, hp->n_head / 4) + own(hp, RK_META7_EXTRA));
}
static double rank_of(const rk_hparams *hp, double arg)
{
    return fmax(32, 32 * nearbyint(arg * sqrt((double)hp->n_embd) / 32));
}

/* clang-format off */
#define RANK(name, i, letter, x, from, tensor, option, help) \
    {name, RK_OWN_SIZE(i), letter, {1, RK_RANK_MAX}, {rank_of, x}, {from, tensor, 2, 1}, {option, "by n-embd", help}}
#define FOLLOWS(name, i, letter) \
    {name, RK_OWN_SIZE(i), letter, {0, RK_FFN_MAX}, {NULL, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION}

/* Name, place, letter, range, default; where a file shows it; option. */
static const rk_size_spec sizes[] = {
    {"head_size", RK_SIZE(head_size), 'N', {1, RK_HEAD_MAX}, {rk_size_constant, 64}, {RK_FROM_TENSOR, "blocks.0.att.r_k", 2, 1}, RK_HEAD_SIZE_OPTION},
    {"n_head", RK_SIZE(n_head), 'H', {1, RK_EMBD_MAX}, {heads_of_width, 0}, {RK_FROM_TENSOR, "blocks.0.att.r_k", 2, 0}, {"n-head", "n-embd / head-size", "heads that the time mix reads"}},
    {"dim_ffn", RK_SIZE(dim_ffn), 'F', {1, RK_FFN_MAX}, {rk_size_of_embd, 4}, {RK_FROM_TENSOR, "blocks.0.ffn.key.weight", 2, 0}, RK_DIM_FFN_OPTION},
    RANK("rank_w", RK_RWKV7_RANK_W, 'w', 2.5, RK_FROM_TENSOR, "blocks.0.att.w1", "lora-rank-w", "rank of the decay's matrices"),
    RANK("rank_a", RK_RWKV7_RANK_A, 'a', 2.5, RK_FROM_TENSOR, "blocks.0.att.a1", "lora-rank-a", "rank of the in-context learning rate's"),
    RANK("rank_v", RK_RWKV7_RANK_V, 'v', 1.7, RK_FROM_LATER, "blocks.1.att.v1", "lora-rank-v", "rank of the value residual's"),
    RANK("rank_g", RK_RWKV7_RANK_G, 'g', 5.0, RK_FROM_TENSOR, "blocks.0.att.g1", "lora-rank-g", "rank of the gate's"),
    {"removal_scale", RK_OWN_REAL(RK_RWKV7_REMOVAL), 0, {0, 2}, {rk_size_constant, 1}, {RK_FROM_MARK, NULL, 0, 0}, {"removal-scale", "1", "how much of what a key finds is removed; above 1 states can be swapped"}},
    {"ln0_fused", RK_SIZE(ln0_fused), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0}, RK_NO_OPTION},
    {"meta_extra", RK_OWN_SIZE(RK_META7_EXTRA), 0, {0, RK_EMBD_MAX}, {rk_size_constant, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, {"meta-extra", "0", "heads that only the channel mix asks"}},
    {"meta_heads", RK_OWN_SIZE(RK_META7_HEADS), 'M', {0, RK_SELF_STATE_HEADS}, {a_quarter, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, {"meta-heads", "n-head / 4 + meta-extra", "heads that the channel mix asks"}},
    {"meta_channels", RK_OWN_SIZE(RK_META7_CHANNELS), 'G', {0, RK_FFN_MAX}, {NULL, 0}, {RK_FROM_OPTIONAL, "blocks.0.ffn.meta_gamma", 1, 0}, RK_NO_OPTION},
    {"dim_att", RK_OWN_SIZE(RK_META7_DIM), 'D', {1, RK_FFN_MAX}, {NULL, 0}, {RK_FROM_TENSOR, "blocks.0.att.key.weight", 2, 0}, RK_NO_OPTION},
    FOLLOWS("dim_read", RK_META7_READ, 'Q'),
    FOLLOWS("n_state_head", RK_META7_STATES, 'E'),
    {"meta_listed", RK_OWN_SIZE(RK_META7_LISTED), 0, {0, RK_SELF_STATE_HEADS}, {NULL, 0}, {RK_FROM_OPTIONAL, "blocks.0.ffn.meta_heads", 1, 0}, RK_NO_OPTION},
    {"generations", RK_OWN_SIZE(RK_META7_GENERATIONS), 'Y', {0, RK_ROUTE_GENERATIONS - 1}, {NULL, 0}, {RK_FROM_OPTIONAL, "blocks.0.meta_generations", 2, 0}, RK_NO_OPTION},
    {"meta_norm", RK_OWN_SIZE(RK_META7_NORM), 0, {0, 1}, {rk_size_constant, 1}, {RK_FROM_META, NULL, 0, 0}, {"meta-norm", "1", "0: what a state answers is not normalised"}},
    {"meta_time", RK_OWN_WORD(RK_META7_TIME, "after|before"), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0}, {"meta-time", "after", "whether states are asked after or before they learn of a token"}},
    {"route_k", RK_OWN_SIZE(RK_META7_ROUTE_K), 0, {0, RK_FFN_MAX}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0}, {"route-k", "0", "blocks of parameter tokens that a token uses; 0: all"}},
    {"route_block", RK_OWN_SIZE(RK_META7_ROUTE_BLOCK), 0, {1, RK_FFN_MAX}, {rk_size_constant, 256}, {RK_FROM_META, NULL, 0, 0}, {"route-block", "256", "parameter tokens of a block"}},
    {"route_gate", RK_OWN_SIZE(RK_META7_ROUTE_GATE), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0}, {"route-gate", "0", "1: what a block gives is multiplied by the sigmoid of its score"}},
    {"route_balance", RK_OWN_REAL_WITH_MIN(RK_META7_ROUTE_BALANCE), 0, {0, 1e3}, {rk_size_constant, 0.01}, {RK_FROM_META, NULL, 0, 0}, {"route-balance", "0.01", "weight of a loss that has blocks used alike"}},
};
/* clang-format on */
static const rk_size_table table = {sizes, RK_COUNT(sizes)};

/* What follows from what the file's tensors show. */
static rk_status settle_file(rk_hparams *hp, const rk_file *file, rk_error *err)
{
    const int64_t n = hp->head_size, dim = own(hp, RK_META7_DIM), c = own(hp, RK_META7_CHANNELS);
    if (dim % n || dim / n < hp->n_head)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: 'blocks.0.att.key.weight' has %" PRId64
                       " channels, expected at least %" PRId64 " heads of %" PRId64,
                       rk_file_name(file), dim, hp->n_head, n);
    if (c % n)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: 'blocks.0.ffn.meta_gamma' has %" PRId64
                       " elements, which heads of %" PRId64 " do not divide",
                       rk_file_name(file), c, n);
    hp->own[RK_META7_EXTRA].n = dim / n - hp->n_head;
    hp->own[RK_META7_HEADS].n = c / n;
    if (own(hp, RK_META7_LISTED) && own(hp, RK_META7_LISTED) != own(hp, RK_META7_HEADS))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: 'blocks.0.ffn.meta_heads' lists %" PRId64
                       " heads, but 'blocks.0.ffn.meta_gamma' is of %" PRId64,
                       rk_file_name(file), own(hp, RK_META7_LISTED), own(hp, RK_META7_HEADS));
    return RK_OK;
}

rk_status rk_meta7_settle(rk_hparams *hp, const char *where, rk_status code, rk_error *err)
{
    const int64_t asked = own(hp, RK_META7_HEADS), n = hp->head_size;
    hp->own[RK_META7_STATES].n = hp->n_head + own(hp, RK_META7_EXTRA);
    hp->own[RK_META7_DIM].n = own(hp, RK_META7_STATES) * n;
    hp->own[RK_META7_READ].n = hp->n_head * n;
    hp->own[RK_META7_CHANNELS].n = asked * n;
    if (asked > 0 && n > hp->n_embd)
        return rk_fail(err, code,
                       "%s: heads of %" PRId64 " channels cannot be asked in n_embd %" PRId64,
                       where, n, hp->n_embd);
    if (asked > RK_SELF_STATE_HEADS)
        return rk_fail(err, code, "%s: meta_heads is %" PRId64 ", expected %d at most", where,
                       asked, RK_SELF_STATE_HEADS);
    if (asked > own(hp, RK_META7_STATES))
        return rk_fail(err, code, "%s: meta_heads is %" PRId64 ", and there are %" PRId64 " heads",
                       where, asked, own(hp, RK_META7_STATES));
    return RK_OK;
}

static bool is_listed(const float *x, int64_t n, float head)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] == head)
            return true;
    return false;
}

/* The heads that a layer of a file asks are there, and each is asked once. */
static rk_status check_heads(const rk_hparams *hp, const rk_file *file, int64_t l, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    float x[RK_SELF_STATE_HEADS];
    const int64_t n = own(hp, RK_META7_HEADS), below = own(hp, RK_META7_STATES);
    snprintf(name, sizeof name, "blocks.%" PRId64 ".ffn.meta_heads", l);
    const rk_file_tensor *t = rk_file_find(file, name);
    for (int64_t i = 0; rk_file_are_numbers(t, n, 1) && i < n; i++) {
        x[i] = rk_file_number(t, i);
        if (!(x[i] >= 0 && x[i] < (float)below && x[i] == floorf(x[i])))
            return rk_fail(err, RK_ERR_FORMAT, "%s: '%s' lists head %g; there are %" PRId64,
                           rk_file_name(file), name, (double)x[i], below);
        if (is_listed(x, i, x[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: '%s' lists head %g twice", rk_file_name(file),
                           name, (double)x[i]);
    }
    return RK_OK;
}

/* Generations of a layer never shrink, and the last of them is what its tensors are. */
static rk_status check_generations(const rk_hparams *hp, const rk_file *file, int64_t l,
                                   rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    float now[RK_META7_BORN] = {0};
    const float top[] = {(float)hp->dim_ffn, (float)hp->n_head, (float)own(hp, RK_META7_HEADS)};
    const int64_t n = own(hp, RK_META7_GENERATIONS);
    snprintf(name, sizeof name, "blocks.%" PRId64 ".meta_generations", l);
    const rk_file_tensor *t = rk_file_find(file, name);
    for (int64_t i = 0; rk_file_are_numbers(t, n, RK_META7_BORN) && i < n * RK_META7_BORN; i++) {
        const int64_t k = i % RK_META7_BORN;
        const float x = rk_file_number(t, i);
        if (!(x >= now[k] && x <= top[k] && x == floorf(x)))
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: '%s' says %g, expected a whole number from %g to %g",
                           rk_file_name(file), name, (double)x, (double)now[k], (double)top[k]);
        now[k] = x;
    }
    return RK_OK;
}

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    rk_status st = file ? settle_file(hp, file, err) : RK_OK;
    if (!file)
        hp->own[RK_META7_LISTED].n = own(hp, RK_META7_HEADS);
    if (st == RK_OK)
        st = rk_meta7_settle(hp, file ? rk_file_name(file) : arch->name,
                             file ? RK_ERR_FORMAT : RK_ERR_ARG, err);
    if (st == RK_OK)
        st = rk_records_settle(arch, hp, file, err);
    for (int64_t l = 0; file && l < hp->n_layer && st == RK_OK; l++) {
        st = check_heads(hp, file, l, err);
        if (st == RK_OK)
            st = check_generations(hp, file, l, err);
    }
    return st;
}

/* An RWKV-7 file shows its sizes and asks no heads. What it does not show is given, or as in a new model. */
static rk_status adopt(rk_hparams *hp, const rk_size *given, int64_t n, rk_error *err)
{
    const rk_hparams file = *hp;
    rk_status st = RK_OK;
    hp->own[RK_META7_HEADS].n = (int64_t)a_quarter(hp, 0);
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_size_give(&rk_arch_meta7, &given[i], hp, err);
    if (st == RK_OK && (hp->n_head != file.n_head || hp->head_size != file.head_size ||
                        own(hp, RK_META7_EXTRA) != 0))
        st = rk_fail(err, RK_ERR_ARG,
                     "the model has %" PRId64 " heads of %" PRId64 ": heads are added by rwkv grow",
                     file.n_head, file.head_size);
    hp->own[RK_META7_LISTED].n = own(hp, RK_META7_HEADS);
    hp->own[RK_META7_ADOPTED].n = 1;
    return st == RK_OK ? rk_meta7_settle(hp, "meta7", RK_ERR_ARG, err) : st;
}

/* ---- forward ---- */

static double real_at(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

/* The heads that a layer asks: the nearest numbers. A plan reads no data, and takes them for the usual ones. */
static rk_self_state_form asks_of(const rk_ctx *ctx, const rk_model *m, const layer *p)
{
    rk_self_state_form f = {.n_heads = (int)own(&m->hp, RK_META7_HEADS),
                            .n_read = m->hp.n_head,
                            .norm = own(&m->hp, RK_META7_NORM) != 0,
                            .before = own(&m->hp, RK_META7_TIME) != 0};
    for (int i = 0; i < f.n_heads; i++) {
        const double x = p->heads && !ctx->planning ? nearbyint(real_at(p->heads, i))
                                                    : (double)rk_meta7_usual_head(&m->hp, i);
        f.heads[i] = x >= 0 && x < (double)own(&m->hp, RK_META7_STATES) ? (int32_t)x : -1;
    }
    return f;
}

/* False: every parameter token takes part. Generations in which a layer has not grown are none. A plan reads no
 * data, and takes those of one token each, which have the most blocks. */
static bool route_of(const rk_ctx *ctx, const rk_model *m, const layer *p, rk_route_form *f)
{
    *f = (rk_route_form){.block = own(&m->hp, RK_META7_ROUTE_BLOCK),
                         .best = own(&m->hp, RK_META7_ROUTE_K),
                         .gate = own(&m->hp, RK_META7_ROUTE_GATE) != 0,
                         .balance = m->hp.own[RK_META7_ROUTE_BALANCE].x};
    for (int64_t g = 0; p->born && g < own(&m->hp, RK_META7_GENERATIONS); g++) {
        const int64_t at = g * RK_META7_BORN + RK_META7_BORN_TOKENS;
        const double end = ctx->planning ? (double)(g + 1) : nearbyint(real_at(p->born, at));
        const int64_t last = f->n_generations ? f->ends[f->n_generations - 1] : 0;
        if (end > (double)last && end < (double)m->hp.dim_ffn)
            f->ends[f->n_generations++] = (int64_t)end;
    }
    f->ends[f->n_generations++] = m->hp.dim_ffn;
    return f->best > 0;
}

static rk_tensor *time_mix(rk_ctx *ctx, const rk_model *m, const layer *p, rk_tensor *x,
                           rk_tensor *residual, rk_wkv7_in *read, rk_block_io *io)
{
    rk_rwkv7_time_mix_io att = {.shift = io->state[ATT_SHIFT],
                                .wkv = io->state[ATT_WKV],
                                .v_first = io->carry[0],
                                .read = read};
    const rk_rwkv7_form form = {.eps = m->hp.ln_x_eps,
                                .extra = m->hp.own[RK_RWKV7_REMOVAL].x - 1.0};
    x = rk_rwkv7_time_mix_forward(ctx, &p->body.att, x, residual, &form, &att);
    io->carry[0] = att.v_first;
    io->state[ATT_SHIFT] = att.shift;
    io->state[ATT_WKV] = att.wkv;
    return x;
}

/* rk_lm_block, whose channel mix asks the states of its time mix: those that one token has left, or found, or
 * for several all that the recurrence went through. */
static void block(rk_ctx *ctx, const rk_model *m, int64_t l, double dropout, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    const rk_lm_layer *norms = &p->body.norms;
    const uint64_t drop = 2 * (uint64_t)l;
    rk_tensor *x = io->x, *found = io->state[ATT_WKV];
    if (rk_ctx_failed(ctx))
        return;
    const bool single = x->dims[1] == 1;
    const rk_self_state_form asks = asks_of(ctx, m, p);
    rk_route_form route;
    const bool routed = route_of(ctx, m, p, &route);
    rk_wkv7_in read;
    /* A state that lies with its stream may be written where it is: by a token, and by the pieces of a prompt
     * behind the first. */
    if (p->gamma && (!single || asks.before) && found && found->streams)
        found = rk_copy(ctx, found);
    rk_tensor *ln = rk_norm(ctx, x, norms->ln1_w, norms->ln1_b, 1, m->hp.ln_eps);
    x = time_mix(ctx, m, p, ln, x, p->gamma && !single ? &read : NULL, io);
    x = rk_dropout(ctx, x, dropout, drop + 1);
    ln = rk_norm(ctx, x, norms->ln2_w, norms->ln2_b, 1, m->hp.ln_eps);
    const rk_meta_mix mix = {p->body.ffn.x_k, p->body.ffn.key, p->body.ffn.value, p->gamma};
    rk_meta_mix_io ffn = {.shift = io->state[FFN_SHIFT],
                          .state = single && !asks.before ? io->state[ATT_WKV] : found,
                          .wkv = single ? NULL : &read,
                          .asks = &asks,
                          .route = routed ? &route : NULL};
    x = rk_meta_mix_forward(ctx, &mix, ln, x, &ffn);
    io->state[FFN_SHIFT] = ffn.shift;
    io->x = rk_dropout(ctx, x, dropout, drop + 2);
}

const rk_arch rk_arch_meta7 = {
    .name = "meta7",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .has = has,
    .detect = detect,
    .sizes = {&rk_sizes_first, &rk_sizes_records, &rk_sizes_last_x, &table},
    .settle = settle,
    .adopts = &rk_arch_rwkv7,
    .adopt = adopt,
    .carry = carry,
    .n_carry = RK_COUNT(carry),
    RK_LM_FACE,
    .stem = rk_lm_stem,
    .block = block,
    .head = rk_lm_head,
};
