/* Attention kernels of every path against the reference in double, at odd sizes; and what shares bits: a
 * query's result depends neither on those it is computed with nor on where the keys lie. */
#include "test_util.h"

#include <float.h>

#include "kernels/blocks.h"
#include "kernels/kernels.h"

enum { GROUPS = 2, ALIGN = 64 };

/* Queries of `tokens` tokens and all the keys they see, in reals or as they are stored. */
typedef struct problem {
    test_ctx *t;
    const rk_kernels *k;
    int64_t tokens, heads, size, first, n_keys;
    rk_dtype type;
    float *q, *keys[2]; /* as floats: (tokens, GROUPS, heads, N), (n_keys, GROUPS, N) */
    double *qd, *keysd[2];
    unsigned char *stored[2];
    float *dy;
    double *dyd;
} problem;

static double *doubles(test_ctx *t, const float *x, int64_t n)
{
    double *d = test_alloc_f64(t, n);
    for (int64_t i = 0; i < n; i++)
        d[i] = (double)x[i];
    return d;
}

static problem draw(test_ctx *t, const rk_kernels *k, int64_t tokens, int64_t heads, int64_t size,
                    int64_t before, rk_dtype type)
{
    problem p = {.t = t, .k = k, .tokens = tokens, .heads = heads, .size = size, .type = type};
    const int64_t width = GROUPS * size, n_q = tokens * heads * width;
    p.first = before + 1;
    p.n_keys = before + tokens;
    p.q = test_uniform(t, n_q, -2, 2);
    p.dy = test_uniform(t, n_q, -1, 1);
    for (int i = 0; i < 2; i++) {
        const int64_t n = p.n_keys * width;
        float *x = test_uniform(t, n, -1, 1);
        p.stored[i] = test_alloc(t, (size_t)(n / rk_dtype_block(type)) * rk_dtype_bytes(type));
        p.keys[i] = test_alloc_f32(t, n);
        if (rk_dtype_is_blocks(type)) {
            rk_blocks_narrow(type, n, x, NULL, p.stored[i]);
            rk_blocks_widen(type, n, p.stored[i], p.keys[i]);
        } else {
            rk_kernels_ref_f32.narrow(n, x, p.stored[i], type);
            rk_kernels_ref_f32.widen(n, p.stored[i], type, p.keys[i]);
        }
        p.keysd[i] = doubles(t, p.keys[i], n);
    }
    p.qd = doubles(t, p.q, n_q);
    p.dyd = doubles(t, p.dy, n_q);
    return p;
}

static int64_t width_q(const problem *p)
{
    return GROUPS * p->heads * p->size;
}

/* What the second key head is asked; results into out and stats. */
static rk_attend args_of(const problem *p, bool real, void *out, void *stats)
{
    const int64_t at = p->heads * p->size, size = p->size;
    const size_t real_bytes = real ? sizeof(double) : sizeof(float);
    rk_attend a = {.rows = p->tokens * p->heads,
                   .heads = p->heads,
                   .size = size,
                   .first = p->first,
                   .ldq = width_q(p),
                   .ldo = width_q(p),
                   .scale = 0.3,
                   .n_parts = 1};
    const size_t bytes = rk_dtype_bytes(p->type), block = (size_t)rk_dtype_block(p->type);
    for (int i = 0; i < 2; i++) {
        rk_attend_rows *r = i ? &a.v : &a.k;
        r->type = real ? RK_F64 : p->type;
        r->row_bytes = real ? (size_t)(GROUPS * size) * sizeof(double)
                            : (size_t)(GROUPS * size) / block * bytes;
        r->data = (real ? (unsigned char *)p->keysd[i] : p->stored[i]) + r->row_bytes / GROUPS;
    }
    a.q = real ? (const void *)(p->qd + at) : p->q + at;
    a.out = (unsigned char *)out + (size_t)at * real_bytes;
    a.stats = stats ? (unsigned char *)stats + (size_t)(2 * p->heads) * real_bytes : NULL;
    return a;
}

static void *scratch_of(test_ctx *t, size_t bytes)
{
    unsigned char *p = test_alloc(t, bytes + ALIGN);
    return p + (ALIGN - (uintptr_t)p % ALIGN) % ALIGN;
}

/* All parts of a, computed apart and put together. */
static void run(test_ctx *t, const rk_kernels *k, rk_attend a, bool few)
{
    const size_t real = rk_dtype_bytes(k->real);
    a.n_parts = few ? RK_ATTEND_PARTS : 1;
    unsigned char *outs = test_alloc(t, (size_t)(a.n_parts * a.rows * a.size) * real);
    unsigned char *stats = test_alloc(t, (size_t)(a.n_parts * a.rows * 2) * real);
    void *scratch = scratch_of(t, k->attend_scratch(&a));
    for (a.part = 0; a.part < a.n_parts; a.part++)
        (few ? k->attend_few : k->attend)(&a, outs + (size_t)(a.part * a.rows * a.size) * real,
                                          stats + (size_t)(a.part * a.rows * 2) * real, scratch);
    k->attend_merge(&a, outs, stats);
}

