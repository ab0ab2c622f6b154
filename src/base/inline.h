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

/* Ask for the cache line of p, which will soon be needed; the second into the second cache, for what
 * is needed later. gcc 12 takes the builtin for a function without effect and drops calls of it, so
 * the instruction is written out. */
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
