/* vocab.h: lists of tokens, from the text format of rwkv_vocab_v20230424.txt or built in.
 *
 * A line of the text is `<id> <Python literal> <length in bytes>`, ended by LF or CRLF. Id 0 has no
 * text: it ends a document. Every single byte must be a token, so that all bytes can be encoded. */
#ifndef RK_TEXT_VOCAB_H
#define RK_TEXT_VOCAB_H

#include "base/error.h"
#include "text/world_vocab.h"

enum {
    RK_VOCAB_IDS_MAX = 1 << 20,       /* ids are below */
    RK_VOCAB_TOKEN_MAX = 1024,        /* bytes of a token */
    RK_VOCAB_TEXT_MAX = 16 * 1 << 20, /* bytes of the text */
};

typedef struct rk_token {
    const unsigned char *bytes;
    uint32_t n;
    int32_t id;
    int64_t line; /* of the text, from 1 */
} rk_token;

typedef struct rk_vocab {
    unsigned char *bytes; /* of all tokens */
    size_t n_bytes;
    rk_token *tokens; /* in the order of their bytes, each once */
    int64_t n_tokens;
    int64_t n_ids; /* ids are in [0, n_ids) */
} rk_vocab;

/* What an id is for, in vocabularies with merges. */
typedef enum rk_token_kind {
    RK_TOKEN_NORMAL,
    RK_TOKEN_ADDED,   /* found in a text before anything else */
    RK_TOKEN_CONTROL, /* the same, and not printed */
    RK_TOKEN_UNUSED,  /* nothing encodes to it, and it is not printed */
} rk_token_kind;
/* Beside the kind of an added token: it is looked for in the text's normal form. */
enum { RK_TOKEN_NORMALISED = 8, RK_TOKEN_KIND = 7 };

/* The bytes of ids: of the i-th n of bytes + at; n is 0 where an id has no text. */
typedef struct rk_texts {
    unsigned char *bytes;
    size_t n_bytes, longest;
    struct rk_text {
        uint32_t at, n;
    } * of_id;      /* (n_ids) */
    uint8_t *kinds; /* (n_ids) rk_token_kind; NULL: all are normal */
    int64_t n_ids;
} rk_texts;

/* Errors  RK_ERR_FORMAT: name, line, what is wrong there; RK_ERR_NOMEM. */
rk_status rk_vocab_parse(rk_vocab *v, const void *text, size_t n, const char *name, rk_error *err);
/* n_ids: at least packed->n_tokens + 1. */
rk_status rk_vocab_unpack(rk_vocab *v, const rk_packed_vocab *packed, int64_t n_ids, rk_error *err);
/* The 256 single bytes, id = byte. */
rk_status rk_vocab_bytes(rk_vocab *v, rk_error *err);
/* For readers of other forms: room for tokens of n_bytes bytes in all; after they and n_ids have
 * been filled in, in any order, rk_vocab_finish sorts them and refuses what cannot encode.
 * Errors  RK_ERR_FORMAT: name, and which tokens are equal or which byte is missing. */
rk_status rk_vocab_new(rk_vocab *v, size_t n_bytes, int64_t n_tokens, rk_error *err);
rk_status rk_vocab_finish(rk_vocab *v, const char *name, rk_error *err);
/* The sorting alone. */
rk_status rk_vocab_sort(rk_vocab *v, const char *name, rk_error *err);
void rk_vocab_deinit(rk_vocab *v);

#endif
