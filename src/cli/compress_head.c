/* compress_head.c: `rwkv compress head`: a hierarchical head beside a model's own. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "cli/compress.h"
#include "compress/head.h"

enum { CTX_DEFAULT = 512 }; /* of windows, where the model does not say */

typedef struct head_options {
    rk_common_options common;
    const char *model, *out, *data, *vocab;
    int64_t n_clusters, n_tokens, steps, emb_rows, seed;
    bool force;
} head_options;

#define AT(member) offsetof(head_options, member)

static const rk_option rows[] = {
    RK_MODEL_OPERAND(head_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model of rwkv4, rwkv5, rwkv6, rwkv7 or a form of these"},
    {"data", 0, RK_OPT_TEXT, "TEXT", AT(data), 0, 0, RK_REQUIRED,
     "a text like those the model will write; - is stdin"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: .safetensors or .pth"},
    {"clusters", 0, RK_OPT_INT, "N", AT(n_clusters), 2, RK_VOCAB_MAX, "200",
     "of tokens; those above four times the mean size are cut in two, so that there may be more"},
    {"tokens", 0, RK_OPT_INT, "N", AT(n_tokens), 2, 1e9, "8192", "of the text at most"},
    {"steps", 0, RK_OPT_INT, "N", AT(steps), 0, 1e6, "1000", "of learning, of 256 tokens each"},
    {"emb-rows", 0, RK_OPT_INT, "N", AT(emb_rows), 1, RK_VOCAB_MAX, "1000",
     "embeddings that are held where --mem-max does not let all of them be"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world or a file: the vocabulary of the text"},
    {"seed", 0, RK_OPT_INT, "N", AT(seed), 0, INT32_MAX, "0", "of clusters and batches"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(head_options, common),
};

static int head_main(int argc, char **argv);

const rk_command rk_cmd_compress_head = {
    .name = "compress head",
    .summary = "score a few clusters of tokens exactly, the others by what they have together",
    .usage = "-m MODEL --data TEXT [--clusters N] -o OUT",
    .options = {rows, RK_COUNT(rows)},
    .examples =
        "  rwkv compress head -m model.safetensors --clusters 200 --data text.txt -o "
        "lite.safetensors\n"
        "  rwkv compress head -m small.pth --clusters 16 --data notes.txt --steps 3000 -o lite.pth",
    .main = head_main,
};

static void tell(const rk_head_facts *f, const char *out)
{
    fprintf(stderr,
            "%s: %" PRId64 " clusters of %" PRId64 " to %" PRId64
            " tokens; %.1f %% of the head's rows are read a token; divergence of the clusters %.4f "
            "nats, "
            "%.4f before learning\n",
            out, f->n_clusters, f->smallest, f->largest, 100 * f->rows, f->kl, f->kl_start);
}

static rk_status make(const head_options *o, rk_compress_job *j, rk_error *err)
{
    rk_model *made = NULL;
    rk_head_facts facts = {0};
    int32_t *ids = NULL;
    int64_t n = 0;
    rk_status st = rk_compress_tokens(j, o->data, o->vocab, o->n_tokens, &ids, &n, err);
    rk_meter meter = rk_meter_begin("learning", "tokens", 1, o->common.quiet);
    if (st == RK_OK)
        st = rk_head_new(
            &made, j->host, j->engine,
            &(rk_head_options){.n_clusters = o->n_clusters,
                               .tokens = ids,
                               .n_tokens = n,
                               .ctx_len = j->host->ctx_len > 0 ? j->host->ctx_len : CTX_DEFAULT,
                               .steps = o->steps,
                               .seed = (uint64_t)o->seed,
                               .emb_rows = o->emb_rows,
                               .progress = rk_meter_progress,
                               .progress_user = &meter,
                               .abort = rk_interrupt_came,
                               .abort_user = j->interrupt},
            &facts, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_compress_save(j, made, err);
    if (st == RK_OK && !o->common.quiet)
        tell(&facts, o->out);
    rk_remade_close(made);
    free(ids);
    return st;
}

static int head_main(int argc, char **argv)
{
    head_options o = {.n_clusters = 200, .n_tokens = 8192, .steps = 1000};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_compress_head, argc, argv, &o, &status))
        return status;
    rk_compress_job j = {.common = &o.common,
                         .model = o.model,
                         .out = o.out,
                         .force = o.force,
                         .no_gguf = "hierarchical head"};
    rk_status st = rk_compress_begin(&j, &err);
    if (st == RK_OK)
        st = make(&o, &j, &err);
    return rk_compress_end(&j, st, &err);
}
