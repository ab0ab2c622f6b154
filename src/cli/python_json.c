/* python_json.c: what chat templates of Python make of a value: members in their order, numbers with the
 * fewest digits. */
#include "cli/python_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"

enum { ONE_LINE = -1 }; /* in place of a depth */

static void put_value(rk_buf *out, json_t *v, int depth);

static void put_string(rk_buf *out, const char *s, size_t n)
{
    static const char escaped[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    rk_buf_puts(out, "\"");
    for (size_t i = 0; i < n; i++) {
        const char *e = s[i] ? strchr(escaped, s[i]) : NULL;
        if (e)
            rk_buf_printf(out, "\\%c", letters[e - escaped]);
        else if ((unsigned char)s[i] < ' ')
            rk_buf_printf(out, "\\u%04x", (unsigned)(unsigned char)s[i]);
        else
            rk_buf_add(out, &s[i], 1);
    }
    rk_buf_puts(out, "\"");
}

/* The fewest digits that are read back as x, without an exponent from 1e-4 to 1e16. */
static void put_real(rk_buf *out, double x)
{
    char text[40];
    int digits = 0;
    do
        snprintf(text, sizeof text, "%.*e", digits++, x);
    while (digits < 17 && strtod(text, NULL) != x);
    const int exponent = atoi(strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16)
        snprintf(text, sizeof text, "%.*f", (int)rk_max_i64(digits - 1 - exponent, 1), x);
    rk_buf_puts(out, text);
}

static void put_line(rk_buf *out, int depth)
{
    if (depth != ONE_LINE)
        rk_buf_printf(out, "\n%*s", 2 * depth, "");
}

static int below(int depth)
{
    return depth == ONE_LINE ? ONE_LINE : depth + 1;
}

/* Between two members, or in front of the first one. */
static void put_between(rk_buf *out, bool first, const char *open, int depth)
{
    rk_buf_puts(out, first ? open : depth == ONE_LINE ? ", " : ",");
    put_line(out, below(depth));
}

static void put_object(rk_buf *out, json_t *v, int depth)
{
    const char *key;
    json_t *member;
    bool first = true;
    json_object_foreach((json_t *)v, key, member)
    {
        put_between(out, first, "{", depth);
        put_string(out, key, strlen(key));
        rk_buf_puts(out, ": ");
        put_value(out, member, below(depth));
        first = false;
    }
    if (first)
        rk_buf_puts(out, "{");
    else
        put_line(out, depth);
    rk_buf_puts(out, "}");
}

static void put_array(rk_buf *out, const json_t *v, int depth)
{
    const size_t n = json_array_size(v);
    for (size_t i = 0; i < n; i++) {
        put_between(out, i == 0, "[", depth);
        put_value(out, json_array_get(v, i), below(depth));
    }
    if (n == 0)
        rk_buf_puts(out, "[");
    else
        put_line(out, depth);
    rk_buf_puts(out, "]");
}

static void put_value(rk_buf *out, json_t *v, int depth)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        put_object(out, v, depth);
        break;
    case JSON_ARRAY:
        put_array(out, v, depth);
        break;
    case JSON_STRING:
        put_string(out, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        rk_buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        put_real(out, json_real_value(v));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        rk_buf_puts(out, json_is_true(v) ? "true" : "false");
        break;
    case JSON_NULL:
        rk_buf_puts(out, "null");
        break;
    }
}

void rk_python_json(rk_buf *out, json_t *v, bool lines)
{
    put_value(out, v, lines ? 0 : ONE_LINE);
}
