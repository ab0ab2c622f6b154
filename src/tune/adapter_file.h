/* adapter_file.h: adapters in files, whoever wrote them.
 *
 *   folder             Hugging Face peft: adapter_config.json and adapter_model.safetensors of LORA (rsLoRA,
 *                      DoRA), MISS and BONE
 *   .pth, .safetensors RWKV-PEFT: "blocks.0.att.key.lora_A", ".lora_B", ".disha", older ".bone", beside
 *                      whole parameters; the start of PiSSA in a file init_pissa.pth
 *   .gguf              llama.cpp: LoRA for its rwkv6 and rwkv7
 *
 * What a folder or a .safetensors file of ours says beyond these formats stands in its metadata, which
 * others do not read: method, alpha, architecture and fingerprint of the base.
 *
 * A format is a file adapter_*.c and a row in adapter_file.c. */
#ifndef RK_TUNE_ADAPTER_FILE_H
#define RK_TUNE_ADAPTER_FILE_H

#include "tune/adapter_set.h"

typedef struct rk_adapter_reading {
    double alpha;      /* of LoRA in files that store none (RWKV-PEFT's); 0: not given */
    const char *start; /* what PiSSA and its kin began with, an adapter of either kind; NULL: looked
                        * for in the same folder, as init_pissa.pth */
} rk_adapter_reading;

/* Read an adapter. Sizes that its files do not show are 0, and so is the scale of LoRA whose alpha is
 * neither there nor given, until rk_adapter_set_check. how may be NULL: nothing is given.
 * Memory  at most 64 MiB + 4 times the files.
 * Errors  RK_ERR_FORMAT: file, tensor or key, found, expected; RK_ERR_UNSUPPORTED: an adapter of a kind
 *         that is not computed here; RK_ERR_IO, RK_ERR_NOMEM. */
rk_status rk_adapter_open(rk_adapter_set **out, const char *path, const rk_adapter_reading *how,
                          rk_error *err);

/* The same of a file that is open, which is no folder's. */
rk_status rk_adapter_open_file(rk_adapter_set **out, const rk_file *f,
                               const rk_adapter_reading *how, rk_error *err);

typedef enum rk_adapter_format {
    RK_ADAPTER_BY_ENDING, /* .pth or .pt, .safetensors: RWKV-PEFT's; .gguf; any other: a folder */
    RK_ADAPTER_HF,
    RK_ADAPTER_RWKV_PEFT,
    RK_ADAPTER_GGUF,
} rk_adapter_format;

typedef struct rk_adapter_writing {
    rk_adapter_format format;
    bool overwrite;
    const char *base; /* path or name of the model, for those who read a folder; NULL: not said */
} rk_adapter_writing;

/* Write an adapter. A folder that exists keeps its other files. What a format cannot say is put
 * so that it can: PiSSA's start goes into a LoRA of twice the rank, from which rk_adapter_open takes it
 * out again; into a .gguf file MiSS goes as a LoRA.
 * Errors  RK_ERR_UNSUPPORTED: the format has no such form; RK_ERR_ARG: it exists; those of the writers. */
rk_status rk_adapter_save(const rk_adapter_set *s, const char *path, const rk_adapter_writing *how,
                          rk_error *err);

#endif
