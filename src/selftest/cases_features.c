/* cases_features.c: rows of op_cases.h: kernel paths. */
#include <string.h>

#include "base/num.h"
#include "selftest/cases.h"

/* A constant of (a, b, c): values within scale of middle. */
static rk_tensor *constant(rk_ctx *ctx, const rk_tensor *like, const int64_t *dims, double middle,
                           double scale)
{
    rk_tensor *t = rk_new(ctx, like->dtype, 3, dims);
    for (int64_t i = 0; t && t->data && i < rk_tensor_count(t); i++) {
        const double x = middle + scale * ((double)(i * 37 % 23) / 11.0 - 1.0);
        if (t->dtype == RK_F64)
            ((double *)t->data)[i] = (double)(float)x;
        else
            ((float *)t->data)[i] = (float)x;
    }
    return t;
}

/* Features of vectors: Gaussian, in a basis, as published, and the vectors themselves. */
enum { GAUSS, BASIS, LITERAL, LINEAR };
static void features(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    static const double gammas[] = {[GAUSS] = 0.5, [BASIS] = 0.5, [LITERAL] = -0.2, [LINEAR] = 0};
    const int64_t h = in[0]->dims[2], n = in[0]->dims[3], m = arg == LINEAR ? n : n + 3;
    const int64_t vectors[] = {h, m, n}, heads[] = {1, 1, h}, scales[] = {1, h, 3};
    const int64_t square[] = {h, m, m};
    const rk_feature_path path = {
        .u = constant(ctx, in[0], vectors, 0, 0.8),
        .uv = constant(ctx, in[0], vectors, 0.1, 0.7),
        .pi = constant(ctx, in[0], vectors, 1.0 / (double)n, 0.5 / (double)n),
        .gamma = constant(ctx, in[0], heads, gammas[arg], 0.1 * gammas[arg]),
        .scale = constant(ctx, in[0], scales, 1, 0.4),
        .basis = arg == BASIS ? constant(ctx, in[0], square, 0.2, 0.6) : NULL};
    const rk_features_in f = {&path, in[0], in[1], in[2], in[3], in[4], in[5], 1.5};
    if (rk_ctx_failed(ctx))
        return;
    const rk_wkv7_in w = rk_features_of(ctx, &f);
    rk_tensor *const all[] = {w.r, w.w, w.k, w.v, w.a, w.b};
    memcpy(out, all, sizeof all);
}

static void features_read(rk_ctx *ctx, int arg, rk_tensor *const *in, rk_tensor **out)
{
    (void)arg;
    const int64_t dims[] = {in[0]->dims[2], 5, in[0]->dims[3]};
    const rk_feature_path path = {.read = constant(ctx, in[0], dims, 0, 0.8), .alpha = in[1]};
    out[0] = rk_features_back_op(ctx, &path, in[0]);
}

/* clang-format off */
#define FEATURES_IN(...)                                                                           \
    IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), IN(-1, 1, __VA_ARGS__), \
    IN(0.1, 0.9, __VA_ARGS__), IN(0.6, 0.99, __VA_ARGS__)

static const rk_op_case cases[] = {
    {"features", &rk_op_features, features, GAUSS, {FEATURES_IN(2, 7, 2, 5)}},
    {"features, wide", &rk_op_features, features, GAUSS, {FEATURES_IN(1, 3, 1, 19)}},
    {"features in a basis", &rk_op_features, features, BASIS, {FEATURES_IN(2, 7, 2, 5)}},
    {"features as published", &rk_op_features, features, LITERAL, {FEATURES_IN(2, 7, 2, 5)}},
    {"features that are the vectors", &rk_op_features, features, LINEAR, {FEATURES_IN(2, 7, 2, 5)}},
    {"features_read", &rk_op_features_read, features_read, 0, {IN(-1, 1, 2, 19, 3, 7), IN(-1, 1, 3)}},
};
/* clang-format on */

const rk_op_cases rk_op_cases_features = {cases, RK_COUNT(cases)};
