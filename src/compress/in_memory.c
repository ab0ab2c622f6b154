/* in_memory.c: one matrix after the other goes from its file through f32 to blocks. */
#include "compress/in_memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "kernels/blocks.h"
#include "kernels/codes.h"

/* ---- types ---- */

const char rk_quant_names[] = "none|nf4|fp4|4bit|int8|fp8|q8_0|q4_0|q4_k";

static const struct {
    const char *name;
    rk_dtype type;
} types[] = {
    {"none", RK_F32}, {"nf4", RK_NF4},   {"fp4", RK_FP4},   {"4bit", RK_FP4},  {"int8", RK_INT8},
    {"fp8", RK_FP8},  {"q8_0", RK_Q8_0}, {"q4_0", RK_Q4_0}, {"q4_k", RK_Q4_K},
};

rk_status rk_quant_find(const char *name, rk_dtype *type, rk_error *err)
{
    for (size_t i = 0; i < RK_COUNT(types); i++)
        if (!strcmp(types[i].name, name)) {
            *type = types[i].type;
            return RK_OK;
        }
    return rk_fail(err, RK_ERR_ARG, "quant is '%.32s', expected %s", name, rk_quant_names);
}

bool rk_quant_fits(rk_dtype type, int64_t cols)
{
    return rk_dtype_is_blocks(type) && cols % rk_dtype_block(type) == 0;
}

static size_t bytes_of(rk_dtype type, int64_t n)
{
    return (size_t)(n / rk_dtype_block(type)) * rk_dtype_bytes(type);
}

/* ---- a matrix in f32 ---- */

typedef struct narrow_job {
    rk_dtype type;
    int64_t cols;
    float *w;         /* (rows, cols) */
    float absmax;     /* of all of them */
    char *blocks;     /* of all rows, or */
    char *row_blocks; /* NULL: of one row for each worker; the values go back to w */
} narrow_job;

static void narrow_row(void *arg, int64_t row, int worker)
{
    const narrow_job *j = arg;
    float *w = j->w + row * j->cols;
    const size_t bytes = bytes_of(j->type, j->cols);
    char *to = j->blocks ? j->blocks + (size_t)row * bytes : j->row_blocks + (size_t)worker * bytes;
    if (rk_codes_has(j->type))
        rk_codes_narrow(j->type, j->cols, w, j->absmax, to);
    else
        rk_blocks_narrow(j->type, j->cols, w, NULL, to);
    if (!j->blocks)
        rk_blocks_widen(j->type, j->cols, to, w);
}

static void for_rows(rk_pool *pool, int64_t rows, rk_task_fn *fn, void *job)
{
    if (pool)
        rk_pool_run_whole(pool, rows, fn, job);
    for (int64_t i = 0; !pool && i < rows; i++)
        fn(job, i, 0);
}

/* *absmax: the largest magnitude. False: a number is not finite, or too large for the scale of a block,
 * which is an f16 in ggml's formats. */
static bool fit(rk_dtype type, int64_t n, const float *w, float *absmax)
{
    const float most = rk_dtype_is_ggml(type) ? 65504.0f : HUGE_VALF;
    bool all = true;
    for (int64_t i = 0; i < n; i++)
        all &= isfinite(w[i]) && fabsf(w[i]) <= most;
    *absmax = rk_codes_absmax(n, w);
    return all;
}

static rk_status refuse(const char *name, rk_dtype type, rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT,
                   "tensor '%.64s' holds a number that is not finite or too large, which %s cannot",
                   name, rk_dtype_name(type));
}

