/* grow.c: `rwkv grow`: a larger model that computes the same, and the smaller one that it was. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "format/format.h"
#include "train/grow_run.h"
#include "train/grown.h"

typedef struct grow_options {
    rk_common_options common;
    const char *model, *run, *out;
    const char *tokens, *heads, *meta_heads, *layers, *head_size, *n_embd;
    int64_t truncate, seed, rewarm;
    double lr, lr_final;
    int start;
    bool force, freeze_old;
} grow_options;

#define AT(member) offsetof(grow_options, member)

static const rk_option rows[] = {
    RK_MODEL_OPERAND(grow_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, "needed without --run",
     "an rwkv7 or meta7 model"},
    {"run", 0, RK_OPT_TEXT, "DIR", AT(run), 0, 0, NULL,
     "a training run instead, with its moments: OUT is a folder, where rwkv train --resume goes "
     "on"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: a .safetensors, .pth or .gguf file; with --run a folder"},
    {"tokens", 0, RK_OPT_TEXT, "+N", AT(tokens), 0, 0, "+0",
     "more parameter tokens in each layer: rows of ffn.key"},
    {"heads", 0, RK_OPT_TEXT, "+N", AT(heads), 0, 0, "+0", "more heads of the recurrence"},
    {"meta-heads", 0, RK_OPT_TEXT, "+N", AT(meta_heads), 0, 0, "+0",
     "more heads that the channel mix asks"},
    {"layers", 0, RK_OPT_TEXT, "+N[@L]", AT(layers), 0, 0, "+0",
     "more layers, behind the first L of those there are; without @L behind all"},
    {"start", 0, RK_OPT_CHOICE, "random|copy|zero", AT(start), 0, 0, "random",
     "keys of new parameter tokens: as in a new model, or copies of old ones with noise"},
    {"freeze-old", 0, RK_OPT_FLAG, NULL, AT(freeze_old), 0, 0, NULL,
     "of --run: it goes on with what is new alone"},
    {"rewarm", 0, RK_OPT_INT, "N", AT(rewarm), 0, INT32_MAX, "0",
     "of --run: the schedule begins again, with so many steps of rising rate"},
    {"lr", 0, RK_OPT_NUMBER, "X", AT(lr), 0, 10, "the run's",
     "of --run: the rate that it goes on with"},
    {"lr-final", 0, RK_OPT_NUMBER, "X", AT(lr_final), 0, 10, "lr / 10 with --lr",
     "of --run: the rate at its end"},
    {"truncate", 0, RK_OPT_INT, "GENERATION", AT(truncate), 0, INT32_MAX, "off",
     "the model that it was before it grew, with the values that its parts have now; 0 is the "
     "first"},
    {"head-size", 0, RK_OPT_TEXT, "N", AT(head_size), 0, 0, NULL,
     "refused: heads do not widen exactly"},
    {"n-embd", 0, RK_OPT_TEXT, "N", AT(n_embd), 0, 0, NULL, "refused: models do not widen exactly"},
    {"seed", 0, RK_OPT_INT, "N", AT(seed), 0, INT32_MAX, "42", "of what is drawn"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(grow_options, common),
};

static int grow_main(int argc, char **argv);

const rk_command rk_cmd_grow = {
    .name = "grow",
    .summary = "make a larger model that computes the same",
    .usage = "-m MODEL -o OUT",
    .options = {rows, RK_COUNT(rows)},
    .examples =
        "  rwkv grow -m v7.safetensors --tokens +512 --heads +2 --layers +2@6 -o big.safetensors\n"
        "  rwkv grow -m big.safetensors --truncate 0 -o small-again.safetensors",
    .main = grow_main,
};

/* "+12", or 12; with a place "@6" behind it where at is not NULL. */
static rk_status read_count(const char *option, const char *text, int64_t *n, int64_t *at,
                            rk_error *err)
{
    char *end = NULL;
    const bool plain = text && *text >= '0' && *text <= '9';
    *n = 0;
    if (!text)
        return RK_OK;
    const bool sign = *text == '+' && text[1] >= '0' && text[1] <= '9';
    *n = plain || sign ? strtoll(text, &end, 10) : -1;
    if (at && end && *end == '@' && end[1] >= '0' && end[1] <= '9')
        *at = strtoll(end + 1, &end, 10);
    if (*n < 0 || *n > RK_FFN_MAX || *end)
        return rk_fail(err, RK_ERR_ARG, "--%s is '%.32s', expected +N%s with N up to %d", option,
                       text, at ? " or +N@LAYER" : "", RK_FFN_MAX);
    return RK_OK;
}

/* What would not be exact. */
static rk_status refuse(const grow_options *o, rk_error *err)
{
    if (o->head_size)
        return rk_fail(
            err, RK_ERR_ARG,
            "--head-size: heads do not grow: the group norm behind each and the length of "
            "its keys are over all its channels; add heads instead, --heads +N");
    if (o->n_embd)
        return rk_fail(err, RK_ERR_ARG,
                       "--n-embd: the width does not grow: layer norms are over all channels; add "
                       "parameter tokens, heads or layers instead");
    return RK_OK;
}

