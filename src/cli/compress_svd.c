/* compress_svd.c: `rwkv compress svd` and `rwkv compress dense`: square matrices as low-rank pairs, and
 * whole matrices again. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/compress.h"
#include "compress/low_rank.h"
#include "compress/whole.h"
#include "model/pair.h"

typedef struct svd_options {
    rk_common_options common;
    const char *model, *out, *rank;
    double share;
    bool force;
} svd_options;

#define AT(member) offsetof(svd_options, member)
#define FORCE_ROW                                                                                  \
    {                                                                                              \
        "force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"                      \
    }

static const rk_option svd_rows[] = {
    RK_MODEL_OPERAND(svd_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model of rwkv4, rwkv5, rwkv6, rwkv7 or a form of these"},
    {"rank", 0, RK_OPT_TEXT, "R", AT(rank), 0, 0, "1/8",
     "of all pairs: a number, or a part of n_embd as 1/8"},
    {"energy", 0, RK_OPT_NUMBER, "X", AT(share), 0, 1, NULL,
     "in the place of --rank, of each kind of matrix the least rank that keeps this share of the "
     "sum "
     "of singular values of every one"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: .safetensors, .pth or .gguf"},
    FORCE_ROW,
    RK_COMMON_ROWS(svd_options, common),
};

static const rk_option dense_rows[] = {
    RK_MODEL_OPERAND(svd_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model with plain low-rank pairs, records or matrices of bytes"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: .safetensors, .pth or .gguf"},
    FORCE_ROW,
    RK_COMMON_ROWS(svd_options, common),
};

static int svd_main(int argc, char **argv);
static int dense_main(int argc, char **argv);

const rk_command rk_cmd_compress_svd = {
    .name = "compress svd",
    .summary = "square matrices as pairs of low rank, to be trained on",
    .usage = "-m MODEL [--rank R | --energy X] -o OUT",
    .options = {svd_rows, RK_COUNT(svd_rows)},
    .examples = "  rwkv compress svd -m model.safetensors --rank 1/8 -o small.safetensors\n"
                "  rwkv compress svd -m model.pth --energy 0.99 -o small.pth",
    .main = svd_main,
};

const rk_command rk_cmd_compress_dense = {
    .name = "compress dense",
    .summary =
        "whole matrices of floats again, of plain low-rank pairs, records, a hierarchical head "
        "and bytes",
    .usage = "-m MODEL -o OUT",
    .options = {dense_rows, RK_COUNT(dense_rows)},
    .examples = "  rwkv compress dense -m small.safetensors -o whole.safetensors\n"
                "  rwkv compress dense -m runs/small -o whole.gguf",
    .main = dense_main,
};

/* "96", or "1/8" of the width. */
static rk_status read_rank(const char *text, int64_t width, int64_t *rank, rk_error *err)
{
    char *end = NULL;
    const int64_t a = strtoll(text, &end, 10);
    const bool part = *end == '/';
    const int64_t b = part ? strtoll(end + 1, &end, 10) : 1;
    if (end == text || *end || a < 1 || b < 1 || a > RK_RANK_MAX || b > RK_RANK_MAX)
        return rk_fail(err, RK_ERR_ARG, "--rank '%.32s': expected a number, or a part as 1/8",
                       text);
    *rank = part ? rk_max_i64(width * a / b, 1) : a;
    if (*rank <= width)
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG, "--rank %.32s: expected n_embd, %" PRId64 ", at most", text,
                   width);
}

/* "receptance 96, key 96: |W - W2 W1| is 0.31 of |W|". */
static void tell(const rk_model *m, double error, const char *out)
{
    fprintf(stderr, "%s: ranks", out);
    for (int k = 0; k < RK_PAIR_KINDS; k++)
        if (m->hp.pair_rank[k] > 0)
            fprintf(stderr, " %s %" PRId64, rk_pair_name(k), m->hp.pair_rank[k]);
    fprintf(stderr, " of %" PRId64 "; |W - W2 W1| is %.3g of |W|\n", m->hp.n_embd, error);
}

static rk_status compress(const svd_options *o, rk_compress_job *j, rk_error *err)
{
    rk_model *made = NULL;
    double error = 0;
    rk_meter meter = rk_meter_begin("decomposing", "matrices", 1, o->common.quiet);
    rk_low_rank_options how = {.share = o->share,
                               .pool = rk_engine_pool(j->engine),
                               .progress = rk_meter_progress,
                               .progress_user = &meter,
                               .abort = rk_interrupt_came,
                               .abort_user = j->interrupt};
    rk_status st = o->rank && o->share > 0
                       ? rk_fail(err, RK_ERR_ARG, "--rank and --energy: expected one of them")
                       : RK_OK;
    if (st == RK_OK && !(o->share > 0))
        st = read_rank(o->rank ? o->rank : "1/8", j->host->hp.n_embd, &how.rank, err);
    if (st == RK_OK)
        st = rk_low_rank_new(&made, j->host, &how, &error, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_compress_save(j, made, err);
    if (st == RK_OK && !o->common.quiet)
        tell(made, error, o->out);
    rk_remade_close(made);
    return st;
}

static rk_status expand(const svd_options *o, rk_compress_job *j, rk_error *err)
{
    rk_model *made = NULL;
    (void)o;
    rk_status st = rk_whole_new(&made, j->host, rk_engine_pool(j->engine), err);
    if (st == RK_OK)
        st = rk_compress_save(j, made, err);
    rk_remade_close(made);
    return st;
}

typedef rk_status work_fn(const svd_options *o, rk_compress_job *j, rk_error *err);

static int run(const rk_command *c, work_fn *work, int argc, char **argv)
{
    svd_options o = {0};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(c, argc, argv, &o, &status))
        return status;
    rk_compress_job j = {.common = &o.common, .model = o.model, .out = o.out, .force = o.force};
    rk_status st = rk_compress_begin(&j, &err);
    if (st == RK_OK)
        st = work(&o, &j, &err);
    return rk_compress_end(&j, st, &err);
}

static int svd_main(int argc, char **argv)
{
    return run(&rk_cmd_compress_svd, compress, argc, argv);
}

static int dense_main(int argc, char **argv)
{
    return run(&rk_cmd_compress_dense, expand, argc, argv);
}
