/* speculate.c: speculative decoding: the speed of a small draft model, with the distribution of a
 * large one.
 *
 * When a token is fed, the draft may propose draft tokens that follow it. The model evaluates all
 * of them in one call of the short class, which gives the bits of one token at a time, and the
 * logits after each. As long as draft tokens are accepted, the next calls find their logits ready.
 *
 * When a draft token is rejected, the session undoes the call, which costs nothing because it still
 * has the state before it; the accepted tokens of that call are evaluated again at the beginning of
 * the next call. So a rejection costs a few more tokens in the next pass and no copy of a state.
 * (Keeping the state after every token of a call would spare these tokens, at the price of writing
 * that many states; evaluating them in a call of their own would read all weights once more.) After
 * a pass whose draft tokens were all accepted nothing is evaluated again. The accepted tokens must
 * not fill a call of the short class: before they do, a pass without draft tokens moves the session
 * past them.
 *
 * The draft decodes one token at a time and its state is small: it is kept after each token. */
#include "infer/speculate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/num.h"
#include "infer/pace.h"
#include "text/sampler.h"

enum {
    GUESSES_MAX = RK_SHORT_MAX - 1,
    BEHIND_MAX = 64 /* tokens that the draft catches up on after a pause; it skips older ones */
};

struct rk_speculator {
    rk_session *session, *draft;
    rk_sampler *sampler, *twin; /* twin: samples the draft's tokens */
    int64_t n_vocab;
    bool always;
    rk_pace pace;
    rk_speculator_info info;

    /* The model: the last call was line[0..n_line), of which n_fed tokens are fed or accepted; the
     * others are draft tokens. Where n_line is 0 there are none, and the session has not evaluated
     * line[0..n_fed). */
    int64_t n_line, n_fed;
    int64_t first; /* index in the line of the token that the pass was made for */
    int32_t line[RK_SHORT_MAX];
    float *rows; /* (RK_SHORT_MAX, V) scores after line[first], ... */

    /* The draft. */
    rk_guess guesses[GUESSES_MAX];     /* of the pass */
    float *scores;                     /* (V) */
    rk_state *states[GUESSES_MAX + 1]; /* before the pass and after each of its tokens */
    int64_t n_behind;                  /* tokens that the draft has not evaluated */
    int32_t behind[BEHIND_MAX + 1];
};

/* ---- made and freed ---- */

static rk_status check(const rk_session *s, const rk_model *draft, int64_t n_max, rk_error *err)
{
    const int64_t n = s->scheduler.model->hp.n_vocab, n_draft = draft->hp.n_vocab;
    if (n_max < 1 || n_max > GUESSES_MAX)
        return rk_fail(err, RK_ERR_ARG, "%" PRId64 " draft tokens of a pass, expected 1 to %d",
                       n_max, GUESSES_MAX);
    if (n_draft != n)
        return rk_fail(err, RK_ERR_ARG,
                       "the draft has %" PRId64 " tokens and the model %" PRId64
                       ", expected the same vocabulary",
                       n_draft, n);
    return RK_OK;
}

static rk_status allocate(rk_speculator *sp, rk_error *err)
{
    const size_t n = (size_t)sp->n_vocab, k = (size_t)sp->pace.n_max;
    sp->rows = calloc(RK_SHORT_MAX * n, sizeof *sp->rows);
    sp->scores = calloc(n, sizeof *sp->scores);
    bool ok = sp->rows && sp->scores;
    for (size_t i = 0; i < k; i++) {
        sp->guesses[i].id = calloc(n, sizeof(int32_t));
        sp->guesses[i].weight = calloc(n, sizeof(float));
        ok = ok && sp->guesses[i].id && sp->guesses[i].weight;
    }
    rk_status st = ok ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for draft tokens");
    for (size_t i = 0; i <= k && st == RK_OK; i++)
        st = rk_state_new(&sp->states[i], sp->draft->scheduler.model, err);
    return st;
}

static rk_status init(rk_speculator *sp, const rk_model *draft, rk_error *err)
{
    rk_status st = rk_session_new(&sp->draft, draft, sp->session->scheduler.engine, err);
    if (st == RK_OK)
        st = rk_sampler_twin(&sp->twin, sp->sampler, err);
    return st == RK_OK ? allocate(sp, err) : st;
}

