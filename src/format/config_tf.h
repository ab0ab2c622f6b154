/* config_tf.h: config.json beside a transformer's tensors. */
#ifndef RK_FORMAT_CONFIG_TF_H
#define RK_FORMAT_CONFIG_TF_H

#include "model/model.h"

enum { RK_TF_WORD_MAX = 48, RK_TF_NUMBERS = 16, RK_TF_STATED = 40 };

/* What is looked at; numbers that are missing or null are NAN, words empty. */
typedef struct rk_tf_config {
    char model_type[RK_TF_WORD_MAX];
    double numbers[RK_TF_NUMBERS]; /* in the order of a table, config_tf.c */
    double tied, attention_bias;   /* 0, 1 or NAN */
    double gate, group_norm;       /* of a recurrence, likewise */
    /* Lists of layers: those with a mixer of the architecture's own; those with a recurrence, of n_types. */
    bool lists_mixers;
    rk_layer_set mixers, linear;
    int64_t n_types; /* 0: no layer_types */
    struct {
        const char *size; /* the name of one, */
        char text[RK_TF_WORD_MAX];
    } stated[RK_TF_STATED]; /* (n_stated): of an object of sizes */
    int n_stated;
} rk_tf_config;

/* Read one, of transformers 4 or 5.
 * Errors  RK_ERR_FORMAT: it is no JSON object, or a member is of another type; RK_ERR_UNSUPPORTED: a
 *         member asks for what is not computed here. */
rk_status rk_tf_config_read(rk_tf_config *c, const void *data, size_t bytes, const char *name,
                            rk_error *err);
/* What the config.json beside `foreign`, if there is one, says and no tensor shows, into the metadata of
 * `canonical`, which is not finished and gets no head where that is the table of embeddings.
 * Errors  those of reading; RK_ERR_FORMAT: it is that of another model. */
rk_status rk_tf_config_apply(rk_file *canonical, const rk_file *foreign, rk_error *err);

#endif
