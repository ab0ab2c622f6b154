/* tune.c: `rwkv tune`: training beside a model's frozen weights. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/training.h"
#include "model/adaptable.h"

typedef struct tune_options {
    rk_training_options training; /* comes first: what is common takes the one for the other */
    rk_opt_list targets, rank_pattern, train_parts;
    char words[3][RK_TRAINING_WORDS_MAX];
    bool dry_run;
} tune_options;

#define RUN(member) offsetof(tune_options, training.run.member)
#define TUNE(member) offsetof(tune_options, training.run.tune.member)

static const rk_option rows[] = {
    RK_OPT_GROUP("tuning"),
    {"model", 'm', RK_OPT_TEXT, "FILE", RUN(model.init_from), 0, 0, NULL,
     "model whose weights stay as they are"},
    {"method", 0, RK_OPT_TEXT, "NAME", TUNE(method), 0, 0, "miss",
     "miss, bone, bat, lora, lora+, rslora, pissa, olora, lora-ga, dora, or state, state-kernel, "
     "state-dbp; one of an adapter and one of states with a comma between them"},
    {"rank", 'r', RK_OPT_INT, "R", TUNE(rank), 1, 65536, "16", "of the adapter's matrices"},
    {"alpha", 0, RK_OPT_NUMBER, "X", TUNE(alpha), 0, 1e6, "2 r, of pissa, olora, lora-ga r",
     "scale of lora's kinds, over the rank"},
    {"targets", 0, RK_OPT_LIST, "NAMES", offsetof(tune_options, targets), 0, 0,
     "all of att and ffn",
     "matrices that get an adapter: ends of names as key or att.key, or patterns as 'blocks.0.*'; "
     "commas or several times"},
    {"rank-pattern", 0, RK_OPT_LIST, "NAME=R", offsetof(tune_options, rank_pattern), 0, 0, NULL,
     "another rank for such matrices"},
    {"train-parts", 0, RK_OPT_LIST, "WORDS", offsetof(tune_options, train_parts), 0, 0, NULL,
     "train parameters whole whose names hold such a word, as ln; saved with the adapter"},
    {"bat-blocks", 0, RK_OPT_CHOICE, "in|out", TUNE(bat_blocks), 0, 0, "in",
     "bat: a block for each r inputs (RWKV-PEFT), or for each r outputs (peft)"},
    {"miss-init", 0, RK_OPT_CHOICE, "zero|random|mini", TUNE(miss_init), 0, 0, "zero",
     "miss: what it begins with; mini: zeros, of --mini-width columns that are repeated"},
    {"mini-width", 0, RK_OPT_INT, "N", TUNE(mini_width), 1, 65536, "1", "columns of miss's mini"},
    {"adapter-dropout", 0, RK_OPT_NUMBER, "X", TUNE(dropout), 0, 0.9, "0",
     "share of the adapter's inputs that is dropped"},
    {"niter", 0, RK_OPT_INT, "N", TUNE(niter), 0, 64, "4",
     "pissa: steps of power iteration; 0: the exact decomposition"},
    {"ga-batches", 0, RK_OPT_INT, "N", TUNE(ga_batches), 1, 65536, "8",
     "lora-ga: batches whose gradient it begins with"},
    {"ga-direction", 0, RK_OPT_CHOICE, "ArB2r|ArBr|A2rBr", TUNE(ga_direction), 0, 0, "ArB2r",
     "lora-ga: which singular vectors are A's and B's"},
    {"loraga-peft", 0, RK_OPT_FLAG, NULL, TUNE(ga_peft), 0, 0, NULL, "lora-ga as peft computes it"},
    {"lora-plus", 0, RK_OPT_NUMBER, "X", TUNE(lora_plus), 0, 1e6, "16",
     "lora+: rate of B over that of A"},
    {"tune-shift", 0, RK_OPT_FLAG, NULL, TUNE(state.shift), 0, 0, NULL,
     "states: learn what stands before the first token in the time mix's shift, too"},
    {"state-rank", 0, RK_OPT_INT, "R", TUNE(state.rank), 1, 1024, "the whole matrix",
     "state: learn U V^T of this rank for each head"},
    {"state-prompt", 0, RK_OPT_TEXT, "TEXT", TUNE(state.prompt), 0, 0, NULL,
     "state: begin with the state that this text leaves"},
    {"state-observer", 0, RK_OPT_TEXT, "DIR", TUNE(state.observer), 0, 0, NULL,
     "state: an observer of the model reads that text in its place (rwkv tune observer)"},
    {"state-decay", 0, RK_OPT_NUMBER, "X", TUNE(state.decay), 0, 1e3, "0",
     "states: pull towards zero, half of it times their squares; 1e-4 for few samples"},
    {"precondition", 0, RK_OPT_CHOICE, "none|r", TUNE(state.precondition), 0, 0, "none",
     "state: gradients over the second moments of receptances"},
    {"kernel-form", 0, RK_OPT_CHOICE, "gauss|literal|linear", TUNE(state.form), 0, 0, "gauss",
     "state-kernel: features; as published; none, for tests"},
    {"kernel-features", 0, RK_OPT_NUMBER, "X", TUNE(state.features), 0.1, 4, "2",
     "state-kernel: features over the size of a head"},
    {"base-state", 0, RK_OPT_FLAG, NULL, TUNE(state.base_state), 0, 0, NULL,
     "state-kernel: learn the model's own state, too"},
    {"dbp-rate", 0, RK_OPT_NUMBER, "X", TUNE(state.basis_rate), 0, 1, "0.01",
     "state-dbp: rate of the rule that decorrelates features"},
    {"dbp-kappa", 0, RK_OPT_NUMBER, "X", TUNE(state.basis_kappa), 0, 1, "0.5",
     "state-dbp: weight of their variances, 0 to 1, over that of correlations"},
    {"dry-run", 0, RK_OPT_FLAG, NULL, offsetof(tune_options, dry_run), 0, 0, NULL,
     "count what would be trained, also of a model that is not there: --arch and sizes"},
    {NULL, 0, RK_OPT_MORE, NULL, 0, 0, 0, NULL, NULL},
};

