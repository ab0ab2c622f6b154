/* rrwkv.c: RRWKV (arXiv 2306.05176, withdrawn by its author; no equations and no code of it are known, and
 * docs/rrwkv.md says what was put in their place): RWKV-4 with mediums. After every so many tokens of a
 * sequence stands a medium, which begins as their mean and is computed as a token is, but leaves nothing
 * behind for tokens; what they get of it is an average over the finished mediums beside that over the tokens,
 * and a mean in the mixes. Where both have no weight it is RWKV-4.
 *
 * The stem decides where mediums stand and adds their rows, blocks work on all rows alike, the head gives those
 * of the tokens. What the stem keeps between calls is part of the state, but of no layer. */
#include <inttypes.h>

#include "base/num.h"
#include "model/pair.h"
#include "model/records.h"
#include "model/rwkv4.h"
#include "nn/medium.h"

typedef struct layer {
    rk_rwkv4_layer body;
    rk_tensor *start; /* (C), layer 0's: what every medium begins with */
    rk_medium_time_mix att;
    rk_medium_channel_mix ffn;
    rk_squeeze squeeze;
} layer;

/* Places in rk_hparams.own. ADOPTED: made of an RWKV-4, and to begin as it. */
enum { INTERVAL, RANDOM, RANK, SQUEEZES, AVERAGES, MIXES, ADOPTED };

static int64_t own(const rk_hparams *hp, int i)
{
    return hp->own[i].n;
}

/* ---- parameters ---- */

/* The switches: each is of a group of parameters, which stand one behind the other in the layer. */
static bool has(const rk_hparams *hp, const rk_param_spec *spec, int64_t l)
{
    if (spec->field == offsetof(layer, start))
        return l == 0;
    if (spec->field >= offsetof(layer, squeeze))
        return own(hp, SQUEEZES) != 0;
    return own(hp, spec->field < offsetof(layer, att.mix_k) ? AVERAGES : MIXES) != 0;
}

/* A constant, or 0 in a model made of an RWKV-4. */
static rk_status init_unless_adopted(const rk_init *p, rk_error *err)
{
    rk_init q = *p;
    q.arg = own(p->hp, ADOPTED) ? 0 : p->arg;
    return rk_init_constant(&q, err);
}

static rk_status init_start(const rk_init *p, rk_error *err)
{
    return own(p->hp, ADOPTED) ? init_unless_adopted(p, err) : rk_init_normal(p, err);
}

/* From -3 to 0 over the channels. */
static rk_status init_ramp(const rk_init *p, rk_error *err)
{
    (void)err;
    for (int64_t i = 0; i < p->cols; i++)
        p->x[i] = p->cols > 1 ? (float)(-3.0 + 3.0 * (double)i / (double)(p->cols - 1)) : -3.0f;
    return RK_OK;
}

#define SOME(f) RK_SCOPE_SOME, offsetof(layer, f)

/* medium_emb is of the whole model: layer 0 holds it, because the rows of an architecture with a base are of
 * layers. */
/* clang-format off */
static const rk_param_spec params[] = {
    {"medium_emb", "C", RK_ROLE_VECTOR, SOME(start), init_start, 0.01, 1},
    {"blocks.%d.att.medium_decay", "C", RK_ROLE_VECTOR, SOME(att.decay), init_ramp, 0, 2},
    {"blocks.%d.att.medium_tau", "C", RK_ROLE_VECTOR, SOME(att.tau), init_unless_adopted, 0.1, 1},
    {"blocks.%d.att.medium_mix_k", "C", RK_ROLE_VECTOR, SOME(att.mix_k), rk_init_constant, 0, 1},
    {"blocks.%d.att.medium_mix_v", "C", RK_ROLE_VECTOR, SOME(att.mix_v), rk_init_constant, 0, 1},
    {"blocks.%d.att.medium_mix_r", "C", RK_ROLE_VECTOR, SOME(att.mix_r), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.medium_mix_k", "C", RK_ROLE_VECTOR, SOME(ffn.mix_k), rk_init_constant, 0, 1},
    {"blocks.%d.ffn.medium_mix_r", "C", RK_ROLE_VECTOR, SOME(ffn.mix_r), rk_init_constant, 0, 1},
    {"blocks.%d.squeeze.down.weight", "EC", RK_ROLE_SQUEEZE, SOME(squeeze.down), rk_init_linear, 1, 1},
    {"blocks.%d.squeeze.up.weight", "CE", RK_ROLE_SQUEEZE, SOME(squeeze.up), rk_init_linear, 1, 1},
};
/* clang-format on */

/* ---- state ---- */

enum { AVERAGE = RK_RWKV4_N_STATE, ATT_SUM, FFN_SUM, POOL, PLACE, N_STATE };
static const rk_state_spec state[N_STATE] = {
    RK_RWKV4_STATE,
    [AVERAGE] = {.name = "att.medium", .shape = "3C"},
    [ATT_SUM] = {.name = "att.medium_sum", .shape = "C"},
    [FFN_SUM] = {.name = "ffn.medium_sum", .shape = "C"},
    [POOL] = {.name = "medium.pool", .shape = "C", .in = RK_IN_STEM},
    [PLACE] = {.name = "medium.place", .shape = "2", .in = RK_IN_STEM},
};

/* ---- sizes ---- */

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.time_first") && rk_file_find(f, "medium_emb");
}

