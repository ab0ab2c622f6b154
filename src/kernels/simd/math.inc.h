/* math.inc.h: loads and stores that stop at the end of an array, and exp, sigmoid, tanh of a
 * vector.
 *
 * Tails run the same vector code as whole vectors, so the bits of an element do not depend on where
 * in an array it lies. The polynomials are minimax fits of the relative error (below 0.2 units in
 * the last place before rounding); with the rounding of the few steps around them exp stays within
 * 1 unit of the true value, tanh and sigmoid within 2.5 (measured in tests/kernels/test_simd.c).
 * Tables were no candidate: a gather costs more than the polynomial. */
#include "kernels/kernels.h"

/* Up to VF floats at p, of which `left` > 0 remain. */
static inline vf vf_load_upto(const float *p, int64_t left)
{
    return left >= VF ? vf_load(p) : vf_load_n(p, (int)left);
}
static inline void vf_store_upto(float *p, vf x, int64_t left)
{
    if (left >= VF)
        vf_store(p, x);
    else
        vf_store_n(p, x, (int)left);
}
/* p += x. */
static inline void vf_add_upto(float *p, vf x, int64_t left)
{
    vf_store_upto(p, vf_add(vf_load_upto(p, left), x), left);
}

/* e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2; ln 2 is split so that r is exact to
 * rounding. Overflows to infinity above 88.72 and runs through subnormal numbers to 0 at -104. */
static inline vf vf_exp(vf x)
{
    const vf in = vf_max(vf_set1(-104.0f), vf_min(vf_set1(89.0f), x));
    const vf n = vf_round(vf_mul(in, vf_set1(0x1.715476p+0f)));
    vf r = vf_fnma(n, vf_set1(0x1.62e430p-1f), in);
    r = vf_fnma(n, vf_set1(-0x1.05c610p-29f), r);
    vf q = vf_set1(0x1.6a234ep-10f);
    q = vf_fma(q, r, vf_set1(0x1.123a6cp-7f));
    q = vf_fma(q, r, vf_set1(0x1.5558f4p-5f));
    q = vf_fma(q, r, vf_set1(0x1.555490p-3f));
    q = vf_fma(q, r, vf_set1(0x1.fffffcp-2f));
    return vf_ldexp(vf_add(vf_fma(vf_mul(r, r), q, r), vf_set1(1.0f)), n);
}

/* 0 below -88.72, where e^-x overflows and the true value is subnormal. */
static inline vf vf_sigmoid(vf x)
{
    const vf one = vf_set1(1.0f);
    return vf_div(one, vf_add(one, vf_exp(vf_sub(vf_zero(), x))));
}

/* x + x^3 P(x^2) near 0, where the other form cancels; 1 - 2 / (e^2|x| + 1) with the sign of x. */
static inline vf vf_tanh(vf x)
{
    const vf one = vf_set1(1.0f), mag = vf_abs(x), x2 = vf_mul(x, x);
    vf p = vf_set1(-0x1.736434p-8f);
    p = vf_fma(p, x2, vf_set1(0x1.519c98p-6f));
    p = vf_fma(p, x2, vf_set1(-0x1.b82800p-5f));
    p = vf_fma(p, x2, vf_set1(0x1.110692p-3f));
    p = vf_fma(p, x2, vf_set1(-0x1.555530p-2f));
    const vf small = vf_fma(vf_mul(x, x2), p, x);
    const vf e = vf_exp(vf_add(mag, mag));
    const vf large = vf_sub(one, vf_div(vf_set1(2.0f), vf_add(e, one)));
    return vf_copysign(vf_select(vf_lt(mag, vf_set1(0.625f)), small, large), x);
}

/* Sums over a row, in four chains of vectors that are added in a fixed order. */
static inline float row_sum(int64_t n, const float *x)
{
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t i = 0;
    for (; i + 4 * VF <= n; i += 4 * VF)
        for (int q = 0; q < 4; q++)
            s[q] = vf_add(s[q], vf_load(x + i + q * VF));
    for (; i < n; i += VF)
        s[0] = vf_add(s[0], vf_load_upto(x + i, n - i));
    return vf_sum(vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3])));
}
static inline float row_dot(int64_t n, const float *x, const float *y)
{
    vf s[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t i = 0;
    for (; i + 4 * VF <= n; i += 4 * VF)
        for (int q = 0; q < 4; q++)
            s[q] = vf_fma(vf_load(x + i + q * VF), vf_load(y + i + q * VF), s[q]);
    for (; i < n; i += VF)
        s[0] = vf_fma(vf_load_upto(x + i, n - i), vf_load_upto(y + i, n - i), s[0]);
    return vf_sum(vf_add(vf_add(s[0], s[1]), vf_add(s[2], s[3])));
}

/* The largest of n values; a NaN may pass or not. */
static inline float row_max(int64_t n, const float *x)
{
    vf m = vf_set1(-INFINITY);
    int64_t i = 0;
    for (; i + VF <= n; i += VF)
        m = vf_max(m, vf_load(x + i));
    float max = vf_hmax(m);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}
