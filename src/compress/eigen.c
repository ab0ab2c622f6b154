/* eigen.c: Householder reflections to three diagonals, then implicit QL steps with Wilkinson's shift (Golub
 * and Van Loan, "Matrix Computations", 8.3). Vectors lie in rows all the way, so that every inner loop
 * goes along memory. Jacobi's rotations are simpler and more exact in small values; they take eight times
 * as long on 768 rows. */
#include "compress/eigen.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static double dot(int64_t n, const double *x, const double *y)
{
    double part[4] = {0};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int l = 0; l < 4; l++)
            part[l] += x[i + l] * y[i + l];
    double sum = (part[0] + part[1]) + (part[2] + part[3]);
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* y += c x */
static void add(int64_t n, double c, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += c * x[i];
}

/* ---- three diagonals ---- */

/* x (n) becomes u with x - b u (u . x) = (alpha, 0, ...); returns b, and alpha. */
static double reflector(int64_t n, double *x, double *alpha)
{
    const double norm = sqrt(dot(n, x, x));
    *alpha = x[0] > 0 ? -norm : norm;
    x[0] -= *alpha;
    const double squares = dot(n, x, x);
    return squares > 0 ? 2 / squares : 0;
}

/* A step on the trailing block of n rows, a its first element: A - u w^T - w u^T with
 * w = p - b/2 (u . p) u, p = b A u. */
static void reflect_block(int64_t n, int64_t stride, double *a, double b, const double *u,
                          double *w)
{
    for (int64_t i = 0; i < n; i++)
        w[i] = b * dot(n, a + i * stride, u);
    add(n, -b / 2 * dot(n, u, w), u, w);
    for (int64_t i = 0; i < n; i++) {
        add(n, -u[i], w, a + i * stride);
        add(n, -w[i], u, a + i * stride);
    }
}

/* The diagonal d (n) and what is beside it, e (n - 1). Row k of a keeps the vector of step k behind its
 * diagonal, scale[k] its factor. */
static void three_diagonals(int64_t n, double *a, double *d, double *e, double *scale, double *w)
{
    for (int64_t k = 0; k + 1 < n; k++) {
        double *u = a + k * n + k + 1;
        scale[k] = reflector(n - k - 1, u, &e[k]);
        d[k] = a[k * n + k];
        reflect_block(n - k - 1, n, a + (k + 1) * n + k + 1, scale[k], u, w);
    }
    d[n - 1] = a[n * n - 1];
}

/* The product of all reflections, transposed, into z: its rows are what the steps below turn. */
static void reflections(int64_t n, const double *a, const double *scale, double *z, double *w)
{
    memset(z, 0, (size_t)(n * n) * sizeof *z);
    for (int64_t i = 0; i < n; i++)
        z[i * n + i] = 1;
    for (int64_t k = n - 2; k >= 0; k--) {
        const double *u = a + k * n + k + 1;
        const int64_t size = n - k - 1;
        double *block = z + (k + 1) * n + k + 1;
        memset(w, 0, (size_t)size * sizeof *w);
        for (int64_t i = 0; i < size; i++)
            add(size, u[i], block + i * n, w);
        for (int64_t i = 0; i < size; i++)
            add(size, -scale[k] * u[i], w, block + i * n);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) {
            const double x = z[i * n + j];
            z[i * n + j] = z[j * n + i];
            z[j * n + i] = x;
        }
}

/* ---- QL ---- */

/* Rows x and y of the vectors: (c x - s y, s x + c y). */
static void turn_rows(int64_t n, double c, double s, double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) {
        const double t = x[i], q = y[i];
        x[i] = c * t - s * q;
        y[i] = s * t + c * q;
    }
}

/* The first m >= l behind which the matrix falls apart. */
static int64_t end_of_block(int64_t n, int64_t l, const double *d, const double *e)
{
    int64_t m = l;
    while (m + 1 < n && fabs(e[m]) > DBL_EPSILON * (fabs(d[m]) + fabs(d[m + 1])))
        m++;
    return m;
}

/* One step on rows l to m: a rotation in the plane (i, i + 1) for each i from m - 1 down to l, which pushes
 * the element that the one before has made beside the diagonals out at the top. */
static void ql_step(int64_t n, int64_t l, int64_t m, double *d, double *e, double *z)
{
    const double half = (d[l + 1] - d[l]) / (2 * e[l]);
    const double shift = d[l] - e[l] / (half + copysign(hypot(half, 1), half));
    double c = 1, s = 1, g = d[m] - shift, moved = 0;
    for (int64_t i = m - 1; i >= l; i--) {
        const double f = s * e[i], b = c * e[i], r = hypot(f, g);
        if (i + 1 < m)
            e[i + 1] = r;
        c = r > 0 ? g / r : 1;
        s = r > 0 ? f / r : 0;
        const double base = d[i + 1] - moved, twice = (d[i] - base) * s + 2 * c * b;
        moved = s * twice;
        d[i + 1] = base + moved;
        g = c * twice - b;
        if (z)
            turn_rows(n, c, s, z + i * n, z + (i + 1) * n);
    }
    d[l] -= moved;
    e[l] = g;
}

