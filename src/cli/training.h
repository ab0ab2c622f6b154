/* training.h: what the commands that train have in common: options of a run, and running it. */
#ifndef RK_CLI_TRAINING_H
#define RK_CLI_TRAINING_H

#include "cli/interrupt.h"
#include "cli/shape.h"
#include "cli/task_options.h"
#include "train/run.h"

enum { RK_TRAINING_WORDS_MAX = 4096 };

typedef struct rk_training_options {
    rk_common_options common;
    rk_run_params run;
    int64_t seed;
    rk_shape_options shape;
    rk_opt_named task_params;
    int dtype; /* position in the choices of its row */
    rk_opt_list data, data_weight, train_only, freeze, lr_scale;
    char data_weight_words[RK_TRAINING_WORDS_MAX]; /* with commas between them */
    bool freeze_old;
    char train_only_words[RK_TRAINING_WORDS_MAX], freeze_words[RK_TRAINING_WORDS_MAX],
        lr_scale_words[RK_TRAINING_WORDS_MAX];
    bool json;
} rk_training_options;

/* What is not given: the options of a run, but for those that follow from others. */
rk_training_options rk_training_defaults(void);
/* Put rows for a rk_training_options at `offset` into room, those named in `without` left out (ends with
 * NULL; may be NULL). */
void rk_training_rows(rk_option_room *room, size_t offset, const char *const *without);
/* Options as a run takes them.
 * Errors  RK_ERR_ARG: what contradicts itself, or is too long. */
rk_status rk_training_settle(rk_training_options *o, rk_error *err);
/* Words with commas between them into room (RK_TRAINING_WORDS_MAX); *out is room. */
rk_status rk_training_words(const rk_opt_list *list, char *room, const char **out, rk_error *err);
/* Train; unless quiet, say (NULL: nothing) what to do with the result. Returns the exit status. */
int rk_training_run(rk_training_options *o, void (*say)(const rk_training_options *o));

/* A command's own default and help (NULL: the common one) of an option. */
typedef struct rk_training_default {
    const char *name, *shown, *help;
} rk_training_default;
/* Those of the rows from `first` on. */
void rk_training_own(rk_option_room *room, size_t first, const rk_training_default *own, size_t n);

#endif
