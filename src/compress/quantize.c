/* quantize.c: recipes, and the plan for saving that follows from one. */
#include "compress/quantize.h"

#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"

/* The kinds of matrices that recipes tell apart. */
typedef enum kind {
    KIND_EMB,
    KIND_HEAD,
    KIND_ATT_READ,  /* receptance, gate */
    KIND_ATT_WRITE, /* key, value */
    KIND_ATT_OUT,
    KIND_FFN_KEY, /* and the channel mix's receptance */
    KIND_FFN_VALUE,
    KIND_LOW_RANK,
    KIND_OTHER, /* vectors and what is no factor of a product */
    KIND_COUNT
} kind;

static const struct {
    const char *ending;
    kind kind;
} endings[] = {
    {"emb.weight", KIND_EMB},
    {"head.weight", KIND_HEAD},
    {".att.receptance.weight", KIND_ATT_READ},
    {".att.gate.weight", KIND_ATT_READ},
    {".att.key.weight", KIND_ATT_WRITE},
    {".att.value.weight", KIND_ATT_WRITE},
    {".att.output.weight", KIND_ATT_OUT},
    {".ffn.key.weight", KIND_FFN_KEY},
    {".ffn.receptance.weight", KIND_FFN_KEY},
    {".ffn.value.weight", KIND_FFN_VALUE},
};

static bool ends_with(const char *name, const char *end)
{
    const size_t n = strlen(name), e = strlen(end);
    return n >= e && !strcmp(name + n - e, end);
}

static kind kind_of(const rk_param *p)
{
    if (p->tensor.n_dims != 2 || rk_tensor_rows(&p->tensor) == 1 || !strcmp(p->spec->shape, "HN"))
        return KIND_OTHER;
    for (size_t i = 0; i < RK_COUNT(endings); i++)
        if (ends_with(p->name, endings[i].ending))
            return endings[i].kind;
    return ends_with(p->name, ".weight") ? KIND_OTHER : KIND_LOW_RANK;
}

/* RK_DTYPE_COUNT: as it is. */
#define OWN RK_DTYPE_COUNT

struct rk_recipe {
    const char *name;
    rk_dtype types[KIND_COUNT];
    bool calibrated;
};

/* One type for all large matrices. */
#define PLAIN(name, t)                                                                             \
    {                                                                                              \
        name, {t, t, t, t, t, t, t, OWN, OWN}, false                                               \
    }

static const rk_recipe recipes[] = {
    PLAIN("q8_0", RK_Q8_0),
    PLAIN("q6_k", RK_Q6_K),
    PLAIN("q5_k", RK_Q5_K),
    PLAIN("q4_k", RK_Q4_K),
    PLAIN("q5_1", RK_Q5_1),
    PLAIN("q5_0", RK_Q5_0),
    PLAIN("q4_1", RK_Q4_1),
    PLAIN("q4_0", RK_Q4_0),
    PLAIN("bf16", RK_BF16),
    PLAIN("f16", RK_F16),
    {"rk4", {RK_Q4_K, RK_Q6_K, RK_Q4_K, RK_Q4_K, RK_Q4_K, RK_Q4_K, RK_Q4_K, RK_Q8_0, OWN}, true},
    {"rk5", {RK_Q5_K, RK_Q6_K, RK_Q5_K, RK_Q5_K, RK_Q5_K, RK_Q5_K, RK_Q5_K, RK_Q8_0, OWN}, true},
    {"rk8", {RK_Q6_K, RK_Q8_0, RK_Q8_0, RK_Q8_0, RK_Q8_0, RK_Q8_0, RK_Q8_0, RK_Q8_0, OWN}, true},
};

const char rk_recipe_names[] = "q8_0|q6_k|q5_k|q4_k|q5_1|q5_0|q4_1|q4_0|bf16|f16|rk4|rk5|rk8";

const rk_recipe *rk_recipe_find(const char *name)
{
    for (size_t i = 0; i < RK_COUNT(recipes); i++)
        if (!strcmp(recipes[i].name, name))
            return &recipes[i];
    return NULL;
}

bool rk_recipe_wants_calibration(const rk_recipe *r)
{
    return r->calibrated;
}

/* ---- types ---- */

/* What stands in for a type whose blocks do not divide a row. */
static const struct {
    rk_dtype wanted, next;
} next_types[] = {{RK_Q4_K, RK_Q5_0}, {RK_Q5_K, RK_Q5_1}, {RK_Q6_K, RK_Q8_0}, {RK_Q4_0, RK_F16},
                  {RK_Q4_1, RK_F16},  {RK_Q5_0, RK_F16},  {RK_Q5_1, RK_F16},  {RK_Q8_0, RK_F16}};

static rk_dtype fitting_type(rk_dtype t, int64_t cols)
{
    for (size_t i = 0; i < RK_COUNT(next_types); i++)
        if (next_types[i].wanted == t && cols % rk_dtype_block(t) != 0)
            t = next_types[i].next;
    return t;
}

/* Inputs of a product, which lie side by side in a file that holds blocks: those of low-rank
 * matrices, (inputs, outputs) here, are their first dimension in llama.cpp's files, and the other
 * way round in the rest. 0: blocks would run along the outputs. */
static int64_t inputs_of(const rk_model *m, const rk_param *p, kind k)
{
    const bool exchanged = !strcmp(m->arch->name, "rwkv6") || !strcmp(m->arch->name, "rwkv7");
    return k != KIND_LOW_RANK ? p->tensor.dims[1] : exchanged ? p->tensor.dims[0] : 0;
}

rk_dtype rk_recipe_type(const rk_recipe *r, const rk_model *m, const rk_param *p, rk_dtype own)
{
    const kind k = kind_of(p);
    const rk_dtype wanted = r->types[k];
    const int64_t inputs = inputs_of(m, p, k);
    if (wanted == OWN || (rk_dtype_is_blocks(wanted) && inputs == 0))
        return own;
    const rk_dtype t = fitting_type(wanted, inputs);
    const bool smaller = rk_dtype_bytes(t) * (size_t)rk_dtype_block(own) <
                         rk_dtype_bytes(own) * (size_t)rk_dtype_block(t);
    return smaller ? t : own;
}

typedef struct plan {
    const rk_recipe *recipe;
    const rk_calibration *calibration;
} plan;

static rk_dtype plan_type(void *user, const rk_model *m, const rk_param *p, rk_dtype own)
{
    const plan *x = user;
    return rk_recipe_type(x->recipe, m, p, own);
}

static const float *plan_importance(void *user, const rk_param *p)
{
    const plan *x = user;
    return rk_calibration_of(x->calibration, p);
}

rk_status rk_quantize(const rk_model *m, const char *path, const rk_quantize_options *o,
                      rk_error *err)
{
    plan p = {o->recipe, o->calibration};
    const rk_save_plan save_plan = {plan_type, plan_importance, &p};
    return rk_model_save(m, path,
                         &(rk_save_options){.plan = &save_plan,
                                            .pool = o->pool,
                                            .tokenizer = o->tokenizer,
                                            .overwrite = o->overwrite},
                         err);
}
