/* peak.h: the most operations a second that a thread gets out of its arithmetic units, for
 * benchmarks to divide by: loops over registers alone, enough independent chains to hide the
 * latency. A multiplication and an addition are two operations. */
#ifndef RK_KERNELS_PEAK_H
#define RK_KERNELS_PEAK_H

#include <stdint.h>

/* Fused multiply-adds of floats in the instruction set of a path: operations of `turns` turns. */
double rk_peak_f32(const char *path, int64_t turns);
/* Products of 8-bit integers summed in 32 bits, by the best instructions of this CPU. */
double rk_peak_i8(int64_t turns);
/* Which those are: "vpdpbusd, 512 bits". */
const char *rk_peak_i8_name(void);

#endif
