/* wkv7.c: the RWKV-7 recurrence of one head on one thread, beside the peak of this machine.
 *
 *     bench_wkv7 [rounds, default 31] [path, default the best]
 *
 * Neighbours change the speed of a shared machine from one moment to the next, so each round runs
 * the register-only loop, forward and backward in turn; a line gives the best tokens a second of
 * one head, and the median over the rounds of the share of the peak of the same round. The work
 * counted is the least a step takes: 5 N^2 multiply-adds forward; backward 5 N^2 for the states
 * again and 12 N^2 for the walk back. Decoding is single steps without gradients. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "kernels/kernels.h"
#include "kernels/peak.h"

enum { ROUNDS_MAX = 1001, INPUTS = 7, GRADS = 6 };
enum { FORWARD_PER_N2 = 5, BACKWARD_PER_N2 = 17 };

typedef struct problem {
    const rk_kernels *kern;
    rk_wkv7_args args;
    rk_wkv7_grads grads;
    void *scratch;
    float *block; /* all arrays */
    int64_t calls;
} problem;

static void *take(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes) != 0) {
        fprintf(stderr, "bench_wkv7: out of memory\n");
        exit(1);
    }
    return p;
}

/* Numbers in [low, high) that are not all alike. */
static void fill(float *x, int64_t n, float low, float high)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = low + (high - low) * (float)(i * 7919 % 2003) / 2003.0f;
}

/* steps > 1: training, with the states saved; 1: decoding, many calls. */
static problem problem_new(const rk_kernels *kern, int64_t n, int64_t steps)
{
    const int64_t rows = steps * n, saved = rk_ceil_div(steps, RK_WKV_SEGMENT) * n * n;
    problem p = {.kern = kern, .calls = steps > 1 ? 1 : 256};
    p.scratch = take(kern->wkv7_scratch(n));
    p.block = take((size_t)((INPUTS + GRADS + 1) * rows + saved + 2 * n * n) * sizeof(float));
    float *x[INPUTS + GRADS + 1];
    for (int i = 0; i <= INPUTS + GRADS; i++) {
        x[i] = p.block + i * rows;
        fill(x[i], rows, i == 1 ? 0.55f : -0.1f, i == 1 ? 1.0f : 0.1f);
    }
    float *after = p.block + (INPUTS + GRADS + 1) * rows;
    fill(after, saved + 2 * n * n, -0.1f, 0.1f);
    p.args = (rk_wkv7_args){.n_steps = steps,
                            .head_size = n,
                            .stride = n,
                            .r = x[0],
                            .w = x[1],
                            .k = x[2],
                            .v = x[3],
                            .a = x[4],
                            .b = x[5],
                            .y = x[INPUTS + GRADS],
                            .state = after,
                            .saved = steps > 1 ? after + 2 * n * n : NULL};
    p.grads = (rk_wkv7_grads){x[6], x[7], x[8], x[9], x[10], x[11], x[12], after + n * n};
    return p;
}

static void forward(const problem *p)
{
    p->kern->wkv7(&p->args, p->scratch);
}

static void backward(const problem *p)
{
    p->kern->wkv7_bwd(&p->args, &p->grads, p->scratch);
}

/* Multiply-adds a second of the peak, over about half a millisecond. */
static double peak_rate(const char *path)
{
    const double start = rk_now_s();
    const double flops = rk_peak_f32(path, 50000);
    return flops / 2 / (rk_now_s() - start);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One line: rounds of run, whose step takes per_n2 N^2 multiply-adds. */
static void measure(const char *what, void (*run)(const problem *), const problem *p, int per_n2,
                    int rounds)
{
    const int64_t n = p->args.head_size, tokens = p->args.n_steps * p->calls;
    double rate[ROUNDS_MAX], share[ROUNDS_MAX];
    run(p);
    for (int i = 0; i < rounds; i++) {
        const double peak = peak_rate(p->kern->name), start = rk_now_s();
        for (int64_t c = 0; c < p->calls; c++)
            run(p);
        rate[i] = (double)tokens / (rk_now_s() - start);
        share[i] = rate[i] * (double)(per_n2 * n * n) / peak;
    }
    qsort(rate, (size_t)rounds, sizeof *rate, by_value);
    qsort(share, (size_t)rounds, sizeof *share, by_value);
    printf("%-8s N %-3" PRId64 " T %-4" PRId64 " %8.0f ktokens/s %7.1f GFLOP/s %6.1f%%\n", what, n,
           p->args.n_steps, rate[rounds - 1] * 1e-3,
           2e-9 * rate[rounds - 1] * (double)(per_n2 * n * n), 100.0 * share[rounds / 2]);
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 31;
    const rk_kernels *kern = NULL;
    rk_error err;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "bench_wkv7: rounds must be 1 to %d\n", ROUNDS_MAX);
        return 2;
    }
    if (rk_kernels_find(&kern, argc > 2 ? argv[2] : NULL, &err) != RK_OK) {
        fprintf(stderr, "bench_wkv7: %s\n", err.msg);
        return 1;
    }
    printf("path %s: best of %d rounds, median share of the FMA peak of the round\n", kern->name,
           rounds);
    for (int64_t n = 32; n <= 64; n *= 2)
        for (int64_t steps = 256; steps >= 1; steps /= 256) {
            problem p = problem_new(kern, n, steps);
            measure(steps > 1 ? "forward" : "decode", forward, &p, FORWARD_PER_N2, rounds);
            if (steps > 1)
                measure("backward", backward, &p, BACKWARD_PER_N2, rounds);
            free(p.scratch);
            free(p.block);
        }
    return 0;
}
