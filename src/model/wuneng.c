/* wuneng.c: WuNeng (arXiv 2504.19191, of which no code is known): a transformer of Qwen2's or Llama's body
 * with state heads and middle heads beside its attention heads (nn/wuneng.h). The host's tensors keep their
 * names and shapes, so a file without the others is the host.
 *
 *     y = W_o A + W_s R + W_m M
 *
 * Other readings of the paper are sizes: heads joined in their place, one output scaled by a scalar, the
 * value taken from attention, two hops; and Hymba's fusion (arXiv 2411.13676), which it is compared with. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "model/transformer.h"
#include "nn/wuneng.h"

typedef struct layer {
    rk_tf_layer body;
    rk_tf_attention_layer attention;
    rk_state_heads state;
    rk_middle_heads middle;
    rk_weight state_out, mid_out;
    rk_tensor *concat;      /* (H_m, d, d + N): middle.join of that mode, which begins otherwise */
    rk_tensor *pairs;       /* (H_m, 2): attention head and state head of each middle head */
    rk_tensor *state_alpha; /* (1): of one output for all heads */
    rk_tensor *mid_alpha;   /* (H_m, d): of middle heads in place of attention heads */
    rk_tensor *fuse_a, *fuse_s; /* (Q), (E): weights of norms in Hymba's fusion */
} layer;

/* Places in rk_hparams.own. */
enum {
    STATE_HEADS = RK_TF_OWN,
    STATE_SIZE,
    STATE_DIM,
    MIDDLE_HEADS,
    MIDDLE_DIM,
    JOINED,
    TAPS,
    HISTORY,
    RANK_W,
    RANK_A,
    RANK_V,
    RANK_G,
    MODE,
    OUTPUT,
    TWO_HOP,
    VALUE_FROM,
    RESIDUAL,
    BONUS,
    GATE,
    REMOVAL,
    UNBIASED,
    N_OWN
};
_Static_assert((int)N_OWN <= (int)RK_OWN_SIZES, "rk_hparams has a place for each");

enum { QUERIES_MAX = 48 }; /* attention heads beside middle heads that query */

/* How the heads come together. */
enum { OUT_APART, OUT_SHARED, OUT_IN_PLACE, OUT_HYMBA };

static int64_t own(const rk_hparams *hp, int i)
{
    return hp->own[i].n;
}

/* ---- which parameters a layer has ---- */

typedef struct option {
    size_t first, last; /* places of parameters in the layer struct */
    int size;           /* they are there where it is not 0, */
    int value;          /* or is this */
} option;

enum { ANY = -1 };
#define PLACE(f) offsetof(layer, f)
static const option options[] = {
    {PLACE(state.hop), PLACE(state.hop), TWO_HOP, ANY},
    {PLACE(state.r_k), PLACE(state.r_k), BONUS, ANY},
    {PLACE(state.x_g), PLACE(state.x_g), GATE, ANY},
    {PLACE(state.g1), PLACE(state.g2), GATE, ANY},
    {PLACE(state_alpha), PLACE(state_alpha), OUTPUT, OUT_SHARED},
    {PLACE(fuse_a), PLACE(fuse_s), OUTPUT, OUT_HYMBA},
    {PLACE(pairs), PLACE(pairs), MIDDLE_HEADS, ANY},
};

static bool has_middle(const rk_hparams *hp, size_t field)
{
    if (field == PLACE(concat))
        return own(hp, MODE) == RK_MIDDLE_CONCAT;
    if (field == PLACE(middle.up))
        return own(hp, MODE) != RK_MIDDLE_CONCAT;
    if (field == PLACE(middle.join) || field == PLACE(middle.bias))
        return own(hp, MODE) == RK_MIDDLE_GATE;
    return field == PLACE(mid_alpha) ? own(hp, OUTPUT) == OUT_IN_PLACE
                                     : own(hp, OUTPUT) != OUT_IN_PLACE;
}

