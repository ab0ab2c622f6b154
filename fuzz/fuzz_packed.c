/* fuzz_packed.c: what lies around packed tokens. The first byte says what the others are: NAME.json, a shard
 * of llm.c, or, behind one byte for the length of the first, NAME.idx and NAME.bin. */
#include <stdlib.h>
#include <string.h>

#include "data/corpus.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is accepted can be read to its end. */
static void read_corpus(const rk_corpus *c)
{
    int64_t before = 0;
    for (int64_t i = 0; i <= c->n_docs; i++) {
        const int64_t start = c->start(c, i);
        if (start < before || start > c->n)
            abort();
        before = start;
    }
    if (before != c->n)
        abort();
    for (int64_t i = 0; i < c->n; i++)
        rk_ids_at(c->type, c->ids, i);
    rk_corpus_check_ids(c, 256, NULL);
}

static void read_about(const uint8_t *data, size_t size)
{
    rk_packed_about a;
    bool found;
    rk_buf text = {0};
    if (rk_packed_about_parse(&a, data, size, "input.json", &found, NULL) != RK_OK)
        return;
    if (found)
        rk_packed_about_put(&text, &a);
    rk_buf_deinit(&text);
    rk_packed_about_deinit(&a);
}

/* Maps begin at a page, so tokens are where their type wants them. */
static void *aligned(const uint8_t *data, size_t size)
{
    void *copy = malloc(size > 0 ? size : 1);
    if (copy && size > 0)
        memcpy(copy, data, size);
    return copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_corpus *c = NULL;
    if (size < 2)
        return 0;
    const size_t idx_bytes = data[1] < size - 2 ? data[1] : size - 2;
    void *tokens = data[0] == 1 ? aligned(data + 1, size - 1)
                                : aligned(data + 2 + idx_bytes, size - 2 - idx_bytes);
    if (data[0] == 0)
        read_about(data + 1, size - 1);
    else if (data[0] == 1 && tokens)
        rk_llmc_open_memory(&c, tokens, size - 1, NULL);
    else if (tokens)
        rk_megatron_open_memory(&c, data + 2, idx_bytes, tokens, size - 2 - idx_bytes, NULL);
    if (c)
        read_corpus(c);
    rk_corpus_close(c);
    free(tokens);
    return 0;
}
