/* The strict reader of vocabulary texts: a folder of hostile files with the sentences they earn,
 * and what the built-in form unpacks to. */
#include "test_util.h"

#include "text/literal.h"
#include "text/tokenizer.h"
#include "text/vocab.h"

static void expect_message(rk_status st, const rk_error *err, const char *name, const char *want)
{
    if (strcmp(want, "accepted") == 0) {
        test_ok(st, err);
        return;
    }
    const char *got = st == RK_OK ? "accepted" : err->msg;
    const size_t n = strlen(name);
    if (st == RK_OK || strncmp(got, name, n) != 0 || strcmp(got + n + 2, want) != 0)
        fail_msg("%s:\nwant %s\ngot  %s", name, want, got);
    assert_int_equal(st, RK_ERR_FORMAT);
}

static void test_corpus(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_source(&t, "tests/data/vocab");
    char *line = test_read_file(&t, test_path(&t, dir, "expected.tsv"), NULL);
    int64_t n_files = 0;
    for (char *next; *line; line = next, n_files++) {
        char *tab = strchr(line, '\t'), *end = strchr(line, '\n');
        *tab = *end = '\0';
        next = end + 1;
        rk_error err = {0};
        rk_tokenizer *tokenizer = NULL;
        const char *path = test_path(&t, dir, line);
        expect_message(rk_tokenizer_new(&tokenizer, path, &err), &err, path, tab + 1);
        rk_tokenizer_free(tokenizer);
    }
    assert_true(n_files > 50);
    test_end(&t);
}

static void test_sizes(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err = {0};
    rk_vocab v;
    char *text = test_alloc(&t, RK_VOCAB_TEXT_MAX + 1);
    memset(text, '\n', RK_VOCAB_TEXT_MAX + 1);
    expect_message(rk_vocab_parse(&v, text, 0, "x", &err), &err, "x",
                   "0 bytes, a vocabulary has 1 .. 16777216");
    expect_message(rk_vocab_parse(&v, text, RK_VOCAB_TEXT_MAX + 1, "x", &err), &err, "x",
                   "16777217 bytes, a vocabulary has 1 .. 16777216");
    expect_message(rk_vocab_parse(&v, text, RK_VOCAB_TEXT_MAX, "x", &err), &err, "x",
                   "16777216 lines, a vocabulary has fewer than 1048576");
    test_end(&t);
}

/* Text in an exact block without a NUL, so that a read past the end is seen. */
static void expect_literal(const char *text, const char *want, size_t n_want)
{
    test_ctx t = test_begin(1);
    const size_t n = strlen(text);
    const unsigned char *exact = test_copy(&t, text, n);
    unsigned char *out = test_alloc(&t, n);
    size_t n_out = 0;
    const char *reason = "";
    if (!rk_literal_decode(exact, n, out, &n_out, &reason))
        fail_msg("%s: %s", text, reason);
    assert_int_equal(n_out, n_want);
    assert_memory_equal(out, want, n_want);
    test_end(&t);
}

static void test_literals(void **state)
{
    (void)state;
    expect_literal("''", "", 0);
    expect_literal("b\"\"", "", 0);
    expect_literal("'a \" b'", "a \" b", 5);
    expect_literal("\"it's\"", "it's", 4);
    expect_literal("'\\\\\\'\\\"\\n\\r\\t'", "\\'\"\n\r\t", 6);
    expect_literal("'\\x00\\x7F\\xe9'", "\0\x7f\xc3\xa9", 4);
    expect_literal("b'\\x00\\x7f\\xe9'", "\0\x7f\xe9", 3);
    expect_literal("'\\u4f60\\U0001F600'", "\xe4\xbd\xa0\xf0\x9f\x98\x80", 7);
    expect_literal("'\xe4\xbd\xa0'", "\xe4\xbd\xa0", 3);
}

static void expect_same(const rk_tokenizer *a, const rk_tokenizer *b)
{
    for (int32_t id = 0; id < 65536; id++) {
        size_t n_a, n_b;
        const char *bytes_a = rk_tokenizer_bytes(a, id, &n_a);
        const char *bytes_b = rk_tokenizer_bytes(b, id, &n_b);
        if (n_a != n_b || memcmp(bytes_a, bytes_b, n_a) != 0)
            fail_msg("token %" PRId32 " differs", id);
    }
}

/* The text file itself, and with CRLF as another copy of it has. */
static void test_world_is_its_text(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err = {0};
    rk_tokenizer *world = NULL, *file = NULL;
    size_t n, n_crlf = 0;
    const char *path = test_shared(&t, "data/rwkv_vocab_v20230424.txt");
    const char *text = test_read_file(&t, path, &n);
    char *crlf = test_alloc(&t, 2 * n);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            crlf[n_crlf++] = '\r';
        crlf[n_crlf++] = text[i];
    }
    test_ok(rk_tokenizer_new(&world, "world", &err), &err);
    test_ok(rk_tokenizer_new(&file, path, &err), &err);
    expect_same(world, file);
    assert_int_equal(rk_tokenizer_n_vocab(file), 65530);
    rk_tokenizer_free(file);
    test_ok(rk_tokenizer_new_memory(&file, crlf, n_crlf, "crlf", &err), &err);
    expect_same(world, file);
    rk_tokenizer_free(file);
    rk_tokenizer_free(world);
    test_end(&t);
}

/* Lines "<id> <bytes in hex>" of all tokens have the sum that tools/make_world_vocab.py took from
 * the text. */
static void test_world_sum(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    static const char want[] = "2df0627f02263a61cf2606e02941969c3037394752d1d0b1f463838ca48d6839";
    const char *path = test_path(&t, test_temp_dir(&t), "sum");
    char command[4200];
    rk_error err = {0};
    rk_tokenizer *world = NULL;
    test_ok(rk_tokenizer_new(&world, "world", &err), &err);
    snprintf(command, sizeof command, "sha256sum > '%s'", path);
    FILE *f = popen(command, "w");
    assert_non_null(f);
    for (int32_t id = 1; id < 65530; id++) {
        size_t n;
        const char *bytes = rk_tokenizer_bytes(world, id, &n);
        fprintf(f, "%" PRId32 " ", id);
        for (size_t i = 0; i < n; i++)
            fprintf(f, "%02x", (unsigned)(unsigned char)bytes[i]);
        fputc('\n', f);
    }
    assert_int_equal(pclose(f), 0);
    assert_memory_equal(test_read_file(&t, path, NULL), want, strlen(want));
    rk_tokenizer_free(world);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),    cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_literals),  cmocka_unit_test(test_world_is_its_text),
        cmocka_unit_test(test_world_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
