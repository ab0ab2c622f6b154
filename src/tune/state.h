/* state.h: state tuning: a model whose weights are frozen learns what its streams begin with. */
#ifndef RK_TUNE_STATE_H
#define RK_TUNE_STATE_H

#include "infer/engine.h"
#include "model/model.h"

/* How the features of a kernel path are made (kernels/ref/features.h). */
typedef enum rk_kernel_form {
    RK_KERNEL_GAUSS,
    RK_KERNEL_LITERAL, /* as published */
    RK_KERNEL_LINEAR,  /* the vectors themselves: the path repeats the recurrence of the base */
} rk_kernel_form;

typedef struct rk_state_tuning {
    bool shift;   /* what stands before the first token in the time mix's shift is learned, too */
    double decay; /* adds 0.5 decay |S0|^2 to the loss; 0: nothing */
    int precondition;   /* dS0 (Sigma + delta I)^-1, Sigma a running mean of r r^T */
    int64_t rank;       /* 0: the whole matrix; else U V^T of this rank (state_pairs.h) */
    const char *prompt; /* S0 begins as the state that this text leaves; NULL: as the model's own */
    const char
        *observer;   /* folder of the observer that reads the prompt; NULL: the model itself does */
    int form;        /* rk_kernel_form of a kernel path */
    double features; /* its M over N */
    bool base_state; /* the state of the base is learned beside it */
    double basis_rate, basis_kappa; /* of the rule that decorrelates its features: eps, kappa */
    bool keep_meaning;              /* S'0 is expressed in the new basis where that changes */
} rk_state_tuning;
rk_state_tuning rk_state_tuning_defaults(void);

/* Write what streams of the model begin with, the parameters of rk_role_facts.beside, as a .pth file in f32
 * and under their own names: "blocks.N.att.time_state" (head, value, key); of RWKV-4 (n_embd), the sum aa,
 * with bb as "blocks.N.att.time_state_sum", both at pp = 0; "blocks.N.att.ts_state" (n_embd) where the
 * shift is tuned too; of a kernel path all that it is made of. The file is replaced as a whole.
 * Errors  RK_ERR_ARG: the model has no such parameters; those of rk_pth_write. */
rk_status rk_state_save_tuned(const rk_model *m, const char *path, rk_error *err);
/* A stream's state (of m's layout, without rows that grow) as such a file, without shifts.
 * Errors  those of rk_pth_write; RK_ERR_NUMERIC: a value is not finite. */
rk_status rk_state_write(const rk_model *m, const float *state, const char *path, rk_error *err);
/* The state of a stream after these tokens as such a file, without shifts.
 * Errors  those of sessions and of rk_pth_write; RK_ERR_NUMERIC: a value is not finite. */
rk_status rk_state_of_tokens(const rk_model *m, rk_engine *e, const int32_t *tokens, int64_t n,
                             const char *path, rk_error *err);

#endif
