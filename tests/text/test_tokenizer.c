/* Encoding: published ids of the World vocabulary, the longest match, and that decoding undoes it.
 */
#include "test_util.h"

#include "text/tokenizer.h"
#include "text/utf8.h"

static rk_tokenizer *open_tokenizer(const char *name)
{
    rk_error err = {0};
    rk_tokenizer *t = NULL;
    test_ok(rk_tokenizer_new(&t, name, &err), &err);
    return t;
}

static void test_byte(void **state)
{
    (void)state;
    rk_tokenizer *t = open_tokenizer("byte");
    int32_t ids[4];
    assert_int_equal(rk_tokenizer_n_vocab(t), 256);
    assert_int_equal(rk_tokenizer_encode(t, "\0a\xff", 3, ids, 4), 3);
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[1], 'a');
    assert_int_equal(ids[2], 255);
    for (int32_t id = 0; id < 256; id++) {
        size_t n;
        const char *bytes = rk_tokenizer_bytes(t, id, &n);
        assert_int_equal(n, 1);
        assert_int_equal((unsigned char)bytes[0], id);
    }
    rk_tokenizer_free(t);
}

static void test_world_vectors(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[12];
    } rows[] = {
        {"Hello, World!", {33155, 45, 37576, 34}},
        {"User: hi\n\nAssistant:", {24281, 59, 4571, 261, 5585, 41693, 59}},
        {"Assistant: <think", {5585, 41693, 59, 295, 35762}},
        {"The Eiffel tower is in the city of",
         {6699, 304, 25740, 109, 39990, 4600, 4596, 22590, 30449, 4706}},
        {" \xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c", {33, 10464, 11685, 10267, 14610}},
        {"<think>\n</think>", {61, 35762, 63, 11, 754, 35762, 63}},
        {"\n\n\nUser:", {3328, 24281, 59}},
        {"1234567890", {632, 654, 676, 698, 710}},
        {"\xf0\x9f\x98\x80 na\xc3\xafve caf\xc3\xa9", {3319, 153, 129, 46644, 37946}},
        {"def f(x):\n    return x\n", {7334, 337, 41, 121, 501, 28352, 42178, 355, 11}},
        {"\n", {11}},
        {"\n\n", {261}},
        {" ", {33}},
        {":", {59}},
        {"", {0}},
    };
    rk_tokenizer *t = open_tokenizer("world");
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        int32_t ids[12] = {0};
        rk_tokenizer_encode(t, rows[i].text, strlen(rows[i].text), ids, 12);
        for (int k = 0; k < 12; k++)
            if (ids[k] != rows[i].ids[k])
                fail_msg("'%s': id %d is %" PRId32 ", want %" PRId32, rows[i].text, k, ids[k],
                         rows[i].ids[k]);
    }
    rk_tokenizer_free(t);
}

/* Every token alone is encoded as itself; the rest has no text. */
static void test_world_tokens(void **state)
{
    (void)state;
    rk_tokenizer *t = open_tokenizer("world");
    size_t n;
    assert_int_equal(rk_tokenizer_n_vocab(t), 65536);
    assert_int_equal(rk_tokenizer_token_max(t), 128);
    for (int32_t id = 1; id < 65530; id++) {
        int32_t got = -1;
        const char *bytes = rk_tokenizer_bytes(t, id, &n);
        if (rk_tokenizer_encode(t, bytes, n, &got, 1) != 1 || got != id)
            fail_msg("token %" PRId32 " is encoded as %" PRId32, id, got);
    }
    static const int32_t without_text[] = {0, 65530, 65535, 65536, -1, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < RK_COUNT(without_text); i++) {
        assert_non_null(rk_tokenizer_bytes(t, without_text[i], &n));
        assert_int_equal(n, 0);
    }
    assert_true(rk_tokenizer_memory(t) <= 8u << 20);
    rk_tokenizer_free(t);
}

/* n bytes in an exact block, encoded and decoded again; at every place no longer token fits. */
static void expect_round_trip(test_ctx *c, const rk_tokenizer *t, const char *bytes, size_t n)
{
    const char *text = test_copy(c, bytes, n);
    const int64_t count = rk_tokenizer_encode(t, text, n, NULL, 0);
    int32_t *ids = test_alloc(c, (size_t)count * sizeof *ids);
    assert_true(count <= (int64_t)n);
    assert_int_equal(rk_tokenizer_encode(t, text, n, ids, count), count);
    size_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        size_t length;
        const char *token = rk_tokenizer_bytes(t, ids[i], &length);
        assert_true(length > 0 && length <= n - at);
        test_same(c, "decoded text", text + at, token, length);
        at += length;
    }
    assert_int_equal(at, n);
}

