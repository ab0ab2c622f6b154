/* fuzz_container.h: open from memory, look up and read all that was accepted, import its names, close.
 */
#ifndef RK_FUZZ_CONTAINER_H
#define RK_FUZZ_CONTAINER_H

#include <stdlib.h>
#include <string.h>

#include "format/scheme.h"
#include "io/tensor_file.h"

static volatile unsigned sink; /* keeps the reads */

static inline void read_tensors(const rk_file *f)
{
    for (int64_t i = 0; i < rk_file_count(f); i++) {
        const rk_file_tensor *t = rk_file_at(f, i);
        if (rk_file_find(f, t->name) != t)
            abort();
        for (size_t k = 0; k < t->bytes; k++)
            sink += ((const unsigned char *)t->data)[k];
    }
}

/* Inputs that are not of the container are of no interest. */
static inline int fuzz_container(const char *container, const uint8_t *data, size_t size)
{
    rk_file *f;
    if (rk_file_open_memory(&f, data, size, "input", NULL) != RK_OK)
        return 0;
    if (strcmp(rk_file_container(f), container) != 0) {
        rk_file_close(f);
        return -1;
    }
    read_tensors(f);
    if (rk_scheme_import(&f, NULL) == RK_OK) {
        read_tensors(f);
        rk_file_close(f);
    }
    return 0;
}

#endif