rk_status rk_speculator_new(rk_speculator **out, rk_session *s, rk_sampler *sampler,
                            const rk_model *draft, int64_t n_max, rk_error *err)
{
    *out = NULL;
    rk_status st = check(s, draft, n_max, err);
    if (st != RK_OK)
        return st;
    rk_speculator *sp = calloc(1, sizeof *sp);
    if (!sp)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a speculator");
    sp->session = s;
    sp->sampler = sampler;
    sp->n_vocab = s->scheduler.model->hp.n_vocab;
    sp->pace = rk_pace_new(n_max);
    st = init(sp, draft, err);
    if (st == RK_OK)
        *out = sp;
    else
        rk_speculator_free(sp);
    return st;
}

void rk_speculator_free(rk_speculator *sp)
{
    if (!sp)
        return;
    rk_session_free(sp->draft);
    rk_sampler_free(sp->twin);
    free(sp->rows);
    free(sp->scores);
    for (int i = 0; i <= GUESSES_MAX; i++)
        rk_state_free(sp->states[i]);
    for (int i = 0; i < GUESSES_MAX; i++) {
        free(sp->guesses[i].id);
        free(sp->guesses[i].weight);
    }
    free(sp);
}

void rk_speculator_always(rk_speculator *sp)
{
    sp->always = true;
}

rk_status rk_speculator_sampler_set(rk_speculator *sp, rk_sampler *sampler, rk_error *err)
{
    rk_sampler *twin = NULL;
    const rk_status st = rk_sampler_twin(&twin, sampler, err);
    if (st != RK_OK)
        return st;
    rk_sampler_free(sp->twin);
    sp->twin = twin;
    sp->sampler = sampler;
    return RK_OK;
}

/* ---- the draft ---- */

static rk_status keep_state(rk_speculator *sp, int64_t at, rk_error *err)
{
    return rk_state_copy(sp->states[at], sp->draft->stream.state, err);
}

/* The states after it are not needed any more. */
static void restore_state(rk_speculator *sp, int64_t at)
{
    rk_state *const kept = sp->states[at];
    sp->states[at] = sp->draft->stream.state;
    sp->draft->stream.state = kept;
    for (int64_t i = 0; i <= sp->pace.n_max; i++)
        rk_state_drop(sp->states[i]);
}

static void fall_behind(rk_speculator *sp, int32_t token)
{
    if (sp->n_behind == BEHIND_MAX)
        memmove(sp->behind, sp->behind + 1, (size_t)--sp->n_behind * sizeof *sp->behind);
    sp->behind[sp->n_behind++] = token;
}

/* Append n draft tokens behind line[n_fed]; keeps the draft's state after each token. */
static rk_status draw_guesses(rk_speculator *sp, int64_t n, rk_error *err)
{
    rk_status st = RK_OK;
    sp->behind[sp->n_behind] = sp->line[sp->n_fed];
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        int32_t *last = &sp->line[sp->n_fed + i];
        st = i == 0 ? rk_session_eval(sp->draft, sp->behind, sp->n_behind + 1, sp->scores, err)
                    : rk_session_eval(sp->draft, last, 1, sp->scores, err);
        if (st == RK_OK)
            st = rk_sampler_guess(sp->twin, sp->scores, &sp->guesses[i], err);
        last[1] = sp->guesses[i].token;
        if (st == RK_OK)
            st = keep_state(sp, i + 1, err);
    }
    return st;
}

/* The same with measured time; after a failure the draft has its state from before. */
static rk_status guess(rk_speculator *sp, int64_t n, rk_error *err)
{
    const double began = rk_now_s();
    rk_status st = keep_state(sp, 0, err);
    if (st != RK_OK)
        return st;
    rk_sampler_follow(sp->twin, sp->sampler);
    st = draw_guesses(sp, n, err);
    if (st != RK_OK) {
        restore_state(sp, 0);
        return st;
    }
    const double took = rk_now_s() - began;
    rk_pace_guesses(&sp->pace, n, took);
    sp->info.draft_s += took;
    sp->info.n_guessed += n;
    return RK_OK;
}

/* ---- a pass ---- */

