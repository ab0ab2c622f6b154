/* format.h: models from and to files, whoever wrote them: the face of this folder.
 *
 *   open.c       rk_model_open: which architecture, which sizes, where its parameters lie
 *   save*.c      rk_model_save: what a file is put together of; one file a container
 *   scheme*.c    other programs' names and orders of values, from and to those of RWKV-LM
 *   names_*.c    the tables of such names, one file a program
 *   config_hf.c  config.json beside a model
 *   header.c     sizes and constants that a header states: used, or compared with the tensors
 *   vocabulary.c which vocabulary a model goes with
 *   relatives.c  models that are known by name and not read here
 *   survey.c     what a file is, whether or not it can be run
 *
 * Containers, the bytes on disk, are io/'s. What an architecture is stands in model/model.h. */
#ifndef RK_FORMAT_H
#define RK_FORMAT_H

#include "base/progress.h"
#include "model/model.h"

/* ---- opening (beside rk_model_open of rk.h) ---- */

/* Parameters that a model is to have where its file lacks them: they start with their initial values and
 * are no part of its fingerprint. */
/* Metadata of a model's file while it is open: where what lies beside it came from (rk_open_options.beside). */
#define RK_OPENED_BESIDE "opened_beside"

typedef struct rk_open_options {
    bool tuned_state, tuned_shift, tuned_basis; /* as in rk_hparams */
    /* A file with more tensors, as if the model's held them: the states that streams begin with, or a
     * kernel path, of which the model is then made. NULL: none. */
    const char *beside;
    /* What to open a file of another architecture as, which it can be (rk_arch.adopts), and sizes that the
     * file does not show. NULL: what it is. */
    const rk_arch *as;
    const rk_size *sizes;
    int64_t n_sizes;
} rk_open_options;
/* rk_model_open with more parameters than the file has. */
rk_status rk_model_open_with(rk_model **out, const char *path, const rk_open_options *o,
                             rk_error *err);
/* A model without data, o (NULL: nothing) added, for what a file under canonical names (scheme.h) shows to be its
 * architecture and sizes; the model owns f, which is closed on failure. What f says of each parameter is not looked at yet.
 * Errors  RK_ERR_UNSUPPORTED: a relative, or no architecture of ours; RK_ERR_FORMAT: sizes. */
rk_status rk_model_for_file(rk_model **out, rk_file *f, const rk_open_options *o, rk_error *err);
/* Does the file hold a parameter in its shape and in a type that can be computed with? */
rk_status rk_model_check_param(const rk_model *m, const rk_param *p, rk_error *err);
/* Is this the name of a parameter? */
bool rk_model_knows(const rk_model *m, const char *name);

/* ---- saving ---- */

/* Metadata of models that grow: tokens that each generation was trained for, as far as files say, with commas
 * between. What a file says stays where its model is saved again and rk_save_options.meta says nothing else. */
#define RK_TRAINED_TOKENS "trained_tokens"

/* The type in which each parameter is written, and the weights of errors in quantising. */
typedef struct rk_save_plan {
    rk_dtype (*type)(void *user, const rk_param *p, rk_dtype own);
    /* Weights of the squared errors of a row's elements, (inputs of the matrix); NULL: all alike.
     */
    const float *(*importance)(void *user, const rk_param *p);
    /* Does a matrix get other values; and those, in place of x, the whole of it in f32. NULL: none does. */
    bool (*changes)(void *user, const rk_param *p);
    rk_status (*change)(void *user, const rk_param *p, float *x, rk_error *err);
    void *user;
} rk_save_plan;

/* What a model is written as. */
typedef enum rk_save_container {
    RK_SAVE_BY_ENDING, /* of the path: .gguf, .pth or .pt, any other is safetensors */
    RK_SAVE_SAFETENSORS,
    RK_SAVE_PTH,
    RK_SAVE_GGUF,
} rk_save_container;
/* What a path's ending asks for, for those who take no ending they do not know.
 * Errors  RK_ERR_ARG: any other ending, or none; lists those there are. */
rk_status rk_save_container_of(const char *path, rk_save_container *out, rk_error *err);

/* Whose names tensors get. Those of Hugging Face's classes are in a folder with a config.json. */
typedef enum rk_save_names {
    RK_SAVE_OWN, /* of RWKV-LM, or of the container */
    RK_SAVE_HF,  /* of transformers, and of the classes that came with files of RWKV-5 and -6 */
    RK_SAVE_FLA, /* of flash-linear-attention; RWKV-7 only */
} rk_save_names;

typedef struct rk_save_options {
    bool keep_types;          /* every tensor as it is in the file that the model comes from */
    rk_dtype dtype;           /* else: of the matrices; vectors are f32 */
    const rk_save_plan *plan; /* NULL, or instead of both */
    rk_pool *pool;            /* for rounding to blocks; may be NULL */
    const rk_pair *meta;      /* beside arch, format, ctx_len; a .pth file has no place for any */
    int64_t n_meta;
    const rk_tokenizer *
        tokenizer; /* written into a .gguf file unless the model brings a vocabulary; may be NULL */
    rk_save_names names;
    rk_save_container container; /* of a file */
    bool overwrite;
    rk_progress_fn *progress; /* bytes written, of all; may be NULL */
    void *progress_user;
    rk_abort_fn *abort; /* polled during the work; true: stop with RK_ERR_ABORTED. May be NULL */
    void *abort_user;
} rk_save_options;
/* Write a model: .pth or .pt and .safetensors under the names of RWKV-LM; .gguf under those of
 * llama.cpp where it has the architecture (rwkv6 and rwkv7), else under the same as the others.
 * llama.cpp wants vectors in f32: where types are kept, the file says what
 * they were, and who converts it back gets them again. Any other ending is safetensors.
 * Errors  RK_ERR_UNSUPPORTED: the container has no such type, architecture or tensor;
 *         RK_ERR_FORMAT: a number that the type cannot hold; those of the writers. */
rk_status rk_model_save(const rk_model *m, const char *path, const rk_save_options *o,
                        rk_error *err);
/* The same for a file of no architecture here: its tensors under the names that they have. The
 * metadata of a .gguf file go along, into a .safetensors file too, which so leads back to .gguf. */
rk_status rk_file_save(const rk_file *f, const char *path, const rk_save_options *o, rk_error *err);
/* ---- vocabularies ---- */

/* The vocabulary that the model's file holds; *out is NULL where it has none. */
rk_status rk_model_tokenizer(rk_tokenizer **out, const rk_model *m, rk_error *err);
/* The one to use with a model that was opened from path (NULL: of no folder): that of this name. name
 * NULL: the one in the model's file, else that of its folder where path is a folder or an index, else
 * rk_vocabulary_of_size.
 * Errors  RK_ERR_ARG: no name and another size, or more tokens than the model has; and those of
 *         rk_tokenizer_new and rk_model_tokenizer. */
rk_status rk_model_vocabulary(rk_tokenizer **out, const char *name, const rk_model *m,
                              const char *path, rk_error *err);
/* The one that comes with a model: in its file, else in its folder; *out is NULL where none does. */
rk_status rk_model_own_vocabulary(rk_tokenizer **out, const rk_model *m, const char *path,
                                  rk_error *err);
/* byte for 256 tokens, world for 65536, else NULL. */
const char *rk_vocabulary_of_size(int64_t n_vocab);

#endif
