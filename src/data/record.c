/* record.c: members are found in one pass. The text of a document, which is nearly all of a line, is
 * decoded where it is met; of the others the place is kept, because which of them are wanted is known
 * at the line's end alone. */
#include "data/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"
#include "io/json_scan.h"

enum {
    LINE_BYTES_MAX = 256 * 1024 * 1024,
    DEPTH_MAX = 64, /* of the values that are passed over */
    KEY_MAX = 16,
};

/* ---- members ---- */

typedef enum member {
    TEXT,
    MESSAGES,
    CONVERSATIONS,
    SYSTEM,
    PROMPT,
    QUESTION,
    INSTRUCTION,
    INPUT,
    RESPONSE,
    COMPLETION,
    ANSWER,
    OUTPUT,
    MEMBERS
} member;

static const char *const names[MEMBERS] = {"text",     "messages",   "conversations", "system",
                                           "prompt",   "question",   "instruction",   "input",
                                           "response", "completion", "answer",        "output"};

typedef struct reading {
    rk_record *record;
    const rk_record_line *line;
    const rk_record_how *how;
    rk_json_scan scan;
    rk_json_scan at[MEMBERS]; /* where the value of each begins; p NULL: it is not there */
    size_t text_bytes;
} reading;

static rk_status fail_scan(const reading *r, rk_error *err)
{
    const long byte = (long)(r->scan.p - r->line->text) + 1;
    return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ", byte %ld: expected %s", r->line->file,
                   r->line->number, byte, r->scan.expected);
}

static rk_status out_of_memory(const reading *r, rk_error *err)
{
    return rk_fail(err, RK_ERR_NOMEM, "%s: line %" PRId64 ": out of memory for its %zu bytes",
                   r->line->file, r->line->number, r->line->bytes);
}

/* The string that comes next, decoded behind what out has. */
static rk_status take_string(reading *r, rk_buf *out, rk_error *err)
{
    size_t n;
    char *room = rk_buf_room(out, (size_t)(r->scan.end - r->scan.p));
    if (!room)
        return out_of_memory(r, err);
    if (!rk_json_string(&r->scan, room, &n))
        return fail_scan(r, err);
    out->len += n;
    out->data[out->len] = '\0';
    return RK_OK;
}

/* A key; *which is n where it is none of the n words. */
static rk_status take_key(reading *r, const char *const *words, int n, int *which, rk_error *err)
{
    size_t bytes;
    char key[KEY_MAX];
    const rk_json_scan begin = r->scan;
    *which = n;
    if (!rk_json_string(&r->scan, NULL, &bytes))
        return fail_scan(r, err);
    const rk_json_scan after = r->scan;
    if (bytes < KEY_MAX) {
        r->scan = begin;
        rk_json_string(&r->scan, key, &bytes);
        key[bytes] = '\0';
        for (int i = 0; i < n && *which == n; i++)
            if (strlen(words[i]) == bytes && !memcmp(words[i], key, bytes))
                *which = i;
    }
    r->scan = after;
    return rk_json_take(&r->scan, ':') ? RK_OK : fail_scan(r, err);
}

static rk_status take_member(reading *r, rk_error *err)
{
    int which;
    rk_status st = take_key(r, names, MEMBERS, &which, err);
    if (st != RK_OK)
        return st;
    if (which < MEMBERS && r->at[which].p)
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ": '%s' occurs twice", r->line->file,
                       r->line->number, names[which]);
    if (which < MEMBERS)
        r->at[which] = r->scan;
    if (which == TEXT)
        return take_string(r, &r->record->text, err);
    return rk_json_skip(&r->scan, DEPTH_MAX) ? RK_OK : fail_scan(r, err);
}

static rk_status take_object(reading *r, rk_error *err)
{
    if (!rk_json_take(&r->scan, '{'))
        return fail_scan(r, err);
    if (!rk_json_peek_take(&r->scan, '}')) {
        do {
            const rk_status st = take_member(r, err);
            if (st != RK_OK)
                return st;
        } while (rk_json_peek_take(&r->scan, ','));
        if (!rk_json_take(&r->scan, '}'))
            return fail_scan(r, err);
    }
    return rk_json_at_end(&r->scan) ? RK_OK : fail_scan(r, err);
}

