/* Products with activations in 8 bits: every instruction set has the bits of the reference, which
 * agrees with plain sums over the widened weights and the rounded inputs. */
#include "test_util.h"

#include "kernels/blocks.h"
#include "kernels/dot8.h"

static const rk_dtype formats[] = {RK_Q4_0, RK_Q4_1, RK_Q5_0, RK_Q5_1, RK_Q8_0,
                                   RK_Q2_K, RK_Q3_K, RK_Q4_K, RK_Q5_K, RK_Q6_K};

static void *aligned(test_ctx *t, size_t bytes)
{
    char *p = test_alloc(t, bytes + 64);
    return p + (64 - (uintptr_t)p % 64) % 64;
}

/* The 16-bit factors of every block become `h`. */
static void set_factors(rk_dtype d, uint16_t h, uint8_t *blocks, size_t bytes)
{
    const rk_block_factors f = rk_blocks_factors(d);
    for (size_t b = 0; b < bytes; b += rk_dtype_bytes(d))
        for (int i = 0; i < f.n; i++)
            memcpy(blocks + b + f.at + 2 * i, &h, sizeof h);
}

/* Rows of random numbers in a format, its bytes in a heap block of their exact size. */
static uint8_t *random_blocks(test_ctx *t, rk_dtype d, int64_t count)
{
    const size_t bytes = (size_t)(count / rk_dtype_block(d)) * rk_dtype_bytes(d);
    uint8_t *blocks = test_alloc(t, bytes);
    if (rk_blocks_can_narrow(d)) {
        rk_blocks_narrow(d, count, test_uniform(t, count, -1, 1), NULL, blocks);
        return blocks;
    }
    for (size_t i = 0; i < bytes; i++)
        blocks[i] = (uint8_t)rk_rng_below(3, RK_RNG_TEST, (uint64_t)d, i, 256);
    set_factors(d, rk_f32_to_f16(0.01f), blocks, bytes);
    return blocks;
}

typedef struct rounded {
    rk_x8 *x;
    int64_t blocks;
} rounded;

static rounded round_rows(test_ctx *t, const rk_dot8_kernels *kern, rk_dtype d, int64_t rows,
                          int64_t k, const float *x)
{
    const int64_t tile = rows == 1 ? 1 : kern->tile, blocks = rk_x8_blocks(d, k);
    const rounded r = {aligned(t, rk_x8_bytes(kern, d, rows, k)), blocks};
    for (int64_t i = 0; i < rows; i++)
        kern->round(k, x + i * k, blocks, r.x + i / tile * tile * blocks + i % tile, tile);
    return r;
}

static rk_dot8_matrix pack(test_ctx *t, rk_dtype d, int64_t n, int64_t k, const void *rows)
{
    unsigned char *packed = aligned(t, (size_t)rk_dot8_groups(n) * rk_dot8_group_bytes(d, k));
    rk_dot8_matrix w = {d, n, k, packed, false};
    rk_dot8_pack(&w, rows, 0, rk_dot8_pieces(&w), packed);
    return w;
}

static float *multiply(test_ctx *t, const rk_dot8_kernels *kern, const rk_dot8_matrix *w,
                       int64_t rows, const float *x, const float *before)
{
    const rounded r = round_rows(t, kern, w->dtype, rows, w->k, x);
    float *y = before ? test_copy_f32(t, before, rows * w->n) : test_alloc_f32(t, rows * w->n);
    const int64_t n = rk_dot8_groups(w->n), step = rk_ceil_div(n, 4); /* four at a time, apart */
    void *scratch = aligned(t, rk_dot8_scratch(w->k));
    for (int64_t g = 0; g < step; g++)
        kern->product(w, (rk_dot8_some){g, step, rk_ceil_div(n - g, step)}, r.x, rows, y, w->n,
                      before != NULL, scratch);
    return y;
}

/* sum over k of the widened weight and the rounded input, in double. */
static void check_against_floats(test_ctx *t, const rk_dot8_matrix *w, const void *blocks,
                                 int64_t rows, const float *x, const float *y)
{
    const rk_dot8_kernels *ref = rk_dot8_at(0);
    const rounded r = round_rows(t, ref, w->dtype, rows, w->k, x);
    float *floats = test_alloc_f32(t, w->n * w->k);
    rk_blocks_widen(w->dtype, w->n * w->k, blocks, floats);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < w->n; j++) {
            double want = 0, size = 0;
            for (int64_t l = 0; l < w->k; l++) {
                const rk_x8 *b = r.x + i * r.blocks + l / RK_X8_BLOCK;
                const double p = (double)floats[j * w->k + l] * (double)b->d * b->q[l % 32];
                assert_true(fabs((double)b->d * b->q[l % 32] - (double)x[i * w->k + l]) <=
                            0.5001 * (double)b->d);
                want += p;
                size += fabs(p);
            }
            if (!(fabs(want - (double)y[i * w->n + j]) <= 4e-6 * size + 1e-12))
                fail_msg("%s, %s: row %d output %d is %.9g, expected %.9g", rk_dtype_name(w->dtype),
                         t->shape, (int)i, (int)j, (double)y[i * w->n + j], want);
        }
}

