/* dataset.c: from documents to windows. */
#include "data/dataset.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/checksum.h"
#include "text/chat_template.h"

/* ---- vocabularies ---- */

static rk_status differ(const char *path, const char *name, int64_t n, const char *other,
                        int64_t n_other, rk_error *err)
{
    return rk_fail(err, RK_ERR_ARG,
                   "%s: is packed with vocabulary '%s' of %" PRId64
                   " ids, %s is another, of %" PRId64,
                   path, name, n, other, n_other);
}

static rk_status about_of(rk_packed_about *a, bool *found, const char *path, rk_error *err)
{
    char *json = rk_packed_sister(path, ".json");
    const rk_status st = json ? rk_packed_about_read(a, json, found, err)
                              : rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path);
    free(json);
    return st;
}

rk_status rk_data_vocabulary(rk_packed_about *a, bool *found, bool *text, const rk_data_options *o,
                             rk_error *err)
{
    *a = (rk_packed_about){0};
    *found = *text = false;
    for (int i = 0; i < o->n_paths; i++) {
        const rk_data_format *format;
        rk_packed_about one = {0};
        bool has = false;
        rk_status st = rk_data_format_of(&format, o->paths[i], err);
        if (st == RK_OK && format->open)
            st = about_of(&one, &has, o->paths[i], err);
        *text = *text || (st == RK_OK && !format->open);
        if (st == RK_OK && has && *found &&
            (one.n_vocab != a->n_vocab || one.tokenizer_checksum != a->tokenizer_checksum))
            st = differ(o->paths[i], one.tokenizer, one.n_vocab, a->tokenizer, a->n_vocab, err);
        if (st == RK_OK && has && !*found) {
            *a = one;
            *found = true;
        } else {
            rk_packed_about_deinit(&one);
        }
        if (st != RK_OK) {
            rk_packed_about_deinit(a);
            return st;
        }
    }
    return RK_OK;
}

/* ---- opening ---- */

rk_status rk_data_check_vocabulary(const rk_corpus *c, const rk_tokenizer *tok, int64_t n_vocab,
                                   rk_error *err)
{
    const rk_packed_about *a = &c->about; /* empty where there is none */
    uint64_t own = a->tokenizer_checksum;
    const rk_status st = tok && own != 0 ? rk_packed_tokenizer_checksum(tok, &own, err) : RK_OK;
    if (st != RK_OK)
        return st;
    if (own != a->tokenizer_checksum || a->n_vocab > n_vocab)
        return differ(c->path, a->tokenizer, a->n_vocab, "what is asked for", n_vocab, err);
    return rk_corpus_check_ids(c, n_vocab, err);
}

static rk_status open_packed(rk_corpus **out, const char *path, const rk_tokenizer *tok,
                             int64_t n_vocab, rk_error *err)
{
    const rk_status st = rk_corpus_open(out, path, err);
    return st == RK_OK ? rk_data_check_vocabulary(*out, tok, n_vocab, err) : st;
}

static rk_status encode(rk_corpus **out, const char *path, const rk_data_options *o,
                        const rk_tokenizer *tok, rk_error *err)
{
    rk_text_how how = {.tokenizer = tok, .ends = o->boundary == RK_BOUNDARY_TOKEN};
    const bool as_kind = o->boundary == RK_BOUNDARY_AUTO || o->boundary == RK_BOUNDARY_RESET;
    rk_chat_format chat;
    rk_buf room = {0};
    if (!tok)
        return rk_fail(err, RK_ERR_ARG, "%s: is text, --tokenizer has to say what tokens it is of",
                       path);
    rk_status st = rk_chat_template_choose(&how.chat, &chat, &room, o->chat_format, tok, err);
    if (st == RK_OK)
        st = rk_corpus_encode(out, path, &how, as_kind, err);
    rk_buf_deinit(&room);
    return st;
}

static rk_status open_source(rk_source *s, const char *path, const rk_data_params *p,
                             const rk_tokenizer *tok, int64_t n_vocab, rk_error *err)
{
    const rk_data_format *format;
    const rk_split split = {p->val_frac, p->seed, p->options->packing == RK_PACKING_NONE};
    rk_status st = rk_data_format_of(&format, path, err);
    if (st == RK_OK)
        st = format->open ? open_packed(&s->corpus, path, tok, n_vocab, err)
                          : encode(&s->corpus, path, p->options, tok, err);
    return st == RK_OK ? rk_split_corpus(&s->train, &s->val, s->corpus, &split, err) : st;
}

