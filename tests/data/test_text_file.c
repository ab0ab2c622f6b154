/* Documents of .txt and .jsonl files. */
#include "test_util.h"

#include "data/bits.h"
#include "data/text_file.h"

/* The documents of a file as bytes; each ends where the list says so. */
static rk_status read_file(rk_token_list *list, rk_text_file *f, const char *chat, bool ends,
                           rk_error *err)
{
    rk_tokenizer *tok = NULL;
    rk_text_how how = {.ends = ends};
    rk_token_list_init(list, RK_ID_U16);
    test_ok(rk_tokenizer_new(&tok, "byte", err), err);
    if (chat)
        test_ok(rk_chat_format_find(&how.chat, chat, err), err);
    how.tokenizer = tok;
    const rk_status st = rk_text_file_encode(f, &how, list, err);
    rk_tokenizer_free(tok);
    return st;
}

static void is_document(const rk_token_list *l, int64_t i, const char *want, size_t n)
{
    const int64_t begin = i > 0 ? l->ends[i - 1] : 0;
    assert_int_equal(l->ends[i] - begin, n);
    for (size_t k = 0; k < n; k++)
        assert_int_equal(((const uint16_t *)l->ids)[begin + (int64_t)k], (unsigned char)want[k]);
}

static void test_files(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_text_file a, b;
    rk_token_list l;
    const char *dir = test_temp_dir(&t);
    const char *const paths[] = {test_path(&t, dir, "a.txt"), test_path(&t, dir, "b.jsonl")};
    static const char txt[] = "any \xff\n bytes\0 ";
    static const char jsonl[] = "\n{\"text\": \"one\\n\\u00e9\"}\r\n \n"
                                "{\"n\": [1.5e-3, true, {\"text\": null}], \"text\": \"\"}\n"
                                "{\"text\": \"\\ud83d\\ude00\\u0000\\\"\\/\", \"z\": -0}";
    test_write_file(paths[0], txt, sizeof txt);
    test_write_file(paths[1], jsonl, sizeof jsonl - 1);
    test_ok(rk_text_file_open(&a, paths[0], &err), &err);
    test_ok(rk_text_file_open(&b, paths[1], &err), &err);
    assert_false(rk_text_file_ends(&a));
    assert_true(rk_text_file_ends(&b));
    test_ok(read_file(&l, &a, NULL, false, &err), &err);
    assert_int_equal(l.n_docs, 1);
    is_document(&l, 0, txt, sizeof txt);
    rk_token_list_deinit(&l);
    test_ok(read_file(&l, &b, NULL, false, &err), &err);
    assert_int_equal(l.n_docs, 3);
    is_document(&l, 0, "one\n\xc3\xa9", 6);
    is_document(&l, 1, "", 0);
    is_document(&l, 2, "\xf0\x9f\x98\x80\0\"/", 7);
    assert_null(l.counts);
    rk_token_list_deinit(&l);
    test_ok(read_file(&l, &b, NULL, true, &err), &err);
    is_document(&l, 1, "\0", 1);
    rk_token_list_deinit(&l);
    assert_int_equal(truncate(paths[0], 2), 0);
    assert_int_equal(read_file(&l, &a, NULL, false, &err), RK_ERR_IO);
    rk_token_list_deinit(&l);
    rk_text_file_close(&a);
    rk_text_file_close(&b);
    test_end(&t);
}

/* A line as its text, and under it a '^' for each byte that counts. */
static void renders(const char *line, const char *chat, bool ends, const char *text,
                    const char *marks)
{
    rk_error err = {0};
    rk_text_file f;
    rk_token_list l;
    test_ok(rk_text_file_open_memory(&f, line, strlen(line), "line.jsonl", &err), &err);
    test_ok(read_file(&l, &f, chat, ends, &err), &err);
    is_document(&l, 0, text, strlen(text) + ends);
    for (int64_t i = 0; i < l.n; i++)
        if (rk_bits_at(l.counts, i) != (i < (int64_t)strlen(marks) && marks[i] == '^'))
            fail_msg("%s: byte %d of '%s' counts: %d", line, (int)i, text, rk_bits_at(l.counts, i));
    rk_token_list_deinit(&l);
    rk_text_file_close(&f);
}

