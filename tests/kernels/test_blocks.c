/* Block formats against values of another implementation (tests/oracle/blocks.py), and as weights:
 * a product with blocks has the bits of the one with the floats that they stand for. */
#include "test_util.h"

#include "kernels/blocks_narrow.h"

enum { SHOWN_MAX = 15 };

typedef struct golden {
    rk_dtype dtype;
    const char *hex;
    struct {
        int at;
        double value;
    } shown[SHOWN_MAX]; /* up to the first {0, 0} that is not in front */
} golden;

/* clang-format off */
static const golden goldens[] = {
{RK_Q4_0, "48292279f3bd068366a852c1bb9651f3cd18", {{0, -0.247558594}, {1, 0.0412597656}, {15, 0}, {16, -0.247558594}, {17, -0.0412597656}, {31, -0.288818359}}},
{RK_Q4_1, "4829a42cd26facd2aeb0daf2a972cd3fa02fd44f", {{0, 0.155029297}, {1, 0.69140625}, {15, 0.69140625}, {16, 0.608886719}, {17, 0.320068359}, {31, 0.237548828}}},
{RK_Q5_0, "482978de451f5f6c246dee453351e4d3ca3aca414c46", {{0, -0.0412597656}, {1, -0.165039062}, {15, 0.247558594}, {16, 0.206298828}, {17, -0.412597656}, {31, -0.495117188}}},
{RK_Q5_1, "4829a42c022cb28c6202f315321d0e07353297dd2e3ce6c0", {{0, 0.155029297}, {1, 0.815185547}, {15, 0.0725097656}, {16, 0.320068359}, {17, 0.732666016}, {31, 1.2277832}}},
{RK_Q8_0, "48297fd69ac2c38948994ad13a4c69540ad5e273a876d6c94519b91f242d9e4d2e0c", {{0, 5.23999023}, {1, -1.73291016}, {15, -1.77416992}, {16, -1.23779297}, {17, 4.74487305}, {31, 0.495117188}}},
{RK_Q2_K, "0c7018740b8216fa818e50225db52062a5693267552564e784a41534ecfd938092f72643f3161305"
"31e617c04597e00f4ddec84776fc8c7fc779357c4da6ef1dd79711fb0035c5bf742a2ff6de239417"
"4829a42c", {{0, 0.495117188}, {1, 0.495117188}, {15, 0}, {16, -0.507568359}, {17, -0.507568359}, {31, -0.507568359}, {32, 0.257568359}, {63, -0.0124511719}, {64, 0.907714844}, {100, 0.175048828}, {127, -1.08764648}, {128, -0.538818359}, {160, -0.362548828}, {200, -0.362548828}, {255, -0.435058594}}},
{RK_Q3_K, "0aa10b4bdcd78d8ab947c8ec8957e24619f2d2b9737d20290250945229084df82e59ce6b21121d84"
"d8fcff4a685ea91d448fb26c4d069d9fa11da2745fb4d4c6d6d0e35ccac8ed9cb38cd5c5ba05d4ea"
"c762646d3ec2220ad56df1b73ea05187e3a541df5209977503723a5e4829", {{0, -1.56787109}, {1, 0.783935547}, {15, -2.35180664}, {16, 0}, {17, -0.206298828}, {31, -0.412597656}, {32, 0.123779297}, {63, -1.85668945}, {64, 2.47558594}, {100, 0}, {127, 2.59936523}, {128, 1.48535156}, {160, -2.47558594}, {200, 1.11401367}, {255, -0.742675781}}},
{RK_Q4_K, "4829a42c38152ea47a6723c54c2546da2a03003789fbca9727fdefcd0fbf95425f213a58b17902d7"
"5c05e29474526e82406a76ac2a9dc98276f81efb7296c6c0f27fdb0df237de253ce4898b810ed3d1"
"b302ab1103e4ebae3e366ec2662f7fc9809993df5dc30d319ee0268ed7bc67cd2db9a55bd59afa30"
"64c8bf7ae0a1e01459e15138ad27f0da379ae9aa40137ddc", {{0, 18.8999023}, {1, 2.72607422}, {15, 0.415527344}, {16, 30.4526367}, {17, -1.89501953}, {31, 0.415527344}, {32, -1.0949707}, {63, 4.10375977}, {64, -2.5378418}, {100, 2.6081543}, {127, 18.9470215}, {128, 0.03515625}, {160, 0.964111328}, {200, 0.700195312}, {255, 18.1047363}}},
{RK_Q5_K, "4829a42c32bc64e08bb37f4f4b13cf788e290f9e020928462e3260eb23c5d001906096d6f0f64da5"
"5c19dc403afb4bb88cc3bb693adde7d51cd28cff3125294811175478ad891837c3604ab1a838aba3"
"9bae34d8d31218cedbbf17fa6222b3f6556418e597cb88267010ce0a6545727bb071525847190ce5"
"ca8503ccda2c376c3a2057936d9be9965c9e10e462054506da845e7dfedd67ac312dfb734b6449eb"
"e18956f325d3aad35e29e476c974b1e2", {{0, 23.958252}, {1, 38.3991699}, {15, 48.7141113}, {16, 1.26538086}, {17, 13.6433105}, {31, 5.39135742}, {32, 55.7160645}, {63, 21.0578613}, {64, 35.536377}, {100, 16.076416}, {127, 29.279541}, {128, -2.61035156}, {160, 13.4921875}, {200, -0.751220703}, {255, 67.6486816}}},
{RK_Q6_K, "86b1c212db0c0da91e36a2446d83dc3e5e76f2adb087bdc4dd2573e3e0503036aaa325df746dced4"
"a0ba835022480e10447e99c5592b53d3c05beb75f1251d2a27d74c2531a20960216ad5c1a2c01551"
"26301008c576fbb0c27685bef8e2b62d7c34788f390b7165c1f74f807db87d01eb2975a27eda3243"
"f500ec8db607d36bee0f1e9c77a71d1bca55385d2dc516a21a0270c4257c6361a253450610ddacb9"
"72de35814dc363a77353cc284fe0646e2a6828e276b708ded157fb50689bd3a16a6e8a15d3236ecf"
"926ca444e9db7f574829", {{0, 26.2412109}, {1, 74.3500977}, {15, 61.2294922}, {16, 63.5400391}, {17, 27.2314453}, {31, -45.3857422}, {32, -126.584961}, {63, 8.66455078}, {64, -14.8535156}, {100, -40.847168}, {127, -4.04345703}, {128, -31.7700195}, {160, 75.9179688}, {200, -17.081543}, {255, 21.5375977}}},
};
/* clang-format on */

