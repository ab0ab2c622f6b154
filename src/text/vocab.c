/* vocab.c: reading the text form of a vocabulary.
 *
 * The reader is strict, because a vocabulary that is slightly wrong makes a model that is slightly
 * wrong, and nobody notices. Lines are counted before anything is allocated, so memory is bounded
 * by the file's own size, and the time is that of sorting the tokens once. Sorted, equal tokens are
 * neighbours and the trie can be built in one pass. */
#include "text/vocab.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "text/literal.h"

enum { N_BYTES = 256 };

typedef struct parser {
    rk_vocab *v;
    uint8_t *ids_used; /* (RK_VOCAB_IDS_MAX / 8) a bit each */
    int64_t line;
    char reason[192]; /* what is wrong in this line */
} parser;

static bool fail(parser *p, const char *fmt, ...) RK_PRINTF(2, 3);
static bool fail(parser *p, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(p->reason, sizeof p->reason, fmt, args);
    va_end(args);
    return false;
}

/* A decimal number in [1, max] without leading zeros that fills [s, end); 0 when it is none. */
static int64_t read_number(const unsigned char *s, const unsigned char *end, int64_t max)
{
    int64_t x = 0;
    if (s == end || *s == '0')
        return 0;
    for (; s < end; s++) {
        if (*s < '0' || *s > '9')
            return 0;
        x = 10 * x + (*s - '0');
        if (x > max)
            return 0;
    }
    return x;
}

static const unsigned char *last_space(const unsigned char *s, const unsigned char *end)
{
    while (end > s && end[-1] != ' ')
        end--;
    return end > s ? end - 1 : NULL;
}

/* The literal in [s, end) becomes the next token; its bytes go behind those of the others. */
static bool read_token(parser *p, int32_t id, const unsigned char *s, const unsigned char *end,
                       int64_t length)
{
    rk_vocab *v = p->v;
    unsigned char *const bytes = v->bytes + v->n_bytes;
    const char *reason;
    size_t n;
    if (!rk_literal_decode(s, (size_t)(end - s), bytes, &n, &reason))
        return fail(p, "token %" PRId32 ": %s", id, reason);
    if (n != (size_t)length)
        return fail(p, "token %" PRId32 " has %zu bytes, its length field says %" PRId64, id, n,
                    length);
    v->tokens[v->n_tokens++] = (rk_token){bytes, (uint32_t)n, id, p->line};
    v->n_bytes += n;
    v->n_ids = rk_max_i64(v->n_ids, (int64_t)id + 1);
    return true;
}

/* The literal may contain spaces: it lies between the first and the last one. */
static bool read_line(parser *p, const unsigned char *s, size_t n)
{
    const unsigned char *const end = s + n, *const first = memchr(s, ' ', n);
    const unsigned char *const last = last_space(s, end);
    if (!first || first == last)
        return fail(p, "expected an id, a literal and a length, separated by spaces");
    const int64_t id = read_number(s, first, RK_VOCAB_IDS_MAX - 1);
    if (id == 0)
        return fail(p, "the id is no number in 1 .. %d", RK_VOCAB_IDS_MAX - 1);
    if (p->ids_used[id / 8] >> (id % 8) & 1)
        return fail(p, "id %" PRId64 " was given before", id);
    p->ids_used[id / 8] |= (uint8_t)(1u << (id % 8));
    const int64_t length = read_number(last + 1, end, RK_VOCAB_TOKEN_MAX);
    if (length == 0)
        return fail(p, "the length is no number in 1 .. %d", RK_VOCAB_TOKEN_MAX);
    return read_token(p, (int32_t)id, first + 1, last, length);
}

static bool read_lines(parser *p, const unsigned char *text, size_t left)
{
    while (left > 0) {
        const unsigned char *const lf = memchr(text, '\n', left);
        const size_t line = lf ? (size_t)(lf - text) : left, used = line + (lf != NULL);
        const bool crlf = lf && line > 0 && lf[-1] == '\r';
        p->line++;
        if (!read_line(p, text, line - crlf))
            return false;
        text += used;
        left -= used;
    }
    return true;
}

static int compare_tokens(const void *a, const void *b)
{
    const rk_token *x = a, *y = b;
    const int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    if (order)
        return order;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

/* In sorted tokens: the second of two equal ones, NULL when there are none. */
static const rk_token *find_twin(const rk_vocab *v)
{
    for (int64_t i = 1; i < v->n_tokens; i++) {
        const rk_token *a = &v->tokens[i - 1], *b = &v->tokens[i];
        if (a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0)
            return b;
    }
    return NULL;
}

/* The lowest byte that is no token, -1 when all are. */
static int find_missing_byte(const rk_vocab *v)
{
    bool found[N_BYTES] = {false};
    for (int64_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].n == 1)
            found[v->tokens[i].bytes[0]] = true;
    for (int c = 0; c < N_BYTES; c++)
        if (!found[c])
            return c;
    return -1;
}

static void sort_tokens(rk_vocab *v)
{
    qsort(v->tokens, (size_t)v->n_tokens, sizeof *v->tokens, compare_tokens);
}

static bool check_tokens(parser *p)
{
    sort_tokens(p->v);
    const rk_token *twin = find_twin(p->v);
    if (twin) {
        p->line = twin->line;
        return fail(p, "token %" PRId32 " has the same bytes as token %" PRId32 " in line %" PRId64,
                    twin->id, twin[-1].id, twin[-1].line);
    }
    const int missing = find_missing_byte(p->v);
    return missing < 0 ||
           fail(p, "the text ends without a token for the single byte 0x%02x", (unsigned)missing);
}

