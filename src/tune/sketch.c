/* sketch.c: products with the matrix are the packed ones in f32 on all threads; bases of the few
 * vectors, which decide how exact the result is, are LAPACK's in f64. */
#include "tune/sketch.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/num.h"
#include "base/random.h"
#include "kernels/gemm.h"
#include "tune/lapack.h"

static rk_status no_memory(rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "out of memory for a singular value decomposition");
}

static void widen(int64_t n, const float *x, double *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
}

static void narrow(int64_t n, const double *x, float *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (float)x[i];
}

rk_status rk_sketch_product(const rk_kernels *kernels, rk_pool *pool, bool transposed, int64_t m,
                            int64_t n, int64_t k, const float *a, const float *b, float *c,
                            rk_error *err)
{
    const rk_gemm_shape shape = {m, n, k};
    const size_t bytes = rk_gemm_scratch(kernels, rk_pool_n_threads(pool), shape);
    void *scratch = NULL;
    if (posix_memalign(&scratch, RK_ARENA_ALIGN, bytes) != 0)
        return no_memory(err);
    const rk_matrix left = {a, RK_F32, transposed ? 1 : k, transposed ? m : 1};
    rk_gemm(kernels, pool, scratch, shape, left, (rk_matrix){b, RK_F32, n, 1}, c, n, false, false);
    free(scratch);
    return RK_OK;
}

rk_status rk_sketch_basis(int64_t rows, int64_t cols, float *a, rk_error *err)
{
    double *x = malloc((size_t)(rows * cols) * sizeof *x);
    if (!x)
        return no_memory(err);
    widen(rows * cols, a, x);
    const rk_status st = rk_orthonormalise(rows, cols, x, err);
    narrow(rows * cols, x, a);
    free(x);
    return st;
}

/* ---- exact ---- */

/* The first q of k columns of u (rows, k) and rows of vt. */
static void take_first(const rk_svd_job *j, int64_t k, const double *u, const double *vt,
                       float *u_out, float *vt_out)
{
    for (int64_t i = 0; i < j->rows; i++)
        narrow(j->q, u + i * k, u_out + i * j->q);
    narrow(j->q * j->cols, vt, vt_out);
}

static rk_status exact(const rk_svd_job *j, float *u, double *s, float *vt, rk_error *err)
{
    const int64_t m = j->rows, n = j->cols, k = rk_min_i64(m, n);
    double *a = malloc((size_t)(m * n) * sizeof *a), *all_s = malloc((size_t)k * sizeof *all_s);
    double *all_u = malloc((size_t)(m * k) * sizeof *all_u);
    double *all_vt = malloc((size_t)(k * n) * sizeof *all_vt);
    rk_status st = a && all_s && all_u && all_vt ? RK_OK : no_memory(err);
    if (st == RK_OK) {
        widen(m * n, j->a, a);
        st = rk_svd(m, n, a, all_u, all_s, all_vt, err);
    }
    if (st == RK_OK) {
        take_first(j, k, all_u, all_vt, u, vt);
        memcpy(s, all_s, (size_t)j->q * sizeof *s);
    }
    free(all_vt);
    free(all_u);
    free(all_s);
    free(a);
    return st;
}

/* ---- from a sketch ---- */

typedef struct sketch {
    const rk_svd_job *j;
    float *y, *z; /* (rows, width): of the columns' space; (cols, width): of the rows' */
} sketch;

/* y = A z, and z = A^T y. */
static rk_status forth(const sketch *k, rk_error *err)
{
    const rk_svd_job *j = k->j;
    return rk_sketch_product(j->kernels, j->pool, false, j->rows, j->width, j->cols, j->a, k->z,
                             k->y, err);
}

static rk_status back(const sketch *k, rk_error *err)
{
    const rk_svd_job *j = k->j;
    return rk_sketch_product(j->kernels, j->pool, true, j->cols, j->width, j->rows, j->a, k->y,
                             k->z, err);
}

/* y becomes an orthonormal basis of where A maps most. Both sides are orthonormalised each time:
 * without it all vectors would turn to the first singular one, and the others drown in rounding. */
static rk_status find_range(const sketch *k, rk_error *err)
{
    const rk_svd_job *j = k->j;
    for (int64_t i = 0; i < j->cols * j->width; i++)
        k->z[i] = (float)rk_rng_normal(j->seed, RK_RNG_SKETCH, (uint64_t)j->index, (uint64_t)i);
    rk_status st = forth(k, err);
    for (int i = 0; i < j->niter && st == RK_OK; i++) {
        st = rk_sketch_basis(j->rows, j->width, k->y, err);
        if (st == RK_OK)
            st = back(k, err);
        if (st == RK_OK)
            st = rk_sketch_basis(j->cols, j->width, k->z, err);
        if (st == RK_OK)
            st = forth(k, err);
    }
    return st == RK_OK ? rk_sketch_basis(j->rows, j->width, k->y, err) : st;
}

/* The first q columns of U = Y U' and rows of V^T; ut (width, width), v (cols, width). */
static void assemble(const sketch *k, const double *ut, const double *v, double *u, double *vt)
{
    const rk_svd_job *j = k->j;
    for (int64_t i = 0; i < j->rows; i++)
        for (int64_t c = 0; c < j->q; c++) {
            double sum = 0.0;
            for (int64_t l = 0; l < j->width; l++)
                sum += (double)k->y[i * j->width + l] * ut[c * j->width + l];
            u[i * j->q + c] = sum;
        }
    for (int64_t c = 0; c < j->q; c++)
        for (int64_t i = 0; i < j->cols; i++)
            vt[c * j->cols + i] = v[i * j->width + c];
    rk_svd_fix_signs(j->rows, j->cols, j->q, u, vt);
}

/* With Y the basis, A is near Y Y^T A, whose factors follow from those of the small
 * A^T Y = V S U'^T: U = Y U'. */
static rk_status decompose(const sketch *k, float *u, double *s, float *vt, rk_error *err)
{
    const rk_svd_job *j = k->j;
    const size_t rows = (size_t)j->rows, cols = (size_t)j->cols, w = (size_t)j->width;
    double *const memory = malloc((2 * cols * w + w * w + w + (rows + cols) * w) * sizeof *memory);
    if (!memory)
        return no_memory(err);
    double *z = memory, *v = z + cols * w, *ut = v + cols * w, *all_s = ut + w * w;
    double *top_u = all_s + w, *top_vt = top_u + rows * w;
    rk_status st = back(k, err);
    widen(j->cols * j->width, k->z, z);
    if (st == RK_OK)
        st = rk_svd(j->cols, j->width, z, v, all_s, ut, err);
    if (st == RK_OK) {
        assemble(k, ut, v, top_u, top_vt);
        narrow(j->rows * j->q, top_u, u);
        narrow(j->q * j->cols, top_vt, vt);
        memcpy(s, all_s, (size_t)j->q * sizeof *s);
    }
    free(memory);
    return st;
}

rk_status rk_svd_largest(const rk_svd_job *j, float *u, double *s, float *vt, rk_error *err)
{
    if (j->exact)
        return exact(j, u, s, vt, err);
    const sketch k = {.j = j,
                      .y = malloc((size_t)(j->rows * j->width) * sizeof(float)),
                      .z = malloc((size_t)(j->cols * j->width) * sizeof(float))};
    rk_status st = k.y && k.z ? find_range(&k, err) : no_memory(err);
    if (st == RK_OK)
        st = decompose(&k, u, s, vt, err);
    free(k.y);
    free(k.z);
    return st;
}