static uint8_t *bytes_of(test_ctx *t, const char *hex)
{
    const size_t n = strlen(hex) / 2;
    uint8_t *bytes = test_alloc(t, n);
    for (size_t i = 0; i < n; i++) {
        const char pair[] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return bytes;
}

static void test_golden(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    assert_int_equal(RK_COUNT(goldens), RK_Q6_K - RK_Q4_0 + 1);
    for (size_t i = 0; i < RK_COUNT(goldens); i++) {
        const golden *g = &goldens[i];
        const int64_t n = rk_dtype_block(g->dtype);
        float *out = test_alloc_f32(&t, 2 * n);
        assert_int_equal(strlen(g->hex), 2 * rk_dtype_bytes(g->dtype));
        /* Two blocks, so that the second one's place is seen too. */
        uint8_t *two = test_alloc(&t, strlen(g->hex)), *one = bytes_of(&t, g->hex);
        memcpy(two, one, strlen(g->hex) / 2);
        memcpy(two + strlen(g->hex) / 2, one, strlen(g->hex) / 2);
        rk_blocks_widen(g->dtype, 2 * n, two, out);
        for (int s = 0; s < SHOWN_MAX && (s == 0 || g->shown[s].at > 0); s++)
            for (int64_t b = 0; b < 2; b++)
                if (fabs((double)out[b * n + g->shown[s].at] - g->shown[s].value) > 1e-5)
                    fail_msg("%s [%d]: %.9g, expected %.9g", rk_dtype_name(g->dtype),
                             g->shown[s].at, (double)out[b * n + g->shown[s].at],
                             g->shown[s].value);
        test_reset(&t);
    }
    test_end(&t);
}

/* Scales that are no numbers make no crash. */
static void test_any_bytes(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    for (rk_dtype d = RK_Q4_0; d <= RK_Q6_K; d++) {
        uint8_t *bytes = test_alloc(&t, rk_dtype_bytes(d));
        float *out = test_alloc_f32(&t, rk_dtype_block(d));
        memset(bytes, 0xff, rk_dtype_bytes(d));
        rk_blocks_widen(d, rk_dtype_block(d), bytes, out);
        assert_true(isnan(out[0]));
        test_reset(&t);
    }
    test_end(&t);
}

/* ---- rounding, beside what ggml's own library makes of the same numbers ---- */

/* Numbers of these kinds, made from two draws of a linear generator each. */
typedef enum numbers { PRODUCT, SUM, TAILED, CONSTANT, ZERO, TINY, LARGE, N_NUMBERS } numbers;

/* clang-format off: printed by tests/oracle/blocks.py --goldens */
static const struct {
    numbers numbers;
    rk_dtype dtype;
    uint64_t fnv;  /* of ggml's blocks */
    double square; /* mean square of their error */
} rounded[] = {
    {PRODUCT, RK_Q4_0, UINT64_C(0x81caf5a017e4e68c), 0.000810743978},
    {PRODUCT, RK_Q4_1, UINT64_C(0x7eb468d3bff2e0ea), 0.000714379933},
    {PRODUCT, RK_Q5_0, UINT64_C(0x7b0ad3ae22e6e739), 0.000197927233},
    {PRODUCT, RK_Q5_1, UINT64_C(0xb28e9ee02f843e46), 0.000168585773},
    {PRODUCT, RK_Q8_0, UINT64_C(0x9dd5ae183ea7a07e), 3.11075063e-06},
    {PRODUCT, RK_Q4_K, UINT64_C(0x2523bb1a73fa8efc), 0.000593234142},
    {PRODUCT, RK_Q5_K, UINT64_C(0x3c59d49fb27630a4), 0.000150615276},
    {PRODUCT, RK_Q6_K, UINT64_C(0x2749ce633f037f51), 3.57200347e-05},
    {SUM, RK_Q4_0, UINT64_C(0x45eb90853d173ba0), 0.00380351776},
    {SUM, RK_Q4_1, UINT64_C(0xc3777193220f43cb), 0.00334285946},
    {SUM, RK_Q5_0, UINT64_C(0xc2d17246626acaa1), 0.000926784555},
    {SUM, RK_Q5_1, UINT64_C(0x72b4fa3be3b22b98), 0.000770466091},
    {SUM, RK_Q8_0, UINT64_C(0xc9a9313797b21d54), 1.45329016e-05},
    {SUM, RK_Q4_K, UINT64_C(0x5a5d01d1f68b4bb9), 0.00274654443},
    {SUM, RK_Q5_K, UINT64_C(0x99a6fd132f1ce886), 0.000705128946},
    {SUM, RK_Q6_K, UINT64_C(0x13a1fd16f644cc9f), 0.000165348599},
    {TAILED, RK_Q4_0, UINT64_C(0x629bd7d920474fd2), 0.011078074},
    {TAILED, RK_Q4_1, UINT64_C(0x00253a7f523d9fb9), 0.0149737058},
    {TAILED, RK_Q5_0, UINT64_C(0xe8b71ccc06becefa), 0.00311219931},
    {TAILED, RK_Q5_1, UINT64_C(0x40a73d87674efe69), 0.00362774097},
    {TAILED, RK_Q8_0, UINT64_C(0x86488d6dfd272f6d), 6.53246299e-05},
    {TAILED, RK_Q4_K, UINT64_C(0x4410ae7e578160cb), 0.00814479168},
    {TAILED, RK_Q5_K, UINT64_C(0x67f95d9324667764), 0.0026435528},
    {TAILED, RK_Q6_K, UINT64_C(0xc5b59ea1cee68d42), 0.000552537815},
    {CONSTANT, RK_Q4_0, UINT64_C(0x7544ddec8a9fdb25), 0},
    {CONSTANT, RK_Q4_1, UINT64_C(0xce8d152c8efeb325), 0},
    {CONSTANT, RK_Q5_0, UINT64_C(0x503674a9931b6325), 0},
    {CONSTANT, RK_Q5_1, UINT64_C(0x49e5f6363b9f4325), 0},
    {CONSTANT, RK_Q8_0, UINT64_C(0xe7f0e4ebff5d1325), 5.23868948e-10},
    {CONSTANT, RK_Q4_K, UINT64_C(0x18fec64131af2725), 8.38190317e-09},
    {CONSTANT, RK_Q5_K, UINT64_C(0xbf0682f1d9ec5665), 4.37729852e-09},
    {CONSTANT, RK_Q6_K, UINT64_C(0xf118acf11f6e1325), 0},
    {ZERO, RK_Q4_0, UINT64_C(0xa3133db3b1368b25), 0},
    {ZERO, RK_Q4_1, UINT64_C(0xc6ecc1ddbd41b325), 0},
    {ZERO, RK_Q5_0, UINT64_C(0x6cd5a9125e068f25), 0},
    {ZERO, RK_Q5_1, UINT64_C(0x6df0de0551480325), 0},
    {ZERO, RK_Q8_0, UINT64_C(0x52573c18f537cb25), 0},
    {ZERO, RK_Q4_K, UINT64_C(0xb54ec33c111e8b25), 0},
    {ZERO, RK_Q5_K, UINT64_C(0x8a3e8632d2a4db25), 0},
    {ZERO, RK_Q6_K, UINT64_C(0x2a180fde2b0e1025), 0},
    {TINY, RK_Q4_0, UINT64_C(0x6f1e4f2b527328b3), 5.25538381e-15},
    {TINY, RK_Q4_1, UINT64_C(0xa2c3ffa5b192eb54), 3.05660769e-14},
    {TINY, RK_Q5_0, UINT64_C(0xa653ba897f840736), 7.77005396e-15},
    {TINY, RK_Q5_1, UINT64_C(0xb21252fc8e757866), 7.28535957e-14},
    {TINY, RK_Q8_0, UINT64_C(0x1ee95a74576e1e64), 1.09054863e-13},
    {TINY, RK_Q4_K, UINT64_C(0xd9b15eb01aa73c10), 1.09054863e-13},
    {TINY, RK_Q5_K, UINT64_C(0xe055ae067a5b9a2d), 1.09054863e-13},
    {TINY, RK_Q6_K, UINT64_C(0x5d28af12f2686e80), 1.09054863e-13},
    {LARGE, RK_Q4_0, UINT64_C(0x60f5d2f41c4ea5f7), 729718.982},
    {LARGE, RK_Q4_1, UINT64_C(0xa5581a405be66f5b), 643032.879},
    {LARGE, RK_Q5_0, UINT64_C(0xdd4a164e81e055ca), 178153.586},
    {LARGE, RK_Q5_1, UINT64_C(0x8b2eabe9df926240), 151759.179},
    {LARGE, RK_Q8_0, UINT64_C(0x70f5417580eb45fe), 2796.42588},
    {LARGE, RK_Q4_K, UINT64_C(0x420578bd029149bc), 534388.173},
    {LARGE, RK_Q5_K, UINT64_C(0x1fb58483611ff589), 135926.601},
    {LARGE, RK_Q6_K, UINT64_C(0x2ad5d0b54d5903b7), 32140.4077},
};
/* clang-format on */
static const rk_dtype written[] = {RK_Q4_0, RK_Q4_1, RK_Q5_0, RK_Q5_1,
                                   RK_Q8_0, RK_Q4_K, RK_Q5_K, RK_Q6_K};
enum { N_DRAWS = 8192 };

static float number_of(numbers kind, float a, float b)
{
    const float p = a * b;
    const float of_kind[N_NUMBERS] = {p,    a + b,     p * p * p * 8.0f, 0.375f,
                                      0.0f, p * 1e-6f, p * 30000.0f};
    return of_kind[kind];
}

static void draw(numbers kind, float *x)
{
    uint32_t s = 12345;
    for (int i = 0; i < N_DRAWS; i++) {
        float pair[2];
        for (int k = 0; k < 2; k++) {
            s = 1664525u * s + 1013904223u;
            pair[k] = (float)((double)(s >> 8) / 8388608.0 - 1.0);
        }
        x[i] = number_of(kind, pair[0], pair[1]);
    }
}

static uint64_t fnv(const uint8_t *p, size_t n)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    return h;
}

