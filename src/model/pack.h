/* pack.h: a model's matrices in blocks, laid out for products with inputs in 8 bits. */
#ifndef RK_MODEL_PACK_H
#define RK_MODEL_PACK_H

#include "model/model.h"

/* Pack every matrix that has a packed form (kernels/dot8.h), once for all sessions: later calls
 * find it done. The pages that a matrix came from are given back, so that the process holds it
 * once. From any thread; with the engine of the pool locked. Errors  RK_ERR_NOMEM; what has been
 * packed stays. */
rk_status rk_model_pack(const rk_model *m, rk_pool *pool, rk_error *err);

/* Made with the model, freed with it. */
typedef struct rk_packs rk_packs;
rk_packs *rk_packs_new(int64_t n_params);
void rk_packs_free(rk_packs *p);

#endif
