/* whole.h: a model with whole matrices again, of one that has smaller forms of them. */
#ifndef RK_COMPRESS_WHOLE_H
#define RK_COMPRESS_WHOLE_H

#include "base/pool.h"
#include "model/model.h"

/* A model like host with the products of its plain low-rank pairs and the matrices of its records, as
 * rk_remade_new makes it.
 * Errors  RK_ERR_UNSUPPORTED: it has neither, or enhanced pairs; RK_ERR_NOMEM. */
rk_status rk_whole_new(rk_model **out, const rk_model *host, rk_pool *pool, rk_error *err);

#endif
