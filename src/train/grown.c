/* grown.c: elements of a parameter by their generation. */
#include "train/grown.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/format.h"
#include "model/meta7.h"

int64_t rk_grown_generations(const rk_model *m)
{
    return m->arch == &rk_arch_meta7 ? rk_max_i64(1, m->hp.own[RK_META7_GENERATIONS].n) : 1;
}

/* Rows of a layer's generations; NULL: none are recorded. */
static const rk_param *record_of(const rk_model *m, int64_t layer)
{
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, "blocks.%" PRId64 ".meta_generations", layer);
    return rk_model_param(m, name);
}

/* What a file's parameter says is in its values or, where a trainer has them not yet, in the file's. */
static double recorded(const rk_param *record, int64_t g, int what)
{
    return record->tensor.data
               ? (double)((const float *)record->tensor.data)[g * RK_META7_BORN + what]
               : 0;
}

/* How far a dimension reached in a generation, heads that nobody reads apart: those were there at first. */
static int64_t reached(const rk_model *m, const rk_param *record, char letter, int64_t g,
                       int64_t size)
{
    const int64_t n = m->hp.head_size;
    switch (letter) {
    case 'F':
        return (int64_t)recorded(record, g, RK_META7_BORN_TOKENS);
    case 'H':
    case 'E':
        return (int64_t)recorded(record, g, RK_META7_BORN_HEADS);
    case 'D':
    case 'Q':
        return (int64_t)recorded(record, g, RK_META7_BORN_HEADS) * n;
    case 'G':
        return (int64_t)recorded(record, g, RK_META7_BORN_META) * n;
    default:
        return size;
    }
}

/* The first generation that had index i of a dimension. */
static int64_t born(const rk_model *m, const rk_param *record, char letter, int64_t i, int64_t size,
                    int64_t first)
{
    const int64_t n = rk_grown_generations(m), read = m->hp.n_head;
    const int64_t unit = letter == 'D' ? m->hp.head_size : 1;
    if ((letter == 'D' || letter == 'E') && i >= read * unit)
        return first;
    int64_t g = first;
    while (g < n - 1 && i >= reached(m, record, letter, g, size))
        g++;
    return g;
}

static int64_t generation_of(const rk_model *m, const rk_param *record, const rk_param *p,
                             int64_t e, int64_t first)
{
    int64_t g = first;
    for (int d = p->tensor.n_dims - 1; d >= 0; e /= p->tensor.dims[d], d--)
        g = rk_max_i64(
            g, born(m, record, p->spec->shape[d], e % p->tensor.dims[d], p->tensor.dims[d], first));
    return g;
}

/* That of a layer: rows before it are zeros. */
static int64_t first_of(const rk_model *m, const rk_param *record)
{
    int64_t g = 0;
    while (g < rk_grown_generations(m) - 1 && recorded(record, g, RK_META7_BORN_HEADS) < 1)
        g++;
    return g;
}

rk_status rk_grown_runs(rk_grown_run **out, int64_t *n, const rk_model *m, const rk_param *p,
                        rk_error *err)
{
    const rk_param *record = rk_param_of_model(p->spec) ? NULL : record_of(m, p->layer);
    const int64_t count = rk_tensor_count(&p->tensor);
    int64_t room = 0;
    *out = NULL;
    *n = 0;
    if (!record)
        return RK_OK;
    const int64_t first = first_of(m, record);
    for (int64_t e = 0; e < count; e++) {
        const int64_t g = generation_of(m, record, p, e, first);
        if (*n > 0 && (*out)[*n - 1].generation == g) {
            (*out)[*n - 1].end = e + 1;
            continue;
        }
        if (*n == room) {
            room = 2 * room + 16;
            rk_grown_run *more = realloc(*out, (size_t)room * sizeof *more);
            if (!more) {
                free(*out);
                *out = NULL;
                return rk_fail(err, RK_ERR_NOMEM, "out of memory for what '%s' has grown by",
                               p->name);
            }
            *out = more;
        }
        (*out)[(*n)++] = (rk_grown_run){e + 1, g};
    }
    return RK_OK;
}

bool rk_grown_is_new(const rk_model *m, const rk_param *p)
{
    const rk_param *record = rk_param_of_model(p->spec) ? NULL : record_of(m, p->layer);
    const int64_t last = rk_grown_generations(m) - 1;
    if (!record || last < 1)
        return false;
    const int64_t first = first_of(m, record);
    bool found = first == last;
    for (int d = 0; d < p->tensor.n_dims && !found; d++)
        for (int64_t i = 0; i < p->tensor.dims[d] && !found; i++)
            found = born(m, record, p->spec->shape[d], i, p->tensor.dims[d], first) == last;
    return found;
}

/* ---- spans of updates ---- */

