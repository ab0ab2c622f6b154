/* adapter_names.c: suffixes tell what a tensor is, the rest names the parameter. */
#include "tune/adapter_names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"

static const struct {
    const char *suffix;
    rk_adapter_kind kind;
} suffixes[] = {
    {".lora_A", RK_ADAPTER_A},
    {".lora_B", RK_ADAPTER_B},
    {".lora_a", RK_ADAPTER_A}, /* llama.cpp */
    {".lora_b", RK_ADAPTER_B},
    {".lora_magnitude_vector", RK_ADAPTER_MAGNITUDE},
    {".miss_block", RK_ADAPTER_BLOCK},
    {".bone_block", RK_ADAPTER_BLOCK}, /* peft before it was called MiSS */
    {".disha", RK_ADAPTER_BLOCK},      /* RWKV-PEFT */
    {".bone", RK_ADAPTER_BLOCK},       /* its older versions */
    {".init_lora_A", RK_ADAPTER_START_A},
    {".init_lora_B", RK_ADAPTER_START_B},
};

/* Words in names of adapters that are not computed here, each with what is before it. */
static const char *const foreign[] = {".lora_",
                                      ".lokr_",
                                      ".hada_",
                                      ".oft_",
                                      ".boft_",
                                      ".vera_",
                                      ".ia3_",
                                      ".ln_tuning",
                                      ".miss_",
                                      ".bone_",
                                      ".adapter_",
                                      "prompt_",
                                      ".modules_to_save.",
                                      ".base_layer."};

/* Cut the suffix off the n bytes of name; a module's tensor may end in ".weight". */
static rk_adapter_kind kind_of(const char *name, size_t *n)
{
    static const char weight[] = ".weight";
    const size_t all = *n, w = strlen(weight);
    const size_t ends[] = {all, rk_ends_with(name, weight) ? all - w : 0};
    for (size_t e = 0; e < RK_COUNT(ends); e++)
        for (size_t i = 0; i < RK_COUNT(suffixes); i++) {
            const size_t length = strlen(suffixes[i].suffix);
            if (ends[e] <= length ||
                memcmp(name + ends[e] - length, suffixes[i].suffix, length) != 0)
                continue;
            *n = ends[e] - length;
            return suffixes[i].kind;
        }
    return RK_ADAPTER_WHOLE;
}

/* Letters, digits and '_' between single dots. */
static bool is_name(const char *s)
{
    bool dot = true;
    for (; *s; s++) {
        if (*s == '.' ? dot : !isalnum((unsigned char)*s) && *s != '_')
            return false;
        dot = *s == '.';
    }
    return !dot;
}

/* Has some architecture a parameter of this name? Most matrices are called "X.weight", those of low rank
 * plainly "blocks.0.att.w1". */
static bool is_param(const char *name)
{
    char own[RK_PARAM_NAME_MAX];
    const char *rest;
    for (const rk_arch *const *arch = rk_archs; *arch; arch++) {
        const int64_t layer = rk_max_i64(0, rk_arch_layer_of(*arch, name, &rest));
        for (int i = 0; i < (*arch)->n_params; i++) {
            rk_param_name(&(*arch)->params[i], layer, own);
            if (!strcmp(own, name))
                return true;
        }
    }
    return false;
}

static const char *without_prefix(const char *name)
{
    static const char peft[] = "base_model.model.";
    return strncmp(name, peft, strlen(peft)) == 0 ? name + strlen(peft) : name;
}

/* Is it, or with ".weight" behind it, the name of a parameter already? */
static bool canonical_name(char *out, const char *text)
{
    for (int weight = 0; weight < 2; weight++)
        if (snprintf(out, RK_PARAM_NAME_MAX, "%s%s", text, weight ? ".weight" : "") <
                RK_PARAM_NAME_MAX &&
            is_param(out))
            return true;
    return false;
}

/* text: of the file, without suffix. A matrix that goes by its module's name has ".weight" added. */
static bool param_name(char *out, const char *text, const rk_scheme *gguf, bool whole)
{
    char canonical[RK_TENSOR_NAME_MAX], weight[RK_TENSOR_NAME_MAX];
    if (!gguf && canonical_name(out, text))
        return true;
    if (gguf)
        return rk_scheme_name(gguf, text, canonical) && is_param(canonical) &&
               snprintf(out, RK_PARAM_NAME_MAX, "%s", canonical) < RK_PARAM_NAME_MAX;
    if (!rk_scheme_name(&rk_scheme_hf, text, canonical))
        return false;
    if (!whole && !is_param(canonical)) {
        if (snprintf(weight, sizeof weight, "%s.weight", text) >= (int)sizeof weight ||
            !rk_scheme_name(&rk_scheme_hf, weight, canonical))
            return false;
    }
    return snprintf(out, RK_PARAM_NAME_MAX, "%s", canonical) < RK_PARAM_NAME_MAX;
}

rk_status rk_adapter_name_read(rk_adapter_name *out, const char *name, const rk_scheme *gguf,
                               const char *file, rk_error *err)
{
    const char *own = without_prefix(name);
    size_t n = strlen(own);
    out->kind = kind_of(own, &n);
    snprintf(out->module, sizeof out->module, "%.*s", (int)(n < RK_TENSOR_NAME_MAX ? n : 0), own);
    if (out->kind == RK_ADAPTER_WHOLE)
        for (size_t i = 0; i < RK_COUNT(foreign); i++)
            if (strstr(own, foreign[i]))
                return rk_fail(
                    err, RK_ERR_UNSUPPORTED,
                    "%s: tensor '%.80s' belongs to a kind of adapter that is not read here", file,
                    name);
    if (!is_name(out->module) ||
        !param_name(out->param, out->module, gguf, out->kind == RK_ADAPTER_WHOLE))
        return rk_fail(err, RK_ERR_FORMAT,
                       "%s: tensor '%.80s' has no name of a parameter of a model", file, name);
    return RK_OK;
}
