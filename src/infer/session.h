/* session.h: what a session is made of, for the files of this layer. */
#ifndef RK_INFER_SESSION_H
#define RK_INFER_SESSION_H

#include "infer/scheduler.h"
#include "io/safetensors.h"

/* A stream, and a scheduler of its own for its calls. */
struct rk_session {
    rk_stream stream;
    rk_scheduler scheduler;
    rk_call call; /* of the stream, in its own scheduler or in that of a batch's first session */
};

/* rk_session_eval with the scores after each of the last n_rows tokens; logits (n_rows, n_vocab).
 */
rk_status rk_session_eval_rows(rk_session *s, const int32_t *tokens, int64_t n, float *logits,
                               int64_t n_rows, rk_error *err);
/* rk_session_eval without scores, which no abort stops: for few tokens. */
rk_status rk_session_eval_whole(rk_session *s, const int32_t *tokens, int64_t n, rk_error *err);
/* rk_session_state_save with more metadata and with tensors of these names, and without overwriting
 * if so asked. */
extern const char rk_state_logits[], rk_state_counts[];
rk_status rk_session_state_write(const rk_session *s, const char *path,
                                 const rk_file_contents *more, bool overwrite, rk_error *err);
/* How a file of states is to be read. */
typedef struct rk_state_reading {
    bool force;            /* accept the state of another model */
    rk_tuned_layout tuned; /* of tuned states; a saved state says its own order */
} rk_state_reading;
/* rk_session_state_load from a file that rk_tuned_file_open has opened. force: as in rk_state_reading. */
rk_status rk_session_state_read(rk_session *s, const rk_file *f, bool force, rk_error *err);

/* Does the file hold tuned initial states and nothing else? */
bool rk_file_is_tuned_state(const rk_file *f);
/* Metadata of a state file: the kernel path that its model was opened with. */
#define RK_STATE_KERNEL "kernel"
/* Does it hold a kernel path, which a model is opened with (rk_open_options.beside)? */
bool rk_file_is_kernel_state(const rk_file *f);
/* The model's initial state with those of the file in place of its matrices: f32, f64, bf16 or f16
 * (H, value, key), of every layer. Of a kernel path, the model's initial state where the
 * model was opened with it. On failure the state stays.
 * Errors  those of rk_session_tuned_load. */
rk_status rk_session_tuned_read(rk_session *s, const rk_file *f, rk_error *err);
/* The same as parameters of a model that was opened with them (rk_open_options), which are then saved with
 * it and are what all its streams begin with. */
rk_status rk_model_tuned_read(rk_model *m, const rk_file *f, rk_error *err);

#endif
