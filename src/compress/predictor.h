/* predictor.h: makes records of a model's channel mix and predictors of which neurons are active
 * (tensor/sparse_mix.h), from a text. */
#ifndef RK_COMPRESS_PREDICTOR_H
#define RK_COMPRESS_PREDICTOR_H

#include "base/progress.h"
#include "infer/engine.h"

typedef struct rk_predictor_options {
    const int32_t
        *tokens; /* (n_tokens) the text that is learned from; every fifth is only judged by */
    int64_t n_tokens, ctx_len;
    int64_t hidden; /* of predictor A; 0: none */
    int64_t steps;  /* of its learning, of the whole text each */
    int64_t bits;   /* of predictor B: 1, 2, 4; 0: none */
    /* Levels of one range for a whole matrix, as the authors have them, in place of those of each neuron. */
    bool reference;
    double theta;    /* of A */
    const double *p; /* (n_layer) of B; NULL: as `share` says */
    /* Of neurons that both keep together, so that p follows and theta rises where A alone would keep more than
     * half of it; 0: twice what is active. */
    double share;
    uint64_t seed;
    rk_progress_fn *progress; /* parts of the work, of all; may be NULL */
    void *progress_user;
    rk_abort_fn *abort; /* may be NULL */
    void *abort_user;
} rk_predictor_options;

/* Of a layer, measured on the part of the text that nothing was learned from: shares of all neurons, and of the
 * active ones that are kept; weighted: by what they add, z^2 |W_v[f]|. */
typedef struct rk_predictor_facts {
    double theta, p, active, kept;
    double recall_a, recall_b, recall, weighted;
} rk_predictor_facts;

/* A model like host with records in the place of ffn.key and ffn.value; the rest as for rk_low_rank_new. The
 * same for any number of threads. facts (n_layer).
 * Errors  RK_ERR_UNSUPPORTED: the host's architecture has no place for it, or it has records; RK_ERR_ARG: too
 *         few tokens; RK_ERR_NUMERIC: a number is not finite; RK_ERR_ABORTED; RK_ERR_NOMEM. */
rk_status rk_predictor_new(rk_model **out, const rk_model *host, rk_engine *e,
                           const rk_predictor_options *o, rk_predictor_facts *facts, rk_error *err);

/* The whole matrices of made, from the records of host, where it has some. */
rk_status rk_records_unpack(rk_model *made, const rk_model *host, rk_pool *pool, rk_error *err);
/* Values of B for rows [lo, hi) of w (F, C), the matrix: bits, scales and offset of m. min and max are those of
 * the whole matrix, for reference levels. */
void rk_planes_fill(const struct rk_sparse_mix *m, const float *w, int64_t lo, int64_t hi,
                    bool reference, float min, float max);

#endif
