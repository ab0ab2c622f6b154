/* adapter_names.h: what files call the tensors of adapters. */
#ifndef RK_TUNE_ADAPTER_NAMES_H
#define RK_TUNE_ADAPTER_NAMES_H

#include "format/scheme.h"

/* What a tensor of a file is. */
typedef enum rk_adapter_kind {
    RK_ADAPTER_A,         /* (r, in) */
    RK_ADAPTER_B,         /* (out, r) */
    RK_ADAPTER_MAGNITUDE, /* (out) */
    RK_ADAPTER_BLOCK,     /* of MiSS (r, out), of Bat (blocks, r, r) */
    RK_ADAPTER_START_A,
    RK_ADAPTER_START_B,
    RK_ADAPTER_WHOLE, /* a parameter of the model itself */
    RK_ADAPTER_KINDS
} rk_adapter_kind;

typedef struct rk_adapter_name {
    char param[RK_PARAM_NAME_MAX];   /* the parameter's own name: "blocks.0.att.key.weight" */
    char module[RK_TENSOR_NAME_MAX]; /* what the file calls it: "model.layers.0.attn.k_proj" */
    rk_adapter_kind kind;
} rk_adapter_name;

/* Take a tensor's name apart: the model's words, or those of Hugging Face classes, with and without
 * what peft puts before them; of a GGUF file (scheme: its names) llama.cpp's.
 * Errors  RK_ERR_UNSUPPORTED: a part of an adapter of another kind; RK_ERR_FORMAT: no name of a parameter.
 *         file is for sentences. */
rk_status rk_adapter_name_read(rk_adapter_name *out, const char *name, const rk_scheme *gguf,
                               const char *file, rk_error *err);

#endif
