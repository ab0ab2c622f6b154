/* nfc.c: normal form C, by the tables of utf8proc.
 *
 * Most text is in normal form already, and most characters neither change nor join what stands
 * before them: these are settled. What lies between two settled characters, with the first of them,
 * is decomposed, put in order and composed. utf8proc_map is not used for that: it orders marks in
 * quadratic time, and a text may consist of marks. */
#include "text/nfc.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/utf8.h"

#define OPTIONS ((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE))

enum {
    CODES_OF_ONE = 8, /* more than any character decomposes into */
    SHORT_RUN = 64,   /* codes of a run that needs no memory */
};

/* A run of code points being put into normal form; the second half of the room is for sorting. */
typedef struct run {
    utf8proc_int32_t *codes;
    size_t n;
} run;

static size_t decompose(utf8proc_int32_t c, utf8proc_int32_t *codes)
{
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(c, codes, CODES_OF_ONE, OPTIONS, &boundary);
    return n > 0 && n <= CODES_OF_ONE ? (size_t)n : 0;
}

/* Its own normal form, where it decomposes. */
static bool composes_to_itself(utf8proc_int32_t c)
{
    utf8proc_int32_t codes[CODES_OF_ONE];
    const size_t n = decompose(c, codes);
    return utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)n, OPTIONS) == 1 && codes[0] == c;
}

/* Marks may join or reorder; so may the vowels and finals of Hangul and of Kirat Rai, which are
 * letters. */
static bool is_settled(utf8proc_int32_t c)
{
    const utf8proc_property_t *p = utf8proc_get_property(c);
    if ((p->category >= UTF8PROC_CATEGORY_MN && p->category <= UTF8PROC_CATEGORY_ME) ||
        p->combining_class != 0 || (c >= 0x1160 && c < 0x1200) || (c >= 0x16d40 && c < 0x16d80))
        return false;
    return p->decomp_seqindex == UINT16_MAX || p->decomp_type != 0 || composes_to_itself(c);
}

/* Bytes of the settled character at p; 0 when there is none. */
static size_t settled_at(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    const int length = rk_utf8_classify(p, n);
    return length > 0 && is_settled((utf8proc_int32_t)rk_utf8_decode(p, length)) ? (size_t)length
                                                                                 : 0;
}

/* The whole front is settled only where no mark follows that changes its last character. */
size_t rk_nfc_settled(const unsigned char *text, size_t n)
{
    size_t at = 0, last = 0, bytes;
    while (at < n && (bytes = settled_at(text + at, n - at)) > 0) {
        last = at;
        at += bytes;
    }
    return at < n ? last : n;
}

/* Sort a stretch of marks by class; those of one class stay as they stand. */
static void order_marks(utf8proc_int32_t *codes, utf8proc_int32_t *room, size_t n)
{
    size_t at[257] = {0}; /* first the count of each class, one further up; then its next place */
    for (size_t i = 0; i < n; i++)
        at[utf8proc_get_property(codes[i])->combining_class + 1]++;
    for (int class = 1; class < 257; class ++)
        at[class] += at[class - 1];
    for (size_t i = 0; i < n; i++)
        room[at[utf8proc_get_property(codes[i])->combining_class]++] = codes[i];
    memcpy(codes, room, n * sizeof *codes);
}

/* The stretches lie between code points of class 0. */
static void order(run *r)
{
    size_t begin = 0;
    for (size_t i = 0; i <= r->n; i++)
        if (i == r->n || utf8proc_get_property(r->codes[i])->combining_class == 0) {
            if (i - begin > 1)
                order_marks(r->codes + begin, r->codes + r->n, i - begin);
            begin = i + 1;
        }
}

static void add_codes(rk_buf *out, const utf8proc_int32_t *codes, utf8proc_ssize_t n)
{
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        unsigned char bytes[RK_UTF8_MAX];
        rk_buf_add(out, bytes, rk_utf8_encode((uint32_t)codes[i], bytes));
    }
}

/* n bytes of whole characters. */
static void add_run(rk_buf *out, const unsigned char *text, size_t n)
{
    utf8proc_int32_t few[2 * SHORT_RUN];
    run r = {few, 0};
    size_t n_codes = 0;
    for (size_t i = 0; i < n; i++)
        n_codes += (text[i] & 0xc0) != 0x80;
    n_codes *= CODES_OF_ONE;
    if (n_codes > SHORT_RUN)
        r.codes = malloc(2 * n_codes * sizeof *r.codes);
    if (!r.codes) {
        out->failed = true;
        return;
    }
    for (size_t at = 0; at < n;) {
        const int length = rk_utf8_classify(text + at, n - at);
        r.n += decompose((utf8proc_int32_t)rk_utf8_decode(text + at, length), r.codes + r.n);
        at += (size_t)length;
    }
    order(&r);
    add_codes(out, r.codes, utf8proc_normalize_utf32(r.codes, (utf8proc_ssize_t)r.n, OPTIONS));
    if (r.codes != few)
        free(r.codes);
}

/* Bytes of the character at p and of those behind it that are not settled. */
static size_t run_bytes(const unsigned char *p, size_t n)
{
    size_t at = (size_t)rk_utf8_classify(p, n);
    while (at < n) {
        const int length = rk_utf8_classify(p + at, n - at);
        if (length <= 0 || settled_at(p + at, n - at))
            break;
        at += (size_t)length;
    }
    return at;
}

void rk_nfc_add(rk_buf *out, const unsigned char *text, size_t n)
{
    for (size_t at = 0; at < n;) {
        const size_t settled = rk_nfc_settled(text + at, n - at);
        rk_buf_add(out, text + at, settled);
        at += settled;
        if (at == n)
            return;
        if (rk_utf8_classify(text + at, n - at) > 0) {
            const size_t bytes = run_bytes(text + at, n - at);
            add_run(out, text + at, bytes);
            at += bytes;
        } else {
            rk_buf_puts(out, "\xef\xbf\xbd");
            at += rk_utf8_broken(text + at, n - at);
        }
    }
}
