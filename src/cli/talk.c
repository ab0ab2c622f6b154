/* talk.c: states kept and gone back to. */
#include "cli/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A point of a talk: what the model has read, and what it has not read yet. */
typedef struct point {
    float *state;
    rk_buf unread;
} point;

typedef struct turn {
    point before; /* what the user says */
    point asked;  /* the state before the answer; unread is empty */
    float *logits;
} turn;

typedef struct talk {
    turn turns[RK_TALK_TURNS_MAX];
    int n_turns;
    point now; /* of a talk that is not the current one: its state; unread of all */
} talk;

struct rk_talks {
    rk_talk_params p;
    size_t state_bytes;
    talk talks[RK_TALKS_MAX];
    int n, current;
    float *held; /* state before the token that began a stop string */
    bool holding;
    rk_buf tail;                 /* text since then */
    const rk_generate_params *g; /* of the answer at hand */
    bool begun;                  /* something of it has been shown */
};

static talk *here(rk_talks *t)
{
    return &t->talks[t->current];
}

static rk_status no_memory(rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for a talk");
}

/* ---- points ---- */

static void point_deinit(point *p)
{
    free(p->state);
    rk_buf_deinit(&p->unread);
    *p = (point){0};
}

static rk_status keep_state(const rk_talks *t, float **state, rk_error *err)
{
    if (!*state)
        *state = malloc(t->state_bytes);
    return *state ? rk_session_state_get(t->p.session, *state, t->state_bytes, err)
                  : no_memory(err);
}

static rk_status copy_unread(rk_buf *to, const rk_buf *from, rk_error *err)
{
    rk_buf_clear(to);
    rk_buf_add(to, from->data, from->len);
    return to->failed ? no_memory(err) : RK_OK;
}

static rk_status keep(rk_talks *t, point *p, rk_error *err)
{
    const rk_status st = keep_state(t, &p->state, err);
    return st == RK_OK ? copy_unread(&p->unread, &here(t)->now.unread, err) : st;
}

static rk_status go_back(rk_talks *t, const point *p, rk_error *err)
{
    const rk_status st = rk_session_state_set(t->p.session, p->state, t->state_bytes, err);
    return st == RK_OK ? copy_unread(&here(t)->now.unread, &p->unread, err) : st;
}

static void turn_deinit(turn *x)
{
    point_deinit(&x->before);
    point_deinit(&x->asked);
    free(x->logits);
    *x = (turn){0};
}

static void talk_deinit(talk *x)
{
    for (int i = 0; i < x->n_turns; i++)
        turn_deinit(&x->turns[i]);
    point_deinit(&x->now);
    *x = (talk){0};
}

/* ---- made and freed ---- */

rk_status rk_talks_new(rk_talks **out, const rk_talk_params *p, rk_error *err)
{
    rk_talks *t = calloc(1, sizeof *t);
    rk_model_info info;
    if (!t)
        return no_memory(err);
    t->p = *p;
    t->n = 1;
    rk_model_get_info(p->model, &info);
    t->state_bytes = (size_t)info.state_bytes;
    *out = t;
    return RK_OK;
}

void rk_talks_free(rk_talks *t)
{
    if (!t)
        return;
    for (int i = 0; i < t->n; i++)
        talk_deinit(&t->talks[i]);
    free(t->held);
    rk_buf_deinit(&t->tail);
    free(t);
}

/* ---- reading ---- */

/* Encode and read a text; logits (V) may be NULL. */
static rk_status read_text(rk_talks *t, const char *text, size_t n, float *logits, rk_error *err)
{
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    if (!ids)
        return no_memory(err);
    const int64_t count = rk_tokenizer_encode(t->p.tokenizer, text, n, ids, (int64_t)n);
    const rk_status st = count > 0 ? rk_session_eval(t->p.session, ids, count, logits, err) : RK_OK;
    free(ids);
    return st;
}

/* As the templates want it: line feeds only, no blank lines, nothing around it. */
static void clean(rk_buf *b, const char *s)
{
    size_t n = strlen(s);
    while (n > 0 && strchr(" \t\r\n", s[n - 1]))
        n--;
    while (n > 0 && strchr(" \t\r\n", *s))
        s++, n--;
    for (size_t i = 0; i < n; i++) {
        const bool cr = s[i] == '\r' && i + 1 < n && s[i + 1] == '\n';
        const bool again = s[i] == '\n' && b->len > 0 && b->data[b->len - 1] == '\n';
        if (!cr && !again)
            rk_buf_add(b, s + i, 1);
    }
}

