/* attention.c: attention of one layer, beside what this machine can do.
 *
 *     bench_attention [rounds, default 15] [path, default the best] [threads, default all] [type of the cache]
 *
 * The shape is Qwen2.5-0.5B's: 14 heads of 64, 2 key heads; keys and values lie in pages as a session has
 * them. Decoding is a token of one stream after so many; layer after layer has a cache of its own, so that
 * none is in the processor's caches, and the yardstick is reading as many bytes with as many threads. A
 * prompt is chunks of 128 tokens after so many, training a window forward and backward; their yardstick is
 * the peak of fused multiply-adds. In each round the yardstick runs before and after the work; a line gives
 * the best time and the median share. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "kernels/peak.h"
#include "tensor/ops.h"

enum { HEADS = 14, GROUPS = 2, SIZE = 64, WIDTH = GROUPS * SIZE, LAYERS = 24, CHUNK = 128 };
enum {
    ROUNDS_MAX = 1001,
    TOKENS_MAX = 16384,
    PAGES = TOKENS_MAX / RK_PAGE_ROWS,
    WINDOW_MAX = 2048
};

typedef struct bench {
    rk_ctx ctx;
    rk_pool *pool;
    rk_dtype type;
    size_t row_bytes; /* of a key */
    unsigned char *data, *pages[LAYERS][PAGES];
    unsigned char *const *stream[LAYERS];
    int64_t before[1];
    int64_t layer, tokens, n_read; /* of the work; bytes of a yardstick */
    double flops;
    float numbers[WINDOW_MAX * HEADS * SIZE + 2];
    rk_tensor in[5];
} bench;

static void stop(const rk_error *err)
{
    fprintf(stderr, "bench_attention: %s\n", err->msg);
    exit(1);
}

/* Pages of all layers, keys and then values of a page. */
static void make_pages(bench *b)
{
    const size_t page = 2 * b->row_bytes * RK_PAGE_ROWS;
    b->data = aligned_alloc(64, page * PAGES * LAYERS);
    if (!b->data)
        stop(&(rk_error){RK_ERR_NOMEM, "out of memory"});
    memset(b->data, 0x11, page * PAGES * LAYERS); /* small numbers of any type */
    for (int l = 0; l < LAYERS; l++) {
        for (int i = 0; i < PAGES; i++)
            b->pages[l][i] = b->data + ((size_t)l * PAGES + (size_t)i) * page;
        b->stream[l] = b->pages[l];
    }
}

/* q, k, v and keys and values of no token, over numbers that are filled once. */
static rk_attention_in inputs(bench *b)
{
    const int64_t q[] = {1, b->tokens, HEADS, SIZE}, k[] = {1, b->tokens, GROUPS, SIZE};
    const int64_t none[] = {1, 0, GROUPS, SIZE};
    b->in[0] = rk_tensor_over(RK_F32, 4, q, b->numbers);
    b->in[1] = rk_tensor_over(RK_F32, 4, k, b->numbers + 1);
    b->in[2] = rk_tensor_over(RK_F32, 4, k, b->numbers + 2);
    b->in[3] = b->in[4] = rk_tensor_over(RK_F32, 4, none, b->numbers);
    return (rk_attention_in){.q = &b->in[0],
                             .k = &b->in[1],
                             .v = &b->in[2],
                             .keys = &b->in[3],
                             .values = &b->in[4],
                             .theta = 1e6,
                             .scale = 0.125};
}

/* `tokens` more of a stream, in the next layer. */
static void infer(bench *b)
{
    const int64_t dims[] = {1, b->tokens, GROUPS, SIZE};
    rk_tensor *keys, *values;
    rk_ctx_reset(&b->ctx);
    b->ctx.long_class = b->tokens > 1;
    rk_attention_in in = inputs(b);
    rk_growing at = {.pages = &b->stream[b->layer++ % LAYERS],
                     .n_before = b->before,
                     .row_bytes = b->row_bytes / GROUPS,
                     .head_bytes = b->row_bytes / GROUPS * RK_PAGE_ROWS,
                     .type = b->type};
    in.keys = rk_new_growing(&b->ctx, 4, dims, at);
    at.offset = b->row_bytes * RK_PAGE_ROWS;
    in.values = rk_new_growing(&b->ctx, 4, dims, at);
    rk_attention(&b->ctx, &in, &keys, &values);
}

static void train(bench *b)
{
    rk_tensor *keys, *values;
    rk_ctx_reset(&b->ctx);
    b->ctx.long_class = b->ctx.recording = true;
    rk_attention_in in = inputs(b);
    in.q->requires_grad = in.k->requires_grad = in.v->requires_grad = true;
    rk_backward(&b->ctx, rk_attention(&b->ctx, &in, &keys, &values), 1.0);
    b->ctx.recording = false;
}

static void read_task(void *arg, int64_t i, int worker)
{
    const bench *b = arg;
    (void)worker;
    rk_peak_read(b->data + i * b->n_read, (size_t)b->n_read, RK_READ_AHEAD);
}

