/* method.c: the table of methods. */
#include "tune/method.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "model/adaptable.h"

/* Rates are those of small models; what is trained from zeros takes more. */
const rk_tune_method rk_tune_methods[] = {
    {"miss", true, NULL, RK_PART_MISS, RK_START_PLAIN, 0, false, 1e-3, 0.1,
     "sums of inputs times a small matrix (MiSS, Bone, DiSHA)"},
    {"bone", true, NULL, RK_PART_MISS, RK_START_PLAIN, 0, false, 1e-3, 0.1,
     "miss, its files under Bone's names"},
    {"bat", true, NULL, RK_PART_BAT_IN, RK_START_PLAIN, 0, false, 1e-3, 0.1,
     "blocks that depend on the matrix"},
    {"lora", true, NULL, RK_PART_LORA, RK_START_PLAIN, 2, false, 1e-3, 0.1, "a low-rank product"},
    {"lora+", true, NULL, RK_PART_LORA, RK_START_PLAIN, 2, false, 2e-4, 0.1,
     "lora with a higher rate of B"},
    {"rslora", true, NULL, RK_PART_LORA, RK_START_PLAIN, 2, true, 5e-4, 0.1,
     "lora scaled by alpha over the root of the rank"},
    {"pissa", true, NULL, RK_PART_LORA, RK_START_PISSA, 1, false, 1e-3, 0.1,
     "lora from the largest singular values"},
    {"olora", true, NULL, RK_PART_LORA, RK_START_OLORA, 1, false, 1e-3, 0.1,
     "lora from a QR decomposition"},
    {"lora-ga", true, NULL, RK_PART_LORA, RK_START_LORA_GA, 1, false, 1e-3, 0.1,
     "lora from a gradient's singular vectors"},
    {"dora", true, NULL, RK_PART_DORA, RK_START_PLAIN, 2, false, 1e-3, 0.1,
     "lora and the magnitude of every output"},
    {"state", false, "state", RK_PART_FORMS, RK_START_PLAIN, 0, false, 1.0, 0.01,
     "the state that texts begin with"},
    {"state-kernel", false, "state-kernel", RK_PART_FORMS, RK_START_PLAIN, 0, false, 0.1, 0.01,
     "a larger state over features of keys, beside the model's (rwkv7)"},
    {"state-dbp", false, "state-kernel,state-basis", RK_PART_FORMS, RK_START_PLAIN, 0, false, 0.1,
     0.01, "the same in a basis in which features are not correlated"},
};
const int rk_n_tune_methods = RK_COUNT(rk_tune_methods);

rk_tune_options rk_tune_defaults(void)
{
    return (rk_tune_options){.rank = 16,
                             .mini_width = 1,
                             .niter = RK_START_NITER,
                             .ga_batches = 8,
                             .lora_plus = 16.0,
                             .state = rk_state_tuning_defaults()};
}

/* ---- choosing ---- */

static const rk_tune_method *method_named(const char *word, size_t n)
{
    for (int i = 0; i < rk_n_tune_methods; i++)
        if (strlen(rk_tune_methods[i].name) == n && !strncmp(rk_tune_methods[i].name, word, n))
            return &rk_tune_methods[i];
    return NULL;
}

static rk_status refuse_method(const char *word, size_t n, rk_error *err)
{
    rk_buf all = {0};
    for (int i = 0; i < rk_n_tune_methods; i++)
        rk_buf_printf(&all, "%s%s", i ? ", " : "", rk_tune_methods[i].name);
    const rk_status st = rk_fail(err, RK_ERR_ARG, "no method '%.*s', expected one of %s", (int)n,
                                 word, all.failed ? "the table" : all.data);
    rk_buf_deinit(&all);
    return st;
}

/* A state of low rank is no matrix whose gradient could be changed or whose squares are at hand. */
static rk_status check_rank(const rk_tune_options *o, const rk_tune_method *state, rk_error *err)
{
    if (o->state.rank == 0)
        return RK_OK;
    if (!state || strcmp(state->states, "state") != 0)
        return rk_fail(err, RK_ERR_ARG, "--state-rank goes with the method state");
    if (o->state.decay > 0.0 || o->state.precondition)
        return rk_fail(err, RK_ERR_ARG,
                       "--state-decay and --precondition go with whole states, not with "
                       "--state-rank");
    return RK_OK;
}

rk_status rk_tune_choose(const rk_tune_options *o, const rk_tune_method **adapter,
                         const rk_tune_method **state, rk_error *err)
{
    *adapter = *state = NULL;
    for (const char *at = o->method; *at; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",");
        const rk_tune_method *m = method_named(at, n);
        if (!m)
            return refuse_method(at, n, err);
        const rk_tune_method **kind = m->adapter ? adapter : state;
        if (*kind)
            return rk_fail(err, RK_ERR_ARG,
                           "method %s beside %s, expected one of an adapter and one "
                           "of states at most",
                           m->name, (*kind)->name);
        *kind = m;
        at += n;
    }
    if (!*adapter && !*state)
        return rk_fail(err, RK_ERR_ARG, "--method names none");
    return check_rank(o, *state, err);
}

