/* mem_max.h: --mem-max, of the commands that run a model. */
#ifndef RK_CLI_MEM_MAX_H
#define RK_CLI_MEM_MAX_H

#include "cli/command.h"

/* NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_MEM_ROWS(type, member) \
    {"mem-max", 0, RK_OPT_TEXT, "SIZE", offsetof(type, member.mem_max), 0, 0, "no limit", \
     "memory that the process may take at most: 80M, 1.5G, 64MiB; slower where little of the model stays"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

/* What the command takes beside one stream: */
typedef struct rk_mem_use {
    int64_t n_streams; /* sessions */
    int64_t n_states;  /* snapshots of states */
    int64_t n_rows;    /* of scores */
    size_t more;       /* bytes */
} rk_mem_use;

/* What --mem-max says; 0: it was not given.
 * Errors  RK_ERR_ARG: no size. */
rk_status rk_mem_max(const rk_common_options *o, size_t *bytes, rk_error *err);
/* Let the model hold what the limit allows, and say so; nothing without --mem-max. Before the first session,
 * and behind all that can be opened before it. Errors  those of rk_mem_max and rk_model_limit. */
rk_status rk_mem_max_apply(const rk_common_options *o, rk_model *m, rk_engine *e,
                           const rk_mem_use *use, rk_error *err);
/* Refuse --mem-max beside another option, which is given where `with` is set. */
rk_status rk_mem_max_alone(const rk_common_options *o, bool with, const char *option,
                           rk_error *err);

#endif
