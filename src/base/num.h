/* num.h: arithmetic that is checked, and small numeric helpers everything shares. */
#ifndef RK_BASE_NUM_H
#define RK_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RK_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* *out = a * b or a + b; false when the result does not fit, *out is then unspecified. */
static inline bool rk_mul_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool rk_add_ok(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool rk_mul_i64_ok(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline int64_t rk_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t rk_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
/* ceil(a / b) for a >= 0, b > 0. */
static inline int64_t rk_ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
/* x rounded up to a multiple of the power of two align. */
static inline size_t rk_align_up(size_t x, size_t align)
{
    return (x + align - 1) & ~(align - 1);
}

#endif
