/* adapter_config.c: reads the members that say how the tensors are to be computed with. Which modules an
 * adapter is for follows from its tensors, so target_modules and its kin are not looked at. Members that
 * are not known are passed over, as peft does, but for those that change the result. */
#include "tune/adapter_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "io/json_scan.h"
#include "io/map.h"
#include "io/text_mark.h"

enum { CONFIG_BYTES_MAX = 1 << 20, DEPTH_MAX = 64, PATTERNS_MAX = 4096 };

typedef enum member_type {
    MEMBER_TEXT, /* a string or null */
    MEMBER_WORD, /* a string, true or false */
    MEMBER_NUMBER,
    MEMBER_FLAG,
    MEMBER_PATTERNS,
    MEMBER_NONE, /* must be null, false or empty */
} member_type;

static const struct {
    const char *key;
    member_type type;
    size_t offset;
} members[] = {
    {"peft_type", MEMBER_TEXT, offsetof(rk_adapter_config, peft_type)},
    {"init_lora_weights", MEMBER_WORD, offsetof(rk_adapter_config, init)},
    {"init_weights", MEMBER_WORD, offsetof(rk_adapter_config, init)},
    {"bias", MEMBER_TEXT, offsetof(rk_adapter_config, bias)},
    {"base_model_name_or_path", MEMBER_TEXT, offsetof(rk_adapter_config, base)},
    {"r", MEMBER_NUMBER, offsetof(rk_adapter_config, r)},
    {"lora_alpha", MEMBER_NUMBER, offsetof(rk_adapter_config, alpha)},
    {"mini_r", MEMBER_NUMBER, offsetof(rk_adapter_config, mini_r)},
    {"use_rslora", MEMBER_FLAG, offsetof(rk_adapter_config, rslora)},
    {"use_dora", MEMBER_FLAG, offsetof(rk_adapter_config, dora)},
    {"fan_in_fan_out", MEMBER_FLAG, offsetof(rk_adapter_config, fan_in_fan_out)},
    {"rank_pattern", MEMBER_PATTERNS, offsetof(rk_adapter_config, rank_pattern)},
    {"alpha_pattern", MEMBER_PATTERNS, offsetof(rk_adapter_config, alpha_pattern)},
    {"alora_invocation_tokens", MEMBER_NONE, 0},
    {"layer_replication", MEMBER_NONE, 0},
    {"lora_bias", MEMBER_NONE, 0},
    {"target_parameters", MEMBER_NONE, 0},
    {"trainable_token_indices", MEMBER_NONE, 0},
    {"use_qalora", MEMBER_NONE, 0},
};

typedef struct reading {
    rk_json_scan scan;
    rk_adapter_config *c;
    size_t used;         /* of c->text, which has room for the whole file */
    const char *unknown; /* a member whose value is not known here */
} reading;

/* ---- values ---- */

/* A string with a NUL behind it; none may be in it. */
static bool take_text(reading *r, const char **out)
{
    char *to = r->c->text + r->used;
    size_t n = 0;
    if (!rk_json_string(&r->scan, to, &n))
        return false;
    if (memchr(to, '\0', n)) {
        r->scan.expected = "text without NUL";
        return false;
    }
    to[n] = '\0';
    r->used += n + 1;
    *out = to;
    return true;
}

static bool take_word(reading *r, const char **out)
{
    bool flag = false;
    if (rk_json_peek_bool(&r->scan, &flag)) {
        *out = flag ? "true" : "false";
        return true;
    }
    return take_text(r, out);
}

static bool take_flag(reading *r, bool *out)
{
    if (rk_json_peek_bool(&r->scan, out))
        return true;
    r->scan.expected = "true or false";
    return false;
}

