/* logits.c: `rwkv logits`: the scores after given tokens as a NumPy file. Made for comparing with
 * other implementations, so it feeds exactly the tokens and needs no vocabulary. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "cli/adapter_in.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/mem_max.h"
#include "cli/state_in.h"
#include "io/npy.h"
#include "model/model.h"

typedef struct logits_options {
    rk_common_options common;
    const char *model, *tokens, *out;
    rk_state_in state_in;
    rk_adapter_in adapter;
    bool all, force;
} logits_options;

#define AT(member) offsetof(logits_options, member)

static const rk_option rows[] = {
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model: .pth, .safetensors, .gguf or .bin"},
    RK_MODEL_OPERAND(logits_options, model),
    {"tokens", 0, RK_OPT_TEXT, "1,2,3", AT(tokens), 0, 0, RK_REQUIRED,
     "token ids; nothing is fed before them"},
    {"out", 'o', RK_OPT_TEXT, "FILE", AT(out), 0, 0, RK_REQUIRED, "the .npy file to write"},
    {"all", 0, RK_OPT_FLAG, NULL, AT(all), 0, 0, NULL,
     "logits after every token, f32 (T,V), instead of the last, f32 (V)"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite the file of -o"},
    RK_STATE_IN_ROWS(logits_options, state_in),
    RK_ADAPTER_IN_ROWS(logits_options, adapter),
    RK_MEM_ROWS(logits_options, common),
    RK_CACHE_ROWS(logits_options, common),
    RK_COMMON_ROWS(logits_options, common),
};

static int logits_main(int argc, char **argv);

const rk_command rk_cmd_logits = {
    .name = "logits",
    .summary = "write the logits after given tokens to a NumPy file",
    .usage = "-m FILE --tokens 1,2,3 -o OUT.npy [--all]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv logits -m model.safetensors --tokens 73,116,32 -o last.npy\n"
                "  rwkv logits -m model.safetensors --tokens 73,116,32 -o all.npy --all",
    .main = logits_main,
};

/* Ids between commas; *n is their number. ids has room for all of them. */
static rk_status parse_tokens(const char *text, int32_t *ids, int64_t *n, rk_error *err)
{
    const char *p = text;
    for (*n = 0;; p++) {
        char *end = NULL;
        errno = 0;
        const long long id = strtoll(p, &end, 10);
        if (end == p || errno || id < 0 || id > INT32_MAX || (*end && *end != ','))
            return rk_fail(err, RK_ERR_ARG, "--tokens, id %" PRId64 ": '%.20s' is no token id",
                           *n + 1, p);
        ids[(*n)++] = (int32_t)id;
        p = end;
        if (!*p)
            return RK_OK;
    }
}

static int64_t count_tokens(const char *text)
{
    int64_t n = 1;
    for (; *text; text++)
        n += *text == ',';
    return n;
}

typedef struct job {
    const logits_options *o;
    rk_engine *engine;
    rk_model *model;
    rk_session *session;
    rk_adapters *adapters; /* NULL: none */
    int32_t *tokens;
    int64_t n_tokens;
    float *logits;
} job;

static rk_status open_all(job *j, rk_interrupt *interrupt, rk_error *err)
{
    j->tokens = calloc((size_t)count_tokens(j->o->tokens), sizeof *j->tokens);
    if (!j->tokens)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens");
    rk_status st = parse_tokens(j->o->tokens, j->tokens, &j->n_tokens, err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&j->o->common, j->o->adapter.files.n > 0, "--adapter", err);
    if (st == RK_OK)
        st = rk_command_engine(&j->engine, &j->o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_state_in_model(&j->model, &j->o->common, j->o->model, &j->o->state_in, err);
    if (st == RK_OK)
        st = rk_mem_max_apply(&j->o->common, j->model, j->engine,
                              &(rk_mem_use){1, 1, j->o->all ? j->n_tokens : 1, 0}, err);
    if (st == RK_OK)
        st = rk_session_new(&j->session, j->model, j->engine, err);
    if (st == RK_OK)
        st = rk_adapter_in_use(&j->adapters, &j->o->adapter, j->model, j->session,
                               j->o->state_in.force_base, err);
    if (st == RK_OK)
        st = rk_state_in_load(j->session, &j->o->state_in, err);
    return st;
}

static rk_status evaluate(job *j, rk_error *err)
{
    const size_t n_vocab = (size_t)j->model->hp.n_vocab;
    const size_t n_rows = j->o->all ? (size_t)j->n_tokens : 1;
    j->logits = calloc(n_rows, n_vocab * sizeof *j->logits);
    if (!j->logits)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %zu rows of %zu scores", n_rows,
                       n_vocab);
    const rk_status st =
        j->o->all ? rk_session_eval_all(j->session, j->tokens, j->n_tokens, j->logits, err)
                  : rk_session_eval(j->session, j->tokens, j->n_tokens, j->logits, err);
    return st == RK_OK ? rk_file_check(j->model->file, err) : st;
}

static rk_status write_scores(const job *j, rk_error *err)
{
    const int64_t n_vocab = j->model->hp.n_vocab;
    const int64_t all[2] = {j->n_tokens, n_vocab}, last[1] = {n_vocab};
    return rk_npy_write(j->o->out, j->logits, j->o->all ? 2 : 1, j->o->all ? all : last,
                        j->o->force, err);
}

static rk_status work(const logits_options *o, rk_interrupt *interrupt, rk_error *err)
{
    job j = {.o = o};
    rk_status st = open_all(&j, interrupt, err);
    if (st == RK_OK)
        st = evaluate(&j, err);
    if (st == RK_OK)
        st = write_scores(&j, err);
    rk_session_free(j.session);
    rk_adapters_free(j.adapters);
    rk_model_close(j.model);
    rk_engine_free(j.engine);
    free(j.tokens);
    free(j.logits);
    return st;
}

static int logits_main(int argc, char **argv)
{
    logits_options o = {0};
    rk_interrupt *interrupt = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_logits, argc, argv, &o, &status))
        return status;
    rk_status st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = rk_state_in_settle(&o.state_in, &o.adapter, &err);
    if (st == RK_OK)
        st = rk_command_try_output(o.out, o.force, &err);
    if (st == RK_OK)
        st = work(&o, interrupt, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