/* A sixteenth of the channels, but four. */
static double usual_rank(const rk_hparams *hp, double arg)
{
    return (double)rk_min_i64(hp->n_embd, rk_max_i64((int64_t)arg, hp->n_embd / 16));
}

enum { INTERVAL_MAX = 1 << 20 };

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec sizes[] = {
    {"medium_interval", RK_OWN_SIZE(INTERVAL), 0, {1, INTERVAL_MAX}, {rk_size_constant, 32}, {RK_FROM_MARK, NULL, 0, 0}, {"medium-interval", "32", "tokens from one medium to the next"}},
    {"medium_random", RK_OWN_SIZE(RANDOM), 0, {0, 1}, {rk_size_constant, 0}, {RK_FROM_MARK, NULL, 0, 0}, {"medium-random", "0", "1: after half of --medium-interval up to three halves of it, drawn once and for all"}},
    {"medium_rank", RK_OWN_SIZE(RANK), 'E', {0, RK_RANK_MAX}, {usual_rank, 4}, {RK_FROM_OPTIONAL, "blocks.0.squeeze.down.weight", 2, 0}, {"medium-rank", "n-embd / 16, at least 4", "channels inside the gate of mediums"}},
    {"medium_se", RK_OWN_SIZE(SQUEEZES), 0, {0, 1}, {rk_size_constant, 1}, {RK_FROM_PRESENCE, "blocks.%d.squeeze.down.weight", 0, 0}, {"medium-se", "1", "0: mediums pass no gate before their mean is taken"}},
    {"medium_tau", RK_OWN_SIZE(AVERAGES), 0, {0, 1}, {rk_size_constant, 1}, {RK_FROM_PRESENCE, "blocks.%d.att.medium_tau", 0, 0}, {"medium-tau", "1", "0: the time mix does not read an average over mediums"}},
    {"medium_mix", RK_OWN_SIZE(MIXES), 0, {0, 1}, {rk_size_constant, 1}, {RK_FROM_PRESENCE, "blocks.%d.att.medium_mix_k", 0, 0}, {"medium-mix", "1", "0: the mixes do not take the mean of mediums"}},
};
/* clang-format on */
static const rk_size_table own_sizes = {sizes, RK_COUNT(sizes)};

/* The gate is of the mean that the mixes take: without them there is none. */
static rk_status settle_mediums(rk_hparams *hp, const char *where, rk_status code, rk_error *err)
{
    if (!own(hp, MIXES))
        hp->own[SQUEEZES].n = 0;
    if (!own(hp, SQUEEZES))
        hp->own[RANK].n = 0;
    else if (own(hp, RANK) < 1 || own(hp, RANK) > hp->n_embd)
        return rk_fail(err, code, "%s: medium_rank is %" PRId64 ", expected 1 to n_embd %" PRId64,
                       where, own(hp, RANK), hp->n_embd);
    return RK_OK;
}

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    const rk_status st = settle_mediums(hp, file ? rk_file_name(file) : arch->name,
                                        file ? RK_ERR_FORMAT : RK_ERR_ARG, err);
    return st == RK_OK ? rk_rwkv4_settle(arch, hp, file, err) : st;
}

/* An RWKV-4 file shows its sizes and nothing of mediums. What is not given is as in a new model. */
static rk_status adopt(rk_hparams *hp, const rk_size *given, int64_t n, rk_error *err)
{
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(sizes); i++)
        hp->own[INTERVAL + (int)i].n = (int64_t)sizes[i].initial.rule(hp, sizes[i].initial.arg);
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_size_give(&rk_arch_rrwkv, &given[i], hp, err);
    hp->own[ADOPTED].n = 1;
    return st == RK_OK ? settle_mediums(hp, "rrwkv", RK_ERR_ARG, err) : st;
}

/* ---- forward ---- */

/* What the stem leaves for all blocks: the walk, and the tokens, whose number it is of. */
enum { WALK, TOKENS };

