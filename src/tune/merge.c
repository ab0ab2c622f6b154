/* merge.c: what each form adds to a row of W, and solving for the row that it was added to. */
#include "tune/merge.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune/lapack.h"

/* delta (in) of row o, which is w. */
typedef void delta_fn(const rk_adapter_part *p, int64_t o, const float *w, double *delta);

/* ---- deltas ---- */

/* delta += scale B[o] A */
static void add_pair(const rk_adapter_part *p, int64_t o, double scale, const float *a,
                     const float *b, double *delta)
{
    for (int64_t k = 0; k < p->rank; k++) {
        const double x = scale * (double)b[o * p->rank + k];
        const float *row = a + k * p->in;
        for (int64_t i = 0; i < p->in; i++)
            delta[i] += x * (double)row[i];
    }
}

static void delta_lora(const rk_adapter_part *p, int64_t o, const float *w, double *delta)
{
    (void)w;
    memset(delta, 0, (size_t)p->in * sizeof *delta);
    add_pair(p, o, p->scale, p->tensors[0], p->tensors[1], delta);
    if (p->start[0])
        add_pair(p, o, -p->scale, p->start[0], p->start[1], delta);
}

/* magnitude / |v| v - w with v = w + scale B[o] A */
static void delta_dora(const rk_adapter_part *p, int64_t o, const float *w, double *delta)
{
    double norm = 0.0;
    for (int64_t i = 0; i < p->in; i++)
        delta[i] = (double)w[i];
    add_pair(p, o, p->scale, p->tensors[0], p->tensors[1], delta);
    for (int64_t i = 0; i < p->in; i++)
        norm += delta[i] * delta[i];
    const double factor = norm > 0.0 ? (double)p->tensors[2][o] / sqrt(norm) : 0.0;
    for (int64_t i = 0; i < p->in; i++)
        delta[i] = factor * delta[i] - (double)w[i];
}

static void delta_miss(const rk_adapter_part *p, int64_t o, const float *w, double *delta)
{
    (void)w;
    for (int64_t i = 0; i < p->in; i++)
        delta[i] = (double)p->tensors[0][i % p->rank * p->width + o % p->width];
}

/* delta (r) = w (r) B + row o mod r of B */
static void block_delta(const rk_adapter_part *p, int64_t o, const float *block, const float *w,
                        double *delta)
{
    const int64_t r = p->rank;
    for (int64_t j = 0; j < r; j++)
        delta[j] = (double)block[o % r * r + j];
    for (int64_t k = 0; k < r; k++)
        for (int64_t j = 0; j < r; j++)
            delta[j] += (double)w[k] * (double)block[k * r + j];
}

/* The block of bat that output o and input i meet. */
static const float *block_at(const rk_adapter_part *p, int64_t o, int64_t i)
{
    const int64_t r = p->rank;
    return p->tensors[0] + (p->form == RK_PART_BAT_IN ? i / r : o / r) * r * r;
}

static void delta_bat(const rk_adapter_part *p, int64_t o, const float *w, double *delta)
{
    for (int64_t i = 0; i < p->in; i += p->rank)
        block_delta(p, o, block_at(p, o, i), w + i, delta + i);
}

static delta_fn *const deltas[RK_PART_FORMS] = {
    [RK_PART_LORA] = delta_lora,  [RK_PART_DORA] = delta_dora,   [RK_PART_MISS] = delta_miss,
    [RK_PART_BAT_IN] = delta_bat, [RK_PART_BAT_OUT] = delta_bat,
};

/* ---- rows ---- */

typedef struct row_job {
    const rk_part_use *uses;
    int64_t n, in;
    float *w;
    double *rows; /* (n_threads, 2, in): what is added, and by one part */
} row_job;

static void add_row(void *arg, int64_t o, int worker)
{
    const row_job *j = arg;
    float *w = j->w + o * j->in;
    double *sum = j->rows + worker * 2 * j->in, *delta = sum + j->in;
    memset(sum, 0, (size_t)j->in * sizeof *sum);
    for (int64_t k = 0; k < j->n; k++) {
        const rk_adapter_part *p = j->uses[k].part;
        deltas[p->form](p, o, w, delta);
        for (int64_t i = 0; i < j->in; i++)
            sum[i] += j->uses[k].scale * delta[i];
    }
    for (int64_t i = 0; i < j->in; i++)
        w[i] = (float)((double)w[i] + sum[i]);
}

