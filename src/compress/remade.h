/* remade.h: a model like another, some of whose parts are new. */
#ifndef RK_COMPRESS_REMADE_H
#define RK_COMPRESS_REMADE_H

#include "model/model.h"

/* A model of the host's architecture and these sizes, whose ranks are settled here. Tensors that the host's
 * file does not hold have memory, which is to be filled; all others stay the host's, which outlives the
 * model. Closed by rk_remade_close.
 * Errors  those of rk_pair_settle; RK_ERR_NOMEM. */
rk_status rk_remade_new(rk_model **out, const rk_model *host, const rk_hparams *hp, rk_error *err);
void rk_remade_close(rk_model *m);

/* The type of a parameter of such a model in a file, where own is that of its values: the host's where it is
 * the host's; what is made of a matrix, and matrices that are made again, have 16 bits if what they were made of has 16
 * or fewer. */
rk_dtype rk_remade_type(const rk_model *host, const rk_param *p, rk_dtype own);

#endif
