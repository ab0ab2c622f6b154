/* config_hf.h: config.json of a Hugging Face folder. */
#ifndef RK_MODEL_CONFIG_HF_H
#define RK_MODEL_CONFIG_HF_H

#include "base/buf.h"
#include "format/scheme.h"

/* What the config.json beside `foreign`, if there is one, says of a model's norms, into the
 * metadata of `canonical`, where the file itself says nothing. Errors  RK_ERR_FORMAT: it is no JSON
 * object, or its sizes are not those of the tensors; those of rk_map_open. */
rk_status rk_hf_read_config(rk_file *canonical, const rk_file *foreign, rk_error *err);

/* The model class that an architecture is written for: the names of its tensors and what its
 * config.json says. */
typedef struct rk_hf_class rk_hf_class;
/* NULL: there is none for this architecture, of fla or of the others. */
const rk_hf_class *rk_hf_class_of(const rk_arch *arch, bool fla);
const rk_scheme *rk_hf_class_scheme(const rk_hf_class *c);
/* What those who read only config.json take a size for that stands in metadata. */
double rk_hf_class_implies(const rk_hf_class *c, const rk_model *m, const rk_size_spec *size);
/* The members of config.json, into an object that grows; and all of it. */
void rk_hf_put_members(rk_buf *b, const rk_hf_class *c, const rk_model *m, rk_dtype dtype);
void rk_hf_put_config(rk_buf *b, const rk_hf_class *c, const rk_model *m, rk_dtype dtype);

#endif
