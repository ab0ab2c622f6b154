/* options.c: parsing by table. Each word is split into an option and perhaps a value attached to
 * it; the row then says whether it needs one and what is a good one. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/suggest.h"

static const rk_option *find_name(rk_option_table t, const char *name, size_t n)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.rows[i].name && strlen(t.rows[i].name) == n && !strncmp(t.rows[i].name, name, n))
            return t.rows + i;
    return NULL;
}

static const rk_option *find_letter(rk_option_table t, char letter)
{
    for (size_t i = 0; letter && i < t.n; i++)
        if (t.rows[i].letter == letter)
            return t.rows + i;
    return NULL;
}

/* The row of a word such as --times=3, --times, -n3 or -n; *value is what is attached to it or
 * NULL. A flag has no letter form with text behind it, so -vq is unknown and not a value of -v. */
static const rk_option *find_word(rk_option_table t, const char *word, const char **value)
{
    *value = NULL;
    if (word[0] == '-' && word[1] == '-') {
        const size_t n = strcspn(word + 2, "=");
        if (word[2 + n] == '=')
            *value = word + 2 + n + 1;
        return find_name(t, word + 2, n);
    }
    if (word[0] != '-' || !word[1])
        return NULL;
    const rk_option *o = find_letter(t, word[1]);
    if (word[2])
        *value = word + 2;
    return o && o->type == RK_OPT_FLAG && *value ? NULL : o;
}

/* "0 to 1", or "above 0, at most 100". */
static void describe_range(const rk_option *o, char text[80])
{
    snprintf(text, 80, o->type == RK_OPT_ABOVE ? "above %.13g, at most %.13g" : "%.13g to %.13g",
             o->min, o->max);
}

static bool in_range(const rk_option *o, double x)
{
    return o->min == o->max ||
           (x <= o->max && (o->type == RK_OPT_ABOVE ? x > o->min : x >= o->min));
}

static rk_status check_range(const rk_option *o, double x, const char *text, rk_error *err)
{
    char range[80];
    if (in_range(o, x))
        return RK_OK;
    describe_range(o, range);
    return rk_fail(err, RK_ERR_ARG, "--%s: %s is outside %s", o->name, text, range);
}

static rk_status put_int(const rk_option *o, const char *text, int64_t *out, rk_error *err)
{
    char *end = NULL;
    errno = 0;
    const intmax_t x = strtoimax(text, &end, 10);
    if (!*text || isspace((unsigned char)*text) || *end)
        return rk_fail(err, RK_ERR_ARG, "--%s: '%s' is not a whole number", o->name, text);
    if (errno == ERANGE || x > INT64_MAX || x < INT64_MIN)
        return rk_fail(err, RK_ERR_ARG, "--%s: %s does not fit 64 bits", o->name, text);
    const rk_status st = check_range(o, (double)x, text, err);
    if (st == RK_OK)
        *out = (int64_t)x;
    return st;
}

static rk_status put_number(const rk_option *o, const char *text, double *out, rk_error *err)
{
    char *end = NULL;
    const double x = strtod(text, &end);
    if (!*text || isspace((unsigned char)*text) || *end || !isfinite(x))
        return rk_fail(err, RK_ERR_ARG, "--%s: '%s' is not a number", o->name, text);
    const rk_status st = check_range(o, x, text, err);
    if (st == RK_OK)
        *out = x;
    return st;
}

static rk_status put_choice(const rk_option *o, const char *text, int *out, rk_error *err)
{
    int i = 0;
    for (const char *p = o->arg;; i++) {
        const size_t n = strcspn(p, "|");
        if (strlen(text) == n && !strncasecmp(p, text, n)) {
            *out = i;
            return RK_OK;
        }
        if (!p[n])
            return rk_fail(err, RK_ERR_ARG, "--%s: '%s' is none of %s", o->name, text, o->arg);
        p += n + 1;
    }
}

static rk_status put_item(const rk_option *o, const char *text, rk_opt_list *out, rk_error *err)
{
    if (out->n == RK_OPT_LIST_MAX)
        return rk_fail(err, RK_ERR_ARG, "--%s: given more than %d times", o->name, RK_OPT_LIST_MAX);
    out->at[out->n++] = text;
    return RK_OK;
}

