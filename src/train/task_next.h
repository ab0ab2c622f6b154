/* task_next.h: learning to predict the next token. */
#ifndef RK_TRAIN_TASK_NEXT_H
#define RK_TRAIN_TASK_NEXT_H

#include "train/task.h"

/* The task of --data, read with --tokenizer, which decides n_vocab, or with the vocabulary of base or of
 * packed data.
 * Errors  those of rk_tokenizer_new, of rk_model_vocabulary and of rk_dataset_init. */
rk_status rk_next_token_open(rk_task **out, rk_run_params *p, const rk_model *base, rk_error *err);
/* The same without data, for those who bring their own windows: it has no examples. */
rk_status rk_next_token_new(rk_task **out, const rk_train_params *p, rk_error *err);

/* A window of ctx_len + 1 tokens as the fields of an example: each token and the one that follows. */
void rk_next_token_put(const rk_task *t, const int32_t *window, void *const *fields);

#endif
