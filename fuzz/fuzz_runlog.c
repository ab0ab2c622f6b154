/* fuzz_runlog.c: read a training log and check what is promised of its entries. */
#include <stdlib.h>

#include "train/runlog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool check_entry(void *user, const rk_log_entry *e)
{
    int64_t *n = user;
    if (e->step < 0 || e->tokens < 0)
        abort();
    return ++*n < 1000;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t n = 0;
    rk_runlog_read_bytes(data, size, "loss", check_entry, &n);
    return 0;
}
