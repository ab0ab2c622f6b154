/* inline.h: what a compiler is told about speed, behind names. */
#ifndef RK_BASE_INLINE_H
#define RK_BASE_INLINE_H

/* For functions that must become a part of their caller, because constant arguments decide what is
 * left of them: loops that unroll, tests that vanish. Sanitizer builds leave it to the compiler
 * (RK_INLINE_FREELY), which the checks in so much code would keep busy for minutes. */
#if defined(__GNUC__) && !defined(RK_INLINE_FREELY)
#define RK_INLINE static inline __attribute__((always_inline))
#else
#define RK_INLINE static inline
#endif

/* Ask for the cache line of p, which will soon be needed. */
static inline void rk_prefetch(const void *p)
{
#if defined(__GNUC__)
    __builtin_prefetch(p);
#else
    (void)p;
#endif
}
/* The same into the second cache, for what is needed later. */
static inline void rk_prefetch_far(const void *p)
{
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 2);
#else
    (void)p;
#endif
}

#endif
