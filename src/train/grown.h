/* grown.h: training what a model has grown by (tune/grow.h): its new parts count their own updates, and may be
 * all that is trained. */
#ifndef RK_TRAIN_GROWN_H
#define RK_TRAIN_GROWN_H

#include "train/optim.h"

/* The word of rk_train_params.freeze that means what a model had before it grew for the last time. */
#define RK_GROWN_OLD "old"
/* Metadata of a file that a run goes on from: updates made before each generation, with commas. */
#define RK_GROWN_STEPS "grown_steps"
enum { RK_GROWN_TEXT_MAX = 320 }; /* of a list of numbers, one for each generation */

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
/* Do files of this architecture say how long its generations were trained? Those that may have grown do. */
bool rk_grown_counts(const rk_arch *arch);
/* RK_TRAINED_TOKENS of a model after `step` updates of `tokens` each, of which its last generation made those since
 * it grew: what its file says, and these. Errors  RK_ERR_FORMAT: what the file says. */
rk_status rk_grown_trained(const rk_model *m, int64_t step, int64_t tokens,
                           char text[RK_GROWN_TEXT_MAX], rk_error *err);
/* The same of the model that m becomes: with a generation more, or back at an earlier one (not below 0). */
rk_status rk_grown_trained_on(const rk_model *m, int64_t step, int64_t tokens, int64_t back_at,
                              char text[RK_GROWN_TEXT_MAX], rk_error *err);
/* Updates made before the last generation, where the model's file says it. Errors  RK_ERR_FORMAT: what it says. */
rk_status rk_grown_at(const rk_model *m, int64_t *step, bool *said, rk_error *err);
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
