/* reach.c: `rwkv reach`: how far back what a model says next depends on what it
 * has read. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/num.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "cli/text_input.h"
#include "format/format.h"
#include "text/tokenizer.h"
#include "train/reach.h"

typedef struct reach_options {
    rk_common_options common;
    const char *model, *data, *vocab;
    int64_t ctx, n;
    bool json;
} reach_options;

#define AT(member) offsetof(reach_options, member)

static const rk_option rows[] = {
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, RK_REQUIRED, "a model"},
    RK_MODEL_OPERAND(reach_options, model),
    {"data", 0, RK_OPT_TEXT, "TEXT", AT(data), 0, 0, RK_REQUIRED, "a text; - is stdin"},
    {"ctx", 0, RK_OPT_INT, "N", AT(ctx), 2, 1 << 20, "512", "tokens of a window"},
    {"n", 'n', RK_OPT_INT, "N", AT(n), 1, 1 << 20, "16", "windows, spread over the text, at most"},
    {"vocab", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, "the model's",
     "byte, world, or a vocabulary file"},
    {"tokenizer", 0, RK_OPT_TEXT, "NAME", AT(vocab), 0, 0, NULL, "the same as --vocab"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "print one JSON object"},
    RK_COMMON_ROWS(reach_options, common),
};

static int reach_main(int argc, char **argv);

const rk_command rk_cmd_reach = {
    .name = "reach",
    .summary = "measure how far back the next token depends on what was read",
    .usage = "-m FILE --data TEXT [--ctx N] [--n N] [--json]",
    .options = {rows, RK_COUNT(rows)},
    .examples = "  rwkv reach -m run --data book.txt --ctx 512\n"
                "  rwkv reach -m model.safetensors --data book.txt --ctx 2048 "
                "--n 4 --json",
    .main = reach_main,
};

/* Distances are told in bands: 0, 1, 2 and 3, 4 to 7 and so on. */
enum { BANDS = 21 };

typedef struct job {
    const reach_options *o;
    rk_engine *engine;
    rk_model *model;
    rk_tokenizer *tokenizer;
    rk_text_input text;
    int32_t *ids;
    int64_t n_ids, n_windows;
    double *norms; /* (ctx) */
    double sum[BANDS];
    int64_t count[BANDS];
} job;

static int band_of(int64_t distance)
{
    int band = 0;
    for (; distance > 0; distance /= 2)
        band++;
    return band;
}

static int64_t first_of(int band)
{
    return band == 0 ? 0 : (int64_t)1 << (band - 1);
}

static rk_status open_all(job *j, rk_interrupt *interrupt, rk_error *err)
{
    const reach_options *o = j->o;
    rk_status st = rk_command_engine(&j->engine, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = rk_model_open(&j->model, o->model, err);
    if (st == RK_OK)
        st = rk_command_tokenizer(&j->tokenizer, &o->common, o->vocab, j->model, o->model, err);
    if (st == RK_OK)
        st =
            rk_tokenizer_encode_all(j->tokenizer, j->text.text, j->text.n, &j->ids, &j->n_ids, err);
    if (st == RK_OK && j->n_ids <= o->ctx)
        st = rk_fail(err, RK_ERR_ARG,
                     "%s: %" PRId64 " tokens, expected more than a window of %" PRId64,
                     j->text.name, j->n_ids, o->ctx);
    if (st != RK_OK)
        return st;
    j->norms = calloc((size_t)o->ctx, sizeof *j->norms);
    j->n_windows = rk_min_i64(o->n, (j->n_ids - 1) / o->ctx);
    return j->norms ? RK_OK
                    : rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " distances", o->ctx);
}

/* Windows as far from each other as the text allows. */
static rk_status measure(job *j, rk_error *err)
{
    const int64_t ctx = j->o->ctx, step = (j->n_ids - 1) / j->n_windows;
    rk_meter meter = rk_meter_begin(j->text.name, "windows", 1, j->o->common.quiet);
    rk_status st = RK_OK;
    for (int64_t w = 0; w < j->n_windows && st == RK_OK; w++) {
        st = rk_reach_measure(j->model, j->engine, j->ids + w * step, ctx, j->norms, err);
        for (int64_t d = 0; d < ctx && st == RK_OK; d++) {
            j->sum[band_of(d)] += j->norms[d];
            j->count[band_of(d)]++;
        }
        rk_meter_show(&meter, w + 1, j->n_windows);
    }
    rk_meter_end(&meter);
    return st == RK_OK ? rk_file_check(j->model->file, err) : st;
}

static double mean_of(const job *j, int band)
{
    return j->sum[band] / (double)j->count[band];
}

static void print(const job *j)
{
    printf("distance        gradient by an embedding\n");
    for (int b = 0; b < BANDS && j->count[b] > 0; b++)
        printf("%7" PRId64 "..       %.4g\n", first_of(b), mean_of(j, b));
}

static rk_status print_json(const job *j, rk_error *err)
{
    json_t *reach = json_array();
    bool ok = reach != NULL;
    for (int b = 0; ok && b < BANDS && j->count[b] > 0; b++)
        ok = json_array_append_new(
                 reach, json_pack("[I, f]", (json_int_t)first_of(b), mean_of(j, b))) == 0;
    json_t *o = ok ? json_pack("{s:I, s:I, s:O}", "ctx", (json_int_t)j->o->ctx, "n_windows",
                               (json_int_t)j->n_windows, "reach", reach)
                   : NULL;
    json_decref(reach);
    return o ? rk_command_json(o, err)
             : rk_fail(err, RK_ERR_NOMEM, "out of memory for the results");
}

static rk_status work(const reach_options *o, rk_interrupt *interrupt, rk_error *err)
{
    job j = {.o = o};
    rk_status st = rk_text_input_open(&j.text, o->data, o->common.quiet, err);
    if (st == RK_OK)
        st = open_all(&j, interrupt, err);
    if (st == RK_OK)
        st = measure(&j, err);
    if (st == RK_OK && o->json)
        st = print_json(&j, err);
    else if (st == RK_OK)
        print(&j);
    free(j.ids);
    free(j.norms);
    rk_tokenizer_free(j.tokenizer);
    rk_model_close(j.model);
    rk_engine_free(j.engine);
    rk_text_input_close(&j.text);
    return st;
}

static int reach_main(int argc, char **argv)
{
    reach_options o = {.ctx = 512, .n = 16};
    rk_interrupt *interrupt = NULL;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_reach, argc, argv, &o, &status))
        return status;
    rk_status st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = work(&o, interrupt, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
