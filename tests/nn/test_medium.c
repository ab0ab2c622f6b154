/* A layer with mediums against known values, worked out in double from its equations (docs/rrwkv.md); without
 * weights it is a layer of RWKV-4; wherever tokens are split, and whichever streams are computed together, the
 * rows are the same; causality; documents that begin inside a row; and states from outside that say nonsense. */
#include "nn/test_layer.h"

#include <math.h>
#include <string.h>

#include "nn/medium.h"

enum { C = 4, F = 8, T = 7, INTERVAL = 3, E = 2, MEDIUMS = T / INTERVAL };

/* Of every layer here: regular, but where a test says otherwise. */
static rk_medium_places places = {INTERVAL, false};

static rk_weight matrix(rig *g, int64_t rows, int64_t cols)
{
    return rk_weight_of(draw(g, 0, 0.6, DIMS(rows, cols)), RK_OUT_IN);
}
static double *reals(const rk_tensor *t)
{
    return t->data;
}

/* What is drawn, in its order. */
typedef struct layer {
    rk_tensor *x, *start, *ln1_w, *ln1_b, *ln2_w, *ln2_b;
    rk_rwkv4_time_mix att;
    rk_gated_channel_mix ffn;
    rk_medium_time_mix back;
    rk_medium_channel_mix back_ffn;
    rk_squeeze squeeze;
} layer;

static layer draw_layer(rig *g)
{
    layer l = {.x = draw(g, 0, 1, DIMS(1, T, C))};
    l.start = draw(g, 0, 0.5, DIMS(1, C));
    l.ln1_w = draw(g, 1, 0.3, DIMS(C));
    l.ln1_b = draw(g, 0, 0.1, DIMS(C));
    l.ln2_w = draw(g, 1, 0.3, DIMS(C));
    l.ln2_b = draw(g, 0, 0.1, DIMS(C));
    l.att.time_mix_k = draw(g, 0.5, 0.5, DIMS(C));
    l.att.time_mix_v = draw(g, 0.5, 0.5, DIMS(C));
    l.att.time_mix_r = draw(g, 0.5, 0.5, DIMS(C));
    l.ffn.mix_k = draw(g, 0.5, 0.5, DIMS(C));
    l.ffn.mix_r = draw(g, 0.5, 0.5, DIMS(C));
    l.att.time_decay = draw(g, 0, 1, DIMS(C));
    l.att.time_first = draw(g, 0, 0.5, DIMS(C));
    l.att.key = matrix(g, C, C);
    l.att.value = matrix(g, C, C);
    l.att.receptance = matrix(g, C, C);
    l.att.output = matrix(g, C, C);
    l.ffn.key = matrix(g, F, C);
    l.ffn.value = matrix(g, C, F);
    l.ffn.receptance = matrix(g, C, C);
    l.back.decay = draw(g, -2, 1, DIMS(C));
    l.back.tau = draw(g, 0, 0.5, DIMS(C));
    l.back.mix_k = draw(g, 0, 0.4, DIMS(C));
    l.back.mix_v = draw(g, 0, 0.4, DIMS(C));
    l.back.mix_r = draw(g, 0, 0.4, DIMS(C));
    l.back_ffn.mix_k = draw(g, 0, 0.4, DIMS(C));
    l.back_ffn.mix_r = draw(g, 0, 0.4, DIMS(C));
    l.squeeze.down = matrix(g, E, C);
    l.squeeze.up = matrix(g, C, E);
    return l;
}

/* All that goes on from call to call. */
typedef struct carried {
    rk_tensor *place, *pool, *ffn_shift, *ffn_sum;
    rk_medium_state att;
} carried;

