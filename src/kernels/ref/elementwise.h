/* elementwise.h: reference of the kernels that work on each element alone, and of sums over an
 * array. */
#ifndef RK_KERNELS_REF_ELEMENTWISE_H
#define RK_KERNELS_REF_ELEMENTWISE_H

#include "kernels/ref/real.h"

static real unary_value(rk_unary op, real x)
{
    switch (op) {
    case RK_SIGMOID:
        return sigmoid(x);
    case RK_TANH:
        return tanh(x);
    case RK_EXP:
        return exp(x);
    case RK_RELU2:
        return x > 0 ? x * x : 0 * x; /* 0 * x keeps a NaN */
    case RK_SILU:
        return x * sigmoid(x);
    case RK_RELU:
        return x > 0 ? x : 0 * x;
    default:
        assert(false && "a unary operation");
        return 0;
    }
}

/* f'(x), with y = f(x) at hand. */
static real unary_slope(rk_unary op, real x, real y)
{
    switch (op) {
    case RK_SIGMOID:
        return y * (1 - y);
    case RK_TANH:
        return 1 - y * y;
    case RK_EXP:
        return y;
    case RK_RELU2:
        return x > 0 ? 2 * x : 0 * x;
    case RK_SILU:
        return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    case RK_RELU:
        return x > 0 ? 1 : 0 * x;
    default:
        assert(false && "a unary operation");
        return 0;
    }
}

static void unary(rk_unary op, int64_t n, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (int64_t i = 0; i < n; i++)
        y[i] = unary_value(op, x[i]);
}

static void unary_bwd(rk_unary op, int64_t n, const void *x_, const void *y_, const void *dy_,
                      void *dx_)
{
    const real *x = x_, *y = y_, *dy = dy_;
    real *dx = dx_;
    for (int64_t i = 0; i < n; i++)
        dx[i] += dy[i] * unary_slope(op, x[i], y[i]);
}

static void swiglu(int64_t n, const void *gate_, const void *up_, void *y_)
{
    const real *gate = gate_, *up = up_;
    real *y = y_;
    for (int64_t i = 0; i < n; i++)
        y[i] = unary_value(RK_SILU, gate[i]) * up[i];
}

static void swiglu_bwd(int64_t n, const void *gate_, const void *up_, const void *dy_, void *dgate_,
                       void *dup_)
{
    const real *gate = gate_, *up = up_, *dy = dy_;
    real *dgate = dgate_, *dup = dup_;
    for (int64_t i = 0; dgate && i < n; i++)
        dgate[i] += dy[i] * up[i] * unary_slope(RK_SILU, gate[i], 0);
    for (int64_t i = 0; dup && i < n; i++)
        dup[i] += dy[i] * unary_value(RK_SILU, gate[i]);
}

static void add(int64_t n, const void *x_, const void *y_, void *z_)
{
    const real *x = x_, *y = y_;
    real *z = z_;
    for (int64_t i = 0; i < n; i++)
        z[i] = x[i] + y[i];
}

static void mul(int64_t n, const void *x_, const void *y_, void *z_)
{
    const real *x = x_, *y = y_;
    real *z = z_;
    for (int64_t i = 0; i < n; i++)
        z[i] = x[i] * y[i];
}

static void lerp(int64_t n, const void *x_, const void *y_, const void *w_, void *z_)
{
    const real *x = x_, *y = y_, *w = w_;
    real *z = z_;
    for (int64_t i = 0; i < n; i++)
        z[i] = x[i] + (y[i] - x[i]) * w[i];
}

static void axpy(int64_t n, double alpha, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (int64_t i = 0; i < n; i++)
        y[i] += (real)alpha * x[i];
}

static void scale(int64_t n, double alpha, const void *x_, void *y_)
{
    const real *x = x_;
    real *y = y_;
    for (int64_t i = 0; i < n; i++)
        y[i] = (real)alpha * x[i];
}

static void mul_add(int64_t n, const void *x_, const void *y_, void *z_)
{
    const real *x = x_, *y = y_;
    real *z = z_;
    for (int64_t i = 0; i < n; i++)
        z[i] += x[i] * y[i];
}

static void lerp_bwd(int64_t n, const void *x_, const void *y_, const void *w_, const void *dz_,
                     void *dx_, void *dy_, void *dw_)
{
    const real *x = x_, *y = y_, *w = w_, *dz = dz_;
    real *dx = dx_, *dy = dy_, *dw = dw_;
    for (int64_t i = 0; i < n; i++) {
        if (dx)
            dx[i] += dz[i] * (1 - w[i]);
        if (dy)
            dy[i] += dz[i] * w[i];
        if (dw)
            dw[i] += dz[i] * (y[i] - x[i]);
    }
}

/* Element i goes to partial sum i mod 8; the tree adds partner 4, then 2, then 1 away. */
static double tree_of_8(const double *s)
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static double sum(int64_t n, const void *x_)
{
    const real *x = x_;
    double s[8] = {0};
    for (int64_t i = 0; i < n; i++)
        s[i % 8] += (double)x[i];
    return tree_of_8(s);
}

static double sum_squares(int64_t n, const void *x_)
{
    const real *x = x_;
    double s[8] = {0};
    for (int64_t i = 0; i < n; i++)
        s[i % 8] += (double)x[i] * (double)x[i];
    return tree_of_8(s);
}

static void add_rows(int64_t rows, int64_t n, int64_t ld, const void *x_, void *out_)
{
    const real *x = x_;
    real *out = out_;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < n; c++)
            out[c] += x[i * ld + c];
}

#endif
