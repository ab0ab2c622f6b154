/* chat_format.c: the rows of formats, and texts cleaned as the authors' templates want them.
 *
 * Sources: BlinkDL/RWKV-LM, RWKV-v7/RWKV7-G1x-templates.txt, for World and G1; BlinkDL/ChatRWKV,
 * v2/chat.py, for Raven; recommended sampling from the demos beside them. The beginning of a
 * thinking section lacks its ">" on purpose: it may share a token with what follows. */
#include "text/chat_format.h"

#include <ctype.h>
#include <string.h>

#include "base/str.h"

enum { PILE_VOCAB = 50277 };

const rk_chat_format rk_chat_formats[] = {
    {"world",
     "the World models of versions 4 to 7",
     "System: ",
     "User: ",
     "Assistant:",
     {"\n\nUser:", "\nUser:"},
     1.0,
     0.5,
     0.5,
     0.5},
    {"g1",
     "G1 models, whose answers hold blank lines and thoughts",
     "System: ",
     "User: ",
     "Assistant:",
     {"\n\nUser:", NULL},
     0.7,
     0.5,
     0.0,
     0.0},
    {"raven",
     "the Raven models of version 4",
     "",
     "Bob: ",
     "Alice:",
     {"\n\nBob:", "\nBob:"},
     1.2,
     0.5,
     0.4,
     0.4},
    {"instruct",
     "instructions and responses, as Raven knows too",
     "",
     "# Instruction:\n",
     "# Response:\n",
     {"\n\n# Instruction:", "\n# Instruction:"},
     1.0,
     0.5,
     0.4,
     0.4},
    {"qa",
     "questions and answers, for models that were taught no talk",
     "",
     "Question: ",
     "Answer:",
     {"\n\nQuestion:", "\nQuestion:"},
     1.0,
     0.5,
     0.5,
     0.5},
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
    char names[128] = "";
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

/* Line feeds only, no blank lines, nothing around it. */
static void put_clean(rk_buf *out, const char *s, size_t n)
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

void rk_chat_put_system(rk_buf *out, const rk_chat_format *f, const char *text, size_t n)
{
    const size_t before = out->len;
    rk_buf_puts(out, f->system);
    const size_t begun = out->len;
    put_clean(out, text, n);
    if (out->len > begun)
        rk_buf_puts(out, "\n\n");
    else if (!out->failed)
        out->data[out->len = before] = '\0';
}

void rk_chat_put_question(rk_buf *out, const rk_chat_format *f, const char *text, size_t n,
                          rk_think think)
{
    static const char *const thoughts[] = {"", " <think", " <think>\n</think"};
    rk_buf_puts(out, f->user);
    put_clean(out, text, n);
    rk_buf_puts(out, "\n\n");
    rk_buf_puts(out, f->bot);
    rk_buf_puts(out, thoughts[think]);
}

void rk_chat_put_end(rk_buf *out)
{
    rk_buf_puts(out, "\n\n");
}

const char *rk_chat_shown_thought(rk_think think)
{
    return think == RK_THINK_ON ? "<think" : "";
}
