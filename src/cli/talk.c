/* talk.c: conversations as recurrent states that are kept and returned to.
 *
 * A point of a conversation is the state after the tokens evaluated so far, and the text that has not
 * been evaluated yet. Points are immutable, so forked conversations share those before the fork. */
#include "cli/talk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/prefill.h"
#include "cli/saved.h"
#include "infer/session.h"
#include "infer/speculate.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

enum {
    TURNS_MAX = 64 /* turns that /undo can remove, as many as fit in these bytes: */
};
static const size_t turn_bytes_max = (size_t)512 << 20;

/* A snapshot of the evaluated state: the session's, or the speculator's where there is one. */
typedef struct place {
    rk_state *plain;
    rk_speculator_state *fast;
} place;

/* What a text of `rwkv run` continues with, kept until something is evaluated after it. */
typedef struct text_end {
    int n_users;
    rk_saved saved;
} text_end;

typedef struct point {
    int n_users;
    place read;
    float *logits; /* (V) after the evaluated text; NULL where none are needed */
    rk_buf unread;
    text_end *text; /* NULL: none; so in a talk */
} point;

typedef struct turn {
    point *before; /* before the question */
    point *asked;  /* after it, everything evaluated */
} turn;

typedef struct talk {
    turn turns[TURNS_MAX];
    int n_turns;
    int64_t n_answers;
    rk_buf unread; /* text not evaluated yet */
    text_end *text;
    point *left; /* where a conversation that is not the current one was left */
} talk;

struct rk_talks {
    rk_talk_params p;
    int turns_max;
    talk talks[RK_TALKS_MAX];
    int n, current;
    int64_t n_read;
    /* of the answer being generated */
    place held;   /* state before the token that may begin a stop string */
    rk_buf tail;  /* text since then */
    bool holding; /* held and tail are valid */
    bool begun;   /* part of the answer has been shown */
    const rk_generate_params *given;
    char stops[RK_CHAT_STOPS_MAX][RK_CHAT_STOP_BYTES];
};

static talk *here(rk_talks *t)
{
    return &t->talks[t->current];
}

static rk_status no_memory(rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for a talk");
}

/* ---- places ---- */

static rk_status place_new(const rk_talks *t, place *p, rk_error *err)
{
    return t->p.speculator ? rk_speculator_state_new(&p->fast, t->p.speculator, err)
                           : rk_state_new(&p->plain, t->p.model, err);
}

static void place_deinit(place *p)
{
    rk_state_free(p->plain);
    rk_speculator_state_free(p->fast);
}

static rk_status place_note(const rk_talks *t, place *p, rk_error *err)
{
    return p->fast ? rk_speculator_state_get(t->p.speculator, p->fast, err)
                   : rk_state_copy(p->plain, t->p.session->stream.state, err);
}

static rk_status place_return(rk_talks *t, const place *p, rk_error *err)
{
    if (!p->fast)
        return rk_state_copy(t->p.session->stream.state, p->plain, err);
    const rk_status st = rk_speculator_state_set(t->p.speculator, p->fast, err);
    return st == RK_OK ? rk_speculator_settle(t->p.speculator, err) : st;
}

/* Bytes of a snapshot, without states that grow with the tokens. */
static size_t place_bytes(const rk_talks *t)
{
    return t->p.speculator ? rk_speculator_state_bytes(t->p.speculator)
                           : (size_t)t->p.model->state.count * sizeof(float);
}

/* The session's state was loaded, and the file has no state of the draft model. */
static void draft_begin(rk_talks *t)
{
    if (t->p.speculator)
        rk_speculator_reset(t->p.speculator);
}

/* ---- points ---- */

static text_end *text_share(text_end *e)
{
    if (e)
        e->n_users++;
    return e;
}

/* In place of the one that is there. */
static void text_set(text_end **at, text_end *e)
{
    text_end *before = *at;
    *at = text_share(e);
    if (!before || --before->n_users > 0)
        return;
    rk_saved_deinit(&before->saved);
    free(before);
}

