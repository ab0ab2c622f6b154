/* peak.c: loops that do nothing but the instruction in question. They carry their instruction set
 * as an attribute and not in the file's name, because one small file says best how they compare. */
#include "kernels/peak.h"

#include <string.h>

#include "base/inline.h"
#include "base/num.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

/* Types, names and calls as arguments bear no parentheses.
 * NOLINTBEGIN(bugprone-macro-parentheses) */

/* A loop over CHAINS sums of type VEC, for instruction sets TARGET. Ends in an output that depends
 * on every sum, so that none is left out. */
#define FMA_LOOP(NAME, TARGET, VEC, CHAINS, SET1, ADD, FMA, LANES)                                 \
    TARGET static double NAME(int64_t turns, volatile float *x)                                    \
    {                                                                                              \
        const VEC a = SET1(x[0]), b = SET1(x[1]);                                                  \
        VEC sum[CHAINS];                                                                           \
        for (int i = 0; i < CHAINS; i++)                                                           \
            sum[i] = SET1(x[i % 2]);                                                               \
        for (int64_t t = 0; t < turns; t++) {                                                      \
            /* Left as a loop, the sums would live in memory. */                                   \
            _Pragma("GCC unroll 32") for (int i = 0; i < CHAINS; i++) sum[i] = FMA(a, sum[i], b);  \
        }                                                                                          \
        for (int i = 1; i < CHAINS; i++)                                                           \
            sum[0] = ADD(sum[0], sum[i]);                                                          \
        float lanes[LANES];                                                                        \
        memcpy(lanes, &sum[0], sizeof lanes);                                                      \
        x[2] = lanes[0];                                                                           \
        return 2.0 * CHAINS * LANES * (double)turns;                                               \
    }

/* The same for integers: BYTES products of 8 bits in a vector; STEP is a statement over sum[i].
 * Here gcc keeps the sums in registers only where none of the loops over them is left as one. */
#define DOT_LOOP(NAME, TARGET, VEC, CHAINS, SET1, ADD, STEP, BYTES)                                \
    TARGET static double NAME(int64_t turns, volatile int *x)                                      \
    {                                                                                              \
        const VEC b = SET1((char)x[0]);                                                            \
        VEC sum[CHAINS];                                                                           \
        _Pragma("GCC unroll 32") for (int i = 0; i < CHAINS; i++) sum[i] = SET1((char)x[i % 2]);   \
        for (int64_t t = 0; t < turns; t++) {                                                      \
            _Pragma("GCC unroll 32") for (int i = 0; i < CHAINS; i++) STEP(sum[i], b);             \
        }                                                                                          \
        _Pragma("GCC unroll 32") for (int i = 1; i < CHAINS; i++) sum[0] = ADD(sum[0], sum[i]);    \
        int first;                                                                                 \
        memcpy(&first, &sum[0], sizeof first);                                                     \
        x[2] = first;                                                                              \
        return 2.0 * CHAINS * BYTES * (double)turns;                                               \
    }

/* NOLINTEND(bugprone-macro-parentheses) */

#define FLOAT_ADD(a, b) ((a) + (b))
#define FLOAT_MUL_ADD(a, b, c) ((a) * (b) + (c))

/* The path "ref" calls fmaf; what a multiplication and an addition can do bounds it. */
FMA_LOOP(fma_ref, , float, 12, (float), FLOAT_ADD, FLOAT_MUL_ADD, 1)

#if defined(__x86_64__)

FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), __m512, 24, _mm512_set1_ps, _mm512_add_ps,
         _mm512_fmadd_ps, 16)
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), __m256, 12, _mm256_set1_ps, _mm256_add_ps,
         _mm256_fmadd_ps, 8)

/* The first factor is the sum itself: of two constants the product would be taken out of the loop.
 * Chain after chain is finished: computed side by side, their terms do not fit the registers. */
#define STEP_SSSE3(s, b)                                                                           \
    do {                                                                                           \
        const __m128i pairs = _mm_maddubs_epi16(s, b);                                             \
        (s) = _mm_add_epi32(s, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));                          \
        __asm__ volatile("" : "+x"(s));                                                            \
    } while (0)
