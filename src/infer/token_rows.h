/* token_rows.h: what a state keeps of each token it has read.
 *
 * Rows lie in pages of RK_PAGE_ROWS tokens, taken as tokens come, with the rows of each growing part
 * of the layout side by side, head by head. States share pages: a copy costs a pointer for each. A page is only
 * written behind the rows that somebody may read. Whoever comes to its end writes on in it, and
 * where two went on from one place, the second one takes a page of its own.
 *
 * Elements lie there as f32, f16 or q8_0: whoever writes a row rounds it, and all read what was rounded. */
#ifndef RK_INFER_TOKEN_ROWS_H
#define RK_INFER_TOKEN_ROWS_H

#include "model/model.h"

typedef struct rk_page rk_page;

typedef struct rk_token_rows {
    const rk_state_layout *layout;
    rk_dtype type; /* of elements; a copy takes it over, and the limit too */
    int64_t n_max; /* tokens; 0: no limit */
    int64_t n;     /* tokens */
    rk_page **pages;
    unsigned char **data; /* of the pages */
    int64_t n_pages, pages_max;
} rk_token_rows;

void rk_token_rows_deinit(rk_token_rows *r);
/* Forget all tokens but the first n. */
void rk_token_rows_truncate(rk_token_rows *r, int64_t n);
/* Both of one layout. After a failure `to` is as it was. */
rk_status rk_token_rows_copy(rk_token_rows *to, const rk_token_rows *from, rk_error *err);
/* Memory for n more rows behind those there are, to be written before n grows.
 * Errors  RK_ERR_ARG: more than n_max; RK_ERR_NOMEM. */
rk_status rk_token_rows_reserve(rk_token_rows *r, int64_t n, rk_error *err);

/* Do n more rows fit into n_max?
 * Errors  RK_ERR_ARG: what there is, and what does not fit. */
rk_status rk_token_rows_check_room(const rk_token_rows *r, int64_t n, rk_error *err);

/* n rows in place of those there are, to be written. After a failure there are none. */
rk_status rk_token_rows_resize(rk_token_rows *r, int64_t n, rk_error *err);

/* Can rows of the layout lie as elements of this type: are the last dimensions of the parts that grow whole
 * blocks?
 * Errors  RK_ERR_UNSUPPORTED. */
rk_status rk_token_rows_check_type(const rk_state_layout *l, rk_dtype type, rk_error *err);
/* n elements as they lie in a page. */
static inline size_t rk_token_rows_bytes(rk_dtype type, int64_t n)
{
    return (size_t)(n / rk_dtype_block(type)) * rk_dtype_bytes(type);
}

/* All rows of a growing part, (n, count), out of the pages and into them. */
void rk_token_rows_get(const rk_token_rows *r, const rk_state_entry *p, float *x);
void rk_token_rows_set(rk_token_rows *r, const rk_state_entry *p, const float *x);

/* Elements of a head of a row: the last dimension. */
static inline int64_t rk_token_rows_size(const rk_state_entry *p)
{
    return p->n_dims > 0 ? p->dims[p->n_dims - 1] : p->count;
}
/* The part's place in each page. */
static inline size_t rk_token_rows_offset(rk_dtype type, const rk_state_entry *p)
{
    return rk_token_rows_bytes(type, p->at * RK_PAGE_ROWS);
}

#endif
