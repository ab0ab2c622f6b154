/* corpus_megatron.c: the pair of files of Megatron-LM, as RWKV-LM trains on: NAME.bin holds the tokens of all
 * documents end to end, NAME.idx, little-endian and without padding:
 *
 *     "MMIDIDX\0\0", u64 version 1, u8 type of ids, u64 S sequences, u64 D,
 *     i32[S] tokens of each sequence, i64[S] its byte in NAME.bin, i64[D] the sequence that each
 *     document begins with, and S at the end
 *
 * Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py. An index may order the
 * sequences as it likes; a stream of tokens needs them end to end, as every writer has them, so another
 * order is refused. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/str.h"
#include "data/bits.h"
#include "data/corpus.h"
#include "io/reader.h"

static const unsigned char magic[9] = "MMIDIDX";

static int64_t table_at(const unsigned char *table, int64_t i)
{
    int64_t x;
    memcpy(&x, table + (size_t)i * sizeof x, sizeof x);
    return x;
}

static int64_t length_at(const unsigned char *table, int64_t i)
{
    int32_t x;
    memcpy(&x, table + (size_t)i * sizeof x, sizeof x);
    return x;
}

static int64_t start_in_index(const rk_corpus *c, int64_t i)
{
    const int64_t sequence = table_at(c->docs, i);
    return sequence == c->n_sequences
               ? c->n
               : table_at(c->offsets, sequence) / (int64_t)rk_id_kinds[c->type].bytes;
}

/* ---- the index ---- */

typedef struct index_tables {
    uint64_t n_sequences, n_docs; /* entries of the tables */
    const unsigned char *lengths, *offsets, *docs;
} index_tables;

static rk_status read_type(rk_corpus *c, uint8_t code, rk_error *err)
{
    for (int t = 0; t < RK_ID_TYPES; t++)
        if (code != 0 && rk_id_kinds[t].megatron == code) {
            c->type = (rk_id_type)t;
            return RK_OK;
        }
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s: byte 17: type %d of tokens is none of whole numbers", c->idx.name, code);
}

static rk_status read_header(rk_corpus *c, index_tables *x, rk_error *err)
{
    rk_reader r = {c->idx.data, c->idx.size};
    const unsigned char *head;
    uint64_t version;
    uint8_t code;
    if (!rk_read_bytes(&r, sizeof magic, &head) || memcmp(head, magic, sizeof magic) != 0)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: is no index of Megatron: it does not begin with MMIDIDX", c->idx.name);
    if (!rk_read_u64le(&r, &version) || !rk_read_u8(&r, &code) ||
        !rk_read_u64le(&r, &x->n_sequences) || !rk_read_u64le(&r, &x->n_docs))
        return rk_fail(err, RK_ERR_FORMAT, "%s: the header is cut off at byte %zu", c->idx.name,
                       c->idx.size);
    if (version != 1)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: byte 9: version %" PRIu64 ", expected 1",
                       c->idx.name, version);
    if (x->n_sequences > r.left / 12 || x->n_docs > r.left / 8 ||
        12 * x->n_sequences + 8 * x->n_docs != r.left)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: byte 18: %" PRIu64 " sequences and %" PRIu64
                       " documents do not fit its %zu bytes",
                       c->idx.name, x->n_sequences, x->n_docs, c->idx.size);
    x->lengths = r.p;
    x->offsets = x->lengths + 4 * x->n_sequences;
    x->docs = x->offsets + 8 * x->n_sequences;
    return read_type(c, code, err);
}

/* Byte of an entry, for messages. */
static size_t byte_of(const rk_corpus *c, const unsigned char *table, uint64_t i, size_t bytes)
{
    return (size_t)(table - c->idx.data) + (size_t)i * bytes;
}

/* Sequences lie end to end and fill the file of tokens. */
static rk_status check_sequences(const rk_corpus *c, const index_tables *x, rk_error *err)
{
    const int64_t bytes = (int64_t)rk_id_kinds[c->type].bytes;
    int64_t at = 0;
    for (uint64_t i = 0; i < x->n_sequences; i++) {
        const int64_t n = length_at(x->lengths, (int64_t)i),
                      from = table_at(x->offsets, (int64_t)i);
        if (n < 0)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: byte %zu: sequence %" PRIu64 " has %" PRId64 " tokens", c->idx.name,
                           byte_of(c, x->lengths, i, 4), i, n);
        if (from != at)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: byte %zu: sequence %" PRIu64 " begins at byte %" PRId64
                           " of %s, expected %" PRId64,
                           c->idx.name, byte_of(c, x->offsets, i, 8), i, from, c->path, at);
        at += n * bytes; /* no overflow: what came before lies in the file */
        if ((uint64_t)at > c->bin.size)
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: sequence %" PRIu64 " ends at byte %" PRId64 ", the file has %zu",
                           c->path, i, at, c->bin.size);
    }
    if ((uint64_t)at != c->bin.size)
        return rk_fail(err, RK_ERR_FORMAT, "%s: has %zu bytes, %s tells of %" PRId64, c->path,
                       c->bin.size, c->idx.name, at);
    return RK_OK;
}