static void point_drop(point *p)
{
    if (!p || --p->n_users > 0)
        return;
    text_set(&p->text, NULL);
    place_deinit(&p->read);
    free(p->logits);
    rk_buf_deinit(&p->unread);
    free(p);
}

static point *point_share(point *p)
{
    if (p)
        p->n_users++;
    return p;
}

/* The current point of the current conversation. */
static rk_status point_new(rk_talks *t, point **out, rk_error *err)
{
    const rk_buf *unread = &here(t)->unread;
    point *p = calloc(1, sizeof *p);
    if (!p)
        return no_memory(err);
    p->n_users = 1;
    p->text = text_share(here(t)->text);
    rk_buf_add(&p->unread, unread->data, unread->len);
    rk_status st = p->unread.failed ? no_memory(err) : place_new(t, &p->read, err);
    if (st == RK_OK)
        st = place_note(t, &p->read, err);
    if (st == RK_OK)
        *out = p;
    else
        point_drop(p);
    return st;
}

/* Set what the current conversation has beside the state. */
static rk_status set_end(rk_talks *t, const rk_buf *text, text_end *goes_on, rk_error *err)
{
    rk_buf *unread = &here(t)->unread;
    rk_buf_clear(unread);
    rk_buf_add(unread, text->data, text->len);
    text_set(&here(t)->text, goes_on);
    return unread->failed ? no_memory(err) : RK_OK;
}

static rk_status go_to(rk_talks *t, const point *p, rk_error *err)
{
    const rk_status st = place_return(t, &p->read, err);
    return st == RK_OK ? set_end(t, &p->unread, p->text, err) : st;
}

static void turn_deinit(turn *x)
{
    point_drop(x->before);
    point_drop(x->asked);
    *x = (turn){0};
}

static void forget_turns(talk *x)
{
    while (x->n_turns > 0)
        turn_deinit(&x->turns[--x->n_turns]);
}

static void talk_deinit(talk *x)
{
    forget_turns(x);
    point_drop(x->left);
    text_set(&x->text, NULL);
    rk_buf_deinit(&x->unread);
    *x = (talk){0};
}

/* ---- made and freed ---- */

rk_status rk_talks_new(rk_talks **out, const rk_talk_params *p, rk_error *err)
{
    rk_talks *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    t->p = *p;
    t->n = 1;
    const int64_t fit = (int64_t)(turn_bytes_max / (2 * place_bytes(t) + 1));
    t->turns_max = (int)rk_min_i64(rk_max_i64(fit, RK_TALK_TURNS_LEAST), TURNS_MAX);
    if (p->few_turns)
        t->turns_max = RK_TALK_TURNS_LEAST;
    const rk_status st = place_new(t, &t->held, err);
    if (st != RK_OK) {
        rk_talks_free(t);
        return st;
    }
    *out = t;
    return RK_OK;
}

void rk_talks_free(rk_talks *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->n; i++)
        talk_deinit(&t->talks[i]);
    place_deinit(&t->held);
    rk_buf_deinit(&t->tail);
    free(t);
}

/* ---- asking ---- */

/* Encode and evaluate a text; logits (V). */
static rk_status read_text(rk_talks *t, const rk_buf *text, float *logits, rk_error *err)
{
    int32_t *ids;
    int64_t n, n_read;
    rk_status st =
        t->p.format->marked
            ? rk_tokenizer_encode_marked_all(t->p.tokenizer, text->data, text->len, &ids, &n, err)
            : rk_tokenizer_encode_all(t->p.tokenizer, text->data, text->len, &ids, &n, err);
    if (st == RK_OK)
        st = rk_prefill(t->p.session, t->p.speculator, ids, n, logits, t->p.meter, &n_read, err);
    if (st == RK_OK)
        t->n_read += n;
    free(ids);
    return st;
}

