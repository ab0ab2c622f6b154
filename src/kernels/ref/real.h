/* real.h: the element type of one build of the reference.
 *
 * ref_f32.c and ref_f64.c each define `real` (by RK_REF_F64 or its absence) and include every
 * family below through table.h; <tgmath.h> picks expf or exp by the type of the argument. */
#ifndef RK_KERNELS_REF_REAL_H
#define RK_KERNELS_REF_REAL_H

#include <assert.h>
#include <tgmath.h>

#include "base/num.h"
#include "kernels/kernels.h"

#ifdef RK_REF_F64
typedef double real;
#define RK_REF_DTYPE RK_F64
#else
typedef float real;
#define RK_REF_DTYPE RK_F32
#endif

/* Element i of an array of any floating dtype. */
static inline real element(const void *data, rk_dtype t, int64_t i)
{
    switch (t) {
    case RK_F32:
        return (real)((const float *)data)[i];
    case RK_F64:
        return (real)((const double *)data)[i];
    case RK_BF16:
        return (real)rk_bf16_to_f32(((const uint16_t *)data)[i]);
    case RK_F16:
        return (real)rk_f16_to_f32(((const uint16_t *)data)[i]);
    default:
        assert(false && "a floating dtype");
        return 0;
    }
}

static inline real sigmoid(real x)
{
    return 1 / (1 + exp(-x));
}

static inline real dot(int64_t n, const real *x, const real *y)
{
    real s = 0;
    for (int64_t i = 0; i < n; i++)
        s += x[i] * y[i];
    return s;
}

#endif