/* {"pattern": number, ...} */
static bool take_patterns(reading *r, rk_adapter_patterns *p)
{
    if (!rk_json_take(&r->scan, '{'))
        return false;
    if (rk_json_peek_take(&r->scan, '}'))
        return true;
    do {
        rk_adapter_pattern *more =
            p->n < PATTERNS_MAX ? realloc(p->at, (size_t)(p->n + 1) * sizeof *more) : NULL;
        if (!more) {
            r->scan.expected = "fewer patterns";
            return false;
        }
        p->at = more;
        if (!take_text(r, &more[p->n].pattern) || !rk_json_take(&r->scan, ':') ||
            !rk_json_number(&r->scan, &more[p->n].value))
            return false;
        p->n++;
    } while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, '}');
}

static bool take_none(reading *r, const char *key)
{
    bool flag = false;
    if (rk_json_peek_bool(&r->scan, &flag)) {
        r->unknown = flag ? key : r->unknown;
        return true;
    }
    rk_json_scan empty = r->scan;
    if ((rk_json_peek_take(&empty, '[') && rk_json_peek_take(&empty, ']')) ||
        (rk_json_peek_take(&empty, '{') && rk_json_peek_take(&empty, '}'))) {
        r->scan.p = empty.p;
        return true;
    }
    r->unknown = key;
    return rk_json_skip(&r->scan, DEPTH_MAX);
}

/* The row of a key; -1: it is not looked at. */
static int row_of(const char *key)
{
    for (size_t i = 0; i < RK_COUNT(members); i++)
        if (!strcmp(members[i].key, key))
            return (int)i;
    return -1;
}

static bool take_value(reading *r, int row)
{
    if (row < 0)
        return rk_json_skip(&r->scan, DEPTH_MAX);
    void *to = (char *)r->c + members[row].offset;
    if (rk_json_peek_null(&r->scan))
        return true;
    switch (members[row].type) {
    case MEMBER_TEXT:
        return take_text(r, to);
    case MEMBER_WORD:
        return take_word(r, to);
    case MEMBER_NUMBER:
        return rk_json_number(&r->scan, to);
    case MEMBER_FLAG:
        return take_flag(r, to);
    case MEMBER_PATTERNS:
        return take_patterns(r, to);
    case MEMBER_NONE:
        return take_none(r, members[row].key);
    }
    return false;
}

static bool take_object(reading *r)
{
    const char *key = NULL;
    if (!rk_json_take(&r->scan, '{'))
        return false;
    if (rk_json_peek_take(&r->scan, '}'))
        return rk_json_at_end(&r->scan);
    do {
        const size_t used = r->used;
        if (!take_text(r, &key) || !rk_json_take(&r->scan, ':'))
            return false;
        const int row = row_of(key);
        r->used = used; /* only values are kept */
        if (!take_value(r, row))
            return false;
    } while (rk_json_peek_take(&r->scan, ','));
    return rk_json_take(&r->scan, '}') && rk_json_at_end(&r->scan);
}

/* ---- files ---- */

/* What may not be otherwise, whatever the method. */
static rk_status check(const reading *r, const char *name, rk_error *err)
{
    const rk_adapter_config *c = r->c;
    if (r->unknown)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: '%s' is set, which is not computed here", name,
                       r->unknown);
    if (!c->peft_type)
        return rk_fail(err, RK_ERR_FORMAT, "%s: no peft_type, expected LORA, MISS or BONE", name);
    if (c->fan_in_fan_out)
        return rk_fail(err, RK_ERR_UNSUPPORTED,
                       "%s: fan_in_fan_out is true, but no matrix of these models lies that way",
                       name);
    if (c->bias && strcmp(c->bias, "none") != 0)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: bias is '%.32s', expected none", name,
                       c->bias);
    return RK_OK;
}

