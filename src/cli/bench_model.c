/* bench_model.c: prefill, decode, and decode of many streams together, of one model. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "cli/bench.h"
#include "cli/mem_max.h"
#include "infer/engine.h"
#include "infer/token_rows.h"
#include "kernels/peak.h"
#include "model/pack.h"

enum { PREFILL, DECODE, ADAPTED, STREAMS, READ, F32, INT8, N_FIGURES };

typedef struct job {
    const bench_options *o;
    rk_engine *engine;
    rk_model *model;
    bench_machine *machine;
    rk_session *one, **streams;
    rk_adapters *adapters; /* NULL: none */
    rk_session *adapted;   /* with them */
    int32_t *tokens;       /* of a prompt, or of all streams, or of what is written */
    float *logits;         /* of all streams */
    int64_t n_steps;       /* of the streams */
    bench_figure figures[N_FIGURES];
} job;

/* ---- work to be timed ---- */

static rk_status prefill(job *j, rk_error *err)
{
    rk_session_reset(j->one);
    return rk_session_eval(j->one, j->tokens, j->o->n_prompt, j->logits, err);
}

static rk_status decode(job *j, int64_t n, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = rk_session_eval(j->one, j->tokens + i, 1, j->logits, err);
    return st;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int64_t n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

/* A token without adapters and one with them in turn, so that others slow both alike; the medians of
 * both, so that a token during which a thread lost its core does not count. */
static rk_status compare_adapted(job *j, rk_error *err)
{
    const int64_t n = j->o->n_gen;
    rk_session *const s[2] = {j->one, j->adapted};
    double *seconds = calloc((size_t)(2 * n), sizeof *seconds);
    rk_status st = seconds ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for times");
    for (int64_t i = 0; i < 2 * n && st == RK_OK; i++) {
        const int64_t which = i % 2 ^ i / 2 % 2; /* neither always comes first */
        const double start = rk_now_s();
        st = rk_session_eval(s[which], j->tokens + i / 2, 1, j->logits, err);
        seconds[which * n + i / 2] = rk_now_s() - start;
    }
    if (st == RK_OK)
        bench_figure_add(&j->figures[ADAPTED],
                         100.0 * (median(seconds + n, n) / median(seconds, n) - 1.0));
    free(seconds);
    return st;
}

static rk_status advance(job *j, int64_t n_steps, rk_error *err)
{
    const int64_t n = j->o->n_streams;
    rk_status st = RK_OK;
    for (int64_t i = 0; i < n_steps && st == RK_OK; i++)
        st = rk_session_eval_batch(j->streams, n, j->tokens + i % 8, j->logits, err);
    return st;
}

/* What is done once: packing, touching memory, waking threads. */
static rk_status warm_up(job *j, rk_error *err)
{
    rk_status st = prefill(j, err);
    if (st == RK_OK)
        st = decode(j, rk_min_i64(8, j->o->n_gen), err);
    if (st == RK_OK && j->adapted)
        st = rk_session_eval(j->adapted, j->tokens, 1, j->logits, err);
    if (st == RK_OK && j->o->n_streams)
        st = advance(j, 1, err);
    return st;
}

static void measure_peaks(job *j)
{
    bench_figure_add(&j->figures[F32], bench_machine_f32(j->machine));
    bench_figure_add(&j->figures[INT8], bench_machine_i8(j->machine));
}

/* The limit of each kind of work is measured before and after it, so that other processes slow both
 * alike. */
static rk_status one_round(job *j, rk_error *err)
{
    const bench_options *o = j->o;
    measure_peaks(j);
    double start = rk_now_s();
    rk_status st = prefill(j, err);
    bench_figure_add(&j->figures[PREFILL], (double)o->n_prompt / (rk_now_s() - start));
    measure_peaks(j);
    bench_figure_add(&j->figures[READ], bench_machine_read(j->machine));
    start = rk_now_s();
    if (st == RK_OK)
        st = decode(j, o->n_gen, err);
    bench_figure_add(&j->figures[DECODE], (double)o->n_gen / (rk_now_s() - start));
    bench_figure_add(&j->figures[READ], bench_machine_read(j->machine));
    if (st == RK_OK && j->adapters)
        st = compare_adapted(j, err);
    for (int64_t i = 0; i < o->n_streams; i++) /* else what grows would be longer in each round */
        rk_session_reset(j->streams[i]);
    start = rk_now_s();
    if (st == RK_OK && o->n_streams) {
        st = advance(j, j->n_steps, err);
        bench_figure_add(&j->figures[STREAMS],
                         (double)(o->n_streams * j->n_steps) / (rk_now_s() - start));
    }
    return st;
}

/* ---- opening ---- */

static rk_status open_streams(job *j, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < j->o->n_streams && st == RK_OK; i++)
        st = rk_session_new(&j->streams[i], j->model, j->engine, err);
    return st;
}