static void same_bits(test_ctx *t, const rk_dot8_kernels *kern, rk_dtype d, const float *want,
                      const float *got, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(want + i, got + i, sizeof *want) != 0)
            fail_msg("%s, %s, %s: element %d is %.9g, the reference has %.9g", kern->name,
                     rk_dtype_name(d), t->shape, (int)i, (double)got[i], (double)want[i]);
}

/* One shape: the reference against sums in double, all others against its bits. */
static void check_shape(test_ctx *t, rk_dtype d, int64_t n, int64_t k, int64_t rows)
{
    test_shape(t, "n %d, k %d, rows %d", (int)n, (int)k, (int)rows);
    const uint8_t *blocks = random_blocks(t, d, n * k);
    const rk_dot8_matrix w = pack(t, d, n, k, blocks);
    const float *x = test_uniform(t, rows * k, -2, 2);
    const float *before = test_uniform(t, rows * n, -1, 1);
    const float *want = multiply(t, rk_dot8_at(0), &w, rows, x, NULL);
    const float *sum = multiply(t, rk_dot8_at(0), &w, rows, x, before);
    check_against_floats(t, &w, blocks, rows, x, want);
    for (int i = 1; rk_dot8_at(i); i++) {
        const rk_dot8_kernels *kern = rk_dot8_at(i);
        same_bits(t, kern, d, want, multiply(t, kern, &w, rows, x, NULL), rows * n);
        same_bits(t, kern, d, sum, multiply(t, kern, &w, rows, x, before), rows * n);
    }
    test_reset(t);
}

static void test_products(void **state)
{
    (void)state;
    static const struct {
        int64_t n, units, rows;
    } shapes[] = {{1, 1, 1},   {16, 1, 1}, {33, 3, 1}, {50, 2, 2},  {16, 1, 3},  {17, 2, 5},
                  {31, 1, 6},  {64, 3, 7}, {64, 2, 1}, {100, 1, 1}, {110, 2, 9}, {20, 1, 13},
                  {16, 2, 25}, {5, 1, 12}, {40, 1, 9}, {24, 1, 11}};
    test_ctx t = test_begin(1);
    for (size_t f = 0; f < RK_COUNT(formats); f++)
        for (size_t s = 0; s < RK_COUNT(shapes); s++)
            check_shape(&t, formats[f], shapes[s].n, shapes[s].units * rk_dtype_block(formats[f]),
                        shapes[s].rows);
    test_end(&t);
}

/* A matrix in columns has the bits of the other form: few rows whose zeros are gathered out, and
 * rows that are not. */
static void check_columns(test_ctx *t, rk_dtype d, int64_t n, int64_t k, int64_t rows, int zeros)
{
    test_shape(t, "n %d, k %d, rows %d, %d of 10 zero", (int)n, (int)k, (int)rows, zeros);
    const uint8_t *blocks = random_blocks(t, d, n * k);
    const rk_dot8_matrix w = pack(t, d, n, k, blocks);
    rk_dot8_matrix c = {d, n, k, NULL, true};
    unsigned char *packed = aligned(t, rk_dot8_bytes(&c));
    const float *before = test_uniform(t, rows * n, -1, 1);
    float *x = test_uniform(t, rows * k, -2, 2);
    assert_true(rk_dot8_has_columns(d, n, k));
    rk_dot8_pack(&c, blocks, 0, rk_dot8_pieces(&c), packed);
    c.data = packed;
    for (int64_t i = 0; i < rows * k; i++)
        if (rk_rng_below(9, RK_RNG_TEST, (uint64_t)n, (uint64_t)i, 10) < (uint64_t)zeros)
            x[i] = 0.0f;
    const float *want = multiply(t, rk_dot8_at(0), &w, rows, x, NULL);
    const float *sum = multiply(t, rk_dot8_at(0), &w, rows, x, before);
    for (int i = 0; rk_dot8_at(i); i++) {
        const rk_dot8_kernels *kern = rk_dot8_at(i);
        rk_x8_sparse *some = test_alloc(t, (size_t)rows * sizeof *some);
        float *y = test_alloc_f32(t, rows * n), *more = test_copy_f32(t, before, rows * n);
        for (int64_t r = 0; r < rows; r++)
            some[r] = rk_x8_gather(&c, round_rows(t, kern, d, 1, k, x + r * k).x, 1,
                                   test_alloc(t, rk_x8_sparse_bytes(k)));
        kern->columns(&c, 0, rk_dot8_groups(n), some, rows, y, n, false);
        kern->columns(&c, 0, rk_dot8_groups(n), some, rows, more, n, true);
        same_bits(t, kern, d, want, y, rows * n);
        same_bits(t, kern, d, sum, more, rows * n);
        same_bits(t, kern, d, want, multiply(t, kern, &c, rows, x, NULL), rows * n);
        same_bits(t, kern, d, sum, multiply(t, kern, &c, rows, x, before), rows * n);
    }
    test_reset(t);
}

