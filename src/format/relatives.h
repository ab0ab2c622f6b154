/* relatives.h: models related to RWKV that are known and not read here. */
#ifndef RK_MODEL_RELATIVES_H
#define RK_MODEL_RELATIVES_H

#include "io/tensor_file.h"

/* Refuse a file whose tensors or metadata show that it is one of them: taken for the version that
 * it resembles, it would run and give wrong results. Errors  RK_ERR_UNSUPPORTED: names the file,
 * the evidence and the model. */
rk_status rk_refuse_relatives(const rk_file *f, rk_error *err);
/* The architecture of another family that the file's metadata name, if it is one of those that are
 * described and converted although they cannot be run; else NULL. */
const char *rk_relative_arch(const rk_file *f);

/* Prefix of the keys under which a .safetensors file keeps the metadata of a .gguf file, as
 * hexadecimal digits of their bytes. */
#define RK_GGUF_KEPT "gguf:"

#endif
