/* test_ref.c: the gradients of the reference table against central differences, in double.
 *
 * For random inputs x, upstream gradients dy and directions d, f = <y(x), dy> must satisfy
 *     (f(x + h d) - f(x - h d)) / 2h = <df/dx, d>
 * The directions run through all inputs of an operation at once. Gradients begin at random numbers,
 * so an output that is overwritten instead of added to is seen as well. */
#include "test_util.h"

#include "kernels/kernels.h"

#define REF (&rk_kernels_ref_f64)

enum { INPUTS_MAX = 12 };

/* An operation with its inputs, one flat array of outputs, and their gradients. */
typedef struct problem {
    test_ctx *t;
    int64_t d[4]; /* sizes, as the operation below reads them */
    int n_inputs;
    int64_t len[INPUTS_MAX], n_y;
    double *x[INPUTS_MAX], *dx[INPUTS_MAX], *y, *dy;
    void (*forward)(const struct problem *p);
    void (*backward)(const struct problem *p);
} problem;

static void input(problem *p, int64_t n, double low, double high)
{
    p->len[p->n_inputs] = n;
    p->x[p->n_inputs++] = test_uniform_f64(p->t, n, low, high);
}

static double inner(const double *x, const double *y, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += x[i] * y[i];
    return s;
}

/* f with all inputs moved by h along their directions. */
static double moved(const problem *p, double *const *dir, double h)
{
    problem q = *p;
    for (int i = 0; i < p->n_inputs; i++) {
        q.x[i] = test_copy_f64(p->t, p->x[i], p->len[i]);
        for (int64_t j = 0; j < p->len[i]; j++)
            q.x[i][j] += h * dir[i][j];
    }
    p->forward(&q);
    return inner(p->y, p->dy, p->n_y);
}

static void check(problem *p, const char *what)
{
    const double h = 1e-5;
    double *dir[INPUTS_MAX], *before[INPUTS_MAX];
    double got = 0;
    p->y = test_alloc_f64(p->t, p->n_y);
    if (!p->dy)
        p->dy = test_uniform_f64(p->t, p->n_y, -1, 1);
    for (int i = 0; i < p->n_inputs; i++) {
        dir[i] = test_uniform_f64(p->t, p->len[i], -1, 1);
        before[i] = test_uniform_f64(p->t, p->len[i], -1, 1);
        p->dx[i] = test_copy_f64(p->t, before[i], p->len[i]);
    }
    p->forward(p);
    p->backward(p);
    for (int i = 0; i < p->n_inputs; i++)
        got += inner(p->dx[i], dir[i], p->len[i]) - inner(before[i], dir[i], p->len[i]);
    const double want = (moved(p, dir, h) - moved(p, dir, -h)) / (2 * h);
    test_shape(p->t, "%s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, what, p->d[0], p->d[1],
               p->d[2], p->d[3]);
    test_close_f64(p->t, "directional derivative", &want, &got, 1, 1e-8);
    test_reset(p->t);
}

/* ------------------------------------------------------------------- element by element, sums */

static void unary_forward(const problem *p)
{
    REF->unary((rk_unary)p->d[0], p->n_y, p->x[0], p->y);
}
static void unary_backward(const problem *p)
{
    REF->unary_bwd((rk_unary)p->d[0], p->n_y, p->x[0], p->y, p->dy, p->dx[0]);
}

static void test_unary(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (int op = 0; op < RK_UNARY_COUNT; op++) {
        problem p = {.t = &t, .d = {op}, .n_y = 37};
        p.forward = unary_forward;
        p.backward = unary_backward;
        input(&p, 37, -3, 3);
        check(&p, "unary");
    }
    test_end(&t);
}

static void lerp_forward(const problem *p)
{
    REF->lerp(p->n_y, p->x[0], p->x[1], p->x[2], p->y);
}
static void lerp_backward(const problem *p)
{
    for (int i = 0; i < 3; i++) /* each output may be left out */
        REF->lerp_bwd(p->n_y, p->x[0], p->x[1], p->x[2], p->dy, i == 0 ? p->dx[0] : NULL,
                      i == 1 ? p->dx[1] : NULL, i == 2 ? p->dx[2] : NULL);
}
static void mul_forward(const problem *p)
{
    REF->mul(p->n_y, p->x[0], p->x[1], p->y);
}
static void mul_backward(const problem *p)
{
    REF->mul_add(p->n_y, p->dy, p->x[1], p->dx[0]);
    REF->mul_add(p->n_y, p->dy, p->x[0], p->dx[1]);
}

