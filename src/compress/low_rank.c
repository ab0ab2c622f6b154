/* low_rank.c: pairs by singular value decomposition, a matrix a task. Each task writes what is its own, and
 * sums go in the order of the matrices. */
#include "compress/low_rank.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "compress/eigen.h"
#include "compress/remade.h"
#include "model/pair.h"

/* A matrix of the host and what becomes of it. */
typedef struct matrix {
    const rk_param *p; /* the host's; of rk_low_rank_multiply the first factor's */
    int kind;
    rk_tensor *down, *up, *whole;
    int64_t rank;         /* that the share asks for */
    double squares, lost; /* |W|^2, |W - W2 W1|^2 */
    rk_status status;
    rk_error err;
} matrix;

typedef struct job {
    const rk_low_rank_options *o;
    matrix *of;
    int64_t n, at; /* at: of the first of this round */
    int64_t width;
} job;

/* ---- a matrix ---- */

/* Row-major (out, in) in f32, to be freed. */
static float *values_of(const rk_param *p)
{
    const int64_t out = p->tensor.dims[0], in = p->tensor.dims[1];
    float *w = malloc((size_t)(out * in) * sizeof *w);
    for (int64_t r = 0; w && r < out; r++)
        rk_matrix_row(&p->tensor, RK_OUT_IN, r, w + r * in);
    return w;
}

static int64_t rank_for(int64_t n, const double *s, double share)
{
    double all = 0, sum = 0;
    int64_t rank = 0;
    for (int64_t i = 0; i < n; i++)
        all += s[i];
    while (rank < n && (rank == 0 || sum < share * all))
        sum += s[rank++];
    return rank;
}

/* W1 and W2 of the first singular vectors; s (n), vt (n, n). */
static void fill_pair(matrix *x, int64_t n, const float *w, const double *s, const double *vt)
{
    const int64_t rank = x->down->dims[0];
    float *down = x->down->data, *up = x->up->data;
    for (int64_t k = 0; k < rank; k++) {
        const double root = sqrt(s[k]);
        for (int64_t i = 0; i < n; i++)
            down[k * n + i] = (float)(root * vt[k * n + i]);
        for (int64_t o = 0; o < n; o++) {
            double sum = 0; /* of U_ok S_k */
            for (int64_t i = 0; i < n; i++)
                sum += (double)w[o * n + i] * vt[k * n + i];
            up[o * rank + k] = root > 0 ? (float)(sum / root) : 0.0f;
        }
    }
    for (int64_t k = 0; k < n; k++) {
        x->squares += s[k] * s[k];
        x->lost += k < rank ? 0 : s[k] * s[k];
    }
}

static void decompose(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    matrix *x = &j->of[j->at + i];
    const int64_t n = j->width;
    const bool pair = x->down != NULL;
    float *w = values_of(x->p);
    double *s = malloc((size_t)n * sizeof *s);
    double *vt = pair ? malloc((size_t)(n * n) * sizeof *vt) : NULL;
    (void)worker;
    x->status = w && s && (vt || !pair) ? rk_singular(n, n, w, s, vt, &x->err)
                                        : rk_fail(&x->err, RK_ERR_NOMEM, "out of memory");
    if (x->status == RK_OK && pair)
        fill_pair(x, n, w, s, vt);
    else if (x->status == RK_OK)
        x->rank = rank_for(n, s, j->o->share);
    free(vt);
    free(s);
    free(w);
}

/* All matrices, a thread each at a time. */
static rk_status decompose_all(job *j, int64_t done, int64_t all, rk_error *err)
{
    const rk_low_rank_options *o = j->o;
    const int64_t round = rk_pool_n_threads(o->pool);
    for (j->at = 0; j->at < j->n; j->at += round) {
        if (o->abort && o->abort(o->abort_user))
            return rk_fail(err, RK_ERR_ABORTED, "stopped on request");
        if (o->progress)
            o->progress(o->progress_user, done + j->at, all);
        const int64_t n = rk_min_i64(round, j->n - j->at);
        rk_pool_run_whole(o->pool, n, decompose, j);
        for (int64_t i = j->at; i < j->at + n; i++)
            if (j->of[i].status != RK_OK)
                return rk_fail(err, j->of[i].status, "%s: %s", j->of[i].p->name, j->of[i].err.msg);
    }
    return RK_OK;
}

/* ---- the model ---- */

/* The matrices that can be pairs; returns how many there are. */
static int64_t matrices_of(const rk_model *m, matrix *of)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const int kind = rk_pair_kind(m->params[i].spec);
        if (kind < 0 || !rk_pair_has(m->arch, kind))
            continue;
        if (of)
            of[n] = (matrix){.p = &m->params[i], .kind = kind};
        n++;
    }
    return n;
}

static rk_status check_host(const rk_model *host, rk_error *err)
{
    if (host->hp.low_rank > 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: has low-rank pairs already, of rank %" PRId64
                       "; expected whole matrices",
                       rk_model_name(host), host->hp.low_rank);
    if (matrices_of(host, NULL) > 0)
        return RK_OK;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s models have no square matrices that can be low-rank pairs here; those of "
                   "rwkv4, rwkv5, rwkv6 and rwkv7 have",
                   host->arch->name);
}

