/* gemm.c: the packed matrix product, of floats and with operands rounded to bf16 (rk16),
 * beside the peak of this machine and beside OpenBLAS.
 *
 *     bench_gemm [rounds, default 7] [path, default the best]
 *
 * Neighbours change the speed of a shared machine from one moment to the next, so nothing is timed
 * alone: a round runs the register-only loop, this library and OpenBLAS in turn, on one thread and
 * on all, and each line gives median and best over the rounds and the median of the shares of the
 * peak of the same round. OpenBLAS spins for a while after a product; a pause keeps that out. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/num.h"
#include "kernels/gemm.h"
#include "kernels/peak.h"

#ifdef RK_HAVE_OPENBLAS
#include <cblas.h>
#endif

enum { ROUNDS_MAX = 101 };

/* transposed: 'N' or 'T' for A and B, T: stored with rows and columns exchanged. */
typedef struct shape {
    const char *what;
    rk_gemm_shape s;
    char ta, tb;
} shape;

static const shape shapes[] = {
    {"512x768x768", {512, 768, 768}, 'N', 'N'},    {"1024x1024x1024", {1024, 1024, 1024}, 'N', 'N'},
    {"linear, small", {768, 128, 128}, 'N', 'T'},  {"linear", {1024, 512, 512}, 'N', 'T'},
    {"linear, wide", {2048, 2048, 512}, 'N', 'T'}, {"its dX", {2048, 512, 2048}, 'N', 'N'},
    {"its dW", {2048, 512, 2048}, 'T', 'N'},       {"dW, small", {128, 128, 4096}, 'T', 'N'},
    {"low rank down", {4096, 32, 512}, 'N', 'N'},  {"low rank up", {4096, 512, 32}, 'N', 'N'},
    {"32 rows", {32, 768, 768}, 'N', 'T'},
};

typedef struct problem {
    const shape *sh;
    const rk_kernels *kern;
    rk_pool *pool;
    void *scratch;
    float *a, *b, *c;
} problem;

static void *take(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes) != 0) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(1);
    }
    return p;
}

static void fill(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)(i * 7919 % 2003) / 2003.0f - 0.5f;
}

static void product_of(const problem *p, bool round_bf16)
{
    const rk_gemm_shape s = p->sh->s;
    const rk_matrix a =
        p->sh->ta == 'N' ? (rk_matrix){p->a, RK_F32, s.k, 1} : (rk_matrix){p->a, RK_F32, 1, s.m};
    const rk_matrix b =
        p->sh->tb == 'N' ? (rk_matrix){p->b, RK_F32, s.n, 1} : (rk_matrix){p->b, RK_F32, 1, s.k};
    rk_gemm(p->kern, p->pool, p->scratch, s, a, b, p->c, s.n, false, round_bf16);
}

static void product(const problem *p)
{
    product_of(p, false);
}

static void product_bf16(const problem *p)
{
    product_of(p, true);
}

#ifdef RK_HAVE_OPENBLAS
static void openblas(const problem *p)
{
    const rk_gemm_shape s = p->sh->s;
    const int m = (int)s.m, n = (int)s.n, k = (int)s.k;
    const bool ta = p->sh->ta == 'T', tb = p->sh->tb == 'T';
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, m, n,
                k, 1.0f, p->a, ta ? m : k, p->b, tb ? k : n, 0.0f, p->c, n);
}
#endif

/* Operations a second of about 30 ms of a product. */
static double rate(void (*run)(const problem *), const problem *p)
{
    const rk_gemm_shape s = p->sh->s;
    const double work = 2.0 * (double)s.m * (double)s.n * (double)s.k;
    const int times = 1 + (int)(1e9 / work);
    run(p);
    const double start = rk_now_s();
    for (int i = 0; i < times; i++)
        run(p);
    return work * times / (rk_now_s() - start);
}

static void peak_task(void *arg, int64_t i, int worker)
{
    (void)i;
    (void)worker;
    rk_peak_f32(arg, 4000000);
}

