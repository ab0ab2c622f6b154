/* adapter_formats.h: the formats of adapters: one file each, and a row in adapter_file.c. */
#ifndef RK_TUNE_ADAPTER_FORMATS_H
#define RK_TUNE_ADAPTER_FORMATS_H

#include "base/buf.h"
#include "io/tensor_file.h"
#include "tune/adapter_file.h"

typedef struct rk_adapter_format_row {
    const char *name;           /* as options have it */
    const char *const *endings; /* of files that are written so; ends with NULL */
    /* Add what lies at path to an empty set; f is the file that is open, NULL where path is a folder. */
    rk_status (*read)(rk_adapter_set *s, const char *path, const rk_file *f,
                      const rk_adapter_reading *how, rk_error *err);
    rk_status (*write)(const rk_adapter_set *s, const char *path, const rk_adapter_writing *how,
                       rk_error *err);
} rk_adapter_format_row;

extern const rk_adapter_format_row rk_adapter_hf, rk_adapter_plain, rk_adapter_gguf;

/* ---- reading ---- */

/* What our own files say in their metadata, into the set. */
rk_status rk_adapter_meta_read(rk_adapter_set *s, const rk_file *f, rk_error *err);
/* The start that `how` names, or, where it names none, that of beside (which may be missing). */
rk_status rk_adapter_start_read(rk_adapter_set *s, const char *beside,
                                const rk_adapter_reading *how, bool *found, rk_error *err);

/* ---- writing ---- */

enum { RK_ADAPTER_PAIRS_MAX = 8, RK_ADAPTER_TEXT_MAX = 40 };

/* Metadata of a set, "format" first; returns how many. text keeps the numbers. */
int rk_adapter_meta(const rk_adapter_set *s, bool stacked, rk_pair *pairs,
                    char (*text)[RK_ADAPTER_TEXT_MAX]);

/* f32 tensors being put together: rk_file holds names and memory. */
rk_status rk_adapter_put(rk_file *f, const char *name, int n_dims, const int64_t *dims,
                         const float *data, rk_error *err);
/* What stands beside parts, under prefix + name. */
rk_status rk_adapter_put_whole(rk_file *f, const rk_adapter_set *s, const char *prefix,
                               rk_error *err);
/* Rows of f as the contents of a file; to be freed. NULL: memory ran out. */
rk_file_tensor *rk_adapter_rows(const rk_file *f);

#endif
