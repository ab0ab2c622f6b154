/* compress_all.c: `rwkv compress all`: the parts one after the other, each by its own command, in a folder beside the
 * output that is removed at the end. */
#define _XOPEN_SOURCE 700 /* nftw */

#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/compress.h"
#include "cli/text_input.h"
#include "cli/training.h"
#include "io/atomic_file.h"

enum {
    PATH_SIZE = 4096,
    NAME_SIZE = 64,
    WORDS_MAX = 24,
    HELD_OUT = 10,    /* the last tenth of the text only judges */
    CTX_DEFAULT = 512 /* where the model does not say */
};

typedef struct all_options {
    rk_common_options common;
    const char *model, *out, *data, *rank;
    int64_t train_steps, clusters, emb_rows;
    double share;
    bool int8, force;
} all_options;

#define AT(member) offsetof(all_options, member)

static const rk_option rows[] = {
    RK_MODEL_OPERAND(all_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model of rwkv4, rwkv5, rwkv6, rwkv7 or a form of these"},
    {"data", 0, RK_OPT_TEXT, "TEXT", AT(data), 0, 0, RK_REQUIRED,
     "what parts learn from; its last tenth only judges"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: .safetensors or .pth"},
    {"train-steps", 0, RK_OPT_INT, "N", AT(train_steps), 0, 1e9, "0",
     "of training on with low-rank pairs; 0: matrices stay whole"},
    {"rank", 0, RK_OPT_TEXT, "R", AT(rank), 0, 0, "1/8 with --train-steps",
     "of these pairs, as in compress svd"},
    {"rho", 0, RK_OPT_NUMBER, "X", AT(share), 0, 1, "twice what is active",
     "share of the channel mix's records that a token reads"},
    {"clusters", 0, RK_OPT_INT, "N", AT(clusters), 2, RK_VOCAB_MAX,
     "the root of n_vocab, at most 200", "of the hierarchical head"},
    {"emb-rows", 0, RK_OPT_INT, "N", AT(emb_rows), 1, RK_VOCAB_MAX, "1000",
     "embeddings that are held where --mem-max does not let all of them be"},
    {"int8", 0, RK_OPT_FLAG, NULL, AT(int8), 0, 0, NULL,
     "and then large matrices in bytes, as compress int8 makes them; OUT is .safetensors"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(all_options, common),
};

static int all_main(int argc, char **argv);

const rk_command rk_cmd_compress_all = {
    .name = "compress all",
    .summary = "all parts one after the other, with the perplexity after each",
    .usage = "-m MODEL --data TEXT [--rank R --train-steps N] [--rho X] [--int8] -o OUT",
    .options = {rows, RK_COUNT(rows)},
    .examples =
        "  rwkv compress all -m model.safetensors --data text.txt -o lite.safetensors\n"
        "  rwkv compress all -m model.pth --data text.txt --rank 1/8 --train-steps 500 --rho 0.2 "
        "-o lite.pth",
    .main = all_main,
};

typedef struct job {
    const all_options *o;
    char folder[PATH_SIZE - NAME_SIZE]; /* so that names in it fit */
    char train[PATH_SIZE], held[PATH_SIZE], model[PATH_SIZE];
    const char *ending;
    bool last;                 /* the part at hand writes the output */
    int64_t clusters, ctx_len; /* ctx_len: of windows that are judged by */
} job;

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
    (void)s;
    (void)type;
    (void)at;
    return remove(path);
}

static bool path_in(const job *j, const char *name, const char *ending, char *path)
{
    const int n = snprintf(path, PATH_SIZE, "%s/%s%s", j->folder, name, ending);
    return n > 0 && n < PATH_SIZE;
}

static rk_status write_text(const char *path, const char *text, size_t n, rk_error *err)
{
    FILE *f = fopen(path, "wb");
    const bool ok = f && fwrite(text, 1, n, f) == n;
    if ((f && fclose(f) != 0) || !ok)
        return rk_fail(err, RK_ERR_IO, "%s: cannot be written", path);
    return RK_OK;
}

/* The text in two, between lines where there are some. */
static rk_status cut_text(const job *j, const rk_text_input *t, rk_error *err)
{
    if (t->n < 4 * HELD_OUT)
        return rk_fail(err, RK_ERR_ARG, "%s: a text of %zu bytes, expected %d at least", t->name,
                       t->n, 4 * HELD_OUT);
    size_t at = t->n - t->n / HELD_OUT;
    while (at + 1 < t->n && t->text[at - 1] != '\n')
        at++;
    if (at >= t->n - 1)
        at = t->n - t->n / HELD_OUT;
    const rk_status st = write_text(j->train, t->text, at, err);
    return st == RK_OK ? write_text(j->held, t->text + at, t->n - at, err) : st;
}

/* Signals are held between the parts: the next one takes them, and what comes behind the last acts when the folder
 * is gone. A second signal within a part ends the program at once, and the folder stays. */
static rk_status make_folder(job *j, rk_error *err)
{
    const int n = snprintf(j->folder, sizeof j->folder, "%s.parts-XXXXXX", j->o->out);
    sigset_t held;
    sigemptyset(&held);
    sigaddset(&held, SIGINT);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGHUP);
    sigprocmask(SIG_BLOCK, &held, NULL);
    if (n >= (int)sizeof j->folder || !mkdtemp(j->folder)) {
        j->folder[0] = '\0';
        return rk_fail(err, RK_ERR_IO, "%s: no folder can be made beside it", j->o->out);
    }
    if (!path_in(j, "train", ".txt", j->train) || !path_in(j, "held-out", ".txt", j->held))
        return rk_fail(err, RK_ERR_ARG, "%s: its path is too long", j->o->out);
    return RK_OK;
}

static rk_status begin(job *j, rk_error *err)
{
    rk_model *m = NULL;
    rk_save_container container;
    rk_text_input text;
    rk_status st = rk_command_refuse_same(j->o->model, j->o->out, err);
    if (st == RK_OK)
        st = rk_save_container_of(j->o->out, &container, err);
    if (st == RK_OK && j->o->rank && j->o->train_steps == 0)
        st = rk_fail(err, RK_ERR_ARG,
                     "--rank: low-rank pairs are to be trained on: expected --train-steps, too");
    if (st == RK_OK && container == RK_SAVE_GGUF)
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: llama.cpp has no such parts, so that a .gguf file cannot hold them; a "
                     ".safetensors or .pth file can",
                     j->o->out);
    if (st == RK_OK && j->o->int8 && container != RK_SAVE_SAFETENSORS)
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: matrices of bytes with ranges are written to .safetensors files only",
                     j->o->out);
    if (st == RK_OK)
        st = rk_command_try_output(j->o->out, j->o->force, err);
    if (st == RK_OK)
        st = rk_model_open(&m, j->o->model, err);
    if (st != RK_OK)
        return st;
    j->clusters = j->o->clusters > 0
                      ? j->o->clusters
                      : rk_min_i64((int64_t)lround(sqrt((double)m->hp.n_vocab)), 200);
    j->ctx_len = m->ctx_len > 0 ? m->ctx_len : CTX_DEFAULT;
    rk_model_close(m);
    j->ending = container == RK_SAVE_PTH ? ".pth" : ".safetensors";
    snprintf(j->model, sizeof j->model, "%s", j->o->model);
    st = rk_text_input_open(&text, j->o->data, j->o->common.quiet, err);
    if (st == RK_OK)
        st = make_folder(j, err);
    if (st == RK_OK)
        st = cut_text(j, &text, err);
    rk_text_input_close(&text);
    return st;
}