static void test_random_bytes(void **state)
{
    (void)state;
    rk_tokenizer *world = open_tokenizer("world"), *byte = open_tokenizer("byte");
    test_ctx c = test_begin(7);
    for (int round = 0; round < 400; round++) {
        /* Few different bytes make long tokens likely. */
        const uint64_t kinds = (uint64_t[]){256, 2, 8, 128}[round % 4];
        const size_t n = (size_t)rk_rng_below(c.seed, RK_RNG_TEST, 1, (uint64_t)round, 300);
        char bytes[300];
        for (size_t i = 0; i < n; i++)
            bytes[i] =
                (char)(' ' + rk_rng_below(c.seed, RK_RNG_TEST, 2 + (uint64_t)round, i, kinds));
        test_shape(&c, "round %d, %zu bytes of %d kinds", round, n, (int)kinds);
        expect_round_trip(&c, world, bytes, n);
        expect_round_trip(&c, byte, bytes, n);
        test_reset(&c);
    }
    rk_tokenizer_free(world);
    rk_tokenizer_free(byte);
    test_end(&c);
}

static void test_random_text(void **state)
{
    (void)state;
    rk_tokenizer *world = open_tokenizer("world");
    test_ctx c = test_begin(8);
    for (uint64_t round = 0; round < 400; round++) {
        const uint32_t limit = (uint32_t[]){0x80, 0x250, 0xa000, 0x110000}[round % 4];
        unsigned char text[4 * 100];
        size_t n = 0;
        for (uint64_t i = 0; i < 100; i++)
            n += rk_utf8_encode((uint32_t)rk_rng_below(c.seed, RK_RNG_TEST, round, i, limit),
                                text + n);
        test_shape(&c, "round %" PRIu64, round);
        expect_round_trip(&c, world, (const char *)text, n);
        test_reset(&c);
    }
    rk_tokenizer_free(world);
    test_end(&c);
}

/* Whether a token of the vocabulary is exactly these bytes: it alone is encoded as one id. */
static bool is_token(const rk_tokenizer *t, const char *bytes, size_t n)
{
    return rk_tokenizer_encode(t, bytes, n, NULL, 0) == 1;
}

/* Greedy: no token longer than the chosen one fits. A string is one token exactly if it is encoded
 * as one id, which test_world_tokens has checked for all tokens. */
static void test_longest_match(void **state)
{
    (void)state;
    static const char text[] = "\n\n\n   It is a truth universally acknowledged, that 1234567 men\t"
                               "\xe4\xbd\xa0\xe5\xa5\xbd caf\xc3\xa9\xf0\x9f\x98\x80\xff\xfe.";
    const size_t n = sizeof text - 1;
    rk_tokenizer *t = open_tokenizer("world");
    int32_t ids[sizeof text];
    const int64_t count = rk_tokenizer_encode(t, text, n, ids, (int64_t)n);
    for (int64_t i = 0, at = 0; i < count; i++) {
        size_t length;
        rk_tokenizer_bytes(t, ids[i], &length);
        for (size_t longer = length + 1; longer <= 128 && (size_t)at + longer <= n; longer++)
            assert_false(is_token(t, text + at, longer));
        at += (int64_t)length;
    }
    rk_tokenizer_free(t);
}

/* Fewer ids than there are: the number is told, and nothing is written behind them. */
static void test_short_output(void **state)
{
    (void)state;
    rk_tokenizer *t = open_tokenizer("world");
    int32_t ids[3] = {-1, -1, -1};
    assert_int_equal(rk_tokenizer_encode(t, "Hello, World!", 13, ids, 2), 4);
    assert_int_equal(ids[1], 45);
    assert_int_equal(ids[2], -1);
    assert_int_equal(rk_tokenizer_encode(t, "", 0, NULL, 0), 0);
    rk_tokenizer_free(t);
}

static void test_missing_file(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_tokenizer *t = NULL;
    assert_int_equal(rk_tokenizer_new(&t, "no/such/vocabulary", &err), RK_ERR_IO);
    assert_non_null(strstr(err.msg, "no/such/vocabulary"));
    assert_null(t);
    rk_tokenizer_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte),         cmocka_unit_test(test_world_vectors),
        cmocka_unit_test(test_world_tokens), cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_random_text),  cmocka_unit_test(test_longest_match),
        cmocka_unit_test(test_short_output), cmocka_unit_test(test_missing_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
