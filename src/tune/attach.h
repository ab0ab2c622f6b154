/* attach.h: an adapter beside a model: trained with it, or computed with when streams are fed. */
#ifndef RK_TUNE_ATTACH_H
#define RK_TUNE_ATTACH_H

#include "nn/adapter.h"
#include "tune/adapter_set.h"

/* ---- in training ---- */

typedef struct rk_attached rk_attached;

/* Parameters of the set become the model's, behind its own: those that are trained have the role
 * RK_ROLE_ADAPTER, start values RK_ROLE_ADAPTER_START. They begin with the set's values, and forwards of
 * training compute with them from then on. The set has been checked against the model
 * (rk_adapter_set_check) and outlives both; the model is closed before *out is freed.

 * residual: the model's matrices are those without the start values already.
 * dropout: of the adapters' inputs. Errors  RK_ERR_NOMEM. */
rk_status rk_adapters_attach(rk_attached **out, rk_model *m, const rk_adapter_set *s, bool residual,
                             double dropout, rk_error *err);
void rk_attached_free(rk_attached *a);
/* Take the norms of the matrices that parts of dora stand beside, as they are now; the magnitudes in s,
 * which the parts begin with, become them. Before the trainer is made.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_attached_norms(rk_attached *a, const rk_model *m, rk_adapter_set *s, rk_error *err);
/* The values that the model's parameters have now, into a set of the same parts: the one that was
 * attached or another. */
void rk_attached_values(const rk_model *m, rk_adapter_set *to);

/* ---- in sessions ---- */

/* The set with a factor, and others behind it. */
typedef struct rk_adapter_use {
    const rk_adapter_set *set;
    double scale;
} rk_adapter_use;

/* What streams of m compute with that n sets are applied to, all added up. Sets may be freed. Of their
 * whole parameters nothing is used. Parts of Bat for output blocks are a whole matrix each.
 * low_rank: type of LoRA's matrices, RK_F32 or RK_BF16; where start values are subtracted they are f32.
 * Errors  RK_ERR_NOMEM. */
rk_status rk_adapters_apply(rk_adapters **out, const rk_model *m, const rk_adapter_use *uses,
                            int64_t n, rk_dtype low_rank, rk_error *err);

/* By rk_weight.adapted_as, for rk_adapted_rows. */
const rk_adapter *const *rk_adapters_of(const rk_adapters *a);

#endif
