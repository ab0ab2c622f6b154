/* op_list.h: all operations, one a row, which tests and `rwkv selftest` walk (rk_op_at).
 *
 * X(name) stands for the constant rk_op_<name>, defined with the op's functions in the file named
 * beside it. A new op is its file, its row here and its declaration in ops.h. */
#ifndef RK_OP_LIST_H
#define RK_OP_LIST_H

/* clang-format off */
#define RK_OP_LIST(X)                                \
    X(unary)         /* op_elementwise.c          */ \
    X(add)                                           \
    X(mul)                                           \
    X(lerp)                                          \
    X(scale)                                         \
    X(dropout)                                       \
    X(sum)           /* op_shape.c                */ \
    X(copy)                                          \
    X(concat)                                        \
    X(softmax)       /* op_rows.c                 */ \
    X(l2norm)                                        \
    X(norm)                                          \
    X(rms_norm)                                      \
    X(swiglu)        /* op_swiglu.c               */ \
    X(positions)     /* op_rotary.c               */ \
    X(rotary)                                        \
    X(attention)     /* op_attention.c            */ \
    X(linear)        /* op_linear.c               */ \
    X(fold)          /* op_fold.c                 */ \
    X(repeat)                                        \
    X(gain)          /* op_gain.c                 */ \
    X(matmul)        /* op_product.c              */ \
    X(row_matmul)                                    \
    X(embedding)                                     \
    X(cross_entropy) /* op_loss.c                 */ \
    X(distance)      /* op_distill.c              */ \
    X(divergence)                                    \
    X(kl)            /* op_kl.c                   */ \
    X(preference)    /* op_preference.c           */ \
    X(previous)      /* op_previous.c             */ \
    X(shift_mix)     /* op_rwkv.c                 */ \
    X(wkv7)                                          \
    X(wkv4)          /* op_wkv.c                  */ \
    X(wkv6)                                          \
    X(medium_insert)   /* op_medium.c             */ \
    X(medium_previous)                               \
    X(medium_mean)                                   \
    X(medium_mix)      /* op_medium_mix.c         */ \
    X(medium_wkv)      /* op_medium_wkv.c         */ \
    X(medium_read)                                   \
    X(rwkv7_prepare) /* op_rwkv7.c                */ \
    X(rwkv7_output)                                  \
    X(rwkv7_heads)   /* op_rwkv7_heads.c          */ \
    X(self_state)    /* op_self_state.c           */ \
    X(route)         /* op_route.c                */ \
    X(features)      /* op_features.c             */ \
    X(features_read)                                 \
    X(recompute)     /* op.c                      */
/* clang-format on */

#endif
