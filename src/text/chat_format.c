/* chat_format.c: the rows of formats, and texts cleaned as the authors' templates want them.
 *
 * Sources: BlinkDL/RWKV-LM, RWKV-v7/RWKV7-G1x-templates.txt, for World and G1; BlinkDL/ChatRWKV,
 * v2/chat.py, for Raven; recommended sampling from the demos beside them; rwkv-rs/transformers-rwkv,
 * temp/rwkv_chat_template.jinja, for the three styles of the G1 line; the chat_template of Qwen2.5-Instruct and of
 * DeepSeek-R1-Distill-Qwen. The beginning of a thinking
 * section lacks its ">" on purpose: it may share a token with what follows. */
#include "text/chat_format.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

enum { PILE_VOCAB = 50277 };

#define LINE_AND_TAG "<think>\n</think"
#define TAGS "<think></think"
#define FLOWER "\xe2\x9c\xbf"
#define MARK RK_CHAT_MARK
#define BAR "\xef\xbd\x9c"
#define BLANK "\xe2\x96\x81"
#define R1_TOKEN(text) MARK "<" BAR text BAR ">" MARK

const rk_chat_format rk_chat_formats[] = {
    {"world",
     "the World models of versions 4 to 7",
     "",
     ": ",
     "\n\n",
     {"System", "User", "Assistant", NULL},
     RK_CHAT_TIGHT,
     LINE_AND_TAG,
     {"\n\n%:", "\n%:"},
     1.0,
     0.5,
     0.5,
     0.5,
     .tools = RK_CHAT_NO_TOOLS},
    {"g1",
     "G1 models, whose answers hold blank lines and thoughts",
     "",
     ": ",
     "\n\n",
     {"System", "User", "Assistant", NULL},
     RK_CHAT_TIGHT,
     LINE_AND_TAG,
     {"\n\n%:", NULL},
     0.7,
     0.5,
     0.0,
     0.0,
     .tools = RK_CHAT_NO_TOOLS},
    {"assistant",
     "G1 models, as transformers writes their messages",
     "",
     ": ",
     "\n\n",
     {"System", "User", "Assistant", NULL},
     RK_CHAT_LINES,
     TAGS,
     {"\n%:", NULL},
     0.7,
     0.5,
     0.0,
     0.0,
     .tools = RK_CHAT_NO_TOOLS},
    {"bot",
     "G1 models, with flowers around texts",
     "",
     FLOWER,
     FLOWER "\n",
     {"System", "User", "Bot", NULL},
     RK_CHAT_LINES,
     TAGS,
     {FLOWER, NULL},
     0.7,
     0.5,
     0.0,
     0.0,
     .tools = RK_CHAT_NO_TOOLS},
    {"function_calling",
     "G1 models that call tools",
     "### ",
     "\n",
     "\n",
     {"System", "User", "Assistant", "Tool Output"},
     RK_CHAT_LINES,
     TAGS,
     {"\n### %", "\n### Tool Output"},
     0.7,
     0.5,
     0.0,
     0.0,
     .tools = RK_CHAT_TOOLS_MARKDOWN},
    {"raven",
     "the Raven models of version 4",
     "",
     ": ",
     "\n\n",
     {"", "Bob", "Alice", NULL},
     RK_CHAT_TIGHT,
     LINE_AND_TAG,
     {"\n\n%:", "\n%:"},
     1.2,
     0.5,
     0.4,
     0.4,
     .tools = RK_CHAT_NO_TOOLS},
    {"instruct",
     "instructions and responses, as Raven knows too",
     "# ",
     ":\n",
     "\n\n",
     {"", "Instruction", "Response", NULL},
     RK_CHAT_TIGHT,
     LINE_AND_TAG,
     {"\n\n# %:", "\n# %:"},
     1.0,
     0.5,
     0.4,
     0.4,
     .tools = RK_CHAT_NO_TOOLS},
    {"qa",
     "questions and answers, for models that were taught no talk",
     "",
     ": ",
     "\n\n",
     {"", "Question", "Answer", NULL},
     RK_CHAT_TIGHT,
     LINE_AND_TAG,
     {"\n\n%:", "\n%:"},
     1.0,
     0.5,
     0.5,
     0.5,
     .tools = RK_CHAT_NO_TOOLS},
    {"chatml",
     "Qwen, SmolLM2 and others with <|im_start|>",
     MARK "<|im_start|>" MARK,
     "\n",
     MARK "<|im_end|>" MARK "\n",
     {"system", "user", "assistant", "tool"},
     RK_CHAT_EXACT,
     "<think>\n\n</think>\n\n",
     {"<|im_end|>", NULL},
     0.7,
     0.8,
     0.0,
     0.0,
     .tools = RK_CHAT_TOOLS_TAGS,
     .thoughts = "<think>\n",
     .marked = true},
    {"r1",
     "DeepSeek-R1 and what was distilled of it",
     MARK "<" BAR,
     BAR ">" MARK,
     R1_TOKEN("end" BLANK "of" BLANK "sentence"),
     {"", "User", "Assistant", NULL},
     RK_CHAT_EXACT,
     "<think>\n\n</think>\n\n",
     {NULL, NULL},
     0.6,
     0.95,
     0.0,
     0.0,
     .begin = R1_TOKEN("begin" BLANK "of" BLANK "sentence"),
     .thoughts = "<think>\n",
     .think = RK_THINK_ON,
     .marked = true,
     .only_answers_end = true,
     .drops_thoughts = true},
    {0},
};

