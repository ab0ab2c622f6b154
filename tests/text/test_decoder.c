/* Text that comes in pieces: whole characters only, U+FFFD for maximal parts of ill-formed ones. */
#include "test_util.h"

#include "text/utf8.h"

#define BAD "\xef\xbf\xbd"

/* What a stream makes of bytes that come in pieces of the given size. */
static size_t run(const char *bytes, size_t n, size_t piece, char *out)
{
    rk_utf8_stream s = {0};
    size_t length = 0;
    for (size_t at = 0; at < n; at += piece)
        length += rk_utf8_push(&s, (const unsigned char *)bytes + at,
                               at + piece < n ? piece : n - at, out + length);
    return length + rk_utf8_flush(&s, out + length);
}

/* Examples of the Unicode standard (tables 3-8 to 3-11) and one for each edge of table 3-7. */
static void test_maximal_subparts(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        {"a\xf1\x80\x80\xe1\x80\xc2"
         "b\x80"
         "c\x80\xbf"
         "d",
         "a" BAD BAD BAD "b" BAD "c" BAD BAD "d"},
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82"
         "A",
         BAD BAD BAD BAD BAD BAD BAD BAD "A"},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf"
         "A",
         BAD BAD BAD BAD BAD BAD BAD BAD "A"},
        {"\xf4\x91\x92\x93\xff"
         "A\x80\xbf"
         "B",
         BAD BAD BAD BAD BAD "A" BAD BAD "B"},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
         "A",
         BAD BAD BAD BAD "A"},
        {"\xc2", BAD},
        {"\xf0\x9f\x98", BAD},
        {"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
         "\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf"},
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
        {"\xf0\x8f\xbf\xbf\xf4\x90\x80\x80\xf5\x80", BAD BAD BAD BAD BAD BAD BAD BAD BAD BAD},
        {"\xe0\x9f\xbf\xc1\xbf", BAD BAD BAD BAD BAD},
        {"na\xc3\xafve \xf0\x9f\x98\x80", "na\xc3\xafve \xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++)
        for (size_t piece = 1; piece < 12; piece++) {
            char out[200];
            const size_t n = run(rows[i].in, strlen(rows[i].in), piece, out);
            if (n != strlen(rows[i].want) || memcmp(out, rows[i].want, n) != 0)
                fail_msg("row %zu in pieces of %zu", i, piece);
        }
}

static void test_all_characters(void **state)
{
    (void)state;
    unsigned char bytes[RK_UTF8_MAX];
    for (uint32_t code = 0; code < 0x110400; code++) {
        const size_t n = rk_utf8_encode(code, bytes);
        const bool exists = code < 0x110000 && (code < 0xd800 || code > 0xdfff);
        if ((n > 0) != exists || (exists && rk_utf8_classify(bytes, n) != (int)n))
            fail_msg("U+%04X", code);
        for (size_t part = 1; part < n; part++)
            assert_int_equal(rk_utf8_classify(bytes, part), 0);
    }
}

/* Random bytes: the output is well-formed, does not depend on the pieces, and what was well-formed
 * passes as it is. The output buffer has exactly the promised size. */
static void test_random_streams(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    for (uint64_t round = 0; round < 2000; round++) {
        char in[40];
        for (uint64_t i = 0; i < sizeof in; i++)
            in[i] = (char)(rk_rng_u32(t.seed, RK_RNG_TEST, round, i) >> (i % 3) | 0x80 * (i % 2));
        char *whole = test_alloc(&t, 3 * (sizeof in + 1)),
             *cut = test_alloc(&t, 3 * (sizeof in + 1));
        char *again = test_alloc(&t, 9 * (sizeof in + 1));
        const size_t n = run(in, sizeof in, sizeof in, whole);
        test_shape(&t, "round %" PRIu64, round);
        assert_int_equal(run(in, sizeof in, 1 + round % 7, cut), n);
        test_same(&t, "in pieces", whole, cut, n);
        for (size_t at = 0; at < n;) {
            const int length = rk_utf8_classify((unsigned char *)whole + at, n - at);
            assert_true(length > 0);
            at += (size_t)length;
        }
        assert_int_equal(run(whole, n, 5, again), n);
        test_same(&t, "well-formed text", whole, again, n);
        test_reset(&t);
    }
    test_end(&t);
}

static void expect_push(rk_decoder *d, int32_t id, const char *want)
{
    size_t n;
    assert_string_equal(rk_decoder_push(d, id, &n), want);
    assert_int_equal(n, strlen(want));
}

static void expect_flush(rk_decoder *d, const char *want)
{
    size_t n;
    assert_string_equal(rk_decoder_flush(d, &n), want);
    assert_int_equal(n, strlen(want));
}

/* An emoji in three tokens of the World vocabulary, ids without text, NUL bytes, a cut end. */
static void test_world_tokens(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_tokenizer *t = NULL;
    rk_decoder *d = NULL;
    size_t n;
    test_ok(rk_tokenizer_new(&t, "world", &err), &err);
    test_ok(rk_decoder_new(&d, t, &err), &err);
    expect_push(d, 33155, "Hello");
    expect_push(d, 3319, "");
    expect_push(d, 0, "");
    expect_push(d, 70000, "");
    expect_push(d, 153, "");
    expect_push(d, 129, "\xf0\x9f\x98\x80");
    const char *text = rk_decoder_push(d, 1, &n);
    assert_int_equal(n, 1);
    assert_memory_equal(text, "\0\0", 2);
    expect_push(d, 3319, "");
    expect_push(d, 33155, BAD "Hello");
    expect_push(d, 3319, "");
    expect_flush(d, BAD);
    expect_flush(d, "");
    rk_decoder_free(d);
    rk_decoder_free(NULL);
    rk_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maximal_subparts),
        cmocka_unit_test(test_all_characters),
        cmocka_unit_test(test_random_streams),
        cmocka_unit_test(test_world_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
