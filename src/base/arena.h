/* arena.h: memory that is allocated piece by piece and released at once.
 *
 * A fixed arena is one block whose size was planned; a counting arena has no memory and only adds
 * up sizes, which is how a plan is made; a growing arena adds blocks and keeps them across resets.
 */
#ifndef RK_BASE_ARENA_H
#define RK_BASE_ARENA_H

#include "error.h"

typedef enum rk_arena_kind { RK_ARENA_FIXED, RK_ARENA_COUNTING, RK_ARENA_GROWING } rk_arena_kind;

typedef struct rk_arena_block rk_arena_block;
typedef struct rk_arena {
    rk_arena_kind kind;
    rk_arena_block *first, *current; /* GROWING */
    unsigned char *base;             /* FIXED */
    size_t size;                     /* FIXED: bytes of base */
    size_t used, peak;               /* bytes, padding included */
} rk_arena;

enum { RK_ARENA_ALIGN = 64 };

/* bytes is the size of a FIXED arena and the first block of a GROWING one. */
rk_status rk_arena_init(rk_arena *a, rk_arena_kind kind, size_t bytes, rk_error *err);
void rk_arena_deinit(rk_arena *a);
/* 64-byte aligned, not cleared. NULL when a FIXED arena is full or the system has no memory, and
 * always from a COUNTING one. */
void *rk_arena_alloc(rk_arena *a, size_t bytes);
/* Everything allocated after the mark was taken is given back by release; reset gives back all. */
typedef struct rk_arena_mark {
    rk_arena_block *block;
    size_t block_used, used;
} rk_arena_mark;
rk_arena_mark rk_arena_get_mark(const rk_arena *a);
void rk_arena_release(rk_arena *a, rk_arena_mark m);
void rk_arena_reset(rk_arena *a);

#endif