static double peak_rate(const problem *p)
{
    char path[16];
    snprintf(path, sizeof path, "%s", p->kern->name);
    const int n = rk_pool_n_threads(p->pool);
    const double start = rk_now_s();
    rk_pool_run(p->pool, n, peak_task, path);
    const double seconds = rk_now_s() - start;
    return rk_peak_f32(path, 1) * 4000000.0 * n / seconds;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

static void report(const char *name, const double *flops, const double *peak, int rounds)
{
    double share[ROUNDS_MAX], sorted[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        share[i] = flops[i] / peak[i];
        sorted[i] = flops[i];
    }
    const double mid = median(sorted, rounds);
    printf("  %-8s %7.1f %7.1f %6.1f%%", name, mid * 1e-9, sorted[rounds - 1] * 1e-9,
           100.0 * median(share, rounds));
}

#ifdef RK_HAVE_OPENBLAS
static void rest(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 40000000}, NULL);
}
#endif

/* One line: a shape on some threads. */
static void measure(problem *p, int rounds)
{
    double peak[ROUNDS_MAX], own[ROUNDS_MAX], bf16[ROUNDS_MAX];
    const rk_gemm_shape s = p->sh->s;
    const int n_threads = rk_pool_n_threads(p->pool);
#ifdef RK_HAVE_OPENBLAS
    double blas[ROUNDS_MAX];
    openblas_set_num_threads(n_threads);
#endif
    for (int i = 0; i < rounds; i++) {
        peak[i] = peak_rate(p);
        own[i] = rate(product, p);
        bf16[i] = rate(product_bf16, p);
#ifdef RK_HAVE_OPENBLAS
        blas[i] = rate(openblas, p);
        rest();
#endif
    }
    char name[48];
    snprintf(name, sizeof name, "%" PRId64 "x%" PRId64 "x%" PRId64 " %c%c", s.m, s.n, s.k,
             p->sh->ta, p->sh->tb);
    printf("%-18s t%d", name, n_threads);
    report("rk", own, peak, rounds);
    report("rk16", bf16, peak, rounds);
#ifdef RK_HAVE_OPENBLAS
    report("openblas", blas, peak, rounds);
#endif
    printf("  peak %.1f  (%s)\n", median(peak, rounds) * 1e-9, p->sh->what);
}

static void measure_shape(const shape *sh, const rk_kernels *kern, rk_pool *const *pools,
                          int n_pools, int rounds)
{
    const rk_gemm_shape s = sh->s;
    problem p = {.sh = sh, .kern = kern};
    p.a = take((size_t)(s.m * s.k) * sizeof(float));
    p.b = take((size_t)(s.k * s.n) * sizeof(float));
    p.c = take((size_t)(s.m * s.n) * sizeof(float));
    p.scratch = take(rk_gemm_scratch(kern, rk_usable_cores(), s));
    fill(p.a, s.m * s.k);
    fill(p.b, s.k * s.n);
    for (int i = 0; i < n_pools; i++) {
        p.pool = pools[i];
        measure(&p, rounds);
    }
    free(p.a);
    free(p.b);
    free(p.c);
    free(p.scratch);
}

int main(int argc, char **argv)
{
    const int rounds = argc > 1 ? atoi(argv[1]) : 7;
    const rk_kernels *kern = NULL;
    rk_pool *pools[2] = {NULL, NULL};
    rk_error err;
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "bench_gemm: rounds must be 1 to %d\n", ROUNDS_MAX);
        return 2;
    }
    if (rk_kernels_find(&kern, argc > 2 ? argv[2] : NULL, &err) != RK_OK ||
        rk_pool_new(&pools[0], 1, NULL, NULL, NULL, &err) != RK_OK ||
        rk_pool_new(&pools[1], 0, NULL, NULL, NULL, &err) != RK_OK) {
        fprintf(stderr, "bench_gemm: %s\n", err.msg);
        rk_pool_free(pools[0]);
        return 1;
    }
    printf("f32 path %s, GFLOP/s median and best of %d, share of the FMA peak of the round\n",
           kern->name, rounds);
    const int n_pools = rk_pool_n_threads(pools[1]) > 1 ? 2 : 1;
    for (size_t i = 0; i < RK_COUNT(shapes); i++)
        measure_shape(&shapes[i], kern, pools, n_pools, rounds);
    rk_pool_free(pools[0]);
    rk_pool_free(pools[1]);
    return 0;
}