/* Defaults that are other than those of training a model. */
static const rk_training_default own[] = {
    {"out", NULL,
     "run folder, not needed with --dry-run: adapter_config.json and adapter_model.safetensors, "
     "state.pth, "
     "checkpoints, log.jsonl, curve.svg"},
    {"arch", "the model's", NULL},
    {"tokenizer", "the model's", NULL},
    {"vocab", "the model's", NULL},
    {"quant", "none",
     "hold frozen matrices of the model in nf4, fp4 (4bit), int8, fp8, q8_0, q4_0 or q4_k"},
    {"lr", "the method's", NULL},
    {"lr-final", "a tenth; of state a hundredth", NULL},
    {"weight-decay", "0", "of matrices"},
    {"ctx-len", "256", NULL},
    {"eps", "1e-8", NULL},
    {"eval-every", "100", NULL},
    {"steps", "200", NULL},
};

static void more_rows(rk_option_room *room, size_t offset)
{
    static const char *const without[] = {"init-from",  "train-only", "freeze",
                                          "freeze-old", "ema",        NULL};
    const size_t first = room->n;
    rk_training_rows(room, offset, without);
    rk_training_own(room, first, own, RK_COUNT(own));
}

static int tune_main(int argc, char **argv);

/* What is tuned in other ways: a new one is a file and a line here. Ends with NULL. */
static const rk_command *const commands[] = {&rk_cmd_tune_observer, &rk_cmd_tune_test_time, NULL};

const rk_command rk_cmd_tune = {
    .name = "tune",
    .summary = "adapt a model to text: adapters of every kind, initial states",
    .usage = "-m MODEL --data FILE --out DIR [--method NAME] [options]",
    .options = {rows, RK_COUNT(rows)},
    .more = more_rows,
    .examples = "  rwkv tune -m model.safetensors --data chat.jsonl --method miss --rank 16 --out "
                "adapter\n"
                "  rwkv tune --dry-run --arch rwkv6 --n-layer 32 --n-embd 4096 --dim-ffn 14336 "
                "--method lora --rank 32",
    .main = tune_main,
    .commands = commands,
};

static tune_options defaults(void)
{
    tune_options o = {.training = rk_training_defaults()};
    rk_run_params *run = &o.training.run;
    run->tune.method = "miss";
    run->eval_every = 100;
    run->model.lr = run->model.lr_final = -1.0; /* the method's */
    run->model.weight_decay = 0.0;
    run->model.ctx_len = 256;
    run->model.eps = 1e-8;
    run->model.steps = 200;
    return o;
}

