/* whole.h: a model with whole matrices again, of one that has smaller forms of them. */
#ifndef RK_COMPRESS_WHOLE_H
#define RK_COMPRESS_WHOLE_H

#include "base/pool.h"
#include "model/model.h"

/* A model like host with the products of its plain low-rank pairs, the matrices of its records, a whole head and
 * floats in the place of bytes with ranges, as rk_remade_new makes it. Enhanced pairs stay where bytes became floats.
 * Errors  RK_ERR_UNSUPPORTED: it has none of these, or enhanced pairs alone; RK_ERR_NOMEM. */
rk_status rk_whole_new(rk_model **out, const rk_model *host, rk_pool *pool, rk_error *err);

#endif
