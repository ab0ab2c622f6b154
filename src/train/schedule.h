/* schedule.h: the learning rate of a step: a table of schedules. */
#ifndef RK_TRAIN_SCHEDULE_H
#define RK_TRAIN_SCHEDULE_H

#include "base/error.h"

typedef struct rk_schedule rk_schedule;

typedef struct rk_schedule_kind {
    const char *name;
    /* The rate after `done` steps, warm-up left out. */
    double (*rate)(const rk_schedule *s, double done);
} rk_schedule_kind;

struct rk_schedule {
    double lr, lr_final;
    int64_t warmup, steps;
    int64_t from; /* steps made before it began */
    const rk_schedule_kind *kind;
    double decay_frac; /* of wsd: the share of all steps in which the rate falls */
};

extern const rk_schedule_kind rk_schedules[]; /* the first is the default */
extern const int rk_n_schedules;
/* NULL when there is none of this name. */
const rk_schedule_kind *rk_schedule_find(const char *name);
/* Refuse a name that there is not. */
rk_status rk_schedule_check(const char *name, rk_error *err);

/* The rate for the step before which `done` steps were made, done in [0, steps). */
double rk_schedule_lr(const rk_schedule *s, int64_t done);

#endif
