/* data.h: what a run learns from and is measured on: tokens in one row, cut into windows. */
#ifndef RK_TRAIN_DATA_H
#define RK_TRAIN_DATA_H

#include "base/error.h"

/* Tokens of a part of the data, one after the other, as narrow as the vocabulary lets them be: 16
 * bits for up to 65536 ids, which every RWKV vocabulary has, else 32. */
typedef struct rk_token_row {
    void *ids;
    size_t id_bytes; /* 2 or 4 */
    int64_t n, max;
} rk_token_row;

static inline int32_t rk_token_row_at(const rk_token_row *r, int64_t i)
{
    return r->id_bytes == sizeof(uint16_t) ? ((const uint16_t *)r->ids)[i]
                                           : ((const int32_t *)r->ids)[i];
}

typedef struct rk_dataset {
    rk_token_row train, val;
    int64_t ctx_len;
    uint64_t seed;
    uint64_t checksum; /* of both parts: tells whether a resumed run has the same data */
} rk_dataset;

typedef struct rk_data_params {
    const char *path; /* .txt: one document; .jsonl: one a line, as {"text": ...} */
    double val_frac;  /* share held out for validation, in [0, 1) */
    int64_t ctx_len;  /* of a window, which has one token more */
    uint64_t seed;
} rk_data_params;

/* Read and tokenise. Token 0, which ends a document, follows each one of a .jsonl file; a .txt file
 * is the text as it is. Held out are: the last documents' tokens of a .txt or of fewer than 20
 * documents, else whole documents chosen by seed.
 * Errors  RK_ERR_ARG: a part is too small for one window; those of rk_textdata_open. On failure *d is as after rk_dataset_deinit. */
rk_status rk_dataset_init(rk_dataset *d, const rk_data_params *p, const rk_tokenizer *tok,
                          rk_error *err);
void rk_dataset_deinit(rk_dataset *d);

/* Training window number `index` (of step * batch + row) into ids (ctx_len + 1): a pure function of
 * data, seed and index. */
void rk_dataset_window(const rk_dataset *d, uint64_t index, int32_t *ids);
/* Number of validation windows, and the i-th one. */
int64_t rk_dataset_n_val(const rk_dataset *d);
void rk_dataset_val_window(const rk_dataset *d, int64_t i, int32_t *ids);
/* Bytes of text per token that the validation windows predict; 0 when there are none. */
double rk_dataset_val_bytes_per_token(const rk_dataset *d, const rk_tokenizer *tok);

#endif
