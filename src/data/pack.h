/* pack.h: many files of text or tokens to one packed file. */
#ifndef RK_DATA_PACK_H
#define RK_DATA_PACK_H

#include "base/log.h"
#include "base/progress.h"
#include "data/dataset.h"
#include "data/packed_writer.h"

typedef struct rk_pack_params {
    const char *const *paths;
    int n_paths;
    const char *out;
    const char *tokenizer_name;    /* as NAME.json is to say it; NULL: none */
    const rk_tokenizer *tokenizer; /* NULL where nothing is text */
    int64_t n_vocab;
    rk_boundary
        boundary; /* auto: an end token follows each document of text, unless one .txt is all there is */
    const rk_chat_format *chat; /* as of rk_record_how */
    bool overwrite;
} rk_pack_params;

typedef struct rk_pack_env {
    rk_pool *pool;
    const rk_log *log;
    rk_progress_fn *progress; /* bytes of input; may be NULL */
    void *progress_user;
    int (*signal)(
        void *user); /* the signal that asks to stop, 0 while there is none; may be NULL */
    void *signal_user;
} rk_pack_env;

typedef struct rk_pack_result {
    int64_t n_docs, n_tokens, n_counted;
    int signal; /* that ended the work, after saving; 0 when it is done */
} rk_pack_result;

/* Pack, or go on where an earlier call with the same inputs and options was stopped. What is written
 * does not depend on the pool, nor on being stopped.
 * Errors  those of opening and reading the files and of rk_packed_writer_open. */
rk_status rk_pack(const rk_pack_params *p, const rk_pack_env *env, rk_pack_result *result,
                  rk_error *err);

#endif
