/* compress_predictor.c: `rwkv compress predictor`: the channel mix in records, and which of them a token needs. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/compress.h"
#include "compress/predictor.h"

enum { CTX_DEFAULT = 512 }; /* of windows, where the model does not say */

typedef struct predictor_options {
    rk_common_options common;
    const char *model, *out, *data, *vocab, *p;
    int64_t n_tokens, hidden, steps, bits, seed;
    double theta, share;
    int levels;
    bool force;
} predictor_options;

#define AT(member) offsetof(predictor_options, member)

static const rk_option rows[] = {
    RK_MODEL_OPERAND(predictor_options, model),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED,
     "a model of rwkv4, rwkv5, rwkv6, rwkv7 or a form of these"},
    {"data", 0, RK_OPT_TEXT, "TEXT", AT(data), 0, 0, RK_REQUIRED,
     "a text like those the model will read and write; - is stdin"},
    {"out", 'o', RK_OPT_TEXT, "OUT", AT(out), 0, 0, RK_REQUIRED,
     "what to write: .safetensors or .pth"},
    {"bits", 0, RK_OPT_INT, "N", AT(bits), 0, 4, "1",
     "of a weight in the copy of ffn.key that is kept: 1, 2 or 4; 0: no copy"},
    {"levels", 0, RK_OPT_CHOICE, "better|reference", AT(levels), 0, 0, "better",
     "of such weights: by neuron, or as the authors' code has them"},
    {"hidden", 0, RK_OPT_INT, "N", AT(hidden), 0, 4096, "64",
     "channels in the middle of the small product that is trained; 0: none"},
    {"p", 0, RK_OPT_TEXT, "P", AT(p), 0, 0, "by --share",
     "share of neurons that the copy leaves out: a number, or layer by layer, "
     "\"0.95x5,0.9x4,0.8\""},
    {"theta", 0, RK_OPT_NUMBER, "X", AT(theta), 0, 1, "0.7",
     "probability from which on the small product's word counts"},
    {"share", 0, RK_OPT_NUMBER, "X", AT(share), 0, 1, "twice what is active",
     "without --p, of neurons that are kept in all; p and theta of each layer follow"},
    {"tokens", 0, RK_OPT_INT, "N", AT(n_tokens), 5, 1e9, "2048", "of the text at most"},
    {"steps", 0, RK_OPT_INT, "N", AT(steps), 0, 1e6, "100", "of learning, of the whole text each"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world or a file: the vocabulary of the text"},
    {"seed", 0, RK_OPT_INT, "N", AT(seed), 0, INT32_MAX, "0", "of what learning begins with"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite OUT"},
    RK_COMMON_ROWS(predictor_options, common),
};

static int predictor_main(int argc, char **argv);

const rk_command rk_cmd_compress_predictor = {
    .name = "compress predictor",
    .summary = "the channel mix in records, of which a token reads those that are likely active",
    .usage = "-m MODEL --data TEXT [--bits N] -o OUT",
    .options = {rows, RK_COUNT(rows)},
    .examples =
        "  rwkv compress predictor -m model.safetensors --data text.txt -o lite.safetensors\n"
        "  rwkv compress predictor -m small.pth --data notes.txt --bits 2 --p 0.95x5,0.85 -o "
        "lite.pth",
    .main = predictor_main,
};

/* "0.9", or "0.95x5,0.85x5,0.8": the last one is for all layers that are left. */
static rk_status read_schedule(const char *text, int64_t n_layer, double *p, rk_error *err)
{
    const char *at = text;
    int64_t l = 0;
    while (l < n_layer) {
        char *end = NULL;
        const double x = strtod(at, &end);
        const bool times = end != at && *end == 'x';
        const int64_t n = times ? strtoll(end + 1, &end, 10) : *end == ',' ? 1 : n_layer;
        if (end == at || !(x >= 0 && x <= 1) || n < 1 || (*end && *end != ','))
            return rk_fail(err, RK_ERR_ARG,
                           "--p '%.64s': expected numbers from 0 to 1, each with xN behind it for "
                           "N layers, and commas between",
                           text);
        for (int64_t i = 0; i < n && l < n_layer; i++)
            p[l++] = x;
        while (!*end && l < n_layer)
            p[l++] = x;
        at = *end ? end + 1 : end;
    }
    return RK_OK;
}

static void tell(const rk_model *m, const rk_predictor_facts *f, const char *out)
{
    double kept = 0, active = 0;
    fprintf(stderr, "layer  active   kept  found (A, B, both)  found by size  theta      p\n");
    for (int64_t l = 0; l < m->hp.n_layer; l++) {
        fprintf(stderr,
                "%5" PRId64 "  %5.1f%%  %5.1f%%   %5.1f%% %5.1f%% %5.1f%%  %12.1f%%  %.3f  %.3f\n",
                l, 100 * f[l].active, 100 * f[l].kept, 100 * f[l].recall_a, 100 * f[l].recall_b,
                100 * f[l].recall, 100 * f[l].weighted, f[l].theta, f[l].p);
        kept += f[l].kept / (double)m->hp.n_layer;
        active += f[l].active / (double)m->hp.n_layer;
    }
    fprintf(stderr,
            "%s: %.1f %% of the neurons are active, %.1f %% of the records are read a token\n", out,
            100 * active, 100 * kept);
}

static rk_status check(const predictor_options *o, rk_error *err)
{
    if (o->bits == 3)
        return rk_fail(err, RK_ERR_ARG, "--bits 3: expected 0, 1, 2 or 4");
    if (o->bits == 0 && o->hidden == 0)
        return rk_fail(err, RK_ERR_ARG,
                       "--bits 0 --hidden 0: expected a predictor of at least one kind");
    if (o->p && o->share > 0)
        return rk_fail(err, RK_ERR_ARG, "--p and --share: expected one of them");
    return RK_OK;
}

static rk_status make(const predictor_options *o, rk_compress_job *j, rk_error *err)
{
    const int64_t layers = j->host->hp.n_layer;
    rk_model *made = NULL;
    int32_t *ids = NULL;
    int64_t n = 0;
    rk_predictor_facts *facts = calloc((size_t)layers, sizeof *facts);
    double *p = calloc((size_t)layers, sizeof *p);
    rk_status st = facts && p ? check(o, err) : rk_fail(err, RK_ERR_NOMEM, "out of memory");
    if (st == RK_OK && o->p)
        st = read_schedule(o->p, layers, p, err);
    if (st == RK_OK)
        st = rk_compress_tokens(j, o->data, o->vocab, o->n_tokens, &ids, &n, err);
    rk_meter meter = rk_meter_begin("learning", "parts", 1, o->common.quiet);
    if (st == RK_OK)
        st = rk_predictor_new(&made, j->host, j->engine,
                              &(rk_predictor_options){
                                  .tokens = ids,
                                  .n_tokens = n,
                                  .ctx_len = j->host->ctx_len > 0 ? j->host->ctx_len : CTX_DEFAULT,
                                  .hidden = o->hidden,
                                  .steps = o->steps,
                                  .bits = o->bits,
                                  .reference = o->levels == 1,
                                  .theta = o->theta,
                                  .p = o->p ? p : NULL,
                                  .share = o->share,
                                  .seed = (uint64_t)o->seed,
                                  .progress = rk_meter_progress,
                                  .progress_user = &meter,
                                  .abort = rk_interrupt_came,
                                  .abort_user = j->interrupt},
                              facts, err);
    rk_meter_end(&meter);
    if (st == RK_OK)
        st = rk_compress_save(j, made, err);
    if (st == RK_OK && !o->common.quiet)
        tell(made, facts, o->out);
    rk_remade_close(made);
    free(ids);
    free(p);
    free(facts);
    return st;
}

static int predictor_main(int argc, char **argv)
{
    predictor_options o = {.n_tokens = 2048, .hidden = 64, .steps = 100, .bits = 1, .theta = 0.7};
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_compress_predictor, argc, argv, &o, &status))
        return status;
    rk_compress_job j = {.common = &o.common,
                         .model = o.model,
                         .out = o.out,
                         .force = o.force,
                         .no_gguf = "channel mix in records"};
    rk_status st = rk_compress_begin(&j, &err);
    if (st == RK_OK)
        st = make(&o, &j, &err);
    return rk_compress_end(&j, st, &err);
}