static carried begin(rig *g, int64_t batch)
{
    rk_tensor *part[8];
    for (int i = 0; i < 8; i++)
        part[i] = rk_new_zeros(&g->ctx, RK_F64, DIMS(batch, C));
    carried s = {.place = rk_new_zeros(&g->ctx, RK_F64, DIMS(batch, 2)),
                 .pool = part[0],
                 .ffn_shift = part[1],
                 .ffn_sum = part[2],
                 .att = {.tokens = {part[3], part[4], part[5], part[6]},
                         .average = rk_new_zeros(&g->ctx, RK_F64, DIMS(batch, 3, C)),
                         .sum = part[7]}};
    for (int64_t i = 0; i < batch * C; i++)
        reals(s.att.tokens.pp)[i] = -1e30;
    return s;
}

/* Rows of tokens x (B, n, C) and of the mediums behind them. */
static rk_tensor *forward(rig *g, const layer *l, rk_tensor *x, carried *s)
{
    rk_ctx *ctx = &g->ctx;
    rk_error err = {0};
    const rk_medium_rows rows = rk_medium_walk(ctx, s->place, x->dims[1], places, &s->place);
    const int64_t flat = C;
    rk_tensor *start = rk_for_each_row(ctx, rk_view(ctx, l->start, 1, &flat), x->dims[0]);
    x = rk_medium_insert(ctx, &rows, x, start, s->pool, &s->pool);
    rk_tensor *ln = rk_norm(ctx, x, l->ln1_w, l->ln1_b, 1, 1e-5);
    x = rk_medium_time_mix_forward(ctx, &l->att, &l->back, &l->squeeze, &rows, ln, x, &s->att);
    ln = rk_norm(ctx, x, l->ln2_w, l->ln2_b, 1, 1e-5);
    x = rk_medium_channel_mix_forward(ctx, &l->ffn, &l->back_ffn, &l->squeeze, &rows, ln, x,
                                      &s->ffn_shift, &s->ffn_sum);
    test_ok(rk_ctx_status(ctx, &err), &err);
    return x;
}

static const double x_0[] = {-0.773579594, -0.350350384, 0.468863073, -0.307684472};
static const double up_3[] = {-0.410214071, 0.431784499};
static const struct {
    const char *what;
    int row;
    double want[C];
} known[] = {
    {"t = 0", 0, {-0.504087167, -0.415405219, 0.470612807, -0.177498748}},
    {"t = 2", 2, {0.312378808, 0.255992317, 1.066548968, 0.708665859}},
    {"t = 3", 3, {-0.141057795, 0.500151003, 0.869093696, 0.800703426}},
    {"t = 6", 6, {-0.281836010, -0.098229433, -0.093876898, -0.294973228}},
    {"medium 0", T, {0.113015087, -0.303530986, 0.268137158, 0.663422986}},
    {"medium 1", T + 1, {-0.040841303, 0.256345389, 0.362344422, 0.849894915}},
};
static const double plain_6[] = {-0.221196955, -0.109062582, -0.154643517, -0.298891334};

static void test_known_values(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    carried s = begin(&g, 1);
    const rk_tensor *h = forward(&g, &l, l.x, &s);
    assert_int_equal(h->dims[1], T + MEDIUMS);
    test_close_f64(&g.t, "x", x_0, reals(l.x), C, 1e-8);
    test_close_f64(&g.t, "E2", up_3, reals(l.squeeze.up.matrix) + 3 * E, E, 1e-8);
    for (size_t i = 0; i < RK_COUNT(known); i++)
        test_close_f64(&g.t, known[i].what, known[i].want, reals(h) + known[i].row * C, C, 1e-6);
    assert_true(reals(s.place)[0] == MEDIUMS && reals(s.place)[1] == T % INTERVAL);
    rig_deinit(&g);
}