static double mean_square(const float *a, const float *b, const float *weights)
{
    double sum = 0, all = 0;
    for (int i = 0; i < N_DRAWS; i++) {
        const double e = (double)a[i] - (double)b[i], w = weights ? (double)weights[i] : 1;
        sum += w * e * e;
        all += w;
    }
    return sum / all;
}

static void test_narrow(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    for (size_t i = 0; i < RK_COUNT(rounded); i++) {
        const rk_dtype d = rounded[i].dtype;
        const size_t bytes = N_DRAWS / (size_t)rk_dtype_block(d) * rk_dtype_bytes(d);
        float *x = test_alloc_f32(&t, N_DRAWS), *y = test_alloc_f32(&t, N_DRAWS);
        uint8_t *blocks = test_alloc(&t, bytes);
        draw(rounded[i].numbers, x);
        assert_true(rk_blocks_can_narrow(d));
        rk_blocks_narrow(d, N_DRAWS, x, NULL, blocks);
        rk_blocks_widen(d, N_DRAWS, blocks, y);
        const double square = mean_square(x, y, NULL);
        if (rk_dtype_block(d) == 32 && fnv(blocks, bytes) != rounded[i].fnv)
            fail_msg("%s, numbers %d: the blocks are not ggml's", rk_dtype_name(d),
                     (int)rounded[i].numbers);
        if (square > rounded[i].square * (1 + 1e-6))
            fail_msg("%s, numbers %d: mean square error %.6g, ggml's is %.6g", rk_dtype_name(d),
                     (int)rounded[i].numbers, square, rounded[i].square);
        test_reset(&t);
    }
    test_end(&t);
}