static rk_status ql(int64_t n, double *d, double *e, double *z, rk_error *err)
{
    enum { STEPS_MAX = 60 };
    for (int64_t l = 0; l < n; l++) {
        int64_t m;
        for (int step = 0; (m = end_of_block(n, l, d, e)) > l; step++) {
            if (step == STEPS_MAX)
                return rk_fail(err, RK_ERR_NUMERIC, "eigenvalues of a matrix were not found");
            ql_step(n, l, m, d, e, z);
        }
    }
    return RK_OK;
}

/* ---- order and signs ---- */

typedef struct ranked {
    double value;
    int64_t at;
} ranked;

static int by_falling(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return x->value != y->value ? (x->value < y->value ? 1 : -1)
                                : (x->at > y->at) - (x->at < y->at);
}

static void point_up(int64_t n, double *x)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs(x[i]) > fabs(largest))
            largest = x[i];
    for (int64_t i = 0; i < n && largest < 0; i++)
        x[i] = -x[i];
}

/* Values falling, and rows of v (may be NULL) with them; room (n, n). */
static bool put_in_order(int64_t n, double *values, double *v, double *room)
{
    ranked *order = malloc((size_t)n * sizeof *order);
    for (int64_t i = 0; order && i < n; i++)
        order[i] = (ranked){values[i], i};
    if (order)
        qsort(order, (size_t)n, sizeof *order, by_falling);
    for (int64_t i = 0; order && i < n; i++) {
        values[i] = order[i].value;
        if (!v)
            continue;
        memcpy(room + i * n, v + order[i].at * n, (size_t)n * sizeof *v);
        point_up(n, room + i * n);
    }
    if (order && v)
        memcpy(v, room, (size_t)(n * n) * sizeof *v);
    free(order);
    return order != NULL;
}

static bool all_finite(int64_t n, const double *a)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(a[i]))
            return false;
    return true;
}

rk_status rk_eigen(int64_t n, double *a, double *values, double *v, rk_error *err)
{
    if (!all_finite(n * n, a))
        return rk_fail(err, RK_ERR_NUMERIC, "a matrix holds a number that is not finite");
    double *e = calloc((size_t)n * 3, sizeof *e);
    if (!e)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for eigenvalues");
    three_diagonals(n, a, values, e, e + n, e + 2 * n);
    if (v)
        reflections(n, a, e + n, v, e + 2 * n);
    rk_status st = ql(n, values, e, v, err);
    if (st == RK_OK && !put_in_order(n, values, v, a))
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for eigenvalues");
    free(e);
    return st;
}

/* ---- singular values ---- */

/* gram (n, n) = A^T A. */
static void gram_of(int64_t m, int64_t n, const float *a, double *row, double *gram)
{
    memset(gram, 0, (size_t)(n * n) * sizeof *gram);
    for (int64_t r = 0; r < m; r++) {
        for (int64_t i = 0; i < n; i++)
            row[i] = (double)a[r * n + i];
        for (int64_t i = 0; i < n; i++)
            add(n - i, row[i], row + i, gram + i * n + i);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            gram[i * n + j] = gram[j * n + i];
}

/* |A v| of each row v of vt. */
static void lengths(int64_t m, int64_t n, const float *a, const double *vt, double *row, double *s)
{
    memset(s, 0, (size_t)n * sizeof *s);
    for (int64_t r = 0; r < m; r++) {
        for (int64_t i = 0; i < n; i++)
            row[i] = (double)a[r * n + i];
        for (int64_t i = 0; i < n; i++) {
            const double x = dot(n, row, vt + i * n);
            s[i] += x * x;
        }
    }
    for (int64_t i = 0; i < n; i++)
        s[i] = sqrt(s[i]);
}

rk_status rk_singular(int64_t m, int64_t n, const float *a, double *s, double *vt, rk_error *err)
{
    double *gram = malloc((size_t)(n * n + n) * sizeof *gram), *row = gram ? gram + n * n : NULL;
    if (!gram)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for singular values");
    gram_of(m, n, a, row, gram);
    rk_status st = rk_eigen(n, gram, s, vt, err);
    for (int64_t i = 0; i < n && !vt; i++)
        s[i] = sqrt(s[i] > 0 ? s[i] : 0);
    if (st == RK_OK && vt) {
        lengths(m, n, a, vt, row, s);
        if (!put_in_order(n, s, vt, gram))
            st = rk_fail(err, RK_ERR_NOMEM, "out of memory for singular values");
    }
    free(gram);
    return st;
}
