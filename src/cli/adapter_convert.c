/* adapter_convert.c: `rwkv adapter convert`: an adapter, or tuned states, for another program. */
#include <string.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/state_in.h"
#include "infer/session.h"
#include "infer/tuned_file.h"
#include "io/path.h"
#include "tune/adapter_file.h"

typedef struct convert_options {
    rk_common_options common;
    const char *in, *out, *model, *start;
    double alpha;
    int to;                      /* rk_adapter_format: position in FORMATS */
    int state_layout, in_layout; /* positions in RK_STATE_LAYOUTS */
    bool force, force_base;
} convert_options;

#define AT(member) offsetof(convert_options, member)
#define FORMATS "auto|hf|rwkv-peft|gguf" /* in the order of rk_adapter_format */

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "IN", AT(in), 0, 0, RK_REQUIRED,
     "an adapter or tuned states, of any kind that is read"},
    {"output", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: a folder, .pth, .safetensors, .gguf; of states .pth, .safetensors, .state, "
     ".st"},
    {"to", 0, RK_OPT_CHOICE, FORMATS, AT(to), 0, 0, "auto",
     "whose format an adapter gets: peft's folder, RWKV-PEFT's file, llama.cpp's; auto: by OUT's "
     "name"},
    {"alpha", 0, RK_OPT_ABOVE, "X", AT(alpha), 0, 0, NULL,
     "alpha of LoRA in a file that does not say it, such as RWKV-PEFT's"},
    {"start", 0, RK_OPT_TEXT, "FILE", AT(start), 0, 0, "init_pissa.pth beside IN",
     "what PiSSA, OLoRA or LoRA-GA began with"},
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, NULL,
     "the model IN is for: checked, and asked for sizes that IN does not show"},
    {"force-base", 0, RK_OPT_FLAG, NULL, AT(force_base), 0, 0, NULL,
     "take an adapter made for another model of the same shapes"},
    {"state-layout", 0, RK_OPT_CHOICE, RK_STATE_LAYOUTS, AT(state_layout), 0, 0, "auto",
     "order of the states in OUT; auto: ai00 for .state and .st, else vk"},
    {"in-layout", 0, RK_OPT_CHOICE, RK_STATE_LAYOUTS, AT(in_layout), 0, 0, "auto",
     "order of the states in IN; rwkv.cpp needs -m"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(convert_options, common),
};

static int convert_main(int argc, char **argv);

const rk_command rk_cmd_adapter_convert = {
    .name = "adapter convert",
    .summary = "write an adapter or tuned states for another program",
    .usage = "IN -o OUT [--to " FORMATS "] [--state-layout " RK_STATE_LAYOUTS "] [options]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv adapter convert rwkv-0.pth -o style --alpha 32\n"
                "  rwkv adapter convert state.pth -o style.state --state-layout ai00",
    .main = convert_main,
};

/* ---- states ---- */

static rk_status convert_states(const convert_options *o, const rk_model *m, rk_error *err)
{
    rk_file *f = NULL;
    const rk_tuned_layout to = rk_state_layout_chosen(o->state_layout);
    const bool by_name = to == RK_TUNED_BY_NAME && rk_tuned_layout_of(o->out) == RK_TUNED_KEY_VALUE;
    rk_status st = rk_tuned_file_open(&f, o->in, rk_state_layout_chosen(o->in_layout), m, err);
    if (st == RK_OK)
        st = rk_tuned_file_write(f, o->out, to, by_name || o->state_layout == RK_STATE_LAYOUT_AI00,
                                 o->force, err);
    if (st == RK_OK)
        st = rk_file_check(f, err);
    rk_file_close(f);
    return st;
}

/* Is IN a file of tuned states? What cannot be opened is left to be refused as an adapter. */
static bool is_states(const convert_options *o)
{
    rk_file *f = NULL;
    if (rk_state_layout_chosen(o->in_layout) == RK_TUNED_RWKV_CPP)
        return true;
    const bool states = !rk_path_is_folder(o->in) &&
                        rk_file_open_single(&f, o->in, NULL) == RK_OK && rk_file_is_tuned_state(f);
    rk_file_close(f);
    return states;
}

/* ---- adapters ---- */

static rk_status convert_adapter(const convert_options *o, const rk_model *m, rk_error *err)
{
    rk_adapter_set *s = NULL;
    const rk_adapter_reading from = {.alpha = o->alpha, .start = o->start};
    const rk_adapter_writing to = {
        .format = (rk_adapter_format)o->to, .overwrite = o->force, .base = o->model};
    rk_status st = rk_adapter_open(&s, o->in, &from, err);
    if (st == RK_OK && m)
        st = rk_adapter_set_check(s, m, o->in, o->force_base, err);
    if (st == RK_OK)
        st = rk_adapter_save(s, o->out, &to, err);
    rk_adapter_set_free(s);
    return st;
}

static rk_status work(const convert_options *o, rk_error *err)
{
    rk_model *m = NULL;
    rk_status st = o->model ? rk_command_model(&m, &o->common, o->model, err) : RK_OK;
    if (st == RK_OK)
        st = is_states(o) ? convert_states(o, m, err) : convert_adapter(o, m, err);
    rk_model_close(m);
    return st;
}

static int convert_main(int argc, char **argv)
{
    convert_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_adapter_convert, argc, argv, &o, &status))
        return status;
    return work(&o, &err) == RK_OK ? 0 : rk_command_fail(&err);
}