/* All tokens of the last pass are accepted: the session has evaluated them, the draft all but the
 * last. */
static void end_pass(rk_speculator *sp)
{
    fall_behind(sp, sp->line[sp->n_fed - 1]);
    sp->n_line = sp->n_fed = 0;
}

/* Reject the draft tokens that are left of the last pass. Accepted tokens stay in the line. */
static void drop_guesses(rk_speculator *sp)
{
    if (sp->n_line == 0)
        return;
    restore_state(sp, sp->n_fed - sp->first);
    rk_stream_undo(&sp->session->stream);
    sp->n_line = 0;
}

/* The model evaluates the line to its end. */
static rk_status read_line(rk_speculator *sp, int64_t n_guesses, rk_error *err)
{
    const int64_t n = sp->n_fed + 1 + n_guesses;
    const double began = rk_now_s();
    const rk_status st =
        rk_session_eval_rows(sp->session, sp->line, n, sp->rows, n_guesses + 1, err);
    if (st != RK_OK)
        return st;
    const double took = rk_now_s() - began;
    rk_pace_pass(&sp->pace, n, took);
    sp->info.model_s += took;
    sp->info.n_passes++;
    if (n == 1) {
        sp->info.n_single++;
        sp->info.single_s += took;
    }
    return RK_OK;
}

/* Draft tokens that still fit into the states of both, where these have a limit. */
static int64_t fitting_guesses(const rk_speculator *sp)
{
    return rk_min_i64(rk_state_room(sp->session->stream.state) - sp->n_fed - 1,
                      rk_state_room(sp->draft->stream.state) - sp->n_behind);
}

static rk_status run_pass(rk_speculator *sp, int32_t token, rk_error *err)
{
    const int64_t room = RK_SHORT_MAX - sp->n_fed - 1;
    int64_t n =
        sp->always ? rk_min_i64(sp->pace.n_max, room) : rk_pace_choose(&sp->pace, sp->n_fed + 1);
    rk_status st = RK_OK;
    sp->line[sp->n_fed] = token;
    n = rk_max_i64(0, rk_min_i64(n, fitting_guesses(sp)));
    if (n > 0)
        st = guess(sp, n, err);
    if (st != RK_OK)
        return st;
    st = read_line(sp, n, err);
    if (st != RK_OK) {
        if (n > 0)
            restore_state(sp, 0);
        return st;
    }
    if (n > 0)
        sp->n_behind = 0;
    sp->first = sp->n_fed++;
    sp->n_line = sp->n_fed + n;
    return RK_OK;
}

/* ---- what callers see ---- */

static rk_status check_token(const rk_speculator *sp, int32_t token, rk_error *err)
{
    if (token < 0 || token >= sp->n_vocab)
        return rk_fail(err, RK_ERR_ARG, "token %" PRId32 ", expected 0 to %" PRId64, token,
                       sp->n_vocab - 1);
    return RK_OK;
}

rk_status rk_speculator_feed(rk_speculator *sp, int32_t token, float *logits, rk_error *err)
{
    rk_status st = check_token(sp, token, err);
    if (st != RK_OK)
        return st;
    if (sp->n_fed < sp->n_line && sp->line[sp->n_fed] == token)
        sp->n_fed++;
    else {
        drop_guesses(sp);
        st = run_pass(sp, token, err);
    }
    if (st != RK_OK)
        return st;
    sp->info.n_tokens++;
    if (logits)
        memcpy(logits, sp->rows + (sp->n_fed - 1 - sp->first) * sp->n_vocab,
               (size_t)sp->n_vocab * sizeof *logits);
    if (sp->n_fed == sp->n_line)
        end_pass(sp);
    return RK_OK;
}

rk_status rk_speculator_next(rk_speculator *sp, const float *logits, int32_t *token, rk_error *err)
{
    if (sp->n_line == 0)
        return rk_sampler_next(sp->sampler, logits, token, err);
    const rk_guess *g = &sp->guesses[sp->n_fed - sp->first - 1];
    const rk_status st = rk_sampler_judge(sp->sampler, logits, g, token, err);
    if (st != RK_OK)
        return st;
    const bool accepted = *token == g->token;
    rk_pace_verdict(&sp->pace, accepted);
    sp->info.n_judged++;
    sp->info.n_accepted += accepted;
    return RK_OK;
}

