/* messages.c: messages of JSON as text.
 *
 * The layout of tools, of calls and of what they return is that of rwkv-rs/transformers-rwkv,
 * temp/rwkv_chat_template.jinja, and in tags that of Qwen2.5-Instruct's chat_template; JSON in them is
 * as Python's json.dumps writes it, because models were trained on such text. */
#include "cli/messages.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "cli/python_json.h"
#include "io/map.h"
#include "io/text_mark.h"

struct rk_messages {
    char *name;
    json_t *root;
    const json_t *list, *tools; /* tools: NULL where there are none */
};

static const char *const role_names[RK_CHAT_ROLES] = {"system", "user", "assistant", "tool"};

/* A value in a fence of its own. */
static void put_fenced(rk_buf *out, json_t *v)
{
    rk_buf_puts(out, "```json\n");
    rk_python_json(out, v, true);
    rk_buf_puts(out, "\n```");
}

/* JSON that may be given as a string which holds it; a text that is none stays a string. */
static json_t *unquoted(json_t *v)
{
    json_t *inner = json_is_string(v) ? json_loadb(json_string_value(v), json_string_length(v),
                                                   JSON_DECODE_ANY, NULL)
                                      : NULL;
    return inner ? inner : json_incref(v);
}

/* ---- opening ---- */

static rk_chat_role role_of(const json_t *message)
{
    const char *said = json_string_value(json_object_get(message, "role"));
    rk_chat_role role = RK_CHAT_SYSTEM;
    while (said && role < RK_CHAT_ROLES && strcmp(said, role_names[role]) != 0)
        role++;
    return said ? role : RK_CHAT_ROLES;
}

/* Text, nothing, or an array of texts as servers take them. */
static bool is_content(const json_t *v)
{
    bool ok = !v || json_is_null(v) || json_is_string(v) || json_is_array(v);
    for (size_t i = 0; ok && i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        ok = json_is_string(part) || json_is_string(json_object_get(part, "text"));
    }
    return ok;
}

static json_t *function_of(json_t *tool)
{
    json_t *f = json_object_get(tool, "function");
    return f ? f : tool;
}

static bool have_names(const json_t *tools)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        if (!json_is_string(json_object_get(function_of(json_array_get(tools, i)), "name")))
            return false;
    return true;
}

static rk_status check_message(const rk_messages *m, size_t i, rk_error *err)
{
    const json_t *message = json_array_get(m->list, i), *calls;
    const rk_chat_role role = role_of(message);
    const char *wrong = NULL;
    calls = json_object_get(message, "tool_calls");
    if (role == RK_CHAT_ROLES)
        wrong = "\"role\" is none of system, user, assistant and tool";
    else if (role != RK_CHAT_TOOL && !is_content(json_object_get(message, "content")))
        wrong = "\"content\" is no text";
    else if (calls && !json_is_null(calls) && (!json_is_array(calls) || !have_names(calls)))
        wrong = "\"tool_calls\" is no array of calls with a name";
    return wrong ? rk_fail(err, RK_ERR_FORMAT, "%s: message %zu: %s", m->name, i + 1, wrong)
                 : RK_OK;
}

static rk_status find_parts(rk_messages *m, rk_error *err)
{
    const json_t *tools = json_object_get(m->root, "tools");
    rk_status st = RK_OK;
    m->list = json_is_array(m->root) ? m->root : json_object_get(m->root, "messages");
    m->tools = json_array_size(tools) > 0 ? tools : NULL;
    if (!json_is_array(m->list) || json_array_size(m->list) == 0)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: expected an array of messages, or an object with \"messages\"",
                       m->name);
    if (tools && !json_is_null(tools) && (!json_is_array(tools) || !have_names(tools)))
        return rk_fail(err, RK_ERR_FORMAT, "%s: \"tools\" is no array of tools with a name",
                       m->name);
    for (size_t i = 0; i < json_array_size(m->list) && st == RK_OK; i++)
        st = check_message(m, i, err);
    return st;
}

