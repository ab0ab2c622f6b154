/* tokenizer.c: tokenizers: greedy longest match, or merges.
 *
 * A tokenizer is a table of byte ranges for decoding and one of two ways to encode. "byte" is the
 * vocabulary of 256 single bytes and takes the same way as World. The World vocabulary is
 * unpacked and its trie built in some milliseconds; storing the finished trie would save them and
 * cost five times the space in the program. */
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/impostor.h"
#include "io/map.h"
#include "io/path.h"
#include "io/text_mark.h"
#include "text/gguf_vocab.h"
#include "text/tokenizer_json.h"
#include "text/trie.h"
#include "text/world_vocab.h"

enum { WORLD_IDS = 65536 };

struct rk_tokenizer {
    rk_texts texts;
    rk_trie trie; /* of all tokens, for the longest match */
    rk_bpe bpe;   /* or merges */
    bool has_merges;
    rk_about_text about;
};

static rk_status out_of_memory(rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for a tokenizer");
}

static rk_status tokenizer_init(rk_tokenizer *t, const rk_vocab *v, rk_error *err)
{
    rk_texts *const texts = &t->texts;
    const rk_status st = rk_trie_init(&t->trie, v, err);
    if (st != RK_OK)
        return st;
    rk_about_text_init(&t->about);
    t->about.eos = t->about.end = 0; /* token 0 ends a document */
    rk_about_text_stop(&t->about, 0);
    texts->n_ids = v->n_ids;
    texts->n_bytes = v->n_bytes;
    texts->of_id = calloc((size_t)v->n_ids, sizeof *texts->of_id);
    texts->bytes = malloc(v->n_bytes);
    if (!texts->of_id || !texts->bytes)
        return out_of_memory(err);
    memcpy(texts->bytes, v->bytes, v->n_bytes);
    for (int64_t i = 0; i < v->n_tokens; i++) {
        const rk_token *token = &v->tokens[i];
        texts->of_id[token->id] = (struct rk_text){(uint32_t)(token->bytes - v->bytes), token->n};
        if (token->n > texts->longest)
            texts->longest = token->n;
    }
    return RK_OK;
}

rk_status rk_tokenizer_new_vocab(rk_tokenizer **out, rk_vocab *v, rk_error *err)
{
    rk_tokenizer *t = calloc(1, sizeof *t);
    const rk_status st = t ? tokenizer_init(t, v, err) : out_of_memory(err);
    rk_vocab_deinit(v);
    if (st == RK_OK)
        *out = t;
    else
        rk_tokenizer_free(t);
    return st;
}

/* A file that does not say what ends a text has token 0, as RWKV's. */
static void settle_ends(rk_tokenizer *t)
{
    rk_about_text_find_end(&t->about, &t->bpe);
    if (t->about.n_stops == 0)
        rk_about_text_stop(&t->about, t->about.end >= 0 ? t->about.end : 0);
}

rk_status rk_tokenizer_new_parts(rk_tokenizer **out,
                                 rk_status (*read)(void *user, const rk_vocab_parts *p,
                                                   rk_error *err),
                                 void *user, rk_error *err)
{
    rk_tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return out_of_memory(err);
    t->has_merges = true;
    rk_about_text_init(&t->about);
    const rk_vocab_parts parts = {&t->bpe, &t->texts, &t->about};
    const rk_status st = read(user, &parts, err);
    if (st != RK_OK) {
        rk_tokenizer_free(t);
        return st;
    }
    settle_ends(t);
    *out = t;
    return RK_OK;
}

typedef struct json_text {
    const void *text;
    size_t n;
    const char *name;
    bool is_file; /* of this name, with others beside it */
} json_text;

/* What lies beside a tokenizer.json says where its texts end. */
static rk_status read_beside(const json_text *j, const rk_vocab_parts *p, rk_error *err)
{
    const char *slash = strrchr(j->name, '/');
    if (!j->is_file || strcmp(slash ? slash + 1 : j->name, "tokenizer.json") != 0)
        return RK_OK;
    char *folder = rk_path_parent(j->name);
    const rk_status st = folder
                             ? rk_about_text_folder(p->about, p->bpe, p->texts->n_ids, folder, err)
                             : out_of_memory(err);
    free(folder);
    return st;
}

static rk_status read_json(void *user, const rk_vocab_parts *p, rk_error *err)
{
    const json_text *j = user;
    const rk_status st =
        rk_tokenizer_json_read(p->bpe, p->texts, p->about, j->text, j->n, j->name, err);
    return st == RK_OK ? read_beside(j, p, err) : st;
}