/* The host's sizes with the ranks. */
static rk_hparams pair_sizes(const rk_model *host, const job *j)
{
    rk_hparams hp = host->hp;
    for (int64_t i = 0; i < j->n; i++) {
        int64_t *rank = &hp.pair_rank[j->of[i].kind];
        *rank = rk_max_i64(*rank, j->o->rank > 0 ? j->o->rank : j->of[i].rank);
    }
    hp.pair_form = RK_PAIR_PLAIN;
    return hp;
}

/* Where the pairs of m lie. */
static void refer_to_pairs(const rk_model *m, job *j)
{
    for (int64_t i = 0; i < j->n; i++) {
        const rk_low_rank *pair = &m->pairs[j->of[i].p->layer * RK_PAIR_KINDS + j->of[i].kind];
        j->of[i].down = pair->down;
        j->of[i].up = pair->up;
    }
}

static double error_of(const job *j)
{
    double lost = 0, squares = 0;
    for (int64_t i = 0; i < j->n; i++) {
        lost += j->of[i].lost;
        squares += j->of[i].squares;
    }
    return squares > 0 ? sqrt(lost / squares) : 0;
}

rk_status rk_low_rank_new(rk_model **out, const rk_model *host, const rk_low_rank_options *o,
                          double *error, rk_error *err)
{
    job j = {.o = o, .n = matrices_of(host, NULL), .width = host->hp.n_embd};
    const int64_t first = o->rank > 0 ? 0 : j.n; /* matrices of the pass for the ranks */
    *out = NULL;
    rk_status st = check_host(host, err);
    if (st == RK_OK && !(o->rank > 0 || (o->share > 0 && o->share <= 1)))
        st = rk_fail(err, RK_ERR_ARG, "expected a rank, or a share above 0 and up to 1");
    if (st != RK_OK)
        return st;
    j.of = calloc((size_t)j.n, sizeof *j.of);
    if (!j.of)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for %" PRId64 " matrices", j.n);
    matrices_of(host, j.of);
    if (first > 0)
        st = decompose_all(&j, 0, first + j.n, err);
    const rk_hparams hp = pair_sizes(host, &j);
    if (st == RK_OK)
        st = rk_remade_new(out, host, &hp, err);
    if (st == RK_OK) {
        refer_to_pairs(*out, &j);
        st = decompose_all(&j, first, first + j.n, err);
    }
    *error = error_of(&j);
    free(j.of);
    if (st != RK_OK) {
        rk_remade_close(*out);
        *out = NULL;
    }
    return st;
}

/* ---- whole again ---- */

static void multiply(void *arg, int64_t i, int worker)
{
    const job *j = arg;
    matrix *x = &j->of[i];
    const int64_t n = j->width, rank = x->down->dims[0];
    double *row = malloc((size_t)n * sizeof *row);
    float *down = malloc((size_t)(rank * n + rank) * sizeof *down), *up = down + rank * n;
    (void)worker;
    x->status = row && down ? RK_OK : RK_ERR_NOMEM;
    for (int64_t k = 0; x->status == RK_OK && k < rank; k++)
        rk_matrix_row(x->down, RK_OUT_IN, k, down + k * n);
    for (int64_t o = 0; x->status == RK_OK && o < n; o++) {
        memset(row, 0, (size_t)n * sizeof *row);
        rk_matrix_row(x->up, RK_OUT_IN, o, up);
        for (int64_t k = 0; k < rank; k++)
            for (int64_t c = 0; c < n; c++)
                row[c] += (double)up[k] * (double)down[k * n + c];
        for (int64_t c = 0; c < n; c++)
            ((float *)x->whole->data)[o * n + c] = (float)row[c];
    }
    free(down);
    free(row);
}

/* The matrices of m and the host's pairs that they are made of. */
static void refer_to_whole(const rk_model *m, const rk_model *host, job *j)
{
    j->n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const int kind = rk_pair_kind(m->params[i].spec);
        if (kind < 0 || host->hp.pair_rank[kind] == 0)
            continue;
        const rk_low_rank *pair = &host->pairs[m->params[i].layer * RK_PAIR_KINDS + kind];
        j->of[j->n++] = (matrix){
            .kind = kind, .down = pair->down, .up = pair->up, .whole = &m->params[i].tensor};
    }
}

rk_status rk_low_rank_multiply(rk_model *made, const rk_model *host, rk_pool *pool, rk_error *err)
{
    job j = {.width = host->hp.n_embd, .of = calloc((size_t)made->n_params, sizeof *j.of)};
    rk_status st = j.of ? RK_OK : RK_ERR_NOMEM;
    if (j.of) {
        refer_to_whole(made, host, &j);
        rk_pool_run_whole(pool, j.n, multiply, &j);
    }
    for (int64_t i = 0; i < j.n && st == RK_OK; i++)
        st = j.of[i].status;
    free(j.of);
    return st == RK_OK ? RK_OK : rk_fail(err, RK_ERR_NOMEM, "out of memory for whole matrices");
}
