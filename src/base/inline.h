/* inline.h: forced inlining and prefetching, behind names. */
#ifndef RK_BASE_INLINE_H
#define RK_BASE_INLINE_H

/* For functions that must be inlined because constant arguments decide what is left of them: loops
 * are unrolled, branches disappear. Sanitizer builds leave the choice to the compiler
 * (RK_INLINE_FREELY): instrumenting that much code would take minutes. */
#if defined(__GNUC__) && !defined(RK_INLINE_FREELY)
#define RK_INLINE static inline __attribute__((always_inline))
#else
#define RK_INLINE static inline
#endif

/* Prefetch the cache line of p: rk_prefetch into the first-level cache, for data needed soon;
 * rk_prefetch_far into the second-level cache, for data needed later. gcc 12 takes the builtin for
 * a function without effect and drops calls of it, so the instruction is written out. */
#if defined(__x86_64__) && defined(__GNUC__)
static inline void rk_prefetch(const void *p)
{
    __asm__ volatile("prefetcht0 %0" : : "m"(*(const char *)p));
}
static inline void rk_prefetch_far(const void *p)
{
    __asm__ volatile("prefetcht1 %0" : : "m"(*(const char *)p));
}
#elif defined(__aarch64__) && defined(__GNUC__)
static inline void rk_prefetch(const void *p)
{
    __asm__ volatile("prfm pldl1keep, [%0]" : : "r"(p));
}
static inline void rk_prefetch_far(const void *p)
{
    __asm__ volatile("prfm pldl2keep, [%0]" : : "r"(p));
}
#else
static inline void rk_prefetch(const void *p)
{
    (void)p;
}
static inline void rk_prefetch_far(const void *p)
{
    (void)p;
}
#endif

#endif
