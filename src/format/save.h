/* save.h: assembling the contents of a model's file, for the source files that write one container
 * each. */
#ifndef RK_MODEL_SAVE_H
#define RK_MODEL_SAVE_H

#include "format/config_hf.h"
#include "format/format.h"
#include "format/scheme.h"
#include "io/gguf.h"

/* The contents of a file: `to` are the tensors to be written, `from` those that they are made of.
 */
typedef struct rk_save {
    const rk_model *m; /* NULL: the tensors are of no architecture here */
    const rk_save_options *o;
    const char *path;
    const rk_hf_class *hf;   /* of a Hugging Face folder; NULL: it is another kind of file */
    const rk_scheme *scheme; /* of the names; NULL: the model's own */
    bool vectors_f32;        /* the container has vectors in f32 only */
    rk_file *canonical;      /* the model's tensors under its own names */
    rk_file *exported;       /* under those of a scheme; NULL: no scheme */
    const rk_file *from;
    rk_file_tensor *to;
    int64_t n;
    int64_t bytes_done, bytes_all; /* of the tensors written; bytes_all 0: not summed yet */
} rk_save;

/* The parameter that a tensor of s->from belongs to; tensors that only the container has count as
 * the parameter that they were made of. */
const rk_param *rk_save_param(const rk_save *s, const rk_file_tensor *t);
/* Is it a parameter that GGUF has in f32: anything but a factor of matrix products? */
bool rk_save_is_vector(const rk_param *p);
/* The type that a vector had before one of our GGUF files made it f32. */
rk_dtype rk_save_type_before(const rk_model *m, const rk_param *p, rk_dtype own);
rk_status rk_save_source(void *user, int64_t i, rk_out *out, rk_error *err);

/* That of the options, or of the path's ending. */
rk_save_container rk_save_container_used(const rk_save *s);

/* Write s->to. */
rk_status rk_save_gguf(rk_save *s, rk_error *err);
rk_status rk_save_hf(rk_save *s, rk_error *err);

/* "ctx_len", and the sizes that stand in metadata, each where it is other than what it is taken for
 * without; text keeps the numbers. Returns how many there are. */
enum { RK_SAVE_PAIRS_MAX = 24, RK_SAVE_TEXT_MAX = 32 };
int rk_save_pairs(const rk_save *s, rk_pair *pairs, char (*text)[RK_SAVE_TEXT_MAX]);

#endif
