/* text_file.c: the two kinds of text: where a chunk ends, and what its documents are.
 *
 * The encoder writes 32 bits an id, so text goes through it in pieces. A piece ends at a line's end
 * where its second half has one. As it is longer than half of PIECE, two pieces never fit into one,
 * and a chunk of whole pieces is cut into the same again. */
#include "data/text_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "io/text_mark.h"
#include "text/chat_format.h"
#include "text/tokenizer.h"

enum { PIECE = 1 << 16, CHUNK = 4 * PIECE, ROOM = RK_BPE_GROWTH * PIECE };

typedef struct rk_text_kind {
    const char *ending;
    bool ends;
    void (*next)(const rk_text_file *f, rk_text_place *place, rk_text_chunk *chunk);
    rk_status (*encode)(const rk_text_chunk *c, const rk_text_how *how, rk_text_encoder *e,
                        rk_token_list *out, rk_error *err);
} rk_text_kind;

/* Back from a cut of n bytes to where a character begins. */
static size_t character_begin(const char *text, size_t n)
{
    size_t back = 0;
    while (back < 4 && ((unsigned char)text[n - back] & 0xc0) == 0x80)
        back++;
    return back < 4 ? n - back : n; /* it is no UTF-8 */
}

static size_t piece_bytes(const char *text, size_t left)
{
    if (left <= PIECE)
        return left;
    for (size_t n = PIECE; n > PIECE / 2; n--)
        if (text[n - 1] == '\n')
            return n;
    return character_begin(text, PIECE);
}

/* The same of text with marks, a pair of them around a control token: before one that would be cut. */
static size_t marked_piece_bytes(const char *text, size_t left)
{
    const size_t n = piece_bytes(text, left);
    size_t open = n;
    for (size_t i = 0; i < n && n < left; i++)
        if (text[i] == *RK_CHAT_MARK)
            open = open == n ? i : n;
    return open > 0 ? open : n;
}

static const char *text_at(const rk_text_file *f, size_t at)
{
    return (const char *)f->map.data + at;
}

static rk_status encode_text(const char *text, const rk_record_part *part, bool marked,
                             const rk_text_how *how, rk_text_encoder *e, rk_token_list *out,
                             rk_error *err)
{
    const size_t bytes = part->bytes;
    text += part->at;
    for (size_t done = 0; done < bytes;) {
        const size_t take = marked ? marked_piece_bytes(text + done, bytes - done)
                                   : piece_bytes(text + done, bytes - done);
        const int64_t n =
            marked ? rk_tokenizer_encode_marked(how->tokenizer, text + done, take, e->ids, ROOM)
                   : rk_tokenizer_encode(how->tokenizer, text + done, take, e->ids, ROOM);
        if (n < 0)
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens of %zu bytes", take);
        rk_token_list_add(out, e->ids, n, part->counts);
        done += take;
    }
    return rk_token_list_check(out, err);
}

static void end_document(const rk_text_how *how, bool counts, rk_token_list *out)
{
    const int32_t end = rk_tokenizer_about(how->tokenizer)->end;
    if (how->ends && end >= 0)
        rk_token_list_add(out, &end, 1, counts);
    rk_token_list_end(out);
}

/* ---- .txt ---- */

static void next_of_txt(const rk_text_file *f, rk_text_place *place, rk_text_chunk *chunk)
{
    while (place->at < f->map.size && chunk->bytes < CHUNK) {
        const size_t n = piece_bytes(text_at(f, place->at), f->map.size - place->at);
        place->at += n;
        chunk->bytes += n;
    }
}

static rk_status encode_txt(const rk_text_chunk *c, const rk_text_how *how, rk_text_encoder *e,
                            rk_token_list *out, rk_error *err)
{
    const rk_record_part all = {0, c->bytes, true};
    const rk_status st = encode_text(text_at(c->file, c->from.at), &all, false, how, e, out, err);
    if (st != RK_OK || c->from.at + c->bytes < c->file->map.size)
        return st;
    end_document(how, true, out);
    return rk_token_list_check(out, err);
}

/* ---- .jsonl ---- */

static size_t line_bytes(const char *text, size_t left)
{
    const char *end = memchr(text, '\n', left);
    return end ? (size_t)(end - text) + 1 : left;
}

static void next_of_jsonl(const rk_text_file *f, rk_text_place *place, rk_text_chunk *chunk)
{
    while (place->at < f->map.size && chunk->bytes < CHUNK) {
        const size_t n = line_bytes(text_at(f, place->at), f->map.size - place->at);
        place->at += n;
        place->line++;
        chunk->bytes += n;
    }
}

static rk_status encode_record(const rk_record *r, const rk_text_how *how, rk_text_encoder *e,
                               rk_token_list *out, rk_error *err)
{
    rk_status st = RK_OK;
    for (int64_t i = 0; i < r->n_parts && st == RK_OK; i++)
        st = encode_text(r->text.data, &r->parts[i], r->marked, how, e, out, err);
    if (st == RK_OK)
        end_document(how, r->parts[r->n_parts - 1].counts, out);
    return st;
}

