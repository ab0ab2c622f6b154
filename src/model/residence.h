/* residence.h: what of a model's file is held in memory, for a model that is to take little of it.
 *
 * Without this (rk_model.residence is NULL) the pages of a file come as they are used, and stay. With it rows of
 * the embeddings and records of a channel mix come through caches (io/row_cache.h), the blocks that are not
 * held give their pages back once they are computed, while the system reads the next one ahead, and so do
 * pieces of the head, of a whole one or of the clusters that a token chose. Results have the same bits: the same operations read the same
 * numbers from other places. */
#ifndef RK_MODEL_RESIDENCE_H
#define RK_MODEL_RESIDENCE_H

#include "io/row_cache.h"
#include "model/model.h"

/* What is held; 0 in all of these: nothing comes through caches, and no block is held. */
typedef struct rk_hold {
    int64_t emb_rows;     /* of the embeddings, through a cache; 0: the table where it lies */
    int64_t records;      /* of each layer's sparse channel mix, likewise */
    int64_t layers;       /* the first blocks stay, those behind them pass */
    int64_t head_at_once; /* rows of the head that stay while they are computed; 0: all */
} rk_hold;

struct rk_residence {
    rk_hold hold;
    rk_row_cache *emb;                    /* NULL: none */
    rk_row_cache *records[RK_LAYERS_MAX]; /* of layers; they stand in rk_model.mixes, too */
    void *memory;                         /* of what was brought in */
    struct rk_moved *moved;               /* (n_moved) tensors, and where they lay before */
    int64_t n_moved;
};

/* The table of embeddings, by its role, as architectures call it by several names; it may be the head, too. */
const rk_tensor *rk_residence_table(const rk_model *m);
/* Can rows of this table come through a cache? They lie in a file as they are used. */
bool rk_residence_can_cache(const rk_model *m, const rk_tensor *table);
/* The same of the records of its channel mixes; false where it has none. */
bool rk_residence_can_cache_records(const rk_model *m);
/* Can the head pass in pieces? It is not packed. */
bool rk_residence_can_cut_head(const rk_model *m);
/* Do the model's blocks lie in the pages of its file, none of them packed? */
bool rk_residence_can_pass(const rk_model *m);
/* Bytes of a row of a table, or of a record, as it lies in its file. */
size_t rk_residence_row_bytes(const rk_tensor *table);

/* Hold no more than this from now on, and give back all pages that the model has touched. No forward may
 * be running. Limits that rk_residence_can_* do not allow are ignored.
 * Errors  RK_ERR_NOMEM: it is then as without limits. */
rk_status rk_model_hold(rk_model *m, const rk_hold *hold, rk_error *err);
/* Read what is held into memory of the process's own, after rk_model_hold: in the file's pages neighbours that
 * are not to be held would come along.
 * Errors  RK_ERR_IO: the file is not what it was; RK_ERR_NOMEM. */
rk_status rk_model_bring_in(rk_model *m, rk_error *err);
void rk_residence_free(struct rk_residence *r);
/* Give the pages of all the model's tensors back. */
void rk_model_drop_pages(const rk_model *m);

/* ---- while computing ---- */

/* rk_embedding, its rows through the cache where there is one. */
rk_tensor *rk_model_embed(rk_ctx *ctx, const rk_model *m, rk_tensor *table, rk_tensor *ids);
/* A block is about to be computed, and has been. */
void rk_residence_enter(const rk_ctx *ctx, const rk_model *m, int64_t layer);
void rk_residence_leave(const rk_ctx *ctx, const rk_model *m, int64_t layer);
/* Rows of the head that may be in use at once; rows that have been used, and such as will be soon. */
int64_t rk_residence_head_rows(const rk_model *m);
void rk_residence_head_used(const rk_model *m, int64_t lo, int64_t n);
void rk_residence_head_next(const rk_model *m, int64_t lo, int64_t n);
/* rk_linear_into of the whole head, in pieces where it does not stay. */
void rk_model_head_into(rk_ctx *ctx, const rk_model *m, rk_tensor *rows, rk_tensor *y);

#endif
