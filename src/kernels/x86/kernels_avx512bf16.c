/* kernels_avx512bf16.c: the AVX-512 path with the bf16 dot product in training's matrix products.
 *
 * vdpbf16ps adds the product of the upper halves first, then that of the lower ones, each fused and
 * rounded once. So the even element goes into the upper half, and a sum is the same chain as that
 * of the plain tile over operands that were rounded before. */
#include "kernels/x86/vec_avx512.h"

#include "base/inline.h"
#include "kernels/simd/table.inc.c"

static void gemm_pairs(int64_t k, int64_t width, const float *panel, uint32_t *out)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    for (int64_t l = 0; l < k; l += 2, panel += 2 * width, out += width)
        for (int64_t j = 0; j < width; j += 16) {
            const __mmask16 m = (__mmask16)(width - j < 16 ? (1u << (width - j)) - 1 : 0xffffu);
            const __m512i even = _mm512_maskz_loadu_epi32(m, panel + j);
            const __m512i odd =
                l + 1 < k ? _mm512_maskz_loadu_epi32(m, panel + width + j) : _mm512_setzero_si512();
            const __m512i pair =
                _mm512_or_si512(_mm512_and_si512(even, upper), _mm512_srli_epi32(odd, 16));
            _mm512_mask_storeu_epi32(out + j, m, pair);
        }
}

/* As gemm_tile, two steps of k at a time. */
static void gemm_tile_pairs(int64_t k, const void *a_, const void *b_, void *c_, int64_t ldc,
                            bool load)
{
    const uint32_t *a = a_, *b = b_;
    float *c = c_;
    vf sum[GEMM_MR][GEMM_COLS];
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < GEMM_COLS; j++)
            sum[i][j] = load ? vf_load(c + i * ldc + j * VF) : vf_zero();
#pragma GCC unroll 4
    for (int64_t l = 0; l < k; l++, a += GEMM_MR, b += GEMM_NR) {
        __m512bh row[GEMM_COLS];
        for (int j = 0; j < GEMM_COLS; j++)
            row[j] = (__m512bh)_mm512_loadu_si512(b + j * VF);
        for (int i = 0; i < GEMM_MR; i++) {
            const __m512bh ai = (__m512bh)_mm512_set1_epi32((int)a[i]);
            for (int j = 0; j < GEMM_COLS; j++)
                sum[i][j] = _mm512_dpbf16_ps(sum[i][j], ai, row[j]);
        }
    }
    for (int i = 0; i < GEMM_MR; i++)
        for (int j = 0; j < GEMM_COLS; j++)
            vf_store(c + i * ldc + j * VF, sum[i][j]);
}

#define PAIRS .gemm_pairs = gemm_pairs, .gemm_tile_pairs = gemm_tile_pairs
const rk_kernels rk_kernels_avx512bf16 = SIMD_TABLE("avx512bf16", PAIRS);