rk_status rk_parts_merge(const rk_part_use *uses, int64_t n, float *w, rk_pool *pool, rk_error *err)
{
    const rk_adapter_part *p = uses[0].part;
    const int n_threads = pool ? rk_pool_n_threads(pool) : 1;
    double *rows = malloc((size_t)(n_threads * 2 * p->in) * sizeof *rows);
    row_job j = {uses, n, p->in, w, rows};
    if (!rows)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory to merge %s", p->name);
    if (pool)
        rk_pool_run_whole(pool, p->out, add_row, &j);
    for (int64_t o = 0; o < p->out && !pool; o++)
        add_row(&j, o, 0);
    free(rows);
    return RK_OK;
}

rk_status rk_part_merge(const rk_adapter_part *p, double scale, float *w, rk_pool *pool,
                        rk_error *err)
{
    return rk_parts_merge(&(rk_part_use){p, scale}, 1, w, pool, err);
}

/* ---- taking out ---- */

/* The rows of r numbers that share a block of bat: from w (out, in) to x and back. */
typedef struct shared_rows {
    int64_t o, n_o, i, n_i; /* outputs [o, o + n_o), inputs [i, i + n_i) */
} shared_rows;

static shared_rows rows_of_block(const rk_adapter_part *p, int64_t block)
{
    const int64_t r = p->rank;
    return p->form == RK_PART_BAT_IN ? (shared_rows){0, p->out, block * r, r}
                                     : (shared_rows){block * r, r, 0, p->in};
}

/* w' - scale B of the rows: what is (I + scale B) times w. */
static void take_rows(const rk_adapter_part *p, double scale, const float *block,
                      const shared_rows *s, const float *w, double *x)
{
    const int64_t r = p->rank;
    for (int64_t o = s->o; o < s->o + s->n_o; o++)
        for (int64_t i = s->i; i < s->i + s->n_i; i++)
            *x++ = (double)w[o * p->in + i] - scale * (double)block[o % r * r + i % r];
}

static void put_rows(const rk_adapter_part *p, const shared_rows *s, const double *x, float *w)
{
    for (int64_t o = s->o; o < s->o + s->n_o; o++)
        for (int64_t i = s->i; i < s->i + s->n_i; i++)
            w[o * p->in + i] = (float)*x++;
}

/* w' = w (I + scale B) + scale B, block by block. */
static rk_status take_out_bat(const rk_adapter_part *p, double scale, float *w, rk_error *err)
{
    const int64_t r = p->rank, n_blocks = rk_part_count(p, 0) / (r * r);
    const int64_t per_block = p->out * p->in / n_blocks;
    double *a = malloc((size_t)(r * r) * sizeof *a), *x = malloc((size_t)per_block * sizeof *x);
    rk_status st =
        a && x ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory to unmerge %s", p->name);
    for (int64_t b = 0; b < n_blocks && st == RK_OK; b++) {
        const float *block = p->tensors[0] + b * r * r;
        const shared_rows s = rows_of_block(p, b);
        for (int64_t i = 0; i < r * r; i++)
            a[i] = scale * (double)block[i] + (i / r == i % r ? 1.0 : 0.0);
        take_rows(p, scale, block, &s, w, x);
        st = rk_solve_rows(r, a, per_block / r, x, err);
        if (st == RK_OK)
            put_rows(p, &s, x, w);
    }
    free(x);
    free(a);
    return st;
}

rk_status rk_part_unmerge(const rk_adapter_part *p, double scale, float *w, rk_pool *pool,
                          rk_error *err)
{
    switch (p->form) {
    case RK_PART_DORA:
        return rk_fail(
            err, RK_ERR_UNSUPPORTED,
            "%s: dora cannot be taken out of a merged matrix, whose rows have lost their "
            "own norms",
            p->name);
    case RK_PART_BAT_IN:
    case RK_PART_BAT_OUT:
        return take_out_bat(p, scale, w, err);
    default: /* what is added does not depend on w */
        return rk_part_merge(p, -scale, w, pool, err);
    }
}