static bool has(const rk_hparams *hp, const rk_param_spec *spec, int64_t l)
{
    const size_t field = spec->field;
    if (field >= PLACE(attention.q_bias) && field <= PLACE(attention.v_bias))
        return !own(hp, UNBIASED);
    if (rk_layer_in(&hp->kept, l))
        return false;
    for (size_t i = 0; i < RK_COUNT(options); i++)
        if (field >= options[i].first && field <= options[i].last)
            return options[i].value == ANY ? own(hp, options[i].size) != 0
                                           : own(hp, options[i].size) == options[i].value;
    if (field == PLACE(state.v0) || (field >= PLACE(state.v1) && field <= PLACE(state.v2)))
        return own(hp, RESIDUAL) && l > rk_first_mixer(hp);
    if (field == PLACE(state_out))
        return own(hp, OUTPUT) != OUT_HYMBA;
    return own(hp, MIDDLE_HEADS) > 0 && has_middle(hp, field);
}

/* ---- initial values ---- */

/* arg / sqrt of the inputs, uniform. */
static rk_status init_fan_in(const rk_init *p, rk_error *err)
{
    rk_init q = *p;
    q.arg = p->arg / sqrt((double)p->cols);
    return rk_init_uniform(&q, err);
}

/* In (-1, 1), by the place in the head, and in (-1/2, 1/2), by that of the channel. */
static double zigzag(const rk_init *p, int64_t n)
{
    const int64_t size = own(p->hp, STATE_SIZE);
    const double half = (double)(size - 1) / 2,
                 z = half > 0 ? ((double)(n % size) - half) / half : 0;
    return z * fabs(z);
}
static double linear(const rk_init *p, int64_t n)
{
    return (p->cols > 1 ? (double)n / (double)(p->cols - 1) : 0) - 0.5;
}
static double depth(const rk_init *p)
{
    return p->hp->n_layer > 1 ? (double)p->layer / (double)(p->hp->n_layer - 1) : 0;
}

static rk_status init_w0(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(-5.5 + 6 * pow(linear(p, n) + 0.5, 1 + pow(depth(p), 0.3)) +
                          2.5 * zigzag(p, n));
    return RK_OK;
}
static rk_status init_a0(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(-0.19 + 0.3 * zigzag(p, n) + 0.4 * linear(p, n));
    return RK_OK;
}
static rk_status init_v0(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(p->arg - 0.4 * linear(p, n));
    return RK_OK;
}
static rk_status init_k_k(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t n = 0; n < p->cols; n++)
        p->x[n] = (float)(p->arg - 0.1 * linear(p, n));
    return RK_OK;
}
/* The token's own receptance alone. */
static rk_status init_taps(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t i = 0; i < p->rows * p->cols; i++)
        p->x[i] = i < own(p->hp, STATE_DIM) ? 1.0f : 0.0f;
    return RK_OK;
}
/* A unit matrix of `rows / heads` in the first columns of each head. */
static rk_status init_units(const rk_init *p, rk_error *err)
{
    const rk_status st = rk_init_constant(p, err);
    const int64_t n = (int64_t)p->arg ? own(p->hp, STATE_SIZE) : p->hp->head_size;
    for (int64_t i = 0; i < p->rows * p->cols; i++)
        p->x[i] = 0;
    for (int64_t i = 0; i < p->rows; i++)
        p->x[i * p->cols + i % n] = 1.0f;
    return st;
}
/* Middle head j reads attention head j mod H and state head j mod H_s. */
static rk_status init_pairs(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t j = 0; j < p->rows; j++) {
        p->x[2 * j] = (float)(j % p->hp->n_head);
        p->x[2 * j + 1] = (float)(j % own(p->hp, STATE_HEADS));
    }
    return RK_OK;
}

/* ---- parameters ---- */

#define LAYER(f) RK_SCOPE_MIXER, offsetof(layer, f)
#define SOME(f) RK_SCOPE_SOME, offsetof(layer, f)
#define NAME RK_TF_NAME "wuneng."
#define VECTOR RK_ROLE_VECTOR

/* Name, shape, role, place, initial value and its argument, factor of the learning rate. Names, shapes
 * and values behind "wuneng." are ours: the paper gives none. */