/* ---- sizes ---- */

static rk_status check_documents(const rk_source *s, const rk_data_params *p, rk_error *err)
{
    if (s->train.n_spans == 0)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: no document is left to train on, %" PRId64 " are held out",
                       s->corpus->path, s->val.n_spans);
    if (p->options->order == RK_ORDER_CUBIC)
        return rk_fail(
            err, RK_ERR_ARG,
            "--order cubic is one of windows of equal length, --packing none has documents");
    return RK_OK;
}

static rk_status check_tokens(const rk_source *s, const rk_data_params *p, rk_error *err)
{
    const char *path = s->corpus->path;
    if (s->train.n <= p->ctx_len)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: %" PRId64 " tokens to train on, a window of --ctx-len %" PRId64
                       " needs %" PRId64,
                       path, s->train.n, p->ctx_len, p->ctx_len + 1);
    if (p->val_frac > 0.0 && s->val.n <= p->ctx_len)
        return rk_fail(err, RK_ERR_ARG,
                       "%s: --val-frac %g holds out %" PRId64
                       " tokens, a window of --ctx-len %" PRId64 " needs "
                       "%" PRId64 "; --val-frac 0 goes without validation",
                       path, p->val_frac, s->val.n, p->ctx_len, p->ctx_len + 1);
    return RK_OK;
}

/* How many windows a source has for validation, and whether it has any to train on. */
static rk_status measure(rk_source *s, const rk_data_params *p, rk_error *err)
{
    const bool apart = p->options->packing == RK_PACKING_NONE;
    rk_status st = apart ? check_documents(s, p, err) : check_tokens(s, p, err);
    if (st == RK_OK && p->options->order == RK_ORDER_CUBIC)
        st = rk_cubic_init(&s->cubic, s->train.n, p->ctx_len, err);
    s->n_val = apart ? s->val.n_spans : s->val.n > 0 ? (s->val.n - 1) / p->ctx_len : 0;
    return st;
}

/* What tells one source's data from another's. A file that names its pieces' checksums is not read for
 * it; of a text the value is that of earlier versions. */
static rk_status checksum_of(const rk_source *s, uint64_t *sum, rk_error *err)
{
    uint64_t sums[4] = {(uint64_t)s->train.n, (uint64_t)s->val.n};
    rk_status st = RK_OK;
    if (s->corpus->has_about && s->corpus->about.bin.n > 0) {
        sums[2] = rk_packed_checksum(&s->corpus->about);
    } else {
        st = rk_token_stream_checksum(&s->train, &sums[2], err);
        if (st == RK_OK)
            st = rk_token_stream_checksum(&s->val, &sums[3], err);
    }
    *sum = rk_checksum_bytes(sums, sizeof sums);
    return st;
}

static rk_status sum_up(rk_dataset *d, rk_error *err)
{
    double sizes[RK_MIXTURE_MAX] = {0.0};
    uint64_t sums[RK_MIXTURE_MAX] = {0};
    for (int i = 0; i < d->n_sources; i++) {
        const rk_source *s = &d->sources[i];
        const rk_status st = checksum_of(s, &sums[i], err);
        if (st != RK_OK)
            return st;
        sizes[i] = (double)s->train.n;
        d->n_tokens += s->train.n + s->val.n;
        d->n_val += s->n_val;
    }
    rk_mixture_init(&d->mixture, d->p.options->n_weights ? d->p.options->weights : sizes,
                    d->n_sources);
    d->checksum =
        d->n_sources == 1 ? sums[0] : rk_checksum_bytes(sums, (size_t)d->n_sources * sizeof *sums);
    return RK_OK;
}

static rk_status check_options(const rk_data_options *o, rk_error *err)
{
    if (o->n_paths < 1)
        return rk_fail(err, RK_ERR_ARG, "--data FILE is missing");
    if (o->n_weights && o->n_weights != o->n_paths)
        return rk_fail(err, RK_ERR_ARG, "--data-weight is given %d times, --data %d times",
                       o->n_weights, o->n_paths);
    return RK_OK;
}

