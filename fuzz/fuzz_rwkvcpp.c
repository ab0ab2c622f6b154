/* fuzz_rwkvcpp.c: files of the container rwkv.cpp. */
#include "fuzz_container.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_container("rwkv.cpp", data, size);
}