static const rk_chat_format *find(const char *name)
{
    const rk_chat_format *f = rk_chat_formats;
    while (f->name && strcmp(f->name, name) != 0)
        f++;
    return f->name ? f : NULL;
}

rk_status rk_chat_format_find(const rk_chat_format **out, const char *name, rk_error *err)
{
    char names[160] = "";
    *out = find(name);
    if (*out)
        return RK_OK;
    for (const rk_chat_format *f = rk_chat_formats; f->name; f++) {
        strncat(names, f == rk_chat_formats ? "" : ", ", sizeof names - strlen(names) - 1);
        strncat(names, f->name, sizeof names - strlen(names) - 1);
    }
    return rk_fail(err, RK_ERR_ARG, "no chat format '%.40s'; there are %s", name, names);
}

/* Does a word of the name begin with "g1"? "rwkv7-g1a-0.4b" is one, "big100" is none. */
static bool says_g1(const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;
    for (const char *p = name; *p; p++)
        if ((*p == 'g' || *p == 'G') && p[1] == '1' && !isdigit((unsigned char)p[2]) &&
            (p == name || !isalnum((unsigned char)p[-1])))
            return true;
    return false;
}

const rk_chat_format *rk_chat_format_guess(const char *file, int64_t n_vocab)
{
    return find(says_g1(file) ? "g1" : n_vocab == PILE_VOCAB ? "raven" : "world");
}

/* ---- names ---- */

rk_status rk_chat_format_rename(rk_chat_format *f, rk_chat_role role, const char *name,
                                rk_error *err)
{
    const size_t n = strlen(name);
    if (!f->roles[role] || !*f->roles[role])
        return rk_fail(err, RK_ERR_ARG, "chat format '%s' has no name to replace by '%.40s'",
                       f->name, name);
    if (n == 0 || n > RK_CHAT_NAME_MAX || strpbrk(name, "\r\n"))
        return rk_fail(err, RK_ERR_ARG,
                       "a role's name is one line of 1 to %d bytes, '%.40s' has %zu",
                       RK_CHAT_NAME_MAX, name, n);
    f->roles[role] = name;
    return RK_OK;
}

bool rk_chat_format_stop(const rk_chat_format *f, int i, char out[RK_CHAT_STOP_BYTES])
{
    if (i >= RK_CHAT_STOPS_MAX || !f->stop[i])
        return false;
    const char *stop = f->stop[i];
    const size_t n = strcspn(stop, "%");
    snprintf(out, RK_CHAT_STOP_BYTES, "%.*s%s%s", (int)n, stop,
             stop[n] ? f->roles[RK_CHAT_USER] : "", stop[n] ? stop + n + 1 : "");
    return true;
}

/* ---- texts ---- */

/* The byte of marks becomes U+FFFD; of an answer the thoughts may be left out. */
static void put_exact(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *s,
                      size_t n)
{
    static const char end[] = "</think>";
    const size_t n_end = sizeof end - 1;
    for (size_t i = n; role == RK_CHAT_ASSISTANT && f->drops_thoughts && i >= n_end; i--)
        if (memcmp(s + i - n_end, end, n_end) == 0) {
            s += i;
            n -= i;
            break;
        }
    for (size_t i = 0; i < n; i++)
        if (s[i] == *MARK)
            rk_buf_puts(out, "\xef\xbf\xbd");
        else
            rk_buf_add(out, s + i, 1);
}

/* Line feeds only, no blank lines, nothing around it. */
static void put_tight(rk_buf *out, const char *s, size_t n)
{
    char last = '\0';
    while (n > 0 && rk_is_blank(s[n - 1]))
        n--;
    while (n > 0 && rk_is_blank(*s))
        s++, n--;
    for (size_t i = 0; i < n; i++) {
        const bool cr = s[i] == '\r' && i + 1 < n && s[i + 1] == '\n';
        const bool again = s[i] == '\n' && last == '\n';
        if (cr || again)
            continue;
        rk_buf_add(out, s + i, 1);
        last = s[i];
    }
}

