/* fuzz_npy.c: open an array from memory and read its elements. */
#include <stdlib.h>
#include <string.h>

#include "io/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile float sink; /* keeps the reads */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rk_npy f;
    void *copy = malloc(size + 1); /* aligned, which the fuzzer's block need not be */
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    if (rk_npy_open_memory(&f, copy, size, "input", NULL) == RK_OK) {
        const int64_t n = f.dims[0] * (f.n_dims == 2 ? f.dims[1] : 1);
        for (int64_t i = 0; i < n; i++)
            sink = f.data[i];
    }
    rk_npy_close(&f);
    free(copy);
    return 0;
}
