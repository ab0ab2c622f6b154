/* arena.c: allocating moves a pointer up, releasing puts it back.
 *
 * Every allocation is rounded up to 64 bytes, so the sum that a COUNTING arena makes is what a
 * FIXED one will need for the same calls. A GROWING arena is a list of blocks; those behind
 * `current` are empty and wait to be used again, so a step that fits into what an earlier one took
 * allocates nothing. Its alternative, one block moved by realloc, would invalidate pointers. */
#include "arena.h"

#include <stdlib.h>

#include "num.h"
#include "pages.h"

enum { BLOCK_MIN = 1 << 16 };

struct rk_arena_block {
    rk_arena_block *next;
    size_t size, used; /* bytes behind the header */
};
enum { HEADER = RK_ARENA_ALIGN };
_Static_assert(sizeof(rk_arena_block) <= HEADER, "the header fits before the first allocation");

/* What an allocation takes: at least one unit, so that pointers differ. */
static bool padded(size_t bytes, size_t *out)
{
    if (!rk_add_ok(bytes ? bytes : 1, RK_ARENA_ALIGN - 1, out))
        return false;
    *out &= ~(size_t)(RK_ARENA_ALIGN - 1);
    return true;
}

static rk_arena_block *block_new(size_t size)
{
    size_t total;
    rk_arena_block *b = NULL;
    if (rk_add_ok(size, HEADER, &total))
        b = aligned_alloc(RK_ARENA_ALIGN, total);
    if (b)
        *b = (rk_arena_block){.size = size};
    return b;
}

rk_status rk_arena_init(rk_arena *a, rk_arena_kind kind, size_t bytes, rk_error *err)
{
    *a = (rk_arena){.kind = kind};
    if (kind == RK_ARENA_COUNTING || bytes == 0)
        return RK_OK;
    if (!padded(bytes, &a->size))
        return rk_fail(err, RK_ERR_NOMEM, "arena of %zu bytes: out of memory", bytes);
    if (kind == RK_ARENA_FIXED)
        a->base = aligned_alloc(RK_ARENA_ALIGN, a->size);
    else
        a->first = a->current = block_new(a->size);
    if (!a->base && !a->first)
        return rk_fail(err, RK_ERR_NOMEM, "arena of %zu bytes: out of memory", bytes);
    rk_pages_huge(a->base, a->size);
    return RK_OK;
}

void rk_arena_deinit(rk_arena *a)
{
    free(a->base);
    for (rk_arena_block *b = a->first, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (rk_arena){.kind = a->kind};
}

/* Make `current` a block with room for n bytes: the next that has it, or a new one. */
static bool find_block(rk_arena *a, size_t n)
{
    rk_arena_block **link = a->current ? &a->current->next : &a->first;
    if (a->current && a->current->size - a->current->used >= n)
        return true;
    while (*link && (*link)->size < n)
        link = &(*link)->next;
    if (!*link) {
        const size_t usual = a->size ? a->size : BLOCK_MIN;
        *link = block_new(n > usual ? n : usual);
    }
    if (*link)
        a->current = *link;
    return *link != NULL;
}

void *rk_arena_alloc(rk_arena *a, size_t bytes)
{
    size_t n, used;
    unsigned char *out = NULL;
    if (!padded(bytes, &n) || !rk_add_ok(a->used, n, &used)) {
        n = 0;
        used = a->kind == RK_ARENA_COUNTING ? SIZE_MAX : a->used; /* a plan no arena can meet */
    } else if (a->kind == RK_ARENA_FIXED && n <= a->size - a->used) {
        out = a->base + a->used;
    } else if (a->kind == RK_ARENA_GROWING && find_block(a, n)) {
        out = (unsigned char *)a->current + HEADER + a->current->used;
        a->current->used += n;
    }
    if (!out && a->kind != RK_ARENA_COUNTING)
        return NULL;
    a->used = used;
    a->peak = used > a->peak ? used : a->peak;
    return out;
}

rk_arena_mark rk_arena_get_mark(const rk_arena *a)
{
    return (rk_arena_mark){a->current, a->current ? a->current->used : 0, a->used};
}

void rk_arena_release(rk_arena *a, rk_arena_mark m)
{
    a->used = m.used;
    a->current = m.block ? m.block : a->first; /* a mark from before the first block */
    if (a->current)
        a->current->used = m.block_used;
    for (rk_arena_block *b = a->current; b && b->next; b = b->next)
        b->next->used = 0;
}

void rk_arena_reset(rk_arena *a)
{
    rk_arena_release(a, (rk_arena_mark){a->first, 0, 0});
}