/* clang-format off */
static const rk_param_spec params[] = {
    RK_TF_FIRST_PARAMS,
    RK_TF_BLOCK_PARAMS,
    RK_TF_ATTENTION_PARAMS(layer),
    {RK_TF_NAME "self_attn.q_proj.bias", "Q", VECTOR, SOME(attention.q_bias), rk_init_constant, 0, 1},
    {RK_TF_NAME "self_attn.k_proj.bias", "K", VECTOR, SOME(attention.k_bias), rk_init_constant, 0, 1},
    {RK_TF_NAME "self_attn.v_proj.bias", "K", VECTOR, SOME(attention.v_bias), rk_init_constant, 0, 1},
    {NAME "x_r", "C", VECTOR, LAYER(state.x_r), rk_init_maa, 0.2, 1},
    {NAME "x_w", "C", VECTOR, LAYER(state.x_w), rk_init_maa, 0.9, 1},
    {NAME "x_k", "C", VECTOR, LAYER(state.x_k), rk_init_maa, 0.7, 1},
    {NAME "x_v", "C", VECTOR, LAYER(state.x_v), rk_init_maa, 0.7, 1},
    {NAME "x_a", "C", VECTOR, LAYER(state.x_a), rk_init_maa, 0.9, 1},
    {NAME "receptance.weight", "EC", RK_ROLE_ATT_READ, LAYER(state.receptance), init_fan_in, 0.5, 1},
    {NAME "key.weight", "EC", RK_ROLE_ATT_WRITE, LAYER(state.key), init_fan_in, 0.05, 1},
    {NAME "value.weight", "EC", RK_ROLE_ATT_WRITE, LAYER(state.value), init_fan_in, 0.5, 1},
    {NAME "w0", "E", VECTOR, LAYER(state.w0), init_w0, 0, 2},
    {NAME "w1", "Cw", RK_ROLE_LOW_RANK, LAYER(state.w1), rk_init_constant, 0, 1},
    {NAME "w2", "wE", RK_ROLE_LOW_RANK, LAYER(state.w2), rk_init_orthogonal_tall, 0.1, 1},
    {NAME "a0", "E", VECTOR, LAYER(state.a0), init_a0, 0, 1},
    {NAME "a1", "Ca", RK_ROLE_LOW_RANK, LAYER(state.a1), rk_init_constant, 0, 1},
    {NAME "a2", "aE", RK_ROLE_LOW_RANK, LAYER(state.a2), rk_init_orthogonal_tall, 0.1, 1},
    {NAME "k_k", "E", VECTOR, LAYER(state.k_k), init_k_k, 0.71, 1},
    {NAME "k_a", "E", VECTOR, LAYER(state.k_a), rk_init_constant, 1.02, 1},
    {NAME "taps", "tE", VECTOR, LAYER(state.taps), init_taps, 0, 1},
    {NAME "ln_x.weight", "E", VECTOR, LAYER(state.ln_x_w), rk_init_ln_x, 0.7, 1},
    {NAME "ln_x.bias", "E", VECTOR, LAYER(state.ln_x_b), rk_init_constant, 0, 1},
    {NAME "hop.weight", "SNN", RK_ROLE_HEADS, SOME(state.hop), init_units, 1, 1},
    {NAME "v0", "E", VECTOR, SOME(state.v0), init_v0, 0.73, 1},
    {NAME "v1", "Cv", RK_ROLE_LOW_RANK, SOME(state.v1), rk_init_constant, 0, 1},
    {NAME "v2", "vE", RK_ROLE_LOW_RANK, SOME(state.v2), rk_init_orthogonal_tall, 0.1, 1},
    {NAME "r_k", "SN", VECTOR, SOME(state.r_k), rk_init_constant, -0.04, 1},
    {NAME "x_g", "C", VECTOR, SOME(state.x_g), rk_init_maa, 0.2, 1},
    {NAME "g1", "Cg", RK_ROLE_LOW_RANK, SOME(state.g1), rk_init_constant, 0, 1},
    {NAME "g2", "gE", RK_ROLE_LOW_RANK, SOME(state.g2), rk_init_orthogonal_tall, 0.1, 1},
    {NAME "middle_pairs", "M2", RK_ROLE_PLACES, SOME(pairs), init_pairs, 0, 1},
    {NAME "mid_concat.weight", "MDJ", RK_ROLE_HEADS, SOME(concat), init_units, 0, 1},
    {NAME "mid_up.weight", "MDN", RK_ROLE_HEADS, SOME(middle.up), init_fan_in, 0.5, 1},
    {NAME "mid_gate.weight", "MDJ", RK_ROLE_HEADS, SOME(middle.join), rk_init_constant, 0, 1},
    {NAME "mid_gate.bias", "MD", VECTOR, SOME(middle.bias), rk_init_constant, 0, 1},
    {NAME "state_out.weight", "CE", RK_ROLE_ATT_OUT, SOME(state_out), init_fan_in, 0.5, 1},
    {NAME "mid_out.weight", "CL", RK_ROLE_ATT_OUT, SOME(mid_out), init_fan_in, 0.5, 1},
    {NAME "state_alpha", "1", VECTOR, SOME(state_alpha), rk_init_constant, 0, 1},
    {NAME "mid_alpha", "MD", VECTOR, SOME(mid_alpha), rk_init_constant, 0, 1},
    {NAME "fuse_attention", "Q", VECTOR, SOME(fuse_a), rk_init_constant, 0.5, 1},
    {NAME "fuse_state", "E", VECTOR, SOME(fuse_s), rk_init_constant, 0.5, 1},
    RK_TF_LAST_PARAMS,
};
/* clang-format on */