/* A number for each generation, as the model's file says it; all 0 where it does not. */
static rk_status read_list(const rk_model *m, const char *key, int64_t *x, bool *said,
                           rk_error *err)
{
    const char *text = m->file ? rk_file_meta(m->file, key) : NULL;
    const int64_t n = rk_grown_generations(m);
    char *end = NULL;
    *said = text != NULL;
    for (int64_t g = 0; g < n; g++)
        x[g] = 0;
    for (int64_t g = 0; text && g < n; g++, text = *end ? end + 1 : end) {
        x[g] = strtoll(text, &end, 10);
        if (end == text || x[g] < 0 || *end != (g < n - 1 ? ',' : '\0'))
            return rk_fail(err, RK_ERR_FORMAT,
                           "%s: %s is '%.64s', expected %" PRId64 " numbers with commas between",
                           rk_file_name(m->file), key, rk_file_meta(m->file, key), n);
    }
    return RK_OK;
}

rk_status rk_grown_at(const rk_model *m, int64_t *step, bool *said, rk_error *err)
{
    int64_t steps[RK_ROUTE_GENERATIONS];
    const rk_status st = read_list(m, RK_GROWN_STEPS, steps, said, err);
    *step = steps[rk_grown_generations(m) - 1];
    return st;
}

rk_status rk_grown_spans(rk_update_span **out, const rk_model *m, bool freeze_old, rk_update *u,
                         int64_t n, rk_error *err)
{
    int64_t steps[RK_ROUTE_GENERATIONS], total = 0;
    const int64_t last = rk_grown_generations(m) - 1;
    bool said;
    *out = NULL;
    rk_status st = read_list(m, RK_GROWN_STEPS, steps, &said, err);
    if (st != RK_OK || last < 1 || (!said && !freeze_old))
        return st;
    for (int64_t i = 0; i < n && st == RK_OK; i++) {
        rk_grown_run *runs;
        int64_t count;
        st = rk_grown_runs(&runs, &count, m, u[i].param, err);
        rk_update_span *more =
            st == RK_OK ? realloc(*out, (size_t)(total + count + 1) * sizeof *more) : NULL;
        if (st == RK_OK && !more)
            st = rk_fail(err, RK_ERR_NOMEM, "out of memory for what the model has grown by");
        if (more)
            *out = more;
        for (int64_t r = 0; st == RK_OK && r < count; r++)
            (*out)[total++] = (rk_update_span){runs[r].end, steps[runs[r].generation],
                                               freeze_old && runs[r].generation < last};
        u[i].n_spans = count;
        free(runs);
    }
    if (st != RK_OK) {
        free(*out);
        *out = NULL;
        return st;
    }
    const rk_update_span *at = *out;
    for (int64_t i = 0; i < n; at += u[i++].n_spans)
        u[i].spans = u[i].n_spans ? at : NULL;
    return RK_OK;
}

void rk_grown_clear(const rk_update *u, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t s = 0, from = 0; s < u[i].n_spans; from = u[i].spans[s++].end)
            if (u[i].spans[s].frozen)
                memset(u[i].grad + from, 0, (size_t)(u[i].spans[s].end - from) * sizeof *u[i].grad);
}

/* ---- tokens ---- */

bool rk_grown_counts(const rk_arch *arch)
{
    return arch == &rk_arch_meta7;
}

static void put_list(const int64_t *x, int64_t n, char text[RK_GROWN_TEXT_MAX])
{
    int at = 0;
    for (int64_t g = 0; g < n && at < RK_GROWN_TEXT_MAX; g++)
        at +=
            snprintf(text + at, (size_t)(RK_GROWN_TEXT_MAX - at), "%s%" PRId64, g ? "," : "", x[g]);
}

/* Of each of the model's generations. */
static rk_status count_tokens(const rk_model *m, int64_t step, int64_t tokens, int64_t *x,
                              rk_error *err)
{
    int64_t before[RK_ROUTE_GENERATIONS];
    const int64_t last = rk_grown_generations(m) - 1;
    bool said;
    rk_status st = read_list(m, RK_TRAINED_TOKENS, x, &said, err);
    if (st == RK_OK)
        st = read_list(m, RK_GROWN_STEPS, before, &said, err);
    if (st == RK_OK)
        x[last] += rk_max_i64(step - before[last], 0) * tokens;
    return st;
}

rk_status rk_grown_trained(const rk_model *m, int64_t step, int64_t tokens,
                           char text[RK_GROWN_TEXT_MAX], rk_error *err)
{
    int64_t x[RK_ROUTE_GENERATIONS];
    const rk_status st = count_tokens(m, step, tokens, x, err);
    if (st == RK_OK)
        put_list(x, rk_grown_generations(m), text);
    return st;
}

rk_status rk_grown_trained_on(const rk_model *m, int64_t step, int64_t tokens, int64_t back_at,
                              char text[RK_GROWN_TEXT_MAX], rk_error *err)
{
    int64_t x[RK_ROUTE_GENERATIONS + 1];
    const int64_t n = rk_grown_generations(m);
    const rk_status st = count_tokens(m, step, tokens, x, err);
    x[n] = 0;
    if (st == RK_OK)
        put_list(x, back_at < 0 ? n + 1 : rk_min_i64(back_at + 1, n), text);
    return st;
}