/* A layer of RWKV-4 of the same weights. */
static const double *plain(rig *g, const layer *l)
{
    carried s = begin(g, 1);
    rk_ctx *ctx = &g->ctx;
    rk_error err = {0};
    rk_tensor *ln = rk_norm(ctx, l->x, l->ln1_w, l->ln1_b, 1, 1e-5);
    rk_tensor *x = rk_rwkv4_time_mix_forward(ctx, &l->att, ln, l->x, &s.att.tokens);
    ln = rk_norm(ctx, x, l->ln2_w, l->ln2_b, 1, 1e-5);
    x = rk_gated_channel_mix_forward(ctx, &l->ffn, RK_MIX_CURRENT, ln, x, &s.ffn_shift);
    test_ok(rk_ctx_status(ctx, &err), &err);
    return reals(x);
}

/* With weights of zero, and without them. */
static void test_identity(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    layer l = draw_layer(&g);
    const double *want = plain(&g, &l);
    test_close_f64(&g.t, "t = 6", plain_6, want + 6 * C, C, 1e-6);
    rk_tensor *const zero = rk_new_zeros(&g.ctx, RK_F64, DIMS(C));
    l.back = (rk_medium_time_mix){l.back.decay, zero, zero, zero, zero};
    l.back_ffn = (rk_medium_channel_mix){zero, zero};
    carried s = begin(&g, 1);
    test_same(&g.t, "zeros", want, reals(forward(&g, &l, l.x, &s)), T * C * sizeof *want);
    l.back = (rk_medium_time_mix){.tau = NULL};
    l.back_ffn = (rk_medium_channel_mix){.mix_k = NULL};
    s = begin(&g, 1);
    test_same(&g.t, "none", want, reals(forward(&g, &l, l.x, &s)), T * C * sizeof *want);
    rig_deinit(&g);
}

static rk_tensor *tokens(rig *g, rk_tensor *x, int64_t from, int64_t to)
{
    return rk_copy(&g->ctx, rk_slice(&g->ctx, x, 1, from, to));
}

/* Wherever a call ends, in a block or behind it. */
static void test_splits(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    carried s = begin(&g, 1);
    const double *want = reals(forward(&g, &l, l.x, &s));
    for (unsigned cuts = 0; cuts < 1u << (T - 1); cuts++) {
        carried now = begin(&g, 1);
        test_shape(&g.t, "cuts %#x", cuts);
        for (int64_t from = 0, to; from < T; from = to) {
            for (to = from + 1; to < T && !(cuts >> (to - 1) & 1);)
                to++;
            const rk_tensor *h = forward(&g, &l, tokens(&g, l.x, from, to), &now);
            test_same(&g.t, "rows", want + from * C, reals(h),
                      (size_t)((to - from) * C) * sizeof *want);
        }
        test_same(&g.t, "sums", reals(s.att.sum), reals(now.att.sum), C * sizeof *want);
        test_same(&g.t, "average", reals(s.att.average), reals(now.att.average),
                  3 * C * sizeof *want);
        test_same(&g.t, "place", reals(s.place), reals(now.place), 2 * sizeof *want);
    }
    rig_deinit(&g);
}

