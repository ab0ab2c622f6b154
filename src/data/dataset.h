/* dataset.h: what a run learns from and is measured on: windows of tokens of one or several files.
 *
 * Every window is a pure function of the data, the options and its number, so that a run that is
 * continued needs no more than its step. */
#ifndef RK_DATA_DATASET_H
#define RK_DATA_DATASET_H

#include "data/order.h"
#include "data/token_stream.h"

/* How documents become windows. */
typedef enum rk_packing {
    RK_PACKING_WRAPPED, /* end to end, and cut where a window is full */
    RK_PACKING_NONE, /* one a window: what is missing does not count, what is too much is left out */
} rk_packing;

typedef enum rk_order {
    RK_ORDER_SHUFFLE,
    RK_ORDER_CUBIC, /* as BlinkDL/RWKV-LM */
} rk_order;

/* What is between documents. Tokens are put behind those of text; what is packed stays as it is. */
typedef enum rk_boundary {
    RK_BOUNDARY_AUTO,  /* as TOKEN behind documents of .jsonl, nothing behind a .txt */
    RK_BOUNDARY_TOKEN, /* what ends a text: token 0, or what a vocabulary with merges names */
    RK_BOUNDARY_NONE,
    RK_BOUNDARY_RESET, /* tokens as with auto; no document sees another: states begin anew with each, and
                        * the first token of one is no target */
} rk_boundary;

typedef struct rk_data_options {
    const char *paths[RK_MIXTURE_MAX];
    int n_paths;
    double weights[RK_MIXTURE_MAX]; /* one for each path, */
    int n_weights;                  /* or 0: as much as each has tokens */
    int packing, order, boundary;   /* rk_packing, rk_order, rk_boundary */
    /* NULL: that of the vocabulary's template, else "world"; "none": prompt and response stand as they are */
    const char *chat_format;
} rk_data_options;

typedef struct rk_data_params {
    const rk_data_options *options;
    double val_frac; /* share held out for validation, in [0, 1) */
    int64_t ctx_len; /* of a window, which has one token more */
    uint64_t seed;
} rk_data_params;

/* A file of a data set. */
typedef struct rk_source {
    rk_corpus *corpus;
    rk_token_stream train, val;
    rk_cubic cubic;
    int64_t n_val; /* windows */
} rk_source;

typedef struct rk_dataset {
    rk_data_params p;
    rk_source *sources;
    int n_sources;
    rk_mixture mixture;
    int64_t n_tokens, n_val; /* tokens of both parts; windows of validation */
    uint64_t checksum;       /* of the data: tells whether a resumed run has the same */
} rk_dataset;

/* A window: tokens, whether each of them counts in the loss when it is to be predicted, and (NULL: not
 * asked for) whether the state is to begin anew with it; all (ctx_len + 1). What stands behind the end of a document that is shorter is 0 and does not count. */
typedef struct rk_window {
    int32_t *ids;
    bool *counts, *begins;
} rk_window;

/* The vocabulary of those of the files that are packed and say so: *a of the first of them, to be
 * deinitialised; *found is false where none does. *text: there is text among the files.
 * Errors  RK_ERR_ARG: two files have different ones. */
rk_status rk_data_vocabulary(rk_packed_about *a, bool *found, bool *text, const rk_data_options *o,
                             rk_error *err);

/* Is a packed file of this vocabulary (tok may be NULL), and are its ids? Reads it, as
 * rk_corpus_check_ids does. Errors  RK_ERR_ARG, those of rk_corpus_check_ids. */
rk_status rk_data_check_vocabulary(const rk_corpus *c, const rk_tokenizer *tok, int64_t n_vocab,
                                   rk_error *err);

/* Open, tokenise what is text, check the ids of what is not, split. tok may be NULL where nothing is
 * text; n_vocab: ids are below. p->options is borrowed until rk_dataset_deinit.
 * Errors  RK_ERR_ARG: a part is too small for one window; a packed file has another vocabulary; those of
 *         rk_corpus_open and rk_corpus_encode. On failure *d is as after rk_dataset_deinit. */
rk_status rk_dataset_init(rk_dataset *d, const rk_data_params *p, const rk_tokenizer *tok,
                          int64_t n_vocab, rk_error *err);
void rk_dataset_deinit(rk_dataset *d);

/* Training window number `index` (of step * batch + row). */
void rk_dataset_window(const rk_dataset *d, uint64_t index, const rk_window *w);
/* The i-th of the n_val windows for validation. */
void rk_dataset_val_window(const rk_dataset *d, int64_t i, const rk_window *w);
/* Bytes of text per token that the validation windows predict and that counts; 0 when there are none. */
double rk_dataset_val_bytes_per_token(const rk_dataset *d, const rk_tokenizer *tok);

#endif
