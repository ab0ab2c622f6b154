/* bench.c: `rwkv bench`: the speed of a model or of training steps, compared with the machine's limits.
 *
 * Other processes change the speed of a shared machine from one moment to the next. So everything,
 * the machine's limits included, is measured in turn, round by round, and reported as a median with
 * its spread. */
#include "cli/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/random.h"
#include "cli/interrupt.h"
#include "cli/mem_max.h"

#define AT(member) offsetof(bench_options, member)

enum { TOKENS_MAX = 1 << 24, STREAMS_MAX = 4096, SIZE_MAX_OPTION = 1 << 20 };

static const rk_option rows[] = {
    RK_OPT_GROUP("a model"),
    {"model", 'm', RK_OPT_TEXT, "FILE", AT(model), 0, 0, NULL,
     "a model: .pth, .safetensors, .gguf or .bin"},
    RK_MODEL_OPERAND(bench_options, model),
    {"prompt", 'p', RK_OPT_INT, "N", AT(n_prompt), 1, TOKENS_MAX, "512",
     "prefill: tokens of a prompt"},
    {"n-predict", 'n', RK_OPT_INT, "N", AT(n_gen), 1, TOKENS_MAX, "128",
     "decode: tokens generated one by one; many streams take a quarter as many steps"},
    {"streams", 0, RK_OPT_INT, "N", AT(n_streams), 1, STREAMS_MAX, "not measured",
     "streams that decode together"},
    RK_ADAPTER_IN_ROWS(bench_options, adapter),
    RK_OPT_GROUP("training"),
    {"train", 0, RK_OPT_FLAG, NULL, AT(train), 0, 0, NULL,
     "whole training steps of a new model on random tokens instead"},
    {NULL, 0, RK_OPT_MORE, NULL, AT(shape), 0, 0, NULL, NULL},
    {"n-vocab", 0, RK_OPT_INT, "N", AT(n_vocab), 1, SIZE_MAX_OPTION, "256",
     "size of the vocabulary"},
    {"ctx-len", 0, RK_OPT_INT, "N", AT(train_params.ctx_len), 1, SIZE_MAX_OPTION, "512",
     "tokens of a sequence"},
    {"batch", 0, RK_OPT_INT, "N", AT(train_params.batch), 1, SIZE_MAX_OPTION, "8",
     "sequences of a step"},
    {"micro-batch", 0, RK_OPT_INT, "N", AT(train_params.micro_batch), 1, SIZE_MAX_OPTION, "all",
     "sequences computed at once"},
    {"recompute", 0, RK_OPT_FLAG, NULL, AT(train_params.checkpoint_blocks), 0, 0, NULL,
     "recompute the activations of each block in the backward pass"},
    {"dtype", 0, RK_OPT_CHOICE, "f32|bf16", AT(dtype), 0, 0, "f32",
     "operands of the matrix products"},
    RK_OPT_GROUP("measuring"),
    {"rounds", 'r', RK_OPT_INT, "N", AT(n_rounds), 1, BENCH_ROUNDS_MAX, "5",
     "rounds; each figure is their median"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL, "print one JSON object"},
    RK_MEM_ROWS(bench_options, common),
    RK_CACHE_ROWS(bench_options, common),
    RK_COMMON_ROWS(bench_options, common),
};

static int bench_main(int argc, char **argv);

const rk_command rk_cmd_bench = {
    .name = "bench",
    .summary = "measure speed and memory beside what the machine can do",
    .usage = "-m FILE [options], or --train [options]",
    .options = {rows, RK_COUNT(rows)},
    .more = rk_shape_rows,
    .examples =
        "  rwkv bench -m model.gguf -t 2 -p 512 -n 128 --streams 32 --json\n"
        "  rwkv bench --train --arch rwkv7 --n-layer 6 --n-embd 512 --ctx-len 512 --batch 8",
    .main = bench_main,
};

/* ---- figures ---- */

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_figure_add(bench_figure *f, double measured)
{
    if (f->n < BENCH_VALUES_MAX)
        f->of[f->n++] = measured * f->scale;
}

double bench_figure_value(bench_figure *f)
{
    qsort(f->of, (size_t)f->n, sizeof *f->of, by_value);
    if (f->n == 0)
        return 0.0;
    return f->best ? f->of[f->n - 1] : (f->of[(f->n - 1) / 2] + f->of[f->n / 2]) / 2.0;
}

