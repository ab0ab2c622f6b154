/* generate.c: the loop of sampling, printing and feeding.
 *
 * Text passes the decoder, which waits for whole characters, and then the stop strings, which hold
 * back what may become one; what remains is printed at once. */
#include "cli/generate.h"

#include <math.h>
#include <string.h>

#include "text/tokenizer.h"

const char *rk_end_name(rk_end end)
{
    static const char *const names[] = {"length", "stop", "eos", "interrupted", "full"};
    return names[end];
}

typedef struct loop {
    const rk_generate_params *p;
    rk_generated *out;
    rk_session *session;
    rk_sampler *sampler;
    float *logits;
    rk_decoder *decoder;
    rk_stop *stop;
    rk_buf text;    /* certain, not yet emitted */
    rk_buf unshown; /* held back by the stop strings */
    bool ended;
} loop;

static void end_with(loop *l, rk_end end)
{
    l->out->end = end;
    l->ended = true;
}

static rk_status emit(loop *l, rk_error *err)
{
    if (l->text.failed)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for text");
    const rk_status st =
        l->text.len > 0 ? l->p->emit(l->p->user, l->text.data, l->text.len, err) : RK_OK;
    rk_buf_clear(&l->text);
    return st;
}

/* Text comes out of the stop strings in the order in which it went in. */
static void pass_stops(loop *l, const char *text, size_t n)
{
    rk_buf *const b = &l->unshown;
    rk_buf_add(b, text, n);
    if (rk_stop_push(l->stop, text, n, &l->text) >= 0)
        end_with(l, RK_END_STOP);
    if (b->failed || l->text.failed)
        l->text.failed = true;
    else if (l->text.len > 0) {
        b->len -= l->text.len;
        memmove(b->data, b->data + l->text.len, b->len + 1);
    }
}

static rk_status emit_text(loop *l, const char *text, size_t n, rk_error *err)
{
    const bool held = rk_stop_holds(l->stop);
    pass_stops(l, text, n);
    const bool begins = !held && (l->out->end == RK_END_STOP || rk_stop_holds(l->stop));
    const rk_status st = begins && l->p->hold ? l->p->hold(l->p->user, err) : RK_OK;
    return st == RK_OK ? emit(l, err) : st;
}

static rk_status emit_token(loop *l, int32_t token, rk_error *err)
{
    size_t n;
    const char *text = rk_decoder_push(l->decoder, token, &n);
    return emit_text(l, text, n, err);
}

static rk_status keep_rest(loop *l, rk_error *err)
{
    size_t n;
    const char *begun = rk_decoder_begun(l->decoder, &n);
    rk_buf_add(&l->unshown, begun, n);
    l->out->unshown = l->unshown;
    l->unshown = (rk_buf){0};
    return l->out->unshown.failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for text") : RK_OK;
}

static rk_status emit_rest(loop *l, rk_error *err)
{
    size_t n;
    if (l->p->keep_unshown && l->out->end != RK_END_TOKEN)
        return keep_rest(l, err);
    if (l->out->end == RK_END_STOP)
        return RK_OK;
    const char *text = rk_decoder_flush(l->decoder, &n);
    rk_stop_push(l->stop, text, n, &l->text);
    rk_stop_flush(l->stop, &l->text);
    return emit(l, err);
}

/* ---- what is noted about a token ---- */

static json_t *logprob_of(const loop *l, int32_t token)
{
    return json_pack("{s:i, s:f}", "id", (int)token, "logprob",
                     rk_logprob(l->logits, l->p->n_vocab, token));
}

/* The most likely token that comes after `before` in the order of falling logit, then rising id;
 * -1 for the first. */
static int32_t next_best(const loop *l, int32_t before)
{
    const float last = before < 0 ? INFINITY : l->logits[before];
    int32_t best = -1;
    for (int32_t i = 0; i < l->p->n_vocab; i++) {
        const float x = l->logits[i];
        const bool is_after = x < last || (x == last && i > before);
        if (is_after && (best < 0 || x > l->logits[best]))
            best = i;
    }
    return best;
}

static bool note_logprobs(loop *l, int32_t token)
{
    json_t *entry = logprob_of(l, token), *top = json_array();
    int32_t best = -1;
    bool ok = entry && top;
    for (int64_t i = 0; i < l->p->n_logprobs && ok; i++) {
        best = next_best(l, best);
        if (best < 0)
            break;
        ok = json_array_append_new(top, logprob_of(l, best)) == 0;
    }
    ok = json_object_set_new(entry, "top", top) == 0 && ok;
    return json_array_append_new(l->out->logprobs, entry) == 0 && ok;
}

static rk_status note(loop *l, int32_t token, rk_error *err)
{
    l->out->n_tokens++;
    if (json_array_append_new(l->out->tokens, json_integer(token)) != 0 ||
        (l->p->n_logprobs > 0 && !note_logprobs(l, token)))
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for the tokens' list");
    return RK_OK;
}

/* ---- the loop ---- */

static rk_status draw(const loop *l, int32_t *token, rk_error *err)
{
    return l->p->speculator ? rk_speculator_next(l->p->speculator, l->logits, token, err)
                            : rk_sampler_next(l->sampler, l->logits, token, err);
}

static rk_status feed(const loop *l, int32_t token, rk_error *err)
{
    return l->p->speculator ? rk_speculator_feed(l->p->speculator, token, l->logits, err)
                            : rk_session_eval(l->session, &token, 1, l->logits, err);
}