static rk_status open_all(job *j, rk_error *err)
{
    const bench_options *o = j->o;
    rk_status st = rk_command_model(&j->model, &o->common, o->model, err);
    if (st != RK_OK)
        return st;
    const int64_t n_streams = rk_max_i64(1, o->n_streams), n_vocab = j->model->hp.n_vocab;
    const int64_t n = rk_max_i64(rk_max_i64(o->n_prompt, o->n_gen), n_streams + 8);
    j->tokens = calloc((size_t)n, sizeof *j->tokens);
    j->logits = calloc((size_t)(n_streams * n_vocab), sizeof *j->logits);
    j->streams = calloc((size_t)n_streams, sizeof *j->streams);
    if (!j->tokens || !j->logits || !j->streams)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " streams", n_streams);
    bench_tokens(j->tokens, n, n_vocab);
    j->n_steps = rk_ceil_div(o->n_gen, 4);
    st = rk_mem_max_apply(&o->common, j->model, j->engine,
                          &(rk_mem_use){1 + o->n_streams, 0, n_streams, 0}, err);
    if (st == RK_OK)
        st = rk_session_new(&j->one, j->model, j->engine, err);
    if (st == RK_OK && o->adapter.files.n > 0)
        st = rk_session_new(&j->adapted, j->model, j->engine, err);
    if (st == RK_OK)
        st = rk_adapter_in_use(&j->adapters, &o->adapter, j->model, j->adapted, false, err);
    if (st == RK_OK)
        st = open_streams(j, err);
    if (st == RK_OK)
        st = bench_machine_new(&j->machine, j->engine, err);
    return st;
}

static void close_all(job *j)
{
    bench_machine_free(j->machine);
    for (int64_t i = 0; j->streams && i < j->o->n_streams; i++)
        rk_session_free(j->streams[i]);
    rk_session_free(j->one);
    rk_session_free(j->adapted);
    rk_adapters_free(j->adapters);
    rk_model_close(j->model);
    free(j->streams);
    free(j->logits);
    free(j->tokens);
}

/* ---- saying it ---- */

static void name_figures(job *j)
{
    static const bench_figure figures[N_FIGURES] = {
        [PREFILL] = {.key = "prefill_tps", .unit = "tokens/s", .scale = 1.0},
        [DECODE] = {.key = "decode_tps", .unit = "tokens/s", .scale = 1.0},
        [ADAPTED] = {.key = "adapter_percent", .unit = "%", .scale = 1.0},
        [STREAMS] = {.key = "streams_tps", .unit = "tokens/s", .scale = 1.0},
        [READ] = {.key = "read_gbps", .unit = "GB/s", .scale = 1e-9, .best = true},
        [F32] = {.key = "f32_peak_gops", .unit = "G operations/s", .scale = 1e-9, .best = true},
        [INT8] = {.key = "int8_peak_gops", .unit = "G operations/s", .scale = 1e-9, .best = true},
    };
    const bench_options *o = j->o;
    for (int i = 0; i < N_FIGURES; i++)
        j->figures[i] = figures[i];
    const size_t room = sizeof j->figures[0].label;
    snprintf(j->figures[PREFILL].label, room, "prefill of %" PRId64, o->n_prompt);
    snprintf(j->figures[DECODE].label, room, "decode %" PRId64, o->n_gen);
    snprintf(j->figures[ADAPTED].label, room, "decode: time that adapters add");
    snprintf(j->figures[STREAMS].label, room, "decode, %" PRId64 " streams together", o->n_streams);
    snprintf(j->figures[READ].label, room, "machine: memory, 4 KiB pages");
    snprintf(j->figures[F32].label, room, "machine: f32 multiply-adds");
    snprintf(j->figures[INT8].label, room, "machine: int8 products");
}

