/* data_task.c: `rwkv data task`: samples of synthetic tasks, to look at or packed into a file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "cli/task_options.h"
#include "train/synthetic_pack.h"
#include "train/task.h"

typedef struct task_options {
    rk_common_options common;
    const char *task, *out;
    bool list, force, json;
    int stream; /* an rk_syn_stream */
    int64_t seed, first, n, print;
    rk_opt_named params;
} task_options;

#define AT(member) offsetof(task_options, member)

static const rk_option rows[] = {
    {NULL, 0, RK_OPT_OPERAND, "TASK", AT(task), 0, 0, NULL, "mqar, reverse, s5 ...: see --list"},
    {"list", 0, RK_OPT_FLAG, NULL, AT(list), 0, 0, NULL,
     "show all tasks with their parameters, or those of TASK"},
    {"output", 'o', RK_OPT_TEXT, "OUT.bin", AT(out), 0, 0, NULL,
     "write packed samples, with a mask of what is asked for or, where that is not the next token, "
     "OUT.targets.bin"},
    {"n", 'n', RK_OPT_INT, "N", AT(n), 1, 1e15, "1000", "samples to write"},
    {"force", 0, RK_OPT_FLAG, NULL, AT(force), 0, 0, NULL, "overwrite existing outputs"},
    {"json", 0, RK_OPT_FLAG, NULL, AT(json), 0, 0, NULL,
     "print what was written as one JSON object"},
    {"seed", 's', RK_OPT_INT, "N", AT(seed), 0, 9e18, "42", "of the samples"},
    {"stream", 0, RK_OPT_CHOICE, "train|val|eval", AT(stream), 0, 0, "train",
     "samples as training, its validation or `rwkv eval` draws them"},
    {"first-sample", 0, RK_OPT_INT, "N", AT(first), 0, 1e15, "0", "number of the first sample"},
    {"print", 0, RK_OPT_INT, "N", AT(print), 1, 1e9, "3",
     "without -o: show so many samples, under what is read what is asked for"},
    RK_OPT_GROUP("parameters of tasks"),
    {NULL, 0, RK_OPT_MORE, NULL, AT(params), 0, 0, NULL, NULL},
    RK_COMMON_ROWS(task_options, common),
};

static int task_main(int argc, char **argv);

const rk_command rk_cmd_data_task = {
    .name = "data task",
    .summary = "make samples of a synthetic task",
    .usage = "TASK [-o OUT.bin -n N | --print N] [parameters of the task] | --list",
    .options = {rows, RK_COUNT(rows)},
    .more = rk_task_rows,
    .examples = "  rwkv data task mqar --seq-len 64 --pairs 4 --print 2\n"
                "  rwkv data task mqar --seq-len 64 --pairs 4 --n 100000 --seed 1 -o mqar.bin",
    .main = task_main,
};

/* ---- the list ---- */

static void list_param(const rk_syn_param *p, rk_buf *out)
{
    rk_buf_printf(out, "    --%-14s %s (default ", p->name, p->help);
    rk_synthetic_value(p, p->initial, out);
    if (p->choices)
        rk_buf_printf(out, " of %s)\n", p->choices);
    else
        rk_buf_printf(out, "; %.10g to %.10g)\n", p->min, p->max);
}

static rk_status list(const char *only, rk_error *err)
{
    rk_buf b = {0};
    const rk_task_kind *kind = NULL;
    if (only && rk_task_choose(&kind, only, err) != RK_OK)
        return err->code;
    for (int k = 0; k < rk_n_task_kinds; k++) {
        const rk_generator *gen = rk_task_kinds[k].generator;
        if (!gen || (kind && kind != &rk_task_kinds[k]))
            continue;
        rk_buf_printf(&b, "%-12s %s\n", rk_task_kinds[k].name, gen->summary);
        for (int i = 0; i < gen->n_params; i++)
            list_param(&gen->params[i], &b);
    }
    const rk_status st = b.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for the list")
                                  : rk_command_print(b.data ? b.data : "", b.len, err);
    rk_buf_deinit(&b);
    return st;
}

