/* synthetic.c: what all generators share: parameters, streams, showing a sample. */
#include "train/synthetic/synthetic.h"

#include <math.h>
#include <string.h>

/* ---- parameters ---- */

static void list_params(const rk_generator *gen, rk_buf *out)
{
    for (int i = 0; i < gen->n_params; i++)
        rk_buf_printf(out, "%s--%s", i ? ", " : "", gen->params[i].name);
}

static rk_status no_param(const rk_synthetic *s, const char *name, rk_error *err)
{
    rk_buf b = {0};
    list_params(s->gen, &b);
    const rk_status st =
        rk_fail(err, RK_ERR_ARG, "--%s is no parameter of the task %s, which has %s", name, s->task,
                b.failed || !b.data ? "others" : b.data);
    rk_buf_deinit(&b);
    return st;
}

static rk_status set_param(rk_synthetic *s, const rk_size *given, rk_error *err)
{
    int i = 0;
    while (i < s->gen->n_params && strcmp(s->gen->params[i].name, given->name) != 0)
        i++;
    if (i == s->gen->n_params)
        return no_param(s, given->name, err);
    const rk_syn_param *p = &s->gen->params[i];
    const double x = given->value;
    if (!(x >= p->min && x <= p->max) || (!p->real && x != floor(x)))
        return rk_fail(err, RK_ERR_ARG, "--%s is %.10g, expected %s%.10g to %.10g for the task %s",
                       p->name, x, p->real ? "" : "a whole number from ", p->min, p->max, s->task);
    s->values[i] = x;
    return RK_OK;
}

rk_status rk_synthetic_init(rk_synthetic *s, const char *task, const rk_generator *gen,
                            const rk_size *given, int64_t n, rk_error *err)
{
    rk_status st = RK_OK;
    *s = (rk_synthetic){.task = task, .gen = gen};
    for (int i = 0; i < gen->n_params; i++)
        s->values[i] = gen->params[i].initial;
    for (int64_t i = 0; i < n && st == RK_OK; i++)
        st = set_param(s, &given[i], err);
    if (st == RK_OK)
        st = gen->settle(s, err);
    if (st == RK_OK && s->n_tokens > RK_SYN_TOKENS_MAX)
        st = rk_fail(err, RK_ERR_ARG, "a sample of %s has %lld tokens, expected at most %d", task,
                     (long long)s->n_tokens, RK_SYN_TOKENS_MAX);
    return st;
}

void rk_synthetic_value(const rk_syn_param *p, double value, rk_buf *out)
{
    const char *word = p->choices;
    for (int i = 0; word && i < (int)value; i++)
        word = strchr(word, '|') + 1;
    if (word)
        rk_buf_printf(out, "%.*s", (int)strcspn(word, "|"), word);
    else
        rk_buf_printf(out, "%.17g", value);
}

void rk_synthetic_describe(const rk_synthetic *s, rk_buf *out)
{
    rk_buf_puts(out, s->task);
    for (int i = 0; i < s->gen->n_params; i++) {
        rk_buf_printf(out, " --%s ", s->gen->params[i].name);
        rk_synthetic_value(&s->gen->params[i], s->values[i], out);
    }
}

rk_status rk_syn_expect_order(const rk_synthetic *s, int min, int max, rk_error *err)
{
    const int64_t least = rk_syn_int(s, min), most = rk_syn_int(s, max);
    if (least <= most)
        return RK_OK;
    return rk_fail(err, RK_ERR_ARG, "--%s is %lld, expected at most --%s, %lld",
                   s->gen->params[min].name, (long long)least, s->gen->params[max].name,
                   (long long)most);
}

/* ---- samples ---- */

void rk_synthetic_sample(const rk_synthetic *s, uint64_t seed, rk_syn_stream stream, uint64_t index,
                         rk_syn_sample *to)
{
    static const rk_purpose purposes[] = {[RK_SYN_TRAIN] = RK_RNG_TASK_TRAIN,
                                          [RK_SYN_HELD_OUT] = RK_RNG_TASK_HELD_OUT,
                                          [RK_SYN_EVAL] = RK_RNG_TASK_EVAL};
    to->draws = (rk_draws){.seed = seed, .stream = purposes[stream], .sample = index};
    to->stream = stream;
    to->index = index;
    for (int64_t i = 0; i < s->n_tokens; i++) {
        to->ids[i] = 0;
        to->targets[i] = RK_NO_TARGET;
        to->kinds[i] = 0;
    }
    s->gen->fill(s, to);
}

void rk_syn_push(const rk_synthetic *s, rk_syn_sample *x, int64_t *at, int32_t id, bool asked)
{
    if (*at < s->n_tokens)
        x->ids[*at] = id;
    if (asked && *at > 0 && *at <= s->n_tokens)
        rk_syn_ask(x, *at - 1, id, 0);
    ++*at;
}

static void put_token(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    if (s->gen->put)
        s->gen->put(s, id, out);
    else
        rk_buf_printf(out, "%d", id);
}

/* Token i and what is asked for there, one under the other. */
void rk_synthetic_show(const rk_synthetic *s, const rk_syn_sample *x, rk_buf *out)
{
    rk_buf token = {0}, target = {0}, tokens = {0}, targets = {0};
    for (int64_t i = 0; i < s->n_tokens; i++) {
        rk_buf_clear(&token);
        rk_buf_clear(&target);
        put_token(s, x->ids[i], &token);
        if (x->targets[i] == RK_NO_TARGET)
            rk_buf_puts(&target, ".");
        else
            put_token(s, x->targets[i], &target);
        const bool last = i + 1 == s->n_tokens;
        const int width = last ? 0 : (int)(token.len > target.len ? token.len : target.len);
        rk_buf_printf(&tokens, " %-*s", width, token.data ? token.data : "");
        rk_buf_printf(&targets, " %-*s", width, target.data ? target.data : "");
    }
    rk_buf_printf(out, "in %s\nout%s\n", tokens.data ? tokens.data : "",
                  targets.data ? targets.data : "");
    out->failed = out->failed || token.failed || target.failed || tokens.failed || targets.failed;
    rk_buf_deinit(&token);
    rk_buf_deinit(&target);
    rk_buf_deinit(&tokens);
    rk_buf_deinit(&targets);
}