/* Evaluate a question and make a turn of it. */
static rk_status ask(rk_talks *t, turn *made, const rk_buf *text, rk_error *err)
{
    float *logits = malloc((size_t)t->p.model->hp.n_vocab * sizeof *logits);
    rk_status st = logits ? point_new(t, &made->before, err) : no_memory(err);
    if (st == RK_OK)
        st = read_text(t, text, logits, err);
    if (st == RK_OK) {
        rk_buf_clear(&here(t)->unread);
        text_set(&here(t)->text, NULL);
        st = point_new(t, &made->asked, err);
    }
    if (st == RK_OK)
        made->asked->logits = logits;
    else
        free(logits);
    return st;
}

/* Where there are too many, the oldest turn is forgotten. */
static void add_turn(const rk_talks *t, talk *x, turn made)
{
    if (x->n_turns == t->turns_max) {
        turn_deinit(&x->turns[0]);
        memmove(x->turns, x->turns + 1, (size_t)(x->n_turns - 1) * sizeof *x->turns);
        x->n_turns--;
    }
    x->turns[x->n_turns++] = made;
}

rk_status rk_talks_ask(rk_talks *t, const rk_buf *message, rk_think think, rk_error *err)
{
    rk_buf text = {0};
    turn made = {0};
    rk_buf_add(&text, here(t)->unread.data, here(t)->unread.len);
    rk_buf_add(&text, message->data, message->len);
    rk_chat_put_answer(&text, t->p.format, think);
    const rk_status st = text.failed ? no_memory(err) : ask(t, &made, &text, err);
    if (st == RK_OK)
        add_turn(t, here(t), made);
    else if (made.before)
        go_to(t, made.before, NULL); /* the session or the draft may have evaluated a part */
    if (st != RK_OK)
        turn_deinit(&made);
    rk_buf_deinit(&text);
    return st;
}

/* ---- answering ---- */

static rk_status hold(void *user, rk_error *err)
{
    rk_talks *t = user;
    t->holding = true;
    rk_buf_clear(&t->tail);
    return place_note(t, &t->held, err);
}

/* Leading white space of an answer is not shown. */
static rk_status emit(void *user, const char *text, size_t n, rk_error *err)
{
    rk_talks *t = user;
    if (t->holding)
        rk_buf_add(&t->tail, text, n);
    if (t->tail.failed)
        return no_memory(err);
    while (!t->begun && n > 0 && (*text == ' ' || *text == '\n'))
        text++, n--;
    t->begun = t->begun || n > 0;
    return n > 0 ? t->given->emit(t->given->user, text, n, err) : RK_OK;
}

/* After the answer: return to the state before a stop string, and note what the next turn has to
 * evaluate first. */
static rk_status settle(rk_talks *t, const rk_generated *made, rk_error *err)
{
    rk_buf *unread = &here(t)->unread;
    rk_status st = RK_OK;
    size_t n = 0;
    rk_buf_clear(unread);
    if (made->end == RK_END_STOP && t->holding) {
        st = place_return(t, &t->held, err);
        rk_buf_add(unread, t->tail.data, t->tail.len);
    } else if (made->end != RK_END_TOKEN && made->unfed >= 0) {
        const char *text = rk_tokenizer_bytes(t->p.tokenizer, made->unfed, &n);
        if (t->p.format->marked) /* no byte of it may be a mark */
            rk_utf8_add(unread, (const unsigned char *)text, n);
        else
            rk_buf_add(unread, text, n);
    }
    rk_chat_put_end(unread, t->p.format);
    return unread->failed ? no_memory(err) : st;
}

/* The stop strings of the format and of --stop; returns their number. */
static int64_t all_stops(rk_talks *t, const rk_generate_params *given,
                         const char *stops[RK_CHAT_STOPS_MAX + RK_OPT_LIST_MAX])
{
    int64_t n = 0;
    for (int i = 0; i < RK_CHAT_STOPS_MAX; i++)
        if (rk_chat_format_stop(t->p.format, i, t->stops[i]))
            stops[n++] = t->stops[i];
    for (int64_t i = 0; i < given->n_stop && i < RK_OPT_LIST_MAX; i++)
        stops[n++] = given->stop[i];
    return n;
}