static void test_products(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    problem p = {.t = &t, .n_y = 19, .forward = lerp_forward, .backward = lerp_backward};
    for (int i = 0; i < 3; i++)
        input(&p, 19, -1, 1);
    check(&p, "lerp");
    p = (problem){.t = &t, .n_y = 19, .forward = mul_forward, .backward = mul_backward};
    for (int i = 0; i < 2; i++)
        input(&p, 19, -1, 1);
    check(&p, "mul");
    test_end(&t);
}

/* What has no backward of its own, against the formula. */
static void test_sums(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const int64_t n = 45;
    const double *x = test_uniform_f64(&t, n, -1, 1), *y = test_uniform_f64(&t, n, -1, 1);
    double *z = test_copy_f64(&t, y, n), *rows = test_copy_f64(&t, y, 8), total = 0, squares = 0;
    REF->axpy(n, 0.5, x, z);
    REF->scale(n, 2.0, z, z);
    REF->add(n, z, x, z);
    REF->add_rows(5, 8, 9, x, rows);
    for (int64_t i = 0; i < n; i++) {
        const double want = 2 * (y[i] + 0.5 * x[i]) + x[i];
        test_close_f64(&t, "axpy, scale, add", &want, &z[i], 1, 1e-15);
        total += x[i];
        squares += x[i] * x[i];
    }
    for (int64_t c = 0; c < 8; c++) {
        const double want = y[c] + x[c] + x[9 + c] + x[18 + c] + x[27 + c] + x[36 + c];
        test_close_f64(&t, "add_rows", &want, &rows[c], 1, 1e-14);
    }
    const double got[2] = {REF->sum(n, x), REF->sum_squares(n, x)};
    test_close_f64(&t, "sum, sum_squares", (const double[]){total, squares}, got, 2, 1e-14);
    test_end(&t);
}

/* --------------------------------------------------------------------- normalisations: d = rows,
 * groups, n */

static void norm_forward(const problem *p)
{
    REF->norm(p->d[0], p->d[1], p->d[2], p->x[0], p->x[1], p->x[2], 1e-3, p->y, NULL);
}
static void norm_backward(const problem *p)
{
    const int64_t rows = p->d[0], groups = p->d[1], n = p->d[2], c = groups * n;
    double *stats = test_alloc_f64(p->t, rows * groups * 2);
    REF->norm(rows, groups, n, p->x[0], p->x[1], p->x[2], 1e-3, p->y, stats);
    REF->norm_bwd_x(rows, groups, n, p->x[0], p->x[1], stats, p->dy, p->dx[0]);
    for (int64_t c0 = 0; c0 < c; c0 += 3) /* channels in pieces */
        REF->norm_bwd_w(rows, groups, n, c0, rk_min_i64(c0 + 3, c), p->x[0], stats, p->dy, p->dx[1],
                        p->dx[2]);
}
static void l2norm_forward(const problem *p)
{
    REF->l2norm(p->d[0], p->d[2], p->x[0], p->y);
}
static void l2norm_backward(const problem *p)
{
    REF->l2norm_bwd(p->d[0], p->d[2], p->x[0], p->dy, p->dx[0]);
}
static void softmax_forward(const problem *p)
{
    REF->softmax(p->d[0], p->d[2], p->x[0], p->y);
}
static void softmax_backward(const problem *p)
{
    REF->softmax_bwd(p->d[0], p->d[2], p->y, p->dy, p->dx[0]);
}

static void test_norms(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    for (int64_t groups = 1; groups <= 3; groups += 2) {
        problem p = {.t = &t, .d = {4, groups, 7}, .n_y = 28 * groups};
        p.forward = norm_forward;
        p.backward = norm_backward;
        input(&p, p.n_y, -1, 1);
        input(&p, 7 * groups, 0.5, 1.5);
        input(&p, 7 * groups, -1, 1);
        check(&p, "norm");
    }
    problem p = {.t = &t, .d = {5, 1, 6}, .n_y = 30};
    p.forward = l2norm_forward;
    p.backward = l2norm_backward;
    input(&p, 30, -1, 1);
    check(&p, "l2norm");
    p = (problem){.t = &t, .d = {5, 1, 6}, .n_y = 30};
    p.forward = softmax_forward;
    p.backward = softmax_backward;
    input(&p, 30, -2, 2);
    check(&p, "softmax");
    test_end(&t);
}

