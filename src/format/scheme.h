/* scheme.h: other programs' names and layouts of a model's tensors.
 *
 * Everything above works with the names of BlinkDL/RWKV-LM ("blocks.0.att.w1"), and for transformers
 * with those of Hugging Face, here called canonical. A scheme is a source file with a table of rows, each of which maps a name to a name
 * and says how the values are laid out, and one line in scheme.c. Importing and exporting walk the
 * same rows in the two directions. Matrices stay where they are; tensors with another order or
 * other values are copied, one by one. */
#ifndef RK_MODEL_SCHEME_H
#define RK_MODEL_SCHEME_H

#include "model/model.h"

enum { RK_TENSOR_NAME_MAX = 128 };

/* How a foreign tensor and its canonical one differ. */
typedef enum rk_form {
    RK_FORM_SAME,      /* at most by dimensions of length 1 */
    RK_FORM_EXCHANGED, /* the last two dimensions are exchanged */
    RK_FORM_SWAPPED, /* the same, and of five parts along its first dimension foreign has the first and
                          * the fourth in each other's place: GGUF's rwkv6qwen2 */
    RK_FORM_HEADS,       /* (C); canonical (H, N) */
    RK_FORM_FLAT,        /* of any shape; canonical (C) */
    RK_FORM_SQUEEZED,    /* with dimensions of 1 at the end, which canonical does not have */
    RK_FORM_RESCALED,    /* GGUF's rwkv6 divides layer l by 2^(l / R) */
    RK_FORM_PIECE,       /* canonical is one part of foreign, a stack along its first dimension */
    RK_FORM_PAIRS,       /* rows of each head: foreign has those side by side that are half a head
                          * apart in canonical; the file states RK_FORM_HEAD_SIZE */
    RK_FORM_LAST_PIECE,  /* the same, of the last part, which models may be without */
    RK_FORM_NEG_EXP,     /* foreign = -exp(canonical) */
    RK_FORM_EXP,         /* foreign = exp(canonical) */
    RK_FORM_EXP_NEG_EXP, /* foreign = exp(-exp(canonical)) */
    RK_FORM_FLA6_MAA_W1, /* (5D, C) in groups r,w,k,v,g; canonical (C, 5D) in groups w,k,v,r,g */
    RK_FORM_FLA6_MAA_W2, /* (C, 5D) likewise; canonical (5, D, C) */
} rk_form;

/* In both names %d is the layer, and a '*' at the end stands for any rest. The first row that fits
 * a name counts. */
typedef struct rk_scheme_row {
    const char *canonical, *foreign;
    rk_form form;
    int piece;        /* of a stack */
    const char *dims; /* of the foreign tensor when exported: '1', and '.' for all elements; NULL:
                       * as the canonical ones */
    bool only_later;  /* layer 0's is not exported: `complete` adds something else */
} rk_scheme_row;

/* A part of a dotted name that has another word for the same thing; import only. */
typedef struct rk_scheme_word {
    const char *foreign, *canonical; /* canonical "": the part is left out, at the front only */
} rk_scheme_word;

/* A number in a GGUF file's metadata, under "ARCH." and the key. */
typedef struct rk_scheme_number {
    const char *key;
    const char *size; /* the name of a size; NULL: a constant */
    uint32_t constant;
} rk_scheme_number;

typedef struct rk_scheme {
    const char *name; /* "gguf", "fla", ... */
    /* Does this scheme apply? Judged by container, metadata and tensor names. */
    bool (*detect)(const rk_file *f);
    const rk_scheme_word *words; /* ends with NULL; may be NULL */
    const rk_scheme_row *rows;   /* over names whose words have been replaced */
    int n_rows;
    /* Does layer 0 hold something else under the names of rows that are only_later? May be NULL. */
    bool (*has_dummies)(const rk_file *f);
    /* Before the rows: what is not read here, what forms ask for. May be NULL. */
    rk_status (*begin)(rk_file *canonical, const rk_file *foreign, rk_error *err);
    /* After the rows: metadata, values that depend on several things. May be NULL. */
    rk_status (*finish)(rk_file *canonical, const rk_file *foreign, rk_error *err);
    /* After the rows of an export: tensors that only such files have. May be NULL. */
    rk_status (*complete)(rk_file *foreign, const rk_file *canonical, rk_error *err);
    /* Of a GGUF file; the sizes that an architecture does not have are left out. */
    const rk_scheme_number *numbers;
    int n_numbers;
} rk_scheme;

