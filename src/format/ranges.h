/* ranges.h: matrices of a model as bytes with ranges (kernels/ranges.h).
 *
 * In a file such a matrix is u8, and beside it lie four vectors under the names of ChatRWKV: of
 * "blocks.0.att.key.weight" (out, in) these are "..weight_mx" and "..weight_rx" (out), "..weight_my" and
 * "..weight_ry" (in). In memory its tensor is RK_RANGED, stays in the file's pages, and points to the vectors,
 * which are f32. Each matrix whose role says so may have this form, whatever others have. */
#ifndef RK_FORMAT_RANGES_H
#define RK_FORMAT_RANGES_H

#include "kernels/ranges.h"
#include "model/model.h"

enum { RK_RANGES_PARTS = 4, RK_RANGES_NAME_MAX = RK_PARAM_NAME_MAX + 4 };

/* Can this parameter be in that form? Is it, in memory or in its model's file? */
bool rk_ranges_may(const rk_param *p);
bool rk_ranges_has(const rk_model *m, const rk_param *p);
/* Is any of the model's? */
bool rk_model_has_ranges(const rk_model *m);

/* Floats of the four vectors: 2 (out + in). */
int64_t rk_ranges_floats(const rk_param *p);
/* The four vectors at `at`, one behind the other, become those of parameter i, whose tensor is of bytes now. */
void rk_ranges_place(rk_model *m, int64_t i, float *at);
/* Are the vectors of a matrix that is u8 in the model's file there, and of its lengths?
 * Errors  RK_ERR_FORMAT: tensor, what was found, what was expected. */
rk_status rk_ranges_check(const rk_model *m, const rk_param *p, rk_error *err);
/* Read them to `at`, as rk_ranges_place has them.
 * Errors  RK_ERR_FORMAT: a number that is not finite. */
rk_status rk_ranges_take(rk_model *m, int64_t i, float *at, rk_error *err);
/* Is this the name of such a vector of a matrix of the model's file? */
bool rk_ranges_knows(const rk_model *m, const char *name);
/* Add those of a parameter in this form to a file that is assembled; their data are the model's. */
rk_status rk_ranges_store(const rk_model *m, const rk_param *p, rk_file *to, rk_error *err);

#endif