/* Weights move errors to where they count less. */
static void test_narrow_weighted(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    for (size_t i = 0; i < RK_COUNT(written); i++) {
        const rk_dtype d = written[i];
        float *x = test_alloc_f32(&t, N_DRAWS), *w = test_alloc_f32(&t, N_DRAWS);
        float *plain = test_alloc_f32(&t, N_DRAWS), *weighed = test_alloc_f32(&t, N_DRAWS);
        uint8_t *blocks = test_alloc(&t, N_DRAWS / (size_t)rk_dtype_block(d) * rk_dtype_bytes(d));
        draw(PRODUCT, x);
        for (int e = 0; e < N_DRAWS; e++)
            w[e] = e % 7 == 0 ? 100.0f : 1.0f;
        rk_blocks_narrow(d, N_DRAWS, x, NULL, blocks);
        rk_blocks_widen(d, N_DRAWS, blocks, plain);
        rk_blocks_narrow(d, N_DRAWS, x, w, blocks);
        rk_blocks_widen(d, N_DRAWS, blocks, weighed);
        assert_true(mean_square(x, weighed, w) < 0.97 * mean_square(x, plain, w));
        test_reset(&t);
    }
    test_end(&t);
}

/* Every build of the rounding has the bits of the plain one, at every number of blocks. */
static void test_narrow_builds(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2"))
        skip();
    test_ctx t = test_begin(6);
    for (size_t i = 0; i < RK_COUNT(written) * 2 * N_NUMBERS; i++) {
        const rk_dtype d = written[i % RK_COUNT(written)];
        const numbers kind = (numbers)(i / RK_COUNT(written) / 2);
        const bool weighed = i / RK_COUNT(written) % 2;
        float *draws = test_alloc_f32(&t, N_DRAWS), *w = test_uniform(&t, N_DRAWS, 0.01f, 4.0f);
        draw(kind, draws);
        for (int64_t n = rk_dtype_block(d); n <= 2560; n += 3 * rk_dtype_block(d)) {
            const size_t bytes = (size_t)(n / rk_dtype_block(d)) * rk_dtype_bytes(d);
            float *x = test_copy_f32(&t, draws, n), *weights = test_copy_f32(&t, w, n);
            uint8_t *plain = test_alloc(&t, bytes), *wide = test_alloc(&t, bytes);
            rk_blocks_narrow_plain(d, n, x, weighed ? weights : NULL, plain);
            rk_blocks_narrow_avx2(d, n, x, weighed ? weights : NULL, wide);
            if (memcmp(plain, wide, bytes) != 0)
                fail_msg("%s, numbers %d, %lld elements: other bits", rk_dtype_name(d), (int)kind,
                         (long long)n);
        }
        test_reset(&t);
    }
    test_end(&t);
#else
    skip();
#endif
}

