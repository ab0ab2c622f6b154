/* dot8.c: products with activations in 8 bits on one thread, beside what memory and the f32 units
 * of this machine give in the same round.
 *
 *     bench_dot8 [rounds, default 9]
 *
 * One row of x: packed weights from memory (192 MiB, more than caches hold), GB/s and the share of
 * a plain read of as many bytes. Several rows, from the cache: multiply-adds a
 * second of the best round over the best peak of f32. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "kernels/dot8.h"
#include "kernels/kernels.h"
#include "kernels/peak.h"

enum { WIDE_N = 1024, WIDE_K = 4096 };
enum { K = 2048, READ_MIB = 192, SMALL_N = 128, MOST_ROWS = 512 };
static const int64_t row_counts[] = {2, 8, MOST_ROWS};

static void *take(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes) != 0) {
        fprintf(stderr, "bench_dot8: out of memory\n");
        exit(1);
    }
    return p;
}

/* Seconds of the fastest way. */
static double read_all(const unsigned char *p, size_t bytes)
{
    double best = INFINITY;
    for (int way = 0; way < RK_READINGS; way++) {
        const double start = rk_now_s();
        volatile uint64_t sink = rk_peak_read(p, bytes, (rk_reading)way);
        (void)sink;
        best = fmin(best, rk_now_s() - start);
    }
    return best;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rounded inputs, laid out for `rows` of them. */
static rk_x8 *round_rows(const rk_dot8_kernels *kern, rk_dtype t, int64_t rows, const float *x)
{
    rk_x8 *to = take(rk_x8_bytes(kern, t, rows, K));
    const int64_t tile = rows == 1 ? 1 : kern->tile, blocks = rk_x8_blocks(t, K);
    for (int64_t r = 0; r < rows; r++)
        kern->round(K, x + r * K, blocks, to + r / tile * tile * blocks + r % tile, tile);
    return to;
}

/* One row whose inputs are zero with the given probability by matrices of WIDE_K inputs, half of
 * the outputs at a time as a thread of two has them: in columns, and the times that the other form
 * takes as long. Each round draws another row. */
static void zeros(const rk_dot8_kernels *kern, rk_dtype t, int percent, int rounds,
                  unsigned char *data, float *y)
{
    enum { HALF = WIDE_N / RK_DOT8_ROWS / 2 };
    rk_dot8_matrix w = {t, WIDE_N, WIDE_K, data, true};
    const int64_t bytes = (int64_t)rk_dot8_bytes(&w), count = (int64_t)READ_MIB * 1048576 / bytes;
    const int64_t blocks = WIDE_K / RK_X8_BLOCK;
    rk_x8 *rounded = take(rk_x8_bytes(kern, t, 1, WIDE_K));
    void *memory = take(rk_x8_sparse_bytes(WIDE_K));
    float x[WIDE_K];
    double ratio[64];
    for (int i = 0; i < rounds; i++) {
        for (int64_t l = 0; l < WIDE_K; l++) {
            const uint64_t draw = rk_rng_below(1, RK_RNG_TEST, (uint64_t)i, (uint64_t)l, 100);
            x[l] = draw < (uint64_t)percent ? 0.0f : (float)(draw + 1);
        }
        kern->round(WIDE_K, x, blocks, rounded, 1);
        const double start = rk_now_s();
        for (int64_t m = 0; m < count; m++) {
            w = (rk_dot8_matrix){t, WIDE_N, WIDE_K, data + m * bytes, true};
            const rk_x8_sparse some = rk_x8_gather(&w, rounded, 1, memory);
            for (int64_t g = 0; g < 2 * HALF; g += HALF)
                kern->columns(&w, g, g + HALF, &some, 1, y, WIDE_N, false);
        }
        const double by_columns = rk_now_s() - start;
        for (int64_t m = 0; m < count; m++) {
            w = (rk_dot8_matrix){t, WIDE_N, WIDE_K, data + m * bytes, false};
            for (int64_t g = 0; g < 2 * HALF; g += HALF)
                kern->product(&w, (rk_dot8_some){g, 1, HALF}, rounded, 1, y, WIDE_N, false, NULL);
        }
        ratio[i] = (rk_now_s() - start - by_columns) / by_columns;
    }
    qsort(ratio, (size_t)rounds, sizeof *ratio, by_value);
    printf(" %d %%: %.2f", percent, ratio[rounds / 2]);
    free(rounded);
    free(memory);
}

static void one_row(const rk_dot8_kernels *kern, rk_dtype t, int rounds, unsigned char *data,
                    const float *x, float *y)
{
    const size_t group = rk_dot8_group_bytes(t, K);
    const int64_t groups = (int64_t)((size_t)READ_MIB * 1048576 / group) / 4 * 4;
    const rk_dot8_matrix w = {t, groups * RK_DOT8_ROWS, K, data, false};
    rk_x8 *rounded = round_rows(kern, t, 1, x);
    double share[64], gb[64];
    for (int i = 0; i < rounds; i++) {
        const double read = read_all(data, (size_t)groups * group / 128 * 128);
        const double start = rk_now_s();
        for (int64_t g = 0; g < groups / 4; g++)
            kern->product(&w, (rk_dot8_some){g, groups / 4, 4}, rounded, 1, y, w.n, false, NULL);
        const double s = rk_now_s() - start;
        gb[i] = (double)groups * (double)group / s / 1e9;
        share[i] = read / s;
    }
    qsort(gb, (size_t)rounds, sizeof *gb, by_value);
    qsort(share, (size_t)rounds, sizeof *share, by_value);
    printf("%-10s %-5s one row %5.1f GB/s, %3.0f %% of a read;", kern->name, rk_dtype_name(t),
           gb[rounds - 1], 100 * share[rounds / 2]);
    free(rounded);
}

/* Short rounds, so that some meet no neighbour. */
static void several_rows(const rk_dot8_kernels *kern, rk_dtype t, int64_t rows, const char *path,
                         int rounds, unsigned char *data, const float *x, float *y)
{
    const rk_dot8_matrix w = {t, SMALL_N, K, data, false};
    rk_x8 *rounded = round_rows(kern, t, rows, x);
    void *scratch = take(rk_dot8_scratch(K));
    double peak = 0, best = 0;
    for (int i = 0; i < 8 * rounds; i++) {
        double start = rk_now_s();
        const double fma = rk_peak_f32(path, 300000) / 2;
        peak = fmax(peak, fma / (rk_now_s() - start));
        start = rk_now_s();
        kern->product(&w, (rk_dot8_some){0, 1, SMALL_N / RK_DOT8_ROWS}, rounded, rows, y, SMALL_N,
                      false, scratch);
        best = fmax(best, (double)(SMALL_N * rows * K) / (rk_now_s() - start));
    }
    printf(" %d: %.1f (%.2f)", (int)rows, best / 1e9, best / peak);
    free(rounded);
    free(scratch);
}

int main(int argc, char **argv)
{
    static const rk_dtype formats[] = {RK_Q8_0, RK_Q4_0, RK_Q4_1, RK_Q5_0, RK_Q5_1,
                                       RK_Q2_K, RK_Q3_K, RK_Q4_K, RK_Q5_K, RK_Q6_K};
    const int rounds = argc > 1 ? (int)rk_max_i64(1, rk_min_i64(64, atoi(argv[1]))) : 9;
    const rk_kernels *best = NULL;
    rk_error err;
    if (rk_kernels_find(&best, NULL, &err) != RK_OK)
        return 1;
    unsigned char *data = take((size_t)READ_MIB * 1048576);
    float *x = take((size_t)MOST_ROWS * K * sizeof *x);
    float *y = take((size_t)READ_MIB * 1048576 / 64 * sizeof *y);
    for (size_t i = 0; i < (size_t)READ_MIB * 1048576; i++)
        data[i] = (unsigned char)(i * 7919 % 120);
    for (int64_t i = 0; i < (int64_t)MOST_ROWS * K; i++)
        x[i] = (float)(i * 7919 % 2003) / 1000.0f - 1.0f;
    for (int i = 1; rk_dot8_at(i); i++)
        for (size_t f = 0; f < RK_COUNT(formats); f++) {
            one_row(rk_dot8_at(i), formats[f], rounds, data, x, y);
            printf(" rows: G multiply-adds/s (of f32's peak)");
            for (size_t r = 0; r < RK_COUNT(row_counts); r++)
                several_rows(rk_dot8_at(i), formats[f], row_counts[r], best->name, rounds, data, x,
                             y);
            printf("\n");
        }
    for (int i = 1; rk_dot8_at(i); i++)
        for (size_t f = 0; f < RK_COUNT(formats); f++) {
            if (!rk_dot8_has_columns(formats[f], WIDE_N, WIDE_K))
                continue;
            printf("%-10s %-5s one row of which many are zero, times the speed of reading all:",
                   rk_dot8_at(i)->name, rk_dtype_name(formats[f]));
            for (int percent = 0; percent <= 90; percent += 10)
                zeros(rk_dot8_at(i), formats[f], percent, rounds, data, y);
            printf("\n");
        }
    free(data);
    free(x);
    free(y);
    return 0;
}
