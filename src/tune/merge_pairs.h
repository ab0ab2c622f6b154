/* merge_pairs.h: adapters beside low-rank pairs become a part of these. */
#ifndef RK_TUNE_MERGE_PAIRS_H
#define RK_TUNE_MERGE_PAIRS_H

#include "tune/merge_model.h"

/* A model like m whose pairs are wider by what the sets add to them: W2 (W1 x) + s B (A x) is the product of
 * (W2, s B) and (W1; A), and miss is a lora, too. Pairs have one rank in all layers, so those that nothing is
 * added to get zeros. *out is NULL where no part of the sets stands beside a pair. It refers to m, which outlives
 * it, and is closed by rk_remade_close.
 * Errors  RK_ERR_UNSUPPORTED: an enhanced pair, which no wider one equals; a rank above the width; how.take_out;
 *         RK_ERR_NOMEM. */
rk_status rk_merge_pairs(rk_model **out, const rk_model *m, const rk_merge *how, rk_error *err);

#endif
