/* merge_model.h: a model's file with adapters in it, or without one again. */
#ifndef RK_TUNE_MERGE_MODEL_H
#define RK_TUNE_MERGE_MODEL_H

#include "format/format.h"
#include "tune/attach.h"

typedef struct rk_merge {
    const rk_adapter_use *uses; /* n_uses: sets that have been checked against the model */
    int64_t n_uses;
    bool take_out; /* the one set, which was merged before */
    /* The type that the matrices of the blocks had in training (rk_quant_names): they take the values of
     * that type first, those with start values after these were subtracted. NULL: none. */
    const char *quant;
    bool quant_all;  /* embedding and head had it, too */
    bool keep_types; /* every tensor as it is in the model's file; else: */
    rk_dtype dtype;  /* of the matrices; vectors are f32 */
} rk_merge;

/* Write m with its matrices changed and whole parameters of the sets in the place of its own, one matrix
 * after the other: more than the largest is never in memory. The parameters that are replaced become m's,
 * so m and the sets are good for nothing else afterwards. Of o the types and the plan are not looked at.
 * Errors  RK_ERR_UNSUPPORTED: what cannot be taken out (merge.h, and whole parameters), what a low-rank pair
 *         cannot hold (merge_pairs.h);
 *         RK_ERR_ARG: no such type for quant; those of rk_model_save. */
rk_status rk_model_merge(rk_model *m, const char *path, const rk_merge *how,
                         const rk_save_options *o, rk_error *err);

#endif