rk_status rk_adapter_config_read(rk_adapter_config *c, const void *data, size_t bytes,
                                 const char *name, rk_error *err)
{
    const unsigned char *p = data;
    size_t mark = 0;
    *c = (rk_adapter_config){.r = (double)NAN, .alpha = (double)NAN, .mini_r = (double)NAN};
    rk_status st = rk_text_begin(p, bytes, name, &mark, err);
    if (st != RK_OK)
        return st;
    if (bytes > CONFIG_BYTES_MAX)
        return rk_fail(err, RK_ERR_FORMAT, "%s: a configuration of %zu bytes, expected at most %d",
                       name, bytes, CONFIG_BYTES_MAX);
    c->text = malloc(bytes + 1);
    if (!c->text)
        return rk_fail(err, RK_ERR_NOMEM, "%s: out of memory", name);
    reading r = {.scan = {p + mark, p + bytes, NULL}, .c = c};
    if (!take_object(&r))
        st = rk_fail(err, RK_ERR_FORMAT, "%s: byte %zu: expected %s", name, (size_t)(r.scan.p - p),
                     r.scan.expected);
    else
        st = check(&r, name, err);
    if (st != RK_OK)
        rk_adapter_config_deinit(c);
    return st;
}

rk_status rk_adapter_config_open(rk_adapter_config *c, const char *path, rk_error *err)
{
    rk_map map;
    rk_status st = rk_map_open(&map, path, err);
    *c = (rk_adapter_config){0};
    if (st != RK_OK)
        return st;
    st = rk_adapter_config_read(c, map.data, map.size, path, err);
    if (st == RK_OK)
        st = rk_map_check(&map, err);
    rk_map_close(&map);
    return st;
}

void rk_adapter_config_deinit(rk_adapter_config *c)
{
    free(c->rank_pattern.at);
    free(c->alpha_pattern.at);
    free(c->text);
    *c = (rk_adapter_config){0};
}

/* ---- patterns ---- */

/* One element of a pattern. */
typedef struct atom {
    char c;     /* 0: any character */
    bool many;  /* ".*" */
    size_t len; /* of the pattern */
} atom;

/* len 0: it is something else. */
static atom next_atom(const char *p)
{
    if (p[0] == '.')
        return p[1] == '*' ? (atom){0, true, 2} : (atom){0, false, 1};
    if (p[0] == '\\')
        return strchr(".\\_-", p[1]) && p[1] ? (atom){p[1], false, 2} : (atom){0};
    return strchr("*+?[](){}|^$", p[0]) || strchr("*+?{", p[1] ? p[1] : 'x')
               ? (atom){0}
               : (atom){p[0], false, 1};
}

static bool is_plain(const char *p)
{
    for (p += *p == '^'; *p;) {
        const atom a = next_atom(p);
        if (a.len == 0)
            return false;
        p += a.len;
    }
    return true;
}

/* Does the whole of s fit? A run of any characters is given up only for the one after it, so that the
 * time is at most the product of the lengths. */
static bool fits(const char *p, const char *s)
{
    const char *again = NULL, *from = NULL;
    for (;;) {
        const atom a = *p ? next_atom(p) : (atom){0};
        if (*p && a.many) {
            again = p += a.len;
            from = s;
        } else if (*p && *s && (a.c == 0 || a.c == *s)) {
            p += a.len;
            s++;
        } else if (!*p && !*s) {
            return true;
        } else if (again && *from) {
            p = again;
            s = ++from;
        } else {
            return false;
        }
    }
}

/* As peft has it: the name, or what stands behind one of its dots. */
static bool fits_module(const char *pattern, const char *module)
{
    const bool whole = *pattern == '^';
    for (const char *s = module; s; s = strchr(s, '.') ? strchr(s, '.') + 1 : NULL)
        if (fits(pattern + whole, s) || whole)
            return fits(pattern + whole, s);
    return false;
}

rk_status rk_adapter_pattern_value(const rk_adapter_patterns *p, const char *module,
                                   double otherwise, const char *file, double *out, rk_error *err)
{
    *out = otherwise;
    for (int64_t i = 0; i < p->n; i++) {
        if (!is_plain(p->at[i].pattern))
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "%s: the pattern '%.80s' is a regular expression that is not read here",
                           file, p->at[i].pattern);
        if (fits_module(p->at[i].pattern, module)) {
            *out = p->at[i].value;
            return RK_OK;
        }
    }
    return RK_OK;
}
