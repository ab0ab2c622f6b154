/* quantize.c: `rwkv quantize`: a model with its matrices in fewer bits. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "cli/text_input.h"
#include "compress/quantize.h"
#include "infer/engine.h"

enum { CTX_DEFAULT = 512 }; /* of calibration windows, where the model does not say */

typedef struct quantize_options {
    rk_common_options common;
    const char *in, *out, *type, *calibrate, *vocab;
    int64_t calibrate_tokens;
    bool force;
} quantize_options;

#define AT(member) offsetof(quantize_options, member)

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "IN", AT(in), 0, 0, RK_REQUIRED, "a model, of any container"},
    {NULL, 0, RK_OPT_OPERAND, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "the file to write; quantised types need .gguf"},
    {"type", 0, RK_OPT_TEXT, "TYPE", AT(type), 0, 0, RK_REQUIRED,
     "one type for all large matrices: q8_0, q6_k, q5_k, q4_k, q5_1, q5_0, q4_1, q4_0, bf16, f16; "
     "or a recipe for RWKV: rk8, rk5, rk4"},
    {"calibrate", 0, RK_OPT_TEXT, "FILE", AT(calibrate), 0, 0, NULL,
     "a text like those the model will meet: rounding errors are weighed by its activations there; "
     "- is stdin"},
    {"calibrate-tokens", 0, RK_OPT_INT, "N", AT(calibrate_tokens), 2, 1e9, "32768",
     "tokens of it at most"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world or a file: the vocabulary that the file takes along"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(quantize_options, common),
};

static int quantize_main(int argc, char **argv);

const rk_command rk_cmd_quantize = {
    .name = "quantize",
    .summary = "quantise the matrices of a model to 8 to 4 bits",
    .usage = "IN OUT --type TYPE [--calibrate TEXT]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv quantize model.safetensors model-q8_0.gguf --type q8_0\n"
                "  rwkv quantize model.pth model-rk4.gguf --type rk4 --calibrate book.txt",
    .main = quantize_main,
};

typedef struct job {
    const quantize_options *o;
    const rk_recipe *recipe;
    rk_engine *engine;
    rk_model *model;
    rk_tokenizer *text_tokenizer, *file_tokenizer;
    rk_calibration *calibration;
    rk_save_container container;
} job;

/* The text's first tokens, read by the model; a token is at most RK_VOCAB_TOKEN_MAX bytes, mostly a few. */
static rk_status calibrate(job *j, rk_error *err)
{
    rk_text_input text;
    rk_meter meter = rk_meter_begin("calibration", "tokens", 1.0, j->o->common.quiet);
    rk_status st = rk_text_input_open(&text, j->o->calibrate, j->o->common.quiet, err);
    const int64_t max = j->o->calibrate_tokens;
    int32_t *ids = malloc((size_t)max * sizeof *ids);
    if (st == RK_OK)
        st = ids ? rk_command_tokenizer(&j->text_tokenizer, &j->o->common, j->o->vocab, j->model,
                                        j->o->in, err)
                 : rk_fail(err, RK_ERR_NOMEM, "out of memory for %lld tokens", (long long)max);
    if (st == RK_OK) {
        int64_t n = rk_tokenizer_encode(j->text_tokenizer, text.text, text.n, ids, max);
        n = n < max ? n : max;
        st = n < 0 ? rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens of a text")
                   : rk_calibrate(&j->calibration, j->model, j->engine, ids, n,
                                  j->model->ctx_len > 0 ? j->model->ctx_len : CTX_DEFAULT,
                                  rk_meter_progress, &meter, err);
    }
    rk_meter_end(&meter);
    free(ids);
    rk_text_input_close(&text);
    return st;
}

/* Bytes of a file; of a folder or an index 0. */
static double file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) ? (double)info.st_size : 0.0;
}

/* "in.pth, 382.1 MB, 16.01 bits a parameter -> out.gguf, ...". */
static void print_sizes(const job *j)
{
    const char *const paths[2] = {j->o->in, j->o->out};
    rk_model_info info;
    rk_model_get_info(j->model, &info);
    for (int i = 0; i < 2; i++) {
        const double bytes = file_bytes(paths[i]);
        fprintf(stderr, "%s%s", i ? " -> " : "", paths[i]);
        if (bytes > 0.0)
            fprintf(stderr, ", %.1f MB, %.2f bits a parameter", bytes / 1e6,
                    8.0 * bytes / (double)info.n_params);
    }
    fputc('\n', stderr);
}

static rk_status work(job *j, rk_interrupt *interrupt, rk_error *err)
{
    const quantize_options *o = j->o;
    const rk_log log = rk_command_log(&o->common);
    rk_meter meter = {0};
    rk_status st = rk_command_engine(&j->engine, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_command_model(&j->model, &o->common, o->in, err);
    if (st == RK_OK && j->container == RK_SAVE_GGUF)
        st = rk_command_gguf_vocab(&j->file_tokenizer, &o->common, j->model, o->in, o->vocab, err);
    if (st == RK_OK && o->calibrate)
        st = calibrate(j, err);
    meter = rk_meter_begin(o->out, "MB", 1e6, o->common.quiet);
    if (st == RK_OK)
        st = rk_quantize(j->model, o->out,
                         &(rk_quantize_options){.recipe = j->recipe,
                                                .calibration = j->calibration,
                                                .pool = rk_engine_pool(j->engine),
                                                .tokenizer = j->file_tokenizer,
                                                .log = &log,
                                                .container = j->container,
                                                .overwrite = o->force,
                                                .progress = rk_meter_progress,
                                                .progress_user = &meter,
                                                .abort = rk_interrupt_came,
                                                .abort_user = interrupt},
                         err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_file_check(j->model->file, err);
    if (st == RK_OK && !o->common.quiet)
        print_sizes(j);
    if (st == RK_OK)
        rk_command_note_gguf(&o->common, j->model, o->out);
    return st;
}

static int quantize_main(int argc, char **argv)
{
    quantize_options o = {.calibrate_tokens = 32768};
    int status = 0;
    rk_error err = {0};
    rk_interrupt *interrupt = NULL;
    if (!rk_command_options(&rk_cmd_quantize, argc, argv, &o, &status))
        return status;
    job j = {.o = &o, .recipe = rk_recipe_find(o.type)};
    rk_status st = j.recipe ? RK_OK
                            : rk_fail(&err, RK_ERR_ARG, "--type '%s': expected one of %s", o.type,
                                      rk_recipe_names);
    if (st == RK_OK)
        st = rk_command_try_output(o.out, o.force, &err);
    if (st == RK_OK)
        st = rk_save_container_of(o.out, &j.container, &err);
    if (st == RK_OK)
        st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = work(&j, interrupt, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_calibration_free(j.calibration);
    rk_tokenizer_free(j.file_tokenizer);
    rk_tokenizer_free(j.text_tokenizer);
    rk_model_close(j.model);
    rk_engine_free(j.engine);
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
