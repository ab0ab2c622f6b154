/* start.c: the table of starts, and what each computes. */
#include "tune/start.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/random.h"
#include "tune/sketch.h"

const rk_start_facts rk_starts[RK_START_COUNT] = {
    [RK_START_PLAIN] = {"plain", false, false, false},
    [RK_START_RANDOM] = {"random", false, false, false},
    [RK_START_GAUSSIAN] = {"gaussian", false, false, false},
    [RK_START_PISSA] = {"pissa", true, false, true},
    [RK_START_OLORA] = {"olora", true, false, true},
    [RK_START_LORA_GA] = {"lora-ga", false, true, true},
};

bool rk_start_suits(rk_start_kind kind, rk_adapter_form form)
{
    switch (kind) {
    case RK_START_PLAIN:
        return true;
    case RK_START_RANDOM:
        return form == RK_PART_MISS;
    case RK_START_GAUSSIAN:
        return form == RK_PART_LORA || form == RK_PART_DORA;
    default:
        return form == RK_PART_LORA;
    }
}

static rk_status no_memory(const rk_adapter_part *p, rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for the start of %s", p->name);
}

/* ---- draws ---- */

static double uniform(const rk_start *how, int64_t i)
{
    return 2.0 * rk_rng_f64(how->seed, RK_RNG_ADAPTER, (uint64_t)how->index, (uint64_t)i) - 1.0;
}

static double normal(const rk_start *how, int64_t i)
{
    return rk_rng_normal(how->seed, RK_RNG_ADAPTER, (uint64_t)how->index, (uint64_t)i);
}

static void fill(float *x, int64_t n, double scale, const rk_start *how,
                 double (*draw)(const rk_start *, int64_t))
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(scale * draw(how, i));
}

static void start_drawn(rk_adapter_part *p, const rk_start *how)
{
    const bool pair = p->form == RK_PART_LORA || p->form == RK_PART_DORA;
    const int64_t n = rk_part_count(p, 0);
    for (int i = 0; i < rk_forms[p->form].n_tensors; i++)
        memset(p->tensors[i], 0, (size_t)rk_part_count(p, i) * sizeof(float));
    if (how->kind == RK_START_GAUSSIAN)
        fill(p->tensors[0], n, 1.0 / (double)p->rank, how, normal);
    else if (pair)
        fill(p->tensors[0], n, 1.0 / sqrt((double)p->in), how, uniform);
    else if (how->kind == RK_START_RANDOM)
        fill(p->tensors[0], n, 1.0 / sqrt((double)p->width), how, uniform);
}

/* The norms of the rows of W + scale B A, which is W, since B is zero. */
static void start_magnitude(rk_adapter_part *p, const rk_start *how)
{
    for (int64_t o = 0; o < p->out; o++) {
        const float *row = how->weight + o * p->in;
        double sum = 0.0;
        for (int64_t i = 0; i < p->in; i++)
            sum += (double)row[i] * (double)row[i];
        p->tensors[2][o] = (float)sqrt(sum);
    }
}

/* ---- from the matrix, or from its gradient ---- */

/* The largest q singular values of a (out, in). */
typedef struct factors {
    int64_t q;
    float *u, *vt; /* (out, q), (q, in) */
    double *s;     /* (q) */
} factors;

static void free_factors(factors *f)
{
    free(f->u);
    free(f->vt);
    free(f->s);
}

static rk_status find_factors(factors *f, const rk_adapter_part *p, const rk_start *how,
                              const float *a, int64_t q, int64_t width, rk_error *err)
{
    const rk_svd_job job = {.rows = p->out,
                            .cols = p->in,
                            .a = a,
                            .q = q,
                            .exact = how->exact && how->kind == RK_START_PISSA,
                            .width = rk_min_i64(width, rk_min_i64(p->in, p->out)),
                            .niter = how->niter,
                            .seed = how->seed,
                            .index = how->index,
                            .kernels = how->kernels,
                            .pool = how->pool};
    *f = (factors){.q = q,
                   .u = malloc((size_t)(p->out * q) * sizeof *f->u),
                   .vt = malloc((size_t)(q * p->in) * sizeof *f->vt),
                   .s = malloc((size_t)q * sizeof *f->s)};
    return f->u && f->vt && f->s ? rk_svd_largest(&job, f->u, f->s, f->vt, err) : no_memory(p, err);
}

/* Row k of A: the right vector `right` times a; column k of B: the left vector `left` times b. */
static void put_pair(rk_adapter_part *p, int64_t k, const factors *f, int64_t right, double a,
                     int64_t left, double b)
{
    for (int64_t i = 0; i < p->in; i++)
        p->tensors[0][k * p->in + i] = (float)(a * (double)f->vt[right * p->in + i]);
    for (int64_t o = 0; o < p->out; o++)
        p->tensors[1][o * p->rank + k] = (float)(b * (double)f->u[o * f->q + left]);
}

