/* names_web.c: cryscan/web-rwkv's .st files: safetensors with low-rank matrices transposed and
 * version 5's names in version 6.
 *
 * Source: cryscan/web-rwkv, assets/scripts/convert_safetensors.py. */
#include <string.h>

#include "base/num.h"
#include "format/scheme.h"

#define SAME(canonical, web)                                                                       \
    {                                                                                              \
        canonical, web, RK_FORM_SAME, 0, NULL, false                                               \
    }
#define EXCHANGED(canonical, web)                                                                  \
    {                                                                                              \
        canonical, web, RK_FORM_EXCHANGED, 0, NULL, false                                          \
    }

/* Is this matrix (rank, C), and not (C, rank)? A small model's ranks may be above its width. */
static bool lies_down(const rk_file *f, const char *name)
{
    const rk_file_tensor *t = rk_file_find(f, name), *emb = rk_file_find(f, "emb.weight");
    return t && emb && t->n_dims == 2 && emb->n_dims == 2 && t->dims[1] == emb->dims[1] &&
           t->dims[0] != emb->dims[1];
}

/* The bonus of version 5. In official files time_first is its logarithm; those are no safetensors,
 * but for our own, which name their architecture. */
static bool detect5(const rk_file *f)
{
    const rk_file_tensor *t = rk_file_find(f, "blocks.0.att.time_first");
    return t && !strcmp(rk_file_container(f), "safetensors") && !rk_file_meta(f, "arch") &&
           rk_file_find(f, "blocks.0.att.ln_x.weight") && t->n_dims >= 2 && t->dims[1] > 1 &&
           !rk_file_find(f, "blocks.0.att.time_mix_x");
}

static const rk_scheme_row rows5[] = {
    SAME("blocks.%d.att.time_faaaa", "blocks.%d.att.time_first"),
};

const rk_scheme rk_scheme_web5 = {
    .name = "web-rwkv", .detect = detect5, .rows = rows5, .n_rows = RK_COUNT(rows5)};

static bool detect6(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.time_mix_x") != NULL;
}

static const rk_scheme_row rows6[] = {
    SAME("blocks.%d.att.time_faaaa", "blocks.%d.att.time_first"),
    EXCHANGED("blocks.%d.att.time_maa_w1", "blocks.%d.att.time_mix_w1"),
    EXCHANGED("blocks.%d.att.time_maa_w2", "blocks.%d.att.time_mix_w2"),
    SAME("blocks.%d.att.time_maa_*", "blocks.%d.att.time_mix_*"),
    EXCHANGED("blocks.%d.att.time_decay_w1", "blocks.%d.att.time_decay_w1"),
    EXCHANGED("blocks.%d.att.time_decay_w2", "blocks.%d.att.time_decay_w2"),
    EXCHANGED("blocks.%d.att.time_state", "blocks.%d.att.time_state"),
    SAME("blocks.%d.ffn.time_maa_*", "blocks.%d.ffn.time_mix_*"),
};

const rk_scheme rk_scheme_web6 = {
    .name = "web-rwkv", .detect = detect6, .rows = rows6, .n_rows = RK_COUNT(rows6)};

static bool detect7(const rk_file *f)
{
    return lies_down(f, "blocks.0.att.w1");
}

static const rk_scheme_row rows7[] = {
    EXCHANGED("blocks.%d.att.w1", "blocks.%d.att.w1"),
    EXCHANGED("blocks.%d.att.w2", "blocks.%d.att.w2"),
    EXCHANGED("blocks.%d.att.a1", "blocks.%d.att.a1"),
    EXCHANGED("blocks.%d.att.a2", "blocks.%d.att.a2"),
    EXCHANGED("blocks.%d.att.v1", "blocks.%d.att.v1"),
    EXCHANGED("blocks.%d.att.v2", "blocks.%d.att.v2"),
    EXCHANGED("blocks.%d.att.g1", "blocks.%d.att.g1"),
    EXCHANGED("blocks.%d.att.g2", "blocks.%d.att.g2"),
};

const rk_scheme rk_scheme_web7 = {
    .name = "web-rwkv", .detect = detect7, .rows = rows7, .n_rows = RK_COUNT(rows7)};
