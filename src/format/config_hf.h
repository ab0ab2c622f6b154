/* config_hf.h: config.json of a Hugging Face folder. */
#ifndef RK_MODEL_CONFIG_HF_H
#define RK_MODEL_CONFIG_HF_H

#include "io/tensor_file.h"

/* What the config.json beside `foreign`, if there is one, says of a model's norms, into the
 * metadata of `canonical`, where the file itself says nothing. Errors  RK_ERR_FORMAT: it is no JSON
 * object, or its sizes are not those of the tensors; those of rk_map_open. */
rk_status rk_hf_read_config(rk_file *canonical, const rk_file *foreign, rk_error *err);

#endif
