/* scheme_forms.h: conversions of one tensor, as the form of a row says. */
#ifndef RK_MODEL_SCHEME_FORMS_H
#define RK_MODEL_SCHEME_FORMS_H

#include "format/scheme.h"

/* Convert a tensor of the foreign file to the canonical one, in place; t's name is for error
 * messages. New memory belongs to out. layer is -1 outside of layers. */
rk_status rk_form_import(rk_file *out, rk_file_tensor *t, const rk_scheme_row *row, long layer,
                         rk_error *err);
/* The inverse; stacks are handled in scheme.c. */
rk_status rk_form_export(rk_file *out, rk_file_tensor *t, const rk_scheme_row *row, rk_error *err);
/* Memory in the order of the dimensions: an exchanged tensor is transposed into a copy.
 * Errors  RK_ERR_UNSUPPORTED: blocks cannot be transposed. */
rk_status rk_form_straighten(rk_file *out, rk_file_tensor *t, rk_error *err);

/* What llama.cpp's files of RWKV-7's kind have beside tensors: it requires v0, v1, v2 in layer 0, too, with
 * the rank of a, and does not use them. Add such; are there; and restore those of the model. mixer is the
 * canonical names' beginning, "blocks.0.att.". */
rk_status rk_gguf_add_dummies(rk_file *foreign, const rk_file *canonical, const char *mixer,
                              rk_error *err);
bool rk_gguf_has_dummies(const rk_file *f);
rk_status rk_gguf_restore_unused(rk_file *out, const rk_file *foreign, const char *mixer,
                                 rk_error *err);

#endif