void bench_print(bench_figure *const *figures, size_t n)
{
    printf("%-36s %10s %10s %10s\n", "", "figure", "least", "most");
    for (size_t i = 0; i < n; i++) {
        bench_figure *f = figures[i];
        const double value = bench_figure_value(f);
        if (f->n > 0)
            printf("%-36s %10.2f %10.2f %10.2f %s%s\n", f->label, value, f->of[0], f->of[f->n - 1],
                   f->unit, f->best ? ", best" : "");
    }
}

json_t *bench_json(json_t *object, bench_figure *const *figures, size_t n)
{
    json_t *spread = json_object();
    bool failed = !object || !spread;
    for (size_t i = 0; i < n && !failed; i++) {
        bench_figure *f = figures[i];
        const double value = bench_figure_value(f);
        failed |= json_object_set_new(object, f->key, f->n ? json_real(value) : json_null()) != 0;
        if (f->n > 0)
            failed |= json_object_set_new(spread, f->key,
                                          json_pack("[f, f]", f->of[0], f->of[f->n - 1])) != 0;
    }
    if (!failed && json_object_set(object, "spread", spread) == 0) {
        json_decref(spread);
        return object;
    }
    json_decref(spread);
    json_decref(object);
    return NULL;
}

/* ---- what the kinds of work share ---- */

void bench_tokens(int32_t *tokens, int64_t n, int64_t n_vocab)
{
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)rk_rng_below(1, RK_RNG_TEST, 0, (uint64_t)i, (uint64_t)n_vocab);
}

void bench_progress(const bench_options *o, int64_t round)
{
    if (o->common.quiet)
        return;
    const bool terminal = isatty(STDERR_FILENO);
    fprintf(stderr, "%sround %" PRId64 " of %" PRId64 "%s", terminal ? "\r" : "", round,
            o->n_rounds, terminal && round < o->n_rounds ? "" : "\n");
    fflush(stderr);
}

/* ---- the command ---- */

static rk_status check(const bench_options *o, rk_error *err)
{
    if (o->train && o->model)
        return rk_fail(err, RK_ERR_ARG, "--train makes a model of its own; leave -m out");
    if (!o->train && !o->model)
        return rk_fail(err, RK_ERR_ARG, "give a model with -m FILE, or --train");
    if (o->train && o->n_streams)
        return rk_fail(err, RK_ERR_ARG, "--streams goes with -m, not with --train");
    size_t limit;
    rk_status st = rk_mem_max(&o->common, &limit, err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->train, "--train", err);
    if (st == RK_OK)
        st = rk_mem_max_alone(&o->common, o->adapter.files.n > 0, "--adapter", err);
    return st;
}

static rk_status work(const bench_options *o, double peak_bytes, rk_interrupt *interrupt,
                      rk_error *err)
{
    rk_engine *e = NULL;
    rk_status st = rk_command_engine(&e, &o->common, rk_interrupt_came, interrupt, err);
    if (st == RK_OK)
        st = o->train ? bench_train(o, e, err) : bench_model(o, e, peak_bytes, err);
    rk_engine_free(e);
    return st;
}

static int bench_main(int argc, char **argv)
{
    bench_options o = {.n_prompt = 512,
                       .n_gen = 128,
                       .n_rounds = 5,
                       .n_vocab = 256,
                       .train_params = rk_train_defaults()};
    rk_interrupt *interrupt = NULL;
    double peak_bytes = 0.0;
    int status = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_bench, argc, argv, &o, &status))
        return status;
    o.train_params.bf16 = o.dtype == 1;
    rk_status st = check(&o, &err);
    if (st == RK_OK && o.model) /* there is one thread yet, and nothing is mapped */
        st = bench_child_peak(&o, &peak_bytes, &err);
    if (st == RK_OK)
        st = rk_interrupt_open(&interrupt, &err);
    if (st == RK_OK)
        st = work(&o, peak_bytes, interrupt, &err);
    const int signal = interrupt ? rk_interrupt_signal(interrupt) : 0;
    rk_interrupt_close(interrupt);
    if (st == RK_ERR_ABORTED && signal)
        return 128 + signal;
    return st == RK_OK ? 0 : rk_command_fail(&err);
}