/* Below the floor the normalisation is a division by it; zero has zero for a result. */
static void test_l2norm_floor(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    const double x[3] = {0, 3e-13, 0}, dy[3] = {1, -2, 0.5};
    double y[3], dx[3] = {0}, want_y[3], want_dx[3];
    for (int i = 0; i < 3; i++) {
        want_y[i] = x[i] / RK_L2_EPS;
        want_dx[i] = dy[i] / RK_L2_EPS;
    }
    REF->l2norm(1, 3, x, y);
    REF->l2norm_bwd(1, 3, x, dy, dx);
    test_close_f64(&t, "y", want_y, y, 3, 1e-15);
    test_close_f64(&t, "dx", want_dx, dx, 3, 1e-15);
    test_end(&t);
}

/* ------------------------------------------------------------------------- token shift: d = T, C,
 * mixes; inputs x, prev and one array a mix */

static void shift_forward(const problem *p)
{
    const int64_t steps = p->d[0], c = p->d[1], cut = steps / 2;
    const void *const mu[] = {p->x[2], p->x[3], p->x[4]};
    REF->shift_mix(cut, steps, c, p->x[0], p->x[1], 3, mu, p->y, steps * c);
    REF->shift_mix(0, cut, c, p->x[0], p->x[1], 3, mu, p->y, steps * c);
}
static void shift_backward(const problem *p)
{
    const int64_t steps = p->d[0], c = p->d[1], stride = steps * c;
    const void *const mu[] = {p->x[2], p->x[3], p->x[4]};
    void *const dmu[] = {p->dx[2], p->dx[3], p->dx[4]};
    for (int64_t t0 = 0; t0 < steps; t0 += 3) {
        const int64_t t1 = rk_min_i64(t0 + 3, steps);
        REF->shift_mix_bwd_x(t0, t1, steps, c, 3, mu, p->dy, stride, p->dx[0]);
    }
    for (int64_t c0 = 0; c0 < c; c0 += 2) {
        const int64_t c1 = rk_min_i64(c0 + 2, c);
        REF->shift_mix_bwd_mu(steps, c, c0, c1, p->x[0], p->x[1], 3, mu, p->dy, stride, dmu,
                              p->dx[1]);
    }
}

static void test_shift(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    for (int64_t steps = 1; steps <= 8; steps += 7) {
        problem p = {.t = &t, .d = {steps, 5}, .n_y = 15 * steps};
        p.forward = shift_forward;
        p.backward = shift_backward;
        input(&p, steps * 5, -1, 1);
        for (int i = 0; i < 4; i++)
            input(&p, 5, -1, 1);
        check(&p, "shift_mix");
    }
    test_end(&t);
}

/* -------------------------------------------------------- RWKV-7 around the recurrence: d = rows,
 * heads, N, layer; w0 a0 v0 k_k k_a, then wl al vl k0 v_in v_first; outputs w k na b v */

