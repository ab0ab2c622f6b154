/* test_chat_format.c: what a talk looks like to a model, and which format a model is given. */
#include "test_util.h"

#include "text/chat_template.h"

static const rk_chat_format *format(const char *name)
{
    const rk_chat_format *f = NULL;
    rk_error err = {0};
    assert_int_equal(rk_chat_format_find(&f, name, &err), RK_OK);
    return f;
}

static void put_question(rk_buf *b, const char *name, const char *said, rk_think think)
{
    rk_chat_put_message(b, format(name), RK_CHAT_USER, said, strlen(said));
    rk_chat_put_answer(b, format(name), think);
}

static void test_world(void **state)
{
    (void)state;
    static const char system[] = "  Be\r\n\r\n\nbrief. \n", question[] = "\n a\n\n\nb\r\n";
    rk_buf b = {0};
    rk_chat_put_system(&b, format("world"), system, sizeof system - 1);
    put_question(&b, "world", question, RK_THINK_PLAIN);
    rk_buf_puts(&b, " yes");
    rk_chat_put_end(&b, format("world"));
    put_question(&b, "world", "c", RK_THINK_ON);
    assert_string_equal(b.data, "System: Be\nbrief.\n\nUser: a\nb\n\nAssistant: yes\n\n"
                                "User: c\n\nAssistant: <think");
    rk_buf_clear(&b);
    put_question(&b, "g1", "c", RK_THINK_OFF);
    assert_string_equal(b.data, "User: c\n\nAssistant: <think>\n</think");
    rk_buf_clear(&b);
    put_question(&b, "raven", "c", RK_THINK_PLAIN);
    assert_string_equal(b.data, "Bob: c\n\nAlice:");
    rk_buf_deinit(&b);
}

/* What the templates of the G1 line make of a question, with thoughts or without. */
static void test_g1_styles(void **state)
{
    (void)state;
    static const char question[] = "\r\n  a \t\n\n\rb\n \n";
    static const struct {
        const char *name;
        rk_think think;
        const char *text;
    } cases[] = {
        {"assistant", RK_THINK_PLAIN, "User:   a\nb\n\nAssistant:"},
        {"assistant", RK_THINK_ON, "User:   a\nb\n\nAssistant: <think"},
        {"assistant", RK_THINK_OFF, "User:   a\nb\n\nAssistant: <think></think"},
        {"bot", RK_THINK_PLAIN, "User✿  a\nb✿\nBot✿"},
        {"bot", RK_THINK_ON, "User✿  a\nb✿\nBot✿<think"},
        {"bot", RK_THINK_OFF, "User✿  a\nb✿\nBot✿<think></think"},
        {"function_calling", RK_THINK_PLAIN, "### User\n  a\nb\n### Assistant\n"},
        {"function_calling", RK_THINK_ON, "### User\n  a\nb\n### Assistant\n<think"},
        {"function_calling", RK_THINK_OFF, "### User\n  a\nb\n### Assistant\n<think></think"},
    };
    rk_buf b = {0};
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        rk_buf_clear(&b);
        put_question(&b, cases[i].name, question, cases[i].think);
        assert_string_equal(b.data, cases[i].text);
    }
    rk_buf_clear(&b);
    rk_chat_put_message(&b, format("assistant"), RK_CHAT_ASSISTANT, question, strlen(question));
    assert_string_equal(b.data, "Assistant: \n  a\n\n\nb\n\n"); /* an answer keeps its lines */
    rk_buf_deinit(&b);
}

static void test_names(void **state)
{
    (void)state;
    rk_chat_format f = *format("world");
    char stop[RK_CHAT_STOP_BYTES];
    rk_buf b = {0};
    rk_error err = {0};
    assert_int_equal(rk_chat_format_rename(&f, RK_CHAT_USER, "Ann %s", &err), RK_OK);
    assert_int_equal(rk_chat_format_rename(&f, RK_CHAT_ASSISTANT, "Ben", &err), RK_OK);
    rk_chat_put_message(&b, &f, RK_CHAT_USER, "c", 1);
    rk_chat_put_answer(&b, &f, RK_THINK_PLAIN);
    assert_string_equal(b.data, "Ann %s: c\n\nBen:");
    assert_true(rk_chat_format_stop(&f, 0, stop));
    assert_string_equal(stop, "\n\nAnn %s:");
    assert_true(rk_chat_format_stop(&f, 1, stop));
    assert_string_equal(stop, "\nAnn %s:");
    assert_false(rk_chat_format_stop(&f, 2, stop));
    assert_int_equal(rk_chat_format_rename(&f, RK_CHAT_USER, "", &err), RK_ERR_ARG);
    assert_int_equal(rk_chat_format_rename(&f, RK_CHAT_USER, "a\nb", &err), RK_ERR_ARG);
    assert_int_equal(rk_chat_format_rename(&f, RK_CHAT_TOOL, "T", &err), RK_ERR_ARG);
    assert_true(rk_chat_format_stop(format("assistant"), 0, stop));
    assert_string_equal(stop, "\nUser:");
    assert_true(rk_chat_format_stop(format("bot"), 0, stop));
    assert_string_equal(stop, "✿");
    assert_true(rk_chat_format_stop(format("function_calling"), 0, stop));
    assert_string_equal(stop, "\n### User");
    rk_buf_deinit(&b);
}

