/* The 16-bit floats, all of them, against their definition in double. */
#include "test_util.h"

#include <float.h>

#include "base/dtype.h"

static void test_table(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t bytes;
        int64_t block;
    } want[] = {{"f32", 4, 1},      {"f64", 8, 1},           {"bf16", 2, 1},     {"f16", 2, 1},
                {"i32", 4, 1},      {"i64", 8, 1},           {"u8", 1, 1},       {"q4_0", 18, 32},
                {"q4_1", 20, 32},   {"q5_0", 22, 32},        {"q5_1", 24, 32},   {"q8_0", 34, 32},
                {"q2_k", 84, 256},  {"q3_k", 110, 256},      {"q4_k", 144, 256}, {"q5_k", 176, 256},
                {"q6_k", 210, 256}, {"nf4", 36, 64},         {"fp4", 36, 64},    {"int8", 68, 64},
                {"fp8", 1, 1},      {"u8 with ranges", 1, 1}};
    assert_int_equal(RK_COUNT(want), RK_DTYPE_COUNT);
    for (int i = 0; i < RK_DTYPE_COUNT; i++) {
        assert_string_equal(rk_dtype_name((rk_dtype)i), want[i].name);
        assert_int_equal(rk_dtype_bytes((rk_dtype)i), want[i].bytes);
        assert_int_equal(rk_dtype_block((rk_dtype)i), want[i].block);
        assert_int_equal(rk_dtype_is_blocks((rk_dtype)i), want[i].block > 1 || i == RK_FP8);
        assert_int_equal(rk_dtype_is_ggml((rk_dtype)i), want[i].block > 1 && i < RK_NF4);
    }
}

/* A 16-bit float: the exponent's bits and bias, the mantissa's bits. */
typedef struct format {
    const char *name;
    int mantissa, bias;
    float (*widen)(uint16_t);
    uint16_t (*narrow)(float);
} format;

static float widen_bf16(uint16_t h)
{
    return rk_bf16_to_f32(h);
}
static uint16_t narrow_bf16(float f)
{
    return rk_f32_to_bf16(f);
}
static const format formats[] = {{"f16", 10, 15, rk_f16_to_f32, rk_f32_to_f16},
                                 {"bf16", 7, 127, widen_bf16, narrow_bf16}};

/* The magnitude with exponent and mantissa `bits`, as if infinity were a power of two like others:
 * that is the bound beyond which rounding gives infinity. */
static double value(const format *f, int bits)
{
    const int exponent = bits >> f->mantissa, mantissa = bits & ((1 << f->mantissa) - 1);
    const int unit = (exponent ? exponent : 1) - f->bias - f->mantissa;
    return ldexp(mantissa + (exponent ? 1 << f->mantissa : 0), unit);
}
static int infinity(const format *f)
{
    return 0x8000 - (1 << f->mantissa);
}

static void check_narrow(const format *f, float x, int want)
{
    if (f->narrow(x) != want || f->narrow(-x) != (want | 0x8000))
        fail_msg("%s: +-%a: want 0x%04x, got 0x%04x and 0x%04x", f->name, (double)x, (unsigned)want,
                 f->narrow(x), f->narrow(-x));
}

static void test_widen(void **state)
{
    (void)state;
    for (size_t k = 0; k < RK_COUNT(formats); k++) {
        const format *f = &formats[k];
        for (int h = 0; h < infinity(f); h++) {
            assert_true((double)f->widen((uint16_t)h) == value(f, h));
            assert_true((double)f->widen((uint16_t)(h | 0x8000)) == -value(f, h));
        }
        assert_true(signbit(f->widen(0x8000)));
        assert_true(f->widen((uint16_t)infinity(f)) == HUGE_VALF);
        assert_true(f->widen((uint16_t)(infinity(f) | 0x8000)) == -HUGE_VALF);
    }
}

/* Between two neighbours everything below the middle goes down, everything above goes up, and the
 * middle to the even one: with the values themselves that is the whole function. */
static void test_narrow(void **state)
{
    (void)state;
    for (size_t k = 0; k < RK_COUNT(formats); k++) {
        const format *f = &formats[k];
        for (int h = 0; h < infinity(f); h++) {
            const double low = value(f, h), high = value(f, h + 1);
            const float middle = (float)(low + (high - low) / 2);
            check_narrow(f, (float)low, h);
            check_narrow(f, nextafterf(middle, 0.0f), h);
            check_narrow(f, middle, h + (h & 1));
            check_narrow(f, nextafterf(middle, HUGE_VALF), h + 1);
        }
        check_narrow(f, FLT_MAX, infinity(f));
        check_narrow(f, HUGE_VALF, infinity(f));
    }
}

/* NaN stays NaN whatever its payload, and keeps its sign. */
static void test_nan(void **state)
{
    (void)state;
    for (size_t k = 0; k < RK_COUNT(formats); k++) {
        const format *f = &formats[k];
        for (int h = infinity(f) + 1; h < 0x8000; h++) {
            assert_true(isnan(f->widen((uint16_t)h)));
            assert_true(signbit(f->widen((uint16_t)(h | 0x8000))));
        }
        for (uint32_t bits = 0x7f800001u; bits < 0x80000000u; bits += 4099) {
            float x;
            memcpy(&x, &bits, sizeof x);
            assert_true((f->narrow(x) & 0x7fff) > infinity(f));
            assert_true(f->narrow(-x) & 0x8000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_widen),
        cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
