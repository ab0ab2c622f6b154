/* table.inc.c: every family of simd/, and the row that lists them. The file that includes it has
 * included a vector header first; it is compiled once for each instruction set. */
#include <math.h>
#include <string.h>

#include "base/inline.h"
#include "base/num.h"
#include "kernels/kernels.h"

#include "kernels/simd/math.inc.h"

#include "kernels/simd/bytes.inc.c"
#include "kernels/simd/elementwise.inc.c"
#include "kernels/simd/gemm.inc.c"
#include "kernels/simd/gemv.inc.c"
#include "kernels/simd/loss.inc.c"
#include "kernels/simd/norm.inc.c"
#include "kernels/simd/optim.inc.c"
#include "kernels/simd/rwkv7.inc.c"
#include "kernels/simd/shift.inc.c"
#include "kernels/simd/sparse.inc.c"
#include "kernels/simd/wkv4.inc.c"
#include "kernels/simd/wkv6.inc.c"
#include "kernels/simd/wkv7.inc.c"

/* Made of what stands above. */
#include "kernels/simd/attention.inc.c"
#include "kernels/simd/attention_bwd.inc.c"
#include "kernels/simd/attention_few.inc.c"

/* clang-format off */
/* `more` are rows that only this instruction set has. */
#define SIMD_TABLE(path, more) {                                                                   \
    .name = (path), .real = RK_F32,                                                                \
    .unary = unary, .unary_bwd = unary_bwd,                                                        \
    .add = add, .mul = mul, .lerp = lerp, .axpy = axpy, .scale = scale,                            \
    .mul_add = mul_add, .lerp_bwd = lerp_bwd,                                                      \
    .sum = sum, .sum_squares = sum_squares, .add_rows = add_rows,                                  \
    .norm = norm, .norm_bwd_x = norm_bwd_x, .norm_bwd_w = norm_bwd_w,                              \
    .swiglu = swiglu, .swiglu_bwd = swiglu_bwd,                                                    \
    .rms_norm = rms_norm, .rms_norm_bwd_x = rms_norm_bwd_x, .rms_norm_bwd_w = rms_norm_bwd_w,      \
    .rotary = rotary, .attend_scratch = attend_scratch, .attend = attend,                          \
    .attend_few = attend_few, .attend_merge = attend_merge,                                        \
    .attend_bwd_scratch = attend_bwd_scratch, .attend_bwd = attend_bwd,                            \
    .l2norm = l2norm, .l2norm_bwd = l2norm_bwd,                                                    \
    .softmax = softmax, .softmax_bwd = softmax_bwd,                                                \
    .shift_mix = shift_mix, .shift_mix_bwd_x = shift_mix_bwd_x,                                    \
    .shift_mix_bwd_mu = shift_mix_bwd_mu,                                                          \
    .rwkv7_prepare = rwkv7_prepare, .rwkv7_prepare_bwd = rwkv7_prepare_bwd,                        \
    .rwkv7_output = rwkv7_output, .rwkv7_output_bwd = rwkv7_output_bwd,                            \
    .wkv7_scratch = wkv7_scratch, .wkv7 = wkv7, .wkv7_bwd = wkv7_bwd,                              \
    .wkv6_scratch = wkv6_scratch, .wkv6 = wkv6, .wkv6_bwd = wkv6_bwd,                              \
    .wkv4 = wkv4, .wkv4_bwd = wkv4_bwd,                                                            \
    .ce_block = ce_block, .ce_grad = ce_grad,                                                      \
    .adamw = adamw, .sgd = sgd,                                                                    \
    .widen = widen, .narrow = narrow,                                                              \
    .gemm_mr = GEMM_MR, .gemm_nr = GEMM_NR, .gemm_tile = gemm_tile, .gemm_pack = gemm_pack,        \
    .gemv_dot = gemv_dot, .gemv_axpy = gemv_axpy, .bytes_dot = bytes_dot,                          \
    .sum_where = sum_where, .gather_dot = gather_dot, .gather_axpy = gather_axpy, more             \
}
/* clang-format on */
