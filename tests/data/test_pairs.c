/* Pairs of answers: what a line gives, what is cut, and what is no pair. */
#include "test_util.h"

#include "data/pairs.h"

static rk_status read_pairs(test_ctx *t, rk_pairs *p, const char *name, const char *text,
                            const char *chat, rk_error *err)
{
    const char *path = test_path(t, test_temp_dir(t), name);
    rk_tokenizer *tok = NULL;
    rk_text_how how = {.ends = true};
    test_write_file(path, text, strlen(text));
    test_ok(rk_tokenizer_new(&tok, "byte", err), err);
    if (chat)
        test_ok(rk_chat_format_find(&how.chat, chat, err), err);
    how.tokenizer = tok;
    const rk_status st = rk_pairs_read(p, &path, 1, &how, err);
    rk_tokenizer_free(tok);
    return st;
}

enum { N = 12 };

/* Row `answer` of pair i has these tokens, and these of them are targets, '.' where there is none. */
static void has_row(const rk_pairs *p, int64_t i, int answer, const char *ids, const char *targets)
{
    int32_t got[RK_PAIR_ANSWERS * N], next[RK_PAIR_ANSWERS * N];
    rk_pairs_get(p, i, N, got, next);
    for (int k = 0; k < N; k++) {
        const int32_t id = k < (int)strlen(ids) ? (unsigned char)ids[k] : 0;
        const char target = k < (int)strlen(targets) ? targets[k] : '.';
        assert_int_equal(got[answer * N + k], id);
        assert_int_equal(next[answer * N + k], target == '.' ? -1 : target == '$' ? 0 : target);
    }
}

/* '$' is the end of a text, which counts with an answer. */
static void test_rows(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_pairs p;
    rk_error err = {0};
    test_ok(
        read_pairs(&t, &p, "a.jsonl",
                   "\xef\xbb\xbf{\"prompt\": \"ab\", \"chosen\": \"xy\", \"rejected\": \"z\"}\n"
                   "\n  \n"
                   "{\"id\": [1, {}], \"rejected\":\"\\u0041\", \"chosen\":\"B\","
                   " \"prompt\":\"0123456789abcdef\"}\n"
                   "{\"prompt\": \"q\", \"chosen\": \"0123456789abcdef\", \"rejected\": \"no\"}",
                   NULL, &err),
        &err);
    assert_int_equal(p.n, 3);
    has_row(&p, 0, RK_PAIR_CHOSEN, "abxy", ".xy$");
    has_row(&p, 0, RK_PAIR_REJECTED, "abz", ".z$");
    /* a prompt that is too long loses its beginning */
    has_row(&p, 1, RK_PAIR_CHOSEN, "56789abcdefB", "..........B$");
    has_row(&p, 1, RK_PAIR_REJECTED, "56789abcdefA", "..........A$");
    /* an answer without room its end, and something stands before it */
    has_row(&p, 2, RK_PAIR_CHOSEN, "q0123456789a", "0123456789ab");
    has_row(&p, 2, RK_PAIR_REJECTED, "qno", "no$");
    const uint64_t sum = p.checksum;
    rk_pairs_deinit(&p);
    test_ok(read_pairs(&t, &p, "b.jsonl",
                       "{\"prompt\": \"ab\", \"chosen\": \"xy\", \"rejected\": \"zz\"}", NULL,
                       &err),
            &err);
    assert_true(p.n == 1 && p.checksum != sum);
    rk_pairs_deinit(&p);
    test_end(&t);
}

/* The chat format's words stand around prompt and answers, and count only where answers do. */
static void test_chat(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    rk_pairs p;
    rk_error err = {0};
    int32_t ids[RK_PAIR_ANSWERS * 64], targets[RK_PAIR_ANSWERS * 64];
    char text[64];
    int n = 0;
    test_ok(read_pairs(&t, &p, "a.jsonl",
                       "{\"system\": \"S\", \"prompt\": \"P\", \"chosen\": \"good\", \"rejected\": "
                       "\"bad\"}",
                       "world", &err),
            &err);
    rk_pairs_get(&p, 0, 64, ids, targets);
    while (n < 63 && ids[n])
        n++;
    for (int i = 0; i < n; i++)
        text[i] = (char)ids[i];
    text[n] = '\0';
    if (!strstr(text, "System: S") || !strstr(text, "User: P\n\nAssistant: good"))
        fail_msg("'%s'", text);
    const int at = (int)(strstr(text, " good") - text);
    for (int i = 0; i < n; i++)
        assert_int_equal(targets[i] >= 0, i + 1 >= at);
    rk_pairs_deinit(&p);
    test_end(&t);
}