rk_status rk_speculator_read(rk_speculator *sp, const int32_t *tokens, int64_t n, rk_error *err)
{
    drop_guesses(sp);
    rk_status st = RK_OK;
    if (sp->n_behind > 0)
        st = rk_session_eval(sp->draft, sp->behind, sp->n_behind, NULL, err);
    if (st != RK_OK)
        return st;
    sp->n_behind = 0;
    return rk_session_eval(sp->draft, tokens, n, NULL, err);
}

/* An abort does not stop it: the tokens that it evaluates are accepted already, and they are few.
 */
rk_status rk_speculator_settle(rk_speculator *sp, rk_error *err)
{
    drop_guesses(sp);
    if (sp->n_fed == 0)
        return RK_OK;
    const rk_status st = rk_session_eval_whole(sp->session, sp->line, sp->n_fed, err);
    if (st == RK_OK)
        sp->n_fed = 0;
    return st;
}

/* ---- states kept ---- */

struct rk_speculator_state {
    rk_state *session, *draft;
    int64_t n_fed, n_behind;
    int32_t line[RK_SHORT_MAX];     /* (n_fed) that the session has not evaluated */
    int32_t behind[BEHIND_MAX + 1]; /* (n_behind) that the draft has not evaluated */
};

rk_status rk_speculator_state_new(rk_speculator_state **out, const rk_speculator *sp, rk_error *err)
{
    rk_speculator_state *k = calloc(1, sizeof *k);
    *out = NULL;
    if (!k)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the state of a speculator");
    rk_status st = rk_state_new(&k->session, sp->session->scheduler.model, err);
    if (st == RK_OK)
        st = rk_state_new(&k->draft, sp->draft->scheduler.model, err);
    if (st == RK_OK)
        *out = k;
    else
        rk_speculator_state_free(k);
    return st;
}

void rk_speculator_state_free(rk_speculator_state *k)
{
    if (!k)
        return;
    rk_state_free(k->session);
    rk_state_free(k->draft);
    free(k);
}

size_t rk_speculator_state_bytes(const rk_speculator *sp)
{
    const int64_t count =
        sp->session->scheduler.model->state.count + sp->draft->scheduler.model->state.count;
    return (size_t)count * sizeof(float) + sizeof(rk_speculator_state);
}

/* The state as it is after drop_guesses; the draft tokens stay valid. */
rk_status rk_speculator_state_get(const rk_speculator *sp, rk_speculator_state *k, rk_error *err)
{
    const rk_stream *model = &sp->session->stream, *draft = &sp->draft->stream;
    const bool guessed = sp->n_line > 0;
    k->n_fed = sp->n_fed;
    k->n_behind = sp->n_behind;
    memcpy(k->line, sp->line, sizeof k->line);
    memcpy(k->behind, sp->behind, sizeof k->behind);
    const rk_status st = rk_state_copy(k->session, guessed ? model->next : model->state, err);
    if (st != RK_OK)
        return st;
    return rk_state_copy(k->draft, guessed ? sp->states[sp->n_fed - sp->first] : draft->state, err);
}

/* When only the draft has been set back, fewer of its tokens are accepted; results are the same. */
rk_status rk_speculator_state_set(rk_speculator *sp, const rk_speculator_state *k, rk_error *err)
{
    rk_status st = rk_state_copy(sp->draft->stream.state, k->draft, err);
    if (st == RK_OK)
        st = rk_state_copy(sp->session->stream.state, k->session, err);
    if (st != RK_OK)
        return st;
    memcpy(sp->line, k->line, sizeof k->line);
    memcpy(sp->behind, k->behind, sizeof k->behind);
    sp->n_line = 0;
    sp->n_fed = k->n_fed;
    sp->n_behind = k->n_behind;
    return RK_OK;
}

void rk_speculator_reset(rk_speculator *sp)
{
    rk_session_reset(sp->draft);
    sp->n_line = sp->n_fed = sp->n_behind = 0;
}

void rk_speculator_get_info(const rk_speculator *sp, rk_speculator_info *info)
{
    *info = sp->info;
}
