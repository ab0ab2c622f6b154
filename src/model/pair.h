/* pair.h: two narrow matrices in the place of a layer's square one (RWKV-Lite, arXiv 2412.10856).
 *
 *     plain     y = W2 (W1 x)
 *     enhanced  y = W2 relu(W1 x)^2 + d * x        W1 (R, C), W2 (C, R), d (C)
 *
 * A model has whole matrices, or such pairs, of each kind in all layers alike; the names are those of the
 * authors' x058 and x059. The rows below stand for the row of the square matrix in an architecture's
 * table, and the sizes say which kinds of a model are pairs: what is here serves every architecture that
 * has square matrices under these names and lists rk_sizes_pairs. */
#ifndef RK_MODEL_PAIR_H
#define RK_MODEL_PAIR_H

#include "model/model.h"

typedef enum rk_pair_form { RK_PAIR_PLAIN, RK_PAIR_ENHANCED } rk_pair_form;
typedef enum rk_pair_part {
    RK_PAIR_DOWN,
    RK_PAIR_UP,
    RK_PAIR_DIAGONAL,
    RK_PAIR_PARTS
} rk_pair_part;

/* low_rank, which all ranks of a new model follow; the rank of each kind, 0 where its matrices are whole;
 * the form. */
extern const rk_size_table rk_sizes_pairs;

/* Is a size of this name one of these? */
bool rk_pair_has_size(const char *name);

/* The kind of pair that can stand in the place of a row's matrix; -1: none. */
int rk_pair_kind(const rk_param_spec *spec);
/* "receptance" of the time mix and others, as ranks are called: rank_receptance. */
const char *rk_pair_name(int kind);
/* The row of a part. */
const rk_param_spec *rk_pair_spec(int kind, rk_pair_part part);
/* Is this such a row? Of which kind: *kind. */
bool rk_pair_is_part(const rk_param_spec *spec, int *kind);
/* The row of the matrix in whose place such a pair is; NULL: the architecture has none. */
const rk_param_spec *rk_pair_matrix(const rk_arch *arch, int kind);
/* Does the architecture have this kind's matrices, so that they can be pairs? */
bool rk_pair_has(const rk_arch *arch, int kind);
/* A pair without its tensors. */
rk_low_rank rk_pair_new(const rk_hparams *hp);
/* The ranks of kinds that the architecture does not have become 0, and low_rank the largest.
 * Errors  RK_ERR_FORMAT, of a new model RK_ERR_ARG: a rank above the width. */
rk_status rk_pair_settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err);

#endif
