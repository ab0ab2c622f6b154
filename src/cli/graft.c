/* graft.c: `rwkv graft`: WuNeng's state heads and middle heads beside the attention of a transformer. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "format/format.h"
#include "train/hybrid.h"
#include "tune/graft.h"

typedef struct graft_options {
    rk_common_options common;
    const char *model, *out, *from, *layers;
    rk_opt_named sizes;
    double out_scale;
    int64_t seed;
    bool force;
} graft_options;

#define AT(member) offsetof(graft_options, member)
#define COUNT(name, max, shown, help)                                                              \
    {                                                                                              \
        name, 0, RK_OPT_NAMED_INT, "N", AT(sizes), 0, max, shown, help                             \
    }
#define CHOICE(name, words, shown, help)                                                           \
    {                                                                                              \
        name, 0, RK_OPT_NAMED_CHOICE, words, AT(sizes), 0, 0, shown, help                          \
    }

static const rk_option rows[] = {
    RK_MODEL_OPERAND(graft_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "the host: a qwen2 or llama model; or a wuneng model that gets more heads"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: a folder, or a .safetensors or .gguf file"},
    COUNT("state-heads", RK_EMBD_MAX, "n-head / 4", "heads of the recurrence"),
    COUNT("state-head-size", RK_HEAD_MAX, "64", "channels of such a head"),
    COUNT("middle-heads", RK_LINEARS_MAX / 2, "n-head / 4",
          "heads that join one of attention and one of the recurrence"),
    CHOICE("mode", "gate|concat|add|add_query", "gate", "how a middle head joins its two"),
    COUNT("taps", 8, "4", "tokens whose receptances read the state together"),
    CHOICE("head-output", "apart|shared|in_place", "apart", "how the heads come together"),
    CHOICE("value-from", "x|attention", "x", "what the states' values are projected from"),
    COUNT("two-hop", 1, "0", "1: states are read twice"),
    COUNT("value-residual", 1, "0", "1: values are mixed with those of layer 0"),
    COUNT("bonus", 1, "0", "1: the current token counts more"),
    COUNT("output-gate", 1, "0", "1: state heads have a gate"),
    {"removal-scale", 0, RK_OPT_NAMED, "X", AT(sizes), 0, 2, "1",
     "how much of what a key finds is removed; above 1 states can be swapped"},
    {"layers", 0, RK_OPT_TEXT, "WHICH", AT(layers), 0, 0, "all",
     "layers that get heads: all, or a list, 0-3,5; those of a wuneng host are among them"},
    {"import-state", 0, RK_OPT_TEXT, "FILE", AT(from), 0, 0, NULL,
     "an rwkv7 model of the same width whose heads the state heads begin as"},
    {"import-scale", 0, RK_OPT_NUMBER, "X", AT(out_scale), 0, 1, "0",
     "of its output matrix; 0: the logits stay those of the host"},
    {"seed", 0, RK_OPT_INT, "N", AT(seed), 0, INT32_MAX, "42", "of initial values"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(graft_options, common),
};

static int graft_main(int argc, char **argv);

const rk_command rk_cmd_graft = {
    .name = "graft",
    .summary = "add state heads and middle heads to a transformer",
    .usage = "-m HOST -o OUT",
    .options = {rows, RK_COUNT(rows)},
    .examples =
        "  rwkv graft -m teacher/model.safetensors --state-heads 2 --middle-heads 2 -o hybrid\n"
        "  rwkv graft -m hybrid --state-heads 4 --middle-heads 4 -o larger",
    .main = graft_main,
};

/* A size by the option of `rwkv train` that says it; --mode is short for --middle-mode. */
static const char *size_name(const char *option)
{
    const rk_size_spec *s;
    const char *name = strcmp(option, "mode") ? option : "middle-mode";
    for (int i = 0; (s = rk_size_at(&rk_arch_wuneng, i)); i++)
        if (s->option.name && !strcmp(s->option.name, name))
            return s->name;
    return option;
}

/* A folder, unless the ending says otherwise. */
static rk_save_options save_options(const graft_options *o)
{
    rk_error ignored;
    rk_save_container container;
    const bool file = rk_save_container_of(o->out, &container, &ignored) == RK_OK;
    return (rk_save_options){.keep_types = true,
                             .names = file ? RK_SAVE_OWN : RK_SAVE_HF,
                             .container = file ? container : RK_SAVE_SAFETENSORS,
                             .overwrite = o->force};
}

/* The layers that get no heads. */
static rk_status find_layers(const graft_options *o, const rk_model *host, rk_layer_set *kept,
                             rk_error *err)
{
    int64_t n_auto = 0;
    const rk_status st = rk_hybrid_parse(o->layers, host->hp.n_layer, kept, &n_auto, err);
    return st == RK_OK && n_auto > 0
               ? rk_fail(err, RK_ERR_ARG,
                         "--layers is '%.40s', expected all or a list such as 0-3,5", o->layers)
               : st;
}

static rk_status graft(const graft_options *o, rk_error *err)
{
    rk_layer_set kept;
    rk_model *host = NULL, *from = NULL, *made = NULL;
    rk_size sizes[RK_OPT_NAMED_MAX];
    for (int i = 0; i < o->sizes.n; i++)
        sizes[i] = (rk_size){size_name(o->sizes.at[i].name), o->sizes.at[i].value};
    rk_status st = rk_model_open(&host, o->model, err);
    if (st == RK_OK && o->from)
        st = rk_model_open(&from, o->from, err);
    if (st == RK_OK && o->layers)
        st = find_layers(o, host, &kept, err);
    const rk_graft how = {.sizes = sizes,
                          .n_sizes = o->sizes.n,
                          .from = from,
                          .out_scale = o->out_scale,
                          .kept = o->layers ? &kept : NULL,
                          .seed = (uint64_t)o->seed};
    const rk_save_options save = save_options(o);
    if (st == RK_OK)
        st = rk_graft_new(&made, host, &how, err);
    if (st == RK_OK)
        st = rk_model_save(made, o->out, &save, err);
    if (st == RK_OK && !o->common.quiet)
        fprintf(stderr, "%s: %" PRId64 " tensors beside the host's\n", o->out,
                made->n_params - host->n_params);
    rk_graft_close(made);
    rk_model_close(from);
    rk_model_close(host);
    return st;
}

static int graft_main(int argc, char **argv)
{
    graft_options o = {.seed = 42};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_graft, argc, argv, &o, &status))
        return status;
    rk_command_note_model(&o.common, o.model);
    const rk_status st = graft(&o, &err);
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
