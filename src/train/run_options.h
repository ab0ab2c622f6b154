/* run_options.h: what a training run is told, and which of it has to stay the same when the run is
 * continued. */
#ifndef RK_TRAIN_RUN_OPTIONS_H
#define RK_TRAIN_RUN_OPTIONS_H

#include "data/dataset.h"
#include "io/safetensors.h"
#include "tune/method.h"

enum { RK_RUN_SIZES_MAX = 32, RK_TASK_PARAMS_MAX = 8 };

/* Of the task test-time. */
typedef struct rk_test_time_options {
    const char *task; /* a synthetic one, which draws the problems; NULL: this is no such run */
    int64_t chains, problems, max_tokens;
    double temp, beta; /* of chains; of the divergence in the loss */
    int verifier;      /* 1: right answers are worth something */
    const char *judge; /* model file; NULL: none */
} rk_test_time_options;

/* Learning from another model. */
typedef struct rk_distill_options {
    const char *teacher; /* its file or folder; NULL: none */
    int start;           /* what mixers begin with, distill.h */
    const char *layers;  /* that are converted, hybrid.h; NULL: all, or those of the student */
    double kl_weight, ce_weight; /* of the divergence, and of the cross-entropy beside it */
    bool adaptive;               /* both directions of the divergence (ops.h) */
    bool detached;               /* what the first layer hands to the others has no gradient */
    /* Of pairs of answers, rk_preference_how: the model that stays as it is, NULL: the one to begin with. */
    const char *reference;
    double beta, smoothing;
    int hinge;
} rk_distill_options;

/* How a run's record names the vocabulary of the model that it began with. */
#define RK_TOKENIZER_OF_MODEL "of the model"

typedef struct rk_run_params {
    rk_train_params model; /* its sizes are not looked at, but these: */
    rk_size sizes[RK_RUN_SIZES_MAX];
    int64_t n_sizes; /* n_vocab joins them, which the tokenizer decides */
    const char *task;
    rk_size task_params[RK_TASK_PARAMS_MAX]; /* its own, that were given */
    int64_t n_task_params;
    const char *teacher; /* model file of the task observer; NULL: none */
    rk_test_time_options test_time;
    const char *dir;
    rk_data_options data;
    const char
        *data_weight;      /* its weights as words with commas between them; NULL: none are given */
    const char *tokenizer; /* NULL: that of model.init_from, or of packed data */
    char tokenizer_room[256]; /* for its name */
    rk_distill_options distill;
    rk_tune_options tune;                  /* method NULL: the model itself is trained */
    char tune_words[256], tune_rates[256]; /* what the methods train, and at which rates */
    const char *quant;                     /* type of frozen matrices in memory, rk_quant_names */
    bool quant_all;                        /* embedding and head, too */
    char *
        start_made; /* a file that tuning has made before the run entered its folder, which a failing run
                       * takes back; to be freed */
    bool folder_made; /* the folder, too */
    double val_frac;
    int64_t eval_every, save_every; /* steps; >= 1 */
    bool resume;
} rk_run_params;

enum { RK_RUN_OPTIONS_MAX = 128, RK_RUN_VALUE_MAX = 64 };

/* Names and values of the options that a result depends on, as text; a double has 17 digits, so
 * equal text means equal bits. Long texts stay those of the rk_run_params. */
typedef struct rk_run_options {
    rk_pair pairs[RK_RUN_OPTIONS_MAX];
    char values[RK_RUN_OPTIONS_MAX][RK_RUN_VALUE_MAX];
    int64_t n;
} rk_run_options;

/* Add a size, or give it another value. There is room for those of any architecture. */
void rk_run_set_size(rk_run_params *p, const char *name, double value);
/* What `rwkv train` does where it is not told otherwise. */
rk_run_params rk_run_defaults(void);
/* data_checksum stands for the file of --data: it may move, but not change. */
void rk_run_options_init(rk_run_options *o, const rk_run_params *p, uint64_t data_checksum);
/* Refuse the options of a list (ends with NULL) that have another value than by default: "--dropout", and what
 * `why` says of it. */
rk_status rk_run_options_refuse(const rk_run_params *p, const char *const *names, const char *why,
                                rk_error *err);
/* The same rows with their defaults for p's architecture; those that have none have the value NULL. */
void rk_run_options_defaults(rk_run_options *o, const rk_run_params *p);

#endif