/* The control token that the format ends answers with; 0: there is none. */
static int32_t end_token(const rk_talks *t)
{
    const char *text;
    size_t n;
    if (!rk_tokenizer_has_merges(t->p.tokenizer) || !rk_chat_format_end(t->p.format, &text, &n))
        return 0;
    const int32_t id = rk_bpe_added(rk_tokenizer_bpe(t->p.tokenizer), text, n);
    return id > 0 ? id : 0;
}

static rk_status generate(rk_talks *t, const rk_generate_params *given, rk_sampler *sampler,
                          const float *scores, rk_generated *made, rk_error *err)
{
    const char *stops[RK_CHAT_STOPS_MAX + RK_OPT_LIST_MAX];
    const size_t bytes = (size_t)t->p.model->hp.n_vocab * sizeof(float);
    rk_generate_params g = *given;
    float *logits = malloc(bytes);
    if (!logits)
        return no_memory(err);
    memcpy(logits, scores, bytes);
    g.tokenizer = t->p.tokenizer;
    g.n_vocab = t->p.model->hp.n_vocab;
    g.end = end_token(t);
    g.feed_last = true;
    g.speculator = t->p.speculator;
    g.n_stop = all_stops(t, given, stops);
    g.stop = stops;
    g.emit = emit;
    g.hold = hold;
    g.user = t;
    const rk_status st = rk_generate(made, &g, t->p.session, sampler, logits, err);
    free(logits);
    return st;
}

rk_status rk_talks_answer(rk_talks *t, const rk_generate_params *g, rk_sampler *sampler,
                          rk_generated *made, rk_error *err)
{
    talk *x = here(t);
    *made = (rk_generated){0};
    if (x->n_turns == 0)
        return rk_fail(err, RK_ERR_ARG, "nothing has been asked yet");
    const point *asked = x->turns[x->n_turns - 1].asked;
    t->given = g;
    t->holding = t->begun = false;
    x->n_answers++;
    rk_status st = go_to(t, asked, err);
    if (st == RK_OK)
        st = generate(t, g, sampler, asked->logits, made, err);
    t->n_read += made->n_tokens;
    if (st == RK_OK || st == RK_ERR_FULL) {
        const rk_status settled = settle(t, made, st == RK_OK ? err : NULL);
        return st == RK_OK ? settled : st;
    }
    go_to(t, asked, NULL); /* the question stays, with no answer */
    rk_chat_put_end(&here(t)->unread, t->p.format);
    return st;
}

/* ---- going elsewhere ---- */

rk_status rk_talks_undo(rk_talks *t, rk_error *err)
{
    talk *x = here(t);
    if (x->n_turns == 0)
        return rk_fail(err, RK_ERR_ARG, "there is no turn to take back");
    turn *last = &x->turns[x->n_turns - 1];
    const rk_status st = go_to(t, last->before, err);
    if (st == RK_OK) {
        turn_deinit(last);
        x->n_turns--;
    }
    return st;
}

rk_status rk_talks_begin(rk_talks *t, const char *system, rk_error *err)
{
    talk *x = here(t);
    forget_turns(x);
    rk_session_reset(t->p.session);
    draft_begin(t);
    x->n_answers = 0;
    text_set(&x->text, NULL);
    rk_buf_clear(&x->unread);
    rk_chat_put_begin(&x->unread, t->p.format, system, strlen(system));
    return x->unread.failed ? no_memory(err) : RK_OK;
}

rk_status rk_talks_add(rk_talks *t, const rk_buf *messages, rk_error *err)
{
    rk_buf *unread = &here(t)->unread;
    text_set(&here(t)->text, NULL);
    rk_buf_add(unread, messages->data, messages->len);
    return unread->failed ? no_memory(err) : RK_OK;
}