/* Do the large products run on numbers of 8 bits? */
static bool computes_in_8_bits(const job *j)
{
    bool blocks = false;
    for (int64_t i = 0; i < j->model->n_params && !blocks; i++) {
        const rk_param *p = &j->model->params[i];
        blocks = rk_param_is_product(p) && rk_dot8_has(p->tensor.dtype);
    }
    return blocks && rk_engine_dot8(j->engine);
}

/* The share of zeros that each layer's ffn.value met when the model was packed, where it was asked;
 * *n_columns: how many of these matrices read only what they need. */
static json_t *zeros_by_layer(const job *j, json_int_t *n_columns)
{
    json_t *zeros = json_array();
    *n_columns = 0;
    for (int64_t i = 0; i < j->model->n_params && rk_engine_dot8(j->engine); i++) {
        if (!rk_model_pack_asks(j->model, i))
            continue;
        json_array_append_new(zeros, json_real(rk_model_pack_zeros(j->model, i)));
        *n_columns += j->model->params[i].tensor.packed->columns;
    }
    return zeros;
}

/* Bytes of keys and values that a token reads in the middle of decoding; 0 of a model that keeps none. */
static int64_t kept_bytes(const job *j)
{
    const int64_t n = j->o->n_prompt + j->o->n_gen / 2;
    const rk_dtype type = rk_engine_cache(j->engine).type;
    return n * (int64_t)rk_token_rows_bytes(type, j->model->state.token_count);
}

static json_t *describe(job *j, double peak_bytes)
{
    int64_t head = 0;
    const bench_options *o = j->o;
    const bool int8 = computes_in_8_bits(j);
    const int64_t kept = kept_bytes(j), bytes = rk_model_bytes_per_token(j->model) + kept;
    const int64_t lean = rk_model_lean_bytes_per_token(j->model) + kept;
    const double read = bench_figure_value(&j->figures[READ]) * 1e9;
    const double decode_tps = bench_figure_value(&j->figures[DECODE]);
    const double products = (double)rk_model_products(j->model, &head);
    const double per_token = 2.0 * (products + (double)head / (double)o->n_prompt);
    const double gops = per_token * bench_figure_value(&j->figures[PREFILL]) * 1e-9;
    const double top = bench_figure_value(&j->figures[int8 ? INT8 : F32]);
    const int64_t state_bytes = j->model->state.count * (int64_t)sizeof(float);
    json_int_t n_columns;
    json_t *zeros = zeros_by_layer(j, &n_columns);
    const double floor_share = (double)bytes * decode_tps / read, cache = bench_machine_cache();
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, "
        "s:f, s:s, s:f, s:s, s:o, s:I, s:f, s:I, s:s?, s:s?}",
        "model", o->model, "arch", j->model->arch->name, "path", rk_engine_path(j->engine),
        "n_threads", rk_engine_n_threads(j->engine), "n_prompt", (json_int_t)o->n_prompt, "n_gen",
        (json_int_t)o->n_gen, "n_streams", (json_int_t)o->n_streams, "rounds",
        (json_int_t)o->n_rounds, "bytes_per_token", (json_int_t)bytes, "lean_bytes_per_token",
        (json_int_t)lean, "state_bytes", (json_int_t)state_bytes, "operations_per_token",
        2.0 * (products + (double)head), "floor_share", floor_share, "lean_floor_share",
        (double)lean * decode_tps / read, "peak_mib", peak_bytes / 1048576.0, "prefill_gops", gops,
        "prefill_peak", int8 ? "int8" : "f32", "prefill_peak_share", gops / top,
        "int8_instructions", rk_peak_i8_name(), "key_zeros", zeros, "n_columns", n_columns,
        "cache_mib", cache / 1048576.0, "kept_bytes_per_token", (json_int_t)kept, "floor_excess",
        bench_excess(floor_share, (double)bytes <= cache), "prefill_excess",
        bench_excess(gops / top, false));
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static void print_zeros(const json_t *o)
{
    const json_t *zeros = json_object_get(o, "key_zeros"), *one;
    double sum = 0, least = 1, most = 0;
    size_t i;
    json_array_foreach(zeros, i, one)
    {
        const double share = json_number_value(one);
        sum += share;
        least = fmin(least, share);
        most = fmax(most, share);
    }
    if (json_array_size(zeros))
        printf("inputs of ffn.value: %.0f %% are zero (by layer %.0f to %.0f %%); %.0f of %zu "
               "matrices leave out the weights that meet them\n",
               100 * sum / (double)json_array_size(zeros), 100 * least, 100 * most,
               number(o, "n_columns"), json_array_size(zeros));
}

