/* convert.c: `rwkv convert`: a model file in another container or number format. */
#include "base/num.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "format/format.h"
#include "format/relatives.h"

typedef struct convert_options {
    rk_common_options common;
    const char *in, *out, *vocab;
    int type;   /* position in TYPES */
    int names;  /* rk_save_names: position in NAMES */
    int format; /* rk_save_container: position in FORMATS */
    bool force;
} convert_options;

#define AT(member) offsetof(convert_options, member)
/* The first one keeps them; the dtype beside it is not looked at. */
#define TYPES "keep|bf16|f16|f32"
static const rk_dtype types[] = {RK_F32, RK_BF16, RK_F16, RK_F32};
#define NAMES "rwkv|hf|fla"                 /* in the order of rk_save_names */
#define FORMATS "auto|safetensors|pth|gguf" /* in the order of rk_save_container */

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "IN", AT(in), 0, 0, RK_REQUIRED, "a model, of any container"},
    {NULL, 0, RK_OPT_OPERAND, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: .safetensors, .pth, .gguf, or a folder with --names hf or fla"},
    {"type", 0, RK_OPT_CHOICE, TYPES, AT(type), 0, 0, "keep",
     "number format of the matrices, rounded to nearest; vectors become f32; keep: unchanged"},
    {"names", 0, RK_OPT_CHOICE, NAMES, AT(names), 0, 0, "rwkv",
     "tensor names: those of RWKV-LM; in a folder those of transformers, or of fla (rwkv7)"},
    {"format", 0, RK_OPT_CHOICE, FORMATS, AT(format), 0, 0, "auto",
     "container of OUT; auto: by its ending"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world or a file: the vocabulary that a .gguf file takes along"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(convert_options, common),
};

static int convert_main(int argc, char **argv);

const rk_command rk_cmd_convert = {
    .name = "convert",
    .summary = "write a model in another container or number format",
    .usage = "IN OUT [--type " TYPES "] [--names " NAMES "] [--format " FORMATS "]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv convert RWKV-x070-World-0.1B.pth model.safetensors\n"
                "  rwkv convert runs/first/model.safetensors first.gguf --type bf16",
    .main = convert_main,
};

static rk_save_options save_options(const convert_options *o, const rk_tokenizer *tokenizer,
                                    rk_meter *meter, rk_interrupt *interrupt)
{
    return (rk_save_options){.keep_types = o->type == 0,
                             .dtype = types[o->type],
                             .tokenizer = tokenizer,
                             .names = (rk_save_names)o->names,
                             .container = (rk_save_container)o->format,
                             .overwrite = o->force,
                             .progress = rk_meter_progress,
                             .progress_user = meter,
                             .abort = rk_interrupt_came,
                             .abort_user = interrupt};
}

/* What OUT is written as, where it is a file; and whether it can be. */
static rk_status choose_format(convert_options *o, rk_error *err)
{
    rk_save_container found = (rk_save_container)o->format;
    if (o->names != RK_SAVE_OWN)
        return o->format == 0 ? RK_OK
                              : rk_fail(err, RK_ERR_ARG,
                                        "--format says what a file is; --names %s makes a folder",
                                        o->names == RK_SAVE_FLA ? "fla" : "hf");
    rk_status st = rk_command_try_output(o->out, o->force, err);
    if (st == RK_OK && o->format == 0)
        st = rk_save_container_of(o->out, &found, err);
    o->format = (int)found;
    return st;
}

static rk_status convert(const convert_options *o, rk_interrupt *interrupt, rk_model **m,
                         rk_tokenizer **tokenizer, rk_error *err)
{
    rk_meter meter = rk_meter_begin(o->out, "MB", 1e6, o->common.quiet);
    rk_status st = rk_command_model(m, &o->common, o->in, err);
    if (st == RK_OK && o->format == RK_SAVE_GGUF)
        st = rk_command_gguf_vocab(tokenizer, &o->common, *m, o->in, o->vocab, err);
    if (st == RK_OK && o->names != RK_SAVE_OWN)
        st = o->vocab ? rk_command_tokenizer(tokenizer, &o->common, o->vocab, *m, o->in, err)
                      : rk_model_own_vocabulary(tokenizer, *m, o->in, err);
    const rk_save_options options = save_options(o, *tokenizer, &meter, interrupt);
    if (st == RK_OK)
        st = rk_model_save(*m, o->out, &options, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_file_check((*m)->file, err);
    if (st == RK_OK && o->names == RK_SAVE_OWN)
        rk_command_note_gguf(&o->common, *m, o->out);
    return st;
}

/* What has been refused as a model, into another container as it is, if that can be done. */
static rk_status convert_relative(const convert_options *o, rk_interrupt *interrupt,
                                  rk_status refused, rk_error *err)
{
    rk_file *f = NULL;
    rk_error why;
    rk_meter meter = rk_meter_begin(o->out, "MB", 1e6, o->common.quiet);
    const rk_save_options options = save_options(o, NULL, &meter, interrupt);
    rk_status st = rk_file_open(&f, o->in, &why);
    if (st == RK_ERR_NOMEM || st == RK_ERR_IO)
        return rk_fail(err, st, "%s", why.msg);
    if (st != RK_OK || !rk_relative_arch(f)) {
        rk_file_close(f);
        return refused;
    }
    st = rk_file_save(f, o->out, &options, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_file_check(f, err);
    rk_file_close(f);
    return st;
}

static int convert_main(int argc, char **argv)
{
    convert_options o = {0};
    rk_interrupt *interrupt = NULL;
    rk_model *m = NULL;
    rk_tokenizer *tokenizer = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_convert, argc, argv, &o, &status))
        return status;
    rk_status st = choose_format(&o, &err);
    if (st == RK_OK)
        st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = convert(&o, interrupt, &m, &tokenizer, &err);
    if (st == RK_ERR_UNSUPPORTED && !m)
        st = convert_relative(&o, interrupt, st, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_tokenizer_free(tokenizer);
    rk_model_close(m);
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
