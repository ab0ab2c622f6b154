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

static void test_world(void **state)
{
    (void)state;
    static const char system[] = "  Be\r\n\r\n\nbrief. \n", question[] = "\n a\n\n\nb\r\n";
    rk_buf b = {0};
    rk_chat_put_system(&b, format("world"), system, sizeof system - 1);
    rk_chat_put_question(&b, format("world"), question, sizeof question - 1, RK_THINK_PLAIN);
    rk_buf_puts(&b, " yes");
    rk_chat_put_end(&b);
    rk_chat_put_question(&b, format("world"), "c", 1, RK_THINK_ON);
    assert_string_equal(b.data, "System: Be\nbrief.\n\nUser: a\nb\n\nAssistant: yes\n\n"
                                "User: c\n\nAssistant: <think");
    rk_buf_clear(&b);
    rk_chat_put_question(&b, format("g1"), "c", 1, RK_THINK_OFF);
    assert_string_equal(b.data, "User: c\n\nAssistant: <think>\n</think");
    rk_buf_clear(&b);
    rk_chat_put_question(&b, format("raven"), "c", 1, RK_THINK_PLAIN);
    assert_string_equal(b.data, "Bob: c\n\nAlice:");
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
    assert_non_null(strstr(err.msg, "no chat format 'chatml'; there are world, g1, raven"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_world),
        cmocka_unit_test(test_nothing_said),
        cmocka_unit_test(test_guess),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
