/* tokenizer.c: greedy longest-match tokenizers.
 *
 * A tokenizer is a trie for one direction and a table of byte ranges for the other. "byte" is the
 * vocabulary of 256 single bytes and takes the same way as all others. The World vocabulary is
 * unpacked and its trie built in some milliseconds; storing the finished trie would save them and
 * cost five times the space in the program. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "io/map.h"
#include "text/trie.h"
#include "text/world_vocab.h"

enum { WORLD_IDS = 65536 };

typedef struct span {
    uint32_t at, n; /* in the tokenizer's bytes */
} span;

struct rk_tokenizer {
    rk_trie trie;
    unsigned char *bytes; /* of all tokens */
    size_t n_bytes, token_max;
    span *span_of_id; /* (n_ids); n is 0 where an id has no text */
    int64_t n_ids;
};

static rk_status tokenizer_init(rk_tokenizer *t, const rk_vocab *v, rk_error *err)
{
    const rk_status st = rk_trie_init(&t->trie, v, err);
    if (st != RK_OK)
        return st;
    t->n_ids = v->n_ids;
    t->n_bytes = v->n_bytes;
    t->span_of_id = calloc((size_t)v->n_ids, sizeof *t->span_of_id);
    t->bytes = malloc(v->n_bytes);
    if (!t->span_of_id || !t->bytes)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a tokenizer");
    memcpy(t->bytes, v->bytes, v->n_bytes);
    for (int64_t i = 0; i < v->n_tokens; i++) {
        const rk_token *token = &v->tokens[i];
        t->span_of_id[token->id] = (span){(uint32_t)(token->bytes - v->bytes), token->n};
        if (token->n > t->token_max)
            t->token_max = token->n;
    }
    return RK_OK;
}

rk_status rk_tokenizer_new_vocab(rk_tokenizer **out, rk_vocab *v, rk_error *err)
{
    rk_tokenizer *t = calloc(1, sizeof *t);
    const rk_status st =
        t ? tokenizer_init(t, v, err) : rk_fail(err, RK_ERR_NOMEM, "out of memory for a tokenizer");
    rk_vocab_deinit(v);
    if (st == RK_OK)
        *out = t;
    else
        rk_tokenizer_free(t);
    return st;
}

rk_status rk_tokenizer_new_memory(rk_tokenizer **out, const void *text, size_t n, const char *name,
                                  rk_error *err)
{
    rk_vocab v;
    const rk_status st = rk_vocab_parse(&v, text, n, name, err);
    return st == RK_OK ? rk_tokenizer_new_vocab(out, &v, err) : st;
}

static rk_status new_from_file(rk_tokenizer **out, const char *path, rk_error *err)
{
    rk_map map;
    rk_status st = rk_map_open(&map, path, err);
    if (st != RK_OK)
        return st;
    st = rk_tokenizer_new_memory(out, map.data, map.size, path, err);
    rk_map_close(&map);
    return st;
}

rk_status rk_tokenizer_new(rk_tokenizer **out, const char *name, rk_error *err)
{
    rk_vocab v;
    rk_status st;
    if (strcmp(name, "byte") == 0)
        st = rk_vocab_bytes(&v, err);
    else if (strcmp(name, "world") == 0)
        st = rk_vocab_unpack(&v, &rk_world_vocab, WORLD_IDS, err);
    else
        return new_from_file(out, name, err);
    return st == RK_OK ? rk_tokenizer_new_vocab(out, &v, err) : st;
}

void rk_tokenizer_free(rk_tokenizer *t)
{
    if (!t)
        return;
    rk_trie_deinit(&t->trie);
    free(t->bytes);
    free(t->span_of_id);
    free(t);
}

int64_t rk_tokenizer_n_vocab(const rk_tokenizer *t)
{
    return t->n_ids;
}
size_t rk_tokenizer_token_max(const rk_tokenizer *t)
{
    return t->token_max;
}

size_t rk_tokenizer_memory(const rk_tokenizer *t)
{
    return sizeof *t + t->n_bytes + (size_t)t->n_ids * sizeof *t->span_of_id +
           rk_trie_memory(&t->trie);
}

int64_t rk_tokenizer_encode(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                            int64_t max)
{
    const unsigned char *const p = (const unsigned char *)bytes;
    int64_t count = 0;
    for (size_t at = 0; at < n; count++) {
        int32_t id;
        at += rk_trie_longest(&t->trie, p + at, n - at, &id);
        if (count < max)
            ids[count] = id;
    }
    return count;
}

const char *rk_tokenizer_bytes(const rk_tokenizer *t, int32_t id, size_t *n)
{
    *n = 0;
    if (id < 0 || id >= t->n_ids)
        return "";
    const span s = t->span_of_id[id];
    *n = s.n;
    return (const char *)t->bytes + s.at;
}
