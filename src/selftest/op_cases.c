/* op_cases.c: the rows of op_cases.h, family by family. */
#include "base/num.h"
#include "selftest/cases.h"

static const rk_op_cases *const families[] = {
    &rk_op_cases_values, &rk_op_cases_products, &rk_op_cases_losses,  &rk_op_cases_attention,
    &rk_op_cases_rwkv,   &rk_op_cases_mediums,  &rk_op_cases_features};

const rk_op_case *rk_op_case_at(int i)
{
    for (size_t f = 0; f < RK_COUNT(families); f++) {
        if (i < families[f]->n)
            return &families[f]->rows[i];
        i -= families[f]->n;
    }
    return NULL;
}

rk_tensor *rk_case_constants(rk_ctx *ctx, rk_dtype real, int64_t rows, int64_t cols, double first)
{
    const int64_t dims[2] = {rows, cols};
    rk_tensor *t = rk_new(ctx, real, 2, dims);
    for (int64_t i = 0; t && t->data && i < rows * cols; i++) {
        const double x = first + 0.03125 * (double)(i * 7 % 11);
        if (real == RK_F64)
            ((double *)t->data)[i] = x;
        else
            ((float *)t->data)[i] = (float)x;
    }
    return t;
}

void rk_case_rows(rk_ctx *ctx, const rk_tensor *x, int how)
{
    static const int every[] = {3, 1 << 20, 17}, after[] = {2, 1, 0};
    if (how == ONE_SEQUENCE || rk_ctx_failed(ctx))
        return;
    ctx->begins = rk_new_zeros(ctx, RK_I32, 2, x->dims);
    for (int64_t i = 0; ctx->begins && ctx->begins->data && i < x->dims[0] * x->dims[1]; i++) {
        const int64_t row = i / x->dims[1] % 3, t = i % x->dims[1];
        ((int32_t *)ctx->begins->data)[i] =
            t % every[row] == after[row] || (row == 0 && t % 7 == 0);
    }
}
