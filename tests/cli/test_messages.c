/* test_messages.c: conversations in JSON as the text that models were trained on. What is expected
 * was rendered from rwkv-rs/transformers-rwkv, temp/rwkv_chat_template.jinja, by Jinja 3.1 with
 * Python's json.dumps. The source belongs to the program and is compiled in here. */
#include "cli/messages.c"
#include "cli/python_json.c"

#include "test_util.h"

static const char talk[] =
    "[{\"role\": \"system\", \"content\": \"Be brief. \\n\"}, {\"role\": \"user\", "
    "\"content\": \"a\\n\\n\\nb \"}, {\"role\": \"assistant\", "
    "\"content\": \"  c\\n\\nd\\n\"}, {\"role\": \"user\", \"content\": \"e\"}]";

static const char talk_assistant[] = "System: Be brief.\n"
                                     "\n"
                                     "User: a\n"
                                     "b\n"
                                     "\n"
                                     "Assistant:   c\n"
                                     "\n"
                                     "d\n"
                                     "\n"
                                     "User: e\n"
                                     "\n"
                                     "Assistant: <think";

static const char talk_bot[] = "System✿Be brief.✿\n"
                               "User✿a\n"
                               "b✿\n"
                               "Bot✿  c\n"
                               "\n"
                               "d✿\n"
                               "User✿e✿\n"
                               "Bot✿<think></think";