static rk_status parse(rk_messages *m, const rk_map *map, bool quiet, rk_error *err)
{
    json_error_t why;
    size_t mark = 0;
    rk_status st = rk_text_begin(map->data, map->size, map->name, &mark, err);
    if (st != RK_OK)
        return st;
    if (mark > 0 && !quiet)
        fprintf(stderr, "%s: a byte order mark in front is passed over\n", map->name);
    m->root = json_loadb((const char *)map->data + mark, map->size - mark, 0, &why);
    return m->root ? find_parts(m, err)
                   : rk_fail(err, RK_ERR_FORMAT, "%s, line %d: %s", map->name, why.line, why.text);
}

rk_status rk_messages_open(rk_messages **out, const char *path, bool quiet, rk_error *err)
{
    rk_map map;
    rk_status st = rk_map_open(&map, path, err);
    if (st != RK_OK)
        return st;
    rk_messages *m = calloc(1, sizeof *m);
    if (m)
        m->name = strdup(path);
    st = m && m->name ? parse(m, &map, quiet, err) : rk_fail(err, RK_ERR_NOMEM, "out of memory");
    rk_map_close(&map);
    if (st == RK_OK)
        *out = m;
    else
        rk_messages_free(m);
    return st;
}

void rk_messages_free(rk_messages *m)
{
    if (!m)
        return;
    json_decref(m->root);
    free(m->name);
    free(m);
}

bool rk_messages_have_tools(const rk_messages *m)
{
    bool have = m->tools != NULL;
    for (size_t i = 0; i < json_array_size(m->list) && !have; i++) {
        const json_t *message = json_array_get(m->list, i);
        have = role_of(message) == RK_CHAT_TOOL ||
               json_array_size(json_object_get(message, "tool_calls")) > 0;
    }
    return have;
}

bool rk_messages_ask(const rk_messages *m)
{
    const rk_chat_role last = role_of(json_array_get(m->list, json_array_size(m->list) - 1));
    return last == RK_CHAT_USER || last == RK_CHAT_TOOL;
}

/* ---- texts of messages ---- */

static void put_content(rk_buf *out, const json_t *v)
{
    rk_buf_puts(out, "");
    if (json_is_string(v))
        rk_buf_add(out, json_string_value(v), json_string_length(v));
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *part = json_array_get(v, i);
        part = json_is_string(part) ? part : json_object_get(part, "text");
        rk_buf_puts(out, i > 0 ? "\n" : "");
        rk_buf_add(out, json_string_value(part), json_string_length(part));
    }
}

static void put_clean(rk_buf *out, const rk_chat_format *f, rk_chat_role role,
                      const json_t *message)
{
    rk_buf said = {0};
    put_content(&said, json_object_get(message, "content"));
    out->failed |= said.failed;
    if (!said.failed)
        rk_chat_clean(out, f, role, said.data, said.len);
    rk_buf_deinit(&said);
}

static void put_tool(rk_buf *out, json_t *tool)
{
    const json_t *function = function_of(tool);
    json_t *parameters = json_object_get(function, "parameters");
    const char *about = json_string_value(json_object_get(function, "description"));
    rk_buf_printf(out, "\n### `%s`\n", json_string_value(json_object_get(function, "name")));
    if (about && *about)
        rk_buf_printf(out, "**Description:** %s\n", about);
    rk_buf_puts(out, "**Parameters:**\n");
    if (parameters)
        put_fenced(out, parameters);
    else
        rk_buf_puts(out, "```json\n{}\n```");
}

