/* task.h: what a model is trained on.
 *
 * A task is its examples and how wrong a model's outputs for them are. An example is a fixed set of
 * arrays, the task's fields: those that bear the name of one of the model's inputs are given to it,
 * the loss sees all, and "begins", i32 for each token, tells where a sequence begins anew
 * (rk_ctx.begins). Example `index` is a pure function of the task and of its number, so a run that
 * is continued needs no more than its step. */
#ifndef RK_TRAIN_TASK_H
#define RK_TRAIN_TASK_H

#include "model/model.h"
#include "train/run_options.h"

enum { RK_TASK_FIELDS_MAX = 8, RK_TASK_METRICS_MAX = 4 };

/* An array of every example, RK_F32 or RK_I32. In a batch of n its tensor is (n, dims). */
typedef struct rk_field {
    const char *name;
    rk_dtype dtype;
    int n_dims;
    int64_t dims[RK_MAX_DIMS - 1];
} rk_field;

/* A forward pass over n examples, for a task to judge. */
typedef struct rk_pass {
    const rk_model *model;
    rk_tensor *const *fields; /* in the task's order; without data while planning */
    rk_tensor *const *out;    /* the model's outputs */
    rk_tensor *const *state;  /* its states after the last token, as rk_forward.state */
    bool recompute;           /* what can be computed again in the backward pass is not kept */
    double dropout;           /* for tasks that run the model themselves */
    double share;    /* of a loss in the mean over the batch, and the seed of its gradient */
    double *metrics; /* sums over examples, to be added to; NULL while planning, when tensors that
                      * they need are to be made all the same */
} rk_pass;

typedef struct rk_task rk_task;
struct rk_task {
    const char *name;
    rk_field fields[RK_TASK_FIELDS_MAX];
    int n_fields;
    int64_t n_rows;        /* that an example is in a forward, which dropout counts; 0: one */
    int64_t n_losses;      /* of an example; the mean of those that count is the loss */
    int64_t n_val;         /* examples held out for validation */
    int64_t n_data;        /* how much data there is, in units; 0: examples are drawn without end */
    uint64_t checksum;     /* of the data: a resumed run must have the same */
    const char *unit;      /* what is counted, in the plural: "tokens" */
    const char *loss_unit; /* "nats a token" */
    /* Another unit for validation losses: its name in results, as text, its size in loss_unit. */
    struct {
        const char *key, *text;
        double size; /* 0: there is none */
    } also;
    char about[48]; /* an example in the curve's title: "windows of 512 tokens" */
    const char *metrics[RK_TASK_METRICS_MAX]; /* means over examples, logged beside the loss */
    int n_metrics;
    const char *curve, *curve_unit; /* which of "loss" and the metrics is drawn, and its axis */

    /* Write example `index`, or the i-th that is held out, into an array for each field. */
    void (*example)(const rk_task *t, uint64_t index, void *const *fields);
    void (*held_out)(const rk_task *t, int64_t i, void *const *fields);
    /* How many losses of this example count. NULL: all n_losses. Others are 0. */
    int64_t (*counted)(const rk_task *t, void *const *fields);
    bool runs_model; /* `losses` runs the model itself; there are no outputs */
    bool detached;   /* what blocks hand on (rk_arch.carry) is passed without a gradient */
    /* Losses of the pass (n * n_losses elements), and its metrics. */
    rk_tensor *(*losses)(rk_ctx *ctx, const rk_task *t, const rk_pass *p);
    /* Where the task trains something beside the model that is none of it, such as maps from its states: put
     * it behind m's parameters (rk_model_add_params), before the trainer is made, and get ready to make examples
     * that depend on m; and write what there is beside the model into folder dir. NULL: there is nothing. */
    rk_status (*attach)(const rk_task *t, rk_model *m, rk_engine *e, rk_error *err);
    rk_status (*save)(const rk_task *t, const rk_model *m, const char *dir, rk_error *err);
    void (*close)(rk_task *t); /* NULL: nothing to free */
};

/* Frees t, which may be NULL. */
void rk_task_close(rk_task *t);

/* ---- a batch: examples in memory, each field's end to end ---- */

typedef struct rk_batch {
    void *fields[RK_TASK_FIELDS_MAX];
} rk_batch;

/* Bytes that n examples take. */
size_t rk_batch_bytes(const rk_task *t, int64_t n);
rk_status rk_batch_init(rk_batch *b, const rk_task *t, int64_t n, rk_error *err);
void rk_batch_deinit(rk_batch *b);
/* Where example i lies, an address for each field. */
void rk_batch_at(const rk_batch *b, const rk_task *t, int64_t i, void **fields);
/* Losses of the first n examples that count. */
int64_t rk_batch_counted(const rk_batch *b, const rk_task *t, int64_t n);
/* Tensors of examples [first, first + n); b NULL: without data. */
void rk_batch_tensors(rk_ctx *ctx, const rk_batch *b, const rk_task *t, int64_t first, int64_t n,
                      rk_tensor **fields);

/* ---- the tasks of `rwkv train` ---- */

struct rk_generator;

typedef struct rk_task_kind {
    const char *name;
    /* Read what the options name. base: the model of --init-from, whose vocabulary goes with it; NULL:
     * a new one, whose sizes are set that the data decide. */
    rk_status (*open)(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);
    const struct rk_generator *generator; /* of samples that are drawn; NULL: they come from data */
    const char *const
        *without; /* options of a run that it has no use for, which are refused; ends with
                                 * NULL; may be NULL */
} rk_task_kind;

extern const rk_task_kind rk_task_kinds[];
extern const int rk_n_task_kinds;
/* NULL when there is none of this name. */
const rk_task_kind *rk_task_find(const char *name);
/* The same; RK_ERR_ARG and a sentence with all names. */
rk_status rk_task_choose(const rk_task_kind **out, const char *name, rk_error *err);

#endif
