/* codes.h: quantised types whose numbers are places in a code book, as bitsandbytes has them: what
 * RWKV-PEFT and QLoRA hold a frozen model in. They live in memory only, so the bytes of a block are our
 * own.
 *
 *   nf4   y = d book[q], 4 bits   quantiles of the normal distribution, arXiv 2305.14314, table of its
 *                                 appendix E
 *   fp4   the same                +-{0, 1/192, 1/6, 1/4, 1/3, 1/2, 2/3, 1}
 *   int8  y = d book[q], 8 bits   7 decades with 1, 2, 4 .. 64 steps, arXiv 1511.04561; bitsandbytes'
 *                                 create_dynamic_map
 *   fp8   y = q, 8 bits           the float e4m3 (1 + 4 + 3 bits, bias 7), no infinities
 *
 * d is the largest magnitude of 64 neighbours, of int8 that of the whole tensor, which all of its
 * blocks repeat. A number is that of the nearest value; x just between two may go to the other one in
 * bitsandbytes, which multiplies by 1 / d where we divide by d. Values of int8's book agree with its
 * own to the last bits of an f32: it computes them in f32, we in f64.
 *
 * Bytes of a block: d as f32; then 64 numbers of 8 bits, or 32 bytes, whose low nibbles are the first
 * 32 numbers and whose high ones the others. Of fp8: the numbers. */
#ifndef RK_KERNELS_CODES_H
#define RK_KERNELS_CODES_H

#include "base/dtype.h"

bool rk_codes_has(rk_dtype t);
/* Dequantise n elements, a whole number of blocks, to out (n). Any bytes have a value. */
void rk_codes_widen(rk_dtype t, int64_t n, const void *blocks, float *out);
/* Quantise x (n), finite floats, a whole number of blocks. absmax: the largest magnitude of the whole
 * tensor, which only int8 asks for. fp8 is rounded to nearest, ties to even, magnitudes above 448 to
 * 448. */
void rk_codes_narrow(rk_dtype t, int64_t n, const float *x, float absmax, void *blocks);
/* The largest of |x|; 0 of none. */
float rk_codes_absmax(int64_t n, const float *x);

#endif
