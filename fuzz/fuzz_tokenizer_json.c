/* fuzz_tokenizer_json.c: any bytes as a tokenizer.json. What is accepted is used: the bytes
 * themselves, and half of them, are encoded, with and without room, and the tokens' bytes read. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink; /* keeps the reads */

static void use(const rk_tokenizer *t, const char *text, size_t n)
{
    int32_t *ids = NULL;
    int64_t count = 0;
    if (rk_tokenizer_encode_all(t, text, n, &ids, &count, NULL) != RK_OK ||
        count > 3 * (int64_t)n || rk_tokenizer_encode(t, text, n, NULL, 0) != count)
        abort();
    for (int64_t i = 0; i < count; i++) {
        size_t length;
        const char *token = rk_tokenizer_bytes(t, ids[i], &length);
        if (ids[i] < 0 || ids[i] >= rk_tokenizer_n_vocab(t))
            abort();
        for (size_t k = 0; k < length; k++)
            sink += (unsigned char)token[k];
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_error err;
    rk_tokenizer *t = NULL;
    if (size == 0 || data[0] != '{')
        return -1;
    if (rk_tokenizer_new_memory(&t, data, size, "input", &err) == RK_OK) {
        use(t, (const char *)data, size);
        use(t, (const char *)data, size / 2);
    }
    rk_tokenizer_free(t);
    return 0;
}
