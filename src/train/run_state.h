/* run_state.h: state.json of a checkpoint, written and read. */
#ifndef RK_TRAIN_RUN_STATE_H
#define RK_TRAIN_RUN_STATE_H

#include "train/checkpoint.h"

#define RK_SAVED_MODEL "model.safetensors"
#define RK_SAVED_OPTIM "optim.safetensors"
enum { RK_SAVED_COUNT = 2, RK_SAVED_MEMBERS_MAX = 160 };

typedef struct rk_saved_file {
    uint64_t bytes, checksum;
} rk_saved_file;

/* What state.json said. */
typedef struct rk_saved_state {
    int64_t step, skipped_in_row;
    int64_t tokens; /* 0: earlier versions did not say it */
    rk_noise noise;
    const char *numerics;
    const char *base; /* NULL: none */
    uint64_t base_checksum;
    rk_saved_file files[RK_SAVED_COUNT]; /* in the order model, optim */
    char *text;                          /* holds the members' strings */
    rk_pair members[RK_SAVED_MEMBERS_MAX];
    int64_t n_members;
} rk_saved_state;

/* DIR/state.json, which must not exist. */
rk_status rk_run_state_write(const char *dir, const rk_run_state *s,
                             const rk_saved_file files[RK_SAVED_COUNT], rk_error *err);
/* Errors  RK_ERR_FORMAT: cut, changed or not such a file; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_saved_state_read(rk_saved_state **out, const char *dir, rk_error *err);
/* The same from a file that is mapped, or memory that looks so. */
rk_status rk_saved_state_read_map(rk_saved_state **out, const rk_map *m, rk_error *err);
void rk_saved_state_free(rk_saved_state *s);
/* The value of an option, NULL when it was not recorded. */
const char *rk_saved_state_option(const rk_saved_state *s, const char *name);

#endif
