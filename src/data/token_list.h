/* token_list.h: documents as tokens in memory, one after the other. */
#ifndef RK_DATA_TOKEN_LIST_H
#define RK_DATA_TOKEN_LIST_H

#include "data/ids.h"

typedef struct rk_token_list {
    rk_id_type type; /* RK_ID_U16 or RK_ID_I32 */
    void *ids;
    int64_t n, max;
    unsigned char *counts; /* (n) bits (bits.h); NULL while all tokens count */
    int64_t *ends;         /* (n_docs) where each document ends */
    int64_t n_docs, docs_max;
    bool failed; /* memory ran out: what came after is missing */
} rk_token_list;

void rk_token_list_init(rk_token_list *l, rk_id_type type);
void rk_token_list_deinit(rk_token_list *l);
/* No tokens, and the memory kept. */
void rk_token_list_clear(rk_token_list *l);
/* Append tokens, which fit the type. */
void rk_token_list_add(rk_token_list *l, const int32_t *ids, int64_t n, bool count);
/* The document ends here. */
void rk_token_list_end(rk_token_list *l);
/* Append what another list of the same type has. */
void rk_token_list_join(rk_token_list *l, const rk_token_list *more);
/* Give back what growing took too much. */
void rk_token_list_shrink(rk_token_list *l);
/* RK_ERR_NOMEM where memory ran out. */
rk_status rk_token_list_check(const rk_token_list *l, rk_error *err);

#endif
