/* head.h: makes a hierarchical head (model/clusters.h) for a model: clusters of its embeddings, and a small
 * product that learns from text how likely each cluster is. */
#ifndef RK_COMPRESS_HEAD_H
#define RK_COMPRESS_HEAD_H

#include "base/progress.h"
#include "model/model.h"

typedef struct rk_head_options {
    int64_t n_clusters;    /* asked for; those above four times the mean size are split further */
    const int32_t *tokens; /* (n_tokens) the text that is learned from */
    int64_t n_tokens, ctx_len;
    int64_t steps; /* of learning */
    uint64_t seed;
    int64_t emb_rows;         /* of rk_hparams; 0: the host's */
    rk_progress_fn *progress; /* parts of the work, of all; may be NULL */
    void *progress_user;
    rk_abort_fn *abort; /* may be NULL */
    void *abort_user;
} rk_head_options;

typedef struct rk_head_facts {
    int64_t n_clusters, smallest, largest; /* tokens of a cluster */
    double kl_start, kl;                   /* nats a token: of the start, of what was learned */
    double rows; /* share of the head's rows that a token of the text reads */
} rk_head_facts;

/* A model like host with the head in the place of its own; the rest as for rk_low_rank_new. The same for any number of
 * threads.
 * Errors  RK_ERR_UNSUPPORTED: the host's architecture has no place for it, or it has one; RK_ERR_ARG: fewer
 *         tokens than clusters; RK_ERR_NUMERIC: a number is not finite; RK_ERR_ABORTED; RK_ERR_NOMEM. */
rk_status rk_head_new(rk_model **out, const rk_model *host, rk_engine *e, const rk_head_options *o,
                      rk_head_facts *facts, rk_error *err);
/* The reverse: the whole head of made, from the rows of host's clusters, where it has some. */
void rk_head_unpack(rk_model *made, const rk_model *host);

#endif
