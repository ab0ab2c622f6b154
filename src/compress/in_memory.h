/* in_memory.h: quantising matrices of an open model in memory, for training beside them: what QLoRA and
 * RWKV-PEFT's --quant do.
 *
 * The file is not touched and stays the source of what is saved; its pages are released as matrices are
 * done, so at most one matrix is in f32 at a time. A matrix whose rows are no whole number of the type's
 * blocks stays as it is. */
#ifndef RK_COMPRESS_IN_MEMORY_H
#define RK_COMPRESS_IN_MEMORY_H

#include "base/log.h"
#include "base/pool.h"
#include "model/model.h"

/* "none|nf4|fp4|4bit|int8|fp8|q8_0|q4_0|q4_k": 4bit is fp4, as bitsandbytes has it. */
extern const char rk_quant_names[];
/* The type of that name; of "none" RK_F32, which is no quantised type.
 * Errors  RK_ERR_ARG: there is none of this name. */
rk_status rk_quant_find(const char *name, rk_dtype *type, rk_error *err);
/* Does a matrix with rows of so many elements have this type, or stay as it is? */
bool rk_quant_fits(rk_dtype type, int64_t cols);

/* Change the values w (out, in) of a matrix before it is quantised. */
typedef rk_status rk_quant_change_fn(void *user, const rk_param *p, float *w, rk_error *err);

typedef struct rk_quantise_options {
    bool emb, head;             /* these too, beside the matrices of the blocks */
    rk_quant_change_fn *change; /* may be NULL */
    void *change_user;
    rk_pool *pool;     /* may be NULL */
    const rk_log *log; /* receives a line where matrices stay as they are; may be NULL */
} rk_quantise_options;

/* Quantise the matrices of m's blocks that are not trained (rk_param.trained). For a model that no
 * session has used yet, before its trainer is made.
 * Errors  RK_ERR_ARG: no type of this name; RK_ERR_FORMAT: a matrix holds a number that is not finite, or
 *         is too large for the type; RK_ERR_NOMEM, then some matrices are quantised; those of change. */
rk_status rk_model_quantise(rk_model *m, const char *type, const rk_quantise_options *o,
                            rk_error *err);
/* One matrix of m, whatever its role and size: to a quantised type where that fits, else, if there is a
 * change, to f32. */
rk_status rk_param_quantise(rk_model *m, rk_param *p, rk_dtype type, const rk_quantise_options *o,
                            rk_error *err);
/* Bytes of the matrices that rk_model_quantise gives m in this type, those included that have it already.
 * m needs no data. */
size_t rk_quantised_bytes(const rk_model *m, rk_dtype type, const rk_quantise_options *o);

/* Give w (rows, cols), a whole matrix, the values that it has after quantising: what a model trained
 * beside it saw. pool may be NULL.
 * Errors  RK_ERR_ARG: no type of this name; RK_ERR_FORMAT: a number does not fit; RK_ERR_NOMEM. */
rk_status rk_quantised_values(const char *type, int64_t rows, int64_t cols, float *w, rk_pool *pool,
                              rk_error *err);

#endif
