/* saved.c: notes in the metadata of a state file, and scores as tensors behind those of the state.
 *
 * Texts are in hexadecimal: they may be cut inside a character. The scores after the last token are
 * kept rather than the token itself, because evaluating the last token of a prompt once more, alone,
 * would give other bits. */
#include "cli/saved.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/tuned_file.h"

static const char key_unread[] = "chat.unread", key_answers[] = "chat.answers";
static const char key_unshown[] = "text.unshown", key_next[] = "text.next";
static const char key_seed[] = "sampler.seed", key_step[] = "sampler.step";

void rk_saved_deinit(rk_saved *k)
{
    rk_buf_deinit(&k->unread);
    rk_buf_deinit(&k->unshown);
    free(k->logits);
    free(k->counts);
    *k = (rk_saved){.next = -1};
}

/* ---- writing ---- */

enum { PAIRS_MAX = 6, TENSORS_MAX = 2, NUMBER_MAX = 24 };

typedef struct notes {
    rk_pair pairs[PAIRS_MAX];
    rk_file_tensor tensors[TENSORS_MAX];
    int64_t n_pairs, n_tensors;
    char numbers[PAIRS_MAX][NUMBER_MAX];
    rk_buf hex;
} notes;

static void note_number(notes *n, const char *key, uint64_t value)
{
    char *text = n->numbers[n->n_pairs];
    snprintf(text, NUMBER_MAX, "%" PRIu64, value);
    n->pairs[n->n_pairs++] = (rk_pair){key, text};
}

/* One text at most: a talk has the one, a text the other. */
static void note_text(notes *n, const char *key, const rk_buf *text)
{
    rk_buf_puts(&n->hex, "");
    for (size_t i = 0; i < text->len; i++)
        rk_buf_printf(&n->hex, "%02x", (unsigned)(unsigned char)text->data[i]);
    n->pairs[n->n_pairs++] = (rk_pair){key, n->hex.data};
}

static void note_scores(notes *n, const char *name, const float *x, int64_t n_vocab)
{
    if (x)
        n->tensors[n->n_tensors++] = (rk_file_tensor){.name = name,
                                                      .dtype = RK_F32,
                                                      .n_dims = 1,
                                                      .dims = {n_vocab},
                                                      .data = x,
                                                      .bytes = (size_t)n_vocab * sizeof *x};
}

static void take_notes(notes *n, const rk_saved *k, int64_t n_vocab)
{
    if (k->talk) {
        note_number(n, key_answers, (uint64_t)k->n_answers);
        note_text(n, key_unread, &k->unread);
        return;
    }
    note_text(n, key_unshown, &k->unshown);
    if (k->next >= 0)
        note_number(n, key_next, (uint64_t)k->next);
    if (k->draws) {
        note_number(n, key_seed, k->seed);
        note_number(n, key_step, k->step);
    }
    note_scores(n, rk_state_logits, k->logits, n_vocab);
    note_scores(n, rk_state_counts, k->counts, n_vocab);
}

rk_status rk_saved_write(const rk_saved *k, const rk_session *s, const char *path, bool overwrite,
                         rk_error *err)
{
    notes n = {0};
    take_notes(&n, k, s->scheduler.model->hp.n_vocab);
    const rk_file_contents more = {
        .meta = n.pairs, .n_meta = n.n_pairs, .tensors = n.tensors, .n_tensors = n.n_tensors};
    const rk_status st = n.hex.failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", path)
                                      : rk_session_state_write(s, path, &more, overwrite, err);
    rk_buf_deinit(&n.hex);
    return st;
}

/* ---- reading ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A key that is not there leaves out as it is; so below. */
static rk_status read_text(const rk_file *f, const char *key, rk_buf *out, rk_error *err)
{
    const char *text = rk_file_meta(f, key);
    for (; text && *text; text += 2) {
        const int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return rk_fail(err, RK_ERR_FORMAT, "%s: %s is not text in hexadecimal", rk_file_name(f),
                           key);
        rk_buf_add(out, &(char){(char)(high * 16 + low)}, 1);
    }
    return out->failed ? rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f)) : RK_OK;
}

static rk_status read_number(const rk_file *f, const char *key, uint64_t max, uint64_t *out,
                             rk_error *err)
{
    const char *text = rk_file_meta(f, key);
    char *end = NULL;
    if (!text)
        return RK_OK;
    errno = 0;
    const unsigned long long x = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || x > max)
        return rk_fail(err, RK_ERR_FORMAT, "%s: %s '%.24s' is no number from 0 to %" PRIu64,
                       rk_file_name(f), key, text, max);
    *out = x;
    return RK_OK;
}

static rk_status read_scores(const rk_file *f, const char *name, int64_t n_vocab, float **out,
                             rk_error *err)
{
    const rk_file_tensor *t = rk_file_find(f, name);
    if (!t)
        return RK_OK;
    if (t->dtype != RK_F32 || t->n_dims != 1 || t->dims[0] != n_vocab)
        return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' is not f32 of the %" PRId64 " tokens",
                       rk_file_name(f), name, n_vocab);
    *out = malloc(t->bytes);
    if (!*out)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", rk_file_name(f));
    memcpy(*out, t->data, t->bytes);
    for (int64_t i = 0; i < n_vocab; i++)
        if (!isfinite((*out)[i]))
            return rk_fail(err, RK_ERR_FORMAT, "%s: tensor '%s' holds a value that is not finite",
                           rk_file_name(f), name);
    return RK_OK;
}

static rk_status read_numbers(rk_saved *k, const rk_file *f, int64_t n_vocab, rk_error *err)
{
    uint64_t n_answers = 0, next = UINT64_MAX;
    const struct {
        const char *key;
        uint64_t max, *out;
    } rows[] = {
        {key_answers, INT32_MAX, &n_answers},
        {key_next, (uint64_t)n_vocab - 1, &next},
        {key_seed, INT64_MAX, &k->seed},
        {key_step, INT64_MAX, &k->step},
    };
    rk_status st = RK_OK;
    for (size_t i = 0; i < RK_COUNT(rows) && st == RK_OK; i++)
        st = read_number(f, rows[i].key, rows[i].max, rows[i].out, err);
    k->talk = rk_file_meta(f, key_answers) != NULL;
    k->draws = rk_file_meta(f, key_seed) != NULL;
    k->n_answers = (int64_t)n_answers;
    k->next = next == UINT64_MAX ? -1 : (int32_t)next;
    return st;
}

static rk_status read_notes(rk_saved *k, const rk_file *f, int64_t n_vocab, rk_error *err)
{
    k->begins = rk_file_is_tuned_state(f);
    rk_status st = read_numbers(k, f, n_vocab, err);
    if (st == RK_OK)
        st = read_text(f, key_unread, &k->unread, err);
    if (st == RK_OK)
        st = read_text(f, key_unshown, &k->unshown, err);
    if (st == RK_OK)
        st = read_scores(f, rk_state_logits, n_vocab, &k->logits, err);
    if (st == RK_OK)
        st = read_scores(f, rk_state_counts, n_vocab, &k->counts, err);
    return st;
}

rk_status rk_saved_load(rk_saved *out, rk_session *s, const char *path, rk_state_reading how,
                        rk_error *err)
{
    rk_file *f = NULL;
    *out = (rk_saved){.next = -1};
    rk_status st = rk_tuned_file_open(&f, path, how.tuned, s->scheduler.model, err);
    if (st == RK_OK)
        st = read_notes(out, f, s->scheduler.model->hp.n_vocab, err);
    if (st == RK_OK)
        st = rk_session_state_read(s, f, how.force, err);
    rk_file_close(f);
    return st;
}
