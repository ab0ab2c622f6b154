/* Attention as models call it: golden values, where rows lie, and where calls are cut. */
#include "test_util.h"

#include "tensor/ops.h"

typedef struct rig {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
} rig;

static void rig_init(rig *g, int n_threads, const rk_kernels *kernels)
{
    rk_error err = {0};
    g->t = test_begin(5);
    test_ok(rk_pool_new(&g->pool, n_threads, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {.kernels = kernels, .pool = g->pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g->ctx, &p, &err), &err);
}

static void rig_deinit(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
    test_end(&g->t);
}

/* ---- the values of the specification of WuNeng, section 8 ---- */

static uint64_t golden_state = 1;
static rk_tensor *golden(rk_ctx *ctx, int64_t rows, int64_t cols, double scale)
{
    rk_tensor *t = rk_new(ctx, RK_F64, 2, (const int64_t[]){rows, cols});
    assert_non_null(t);
    for (int64_t i = 0; i < rows * cols; i++) {
        golden_state = golden_state * 6364136223846793005u + 1442695040888963407u;
        ((double *)t->data)[i] = scale * (2.0 * ldexp((double)(golden_state >> 11), -53) - 1.0);
    }
    return t;
}

static rk_tensor *heads_of(rk_ctx *ctx, rk_tensor *x, rk_tensor *w, int64_t n_head)
{
    const int64_t dims[] = {1, x->dims[0], n_head, w->dims[0] / n_head};
    return rk_view(ctx, rk_linear(ctx, x, rk_weight_of(w, RK_OUT_IN), NULL), 4, dims);
}

static void test_golden(void **state)
{
    static const double want[] = {0.134344326, -0.018319122, -0.259403174, -0.132184613,
                                  0.128399437, 0.005966228,  -0.262824098, -0.100324938};
    rig g;
    (void)state;
    rig_init(&g, 2, rk_kernels_at(0));
    rk_tensor *x = golden(&g.ctx, 6, 8, 1.0), *wq = golden(&g.ctx, 8, 8, 0.4);
    rk_tensor *wk = golden(&g.ctx, 4, 8, 0.4), *wv = golden(&g.ctx, 4, 8, 0.4);
    const double first = ((double *)x->data)[0];
    test_close_f64(&g.t, "the first number", &(double){-0.153581658}, &first, 1, 1e-8);
    const int64_t none[] = {1, 0, 1, 4};
    for (int long_class = 0; long_class < 2; long_class++) {
        rk_attention_in in = {.q = heads_of(&g.ctx, x, wq, 2),
                              .k = heads_of(&g.ctx, x, wk, 1),
                              .v = heads_of(&g.ctx, x, wv, 1),
                              .keys = rk_new(&g.ctx, RK_F64, 4, none),
                              .values = rk_new(&g.ctx, RK_F64, 4, none),
                              .theta = 10000.0,
                              .scale = 0.5};
        g.ctx.long_class = long_class;
        rk_tensor *y = rk_attention(&g.ctx, &in, &in.keys, &in.values);
        assert_non_null(y);
        test_close_f64(&g.t, "A", want, (const double *)y->data + 40, 8, 1e-8);
    }
    rig_deinit(&g);
}

/* ---- the same rows as a tensor, in pages, and in pieces ---- */

enum { HEADS = 6, GROUPS = 2, SIZE = 20, ALL = 270, PAGES = ALL / RK_PAGE_ROWS + 1 };

typedef struct problem {
    rig *g;
    float *x[3]; /* q, k, v of all tokens */
    float *out;
} problem;

static rk_tensor *tokens(const problem *p, int which, int64_t from, int64_t to)
{
    const int64_t n_head = which == 0 ? HEADS : GROUPS, dims[] = {1, to - from, n_head, SIZE};
    rk_tensor *t = rk_new(&p->g->ctx, RK_F32, 4, dims);
    assert_non_null(t);
    memcpy(t->data, p->x[which] + from * n_head * SIZE, rk_tensor_bytes(t));
    return t;
}

/* Attention of tokens [from, to) into out; keys and values as states or tensors, which go on. */
static void attend(const problem *p, int64_t from, int64_t to, rk_tensor **keys, rk_tensor **values,
                   float *out)
{
    const rk_attention_in in = {.q = tokens(p, 0, from, to),
                                .k = tokens(p, 1, from, to),
                                .v = tokens(p, 2, from, to),
                                .keys = *keys,
                                .values = *values,
                                .theta = 1000.0,
                                .scale = 0.25};
    rk_tensor *y = rk_attention(&p->g->ctx, &in, keys, values);
    test_ok(rk_ctx_status(&p->g->ctx, NULL), &p->g->ctx.err);
    memcpy(out + from * HEADS * SIZE, y->data, rk_tensor_bytes(y));
}

/* All tokens in calls that end at these places, as tensors or in pages. */
static void attend_all(const problem *p, const int64_t *ends, bool in_pages, float *out)
{
    static float pages[PAGES][2 * RK_PAGE_ROWS * GROUPS * SIZE];
    unsigned char *data[PAGES];
    unsigned char *const *const stream[] = {data};
    const size_t row = SIZE * sizeof(float), head = RK_PAGE_ROWS * row;
    const int64_t none[] = {1, 0, GROUPS, SIZE};
    rk_tensor *keys = rk_new(&p->g->ctx, RK_F32, 4, none);
    rk_tensor *values = rk_new(&p->g->ctx, RK_F32, 4, none);
    for (int i = 0; i < PAGES; i++)
        data[i] = (unsigned char *)pages[i];
    memset(pages, 0xff, sizeof pages); /* no number: rows that are not written are not read */
    for (int64_t from = 0, i = 0; from < ALL; from = ends[i++]) {
        const int64_t dims[] = {1, ends[i] - from, GROUPS, SIZE};
        const rk_growing at = {
            .pages = stream, .n_before = &from, .row_bytes = row, .head_bytes = head};
        rk_growing behind = at;
        behind.offset = GROUPS * head;
        if (in_pages) {
            keys = rk_new_growing(&p->g->ctx, 4, dims, at);
            values = rk_new_growing(&p->g->ctx, 4, dims, behind);
        }
        attend(p, from, ends[i], &keys, &values, out);
    }
}

static void test_places_and_cuts(void **state)
{
    static const int64_t whole[] = {ALL}, cuts[] = {64, 192, ALL};
    int64_t single[ALL], several[ALL];
    (void)state;
    for (int64_t i = 0; i < ALL; i++) {
        single[i] = i + 1;
        several[i] = rk_min_i64(ALL, 7 * (i + 1));
    }
    for (int p = 0; rk_kernels_at(p); p++)
        for (int how = 0; how < 4; how++) {
            rig g;
            rig_init(&g, how & 2 ? 3 : 1, rk_kernels_at(p));
            g.ctx.long_class = how & 1;
            const size_t bytes = ALL * HEADS * SIZE * sizeof(float);
            float *want = test_alloc(&g.t, bytes), *got = test_alloc(&g.t, bytes);
            const problem q = {&g,
                               {test_uniform(&g.t, ALL * HEADS * SIZE, -2, 2),
                                test_uniform(&g.t, ALL * GROUPS * SIZE, -2, 2),
                                test_uniform(&g.t, ALL * GROUPS * SIZE, -2, 2)},
                               NULL};
            test_shape(&g.t, "%s, how %d", rk_kernels_at(p)->name, how);
            attend_all(&q, g.ctx.long_class ? whole : single, false, want);
            attend_all(&q, g.ctx.long_class ? whole : single, true, got);
            test_same(&g.t, "in pages", want, got, bytes);
            attend_all(&q, g.ctx.long_class ? cuts : several, true, got);
            test_same(&g.t, "in other pieces", want, got, bytes);
            attend_all(&q, g.ctx.long_class ? cuts : several, false, got);
            test_same(&g.t, "in other pieces, as tensors", want, got, bytes);
            rig_deinit(&g);
        }
}

/* ---- what does not fit ---- */

static void test_wrong(void **state)
{
    rig g;
    (void)state;
    rig_init(&g, 1, rk_kernels_at(0));
    for (int i = 0; i < 5; i++) {
        static const char *const says[] = {"G dividing H", "G dividing H", "even size",
                                           "no tokens from before", "keys and values as tensors"};
        rk_ctx_reset(&g.ctx);
        g.ctx.recording = i == 4;
        const int64_t heads = i == 0 ? 3 : 4, size = i == 2 ? 5 : 6;
        const int64_t q[] = {1, 2, heads, size}, k[] = {1, 2, 2, size}, keys[] = {1, 3, 2, size};
        const int64_t begins[] = {1, 2}, bad[] = {0, 1, 2, 0};
        unsigned char *const *const stream[] = {NULL};
        rk_attention_in in = {.q = rk_new_zeros(&g.ctx, RK_F32, 4, q),
                              .k = rk_new_zeros(&g.ctx, RK_F32, 4, k),
                              .v = rk_new_zeros(&g.ctx, RK_F32, 4, k),
                              .keys = rk_new_zeros(&g.ctx, RK_F32, 4, keys),
                              .values = rk_new_zeros(&g.ctx, RK_F32, 4, keys),
                              .key_heads = i == 1 ? bad : NULL,
                              .theta = 100.0,
                              .scale = 1.0};
        if (i == 3)
            g.ctx.begins = rk_new_zeros(&g.ctx, RK_I32, 2, begins);
        if (i == 4)
            in.keys = in.values =
                rk_new_growing(&g.ctx, 4, k, (rk_growing){.pages = stream, .row_bytes = 48});
        assert_null(rk_attention(&g.ctx, &in, &in.keys, &in.values));
        if (!strstr(g.ctx.err.msg, says[i]))
            fail_msg("case %d: %s", i, g.ctx.err.msg);
    }
    rig_deinit(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),
                                       cmocka_unit_test(test_places_and_cuts),
                                       cmocka_unit_test(test_wrong)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
