/* RWKV-7's recurrence with a removal of more and of less than 1 against its equations in double, for
 * every path of this machine: one step, several, and in chunks. */
#include "test_util.h"

#include "tensor/ops.h"

enum { H = 2, N = 20, STEPS_MAX = 70 };

static rk_tensor *draw(test_ctx *t, rk_ctx *ctx, int n_dims, const int64_t *dims)
{
    rk_tensor *x = rk_new(ctx, RK_F32, n_dims, dims);
    assert_non_null(x);
    memcpy(x->data, test_uniform(t, rk_tensor_count(x), -1, 1), rk_tensor_bytes(x));
    return x;
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double at(const rk_tensor *t, int64_t i)
{
    return (double)((const float *)t->data)[i];
}

/* A head whose first channel is c and whose row of step s begins at `row`: S is replaced, y left. */
static void plain_step(const rk_rwkv7_heads_in *in, int64_t c, int64_t row, double S[N][N],
                       double *y)
{
    double kk[N], a[N], w[N], k[N], length = 0;
    for (int j = 0; j < N; j++) {
        kk[j] = at(in->raw.k, row + j) * at(in->raw.k_k, c + j);
        length += kk[j] * kk[j];
    }
    for (int j = 0; j < N; j++) {
        kk[j] /= fmax(sqrt(length), 1e-12);
        a[j] = sigmoid(at(in->raw.a0, c + j) + at(in->raw.al, row + j));
        w[j] = exp(-exp(-0.5) * sigmoid(at(in->raw.w0, c + j) + at(in->raw.wl, row + j)));
        k[j] = at(in->raw.k, row + j) * (1 + (a[j] - 1) * at(in->raw.k_a, c + j));
    }
    for (int i = 0; i < N; i++) {
        double found = 0;
        for (int j = 0; j < N; j++)
            found += S[i][j] * kk[j];
        y[i] = 0;
        for (int j = 0; j < N; j++) {
            S[i][j] = S[i][j] * w[j] - (1 + in->form.extra) * found * kk[j] * a[j] +
                      at(in->raw.v, row + i) * k[j];
            y[i] += S[i][j] * at(in->r, row + j);
        }
    }
}

/* The state after all steps, and what the last one gives after group norm, bonus and gate. */
static void plain(const rk_rwkv7_heads_in *in, int64_t steps, int64_t h, float *state, float *z)
{
    static double S[N][N];
    const int64_t c = h * N, row = (steps - 1) * H * N + c;
    double y[N], mean = 0, square = 0, bonus = 0;
    for (int e = 0; e < N * N; e++)
        S[e / N][e % N] = at(in->state, h * N * N + e);
    for (int64_t s = 0; s < steps; s++)
        plain_step(in, c, s * H * N + c, S, y);
    for (int i = 0; i < N; i++)
        mean += y[i] / N;
    for (int i = 0; i < N; i++) {
        const double a = sigmoid(at(in->raw.a0, c + i) + at(in->raw.al, row + i));
        square += (y[i] - mean) * (y[i] - mean) / N;
        bonus += at(in->r, row + i) * at(in->raw.k, row + i) *
                 (1 + (a - 1) * at(in->raw.k_a, c + i)) * at(in->r_k, c + i);
    }
    for (int i = 0; i < N; i++)
        z[i] = (float)(((y[i] - mean) / sqrt(square + in->form.eps) * at(in->ln_w, c + i) +
                        at(in->ln_b, c + i) + bonus * at(in->raw.v, row + i)) *
                       at(in->g, row + i));
    for (int e = 0; e < N * N; e++)
        state[e] = (float)S[e / N][e % N];
}

static void check(int path, int64_t steps, double extra)
{
    const int64_t vector[] = {H * N}, rows[] = {1, steps, H, N}, matrix[] = {1, H, N, N};
    rk_pool *pool = NULL;
    rk_ctx ctx;
    rk_error err = {0};
    test_ctx t = test_begin(7);
    test_ok(rk_pool_new(&pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = rk_kernels_at(path), .pool = pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&ctx, &p, &err), &err);
    ctx.long_class = steps > 16;
    const rk_rwkv7_heads_in in = {.raw = {.w0 = draw(&t, &ctx, 1, vector),
                                          .a0 = draw(&t, &ctx, 1, vector),
                                          .k_k = draw(&t, &ctx, 1, vector),
                                          .k_a = draw(&t, &ctx, 1, vector),
                                          .wl = draw(&t, &ctx, 4, rows),
                                          .al = draw(&t, &ctx, 4, rows),
                                          .k = draw(&t, &ctx, 4, rows),
                                          .v = draw(&t, &ctx, 4, rows)},
                                  .r = draw(&t, &ctx, 4, rows),
                                  .g = draw(&t, &ctx, 4, rows),
                                  .r_k = draw(&t, &ctx, 1, vector),
                                  .ln_w = draw(&t, &ctx, 1, vector),
                                  .ln_b = draw(&t, &ctx, 1, vector),
                                  .state = draw(&t, &ctx, 4, matrix),
                                  .form = {.eps = 1e-3, .extra = extra}};
    rk_tensor *after = NULL, *z = rk_rwkv7_heads(&ctx, &in, &after);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    for (int64_t h = 0; h < H; h++) {
        float state[N * N], last[N];
        plain(&in, steps, h, state, last);
        test_shape(&t, "%s, %d steps, extra %g", rk_kernels_at(path)->name, (int)steps, extra);
        test_close(&t, "state", state, (const float *)after->data + h * N * N, N * N, 2e-4f);
        test_close(&t, "z", last, (const float *)z->data + (steps - 1) * H * N + h * N, N, 2e-3f);
    }
    rk_ctx_deinit(&ctx);
    rk_pool_free(pool);
    test_end(&t);
}

static void test_removal(void **state)
{
    static const double extras[] = {0, 1, -0.5};
    static const int64_t steps[] = {1, 5, STEPS_MAX};
    (void)state;
    for (int p = 0; rk_kernels_at(p); p++)
        for (size_t i = 0; i < RK_COUNT(steps); i++)
            for (size_t e = 0; e < RK_COUNT(extras); e++)
                check(p, steps[i], extras[e]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_removal)};
    return cmocka_run_group_tests_name("removal", tests, NULL, NULL);
}
