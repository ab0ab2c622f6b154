/* corpus.c: the table of formats, and what holds for all of them. */
#include "data/corpus.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "data/bits.h"
#include "io/checksum.h"

static bool is_txt(const char *path)
{
    return rk_text_file_is(path) && rk_ends_with(path, ".txt");
}

static bool is_jsonl(const char *path)
{
    return rk_text_file_is(path) && rk_ends_with(path, ".jsonl");
}

/* The first that fits is meant. */
const rk_data_format rk_data_formats[] = {
    {"txt", "text, one document", is_txt, NULL},
    {"jsonl", "text, a document a line: text, messages, prompt and response", is_jsonl, NULL},
    {"megatron", "tokens: .bin, with its .idx beside it", rk_megatron_is, rk_megatron_open},
    {"llm.c", "tokens: .bin with a header", rk_llmc_is, rk_llmc_open},
    {"npy", "tokens: an array of integers, a row of two dimensions is a document", rk_npy_ids_is,
     rk_npy_ids_open},
    {0},
};

rk_status rk_data_format_of(const rk_data_format **out, const char *path, rk_error *err)
{
    const rk_data_format *f = rk_data_formats;
    while (f->name && !f->is(path))
        f++;
    *out = f;
    if (f->name)
        return RK_OK;
    return rk_fail(
        err, RK_ERR_ARG,
        "%s: expected a name that ends in .txt or .jsonl (text), .bin or .npy (tokens)%s", path,
        rk_ends_with(path, ".parquet") ? "; Parquet is not read" : "");
}

static rk_status new_corpus(rk_corpus **out, const rk_data_format *format, const char *path,
                            rk_error *err)
{
    rk_corpus *c = calloc(1, sizeof *c);
    if (c)
        c->path = strdup(path);
    if (!c || !c->path) {
        free(c);
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    }
    c->format = format;
    c->start = rk_corpus_start_equal;
    *out = c;
    return RK_OK;
}

rk_status rk_corpus_open(rk_corpus **out, const char *path, rk_error *err)
{
    const rk_data_format *format;
    rk_corpus *c = NULL;
    rk_status st = rk_data_format_of(&format, path, err);
    if (st == RK_OK && !format->open)
        st = rk_fail(err, RK_ERR_ARG, "%s: is text, expected tokens", path);
    if (st == RK_OK)
        st = new_corpus(&c, format, path, err);
    if (st == RK_OK)
        st = format->open(c, err);
    if (st == RK_OK)
        *out = c;
    else
        rk_corpus_close(c);
    return st;
}

/* ---- text ---- */

static int64_t start_in_list(const rk_corpus *c, int64_t i)
{
    return i > 0 ? c->list.ends[i - 1] : 0;
}

static rk_status encode_file(rk_corpus *c, const rk_text_how *how, bool as_kind, rk_error *err)
{
    rk_text_file f;
    rk_text_how h = *how;
    rk_status st = rk_text_file_open(&f, c->path, err);
    if (st != RK_OK)
        return st;
    h.ends = as_kind ? rk_text_file_ends(&f) : how->ends;
    st = rk_text_file_encode(&f, &h, &c->list, err);
    rk_text_file_close(&f);
    return st;
}

rk_status rk_corpus_encode(rk_corpus **out, const char *path, const rk_text_how *how, bool as_kind,
                           rk_error *err)
{
    const rk_data_format *format;
    rk_corpus *c = NULL;
    rk_status st = rk_data_format_of(&format, path, err);
    if (st == RK_OK)
        st = new_corpus(&c, format, path, err);
    if (st != RK_OK)
        return st;
    c->type = rk_id_type_for(rk_tokenizer_n_vocab(how->tokenizer));
    rk_token_list_init(&c->list, c->type);
    st = encode_file(c, how, as_kind, err);
    if (st != RK_OK) {
        rk_corpus_close(c);
        return st;
    }
    rk_token_list_shrink(&c->list);
    c->ids = c->list.ids;
    c->n = c->list.n;
    c->mask = c->list.counts;
    c->n_docs = c->list.n_docs;
    c->start = start_in_list;
    *out = c;
    return RK_OK;
}

void rk_corpus_close(rk_corpus *c)
{
    if (!c)
        return;
    rk_map_close(&c->bin);
    rk_map_close(&c->idx);
    rk_map_close(&c->mask_file);
    rk_packed_about_deinit(&c->about);
    rk_token_list_deinit(&c->list);
    free(c->path);
    free(c);
}

int64_t rk_corpus_start_equal(const rk_corpus *c, int64_t i)
{
    return i * c->doc_tokens;
}

/* ---- checks ---- */

/* The ids are looked at in pieces, whose pages are then given back. */
enum { PIECE_IDS = 1 << 22 };

rk_status rk_corpus_check_ids(const rk_corpus *c, int64_t n_vocab, rk_error *err)
{
    const size_t bytes = rk_id_kinds[c->type].bytes;
    if (c->type == RK_ID_U16 && n_vocab > UINT16_MAX)
        return RK_OK;
    for (int64_t at = 0; at < c->n; at += PIECE_IDS) {
        const int64_t n = rk_min_i64(PIECE_IDS, c->n - at);
        const char *from = (const char *)c->ids + (size_t)at * bytes;
        const int64_t i = rk_ids_find_outside(c->type, from, n, n_vocab);
        if (i >= 0)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: byte %zu: token %" PRId64 " is %" PRId64
                           ", the vocabulary has ids from 0 to %" PRId64,
                           c->path, c->ids_at + (size_t)(at + i) * bytes, at + i,
                           rk_ids_at(c->type, from, i), n_vocab - 1);
        rk_corpus_drop(c, at, n);
    }
    return RK_OK;
}

static rk_status check_pieces(const rk_map *m, const rk_piece_sums *s, rk_error *err)
{
    for (int64_t i = 0; i < s->n; i++) {
        const size_t at = (size_t)i * RK_PACKED_PIECE;
        const size_t n = at < m->size ? m->size - at : 0;
        const size_t bytes = n < RK_PACKED_PIECE ? n : RK_PACKED_PIECE;
        if (n == 0 || rk_checksum_bytes(m->data + at, bytes) != s->at[i])
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: bytes %zu to %zu are not those that were packed: their checksum "
                           "differs",
                           m->name, at, at + bytes);
        rk_map_drop(m, m->data + at, bytes);
    }
    return RK_OK;
}

rk_status rk_corpus_check_sums(const rk_corpus *c, rk_error *err)
{
    if (!c->has_about)
        return RK_OK;
    rk_status st = check_pieces(&c->idx, &c->about.idx, err);
    if (st == RK_OK)
        st = check_pieces(&c->bin, &c->about.bin, err);
    return st == RK_OK && c->mask ? check_pieces(&c->mask_file, &c->about.mask, err) : st;
}

rk_status rk_corpus_check(const rk_corpus *c, rk_error *err)
{
    const rk_map *const maps[] = {&c->bin, &c->idx, &c->mask_file};
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(maps) && st == RK_OK; i++)
        if (maps[i]->name)
            st = rk_map_check(maps[i], err);
    return st;
}

int64_t rk_corpus_n_counted(const rk_corpus *c)
{
    return rk_bits_count(c->mask, c->n);
}

void rk_corpus_drop(const rk_corpus *c, int64_t first, int64_t n)
{
    const size_t bytes = rk_id_kinds[c->type].bytes;
    if (c->bin.name)
        rk_map_drop_around(&c->bin, (const char *)c->ids + (size_t)first * bytes,
                           (size_t)n * bytes);
}