rk_status rk_dataset_init(rk_dataset *d, const rk_data_params *p, const rk_tokenizer *tok,
                          int64_t n_vocab, rk_error *err)
{
    *d = (rk_dataset){.p = *p};
    rk_status st = check_options(p->options, err);
    if (st == RK_OK && !(d->sources = calloc((size_t)p->options->n_paths, sizeof *d->sources)))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for data");
    for (int i = 0; st == RK_OK && i < p->options->n_paths; i++) {
        rk_source *s = &d->sources[d->n_sources++];
        st = open_source(s, p->options->paths[i], p, tok, n_vocab, err);
        if (st == RK_OK)
            st = measure(s, p, err);
    }
    if (st == RK_OK)
        st = sum_up(d, err);
    if (st != RK_OK)
        rk_dataset_deinit(d);
    return st;
}

void rk_dataset_deinit(rk_dataset *d)
{
    for (int i = 0; d->sources && i < d->n_sources; i++) {
        rk_token_stream_deinit(&d->sources[i].train);
        rk_token_stream_deinit(&d->sources[i].val);
        rk_corpus_close(d->sources[i].corpus);
    }
    free(d->sources);
    *d = (rk_dataset){0};
}

/* ---- windows ---- */

/* Document i of a stream, as far as a window goes. */
static void read_document(const rk_dataset *d, const rk_token_stream *s, int64_t i,
                          const rk_window *w)
{
    const int64_t room = d->p.ctx_len + 1;
    const int64_t n = rk_min_i64(room, s->spans[i + 1].at - s->spans[i].at);
    rk_token_stream_read(s, s->spans[i].at, n, w->ids, w->counts, NULL);
    memset(w->ids + n, 0, (size_t)(room - n) * sizeof *w->ids);
    memset(w->counts + n, 0, (size_t)(room - n) * sizeof *w->counts);
    if (w->begins)
        memset(w->begins, 0, (size_t)room * sizeof *w->begins);
}

/* The window of a stream that begins with this token. Where states begin anew nothing tells the first
 * token of a document. */
static void read_window(const rk_dataset *d, const rk_token_stream *s, int64_t start,
                        const rk_window *w)
{
    const int64_t n = d->p.ctx_len + 1;
    rk_token_stream_read(s, start, n, w->ids, w->counts, w->begins);
    for (int64_t i = 0; i < n && w->begins; i++)
        w->counts[i] = w->counts[i] && !w->begins[i];
}

static int64_t start_of(const rk_dataset *d, const rk_source *s, uint64_t index)
{
    return d->p.options->order == RK_ORDER_CUBIC
               ? rk_cubic_window(&s->cubic, d->p.ctx_len, index)
               : rk_order_shuffle(d->p.seed, s->train.n, d->p.ctx_len, index);
}

void rk_dataset_window(const rk_dataset *d, uint64_t index, const rk_window *w)
{
    uint64_t number;
    const rk_source *s = &d->sources[rk_mixture_pick(&d->mixture, index, &number)];
    if (d->p.options->packing == RK_PACKING_NONE) {
        const uint64_t n = (uint64_t)s->train.n_spans;
        const uint64_t i = rk_order_permute(d->p.seed, number / n, n, number % n);
        read_document(d, &s->train, (int64_t)i, w);
    } else {
        read_window(d, &s->train, start_of(d, s, number), w);
    }
}

void rk_dataset_val_window(const rk_dataset *d, int64_t i, const rk_window *w)
{
    const rk_source *s = d->sources;
    for (; i >= s->n_val; s++)
        i -= s->n_val;
    if (d->p.options->packing == RK_PACKING_NONE)
        read_document(d, &s->val, i, w);
    else
        read_window(d, &s->val, i * d->p.ctx_len, w);
}

double rk_dataset_val_bytes_per_token(const rk_dataset *d, const rk_tokenizer *tok)
{
    const size_t room = (size_t)d->p.ctx_len + 1;
    const rk_window w = {malloc(room * sizeof *w.ids), malloc(room * sizeof *w.counts), NULL};
    uint64_t bytes = 0, n = 0;
    for (int64_t i = 0; i < d->n_val && w.ids && w.counts; i++) {
        rk_dataset_val_window(d, i, &w);
        for (size_t k = 1; k < room; k++) {
            size_t len = 0;
            rk_tokenizer_bytes(tok, w.ids[k], &len);
            bytes += w.counts[k] ? len : 0;
            n += w.counts[k];
        }
    }
    free(w.ids);
    free(w.counts);
    return n > 0 ? (double)bytes / (double)n : 0.0;
}
