/* synthetic.h: tasks whose samples are drawn and not read from a file.
 *
 * A generator is a row of the trainer's table of tasks (train/task.h): a table of its parameters, what
 * follows from them, and a function that writes one sample. A sample is a window of n_tokens ids that a
 * model reads from the zero state, and at each position the id that it is to give there, or
 * RK_NO_TARGET: often the token that comes next, but not always (the product of permutations so far
 * stands in no window). Options, help, the record of a run, `rwkv eval` and `rwkv data task` walk the
 * tables. */
#ifndef RK_SYNTHETIC_H
#define RK_SYNTHETIC_H

#include "base/buf.h"
#include "rk.h"
#include "tensor/ops.h" /* RK_NO_TARGET */
#include "train/synthetic/draws.h"

enum { RK_SYN_PARAMS_MAX = 8, RK_SYN_KINDS_MAX = 2, RK_SYN_TOKENS_MAX = 1 << 20 };

/* A number that a generator takes, and the option of that name. */
typedef struct rk_syn_param {
    const char *name; /* "seq-len" */
    double initial, min, max;
    const char *choices; /* "all|swaps": the value is the position of a word; NULL: a number */
    bool real;           /* else whole */
    const char *help;
} rk_syn_param;

typedef struct rk_generator rk_generator;

/* A generator with the values of its parameters. */
typedef struct rk_synthetic {
    const char *task; /* its name in the table of tasks */
    const rk_generator *gen;
    double values[RK_SYN_PARAMS_MAX]; /* as gen->params */
    int64_t n_tokens, n_vocab;        /* of a sample; ids are below n_vocab */
    int64_t n_scratch;                /* ints that filling a sample works with */
} rk_synthetic;

/* Samples for training, for validation and for evaluation never share a draw. */
typedef enum rk_syn_stream { RK_SYN_TRAIN, RK_SYN_HELD_OUT, RK_SYN_EVAL } rk_syn_stream;

typedef struct rk_syn_sample {
    rk_draws draws;
    rk_syn_stream stream;
    uint64_t index;
    int32_t *ids, *targets, *kinds; /* (n_tokens); kinds: which of gen->kinds is asked */
    int32_t *scratch;               /* (n_scratch) */
} rk_syn_sample;

struct rk_generator {
    const char *summary; /* one line, lower case, no full stop */
    const rk_syn_param *params;
    int n_params;
    bool next;       /* each answer is the token that follows it in the window */
    const void *own; /* what tells generators of one file apart */
    /* Set n_tokens, n_vocab and n_scratch from values within their ranges.
     * Errors  RK_ERR_ARG: they do not fit each other. */
    rk_status (*settle)(rk_synthetic *s, rk_error *err);
    /* Write a sample over ids 0 and no targets. */
    void (*fill)(const rk_synthetic *s, rk_syn_sample *to);
    /* A token for people; NULL: its number. */
    void (*put)(const rk_synthetic *s, int32_t id, rk_buf *out);
    /* Is `id` a right answer at a position that has a target? NULL: the target alone is. */
    bool (*accepts)(const rk_synthetic *s, const int32_t *ids, int64_t at, int32_t id);
    /* Kinds of questions whose accuracies are told apart; NULLs: there is one kind. */
    const char *kinds[RK_SYN_KINDS_MAX];
};

/* A generator's parameters: those that are given, n of them, the others as its table says.
 * Errors  RK_ERR_ARG: it has none of this name, a value is outside its range, or values do not fit. */
rk_status rk_synthetic_init(rk_synthetic *s, const char *task, const rk_generator *gen,
                            const rk_size *given, int64_t n, rk_error *err);
/* The task with all its parameters, as options: "parity --seq-len 16 --min-len 0". */
void rk_synthetic_describe(const rk_synthetic *s, rk_buf *out);
/* A parameter's value as text: a word of its choices, or the number. */
void rk_synthetic_value(const rk_syn_param *p, double value, rk_buf *out);

/* Sample `index` of a stream: a pure function of s, seed, stream and index. to->ids, targets, kinds and
 * scratch are the caller's. */
void rk_synthetic_sample(const rk_synthetic *s, uint64_t seed, rk_syn_stream stream, uint64_t index,
                         rk_syn_sample *to);
/* A sample for people: its tokens, and under them what is asked. */
void rk_synthetic_show(const rk_synthetic *s, const rk_syn_sample *x, rk_buf *out);

/* ---- for generators ---- */

static inline int64_t rk_syn_int(const rk_synthetic *s, int param)
{
    return (int64_t)s->values[param];
}

/* Ask for `target` at position `at`. */
static inline void rk_syn_ask(rk_syn_sample *x, int64_t at, int32_t target, int kind)
{
    x->targets[at] = target;
    x->kinds[at] = kind;
}

/* The next token of a text at position *at, which the token before it is to predict where asked. The
 * text may be one token longer than the window: the last token is then only asked for. */
void rk_syn_push(const rk_synthetic *s, rk_syn_sample *x, int64_t *at, int32_t id, bool asked);

/* Refuse a parameter `min` above the one that it is the least of. */
rk_status rk_syn_expect_order(const rk_synthetic *s, int min, int max, rk_error *err);

/* Draws that belong to the task and not to a sample: row `row` of tables that are fixed by a seed. */
static inline rk_draws rk_syn_fixed(uint64_t seed, uint64_t row)
{
    return (rk_draws){.seed = seed, .stream = RK_RNG_TASK, .sample = row};
}

/* One of the lengths that parameters `min` (0: the longest only) and `max` allow. */
static inline int64_t rk_syn_length(const rk_synthetic *s, int min, int max, rk_draws *d)
{
    const int64_t least = rk_syn_int(s, min);
    return least > 0 ? rk_draw_between(d, least, rk_syn_int(s, max)) : rk_syn_int(s, max);
}

extern const rk_generator rk_gen_mqar, rk_gen_mqar_filler, rk_gen_needle, rk_gen_retrieval,
    rk_gen_two_hop, rk_gen_swap;
extern const rk_generator rk_gen_parity, rk_gen_s3, rk_gen_a5, rk_gen_s5;
extern const rk_generator rk_gen_copy, rk_gen_sort, rk_gen_reverse, rk_gen_addition, rk_gen_longbit;
extern const rk_generator rk_gen_classify, rk_gen_switched, rk_gen_topic;
extern const rk_generator rk_gen_othello, rk_gen_sudoku4;

#endif