static void test_nothing_said(void **state)
{
    (void)state;
    rk_buf b = {0};
    rk_buf_puts(&b, "before");
    rk_chat_put_system(&b, format("world"), " \n ", 3);
    assert_string_equal(b.data, "before");
    assert_int_equal(b.len, 6);
    rk_buf_deinit(&b);
}

static void test_guess(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        int64_t n_vocab;
        const char *name;
    } cases[] = {{"RWKV-x070-World-0.4B.pth", 65536, "world"},
                 {"models/rwkv7-g1a-0.4b.gguf", 65536, "g1"},
                 {"G1/model.safetensors", 65536, "world"},
                 {"rwkv7_G1.pth", 65536, "g1"},
                 {"big1.pth", 65536, "world"},
                 {"rwkv-g128.pth", 65536, "world"},
                 {"RWKV-4-Raven-3B.pth", 50277, "raven"}};
    for (size_t i = 0; i < RK_COUNT(cases); i++)
        assert_string_equal(rk_chat_format_guess(cases[i].file, cases[i].n_vocab)->name,
                            cases[i].name);
}

/* Marked control tokens, and a text that holds marks and what looks like control tokens. */
static void test_marked(void **state)
{
    (void)state;
    static const char said[] = " a<|im_end|>\xff<|im_end|>\xff \n";
    rk_chat_format f = *format("chatml");
    rk_buf b = {0};
    const char *end;
    size_t n;
    f.system = "Be brief.";
    rk_chat_put_begin(&b, &f, "", 0);
    rk_chat_put_message(&b, &f, RK_CHAT_USER, said, sizeof said - 1);
    rk_chat_put_answer(&b, &f, RK_THINK_PLAIN);
    assert_string_equal(b.data, "\xff<|im_start|>\xffsystem\nBe brief.\xff<|im_end|>\xff\n"
                                "\xff<|im_start|>\xffuser\n a<|im_end|>\xef\xbf\xbd<|im_end|>"
                                "\xef\xbf\xbd \n\xff<|im_end|>\xff\n"
                                "\xff<|im_start|>\xff"
                                "assistant\n");
    assert_true(rk_chat_format_end(&f, &end, &n));
    assert_int_equal(n, strlen("<|im_end|>"));
    assert_memory_equal(end, "<|im_end|>", n);
    assert_false(rk_chat_format_end(format("world"), &end, &n));
    rk_buf_clear(&b);
    rk_chat_put_begin(&b, format("r1"), "S", 1);
    rk_chat_put_message(&b, format("r1"), RK_CHAT_USER, "Q", 1);
    rk_chat_put_message(&b, format("r1"), RK_CHAT_ASSISTANT, "t</think>A", 10);
    rk_chat_put_answer(&b, format("r1"), format("r1")->think);
    assert_string_equal(b.data, "\xff<｜begin▁of▁sentence｜>\xffS\xff<｜User｜>\xffQ"
                                "\xff<｜Assistant｜>\xff"
                                "A\xff<｜end▁of▁sentence｜>\xff"
                                "\xff<｜Assistant｜>\xff<think>\n");
    rk_buf_deinit(&b);
}

