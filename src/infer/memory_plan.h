/* memory_plan.h: what a model takes in memory, part by part, and what of it is held under a limit.
 *
 * The order in which memory is saved: all stays where it fits; else rows of the embeddings come through
 * a cache; else records of a sparse channel mix, too, as large as there is room, and the clusters of a hierarchical
 * head that a token chose pass through memory; else pieces of a whole head and the last blocks pass with each
 * token, as few of them as will do. */
#ifndef RK_INFER_MEMORY_PLAN_H
#define RK_INFER_MEMORY_PLAN_H

#include "model/residence.h"

/* Bytes of a model's weights, without those that opening it has copied (vectors), which are there already. */
typedef struct rk_memory_parts {
    rk_dtype type;          /* of tensors without data */
    bool packs;             /* matrices in blocks are packed */
    size_t emb, emb_row;    /* a table that is the head, too, counts as the head */
    size_t head, head_row;  /* the matrix of all tokens */
    size_t clusters;        /* product and bias of a hierarchical head */
    size_t records, record; /* of all sparse channel mixes; one */
    size_t blocks;          /* all else in layers */
    size_t rest;            /* of no block */
    size_t packing; /* of the largest matrix that is packed: its pages are there meanwhile */
} rk_memory_parts;

/* type: of all tensors of a model that has shapes only; those with data have their own. packs: does the engine
 * pack what is in blocks? */
void rk_memory_parts_of(const rk_model *m, rk_dtype type, bool packs, rk_memory_parts *out);

typedef struct rk_memory_limit {
    size_t bytes;      /* that the process may take at most */
    int64_t n_streams; /* sessions; 1 */
    int64_t n_states;  /* snapshots beside those of sessions */
    size_t more;       /* what the caller will take of its own */
} rk_memory_limit;

typedef struct rk_memory_plan {
    rk_hold hold;
    bool whole;  /* nothing is limited */
    size_t base; /* what the process takes without weights, states and scratch */
    size_t states, scratch, more;
    size_t weights; /* held of the file, and by caches */
    size_t total;
} rk_memory_plan;

/* Bytes that a model takes of its file and in caches when it holds this. */
size_t rk_memory_held(const rk_model *m, const rk_memory_parts *parts, const rk_hold *hold);
/* The most that fits into `room` bytes beside what p tells: hold, whole, weights and total of it are filled in.
 * False: not even the least does, which is then there. */
bool rk_memory_choose(const rk_model *m, const rk_memory_parts *parts, size_t room,
                      rk_memory_plan *p);

/* Plan for an open model and let it hold what was planned (rk_model_hold), before its first session. p tells
 * what was planned, also where it is refused.
 * Errors  RK_ERR_ARG: less than the least that works, which is named; RK_ERR_UNSUPPORTED: the system does
 *         not tell what the process takes, or a state grows without a limit; RK_ERR_NOMEM. */
rk_status rk_model_limit(rk_model *m, rk_engine *e, const rk_memory_limit *limit, rk_memory_plan *p,
                         rk_error *err);
/* "1000 of 65536 embeddings, 8 of 12 blocks in memory": what is held, for a line of text. */
enum { RK_MEMORY_TEXT_MAX = 256 };
void rk_memory_describe(const rk_model *m, const rk_memory_plan *p, char text[RK_MEMORY_TEXT_MAX]);

#endif
