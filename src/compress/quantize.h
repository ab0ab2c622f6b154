/* quantize.h: saving a model with quantised matrices.
 *
 * A recipe says which type each kind of matrix becomes; it is a row of a table. Vectors, and
 * matrices whose rows are no multiple of the type's block, keep their type or get the next one that
 * fits. */
#ifndef RK_COMPRESS_QUANTIZE_H
#define RK_COMPRESS_QUANTIZE_H

#include "base/log.h"
#include "compress/calibrate.h"

typedef struct rk_recipe rk_recipe;

/* "q4_k", "rk4", ..., in any case; NULL when there is none of this name. */
const rk_recipe *rk_recipe_find(const char *name);
/* The names of all, '|' between them. */
extern const char rk_recipe_names[];

typedef struct rk_quantize_options {
    const rk_recipe *recipe;
    const rk_calibration *calibration; /* may be NULL */
    rk_pool *pool;                     /* may be NULL */
    const rk_tokenizer *tokenizer;     /* for a .gguf file; may be NULL */
    const rk_log *log; /* receives a line where a type's blocks do not fit; may be NULL */
    rk_save_container container;
    bool overwrite;
    rk_progress_fn *progress; /* as in rk_save_options; may be NULL */
    void *progress_user;
    rk_abort_fn *abort; /* as in rk_save_options; may be NULL */
    void *abort_user;
} rk_quantize_options;

/* Write the quantised model to path, whose ending decides the container (rk_model_save): block
 * types need .gguf. Memory: pieces of the largest tensor, some MiB.
 * Errors  RK_ERR_UNSUPPORTED: the container has no block types; RK_ERR_FORMAT: a matrix holds NaN
 * or
 *         infinity; those of rk_model_save. */
rk_status rk_quantize(const rk_model *m, const char *path, const rk_quantize_options *o,
                      rk_error *err);

/* The type that the recipe gives each of the model's parameters, (n_params). The recipes rk8, rk5 and
 * rk4 are never larger than q8_0, q5_k and q4_k of a model whose low-rank matrices have 16 bits. */
void rk_recipe_types(const rk_recipe *r, const rk_model *m, rk_dtype *types);

#endif