/* ---- parts ---- */

/* What the text has got since the last part is one more. Neighbours of one kind are one part. */
static rk_status close_part(reading *r, bool counts, rk_error *err)
{
    rk_record *const d = r->record;
    rk_record_part *last = d->parts && d->n_parts > 0 ? &d->parts[d->n_parts - 1] : NULL;
    const size_t at = last ? last->at + last->bytes : 0;
    if (d->text.failed)
        return out_of_memory(r, err);
    if (last && last->counts == counts) {
        last->bytes = d->text.len - last->at;
        return RK_OK;
    }
    if (!d->parts || d->n_parts == d->parts_max) {
        const int64_t max = rk_max_i64(8, 2 * d->parts_max);
        rk_record_part *parts = realloc(d->parts, (size_t)max * sizeof *parts);
        if (!parts)
            return out_of_memory(r, err);
        d->parts = parts;
        d->parts_max = max;
    }
    d->parts[d->n_parts++] = (rk_record_part){at, d->text.len - at, counts};
    return RK_OK;
}

/* ---- conversations ---- */

static rk_status put_question(reading *r, rk_chat_role role, bool first, rk_error *err)
{
    rk_record *const d = r->record;
    if (role == RK_CHAT_SYSTEM && first)
        rk_chat_put_system(&d->text, r->how->chat, d->scratch.data, d->scratch.len);
    else
        rk_chat_put_message(&d->text, r->how->chat, role, d->scratch.data, d->scratch.len);
    return close_part(r, false, err);
}

/* What a model is given ends with the opening of its answer, whose last blank it generates. */
static rk_status put_answer(reading *r, rk_error *err)
{
    rk_record *const d = r->record;
    const rk_chat_format *f = r->how->chat;
    rk_chat_put_answer(&d->text, f, RK_THINK_PLAIN);
    const rk_status st = close_part(r, false, err);
    if (st != RK_OK)
        return st;
    rk_buf_puts(&d->text, rk_ends_with(f->after, " ") ? " " : "");
    rk_chat_clean(&d->text, f, RK_CHAT_ASSISTANT, d->scratch.data, d->scratch.len);
    rk_chat_put_end(&d->text, f);
    return close_part(r, true, err);
}

/* What stands before all messages: where the first is no system text, the format's own, too. */
static void put_begin(reading *r, rk_chat_role role)
{
    const rk_chat_format *f = r->how->chat;
    if (role != RK_CHAT_SYSTEM)
        rk_chat_put_begin(&r->record->text, f, "", 0);
    else
        rk_buf_puts(&r->record->text, f->begin ? f->begin : "");
}

/* The scratch buffer's text as a message. */
static rk_status put_message(reading *r, rk_chat_role role, bool first, rk_error *err)
{
    rk_buf_add(&r->record->scratch, NULL, 0); /* so that there is a text */
    r->record->marked = r->how->chat->marked;
    if (r->record->n_parts == 0)
        put_begin(r, role);
    if (r->record->scratch.failed)
        return out_of_memory(r, err);
    return role == RK_CHAT_ASSISTANT ? put_answer(r, err) : put_question(r, role, first, err);
}

/* The blank line behind the last message separates it from a next one. Where token 0 follows that
 * is said, as in the authors' data. */
static void cut_last_end(reading *r)
{
    rk_record *const d = r->record;
    const char *end = r->how->chat->end;
    if (!r->how->ends || d->n_parts == 0 || d->parts[d->n_parts - 1].bytes < strlen(end) ||
        end[strspn(end, " \n")])
        return;
    d->parts[d->n_parts - 1].bytes -= strlen(end);
    d->text.data[d->text.len -= strlen(end)] = '\0';
}

static const struct {
    const char *name;
    rk_chat_role role;
} roles[] = {
    {"system", RK_CHAT_SYSTEM},       {"user", RK_CHAT_USER},     {"human", RK_CHAT_USER},
    {"assistant", RK_CHAT_ASSISTANT}, {"gpt", RK_CHAT_ASSISTANT}, {"tool", RK_CHAT_TOOL},
    {"function", RK_CHAT_TOOL},
};