enum { KEYS, VALUES, SHIFT, WKV, LAST, N_STATE };
static const rk_state_spec state[N_STATE] = {
    [KEYS] = RK_TF_KEYS(RK_IN_ALL),
    [VALUES] = RK_TF_VALUES(RK_IN_ALL),
    [SHIFT] = {.name = "wuneng.shift", .shape = "C", .in = RK_IN_MIXERS},
    [WKV] = {.name = "wuneng.wkv", .shape = "SNN", .kind = RK_STATE_MATRIX, .in = RK_IN_MIXERS},
    [LAST] = {.name = "wuneng.last", .shape = "hE", .in = RK_IN_MIXERS},
};

static const rk_io_spec carry[] = {{"v_first", "BTSN", false}};

/* ---- sizes ---- */

static bool detect(const rk_file *f)
{
    return rk_file_in_any_layer(f, NAME "receptance.weight");
}

static double a_quarter(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)rk_max_i64(1, hp->n_head / 4);
}

static double rank_of(const rk_hparams *hp, double arg)
{
    return fmax(32, 32 * nearbyint(arg * sqrt((double)hp->n_embd) / 32));
}

#define LAYER0 "model.layers.0."
/* clang-format off */
#define CHOICE(name, i, words, option, shown, help) \
    {name, RK_OWN_WORD(i, words), 0, {0, 8}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0}, {option, shown, help}}
#define FLAG(name, i, option, help) \
    {name, RK_OWN_SIZE(i), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_META, NULL, 0, 0}, {option, "0", help}}

