/* generate.h: tokens from a session, as text, until there is a reason to stop. */
#ifndef RK_CLI_GENERATE_H
#define RK_CLI_GENERATE_H

#include <jansson.h>

#include "base/buf.h"
#include "cli/saved.h"
#include "text/stop.h"

typedef enum rk_end {
    RK_END_LENGTH,      /* as many tokens as were asked for */
    RK_END_STOP,        /* a stop string */
    RK_END_TOKEN,       /* a token that ends a text, such as 0 */
    RK_END_INTERRUPTED, /* a signal; the text so far is kept */
    RK_END_FULL,        /* the context holds no more tokens; the text so far is kept */
} rk_end;

/* "length", "stop", "eos", "interrupted", "full". */
const char *rk_end_name(rk_end end);

typedef struct rk_generate_params {
    const rk_tokenizer *tokenizer;
    int64_t n_vocab;
    int64_t n_max;
    int64_t n_logprobs; /* most likely tokens noted beside each token; 0: none */
    bool ignore_eos;    /* go on after a token that ends a text */
    bool feed_last;     /* evaluate the last token too: the state will be saved */
    bool keep_unshown;  /* do not emit text that is still held back at the end: it will be saved */
    const rk_saved *from; /* a saved text to continue; NULL: a new one */
    const char *const *stop;
    int64_t n_stop;
    int32_t end;               /* ends a text as those of the vocabulary do; 0: only those */
    rk_speculator *speculator; /* of the session and the sampler; NULL: one token at a time */
    /* Text as it becomes certain; whole UTF-8 characters. */
    rk_status (*emit)(void *user, const char *text, size_t n, rk_error *err);
    /* Called when a token's text may begin a stop string, before the token is fed and before what
     * it lets through is emitted: the state of the session, or of the speculator where there is
     * one, is that of the text before it. May be NULL. */
    rk_status (*hold)(void *user, rk_error *err);
    void *user;
} rk_generate_params;

typedef struct rk_generated {
    rk_end end;
    int64_t n_tokens;
    int32_t unfed;    /* the last token, where the session has not seen it; else -1 */
    rk_buf unshown;   /* with keep_unshown, as in rk_saved */
    json_t *tokens;   /* ids, an array */
    json_t *logprobs; /* an object a token, NULL unless asked for */
} rk_generated;

/* Go on from the logits (n_vocab) after the prompt, or from those saved unless a token is still to
 * be evaluated; they are overwritten. RK_ERR_ABORTED of the
 * engine becomes RK_END_INTERRUPTED. The session is settled and out is to be released whatever the
 * result.
 * Errors  RK_ERR_FULL: the text so far is whole, out says so, too (RK_END_FULL). */
rk_status rk_generate(rk_generated *out, const rk_generate_params *p, rk_session *session,
                      rk_sampler *sampler, float *logits, rk_error *err);
void rk_generated_deinit(rk_generated *g);
/* What --json says of it, timings (taken over) last; NULL when memory ran out. */
json_t *rk_generated_json(const rk_generated *g, const rk_buf *text, int64_t n_prompt, int64_t seed,
                          json_t *timings);

#endif
