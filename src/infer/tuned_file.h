/* tuned_file.h: files of tuned initial states, in the orders in which programs keep them.
 *
 *   order          matrix of a head       written by
 *   vk             (value, key)           RWKV-PEFT (.pth), and this program
 *   kv, ai00       (key, value)           web-rwkv and ai00 (.state, .st: safetensors of f16)
 *   rwkv.cpp       (value, key)           rwkv.cpp: f32 and no header; of every layer the rows before the
 *                                         first token of both mixes (C each), then its matrices */
#ifndef RK_INFER_TUNED_FILE_H
#define RK_INFER_TUNED_FILE_H

#include "model/model.h"

/* The order that a file has by its name's ending: kv of .state and .st, vk of any other. */
rk_tuned_layout rk_tuned_layout_of(const char *path);

/* The n_head matrices (n, n) of x are transposed in place. */
void rk_tuned_transpose(float *x, int64_t n_head, int64_t n);

/* Are there initial states in f, alone or beside an adapter's matrices? */
bool rk_file_holds_tuned_states(const rk_file *f);

/* Open a file of states, tuned or saved, or a weighted sum of tuned ones, "A.pth:0.7,B.pth:0.3", where no file
 * bears that name. Of an adapter's file the states alone are there. Tuned ones come out as (head, value, key) whatever the file's
 * order; a saved state says its own. m: whose sizes a file without a header is read by; NULL: not known.
 * Errors  RK_ERR_ARG: no model for such a file; RK_ERR_FORMAT: its size is not that of the model's states,
 *         or it is a state in the middle of a text; those of rk_file_open. */
rk_status rk_tuned_file_open(rk_file **out, const char *path, rk_tuned_layout layout,
                             const rk_model *m, rk_error *err);

/* Write tuned states, (head, value, key) in f; a file without a header takes matrices of every layer
 * from 0 on. half: as f16, else f32. .pth or .pt, rwkv.cpp's, any other ending is safetensors.
 * Errors  RK_ERR_FORMAT: a value that the type cannot hold; RK_ERR_UNSUPPORTED: states that the order
 *         has no place for; those of the writers. */
rk_status rk_tuned_file_write(const rk_file *f, const char *path, rk_tuned_layout layout, bool half,
                              bool overwrite, rk_error *err);

#endif
