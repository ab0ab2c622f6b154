/* table.h: every family of the reference, and the row that lists them. */
#ifndef RK_KERNELS_REF_TABLE_H
#define RK_KERNELS_REF_TABLE_H

#include "kernels/ref/attention.h"
#include "kernels/ref/bytes.h"
#include "kernels/ref/elementwise.h"
#include "kernels/ref/features.h"
#include "kernels/ref/loss.h"
#include "kernels/ref/matrix.h"
#include "kernels/ref/norm.h"
#include "kernels/ref/optim.h"
#include "kernels/ref/rwkv7.h"
#include "kernels/ref/shift.h"
#include "kernels/ref/sparse.h"
#include "kernels/ref/wkv4.h"
#include "kernels/ref/wkv6.h"
#include "kernels/ref/wkv7.h"

/* clang-format off */
#define RK_REF_TABLE {                                                                             \
    .name = "ref", .real = RK_REF_DTYPE,                                                           \
    .unary = unary, .unary_bwd = unary_bwd,                                                        \
    .add = add, .mul = mul, .lerp = lerp, .axpy = axpy, .scale = scale,                            \
    .mul_add = mul_add, .lerp_bwd = lerp_bwd,                                                      \
    .sum = sum, .sum_squares = sum_squares, .add_rows = add_rows,                                  \
    .norm = norm, .norm_bwd_x = norm_bwd_x, .norm_bwd_w = norm_bwd_w,                              \
    .swiglu = swiglu, .swiglu_bwd = swiglu_bwd,                                                    \
    .rms_norm = rms_norm, .rms_norm_bwd_x = rms_norm_bwd_x, .rms_norm_bwd_w = rms_norm_bwd_w,      \
    .rotary = rotary, .attend_scratch = attend_scratch, .attend = attend,                          \
    .attend_few = attend, .attend_merge = attend_merge,                                            \
    .attend_bwd_scratch = attend_scratch, .attend_bwd = attend_bwd,                                \
    .l2norm = l2norm, .l2norm_bwd = l2norm_bwd,                                                    \
    .softmax = softmax, .softmax_bwd = softmax_bwd,                                                \
    .shift_mix = shift_mix, .shift_mix_bwd_x = shift_mix_bwd_x,                                    \
    .shift_mix_bwd_mu = shift_mix_bwd_mu,                                                          \
    .rwkv7_prepare = rwkv7_prepare, .rwkv7_prepare_bwd = rwkv7_prepare_bwd,                        \
    .rwkv7_output = rwkv7_output, .rwkv7_output_bwd = rwkv7_output_bwd,                            \
    .wkv7_scratch = wkv7_scratch, .wkv7 = wkv7, .wkv7_bwd = wkv7_bwd,                              \
    .wkv7_hop_scratch = wkv7_hop_scratch, .wkv7_hop = wkv7_hop, .wkv7_hop_bwd = wkv7_hop_bwd,      \
    .wkv6_scratch = wkv6_scratch, .wkv6 = wkv6, .wkv6_bwd = wkv6_bwd,                              \
    .wkv4 = wkv4, .wkv4_bwd = wkv4_bwd,                                                            \
    .ce_block = ce_block, .ce_grad = ce_grad,                                                      \
    .adamw = adamw, .sgd = sgd,                                                                    \
    .widen = widen, .narrow = narrow,                                                              \
    .gemm_mr = GEMM_MR, .gemm_nr = GEMM_NR, .gemm_tile = gemm_tile, .gemm_pack = gemm_pack,        \
    .gemv_dot = gemv_dot, .gemv_axpy = gemv_axpy, .bytes_dot = bytes_dot,                          \
    .sum_where = sum_where, .gather_dot = gather_dot, .gather_axpy = gather_axpy,                  \
    .features_scratch = features_scratch, .features = features, .features_bwd = features_bwd, .feature_vector = feature_vector,      \
    .features_read = features_read, .features_read_bwd = features_read_bwd,                        \
    .features_gain_bwd = features_gain_bwd,                                                        \
}
/* clang-format on */

#endif