static rk_status check_docs(const rk_corpus *c, const index_tables *x, rk_error *err)
{
    int64_t before = 0;
    for (uint64_t i = 0; i < x->n_docs; i++) {
        const int64_t first = table_at(x->docs, (int64_t)i);
        const bool ends = i == 0 || i + 1 == x->n_docs;
        const int64_t want = i == 0 ? 0 : (int64_t)x->n_sequences;
        if (first < before || first > (int64_t)x->n_sequences || (ends && first != want))
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: byte %zu: document %" PRIu64 " begins with sequence %" PRId64
                           ", expected %s%" PRId64,
                           c->idx.name, byte_of(c, x->docs, i, 8), i, first,
                           ends ? "" : "at least ", ends ? want : before);
        before = first;
    }
    return x->n_docs >= 2 && x->n_sequences > 0
               ? RK_OK
               : rk_fail(err, RK_ERR_FORMAT, "%s: holds no document", c->idx.name);
}

/* With both files mapped. */
static rk_status read_index(rk_corpus *c, rk_error *err)
{
    index_tables x;
    rk_status st = read_header(c, &x, err);
    if (st == RK_OK)
        st = check_sequences(c, &x, err);
    if (st == RK_OK)
        st = check_docs(c, &x, err);
    if (st != RK_OK)
        return st;
    rk_map_drop(&c->idx, c->idx.data, c->idx.size);
    c->ids = c->bin.data;
    c->n = (int64_t)(c->bin.size / rk_id_kinds[c->type].bytes);
    c->n_docs = (int64_t)x.n_docs - 1;
    c->n_sequences = (int64_t)x.n_sequences;
    c->offsets = x.offsets;
    c->docs = x.docs;
    c->start = start_in_index;
    return RK_OK;
}

/* ---- what packing adds ---- */

static rk_status fail_about(const rk_corpus *c, const char *what, int64_t says, int64_t is,
                            rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: the .json beside it tells of %" PRId64 " %s, it has %" PRId64, c->path,
                   says, what, is);
}

static rk_status read_about(rk_corpus *c, const char *path, rk_error *err)
{
    rk_status st = rk_packed_about_read(&c->about, path, &c->has_about, err);
    if (st != RK_OK || !c->has_about)
        return st;
    if (c->about.type != c->type)
        return rk_fail(err, RK_ERR_FORMAT, "%s: the .json beside it tells of %s, its .idx of %s",
                       c->path, rk_id_kinds[c->about.type].name, rk_id_kinds[c->type].name);
    if (c->about.n_tokens != c->n)
        return fail_about(c, "tokens", c->about.n_tokens, c->n, err);
    if (c->about.n_docs != c->n_docs)
        return fail_about(c, "documents", c->about.n_docs, c->n_docs, err);
    return RK_OK;
}

static rk_status read_mask(rk_corpus *c, const char *path, rk_error *err)
{
    if (access(path, F_OK) != 0) {
        if (c->has_about && c->about.n_counted < c->n)
            return rk_fail(err, RK_ERR_FORMAT, "%s: is missing, and not all tokens of %s count",
                           path, c->path);
        return RK_OK;
    }
    const rk_status st = rk_map_open(&c->mask_file, path, err);
    if (st != RK_OK)
        return st;
    if (c->mask_file.size != rk_bits_bytes(c->n))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: has %zu bytes, a bit for each of %" PRId64 " tokens are %zu", path,
                       c->mask_file.size, c->n, rk_bits_bytes(c->n));
    c->mask = c->mask_file.data;
    return RK_OK;
}

static rk_status read_sister(rk_corpus *c, const char *ending,
                             rk_status (*read)(rk_corpus *c, const char *path, rk_error *err),
                             rk_error *err)
{
    char *path = rk_packed_sister(c->path, ending);
    const rk_status st =
        path ? read(c, path, err) : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", c->path);
    free(path);
    return st;
}

static rk_status map_index(rk_corpus *c, const char *path, rk_error *err)
{
    return rk_map_open(&c->idx, path, err);
}

/* ---- opening ---- */

static bool has_sister(const char *path, const char *ending)
{
    char *sister = rk_packed_sister(path, ending);
    const bool has = sister && access(sister, F_OK) == 0;
    free(sister);
    return has;
}

/* NAME.bin with NAME.idx, or NAME, as the programs that made them call the pair. */
bool rk_megatron_is(const char *path)
{
    if (rk_ends_with(path, ".bin"))
        return has_sister(path, ".idx");
    return access(path, F_OK) != 0 && has_sister(path, ".bin") && has_sister(path, ".idx");
}

rk_status rk_megatron_open(rk_corpus *c, rk_error *err)
{
    char *path = rk_packed_sister(c->path, ".bin");
    if (!path)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", c->path);
    free(c->path);
    c->path = path;
    rk_status st = rk_map_open(&c->bin, c->path, err);
    if (st == RK_OK)
        st = read_sister(c, ".idx", map_index, err);
    if (st == RK_OK)
        st = read_index(c, err);
    if (st == RK_OK)
        st = read_sister(c, ".json", read_about, err);
    return st == RK_OK ? read_sister(c, ".mask", read_mask, err) : st;
}

rk_status rk_megatron_open_memory(rk_corpus **out, const void *idx, size_t idx_bytes,
                                  const void *bin, size_t bin_bytes, rk_error *err)
{
    rk_corpus *c = calloc(1, sizeof *c);
    if (c)
        c->path = strdup("memory.bin");
    if (!c || !c->path) {
        free(c);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    }
    rk_status st = rk_map_memory(&c->bin, bin, bin_bytes, c->path, err);
    if (st == RK_OK)
        st = rk_map_memory(&c->idx, idx, idx_bytes, "memory.idx", err);
    if (st == RK_OK)
        st = read_index(c, err);
    if (st == RK_OK)
        *out = c;
    else
        rk_corpus_close(c);
    return st;
}
