/* relatives.c: the table of models that are known by name and not read here: experiments of
 * BlinkDL/RWKV-LM that were never released as general models, and hybrids with other families. */
#include "format/relatives.h"

#include <string.h>

#include "base/num.h"
#include "model/model.h"

typedef struct relative {
    const char *mark; /* a part of a tensor's name, or a GGUF architecture */
    const char *what;
} relative;

/* The first row that fits any tensor counts: models with two marks stand before those with one. */
static const relative by_tensor[] = {
    {".rosa.", "RWKV-8's ROSA, a matcher of suffixes in place of attention"},
    {".qkv.ennk.", "the preview of RWKV-8 with attention"},
    {".ffn.enn.", "the preview of RWKV-8"},
    {".qkv.k_emb.", "RWKV-7b, RWKV-7a with attention"},
    {".att.time_maa_rkvw_w1", "x060b or x060c, experiments with RWKV-6"},
    {".att.gate_w1", "x060a, an experiment with RWKV-6"},
    {".tiny_q", "RWKV-4a, RWKV-4 with a small attention in one block"},
    {".att.qq", "RWKV-4b, RWKV-4 with a second attention"},
    {".ffnPre.", "an experiment with RWKV-4, whose first block has two channel mixes"},
    {"head_q.", "an experiment with RWKV-4, whose head copies tokens"},
    {"pos_emb_x", "an experiment with RWKV-4 for images"},
    {"moba.", "RWKV-X, RWKV-7 with blocks of sparse attention in between"},
    {"ranking_head.", "a reranker of EmbeddingRWKV, which scores states"},
    {".self_attn.k0", "an hxa model of OpenMOSE, RAD-RWKV7 with a residual of keys"},
    {".self_attn.q_norm.", "a transformer with norms of its queries and keys"},
    {".q_proj.", "attention with a softmax, alone or in a hybrid"},
};

static const relative by_gguf[] = {
    {"qwen3", "a transformer as Qwen2 with norms of its queries and keys"},
    {"qwen2moe", "a Qwen2 of experts"},
};

/* Is it the name of a parameter of this architecture, NULL: of none? */
static bool is_own(const rk_arch *arch, const char *name)
{
    char own[RK_PARAM_NAME_MAX];
    const char *rest;
    const int64_t layer = arch ? rk_arch_layer_of(arch, name, &rest) : -1;
    for (; arch; arch = arch->base)
        for (int i = 0; layer >= 0 && i < arch->n_params; i++) {
            rk_param_name(&arch->params[i], layer, own);
            if (!strcmp(own, name))
                return true;
        }
    return false;
}

static const char *tensor_with(const rk_file *f, const char *mark)
{
    const rk_arch *arch = rk_arch_detect(f);
    for (int64_t i = 0; i < rk_file_count(f); i++)
        if (strstr(rk_file_at(f, i)->name, mark) && !is_own(arch, rk_file_at(f, i)->name))
            return rk_file_at(f, i)->name;
    return NULL;
}

static const relative *gguf_relative(const rk_file *f)
{
    const char *arch = rk_file_meta(f, "general.architecture");
    for (size_t i = 0; arch && i < RK_COUNT(by_gguf); i++)
        if (!strcmp(arch, by_gguf[i].mark))
            return &by_gguf[i];
    return NULL;
}

const char *rk_relative_arch(const rk_file *f)
{
    const relative *r = gguf_relative(f);
    return r ? r->mark : NULL;
}

/* A file with a model's whole body and no head. */
static rk_status refuse_body(const rk_file *f, rk_error *err)
{
    const bool body = rk_file_find(f, "emb.weight") && rk_file_find(f, "blocks.0.att.r_k") &&
                      rk_file_find(f, "ln_out.weight");
    if (!body || rk_file_find(f, "head.weight") || rk_file_find(f, "head_l1.weight"))
        return RK_OK;
    return rk_fail(err, RK_ERR_UNSUPPORTED,
                   "%s: no tensor 'head.weight', which an rwkv7 model has; bodies that turn texts "
                   "into vectors, as EmbeddingRWKV's, are not run here",
                   rk_file_name(f));
}

rk_status rk_refuse_relatives(const rk_file *f, rk_error *err)
{
    const relative *r = gguf_relative(f);
    if (r)
        return rk_fail(err, RK_ERR_UNSUPPORTED, "%s: architecture '%s' is %s; it is not run here",
                       rk_file_name(f), r->mark, r->what);
    for (size_t i = 0; i < RK_COUNT(by_tensor); i++) {
        const char *name = tensor_with(f, by_tensor[i].mark);
        if (name)
            return rk_fail(err, RK_ERR_UNSUPPORTED,
                           "%s: tensor '%.64s' shows %s; it is not run here", rk_file_name(f), name,
                           by_tensor[i].what);
    }
    return refuse_body(f, err);
}
