/* quantize.c: recipes, and the plan for saving that follows from one. */
#include "compress/quantize.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"
#include "format/scheme.h"
#include "kernels/blocks.h"

/* Benefit of each role of large matrix: the decrease of the divergence from the unquantised model
 * when all of a role go from Q4_K to Q6_K, measured on the bundled model (docs/quantization.md).
 * The loss of quality by one of them is its share of that, in proportion to the square of the
 * rounding error. */
static const double benefits[RK_ROLE_COUNT] = {
    [RK_ROLE_EMB] = 1.26,        [RK_ROLE_HEAD] = 0.59,    [RK_ROLE_ATT_READ] = 0.16,
    [RK_ROLE_ATT_WRITE] = 0.615, [RK_ROLE_ATT_OUT] = 0.31, [RK_ROLE_FFN_IN] = 1.02,
    [RK_ROLE_FFN_OUT] = 0.40,    [RK_ROLE_TIED] = 1.85, /* the sum of both */
    [RK_ROLE_FFN_DOWN] = 0.40,
};

/* What a bit more helps in a factor of a pair was not measured: recipes spend nothing on it. */
static bool is_large(const rk_param *p)
{
    return benefits[p->role] > 0 || p->role == RK_ROLE_FACTOR;
}

struct rk_recipe {
    const char *name;
    rk_dtype base; /* of all large matrices */
    /* Low-rank matrices are quantised to 8 bits, at no measurable loss, and the bytes saved are
     * spent on the matrices where a bit helps most. */
    bool spends;
};

static const rk_recipe recipes[] = {
    {"q8_0", RK_Q8_0, false}, {"q6_k", RK_Q6_K, false}, {"q5_k", RK_Q5_K, false},
    {"q4_k", RK_Q4_K, false}, {"q5_1", RK_Q5_1, false}, {"q5_0", RK_Q5_0, false},
    {"q4_1", RK_Q4_1, false}, {"q4_0", RK_Q4_0, false}, {"bf16", RK_BF16, false},
    {"f16", RK_F16, false},   {"rk8", RK_Q8_0, true},   {"rk5", RK_Q5_K, true},
    {"rk4", RK_Q4_K, true},
};

const char rk_recipe_names[] = "q8_0|q6_k|q5_k|q4_k|q5_1|q5_0|q4_1|q4_0|bf16|f16|rk8|rk5|rk4";

const rk_recipe *rk_recipe_find(const char *name)
{
    for (size_t i = 0; i < RK_COUNT(recipes); i++)
        if (!strcasecmp(recipes[i].name, name))
            return &recipes[i];
    return NULL;
}

/* ---- types ---- */

/* The type that replaces one whose blocks do not divide a row. */
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

/* Inputs of the product, along which blocks run: they must be contiguous in a file of quantised
 * weights. Low-rank matrices, (inputs, outputs) here, have them as first dimension in llama.cpp's
 * files, all others as last. 0: blocks would run along the outputs. */
static int64_t inputs_of(const rk_model *m, const rk_param *p)
{
    const bool exchanged = rk_scheme_gguf_of(m) != NULL;
    return p->role != RK_ROLE_LOW_RANK ? p->tensor.dims[1] : exchanged ? p->tensor.dims[0] : 0;
}

static size_t bytes_in(const rk_param *p, rk_dtype t)
{
    return (size_t)(rk_tensor_count(&p->tensor) / rk_dtype_block(t)) * rk_dtype_bytes(t);
}

static rk_dtype type_in_file(const rk_model *m, const rk_param *p)
{
    const rk_file_tensor *t = m->file ? rk_file_find(m->file, p->name) : NULL;
    return t ? t->dtype : p->tensor.dtype;
}

/* The wanted type or the one that fits in its place; the type that the matrix has where that is no
 * larger. */
static rk_dtype narrowed(const rk_model *m, const rk_param *p, rk_dtype wanted)
{
    const rk_dtype own = type_in_file(m, p);
    if (!is_large(p) && p->role != RK_ROLE_LOW_RANK)
        return own;
    const int64_t inputs = inputs_of(m, p);
    if (rk_dtype_is_blocks(wanted) && inputs == 0)
        return own;
    const rk_dtype t = fitting_type(wanted, inputs);
    return bytes_in(p, t) < bytes_in(p, own) ? t : own;
}

/* ---- spending ---- */

/* Types in steps, with the mean square of the error relative to Q4_K's. */
static const struct {
    rk_dtype from, to;
    double error_from, error_to;
} steps[] = {
    {RK_Q4_K, RK_Q5_K, 1, 0.24},      {RK_Q5_K, RK_Q6_K, 0.24, 0.058},
    {RK_Q6_K, RK_Q8_0, 0.058, 0.006}, {RK_Q5_0, RK_Q5_1, 0.32, 0.26},
    {RK_Q5_1, RK_Q8_0, 0.26, 0.006},  {RK_Q8_0, RK_F16, 0.006, 0},
};

/* Number of matrices of a role in the model. */
static double count_of(const rk_model *m, rk_role role)
{
    double n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += m->params[i].role == role;
    return n;
}

