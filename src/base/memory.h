/* memory.h: what the process takes of the machine's memory. */
#ifndef RK_BASE_MEMORY_H
#define RK_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rk_memory {
    size_t resident, peak; /* bytes now, and the most there were; pages of mapped files count */
} rk_memory;

/* False where the system does not tell. */
bool rk_memory_now(rk_memory *m);

#endif
