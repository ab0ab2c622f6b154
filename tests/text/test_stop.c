/* Stop strings: nothing of one shows, nothing else is lost, however the text is cut. */
#include "test_util.h"

#include "text/stop.h"

/* Feed a text in pieces; after a stop the rest is fed too and must be ignored. */
static int64_t run(rk_stop *s, const char *text, size_t piece, rk_buf *out)
{
    const size_t n = strlen(text);
    int64_t found = -1;
    rk_buf_clear(out);
    for (size_t at = 0; at < n; at += piece)
        found = rk_stop_push(s, text + at, at + piece < n ? piece : n - at, out);
    rk_stop_flush(s, out);
    return found;
}

/* The definition: the first place where a string ends, the longest and then lowest that ends there;
 * the text is what comes before it. */
static int64_t find_first(const char *const *strings, int64_t n, const char *text, size_t *length)
{
    for (size_t end = 1; end <= strlen(text); end++) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++) {
            const size_t m = strlen(strings[i]);
            if (m <= end && memcmp(text + end - m, strings[i], m) == 0 &&
                (best < 0 || m > strlen(strings[best])))
                best = i;
        }
        if (best >= 0) {
            *length = end - strlen(strings[best]);
            return best;
        }
    }
    *length = strlen(text);
    return -1;
}

static void expect(const char *const *strings, int64_t n, const char *text)
{
    rk_error err = {0};
    rk_stop *s = NULL;
    rk_buf out = {0};
    size_t length;
    const int64_t want = find_first(strings, n, text, &length);
    test_ok(rk_stop_new(&s, strings, n, &err), &err);
    for (size_t piece = 1; piece <= 4; piece++) { /* each from the state that the flush left */
        const int64_t found = run(s, text, piece, &out);
        if (found != want || out.len != length || (length && memcmp(out.data, text, length) != 0))
            fail_msg("'%s' in pieces of %zu: stop %d, want %d; text '%s'", text, piece, (int)found,
                     (int)want, out.data ? out.data : "");
    }
    rk_buf_deinit(&out);
    rk_stop_free(s);
}

static void test_examples(void **state)
{
    (void)state;
    static const char *const chat[] = {"\n\nUser:", "\nUser:"};
    static const char *const inner[] = {"abcd", "bc"}, *const same_end[] = {"c", "abc", "bc"};
    static const char *const periodic[] = {"aabaaa"};
    expect(chat, 2, " Hi there.\n\nUser: next");
    expect(chat, 2, " Hi there.\n\n\nUser: next");
    expect(chat, 2, "Two\n\nparagraphs\n\nUse");
    expect(inner, 2, "xabcd");
    expect(same_end, 3, "xabc");
    expect(periodic, 1, "aabaabaaa");
    expect(NULL, 0, "no stop strings");
    expect(chat, 2, "");
}

/* Words of two letters have many overlaps. */
static void test_random(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 3000; round++) {
        char words[3][6], text[30];
        const char *strings[3] = {words[0], words[1], words[2]};
        for (uint64_t i = 0; i < 3; i++) {
            const uint32_t bits = rk_rng_u32(5, RK_RNG_TEST, round, i);
            const uint32_t n = 1 + bits % 5;
            for (uint32_t k = 0; k < n; k++)
                words[i][k] = (char)('a' + (bits >> (8 + k) & 1));
            words[i][n] = '\0';
        }
        const uint32_t bits = rk_rng_u32(5, RK_RNG_TEST, round, 3), n = bits % 29;
        for (uint32_t k = 0; k < n; k++)
            text[k] = (char)('a' + (bits >> k & 1));
        text[n] = '\0';
        expect(strings, 1 + (int64_t)(round % 3), text);
    }
}

/* What cannot become a stop string is not held back. */
static void test_holds_back_no_more(void **state)
{
    (void)state;
    static const char *const strings[] = {"\n\nUser:"};
    rk_error err = {0};
    rk_stop *s = NULL;
    rk_buf out = {0};
    test_ok(rk_stop_new(&s, strings, 1, &err), &err);
    assert_int_equal(rk_stop_push(s, "ab\n", 3, &out), -1);
    assert_string_equal(out.data, "ab");
    assert_int_equal(rk_stop_push(s, "\nUse", 4, &out), -1);
    assert_string_equal(out.data, "ab");
    assert_int_equal(rk_stop_push(s, "d", 1, &out), -1);
    assert_string_equal(out.data, "ab\n\nUsed");
    assert_int_equal(rk_stop_push(s, "\n", 1, &out), -1);
    rk_stop_reset(s);
    rk_buf_clear(&out);
    assert_int_equal(rk_stop_push(s, "\nUser:", 6, &out), -1);
    assert_string_equal(out.data, "\nUser:");
    rk_buf_deinit(&out);
    rk_stop_free(s);
    rk_stop_free(NULL);
}

static void test_empty_string(void **state)
{
    (void)state;
    static const char *const strings[] = {"a", ""};
    rk_error err = {0};
    rk_stop *s = NULL;
    assert_int_equal(rk_stop_new(&s, strings, 2, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, "a stop string is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_holds_back_no_more),
        cmocka_unit_test(test_empty_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