/* Answers count, with what ends them; the blank in front of one is generated, so it is its own. */
static void test_conversations(void **state)
{
    (void)state;
    static const char two[] =
        "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, "
        "{\"role\":\"user\",\"content\":\"Hi\"},{\"content\":\"Yes?\",\"x\":[],"
        "\"role\":\"assistant\"},{\"role\":\"user\",\"content\":\"No\"},"
        "{\"role\":\"assistant\",\"content\":\"Well\"}]}";
    renders(two, "world", true,
            "System: Be kind.\n\nUser: Hi\n\nAssistant: Yes?\n\nUser: No\n\nAssistant: Well",
            "                                      ^^^^^^^                    ^^^^^^");
    renders(two, "world", false,
            "System: Be kind.\n\nUser: Hi\n\nAssistant: Yes?\n\nUser: No\n\nAssistant: Well\n\n",
            "                                      ^^^^^^^                    ^^^^^^^");
    static const char pair[] = "{\"prompt\": \"1+1\", \"response\": \"2\", \"id\": 7}";
    renders(pair, "world", true, "User: 1+1\n\nAssistant: 2", "                     ^^^");
    renders(pair, "instruct", true, "# Instruction:\n1+1\n\n# Response:\n2",
            "                                ^^");
    renders(pair, NULL, true, "1+12", "   ^^");
    renders("{\"instruction\": \"add\", \"input\": \"1 1\", \"output\": \"2\"}", "qa", false,
            "Question: add\n1 1\n\nAnswer: 2\n\n", "                          ^^^^");
    renders("{\"instruction\": \"go\", \"input\": \"\", \"output\": \"2\"}", NULL, false, "go2",
            "  ^");
    renders("{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", "
            "\"value\": \"b\"}]}",
            "raven", true, "Bob: a\n\nAlice: b", "              ^^^");
    renders("{\"text\": \"all\", \"prompt\": 5}", "world", true, "all", "^^^^");
}

static void refused(const char *path, rk_status code, const char *part)
{
    rk_error err = {0};
    rk_text_file f;
    rk_token_list l = {0};
    rk_status st = rk_text_file_open(&f, path, &err);
    if (st == RK_OK) {
        st = read_file(&l, &f, "world", true, &err);
        rk_text_file_close(&f);
    }
    rk_token_list_deinit(&l);
    assert_int_equal(st, code);
    if (!strstr(err.msg, part))
        fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void test_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *bad = test_path(&t, dir, "b.jsonl");
    static const struct {
        const char *lines, *part;
    } rows[] = {
        {"{\"text\": \"a\"}\n{\"text\": 5}\n", "b.jsonl: line 2, byte 10: expected a string"},
        {"{\"prompt\": \"a\"}", "line 1: expected a member 'text', or 'messages', or 'prompt' and"},
        {"{\"prompt\": \"a\", \"response\": 5}", "line 1, byte 29: expected a string"},
        {"\n{\"messages\": []}", "line 2, byte 15: expected '{'"},
        {"{\"messages\": [{\"role\": \"bard\", \"content\": \"\"}]}",
         "line 1, byte 23: expected the role system, user, assistant or tool"},
        {"{\"messages\": [{\"role\": \"user\"}]}",
         "line 1, byte 15: expected a message with 'role' and 'content'"},
        {"{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}",
         "line 1: chat format 'world' has no role 'tool'"},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        test_write_file(bad, rows[i].lines, strlen(rows[i].lines));
        refused(bad, RK_ERR_FORMAT, rows[i].part);
    }
    const char *const kinds[] = {"a.csv", ".txt", "txt"};
    for (size_t i = 0; i < RK_COUNT(kinds); i++)
        refused(kinds[i], RK_ERR_ARG, "expected a name that ends in .txt or .jsonl");
    refused(test_path(&t, dir, "none.txt"), RK_ERR_IO, "No such file");
    test_end(&t);
}

/* Every truncation and every changed byte of a file is refused or read, within its exact block. */
static void damage(const rk_text_how *how, rk_text_encoder *e, const char *line, size_t bytes)
{
    static const char values[] = "\"\\{}[],:u0\n\xff";
    rk_token_list l;
    rk_token_list_init(&l, RK_ID_U16);
    for (size_t n = 1; n < bytes; n++) {
        char *block = malloc(n);
        for (size_t i = 0; i < n; i++)
            for (size_t v = 0; v < sizeof values; v++) {
                rk_error err;
                rk_text_file f;
                rk_text_chunk c;
                memcpy(block, line, n);
                block[i] = values[v];
                rk_status st = rk_text_file_open_memory(&f, block, n, "block.jsonl", &err);
                rk_text_place place = rk_text_file_begin(&f);
                rk_token_list_clear(&l);
                while (st == RK_OK && rk_text_file_next(&f, &place, &c))
                    st = rk_text_chunk_encode(&c, how, e, &l, &err);
                rk_text_file_close(&f);
            }
        free(block);
    }
    rk_token_list_deinit(&l);
}

static void test_damage(void **state)
{
    (void)state;
    static const char line[] = "{\"n\": [1, {\"x\": \"\\u0041\"}], \"text\": \"\\ud83d\\ude00 a\"}";
    static const char talk[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"\\n\"},{\"from\":"
                               "\"gpt\",\"value\":\"b\"}]}";
    static const char pair[] = "{\"output\":\"a\",\"input\":\"\",\"instruction\":\"b\"}";
    rk_error err;
    rk_tokenizer *tok = NULL;
    rk_text_encoder e;
    rk_text_how how = {.ends = true};
    test_ok(rk_tokenizer_new(&tok, "byte", &err), &err);
    test_ok(rk_text_encoder_init(&e, &err), &err);
    test_ok(rk_chat_format_find(&how.chat, "world", &err), &err);
    how.tokenizer = tok;
    damage(&how, &e, line, sizeof line);
    damage(&how, &e, talk, sizeof talk);
    how.chat = NULL;
    damage(&how, &e, pair, sizeof pair);
    rk_text_encoder_deinit(&e);
    rk_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
