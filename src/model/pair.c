/* pair.c: the rows of low-rank pairs. */
#include "model/pair.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/num.h"
#include "model/init.h"

/* Three rows: name of the matrix without its ending, letter of the rank, gain. Orthogonal matrices with
 * the authors' gains, and d = 1, with which their models began. */
#define PART(f) RK_SCOPE_LAYER, offsetof(rk_low_rank, f)
#define ROWS(name, letter, gain)                                                                   \
    {                                                                                              \
        {                                                                                          \
            name "1.weight",                                                                       \
            letter "C",                                                                            \
            RK_ROLE_FACTOR,                                                                        \
            PART(down),                                                                            \
            rk_init_orthogonal_tall,                                                               \
            gain,                                                                                  \
            1},                                                                                    \
            {name "2.weight",                                                                      \
             "C" letter,                                                                           \
             RK_ROLE_FACTOR,                                                                       \
             PART(up),                                                                             \
             rk_init_orthogonal_tall,                                                              \
             gain,                                                                                 \
             1},                                                                                   \
        {                                                                                          \
            name "_diag", "C", RK_ROLE_VECTOR, PART(diagonal), rk_init_constant, 1, 1              \
        }                                                                                          \
    }

static const rk_param_spec parts[RK_PAIR_KINDS][RK_PAIR_PARTS] = {
    ROWS("blocks.%d.att.receptance", "r", 1.414), ROWS("blocks.%d.att.key", "k", 0.32),
    ROWS("blocks.%d.att.value", "x", 1.414),      ROWS("blocks.%d.att.gate", "y", 0.32),
    ROWS("blocks.%d.ffn.receptance", "z", 1),
};

static const char *const names[RK_PAIR_KINDS] = {"receptance", "key", "value", "gate",
                                                 "ffn_receptance"};

/* ---- sizes ---- */

static double low_rank_of(const rk_hparams *hp, double arg)
{
    (void)arg;
    return (double)hp->low_rank;
}

#define RANK(name, i, letter, tensor)                                                              \
    {                                                                                              \
        name, RK_SIZE(pair_rank[i]), letter, {0, RK_RANK_MAX}, {low_rank_of, 0},                   \
            {RK_FROM_OPTIONAL, "blocks.0." tensor "1.weight", 2, 0}, RK_NO_OPTION                  \
    }

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec sizes[] = {
    {"low_rank", RK_SIZE(low_rank), 0, {0, RK_RANK_MAX}, {rk_size_constant, 0},
     {RK_FROM_OTHERS, NULL, 0, 0},
     {"low-rank", "0", "rank of pairs of matrices in the place of square ones; 0: there are none"}},
    RANK("rank_receptance", 0, 'r', "att.receptance"),
    RANK("rank_key", 1, 'k', "att.key"),
    RANK("rank_value", 2, 'x', "att.value"),
    RANK("rank_gate", 3, 'y', "att.gate"),
    RANK("rank_ffn_receptance", 4, 'z', "ffn.receptance"),
    {"low_rank_form", {offsetof(rk_hparams, pair_form), false, "plain|enhanced", false}, 0, {0, 1},
     {rk_size_constant, 0}, {RK_FROM_PRESENCE, "blocks.0.att.receptance_diag", 0, 0},
     {"low-rank-form", "plain", "enhanced: a square of positives between the two, and a diagonal"}},
};
/* clang-format on */
const rk_size_table rk_sizes_pairs = {sizes, RK_COUNT(sizes)};

bool rk_pair_has_size(const char *name)
{
    for (size_t i = 0; i < RK_COUNT(sizes); i++)
        if (!strcmp(sizes[i].name, name))
            return true;
    return false;
}

rk_status rk_pair_settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    hp->low_rank = 0;
    for (int k = 0; k < RK_PAIR_KINDS; k++) {
        hp->pair_rank[k] = rk_pair_has(arch, k) ? hp->pair_rank[k] : 0;
        hp->low_rank = rk_max_i64(hp->low_rank, hp->pair_rank[k]);
    }
    if (hp->low_rank <= hp->n_embd)
        return RK_OK;
    if (file)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: a low-rank pair has rank %" PRId64 ", expected n_embd %" PRId64
                       " at most",
                       rk_file_name(file), hp->low_rank, hp->n_embd);
    return rk_fail(err, RK_ERR_ARG, "low_rank is %" PRId64 ", expected n_embd %" PRId64 " at most",
                   hp->low_rank, hp->n_embd);
}

/* ---- rows ---- */

int rk_pair_kind(const rk_param_spec *spec)
{
    for (int k = 0; k < RK_PAIR_KINDS; k++) {
        const char *name = parts[k][RK_PAIR_DIAGONAL].name;
        const size_t n = strlen(name) - strlen("_diag");
        if (!strncmp(spec->name, name, n) && !strcmp(spec->name + n, ".weight") &&
            !strcmp(spec->shape, "CC"))
            return k;
    }
    return -1;
}

const char *rk_pair_name(int kind)
{
    return names[kind];
}

const rk_param_spec *rk_pair_spec(int kind, rk_pair_part part)
{
    return &parts[kind][part];
}

bool rk_pair_is_part(const rk_param_spec *spec, int *kind)
{
    for (int k = 0; k < RK_PAIR_KINDS; k++)
        if (spec >= parts[k] && spec < parts[k] + RK_PAIR_PARTS) {
            *kind = k;
            return true;
        }
    return false;
}

const rk_param_spec *rk_pair_matrix(const rk_arch *arch, int kind)
{
    for (; arch; arch = arch->base)
        for (int i = 0; i < arch->n_params; i++)
            if (rk_pair_kind(&arch->params[i]) == kind)
                return &arch->params[i];
    return NULL;
}

bool rk_pair_has(const rk_arch *arch, int kind)
{
    return rk_size_find(arch, "low_rank") && rk_pair_matrix(arch, kind);
}

rk_low_rank rk_pair_new(const rk_hparams *hp)
{
    const bool enhanced = hp->pair_form == RK_PAIR_ENHANCED;
    return (rk_low_rank){
        .layout = RK_OUT_IN, .between = enhanced ? RK_RELU2 : RK_UNARY_NONE, .scale = 1};
}