static rk_status settle(tune_options *o, rk_error *err)
{
    rk_tune_options *t = &o->training.run.tune;
    rk_status st = RK_OK;
    if (o->targets.n > 0)
        st = rk_training_words(&o->targets, o->words[0], &t->targets, err);
    if (st == RK_OK && o->rank_pattern.n > 0)
        st = rk_training_words(&o->rank_pattern, o->words[1], &t->rank_pattern, err);
    if (st == RK_OK && o->train_parts.n > 0)
        st = rk_training_words(&o->train_parts, o->words[2], &t->train_parts, err);
    return st;
}

/* ---- counting ---- */

/* The row of a part's matrix. */
static const rk_param_spec *row_of(const rk_model *m, const rk_adapter_part *part)
{
    rk_adaptable a = {0};
    rk_adaptable_named(m, part->name, &a);
    return a.spec;
}

/* "blocks.*.att.key.weight" of a row. */
static void kind_of(const rk_param_spec *spec, char *text)
{
    const char *mark = strstr(spec->name, "%d");
    if (mark)
        snprintf(text, RK_PARAM_NAME_MAX, "%.*s*%s", (int)(mark - spec->name), spec->name,
                 mark + 2);
    else
        snprintf(text, RK_PARAM_NAME_MAX, "%s", spec->name);
}

static int64_t count_part(const rk_adapter_part *part)
{
    int64_t n = 0;
    for (int i = 0; i < rk_forms[part->form].n_tensors; i++)
        n += rk_part_count(part, i);
    return n;
}

/* Numbers of the parts, of the states, of the model. */
typedef struct counts {
    int64_t parts, adapter, whole, state, model;
} counts;

/* Is it trained whole (--train-parts)? */
static bool is_whole(const char *words, const char *name)
{
    char word[RK_PARAM_NAME_MAX];
    for (const char *at = words ? words : ""; *at; at += strspn(at, ",")) {
        const size_t n = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        if (strstr(name, word))
            return true;
        at += n;
    }
    return false;
}

/* Of a state or of what stands in its place. */
static int64_t count_state(const rk_param *p, int64_t rank)
{
    return rank > 0 && p->role == RK_ROLE_STATE && p->tensor.n_dims == 3
               ? 2 * p->tensor.dims[0] * p->tensor.dims[1] * rank
               : rk_tensor_count(&p->tensor);
}

static counts count_all(const rk_model *m, const rk_adapter_set *s, const rk_tune_options *o,
                        bool state)
{
    counts c = {.parts = s->n_parts};
    for (int64_t i = 0; i < s->n_parts; i++)
        c.adapter += count_part(&s->parts[i]);
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (rk_param_is_tuned(p->spec))
            c.state += state ? count_state(p, o->state.rank) : 0;
        else if (p->used) {
            c.model += rk_tensor_count(&p->tensor);
            c.whole += is_whole(o->train_parts, p->name) ? rk_tensor_count(&p->tensor) : 0;
        }
    }
    return c;
}

/* A line for each kind of matrix. */
static void print_kinds(const rk_model *m, const rk_adapter_set *s)
{
    char name[RK_PARAM_NAME_MAX];
    for (int64_t i = 0; i < s->n_parts; i++) {
        const rk_param_spec *row = row_of(m, &s->parts[i]);
        int64_t n = 0, all = 0;
        bool first = true;
        for (int64_t q = 0; q < s->n_parts; q++) {
            if (row_of(m, &s->parts[q]) != row)
                continue;
            first = first && q >= i;
            n++;
            all += count_part(&s->parts[q]);
        }
        if (!first)
            continue;
        kind_of(row, name);
        printf("  %-36s %3" PRId64 " of (%" PRId64 ", %" PRId64 "), %" PRId64 "\n", name, n,
               s->parts[i].out, s->parts[i].in, all);
    }
}

