/* fuzz_gguf.c: files of the container gguf, and the vocabularies in them. */
#include "fuzz_container.h"
#include "text/gguf_vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_vocab(const uint8_t *data, size_t size)
{
    rk_tokenizer *t = NULL;
    rk_file *f;
    if (rk_file_open_memory(&f, data, size, "input", NULL) != RK_OK)
        return;
    if (rk_gguf_get_vocab(&t, f, NULL) == RK_OK && t)
        sink += (unsigned)rk_tokenizer_encode(t, (const char *)data, size, NULL, 0);
    rk_tokenizer_free(t);
    rk_file_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (fuzz_container("gguf", data, size) != 0)
        return -1;
    read_vocab(data, size);
    return 0;
}
