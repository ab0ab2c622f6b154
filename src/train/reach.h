/* reach.h: how far back what a model says next depends on what it has read. */
#ifndef RK_TRAIN_REACH_H
#define RK_TRAIN_REACH_H

#include "infer/engine.h"
#include "model/model.h"

/* For each distance d < n the length of the gradient of the loss of tokens[n],
 * which stands behind n tokens, by the embedding of tokens[n - 1 - d]:
 * norms[d]. The model's table of embeddings is another one meanwhile. Errors
 * RK_ERR_UNSUPPORTED: the model looks tokens up in more than one table. */
rk_status rk_reach_measure(rk_model *m, rk_engine *e, const int32_t *tokens, int64_t n,
                           double *norms, rk_error *err);

#endif
