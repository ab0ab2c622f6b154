/* compress.h: what the commands of `rwkv compress` share: a model that is read, a smaller one that is
 * written. */
#ifndef RK_CLI_COMPRESS_H
#define RK_CLI_COMPRESS_H

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "compress/remade.h"
#include "infer/engine.h"

typedef struct rk_compress_job {
    const rk_common_options *common;
    const char *model, *out;
    bool force;
    const char
        *no_gguf; /* what llama.cpp does not have, so that a .gguf file is refused; NULL: nothing */
    rk_interrupt *interrupt;
    rk_engine *engine;
    rk_model *host;
    rk_tokenizer *tokenizer; /* for a .gguf file; may be NULL */
} rk_compress_job;

/* Look at the output, then open the model, host. rk_compress_end follows, whatever came. */
rk_status rk_compress_begin(rk_compress_job *j, rk_error *err);
/* The first `most` tokens of a text (n, to be freed), in the vocabulary `vocab` or, where that is NULL, the
 * host's. */
rk_status rk_compress_tokens(const rk_compress_job *j, const char *data, const char *vocab,
                             int64_t most, int32_t **ids, int64_t *n, rk_error *err);
/* Write what was made of host, tensors in the types that they have there. */
rk_status rk_compress_save(rk_compress_job *j, const rk_model *made, rk_error *err);
/* Free everything but the model that was made; returns the exit status. */
int rk_compress_end(rk_compress_job *j, rk_status st, const rk_error *err);

#endif
