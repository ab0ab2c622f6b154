/* fuzz_tokenizer_json.c: any bytes as a tokenizer.json. What is accepted is used: the bytes
 * themselves, and half of them, are encoded, with and without room, as a text and as a talk, the tokens'
 * bytes read, and the vocabulary written and read again. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/tokenizer_json.h"

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

/* As a talk: a mark after each fifth byte or so. */
static void use_marked(const rk_tokenizer *t, const char *text, size_t n)
{
    char *marked = malloc(n + 1);
    int32_t *ids = NULL;
    int64_t count = 0;
    for (size_t i = 0; i < n; i++)
        marked[i] = (unsigned char)text[i] % 5 == 0 ? (char)0xff : text[i];
    if (rk_tokenizer_encode_marked_all(t, marked, n, &ids, &count, NULL) != RK_OK ||
        rk_tokenizer_encode_marked(t, marked, n, NULL, 0) != count)
        abort();
    for (int64_t i = 0; i < count; i++)
        sink += (unsigned)ids[i];
    free(ids);
    free(marked);
}

/* What is written is read again to the same tokens. Added tokens in between may be what no token of the
 * other kind can be written as. */
static void write_again(const rk_tokenizer *t, const char *text, size_t n)
{
    rk_buf page = {0};
    rk_tokenizer *again = NULL;
    rk_tokenizer_json_write(&page, rk_tokenizer_bpe(t), rk_tokenizer_texts(t),
                            rk_tokenizer_about(t));
    if (page.failed)
        abort();
    if (rk_tokenizer_new_memory(&again, page.data, page.len, "again", NULL) == RK_OK &&
        rk_tokenizer_encode(again, text, n, NULL, 0) != rk_tokenizer_encode(t, text, n, NULL, 0))
        abort();
    rk_tokenizer_free(again);
    rk_buf_deinit(&page);
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
        use_marked(t, (const char *)data, size);
        write_again(t, (const char *)data, size);
    }
    rk_tokenizer_free(t);
    return 0;
}