/* Streams at different places of their blocks, token by token: each as alone. */
static void test_together(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    rk_tensor *const x = draw(&g, 0, 1, DIMS(1, 4 * T, C));
    carried alone[2] = {begin(&g, 1), begin(&g, 1)}, both = begin(&g, 2);
    forward(&g, &l, tokens(&g, x, 0, 2), &alone[1]);
    carried ahead = alone[1];
    rk_tensor **const of[] = {&both.place,
                              &both.pool,
                              &both.ffn_shift,
                              &both.ffn_sum,
                              &both.att.tokens.shift,
                              &both.att.tokens.aa,
                              &both.att.tokens.bb,
                              &both.att.tokens.pp,
                              &both.att.average,
                              &both.att.sum};
    rk_tensor *const first[] = {alone[0].place,
                                alone[0].pool,
                                alone[0].ffn_shift,
                                alone[0].ffn_sum,
                                alone[0].att.tokens.shift,
                                alone[0].att.tokens.aa,
                                alone[0].att.tokens.bb,
                                alone[0].att.tokens.pp,
                                alone[0].att.average,
                                alone[0].att.sum};
    rk_tensor *const second[] = {ahead.place,
                                 ahead.pool,
                                 ahead.ffn_shift,
                                 ahead.ffn_sum,
                                 ahead.att.tokens.shift,
                                 ahead.att.tokens.aa,
                                 ahead.att.tokens.bb,
                                 ahead.att.tokens.pp,
                                 ahead.att.average,
                                 ahead.att.sum};
    for (size_t i = 0; i < RK_COUNT(of); i++)
        *of[i] = rk_concat(&g.ctx, (rk_tensor *const[]){first[i], second[i]}, 2, 0);
    for (int64_t t = 0; t < 2 * T; t++) {
        rk_tensor *const now[] = {tokens(&g, x, t, t + 1), tokens(&g, x, t + 2, t + 3)};
        const rk_tensor *h = forward(&g, &l, rk_concat(&g.ctx, now, 2, 0), &both);
        for (int b = 0; b < 2; b++)
            test_same(&g.t, "row", reals(forward(&g, &l, now[b], &alone[b])),
                      reals(h) + b * h->dims[1] * C, C * sizeof(double));
    }
    rig_deinit(&g);
}

/* What a token sees does not depend on those behind it. */
static void test_causal(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    carried s = begin(&g, 1), again = begin(&g, 1);
    enum { CHANGED = 4 };
    const double *want = reals(forward(&g, &l, l.x, &s));
    reals(l.x)[CHANGED * C] += 0.5;
    const double *got = reals(forward(&g, &l, l.x, &again));
    test_same(&g.t, "before", want, got, CHANGED * C * sizeof *want);
    test_same(&g.t, "medium 0", want + T * C, got + T * C, C * sizeof *want);
    assert_true(memcmp(want + CHANGED * C, got + CHANGED * C, C * sizeof *want) != 0);
    rig_deinit(&g);
}

/* A document that begins inside a row, in the middle of a block, is as one alone. */
static void test_documents(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    const layer l = draw_layer(&g);
    enum { FIRST = 5 };
    rk_tensor *const x = draw(&g, 0, 1, DIMS(1, FIRST + T, C));
    carried alone = begin(&g, 1), s = begin(&g, 1);
    const rk_tensor *want = forward(&g, &l, tokens(&g, x, FIRST, FIRST + T), &alone);
    g.ctx.begins = rk_new_zeros(&g.ctx, RK_I32, DIMS(1, FIRST + T));
    ((int32_t *)g.ctx.begins->data)[0] = ((int32_t *)g.ctx.begins->data)[FIRST] = 1;
    const rk_tensor *got = forward(&g, &l, x, &s);
    test_same(&g.t, "rows", reals(want), reals(got) + FIRST * C, T * C * sizeof(double));
    test_same(&g.t, "pool", reals(alone.pool), reals(s.pool), C * sizeof(double));
    test_same(&g.t, "place", reals(alone.place), reals(s.place), 2 * sizeof(double));
    test_same(&g.t, "sum", reals(alone.att.sum), reals(s.att.sum), C * sizeof(double));
    rig_deinit(&g);
}

/* A place that no call has left counts as none, and is never where memory is written. */
static void test_nonsense(void **state)
{
    (void)state;
    static const double wrong[][2] = {
        {-1, 0}, {0, -3}, {0, INTERVAL}, {(double)NAN, (double)NAN}, {1e300, 1e9}, {0.5, 2.9}};
    for (size_t i = 0; i < RK_COUNT(wrong); i++) {
        rig g;
        rig_init(&g, 3, 2, &rk_kernels_ref_f32);
        const layer l = draw_layer(&g);
        carried s = begin(&g, 1);
        memcpy(s.place->data, wrong[i], sizeof wrong[i]);
        const rk_tensor *h = forward(&g, &l, l.x, &s);
        assert_true(h->dims[1] >= T && h->dims[1] <= T + (T + 1) / 2);
        assert_true(reals(s.place)[1] >= 0 && reals(s.place)[1] <= INTERVAL);
        rig_deinit(&g);
    }
}

