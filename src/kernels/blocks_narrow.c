/* blocks_narrow.c: quantising with vectors of 4 floats, which every machine has, and the choice of
 * a build for wider ones: the bits are the same, so the CPU decides. */
#define LANES 4
#define NARROW rk_blocks_narrow_plain
#include "kernels/simd/narrow.inc.c"

#include "kernels/codes.h"

bool rk_blocks_can_narrow(rk_dtype t)
{
    return rk_codes_has(t) || rk_blocks_narrow_plain(t, 0, NULL, NULL, NULL);
}

void rk_blocks_narrow(rk_dtype t, int64_t n, const float *x, const float *weights, void *blocks)
{
    if (rk_codes_has(t)) {
        rk_codes_narrow(t, n, x, rk_codes_absmax(n, x), blocks);
        return;
    }
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        rk_blocks_narrow_avx2(t, n, x, weights, blocks);
        return;
    }
#endif
    rk_blocks_narrow_plain(t, n, x, weights, blocks);
}
