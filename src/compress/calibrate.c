/* calibrate.c: a session evaluates the text; a hook of its context is shown the activations of each
 * product. */
#include "compress/calibrate.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "infer/session.h"

typedef struct entry {
    double *sums; /* (n) sums of squares */
    float *means; /* (n) set at the end of the text */
    int64_t n;    /* inputs */
    int64_t rows; /* rows of activations that were summed */
} entry;

struct rk_calibration {
    const rk_model *model;
    entry *entries; /* (parameters) */
    bool failed;    /* out of memory */
};

/* The index of the parameter whose data the weight w has; -1: none. Operations also get views of
 * parameters, so data are compared. */
static int64_t find(const rk_calibration *c, const rk_tensor *w)
{
    for (int64_t i = 0; i < c->model->n_params; i++)
        if (c->model->params[i].tensor.data == w->data && w->data)
            return i;
    return -1;
}

static void observe(void *user, const rk_tensor *w, const rk_tensor *x)
{
    rk_calibration *c = user;
    const int64_t at = find(c, w), n = rk_tensor_cols(x);
    entry *e = at < 0 ? NULL : &c->entries[at];
    if (!e || x->dtype != RK_F32)
        return;
    if (!e->sums) {
        e->sums = calloc((size_t)n, sizeof *e->sums);
        e->n = n;
    }
    c->failed = c->failed || !e->sums;
    for (int64_t r = 0; r < rk_tensor_rows(x) && e->sums && e->n == n; r++) {
        const float *row = (const float *)x->data + r * n;
        for (int64_t i = 0; i < n; i++)
            e->sums[i] += (double)row[i] * (double)row[i];
        e->rows++;
    }
}

/* Sums become means; inputs that the text never used get a small value. */
static void finish(rk_calibration *c)
{
    for (int64_t p = 0; p < c->model->n_params; p++) {
        entry *e = &c->entries[p];
        double total = 0;
        if (!e->sums || e->rows == 0)
            continue;
        e->means = calloc((size_t)e->n, sizeof *e->means);
        c->failed = c->failed || !e->means;
        for (int64_t i = 0; i < e->n; i++)
            total += e->sums[i];
        const double floor = total > 0 ? 1e-3 * total / (double)e->n : 1;
        for (int64_t i = 0; i < e->n && e->means; i++)
            e->means[i] = (float)((e->sums[i] + floor) / (double)e->rows);
    }
}

enum { PIECE = 64 }; /* tokens whose logits are held at once: the head is a matrix, too */

static rk_status read_window(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                             rk_error *err)
{
    rk_status st = RK_OK;
    rk_session_reset(s);
    for (int64_t at = 0; at < n && st == RK_OK; at += PIECE)
        st = rk_session_eval_all(s, tokens + at, rk_min_i64(PIECE, n - at), logits, err);
    return st;
}

static rk_status read_text(rk_calibration *c, rk_session *s, const int32_t *tokens, int64_t n,
                           int64_t ctx_len, rk_progress_fn *progress, void *user, rk_error *err)
{
    float *logits = malloc(PIECE * (size_t)c->model->hp.n_vocab * sizeof *logits);
    rk_status st = logits ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory to calibrate");
    s->scheduler.ctx.observe = observe;
    s->scheduler.ctx.observe_user = c;
    for (int64_t at = 0; at < n && st == RK_OK; at += ctx_len) {
        const int64_t window = rk_min_i64(ctx_len, n - at);
        st = read_window(s, tokens + at, window, logits, err);
        if (progress)
            progress(user, at + window, n);
    }
    free(logits);
    return st;
}

rk_status rk_calibrate(rk_calibration **out, const rk_model *m, rk_engine *e, const int32_t *tokens,
                       int64_t n, int64_t ctx_len, rk_progress_fn *progress, void *user,
                       rk_error *err)
{
    rk_session *s = NULL;
    rk_calibration *c = calloc(1, sizeof *c);
    if (c) {
        c->model = m;
        c->entries = calloc((size_t)m->n_params, sizeof *c->entries);
    }
    rk_status st = !c || !c->entries ? rk_fail(err, RK_ERR_NOMEM, "out of memory to calibrate")
                   : n < 2           ? rk_fail(err, RK_ERR_ARG,
                                               "a calibration text of %lld tokens, expected "
                                                         "at least 2",
                                               (long long)n)
                                     : rk_session_new(&s, m, e, err);
    if (st == RK_OK)
        st = read_text(c, s, tokens, n, ctx_len, progress, user, err);
    rk_session_free(s);
    if (st == RK_OK) {
        finish(c);
        if (c->failed)
            st = rk_fail(err, RK_ERR_NOMEM, "out of memory to calibrate");
    }
    if (st == RK_OK)
        *out = c;
    else
        rk_calibration_free(c);
    return st;
}

void rk_calibration_free(rk_calibration *c)
{
    if (!c)
        return;
    for (int64_t i = 0; c->entries && i < c->model->n_params; i++) {
        free(c->entries[i].sums);
        free(c->entries[i].means);
    }
    free(c->entries);
    free(c);
}

const float *rk_calibration_of(const rk_calibration *c, const rk_param *p)
{
    return c ? c->entries[p - c->model->params].means : NULL;
}
