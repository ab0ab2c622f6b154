/* peak.h: upper bounds for benchmarks: the most operations a second that a thread gets out of its
 * arithmetic units, and the most bytes out of memory. Loops over registers alone, with enough
 * independent chains to hide the latency. A multiplication and an addition are two operations. */
#ifndef RK_KERNELS_PEAK_H
#define RK_KERNELS_PEAK_H

#include <stddef.h>
#include <stdint.h>

/* Run `turns` iterations of fused multiply-adds of floats in the instruction set of a path; returns
 * the number of operations. */
double rk_peak_f32(const char *path, int64_t turns);
/* The same for products of 8-bit integers summed in 32 bits, with the best instructions of this
 * CPU. */
double rk_peak_i8(int64_t turns);
/* Which those are: "vpdpbusd, 512 bits". */
const char *rk_peak_i8_name(void);
/* Read `bytes`, a multiple of 128, at p, aligned to 8, in one of the ways below; returns a value
 * that depends on all of them. Which way is fastest depends on how well the CPU prefetches by
 * itself. */
typedef enum rk_reading {
    RK_READ_PLAIN,
    RK_READ_AHEAD,     /* prefetches lines needed soon */
    RK_READ_FAR_AHEAD, /* and lines far ahead into the second-level cache */
    RK_READ_APART,     /* without prefetching, four streams at a time */
    RK_READINGS
} rk_reading;
uint64_t rk_peak_read(const void *p, size_t bytes, rk_reading how);

#endif