static void flops_task(void *arg, int64_t i, int worker)
{
    const bench *b = arg;
    (void)i;
    (void)worker;
    rk_peak_f32(b->ctx.kernels->name, 20000);
}

/* Seconds of the yardstick for the work: reading its keys and values, or its operations. */
static double yardstick(bench *b)
{
    const int64_t threads = rk_pool_n_threads(b->pool);
    const double bytes = 2.0 * (double)(b->before[0] + 1) * (double)b->row_bytes;
    if (b->tokens == 1) {
        b->n_read = (int64_t)(2 * b->row_bytes) * TOKENS_MAX * LAYERS / threads / 128 * 128;
        const double start = rk_now_s();
        rk_pool_run(b->pool, threads, read_task, b);
        return (rk_now_s() - start) * bytes / (double)(b->n_read * threads);
    }
    const double start = rk_now_s(), each = rk_peak_f32(b->ctx.kernels->name, 1);
    rk_pool_run(b->pool, threads, flops_task, b);
    return (rk_now_s() - start) * b->flops / (each * 20000.0 * (double)threads);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(bench *b, const char *what, void (*work)(bench *b), int rounds)
{
    double took[ROUNDS_MAX], share[ROUNDS_MAX];
    const int times = b->tokens == 1 ? LAYERS : 1;
    work(b);
    for (int i = 0; i < rounds; i++) {
        const double before = yardstick(b), start = rk_now_s();
        for (int k = 0; k < times; k++)
            work(b);
        took[i] = (rk_now_s() - start) / times;
        share[i] = (before + yardstick(b)) / 2 / took[i];
    }
    rk_error err = {0};
    if (rk_ctx_status(&b->ctx, &err) != RK_OK)
        stop(&err);
    qsort(took, (size_t)rounds, sizeof *took, by_value);
    qsort(share, (size_t)rounds, sizeof *share, by_value);
    printf("%-7s %5" PRId64 " tokens after %-5" PRId64 " %9.3f ms  %5.1f%% of %s\n", what,
           b->tokens, b->before[0], took[0] * 1e3, 100.0 * share[rounds / 2],
           b->tokens == 1 ? "reading" : "the peak");
}

int main(int argc, char **argv)
{
    static bench b;
    static const int64_t depths[] = {0, 512, 2048, 8191}, windows[] = {256, 1024, 2048};
    const int rounds = argc > 1 ? atoi(argv[1]) : 15, threads = argc > 3 ? atoi(argv[3]) : 0;
    const char *type = argc > 4 ? argv[4] : "f16";
    const rk_kernels *kern = NULL;
    rk_error err = {0};
    if (rounds < 1 || rounds > ROUNDS_MAX || threads < 0 || threads > 1024)
        stop(&(rk_error){RK_ERR_ARG, "rounds are 1 to 1001, threads 1 to 1024"});
    b.type = !strcmp(type, "f32") ? RK_F32 : !strcmp(type, "q8_0") ? RK_Q8_0 : RK_F16;
    b.row_bytes = (size_t)(WIDTH / rk_dtype_block(b.type)) * rk_dtype_bytes(b.type);
    if (rk_kernels_find(&kern, argc > 2 ? argv[2] : NULL, &err) != RK_OK ||
        rk_pool_new(&b.pool, threads, NULL, NULL, NULL, &err) != RK_OK ||
        rk_ctx_init(
            &b.ctx,
            &(rk_ctx_params){.kernels = kern, .pool = b.pool, .data_kind = RK_ARENA_GROWING},
            &err) != RK_OK)
        stop(&err);
    make_pages(&b);
    for (size_t i = 0; i < RK_COUNT(b.numbers); i++)
        b.numbers[i] = (float)(i * 7919 % 2003) / 1001.0f - 1.0f;
    printf("path %s, %d threads, %s: best of %d rounds, median share of the round's yardstick\n",
           kern->name, rk_pool_n_threads(b.pool), rk_dtype_name(b.type), rounds);
    for (size_t i = 0; i < RK_COUNT(depths); i++) {
        b.tokens = 1;
        b.before[0] = depths[i];
        measure(&b, "decode", infer, rounds);
    }
    for (size_t i = 0; i < RK_COUNT(depths); i++) {
        b.tokens = CHUNK;
        b.before[0] = depths[i] / CHUNK * CHUNK;
        b.flops = 4.0 * CHUNK * HEADS * SIZE * ((double)b.before[0] + CHUNK / 2.0);
        measure(&b, "prompt", infer, rounds);
    }
    for (size_t i = 0; i < RK_COUNT(windows); i++) { /* two products forward and five backward */
        b.tokens = windows[i];
        b.before[0] = 0;
        b.flops = 14.0 / 2 * (double)(windows[i] * windows[i]) * HEADS * SIZE;
        measure(&b, "train", train, rounds);
    }
    rk_ctx_deinit(&b.ctx);
    rk_pool_free(b.pool);
    free(b.data);
    return 0;
}