/* ---- the parts ---- */

/* Words of a command, which may not change. */
static int call(const job *j, const rk_command *c, const char *const *words, int n)
{
    char threads[32], *argv[WORDS_MAX];
    int argc = 0;
    for (int i = 0; i < n; i++)
        argv[argc++] = (char *)(uintptr_t)words[i];
    if (j->last && j->o->force)
        argv[argc++] = (char *)(uintptr_t) "--force";
    if (j->o->common.n_threads > 0) {
        snprintf(threads, sizeof threads, "-t%d", (int)j->o->common.n_threads);
        argv[argc++] = threads;
    }
    const rk_common_options *o = &j->o->common;
    const struct {
        const char *name, *value;
    } more[] = {{"--path", o->path}, {"--act", o->act}};
    for (size_t i = 0; i < RK_COUNT(more); i++)
        if (more[i].value) {
            argv[argc++] = (char *)(uintptr_t)more[i].name;
            argv[argc++] = (char *)(uintptr_t)more[i].value;
        }
    if (o->quiet)
        argv[argc++] = (char *)(uintptr_t) "-q";
    if (o->verbose)
        argv[argc++] = (char *)(uintptr_t) "-v";
    return c->main(argc, argv);
}
#define CALL(j, c, ...)                                                                            \
    call(j, c, (const char *const[]){__VA_ARGS__},                                                 \
         (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static int tell(const job *j, const char *part)
{
    char ctx[32];
    snprintf(ctx, sizeof ctx, "%" PRId64, j->ctx_len);
    printf("%s\n", part);
    fflush(stdout);
    return CALL(j, &rk_cmd_eval, "-m", j->model, "--ppl", j->held, "--ctx", ctx);
}

/* Where a part writes: the last one is the output. */
static void output_in(job *j, const char *name, bool last, char *path)
{
    j->last = last;
    if (last)
        snprintf(path, PATH_SIZE, "%s", j->o->out);
    else
        path_in(j, name, j->ending, path);
}

/* The model that the next part begins with. */
static int step_to(job *j, const char *path, const char *part)
{
    j->last = false;
    snprintf(j->model, sizeof j->model, "%s", path);
    return tell(j, part);
}

/* As `rwkv train` does, but for what it says of a folder that is removed. */
static int train_on(job *j, const char *folder)
{
    rk_training_options t = rk_training_defaults();
    t.common = j->o->common;
    t.run.model.init_from = j->model;
    t.run.model.steps = j->o->train_steps;
    t.run.model.lr = 1e-4;
    t.run.val_frac = 0.0;
    t.run.dir = folder;
    t.data.at[t.data.n++] = j->train;
    return rk_training_run(&t, NULL);
}

static int low_rank(job *j)
{
    char to[PATH_SIZE], run[PATH_SIZE];
    path_in(j, "pairs", j->ending, to);
    path_in(j, "run", "", run);
    int status = CALL(j, &rk_cmd_compress_svd, "-m", j->model, "--rank",
                      j->o->rank ? j->o->rank : "1/8", "-o", to);
    if (status == 0)
        status = step_to(j, to, "low-rank pairs");
    if (status == 0)
        status = train_on(j, run);
    return status == 0 ? step_to(j, run, "trained on") : status;
}

static int records(job *j)
{
    char to[PATH_SIZE], share[32];
    path_in(j, "records", j->ending, to);
    snprintf(share, sizeof share, "%.9g", j->o->share);
    const int status = j->o->share > 0 ? CALL(j, &rk_cmd_compress_predictor, "-m", j->model,
                                              "--data", j->train, "-o", to, "--share", share)
                                       : CALL(j, &rk_cmd_compress_predictor, "-m", j->model,
                                              "--data", j->train, "-o", to);
    return status == 0 ? step_to(j, to, "sparse channel mix") : status;
}

static int head(job *j)
{
    char to[PATH_SIZE], clusters[32], rows_held[32];
    output_in(j, "head", !j->o->int8, to);
    snprintf(clusters, sizeof clusters, "%" PRId64, j->clusters);
    snprintf(rows_held, sizeof rows_held, "%" PRId64, j->o->emb_rows);
    const int status = j->o->emb_rows > 0
                           ? CALL(j, &rk_cmd_compress_head, "-m", j->model, "--data", j->train,
                                  "--clusters", clusters, "-o", to, "--emb-rows", rows_held)
                           : CALL(j, &rk_cmd_compress_head, "-m", j->model, "--data", j->train,
                                  "--clusters", clusters, "-o", to);
    return status == 0 ? step_to(j, to, "hierarchical head") : status;
}

static int bytes(job *j)
{
    char to[PATH_SIZE];
    output_in(j, "int8", true, to);
    const int status = CALL(j, &rk_cmd_compress_int8, "-m", j->model, "-o", to);
    return status == 0 ? step_to(j, to, "bytes with ranges") : status;
}

static int all_main(int argc, char **argv)
{
    all_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_compress_all, argc, argv, &o, &status))
        return status;
    job j = {.o = &o};
    sigset_t before;
    sigprocmask(SIG_BLOCK, NULL, &before);
    rk_status st = begin(&j, &err);
    if (st == RK_OK)
        status = tell(&j, "as it is");
    if (st == RK_OK && status == 0 && o.train_steps > 0)
        status = low_rank(&j);
    if (st == RK_OK && status == 0)
        status = records(&j);
    if (st == RK_OK && status == 0)
        status = head(&j);
    if (st == RK_OK && status == 0 && o.int8)
        status = bytes(&j);
    if (j.folder[0])
        nftw(j.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return st == RK_OK ? status : rk_command_fail(&err);
}
