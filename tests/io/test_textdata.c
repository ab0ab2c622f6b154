/* Documents of .txt and .jsonl files. */
#include "test_util.h"

#include "io/textdata.h"

static void is_document(const rk_textdata *d, int64_t i, const char *want, size_t n)
{
    const rk_document doc = rk_textdata_at(d, i);
    assert_int_equal(doc.bytes, n);
    assert_memory_equal(doc.text, want, n);
}

static void test_files(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_textdata *d;
    const char *dir = test_temp_dir(&t);
    const char *const paths[] = {test_path(&t, dir, "a.txt"), test_path(&t, dir, "b.jsonl"),
                                 test_path(&t, dir, "c.txt")};
    static const char txt[] = "any \xff\n bytes\0 ";
    static const char jsonl[] = "\n{\"text\": \"one\\n\\u00e9\"}\r\n \n"
                                "{\"n\": [1.5e-3, true, {\"text\": null}], \"text\": \"\"}\n"
                                "{\"text\": \"\\ud83d\\ude00\\u0000\\\"\\/\", \"z\": -0}";
    test_write_file(paths[0], txt, sizeof txt);
    test_write_file(paths[1], jsonl, sizeof jsonl - 1);
    test_write_file(paths[2], "last", 4);
    test_ok(rk_textdata_open(&d, paths, 3, &err), &err);
    assert_int_equal(rk_textdata_count(d), 5);
    is_document(d, 0, txt, sizeof txt);
    is_document(d, 1, "one\n\xc3\xa9", 6);
    is_document(d, 2, "", 0);
    is_document(d, 3, "\xf0\x9f\x98\x80\0\"/", 7);
    is_document(d, 4, "last", 4);
    assert_int_equal(rk_textdata_bytes(d), sizeof txt + 6 + 7 + 4);
    test_ok(rk_textdata_check(d, &err), &err);
    assert_int_equal(truncate(paths[2], 2), 0);
    assert_int_equal(rk_textdata_check(d, &err), RK_ERR_IO);
    rk_textdata_close(d);
    rk_textdata_close(NULL);
    test_end(&t);
}

static void refused(const char *const *paths, int64_t n, rk_status code, const char *part)
{
    rk_error err;
    rk_textdata *d;
    assert_int_equal(rk_textdata_open(&d, paths, n, &err), code);
    if (!strstr(err.msg, part))
        fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void test_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *good = test_path(&t, dir, "a.txt"), *bad = test_path(&t, dir, "b.jsonl");
    test_write_file(good, "x", 1);
    test_write_file(bad, "{\"text\": \"a\"}\n{\"text\": 5}\n", 26);
    const char *const both[] = {good, bad};
    refused(both, 2, RK_ERR_FORMAT, "b.jsonl: line 2, byte 10: expected a string");
    refused(both, 0, RK_ERR_ARG, "no text files");
    const char *const kinds[] = {"a.csv", ".txt", "txt"};
    for (size_t i = 0; i < RK_COUNT(kinds); i++)
        refused(&kinds[i], 1, RK_ERR_ARG, "expected a name that ends in .txt or .jsonl");
    const char *none = test_path(&t, dir, "none.txt");
    refused(&none, 1, RK_ERR_IO, "No such file");
    test_end(&t);
}

/* Every truncation and every changed byte of a file is refused or read, within its exact block. */
static void test_damage(void **state)
{
    (void)state;
    static const char line[] = "{\"n\": [1, {\"x\": \"\\u0041\"}], \"text\": \"\\ud83d\\ude00 a\"}";
    static const char values[] = "\"\\{}[],:u0\n\xff";
    for (size_t n = 1; n < sizeof line; n++) {
        char *block = malloc(n);
        for (size_t i = 0; i < n; i++)
            for (size_t v = 0; v < sizeof values; v++) {
                rk_textdata *d = NULL;
                memcpy(block, line, n);
                block[i] = values[v];
                rk_textdata_open_memory(&d, block, n, "block.jsonl", NULL);
                rk_textdata_close(d);
            }
        free(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