/* The lengths of blocks are drawn around the interval, each time the same ones, and a medium is made of its own. */
static void test_random_places(void **state)
{
    (void)state;
    enum { LONG = 2000, EIGHT = 8, SHORTEST = 4, LONGEST = 11 };
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    rk_tensor *x = draw(&g, 0, 1, DIMS(1, LONG, 1)), *start = draw(&g, 0, 1, DIMS(1, 1));
    rk_tensor *place = rk_new_zeros(&g.ctx, RK_F64, DIMS(1, 2)),
              *pool = rk_new_zeros(&g.ctx, RK_F64, DIMS(1, 1));
    const rk_medium_rows rows =
        rk_medium_walk(&g.ctx, place, LONG, (rk_medium_places){EIGHT, true}, &place);
    const rk_tensor *y = rk_medium_insert(&g.ctx, &rows, x, start, pool, &pool);
    const int32_t *at = rows.walk->data;
    int seen[LONGEST + 1] = {0};
    int64_t first = 0;
    for (int64_t m = 0; m < rows.n_mediums; m++, at += RK_WALK_FIELDS) {
        const int64_t length = at[RK_WALK_END] - first;
        double sum = 0;
        for (; first < at[RK_WALK_END]; first++)
            sum += reals(x)[first];
        assert_true(length == at[RK_WALK_LENGTH] && length >= SHORTEST && length <= LONGEST);
        assert_true(fabs(reals(y)[LONG + m] - reals(start)[0] - sum / (double)length) < 1e-12);
        seen[length]++;
    }
    for (int n = SHORTEST; n <= LONGEST; n++)
        assert_true(seen[n] > rows.n_mediums / 16 && seen[n] < rows.n_mediums / 5);
    assert_true(reals(place)[0] == (double)rows.n_mediums &&
                reals(place)[1] == (double)(LONG - first));
    rig_deinit(&g);
}

static rk_medium_rows walk_from(rig *g, rk_medium_places p, double behind, double filled, int64_t n)
{
    rk_tensor *place = rk_new_zeros(&g->ctx, RK_F64, DIMS(1, 2)), *after;
    reals(place)[0] = behind;
    reals(place)[1] = filled;
    return rk_medium_walk(&g->ctx, place, n, p, &after);
}

/* Training takes room for as many mediums as there can be, wherever a row begins: at the last token of a block, too. */
static void test_room(void **state)
{
    (void)state;
    rig g;
    rig_init(&g, 3, 2, &rk_kernels_ref_f32);
    for (int64_t interval = 1; interval < 10; interval++)
        for (int behind = 0; behind < 40; behind++)
            for (int64_t n = 1; n < 30; n++) {
                const rk_medium_places p = {interval, true};
                const int32_t *first = walk_from(&g, p, behind, 0, 1).walk->data;
                const int64_t there =
                    walk_from(&g, p, behind, first[RK_WALK_LENGTH] - 1, n).n_mediums;
                g.ctx.recording = true;
                assert_true(there <= walk_from(&g, p, behind, 0, n).n_mediums);
                g.ctx.recording = false;
            }
    rig_deinit(&g);
}

/* What holds of regular places holds of these. */
static void test_random_rows(void **state)
{
    places.random = true;
    test_splits(state);
    test_together(state);
    test_causal(state);
    test_documents(state);
    test_nonsense(state);
    places.random = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values), cmocka_unit_test(test_identity),
        cmocka_unit_test(test_splits),       cmocka_unit_test(test_together),
        cmocka_unit_test(test_causal),       cmocka_unit_test(test_documents),
        cmocka_unit_test(test_nonsense),     cmocka_unit_test(test_random_places),
        cmocka_unit_test(test_random_rows),  cmocka_unit_test(test_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
