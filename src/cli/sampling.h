/* sampling.h: the options of commands that draw tokens. */
#ifndef RK_CLI_SAMPLING_H
#define RK_CLI_SAMPLING_H

#include "cli/options.h"
#include "rk.h"

typedef struct rk_sampling_options {
    int64_t top_k, seed; /* seed < 0: draw one */
    double temp, top_p, min_p, typical_p;
    double repeat_penalty, presence_penalty, frequency_penalty, penalty_decay;
    rk_opt_list logit_bias;
} rk_sampling_options;

/* Rows of a command's table; the defaults that differ among commands, as the help shows them.
 * NOLINTBEGIN(bugprone-macro-parentheses) */
/* clang-format off */
#define RK_SAMPLING_AT(type, member, field) offsetof(type, member.field)
#define RK_SAMPLING_ROWS(type, member, temp_shown, top_p_shown, presence_shown, frequency_shown) \
    RK_OPT_GROUP("sampling"), \
    {"seed", 's', RK_OPT_INT, "N", RK_SAMPLING_AT(type, member, seed), 0, 9e18, "random", \
     "random seed of the sampling; printed"}, \
    {"temp", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, temp), 0, 100, temp_shown, \
     "temperature; 0: greedy, the highest score without penalties"}, \
    {"top-p", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, top_p), 0, 1, top_p_shown, \
     "nucleus sampling: the likeliest tokens of this total probability; 0: one token"}, \
    {"top-k", 0, RK_OPT_INT, "N", RK_SAMPLING_AT(type, member, top_k), 0, 1 << 30, "0", \
     "sample among the N likeliest tokens; 0: all"}, \
    {"min-p", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, min_p), 0, 1, "0", \
     "drop tokens less likely than X times the likeliest"}, \
    {"typical", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, typical_p), 0, 1, "1", \
     "locally typical sampling: total probability that is kept; 1: off, 0: one token"}, \
    {"repeat-penalty", 0, RK_OPT_ABOVE, "X", RK_SAMPLING_AT(type, member, repeat_penalty), 0, 100, \
     "1", "divide the scores of tokens generated before by X; 1: off"}, \
    {"presence-penalty", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, presence_penalty), \
     -100, 100, presence_shown, "subtract X from the scores of tokens generated before"}, \
    {"frequency-penalty", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, frequency_penalty), \
     -100, 100, frequency_shown, "subtract X for each time a token was generated"}, \
    {"penalty-decay", 0, RK_OPT_NUMBER, "X", RK_SAMPLING_AT(type, member, penalty_decay), 0, 1, \
     "0.996", "factor on the counts of --frequency-penalty at each token"}, \
    {"logit-bias", 0, RK_OPT_LIST, "ID=B", RK_SAMPLING_AT(type, member, logit_bias), 0, 0, NULL, \
     "add B to a token's score; -inf bans it; may be given several times"}
/* clang-format on */
/* NOLINTEND(bugprone-macro-parentheses) */

/* Those of rk_sampler_defaults, no seed yet. */
rk_sampling_options rk_sampling_defaults(void);
/* A seed that nobody chose, where none was given; 32 bits, so that it is easily typed. */
rk_status rk_sampling_draw_seed(rk_sampling_options *o, rk_error *err);
/* tokenizer may be NULL. */
rk_status rk_sampling_new(rk_sampler **out, const rk_sampling_options *o, int64_t n_vocab,
                          const rk_tokenizer *tokenizer, rk_error *err);

#endif
