/* int8.c: matrices to bytes with ranges and back, a matrix a task. */
#include "compress/int8.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "compress/remade.h"
#include "format/ranges.h"

/* A matrix of the host, and the parameter that it becomes. */
typedef struct matrix {
    const rk_tensor *from;
    rk_param *p;
    int64_t number;       /* of p */
    double squares, lost; /* |W|^2, |W - W^|^2 */
    rk_status status;
} matrix;

typedef struct job {
    rk_model *m;
    matrix *of;
    int64_t n, at; /* at: of the first of this round */
} job;

/* Row-major (out, in) in f32, to be freed. */
static float *values_of(const rk_tensor *t)
{
    const int64_t out = t->dims[0], in = t->dims[1];
    float *w = malloc((size_t)(out * in) * sizeof *w + 1);
    for (int64_t r = 0; w && r < out; r++)
        rk_matrix_row(t, RK_OUT_IN, r, w + r * in);
    return w;
}

/* ---- to bytes ---- */

static bool is_finite(int64_t n, const float *x)
{
    bool all = true;
    for (int64_t i = 0; i < n; i++)
        all &= isfinite(x[i]);
    return all;
}

static void add_error(matrix *x, const float *row, const float *back, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double w = (double)row[i], d = w - (double)back[i];
        x->squares += w * w;
        x->lost += d * d;
    }
}

/* What the bytes have lost; the host's values are read once more. */
static rk_status measure(matrix *x)
{
    const rk_tensor *made = &x->p->tensor;
    const int64_t out = made->dims[0], in = made->dims[1];
    float *row = malloc((size_t)(2 * in) * sizeof *row + 1);
    for (int64_t o = 0; row && o < out; o++) {
        rk_matrix_row(x->from, RK_OUT_IN, o, row);
        rk_matrix_row(made, RK_OUT_IN, o, row + in);
        add_error(x, row, row + in, in);
    }
    free(row);
    return row ? RK_OK : RK_ERR_NOMEM;
}

/* One piece of memory, the parameter's own: the four vectors, then the bytes. */
static void narrow(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    matrix *x = &j->of[j->at + i];
    rk_param *p = x->p;
    const int64_t out = p->tensor.dims[0], in = p->tensor.dims[1], n = rk_ranges_floats(p);
    float *w = values_of(x->from),
          *vectors = malloc((size_t)n * sizeof *vectors + (size_t)(out * in));
    (void)worker;
    x->status = w && vectors ? RK_OK : RK_ERR_NOMEM;
    if (x->status == RK_OK && !is_finite(out * in, w))
        x->status = RK_ERR_NUMERIC;
    p->owned = vectors;
    if (x->status == RK_OK) {
        float *const my = vectors + 2 * out;
        p->tensor = rk_tensor_over(RK_U8, 2, p->tensor.dims, vectors + n);
        p->trained = true; /* its values are these */
        rk_ranges_narrow(out, in, w, vectors, vectors + out, my, my + in, p->tensor.data);
        rk_ranges_place(j->m, x->number, vectors);
        x->status = is_finite(n, vectors) ? measure(x) : RK_ERR_NUMERIC;
    }
    free(w);
}

static rk_status fail_of(const matrix *x, rk_error *err)
{
    if (x->status == RK_ERR_NUMERIC)
        return rk_fail(
            err, x->status,
            "tensor '%s' holds a number that is not finite, or numbers too far apart for "
            "bytes with ranges",
            x->p->name);
    return rk_fail(err, x->status, "out of memory for '%s'", x->p->name);
}

/* A thread each at a time. */
static rk_status narrow_all(job *j, const rk_int8_options *o, rk_error *err)
{
    const int64_t round = rk_pool_n_threads(o->pool);
    for (j->at = 0; j->at < j->n; j->at += round) {
        if (o->abort && o->abort(o->abort_user))
            return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
        if (o->progress)
            o->progress(o->progress_user, j->at, j->n);
        const int64_t n = rk_min_i64(round, j->n - j->at);
        rk_pool_run_whole(o->pool, n, narrow, j);
        for (int64_t i = j->at; i < j->at + n; i++)
            if (j->of[i].status != RK_OK)
                return fail_of(&j->of[i], err);
    }
    return RK_OK;
}

static void tell(const job *j, rk_int8_facts *facts)
{
    double lost = 0, squares = 0;
    *facts = (rk_int8_facts){.n = j->n};
    for (int64_t i = 0; i < j->n; i++) {
        const matrix *x = &j->of[i];
        lost += x->lost;
        squares += x->squares;
        facts->before += rk_tensor_bytes(x->from);
        facts->after +=
            rk_tensor_bytes(&x->p->tensor) + (size_t)rk_ranges_floats(x->p) * sizeof(float);
    }
    facts->error = squares > 0 ? sqrt(lost / squares) : 0;
}

/* Parameters have the numbers that they have in the host, whose sizes m has. */
static void find_matrices(job *j, const rk_model *host)
{
    for (int64_t i = 0; i < host->n_params; i++)
        if (rk_ranges_may(&host->params[i]) && host->params[i].tensor.dtype != RK_RANGED)
            j->of[j->n++] =
                (matrix){.from = &host->params[i].tensor, .p = &j->m->params[i], .number = i};
}

rk_status rk_int8_new(rk_model **out, const rk_model *host, const rk_int8_options *o,
                      rk_int8_facts *facts, rk_error *err)
{
    job j = {.of = calloc((size_t)host->n_params, sizeof *j.of)};
    *out = NULL;
    rk_status st = j.of ? rk_remade_new(out, host, &host->hp, err)
                        : rk_fail(err, RK_ERR_NOMEM, "out of memory for its matrices");
    j.m = *out;
    if (st == RK_OK)
        find_matrices(&j, host);
    if (st == RK_OK && j.n == 0)
        st = rk_fail(err, RK_ERR_UNSUPPORTED,
                     "%s: all matrices that can be bytes with ranges are so already",
                     rk_model_name(host));
    if (st == RK_OK)
        st = narrow_all(&j, o, err);
    if (st == RK_OK)
        tell(&j, facts);
    free(j.of);
    if (st != RK_OK) {
        rk_remade_close(*out);
        *out = NULL;
    }
    return st;
}

/* ---- and back ---- */

static void widen(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    matrix *x = &j->of[i];
    (void)worker;
    x->p->owned = values_of(x->from);
    x->status = x->p->owned ? RK_OK : RK_ERR_NOMEM;
    x->p->tensor = rk_tensor_over(RK_F32, 2, x->p->tensor.dims, x->p->owned);
    x->p->trained = true;
}

rk_status rk_int8_widen(rk_model *made, const rk_model *host, rk_pool *pool, rk_error *err)
{
    job j = {.m = made, .of = calloc((size_t)made->n_params, sizeof *j.of)};
    rk_status st = j.of ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for its matrices");
    for (int64_t i = 0; i < made->n_params && st == RK_OK; i++) {
        rk_param *p = &made->params[i];
        const rk_param *from = rk_model_param(host, p->name);
        if (from && rk_ranges_has(made, p))
            j.of[j.n++] = (matrix){.from = &from->tensor, .p = p};
    }
    if (j.n > 0)
        rk_pool_run_whole(pool, j.n, widen, &j);
    for (int64_t i = 0; i < j.n && st == RK_OK; i++)
        if (j.of[i].status != RK_OK)
            st = fail_of(&j.of[i], err);
    free(j.of);
    return st;
}
