/* json_object.c: members, strings and types of objects. */
#include "text/json_object.h"

#include <string.h>

#include "text/utf8.h"

enum { SHOWN = 40 }; /* bytes of a string that an error message shows */

rk_status rk_json_syntax(const rk_json_in *r, const rk_json_scan *s)
{
    return rk_fail(r->err, RK_ERR_FORMAT, "%s: byte %zu: expected %s", r->name,
                   (size_t)(s->p - r->begin), s->expected ? s->expected : "a value");
}

rk_status rk_json_take_char(const rk_json_in *r, rk_json_scan *s, char c)
{
    return rk_json_take(s, c) ? RK_OK : rk_json_syntax(r, s);
}

rk_status rk_json_take_string(rk_json_in *r, rk_json_scan *s)
{
    if (!rk_json_string(s, r->string, &r->n))
        return rk_json_syntax(r, s);
    r->string[r->n] = '\0';
    return RK_OK;
}

const char *rk_json_shown(rk_json_in *r)
{
    size_t n = 0;
    while (n < r->n && n < SHOWN) {
        const int length = rk_utf8_classify((const unsigned char *)r->string + n, r->n - n);
        if ((unsigned char)r->string[n] < 0x20 || r->string[n] == 0x7f)
            r->string[n] = '?';
        n += (size_t)length;
    }
    r->string[n] = '\0';
    return r->string;
}

bool rk_json_string_is(const rk_json_in *r, const char *text)
{
    return r->n == strlen(text) && memcmp(r->string, text, r->n) == 0;
}

/* ---- objects ---- */

static rk_status find_member(rk_json_in *r, rk_json_scan *s, const char *object,
                             const char *const *keys, size_t n_keys, rk_json_members *found)
{
    rk_status st = rk_json_take_string(r, s);
    if (st == RK_OK)
        st = rk_json_take_char(r, s, ':');
    for (size_t i = 0; i < n_keys && st == RK_OK; i++)
        if (rk_json_string_is(r, keys[i])) {
            if (found->at[i].p)
                return RK_JSON_REFUSE(r, RK_ERR_FORMAT, "%s: '%s' occurs twice in %s", r->name,
                                      keys[i], object);
            found->at[i] = *s;
        }
    return st != RK_OK || rk_json_skip(s, RK_JSON_DEPTH_MAX) ? st : rk_json_syntax(r, s);
}

rk_status rk_json_find_members(rk_json_in *r, rk_json_scan *s, const char *object,
                               const char *const *keys, size_t n_keys, rk_json_members *found)
{
    *found = (rk_json_members){0};
    rk_status st = rk_json_take_char(r, s, '{');
    if (st != RK_OK || rk_json_peek_take(s, '}'))
        return st;
    do
        st = find_member(r, s, object, keys, n_keys, found);
    while (st == RK_OK && rk_json_peek_take(s, ','));
    return st == RK_OK ? rk_json_take_char(r, s, '}') : st;
}

static rk_json_scan after_blanks(rk_json_scan s)
{
    while (s.p < s.end && (*s.p == ' ' || *s.p == '\t' || *s.p == '\n' || *s.p == '\r'))
        s.p++;
    return s;
}

bool rk_json_value_is(rk_json_scan s, const char *word)
{
    const size_t n = strlen(word);
    s = after_blanks(s);
    return (size_t)(s.end - s.p) >= n && memcmp(s.p, word, n) == 0;
}

bool rk_json_begins(rk_json_scan s, char c)
{
    s = after_blanks(s);
    return s.p < s.end && *s.p == (unsigned char)c;
}

rk_status rk_json_take_type(rk_json_in *r, rk_json_scan s, const char *object, const char *want)
{
    static const char *const keys[] = {"type"};
    rk_json_members m;
    const rk_status st = rk_json_find_members(r, &s, object, keys, 1, &m);
    if (st == RK_OK && !m.at[0].p)
        return RK_JSON_REFUSE(r, RK_ERR_FORMAT, "%s: no type in %s, expected %s", r->name, object,
                              want);
    return st == RK_OK ? rk_json_take_string(r, &m.at[0]) : st;
}

rk_status rk_json_expect_type(rk_json_in *r, rk_json_scan s, const char *object, const char *want)
{
    const rk_status st = rk_json_take_type(r, s, object, want);
    return st != RK_OK || rk_json_string_is(r, want)
               ? st
               : RK_JSON_REFUSE(r, RK_ERR_UNSUPPORTED, "%s: %s is '%s', expected %s", r->name,
                                object, rk_json_shown(r), want);
}

rk_status rk_json_expect_fixed(rk_json_in *r, rk_json_scan s, const char *object,
                               const rk_json_fixed *rows, size_t n_rows)
{
    const char *keys[RK_JSON_MEMBERS_MAX] = {0};
    rk_json_members m;
    for (size_t i = 0; i < n_rows; i++)
        keys[i] = rows[i].key;
    const rk_status st = rk_json_find_members(r, &s, object, keys, n_rows, &m);
    for (size_t i = 0; i < n_rows && st == RK_OK; i++)
        if (m.at[i].p && !rk_json_value_is(m.at[i], rows[i].value) &&
            !rk_json_value_is(m.at[i], rows[i].other))
            return RK_JSON_REFUSE(r, RK_ERR_UNSUPPORTED,
                                  "%s: %s has a %s that is not read, expected %s", r->name, object,
                                  rows[i].key, rows[i].value);
    return st;
}

rk_status rk_json_each(rk_json_in *r, rk_json_scan *s,
                       rk_status (*element)(void *user, rk_json_scan *s), void *user)
{
    rk_status st = rk_json_take_char(r, s, '[');
    if (st != RK_OK || rk_json_peek_take(s, ']'))
        return st;
    do
        st = element(user, s);
    while (st == RK_OK && rk_json_peek_take(s, ','));
    return st == RK_OK ? rk_json_take_char(r, s, ']') : st;
}