static rk_status put_word(const char *text, rk_opt_words *out, rk_error *err)
{
    if (out->n == out->max) {
        const int max = out->max ? 2 * out->max : 16;
        const char **at = realloc(out->at, (size_t)max * sizeof *at);
        if (!at)
            return rk_fail(err, RK_ERR_NOMEM, "out of memory for %d words", max);
        out->at = at;
        out->max = max;
    }
    out->at[out->n++] = text;
    return RK_OK;
}

static rk_status read_named(const rk_option *o, const char *text, double *x, rk_error *err)
{
    int64_t n = 0;
    int choice = 0;
    if (o->type == RK_OPT_NAMED)
        return put_number(o, text, x, err);
    const rk_status st =
        o->type == RK_OPT_NAMED_INT ? put_int(o, text, &n, err) : put_choice(o, text, &choice, err);
    *x = o->type == RK_OPT_NAMED_INT ? (double)n : choice;
    return st;
}

/* The last value of a name counts. */
static rk_status put_named(const rk_option *o, const char *text, rk_opt_named *out, rk_error *err)
{
    double x = 0;
    int i = 0;
    const rk_status st = read_named(o, text, &x, err);
    while (i < out->n && strcmp(out->at[i].name, o->name) != 0)
        i++;
    if (st != RK_OK || i == RK_OPT_NAMED_MAX)
        return st != RK_OK ? st : rk_fail(err, RK_ERR_ARG, "--%s: one too many", o->name);
    out->at[i].name = o->name;
    out->at[i].value = x;
    out->n += i == out->n;
    return RK_OK;
}

static rk_status put(const rk_option *o, const char *text, void *into, rk_error *err)
{
    void *at = (char *)into + o->offset;
    switch (o->type) {
    case RK_OPT_FLAG:
        *(bool *)at = true;
        return RK_OK;
    case RK_OPT_INT:
        return put_int(o, text, at, err);
    case RK_OPT_NUMBER:
    case RK_OPT_ABOVE:
        return put_number(o, text, at, err);
    case RK_OPT_TEXT:
    case RK_OPT_OPERAND:
        *(const char **)at = text;
        return RK_OK;
    case RK_OPT_LIST:
        return put_item(o, text, at, err);
    case RK_OPT_WORDS:
        return put_word(text, at, err);
    case RK_OPT_NAMED:
    case RK_OPT_NAMED_INT:
    case RK_OPT_NAMED_CHOICE:
        return put_named(o, text, at, err);
    case RK_OPT_CHOICE:
        return put_choice(o, text, at, err);
    case RK_OPT_HEADING:
    case RK_OPT_MORE:
        break;
    }
    return rk_fail(err, RK_ERR_ARG, "a heading is no option");
}

bool rk_option_has_choices(const rk_option *o)
{
    return o->type == RK_OPT_CHOICE || o->type == RK_OPT_NAMED_CHOICE;
}

bool rk_option_is_word(const rk_option *o)
{
    return o->type == RK_OPT_OPERAND || o->type == RK_OPT_WORDS;
}

/* Has a row of type TEXT, OPERAND or WORDS got something? */
static bool is_given(const rk_option *o, const void *into)
{
    const void *at = (const char *)into + o->offset;
    return o->type == RK_OPT_WORDS ? ((const rk_opt_words *)at)->n > 0
                                   : *(const char *const *)at != NULL;
}

/* The first operand that has no word yet, or takes any number. */
static const rk_option *next_operand(rk_option_table t, const void *into)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.rows[i].type == RK_OPT_WORDS ||
            (t.rows[i].type == RK_OPT_OPERAND && !is_given(&t.rows[i], into)))
            return t.rows + i;
    return NULL;
}