static rk_rwkv7_prepare prepare_args(const problem *p)
{
    const int64_t size = p->d[0] * p->d[1] * p->d[2];
    const bool first = p->d[3] == 0;
    double *const *x = p->x;
    return (rk_rwkv7_prepare){
        .w0 = x[0],
        .a0 = x[1],
        .v0 = x[2],
        .k_k = x[3],
        .k_a = x[4],
        .wl = x[5],
        .al = x[6],
        .k0 = x[7],
        .v_in = x[8],
        .vl = first ? NULL : x[9],
        .v_first = first ? NULL : x[10],
        .w = p->y,
        .k = p->y + size,
        .na = p->y + 2 * size,
        .b = p->y + 3 * size,
        .v = p->y + 4 * size,
    };
}
static void prepare_forward(const problem *p)
{
    const rk_rwkv7_prepare args = prepare_args(p);
    REF->rwkv7_prepare(p->d[0], p->d[1], p->d[2], &args);
}
static void prepare_backward(const problem *p)
{
    const int64_t rows = p->d[0], c = p->d[1] * p->d[2], size = rows * c;
    const bool first = p->d[3] == 0;
    const rk_rwkv7_prepare args = prepare_args(p);
    double *dwl = calloc((size_t)(5 * size), sizeof *dwl), *dal = dwl + size, *dvl = dal + size;
    double *dk_k = dvl + size, *dk_a = dk_k + size;
    assert_non_null(dwl);
    const rk_rwkv7_prepare_grads g = {
        .dw = p->dy,
        .dk = p->dy + size,
        .dna = p->dy + 2 * size,
        .db = p->dy + 3 * size,
        .dv = p->dy + 4 * size,
        .dwl = dwl,
        .dal = dal,
        .dvl = first ? NULL : dvl,
        .dk0 = p->dx[7],
        .dv_in = first ? NULL : p->dx[8],
        .dv_first = first ? NULL : p->dx[10],
        .dk_k_rows = dk_k,
        .dk_a_rows = dk_a,
    };
    REF->rwkv7_prepare_bwd(rows, p->d[1], p->d[2], &args, &g);
    const double *logit[] = {dwl, dal, dvl};
    const int at[] = {5, 6, 9};
    for (int i = 0; i < (first ? 2 : 3); i++) { /* a base and its logit share their gradient */
        REF->add(size, logit[i], p->dx[at[i]], p->dx[at[i]]);
        REF->add_rows(rows, c, c, logit[i], p->dx[i]);
    }
    REF->add_rows(rows, c, c, dk_k, p->dx[3]);
    REF->add_rows(rows, c, c, dk_a, p->dx[4]);
    free(dwl);
}

static void test_prepare(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    for (int64_t layer = 0; layer < 2; layer++) {
        const int64_t rows = 3, h = 2, n = 5, size = rows * h * n;
        problem p = {.t = &t, .d = {rows, h, n, layer}, .n_y = (4 + layer) * size};
        p.forward = prepare_forward;
        p.backward = prepare_backward;
        for (int i = 0; i < 5; i++)
            input(&p, h * n, -1, 1);
        for (int i = 0; i < (layer ? 6 : 4); i++)
            input(&p, size, -1, 1);
        check(&p, "rwkv7_prepare");
    }
    test_end(&t);
}

/* A key shorter than the floor: kk = k0 k_k / floor is linear. */
static void test_prepare_floor(void **state)
{
    (void)state;
    test_ctx t = test_begin(12);
    const double zero[2] = {0}, one[2] = {1, 1}, k0[2] = {2e-13, -1e-13}, dna[2] = {1, -2};
    double out[8], sums[4] = {0}, dk0[2] = {0}, terms[4], want[4];
    const rk_rwkv7_prepare p = {.w0 = zero,
                                .a0 = zero,
                                .k_k = one,
                                .k_a = one,
                                .wl = zero,
                                .al = zero,
                                .k0 = k0,
                                .v_in = zero,
                                .w = out,
                                .k = out + 2,
                                .na = out + 4,
                                .b = out + 6};
    const rk_rwkv7_prepare_grads g = {.dw = zero,
                                      .dk = zero,
                                      .dna = dna,
                                      .db = zero,
                                      .dv = zero,
                                      .dwl = sums,
                                      .dal = sums + 2,
                                      .dk0 = dk0,
                                      .dk_k_rows = terms,
                                      .dk_a_rows = terms + 2};
    REF->rwkv7_prepare(1, 1, 2, &p);
    REF->rwkv7_prepare_bwd(1, 1, 2, &p, &g);
    for (int i = 0; i < 2; i++) {
        want[i] = -k0[i] / RK_L2_EPS;
        want[2 + i] = -dna[i] / RK_L2_EPS;
    }
    test_close_f64(&t, "na", want, out + 4, 2, 1e-14);
    test_close_f64(&t, "dk0", want + 2, dk0, 2, 1e-14);
    test_end(&t);
}