static rk_status print_counts(const tune_options *o, const rk_model *m, const rk_adapter_set *s,
                              rk_error *err)
{
    const rk_tune_method *adapter, *state;
    rk_status st = rk_tune_choose(&o->training.run.tune, &adapter, &state, err);
    if (st != RK_OK)
        return st;
    const counts c = count_all(m, s, &o->training.run.tune, state != NULL);
    const int64_t n = c.adapter + c.whole + c.state;
    if (o->training.json)
        return rk_command_json(json_pack("{s:s, s:I, s:I, s:I, s:I}", "method",
                                         o->training.run.tune.method, "n_trained", (json_int_t)n,
                                         "n_matrices", (json_int_t)c.parts, "n_state",
                                         (json_int_t)c.state, "n_params", (json_int_t)c.model),
                               err);
    printf("%s: %" PRId64 " numbers are trained, %.2f %% of %" PRId64 "\n",
           o->training.run.tune.method, n, 100.0 * (double)n / (double)c.model, c.model);
    print_kinds(m, s);
    if (c.state > 0)
        printf("  initial states%26s%" PRId64 "\n", "", c.state);
    if (c.whole > 0)
        printf("  whole parameters%24s%" PRId64 "\n", "", c.whole);
    return RK_OK;
}

/* The model of the file, or one of the sizes that were given, with room for states. */
static rk_status counted_model(rk_model **out, tune_options *o, rk_error *err)
{
    rk_run_params *run = &o->training.run;
    rk_train_params *p = &run->model;
    const bool shift = run->tune.state.shift;
    const rk_open_options add = {.tuned_state = true, .tuned_shift = shift};
    if (p->init_from)
        return rk_model_open_with(out, p->init_from, &add, err);
    const rk_arch *arch = rk_arch_find(p->arch ? p->arch : rk_train_defaults().arch);
    rk_hparams hp;
    rk_status st = rk_sizes_make(arch, run->sizes, run->n_sizes, &hp, err);
    hp.tuned_state = true;
    hp.tuned_shift = shift;
    return st == RK_OK ? rk_model_new(out, arch, &hp, err) : st;
}

/* Features of kernel paths come from examples. */
static rk_status check_countable(const rk_tune_options *t, rk_error *err)
{
    const rk_tune_method *adapter, *state;
    const rk_status st = rk_tune_choose(t, &adapter, &state, err);
    return st == RK_OK && state && strcmp(state->name, "state") != 0
               ? rk_fail(err, RK_ERR_UNSUPPORTED, "--dry-run counts no features of %s", state->name)
               : st;
}

static int dry_run(tune_options *o)
{
    rk_error err = {0};
    rk_model *m = NULL;
    rk_adapter_set *s = NULL;
    rk_status st = rk_training_settle(&o->training, &err);
    if (st == RK_OK)
        st = check_countable(&o->training.run.tune, &err);
    if (st == RK_OK)
        st = counted_model(&m, o, &err);
    if (st == RK_OK)
        st = rk_tune_make(&s, m, &o->training.run.tune, &err);
    if (st == RK_OK)
        st = print_counts(o, m, s, &err);
    rk_adapter_set_free(s);
    rk_model_close(m);
    return st == RK_OK ? 0 : rk_command_fail(&err);
}

/* ---- tuning ---- */

static void say_how_to_run(const rk_training_options *o)
{
    const rk_tune_method *adapter, *state;
    const rk_run_params *run = &o->run;
    if (rk_tune_choose(&run->tune, &adapter, &state, NULL) != RK_OK)
        return;
    fprintf(stderr, "run it: rwkv run -m %s",
            run->model.init_from ? run->model.init_from : "MODEL");
    if (adapter || run->tune.train_parts)
        fprintf(stderr, " --adapter %s", run->dir);
    if (state)
        fprintf(stderr, " --state %s/state.pth", run->dir);
    fprintf(stderr, " -p TEXT\n");
}

static int tune_main(int argc, char **argv)
{
    tune_options o = defaults();
    rk_error err = {0};
    int status = 0;
    if (!rk_command_options(&rk_cmd_tune, argc, argv, &o, &status))
        return status;
    if (settle(&o, &err) != RK_OK)
        return rk_command_fail(&err);
    if (o.dry_run)
        return dry_run(&o);
    if (!o.training.run.dir) {
        rk_fail(&err, RK_ERR_ARG, "--out DIR is missing");
        return rk_command_fail(&err);
    }
    return rk_training_run(&o.training, say_how_to_run);
}
