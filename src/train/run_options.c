/* run_options.c: a table of what a run depends on. --steps, -t, --out, --save-every and
 * --eval-every are missing on purpose: they may differ when a run is continued. So are other models (a teacher, a
 * reference, a judge): their weights are in the checksum of the data. */
#include "train/run_options.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "io/checksum.h"
#include "model/model.h"
#include "train/synthetic/synthetic.h"
#include "train/task.h"

typedef enum value_kind {
    INTEGER,
    REAL,
    BOOLEAN,
    DTYPE,
    SEED,
    STRING,
    WORDS,
    CHOICE, /* its number among those of the command's option */
    ORDER,
    PACKING,
    BOUNDARY
} value_kind;

#define MODEL(name, kind, member)                                                                  \
    {                                                                                              \
        name, kind, offsetof(rk_run_params, model.member)                                          \
    }

#define TUNE(name, kind, member)                                                                   \
    {                                                                                              \
        name, kind, offsetof(rk_run_params, tune.member)                                           \
    }

static const struct {
    const char *name;
    value_kind kind;
    size_t offset;
} rows[] = {
    MODEL("arch", STRING, arch),
    {"task", STRING, offsetof(rk_run_params, task)},
    {"tokenizer", STRING, offsetof(rk_run_params, tokenizer)},
    MODEL("ctx-len", INTEGER, ctx_len),
    MODEL("batch", INTEGER, batch),
    MODEL("micro-batch", INTEGER, micro_batch),
    MODEL("grad-slices", INTEGER, grad_slices),
    MODEL("recompute", BOOLEAN, checkpoint_blocks),
    MODEL("dtype", DTYPE, bf16),
    MODEL("seed", SEED, seed),
    {"val-frac", REAL, offsetof(rk_run_params, val_frac)},
    MODEL("lr", REAL, lr),
    MODEL("lr-final", REAL, lr_final),
    MODEL("warmup", INTEGER, warmup),
    MODEL("rewarm", INTEGER, rewarm),
    MODEL("weight-decay", REAL, weight_decay),
    MODEL("beta1", REAL, beta1),
    MODEL("beta2", REAL, beta2),
    MODEL("eps", REAL, eps),
    MODEL("clip", REAL, clip),
    MODEL("l2wrap", REAL, l2wrap),
    MODEL("dropout", REAL, dropout),
    MODEL("optimizer", STRING, optimizer),
    MODEL("momentum", REAL, momentum),
    MODEL("muon-lr", REAL, muon_lr),
    MODEL("muon-momentum", REAL, muon_momentum),
    MODEL("schedule", STRING, schedule),
    MODEL("decay-frac", REAL, decay_frac),
    MODEL("ema", REAL, ema),
    MODEL("train-only", WORDS, train_only),
    MODEL("freeze", WORDS, freeze),
    MODEL("lr-scale", WORDS, lr_scale),
    {"quant", STRING, offsetof(rk_run_params, quant)},
    {"quant-all", BOOLEAN, offsetof(rk_run_params, quant_all)},
    {"layers", WORDS, offsetof(rk_run_params, distill.layers)},
    {"kl-weight", REAL, offsetof(rk_run_params, distill.kl_weight)},
    {"ce-weight", REAL, offsetof(rk_run_params, distill.ce_weight)},
    {"adaptive-kl", BOOLEAN, offsetof(rk_run_params, distill.adaptive)},
    {"detach-v-first", BOOLEAN, offsetof(rk_run_params, distill.detached)},
    {"beta", REAL, offsetof(rk_run_params, distill.beta)},
    {"label-smoothing", REAL, offsetof(rk_run_params, distill.smoothing)},
    {"dpo-loss", CHOICE, offsetof(rk_run_params, distill.hinge)},
    TUNE("method", WORDS, method),
    TUNE("rank", INTEGER, rank),
    TUNE("alpha", REAL, alpha),
    TUNE("targets", WORDS, targets),
    TUNE("rank-pattern", WORDS, rank_pattern),
    TUNE("train-parts", WORDS, train_parts),
    TUNE("bat-blocks", CHOICE, bat_blocks),
    TUNE("miss-init", CHOICE, miss_init),
    TUNE("mini-width", INTEGER, mini_width),
    TUNE("adapter-dropout", REAL, dropout),
    TUNE("niter", INTEGER, niter),
    TUNE("ga-direction", CHOICE, ga_direction),
    TUNE("loraga-peft", BOOLEAN, ga_peft),
    TUNE("ga-batches", INTEGER, ga_batches),
    TUNE("lora-plus", REAL, lora_plus),
    TUNE("tune-shift", BOOLEAN, state.shift),
    TUNE("state-rank", INTEGER, state.rank),
    TUNE("state-decay", REAL, state.decay),
    TUNE("precondition", BOOLEAN, state.precondition),
    TUNE("state-prompt", WORDS, state.prompt),
    TUNE("kernel-form", CHOICE, state.form),
    TUNE("kernel-features", REAL, state.features),
    TUNE("base-state", BOOLEAN, state.base_state),
    TUNE("dbp-rate", REAL, state.basis_rate),
    TUNE("dbp-kappa", REAL, state.basis_kappa),
    TUNE("dbp-keep", BOOLEAN, state.keep_meaning),
    {"problems-of", WORDS, offsetof(rk_run_params, test_time.task)},
    {"chains", INTEGER, offsetof(rk_run_params, test_time.chains)},
    {"questions", INTEGER, offsetof(rk_run_params, test_time.problems)},
    {"max-tokens", INTEGER, offsetof(rk_run_params, test_time.max_tokens)},
    {"temp", REAL, offsetof(rk_run_params, test_time.temp)},
    {"kl", REAL, offsetof(rk_run_params, test_time.beta)},
    {"verifier", CHOICE, offsetof(rk_run_params, test_time.verifier)},
    {"data-weight", WORDS, offsetof(rk_run_params, data_weight)},
    {"order", ORDER, offsetof(rk_run_params, data.order)},
    {"packing", PACKING, offsetof(rk_run_params, data.packing)},
    {"doc-boundary", BOUNDARY, offsetof(rk_run_params, data.boundary)},
};
_Static_assert(RK_COUNT(rows) + RK_RUN_SIZES_MAX + RK_SYN_PARAMS_MAX < RK_RUN_OPTIONS_MAX,
               "and --data must fit");