#define STEP_AVX2(s, b)                                                                            \
    do {                                                                                           \
        const __m256i pairs = _mm256_maddubs_epi16(s, b);                                          \
        (s) = _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));                 \
        __asm__ volatile("" : "+x"(s));                                                            \
    } while (0)
#define STEP_AVXVNNI(s, b) ((s) = _mm256_dpbusd_avx_epi32(s, b, b))
#define STEP_AVX512VNNI(s, b) ((s) = _mm512_dpbusd_epi32(s, b, b))

DOT_LOOP(dot_ssse3, __attribute__((target("ssse3"))), __m128i, 12, _mm_set1_epi8, _mm_add_epi32,
         STEP_SSSE3, 16)
DOT_LOOP(dot_avx2, __attribute__((target("avx2"))), __m256i, 12, _mm256_set1_epi8, _mm256_add_epi32,
         STEP_AVX2, 32)
DOT_LOOP(dot_avxvnni, __attribute__((target("avx2,avxvnni"))), __m256i, 12, _mm256_set1_epi8,
         _mm256_add_epi32, STEP_AVXVNNI, 32)
DOT_LOOP(dot_avx512vnni, __attribute__((target("avx512f,avx512vnni"))), __m512i, 24,
         _mm512_set1_epi8, _mm512_add_epi32, STEP_AVX512VNNI, 64)

static bool runs_avx512vnni(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni");
}
/* Bit 4 of eax in the second part of leaf 7; not all compilers know the name. */
static bool runs_avxvnni(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a >> 4 & 1);
}
static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}
static bool runs_ssse3(void)
{
    return __builtin_cpu_supports("ssse3");
}

#elif defined(__aarch64__)

#define NEON_FMA(a, b, c) vfmaq_f32(c, a, b)
FMA_LOOP(fma_neon, , float32x4_t, 24, vdupq_n_f32, vaddq_f32, NEON_FMA, 4)

#define NEON_SET1(x) vreinterpretq_s32_s8(vdupq_n_s8((int8_t)(x)))
/* As assembly, because not every compiler declares the intrinsic without flags for the whole file.
 */
#define STEP_SDOT(s, b) __asm__("sdot %0.4s, %1.16b, %1.16b" : "+w"(s) : "w"(b))
#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#define STEP_SMULL(s, b)                                                                           \
    ((s) = vpadalq_s16(s, vmlal_high_s8(vmull_s8(vget_low_s8(vreinterpretq_s8_s32(s)),             \
                                                 vget_low_s8(vreinterpretq_s8_s32(b))),            \
                                        vreinterpretq_s8_s32(s), vreinterpretq_s8_s32(b))))
/* 32 products: each of the four sums gets 8. */
#define STEP_SMMLA(s, b) __asm__("smmla %0.4s, %1.16b, %1.16b" : "+w"(s) : "w"(b))
#if defined(__clang__)
#define I8MM __attribute__((target("i8mm")))
#else
#define I8MM __attribute__((target("arch=armv8.2-a+i8mm")))
#endif
DOT_LOOP(dot_smmla, I8MM, int32x4_t, 24, NEON_SET1, vaddq_s32, STEP_SMMLA, 32)
DOT_LOOP(dot_sdot, DOTPROD, int32x4_t, 24, NEON_SET1, vaddq_s32, STEP_SDOT, 16)
DOT_LOOP(dot_smull, , int32x4_t, 12, NEON_SET1, vaddq_s32, STEP_SMULL, 16)

static bool runs_smmla(void)
{
    return getauxval(AT_HWCAP2) >> 13 & 1; /* HWCAP2_I8MM */
}
static bool runs_sdot(void)
{
    return getauxval(AT_HWCAP) >> 20 & 1; /* HWCAP_ASIMDDP */
}

#endif

#define INT_ADD(a, b) ((a) + (b))
#define STEP_PLAIN(s, b) ((s) += (int8_t)(s) * (b))
DOT_LOOP(dot_plain, , int, 12, (int), INT_ADD, STEP_PLAIN, 1)

