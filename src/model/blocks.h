/* blocks.h: reading and checking the sizes of RWKV language models. */
#ifndef RK_MODEL_BLOCKS_H
#define RK_MODEL_BLOCKS_H

#include "model/lm.h"

/* A tensor of n_dims dimensions; NULL and the sentence when there is none. */
const rk_file_tensor *rk_need_tensor(const rk_file *f, const char *arch, const char *name,
                                     int n_dims, rk_error *err);
/* One more than the largest N of a name "blocks.N.": layers need not come in order. */
int64_t rk_count_layers(const rk_file *f);
/* A tensor whose dimensions are sizes: offsets in rk_hparams, in order; (size_t)-1: any. */
typedef struct rk_size_source {
    const char *name;
    int n_dims;
    size_t sizes[3];
} rk_size_source;
#define RK_HP(field) offsetof(rk_hparams, field)
#define RK_HP_ANY ((size_t)-1)
/* Fill hp from the sources; n_layer is counted and every size is checked against [1, 2^31).
 * Errors  RK_ERR_FORMAT: file, tensor, what was found. */
rk_status rk_read_sizes(const rk_file *f, const char *arch, const rk_size_source *sources, int n,
                        rk_hparams *hp, rk_error *err);
int64_t rk_dim_ffn_35(int64_t n_embd); /* 3.5 n_embd, down to a multiple of 32, at least 32 */
/* Refuse sizes that are not positive or do not divide; n_head follows from head_size. */
rk_status rk_check_new_sizes(rk_hparams *hp, rk_error *err);

#endif
