/* inline.h: functions that must become a part of their caller, because constant arguments decide
 * what is left of them: loops that unroll, tests that vanish. */
#ifndef RK_BASE_INLINE_H
#define RK_BASE_INLINE_H

#if defined(__GNUC__)
#define RK_INLINE static inline __attribute__((always_inline))
#else
#define RK_INLINE static inline
#endif

#endif