/* More vectors than are asked for make a sketch exact where singular values fall slowly. */
enum { SPARE = 8 };

static rk_status start_pissa(rk_adapter_part *p, const rk_start *how, rk_error *err)
{
    factors f;
    const rk_status st = find_factors(&f, p, how, how->weight, p->rank, p->rank + SPARE, err);
    for (int64_t k = 0; k < p->rank && st == RK_OK; k++) {
        const double root = sqrt(f.s[k] / p->scale);
        put_pair(p, k, &f, k, root, k, root);
    }
    free_factors(&f);
    return st;
}

/* Q's first r columns depend on W's first r only, and R's first r rows are Q^T W. */
static rk_status start_olora(rk_adapter_part *p, const rk_start *how, rk_error *err)
{
    float *const b = p->tensors[1];
    for (int64_t o = 0; o < p->out; o++)
        memcpy(b + o * p->rank, how->weight + o * p->in, (size_t)p->rank * sizeof *b);
    rk_status st = rk_sketch_basis(p->out, p->rank, b, err);
    if (st == RK_OK)
        st = rk_sketch_product(how->kernels, how->pool, true, p->rank, p->in, p->out, b,
                               how->weight, p->tensors[0], err);
    return st;
}

/* Which of the 2 r vectors make row k of A and column k of B. */
static void chosen(rk_ga_direction d, int64_t rank, int64_t k, int64_t *right, int64_t *left)
{
    const bool alternating = d == RK_GA_ARBR, left_first = d == RK_GA_A2RBR;
    *right = alternating ? 2 * k + 1 : left_first ? rank + k : k;
    *left = alternating ? 2 * k : left_first ? k : rank + k;
}

static rk_status start_lora_ga(rk_adapter_part *p, const rk_start *how, rk_error *err)
{
    factors f;
    const double stable = pow((double)p->out, 0.25) / sqrt(how->gamma);
    const int64_t q = rk_min_i64(4 * p->rank, rk_min_i64(p->in, p->out));
    const rk_status st = find_factors(&f, p, how, how->gradient, q, q, err);
    for (int64_t k = 0; k < p->rank && st == RK_OK; k++) {
        int64_t right, left;
        chosen(how->direction, p->rank, k, &right, &left);
        if (how->ga_peft)
            put_pair(p, k, &f, right, 1.0, left, stable * f.s[left]);
        else
            put_pair(p, k, &f, right, stable, left, stable);
    }
    free_factors(&f);
    return st;
}

/* ---- a start ---- */

static rk_status check(const rk_adapter_part *p, const rk_start *how, rk_error *err)
{
    const rk_start_facts *facts = &rk_starts[how->kind];
    const int64_t vectors = how->kind == RK_START_LORA_GA ? 2 * p->rank : p->rank;
    if (!rk_start_suits(how->kind, p->form))
        return rk_fail(err, RK_ERR_ARG, "%s does not start as '%s'", rk_forms[p->form].name,
                       facts->name);
    if (facts->residual && vectors > rk_min_i64(p->in, p->out))
        return rk_fail(err, RK_ERR_ARG,
                       "%s (%" PRId64 ", %" PRId64 "): a start of rank %" PRId64
                       " as '%s' needs %" PRId64 " singular vectors, and it has fewer",
                       p->name, p->out, p->in, p->rank, facts->name, vectors);
    return RK_OK;
}

static rk_status keep_start(rk_adapter_part *p, rk_error *err)
{
    const rk_status st = rk_part_make_start(p, err);
    for (int i = 0; i < 2 && st == RK_OK; i++)
        memcpy(p->start[i], p->tensors[i], (size_t)rk_part_count(p, i) * sizeof(float));
    return st;
}

rk_status rk_part_start(rk_adapter_part *p, const rk_start *how, rk_error *err)
{
    rk_status st = check(p, how, err);
    if (st != RK_OK)
        return st;
    switch (how->kind) {
    case RK_START_PISSA:
        st = start_pissa(p, how, err);
        break;
    case RK_START_OLORA:
        st = start_olora(p, how, err);
        break;
    case RK_START_LORA_GA:
        st = start_lora_ga(p, how, err);
        break;
    default:
        start_drawn(p, how);
    }
    if (p->form == RK_PART_DORA)
        start_magnitude(p, how);
    return st == RK_OK && rk_starts[how->kind].residual ? keep_start(p, err) : st;
}
