/* records.h: a layer's channel mix in records of neurons, with predictors of which are active (tensor/sparse_mix.h).
 *
 * A model has whole matrices ffn.key and ffn.value, or records in all layers. The rows below stand in the
 * places of those two in an architecture's table; what is here serves every architecture whose channel mix is
 * W_v relu(W_k x)^2 of matrices under these names and that lists rk_sizes_records. Each predictor may be
 * missing. */
#ifndef RK_MODEL_RECORDS_H
#define RK_MODEL_RECORDS_H

#include "model/model.h"

/* ffn_records: 1 where a model has them; the sizes of its predictors, 0 where it lacks one. */
extern const rk_size_table rk_sizes_records;
/* Is a size of this name one of these? */
bool rk_records_has_size(const char *name);

/* The tensor of a file that shows a size in the place of the one that the size names; NULL: it has none. */
const rk_file_tensor *rk_records_shows(const rk_arch *arch, const rk_file *f, const char *tensor);

typedef enum rk_records_place {
    RK_RECORDS_NOWHERE,
    RK_RECORDS_KEY,
    RK_RECORDS_VALUE
} rk_records_place;
/* Does a row's matrix become a part of records, where a model has them? */
rk_records_place rk_records_place_of(const rk_param_spec *spec);
/* The i-th row of what stands in such a place in a model of these sizes; NULL past the last. */
const rk_param_spec *rk_records_spec(const rk_hparams *hp, rk_records_place place, int i);
enum { RK_RECORDS_PARAMS = 7 }; /* of a layer */
/* Is this such a row? The place that begins with it. */
bool rk_records_is_part(const rk_param_spec *spec);
rk_records_place rk_records_begins(const rk_param_spec *spec);
/* The matrix, (F, C) or (C, F), that the records of a model hold in this row's place. */
const rk_param_spec *rk_records_matrix(const rk_arch *arch, rk_records_place place);

/* Bytes of a row of bits; sizes of predictors without records become 0.
 * Errors  RK_ERR_FORMAT: a predictor without records, half a predictor; RK_ERR_UNSUPPORTED, of a file
 *         RK_ERR_FORMAT: records of neurons that are routed. */
rk_status rk_records_settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file,
                            rk_error *err);
/* Are the numbers of a model that was opened possible ones?
 * Errors  RK_ERR_FORMAT: tensor, what was found, what was expected. */
rk_status rk_records_check(const rk_model *m, rk_error *err);

#endif
