/* pack.c: inputs are cut into chunks, a batch of chunks is encoded by all threads, and the results are
 * appended in order. Where a chunk begins follows from the input alone, so neither the number of
 * threads nor the size of a batch is seen in the output, and a place between two chunks is all that has
 * to be known for going on. */
#include "data/pack.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/num.h"
#include "data/bits.h"
#include "io/atomic_file.h"
#include "io/checksum.h"
#include "text/tokenizer.h"

enum { BATCH_CHUNKS = 16, CHUNK_TOKENS = 1 << 17 };
static const double save_every_s = 2.0;

/* A file: text, or tokens. */
typedef struct input {
    bool is_text;
    rk_text_file text;
    rk_corpus *corpus;
} input;

/* Documents of a file, to be encoded. */
typedef struct chunk {
    const input *from;
    rk_text_chunk text;
    rk_packed_place tokens; /* at: first token, line: its document */
    rk_token_list list;
    rk_status status;
    rk_error err;
} chunk;

typedef struct packer {
    const rk_pack_params *p;
    const rk_pack_env *env;
    rk_text_how how;
    rk_id_type type;
    input in; /* the file at hand */
    rk_packed_place place;
    rk_packed_writer *writer;
    rk_text_encoder *encoders; /* one for each thread */
    int n_encoders;
    chunk chunks[BATCH_CHUNKS];
    int64_t bytes_before, bytes_all; /* of inputs: those of files that are done */
    double saved_s;
} packer;

/* ---- inputs ---- */

static rk_status open_input(packer *k, const char *path, rk_error *err)
{
    const rk_data_format *format;
    k->in = (input){0};
    rk_status st = rk_data_format_of(&format, path, err);
    if (st != RK_OK)
        return st;
    k->in.is_text = !format->open;
    if (k->in.is_text && !k->p->tokenizer)
        return rk_fail(err, RK_ERR_ARG, "%s: is text, --tokenizer has to say what tokens it is of",
                       path);
    if (k->in.is_text)
        return rk_text_file_open(&k->in.text, path, err);
    st = rk_corpus_open(&k->in.corpus, path, err);
    if (st == RK_OK)
        st = rk_data_check_vocabulary(k->in.corpus, k->p->tokenizer, k->p->n_vocab, err);
    if (st != RK_OK) {
        rk_corpus_close(k->in.corpus);
        k->in.corpus = NULL;
    }
    return st;
}

static void close_input(packer *k)
{
    if (k->in.is_text)
        rk_text_file_close(&k->in.text);
    rk_corpus_close(k->in.corpus);
    k->in = (input){0};
}

static rk_status check_input(const input *in, rk_error *err)
{
    return in->is_text ? rk_map_check(&in->text.map, err) : rk_corpus_check(in->corpus, err);
}

static bool next_text(packer *k, chunk *c)
{
    rk_text_place at = {(size_t)k->place.at, k->place.line};
    if (k->place.line == 0)
        at = rk_text_file_begin(&k->in.text);
    const bool some = rk_text_file_next(&k->in.text, &at, &c->text);
    k->place.at = (int64_t)at.at;
    k->place.line = at.line;
    return some;
}

/* Tokens from the place on, to the end of a document or not; documents without tokens are some, too. */
static bool next_tokens(packer *k, chunk *c)
{
    const rk_corpus *s = k->in.corpus;
    const int64_t stop = rk_min_i64(s->n, k->place.at + CHUNK_TOKENS);
    c->tokens = k->place;
    if (k->place.line == s->n_docs)
        return false;
    while (k->place.line < s->n_docs && s->start(s, k->place.line + 1) <= stop)
        k->place.line++;
    k->place.at = stop;
    return true;
}

/* The chunk at the place, which moves on; false: the file has no more. */
static bool next_chunk(packer *k, chunk *c)
{
    c->from = &k->in;
    return k->in.is_text ? next_text(k, c) : next_tokens(k, c);
}

/* ---- encoding ---- */

/* A part of a document as runs of tokens that count and that do not. */
static void add_tokens(chunk *c, int64_t first, int64_t n)
{
    enum { RUN = 4096 };
    int32_t ids[RUN];
    const rk_corpus *s = c->from->corpus;
    for (int64_t at = first, stop = first + n, take; at < stop; at += take) {
        const bool counts = rk_bits_at(s->mask, at);
        take = 1;
        while (take < RUN && at + take < stop && rk_bits_at(s->mask, at + take) == counts)
            take++;
        rk_ids_read(s->type, s->ids, at, take, ids);
        rk_token_list_add(&c->list, ids, take, counts);
    }
}

