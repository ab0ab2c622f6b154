/* training.c: options of training runs. */
#include "cli/training.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"

#define RUN(member) offsetof(rk_training_options, run.member)
#define MODEL(member) offsetof(rk_training_options, run.model.member)

enum { SIZE_MAX_OPTION = 1 << 20, STEPS_MAX_OPTION = 1000000000 };

#define GROUPS "att, ffn, emb, head, ln1, ln2, ln_out, matrix, low-rank, vector, state, state-shift"

static const rk_option rows[] = {
    RK_OPT_GROUP("files"),
    {"data", 0, RK_OPT_LIST, "FILE", offsetof(rk_training_options, data), 0, 0, NULL,
     "what to learn: text (.txt, .jsonl) or tokens (.bin, .npy); may be given several times"},
    {"data-weight", 0, RK_OPT_LIST, "X", offsetof(rk_training_options, data_weight), 0, 0,
     "by size", "how much of the windows is from each --data, in the same order"},
    {"out", 0, RK_OPT_TEXT, "DIR", RUN(dir), 0, 0, RK_REQUIRED,
     "run folder: model, checkpoints, log.jsonl, curve.svg"},
    {"resume", 0, RK_OPT_FLAG, NULL, RUN(resume), 0, 0, NULL,
     "go on from the newest valid checkpoint in DIR, or start where there is "
     "none"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", RUN(tokenizer), 0, 0, "byte",
     "byte, world, or a vocabulary file; packed data have their own"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", RUN(tokenizer), 0, 0, NULL, "the same as --tokenizer"},
    {"val-frac", 0, RK_OPT_NUMBER, "F", RUN(val_frac), 0, 0.9, "0.1",
     "share of the data held out for validation"},
    {"save-every", 0, RK_OPT_INT, "N", RUN(save_every), 1, STEPS_MAX_OPTION, "1000",
     "steps between checkpoints; two are kept"},
    {"eval-every", 0, RK_OPT_INT, "N", RUN(eval_every), 1, STEPS_MAX_OPTION, "500",
     "steps between validations"},
    RK_OPT_GROUP("data"),
    {"packing", 0, RK_OPT_CHOICE, "wrapped|none", RUN(data.packing), 0, 0, "wrapped",
     "documents end to end, cut into windows; or one a window, padded with what does not count"},
    {"order", 0, RK_OPT_CHOICE, "shuffle|cubic", RUN(data.order), 0, 0, "shuffle",
     "of windows: a permutation of a grid that moves each epoch, or that of RWKV-LM"},
    {"doc-boundary", 0, RK_OPT_CHOICE, "auto|token|none|reset", RUN(data.boundary), 0, 0, "auto",
     "token 0, or what ends a text in the vocabulary, behind each document of text; auto: of "
     ".jsonl; reset: as auto, and the state begins "
     "anew"},
    {"template", 0, RK_OPT_TEXT, "NAME", RUN(data.chat_format), 0, 0, "the model's",
     "of messages, prompts and responses: " RK_CHAT_DEFAULT " and those of chat; none: prompt and "
     "response as they are"},
    RK_OPT_GROUP("model"),
    {"init-from", 0, RK_OPT_TEXT, "MODEL", MODEL(init_from), 0, 0, NULL,
     "go on from this model's weights; sizes and vocabulary are its own, and what is frozen stays "
     "in "
     "its type"},
    {NULL, 0, RK_OPT_MORE, NULL, 0, 0, 0, NULL, NULL},
    RK_OPT_GROUP("training"),
    {"task", 0, RK_OPT_TEXT, "NAME", RUN(task), 0, 0, "next-token",
     "what is learned: --data, or a synthetic task such as mqar, reverse, s5, which draws its "
     "samples"},
    {"train-only", 0, RK_OPT_LIST, "PATTERN", offsetof(rk_training_options, train_only), 0, 0,
     "all",
     "train what bears a name like 'blocks.*.att.*', or a group of parameters: " GROUPS "; may be "
     "given several times"},
    {"freeze", 0, RK_OPT_LIST, "PATTERN", offsetof(rk_training_options, freeze), 0, 0, "none",
     "leave such parameters as they are; wins over --train-only"},
    {"freeze-old", 0, RK_OPT_FLAG, NULL, offsetof(rk_training_options, freeze_old), 0, 0, NULL,
     "train what a model has grown by last (rwkv grow) alone; the same as --freeze old"},
    {"quant", 0, RK_OPT_TEXT, "TYPE", RUN(quant), 0, 0, "none",
     "hold frozen matrices of --init-from in nf4, fp4 (4bit), int8, fp8, q8_0, q4_0 or q4_k"},
    {"quant-all", 0, RK_OPT_FLAG, NULL, RUN(quant_all), 0, 0, NULL,
     "--quant holds embedding and head so, too"},
    {"steps", 0, RK_OPT_INT, "N", MODEL(steps), 1, STEPS_MAX_OPTION, "1000",
     "updates, those of earlier calls included"},
    {"ctx-len", 0, RK_OPT_INT, "N", MODEL(ctx_len), 1, SIZE_MAX_OPTION, "512",
     "tokens of a sequence"},
    {"batch", 0, RK_OPT_INT, "N", MODEL(batch), 1, SIZE_MAX_OPTION, "8", "sequences of an update"},
    {"micro-batch", 0, RK_OPT_INT, "N", MODEL(micro_batch), 1, SIZE_MAX_OPTION, "all",
     "sequences computed at once: less takes less memory"},
    {"grad-slices", 0, RK_OPT_INT, "N", MODEL(grad_slices), 1, SIZE_MAX_OPTION, "1",
     "parts a gradient is summed from, a power of two; from 2 on the log has noise_scale"},
    {"recompute", 0, RK_OPT_FLAG, NULL, MODEL(checkpoint_blocks), 0, 0, NULL,
     "compute each block again in the backward pass: less memory, more time"},
    {"dtype", 0, RK_OPT_CHOICE, "f32|bf16", offsetof(rk_training_options, dtype), 0, 0, "f32",
     "operands of the matrix products; weights stay f32"},
    {"lr", 0, RK_OPT_NUMBER, "X", MODEL(lr), 0, 10, "6e-4", "learning rate after the warm-up"},
    {"lr-final", 0, RK_OPT_NUMBER, "X", MODEL(lr_final), 0, 10, "lr / 10",
     "learning rate at the end of the schedule"},
    {"schedule", 0, RK_OPT_TEXT, "NAME", MODEL(schedule), 0, 0, "cosine",
     "of the learning rate: cosine, linear, exponential, constant, or wsd, which stays and falls "
     "at the "
     "end"},
    {"decay-frac", 0, RK_OPT_NUMBER, "F", MODEL(decay_frac), 0, 1, "0.2",
     "share of the steps in which the rate of wsd falls"},
    {"lr-scale", 0, RK_OPT_LIST, "PATTERN=X", offsetof(rk_training_options, lr_scale), 0, 0,
     "the recipe's",
     "factor of the learning rate of such parameters, as 'blocks.*.att.w0=1'; may be given several "
     "times"},
    {"warmup", 0, RK_OPT_INT, "N", MODEL(warmup), 0, STEPS_MAX_OPTION, "10",
     "steps of rising learning rate"},
    {"rewarm", 0, RK_OPT_INT, "N", MODEL(rewarm), 0, STEPS_MAX_OPTION, "0",
     "of a run that rwkv grow --rewarm N has made: the schedule begins again where it grew, with "
     "so many of "
     "them"},
    {"weight-decay", 0, RK_OPT_NUMBER, "X", MODEL(weight_decay), 0, 10, "0.1",
     "of matrices named .weight"},
    {"optimizer", 0, RK_OPT_TEXT, "NAME", MODEL(optimizer), 0, 0, "adamw",
     "adamw, sgd with momentum, or muon: matrices of the blocks by orthogonal momentum, the others "
     "by "
     "adamw"},
    {"beta1", 0, RK_OPT_NUMBER, "X", MODEL(beta1), 0, 0.999999, "0.9", "of the first moment"},
    {"beta2", 0, RK_OPT_NUMBER, "X", MODEL(beta2), 0, 0.999999, "0.99", "of the second moment"},
    {"eps", 0, RK_OPT_NUMBER, "X", MODEL(eps), 0, 1, "1e-18", "added to the root of the second"},
    {"momentum", 0, RK_OPT_NUMBER, "X", MODEL(momentum), 0, 0.999999, "0.9", "of sgd"},
    {"muon-lr", 0, RK_OPT_NUMBER, "X", MODEL(muon_lr), 0, 10, "as --lr",
     "learning rate of the matrices that muon has"},
    {"muon-momentum", 0, RK_OPT_NUMBER, "X", MODEL(muon_momentum), 0, 0.999999, "0.95", "of muon"},
    {"ema", 0, RK_OPT_NUMBER, "DECAY", MODEL(ema), 0, 0.9999999, "0",
     "keep running means of the weights: validated too, and saved as model-ema.safetensors"},
    {"clip", 0, RK_OPT_NUMBER, "X", MODEL(clip), 0, 1e9, "1", "largest gradient norm; 0: any"},
    {"l2wrap", 0, RK_OPT_NUMBER, "X", MODEL(l2wrap), 0, 1, "1e-4",
     "pull on the largest logit, as RWKV-LM has it; 0: none"},
    {"dropout", 0, RK_OPT_NUMBER, "X", MODEL(dropout), 0, 0.9, "0", "share of activations dropped"},
    {"seed", 's', RK_OPT_INT, "N", offsetof(rk_training_options, seed), 0, 9e18, "42",
     "of weights, order of the data, choice of documents, dropout"},
    {"json", 0, RK_OPT_FLAG, NULL, offsetof(rk_training_options, json), 0, 0, NULL,
     "print the result as one JSON object on stdout"},
    RK_COMMON_ROWS(rk_training_options, common),
};

/* Sizes of models, then parameters of tasks, where one can be chosen. */
static void more_rows(rk_option_room *room, size_t offset, bool sizes, bool tasks)
{
    if (sizes)
        rk_shape_rows(room, offset + offsetof(rk_training_options, shape));
    if (!tasks)
        return;
    room->rows[room->n++] = (rk_option)RK_OPT_GROUP(
        "parameters of synthetic tasks; 'rwkv data task --list' shows which task has which");
    rk_task_rows(room, offset + offsetof(rk_training_options, task_params));
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (int i = 0; name && names && names[i]; i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static bool is_heading(const rk_option_room *room, size_t i)
{
    return room->rows[i].type == RK_OPT_HEADING;
}

void rk_training_rows(rk_option_room *room, size_t offset, const char *const *without)
{
    const size_t first = room->n;
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        if (rows[i].type == RK_OPT_MORE) {
            more_rows(room, offset, !is_one_of("arch", without), !is_one_of("task", without));
            continue;
        }
        if (is_one_of(rows[i].name, without))
            continue;
        if (room->n > first && rows[i].type == RK_OPT_HEADING && is_heading(room, room->n - 1))
            room->n--; /* of which nothing is left */
        room->rows[room->n] = rows[i];
        room->rows[room->n++].offset += offset;
    }
}

rk_training_options rk_training_defaults(void)
{
    rk_training_options o = {.run = rk_run_defaults(), .shape.arch = -1};
    rk_train_params *m = &o.run.model;
    o.seed = (int64_t)m->seed;
    m->lr_final = -1.0; /* as --lr is, a tenth of it */
    /* What is not given is known when the model to begin with is, or the data. */
    o.run.tokenizer = NULL;
    return o;
}

rk_status rk_training_words(const rk_opt_list *list, char *words, const char **out, rk_error *err)
{
    size_t n = 0;
    for (int i = 0; i < list->n; i++) {
        n += (size_t)snprintf(words + n, RK_TRAINING_WORDS_MAX - n, "%s%s", i ? "," : "",
                              list->at[i]);
        if (n >= RK_TRAINING_WORDS_MAX)
            return rk_fail(err, RK_ERR_ARG, "patterns of more than %d bytes",
                           RK_TRAINING_WORDS_MAX - 1);
    }
    *out = words;
    return RK_OK;
}

static rk_status take_data(rk_training_options *o, rk_error *err)
{
    rk_data_options *d = &o->run.data;
    for (int i = 0; i < o->data.n; i++)
        d->paths[d->n_paths++] = o->data.at[i];
    for (int i = 0; i < o->data_weight.n; i++) {
        char *end;
        const double x = strtod(o->data_weight.at[i], &end);
        if (end == o->data_weight.at[i] || *end || !isfinite(x) || x <= 0.0)
            return rk_fail(err, RK_ERR_ARG, "--data-weight: '%s' is no number above 0",
                           o->data_weight.at[i]);
        d->weights[d->n_weights++] = x;
    }
    return rk_training_words(&o->data_weight, o->data_weight_words, &o->run.data_weight, err);
}

/* One more word. */
static rk_status freeze_old(rk_training_options *o, rk_error *err)
{
    static const char word[] = "old";
    const size_t n = strlen(o->freeze_words);
    if (n + sizeof word + 1 > sizeof o->freeze_words)
        return rk_fail(err, RK_ERR_ARG, "patterns of more than %d bytes",
                       RK_TRAINING_WORDS_MAX - 1);
    snprintf(o->freeze_words + n, sizeof o->freeze_words - n, "%s%s", n ? "," : "", word);
    return RK_OK;
}

rk_status rk_training_settle(rk_training_options *o, rk_error *err)
{
    rk_train_params *m = &o->run.model;
    const rk_arch *arch = rk_shape_arch(&o->shape);
    m->arch = arch ? arch->name : NULL;
    m->bf16 = o->dtype == 1;
    m->seed = (uint64_t)o->seed;
    if (m->lr_final < 0.0 && m->lr >= 0.0 && !o->run.tune.method)
        m->lr_final = m->lr / 10.0;
    if (o->run.quant_all && !strcmp(o->run.quant, "none"))
        return rk_fail(err, RK_ERR_ARG, "--quant-all goes with --quant TYPE");
    rk_status st = rk_shape_sizes(&o->shape, o->run.sizes, &o->run.n_sizes, err);
    if (st == RK_OK)
        st = rk_task_params(&o->task_params, o->run.task_params, &o->run.n_task_params, err);
    if (st == RK_OK)
        st = take_data(o, err);
    if (st == RK_OK)
        st = rk_training_words(&o->train_only, o->train_only_words, &m->train_only, err);
    if (st == RK_OK)
        st = rk_training_words(&o->freeze, o->freeze_words, &m->freeze, err);
    if (st == RK_OK && o->freeze_old)
        st = freeze_old(o, err);
    return st == RK_OK ? rk_training_words(&o->lr_scale, o->lr_scale_words, &m->lr_scale, err) : st;
}

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static rk_status print_result(const rk_run_result *r, rk_error *err)
{
    json_t *o = json_pack("{s:I, s:I, s:s, s:o, s:o}", "step", (json_int_t)r->step, "n_params",
                          (json_int_t)r->n_params, "status", r->signal ? "interrupted" : "done",
                          "loss", number(r->loss), "val_loss", number(r->val_loss));
    if (o && r->also)
        json_object_set_new(o, r->also, number(r->val_also));
    if (o && !isnan(r->ema_val_loss))
        json_object_set_new(o, "ema_val_loss", number(r->ema_val_loss));
    return rk_command_json(o, err);
}

/* Train with an engine; *signal is the one that ended the run. */
static rk_status train(const rk_training_options *o, void (*say)(const rk_training_options *o),
                       rk_interrupt *interrupt, int *signal, rk_error *err)
{
    rk_engine *engine = NULL;
    rk_run_result result = {0};
    const rk_log log = rk_command_log(&o->common);
    for (int i = 0; i < o->data.n; i++)
        rk_command_note_mark(&o->common, o->data.at[i]);
    rk_command_note_mark(&o->common, o->run.tokenizer);
    rk_command_note_model(&o->common, o->run.model.init_from);
    rk_status st = rk_command_engine(&engine, &o->common, NULL, NULL, err);
    if (st != RK_OK)
        return st;
    const rk_run_env env = {.engine = engine,
                            .log = &log,
                            .out = o->common.quiet ? NULL : stderr,
                            .signal = rk_interrupt_signal,
                            .signal_user = interrupt};
    if (!o->common.quiet)
        rk_interrupt_say(interrupt, "rwkv: finishing the step and saving; once more ends at once");
    st = rk_run_train(&o->run, &env, &result, err);
    rk_engine_free(engine);
    if (st == RK_OK && say && !o->common.quiet)
        say(o);
    if (st == RK_OK && o->json)
        st = print_result(&result, err);
    *signal = result.signal;
    return st;
}

int rk_training_run(rk_training_options *o, void (*say)(const rk_training_options *o))
{
    rk_interrupt *interrupt = NULL;
    rk_error err = {0};
    int signal = 0;
    rk_status st = rk_training_settle(o, &err);
    if (st == RK_OK)
        st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = train(o, say, interrupt, &signal, &err);
    rk_interrupt_close(interrupt);
    if (st != RK_OK)
        return rk_command_fail(&err);
    return signal ? 128 + signal : 0;
}

void rk_training_own(rk_option_room *room, size_t first, const rk_training_default *own, size_t n)
{
    for (size_t i = first; i < room->n; i++)
        for (size_t q = 0; q < n; q++) {
            rk_option *row = &room->rows[i];
            if (!row->name || strcmp(row->name, own[q].name) != 0)
                continue;
            row->shown = own[q].shown;
            row->help = own[q].help ? own[q].help : row->help;
        }
}