static rk_rwkv7_output output_args(const problem *p, double *stats)
{
    double *const *x = p->x;
    return (rk_rwkv7_output){
        .y = x[0],
        .r = x[1],
        .k = x[2],
        .v = x[3],
        .g = x[4],
        .r_k = x[5],
        .ln_w = x[6],
        .ln_b = x[7],
        .eps = 64e-5,
        .stats = stats,
        .z = p->y,
    };
}
static void output_forward(const problem *p)
{
    const rk_rwkv7_output args = output_args(p, NULL);
    REF->rwkv7_output(p->d[0], p->d[1], p->d[2], &args);
}
static void output_backward(const problem *p)
{
    const int64_t rows = p->d[0], c = p->d[1] * p->d[2], size = rows * c;
    double *stats = test_alloc_f64(p->t, 2 * rows * p->d[1]),
           *terms = test_alloc_f64(p->t, 3 * size);
    const rk_rwkv7_output args = output_args(p, stats);
    const rk_rwkv7_output_grads g = {
        .dz = p->dy,
        .dy = p->dx[0],
        .dr = p->dx[1],
        .dk = p->dx[2],
        .dv = p->dx[3],
        .dg = p->dx[4],
        .dr_k_rows = terms,
        .dln_w_rows = terms + size,
        .dln_b_rows = terms + 2 * size,
    };
    REF->rwkv7_output(rows, p->d[1], p->d[2], &args);
    REF->rwkv7_output_bwd(rows, p->d[1], p->d[2], &args, &g);
    for (int i = 0; i < 3; i++)
        REF->add_rows(rows, c, c, terms + i * size, p->dx[5 + i]);
}

static void test_output(void **state)
{
    (void)state;
    test_ctx t = test_begin(8);
    problem p = {.t = &t, .d = {3, 2, 5}, .n_y = 30};
    p.forward = output_forward;
    p.backward = output_backward;
    for (int i = 0; i < 5; i++)
        input(&p, 30, -1, 1);
    for (int i = 0; i < 3; i++)
        input(&p, 10, -1, 1);
    check(&p, "rwkv7_output");
    test_end(&t);
}

/* ----------------------------------------------------------------- the recurrence: d = T, N,
 * stride; inputs r w k v a b and the first state; outputs y and the last state */

static rk_wkv7_args wkv7_args(const problem *p, double *saved)
{
    double *const *x = p->x;
    const int64_t n = p->d[1];
    rk_wkv7_args args = {.n_steps = p->d[0], .head_size = n, .stride = p->d[2], .saved = saved};
    args.r = x[0];
    args.w = x[1];
    args.k = x[2];
    args.v = x[3];
    args.a = x[4];
    args.b = x[5];
    args.y = p->y;
    args.state = memcpy(p->y + p->len[0], x[6], (size_t)(n * n) * sizeof(double));
    return args;
}
static void wkv7_forward(const problem *p)
{
    const rk_wkv7_args args = wkv7_args(p, NULL);
    memset(p->y, 0, (size_t)p->len[0] * sizeof(double)); /* also between the rows */
    REF->wkv7(&args, test_alloc(p->t, REF->wkv7_scratch(p->d[1])));
}
static void wkv7_backward(const problem *p)
{
    const int64_t n = p->d[1], nn = n * n;
    void *scratch = test_alloc(p->t, REF->wkv7_scratch(n));
    double *saved = test_alloc_f64(p->t, rk_ceil_div(p->d[0], RK_WKV_SEGMENT) * nn);
    double *dstate = test_copy_f64(p->t, p->dy + p->len[0], nn);
    const rk_wkv7_args args = wkv7_args(p, saved);
    const rk_wkv7_grads g = {
        .dy = p->dy,
        .dr = p->dx[0],
        .dw = p->dx[1],
        .dk = p->dx[2],
        .dv = p->dx[3],
        .da = p->dx[4],
        .db = p->dx[5],
        .dstate = dstate,
    };
    REF->wkv7(&args, scratch);
    REF->wkv7_bwd(&args, &g, scratch);
    REF->add(nn, dstate, p->dx[6], p->dx[6]);
}

static void test_wkv7(void **state)
{
    static const int64_t steps[] = {1, 15, 16, 17, 32, 37};
    (void)state;
    test_ctx t = test_begin(9);
    for (size_t i = 0; i < RK_COUNT(steps); i++) {
        const int64_t n = 5, stride = n + 2, len = (steps[i] - 1) * stride + n;
        problem p = {.t = &t, .d = {steps[i], n, stride}, .n_y = len + n * n};
        p.forward = wkv7_forward;
        p.backward = wkv7_backward;
        for (int q = 0; q < 6; q++)
            input(&p, len, q == 1 ? 0.6 : -0.4, q == 1 ? 0.95 : 0.4);
        input(&p, n * n, -1, 1);
        check(&p, "wkv7");
    }
    test_end(&t);
}

/* ----------------------------------------------------------------- the loss: d = rows, V, block */

