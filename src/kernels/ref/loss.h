/* loss.h: reference of the cross-entropy over vocabulary blocks, with L2Wrap.
 *
 * The maximum and the sum of e^(x - max) are carried from block to block and rescaled when the
 * maximum moves (Milakov, Gimelshein 2018, arXiv 1805.02867). L2Wrap, the gradient of
 * l2wrap / 2 max^2 per row, is RWKV-LM's: it reaches the backward only. */
#ifndef RK_KERNELS_REF_LOSS_H
#define RK_KERNELS_REF_LOSS_H

#include "kernels/ref/real.h"

static void ce_row_block(int64_t n, int64_t col0, const real *x, int64_t target, rk_ce_row *row)
{
    const double max_before = row->max;
    for (int64_t j = 0; j < n; j++)
        if ((double)x[j] > row->max) {
            row->max = (double)x[j];
            row->argmax = col0 + j;
        }
    double total = 0;
    for (int64_t j = 0; j < n; j++)
        total += (double)exp(x[j] - (real)row->max);
    row->sum = row->sum * exp(max_before - row->max) + total;
    if (target >= col0 && target < col0 + n)
        row->target = (double)x[target - col0];
}

static void ce_block(int64_t rows, int64_t n, int64_t ld, int64_t col0, const void *logits_,
                     const int32_t *targets, rk_ce_row *row)
{
    const real *logits = logits_;
    for (int64_t i = 0; i < rows; i++)
        ce_row_block(n, col0, logits + i * ld, targets[i], row + i);
}

static void ce_grad(int64_t rows, int64_t n, int64_t ld, int64_t col0, void *logits_,
                    const int32_t *targets, const rk_ce_row *row, double scale_, double l2wrap)
{
    for (int64_t i = 0; i < rows; i++, row++) {
        real *x = (real *)logits_ + i * ld;
        const real lse = (real)(row->max + log(row->sum)), s = (real)scale_;
        if (targets[i] < 0) {
            memset(x, 0, (size_t)n * sizeof *x);
            continue;
        }
        for (int64_t j = 0; j < n; j++) {
            x[j] = exp(x[j] - lse);
            if (col0 + j == targets[i])
                x[j] -= 1;
            if (col0 + j == row->argmax)
                x[j] += (real)(l2wrap * row->max);
            x[j] *= s;
        }
    }
}

#endif
