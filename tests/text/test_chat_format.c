/* test_chat_format.c: what a talk looks like to a model, and which format a model is given. */
#include "test_util.h"

#include "text/chat_format.h"

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

static void test_unknown(void **state)
{
    (void)state;
    const rk_chat_format *f = NULL;
    rk_error err = {0};
    assert_int_equal(rk_chat_format_find(&f, "chatml", &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "no chat format 'chatml'; there are world, g1, assistant, bot, "
                                    "function_calling, raven, instruct, qa"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world), cmocka_unit_test(test_g1_styles),
        cmocka_unit_test(test_names), cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_guess), cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