static void put_value(char *text, value_kind kind, const void *at)
{
    switch (kind) {
    case INTEGER:
        snprintf(text, RK_RUN_VALUE_MAX, "%" PRId64, *(const int64_t *)at);
        break;
    case REAL:
        snprintf(text, RK_RUN_VALUE_MAX, "%.17g", *(const double *)at);
        break;
    case BOOLEAN:
        snprintf(text, RK_RUN_VALUE_MAX, "%s", *(const bool *)at ? "on" : "off");
        break;
    case DTYPE:
        snprintf(text, RK_RUN_VALUE_MAX, "%s", *(const bool *)at ? "bf16" : "f32");
        break;
    case SEED:
        snprintf(text, RK_RUN_VALUE_MAX, "%" PRIu64, *(const uint64_t *)at);
        break;
    case STRING:
    case WORDS: /* of any length: not copied */
        break;
    case CHOICE:
        snprintf(text, RK_RUN_VALUE_MAX, "%d", *(const int *)at);
        break;
    case ORDER:
        snprintf(text, RK_RUN_VALUE_MAX, "%s",
                 *(const int *)at == RK_ORDER_CUBIC ? "cubic" : "shuffle");
        break;
    case BOUNDARY: /* what else it may be shows in the tokens */
        snprintf(text, RK_RUN_VALUE_MAX, "%s",
                 *(const int *)at == RK_BOUNDARY_RESET ? "reset" : "token or none");
        break;
    case PACKING:
        snprintf(text, RK_RUN_VALUE_MAX, "%s",
                 *(const int *)at == RK_PACKING_NONE ? "none" : "wrapped");
        break;
    }
}

rk_run_params rk_run_defaults(void)
{
    rk_run_params p = {.model = rk_train_defaults(),
                       .task = "next-token",
                       .tokenizer = "byte",
                       .quant = "none",
                       .distill = {.kl_weight = 1.0, .beta = 0.1},
                       .tune = rk_tune_defaults(),
                       .test_time = {.chains = 8,
                                     .problems = 32,
                                     .max_tokens = 512,
                                     .temp = 0.8,
                                     .beta = 0.02,
                                     .verifier = 1},
                       .val_frac = 0.1,
                       .eval_every = 500,
                       .save_every = 1000};
    p.model.lr_final = p.model.lr / 10.0;
    return p;
}

static const char *text_at(const rk_run_params *p, size_t offset, const char *when_null)
{
    const char *text = *(const char *const *)((const char *)p + offset);
    return text ? text : when_null;
}

void rk_run_set_size(rk_run_params *p, const char *name, double value)
{
    int64_t i = 0;
    while (i < p->n_sizes && strcmp(p->sizes[i].name, name) != 0)
        i++;
    assert(i < RK_RUN_SIZES_MAX);
    p->sizes[i] = (rk_size){name, value};
    p->n_sizes = rk_max_i64(p->n_sizes, i + 1);
}

