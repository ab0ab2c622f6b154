/* method.h: how a model is tuned: a table of methods, and the adapters that they begin with. */
#ifndef RK_TUNE_METHOD_H
#define RK_TUNE_METHOD_H

#include "base/log.h"
#include "base/pool.h"
#include "tune/adapter_set.h"
#include "tune/start.h"
#include "tune/state.h"

/* What is asked for. Texts are borrowed. */
typedef struct rk_tune_options {
    const char *method; /* of the table; two with a comma between them where one tunes states; NULL:
                         * all weights are trained, and a model results */
    int64_t rank;
    double alpha;             /* 0: the method's */
    const char *targets;      /* words, see rk_tune_is_target; NULL: the matrices of all blocks */
    const char *rank_pattern; /* "PATTERN=R,...": ranks of some of them; NULL: none */
    const char
        *train_parts;      /* "ln,...": parameters whose names hold such a word are trained whole */
    int bat_blocks;        /* rk_bat_blocks */
    int miss_init;         /* rk_miss_init */
    int64_t mini_width;    /* columns of MiSS's matrix in its form mini */
    double dropout;        /* of adapters' inputs */
    int64_t niter;         /* of pissa: 0: the exact decomposition */
    int ga_direction;      /* rk_ga_direction */
    bool ga_peft;          /* lora-ga as peft computes it */
    int64_t ga_batches;    /* whose mean gradient lora-ga begins with */
    double lora_plus;      /* rate of B over that of A in lora+ */
    rk_state_tuning state; /* of methods that tune states */
} rk_tune_options;

typedef enum rk_bat_blocks { RK_BAT_IN, RK_BAT_OUT } rk_bat_blocks;
typedef enum rk_miss_init { RK_MISS_ZERO, RK_MISS_RANDOM, RK_MISS_MINI } rk_miss_init;

typedef struct rk_tune_method {
    const char *name;
    bool adapter;         /* trains tensors beside matrices */
    const char *states;   /* groups of parameters of initial states that it trains; NULL: none */
    rk_adapter_form form; /* of an adapter */
    rk_start_kind start;
    double alpha; /* over the rank; where it is scaled by that */
    bool rslora;
    double lr, lr_final; /* of its recipe; lr_final over lr */
    const char *about;
} rk_tune_method;

extern const rk_tune_method rk_tune_methods[];
extern const int rk_n_tune_methods;

/* rank 16, zero starts, four steps of power iteration, rate ratio 16. */
rk_tune_options rk_tune_defaults(void);
/* The methods that are asked for; NULL where there is none of an adapter, or of states.
 * Errors  RK_ERR_ARG: no such method, two of a kind. */
rk_status rk_tune_choose(const rk_tune_options *o, const rk_tune_method **adapter,
                         const rk_tune_method **state, rk_error *err);

/* The groups of parameters that a method of states trains with these options, and the rate of a method. */
const char *rk_tune_states(const rk_tune_options *o, const rk_tune_method *state);
double rk_tune_rate(const rk_tune_options *o, const rk_tune_method *method);

/* Parts for a model's matrices that are targeted, with tensors of zeros, in the order of parameters. The
 * model needs no data.
 * Errors  RK_ERR_ARG: a word means no matrix, or a rank does not fit; RK_ERR_UNSUPPORTED: a target is a
 *         low-rank pair, and the method asks for its matrix; RK_ERR_NOMEM. */
rk_status rk_tune_make(rk_adapter_set **out, const rk_model *m, const rk_tune_options *o,
                       rk_error *err);
/* Give part i of the set what it begins with. weight (out, in): the matrix, may be NULL where
 * rk_tune_needs says so; gradient: of lora-ga. */
typedef struct rk_tune_values {
    const float *weight, *gradient;
    uint64_t seed;
    const rk_kernels *kernels;
    rk_pool *pool;
} rk_tune_values;
rk_status rk_tune_start(rk_adapter_set *s, int64_t i, const rk_tune_options *o,
                        const rk_tune_values *v, rk_error *err);
/* Does a start look at the matrix? at its gradient? Does it leave start values? */
rk_start_facts rk_tune_needs(const rk_tune_options *o);

/* Does one of the words mean this matrix? A word is a shell pattern on the name, or the end of the
 * module's name: "att.key" and "key" mean blocks.0.att.key.weight, "ey" does not. */
bool rk_tune_is_target(const char *words, const char *name);

/* Words for rk_train_params.train_only: what the methods train, and the train_parts. */
rk_status rk_tune_trained(const rk_tune_options *o, char *words, size_t size, rk_error *err);

#endif
