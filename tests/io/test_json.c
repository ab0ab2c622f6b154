/* Writing JSON lines and scanning them, each against an independent reader (jansson). */
#include "test_util.h"

#include <jansson.h>

#include "io/json_line.h"
#include "io/json_scan.h"

static void test_object(void **state)
{
    (void)state;
    rk_buf b = {0};
    rk_json_begin(&b);
    rk_json_int(&b, "step", INT64_MIN);
    rk_json_num(&b, "loss", 0.1);
    rk_json_num(&b, "none", (double)NAN);
    rk_json_num(&b, "huge", (double)INFINITY);
    rk_json_bool(&b, "ok", true);
    rk_json_str(&b, "s", "a\"\\\n\x7f\xc3\xa9\xff");
    rk_json_end(&b);
    assert_string_equal(b.data, "{\"step\": -9223372036854775808, \"loss\": 0.1, \"none\": null, "
                                "\"huge\": null, \"ok\": true, "
                                "\"s\": \"a\\\"\\\\\\u000a\x7f\xc3\xa9\xef\xbf\xbd\"}");
    json_t *tree = json_loads(b.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(tree);
    json_decref(tree);
    rk_buf_deinit(&b);
}

/* Nine digits bring every f32 back. */
static void test_numbers(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100000; i++) {
        float x;
        const uint32_t bits = rk_rng_u32(5, RK_RNG_TEST, 0, i);
        memcpy(&x, &bits, sizeof x);
        if (!isfinite(x))
            continue;
        rk_buf b = {0};
        rk_json_num(&b, "x", (double)x);
        if (strtof(b.data + strlen("\"x\": "), NULL) != x)
            fail_msg("%s came back as another number than 0x%08" PRIx32, b.data, bits);
        rk_buf_deinit(&b);
    }
}

/* Random bytes quoted are a valid string, and valid UTF-8 comes back as it was. */
static void test_quote_random(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        char bytes[12], back[64];
        size_t n = 0;
        for (size_t k = 0; k < sizeof bytes; k++)
            bytes[k] = (char)rk_rng_u32(i, RK_RNG_TEST, 1, k);
        rk_buf b = {0};
        rk_json_quote(&b, bytes, sizeof bytes);
        json_t *tree = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        rk_json_scan s = {(const unsigned char *)b.data, (const unsigned char *)b.data + b.len,
                          NULL};
        if (!tree || !rk_json_string(&s, back, &n) || !rk_json_at_end(&s))
            fail_msg("seed %" PRIu64 ": %s", i, b.data);
        assert_int_equal(n, json_string_length(tree));
        assert_memory_equal(back, json_string_value(tree), n);
        json_decref(tree);
        rk_buf_deinit(&b);
    }
}

/* Pieces of JSON strung together at random: the scanner accepts exactly what jansson does. (A space
 * ends the number with an exponent: jansson refuses numbers beyond a double.) */
static void test_skip_random(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "{",           "}", "[",        "]",     ",",       ":",   "\"a\"", "\"\\u00e9\"",
        "\"\\ud83d\"", "1", "-0.5e+3 ", "01",    "true",    "nul", "null",  " ",
        "\"",          "-", "1.",       "\"b\"", "{\"k\":", "[1,", "]",     "}"};
    int n_valid = 0;
    for (uint64_t i = 0; i < 300000; i++) {
        char text[128] = "";
        const uint64_t n = 1 + rk_rng_below(i, RK_RNG_TEST, 2, 0, 7);
        for (uint64_t k = 1; k <= n; k++)
            strcat(text, pieces[rk_rng_below(i, RK_RNG_TEST, 2, k, RK_COUNT(pieces))]);
        json_t *tree = json_loads(text, JSON_DECODE_ANY, NULL);
        rk_json_scan s = {(const unsigned char *)text, (const unsigned char *)text + strlen(text),
                          NULL};
        const bool ok = rk_json_skip(&s, 16) && rk_json_at_end(&s);
        if (ok != (tree != NULL))
            fail_msg("seed %" PRIu64 ": '%s' is %s", i, text, ok ? "not valid" : "valid");
        n_valid += ok;
        json_decref(tree);
    }
    assert_true(n_valid > 1000);
}

static void test_depth(void **state)
{
    (void)state;
    static const char text[] = "[[[{\"a\":[]}]]]";
    for (int depth = 0; depth < 7; depth++) {
        rk_json_scan s = {(const unsigned char *)text,
                          (const unsigned char *)text + sizeof text - 1, NULL};
        assert_true(rk_json_skip(&s, depth) == (depth >= 5));
    }
}

static void test_log(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_line_log *l;
    const char *path = test_path(&t, test_temp_dir(&t), "log.jsonl");
    test_ok(rk_line_log_open(&l, path, &err), &err);
    test_ok(rk_line_log_append(l, "{}", 2, &err), &err);
    test_ok(rk_line_log_append(l, "[1]", 3, &err), &err);
    test_ok(rk_line_log_sync(l, &err), &err);
    rk_line_log_close(l);
    rk_line_log_close(NULL);
    assert_string_equal(test_read_file(&t, path, NULL), "{}\n[1]\n");
    /* The last line was torn: it goes, the others stay. */
    assert_int_equal(truncate(path, 5), 0);
    test_ok(rk_line_log_open(&l, path, &err), &err);
    test_ok(rk_line_log_append(l, "2", 1, &err), &err);
    rk_line_log_close(l);
    assert_string_equal(test_read_file(&t, path, NULL), "{}\n2\n");
    /* A file that is one torn line. */
    test_write_file(path, "torn", 4);
    test_ok(rk_line_log_open(&l, path, &err), &err);
    rk_line_log_close(l);
    assert_string_equal(test_read_file(&t, path, NULL), "");
    assert_int_equal(rk_line_log_open(&l, test_path(&t, path, "x"), &err), RK_ERR_IO);
    test_end(&t);
}

static void test_log_full(void **state)
{
    (void)state;
    rk_error err;
    rk_line_log *l;
    if (access("/dev/full", W_OK) != 0)
        skip();
    test_ok(rk_line_log_open(&l, "/dev/full", &err), &err);
    assert_int_equal(rk_line_log_append(l, "{}", 2, &err), RK_ERR_IO);
    assert_non_null(strstr(err.msg, "No space left"));
    rk_line_log_close(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_object),       cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_quote_random), cmocka_unit_test(test_skip_random),
        cmocka_unit_test(test_depth),        cmocka_unit_test(test_log),
        cmocka_unit_test(test_log_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
