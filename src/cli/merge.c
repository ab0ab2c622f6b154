/* merge.c: `rwkv merge` and `rwkv unmerge`: a model's file with adapters and an initial state in it, and
 * without the adapter again. */
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/adapter_in.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "cli/state_in.h"
#include "compress/in_memory.h"
#include "infer/engine.h"
#include "infer/tuned_file.h"
#include "tune/adapter_file.h"
#include "tune/merge_model.h"

typedef struct merge_options {
    rk_common_options common;
    const char *model, *out, *quant, *vocab;
    rk_adapter_in adapters;
    rk_state_in state; /* its files and layout are options here */
    int type;          /* position in TYPES */
    bool quant_all, force, force_base;
} merge_options;

#define AT(member) offsetof(merge_options, member)
#define TYPES                                                                                      \
    "keep|bf16|f16|f32" /* the first one keeps them; the dtype beside it is not looked at */
static const rk_dtype types[] = {RK_F32, RK_BF16, RK_F16, RK_F32};

#define MODEL_ROW(help)                                                                            \
    {                                                                                              \
        "model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED, help                      \
    }
#define OUT_ROW                                                                                    \
    {                                                                                              \
        "out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,                                \
            "what to write: .safetensors, .pth or .gguf"                                           \
    }
#define TYPE_ROW                                                                                   \
    {                                                                                              \
        "type", 0, RK_OPT_CHOICE, TYPES, AT(type), 0, 0, "keep",                                   \
            "number format of the matrices; vectors become f32; keep: as the model has them"       \
    }
#define VOCAB_ROW                                                                                  \
    {                                                                                              \
        "vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",                           \
            "byte, world or a file: the vocabulary that a .gguf file takes along"                  \
    }
#define FORCE_ROW                                                                                  \
    {                                                                                              \
        "force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"                      \
    }

static const rk_option merge_rows[] = {
    RK_MODEL_OPERAND(merge_options, model),
    MODEL_ROW("the model that the adapters were trained beside"),
    RK_ADAPTER_IN_ROWS(merge_options, adapters),
    {"state", 0, RK_OPT_LIST, "FILE[:X]", AT(state.files), 0, 0, NULL,
     "tuned initial states, which streams of OUT begin with (.pth, .safetensors, .state), times X; "
     "several add up"},
    {"state-layout", 0, RK_OPT_CHOICE, RK_STATE_LAYOUTS, AT(state.layout), 0, 0, "auto",
     "they are [value, key] or [key, value]; auto: kv of .state and .st files, else vk"},
    {"quant", 0, RK_OPT_TEXT, "TYPE", AT(quant), 0, 0, NULL,
     "the matrices first take the values that they had in training with --quant TYPE"},
    {"quant-all", 0, RK_OPT_FLAG, NULL, AT(quant_all), 0, 0, NULL,
     "so had embedding and head, with --quant-all"},
    OUT_ROW,
    TYPE_ROW,
    VOCAB_ROW,
    {"force-base", 0, RK_OPT_FLAG, NULL, AT(force_base), 0, 0, NULL,
     "take adapters that were made for another model of the same shapes"},
    FORCE_ROW,
    RK_COMMON_ROWS(merge_options, common),
};

static const rk_option unmerge_rows[] = {
    RK_MODEL_OPERAND(merge_options, model),
    MODEL_ROW("what rwkv merge has written"),
    RK_ADAPTER_IN_ROWS(merge_options, adapters),
    OUT_ROW,
    TYPE_ROW,
    VOCAB_ROW,
    FORCE_ROW,
    RK_COMMON_ROWS(merge_options, common),
};

static int merge_main(int argc, char **argv);
static int unmerge_main(int argc, char **argv);

const rk_command rk_cmd_merge = {
    .name = "merge",
    .summary = "write a model with adapters and an initial state in it",
    .usage = "-m MODEL [--adapter DIR[:X]]... [--state FILE[:X]]... -o OUT",
    .options = {merge_rows, RK_COUNT(merge_rows)},
    .examples =
        "  rwkv merge -m model.safetensors --adapter runs/miss -o tuned.safetensors\n"
        "  rwkv merge -m model.pth --adapter rwkv-0.pth --alpha 32 --quant nf4 -o tuned.gguf",
    .main = merge_main,
};

const rk_command rk_cmd_unmerge = {
    .name = "unmerge",
    .summary = "take an adapter out of a model that it was merged into",
    .usage = "-m MODEL --adapter DIR[:X] -o OUT",
    .options = {unmerge_rows, RK_COUNT(unmerge_rows)},
    .examples = "  rwkv unmerge -m tuned.safetensors --adapter runs/miss -o back.safetensors\n"
                "  rwkv unmerge -m tuned.pth --adapter rwkv-0.pth:0.5 --alpha 32 -o back.pth",
    .main = unmerge_main,
};

typedef struct job {
    const merge_options *o;
    bool take_out;
    rk_save_container container;
    rk_adapter_source sources[RK_OPT_LIST_MAX];
    char text[RK_ADAPTER_TEXT_MAX];
    rk_adapter_set *sets[RK_OPT_LIST_MAX];
    rk_adapter_use uses[RK_OPT_LIST_MAX];
    rk_file *state;
    rk_model *model;
    rk_engine *engine;
    rk_tokenizer *tokenizer;
} job;

/* ---- inputs ---- */

static rk_status open_adapters(job *j, rk_error *err)
{
    rk_status st = rk_adapter_in_sources(&j->o->adapters, j->sources, j->text, err);
    for (int i = 0; i < j->o->adapters.files.n && st == RK_OK; i++) {
        const rk_adapter_reading how = {.alpha = j->sources[i].alpha};
        st = rk_adapter_open(&j->sets[i], j->sources[i].path, &how, err);
        j->uses[i] = (rk_adapter_use){j->sets[i], j->sources[i].scale};
    }
    return st;
}

/* A file without a header is read by the sizes of the model, which is then opened with what it holds. */
static rk_status open_state(job *j, rk_error *err)
{
    const char *path = j->o->state.file;
    rk_model *m = NULL;
    if (!path)
        return RK_OK;
    rk_status st = rk_model_open(&m, j->o->model, err);
    if (st == RK_OK)
        st =
            rk_tuned_file_open(&j->state, path, rk_state_layout_chosen(j->o->state.layout), m, err);
    rk_model_close(m);
    if (st == RK_OK && j->state && !rk_file_is_tuned_state(j->state))
        st = rk_fail(err, RK_ERR_FORMAT,
                     "%s: no tuned initial states: expected blocks.N.att.time_state of every layer",
                     path);
    return st;
}

/* Does a name that ends so stand in the state's file or among whole parameters? */
static bool holds(const job *j, const char *end)
{
    for (int64_t i = 0; j->state && i < rk_file_count(j->state); i++)
        if (strstr(rk_file_at(j->state, i)->name, end))
            return true;
    for (int k = 0; k < j->o->adapters.files.n; k++)
        for (int64_t i = 0; i < j->sets[k]->n_whole; i++)
            if (strstr(j->sets[k]->whole[i].name, end))
                return true;
    return false;
}

static bool is_kernel_path(const job *j)
{
    return j->state && rk_file_is_kernel_state(j->state);
}

static rk_status open_model(job *j, rk_error *err)
{
    const rk_open_options add = {.tuned_state = holds(j, ".time_state"),
                                 .tuned_shift = holds(j, ".ts_state"),
                                 .beside = is_kernel_path(j) ? j->o->state.file : NULL};
    rk_command_note_model(&j->o->common, j->o->model);
    rk_status st = rk_model_open_with(&j->model, j->o->model, &add, err);
    for (int i = 0; i < j->o->adapters.files.n && st == RK_OK; i++)
        st = rk_adapter_set_check(j->sets[i], j->model, j->sources[i].path,
                                  j->take_out || j->o->force_base, err);
    if (st == RK_OK && j->state && !is_kernel_path(j))
        st = rk_model_tuned_read(j->model, j->state, err);
    return st;
}

/* ---- the command ---- */

static rk_status check_options(job *j, rk_error *err)
{
    const merge_options *o = j->o;
    rk_dtype type;
    if (j->take_out && o->adapters.files.n != 1)
        return rk_fail(err, RK_ERR_ARG, "--adapter: expected the one adapter that is taken out");
    if (!j->take_out && o->adapters.files.n == 0 && !o->state.file)
        return rk_fail(err, RK_ERR_ARG, "expected --adapter or --state: what is to be merged");
    if (o->quant_all && !o->quant)
        return rk_fail(err, RK_ERR_ARG, "--quant-all goes with --quant TYPE");
    rk_status st = o->quant ? rk_quant_find(o->quant, &type, err) : RK_OK;
    if (st == RK_OK)
        st = rk_command_refuse_same(o->model, o->out, err);
    if (st == RK_OK)
        st = rk_command_try_output(o->out, o->force, err);
    return st == RK_OK ? rk_save_container_of(o->out, &j->container, err) : st;
}

static rk_status save(job *j, rk_interrupt *interrupt, rk_error *err)
{
    const merge_options *o = j->o;
    rk_meter meter = rk_meter_begin(o->out, "MB", 1e6, o->common.quiet);
    const rk_merge how = {.uses = j->uses,
                          .n_uses = o->adapters.files.n,
                          .take_out = j->take_out,
                          .quant = o->quant,
                          .quant_all = o->quant_all,
                          .keep_types = o->type == 0,
                          .dtype = types[o->type]};
    const rk_save_options options = {.pool = rk_engine_pool(j->engine),
                                     .tokenizer = j->tokenizer,
                                     .container = j->container,
                                     .overwrite = o->force,
                                     .progress = rk_meter_progress,
                                     .progress_user = &meter,
                                     .abort = rk_interrupt_came,
                                     .abort_user = interrupt};
    const rk_status st = rk_model_merge(j->model, o->out, &how, &options, err);
    rk_meter_end(&meter);
    return st;
}

static rk_status work(job *j, rk_interrupt *interrupt, rk_error *err)
{
    const merge_options *o = j->o;
    rk_status st = rk_command_engine(&j->engine, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = open_adapters(j, err);
    if (st == RK_OK)
        st = open_state(j, err);
    if (st == RK_OK)
        st = open_model(j, err);
    if (st == RK_OK && j->container == RK_SAVE_GGUF)
        st = rk_command_gguf_vocab(&j->tokenizer, &o->common, j->model, o->model, o->vocab, err);
    return st == RK_OK ? save(j, interrupt, err) : st;
}

static void free_job(job *j)
{
    rk_model_close(j->model);
    rk_file_close(j->state);
    for (int i = 0; i < RK_OPT_LIST_MAX; i++)
        rk_adapter_set_free(j->sets[i]);
    rk_tokenizer_free(j->tokenizer);
    rk_engine_free(j->engine);
}

static int run(const rk_command *c, bool take_out, int argc, char **argv)
{
    merge_options o = {0};
    job j = {.o = &o, .take_out = take_out};
    rk_interrupt *interrupt = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(c, argc, argv, &o, &status))
        return status;
    rk_status st = o.state.files.n ? rk_state_in_settle(&o.state, NULL, &err) : RK_OK;
    if (st == RK_OK)
        st = check_options(&j, &err);
    if (st == RK_OK)
        st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = work(&j, interrupt, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    free_job(&j);
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}

static int merge_main(int argc, char **argv)
{
    return run(&rk_cmd_merge, false, argc, argv);
}

static int unmerge_main(int argc, char **argv)
{
    return run(&rk_cmd_unmerge, true, argc, argv);
}
