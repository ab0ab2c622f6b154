/* optim.h: the update of a model's parameters from their gradients: a table of optimisers.
 *
 * An optimiser is a row: the arrays that it keeps for each parameter, which of the options are its
 * own, and a function that makes one update of all parameters. */
#ifndef RK_TRAIN_OPTIM_H
#define RK_TRAIN_OPTIM_H

#include "model/model.h"

enum { RK_OPTIM_STATES_MAX = 2, RK_OPTIM_OPTIONS_MAX = 6 };

/* Elements of a parameter up to `end` that have been there since so many updates were made (grown.h). */
typedef struct rk_update_span {
    int64_t end, before;
    bool frozen; /* they stay as they are */
} rk_update_span;

/* A parameter with what its update needs; the arrays have its tensor's n elements. */
typedef struct rk_update {
    const rk_param *param; /* its name and role */
    rk_tensor *tensor;     /* the parameter's */
    int64_t n;
    int64_t rows, cols; /* of a matrix in a block (rk_role_facts.hidden); 0 of all else */
    float *weight, *grad, *state[RK_OPTIM_STATES_MAX]; /* a state that it does not need: NULL */
    float *average;                                    /* its running mean (ema.h); NULL: none */
    double lr_scale;                                   /* of its group */
    bool decay;                                        /* its group decays */
    const rk_update_span *spans; /* of a parameter that has grown, n_spans; NULL: all alike */
    int64_t n_spans;
} rk_update;

/* One update: rates that are the same for all parameters. */
typedef struct rk_optim_step {
    const rk_train_params *p;
    double lr;         /* of this step */
    double grad_scale; /* gradients are multiplied by it first (clipping) */
    int64_t count;     /* updates, this one included */
} rk_optim_step;

typedef struct rk_optimizer {
    const char *name;
    /* What a checkpoint calls the arrays kept for a parameter: "m.emb.weight". */
    const char *states[RK_OPTIM_STATES_MAX];
    int n_states;
    /* How many of them, from the first on, a parameter needs; NULL: all. */
    int (*n_states_of)(const rk_param *p);
    /* Offsets in rk_train_params of the options that others may not have, as it names them. */
    struct {
        const char *name;
        size_t offset;
    } options[RK_OPTIM_OPTIONS_MAX];
    /* Updates all n parameters whole, whoever asks to stop meanwhile. What it needs in between it takes
     * from the context's arena, which is its own from a reset on: scratch says how much that is for a
     * model (NULL: nothing). */
    void (*update)(rk_ctx *ctx, const rk_update *u, int64_t n, const rk_optim_step *s);
    size_t (*scratch)(const rk_kernels *kern, const rk_model *m);
} rk_optimizer;

extern const rk_optimizer rk_optimizers[]; /* the first is the default */
extern const int rk_n_optimizers;
/* NULL when there is none of this name. */
const rk_optimizer *rk_optimizer_find(const char *name);
/* Arrays that it keeps for a parameter. */
int rk_optimizer_n_states(const rk_optimizer *o, const rk_param *p);
/* Refuse an optimiser that there is not, and options that are another one's. */
rk_status rk_optim_check(const rk_train_params *p, rk_error *err);

/* What an update must not have made negative is 0 again. */
void rk_optim_project(const rk_update *u, int64_t n);
/* One update of a parameter by AdamW, whose arrays are m and v. */
void rk_adamw_update(rk_ctx *ctx, const rk_update *u, const rk_optim_step *s);

/* Euclidean norm of all gradients: sums of squares of fixed pieces, added in order. partial has
 * room for rk_optim_norm_parts values. *at (may be NULL) is the first parameter whose gradient is
 * not finite, or -1. */
int64_t rk_optim_norm_parts(const rk_update *u, int64_t n);
double rk_optim_grad_norm(rk_ctx *ctx, const rk_update *u, int64_t n, double *partial, int64_t *at);

#endif
