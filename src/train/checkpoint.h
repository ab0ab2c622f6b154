/* checkpoint.h: a training run on disk, so that it can die at any moment and go on to the bit.
 *
 * DIR/checkpoint-STEP/ holds model.safetensors (f32 weights), optim.safetensors (what the optimiser
 * keeps, as m.NAME and v.NAME) and state.json: step, options, numerics path, size and XXH3-64 of both files,
 * and at its end a checksum of itself. A checkpoint is made in a temporary folder, synced, renamed,
 * and read back; only then are older ones removed, all but one. */
#ifndef RK_TRAIN_CHECKPOINT_H
#define RK_TRAIN_CHECKPOINT_H

#include "base/log.h"
#include "io/safetensors.h"
#include "train/noise.h"

/* An f32 array of the trainer under its checkpoint name. */
typedef struct rk_named_array {
    const char *name;
    int64_t dims[5];
    int n_dims;
    float *data;
    int64_t n; /* elements */
} rk_named_array;

typedef struct rk_run_state {
    int64_t step;
    int64_t tokens;         /* that the steps were made of */
    int64_t skipped_in_row; /* steps without an update at the end of those made */
    rk_noise noise;
    const char *numerics;   /* instruction-set path the run is on */
    const rk_pair *options; /* what the run depends on: names of options and their values */
    int64_t n_options;
    /* The model that the run began with, of which the checkpoint holds what is trained alone; NULL:
     * the checkpoint holds all weights. */
    const char *base;
    uint64_t base_checksum;
} rk_run_state;

/* Arrays that are saved together. */
typedef struct rk_array_set {
    const char *prefix; /* "m": saved as m.NAME; NULL: under their names */
    const rk_named_array *at;
    int64_t n;
} rk_array_set;

/* What a trainer is made of: weights, and what it keeps for those that are trained: its optimiser's
 * states, and running means. */
enum { RK_RUN_STATES_MAX = 4 };
typedef struct rk_run_arrays {
    rk_array_set weights, states[RK_RUN_STATES_MAX];
    int n_states;
} rk_run_arrays;

/* Write DIR/checkpoint-STEP, read it back, remove the run's older ones but the last
 * (checkpoint_dir.h); what cannot be removed is a warning on the log.
 * Errors  RK_ERR_IO, RK_ERR_NOMEM; RK_ERR_ARG: the name belongs to something else. The checkpoints
 *         that were there are then still there. */
rk_status rk_checkpoint_save(const char *dir, const rk_run_state *s, const rk_run_arrays *a,
                             const rk_log *log, rk_error *err);

/* Bytes that a checkpoint of these arrays takes, up to some kilobytes. */
uint64_t rk_checkpoint_bytes(const rk_run_arrays *a);

/* A checkpoint that has been found whole. */
typedef struct rk_checkpoint rk_checkpoint;
/* The newest valid one in DIR, *out NULL when there is none. Broken ones are named on the log and
 * passed over. */
rk_status rk_checkpoint_find(rk_checkpoint **out, const char *dir, const rk_log *log,
                             rk_error *err);
void rk_checkpoint_close(rk_checkpoint *c);
/* The path of the model file that the run in DIR began with, from the newest checkpoint that says so
 * or none; *path is NULL when there is none, and to be freed. */
rk_status rk_checkpoint_find_base(char **path, const char *dir, rk_error *err);
/* The value of an option of the run in DIR, from its newest checkpoint that can be read; NULL when there
 * is none or it does not say so; to be freed. */
rk_status rk_checkpoint_find_option(char **value, const char *dir, const char *name, rk_error *err);
/* All that its state.json says (run_state.h). */
const struct rk_saved_state *rk_checkpoint_state(const rk_checkpoint *c);
const char *rk_checkpoint_path(const rk_checkpoint *c);
int64_t rk_checkpoint_step(const rk_checkpoint *c);
int64_t rk_checkpoint_skipped_in_row(const rk_checkpoint *c);
rk_noise rk_checkpoint_noise(const rk_checkpoint *c);
const char *rk_checkpoint_numerics(const rk_checkpoint *c);
/* The model file that the run began with, NULL when it began with none, and rk_base_checksum of it. */
const char *rk_checkpoint_base(const rk_checkpoint *c, uint64_t *checksum);
/* Compare options with those of the first call. One that state.json does not name, because the
 * version that wrote it had no such option, had its default then; defaults (n_options) has the
 * names of options in the same order, and the value NULL where there is no default.
 * Errors  RK_ERR_ARG: an option differs; names it and both values. */
rk_status rk_checkpoint_check_options(const rk_checkpoint *c, const rk_pair *options,
                                      const rk_pair *defaults, int64_t n_options, rk_error *err);
/* Fill the arrays' data. Errors  RK_ERR_FORMAT: file, tensor, found, expected. */
rk_status rk_checkpoint_restore(const rk_checkpoint *c, const rk_run_arrays *a, rk_error *err);

#endif