static const double ce_scale = 0.3, ce_l2wrap = 0.02;
static const int32_t ce_targets[] = {4, -1, 0, 10};

static void ce_blocks(const problem *p, rk_ce_row *row)
{
    for (int64_t i = 0; i < p->d[0]; i++)
        row[i] = (rk_ce_row){.max = -HUGE_VAL};
    for (int64_t c = 0; c < p->d[1]; c += p->d[2])
        REF->ce_block(p->d[0], rk_min_i64(p->d[2], p->d[1] - c), p->d[1], c, p->x[0] + c,
                      ce_targets, row);
}
static void ce_forward(const problem *p)
{
    rk_ce_row row[4];
    ce_blocks(p, row);
    p->y[0] = 0;
    for (int64_t i = 0; i < p->d[0]; i++)
        if (ce_targets[i] >= 0)
            p->y[0] += ce_scale * (row[i].max + log(row[i].sum) - row[i].target +
                                   ce_l2wrap / 2 * row[i].max * row[i].max);
}
static void ce_backward(const problem *p)
{
    const int64_t v = p->d[1];
    rk_ce_row row[4];
    double *g = test_copy_f64(p->t, p->x[0], p->len[0]);
    ce_blocks(p, row);
    for (int64_t c = 0; c < v; c += p->d[2])
        REF->ce_grad(p->d[0], rk_min_i64(p->d[2], v - c), v, c, g + c, ce_targets, row, ce_scale,
                     ce_l2wrap);
    REF->add(p->len[0], g, p->dx[0], p->dx[0]);
}

static void test_cross_entropy(void **state)
{
    (void)state;
    test_ctx t = test_begin(10);
    for (int64_t block = 3; block <= 11; block += 4) {
        problem p = {.t = &t, .d = {4, 11, block}, .n_y = 1};
        p.forward = ce_forward;
        p.backward = ce_backward;
        p.dy = test_uniform_f64(&t, 1, 1, 1);
        input(&p, 44, -2, 2);
        check(&p, "cross-entropy");
    }
    test_end(&t);
}

static void test_argmax_of_ties(void **state)
{
    (void)state;
    const double x[6] = {1, 3, 2, 3, 3, -1};
    const int32_t target = -1;
    rk_ce_row row = {.max = -HUGE_VAL};
    REF->ce_block(1, 3, 3, 0, x, &target, &row);
    REF->ce_block(1, 3, 3, 3, x + 3, &target, &row);
    assert_int_equal(row.argmax, 1);
    assert_true(row.max == 3);
}

/* -------------------------------------------------------------------------------- optimisers */

/* Two steps by hand: the bias correction makes the first one lr sign(g). */
static void test_optimisers(void **state)
{
    (void)state;
    test_ctx t = test_begin(11);
    const double g = -0.5;
    double m = 0, v = 0, p = 2;
    rk_adamw o = {0.1, 0.9, 0.99, 1e-18, 0.01, 1 - 0.9, 1 - 0.99, 3};
    REF->adamw(1, &o, &g, &m, &v, &p);
    double want = 2 - 0.1 * (-1 + 0.01 * 2);
    test_close_f64(&t, "first step", &want, &p, 1, 1e-14);
    o.correct1 = 1 - 0.9 * 0.9;
    o.correct2 = 1 - 0.99 * 0.99;
    REF->adamw(1, &o, &g, &m, &v, &p); /* the same gradient: the moments' ratio stays */
    want -= 0.1 * (-1 + 0.01 * want);
    test_close_f64(&t, "second step", &want, &p, 1, 1e-14);

    v = 1;
    p = 2;
    REF->sgd(1, 0.1, 0.5, 0.01, 3, &g, &v, &p);
    want = 2 - 0.1 * (-1 + 0.01 * 2);
    test_close_f64(&t, "sgd", &want, &p, 1, 1e-14);
    test_close_f64(&t, "velocity", (const double[]){-1}, &v, 1, 1e-14);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),         cmocka_unit_test(test_products),
        cmocka_unit_test(test_sums),          cmocka_unit_test(test_norms),
        cmocka_unit_test(test_l2norm_floor),  cmocka_unit_test(test_shift),
        cmocka_unit_test(test_prepare),       cmocka_unit_test(test_prepare_floor),
        cmocka_unit_test(test_output),        cmocka_unit_test(test_wkv7),
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_argmax_of_ties),
        cmocka_unit_test(test_optimisers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
