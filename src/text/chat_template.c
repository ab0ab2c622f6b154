/* chat_template.c: families of templates by what they write.
 *
 * A default system text stands in a template of ChatML as a literal: '<|im_start|>system', a line feed (or
 * \\n), the text, '<|im_end|>'. Qwen2.5's, Qwen2's and SmolLM2's differ in it and are found so. Where the
 * literal ends before the text does, the text is a message's. */
#include "text/chat_template.h"

#include <string.h>

#include "base/num.h"

static const struct {
    const char *sign, *format;
} families[] = {{"<\xef\xbd\x9c"
                 "Assistant\xef\xbd\x9c>",
                 "r1"},
                {"<|im_start|>", "chatml"}};

/* Append a literal's text with its escapes replaced. */
static void put_literal(rk_buf *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char next = s[i] == '\\' && i + 1 < n ? s[i + 1] : '\0';
        if (next == 'n')
            rk_buf_puts(out, "\n");
        else
            rk_buf_add(out, next ? s + i + 1 : s + i, 1);
        i += next != '\0';
    }
}

static size_t line_feed(const char *s)
{
    return *s == '\n' ? 1 : s[0] == '\\' && s[1] == 'n' ? 2 : 0;
}

/* The default system text of ChatML; nothing where there is none. */
static void find_system(rk_buf *out, const char *jinja)
{
    static const char begin[] = "<|im_start|>system", end[] = "<|im_end|>";
    for (const char *p = jinja; (p = strstr(p, begin)) != NULL; p++) {
        const char *text = p + strlen(begin);
        const size_t feed = line_feed(text);
        const char *behind = feed ? strstr(text + feed, end) : NULL;
        const size_t n = behind ? (size_t)(behind - (text + feed)) : 0;
        const char quote = p > jinja ? p[-1] : '\0';
        if (n == 0 || (quote != '\'' && quote != '"') || memchr(text + feed, quote, n) ||
            memchr(text + feed, *RK_CHAT_MARK, n))
            continue;
        put_literal(out, text + feed, n);
        return;
    }
}

static rk_status fill(rk_chat_format *f, rk_buf *room, const char *jinja, rk_error *err)
{
    rk_buf_clear(room);
    if (strcmp(f->name, "r1") == 0 && !strstr(jinja, "<think>"))
        f->think = RK_THINK_PLAIN;
    if (strcmp(f->name, "chatml") == 0)
        find_system(room, jinja);
    f->system = room->len > 0 ? room->data : NULL;
    return room->failed ? rk_fail(err, RK_ERR_NOMEM, "out of memory for a chat template") : RK_OK;
}

static const char *format_of(const char *jinja)
{
    for (size_t i = 0; i < RK_COUNT(families); i++)
        if (strstr(jinja, families[i].sign))
            return families[i].format;
    return NULL;
}

rk_status rk_chat_template_format(rk_chat_format *f, bool *found, rk_buf *room,
                                  const rk_tokenizer *t, rk_error *err)
{
    const rk_chat_format *row = NULL;
    const char *jinja = rk_tokenizer_about(t)->chat_template.data;
    const char *name = jinja ? format_of(jinja) : NULL;
    *found = false;
    if (!jinja || !rk_tokenizer_has_merges(t))
        return RK_OK;
    if (!name)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "the chat template of this model is none that is known; --template names a "
                       "format to use in its place");
    const rk_status st = rk_chat_format_find(&row, name, err);
    if (st != RK_OK)
        return st;
    *f = *row;
    *found = true;
    return fill(f, room, jinja, err);
}

rk_status rk_chat_template_fill(rk_chat_format *f, rk_buf *room, const rk_tokenizer *t,
                                rk_error *err)
{
    const char *jinja = rk_tokenizer_about(t)->chat_template.data;
    const char *name = jinja ? format_of(jinja) : NULL;
    return name && strcmp(name, f->name) == 0 ? fill(f, room, jinja, err) : RK_OK;
}

const char *rk_chat_template_name(const rk_tokenizer *t)
{
    const char *jinja =
        t && rk_tokenizer_has_merges(t) ? rk_tokenizer_about(t)->chat_template.data : NULL;
    return jinja ? format_of(jinja) : NULL;
}

rk_status rk_chat_template_choose(const rk_chat_format **out, rk_chat_format *f, rk_buf *room,
                                  const char *name, const rk_tokenizer *t, rk_error *err)
{
    const rk_chat_format *row = NULL;
    const char *own = rk_chat_template_name(t);
    *out = NULL;
    if (name && !strcmp(name, "none"))
        return RK_OK;
    rk_status st = rk_chat_format_find(&row, name ? name : own ? own : RK_CHAT_DEFAULT, err);
    if (st != RK_OK)
        return st;
    *f = *row;
    *out = f;
    return own ? rk_chat_template_fill(f, room, t, err) : RK_OK;
}
