/* grown.h: training what a model has grown by (tune/grow.h): its new parts count their own updates, and may be
 * all that is trained. */
#ifndef RK_TRAIN_GROWN_H
#define RK_TRAIN_GROWN_H

#include "train/optim.h"

/* The word of rk_train_params.freeze that means what a model had before it grew for the last time. */
#define RK_GROWN_OLD "old"
/* Metadata of a file that a run goes on from: updates made before each generation, with commas. */
#define RK_GROWN_STEPS "grown_steps"

/* Which elements of a parameter are of the same generation, in order. */
typedef struct rk_grown_run {
    int64_t end; /* behind the last element; the first is that behind the run before */
    int64_t generation;
} rk_grown_run;

/* Runs of a parameter, *n of them, to be freed; NULL: it has not grown. Errors  RK_ERR_NOMEM. */
rk_status rk_grown_runs(rk_grown_run **out, int64_t *n, const rk_model *m, const rk_param *p,
                        rk_error *err);
/* Generations of a model; 1 where nothing says more. */
int64_t rk_grown_generations(const rk_model *m);
/* Has the parameter elements of the last generation? */
bool rk_grown_is_new(const rk_model *m, const rk_param *p);

/* The spans of n parameters that are updated, rk_update.spans, in memory that is to be freed: made where the
 * model's file says how many updates its generations are behind, or where old elements are frozen. *out is NULL
 * where nothing has. Errors  RK_ERR_FORMAT: what the file says; RK_ERR_NOMEM. */
rk_status rk_grown_spans(rk_update_span **out, const rk_model *m, bool freeze_old, rk_update *u,
                         int64_t n, rk_error *err);
/* Gradients of what is frozen in them are zero. */
void rk_grown_clear(const rk_update *u, int64_t n);

#endif
