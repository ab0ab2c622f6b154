/* corpus_llmc.c: the shards of karpathy/llm.c (dev/data/data_common.py), which others write, too: a header of
 * 256 32-bit numbers, of which the first three are a magic number, a version and how many tokens
 * follow. Where documents end is not known beside the tokens, so a shard is one. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "data/corpus.h"
#include "io/reader.h"

enum { HEADER_BYTES = 256 * 4 };

static const struct {
    uint32_t magic, version;
    rk_id_type type;
} kinds[] = {{20240520, 1, RK_ID_U16}, {20240801, 7, RK_ID_U32}};

bool rk_llmc_is(const char *path)
{
    return rk_ends_with(path, ".bin");
}

static rk_status read_header(rk_corpus *c, rk_error *err)
{
    rk_reader r = {c->bin.data, c->bin.size};
    uint32_t magic, version, n;
    size_t i = 0;
    const bool whole =
        rk_read_u32le(&r, &magic) && rk_read_u32le(&r, &version) && rk_read_u32le(&r, &n);
    while (i < RK_COUNT(kinds) && (!whole || magic != kinds[i].magic))
        i++;
    if (i == RK_COUNT(kinds))
        return rk_fail(
            err, RK_ERR_FORMAT,
            "%s: no .idx is beside it, as Megatron has one, and it does not begin as llm.c's "
            "shards do",
            c->path);
    if (version != kinds[i].version)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: byte 4: version %" PRIu32 ", expected %" PRIu32, c->path, version,
                       kinds[i].version);
    c->type = kinds[i].type;
    if (c->bin.size < HEADER_BYTES ||
        c->bin.size - HEADER_BYTES != (size_t)n * rk_id_kinds[c->type].bytes)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: byte 8: %" PRIu32
                       " tokens of %zu bytes and a header of %d do not make its "
                       "%zu bytes",
                       c->path, n, rk_id_kinds[c->type].bytes, HEADER_BYTES, c->bin.size);
    if (n == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: holds no token", c->path);
    c->ids_at = HEADER_BYTES;
    c->ids = c->bin.data + HEADER_BYTES;
    c->n = c->doc_tokens = n;
    c->n_docs = 1;
    return RK_OK;
}

rk_status rk_llmc_open(rk_corpus *c, rk_error *err)
{
    const rk_status st = rk_map_open(&c->bin, c->path, err);
    return st == RK_OK ? read_header(c, err) : st;
}

rk_status rk_llmc_open_memory(rk_corpus **out, const void *data, size_t bytes, rk_error *err)
{
    rk_corpus *c = calloc(1, sizeof *c);
    if (c)
        c->path = strdup("memory.bin");
    if (!c || !c->path) {
        free(c);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    }
    c->start = rk_corpus_start_equal;
    rk_status st = rk_map_memory(&c->bin, data, bytes, c->path, err);
    if (st == RK_OK)
        st = read_header(c, err);
    if (st == RK_OK)
        *out = c;
    else
        rk_corpus_close(c);
    return st;
}