/* Name, place, letter, range, default; where a file shows it; option. */
static const rk_size_spec sizes[] = {
    RK_TF_RMS_EPS(1e-6),
    RK_TF_ROPE_THETA(1000000),
    {"state_heads", RK_OWN_SIZE(STATE_HEADS), 'S', {1, RK_EMBD_MAX}, {a_quarter, 0}, {RK_FROM_STATED, NULL, 0, 0}, {"state-heads", "n-head / 4", "heads of the recurrence"}},
    {"state_head_size", RK_OWN_SIZE(STATE_SIZE), 'N', {1, RK_HEAD_MAX}, {rk_size_constant, 64}, {RK_FROM_OTHERS, NULL, 0, 0}, {"state-head-size", "64", "channels of such a head"}},
    {"state_dim", RK_OWN_SIZE(STATE_DIM), 'E', {1, RK_FFN_MAX}, {NULL, 0}, {RK_FROM_TENSOR, NAME "receptance.weight", 2, 0}, RK_NO_OPTION},
    {"middle_heads", RK_OWN_SIZE(MIDDLE_HEADS), 'M', {0, RK_LINEARS_MAX / 2}, {a_quarter, 0}, {RK_FROM_STATED, NULL, 0, 0}, {"middle-heads", "n-head / 4", "heads that join one of attention and one of the recurrence"}},
    {"middle_dim", RK_OWN_SIZE(MIDDLE_DIM), 'L', {0, RK_FFN_MAX}, {NULL, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"joined", RK_OWN_SIZE(JOINED), 'J', {1, 2 * RK_HEAD_MAX}, {NULL, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"taps", RK_OWN_SIZE(TAPS), 't', {1, RK_WUNENG_TAPS_MAX}, {rk_size_constant, 4}, {RK_FROM_TENSOR, NAME "taps", 2, 0}, {"taps", "4", "tokens whose receptances read the state together"}},
    {"history", RK_OWN_SIZE(HISTORY), 'h', {1, RK_WUNENG_TAPS_MAX}, {NULL, 0}, {RK_FROM_OTHERS, NULL, 0, 0}, RK_NO_OPTION},
    {"decay_rank", RK_OWN_SIZE(RANK_W), 'w', {1, RK_RANK_MAX}, {rank_of, 2.5}, {RK_FROM_TENSOR, NAME "w1", 2, 1}, {"lora-rank-w", "by n-embd", "rank of the decay's matrices"}},
    {"iclr_rank", RK_OWN_SIZE(RANK_A), 'a', {1, RK_RANK_MAX}, {rank_of, 2.5}, {RK_FROM_TENSOR, NAME "a1", 2, 1}, {"lora-rank-a", "by n-embd", "rank of the in-context learning rate's"}},
    {"value_rank", RK_OWN_SIZE(RANK_V), 'v', {1, RK_RANK_MAX}, {rank_of, 1.7}, {RK_FROM_OPTIONAL, NAME "v1", 2, 1}, {"lora-rank-v", "by n-embd", "rank of the value residual's"}},
    {"gate_rank", RK_OWN_SIZE(RANK_G), 'g', {1, RK_RANK_MAX}, {rank_of, 5.0}, {RK_FROM_OPTIONAL, NAME "g1", 2, 1}, {"lora-rank-g", "by n-embd", "rank of the gate's"}},
    CHOICE("middle_mode", MODE, "gate|concat|add|add_query", "middle-mode", "gate", "how a middle head joins its two"),
    CHOICE("head_output", OUTPUT, "apart|shared|in_place|hymba", "head-output", "apart", "how the heads come together"),
    FLAG("two_hop", TWO_HOP, "two-hop", "1: states are read twice"),
    CHOICE("value_from", VALUE_FROM, "x|attention", "value-from", "x", "what the states' values are projected from"),
    FLAG("value_residual", RESIDUAL, "value-residual", "1: values are mixed with those of layer 0"),
    FLAG("bonus", BONUS, "bonus", "1: the current token counts more"),
    FLAG("output_gate", GATE, "output-gate", "1: state heads have a gate"),
    {"removal_scale", RK_OWN_REAL(REMOVAL), 0, {0, 2}, {rk_size_constant, 1}, {RK_FROM_META, NULL, 0, 0}, {"removal-scale", "1", "how much of what a key finds is removed; above 1 states can be swapped"}},
    {"unbiased", RK_OWN_SIZE(UNBIASED), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_ABSENCE, LAYER0 "self_attn.q_proj.bias", 0, 0}, {"unbiased", "0", "1: attention without biases, as Llama's"}},
};
/* clang-format on */
static const rk_size_table table = {sizes, RK_COUNT(sizes)};

/* The pairs that a file has are of its heads. */
static rk_status check_pairs(const rk_hparams *hp, const rk_file *file, int64_t l, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, NAME "middle_pairs", (int)l);
    const rk_file_tensor *t = rk_file_find(file, name);
    const int64_t n = own(hp, MIDDLE_HEADS), below[2] = {hp->n_head, own(hp, STATE_HEADS)};
    if (!rk_file_are_numbers(t, n, 2))
        return RK_OK; /* said where parameters are looked at */
    for (int64_t i = 0; i < 2 * n; i++) {
        const float x = rk_file_number(t, i);
        if (!(x >= 0 && x < (float)below[i % 2] && x == floorf(x)))
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: '%s' pairs middle head %" PRId64
                           " with %s head %g; there are %" PRId64,
                           rk_file_name(file), name, i / 2, i % 2 ? "state" : "attention",
                           (double)x, below[i % 2]);
        for (int64_t q = 0; own(hp, MODE) == RK_MIDDLE_QUERY && i % 2 == 0 && q < i; q += 2)
            if (rk_file_number(t, q) == x)
                return rk_fail(err, RK_ERR_FORMAT,
                               "%s: '%s' pairs two middle heads with attention head %g, whose "
                               "query add_query moves once",
                               rk_file_name(file), name, (double)x);
    }
    return RK_OK;
}

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    const char *where = file ? rk_file_name(file) : arch->name;
    const rk_status code = file ? RK_ERR_FORMAT : RK_ERR_ARG;
    rk_status st = rk_tf_settle(arch, hp, file, err);
    if (st != RK_OK)
        return st;
    if (file)
        hp->own[STATE_SIZE].n = own(hp, STATE_DIM) / own(hp, STATE_HEADS);
    else
        hp->own[STATE_DIM].n = own(hp, STATE_HEADS) * own(hp, STATE_SIZE);
    hp->own[MIDDLE_DIM].n = own(hp, MIDDLE_HEADS) * hp->head_size;
    hp->own[JOINED].n = hp->head_size + own(hp, STATE_SIZE);
    hp->own[HISTORY].n = rk_max_i64(1, own(hp, TAPS) - 1);
    if (own(hp, STATE_SIZE) < 1 || own(hp, STATE_SIZE) * own(hp, STATE_HEADS) != own(hp, STATE_DIM))
        return rk_fail(err, code,
                       "%s: state_heads is %" PRId64 ", which does not divide the %" PRId64
                       " rows of the receptances",
                       where, own(hp, STATE_HEADS), own(hp, STATE_DIM));
    if (own(hp, OUTPUT) == OUT_HYMBA &&
        (own(hp, STATE_DIM) != own(hp, RK_TF_DIM_Q) || own(hp, MIDDLE_HEADS) > 0))
        return rk_fail(err, code,
                       "%s: head_output hymba has branches of equal width and no middle heads; "
                       "attention has %" PRId64 " channels, states %" PRId64,
                       where, own(hp, RK_TF_DIM_Q), own(hp, STATE_DIM));
    if (own(hp, OUTPUT) == OUT_IN_PLACE && own(hp, MIDDLE_HEADS) > hp->n_head)
        return rk_fail(err, code,
                       "%s: %" PRId64 " middle heads in the place of %" PRId64 " attention heads",
                       where, own(hp, MIDDLE_HEADS), hp->n_head);
    if (own(hp, MODE) == RK_MIDDLE_QUERY &&
        (own(hp, MIDDLE_HEADS) > hp->n_head || hp->n_head > QUERIES_MAX))
        return rk_fail(err, code,
                       "%s: %" PRId64 " middle heads that query beside %" PRId64
                       " attention heads, expected no more, of at most %d",
                       where, own(hp, MIDDLE_HEADS), hp->n_head, QUERIES_MAX);
    if (own(hp, VALUE_FROM) && own(hp, RK_TF_DIM_Q) != hp->n_embd)
        return rk_fail(err, code,
                       "%s: value_from attention takes %" PRId64
                       " channels; attention has %" PRId64,
                       where, hp->n_embd, own(hp, RK_TF_DIM_Q));
    for (int64_t l = 0; file && own(hp, MIDDLE_HEADS) > 0 && l < hp->n_layer && st == RK_OK; l++)
        if (!rk_layer_in(&hp->kept, l))
            st = check_pairs(hp, file, l, err);
    return st;
}