static rk_status read_growth(const grow_options *o, rk_growth *how, rk_error *err)
{
    *how = (rk_growth){.at = -1, .start = (rk_grow_start)o->start, .seed = (uint64_t)o->seed};
    rk_status st = refuse(o, err);
    if (st == RK_OK)
        st = read_count("tokens", o->tokens, &how->tokens, NULL, err);
    if (st == RK_OK)
        st = read_count("heads", o->heads, &how->heads, NULL, err);
    if (st == RK_OK)
        st = read_count("meta-heads", o->meta_heads, &how->meta_heads, NULL, err);
    if (st == RK_OK)
        st = read_count("layers", o->layers, &how->layers, &how->at, err);
    if (st == RK_OK && o->truncate >= 0 &&
        (how->tokens || how->heads || how->meta_heads || how->layers))
        st = rk_fail(err, RK_ERR_ARG, "--truncate takes parts off: nothing can be added with it");
    return st;
}

/* The type of the model's matrices. */
static rk_dtype type_of(const rk_model *m)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (rk_param_is_hidden(&m->params[i]))
            return m->params[i].tensor.dtype;
    return RK_F32;
}

static rk_status grow_run(const grow_options *o, rk_error *err)
{
    const rk_log log = rk_command_log(&o->common);
    const rk_grown_training with = {.freeze_old = o->freeze_old,
                                    .rewarm = o->rewarm,
                                    .lr = o->lr,
                                    .lr_final =
                                        o->lr >= 0 && o->lr_final < 0 ? o->lr / 10 : o->lr_final};
    rk_growth how;
    rk_grown_info info;
    rk_status st = read_growth(o, &how, err);
    if (st == RK_OK && o->truncate >= 0)
        st = rk_fail(err, RK_ERR_ARG, "--truncate is of models, not of runs");
    if (st == RK_OK && o->model)
        st = rk_fail(err, RK_ERR_ARG, "-m and --run: a model or a run");
    if (st == RK_OK)
        st = rk_grow_run(o->run, o->out, &how, &with, &log, &info, err);
    if (st == RK_OK && !o->common.quiet)
        fprintf(stderr,
                "%s: step %" PRId64 " with %" PRId64 " parameters, %s had %" PRId64
                "; 'rwkv train --resume --out %s' with its options goes on\n",
                o->out, info.step, info.after, o->run, info.before, o->out);
    return st;
}

static rk_status grow(const grow_options *o, rk_error *err)
{
    if (o->run)
        return grow_run(o, err);
    if (!o->model)
        return rk_fail(err, RK_ERR_ARG, "-m FILE or --run DIR is missing");
    if (o->freeze_old)
        return rk_fail(err, RK_ERR_ARG, "--freeze-old is of --run, and of rwkv train");
    if (o->rewarm > 0 || o->lr >= 0 || o->lr_final >= 0)
        return rk_fail(err, RK_ERR_ARG, "--rewarm, --lr and --lr-final are of --run");
    rk_model *m = NULL, *made = NULL;
    rk_tokenizer *vocabulary = NULL;
    rk_growth how;
    char trained[RK_GROWN_TEXT_MAX];
    rk_status st = read_growth(o, &how, err);
    if (st == RK_OK)
        st = rk_model_open(&m, o->model, err);
    if (st == RK_OK)
        st = o->truncate >= 0 ? rk_grow_back(&made, m, o->truncate, err)
                              : rk_grow_new(&made, m, &how, err);
    if (st == RK_OK)
        st = rk_model_tokenizer(&vocabulary, m, err);
    if (st == RK_OK)
        st = rk_grown_trained_on(m, 0, 0, o->truncate, trained, err);
    if (st == RK_OK) {
        const rk_pair meta = {RK_TRAINED_TOKENS, trained};
        const rk_save_options save = {.dtype = type_of(m),
                                      .overwrite = o->force,
                                      .meta = &meta,
                                      .n_meta = rk_grown_counts(made->arch),
                                      .tokenizer = vocabulary};
        st = rk_model_save(made, o->out, &save, err);
    }
    if (st == RK_OK && !o->common.quiet) {
        rk_model_info before, after;
        rk_model_get_info(m, &before);
        rk_model_get_info(made, &after);
        fprintf(stderr, "%s: %" PRId64 " parameters, %s had %" PRId64 "\n", o->out, after.n_params,
                o->model, before.n_params);
    }
    rk_tokenizer_free(vocabulary);
    rk_model_close(made);
    rk_model_close(m);
    return st;
}

static int grow_main(int argc, char **argv)
{
    grow_options o = {.seed = 42, .truncate = -1, .lr = -1, .lr_final = -1};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_grow, argc, argv, &o, &status))
        return status;
    if (o.model)
        rk_command_note_model(&o.common, o.model);
    const rk_status st = grow(&o, &err);
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