rk_status rk_vocab_sort(rk_vocab *v, const char *name, rk_error *err)
{
    sort_tokens(v);
    const rk_token *twin = find_twin(v);
    return twin ? rk_fail(err, RK_ERR_FORMAT,
                          "%s: token %" PRId32 " has the same bytes as token %" PRId32, name,
                          twin->id, twin[-1].id)
                : RK_OK;
}

rk_status rk_vocab_finish(rk_vocab *v, const char *name, rk_error *err)
{
    const rk_status st = rk_vocab_sort(v, name, err);
    const int missing = find_missing_byte(v);
    return st != RK_OK || missing < 0
               ? st
               : rk_fail(err, RK_ERR_FORMAT,
                         "%s: its vocabulary has no token for the single byte 0x%02x", name,
                         (unsigned)missing);
}

static int64_t count_lines(const unsigned char *text, size_t n)
{
    int64_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines + (n > 0 && text[n - 1] != '\n');
}

static rk_status out_of_memory(rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for a vocabulary");
}

rk_status rk_vocab_new(rk_vocab *v, size_t n_bytes, int64_t n_tokens, rk_error *err)
{
    *v = (rk_vocab){.bytes = malloc(n_bytes + 1),
                    .tokens = calloc((size_t)n_tokens + 1, sizeof *v->tokens)};
    return v->bytes && v->tokens ? RK_OK : out_of_memory(err);
}

static rk_status parse(parser *p, const void *text, size_t n, int64_t n_lines, const char *name,
                       rk_error *err)
{
    rk_status st = rk_vocab_new(p->v, n, n_lines, err);
    if (st != RK_OK)
        return st;
    p->ids_used = calloc(RK_VOCAB_IDS_MAX / 8, 1);
    if (!p->ids_used)
        return out_of_memory(err);
    const bool ok = read_lines(p, text, n) && check_tokens(p);
    free(p->ids_used);
    return ok ? RK_OK
              : rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ": %s", name, p->line, p->reason);
}

rk_status rk_vocab_parse(rk_vocab *v, const void *text, size_t n, const char *name, rk_error *err)
{
    parser p = {.v = v};
    *v = (rk_vocab){0};
    if (n == 0 || n > RK_VOCAB_TEXT_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %zu bytes, a vocabulary has 1 .. %d", name, n,
                       RK_VOCAB_TEXT_MAX);
    const int64_t n_lines = count_lines(text, n);
    if (n_lines >= RK_VOCAB_IDS_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %" PRId64 " lines, a vocabulary has fewer than %d",
                       name, n_lines, RK_VOCAB_IDS_MAX);
    const rk_status st = parse(&p, text, n, n_lines, name, err);
    if (st != RK_OK)
        rk_vocab_deinit(v);
    return st;
}

static unsigned char packed_byte(const rk_packed_vocab *packed, size_t i)
{
    return (unsigned char)(packed->words[i / 8] >> (i % 8 * 8));
}

/* The i-th token is its beginning shared with the token before and the rest. Returns the position
 * behind it. */
static size_t unpack_token(rk_vocab *v, const rk_packed_vocab *packed, size_t at, int64_t i)
{
    const uint32_t shared = packed_byte(packed, at), rest = packed_byte(packed, at + 1);
    unsigned char *const bytes = v->bytes + v->n_bytes;
    if (shared)
        memcpy(bytes, v->tokens[i - 1].bytes, shared);
    for (uint32_t k = 0; k < rest; k++)
        bytes[shared + k] = packed_byte(packed, at + 2 + k);
    v->tokens[i] = (rk_token){.bytes = bytes, .n = shared + rest};
    v->n_bytes += shared + rest;
    return at + 2 + rest;
}

/* Tokens are in the order of bytes; ids are in the order (length, bytes), from 1 on. */
static void number_tokens(rk_vocab *v)
{
    int32_t next_id[2 * N_BYTES] = {0}; /* first the count of each length, then its first id */
    int32_t id = 1;
    for (int64_t i = 0; i < v->n_tokens; i++)
        next_id[v->tokens[i].n]++;
    for (size_t n = 0; n < RK_COUNT(next_id); n++) {
        const int32_t count = next_id[n];
        next_id[n] = id;
        id += count;
    }
    for (int64_t i = 0; i < v->n_tokens; i++)
        v->tokens[i].id = next_id[v->tokens[i].n]++;
}

rk_status rk_vocab_unpack(rk_vocab *v, const rk_packed_vocab *packed, int64_t n_ids, rk_error *err)
{
    const rk_status st = rk_vocab_new(v, packed->token_bytes, packed->n_tokens, err);
    if (st != RK_OK) {
        rk_vocab_deinit(v);
        return st;
    }
    v->n_tokens = packed->n_tokens;
    v->n_ids = n_ids;
    for (size_t at = 0, i = 0; at < packed->packed_bytes; i++)
        at = unpack_token(v, packed, at, (int64_t)i);
    number_tokens(v);
    return RK_OK;
}

rk_status rk_vocab_bytes(rk_vocab *v, rk_error *err)
{
    const rk_status st = rk_vocab_new(v, N_BYTES, N_BYTES, err);
    if (st != RK_OK) {
        rk_vocab_deinit(v);
        return st;
    }
    v->n_bytes = N_BYTES;
    v->n_tokens = v->n_ids = N_BYTES;
    for (int32_t c = 0; c < N_BYTES; c++) {
        v->bytes[c] = (unsigned char)c;
        v->tokens[c] = (rk_token){.bytes = v->bytes + c, .n = 1, .id = c};
    }
    return RK_OK;
}

void rk_vocab_deinit(rk_vocab *v)
{
    free(v->bytes);
    free(v->tokens);
    *v = (rk_vocab){0};
}