/* What ends a text in the vocabulary, token 0 where that is not known, where a document does not end with it already. */
static void end_tokens(const packer *k, chunk *c, int64_t end, bool empty)
{
    const int32_t end_of_text = k->p->tokenizer ? rk_tokenizer_about(k->p->tokenizer)->end : 0;
    const rk_corpus *s = c->from->corpus;
    if (k->p->boundary == RK_BOUNDARY_TOKEN && end_of_text >= 0 &&
        (empty || rk_ids_at(s->type, s->ids, end - 1) != end_of_text))
        rk_token_list_add(&c->list, &end_of_text, 1, empty || rk_bits_at(s->mask, end - 1));
    rk_token_list_end(&c->list);
}

static rk_status encode_tokens(const packer *k, chunk *c)
{
    const rk_corpus *s = c->from->corpus;
    const int64_t stop = rk_min_i64(s->n, c->tokens.at + CHUNK_TOKENS);
    int64_t at = c->tokens.at;
    for (int64_t doc = c->tokens.line; doc < s->n_docs; doc++) {
        const int64_t end = s->start(s, doc + 1);
        add_tokens(c, at, rk_min_i64(end, stop) - at);
        if (end > stop)
            break;
        end_tokens(k, c, end, end == s->start(s, doc));
        at = end;
    }
    rk_corpus_drop(s, c->tokens.at, stop - c->tokens.at);
    return rk_token_list_check(&c->list, &c->err);
}

static rk_status encode_text(const packer *k, chunk *c, rk_text_encoder *e)
{
    const rk_status st = rk_text_chunk_encode(&c->text, &k->how, e, &c->list, &c->err);
    rk_map_drop(&c->from->text.map, c->from->text.map.data + c->text.from.at, c->text.bytes);
    return st;
}

static void encode_chunk(void *arg, int64_t i, int worker)
{
    packer *k = arg;
    chunk *c = &k->chunks[i];
    rk_token_list_clear(&c->list);
    c->status = c->from->is_text ? encode_text(k, c, &k->encoders[worker]) : encode_tokens(k, c);
}

/* ---- batches ---- */

static void show_progress(const packer *k, bool file_is_done)
{
    const rk_pack_env *env = k->env;
    int64_t done = k->bytes_before;
    if (!file_is_done)
        done += k->in.is_text ? k->place.at
                              : k->place.at * (int64_t)rk_id_kinds[k->in.corpus->type].bytes;
    if (env->progress)
        env->progress(env->progress_user, done, k->bytes_all);
}

static rk_status save(packer *k, bool now, rk_error *err)
{
    if (!now && rk_now_s() - k->saved_s < save_every_s)
        return RK_OK;
    const rk_status st = rk_packed_writer_save(k->writer, &k->place, err);
    k->saved_s = rk_now_s();
    return st;
}

/* *more: the file has more. */
static rk_status pack_batch(packer *k, bool *more, rk_error *err)
{
    int64_t n = 0;
    rk_status st = RK_OK;
    *more = true;
    while (n < BATCH_CHUNKS && (*more = next_chunk(k, &k->chunks[n])))
        n++;
    rk_pool_run_whole(k->env->pool, n, encode_chunk, k);
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        st = k->chunks[i].status;
        if (st != RK_OK && err)
            *err = k->chunks[i].err;
        if (st == RK_OK)
            st = rk_packed_writer_add(k->writer, &k->chunks[i].list, err);
    }
    return st == RK_OK ? check_input(&k->in, err) : st;
}

static int asked_to_stop(const packer *k)
{
    return k->env->signal ? k->env->signal(k->env->signal_user) : 0;
}

static rk_status pack_file(packer *k, const char *path, int *signal, rk_error *err)
{
    bool more = true;
    rk_status st = open_input(k, path, err);
    while (st == RK_OK && more && !(*signal = asked_to_stop(k))) {
        st = pack_batch(k, &more, err);
        if (st == RK_OK)
            st = save(k, false, err);
        if (st == RK_OK)
            show_progress(k, false);
    }
    close_input(k);
    return st;
}

static rk_status pack_files(packer *k, int *signal, rk_error *err)
{
    rk_status st = RK_OK;
    k->saved_s = rk_now_s();
    for (int i = 0; i < k->p->n_paths && st == RK_OK && !*signal; i++) {
        struct stat info = {0};
        if (i >= k->place.file)
            st = pack_file(k, k->p->paths[i], signal, err);
        if (st == RK_OK && !*signal && i >= k->place.file)
            k->place = (rk_packed_place){i + 1, 0, 0};
        if (stat(k->p->paths[i], &info) == 0)
            k->bytes_before += (int64_t)info.st_size;
    }
    return st == RK_OK && *signal ? save(k, true, err) : st;
}

/* ---- the whole ---- */