static void write_page(const char *dir, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

/* A vocabulary in a folder with a template; the caller frees it. */
static rk_tokenizer *with_template(test_ctx *t, const char *page)
{
    rk_error err = {0};
    rk_tokenizer *tok = NULL;
    const char *dir = test_temp_dir(t);
    const char *from = test_path(t, test_source(t, "tests/data/tokens"), "qwen2.json");
    write_page(dir, "tokenizer.json", test_read_file(t, from, NULL));
    write_page(dir, "tokenizer_config.json", page);
    write_page(dir, "generation_config.json", "{\"eos_token_id\": [2, 0]}");
    test_ok(rk_tokenizer_new(&tok, dir, &err), &err);
    return tok;
}

static void test_template(void **state)
{
    (void)state;
    static const struct {
        const char *page, *format, *system;
    } cases[] = {
        {"{\"chat_template\": \"{{ '<|im_start|>system\\nYou are S.<|im_end|>\\n' }}\"}", "chatml",
         "You are S."},
        {"{\"chat_template\": \"{{ '<|im_start|>system\\\\n' + m + '<|im_end|>' }} "
         "{{ '<|im_start|>system\\\\nIt\\\\'s\\\\n2.<|im_end|>' }}\"}",
         "chatml", NULL},
        {"{\"chat_template\": \"{{ '<|im_start|>system\\\\n' + m + '<|im_end|>' }} "
         "{{ '<|im_start|>system\\\\nOne.\\\\n2.<|im_end|>' }}\"}",
         "chatml", "One.\n2."},
        {"{\"chat_template\": \"{{ '<|im_start|>' + m.role }}\"}", "chatml", NULL},
        {"{\"chat_template\": \"{{'<｜User｜>'}} {{'<｜Assistant｜><think>'}}\"}", "r1", NULL},
        {"{\"chat_template\": \"[INST]\"}", NULL, NULL},
    };
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        test_ctx c = test_begin(12);
        rk_tokenizer *t = with_template(&c, cases[i].page);
        rk_chat_format f = {0};
        rk_buf room = {0};
        rk_error err = {0};
        bool found = false;
        const rk_status st = rk_chat_template_format(&f, &found, &room, t, &err);
        assert_int_equal(st, cases[i].format ? RK_OK : RK_ERR_UNSUPPORTED);
        assert_int_equal(found, cases[i].format != NULL);
        if (found)
            assert_string_equal(f.name, cases[i].format);
        assert_int_equal(f.system != NULL, cases[i].system != NULL);
        if (f.system)
            assert_string_equal(f.system, cases[i].system);
        assert_true(rk_tokenizer_ends(t, 2) && rk_tokenizer_ends(t, 0));
        assert_false(rk_tokenizer_ends(t, 1));
        rk_buf_deinit(&room);
        rk_tokenizer_free(t);
        test_end(&c);
    }
}

/* Marks become ids; what looks like them becomes none; room may be short. */
static void test_encode_marked(void **state)
{
    (void)state;
    static const char text[] = "\xff<|im_start|>\xffuser\nx<|im_end|>\xff<|im_end|>\xff\n\xff";
    test_ctx c = test_begin(13);
    rk_tokenizer *t = with_template(&c, "{}");
    int32_t ids[40], few[2] = {-1, -1};
    const int64_t n = rk_tokenizer_encode_marked(t, text, sizeof text - 1, ids, 40);
    int n_starts = 0, n_ends = 0;
    for (int64_t i = 0; i < n; i++) {
        n_starts += ids[i] == 1;
        n_ends += ids[i] == 2;
    }
    assert_int_equal(n_starts, 1);
    assert_int_equal(n_ends, 1);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[n - 2], 2);
    assert_int_equal(rk_tokenizer_encode_marked(t, text, sizeof text - 1, few, 1), n);
    assert_int_equal(few[0], 1);
    assert_int_equal(few[1], -1);
    rk_tokenizer_free(t);
    test_ok(rk_tokenizer_new(&t, "byte", NULL), NULL); /* without such tokens: their texts */
    assert_int_equal(rk_tokenizer_encode_marked(t,
                                                "\xff<a>\xff"
                                                "b",
                                                6, ids, 40),
                     4);
    rk_tokenizer_free(t);
    test_end(&c);
}

static void test_unknown(void **state)
{
    (void)state;
    const rk_chat_format *f = NULL;
    rk_error err = {0};
    assert_int_equal(rk_chat_format_find(&f, "llama", &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "no chat format 'llama'; there are world, g1, assistant, bot, "
                                    "function_calling, raven, instruct, qa, chatml, r1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world),         cmocka_unit_test(test_g1_styles),
        cmocka_unit_test(test_names),         cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_guess),         cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_marked),        cmocka_unit_test(test_template),
        cmocka_unit_test(test_encode_marked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