/* What is a product of two begins small and is learned at a lower rate. */
static const char pair_group[] = "state-pair";
static const double pair_rate = 0.3;

const char *rk_tune_states(const rk_tune_options *o, const rk_tune_method *state)
{
    return o->state.rank > 0 ? pair_group : state->states;
}

double rk_tune_rate(const rk_tune_options *o, const rk_tune_method *method)
{
    return !method->adapter && o->state.rank > 0 ? pair_rate : method->lr;
}

static const rk_tune_method *adapter_of(const rk_tune_options *o)
{
    const rk_tune_method *adapter = NULL, *state;
    return rk_tune_choose(o, &adapter, &state, NULL) == RK_OK ? adapter : NULL;
}

/* Does it compute with the matrix that it stands beside, or begin with it? */
static bool asks_for_matrix(const rk_tune_method *t)
{
    return rk_forms[t->form].matrix || rk_starts[t->start].weight || rk_starts[t->start].gradient;
}

/* ---- targets ---- */

/* "blocks.0.att.key" of "blocks.0.att.key.weight". */
static size_t module_length(const char *name)
{
    const size_t n = strlen(name), suffix = strlen(".weight");
    return n > suffix && !strcmp(name + n - suffix, ".weight") ? n - suffix : n;
}

static bool is_meant(const char *word, size_t n, const char *name)
{
    char pattern[RK_PARAM_NAME_MAX];
    const size_t module = module_length(name);
    snprintf(pattern, sizeof pattern, "%.*s", (int)n, word);
    if (strpbrk(pattern, "*?[")) {
        char cut[RK_PARAM_NAME_MAX];
        snprintf(cut, sizeof cut, "%.*s", (int)module, name);
        return !fnmatch(pattern, name, 0) || !fnmatch(pattern, cut, 0);
    }
    return module >= n && !strncmp(name + module - n, word, n) &&
           (module == n || name[module - n - 1] == '.');
}

bool rk_tune_is_target(const char *words, const char *name)
{
    for (const char *at = words; *at; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",");
        if (is_meant(at, n, name))
            return true;
        at += n;
    }
    return false;
}

/* A head that is the table of embeddings, too, is none: what is merged into it would change both. */
static bool target_at(const rk_model *m, int64_t i, rk_adaptable *out)
{
    return !rk_param_is_table(&m->params[i]) && rk_adaptable_at(m, i, out);
}

/* Where nothing is said, all that the method can stand beside. */
static bool is_target(const rk_tune_options *o, const rk_tune_method *t, const rk_adaptable *a)
{
    if (o->targets)
        return rk_tune_is_target(o->targets, a->name);
    return rk_roles[a->spec->role].hidden && !(a->pair && asks_for_matrix(t));
}

/* Every word means a matrix. */
static rk_status check_words(const rk_model *m, const char *option, const char *words,
                             rk_error *err)
{
    for (const char *at = words ? words : ""; *at; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",="), all = strcspn(at, ",");
        bool found = false;
        rk_adaptable a;
        for (int64_t i = 0; i < m->n_params && !found; i++)
            found = target_at(m, i, &a) && is_meant(at, n, a.name);
        if (!found)
            return rk_fail(err, RK_ERR_ARG, "%s: '%.*s' means no matrix of this %s model", option,
                           (int)n, at, m->arch->name);
        at += all;
    }
    return RK_OK;
}

/* The rank for a matrix: the last pattern that means it counts. */
static rk_status rank_of(const rk_tune_options *o, const char *name, int64_t *rank, rk_error *err)
{
    *rank = o->rank;
    for (const char *at = o->rank_pattern ? o->rank_pattern : ""; *at; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",="), all = strcspn(at, ",");
        char *end;
        const long long r = at[n] == '=' ? strtoll(at + n + 1, &end, 10) : 0;
        if (r < 1 || end != at + all)
            return rk_fail(err, RK_ERR_ARG, "rank pattern '%.*s', expected PATTERN=RANK", (int)all,
                           at);
        if (is_meant(at, n, name))
            *rank = r;
        at += all;
    }
    return RK_OK;
}

/* ---- making ---- */

static double scale_of(const rk_tune_method *t, const rk_tune_options *o, int64_t rank)
{
    const double alpha = o->alpha > 0.0 ? o->alpha : t->alpha * (double)o->rank;
    if (t->form != RK_PART_LORA && t->form != RK_PART_DORA)
        return 1.0;
    return alpha / (t->rslora ? sqrt((double)rank) : (double)rank);
}

static rk_adapter_form form_of(const rk_tune_method *t, const rk_tune_options *o)
{
    return t->form == RK_PART_BAT_IN && o->bat_blocks == RK_BAT_OUT ? RK_PART_BAT_OUT : t->form;
}