static rk_status check_required(rk_option_table t, const void *into, rk_error *err)
{
    for (size_t i = 0; i < t.n; i++) {
        const rk_option *o = &t.rows[i];
        const bool word = rk_option_is_word(o);
        if ((!word && o->type != RK_OPT_TEXT) || !o->shown || strcmp(o->shown, RK_REQUIRED) != 0 ||
            is_given(o, into))
            continue;
        if (word)
            return rk_fail(err, RK_ERR_ARG, "%s is missing", o->arg);
        return rk_fail(err, RK_ERR_ARG, "--%s %s is missing", o->name, o->arg);
    }
    return RK_OK;
}

/* Says so, and which name comes near. */
static rk_status fail_unknown(rk_option_table t, const char *word, rk_error *err)
{
    char name[64];
    if (word[0] != '-')
        return rk_fail(err, RK_ERR_ARG, "unknown argument '%s'", word);
    const char *typed = word + strspn(word, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
    rk_suggestion s = {.word = name};
    for (size_t i = 0; i < t.n; i++)
        if (t.rows[i].name)
            rk_suggest(&s, t.rows[i].name);
    return rk_fail(err, RK_ERR_ARG, "unknown option '%s'%s%s%s", word,
                   s.name ? " (did you mean --" : "", s.name ? s.name : "", s.name ? "?)" : "");
}

rk_status rk_options_parse(rk_option_table t, int argc, char *const *argv, void *into, bool *help,
                           rk_error *err)
{
    *help = false;
    for (int i = 0; i < argc; i++) {
        const char *value = NULL;
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
            *help = true;
            return RK_OK;
        }
        const rk_option *o = find_word(t, argv[i], &value);
        if (!o && argv[i][0] != '-' && argv[i][0]) {
            o = next_operand(t, into);
            value = argv[i];
        }
        if (!o)
            return fail_unknown(t, argv[i], err);
        if (o->type == RK_OPT_FLAG && value)
            return rk_fail(err, RK_ERR_ARG, "--%s takes no value, '%s' was given", o->name, value);
        if (o->type != RK_OPT_FLAG && !value) {
            if (++i == argc)
                return rk_fail(err, RK_ERR_ARG, "--%s needs a value: --%s %s", o->name, o->name,
                               o->arg);
            value = argv[i];
        }
        const rk_status st = put(o, value, into, err);
        if (st != RK_OK)
            return st;
    }
    return check_required(t, into, err);
}

void rk_option_facts(const rk_option *o, rk_buf *out)
{
    const bool required = o->shown && !strcmp(o->shown, RK_REQUIRED);
    const bool ranged = o->min != o->max && !rk_option_has_choices(o);
    char range[80];
    if (!o->shown && !ranged)
        return;
    rk_buf_puts(out, " (");
    if (o->shown)
        rk_buf_printf(out, "%s%s", required ? "" : "default ", o->shown);
    describe_range(o, range);
    if (ranged)
        rk_buf_printf(out, "%s%s", o->shown ? "; " : "", range);
    rk_buf_puts(out, ")");
}

void rk_options_help(rk_option_table t, rk_buf *out)
{
    enum { COLUMN = 30 };
    for (size_t i = 0; i < t.n; i++) {
        const rk_option *o = &t.rows[i];
        if (o->type == RK_OPT_HEADING) {
            rk_buf_printf(out, "\n%s:\n", o->help);
            continue;
        }
        const size_t begin = out->len;
        if (rk_option_is_word(o))
            rk_buf_printf(out, "  %s", o->arg);
        else if (o->letter)
            rk_buf_printf(out, "  -%c, --%s %s", o->letter, o->name, o->arg ? o->arg : "");
        else
            rk_buf_printf(out, "      --%s %s", o->name, o->arg ? o->arg : "");
        const size_t width = out->len - begin;
        if (width >= COLUMN) /* no room beside it */
            rk_buf_printf(out, "\n%*s", COLUMN, "");
        else
            rk_buf_printf(out, "%*s", (int)(COLUMN - width), "");
        rk_buf_printf(out, " %s", o->help);
        rk_option_facts(o, out);
        rk_buf_puts(out, "\n");
    }
    rk_buf_printf(out, "%-*s show this page\n", COLUMN, "  -h, --help");
}
