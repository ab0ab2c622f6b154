/* pth.h: writing what torch.load(weights_only=True) reads: a dictionary of tensors. Reading is
 * tensor_file.h's. */
#ifndef RK_IO_PTH_H
#define RK_IO_PTH_H

#include "io/tensor_file.h"

/* Write a .pth file: a zip archive with a pickle and, each at a multiple of 64 bytes, the tensors.
 * The file has no place for metadata, so c->meta is not written. The same contents give the same
 * bytes; the file appears whole or not at all.
 * Errors  RK_ERR_UNSUPPORTED: a type that PyTorch lacks; RK_ERR_ARG: a shape overflows, the file
 *         exists; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_pth_write(const char *path, const rk_file_contents *c, bool overwrite, rk_error *err);

#endif