/* The size that was given, the default where that is a number, 0 where it follows from others. */
static void put_size(char *text, const rk_size_spec *s, const rk_run_params *p)
{
    double x = s->initial.rule == rk_size_constant ? rk_size_default(s) : 0;
    for (int64_t i = 0; i < p->n_sizes; i++)
        if (!strcmp(p->sizes[i].name, s->name))
            x = p->sizes[i].value;
    put_value(text, REAL, &x);
}

static void add_sizes(rk_run_options *o, const rk_run_params *p)
{
    const rk_arch *arch = p->model.arch ? rk_arch_find(p->model.arch) : NULL;
    const rk_size_spec *s;
    for (int i = 0; arch && (s = rk_size_at(arch, i)); i++) {
        if (!s->option.name)
            continue;
        put_size(o->values[o->n], s, p);
        o->pairs[o->n] = (rk_pair){s->option.name, o->values[o->n]};
        o->n++;
    }
}

/* As words or numbers. */
static void put_param(char *text, const rk_syn_param *s, const rk_run_params *p)
{
    rk_buf b = {0};
    double x = s->initial;
    for (int64_t i = 0; i < p->n_task_params; i++)
        if (!strcmp(p->task_params[i].name, s->name))
            x = p->task_params[i].value;
    rk_synthetic_value(s, x, &b);
    snprintf(text, RK_RUN_VALUE_MAX, "%s", b.data ? b.data : "");
    rk_buf_deinit(&b);
}

static void add_params(rk_run_options *o, const rk_run_params *p, const char *task)
{
    const rk_task_kind *kind = rk_task_find(task);
    const rk_generator *gen = kind ? kind->generator : NULL;
    for (int i = 0; gen && i < gen->n_params; i++) {
        put_param(o->values[o->n], &gen->params[i], p);
        o->pairs[o->n] = (rk_pair){gen->params[i].name, o->values[o->n]};
        o->n++;
    }
}

/* Whose parameters a run has. */
static const char *task_of(const rk_run_params *p)
{
    return p->test_time.task ? p->test_time.task : p->task;
}

/* Are the weights of other models in the checksum of the data? */
static bool has_others(const rk_run_params *p)
{
    return p->distill.teacher || p->teacher || p->test_time.judge || !strcmp(p->task, "dpo");
}

/* With the parameters of `task`. */
static void put_all(rk_run_options *o, const rk_run_params *p, const char *task,
                    uint64_t data_checksum)
{
    *o = (rk_run_options){.n = RK_COUNT(rows)};
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        put_value(o->values[i], rows[i].kind, (const char *)p + rows[i].offset);
        o->pairs[i] = (rk_pair){rows[i].name, o->values[i]};
        if (rows[i].kind == STRING)
            o->pairs[i].value = text_at(p, rows[i].offset, RK_TOKENIZER_OF_MODEL);
        if (rows[i].kind == WORDS)
            o->pairs[i].value = text_at(p, rows[i].offset, "");
    }
    add_sizes(o, p);
    add_params(o, p, task);
    snprintf(o->values[o->n], RK_RUN_VALUE_MAX, "text%s with checksum %016" PRIx64,
             has_others(p) ? " and other models" : "", data_checksum);
    o->pairs[o->n] = (rk_pair){"data", o->values[o->n]};
    o->n++;
}

void rk_run_options_init(rk_run_options *o, const rk_run_params *p, uint64_t data_checksum)
{
    put_all(o, p, task_of(p), data_checksum);
}

void rk_run_options_defaults(rk_run_options *o, const rk_run_params *run)
{
    rk_run_params p = rk_run_defaults();
    p.model.arch = run->model.arch;
    put_all(o, &p, task_of(run), 0);
    o->pairs[o->n - 1].value = NULL; /* --data */
}

rk_status rk_run_options_refuse(const rk_run_params *p, const char *const *names, const char *why,
                                rk_error *err)
{
    rk_run_options given, defaults;
    rk_run_options_init(&given, p, 0);
    rk_run_options_defaults(&defaults, p);
    for (size_t i = 0; i < RK_COUNT(rows);
         i++) /* not parameters of tasks, which may have such names */
        for (const char *const *name = names; *name; name++)
            if (!strcmp(given.pairs[i].key, *name) && defaults.pairs[i].value &&
                strcmp(given.pairs[i].value, defaults.pairs[i].value) != 0)
                return rk_fail(err, RK_ERR_ARG, "--%s %s", *name, why);
    return RK_OK;
}
