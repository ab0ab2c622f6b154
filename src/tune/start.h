/* start.h: what the tensors of an adapter begin with.
 *
 *   plain     lora: A uniform in +-1/sqrt(in), B zeros, so that nothing changes; dora: the same, the
 *             magnitudes are the norms of W's rows; miss and bat: zeros
 *   random    miss: uniform in +-1/sqrt(width); for tests, since it changes what the model computes
 *   gaussian  lora, dora: A normal of deviation 1/r
 *   pissa     lora: the r largest singular values of W            arXiv 2404.02948
 *   olora     lora: the first r columns of W = Q R                arXiv 2406.01775
 *   lora-ga   lora: singular vectors of a gradient of W           arXiv 2407.05000
 *
 * After the last three the part stands beside W - scale B A and keeps A and B as start values. */
#ifndef RK_TUNE_START_H
#define RK_TUNE_START_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "tune/adapter_set.h"

typedef enum rk_start_kind {
    RK_START_PLAIN,
    RK_START_RANDOM,
    RK_START_GAUSSIAN,
    RK_START_PISSA,
    RK_START_OLORA,
    RK_START_LORA_GA,
    RK_START_COUNT
} rk_start_kind;

typedef struct rk_start_facts {
    const char *name;
    bool weight,
        gradient;  /* needs the matrix, a gradient of it; the magnitudes of dora need W, too */
    bool residual; /* leaves start values */
} rk_start_facts;

extern const rk_start_facts rk_starts[RK_START_COUNT];

/* Of LoRA-GA: which singular vectors of the gradient become A's rows and B's columns. */
typedef enum rk_ga_direction {
    RK_GA_ARB2R, /* A: the first r, B: the r after them */
    RK_GA_ARBR,  /* of the first 2 r, A: every second, B: those between them, which come first */
    RK_GA_A2RBR, /* B: the first r, A: the r after them */
} rk_ga_direction;

enum { RK_START_NITER = 4 };
#define RK_GA_GAMMA 16.0

typedef struct rk_start {
    rk_start_kind kind;
    bool exact; /* pissa: the whole decomposition, and not that of a random sketch */
    int niter;  /* of the sketch: power iterations; RK_START_NITER if nothing is known */
    rk_ga_direction direction;
    /* lora-ga as peft computes it: B is multiplied by its singular values, and only B is scaled. */
    bool ga_peft;
    double gamma; /* lora-ga: A and B are scaled by out^(1/4) / sqrt(gamma); RK_GA_GAMMA */
    uint64_t seed;
    int64_t index;         /* of the matrix among those that are changed: it keys the draws */
    const float *weight;   /* W (out, in), as the model computes with it; NULL where not needed */
    const float *gradient; /* (out, in) */
    const rk_kernels *kernels; /* of f32 */
    rk_pool *pool;
} rk_start;

/* Does such a start exist for the form? */
bool rk_start_suits(rk_start_kind kind, rk_adapter_form form);

/* Fill the tensors of p, and its start values.
 * Errors  RK_ERR_ARG: no such start for the form, or the rank is too large for the matrix;
 *         those of lapack.h. Cost: a sketch 4 niter + 4 products of W with some r vectors; exact:
 *         some 20 out in min(out, in). */
rk_status rk_part_start(rk_adapter_part *p, const rk_start *how, rk_error *err);

#endif
