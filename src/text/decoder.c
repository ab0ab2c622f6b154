/* decoder.c: tokens to text that is always whole UTF-8 characters.
 *
 * A token may end inside a character, whose beginning is then kept until the next tokens complete
 * it. The longest token bounds what one push can yield, so the buffer is allocated once. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/utf8.h"

struct rk_decoder {
    const rk_tokenizer *tokenizer;
    rk_utf8_stream stream;
    char text[]; /* 3 bytes for each of a token's and one before, and the NUL */
};

rk_status rk_decoder_new(rk_decoder **out, const rk_tokenizer *t, rk_error *err)
{
    rk_decoder *d = calloc(1, sizeof *d + 3 * (rk_tokenizer_token_max(t) + 1) + 1);
    if (!d)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a decoder");
    d->tokenizer = t;
    *out = d;
    return RK_OK;
}

void rk_decoder_free(rk_decoder *d)
{
    free(d);
}

static const char *finish(rk_decoder *d, size_t length, size_t *n)
{
    d->text[length] = '\0';
    *n = length;
    return d->text;
}

const char *rk_decoder_push(rk_decoder *d, int32_t id, size_t *n)
{
    size_t n_bytes;
    const char *bytes = rk_tokenizer_bytes(d->tokenizer, id, &n_bytes);
    return finish(d, rk_utf8_push(&d->stream, (const unsigned char *)bytes, n_bytes, d->text), n);
}

const char *rk_decoder_push_byte(rk_decoder *d, char byte, size_t *n)
{
    return finish(d, rk_utf8_push(&d->stream, (const unsigned char *)&byte, 1, d->text), n);
}

const char *rk_decoder_begun(const rk_decoder *d, size_t *n)
{
    *n = d->stream.n;
    return (const char *)d->stream.pending;
}

const char *rk_decoder_flush(rk_decoder *d, size_t *n)
{
    return finish(d, rk_utf8_flush(&d->stream, d->text), n);
}
