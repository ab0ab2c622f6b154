/* fuzz_safetensors.c: open from memory, look up and read all that was accepted, close. */
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink; /* keeps the reads */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_st *f;
    if (rk_st_open_memory(&f, data, size, "input", NULL) != RK_OK)
        return 0;
    for (int64_t i = 0; i < rk_st_count(f); i++) {
        const rk_file_tensor *t = rk_st_at(f, i);
        if (rk_st_find(f, t->name) != t)
            abort();
        for (size_t k = 0; k < t->bytes; k++)
            sink += ((const unsigned char *)t->data)[k];
    }
    for (int64_t i = 0; i < rk_st_meta_count(f); i++)
        if (strcmp(rk_st_meta(f, rk_st_meta_at(f, i).key), rk_st_meta_at(f, i).value) != 0)
            abort();
    rk_st_close(f);
    return 0;
}
