/* rwkv7_kernel.c: RWKV-7 with a kernel path beside the recurrence of each layer, as kernel state tuning
 * makes it of a model (arXiv 2504.05097; docs/state-tuning.md): a second state of M by M a head over M
 * Gaussian features, added to what the recurrence reads. With a gain of 0 it is the RWKV-7 below it. */
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "base/num.h"
#include "model/rwkv7.h"

#define LAYER(f) RK_SCOPE_LAYER, offsetof(rk_rwkv7_layer, f)
#define BASIS(f) RK_SCOPE_TUNED_BASIS, offsetof(rk_rwkv7_layer, f)

static rk_status init_mean(const rk_init *p, rk_error *err)
{
    rk_init q = *p;
    q.arg = 1.0 / (double)p->cols;
    return rk_init_constant(&q, err);
}

/* A unit matrix for each head. */
static rk_status init_unit(const rk_init *p, rk_error *err)
{
    const rk_status st = rk_init_constant(p, err);
    for (int64_t i = 0; i < p->rows; i++)
        p->x[i * p->cols + i % p->cols] = 1.0f;
    return st;
}

/* What a model has before it is calibrated. */
static const rk_param_spec params[] = {
    {"blocks.%d.att.kernel_u", "HKN", RK_ROLE_FEATURES, LAYER(att.path.u), rk_init_uniform, 0.5, 1},
    {"blocks.%d.att.kernel_uv", "HKN", RK_ROLE_FEATURES, LAYER(att.path.uv), rk_init_uniform, 0.5,
     1},
    {"blocks.%d.att.kernel_pi", "HKN", RK_ROLE_FEATURES, LAYER(att.path.pi), init_mean, 0, 1},
    {"blocks.%d.att.kernel_Q", "HNK", RK_ROLE_FEATURES, LAYER(att.path.read), init_mean, 0, 1},
    {"blocks.%d.att.kernel_gamma", "H", RK_ROLE_FEATURES, LAYER(att.path.gamma), rk_init_constant,
     1, 1},
    {"blocks.%d.att.kernel_scale", "H3", RK_ROLE_FEATURES, LAYER(att.path.scale), rk_init_constant,
     1, 1},
    {"blocks.%d.att.dbp_R", "HKK", RK_ROLE_BASIS, BASIS(att.path.basis), init_unit, 0, 1},
    {"blocks.%d.att.kernel_alpha", "H", RK_ROLE_KERNEL, LAYER(att.path.alpha), rk_init_constant, 0,
     1},
    {"blocks.%d.att.kernel_state", "HKK", RK_ROLE_KERNEL, LAYER(path_state), rk_init_constant, 0,
     1},
};

static const rk_state_spec state[] = {
    RK_RWKV7_STATE,
    {.name = "att.kernel",
     .shape = "HKK",
     .kind = RK_STATE_MATRIX,
     .tuned = offsetof(rk_rwkv7_layer, path_state)},
};

static bool detect(const rk_file *f)
{
    return rk_file_find(f, "blocks.0.att.r_k") && rk_file_find(f, "blocks.0.att.kernel_u");
}

enum { FEATURES = RK_RWKV7_OWN, FEATURES_MAX = 4 * RK_HEAD_MAX };

/* A gamma of 0 means the numbers of a head themselves, of which there are as many as features then. */
static rk_status check_gammas(const rk_hparams *hp, const rk_file *file, int64_t l, rk_error *err)
{
    char name[RK_PARAM_NAME_MAX];
    snprintf(name, sizeof name, "blocks.%" PRId64 ".att.kernel_gamma", l);
    const rk_file_tensor *t = rk_file_find(file, name);
    if (!rk_file_are_numbers(t, hp->n_head, 1))
        return RK_OK; /* said where parameters are looked at */
    for (int64_t h = 0; h < hp->n_head; h++) {
        const float gamma = rk_file_number(t, h);
        if (!isfinite(gamma) || (gamma == 0.0f && hp->own[FEATURES].n != hp->head_size))
            return rk_fail(
                err, RK_ERR_FORMAT,
                "%s: '%s' is %g for head %" PRId64 ", with %" PRId64 " features of %" PRId64
                " numbers; expected a finite number, 0 only for as many of both",
                rk_file_name(file), name, (double)gamma, h, hp->own[FEATURES].n, hp->head_size);
    }
    return RK_OK;
}

static rk_status settle(const rk_arch *arch, rk_hparams *hp, const rk_file *file, rk_error *err)
{
    rk_status st = rk_settle_heads(arch, hp, file, err);
    for (int64_t l = 0; file && l < hp->n_layer && st == RK_OK; l++)
        st = check_gammas(hp, file, l, err);
    return st;
}

static double of_head(const rk_hparams *hp, double arg)
{
    return arg * (double)hp->head_size;
}

/* Name, place, letter, range, default; where a file shows it; option. */
/* clang-format off */
static const rk_size_spec own[] = {
    {"n_features", RK_OWN_SIZE(FEATURES), 'K', {1, FEATURES_MAX}, {of_head, 2},
     {RK_FROM_TENSOR, "blocks.0.att.kernel_u", 3, 1}, RK_NO_OPTION},
};
/* clang-format on */
static const rk_size_table own_sizes = {own, RK_COUNT(own)};

const rk_arch rk_arch_rwkv7_kernel = {
    .name = "rwkv7-kernel",
    .old = true, /* made of other models */
    .base = &rk_arch_rwkv7,
    .params = params,
    .n_params = RK_COUNT(params),
    .state = state,
    .n_state = RK_COUNT(state),
    .layer_bytes = sizeof(rk_rwkv7_layer),
    .detect = detect,
    .sizes = {&rk_sizes_first, &rk_rwkv7_sizes, &own_sizes, &rk_sizes_pairs, &rk_sizes_clusters,
              &rk_sizes_records, &rk_sizes_last_x},
    .settle = settle,
    .carry = rk_rwkv7_carry,
    .n_carry = RK_RWKV7_N_CARRY,
    RK_LM_PARTS,
    .stem = rk_lm_stem,
    .time_mix = rk_rwkv7_att,
    .channel_mix = rk_rwkv7_ffn,
};
