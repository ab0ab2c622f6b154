/* task_synthetic.h: learning tasks whose samples are drawn, and measuring how well a model does them. */
#ifndef RK_TRAIN_TASK_SYNTHETIC_H
#define RK_TRAIN_TASK_SYNTHETIC_H

#include "base/progress.h"
#include "train/synthetic/synthetic.h"
#include "train/task.h"

/* The task p->task with the parameters of p; it decides ctx_len, and n_vocab of a new model.
 * Errors  RK_ERR_ARG: those of rk_synthetic_init; base has fewer tokens than the task. */
rk_status rk_synthetic_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);

/* What a model answered. */
typedef struct rk_syn_score {
    int64_t n_samples, n_exact; /* exact: every question of the sample was answered right */
    struct {
        int64_t n, n_right;
    } all, kinds[RK_SYN_KINDS_MAX]; /* questions, and those of each kind */
    double nats;                    /* over all of them */
} rk_syn_score;

typedef struct rk_syn_measure {
    const char *name;         /* of the model, in errors */
    uint64_t seed;            /* of the samples, which come from the stream for evaluation */
    int64_t n;                /* samples */
    int64_t batch;            /* of them at once */
    rk_progress_fn *progress; /* samples done, of n; may be NULL */
    void *user;
} rk_syn_measure;

/* Ask a model the first n samples.
 * Errors  RK_ERR_ARG: it has fewer tokens than the task; RK_ERR_ABORTED. */
rk_status rk_synthetic_measure(const rk_model *m, const rk_synthetic *s, const rk_syn_measure *how,
                               rk_engine *e, rk_syn_score *out, rk_error *err);

#endif
