/* cases_losses.c: rows of op_cases.h: losses. */
#include "base/num.h"
#include "selftest/cases.h"

static void cross_entropy(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_cross_entropy(ctx, in[0], in[1], in[2], 0.0);
}

static void kl(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_kl(ctx, in[0], in[1]);
}

/* The second input and what follows from it is the teacher's, which has no gradient. */
static void distance(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    out[0] = rk_distance(ctx, in[0], rk_case_constants(ctx, in[0]->dtype, 38, 7, -1), 0.75);
}

enum { KL, KL_AND_CE, ADAPTIVE };
static void divergence(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const rk_dtype real = in[0]->dtype;
    const int64_t rows = rk_tensor_rows(in[0]), vocab = in[1]->dims[0];
    const rk_divergence_in d = {.hidden = in[0],
                                .head = in[1],
                                .teacher_hidden = rk_case_constants(ctx, real, rows, 3, -0.5),
                                .teacher_head = rk_case_constants(ctx, real, vocab + 2, 3, -1),
                                .targets = in[2],
                                .kl_weight = 1.0,
                                .ce_weight = arg != KL ? 0.25 : 0,
                                .adaptive = arg == ADAPTIVE};
    out[0] = rk_divergence(ctx, &d);
}

enum { LOGISTIC, HINGE };
static void preference(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    const int64_t *dims = in[0]->dims;
    rk_tensor *reference = rk_case_constants(ctx, in[0]->dtype, dims[0] * dims[1], dims[2], 0.4);
    const rk_preference_how how = {.beta = 0.3, .smoothing = 0.125, .hinge = arg == HINGE};
    out[0] = rk_preference(ctx, in[0], rk_view(ctx, reference, 3, dims), &how);
}

/* clang-format off */
static const rk_op_case cases[] = {
    {"cross-entropy", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {"cross-entropy, wide", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 37, 75), IN(-1, 1, 61, 75), IDS(61, true, 2, 37)}},
    {"cross-entropy, vocabulary blocks", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 10, 3), IN(-1, 1, 2100, 3), IDS(2100, true, 2, 10)}},
    {"cross-entropy, row blocks", &rk_op_cross_entropy, cross_entropy, 0, {IN(-1, 1, 2, 530, 3), IN(-1, 1, 5, 3), IDS(5, true, 2, 530)}},
    {"distance", &rk_op_distance, distance, 0, {IN(-1, 1, 38, 7)}},
    {"divergence", &rk_op_divergence, divergence, KL, {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {"divergence and cross-entropy, several blocks", &rk_op_divergence, divergence, KL_AND_CE, {IN(-1, 1, 2, 530, 3), IN(-1, 1, 9, 3), IDS(9, true, 2, 530)}},
    {"divergence both ways", &rk_op_divergence, divergence, ADAPTIVE, {IN(-1, 1, 2, 9, 6), IN(-1, 1, 13, 6), IDS(13, true, 2, 9)}},
    {"preference", &rk_op_preference, preference, LOGISTIC, {IN(0, 2, 5, 2, 9)}},
    {"preference, hinge", &rk_op_preference, preference, HINGE, {IN(0, 2, 5, 2, 9)}},
    {"kl", &rk_op_kl, kl, 0, {IN(-2, 2, 3, 5, 7), IN(-2, 2, 3, 5, 7)}},
    {"kl, wide", &rk_op_kl, kl, 0, {IN(-4, 4, 37, 75), IN(-4, 4, 37, 75)}},
};
/* clang-format on */

const rk_op_cases rk_op_cases_losses = {cases, RK_COUNT(cases)};
