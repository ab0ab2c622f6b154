/* adapter_set.h: an adapter as it lies in files and in memory: small tensors beside matrices of a model,
 * and whole parameters that take the place of the model's.
 *
 * W is a matrix (out, in), x an input of it, r the rank. What a part adds to W x depends on its form:
 *
 *   lora     scale B (A x)                       A (r, in), B (out, r)            arXiv 2106.09685
 *   dora     the same, then every output times magnitude / |W + scale B A|        arXiv 2402.09353
 *   miss     D^T s, s_k the sum of x_i, i mod r = k   D (r, width), repeated along the outputs where
 *            width, which divides out, is less                                    arXiv 2409.15371
 *   bat-in   W z + repeat(sum_b z_b), z_b = B_b x_b   B (in / r, r, r)            RWKV-PEFT's "bat"
 *   bat-out  blocks a of W: (W_ab B_a + B_a) x_b      B (out / r, r, r)           peft's "bat"
 *
 * nn/adapter.h computes with them, merge.h puts them into W, adapter_file.h reads and writes them. */
#ifndef RK_TUNE_ADAPTER_SET_H
#define RK_TUNE_ADAPTER_SET_H

#include "base/error.h"
#include "model/model.h"

typedef enum rk_adapter_form {
    RK_PART_LORA,
    RK_PART_DORA,
    RK_PART_MISS,
    RK_PART_BAT_IN,
    RK_PART_BAT_OUT,
    RK_PART_FORMS
} rk_adapter_form;

enum { RK_PART_TENSORS_MAX = 3, RK_ADAPTER_METHOD_MAX = 16, RK_ADAPTER_ARCH_MAX = 24 };

/* A tensor of a form. In shapes a letter is a dimension: i, o: inputs and outputs; r: the rank; w: the
 * width of MiSS; I, O: i / r, o / r. */
typedef struct rk_form_tensor {
    const char *name; /* behind that of the matrix: "blocks.0.att.key.lora_A" */
    const char *shape;
} rk_form_tensor;

typedef struct rk_form_facts {
    const char *name;
    rk_form_tensor tensors[RK_PART_TENSORS_MAX];
    int n_tensors;
    bool matrix; /* what is added depends on W: it cannot stand beside a low-rank pair */
} rk_form_facts;

extern const rk_form_facts rk_forms[RK_PART_FORMS];

/* What is added to one matrix. */
typedef struct rk_adapter_part {
    char name[RK_PARAM_NAME_MAX]; /* of the matrix: "blocks.0.att.key.weight" */
    rk_adapter_form form;
    /* in and out are 0 where no tensor shows them, as MiSS's inputs: rk_adapter_set_check fills them in. */
    int64_t in, out, rank;
    int64_t width; /* of MiSS: out, or less in its form "mini" */
    double
        scale; /* of lora and dora: alpha / r, of rsLoRA alpha / sqrt(r), 0 where a file does not say
                    * alpha; else 1 */
    float *tensors[RK_PART_TENSORS_MAX]; /* as rk_forms lists them, row-major; owned */
    /* Of PiSSA, OLoRA and LoRA-GA: A and B that the training began with, shaped as tensors[0] and [1].
     * The part then stands beside W - scale B0 A0. NULL: it stands beside W. Owned. */
    float *start[2];
    /* Of lora: rows of B lie as llama.cpp has those of a llama model's q and k. rk_adapter_set_check, which
     * knows the heads, puts them right. */
    bool paired;
} rk_adapter_part;

/* A parameter that takes the place of the model's: trained norms, a head, an initial state. */
typedef struct rk_adapter_whole {
    char name[RK_PARAM_NAME_MAX];
    int n_dims;
    int64_t dims[RK_MAX_DIMS];
    float *data; /* owned */
} rk_adapter_whole;

typedef struct rk_adapter_set {
    char method[RK_ADAPTER_METHOD_MAX]; /* of `rwkv tune --method`; "": the file does not say */
    double alpha; /* of lora and dora, as configured; 0: the file does not say (RWKV-PEFT) */
    bool rslora;  /* scale is alpha / sqrt(r) */
    char arch[RK_ADAPTER_ARCH_MAX]; /* of the model; "": the file does not say */
    uint64_t fingerprint; /* rk_model_info's of the model that it was made for; 0: unknown */
    int64_t head_size;    /* of the model's softmax attention; 0: unknown */
    rk_adapter_part *parts;
    int64_t n_parts;
    rk_adapter_whole *whole;
    int64_t n_whole;
} rk_adapter_set;

rk_status rk_adapter_set_new(rk_adapter_set **out, rk_error *err);
void rk_adapter_set_free(rk_adapter_set *s);
rk_status rk_adapter_set_copy(rk_adapter_set **out, const rk_adapter_set *s, rk_error *err);

/* Add a part with tensors of zeros; name, form, in, out, rank, width and scale are p's. The pointer is
 * valid until the next is added.
 * Errors  RK_ERR_ARG: a size that does not fit the form; RK_ERR_NOMEM. */
rk_status rk_adapter_set_add(rk_adapter_set *s, const rk_adapter_part *p, rk_adapter_part **out,
                             rk_error *err);
rk_status rk_adapter_set_add_whole(rk_adapter_set *s, const char *name, int n_dims,
                                   const int64_t *dims, rk_adapter_whole **out, rk_error *err);
/* Give a part of lora start values, of zeros. */
rk_status rk_part_make_start(rk_adapter_part *p, rk_error *err);
/* Put the rows of B that are half a head apart side by side, as llama.cpp has them, or apart again.
 * Errors  RK_ERR_ARG: outputs that are no heads of this size; RK_ERR_NOMEM. */
rk_status rk_part_move_pairs(rk_adapter_part *p, int64_t head_size, bool apart, rk_error *err);
/* NULL when there is none for the matrix of this name. */
rk_adapter_part *rk_adapter_set_find(const rk_adapter_set *s, const char *name);

/* The shape of tensor i of a part; returns the number of dimensions. */
int rk_part_dims(const rk_adapter_part *p, int i, int64_t *dims);
/* Its elements. */
int64_t rk_part_count(const rk_adapter_part *p, int i);
/* "blocks.0.att.key": the matrix of a part as the module that others take it for. */
void rk_part_module(const rk_adapter_part *p, char *name, size_t size);
/* "blocks.0.att.key.lora_A": the name of tensor i of a part. */
void rk_part_tensor_name(const rk_adapter_part *p, int i, char *name, size_t size);

/* Does the set fit the model: are there such matrices, of such sizes, and was it made for this model?
 * Sizes and an architecture that the set does not know become the model's. name is the adapter's in sentences. force:
 * another fingerprint is taken.
 * Errors  RK_ERR_FORMAT: which matrix, what was found, what was expected; RK_ERR_ARG: the alpha of its LoRA
 *         is not known; RK_ERR_UNSUPPORTED: a form that asks for the matrix, beside a low-rank pair. */
rk_status rk_adapter_set_check(rk_adapter_set *s, const rk_model *m, const char *name, bool force,
                               rk_error *err);

#endif
