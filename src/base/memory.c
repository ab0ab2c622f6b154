/* memory.c: the kernel's own figures. The sum over all mappings (smaps_rollup) is exact, where the counter
 * in /proc/self/status lags behind by some pages of each core. */
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

/* The number behind key in a file of lines "Key:   123 kB", as bytes; 0: there is none. */
static size_t read_kib(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    char line[160];
    unsigned long long kib = 0;
    const size_t n = strlen(key);
    while (f && kib == 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, key, n) && sscanf(line + n, " %llu", &kib) != 1)
            kib = 0;
    if (f)
        fclose(f);
    return (size_t)kib * 1024;
}

bool rk_memory_now(rk_memory *m)
{
    m->resident = read_kib("/proc/self/smaps_rollup", "Rss:");
    if (m->resident == 0)
        m->resident = read_kib("/proc/self/status", "VmRSS:");
    m->peak = read_kib("/proc/self/status", "VmHWM:");
    return m->resident > 0 && m->peak > 0;
}