/* Zeros, one number, and the largest ones: no division by zero, nothing that is not finite. */
static void test_narrow_extremes(void **state)
{
    (void)state;
    static const float values[] = {0.0f, 1.0f, -1.0f, -0.37f, 1e-30f, 1e-42f, -60000.0f};
    test_ctx t = test_begin(5);
    for (size_t i = 0; i < RK_COUNT(written) * RK_COUNT(values); i++) {
        const rk_dtype d = written[i / RK_COUNT(values)];
        float *x = test_alloc_f32(&t, 256), *y = test_alloc_f32(&t, 256);
        uint8_t *blocks = test_alloc(&t, 256 / (size_t)rk_dtype_block(d) * rk_dtype_bytes(d));
        for (int e = 0; e < 256; e++)
            x[e] = values[i % RK_COUNT(values)];
        rk_blocks_narrow(d, 256, x, NULL, blocks);
        rk_blocks_widen(d, 256, blocks, y);
        for (int e = 0; e < 256; e++)
            if (!(fabsf(y[e] - x[e]) <= 0.04f * fabsf(x[e]) + 1e-6f))
                fail_msg("%s: %g became %g", rk_dtype_name(d), (double)x[e], (double)y[e]);
        test_reset(&t);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_any_bytes),
        cmocka_unit_test(test_narrow),        cmocka_unit_test(test_narrow_weighted),
        cmocka_unit_test(test_narrow_builds), cmocka_unit_test(test_narrow_extremes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
