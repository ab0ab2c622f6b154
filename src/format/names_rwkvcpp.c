/* names_rwkvcpp.c: RWKV/rwkv.cpp's files have the official names and some transformed values.
 *
 * Source: RWKV/rwkv.cpp, python/convert_pytorch_to_ggml.py and docs/FILE_FORMAT.md. One scheme per
 * version, because the same name has differently transformed values in each. */
#include <string.h>

#include "base/num.h"
#include "format/scheme.h"

#define FORM(name, form)                                                                           \
    {                                                                                              \
        name, name, form, 0, NULL, false                                                           \
    }
#define EXCHANGED(name)                                                                            \
    {                                                                                              \
        name, name, RK_FORM_EXCHANGED, 0, NULL, false                                              \
    }
#define PIECE(name, i)                                                                             \
    {                                                                                              \
        name, "blocks.%d.att.x_rwkvag", RK_FORM_PIECE, i, NULL, false                              \
    }

static bool is_version(const rk_file *f, const char *mark, const char *but)
{
    return !strcmp(rk_file_container(f), "rwkv.cpp") && rk_file_find(f, mark) &&
           !(but && rk_file_find(f, but));
}

static const rk_scheme_row rows4[] = {FORM("blocks.%d.att.time_decay", RK_FORM_NEG_EXP)};

static bool detect4(const rk_file *f)
{
    return is_version(f, "blocks.0.att.time_first", "blocks.0.att.ln_x.weight");
}

const rk_scheme rk_scheme_rwkvcpp4 = {
    .name = "rwkv.cpp", .detect = detect4, .rows = rows4, .n_rows = RK_COUNT(rows4)};

static const rk_scheme_row rows5[] = {
    FORM("blocks.%d.att.time_decay", RK_FORM_EXP_NEG_EXP),
    FORM("blocks.%d.att.time_first", RK_FORM_EXP),
};

static bool detect5(const rk_file *f)
{
    return is_version(f, "blocks.0.att.ln_x.weight", "blocks.0.att.time_maa_x") &&
           !rk_file_find(f, "blocks.0.att.r_k");
}

/* rwkv.cpp normalises version 5 with 1e-5 where the official code has 64e-5. */
static rk_status finish5(rk_file *canonical, const rk_file *foreign, rk_error *err)
{
    (void)foreign;
    return rk_file_add_meta(canonical, "ln_x_eps", "1e-5", err);
}

const rk_scheme rk_scheme_rwkvcpp5 = {.name = "rwkv.cpp",
                                      .detect = detect5,
                                      .rows = rows5,
                                      .n_rows = RK_COUNT(rows5),
                                      .finish = finish5};

static const rk_scheme_row rows6[] = {
    EXCHANGED("blocks.%d.att.time_maa_w1"),
    EXCHANGED("blocks.%d.att.time_maa_w2"),
    EXCHANGED("blocks.%d.att.time_decay_w1"),
    EXCHANGED("blocks.%d.att.time_decay_w2"),
    FORM("blocks.%d.att.time_decay", RK_FORM_FLAT),     /* (H, N, 1) */
    FORM("blocks.%d.att.time_faaaa", RK_FORM_SQUEEZED), /* the same */
};

static bool detect6(const rk_file *f)
{
    return is_version(f, "blocks.0.att.time_maa_x", NULL);
}

const rk_scheme rk_scheme_rwkvcpp6 = {
    .name = "rwkv.cpp", .detect = detect6, .rows = rows6, .n_rows = RK_COUNT(rows6)};

static const rk_scheme_row rows7[] = {
    PIECE("blocks.%d.att.x_r", 0), PIECE("blocks.%d.att.x_w", 1), PIECE("blocks.%d.att.x_k", 2),
    PIECE("blocks.%d.att.x_v", 3), PIECE("blocks.%d.att.x_a", 4), PIECE("blocks.%d.att.x_g", 5),
    EXCHANGED("blocks.%d.att.w1"), EXCHANGED("blocks.%d.att.w2"), EXCHANGED("blocks.%d.att.a1"),
    EXCHANGED("blocks.%d.att.a2"), EXCHANGED("blocks.%d.att.v1"), EXCHANGED("blocks.%d.att.v2"),
    EXCHANGED("blocks.%d.att.g1"), EXCHANGED("blocks.%d.att.g2"),
};

static bool detect7(const rk_file *f)
{
    return is_version(f, "blocks.0.att.r_k", NULL);
}

const rk_scheme rk_scheme_rwkvcpp7 = {
    .name = "rwkv.cpp", .detect = detect7, .rows = rows7, .n_rows = RK_COUNT(rows7)};