static void close_to(const problem *p, const char *what, const double *want, const float *got,
                     int64_t n, double tol)
{
    for (int64_t i = 0; i < n; i++)
        if (!test_is_close(want[i], (double)got[i], tol))
            fail_msg("%s [%" PRId64 "]: want %.9g, got %.9g; %s", what, i, want[i], (double)got[i],
                     p->t->shape);
}

/* One token alone, and rows in pages, have the bits of all together. */
static void check_bits(const problem *p, bool few, const float *out)
{
    const int64_t width = width_q(p), last = p->tokens - 1;
    float *other = test_alloc_f32(p->t, p->tokens * width);
    rk_attend a = args_of(p, false, other, NULL);
    a.rows = p->heads;
    a.first += last;
    a.q = (const float *)a.q + last * width;
    a.out = (float *)a.out + last * width;
    run(p->t, p->k, a, few);
    test_same(p->t, "a token alone", out + last * width + width / GROUPS, (const float *)a.out,
              (size_t)(p->heads * p->size) * sizeof *out);

    const int64_t n_pages = rk_ceil_div(p->n_keys, RK_ATTEND_KEYS);
    unsigned char **pages[2];
    memset(other, 0, (size_t)(p->tokens * width) * sizeof *other);
    a = args_of(p, false, other, NULL);
    for (int i = 0; i < 2; i++) {
        rk_attend_rows *r = i ? &a.v : &a.k;
        pages[i] = test_alloc(p->t, (size_t)n_pages * sizeof *pages[i]);
        for (int64_t b = 0; b < n_pages; b++) {
            const size_t n = (size_t)rk_min_i64(RK_ATTEND_KEYS, p->n_keys - b * RK_ATTEND_KEYS);
            pages[i][b] = test_alloc(p->t, n * r->row_bytes);
            memcpy(pages[i][b], p->stored[i] + (size_t)(b * RK_ATTEND_KEYS) * r->row_bytes,
                   n * r->row_bytes);
        }
        r->pages = pages[i];
        r->offset = r->row_bytes / GROUPS;
        r->data = NULL;
    }
    run(p->t, p->k, a, few);
    for (int64_t i = 0; i < p->tokens; i++)
        test_same(p->t, "rows in pages", out + i * width + width / GROUPS,
                  other + i * width + width / GROUPS, (size_t)(p->heads * p->size) * sizeof *out);
}

static void check_forward(const problem *p, bool few)
{
    const int64_t n = p->tokens * width_q(p), n_stats = p->tokens * GROUPS * p->heads * 2;
    float *out = test_alloc_f32(p->t, n), *stats = test_alloc_f32(p->t, n_stats);
    double *outd = test_alloc_f64(p->t, n), *statsd = test_alloc_f64(p->t, n_stats);
    memset(out, 0, (size_t)n * sizeof *out);
    memset(outd, 0, (size_t)n * sizeof *outd);
    memset(stats, 0, (size_t)n_stats * sizeof *stats);
    memset(statsd, 0, (size_t)n_stats * sizeof *statsd);
    run(p->t, p->k, args_of(p, false, out, stats), few);
    run(p->t, &rk_kernels_ref_f64, args_of(p, true, outd, statsd), few);
    close_to(p, "attention", outd, out, n, 4e-6);
    close_to(p, "maximum and sum", statsd, stats, n_stats, 1e-5);
    check_bits(p, few, out);
}

static void check_backward(const problem *p)
{
    const int64_t n = p->tokens * width_q(p), n_stats = p->tokens * GROUPS * p->heads * 2;
    const int64_t n_keys = p->n_keys * GROUPS * p->size, at = p->heads * p->size;
    float *out = test_alloc_f32(p->t, n), *stats = test_alloc_f32(p->t, n_stats);
    double *outd = test_alloc_f64(p->t, n), *statsd = test_alloc_f64(p->t, n_stats);
    const rk_attend f = args_of(p, false, out, stats), d = args_of(p, true, outd, statsd);
    float *g[3] = {test_uniform(p->t, n, -1, 1), test_uniform(p->t, n_keys, -1, 1),
                   test_uniform(p->t, n_keys, -1, 1)};
    double *gd[3] = {doubles(p->t, g[0], n), doubles(p->t, g[1], n_keys),
                     doubles(p->t, g[2], n_keys)};
    run(p->t, p->k, f, false);
    run(p->t, &rk_kernels_ref_f64, d, false);
    const rk_attend_grads gf = {p->dy + at, g[0] + at, g[1] + p->size, g[2] + p->size,
                                GROUPS * p->size};
    const rk_attend_grads gdd = {p->dyd + at, gd[0] + at, gd[1] + p->size, gd[2] + p->size,
                                 GROUPS * p->size};
    p->k->attend_bwd(&f, &gf, scratch_of(p->t, p->k->attend_bwd_scratch(&f)));
    rk_kernels_ref_f64.attend_bwd(&d, &gdd,
                                  scratch_of(p->t, rk_kernels_ref_f64.attend_bwd_scratch(&d)));
    close_to(p, "dq", gd[0], g[0], n, 2e-5);
    close_to(p, "dk", gd[1], g[1], n_keys, 2e-5);
    close_to(p, "dv", gd[2], g[2], n_keys, 2e-5);
}