static const char *text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A share above 100 % is explained. */
static void print_excess(const json_t *o)
{
    const char *floor = text(o, "floor_excess");
    if (floor && !strcmp(floor, "caches"))
        printf("  above 100 %%: the caches (%.1f MiB) hold the weights, which are read faster than "
               "memory\n",
               number(o, "cache_mib"));
    else if (floor)
        puts("  above 100 %: a disturbed measurement; something else used the memory while its "
             "bandwidth was measured");
}

static void print_text(const json_t *o)
{
    printf("memory traffic a token: %.2f MB, which is %.1f %% of the read bandwidth;\n"
           "  all weights with low-rank matrices in 8 bits (the floor) %.2f MB and %.1f %%\n",
           number(o, "bytes_per_token") / 1e6, 100.0 * number(o, "floor_share"),
           number(o, "lean_bytes_per_token") / 1e6, 100.0 * number(o, "lean_floor_share"));
    if (number(o, "kept_bytes_per_token") > 0)
        printf("  %.2f MB of it are the keys and values of the tokens before\n",
               number(o, "kept_bytes_per_token") / 1e6);
    print_excess(o);
    const char *peak = text(o, "prefill_peak");
    printf("prefill: %.1f G operations/s in matrix products, %.1f %% of the %s peak (%s)\n",
           number(o, "prefill_gops"), 100.0 * number(o, "prefill_peak_share"), peak,
           *peak == 'i' ? rk_peak_i8_name() : "multiply-adds");
    if (text(o, "prefill_excess"))
        puts("  above 100 %: a disturbed measurement; something else computed while the peak was "
             "measured");
    print_zeros(o);
    printf("memory: %.1f MiB at most in a process that serves one stream\n", number(o, "peak_mib"));
}

static rk_status report(job *j, double peak_bytes, rk_error *err)
{
    bench_figure *figures[N_FIGURES];
    json_t *all = describe(j, peak_bytes);
    for (int i = 0; i < N_FIGURES; i++)
        figures[i] = &j->figures[i];
    if (j->o->json)
        return rk_command_json(bench_json(all, figures, N_FIGURES), err);
    if (!all)
        return rk_fail(err, RK_ERR_NOMEM, "%s: its path is not UTF-8, or memory ran out",
                       j->o->model);
    printf("%s: %s, %d threads, path %s, %" PRId64 " rounds\n", j->o->model, j->model->arch->name,
           rk_engine_n_threads(j->engine), rk_engine_path(j->engine), j->o->n_rounds);
    bench_print(figures, N_FIGURES);
    print_text(all);
    json_decref(all);
    return RK_OK;
}

rk_status bench_model(const bench_options *o, rk_engine *e, double peak_bytes, rk_error *err)
{
    job j = {.o = o, .engine = e};
    name_figures(&j);
    rk_status st = open_all(&j, err);
    if (st == RK_OK)
        st = warm_up(&j, err);
    for (int64_t i = 1; i <= o->n_rounds && st == RK_OK; i++) {
        bench_progress(o, i);
        st = one_round(&j, err);
    }
    if (st == RK_OK)
        st = rk_file_check(j.model->file, err);
    if (st == RK_OK)
        st = report(&j, peak_bytes, err);
    close_all(&j);
    return st;
}