static size_t line_bytes(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && s[i] != '\n' && s[i] != '\r')
        i++;
    return i;
}

/* Lines end at \n, \r or both. The line feeds of empty lines are held back until a line follows
 * that is none: they may be the text's end. */
static void put_lines(rk_buf *out, const char *s, size_t n, bool no_empty)
{
    size_t feeds = 0, lines = 0;
    for (size_t at = 0; at < n;) {
        const size_t line = line_bytes(s + at, n - at);
        size_t kept = line;
        while (kept > 0 && (s[at + kept - 1] == ' ' || s[at + kept - 1] == '\t'))
            kept--;
        for (; kept > 0 && feeds > 0; feeds--)
            rk_buf_puts(out, no_empty && (feeds > 1 || lines == 0) ? "" : "\n");
        rk_buf_add(out, s + at, kept);
        lines += kept > 0;
        at += line;
        if (at < n) {
            at += s[at] == '\r' && at + 1 < n && s[at + 1] == '\n' ? 2 : 1;
            feeds++;
        }
    }
}

void rk_chat_clean(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *text,
                   size_t n)
{
    rk_buf_puts(out, ""); /* so that there is a text */
    if (f->cleaning == RK_CHAT_EXACT)
        put_exact(out, f, role, text, n);
    else if (f->cleaning == RK_CHAT_TIGHT)
        put_tight(out, text, n);
    else
        put_lines(out, text, n, role == RK_CHAT_USER);
}

/* ---- messages ---- */

void rk_chat_put_opening(rk_buf *out, const rk_chat_format *f, rk_chat_role role)
{
    const char *name = f->roles[role];
    if (!*name)
        return;
    rk_buf_puts(out, f->before);
    rk_buf_puts(out, name);
    rk_buf_puts(out, f->after);
}

static void put_end_of(rk_buf *out, const rk_chat_format *f, rk_chat_role role)
{
    if (!f->only_answers_end || role == RK_CHAT_ASSISTANT)
        rk_chat_put_end(out, f);
}

void rk_chat_put(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *text,
                 size_t n)
{
    rk_chat_put_opening(out, f, role);
    rk_buf_add(out, text, n);
    put_end_of(out, f, role);
}

void rk_chat_put_message(rk_buf *out, const rk_chat_format *f, rk_chat_role role, const char *text,
                         size_t n)
{
    rk_chat_put_opening(out, f, role);
    rk_chat_clean(out, f, role, text, n);
    put_end_of(out, f, role);
}

void rk_chat_put_system(rk_buf *out, const rk_chat_format *f, const char *text, size_t n)
{
    const size_t before = out->len;
    rk_chat_put_opening(out, f, RK_CHAT_SYSTEM);
    const size_t begun = out->len;
    rk_chat_clean(out, f, RK_CHAT_SYSTEM, text, n);
    if (out->len > begun)
        put_end_of(out, f, RK_CHAT_SYSTEM);
    else if (!out->failed)
        out->data[out->len = before] = '\0';
}

void rk_chat_put_begin(rk_buf *out, const rk_chat_format *f, const char *system, size_t n)
{
    rk_buf_puts(out, f->begin ? f->begin : "");
    if (n == 0 && f->system)
        rk_chat_put_system(out, f, f->system, strlen(f->system));
    else
        rk_chat_put_system(out, f, system, n);
}

static const char *thoughts_of(const rk_chat_format *f)
{
    return f->thoughts ? f->thoughts : "<think";
}

void rk_chat_put_answer(rk_buf *out, const rk_chat_format *f, rk_think think)
{
    const char *const thoughts[] = {"", thoughts_of(f), f->no_thoughts};
    rk_chat_put_opening(out, f, RK_CHAT_ASSISTANT);
    if (think == RK_THINK_PLAIN && !out->failed && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    rk_buf_puts(out, thoughts[think]);
}

void rk_chat_put_end(rk_buf *out, const rk_chat_format *f)
{
    rk_buf_puts(out, f->end);
}

bool rk_chat_format_end(const rk_chat_format *f, const char **text, size_t *n)
{
    const char *behind = *f->end == *MARK ? strchr(f->end + 1, *MARK) : NULL;
    *text = f->end + 1;
    *n = behind ? (size_t)(behind - *text) : 0;
    return behind != NULL;
}

const char *rk_chat_shown_thought(const rk_chat_format *f, rk_think think)
{
    return think == RK_THINK_ON ? thoughts_of(f) : "";
}