/* The step up from a parameter's type t: returns its benefit per byte; *to is the next type, *bytes
 * what it adds. */
static double step_of(const rk_model *m, const rk_param *p, rk_dtype t, rk_dtype *to, size_t *bytes)
{
    for (size_t i = 0; i < RK_COUNT(steps) && is_large(p); i++) {
        if (steps[i].from != t)
            continue;
        const rk_dtype own = type_in_file(m, p);
        *to = steps[i].to == RK_F16 && rk_dtype_bytes(own) == 2 ? own : steps[i].to;
        *bytes = bytes_in(p, *to) - bytes_in(p, t);
        return bytes_in(p, *to) > bytes_in(p, own)
                   ? 0
                   : benefits[p->role] * (steps[i].error_from - steps[i].error_to) /
                         count_of(m, p->role) / (double)*bytes;
    }
    return 0;
}

/* Take the step of the best benefit that the budget (bytes) allows, until none is left. */
static void spend(const rk_model *m, rk_dtype *types, size_t budget)
{
    for (;;) {
        double best = 0;
        int64_t which = -1;
        rk_dtype to = RK_F32, best_to = RK_F32;
        size_t bytes = 0, best_bytes = 0;
        for (int64_t i = 0; i < m->n_params; i++) {
            const double benefit = step_of(m, &m->params[i], types[i], &to, &bytes);
            if (benefit > best && bytes <= budget) {
                best = benefit;
                best_to = to;
                best_bytes = bytes;
                which = i;
            }
        }
        if (which < 0)
            return;
        types[which] = best_to;
        budget -= best_bytes;
    }
}

void rk_recipe_types(const rk_recipe *r, const rk_model *m, rk_dtype *types)
{
    size_t saved = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        const bool low_rank = p->role == RK_ROLE_LOW_RANK;
        const rk_dtype own = type_in_file(m, p);
        types[i] = !low_rank ? narrowed(m, p, r->base) : r->spends ? narrowed(m, p, RK_Q8_0) : own;
        if (low_rank && r->spends) { /* their bytes in 16 bits, even where they have more */
            const size_t half = bytes_in(p, RK_F16), before = bytes_in(p, own);
            saved += (before < half ? before : half) - bytes_in(p, types[i]);
        }
    }
    if (r->spends)
        spend(m, types, saved);
}

/* Say that matrices have another type than the one that was asked for. */
static void tell_misfits(const rk_recipe *r, const rk_model *m, const rk_log *log)
{
    int64_t n = 0;
    rk_dtype instead = r->base;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (!p->used || !is_large(p) || inputs_of(m, p) % rk_dtype_block(r->base) == 0)
            continue;
        instead = fitting_type(r->base, inputs_of(m, p));
        n++;
    }
    if (log && n > 0)
        rk_log_line(log, RK_LOG_WARN,
                    "%lld matrices have rows that are no multiple of %lld: %s in place of %s",
                    (long long)n, (long long)rk_dtype_block(r->base), rk_dtype_name(instead),
                    rk_dtype_name(r->base));
}

/* Say that matrices are quantised already: that rounding cannot be taken back. */
static void tell_requantised(const rk_model *m, const rk_log *log)
{
    int64_t n = 0;
    rk_dtype from = RK_F32;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_dtype own = type_in_file(m, &m->params[i]);
        if (!m->params[i].used || !rk_dtype_is_blocks(own))
            continue;
        from = own;
        n++;
    }
    if (log && n > 0)
        rk_log_line(log, RK_LOG_WARN,
                    "%lld matrices are quantised already (%s), and what was rounded stays so: "
                    "quantise the original model instead",
                    (long long)n, rk_dtype_name(from));
}

typedef struct plan {
    const rk_model *model;
    rk_dtype *types; /* (parameters) */
    const rk_calibration *calibration;
} plan;

static rk_dtype plan_type(void *user, const rk_param *p, rk_dtype own)
{
    const plan *x = user;
    return p->used ? x->types[p - x->model->params] : own;
}

static const float *plan_importance(void *user, const rk_param *p)
{
    const plan *x = user;
    return rk_calibration_of(x->calibration, p);
}

rk_status rk_quantize(const rk_model *m, const char *path, const rk_quantize_options *o,
                      rk_error *err)
{
    plan p = {m, calloc((size_t)m->n_params, sizeof *p.types), o->calibration};
    if (!p.types)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a recipe");
    rk_recipe_types(o->recipe, m, p.types);
    tell_misfits(o->recipe, m, o->log);
    tell_requantised(m, o->log);
    const rk_save_plan save_plan = {.type = plan_type, .importance = plan_importance, .user = &p};
    const rk_status st = rk_model_save(m, path,
                                       &(rk_save_options){.plan = &save_plan,
                                                          .pool = o->pool,
                                                          .tokenizer = o->tokenizer,
                                                          .container = o->container,
                                                          .overwrite = o->overwrite,
                                                          .progress = o->progress,
                                                          .progress_user = o->progress_user,
                                                          .abort = o->abort,
                                                          .abort_user = o->abort_user},
                                       err);
    free(p.types);
    return st;
}
