/* token_rows.h: what a state keeps of each token it has read.
 *
 * Rows lie in pages of RK_PAGE_ROWS tokens, taken as tokens come, with the rows of each growing part
 * of the layout side by side. States share pages: a copy costs a pointer for each. A page is only
 * written behind the rows that somebody may read. Whoever comes to its end writes on in it, and
 * where two went on from one place, the second one takes a page of its own. */
#ifndef RK_INFER_TOKEN_ROWS_H
#define RK_INFER_TOKEN_ROWS_H

#include "model/model.h"

typedef struct rk_page rk_page;

typedef struct rk_token_rows {
    const rk_state_layout *layout;
    int64_t n; /* tokens */
    rk_page **pages;
    unsigned char **data; /* of the pages */
    int64_t n_pages, pages_max;
} rk_token_rows;

void rk_token_rows_deinit(rk_token_rows *r);
/* Forget all tokens but the first n. */
void rk_token_rows_truncate(rk_token_rows *r, int64_t n);
/* Both of one layout. After a failure `to` is as it was. */
rk_status rk_token_rows_copy(rk_token_rows *to, const rk_token_rows *from, rk_error *err);
/* Memory for n more rows behind those there are, to be written before n grows. */
rk_status rk_token_rows_reserve(rk_token_rows *r, int64_t n, rk_error *err);

/* n rows in place of those there are, to be written. After a failure there are none. */
rk_status rk_token_rows_resize(rk_token_rows *r, int64_t n, rk_error *err);

/* All rows of a growing part, (n, count), out of the pages and into them. */
void rk_token_rows_get(const rk_token_rows *r, const rk_state_entry *p, float *x);
void rk_token_rows_set(rk_token_rows *r, const rk_state_entry *p, const float *x);

/* The part's place in each page. */
static inline size_t rk_token_rows_offset(const rk_state_entry *p)
{
    return (size_t)p->at * RK_PAGE_ROWS * sizeof(float);
}

#endif
