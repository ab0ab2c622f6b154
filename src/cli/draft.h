/* draft.h: --draft, of the commands that write text. */
#ifndef RK_CLI_DRAFT_H
#define RK_CLI_DRAFT_H

#include "cli/options.h"
#include "rk.h"

typedef struct rk_draft_options {
    const char *file; /* NULL: no draft */
    int64_t n_max;
} rk_draft_options;

/* Proposed tokens of a pass at most, where nobody says. */
enum { RK_DRAFT_GUESSES = 8 };

/* Rows of a command's table.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_DRAFT_ROWS(type, member) \
    {"draft", 0, RK_OPT_TEXT, "FILE", offsetof(type, member.file), 0, 0, NULL, \
     "speculative decoding: a small model of the same vocabulary proposes tokens while that is faster"}, \
    {"draft-max", 0, RK_OPT_INT, "N", offsetof(type, member.n_max), 1, 15, "8", \
     "tokens that it proposes at most"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

typedef struct rk_draft {
    rk_model *model;
    rk_speculator *speculator; /* NULL without --draft */
} rk_draft;

/* Opens nothing where there is no --draft. out is to be closed whatever the result. */
rk_status rk_draft_open(rk_draft *out, const rk_draft_options *o, rk_session *s,
                        rk_sampler *sampler, rk_error *err);
/* Before the session and the sampler are freed. */
void rk_draft_close(rk_draft *d);

/* What -v says of the tokens proposed after `since`, which is what rk_speculator_get_info told then.
 */
enum { RK_DRAFT_TEXT_MAX = 256 };
void rk_draft_describe(const rk_draft *d, const rk_speculator_info *since,
                       char text[RK_DRAFT_TEXT_MAX]);

#endif