/* ---- samples ---- */

static rk_status print_sample(const rk_synthetic *s, const rk_syn_sample *x, rk_error *err)
{
    rk_buf b = {0};
    rk_synthetic_show(s, x, &b);
    const rk_status st = b.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a sample")
                                  : rk_command_print(b.data, b.len, err);
    rk_buf_deinit(&b);
    return st;
}

static rk_status print_samples(const task_options *o, const rk_synthetic *s, rk_error *err)
{
    const int64_t n = s->n_tokens;
    int32_t *room = calloc((size_t)(3 * n + s->n_scratch), sizeof *room);
    rk_syn_sample x = {.ids = room};
    rk_status st = room ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for a sample");
    if (st != RK_OK)
        return st;
    x.targets = x.ids + n;
    x.kinds = x.targets + n;
    x.scratch = x.kinds + n;
    for (int64_t i = 0; i < o->print && st == RK_OK; i++) {
        rk_synthetic_sample(s, (uint64_t)o->seed, (rk_syn_stream)o->stream,
                            (uint64_t)(o->first + i), &x);
        st = print_sample(s, &x, err);
    }
    free(room);
    return st;
}

/* ---- a file ---- */

static rk_status print_written(const task_options *o, const rk_synthetic *s, int signal,
                               rk_error *err)
{
    if (o->json)
        return rk_command_json(json_pack("{s:s, s:s, s:I, s:I, s:s}", "file", o->out, "task",
                                         s->task, "samples", (json_int_t)o->n, "n_vocab",
                                         (json_int_t)s->n_vocab, "status",
                                         signal ? "interrupted" : "done"),
                               err);
    if (!o->common.quiet && signal)
        fprintf(stderr, "%s: stopped; the same command goes on\n", o->out);
    else if (!o->common.quiet)
        fprintf(stderr, "%s: %" PRId64 " samples of %" PRId64 " tokens\n", o->out, o->n,
                s->n_tokens);
    return RK_OK;
}

static rk_status pack(const task_options *o, const rk_synthetic *s, int *signal, rk_error *err)
{
    rk_interrupt *interrupt = NULL;
    rk_pool *pool = NULL;
    rk_meter meter = rk_meter_begin(s->task, "samples", 1, o->common.quiet);
    rk_status st = rk_interrupt_open(&interrupt, err);
    if (st == RK_OK)
        st = rk_pool_new(&pool, (int)o->common.n_threads, NULL, NULL, NULL, err);
    const rk_syn_pack how = {.out = o->out,
                             .seed = (uint64_t)o->seed,
                             .stream = (rk_syn_stream)o->stream,
                             .first = o->first,
                             .n = o->n,
                             .overwrite = o->force,
                             .progress = rk_meter_progress,
                             .progress_user = &meter,
                             .signal = rk_interrupt_signal,
                             .signal_user = interrupt};
    if (st == RK_OK)
        st = rk_synthetic_pack(s, &how, pool, signal, err);
    rk_meter_end(&meter);
    rk_pool_free(pool);
    rk_interrupt_close(interrupt);
    return st == RK_OK ? print_written(o, s, *signal, err) : st;
}

static rk_status make(const task_options *o, int *signal, rk_error *err)
{
    rk_synthetic s;
    if (o->list)
        return list(o->task, err);
    if (!o->task)
        return rk_fail(err, RK_ERR_ARG, "TASK is missing; 'rwkv data task --list' shows all");
    const rk_status st = rk_task_generator(&s, o->task, &o->params, err);
    if (st != RK_OK)
        return st;
    return o->out ? pack(o, &s, signal, err) : print_samples(o, &s, err);
}

static int task_main(int argc, char **argv)
{
    task_options o = {.seed = 42, .n = 1000, .print = 3};
    int status = 0, signal = 0;
    rk_error err = {0};
    if (!rk_command_options(&rk_cmd_data_task, argc, argv, &o, &status))
        return status;
    if (make(&o, &signal, &err) != RK_OK)
        return rk_command_fail(&err);
    return signal ? 128 + signal : 0;
}
