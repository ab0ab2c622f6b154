/* pack.h: packs a model's quantised matrices for products with activations rounded to 8 bits. */
#ifndef RK_MODEL_PACK_H
#define RK_MODEL_PACK_H

#include "model/model.h"

/* Packing happens once, when the first session is made. The thread for which this returns true
 * packs and then calls rk_model_pack_end; other threads wait here until it ends. False: the model
 * is packed. From any thread. */
bool rk_model_pack_begin(const rk_model *m);
void rk_model_pack_end(const rk_model *m, bool done);

/* Between these two calls, with the pool's engine locked: pack every matrix that has a packed form
 * (kernels/dot8.h). The pages of the file that a matrix came from are released, so that the process
 * holds it once; training on such a model still uses the blocks of the file, whose pages are read
 * again.
 *
 * Called twice: with zeros NULL it packs all matrices but those that may profit from the columns
 * form; then those, by zeros (n_params), the share of their activations that are zero. A quantised
 * model has its low-rank matrices rounded to Q8_0 here. Errors  RK_ERR_NOMEM; matrices packed so
 * far stay packed. */
rk_status rk_model_pack(const rk_model *m, const double *zeros, rk_pool *pool, rk_error *err);
/* After the first call: may parameter i profit from the columns form, so that its share of zeros is
 * needed? */
bool rk_model_pack_asks(const rk_model *m, int64_t i);
/* Bytes of the packed form that parameter i has or will have; 0: it has none. */
size_t rk_model_packed_bytes(const rk_model *m, int64_t i);
/* The share of zeros that was given for parameter i. */
double rk_model_pack_zeros(const rk_model *m, int64_t i);
/* Bytes of the packed form of parameter i that are read for a token, at that share of zeros. */
int64_t rk_model_pack_bytes_read(const rk_model *m, int64_t i);

/* Made with the model, freed with it. */
typedef struct rk_packs rk_packs;
rk_packs *rk_packs_new(int64_t n_params);
void rk_packs_free(rk_packs *p);

#endif