static const char tools[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, "
    "{\"role\": \"user\", \"content\": \"Köln?\"}, {\"role\": \"assistant\", "
    "\"content\": \"\", \"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", "
    "\"function\": {\"name\": \"weather\", \"arguments\": \"{\\\"place\\\": \\\"Köln\\\", "
    "\\\"days\\\": 2}\"}}]}, {\"role\": \"tool\", \"content\": \"{\\\"warm\\\": [0.1, 1e16, "
    "21.0, -3, null, true], \\\"note\\\": \\\"a\\\\u001fb\\\"}\"}], "
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"weather\", "
    "\"description\": \"The weather of a place.\", "
    "\"parameters\": {\"type\": \"object\", "
    "\"properties\": {\"place\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\", "
    "\"default\": 1}}, \"required\": [\"place\"]}}}, {\"name\": \"clock\", "
    "\"parameters\": {}}]}";

static const char tools_text[] = "### System\n"
                                 "Be brief.\n"
                                 "### `weather`\n"
                                 "**Description:** The weather of a place.\n"
                                 "**Parameters:**\n"
                                 "```json\n"
                                 "{\n"
                                 "  \"type\": \"object\",\n"
                                 "  \"properties\": {\n"
                                 "    \"place\": {\n"
                                 "      \"type\": \"string\"\n"
                                 "    },\n"
                                 "    \"days\": {\n"
                                 "      \"type\": \"integer\",\n"
                                 "      \"default\": 1\n"
                                 "    }\n"
                                 "  },\n"
                                 "  \"required\": [\n"
                                 "    \"place\"\n"
                                 "  ]\n"
                                 "}\n"
                                 "```\n"
                                 "### `clock`\n"
                                 "**Parameters:**\n"
                                 "```json\n"
                                 "{}\n"
                                 "```\n"
                                 "To call one of these tools, write exactly this format:\n"
                                 "**Tool Call:**\n"
                                 "```json\n"
                                 "{\"name\": \"tool_name\", \"arguments\": {\"key\": \"value\"}}\n"
                                 "```\n"
                                 "Do not invent tool call IDs or write tool outputs yourself.\n"
                                 "### User\n"
                                 "Köln?\n"
                                 "### Assistant\n"
                                 "**Tool Call:**\n"
                                 "```json\n"
                                 "{\n"
                                 "  \"name\": \"weather\",\n"
                                 "  \"arguments\": {\n"
                                 "    \"place\": \"Köln\",\n"
                                 "    \"days\": 2\n"
                                 "  }\n"
                                 "}\n"
                                 "```\n"
                                 "### Tool Output\n"
                                 "```json\n"
                                 "{\n"
                                 "  \"warm\": [\n"
                                 "    0.1,\n"
                                 "    1e+16,\n"
                                 "    21.0,\n"
                                 "    -3,\n"
                                 "    null,\n"
                                 "    true\n"
                                 "  ],\n"
                                 "  \"note\": \"a\\u001fb\"\n"
                                 "}\n"
                                 "```\n"
                                 "### Assistant\n"
                                 "<think";

static rk_status open_text(rk_messages **m, const char *text, rk_error *err)
{
    char path[] = "/tmp/rk_messages_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    const rk_status st = rk_messages_open(m, path, true, err);
    unlink(path);
    return st;
}

static rk_status render(rk_buf *b, const char *text, const char *format, rk_think think,
                        rk_error *err)
{
    const rk_chat_format *f = NULL;
    rk_messages *m = NULL;
    assert_int_equal(rk_chat_format_find(&f, format, err), RK_OK);
    rk_buf_clear(b);
    rk_status st = open_text(&m, text, err);
    if (st == RK_OK)
        st = rk_messages_put(b, m, f, err);
    if (st == RK_OK)
        rk_chat_put_answer(b, f, think);
    rk_messages_free(m);
    return st;
}

static void test_templates(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_buf b = {0};
    assert_int_equal(render(&b, talk, "assistant", RK_THINK_ON, &err), RK_OK);
    assert_string_equal(b.data, talk_assistant);
    assert_int_equal(render(&b, talk, "bot", RK_THINK_OFF, &err), RK_OK);
    assert_string_equal(b.data, talk_bot);
    assert_int_equal(render(&b, talk, "world", RK_THINK_PLAIN, &err), RK_OK);
    assert_string_equal(b.data, "System: Be brief.\n\nUser: a\nb\n\nAssistant: c\nd\n\n"
                                "User: e\n\nAssistant:");
    assert_int_equal(render(&b, tools, RK_CHAT_WITH_TOOLS, RK_THINK_ON, &err), RK_OK);
    assert_string_equal(b.data, tools_text);
    rk_buf_deinit(&b);
}

/* Tools alone begin a talk, a later system text brings them again, an answer may hold nothing. */
static void test_tools_stand_where_the_template_has_them(void **state)
{
    (void)state;
    static const char text[] =
        "{\"tools\": [{\"name\": \"f\"}], \"messages\": ["
        "{\"role\": \"user\", \"content\": [\"a\", {\"type\": \"text\", \"text\": \"b\"}]},"
        "{\"role\": \"assistant\", \"content\": null},"
        "{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"system\", \"content\": \"t\"},"
        "{\"role\": \"tool\", \"content\": \"no JSON \"},"
        "{\"role\": \"system\", \"content\": \"end\"}]}";
#define ONE_TOOL                                                                                   \
    "### `f`\n**Parameters:**\n```json\n{}\n```\n"                                                 \
    "To call one of these tools, write exactly this format:\n**Tool Call:**\n```json\n"            \
    "{\"name\": \"tool_name\", \"arguments\": {\"key\": \"value\"}}\n```\n"                        \
    "Do not invent tool call IDs or write tool outputs yourself.\n"
    rk_error err = {0};
    rk_buf b = {0};
    assert_int_equal(render(&b, text, RK_CHAT_WITH_TOOLS, RK_THINK_PLAIN, &err), RK_OK);
    assert_string_equal(b.data, "### System\n" ONE_TOOL
                                "### User\na\nb\n### Assistant\n### System\ns\nt\n" ONE_TOOL
                                "### Tool Output\n```json\n\"no JSON\"\n```\n### System\nend\n"
                                "### Assistant\n");
    rk_buf_deinit(&b);
}

static void test_who_asks(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_messages *m = NULL;
    assert_int_equal(open_text(&m, talk, &err), RK_OK);
    assert_true(rk_messages_ask(m));
    assert_false(rk_messages_have_tools(m));
    rk_messages_free(m);
    assert_int_equal(open_text(&m, tools, &err), RK_OK);
    assert_true(rk_messages_ask(m) && rk_messages_have_tools(m));
    rk_messages_free(m);
    assert_int_equal(open_text(&m, "[{\"role\": \"assistant\", \"content\": \"a\"}]", &err), RK_OK);
    assert_false(rk_messages_ask(m));
    rk_messages_free(m);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"[", "line 1"},
        {"[]", "expected an array of messages"},
        {"{\"messages\": 3}", "expected an array of messages"},
        {"[3]", "message 1: \"role\" is none of"},
        {"[{\"role\": \"user\"}, {\"role\": \"elf\"}]", "message 2: \"role\" is none of"},
        {"[{\"role\": \"user\", \"content\": 3}]", "message 1: \"content\" is no text"},
        {"[{\"role\": \"user\", \"content\": [{}]}]", "message 1: \"content\" is no text"},
        {"[{\"role\": \"assistant\", \"tool_calls\": [{}]}]", "\"tool_calls\" is no array of"},
        {"[{\"role\": \"assistant\", \"tool_calls\": {}}]", "\"tool_calls\" is no array of"},
        {"{\"messages\": [{\"role\": \"user\"}], \"tools\": [3]}", "\"tools\" is no array of"},
    };
    rk_error err = {0};
    rk_messages *m = NULL;
    rk_buf b = {0};
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        assert_int_equal(open_text(&m, cases[i].text, &err), RK_ERR_FORMAT);
        assert_non_null(strstr(err.msg, cases[i].said));
    }
    assert_int_equal(render(&b, tools, "bot", RK_THINK_ON, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "--template function_calling has"));
    rk_buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_templates),
        cmocka_unit_test(test_tools_stand_where_the_template_has_them),
        cmocka_unit_test(test_who_asks),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
