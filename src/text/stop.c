/* stop.c: ending a text at the first of some strings.
 *
 * Each string is followed by the automaton of Knuth, Morris and Pratt, a handful side by side (one
 * of Aho and Corasick for all would be faster for hundreds of strings, which nobody has). The text
 * held back is the longest beginning of any string that the text ends with. It is stored nowhere:
 * it is the beginning of that string. */
#include "text/stop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct pattern {
    char *bytes;
    size_t n;
    size_t *border; /* (n) [i]: longest proper beginning of bytes[0 .. i] that also ends it */
    size_t matched; /* the text ends with so many bytes of the beginning */
} pattern;

struct rk_stop {
    pattern *patterns;
    int64_t n, held; /* held: the pattern with the most matched, -1 while none is begun */
    int64_t found;   /* the pattern that ended the text, or -1 */
};

/* The length of the beginning that the text ends with after one more byte. */
static size_t advance(const pattern *p, size_t n, char c)
{
    while (n > 0 && p->bytes[n] != c)
        n = p->border[n - 1];
    return n + (p->bytes[n] == c);
}

static rk_status pattern_init(pattern *p, const char *bytes, rk_error *err)
{
    p->n = strlen(bytes);
    if (p->n == 0)
        return rk_fail(err, RK_ERR_ARG, "a stop string is empty");
    p->bytes = malloc(p->n);
    p->border = calloc(p->n, sizeof *p->border);
    if (!p->bytes || !p->border)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for stop strings");
    memcpy(p->bytes, bytes, p->n);
    for (size_t i = 1; i < p->n; i++)
        p->border[i] = advance(p, p->border[i - 1], p->bytes[i]);
    return RK_OK;
}

rk_status rk_stop_new(rk_stop **out, const char *const *strings, int64_t n, rk_error *err)
{
    rk_stop *s = calloc(1, sizeof *s);
    pattern *patterns = calloc((size_t)n + 1, sizeof *patterns);
    if (!s || !patterns) {
        free(s);
        free(patterns);
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for stop strings");
    }
    *s = (rk_stop){patterns, n, -1, -1};
    for (int64_t i = 0; i < n; i++) {
        const rk_status st = pattern_init(&patterns[i], strings[i], err);
        if (st != RK_OK) {
            rk_stop_free(s);
            return st;
        }
    }
    *out = s;
    return RK_OK;
}

void rk_stop_free(rk_stop *s)
{
    if (!s)
        return;
    for (int64_t i = 0; i < s->n; i++) {
        free(s->patterns[i].bytes);
        free(s->patterns[i].border);
    }
    free(s->patterns);
    free(s);
}

void rk_stop_reset(rk_stop *s)
{
    for (int64_t i = 0; i < s->n; i++)
        s->patterns[i].matched = 0;
    s->held = s->found = -1;
}

/* Follow one byte; found and held are the longest complete and begun patterns after it. */
static void advance_all(rk_stop *s, char c)
{
    size_t found = 0, held = 0;
    s->held = -1;
    for (int64_t i = 0; i < s->n; i++) {
        pattern *p = &s->patterns[i];
        p->matched = advance(p, p->matched, c);
        if (p->matched == p->n && p->n > found) {
            found = p->n;
            s->found = i;
        }
        if (p->matched > held) {
            held = p->matched;
            s->held = i;
        }
    }
}

static size_t matched(const rk_stop *s, int64_t i)
{
    return i < 0 ? 0 : s->patterns[i].matched;
}

int64_t rk_stop_push(rk_stop *s, const char *bytes, size_t n, rk_buf *out)
{
    for (size_t i = 0; i < n && s->found < 0; i++) {
        const int64_t before = s->held;
        const size_t n_before = matched(s, before);
        advance_all(s, bytes[i]);
        const size_t n_after = matched(s, s->found >= 0 ? s->found : s->held);
        /* Of the n_before bytes held back and this one, all but the last n_after are certain. */
        if (before >= 0)
            rk_buf_add(out, s->patterns[before].bytes, n_before + (n_after > 0) - n_after);
        if (n_after == 0)
            rk_buf_add(out, &bytes[i], 1);
    }
    return s->found;
}

void rk_stop_flush(rk_stop *s, rk_buf *out)
{
    if (s->found < 0 && s->held >= 0)
        rk_buf_add(out, s->patterns[s->held].bytes, matched(s, s->held));
    rk_stop_reset(s);
}

bool rk_stop_holds(const rk_stop *s)
{
    return s->held >= 0 && s->patterns[s->held].matched > 0;
}
