/* peak.h: the most operations a second that a thread gets out of its arithmetic units, and the most
 * bytes out of memory, for benchmarks to divide by: loops over registers alone, enough independent
 * chains to hide the latency. A multiplication and an addition are two operations. */
#ifndef RK_KERNELS_PEAK_H
#define RK_KERNELS_PEAK_H

#include <stddef.h>
#include <stdint.h>

/* Fused multiply-adds of floats in the instruction set of a path: operations of `turns` turns. */
double rk_peak_f32(const char *path, int64_t turns);
/* Products of 8-bit integers summed in 32 bits, by the best instructions of this CPU. */
double rk_peak_i8(int64_t turns);
/* Which those are: "vpdpbusd, 512 bits". */
const char *rk_peak_i8_name(void);
/* Read bytes, a multiple of 128, at p, aligned to 8, in one of the ways below; the result hangs on
 * all of them. Whether the processor's own prefetching is enough depends on the processor: the
 * fastest way counts. */
typedef enum rk_reading {
    RK_READ_PLAIN,
    RK_READ_AHEAD,     /* asks for lines soon needed */
    RK_READ_FAR_AHEAD, /* and far ahead into the second cache */
    RK_READ_APART,     /* plainly, in four places at a time */
    RK_READINGS
} rk_reading;
uint64_t rk_peak_read(const void *p, size_t bytes, rk_reading how);

#endif
