/* adapter_config.h: adapter_config.json of a Hugging Face folder. */
#ifndef RK_TUNE_ADAPTER_CONFIG_H
#define RK_TUNE_ADAPTER_CONFIG_H

#include "base/buf.h"
#include "tune/adapter_set.h"

/* A number for the modules that a pattern fits. */
typedef struct rk_adapter_pattern {
    const char *pattern;
    double value;
} rk_adapter_pattern;

typedef struct rk_adapter_patterns {
    rk_adapter_pattern *at;
    int64_t n;
} rk_adapter_patterns;

/* What is looked at; texts are NULL and numbers NAN where the file says nothing or null. */
typedef struct rk_adapter_config {
    const char *peft_type;
    const char *init; /* init_lora_weights or init_weights: a word; true and false as words */
    const char *bias, *base;
    double r, alpha, mini_r;
    bool rslora, dora, fan_in_fan_out;
    rk_adapter_patterns rank_pattern, alpha_pattern;
    char *text; /* that the strings lie in */
} rk_adapter_config;

/* Errors  RK_ERR_FORMAT: no JSON object, a value of another type; RK_ERR_UNSUPPORTED: a setting that
 * changes what is computed and is not known here; those of rk_map_open. */
rk_status rk_adapter_config_open(rk_adapter_config *c, const char *path, rk_error *err);
/* From bytes; name is for sentences. */
rk_status rk_adapter_config_read(rk_adapter_config *c, const void *data, size_t bytes,
                                 const char *name, rk_error *err);
void rk_adapter_config_deinit(rk_adapter_config *c);

/* The value of the first pattern that fits a module's name ("blocks.0.att.key"), else of `otherwise`. As
 * peft has it a pattern is a regular expression for the name or for its end behind a dot; here it may
 * hold '.', ".*", escaped characters and a '^' at its front.
 * Errors  RK_ERR_UNSUPPORTED: it holds more. */
rk_status rk_adapter_pattern_value(const rk_adapter_patterns *p, const char *module,
                                   double otherwise, const char *file, double *out, rk_error *err);

/* Is it to be written under the names that MiSS had as Bone? */
bool rk_adapter_is_bone(const rk_adapter_set *s);
/* The config of a set whose parts are of one form; base may be NULL. Ranks and alphas are those of the
 * tensors that are written, which for a part with a start have twice its rank.
 * Errors  RK_ERR_UNSUPPORTED: forms that no folder can hold together. */
rk_status rk_adapter_config_put(rk_buf *b, const rk_adapter_set *s, const char *base,
                                const char *path, rk_error *err);

#endif
