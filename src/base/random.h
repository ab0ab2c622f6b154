/* random.h: counter-based random numbers (Philox 4x32-10; Salmon et al., "Parallel random numbers:
 * as easy as 1, 2, 3", SC 2011). A draw is a pure function of (seed, purpose, step, index): there is
 * no state to save and results do not depend on threads or order. */
#ifndef RK_BASE_RANDOM_H
#define RK_BASE_RANDOM_H

#include <stdint.h>

/* Ten rounds: out = philox(counter, key). */
void rk_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* What a stream of draws is for; a number that ends up in files' contents: never renumber. */
typedef enum rk_purpose {
    RK_RNG_INIT = 1,    /* initial weights; step = parameter number */
    RK_RNG_DATA = 2,    /* order of training windows */
    RK_RNG_SPLIT = 3,   /* choice of held-out documents */
    RK_RNG_DROPOUT = 4, /* masks; step = training step */
    RK_RNG_SAMPLE = 5,  /* text sampling; step = token number */
    RK_RNG_TEST = 6,
    RK_RNG_TASK = 7,          /* what belongs to a synthetic task and not to a sample */
    RK_RNG_TASK_TRAIN = 8,    /* its samples; step = number of the sample */
    RK_RNG_TASK_HELD_OUT = 9, /* those of validation */
    RK_RNG_TASK_EVAL = 10,    /* those of `rwkv eval` */
    RK_RNG_ADAPTER = 11,      /* first values of adapters; step = number of the matrix */
    RK_RNG_CLUSTER = 13,      /* first centres of clusters; step = number of the centre */
    RK_RNG_SKETCH = 12,    /* vectors that a matrix is multiplied with to find its largest ones */
    RK_RNG_POSITIONS = 14, /* of a batch that are looked at; step = training step */
    RK_RNG_CHAIN = 15,     /* tokens of attempts at problems; step = number of the attempt */
    RK_RNG_MEDIUM = 16,    /* tokens of a block that a medium ends; step = number of the medium */
} rk_purpose;

/* 32 random bits. */
uint32_t rk_rng_u32(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index);
/* Uniform in [0, 1) with 24 (f32) and 53 (f64) random bits. */
float rk_rng_f32(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index);
double rk_rng_f64(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index);
/* Standard normal (Box-Muller in double; index pairs share a draw of bits). */
double rk_rng_normal(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index);
/* Uniform integer in [0, n), n > 0, without bias worth naming (64 bits are scaled). */
uint64_t rk_rng_below(uint64_t seed, rk_purpose purpose, uint64_t step, uint64_t index, uint64_t n);

#endif
