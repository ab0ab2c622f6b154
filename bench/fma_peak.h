/* fma_peak.h: the most f32 operations a second that a thread gets out of fused multiply-adds: loops
 * over registers alone, enough independent chains to hide the latency. */
#ifndef RK_BENCH_FMA_PEAK_H
#define RK_BENCH_FMA_PEAK_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* A loop over CHAINS sums of type VEC, for instruction sets TARGET. Ends in an output that depends
 * on every sum, so that none is left out. */
#define FMA_PEAK_LOOP(NAME, TARGET, VEC, CHAINS, SET1, ADD, FMA, LANES)                            \
    TARGET static double NAME(int64_t turns, volatile float *x)                                    \
    {                                                                                              \
        const VEC a = SET1(x[0]), b = SET1(x[1]);                                                  \
        VEC sum[CHAINS];                                                                           \
        for (int i = 0; i < CHAINS; i++)                                                           \
            sum[i] = SET1(x[i % 2]);                                                               \
        for (int64_t t = 0; t < turns; t++) {                                                      \
            /* Left as a loop, the sums would live in memory. */                                   \
            _Pragma("GCC unroll 32") for (int i = 0; i < CHAINS; i++)                              \
                sum[i] = FMA(a, sum[i], b);                                                        \
        }                                                                                          \
        for (int i = 1; i < CHAINS; i++)                                                           \
            sum[0] = ADD(sum[0], sum[i]);                                                          \
        float lanes[LANES];                                                                        \
        memcpy(lanes, &sum[0], sizeof lanes);                                                      \
        x[2] = lanes[0];                                                                           \
        return 2.0 * CHAINS * LANES * (double)turns;                                               \
    }

#define NEON_FMA(a, b, c) vfmaq_f32(c, a, b)
#define FLOAT_ADD(a, b) ((a) + (b))
#define FLOAT_MUL_ADD(a, b, c) ((a) * (b) + (c))
#if defined(__x86_64__)
FMA_PEAK_LOOP(fma_loop_avx512, __attribute__((target("avx512f"))), __m512, 24, _mm512_set1_ps,
              _mm512_add_ps, _mm512_fmadd_ps, 16)
FMA_PEAK_LOOP(fma_loop_avx2, __attribute__((target("avx2,fma"))), __m256, 12, _mm256_set1_ps,
              _mm256_add_ps, _mm256_fmadd_ps, 8)
#elif defined(__aarch64__)
FMA_PEAK_LOOP(fma_loop_neon, , float32x4_t, 24, vdupq_n_f32, vaddq_f32, NEON_FMA, 4)
#endif
/* The path "ref" calls fmaf; what a multiplication and an addition can do bounds it. */
FMA_PEAK_LOOP(fma_loop_ref, , float, 12, (float), FLOAT_ADD, FLOAT_MUL_ADD, 1)

/* Run `turns` turns in the instruction set of a path, return the operations done. */
static inline double fma_peak_run(const char *path, int64_t turns)
{
    volatile float x[3] = {0.5f, 0.25f, 0.0f};
#if defined(__x86_64__)
    if (strncmp(path, "avx512", 6) == 0)
        return fma_loop_avx512(turns, x);
    if (strcmp(path, "avx2") == 0)
        return fma_loop_avx2(turns, x);
#elif defined(__aarch64__)
    if (strcmp(path, "neon") == 0)
        return fma_loop_neon(turns, x);
#endif
    (void)path;
    return fma_loop_ref(turns, x);
}

#endif