static bool ends(const loop *l, int32_t token)
{
    return !l->p->ignore_eos &&
           (rk_tokenizer_ends(l->p->tokenizer, token) || (l->p->end > 0 && token == l->p->end));
}

static rk_status one_token(loop *l, rk_error *err)
{
    int32_t token = 0;
    rk_status st = draw(l, &token, err);
    if (st != RK_OK)
        return st;
    l->out->unfed = token;
    if (ends(l, token)) {
        end_with(l, RK_END_TOKEN);
        return RK_OK;
    }
    st = note(l, token, err);
    if (st == RK_OK)
        st = emit_token(l, token, err);
    if (l->out->n_tokens == l->p->n_max)
        l->ended = true;
    if (st == RK_OK && (!l->ended || l->p->feed_last)) {
        st = feed(l, token, err);
        if (st == RK_OK)
            l->out->unfed = -1;
    }
    return st;
}

/* What the text held back is held back again, or is shown where other stop strings are given now.
 * The token that was drawn last is fed, unless it ends the text. */
static rk_status go_on(loop *l, const rk_saved *from, rk_error *err)
{
    rk_status st = RK_OK;
    size_t n;
    for (size_t i = 0; i < from->unshown.len && st == RK_OK; i++) {
        const char *text = rk_decoder_push_byte(l->decoder, from->unshown.data[i], &n);
        st = emit_text(l, text, n, err);
    }
    l->out->unfed = from->next;
    if (from->next >= 0 && ends(l, from->next))
        end_with(l, RK_END_TOKEN);
    if (from->next >= 0 && st == RK_OK && !l->ended) {
        st = feed(l, from->next, err);
        if (st == RK_OK)
            l->out->unfed = -1;
    }
    return st;
}

/* After st, which stays what it is when it is a failure. */
static rk_status settle(const loop *l, rk_status st, rk_error *err)
{
    if (!l->p->speculator)
        return st;
    const rk_status settled = rk_speculator_settle(l->p->speculator, st == RK_OK ? err : NULL);
    return st == RK_OK ? settled : st;
}

static rk_status run_loop(loop *l, rk_error *err)
{
    l->ended = l->p->n_max == 0;
    rk_status st = l->p->from ? go_on(l, l->p->from, err) : RK_OK;
    while (st == RK_OK && !l->ended)
        st = one_token(l, err);
    const rk_status ended = st;
    if (st == RK_ERR_ABORTED || st == RK_ERR_FULL) {
        l->out->end = st == RK_ERR_FULL ? RK_END_FULL : RK_END_INTERRUPTED;
        st = RK_OK;
    }
    rk_error later = {0};
    st = settle(l, st, st == RK_OK ? &later : err);
    if (st == RK_OK)
        st = emit_rest(l, &later);
    if (later.code)
        return rk_fail(err, later.code, "%s", later.msg);
    return ended == RK_ERR_FULL ? ended : st;
}

static rk_status prepare(loop *l, rk_error *err)
{
    rk_status st = rk_decoder_new(&l->decoder, l->p->tokenizer, err);
    if (st == RK_OK)
        st = rk_stop_new(&l->stop, l->p->stop, l->p->n_stop, err);
    if (st != RK_OK)
        return st;
    l->out->tokens = json_array();
    l->out->logprobs = l->p->n_logprobs > 0 ? json_array() : NULL;
    if (!l->out->tokens || (l->p->n_logprobs > 0 && !l->out->logprobs))
        return rk_fail(err, RK_ERR_NOMEM, "out of memory");
    return RK_OK;
}

rk_status rk_generate(rk_generated *out, const rk_generate_params *p, rk_session *session,
                      rk_sampler *sampler, float *logits, rk_error *err)
{
    loop l = {.p = p, .out = out, .session = session, .sampler = sampler, .logits = logits};
    *out = (rk_generated){.end = RK_END_LENGTH, .unfed = -1};
    rk_status st = prepare(&l, err);
    if (st == RK_OK)
        st = run_loop(&l, err);
    rk_decoder_free(l.decoder);
    rk_stop_free(l.stop);
    rk_buf_deinit(&l.text);
    rk_buf_deinit(&l.unshown);
    return st;
}

void rk_generated_deinit(rk_generated *g)
{
    json_decref(g->tokens);
    json_decref(g->logprobs);
    rk_buf_deinit(&g->unshown);
    *g = (rk_generated){0};
}

static json_t *array_or_empty(json_t *array)
{
    return array ? json_incref(array) : json_array();
}

json_t *rk_generated_json(const rk_generated *g, const rk_buf *text, int64_t n_prompt, int64_t seed,
                          json_t *timings)
{
    json_t *o =
        json_pack("{s:s%, s:o, s:I, s:I, s:I, s:s, s:o}", "text", text->data ? text->data : "",
                  text->len, "tokens", array_or_empty(g->tokens), "n_prompt", (json_int_t)n_prompt,
                  "n_generated", (json_int_t)g->n_tokens, "seed", (json_int_t)seed, "stop_reason",
                  rk_end_name(g->end), "timings", timings);
    if (o && g->logprobs && json_object_set(o, "logprobs", g->logprobs) != 0) {
        json_decref(o);
        return NULL;
    }
    return o;
}
