/* cases.h: what the files of rows share. A file for each family of operations, cases_FAMILY.c, which op_cases.c
 * lists. Sizes are odd, so that every loop has a tail, and some are larger than what one task of an op takes. */
#ifndef RK_SELFTEST_CASES_H
#define RK_SELFTEST_CASES_H

#include "selftest/op_cases.h"

typedef struct rk_op_cases {
    const rk_op_case *rows;
    int n;
} rk_op_cases;

extern const rk_op_cases rk_op_cases_values, rk_op_cases_products, rk_op_cases_losses,
    rk_op_cases_attention, rk_op_cases_rwkv, rk_op_cases_mediums, rk_op_cases_features;

/* Numbers (rows, cols) without a gradient. */
rk_tensor *rk_case_constants(rk_ctx *ctx, rk_dtype real, int64_t rows, int64_t cols, double first);

/* What a builder that is about rows of a batch (B, T, ...) is told. */
enum { ONE_SEQUENCE, SEVERAL };
/* Let some of the rows of x hold several sequences: of one token, of many, one that is all of its row. */
void rk_case_rows(rk_ctx *ctx, const rk_tensor *x, int how);

/* clang-format off */
/* Inputs: reals between two numbers, ids, a weight of some type, four of the same. */
#define IN(lo, hi, ...) {.dims = {__VA_ARGS__}, .low = (lo), .high = (hi)}
#define IDS(below, neg, ...) {.dims = {__VA_ARGS__}, .ids_below = (below), .negatives = (neg)}
#define STORED(type, ...) {.dims = {__VA_ARGS__}, .low = -1, .high = 1, .stored = (type)}
#define ROWS_OF(...) IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__)
/* clang-format on */

#endif