rk_status rk_quantised_values(const char *name, int64_t rows, int64_t cols, float *w, rk_pool *pool,
                              rk_error *err)
{
    narrow_job j = {.cols = cols, .w = w};
    const rk_status st = rk_quant_find(name, &j.type, err);
    if (st != RK_OK || !rk_quant_fits(j.type, cols))
        return st;
    if (!fit(j.type, rows * cols, w, &j.absmax))
        return refuse("matrix", j.type, err);
    j.row_blocks =
        malloc(bytes_of(j.type, cols) * (size_t)(pool ? rk_pool_n_threads(pool) : 1) + 1);
    if (!j.row_blocks)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a row of %s", rk_dtype_name(j.type));
    for_rows(pool, rows, narrow_row, &j);
    free(j.row_blocks);
    return RK_OK;
}

/* ---- a parameter ---- */

/* The parameter's tensor is now `data`, which it owns, and its file's pages are not needed. */
static void take(rk_model *m, rk_param *p, rk_dtype type, void *data)
{
    if (m->file && !p->owned)
        rk_file_drop(m->file, p->tensor.data, rk_tensor_bytes(&p->tensor));
    free(p->owned);
    p->owned = data;
    p->tensor = rk_tensor_over(type, p->tensor.n_dims, p->tensor.dims, data);
}

/* *values, (rows, cols) in f32, become the parameter's; they are taken over where it stays in f32. */
static rk_status put(rk_model *m, rk_param *p, rk_dtype type, float **values, rk_pool *pool,
                     rk_error *err)
{
    const int64_t n = rk_tensor_count(&p->tensor), cols = rk_tensor_cols(&p->tensor);
    narrow_job j = {.type = type, .cols = cols, .w = *values};
    if (!rk_dtype_is_blocks(type)) {
        take(m, p, RK_F32, *values);
        *values = NULL;
        return RK_OK;
    }
    if (!fit(type, n, *values, &j.absmax))
        return refuse(p->name, type, err);
    j.blocks = malloc(bytes_of(type, n));
    if (!j.blocks)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for '%s' in %s", p->name,
                       rk_dtype_name(type));
    for_rows(pool, n / cols, narrow_row, &j);
    take(m, p, type, j.blocks);
    return RK_OK;
}

typedef struct row_job {
    const rk_param *p;
    int64_t lo;
    float *w; /* of row lo and those behind it */
} row_job;

static void take_row(void *arg, int64_t i, int worker)
{
    const row_job *j = arg;
    (void)worker;
    rk_matrix_row(&j->p->tensor, RK_OUT_IN, j->lo + i, j->w + i * rk_tensor_cols(&j->p->tensor));
}

/* Some rows at a time, so that neither the values nor the file's pages are ever all there: that of an
 * embedding would be the most memory that a run takes. */
typedef struct pieces {
    rk_model *m;
    const rk_param *p;
    rk_pool *pool;
    int64_t rows, cols, at_once;
    narrow_job narrow; /* w: at_once rows */
    bool fits;
} pieces;

typedef void piece_fn(pieces *s, int64_t lo, int64_t n);

static void fit_piece(pieces *s, int64_t lo, int64_t n)
{
    float most;
    (void)lo;
    s->fits &= fit(s->narrow.type, n * s->cols, s->narrow.w, &most);
    s->narrow.absmax = fmaxf(s->narrow.absmax, most);
}

static void narrow_piece(pieces *s, int64_t lo, int64_t n)
{
    narrow_job j = s->narrow;
    j.blocks += (size_t)lo * bytes_of(j.type, s->cols);
    for_rows(s->pool, n, narrow_row, &j);
}

static void for_pieces(pieces *s, piece_fn *fn)
{
    const rk_tensor *t = &s->p->tensor;
    const bool drops = s->m->file && !s->p->owned && rk_tensor_is_contiguous(t);
    for (int64_t lo = 0; lo < s->rows && s->fits; lo += s->at_once) {
        const int64_t n = rk_min_i64(s->at_once, s->rows - lo);
        row_job j = {s->p, lo, s->narrow.w};
        for_rows(s->pool, n, take_row, &j);
        fn(s, lo, n);
        const size_t row = rk_tensor_bytes(t) / (size_t)s->rows;
        if (drops)
            rk_file_drop(s->m->file, (const char *)t->data + (size_t)lo * row, (size_t)n * row);
    }
}