/* ---- forward ---- */

/* (B, T, n N) as (B, T, n, N), and back. */
static rk_tensor *split(rk_ctx *ctx, rk_tensor *x, int64_t n)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], n, x->dims[2] / n};
    return rk_view(ctx, x, 4, dims);
}
static rk_tensor *joined(rk_ctx *ctx, rk_tensor *x)
{
    if (!x)
        return NULL;
    const int64_t dims[] = {x->dims[0], x->dims[1], x->dims[2] * x->dims[3]};
    return rk_view(ctx, x, 3, dims);
}

static double real_at(const rk_tensor *t, int64_t i)
{
    return t->dtype == RK_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

/* The middle heads of a layer, with their pairs. A plan reads no data, and all of them are then first. Files
 * are looked at when they are opened; values that come in another type are looked at here. */
static bool middle_heads(rk_ctx *ctx, const rk_model *m, const layer *p, int32_t (*pairs)[2],
                         rk_middle_heads *out)
{
    const int64_t below[2] = {m->hp.n_head, own(&m->hp, STATE_HEADS)};
    for (int64_t i = 0; i < 2 * own(&m->hp, MIDDLE_HEADS); i++) {
        const double x = ctx->planning ? 0 : nearbyint(real_at(p->pairs, i));
        if (!(x >= 0 && x < (double)below[i % 2])) {
            rk_ctx_fail(ctx, RK_ERR_FORMAT, "middle_pairs: middle head %d has no head %g",
                        (int)(i / 2), x);
            return false;
        }
        pairs[i / 2][i % 2] = (int32_t)x;
    }
    *out = p->middle;
    out->pairs = (const int32_t(*)[2])pairs;
    if (p->concat)
        out->join = p->concat;
    return true;
}

/* What states were asked and what attention found. */
typedef struct heads {
    rk_attention_in in;
    rk_tensor *a, *r; /* (B, T, Q), (B, T, E) */
} heads;

/* Head h of x (B, T, H, n), as (B, T, n). */
static rk_tensor *head_of(rk_ctx *ctx, rk_tensor *x, int64_t h)
{
    return rk_index(ctx, rk_transpose(ctx, rk_transpose(ctx, x, 0, 2), 1, 2), h);
}

/* A second reading of the keys and values, by the queries of attention heads that states have moved; those
 * of heads without a middle head read with the others and are not looked at. */
static rk_tensor *query_again(rk_ctx *ctx, const rk_model *m, const rk_middle_heads *mid,
                              const heads *h)
{
    const int64_t n = own(&m->hp, MIDDLE_HEADS), n_head = m->hp.n_head;
    rk_tensor *moved =
        rk_middle_queries(ctx, mid, h->in.q, split(ctx, h->r, own(&m->hp, STATE_HEADS)));
    rk_tensor *q[QUERIES_MAX], *found[RK_LINEARS_MAX], *keys, *values;
    if (rk_ctx_failed(ctx))
        return NULL;
    for (int64_t i = 0; i < n_head; i++)
        q[i] = head_of(ctx, h->in.q, i);
    for (int64_t j = 0; j < n; j++)
        q[mid->pairs[j][0]] = head_of(ctx, moved, j);
    rk_attention_in in = h->in;
    in.q = split(ctx, rk_concat(ctx, q, (int)n_head, 2), n_head);
    rk_tensor *y = rk_attention(ctx, &in, &keys, &values);
    for (int64_t j = 0; j < n && y; j++)
        found[j] = head_of(ctx, y, mid->pairs[j][0]);
    return y ? rk_concat(ctx, found, (int)n, 2) : NULL;
}

/* M (B, T, H_m d); NULL: there are none. */
static rk_tensor *middle(rk_ctx *ctx, const rk_model *m, const layer *p, const heads *h)
{
    int32_t pairs[RK_LINEARS_MAX][2];
    rk_middle_heads mid;
    const rk_middle_mode mode = (rk_middle_mode)own(&m->hp, MODE);
    if (own(&m->hp, MIDDLE_HEADS) == 0)
        return NULL;
    if (rk_ctx_failed(ctx) || !middle_heads(ctx, m, p, pairs, &mid))
        return NULL;
    if (mode == RK_MIDDLE_QUERY)
        return query_again(ctx, m, &mid, h);
    return rk_middle_heads_forward(ctx, &mid, mode, split(ctx, h->a, m->hp.n_head),
                                   split(ctx, h->r, own(&m->hp, STATE_HEADS)));
}

/* Attention's channels with middle heads in the place of the first ones, A + alpha (M - A). */
static rk_tensor *replaced(rk_ctx *ctx, const layer *p, rk_tensor *a, rk_tensor *mid)
{
    const int64_t n = mid->dims[2];
    rk_tensor *first = rk_copy(ctx, rk_slice(ctx, a, 2, 0, n));
    first = rk_lerp(ctx, first, mid, rk_view(ctx, p->mid_alpha, 1, &n));
    rk_tensor *const both[] = {first, rk_slice(ctx, a, 2, n, a->dims[2])};
    return a->dims[2] > n ? rk_concat(ctx, both, 2, 2) : first;
}

/* residual + what the heads give. */
static rk_tensor *output(rk_ctx *ctx, const rk_model *m, const layer *p, const heads *h,
                         rk_tensor *residual)
{
    rk_tensor *mid = middle(ctx, m, p, h), *a = h->a, *r = h->r;
    const int64_t how = own(&m->hp, OUTPUT);
    if (rk_ctx_failed(ctx))
        return NULL;
    if (how == OUT_HYMBA) {
        a = rk_add(ctx, rk_rms_norm(ctx, a, p->fuse_a, m->hp.ln_eps),
                   rk_rms_norm(ctx, r, p->fuse_s, m->hp.ln_eps));
        return rk_linear(ctx, a, p->attention.o, residual);
    }
    if (how == OUT_IN_PLACE && mid)
        a = replaced(ctx, p, a, mid);
    rk_tensor *x = rk_linear(ctx, a, p->attention.o, residual);
    if (how == OUT_SHARED)
        r = rk_mul(ctx, r, p->state_alpha);
    x = rk_linear(ctx, r, p->state_out, x);
    return mid && how != OUT_IN_PLACE ? rk_linear(ctx, mid, p->mid_out, x) : x;
}

static rk_tensor *read_states(rk_ctx *ctx, const rk_model *m, const layer *p, rk_tensor *x,
                              rk_tensor *attention, rk_block_io *io)
{
    rk_state_heads_io s = {.n_head = own(&m->hp, STATE_HEADS),
                           .head_size = own(&m->hp, STATE_SIZE),
                           .removal = m->hp.own[REMOVAL].x,
                           .value = own(&m->hp, VALUE_FROM) ? attention : NULL,
                           .shift = io->state[SHIFT],
                           .wkv = io->state[WKV],
                           .history = io->state[LAST],
                           .v_first = io->carry[0]};
    rk_tensor *r = rk_state_heads_forward(ctx, &p->state, x, &s);
    io->state[SHIFT] = s.shift;
    io->state[WKV] = s.wkv;
    io->state[LAST] = s.history;
    io->carry[0] = s.v_first;
    return r;
}

static rk_tensor *mix(rk_ctx *ctx, const rk_model *m, int64_t l, rk_tensor *x, rk_tensor *residual,
                      rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    const rk_tf_heads all = rk_tf_heads_of(&m->hp);
    if (rk_layer_in(&m->hp.kept, l))
        return rk_tf_attention(ctx, &all, &p->attention, x, residual, &io->state[KEYS],
                               &io->state[VALUES]);
    heads h = {
        .in = rk_tf_attention_of(ctx, &all, &p->attention, x, io->state[KEYS], io->state[VALUES])};
    h.a = joined(ctx, rk_attention(ctx, &h.in, &io->state[KEYS], &io->state[VALUES]));
    h.r = read_states(ctx, m, p, x, h.a, io);
    return output(ctx, m, p, &h, residual);
}

const rk_arch rk_arch_wuneng = {
    .name = "wuneng",
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .has = has,
    .detect = detect,
    .sizes = {&rk_tf_sizes_first, &rk_tf_sizes_heads, &rk_tf_sizes_last, &table},
    .settle = settle,
    .carry = carry,
    .n_carry = RK_COUNT(carry),
    RK_TF_PARTS,
    .time_mix = mix,
};