static rk_status take_role(reading *r, rk_chat_role *role, rk_error *err)
{
    const rk_json_scan begin = r->scan;
    size_t bytes, i = 0;
    char name[KEY_MAX] = "";
    if (!rk_json_string(&r->scan, NULL, &bytes))
        return fail_scan(r, err);
    const rk_json_scan after = r->scan;
    r->scan = begin;
    if (bytes < KEY_MAX)
        rk_json_string(&r->scan, name, &bytes);
    while (i < RK_COUNT(roles) && strcmp(roles[i].name, name) != 0)
        i++;
    if (i == RK_COUNT(roles)) {
        r->scan = begin;
        r->scan.expected = "the role system, user, assistant or tool";
        return fail_scan(r, err);
    }
    r->scan = after;
    *role = roles[i].role;
    if (r->how->chat->roles[*role])
        return RK_OK;
    return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 ": chat format '%s' has no role '%s'",
                   r->line->file, r->line->number, r->how->chat->name, name);
}

/* {"role": R, "content": T}, or as ShareGPT has it, {"from": R, "value": T} */
static rk_status take_message(reading *r, bool first, rk_error *err)
{
    enum { ROLE, FROM, CONTENT, VALUE, KEYS };
    static const char *const keys[KEYS] = {"role", "from", "content", "value"};
    rk_chat_role role = RK_CHAT_ROLES;
    bool said = false;
    rk_buf_clear(&r->record->scratch);
    const rk_json_scan begin = r->scan;
    if (!rk_json_take(&r->scan, '{'))
        return fail_scan(r, err);
    do {
        int which;
        rk_status st = take_key(r, keys, KEYS, &which, err);
        if (st == RK_OK && which <= FROM && role == RK_CHAT_ROLES)
            st = take_role(r, &role, err);
        else if (st == RK_OK && which <= VALUE && which >= CONTENT && !said) {
            st = take_string(r, &r->record->scratch, err);
            said = true;
        } else if (st == RK_OK && !rk_json_skip(&r->scan, DEPTH_MAX))
            st = fail_scan(r, err);
        if (st != RK_OK)
            return st;
    } while (rk_json_peek_take(&r->scan, ','));
    if (!rk_json_take(&r->scan, '}'))
        return fail_scan(r, err);
    if (role != RK_CHAT_ROLES && said)
        return put_message(r, role, first, err);
    r->scan = begin;
    r->scan.expected = "a message with 'role' and 'content'";
    return fail_scan(r, err);
}

static rk_status needs_format(const reading *r, rk_error *err)
{
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: line %" PRId64 ": messages need a chat format; prompt and response alone "
                   "may stand as they are",
                   r->line->file, r->line->number);
}

/* Of several answers the last is what counts. */
static rk_status count_last(reading *r, rk_error *err)
{
    rk_record_part *parts = r->record->parts;
    const int64_t last = r->record->n_parts - 1;
    if (!parts[last].counts)
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: line %" PRId64 ": the last message is not the assistant's",
                       r->line->file, r->line->number);
    for (int64_t i = 0; i < last; i++)
        parts[i].counts = false;
    return RK_OK;
}

static rk_status put_messages(reading *r, rk_json_scan at, rk_error *err)
{
    if (!r->how->chat)
        return needs_format(r, err);
    r->scan = at;
    if (!rk_json_take(&r->scan, '['))
        return fail_scan(r, err);
    bool first = true;
    do {
        const rk_status st = take_message(r, first, err);
        if (st != RK_OK)
            return st;
        first = false;
    } while (rk_json_peek_take(&r->scan, ','));
    if (!rk_json_take(&r->scan, ']'))
        return fail_scan(r, err);
    cut_last_end(r);
    return r->how->last ? count_last(r, err) : RK_OK;
}

