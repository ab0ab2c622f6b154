/* shape.h: the options of commands that make a model: its architecture, and the sizes that the
 * tables of all architectures have options for. */
#ifndef RK_CLI_SHAPE_H
#define RK_CLI_SHAPE_H

#include "cli/command.h"

typedef struct rk_shape_options {
    int arch;           /* number among those that new models are made of; -1: not said */
    rk_opt_named sizes; /* by the names of their options */
} rk_shape_options;

/* The rows; offset is that of a rk_shape_options. */
rk_more_options_fn rk_shape_rows;
/* NULL: not said. */
const rk_arch *rk_shape_arch(const rk_shape_options *o);
/* The sizes that were given, RK_OPT_NAMED_MAX at most, by their own names.
 * Errors  RK_ERR_ARG: the architecture does not have one of them. */
rk_status rk_shape_sizes(const rk_shape_options *o, rk_size *sizes, int64_t *n, rk_error *err);

#endif
