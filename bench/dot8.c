/* dot8.c: products with activations in 8 bits on one thread, beside what memory and the f32 units
 * of this machine give in the same round.
 *
 *     bench_dot8 [rounds, default 9]
 *
 * One row of x: packed weights from memory (192 MiB, more than caches hold), GB/s and the share of
 * a plain read of as many bytes. 512 rows: multiply-adds a second, over the peak of f32. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "kernels/dot8.h"
#include "kernels/kernels.h"
#include "kernels/peak.h"

enum { K = 2048, READ_MIB = 192, GEMM_N = 512, GEMM_ROWS = 512 };

static void *take(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes) != 0) {
        fprintf(stderr, "bench_dot8: out of memory\n");
        exit(1);
    }
    return p;
}

static double read_all(const uint64_t *p, size_t bytes)
{
    uint64_t sum[8] = {0};
    const double start = rk_now_s();
    for (size_t i = 0; i + 8 <= bytes / 8; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += p[i + (size_t)j];
    volatile uint64_t sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    (void)sink;
    return rk_now_s() - start;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run(const rk_dot8_kernels *kern, rk_dtype t, const char *path, int rounds,
                unsigned char *data, const float *x, float *y)
{
    const size_t group = rk_dot8_group_bytes(t, K);
    const int64_t groups = (int64_t)((size_t)READ_MIB * 1048576 / group);
    const rk_dot8_matrix w = {t, groups * RK_DOT8_ROWS, K, data};
    const rk_dot8_matrix small = {t, GEMM_N, K, data};
    const int64_t blocks = rk_x8_blocks(t, K);
    rk_x8 *one = take(rk_x8_bytes(kern, t, 1, K)), *many = take(rk_x8_bytes(kern, t, GEMM_ROWS, K));
    void *scratch = take(rk_dot8_scratch(K));
    double share[64], gb[64], gemm[64], gops[64];
    kern->round(K, x, blocks, one, 1);
    for (int64_t r = 0; r < GEMM_ROWS; r++)
        kern->round(K, x + r * K, blocks,
                    many + r / kern->tile * kern->tile * blocks + r % kern->tile, kern->tile);
    for (int i = 0; i < rounds; i++) {
        double start = rk_now_s();
        const double fma = rk_peak_f32(path, 10000000) / 2;
        const double peak = fma / (rk_now_s() - start) / 1e9;
        const double read = read_all((const uint64_t *)(const void *)data, (size_t)groups * group);
        start = rk_now_s();
        kern->product(&w, 0, groups, one, 1, y, w.n, false, scratch);
        const double vector = rk_now_s() - start;
        start = rk_now_s();
        kern->product(&small, 0, GEMM_N / RK_DOT8_ROWS, many, GEMM_ROWS, y, GEMM_N, false, scratch);
        const double matrix = rk_now_s() - start;
        gb[i] = (double)groups * (double)group / vector / 1e9;
        share[i] = read / vector;
        gops[i] = (double)GEMM_N * GEMM_ROWS * K / matrix / 1e9;
        gemm[i] = gops[i] / peak;
    }
    qsort(gb, (size_t)rounds, sizeof *gb, by_value);
    qsort(share, (size_t)rounds, sizeof *share, by_value);
    qsort(gemm, (size_t)rounds, sizeof *gemm, by_value);
    qsort(gops, (size_t)rounds, sizeof *gops, by_value);
    printf("%-10s %-5s one row %6.1f GB/s, %3.0f %% of a read; %d rows %6.1f G multiply-adds/s, "
           "%4.2f of f32's peak\n",
           kern->name, rk_dtype_name(t), gb[rounds - 1], 100 * share[rounds / 2], GEMM_ROWS,
           gops[rounds - 1], gemm[rounds / 2]);
    free(one);
    free(many);
    free(scratch);
}

int main(int argc, char **argv)
{
    static const rk_dtype formats[] = {RK_Q8_0, RK_Q4_0, RK_Q4_1, RK_Q5_0,
                                       RK_Q5_1, RK_Q4_K, RK_Q5_K, RK_Q6_K};
    const int rounds = argc > 1 ? (int)rk_min_i64(64, atoi(argv[1])) : 9;
    const rk_kernels *best = NULL;
    rk_error err;
    if (rk_kernels_find(&best, NULL, &err) != RK_OK)
        return 1;
    unsigned char *data = take((size_t)READ_MIB * 1048576);
    float *x = take((size_t)GEMM_ROWS * K * sizeof *x);
    float *y = take((size_t)READ_MIB * 1048576 / 64 * sizeof *y);
    for (size_t i = 0; i < (size_t)READ_MIB * 1048576; i++)
        data[i] = (unsigned char)(i * 7919 % 120);
    for (int64_t i = 0; i < (int64_t)GEMM_ROWS * K; i++)
        x[i] = (float)(i * 7919 % 2003) / 1000.0f - 1.0f;
    for (int i = 1; rk_dot8_at(i); i++)
        for (size_t f = 0; f < RK_COUNT(formats); f++)
            run(rk_dot8_at(i), formats[f], best->name, rounds > 0 ? rounds : 1, data, x, y);
    free(data);
    free(x);
    free(y);
    return 0;
}