static void put_tools(rk_buf *out, const json_t *tools)
{
    for (size_t i = 0; i < json_array_size(tools); i++)
        put_tool(out, json_array_get(tools, i));
    rk_buf_puts(out, "\nTo call one of these tools, write exactly this format:\n"
                     "**Tool Call:**\n"
                     "```json\n"
                     "{\"name\": \"tool_name\", \"arguments\": {\"key\": \"value\"}}\n"
                     "```\n"
                     "Do not invent tool call IDs or write tool outputs yourself.");
}

static void put_call(rk_buf *out, json_t *call)
{
    const json_t *function = function_of(call);
    json_t *given = json_object_get(function, "arguments");
    json_t *arguments = given ? unquoted(given) : json_null();
    json_t *payload =
        json_pack("{s:O, s:o}", "name", json_object_get(function, "name"), "arguments", arguments);
    rk_buf_puts(out, "**Tool Call:**\n");
    if (payload)
        put_fenced(out, payload);
    else
        out->failed = true;
    json_decref(payload);
}

/* ---- with tools: what systems have said and the tools stand before the next message ---- */

typedef struct system_text {
    rk_buf text;
    int n;
} system_text;

static void flush_system(rk_buf *out, const rk_messages *m, const rk_chat_format *f, system_text *s,
                         bool with_tools)
{
    if (s->n == 0 && !with_tools)
        return;
    rk_buf_puts(&s->text, "");
    if (with_tools)
        put_tools(&s->text, m->tools);
    out->failed |= s->text.failed;
    if (!out->failed) /* tools alone begin with a line feed */
        rk_chat_put(out, f, RK_CHAT_SYSTEM, s->text.data + (s->n == 0),
                    s->text.len - (size_t)(s->n == 0));
    rk_buf_clear(&s->text);
    s->n = 0;
}

static void put_assistant(rk_buf *out, const rk_chat_format *f, const json_t *message)
{
    const json_t *calls = json_object_get(message, "tool_calls");
    rk_buf text = {0};
    put_clean(&text, f, RK_CHAT_ASSISTANT, message);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        rk_buf_puts(&text, text.len > 0 ? "\n" : "");
        put_call(&text, json_array_get(calls, i));
    }
    out->failed |= text.failed;
    if (!out->failed)
        rk_chat_put(out, f, RK_CHAT_ASSISTANT, text.data, text.len);
    if (!out->failed && text.len == 0) /* no line stands for an answer of nothing */
        out->data[--out->len] = '\0';
    rk_buf_deinit(&text);
}

static void put_output(rk_buf *out, const rk_chat_format *f, json_t *v)
{
    rk_buf text = {0};
    json_t *inner = unquoted(v);
    put_fenced(&text, inner);
    json_decref(inner);
    out->failed |= text.failed;
    if (!out->failed)
        rk_chat_put(out, f, RK_CHAT_TOOL, text.data, text.len);
    rk_buf_deinit(&text);
}

/* The name alone, without the line feed behind it. */
static void put_tag_opening(rk_buf *out, const rk_chat_format *f, rk_chat_role role)
{
    rk_buf_puts(out, f->before);
    rk_buf_puts(out, f->roles[role]);
}

rk_status rk_messages_put_output(rk_buf *out, const rk_chat_format *f, const char *text, size_t n,
                                 rk_error *err)
{
    if (!f->roles[RK_CHAT_TOOL])
        return rk_fail(err, RK_ERR_ARG, "chat format '%s' has no tools; --template %s has", f->name,
                       RK_CHAT_WITH_TOOLS);
    if (f->tools == RK_CHAT_TOOLS_TAGS) {
        put_tag_opening(out, f, RK_CHAT_USER);
        rk_buf_puts(out, "\n<tool_response>\n");
        rk_chat_clean(out, f, RK_CHAT_TOOL, text, n);
        rk_buf_puts(out, "\n</tool_response>");
        rk_chat_put_end(out, f);
        return out->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a message") : RK_OK;
    }
    rk_buf clean = {0};
    rk_chat_clean(&clean, f, RK_CHAT_TOOL, text, n);
    json_t *v = clean.failed ? NULL : json_stringn(clean.data, clean.len);
    rk_status st = RK_OK;
    if (v)
        put_output(out, f, v);
    else if (!clean.failed)
        st = rk_fail(err, RK_ERR_ARG, "the output of a tool is no text in UTF-8");
    if (out->failed || clean.failed)
        st = rk_fail(err, RK_ERR_NOMEM, "out of memory for a message");
    json_decref(v);
    rk_buf_deinit(&clean);
    return st;
}

