/* pack.h: a model's matrices in blocks, laid out for products with inputs in 8 bits. */
#ifndef RK_MODEL_PACK_H
#define RK_MODEL_PACK_H

#include "model/model.h"

/* Packing happens once for all sessions, at the first. Whoever begins it has the turn, others wait
 * there until it ends. False: it is done. From any thread. */
bool rk_model_pack_begin(const rk_model *m);
void rk_model_pack_end(const rk_model *m, bool done);

/* Between these, with the engine of the pool locked: pack every matrix that has a packed form
 * (kernels/dot8.h). The pages that a matrix came from are given back, so that the process holds it
 * once; who trains on such a model reads the blocks all the same, whose pages come again from the
 * file. In two calls: with zeros NULL all but those that may be better in columns; then these, with
 * the share of zeros (n_params) in their inputs. A model in blocks has its low-rank matrices
 * rounded to Q8_0 here. Errors  RK_ERR_NOMEM; what has been packed stays. */
rk_status rk_model_pack(const rk_model *m, const double *zeros, rk_pool *pool, rk_error *err);
/* May parameter i be better in columns? After the first call. */
bool rk_model_pack_asks(const rk_model *m, int64_t i);
/* The share of zeros that it was given. */
double rk_model_pack_zeros(const rk_model *m, int64_t i);
/* Bytes of the packed form of parameter i that a token reads, if it meets that share of zeros. */
int64_t rk_model_pack_bytes_read(const rk_model *m, int64_t i);

/* Made with the model, freed with it. */
typedef struct rk_packs rk_packs;
rk_packs *rk_packs_new(int64_t n_params);
void rk_packs_free(rk_packs *p);

#endif
