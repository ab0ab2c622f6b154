/* fuzz_vocab.c: any bytes as the text of a vocabulary. What is accepted is used: the bytes
 * themselves are encoded, decoded and compared, and every token is asked for. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const rk_tokenizer *t, const char *text, size_t n)
{
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    const int64_t count = rk_tokenizer_encode(t, text, n, ids, (int64_t)n);
    size_t at = 0, length;
    for (int64_t i = 0; i < count; i++, at += length) {
        const char *token = rk_tokenizer_bytes(t, ids[i], &length);
        if (length > n - at || memcmp(token, text + at, length) != 0)
            abort();
    }
    if (at != n)
        abort();
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_error err;
    rk_tokenizer *t = NULL;
    if (rk_tokenizer_new_memory(&t, data, size, "input", &err) == RK_OK)
        use(t, (const char *)data, size);
    rk_tokenizer_free(t);
    return 0;
}
