/* bench.h: what the files of `rwkv bench` share: figures measured round by round, the machine's own
 * limits, memory, the two kinds of work. */
#ifndef RK_CLI_BENCH_H
#define RK_CLI_BENCH_H

#include "cli/adapter_in.h"
#include "cli/shape.h"

enum { BENCH_ROUNDS_MAX = 100, BENCH_VALUES_MAX = 2 * BENCH_ROUNDS_MAX };

/* One thing measured in each round, once or on both sides of what it is compared with. Rates of work are told by their median, limits of the machine by
 * their best: nothing can be faster than them by luck. */
typedef struct bench_figure {
    const char *key; /* in JSON */
    const char *unit;
    double scale; /* from what is measured to the unit */
    int n;
    bool best;
    char label[64];
    double of[BENCH_VALUES_MAX]; /* n, in the unit; sorted by bench_figure_value */
} bench_figure;

void bench_figure_add(bench_figure *f, double measured);
/* Median or best; 0 when nothing was measured. */
double bench_figure_value(bench_figure *f);

typedef struct bench_options {
    rk_common_options common;
    const char *model;
    rk_adapter_in adapter;
    int64_t n_prompt, n_gen, n_streams, n_rounds;
    bool train, json;
    rk_train_params train_params;
    rk_shape_options shape; /* of the model that is trained */
    int64_t n_vocab;
    int dtype; /* position in the choices of its row */
} bench_options;

/* ---- the machine, bench_machine.c ---- */

typedef struct bench_machine bench_machine;
/* Takes 512 MiB: more than caches hold. */
rk_status bench_machine_new(bench_machine **out, rk_engine *e, rk_error *err);
void bench_machine_free(bench_machine *m);
/* All threads read mapped pages of 4 KiB: bytes a second. */
double bench_machine_read(bench_machine *m);
/* All threads compute in registers: operations a second, a multiply-add being two. */
double bench_machine_f32(bench_machine *m);
double bench_machine_i8(bench_machine *m);
/* Bytes that the last level of the caches that a core has holds; 0: nobody knows. */
double bench_machine_cache(void);

/* Why a share of a limit is above one; NULL: it is not. Weights that caches hold are read faster than
 * memory; anything else says that the machine was slower while its limit was measured. */
const char *bench_excess(double share, bool in_caches);

/* ---- memory, bench_child.c ---- */

/* Serve one stream in a child process: open the model, read -p tokens, write -n. *peak_bytes is the
 * most memory it had resident. Before any thread is made. Errors  the child's own; RK_ERR_IO. */
rk_status bench_child_peak(const bench_options *o, double *peak_bytes, rk_error *err);

/* ---- work ---- */

/* Tokens drawn at random: what they are costs no time, and weights of a trained model see more
 * different inputs than in a text that repeats itself. */
void bench_tokens(int32_t *tokens, int64_t n, int64_t n_vocab);
/* Tell progress on stderr unless -q: "round 2 of 5". Stops with the line's end after the last. */
void bench_progress(const bench_options *o, int64_t round);

/* Measure and print. */
rk_status bench_model(const bench_options *o, rk_engine *e, double peak_bytes, rk_error *err);
rk_status bench_train(const bench_options *o, rk_engine *e, rk_error *err);

/* Print the figures as a table, with their spread. */
void bench_print(bench_figure *const *figures, size_t n);
/* Put the figures into an object, and their least and most into its "spread". Takes object; NULL
 * when memory ran out. */
json_t *bench_json(json_t *object, bench_figure *const *figures, size_t n);

#endif
