/* compress.c: `rwkv compress`: smaller forms of a model's parts, and what its commands share. */
#include "cli/compress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/text_input.h"

/* A new one is a file and a line here. Ends with NULL. */
static const rk_command *const commands[] = {&rk_cmd_compress_svd,
                                             &rk_cmd_compress_predictor,
                                             &rk_cmd_compress_head,
                                             &rk_cmd_compress_int8,
                                             &rk_cmd_compress_all,
                                             &rk_cmd_compress_dense,
                                             NULL};

const rk_command rk_cmd_compress = {
    .name = "compress",
    .summary = "smaller forms of a model's parts: low-rank pairs, sparse records, a head of "
               "clusters, bytes",
    .usage = "COMMAND [options]",
    .examples = "  rwkv compress svd -m model.safetensors --rank 1/8 -o small.safetensors\n"
                "  rwkv compress dense -m small.safetensors -o model.pth",
    .commands = commands,
};

/* ---- what its commands share ---- */

rk_status rk_compress_begin(rk_compress_job *j, rk_error *err)
{
    rk_save_container container;
    rk_status st = rk_command_refuse_same(j->model, j->out, err);
    if (st == RK_OK)
        st = rk_save_container_of(j->out, &container, err);
    if (st == RK_OK && container == RK_SAVE_GGUF && j->no_gguf)
        st = rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: llama.cpp has no %s, so that a .gguf file cannot hold it; a .safetensors or "
            ".pth file can",
            j->out, j->no_gguf);
    if (st == RK_OK)
        st = rk_command_try_output(j->out, j->force, err);
    if (st == RK_OK)
        st = rk_interrupt_open(&j->interrupt, err);
    if (st == RK_OK)
        st = rk_command_engine(&j->engine, j->common, rk_interrupt_came, j->interrupt, err);
    if (st == RK_OK)
        st = rk_command_model(&j->host, j->common, j->model, err);
    if (st == RK_OK && container == RK_SAVE_GGUF)
        st = rk_command_gguf_vocab(&j->tokenizer, j->common, j->host, j->model, NULL, err);
    return st;
}

rk_status rk_compress_tokens(const rk_compress_job *j, const char *data, const char *vocab,
                             int64_t most, int32_t **ids, int64_t *n, rk_error *err)
{
    rk_text_input text;
    rk_tokenizer *tokenizer = NULL;
    rk_status st = rk_text_input_open(&text, data, j->common->quiet, err);
    *ids = malloc((size_t)most * sizeof **ids);
    if (st == RK_OK)
        st = *ids ? rk_command_tokenizer(&tokenizer, j->common, vocab, j->host, j->model, err)
                  : rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " tokens", most);
    if (st == RK_OK) {
        *n = rk_min_i64(rk_tokenizer_encode(tokenizer, text.text, text.n, *ids, most), most);
        if (*n < 0)
            st = rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens of a text");
    }
    rk_tokenizer_free(tokenizer);
    rk_text_input_close(&text);
    return st;
}

static rk_dtype type_of(void *user, const rk_param *p, rk_dtype own)
{
    return rk_remade_type(user, p, own);
}

rk_status rk_compress_save(rk_compress_job *j, const rk_model *made, rk_error *err)
{
    rk_meter meter = rk_meter_begin(j->out, "MB", 1e6, j->common->quiet);
    const rk_save_plan plan = {.type = type_of, .user = j->host};
    const rk_save_options save = {.plan = &plan,
                                  .pool = rk_engine_pool(j->engine),
                                  .tokenizer = j->tokenizer,
                                  .overwrite = j->force,
                                  .progress = rk_meter_progress,
                                  .progress_user = &meter,
                                  .abort = rk_interrupt_came,
                                  .abort_user = j->interrupt};
    const rk_status st = rk_model_save(made, j->out, &save, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        rk_command_note_gguf(j->common, made, j->out);
    return st;
}

int rk_compress_end(rk_compress_job *j, rk_status st, const rk_error *err)
{
    const int signal = j->interrupt ? rk_interrupt_signal(j->interrupt) : 0;
    rk_tokenizer_free(j->tokenizer);
    rk_model_close(j->host);
    rk_engine_free(j->engine);
    rk_interrupt_close(j->interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(err);
}