static rk_status add_part(rk_adapter_set *s, const rk_adaptable *a, const rk_tune_method *t,
                          const rk_tune_options *o, rk_error *err)
{
    rk_adapter_part part = {.form = form_of(t, o), .in = a->in, .out = a->out}, *made;
    if (a->pair && asks_for_matrix(t))
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "method %s asks for the matrix '%s', which is a low-rank pair in this "
                       "model; lora, lora+, rslora, miss and bone can stand beside pairs",
                       t->name, a->name);
    snprintf(part.name, sizeof part.name, "%s", a->name);
    rk_status st = rank_of(o, a->name, &part.rank, err);
    part.width = o->miss_init == RK_MISS_MINI ? o->mini_width : part.out;
    part.scale = scale_of(t, o, part.rank);
    if (st == RK_OK)
        st = rk_adapter_set_add(s, &part, &made, err);
    return st == RK_OK && rk_starts[t->start].residual ? rk_part_make_start(made, err) : st;
}

static rk_status make_parts(rk_adapter_set *s, const rk_model *m, const rk_tune_options *o,
                            rk_error *err)
{
    const rk_tune_method *t = adapter_of(o);
    rk_status st = check_words(m, "targets", o->targets, err);
    if (st == RK_OK)
        st = check_words(m, "rank pattern", o->rank_pattern, err);
    rk_adaptable a;
    for (int64_t i = 0; t && i < m->n_params && st == RK_OK; i++)
        if (target_at(m, i, &a) && is_target(o, t, &a))
            st = add_part(s, &a, t, o, err);
    return st;
}

rk_status rk_tune_make(rk_adapter_set **out, const rk_model *m, const rk_tune_options *o,
                       rk_error *err)
{
    const rk_tune_method *adapter, *state;
    rk_adapter_set *s = NULL;
    rk_status st = rk_tune_choose(o, &adapter, &state, err);
    if (st == RK_OK)
        st = rk_adapter_set_new(&s, err);
    if (st == RK_OK && adapter) {
        snprintf(s->method, sizeof s->method, "%s", adapter->name);
        s->alpha = o->alpha > 0.0 ? o->alpha : adapter->alpha * (double)o->rank;
        s->rslora = adapter->rslora;
    }
    if (st == RK_OK) {
        s->fingerprint = m->base_fingerprint;
        snprintf(s->arch, sizeof s->arch, "%s", m->arch->name);
        st = make_parts(s, m, o, err);
    }
    if (st == RK_OK)
        *out = s;
    else
        rk_adapter_set_free(s);
    return st;
}

/* ---- starts ---- */

static rk_start_kind start_of(const rk_tune_method *t, const rk_tune_options *o)
{
    return t->form == RK_PART_MISS && o->miss_init == RK_MISS_RANDOM ? RK_START_RANDOM : t->start;
}

rk_start_facts rk_tune_needs(const rk_tune_options *o)
{
    const rk_tune_method *t = adapter_of(o);
    rk_start_facts f = {0};
    if (!t)
        return f;
    f = rk_starts[start_of(t, o)];
    f.weight = f.weight || t->form == RK_PART_DORA;
    return f;
}

rk_status rk_tune_start(rk_adapter_set *s, int64_t i, const rk_tune_options *o,
                        const rk_tune_values *v, rk_error *err)
{
    const rk_start how = {.kind = start_of(adapter_of(o), o),
                          .exact = o->niter == 0,
                          .niter = (int)o->niter,
                          .direction = (rk_ga_direction)o->ga_direction,
                          .ga_peft = o->ga_peft,
                          .gamma = RK_GA_GAMMA,
                          .seed = v->seed,
                          .index = i,
                          .weight = v->weight,
                          .gradient = v->gradient,
                          .kernels = v->kernels,
                          .pool = v->pool};
    return rk_part_start(&s->parts[i], &how, err);
}

/* ---- what is trained ---- */

rk_status rk_tune_trained(const rk_tune_options *o, char *words, size_t size, rk_error *err)
{
    const rk_tune_method *adapter, *state;
    size_t n = 0;
    const rk_status st = rk_tune_choose(o, &adapter, &state, err);
    if (st != RK_OK)
        return st;
    n += (size_t)snprintf(words + n, size - n, "%s%s%s%s%s", adapter ? "adapter" : "",
                          adapter && state ? "," : "", state ? rk_tune_states(o, state) : "",
                          state && o->state.base_state ? ",state" : "",
                          state && o->state.shift ? ",state-shift" : "");
    for (const char *at = o->train_parts ? o->train_parts : ""; *at && n < size;
         at += strspn(at, ",")) {
        const size_t len = strcspn(at, ",");
        n += (size_t)snprintf(words + n, size - n, ",*%.*s*", (int)len, at);
        at += len;
    }
    return n < size ? RK_OK : rk_fail(err, RK_ERR_ARG, "train parts of more than %zu bytes", size);
}