/* Lists of messages, in the forms that data sets have, are the same conversation; the last answer counts alone. */
static void test_messages(void **state)
{
    (void)state;
#define SAYS(role, text) "{\"role\": \"" role "\", \"content\": \"" text "\"}"
#define BEFORE SAYS("user", "P") ", " SAYS("assistant", "first") ", " SAYS("user", "Q")
    static const char *const lines[] = {
        "{\"prompt\": [" BEFORE "], \"chosen\": \"good\", \"rejected\": \"bad\"}",
        "{\"prompt\": [" BEFORE "], \"chosen\": [" SAYS(
            "assistant", "good") "], \"rejected\": [" SAYS("assistant", "bad") "]}",
        "{\"chosen\": [" BEFORE ", " SAYS("assistant", "good") "], \"rejected\": [" BEFORE
                                                               ", " SAYS("assistant", "bad") "]}",
        "{\"prompt\": \"Q\", \"chosen\": [" BEFORE
        ", " SAYS("assistant", "good") "], \"rejected\": [" BEFORE
                                       ", " SAYS("assistant", "bad") "]}",
    };
    test_ctx t = test_begin(3);
    enum { LEN = 96 };
    int32_t want[RK_PAIR_ANSWERS * LEN], ids[RK_PAIR_ANSWERS * LEN], targets[RK_PAIR_ANSWERS * LEN];
    for (size_t i = 0; i < RK_COUNT(lines); i++) {
        rk_pairs p;
        rk_error err = {0};
        test_ok(read_pairs(&t, &p, "a.jsonl", lines[i], "world", &err), &err);
        rk_pairs_get(&p, 0, LEN, ids, targets);
        if (i == 0)
            memcpy(want, ids, sizeof want);
        assert_memory_equal(ids, want, sizeof want);
        int n = 0;
        for (int k = 0; k < LEN; k++)
            n += targets[k] >= 0;
        assert_int_equal(n, strlen(" good") + 1);
        rk_pairs_deinit(&p);
    }
    test_end(&t);
}

static void refuses(test_ctx *t, const char *name, const char *text, const char *chat,
                    const char *says)
{
    rk_pairs p;
    rk_error err = {0};
    const rk_status st = read_pairs(t, &p, name, text, chat, &err);
    if (st == RK_OK || !strstr(err.msg, says))
        fail_msg("%s: %s: '%s', expected '%s'", name, text, err.msg, says);
    assert_int_equal(p.n, 0);
}

static void test_refused(void **state)
{
    (void)state;
#define GOOD "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
    static const struct {
        const char *name, *text, *says;
    } cases[] = {
        {"a.jsonl", "", "empty"},
        {"a.jsonl", "{\"prompt\": [], \"chosen\": [], \"rejected\": \"b\"}",
         "\"chosen\" has no message"},
        {"a.jsonl", "\n \n", "holds no pair of answers"},
        {"a.jsonl", GOOD "{\"prompt\": \"p\", \"chosen\": \"a\"}", "line 2: no \"rejected\""},
        {"a.jsonl", "{\"chosen\": \"a\", \"rejected\": \"b\"}", "line 1: no \"prompt\""},
        {"a.jsonl", "{}", "no \"prompt\""},
        {"a.jsonl", "[]", "line 1, byte 0: expected '{'"},
        {"a.jsonl", GOOD GOOD "{\"prompt\": 3, \"chosen\": \"a\", \"rejected\": \"b\"}",
         "line 3, byte 11"},
        {"a.jsonl", GOOD "\n{\"prompt\": [{}], \"chosen\": \"a\", \"rejected\": \"b\"}",
         "line 3: messages need a chat format"},
        {"a.jsonl", "{\"prompt\": null, \"chosen\": \"a\", \"rejected\": \"b\"}", "byte 11"},
        {"a.jsonl", "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"", "expected"},
        {"a.jsonl", "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"} x", "expected"},
        {"a.jsonl", "{\"prompt\": \"p\", \"chosen\": \"\xff\", \"rejected\": \"b\"}", "expected"},
        {"a.jsonl", "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"a\"}",
         "what is chosen is what is rejected"},
        {"a.txt", GOOD, "name ends in .jsonl"},
        {"jsonl", GOOD, "name ends in .jsonl"},
    };
    test_ctx t = test_begin(3);
    for (size_t i = 0; i < RK_COUNT(cases); i++)
        refuses(&t, cases[i].name, cases[i].text, NULL, cases[i].says);
    refuses(&t, "a.jsonl", GOOD GOOD "{\"prompt\": \"p\", \"chosen\": [1], \"rejected\": \"b\"}",
            "world", "line 3, byte");
    refuses(&t, "a.jsonl",
            GOOD "{\"prompt\": \"p\", \"chosen\": [" SAYS("user", "a") "], \"rejected\": \"b\"}",
            "world", "line 2: the last message is not the assistant's");
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_chat),
                                       cmocka_unit_test(test_messages),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