static void stem(rk_ctx *ctx, const rk_model *m, const rk_forward *f, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, 0);
    rk_tensor **pool = &f->state[rk_state_part_at(m, 0, POOL)];
    rk_tensor **place = &f->state[rk_state_part_at(m, 0, PLACE)];
    const rk_medium_places places = {own(&m->hp, INTERVAL), own(&m->hp, RANDOM) != 0};
    rk_lm_stem(ctx, m, f, io);
    if (rk_ctx_failed(ctx))
        return;
    const rk_medium_rows rows = rk_medium_walk(ctx, *place, io->x->dims[1], places, place);
    rk_tensor *start = rk_for_each_row(ctx, p->start, io->x->dims[0]);
    io->x = rk_medium_insert(ctx, &rows, io->x, start, *pool, pool);
    io->given[WALK] = rows.walk;
    io->given[TOKENS] = f->in[0];
}

static rk_medium_rows rows_of(const rk_block_io *io, const rk_tensor *x)
{
    const int64_t n_tokens = io->given[TOKENS]->dims[1];
    return (rk_medium_rows){io->given[WALK], n_tokens, x->dims[1] - n_tokens};
}

static rk_tensor *time_mix(rk_ctx *ctx, const layer *p, const rk_squeeze *squeeze,
                           const rk_medium_rows *rows, rk_tensor *x, rk_tensor *residual,
                           rk_tensor **s)
{
    rk_medium_state att = {
        .tokens = {s[RK_RWKV4_ATT_SHIFT], s[RK_RWKV4_AA], s[RK_RWKV4_BB], s[RK_RWKV4_PP]},
        .average = s[AVERAGE],
        .sum = s[ATT_SUM]};
    x = rk_medium_time_mix_forward(ctx, &p->body.att, &p->att, squeeze, rows, x, residual, &att);
    s[RK_RWKV4_ATT_SHIFT] = att.tokens.shift;
    s[RK_RWKV4_AA] = att.tokens.aa;
    s[RK_RWKV4_BB] = att.tokens.bb;
    s[RK_RWKV4_PP] = att.tokens.pp;
    s[AVERAGE] = att.average;
    s[ATT_SUM] = att.sum;
    return x;
}

/* rk_lm_block, whose mixes share the gate of mediums. */
static void block(rk_ctx *ctx, const rk_model *m, int64_t l, double dropout, rk_block_io *io)
{
    const layer *p = rk_model_layer(m, l);
    const rk_lm_layer *norms = &p->body.norms;
    const uint64_t drop = 2 * (uint64_t)l;
    rk_tensor *x = io->x;
    if (rk_ctx_failed(ctx))
        return;
    const rk_medium_rows rows = rows_of(io, x);
    const rk_squeeze squeeze = rk_squeeze_rows(ctx, &p->squeeze, x->dims[0]);
    rk_tensor *ln = rk_norm(ctx, x, norms->ln1_w, norms->ln1_b, 1, m->hp.ln_eps);
    x = time_mix(ctx, p, &squeeze, &rows, ln, x, io->state);
    x = rk_dropout(ctx, x, dropout, drop + 1);
    ln = rk_norm(ctx, x, norms->ln2_w, norms->ln2_b, 1, m->hp.ln_eps);
    x = rk_medium_channel_mix_forward(ctx, &p->body.ffn, &p->ffn, &squeeze, &rows, ln, x,
                                      &io->state[RK_RWKV4_FFN_SHIFT], &io->state[FFN_SUM]);
    io->x = rk_dropout(ctx, x, dropout, drop + 2);
}

static void head(rk_ctx *ctx, const rk_model *m, rk_tensor *x, rk_forward *f)
{
    const int64_t n_tokens = f->in[0]->dims[1];
    if (!rk_ctx_failed(ctx) && x->dims[1] > n_tokens)
        x = rk_copy(ctx, rk_slice(ctx, x, 1, 0, n_tokens));
    rk_lm_head(ctx, m, x, f);
}

const rk_arch rk_arch_rrwkv = {
    .name = "rrwkv",
    .base = &rk_arch_rwkv4,
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = N_STATE,
    .layer_bytes = sizeof(layer),
    .has = has,
    .detect = detect,
    .adopts = &rk_arch_rwkv4,
    .adopt = adopt,
    .sizes = {&rk_sizes_first, &rk_rwkv4_sizes, &rk_sizes_pairs, &rk_sizes_clusters,
              &rk_sizes_records, &rk_sizes_last, &own_sizes},
    .settle = settle,
    RK_LM_FACE,
    .stem = stem,
    .block = block,
    .head = head,
};
