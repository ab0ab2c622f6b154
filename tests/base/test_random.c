/* Philox against the published vectors; the draws against their definition and their moments. */
#include "test_util.h"

/* The three lines "philox4x32 10" of kat_vectors in Random123 1.14: counter, key, result. */
static void test_known_answers(void **state)
{
    (void)state;
    static const uint32_t rows[][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        uint32_t out[4];
        rk_philox4x32(rows[i], rows[i] + 4, out);
        assert_memory_equal(out, rows[i] + 6, sizeof out);
    }
}

/* Seed, purpose, step and index go where random.c says: stored files depend on it. */
static void test_layout(void **state)
{
    (void)state;
    const uint64_t seed = 0x299f31d0a4093822, index = 0x85a308d3243f6a88;
    const uint64_t step = 0x0070734413198a2e;
    const uint32_t counter[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x05707344};
    const uint32_t key[2] = {0xa4093822, 0x299f31d0};
    uint32_t out[4];
    rk_philox4x32(counter, key, out);
    const uint64_t bits = out[0] | (uint64_t)out[1] << 32;
    assert_int_equal(rk_rng_u32(seed, RK_RNG_SAMPLE, step, index), out[0]);
    assert_true(rk_rng_f32(seed, RK_RNG_SAMPLE, step, index) == (float)(out[0] >> 8) / 0x1p24f);
    assert_true(rk_rng_f64(seed, RK_RNG_SAMPLE, step, index) == (double)(bits >> 11) / 0x1p53);
}

static void test_moments(void **state)
{
    (void)state;
    const int n = 200000;
    double f32 = 0, f64 = 0, normal = 0, square = 0, fourth = 0, pairs = 0;
    for (int i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)i;
        const double u = (double)rk_rng_f32(3, RK_RNG_TEST, 1, at);
        const double v = rk_rng_f64(3, RK_RNG_TEST, 2, at),
                     z = rk_rng_normal(3, RK_RNG_TEST, 3, at);
        assert_true(u >= 0 && u < 1 && v >= 0 && v < 1 && isfinite(z));
        f32 += u / n;
        f64 += v / n;
        normal += z / n;
        square += z * z / n;
        fourth += z * z * z * z / n;
        pairs += z * rk_rng_normal(3, RK_RNG_TEST, 3, at ^ 1) / n;
    }
    assert_true(fabs(f32 - 0.5) < 3e-3 && fabs(f64 - 0.5) < 3e-3); /* 5 sigma */
    assert_true(fabs(normal) < 0.012 && fabs(square - 1) < 0.016 && fabs(pairs) < 0.016);
    assert_true(fabs(fourth - 3) < 0.12);
}

static void test_below(void **state)
{
    (void)state;
    int seen[7] = {0};
    for (uint64_t i = 0; i < 70000; i++)
        seen[rk_rng_below(5, RK_RNG_TEST, 0, i, 7)]++;
    for (int k = 0; k < 7; k++)
        assert_in_range(seen[k], 9500, 10500);
    assert_int_equal(rk_rng_below(5, RK_RNG_TEST, 0, 0, 1), 0);
    for (uint64_t i = 0; i < 1000; i++) { /* the upper half of a 128-bit product */
        const double u = rk_rng_f64(5, RK_RNG_TEST, 1, i), n = 0x1p64 - 0x1p11;
        const uint64_t got = rk_rng_below(5, RK_RNG_TEST, 1, i, UINT64_MAX - 0x7ff);
        assert_true(fabs((double)got - u * n) <= 0x1p12);
        const uint64_t power = rk_rng_below(5, RK_RNG_TEST, 1, i, (uint64_t)1 << 40);
        assert_int_equal(power, (uint64_t)(u * 0x1p40));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