static void test_attention(void **state)
{
    static const int64_t tokens[] = {1, 2, 5, 37, 90}, before[] = {0, 1, 63, 64, 200, 700};
    static const int64_t sizes[] = {2, 6, 17, 64, 72}, heads[] = {1, 3, 7};
    const rk_kernels *k;
    (void)state;
    for (int i = 0; (k = rk_kernels_at(i)); i++)
        for (uint64_t c = 0; c < 40; c++) {
            test_ctx t = test_begin(c + 1);
            const int64_t n = tokens[c % 5], b = before[c / 2 % 6], size = sizes[c / 3 % 5];
            const int64_t h = heads[c % 3];
            const rk_dtype type = size == 64 ? (c % 2 ? RK_Q8_0 : RK_F16) : RK_F32;
            test_shape(&t, "%s, %d tokens after %d, %d heads of %d, %s", k->name, (int)n, (int)b,
                       (int)h, (int)size, rk_dtype_name(type));
            const problem p = draw(&t, k, n, h, size, b, type);
            check_forward(&p, false);
            check_forward(&p, true);
            if (b < 300)
                check_backward(&p);
            test_end(&t);
        }
}

/* A key that is no number is seen in the results of all who see it, and of nobody else. */
static void test_not_a_number(void **state)
{
    enum { TOKENS = 70, BEFORE = 300, HEADS = 3, SIZE = 8, AT = 350 };
    const rk_kernels *k;
    (void)state;
    for (int i = 0; (k = rk_kernels_at(i)); i++)
        for (int few = 0; few < 2; few++) {
            test_ctx t = test_begin(2);
            problem p = draw(&t, k, TOKENS, HEADS, SIZE, BEFORE, RK_F32);
            float *out = test_alloc_f32(&t, TOKENS * width_q(&p));
            ((float *)(void *)p.stored[0])[(AT * GROUPS + 1) * SIZE + 3] = NAN;
            run(&t, k, args_of(&p, false, out, NULL), few);
            for (int64_t r = 0; r < TOKENS * HEADS * SIZE; r++) {
                const int64_t token = r / (HEADS * SIZE);
                const float x = out[token * width_q(&p) + HEADS * SIZE + r % (HEADS * SIZE)];
                if (isnan(x) != (BEFORE + token >= AT))
                    fail_msg("%s, few %d: token %d has %g", k->name, few, (int)token, (double)x);
            }
            test_end(&t);
        }
}

static void test_rotary(void **state)
{
    const rk_kernels *k;
    (void)state;
    for (int i = 0; (k = rk_kernels_at(i)); i++)
        for (int64_t n = 2; n <= 70; n += 4) {
            test_ctx t = test_begin((uint64_t)n);
            float *x = test_uniform(&t, 3 * n, -1, 1), *angles = test_uniform(&t, n, -1, 1);
            float *y = test_alloc_f32(&t, 3 * n), *back = test_alloc_f32(&t, 3 * n);
            double *yd = test_alloc_f64(&t, 3 * n);
            const double *xd = doubles(&t, x, 3 * n);
            for (int64_t j = 0; j < n / 2; j++)
                angles[n / 2 + j] = sqrtf(1.0f - angles[j] * angles[j]);
            const double *anglesd = doubles(&t, angles, n);
            test_shape(&t, "%s, n %d", k->name, (int)n);
            k->rotary(3, n, angles, angles + n / 2, false, x, y);
            rk_kernels_ref_f64.rotary(3, n, anglesd, anglesd + n / 2, false, xd, yd);
            const problem p = {.t = &t};
            close_to(&p, "rotary", yd, y, 3 * n, 4 * (double)FLT_EPSILON);
            k->rotary(3, n, angles, angles + n / 2, true, y, back);
            close_to(&p, "and back", xd, back, 3 * n, 8 * (double)FLT_EPSILON);
            k->rotary(3, n, angles, angles + n / 2, true, y, y);
            test_same(&t, "in place", back, y, (size_t)(3 * n) * sizeof *y);
            test_end(&t);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention),
                                       cmocka_unit_test(test_not_a_number),
                                       cmocka_unit_test(test_rotary)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