static rk_status encode_jsonl(const rk_text_chunk *c, const rk_text_how *how, rk_text_encoder *e,
                              rk_token_list *out, rk_error *err)
{
    const rk_record_how parts = {how->chat, how->ends, how->pairs};
    int64_t number = c->from.line;
    rk_status st = RK_OK;
    for (size_t done = 0; done < c->bytes && st == RK_OK; number++) {
        const char *text = text_at(c->file, c->from.at + done);
        const size_t n = line_bytes(text, c->bytes - done);
        const size_t feed = n > 0 && text[n - 1] == '\n';
        const rk_record_line line = {c->file->map.name, how->pairs ? (number + 1) / 2 : number,
                                     (const unsigned char *)text, n - feed};
        bool blank;
        st = rk_record_read(&e->record, &line, &parts, &blank, err);
        if (st == RK_OK && !blank)
            st = encode_record(&e->record, how, e, out, err);
        done += n;
    }
    return st == RK_OK ? rk_token_list_check(out, err) : st;
}

/* ---- files ---- */

static const rk_text_kind kinds[] = {
    {".txt", false, next_of_txt, encode_txt},
    {".jsonl", true, next_of_jsonl, encode_jsonl},
};

/* By the name's ending; NULL for others. */
static const rk_text_kind *kind_of(const char *name)
{
    for (size_t i = 0; i < RK_COUNT(kinds); i++)
        if (strlen(name) > strlen(kinds[i].ending) && rk_ends_with(name, kinds[i].ending))
            return &kinds[i];
    return NULL;
}

bool rk_text_file_is(const char *path)
{
    return kind_of(path) != NULL;
}

bool rk_text_file_ends(const rk_text_file *f)
{
    return f->kind->ends;
}

/* data NULL: map the file. */
static rk_status open_file(rk_text_file *f, const char *name, const void *data, size_t bytes,
                           rk_error *err)
{
    *f = (rk_text_file){.kind = kind_of(name)};
    if (!f->kind)
        return rk_fail(err, RK_ERR_ARG, "%s: expected a name that ends in .txt or .jsonl", name);
    rk_status st =
        data ? rk_map_memory(&f->map, data, bytes, name, err) : rk_map_open(&f->map, name, err);
    if (st != RK_OK)
        return st;
    st = rk_text_begin(f->map.data, f->map.size, name, &f->begin, err);
    if (st != RK_OK)
        rk_text_file_close(f);
    return st;
}

rk_status rk_text_file_open(rk_text_file *f, const char *path, rk_error *err)
{
    return open_file(f, path, NULL, 0, err);
}

rk_status rk_text_file_open_memory(rk_text_file *f, const void *data, size_t bytes,
                                   const char *name, rk_error *err)
{
    if (bytes == 0)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no bytes", name);
    return open_file(f, name, data, bytes, err);
}

void rk_text_file_close(rk_text_file *f)
{
    rk_map_close(&f->map);
}

rk_text_place rk_text_file_begin(const rk_text_file *f)
{
    return (rk_text_place){f->begin, 1};
}

bool rk_text_file_next(const rk_text_file *f, rk_text_place *place, rk_text_chunk *chunk)
{
    *chunk = (rk_text_chunk){.file = f, .from = *place};
    f->kind->next(f, place, chunk);
    return chunk->bytes > 0;
}

/* ---- encoding ---- */

rk_status rk_text_encoder_init(rk_text_encoder *e, rk_error *err)
{
    *e = (rk_text_encoder){.ids = malloc(ROOM * sizeof *e->ids)};
    return e->ids ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for tokens");
}

void rk_text_encoder_deinit(rk_text_encoder *e)
{
    rk_record_deinit(&e->record);
    free(e->ids);
    *e = (rk_text_encoder){0};
}

rk_status rk_text_chunk_encode(const rk_text_chunk *c, const rk_text_how *how, rk_text_encoder *e,
                               rk_token_list *out, rk_error *err)
{
    return c->file->kind->encode(c, how, e, out, err);
}

rk_status rk_text_file_encode(const rk_text_file *f, const rk_text_how *how, rk_token_list *out,
                              rk_error *err)
{
    rk_text_encoder e;
    rk_text_chunk chunk;
    rk_text_place place = rk_text_file_begin(f);
    const int64_t before = out->n_docs;
    rk_status st = rk_text_encoder_init(&e, err);
    while (st == RK_OK && rk_text_file_next(f, &place, &chunk))
        st = rk_text_chunk_encode(&chunk, how, &e, out, err);
    if (st == RK_OK && out->n_docs == before)
        st = rk_fail(err, RK_ERR_FORMAT, "%s: holds no document", f->map.name);
    rk_text_encoder_deinit(&e);
    return st == RK_OK ? rk_map_check(&f->map, err) : st;
}
