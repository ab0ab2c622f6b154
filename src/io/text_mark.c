/* text_mark.c: byte order marks, U+FEFF in front of a text. Windows programs write them. */
#include "io/text_mark.h"

#include <string.h>

#include "base/num.h"

typedef struct mark {
    const char *bytes;
    size_t n;
    const char *encoding; /* NULL: UTF-8 */
} mark;

/* UTF-32 before UTF-16, whose mark it begins with. */
static const mark marks[] = {
    {"\xef\xbb\xbf", 3, NULL},   {"\xff\xfe\0\0", 4, "UTF-32LE"}, {"\0\0\xfe\xff", 4, "UTF-32BE"},
    {"\xff\xfe", 2, "UTF-16LE"}, {"\xfe\xff", 2, "UTF-16BE"},
};

rk_status rk_text_begin(const void *data, size_t n, const char *name, size_t *mark_bytes,
                        rk_error *err)
{
    *mark_bytes = 0;
    for (size_t i = 0; i < RK_COUNT(marks); i++) {
        const mark *m = &marks[i];
        if (n < m->n || memcmp(data, m->bytes, m->n) != 0)
            continue;
        if (m->encoding)
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "%s: a text in %s, expected UTF-8; iconv -f %s -t UTF-8 makes it so",
                           name, m->encoding, m->encoding);
        *mark_bytes = m->n;
        return RK_OK;
    }
    return RK_OK;
}