static rk_status put_by_pieces(rk_model *m, rk_param *p, rk_dtype type, rk_pool *pool,
                               rk_error *err)
{
    enum { FLOATS = 1 << 20 };
    const int64_t rows = rk_tensor_rows(&p->tensor), cols = rk_tensor_cols(&p->tensor);
    pieces s = {m, p, pool, rows, cols, .at_once = rk_max_i64(1, FLOATS / cols), .fits = true};
    s.narrow = (narrow_job){.type = type, .cols = cols};
    s.narrow.w = malloc((size_t)(s.at_once * cols) * sizeof *s.narrow.w);
    s.narrow.blocks = malloc(bytes_of(type, rows * cols));
    rk_status st = RK_OK;
    if (!s.narrow.w || !s.narrow.blocks)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for '%s' in %s", p->name,
                     rk_dtype_name(type));
    if (st == RK_OK) {
        for_pieces(&s, fit_piece);
        for_pieces(&s, narrow_piece);
        st = s.fits ? RK_OK : refuse(p->name, type, err);
    }
    free(s.narrow.w);
    if (st == RK_OK)
        take(m, p, type, s.narrow.blocks);
    else
        free(s.narrow.blocks);
    return st;
}

rk_status rk_param_quantise(rk_model *m, rk_param *p, rk_dtype type, const rk_quantise_options *o,
                            rk_error *err)
{
    const bool fits = rk_quant_fits(type, rk_tensor_cols(&p->tensor));
    if (!o->change && (!fits || p->tensor.dtype == type))
        return RK_OK;
    if (!o->change)
        return put_by_pieces(m, p, type, o->pool, err);
    float *w = malloc((size_t)rk_tensor_count(&p->tensor) * sizeof *w);
    if (!w)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for '%s' in f32", p->name);
    row_job j = {p, 0, w};
    for_rows(o->pool, rk_tensor_rows(&p->tensor), take_row, &j);
    rk_status st = o->change ? o->change(o->change_user, p, w, err) : RK_OK;
    if (st == RK_OK)
        st = put(m, p, fits ? type : RK_F32, &w, o->pool, err);
    free(w);
    return st;
}

/* ---- a model ---- */

static bool is_meant(const rk_param *p, const rk_quantise_options *o)
{
    return p->used && !p->trained &&
           (rk_param_is_hidden(p) || (o->head && rk_roles[p->role].head) ||
            (o->emb && rk_param_is_table(p)));
}

static void tell_misfits(const rk_model *m, rk_dtype type, const rk_quantise_options *o)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += is_meant(&m->params[i], o) &&
             !rk_quant_fits(type, rk_tensor_cols(&m->params[i].tensor));
    if (o->log && n > 0)
        rk_log_line(o->log, RK_LOG_WARN,
                    "%lld matrices have rows that are no multiple of %lld and are not quantised to "
                    "%s",
                    (long long)n, (long long)rk_dtype_block(type), rk_dtype_name(type));
}

rk_status rk_model_quantise(rk_model *m, const char *name, const rk_quantise_options *o,
                            rk_error *err)
{
    rk_dtype type;
    rk_status st = rk_quant_find(name, &type, err);
    if (st == RK_OK && rk_dtype_is_blocks(type))
        tell_misfits(m, type, o);
    for (int64_t i = 0; i < m->n_params && st == RK_OK; i++)
        if (is_meant(&m->params[i], o))
            st = rk_param_quantise(m, &m->params[i], type, o, err);
    return st;
}

size_t rk_quantised_bytes(const rk_model *m, rk_dtype type, const rk_quantise_options *o)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const rk_param *p = &m->params[i];
        if (is_meant(p, o) && rk_quant_fits(type, rk_tensor_cols(&p->tensor)))
            bytes += bytes_of(type, rk_tensor_count(&p->tensor));
    }
    return bytes;
}
