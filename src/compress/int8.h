/* int8.h: models whose large matrices are bytes with ranges of rows and columns (kernels/ranges.h), and of floats
 * again. */
#ifndef RK_COMPRESS_INT8_H
#define RK_COMPRESS_INT8_H

#include "base/pool.h"
#include "base/progress.h"
#include "model/model.h"

typedef struct rk_int8_options {
    rk_pool *pool;
    rk_progress_fn *progress; /* matrices, of all; may be NULL */
    void *progress_user;
    rk_abort_fn *abort; /* may be NULL */
    void *abort_user;
} rk_int8_options;

typedef struct rk_int8_facts {
    int64_t n;     /* matrices that became bytes */
    double error;  /* |W - W^| over all of them, of |W| */
    size_t before; /* their bytes in the host's file */
    size_t after;  /* and now, vectors included */
} rk_int8_facts;

/* A model like host whose matrices of roles that allow it (rk_roles.ranged) are bytes with ranges; those that are
 * it already, and all other tensors, stay the host's, which outlives the model; closed by rk_remade_close.
 * The same for any number of threads.
 * Errors  RK_ERR_UNSUPPORTED: no matrix is left to change; RK_ERR_NUMERIC: one holds a number that is not
 *         finite or too large; RK_ERR_ABORTED; RK_ERR_NOMEM. */
rk_status rk_int8_new(rk_model **out, const rk_model *host, const rk_int8_options *o,
                      rk_int8_facts *facts, rk_error *err);

/* The reverse: matrices of made that host's file has as bytes become floats, which made holds. */
rk_status rk_int8_widen(rk_model *made, const rk_model *host, rk_pool *pool, rk_error *err);

#endif