static bool runs_always(void)
{
    return true;
}

/* The best that this CPU runs comes first. */
static const struct dot_row {
    const char *name;
    double (*run)(int64_t turns, volatile int *x);
    bool (*runs)(void);
} dots[] = {
#if defined(__x86_64__)
    {"vpdpbusd, 512 bits", dot_avx512vnni, runs_avx512vnni},
    {"vpdpbusd, 256 bits", dot_avxvnni, runs_avxvnni},
    {"vpmaddubsw and vpmaddwd, 256 bits", dot_avx2, runs_avx2},
    {"pmaddubsw and pmaddwd, 128 bits", dot_ssse3, runs_ssse3},
#elif defined(__aarch64__)
    {"smmla", dot_smmla, runs_smmla},
    {"sdot", dot_sdot, runs_sdot},
    {"smull, smlal2 and sadalp", dot_smull, runs_always},
#endif
    {"one by one", dot_plain, runs_always},
};

static const struct dot_row *best_dot(void)
{
    size_t i = 0;
    while (!dots[i].runs())
        i++;
    return &dots[i];
}

double rk_peak_i8(int64_t turns)
{
    volatile int x[3] = {1, 3, 0};
    return best_dot()->run(turns, x);
}

const char *rk_peak_i8_name(void)
{
    return best_dot()->name;
}

double rk_peak_f32(const char *path, int64_t turns)
{
    volatile float x[3] = {0.5f, 0.25f, 0.0f};
#if defined(__x86_64__)
    if (strncmp(path, "avx512", 6) == 0)
        return fma_avx512(turns, x);
    if (strcmp(path, "avx2") == 0)
        return fma_avx2(turns, x);
#elif defined(__aarch64__)
    if (strcmp(path, "neon") == 0)
        return fma_neon(turns, x);
#endif
    (void)path;
    return fma_ref(turns, x);
}

enum { LINE_WORDS = 8, AHEAD_BYTES = 1024, FAR_AHEAD_BYTES = 8192, PLACES = 4 };

/* `words`, a multiple of two lines, in each of `places` places. Two lines at a time, in sums that
 * stay in registers: with eight sums in an array gcc kept them in memory, and waiting for them was
 * what was measured, at less than half the rate. */
RK_INLINE uint64_t sum_of(const uint64_t *p, size_t words, int places, rk_reading how)
{
    uint64_t sum[2 * LINE_WORDS] = {0}, all = 0;
    for (size_t at = 0; at < words; at += 2 * LINE_WORDS) {
        for (size_t line = at; line < at + 2 * LINE_WORDS; line += LINE_WORDS) {
            if (how == RK_READ_FAR_AHEAD)
                rk_prefetch_far((const char *)(p + line) + FAR_AHEAD_BYTES);
            if (how == RK_READ_FAR_AHEAD || how == RK_READ_AHEAD)
                rk_prefetch((const char *)(p + line) + AHEAD_BYTES);
        }
        for (int place = 0; place < places; place++)
            for (size_t w = 0; w < 2 * LINE_WORDS; w++)
                sum[w] += p[(size_t)place * words + at + w];
    }
    for (size_t w = 0; w < 2 * LINE_WORDS; w++)
        all += sum[w];
    return all;
}

uint64_t rk_peak_read(const void *p, size_t bytes, rk_reading how)
{
    const uint64_t *at = p;
    const size_t words = bytes / sizeof *at, two_lines = 2 * LINE_WORDS;
    const size_t of_place = words / PLACES / two_lines * two_lines;
    switch (how) {
    case RK_READ_PLAIN:
        return sum_of(at, words, 1, RK_READ_PLAIN);
    case RK_READ_AHEAD:
        return sum_of(at, words, 1, RK_READ_AHEAD);
    case RK_READ_FAR_AHEAD:
        return sum_of(at, words, 1, RK_READ_FAR_AHEAD);
    default:
        return sum_of(at, of_place, PLACES, RK_READ_APART) +
               sum_of(at + PLACES * of_place, words - PLACES * of_place, 1, RK_READ_PLAIN);
    }
}
