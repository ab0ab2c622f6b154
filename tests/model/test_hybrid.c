/* Hybrids: models some of whose layers are as they were in the transformer. Block by block they compute what
 * a transformer and a recurrence with the same tensors do; their files show which layers are which. */
#include "infer/test_model_util.h"

#include "base/random.h"

enum { V = 97, LAYERS = 4, BATCH = 2, STEPS = 9, PARTS = LAYERS * RK_STATE_MAX };

typedef struct rig {
    rk_pool *pool;
    rk_ctx ctx;
} rig;

static rig begin(void)
{
    rig g = {NULL};
    rk_error err = {0};
    test_ok(rk_pool_new(&g.pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = &rk_kernels_ref_f32, .pool = g.pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&g.ctx, &p, &err), &err);
    return g;
}

static void end(rig *g)
{
    rk_ctx_deinit(&g->ctx);
    rk_pool_free(g->pool);
}

static rk_model *model(const rk_arch *arch, unsigned kept)
{
    test_arch = arch;
    test_kept = kept;
    return test_model_make(3, LAYERS, 32);
}

/* The values of `from` where both models have a parameter of this name. */
static void share(rk_model *to, const rk_model *from)
{
    for (int64_t i = 0; i < to->n_params; i++) {
        const rk_param *p = rk_model_param(from, to->params[i].name);
        if (p)
            memcpy(to->params[i].tensor.data, p->tensor.data, rk_tensor_bytes(&p->tensor));
    }
}

static rk_tensor *ids_of(rig *g, const int32_t *tokens)
{
    const int64_t dims[] = {BATCH, STEPS};
    rk_tensor *t = rk_new(&g->ctx, RK_I32, 2, dims);
    memcpy(t->data, tokens, BATCH * STEPS * sizeof *tokens);
    return t;
}

/* Layers of two models, one of them whole and one of attention, in the places that a mask says. */
static rk_tensor *mixed(rig *g, rk_model *whole, rk_model *attention, unsigned kept, rk_tensor *ids)
{
    rk_tensor *a[PARTS], *b[PARTS];
    rk_forward f = {.in = {ids}};
    rk_block_io io = {.x = NULL};
    rk_model_new_state(&g->ctx, whole, RK_F32, BATCH, a);
    rk_model_new_state(&g->ctx, attention, RK_F32, BATCH, b);
    whole->arch->stem(&g->ctx, whole, &f, &io);
    for (int64_t l = 0; l < LAYERS; l++) {
        rk_model *m = kept >> l & 1 ? attention : whole;
        rk_block_take_state(m, l, kept >> l & 1 ? b : a, &io);
        m->arch->block(&g->ctx, m, l, 0, &io);
    }
    whole->arch->head(&g->ctx, whole, io.x, &f);
    return f.out[0];
}

static const struct {
    const rk_arch *arch;
    unsigned kept;
} cases[] = {{&rk_arch_arwkv7, 1},
             {&rk_arch_arwkv7, 6},
             {&rk_arch_rwkv7qwen2, 5},
             {&rk_arch_rwkv6qwen2, 8},
             {&rk_arch_wuneng, 3}};

/* Value residuals are of the first layer that is not kept, in both. */
static void test_against_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        test_ctx t = test_begin(5);
        rig g = begin();
        rk_error err = {0};
        rk_model *hybrid = model(cases[i].arch, cases[i].kept), *whole = model(cases[i].arch, 0),
                 *attention = model(&rk_arch_qwen2, 0);
        share(whole, hybrid);
        share(attention, hybrid);
        rk_tensor *states[PARTS], *ids = ids_of(&g, test_tokens(&t, BATCH * STEPS, V));
        rk_forward f = {.in = {ids}, .state = states};
        test_shape(&t, "%s, kept %x", cases[i].arch->name, cases[i].kept);
        rk_model_new_state(&g.ctx, hybrid, RK_F32, BATCH, states);
        const rk_tensor *got = rk_model_forward(&g.ctx, hybrid, &f);
        const rk_tensor *want = mixed(&g, whole, attention, cases[i].kept, ids);
        test_ok(rk_ctx_status(&g.ctx, &err), &err);
        test_same(&t, "hidden rows", want->data, got->data, rk_tensor_bytes(want));
        rk_model_close(hybrid);
        rk_model_close(whole);
        rk_model_close(attention);
        end(&g);
        test_end(&t);
    }
}

/* A state has the parts of each layer, and no others. */
static void test_parts(void **state)
{
    (void)state;
    rk_model *m = model(&rk_arch_arwkv7, 6);
    static const char *const names[] = {"att.shift", "att.wkv",    "att.keys",  "att.values",
                                        "att.keys",  "att.values", "att.shift", "att.wkv"};
    assert_int_equal(m->state.n_parts, RK_COUNT(names));
    for (size_t i = 0; i < RK_COUNT(names); i++) {
        assert_string_equal(m->state.parts[i].spec->name, names[i]);
        assert_int_equal(m->state.parts[i].layer, i / 2);
    }
    assert_int_equal(m->state.token_count, 2 * 2 * 2 * 16);
    rk_model_close(m);
}

/* Written and opened: the same layers, the same bytes. Without one of a layer's tensors none is opened. */
static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        test_ctx t = test_begin(6);
        const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "m.safetensors"),
                   *gguf = test_path(&t, dir, "m.gguf");
        rk_model *m = model(cases[i].arch, cases[i].kept), *a = NULL, *b = NULL;
        rk_error err = {0};
        test_shape(&t, "%s, kept %x", cases[i].arch->name, cases[i].kept);
        test_ok(rk_model_save(m, path, &(rk_save_options){.dtype = RK_F32}, &err), &err);
        test_ok(rk_model_open(&a, path, &err), &err);
        test_ok(rk_model_save(a, gguf, &(rk_save_options){.keep_types = true}, &err), &err);
        test_ok(rk_model_open(&b, gguf, &err), &err);
        for (int64_t l = 0; l < LAYERS; l++) {
            assert_int_equal(rk_layer_in(&a->hp.kept, l), cases[i].kept >> l & 1);
            assert_int_equal(rk_layer_in(&b->hp.kept, l), cases[i].kept >> l & 1);
        }
        assert_true(a->fingerprint == b->fingerprint && a->n_params == m->n_params);
        for (int64_t p = 0; p < m->n_params; p++)
            if (m->params[p].used)
                test_same(&t, m->params[p].name, m->params[p].tensor.data, b->params[p].tensor.data,
                          rk_tensor_bytes(&m->params[p].tensor));
        rk_model_close(m);
        rk_model_close(a);
        rk_model_close(b);
        test_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_parts),
                                       cmocka_unit_test(test_parts), cmocka_unit_test(test_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