static const char *thought(rk_think think)
{
    return think == RK_THINK_ON ? " <think" : think == RK_THINK_OFF ? " <think>\n</think" : "";
}

/* The oldest turn makes room. */
static turn *add_turn(talk *x)
{
    if (x->n_turns == RK_TALK_TURNS_MAX) {
        turn_deinit(&x->turns[0]);
        memmove(x->turns, x->turns + 1, (RK_TALK_TURNS_MAX - 1) * sizeof *x->turns);
        x->n_turns--;
    }
    x->turns[x->n_turns] = (turn){0};
    return &x->turns[x->n_turns++];
}

static rk_status ask(rk_talks *t, turn *x, const rk_buf *text, rk_error *err)
{
    x->logits = malloc((size_t)t->p.model->hp.n_vocab * sizeof *x->logits);
    rk_status st = x->logits ? keep(t, &x->before, err) : no_memory(err);
    if (st == RK_OK)
        st = read_text(t, text->data, text->len, x->logits, err);
    if (st == RK_OK) {
        rk_buf_clear(&here(t)->now.unread);
        st = keep(t, &x->asked, err);
    }
    return st;
}

rk_status rk_talks_ask(rk_talks *t, const char *said, rk_think think, rk_error *err)
{
    rk_buf text = {0}, cleaned = {0};
    talk *x = here(t);
    clean(&cleaned, said);
    rk_buf_add(&text, x->now.unread.data, x->now.unread.len);
    rk_buf_printf(&text, "%s: %s\n\n%s:%s", t->p.user, cleaned.data ? cleaned.data : "", t->p.bot,
                  thought(think));
    rk_status st = text.failed || cleaned.failed ? no_memory(err) : RK_OK;
    if (st == RK_OK) {
        turn *made = add_turn(x);
        st = ask(t, made, &text, err);
        if (st != RK_OK) {
            turn_deinit(made);
            x->n_turns--;
        }
    }
    rk_buf_deinit(&text);
    rk_buf_deinit(&cleaned);
    return st;
}

/* ---- answering ---- */

static rk_status hold(void *user, rk_error *err)
{
    rk_talks *t = user;
    t->holding = true;
    rk_buf_clear(&t->tail);
    return keep_state(t, &t->held, err);
}

/* The space that an answer begins with is not shown. */
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
    return n > 0 ? t->g->emit(t->g->user, text, n, err) : RK_OK;
}

/* After the answer: the state before a stop string, and what the next turn begins with. */
static rk_status settle(rk_talks *t, const rk_generated *made, rk_error *err)
{
    rk_buf *unread = &here(t)->now.unread;
    rk_status st = RK_OK;
    size_t n = 0;
    rk_buf_clear(unread);
    if (made->end == RK_END_STOP && t->holding) {
        st = rk_session_state_set(t->p.session, t->held, t->state_bytes, err);
        rk_buf_add(unread, t->tail.data, t->tail.len);
    } else if (made->unfed >= 0) {
        const char *text = rk_tokenizer_bytes(t->p.tokenizer, made->unfed, &n);
        rk_buf_add(unread, text, n);
    }
    rk_buf_puts(unread, "\n\n");
    return unread->failed ? no_memory(err) : st;
}

rk_status rk_talks_answer(rk_talks *t, rk_generate_params g, rk_sampler *sampler, rk_end *end,
                          rk_error *err)
{
    const rk_generate_params given = g;
    const talk *x = here(t);
    char stops[2][64];
    if (x->n_turns == 0)
        return rk_fail(err, RK_ERR_ARG, "nothing has been asked yet");
    snprintf(stops[0], sizeof stops[0], "\n\n%.48s:", t->p.user);
    snprintf(stops[1], sizeof stops[1], "\n%.48s:", t->p.user);
    const char *const stop[] = {stops[0], stops[1]};
    const turn *last = &x->turns[x->n_turns - 1];
    float *logits = malloc((size_t)t->p.model->hp.n_vocab * sizeof *logits);
    rk_generated made = {0};
    rk_status st = logits ? go_back(t, &last->asked, err) : no_memory(err);
    t->g = &given;
    t->holding = t->begun = false;
    g.tokenizer = t->p.tokenizer;
    g.n_vocab = t->p.model->hp.n_vocab;
    g.feed_last = true;
    g.stop = stop;
    g.n_stop = 2;
    g.emit = emit;
    g.hold = hold;
    g.user = t;
    if (st == RK_OK) {
        memcpy(logits, last->logits, (size_t)t->p.model->hp.n_vocab * sizeof *logits);
        st = rk_generate(&made, &g, t->p.session, sampler, logits, err);
    }
    if (st == RK_OK)
        st = settle(t, &made, err);
    *end = made.end;
    rk_generated_deinit(&made);
    free(logits);
    return st;
}

