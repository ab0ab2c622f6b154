/* bench_train.c: whole training steps of a new model on random tokens: forward, backward, clipping,
 * update. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/bench.h"
#include "train/trainer.h"

enum { TRAIN, F32, N_FIGURES };

typedef struct job {
    const bench_options *o;
    rk_train_params params;
    rk_size sizes[RK_OPT_NAMED_MAX + 1];
    rk_hparams hp; /* the model's */
    rk_engine *engine;
    rk_trainer *trainer;
    bench_machine *machine;
    int32_t *tokens;
    int64_t n_tokens; /* that are predicted in a step */
    size_t planned;   /* bytes of the trainer */
    bench_figure figures[N_FIGURES];
} job;

static rk_status step(job *j, rk_error *err)
{
    rk_step_info info;
    const double start = rk_now_s();
    const rk_status st = rk_trainer_step(j->trainer, j->tokens, &info, err);
    bench_figure_add(&j->figures[TRAIN], (double)j->n_tokens / (rk_now_s() - start));
    return st;
}

static rk_status settle(job *j, rk_error *err)
{
    const rk_arch *arch = rk_shape_arch(&j->o->shape);
    int64_t n = 0;
    rk_status st = rk_shape_sizes(&j->o->shape, j->sizes, &n, err);
    j->sizes[n++] = (rk_size){"n_vocab", (double)j->o->n_vocab};
    j->params = j->o->train_params;
    j->params.arch = arch->name;
    j->params.sizes = j->sizes;
    j->params.n_sizes = n;
    j->params.steps = j->o->n_rounds + 1;
    return st == RK_OK ? rk_sizes_make(arch, j->sizes, n, &j->hp, err) : st;
}

static rk_status open_all(job *j, rk_error *err)
{
    const rk_train_params *p = &j->params;
    const int64_t n = p->batch * (p->ctx_len + 1);
    j->n_tokens = p->batch * p->ctx_len;
    rk_status st = rk_trainer_plan(p, j->engine, &j->planned, err);
    if (st == RK_OK)
        st = rk_trainer_new(&j->trainer, p, j->engine, err);
    if (st != RK_OK)
        return st;
    j->tokens = calloc((size_t)n, sizeof *j->tokens);
    if (!j->tokens)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " tokens", n);
    bench_tokens(j->tokens, n, j->hp.n_vocab);
    return bench_machine_new(&j->machine, j->engine, err);
}

/* The first step meets memory that the system has not given yet, and does not count. */
static rk_status measure(job *j, rk_error *err)
{
    rk_status st = step(j, err);
    j->figures[TRAIN].n = 0;
    for (int64_t i = 1; i <= j->o->n_rounds && st == RK_OK; i++) {
        bench_progress(j->o, i);
        bench_figure_add(&j->figures[F32], bench_machine_f32(j->machine));
        st = step(j, err);
        bench_figure_add(&j->figures[F32], bench_machine_f32(j->machine));
    }
    return st;
}

static json_t *describe(job *j, double flops_per_token)
{
    const rk_train_params *p = &j->params;
    const double gflops = flops_per_token * bench_figure_value(&j->figures[TRAIN]) * 1e-9;
    const double share = gflops / bench_figure_value(&j->figures[F32]);
    return json_pack(
        "{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:f, s:f, s:f, s:f, s:s?}", "arch",
        p->arch, "path", rk_engine_path(j->engine), "n_threads", rk_engine_n_threads(j->engine),
        "n_layer", (json_int_t)j->hp.n_layer, "n_embd", (json_int_t)j->hp.n_embd, "n_vocab",
        (json_int_t)j->hp.n_vocab, "ctx_len", (json_int_t)p->ctx_len, "batch", (json_int_t)p->batch,
        "dtype", p->bf16 ? "bf16" : "f32", "rounds", (json_int_t)j->o->n_rounds, "flops_per_token",
        flops_per_token, "gflops", gflops, "peak_share", share, "planned_mib",
        (double)j->planned / 1048576.0, "peak_excess", bench_excess(share, false));
}

static rk_status report(job *j, rk_error *err)
{
    bench_figure *figures[N_FIGURES] = {&j->figures[TRAIN], &j->figures[F32]};
    const rk_train_params *p = &j->params;
    /* Forward, and backward twice as much: for the inputs and for the weights. */
    const double flops = 6.0 * (double)rk_trainer_products(j->trainer);
    json_t *all = describe(j, flops);
    if (j->o->json)
        return rk_command_json(bench_json(all, figures, N_FIGURES), err);
    if (!all)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    printf("training %s, %" PRId64 " layers of %" PRId64 ", %" PRId64 " tokens, %" PRId64
           " sequences of %" PRId64 ": %d threads, path %s, %" PRId64 " rounds\n",
           p->arch, j->hp.n_layer, j->hp.n_embd, j->hp.n_vocab, p->batch, p->ctx_len,
           rk_engine_n_threads(j->engine), rk_engine_path(j->engine), j->o->n_rounds);
    bench_print(figures, N_FIGURES);
    printf("matrix products, forward and backward: %.2f M operations a token, %.1f GFLOP/s, %.1f "
           "%% of the f32 peak%s\n",
           flops / 1e6, json_number_value(json_object_get(all, "gflops")),
           100.0 * json_number_value(json_object_get(all, "peak_share")),
           json_is_string(json_object_get(all, "peak_excess"))
               ? ": a disturbed measurement; something else computed while the peak was measured"
               : "");
    printf("memory: %.1f MiB planned\n", (double)j->planned / 1048576.0);
    json_decref(all);
    return RK_OK;
}

rk_status bench_train(const bench_options *o, rk_engine *e, rk_error *err)
{
    job j = {.o = o, .engine = e};
    j.figures[TRAIN] = (bench_figure){
        .key = "train_tps", .unit = "tokens/s", .scale = 1.0, .label = "train, whole steps"};
    j.figures[F32] = (bench_figure){.key = "f32_peak_gops",
                                    .unit = "G operations/s",
                                    .scale = 1e-9,
                                    .best = true,
                                    .label = "machine: f32 multiply-adds"};
    rk_status st = settle(&j, err);
    if (st == RK_OK)
        st = open_all(&j, err);
    if (st == RK_OK)
        st = measure(&j, err);
    if (st == RK_OK)
        st = report(&j, err);
    bench_machine_free(j.machine);
    rk_trainer_free(j.trainer);
    free(j.tokens);
    return st;
}