static void test_columns(void **state)
{
    (void)state;
    static const struct {
        int64_t strips, units, rows;
        int zeros; /* of ten inputs */
    } shapes[] = {{1, 1, 1, 0}, {1, 3, 2, 5}, {2, 1, 1, 10},
                  {1, 5, 9, 9}, {3, 2, 4, 7}, {8, 1, 1, 6}};
    test_ctx t = test_begin(6);
    for (size_t f = 0; f < RK_COUNT(formats); f++)
        for (size_t s = 0; s < RK_COUNT(shapes); s++)
            if (rk_dot8_has_columns(formats[f], 128, 256))
                check_columns(&t, formats[f], shapes[s].strips * (formats[f] == RK_Q8_0 ? 64 : 128),
                              shapes[s].units * 256, shapes[s].rows, shapes[s].zeros);
    assert_false(rk_dot8_has_columns(RK_Q4_0, 64, 256));
    assert_false(rk_dot8_has_columns(RK_Q8_0, 64, 96));
    test_end(&t);
}

/* Long sums, and more rows than are taken at once. */
static void test_long(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    for (size_t f = 0; f < RK_COUNT(formats); f++) {
        check_shape(&t, formats[f], 17, 8192, 1);
        check_shape(&t, formats[f], 17, 8192, 49);
    }
    test_end(&t);
}

/* The largest sums: where 16 bits would overflow if a step too many were taken. */
static void test_extremes(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    for (size_t f = 0; f < RK_COUNT(formats); f++)
        for (int rows = 1; rows <= 7; rows += 6)
            for (int sign = -1; sign <= 1; sign += 2) {
                const rk_dtype d = formats[f];
                const int64_t n = 16, k = 256;
                const size_t bytes = (size_t)(n * k / rk_dtype_block(d)) * rk_dtype_bytes(d);
                uint8_t *blocks = test_alloc(&t, bytes);
                float *x = test_alloc_f32(&t, rows * k);
                test_shape(&t, "all numbers alike, rows %d, sign %d", rows, sign);
                memset(blocks, d == RK_Q8_0 ? 0x80 : 0xff, bytes);
                set_factors(d, rk_f32_to_f16(1.0f), blocks, bytes);
                for (int64_t i = 0; i < rows * k; i++)
                    x[i] = (float)sign;
                const rk_dot8_matrix w = pack(&t, d, n, k, blocks);
                const float *want = multiply(&t, rk_dot8_at(0), &w, rows, x, NULL);
                check_against_floats(&t, &w, blocks, rows, x, want);
                for (int i = 1; rk_dot8_at(i); i++)
                    same_bits(&t, rk_dot8_at(i), d, want,
                              multiply(&t, rk_dot8_at(i), &w, rows, x, NULL), rows * n);
                test_reset(&t);
            }
    test_end(&t);
}

/* Zeros, numbers whose inverse overflows, and what is not finite. */
static void test_rounding(void **state)
{
    (void)state;
    static const float values[] = {0.0f, 1e-38f, 1e-30f, 1.0f, 3e38f, INFINITY, -INFINITY, NAN};
    test_ctx t = test_begin(3);
    for (size_t v = 0; v < RK_COUNT(values); v++)
        for (int k = 1; k <= 70; k += 23) {
            float *x = test_uniform(&t, k, -1e-32f, 1e-32f);
            x[k / 2] = values[v];
            const rounded want = round_rows(&t, rk_dot8_at(0), RK_Q8_0, 1, k, x);
            if (!isfinite(values[v]))
                assert_true(isnan(want.x[k / 2 / RK_X8_BLOCK].d));
            for (int i = 1; rk_dot8_at(i); i++) {
                const rounded got = round_rows(&t, rk_dot8_at(i), RK_Q8_0, 1, k, x);
                for (int64_t b = 0; b < want.blocks; b++) {
                    assert_memory_equal(want.x[b].q, got.x[b].q, sizeof want.x[b].q);
                    assert_int_equal(want.x[b].total, got.x[b].total);
                    assert_int_equal(want.x[b].first, got.x[b].first);
                    assert_true(isnan(want.x[b].d)
                                    ? isnan(got.x[b].d) && isnan(got.x[b].sum)
                                    : want.x[b].d == got.x[b].d && want.x[b].sum == got.x[b].sum);
                }
            }
            test_reset(&t);
        }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products),
                                       cmocka_unit_test(test_columns), cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_extremes),
                                       cmocka_unit_test(test_rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