/* A content that is text is cleaned as all texts are. */
static void put_output_of(rk_buf *out, const rk_chat_format *f, const json_t *message)
{
    json_t *v = json_object_get(message, "content");
    if (json_is_string(v))
        rk_messages_put_output(out, f, json_string_value(v), json_string_length(v), NULL);
    else if (v)
        put_output(out, f, v);
    else
        rk_messages_put_output(out, f, "", 0, NULL);
}

static void put_with_tools(rk_buf *out, const rk_messages *m, const rk_chat_format *f)
{
    system_text system = {0};
    const size_t before = out->len;
    for (size_t i = 0; i < json_array_size(m->list); i++) {
        const json_t *message = json_array_get(m->list, i);
        const rk_chat_role role = role_of(message);
        if (role == RK_CHAT_SYSTEM) {
            rk_buf_puts(&system.text, system.n++ > 0 ? "\n" : "");
            put_clean(&system.text, f, role, message);
            continue;
        }
        flush_system(out, m, f, &system, m->tools && (system.n > 0 || out->len == before));
        if (role == RK_CHAT_ASSISTANT)
            put_assistant(out, f, message);
        else if (role == RK_CHAT_TOOL)
            put_output_of(out, f, message);
        else {
            rk_buf text = {0};
            put_clean(&text, f, role, message);
            out->failed |= text.failed;
            if (!out->failed)
                rk_chat_put(out, f, role, text.data, text.len);
            rk_buf_deinit(&text);
        }
    }
    flush_system(out, m, f, &system, false);
    rk_buf_deinit(&system.text);
}

/* ---- tools in tags, as ChatML has them ---- */

static void put_tag_tools(rk_buf *out, const json_t *tools)
{
    rk_buf_puts(
        out, "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
             "You are provided with function signatures within <tools></tools> XML tags:\n"
             "<tools>");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        rk_buf_puts(out, "\n");
        rk_python_json(out, json_array_get(tools, i), false);
    }
    rk_buf_puts(out,
                "\n</tools>\n\nFor each function call, return a json object with function name and "
                "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
                "<function-name>, \"arguments\": <args-json-object>}\n</tool_call>");
}

static void put_tag_call(rk_buf *out, json_t *call)
{
    const json_t *function = function_of(call);
    json_t *given = json_object_get(function, "arguments");
    json_t *arguments = given ? unquoted(given) : json_object();
    rk_buf_printf(out, "\n<tool_call>\n{\"name\": \"%s\", \"arguments\": ",
                  json_string_value(json_object_get(function, "name")));
    if (arguments)
        rk_python_json(out, arguments, false);
    out->failed = out->failed || !arguments;
    rk_buf_puts(out, "}\n</tool_call>");
    json_decref(arguments);
}

static void put_tag_assistant(rk_buf *out, const rk_chat_format *f, const json_t *message)
{
    const json_t *calls = json_object_get(message, "tool_calls");
    const size_t before = out->len + strlen(f->before) + strlen(f->roles[RK_CHAT_ASSISTANT]);
    put_tag_opening(out, f, RK_CHAT_ASSISTANT);
    rk_buf_puts(out, f->after);
    const size_t begun = out->len;
    put_clean(out, f, RK_CHAT_ASSISTANT, message);
    if (out->len == begun && json_array_size(calls) > 0 && !out->failed)
        out->data[out->len = before] = '\0';
    for (size_t i = 0; i < json_array_size(calls); i++)
        put_tag_call(out, json_array_get(calls, i));
    rk_chat_put_end(out, f);
}