/* The strings of these members, a line feed between those that are not empty, to a buffer. */
static rk_status put_strings(reading *r, rk_buf *out, member a, member b, rk_error *err)
{
    const size_t begin = out->len;
    const member which[] = {a, b};
    for (int i = 0; i < 2; i++) {
        if (which[i] == MEMBERS || !r->at[which[i]].p)
            continue;
        const size_t before = out->len;
        if (before > begin)
            rk_buf_puts(out, "\n");
        const size_t feed = out->len;
        r->scan = r->at[which[i]];
        const rk_status st = take_string(r, out, err);
        if (st != RK_OK)
            return st;
        if (out->len == feed)
            out->data[out->len = before] = '\0';
    }
    return RK_OK;
}

/* A question and its answer, of which these members hold the texts. */
typedef struct pair {
    member prompt, response, more;
} pair;

static rk_status put_plain_pair(reading *r, const pair *p, rk_error *err)
{
    rk_status st = put_strings(r, &r->record->text, p->prompt, p->more, err);
    if (st == RK_OK)
        st = close_part(r, false, err);
    if (st == RK_OK)
        st = put_strings(r, &r->record->text, p->response, MEMBERS, err);
    return st == RK_OK ? close_part(r, true, err) : st;
}

static rk_status put_pair(reading *r, const pair *p, rk_error *err)
{
    if (!r->how->chat)
        return put_plain_pair(r, p, err);
    const struct {
        rk_chat_role role;
        member text, more;
    } said[] = {{RK_CHAT_SYSTEM, SYSTEM, MEMBERS},
                {RK_CHAT_USER, p->prompt, p->more},
                {RK_CHAT_ASSISTANT, p->response, MEMBERS}};
    for (size_t i = 0; i < RK_COUNT(said); i++) {
        if (!r->at[said[i].text].p)
            continue;
        rk_buf_clear(&r->record->scratch);
        rk_status st = put_strings(r, &r->record->scratch, said[i].text, said[i].more, err);
        if (st == RK_OK)
            st = put_message(r, said[i].role, true, err);
        if (st != RK_OK)
            return st;
    }
    cut_last_end(r);
    return RK_OK;
}

/* What the line's members make. The first that fits is meant. */
static rk_status put_document(reading *r, rk_error *err)
{
    static const pair pairs[] = {{PROMPT, RESPONSE, MEMBERS},
                                 {PROMPT, COMPLETION, MEMBERS},
                                 {QUESTION, ANSWER, MEMBERS},
                                 {INSTRUCTION, OUTPUT, INPUT},
                                 {INSTRUCTION, RESPONSE, INPUT}};
    if (r->at[TEXT].p)
        return close_part(r, true, err);
    for (int i = MESSAGES; i <= CONVERSATIONS; i++)
        if (r->at[i].p)
            return put_messages(r, r->at[i], err);
    for (size_t i = 0; i < RK_COUNT(pairs); i++)
        if (r->at[pairs[i].prompt].p && r->at[pairs[i].response].p)
            return put_pair(r, &pairs[i], err);
    return rk_fail(err, RK_ERR_FORMAT,
                   "%s: line %" PRId64 ": expected a member 'text', or 'messages', or 'prompt' and "
                   "'response'",
                   r->line->file, r->line->number);
}

rk_status rk_record_read(rk_record *d, const rk_record_line *line, const rk_record_how *how,
                         bool *blank, rk_error *err)
{
    reading r = {.record = d,
                 .line = line,
                 .how = how,
                 .scan = {.p = line->text, .end = line->text + line->bytes}};
    rk_buf_clear(&d->text);
    d->n_parts = 0;
    d->marked = false;
    *blank = false;
    if (line->bytes > LINE_BYTES_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: line %" PRId64 " is longer than %d bytes",
                       line->file, line->number, LINE_BYTES_MAX);
    *blank = rk_json_at_end(&r.scan);
    if (*blank)
        return RK_OK;
    const rk_status st = take_object(&r, err);
    return st == RK_OK ? put_document(&r, err) : st;
}

void rk_record_deinit(rk_record *d)
{
    rk_buf_deinit(&d->text);
    rk_buf_deinit(&d->scratch);
    free(d->parts);
    *d = (rk_record){0};
}
