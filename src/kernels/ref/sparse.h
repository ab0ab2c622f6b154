/* sparse.h: reference of the products of a sparse channel mix: with bits, and with rows that lie anywhere. */
#ifndef RK_KERNELS_REF_SPARSE_H
#define RK_KERNELS_REF_SPARSE_H

#include "kernels/ref/real.h"

static void sum_where(int64_t n, int64_t k, const void *x, const uint8_t *bits, int64_t stride,
                      void *y)
{
    for (int64_t j = 0; j < n; j++) {
        const uint8_t *row = bits + j * stride;
        real s = 0;
        for (int64_t i = 0; i < k; i++)
            if (row[i / 8] >> (i % 8) & 1)
                s += ((const real *)x)[i];
        ((real *)y)[j] = s;
    }
}

static void gather_dot(int64_t n, int64_t k, const void *x, const void *const *rows, rk_dtype wt,
                       void *y)
{
    for (int64_t j = 0; j < n; j++) {
        real s = 0;
        for (int64_t i = 0; i < k; i++)
            s += ((const real *)x)[i] * element(rows[j], wt, i);
        ((real *)y)[j] = s;
    }
}

static void gather_axpy(int64_t n, int64_t k, const void *a, const void *const *rows, rk_dtype wt,
                        void *y)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < k; i++)
            ((real *)y)[i] += ((const real *)a)[j] * element(rows[j], wt, i);
}

#endif