/* ---- going elsewhere ---- */

rk_status rk_talks_undo(rk_talks *t, rk_error *err)
{
    talk *x = here(t);
    if (x->n_turns == 0)
        return rk_fail(err, RK_ERR_ARG, "there is no turn to take back");
    turn *last = &x->turns[x->n_turns - 1];
    const rk_status st = go_back(t, &last->before, err);
    turn_deinit(last);
    x->n_turns--;
    return st;
}

static void forget_turns(talk *x)
{
    while (x->n_turns > 0)
        turn_deinit(&x->turns[--x->n_turns]);
    rk_buf_clear(&x->now.unread);
}

rk_status rk_talks_begin(rk_talks *t, const char *system, rk_error *err)
{
    rk_buf text = {0};
    forget_turns(here(t));
    rk_session_reset(t->p.session);
    clean(&text, system);
    if (text.len > 0)
        rk_buf_printf(&here(t)->now.unread, "System: %s\n\n", text.data);
    const bool failed = text.failed || here(t)->now.unread.failed;
    rk_buf_deinit(&text);
    return failed ? no_memory(err) : RK_OK;
}

static rk_status copy_point(const rk_talks *t, point *to, const point *from, rk_error *err)
{
    to->state = malloc(t->state_bytes);
    if (!to->state)
        return no_memory(err);
    memcpy(to->state, from->state, t->state_bytes);
    return copy_unread(&to->unread, &from->unread, err);
}

static rk_status copy_turn(const rk_talks *t, turn *to, const turn *from, rk_error *err)
{
    const size_t bytes = (size_t)t->p.model->hp.n_vocab * sizeof *to->logits;
    rk_status st = copy_point(t, &to->before, &from->before, err);
    if (st == RK_OK)
        st = copy_point(t, &to->asked, &from->asked, err);
    to->logits = malloc(bytes);
    if (st == RK_OK && !to->logits)
        st = no_memory(err);
    if (st == RK_OK)
        memcpy(to->logits, from->logits, bytes);
    return st;
}

rk_status rk_talks_fork(rk_talks *t, rk_error *err)
{
    const talk *from = here(t);
    if (t->n == RK_TALKS_MAX)
        return rk_fail(err, RK_ERR_ARG, "there are %d talks already, as many as there can be",
                       t->n);
    talk *to = &t->talks[t->n];
    *to = (talk){0};
    rk_status st = keep_state(t, &here(t)->now.state, err);
    if (st == RK_OK)
        st = copy_point(t, &to->now, &from->now, err);
    for (int i = 0; i < from->n_turns && st == RK_OK; i++) {
        to->n_turns = i + 1;
        st = copy_turn(t, &to->turns[i], &from->turns[i], err);
    }
    if (st != RK_OK) {
        talk_deinit(to);
        return st;
    }
    t->current = t->n++;
    return RK_OK;
}

rk_status rk_talks_switch(rk_talks *t, int i, rk_error *err)
{
    if (i < 0 || i >= t->n)
        return rk_fail(err, RK_ERR_ARG, "there are talks 1 to %d", t->n);
    rk_status st = keep_state(t, &here(t)->now.state, err);
    if (st == RK_OK)
        st = rk_session_state_set(t->p.session, t->talks[i].now.state, t->state_bytes, err);
    t->current = i;
    return st;
}

int rk_talks_current(const rk_talks *t)
{
    return t->current;
}

int rk_talks_count(const rk_talks *t)
{
    return t->n;
}

/* ---- files ---- */

rk_status rk_talks_save(rk_talks *t, const char *path, rk_error *err)
{
    rk_buf *unread = &here(t)->now.unread;
    rk_status st = unread->len > 0 ? read_text(t, unread->data, unread->len, NULL, err) : RK_OK;
    if (st != RK_OK)
        return st;
    rk_buf_clear(unread);
    return rk_session_state_save(t->p.session, path, err);
}

rk_status rk_talks_load(rk_talks *t, const char *path, bool force, rk_error *err)
{
    const rk_status st = rk_session_state_load(t->p.session, path, force, err);
    if (st == RK_OK)
        forget_turns(here(t));
    return st;
}