/* Note the current point, to return to. */
static rk_status leave(rk_talks *t, rk_error *err)
{
    point *now = NULL;
    const rk_status st = point_new(t, &now, err);
    if (st == RK_OK) {
        point_drop(here(t)->left);
        here(t)->left = now;
    }
    return st;
}

rk_status rk_talks_fork(rk_talks *t, rk_error *err)
{
    const talk *from = here(t);
    if (t->n == RK_TALKS_MAX)
        return rk_fail(err, RK_ERR_ARG, "there are %d talks already, as many as there can be",
                       t->n);
    talk *to = &t->talks[t->n];
    rk_status st = leave(t, err);
    if (st != RK_OK)
        return st;
    *to = (talk){.n_turns = from->n_turns, .n_answers = from->n_answers};
    for (int i = 0; i < from->n_turns; i++)
        to->turns[i] =
            (turn){point_share(from->turns[i].before), point_share(from->turns[i].asked)};
    t->current = t->n++;
    return set_end(t, &from->unread, from->text, err);
}

rk_status rk_talks_switch(rk_talks *t, int64_t i, rk_error *err)
{
    if (i < 0 || i >= t->n)
        return rk_fail(err, RK_ERR_ARG, "there are talks 1 to %d", t->n);
    if (i == t->current)
        return RK_OK;
    const rk_status st = leave(t, err);
    if (st != RK_OK)
        return st;
    t->current = (int)i;
    return go_to(t, here(t)->left, err);
}

int rk_talks_current(const rk_talks *t)
{
    return t->current;
}

int rk_talks_count(const rk_talks *t)
{
    return t->n;
}

int64_t rk_talks_n_read(const rk_talks *t)
{
    return t->n_read;
}

int64_t rk_talks_n_answers(const rk_talks *t)
{
    return t->talks[t->current].n_answers;
}

/* ---- files ---- */

rk_status rk_talks_save(const rk_talks *t, const char *path, bool overwrite, rk_error *err)
{
    const talk *x = &t->talks[t->current];
    const rk_saved end = {.talk = true, .n_answers = x->n_answers, .unread = x->unread, .next = -1};
    return rk_saved_write(x->text ? &x->text->saved : &end, t->p.session, path, overwrite, err);
}

/* The token that a text continues with is evaluated before the next question. */
static void add_next(const rk_talks *t, rk_saved *saved)
{
    size_t n;
    if (saved->next < 0 || rk_tokenizer_ends(t->p.tokenizer, saved->next))
        return;
    const char *text = rk_tokenizer_bytes(t->p.tokenizer, saved->next, &n);
    rk_buf_add(&saved->unread, text, n);
}

/* Continue after what was loaded; `saved` is taken over where it is a text that can continue. */
static rk_status begin_after(rk_talks *t, rk_saved *saved, rk_error *err)
{
    text_end *e = NULL;
    add_next(t, saved);
    if (saved->begins)
        rk_chat_put_begin(&saved->unread, t->p.format, "", 0);
    if (!saved->talk && (saved->logits || saved->next >= 0)) {
        e = calloc(1, sizeof *e);
        if (!e)
            return no_memory(err);
        *e = (text_end){.n_users = 1, .saved = *saved};
        *saved = (rk_saved){.next = -1};
    }
    const rk_status st = set_end(t, e ? &e->saved.unread : &saved->unread, e, err);
    text_set(&e, NULL);
    return st;
}

rk_status rk_talks_load(rk_talks *t, const char *path, rk_state_reading how, rk_error *err)
{
    rk_saved saved;
    rk_status st = rk_saved_load(&saved, t->p.session, path, how, err);
    if (st == RK_OK) {
        draft_begin(t);
        forget_turns(here(t));
        here(t)->n_answers = saved.n_answers;
        st = begin_after(t, &saved, err);
    }
    rk_saved_deinit(&saved);
    return st;
}
