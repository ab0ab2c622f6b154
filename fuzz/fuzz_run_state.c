/* fuzz_run_state.c: read a checkpoint's state.json. The input stands before the closing checksum,
 * which is added here, as nearly nothing would get past it otherwise. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/checksum.h"
#include "train/run_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { TAIL_BYTES = 34 };
    rk_map map;
    rk_saved_state *s = NULL;
    char tail[TAIL_BYTES + 1], *text = malloc(size + TAIL_BYTES);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    snprintf(tail, sizeof tail, ", \"checksum\": \"%016" PRIx64 "\"}\n",
             rk_checksum_bytes(data, size));
    memcpy(text + size, tail, TAIL_BYTES);
    if (rk_map_memory(&map, text, size + TAIL_BYTES, "input", NULL) == RK_OK &&
        rk_saved_state_read_map(&s, &map, NULL) == RK_OK) {
        if (s->step < 0 || s->skipped_in_row < 0 || !s->numerics ||
            rk_saved_state_option(s, "an option that has no such name"))
            abort();
    }
    rk_saved_state_free(s);
    rk_map_close(&map);
    free(text);
    return 0;
}