/* Of everything that the result depends on. A file that was touched is another. */
static rk_status source_of(const packer *k, uint64_t tokenizer, uint64_t *source, int64_t *bytes,
                           rk_error *err)
{
    const rk_pack_params *p = k->p;
    rk_checksum *c = rk_checksum_new();
    const uint64_t options[] = {1, tokenizer, (uint64_t)p->n_vocab, (uint64_t)p->boundary,
                                (uint64_t)k->how.ends};
    const char *chat = p->chat ? p->chat->name : "";
    rk_status st = c ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory");
    if (c) {
        rk_checksum_add(c, options, sizeof options);
        rk_checksum_add(c, chat, strlen(chat) + 1);
        if (p->chat && p->chat->system)
            rk_checksum_add(c, p->chat->system, strlen(p->chat->system) + 1);
    }
    for (int i = 0; i < p->n_paths && st == RK_OK; i++) {
        struct stat info = {0};
        const rk_data_format *format;
        st = rk_data_format_of(&format, p->paths[i], err);
        if (st == RK_OK && stat(p->paths[i], &info) != 0)
            st = rk_fail(err, RK_ERR_IO, "%s: %s", p->paths[i], strerror(errno));
        const int64_t facts[] = {info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
        rk_checksum_add(c, p->paths[i], strlen(p->paths[i]) + 1);
        rk_checksum_add(c, facts, sizeof facts);
        *bytes += (int64_t)info.st_size;
    }
    *source = c ? rk_checksum_value(c) : 0;
    rk_checksum_free(c);
    return st;
}

/* A single .txt is one text; where there are more documents something has to stand between them. */
static bool ends_documents(const rk_pack_params *p)
{
    const rk_data_format *format;
    const bool one_txt = p->n_paths == 1 &&
                         rk_data_format_of(&format, p->paths[0], NULL) == RK_OK &&
                         !strcmp(format->name, "txt");
    return p->boundary == RK_BOUNDARY_TOKEN || (p->boundary == RK_BOUNDARY_AUTO && !one_txt);
}

static rk_status make_room(packer *k, rk_error *err)
{
    const int n = rk_pool_n_threads(k->env->pool);
    k->encoders = calloc((size_t)n, sizeof *k->encoders);
    rk_status st =
        k->encoders ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for %d encoders", n);
    for (; st == RK_OK && k->n_encoders < n; k->n_encoders++)
        st = rk_text_encoder_init(&k->encoders[k->n_encoders], err);
    for (int i = 0; i < BATCH_CHUNKS; i++)
        rk_token_list_init(&k->chunks[i].list, k->type);
    return st;
}

static rk_status begin(packer *k, rk_error *err)
{
    const rk_pack_params *p = k->p;
    rk_packed_head head = {.path = p->out,
                           .tokenizer = p->tokenizer_name,
                           .n_vocab = p->n_vocab,
                           .overwrite = p->overwrite};
    bool resumed = false;
    k->how = (rk_text_how){.tokenizer = p->tokenizer, .chat = p->chat, .ends = ends_documents(p)};
    k->type = rk_id_type_for(p->n_vocab);
    rk_status st = p->tokenizer
                       ? rk_packed_tokenizer_checksum(p->tokenizer, &head.tokenizer_checksum, err)
                       : RK_OK;
    if (st == RK_OK)
        st = source_of(k, head.tokenizer_checksum, &head.source, &k->bytes_all, err);
    if (st == RK_OK)
        st = make_room(k, err);
    if (st == RK_OK) /* a token of 16 bits rarely stands for more than eight bytes */
        st = rk_check_free_space(p->out, (uint64_t)k->bytes_all / 4, err);
    if (st == RK_OK)
        st = rk_packed_writer_open(&k->writer, &head, &k->place, &resumed, err);
    if (st == RK_OK && resumed)
        rk_log_line(k->env->log, RK_LOG_WARN,
                    "%s: going on where it was stopped, in file %" PRId64 " of %d", p->out,
                    rk_min_i64(k->place.file, p->n_paths - 1) + 1, p->n_paths);
    return st;
}

/* What the inputs are to blame for is mended in them, and they are others then: nothing is kept. */
static void packer_free(packer *k, rk_status st)
{
    if (st == RK_OK || st == RK_ERR_IO || st == RK_ERR_NOMEM)
        rk_packed_writer_close(k->writer);
    else
        rk_packed_writer_discard(k->writer);
    for (int i = 0; i < k->n_encoders; i++)
        rk_text_encoder_deinit(&k->encoders[i]);
    for (int i = 0; i < BATCH_CHUNKS; i++)
        rk_token_list_deinit(&k->chunks[i].list);
    free(k->encoders);
    free(k);
}

rk_status rk_pack(const rk_pack_params *p, const rk_pack_env *env, rk_pack_result *result,
                  rk_error *err)
{
    rk_packed_about what = {0};
    packer *k = calloc(1, sizeof *k);
    *result = (rk_pack_result){0};
    if (!k)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    k->p = p;
    k->env = env;
    rk_status st = begin(k, err);
    if (st == RK_OK)
        st = pack_files(k, &result->signal, err);
    if (st == RK_OK && !result->signal)
        st = rk_packed_writer_finish(k->writer, env->pool, &what, err);
    result->n_docs = what.n_docs;
    result->n_tokens = what.n_tokens;
    result->n_counted = what.n_counted;
    packer_free(k, st);
    return st;
}
