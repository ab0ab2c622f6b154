/* shards.h: models in several files, as Hugging Face folders have them. */
#ifndef RK_IO_SHARDS_H
#define RK_IO_SHARDS_H

#include "io/tensor_file.h"

/* Is this path a folder, or by its name an index ("model.safetensors.index.json")? */
bool rk_shards_is(const char *path);
/* Open the model in a folder (its index, or its only model file), or all files of an index as one.
 * The index names files of its own folder only.
 * Errors  RK_ERR_FORMAT: no model in the folder; the index is no JSON object with a "weight_map" of
 *         names, or counts other tensors than its files hold; those of rk_file_open. */
rk_status rk_shards_open(rk_file **out, const char *path, rk_error *err);

#endif
