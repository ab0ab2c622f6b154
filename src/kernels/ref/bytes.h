/* bytes.h: reference of products of bytes with numbers of 29 bits, which are exact. */
#ifndef RK_KERNELS_REF_BYTES_H
#define RK_KERNELS_REF_BYTES_H

#include "kernels/ref/real.h"

static int64_t x29_at(const rk_x29 *x, int64_t i)
{
    const rk_x29 *b = x + i / RK_X29_BLOCK;
    const int64_t at = i % RK_X29_BLOCK;
    return b->high[at % 2][at / 2] * (int64_t)RK_X29_HIGH + b->low[at % 2][at / 2];
}

static void bytes_dot(int64_t rows, int64_t n, int64_t k, const rk_x29 *x, int64_t ldx,
                      const uint8_t *w, int64_t ldw, int64_t *y, int64_t ldy)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < n; j++) {
            int64_t sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += x29_at(x + r * ldx, i) * w[j * ldw + i];
            y[r * ldy + j] = sum;
        }
}

#endif