extern const rk_scheme rk_scheme_web6, rk_scheme_web7, rk_scheme_web5;
extern const rk_scheme rk_scheme_gguf7, rk_scheme_gguf6, rk_scheme_hf;
/* Of transformers: Hugging Face's, which are canonical, and llama.cpp's. */
extern const rk_scheme rk_scheme_tf, rk_scheme_gguf_qwen2, rk_scheme_gguf_llama;
/* Of recurrences in transformers, llama.cpp's. */
extern const rk_scheme rk_scheme_gguf_arwkv7, rk_scheme_gguf_rwkv6qwen2;
extern const rk_scheme rk_scheme_rwkvcpp4, rk_scheme_rwkvcpp5, rk_scheme_rwkvcpp6,
    rk_scheme_rwkvcpp7;
/* Of Hugging Face folders that are written: the names of the classes of transformers' RWKV-4 and of
 * those that RWKV-5 and -6 brought along, those of transformers' RWKV-7, and those of fla. */
extern const rk_scheme rk_scheme_hf_classes, rk_scheme_transformers7, rk_scheme_fla7;

/* The names of a GGUF file that is written; NULL: llama.cpp does not have such models. */
const rk_scheme *rk_scheme_gguf_of(const rk_model *m);
/* The numbers in its metadata: those of its names, for models of ours like those. */
const rk_scheme *rk_scheme_gguf_numbers(const rk_arch *arch);
/* Of an architecture; NULL: llama.cpp does not have it. */
const rk_scheme *rk_scheme_gguf_of_arch(const rk_arch *arch);
/* What such a file, and config.json, call the architecture; name has room for it. A marked size is a
 * part, "rwkv7+removal_scale", so that nobody takes the model for a plain one. */
enum { RK_ARCH_NAME_MAX = 128 };
void rk_arch_full_name(const rk_model *m, const char *plain, char *name);

/* Keys that our own GGUF files have beside those of llama.cpp. "rwkv.were.TYPE", one array per
 * type: names of the tensors that had this type before they became f32. "rwkv.unused.NAME.TYPE":
 * arrays with the values of tensors that llama.cpp replaces by others. "rwkv.unused" is their
 * number, so a file that has this key holds dummies in their places. */
#define RK_GGUF_WERE "rwkv.were."
#define RK_GGUF_UNUSED "rwkv.unused"

/* Metadata that RK_FORM_PAIRS asks for. */
#define RK_FORM_HEAD_SIZE "head_size"

/* The same file under canonical names. Takes ownership of *f: on success it is replaced (by itself
 * where its names are canonical already), on failure it is closed.
 * Errors  RK_ERR_FORMAT: a tensor has not the shape its form needs, or two have one canonical name;
 *         RK_ERR_NOMEM. */
rk_status rk_scheme_import(rk_file **f, rk_error *err);

/* The canonical name of one tensor of a foreign file, which may lie there in another way. False: the name
 * is too long, or that of a stack of several. */
bool rk_scheme_name(const rk_scheme *s, const char *foreign, char canonical[RK_TENSOR_NAME_MAX]);
/* What foreign files call a tensor that they hold as it is here, or would where nothing is rescaled, or but
 * for the order of its rows (rk_scheme_reorders). False: there is none. */
bool rk_scheme_foreign_name(const rk_scheme *s, const char *canonical,
                            char foreign[RK_TENSOR_NAME_MAX]);

/* The tensors of a canonical file with the names and layouts of the scheme, in the order of the
 * rows. A tensor that no row names is an error, because it would be lost. Errors
 * RK_ERR_UNSUPPORTED: tensor and scheme; RK_ERR_NOMEM. */
rk_status rk_scheme_export(rk_file **out, const rk_file *canonical, const rk_scheme *scheme,
                           rk_error *err);

/* Export one tensor by one row, whose foreign name is complete; for `complete`. */
rk_status rk_scheme_add_row(rk_file *out, const rk_file_tensor *t, const rk_scheme_row *row,
                            rk_error *err);

/* Does a tensor of this name lie in other order there, so that values for it are to be put in before? */
bool rk_scheme_reorders(const rk_scheme *s, const char *canonical);

/* Elements [at, at + n) of a plain float tensor, in the order of its dimensions' memory. */
void rk_file_floats(const rk_file_tensor *t, int64_t at, int64_t n, float *out);
/* Is it of a type that rk_file_floats takes? */
bool rk_file_is_float(const rk_file_tensor *t);
int64_t rk_file_tensor_count(const rk_file_tensor *t);

#endif