static void put_tag_response(rk_buf *out, const rk_chat_format *f, const json_t *message)
{
    rk_buf_puts(out, "\n<tool_response>\n");
    put_clean(out, f, RK_CHAT_TOOL, message);
    rk_buf_puts(out, "\n</tool_response>");
}

/* What tools return in a row is one turn of the user. */
static void put_tag_message(rk_buf *out, const rk_messages *m, const rk_chat_format *f, size_t i)
{
    const json_t *message = json_array_get(m->list, i);
    const rk_chat_role role = role_of(message);
    const rk_chat_role before = i > 0 ? role_of(json_array_get(m->list, i - 1)) : RK_CHAT_ROLES;
    const json_t *next = json_array_get(m->list, i + 1);
    if (role == RK_CHAT_ASSISTANT) {
        put_tag_assistant(out, f, message);
    } else if (role == RK_CHAT_TOOL) {
        if (before != RK_CHAT_TOOL)
            put_tag_opening(out, f, RK_CHAT_USER);
        put_tag_response(out, f, message);
        if (!next || role_of(next) != RK_CHAT_TOOL)
            rk_chat_put_end(out, f);
    } else {
        rk_chat_put_opening(out, f, role);
        put_clean(out, f, role, message);
        rk_chat_put_end(out, f);
    }
}

/* The system text of the messages or the format's own, with the tools behind it. */
static void put_tag_system(rk_buf *out, const rk_messages *m, const rk_chat_format *f, bool given)
{
    if (!given && !m->tools && !f->system)
        return;
    rk_chat_put_opening(out, f, RK_CHAT_SYSTEM);
    if (given)
        put_clean(out, f, RK_CHAT_SYSTEM, json_array_get(m->list, 0));
    else
        rk_buf_puts(out, f->system ? f->system : "");
    if (m->tools)
        put_tag_tools(out, m->tools);
    rk_chat_put_end(out, f);
}

static void put_with_tags(rk_buf *out, const rk_messages *m, const rk_chat_format *f)
{
    const bool given = role_of(json_array_get(m->list, 0)) == RK_CHAT_SYSTEM;
    put_tag_system(out, m, f, given);
    for (size_t i = given; i < json_array_size(m->list); i++)
        put_tag_message(out, m, f, i);
}

static void put_plain(rk_buf *out, const rk_messages *m, const rk_chat_format *f)
{
    for (size_t i = 0; i < json_array_size(m->list); i++) {
        const json_t *message = json_array_get(m->list, i);
        rk_buf text = {0};
        put_content(&text, json_object_get(message, "content"));
        out->failed |= text.failed;
        if (text.failed)
            return;
        if (role_of(message) == RK_CHAT_SYSTEM && f->cleaning == RK_CHAT_TIGHT)
            rk_chat_put_system(out, f, text.data, text.len);
        else
            rk_chat_put_message(out, f, role_of(message), text.data, text.len);
        rk_buf_deinit(&text);
    }
}

rk_status rk_messages_put(rk_buf *out, const rk_messages *m, const rk_chat_format *f, rk_error *err)
{
    const bool tools = f->tools != RK_CHAT_NO_TOOLS;
    if (!tools && rk_messages_have_tools(m))
        return rk_fail(err, RK_ERR_ARG,
                       "%s: there are tools in it, chat format '%s' has none; --template %s has",
                       m->name, f->name, RK_CHAT_WITH_TOOLS);
    rk_buf_puts(out, f->begin ? f->begin : "");
    if (f->tools == RK_CHAT_TOOLS_TAGS)
        put_with_tags(out, m, f);
    else if (tools)
        put_with_tools(out, m, f);
    else
        put_plain(out, m, f);
    return out->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for the messages") : RK_OK;
}
