/* test_time.h: chains of tokens that a model draws for problems, and what they are worth. */
#ifndef RK_TRAIN_TEST_TIME_H
#define RK_TRAIN_TEST_TIME_H

#include "infer/engine.h"
#include "train/run_options.h"
#include "train/synthetic/synthetic.h"

/* The problems: samples of a generator, each a prompt and the answer that follows it. */
typedef struct rk_problems {
    rk_synthetic gen;
    int64_t n;
    int32_t *ids,
        *targets; /* (n, gen.n_tokens): targets are those of the answers, else RK_NO_TARGET */
    int64_t *first, *last; /* (n) positions whose targets are the answer's first and last token */
    int32_t end;           /* what all answers end with; RK_NO_TARGET: they are of one length */
} rk_problems;

/* n problems of seed, from the stream for evaluation.
 * Errors  RK_ERR_ARG: no such task, or one whose samples are no prompt with an answer behind it. */
rk_status rk_problems_init(rk_problems *p, const char *task, const rk_size *params,
                           int64_t n_params, int64_t n, uint64_t seed, rk_error *err);
void rk_problems_deinit(rk_problems *p);

/* What was drawn for a problem. Its tokens stand in ids behind the prompt. */
typedef struct rk_chain {
    int32_t *targets; /* (gen.n_tokens) what it says at each position; RK_NO_TARGET elsewhere */
    int64_t n;        /* tokens */
    bool answered;    /* it came to an end */
    bool right;
    double reward, advantage;
    double majority; /* 1: what most chains of its problem say is right */
} rk_chain;

/* Draws chains from a model that begins with a state. */
typedef struct rk_prober rk_prober;
/* The model of p->init_from, and that of the judge where there is one.
 * Errors  those of opening; RK_ERR_ARG: vocabularies of two sizes. */
rk_status rk_prober_open(rk_prober **out, const rk_problems *problems,
                         const rk_test_time_options *o, const char *model, rk_engine *e,
                         rk_error *err);
void rk_prober_close(rk_prober *p);
/* n chains for each problem, problem by problem, from `state` (a stream's), into chains (problems, n), with
 * rewards, advantages and majorities. Draws are a function of (seed, stream, number of the chain). */
rk_status rk_prober_draw(rk_prober *p, const void *state, uint64_t seed, uint64_t stream, int64_t n,
                         rk_chain *chains, rk_error *err);

rk_status rk_chains_new(rk_chain **out, const rk_problems *p, int64_t n, rk_error *err);
void rk_chains_free(rk_chain *chains);

#endif
