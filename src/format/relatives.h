/* relatives.h: models of the family that are known and not read here. */
#ifndef RK_MODEL_RELATIVES_H
#define RK_MODEL_RELATIVES_H

#include "io/tensor_file.h"

/* Refuse a file that a tensor or its metadata shows to be one of them: read as the version it
 * resembles it would run and be wrong. Errors  RK_ERR_UNSUPPORTED: file, what shows it, what it is.
 */
rk_status rk_refuse_relatives(const rk_file *f, rk_error *err);
/* The architecture of another family that the file says it is of, one of those that are described
 * and converted although they are not run; NULL: none of them. */
const char *rk_relative_arch(const rk_file *f);

/* Metadata of a .gguf file in a .safetensors file: this before their key, and their bytes in
 * hexadecimal digits. */
#define RK_GGUF_KEPT "gguf:"

#endif
