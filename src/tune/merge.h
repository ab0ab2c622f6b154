/* merge.h: putting an adapter into the matrices that it stands beside, and taking it out again.
 *
 * With delta what a part adds to W (adapter_set.h), W becomes W + scale delta, where scale is that of
 * the adapter as a whole (`--adapter A:0.5`). Of a part with start values, delta is
 * p->scale (B A - B0 A0): it refers to the W that the training began with. Sums are in f64 and are
 * rounded once. */
#ifndef RK_TUNE_MERGE_H
#define RK_TUNE_MERGE_H

#include "base/pool.h"
#include "tune/adapter_set.h"

typedef struct rk_part_use {
    const rk_adapter_part *part;
    double scale;
} rk_part_use;

/* Put n parts of one matrix into w (out, in), each as if it were alone: none sees what others add. pool
 * may be NULL.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_parts_merge(const rk_part_use *uses, int64_t n, float *w, rk_pool *pool,
                         rk_error *err);
rk_status rk_part_merge(const rk_adapter_part *p, double scale, float *w, rk_pool *pool,
                        rk_error *err);
/* Take it out of w, which it was put into with the same scale.
 * Errors  RK_ERR_UNSUPPORTED: dora, whose norms of W + scale B A are stored nowhere;
 *         RK_ERR_NUMERIC: a block I + scale B of bat has no inverse; RK_ERR_NOMEM. */
rk_status rk_part_unmerge(const rk_adapter_part *p, double scale, float *w, rk_pool *pool,
                          rk_error *err);

/* Add the part to a set as a lora of the same effect, see below. The set's architecture and method are not
 * touched.
 * Errors  RK_ERR_UNSUPPORTED: dora and bat; RK_ERR_NOMEM. */
rk_status rk_part_add_as_lora(rk_adapter_set *to, const rk_adapter_part *p, rk_error *err);
/* An adapter of lora alone, beside the original matrices and of the same effect: miss as
 * A (tiled identities) and B = D^T; a pair with start values as (A; A0) and (B, -B0), of twice the
 * rank and of the same scale. What is lora already, and whole parameters, are copied.
 * Errors  RK_ERR_UNSUPPORTED: dora and bat, which are of no low rank; RK_ERR_NOMEM. */
rk_status rk_adapter_set_to_lora(rk_adapter_set **out, const rk_adapter_set *s, rk_error *err);

#endif