/* A JSON file is an object; the first character of the other kind is a digit. */
static bool is_json(const unsigned char *text, size_t n)
{
    while (n > 0 && (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r')) {
        text++;
        n--;
    }
    return n > 0 && *text == '{';
}

static rk_status new_from_text(rk_tokenizer **out, const void *text, size_t n, const char *name,
                               bool is_file, rk_error *err)
{
    rk_vocab v;
    size_t mark = 0;
    rk_status st = rk_refuse_impostor(text, n, name, err);
    if (st == RK_OK)
        st = rk_text_begin(text, n, name, &mark, err);
    const unsigned char *begin = (const unsigned char *)text + mark;
    if (st != RK_OK)
        return st;
    json_text json = {begin, n - mark, name, is_file};
    if (is_json(begin, n - mark))
        return rk_tokenizer_new_parts(out, read_json, &json, err);
    st = rk_vocab_parse(&v, begin, n - mark, name, err);
    return st == RK_OK ? rk_tokenizer_new_vocab(out, &v, err) : st;
}

rk_status rk_tokenizer_new_memory(rk_tokenizer **out, const void *text, size_t n, const char *name,
                                  rk_error *err)
{
    return new_from_text(out, text, n, name, false, err);
}

static rk_status new_from_gguf(rk_tokenizer **out, const char *path, rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_open(&f, path, err);
    if (st == RK_OK)
        st = rk_gguf_get_vocab(out, f, err);
    if (st == RK_OK && !*out)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: it holds no vocabulary", path);
    rk_file_close(f);
    return st;
}

static rk_status new_from_file(rk_tokenizer **out, const char *path, rk_error *err)
{
    static const char gguf[] = {'G', 'G', 'U', 'F'};
    rk_map map;
    rk_status st = rk_map_open(&map, path, err);
    if (st != RK_OK)
        return st;
    if (map.size > sizeof gguf && memcmp(map.data, gguf, sizeof gguf) == 0)
        st = new_from_gguf(out, path, err);
    else
        st = new_from_text(out, map.data, map.size, path, true, err);
    rk_map_close(&map);
    return st;
}

/* A folder of Hugging Face's: the tokenizer.json in it. */
static rk_status new_from_path(rk_tokenizer **out, const char *path, rk_error *err)
{
    if (!rk_path_is_folder(path))
        return new_from_file(out, path, err);
    char *inside = rk_path_join(path, "tokenizer.json");
    const rk_status st = inside ? new_from_file(out, inside, err) : out_of_memory(err);
    free(inside);
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
        return new_from_path(out, name, err);
    return st == RK_OK ? rk_tokenizer_new_vocab(out, &v, err) : st;
}

void rk_tokenizer_free(rk_tokenizer *t)
{
    if (!t)
        return;
    rk_trie_deinit(&t->trie);
    rk_bpe_deinit(&t->bpe);
    rk_about_text_deinit(&t->about);
    free(t->texts.kinds);
    free(t->texts.bytes);
    free(t->texts.of_id);
    free(t);
}

int64_t rk_tokenizer_n_vocab(const rk_tokenizer *t)
{
    return t->texts.n_ids;
}
size_t rk_tokenizer_token_max(const rk_tokenizer *t)
{
    return t->texts.longest;
}
bool rk_tokenizer_has_merges(const rk_tokenizer *t)
{
    return t->has_merges;
}

const rk_bpe *rk_tokenizer_bpe(const rk_tokenizer *t)
{
    return t->has_merges ? &t->bpe : NULL;
}
const rk_texts *rk_tokenizer_texts(const rk_tokenizer *t)
{
    return &t->texts;
}
const rk_about_text *rk_tokenizer_about(const rk_tokenizer *t)
{
    return &t->about;
}
bool rk_tokenizer_ends(const rk_tokenizer *t, int32_t id)
{
    return rk_about_text_stops(&t->about, id);
}

size_t rk_tokenizer_memory(const rk_tokenizer *t)
{
    return sizeof *t + t->texts.n_bytes + (size_t)t->texts.n_ids * sizeof *t->texts.of_id +
           (t->has_merges ? rk_bpe_memory(&t->bpe) : rk_trie_memory(&t->trie));
}

static int64_t encode_longest(const rk_trie *trie, const unsigned char *p, size_t n, int32_t *ids,
                              int64_t max)
{
    int64_t count = 0;
    for (size_t at = 0; at < n; count++) {
        int32_t id = 0;
        at += rk_trie_longest(trie, p + at, n - at, &id);
        if (count < max)
            ids[count] = id;
    }
    return count;
}

int64_t rk_tokenizer_encode(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                            int64_t max)
{
    return t->has_merges ? rk_bpe_encode(&t->bpe, bytes, n, false, ids, max)
                         : encode_longest(&t->trie, (const unsigned char *)bytes, n, ids, max);
}

static int64_t encode_plain(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                            int64_t max)
{
    return t->has_merges ? rk_bpe_encode(&t->bpe, bytes, n, true, ids, max)
                         : rk_tokenizer_encode(t, bytes, n, ids, max);
}

/* One stretch between marks. */
static int64_t encode_stretch(const rk_tokenizer *t, const char *bytes, size_t n, bool named,
                              int32_t *ids, int64_t max)
{
    const int32_t id = named && t->has_merges ? rk_bpe_added(&t->bpe, bytes, n) : -1;
    if (id < 0)
        return encode_plain(t, bytes, n, ids, max);
    if (max > 0)
        *ids = id;
    return 1;
}

int64_t rk_tokenizer_encode_marked(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                                   int64_t max)
{
    int64_t count = 0;
    bool named = false;
    for (size_t at = 0; at < n; named = !named) {
        const char *mark = memchr(bytes + at, 0xff, n - at);
        const size_t end = mark ? (size_t)(mark - bytes) : n;
        const int64_t left = max > count ? max - count : 0;
        const int64_t more = encode_stretch(t, bytes + at, end - at, named && mark,
                                            left > 0 ? ids + count : NULL, left);
        if (more < 0)
            return -1;
        count += more;
        at = end + 1;
    }
    return count;
}

typedef int64_t encode_fn(const rk_tokenizer *t, const char *bytes, size_t n, int32_t *ids,
                          int64_t max);

static rk_status encode_all(encode_fn *encode, const rk_tokenizer *t, const char *bytes, size_t n,
                            int32_t **ids, int64_t *n_ids, rk_error *err)
{
    int32_t *made = NULL;
    int64_t room, n_made = (int64_t)n; /* more only where normal form makes a text longer */
    *ids = NULL;
    do {
        free(made);
        room = n_made;
        made = malloc((size_t)rk_max_i64(room, 1) * sizeof *made);
        n_made = made ? encode(t, bytes, n, made, room) : -1;
    } while (n_made > room);
    if (n_made < 0) {
        free(made);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens of %zu bytes", n);
    }
    *ids = made;
    *n_ids = n_made;
    return RK_OK;
}

rk_status rk_tokenizer_encode_all(const rk_tokenizer *t, const char *bytes, size_t n, int32_t **ids,
                                  int64_t *n_ids, rk_error *err)
{
    return encode_all(rk_tokenizer_encode, t, bytes, n, ids, n_ids, err);
}

rk_status rk_tokenizer_encode_marked_all(const rk_tokenizer *t, const char *bytes, size_t n,
                                         int32_t **ids, int64_t *n_ids, rk_error *err)
{
    return encode_all(rk_tokenizer_encode_marked, t, bytes, n, ids, n_ids, err);
}

rk_status rk_tokenizer_begin_text(const rk_tokenizer *t, int32_t **ids, int64_t *n_ids,
                                  rk_error *err)
{
    const rk_about_text *a = rk_tokenizer_about(t);
    if (!a->adds_bos)
        return RK_OK;
    int32_t *all = realloc(*ids, ((size_t)*n_ids + 1) * sizeof *all);
    if (!all) {
        free(*ids);
        *ids = NULL;
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %lld tokens", (long long)*n_ids);
    }
    memmove(all + 1, all, (size_t)*n_ids * sizeof *all);
    all[0] = a->bos;
    *ids = all;
    ++*n_ids;
    return RK_OK;
}

const char *rk_tokenizer_bytes(const rk_tokenizer *t, int32_t id, size_t *n)
{
    *n = 0;
    if (id < 0 || id >= t->texts.n_ids)
        return "";
    const struct rk_text text = t->texts.of_id[id];
    const int kind = t->texts.kinds ? t->texts.kinds[id] & RK_TOKEN_KIND : RK_TOKEN_NORMAL;
    *n = kind >= RK_TOKEN_CONTROL ? 0 : text.n;
    return (const char *)t->texts.bytes + text.at;
}
