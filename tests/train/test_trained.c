/* Which parameters are trained: the words that say so, gradients that do not change by what is
 * frozen, and a tape that ends at the lowest parameter that is trained. */
#include "test_util.h"

#include "infer/engine.h"
#include "tensor/op.h"
#include "train/task_next.h"
#include "train/trained.h"
#include "train/trainer.h"

enum { N_VOCAB = 23, CTX_LEN = 20, BATCH = 2, N_LAYER = 3 };

static const rk_arch *arch = &rk_arch_rwkv7;

static rk_train_params small(void)
{
    rk_train_params p = rk_train_defaults();
    p.arch = arch->name;
    static const rk_size sizes[] = {
        {"n_vocab", N_VOCAB}, {"n_layer", N_LAYER}, {"n_embd", 32}, {"head_size", 16}};
    p.sizes = sizes;
    p.n_sizes = (int64_t)RK_COUNT(sizes) - (arch == &rk_arch_rwkv4);
    p.ctx_len = CTX_LEN;
    p.batch = BATCH;
    p.clip = 0.0;
    p.warmup = 0;
    p.lr = 1e-2;
    return p;
}

/* ---- words ---- */

static rk_status set(rk_model *m, const char *only, const char *freeze, rk_error *err)
{
    const rk_train_params p = {.train_only = only, .freeze = freeze};
    return rk_trained_set(m, &p, err);
}

static bool is_trained(const rk_model *m, const char *name)
{
    for (int64_t i = 0; i < m->n_params; i++)
        if (!strcmp(m->params[i].name, name))
            return m->params[i].trained;
    fail_msg("no parameter %s", name);
    return false;
}

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *only, *freeze, *trained, *frozen;
    } cases[] = {
        {"head", NULL, "head.weight", "emb.weight"},
        {"att", "*.key.weight", "blocks.2.att.w1", "blocks.2.att.key.weight"},
        {"att", "blocks.[01].*", "blocks.2.att.w1", "blocks.1.att.w1"},
        {NULL, "low-rank", "blocks.0.att.r_k", "blocks.0.att.w1"},
        {NULL, "ffn,ln1", "blocks.0.ln2.weight", "blocks.0.ln1.bias"},
        {"vector", NULL, "blocks.1.ffn.x_k", "blocks.1.ffn.key.weight"},
        {"matrix", NULL, "blocks.1.ffn.key.weight", "head.weight"},
        {"ln_out.weight", NULL, "ln_out.weight", "ln_out.bias"},
        {"", "", "emb.weight", NULL},
    };
    rk_model *m = NULL;
    rk_error err = {0};
    rk_train_params p = small();
    test_ok(rk_train_model(&m, &p, &err), &err);
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        test_ok(set(m, cases[i].only, cases[i].freeze, &err), &err);
        if (!is_trained(m, cases[i].trained) || (cases[i].frozen && is_trained(m, cases[i].frozen)))
            fail_msg("case %zu", i);
        assert_true(rk_trained_count(m, true) > 0);
        assert_int_equal(rk_trained_count(m, false) == 0, cases[i].frozen == NULL);
    }
    assert_int_equal(set(m, "atta", NULL, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "train_only: 'atta' names no parameter of an rwkv7 model"));
    assert_non_null(strstr(err.msg, "emb, ln0, ln1, ln2, att, ffn, ln_out, head, vector"));
    assert_int_equal(set(m, NULL, "head,blocks.9.*", &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "freeze: 'blocks.9.*'"));
    assert_int_equal(set(m, "head", "head", &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "left to train"));
    assert_int_equal(set(m, "blocks.0.att.v1", NULL, &err), RK_ERR_ARG); /* not used */
    rk_model_close(m);
}

/* Factors of rates: the recipe's, in every version, unless options say otherwise; the last word counts. */
static void test_lr_scales(void **state)
{
    (void)state;
    static const struct {
        const rk_arch *arch;
        const char *words, *name;
        double scale;
    } rows[] = {
        {&rk_arch_rwkv7, NULL, "blocks.1.att.w0", 2.0},
        {&rk_arch_rwkv7, NULL, "blocks.1.att.a0", 1.0},
        {&rk_arch_rwkv6, NULL, "blocks.1.att.time_decay", 2.0},
        {&rk_arch_rwkv6, NULL, "blocks.1.att.time_faaaa", 1.0},
        {&rk_arch_rwkv5, NULL, "blocks.0.att.time_decay", 2.0},
        {&rk_arch_rwkv4, NULL, "blocks.0.att.time_decay", 2.0},
        {&rk_arch_rwkv4, NULL, "blocks.0.att.time_first", 3.0},
        {&rk_arch_rwkv7, "vector=0.5", "blocks.1.att.w0", 0.5},
        {&rk_arch_rwkv7, "vector=0.5,*.w0=4", "blocks.1.att.w0", 4.0},
        {&rk_arch_rwkv7, "vector=0.5,*.w0=4", "emb.weight", 1.0},
    };
    static const char *const bad[] = {"vector",    "vector=",    "vector=x",
                                      "vector=-1", "vector=nan", "vector=1x"};
    rk_error err = {0};
    rk_model *m = NULL;
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        arch = rows[i].arch;
        rk_train_params p = small();
        p.lr_scale = rows[i].words;
        test_ok(rk_train_model(&m, &p, &err), &err);
        test_ok(rk_lr_scales_set(m, &p, &err), &err);
        for (int64_t k = 0; k < m->n_params; k++)
            if (!strcmp(m->params[k].name, rows[i].name))
                assert_true(m->params[k].lr_scale == rows[i].scale);
        rk_model_close(m);
    }
    arch = &rk_arch_rwkv7;
    rk_train_params p = small();
    test_ok(rk_train_model(&m, &p, &err), &err);
    for (size_t i = 0; i < RK_COUNT(bad); i++) {
        p.lr_scale = bad[i];
        assert_int_equal(rk_lr_scales_set(m, &p, &err), RK_ERR_ARG);
        assert_non_null(
            strstr(err.msg, "lr_scale: 'vector' needs =FACTOR behind it, from 0 to 1e6"));
    }
    p.lr_scale = "atta=1";
    assert_int_equal(rk_lr_scales_set(m, &p, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "lr_scale: 'atta' names no parameter of an rwkv7 model"));
    rk_model_close(m);
}

/* ---- gradients ---- */

typedef struct fixture {
    rk_engine *engine;
    rk_trainer *trainer;
    rk_run_arrays arrays;
} fixture;

/* A trainer whose weights are those of the seed with noise on top, so that no gradient is zero. */
static fixture begin(const rk_train_params *p)
{
    fixture f;
    rk_error err = {0};
    test_ok(rk_engine_new(&f.engine, &(rk_engine_params){.n_threads = 2}, &err), &err);
    test_ok(rk_trainer_new(&f.trainer, p, f.engine, &err), &err);
    rk_trainer_arrays(f.trainer, &f.arrays);
    for (int64_t i = 0; i < f.arrays.weights.n; i++)
        for (int64_t e = 0; e < f.arrays.weights.at[i].n; e++)
            f.arrays.weights.at[i].data[e] +=
                0.2f * (rk_rng_f32(1, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 0.5f);
    return f;
}

static void end(fixture *f)
{
    rk_trainer_free(f->trainer);
    rk_engine_free(f->engine);
}

static const rk_named_array *find(const rk_array_set *set, const char *name)
{
    for (int64_t i = 0; i < set->n; i++)
        if (!strcmp(set->at[i].name, name))
            return &set->at[i];
    return NULL;
}

/* The first moment after a step is a tenth of the gradient: that of what is trained has the bits
 * which it has when everything is, and what is frozen keeps its own. */
static void expect_part(test_ctx *t, const fixture *all, const fixture *fresh, const fixture *some)
{
    const rk_array_set *moments = &some->arrays.states[0];
    assert_in_range(moments->n, 1, all->arrays.states[0].n - 1);
    for (int64_t i = 0; i < some->arrays.weights.n; i++) {
        const rk_named_array *w = &some->arrays.weights.at[i], *m = find(moments, w->name);
        const rk_named_array *want =
            m ? find(&all->arrays.states[0], w->name) : find(&fresh->arrays.weights, w->name);
        test_same(t, w->name, want->data, m ? m->data : w->data, (size_t)w->n * sizeof(float));
    }
}

static void test_gradients(void **state)
{
    (void)state;
    static const char *const words[] = {
        "emb",
        "head",
        "att",
        "ffn",
        "ln_out",
        "ln1",
        "ln2",
        "low-rank",
        "vector",
        "blocks.0.*",
        "blocks.1.*",
        "blocks.2.ffn.*",
        "*x_*",
        "matrix",
        "*[rkv]",
        "*.value.weight",
        "blocks.1.ln*",
        /* of transformers */
        "embed_tokens",
        "lm_head",
        "self_attn",
        "mlp",
        "norm",
        "*_proj*",
        "*norm*",
        "*.bias",
        "model.layers.0.*",
        "model.layers.1.*",
        "model.layers.2.mlp.*",
    };
    for (int recompute = 0; recompute < 2; recompute++) {
        test_ctx t = test_begin(1);
        const int32_t *tokens = test_tokens(&t, BATCH * (CTX_LEN + 1), N_VOCAB);
        rk_train_params p = small();
        rk_error err = {0};
        p.checkpoint_blocks = recompute;
        p.dropout = 0.1;
        fixture fresh = begin(&p), all = begin(&p);
        size_t bytes;
        int n = 0;
        test_ok(rk_trainer_step(all.trainer, tokens, NULL, &err), &err);
        for (size_t i = 0; i < RK_COUNT(words); i++) {
            p.train_only = words[i];
            test_shape(&t, "%s, only %s, recompute %d", arch->name, words[i], recompute);
            if (rk_trainer_plan(&p, all.engine, &bytes, NULL) != RK_OK)
                continue; /* not every architecture has such parameters */
            n++;
            fixture some = begin(&p);
            test_ok(rk_trainer_step(some.trainer, tokens, NULL, &err), &err);
            expect_part(&t, &all, &fresh, &some);
            end(&some);
        }
        assert_in_range(n, 13, RK_COUNT(words)); /* all, but those of others */
        end(&all);
        end(&fresh);
        test_end(&t);
    }
}

/* ---- the tape ---- */

typedef struct tape {
    int n_nodes;
    size_t bytes; /* that the pass keeps */
} tape;

/* What a forward pass records when these parameters are trained. */
static tape tape_of(const char *only, bool recompute)
{
    rk_model *m = NULL;
    rk_engine *e = NULL;
    rk_error err = {0};
    rk_ctx ctx;
    tape found = {0};
    rk_train_params p = small();
    test_ok(rk_train_model(&m, &p, &err), &err);
    test_ok(set(m, only, NULL, &err), &err);
    for (int64_t i = 0; i < m->n_params; i++)
        m->params[i].tensor.requires_grad = m->params[i].tensor.has_grad = m->params[i].trained;
    test_ok(rk_engine_new(&e, NULL, &err), &err);
    const rk_ctx_params cp = {
        .kernels = rk_engine_kernels(e), .pool = rk_engine_pool(e), .data_kind = RK_ARENA_COUNTING};
    test_ok(rk_ctx_init(&ctx, &cp, &err), &err);
    ctx.recording = ctx.long_class = true;
    rk_tensor *ids = rk_new(&ctx, RK_I32, 2, (int64_t[]){BATCH, CTX_LEN}), *state[16];
    rk_forward f = {.in = {ids}, .state = state, .recompute = recompute};
    rk_model_new_state(&ctx, m, RK_F32, BATCH, state);
    rk_cross_entropy(&ctx, rk_model_forward(&ctx, m, &f), m->head->matrix, ids, 0.0);
    test_ok(rk_ctx_status(&ctx, &err), &err);
    for (const rk_node *n = ctx.tape; n; n = n->prev)
        found.n_nodes++;
    found.bytes = ctx.data.used;
    rk_ctx_deinit(&ctx);
    rk_engine_free(e);
    rk_model_close(m);
    return found;
}

/* The nodes from the lowest trained parameter up, counted by hand, and no other. */
static void test_tape(void **state)
{
    (void)state;
    static const struct {
        const char *only;
        bool recompute;
        int n_nodes;
    } cases[] = {
        {"head", false, 1},                      /* the loss */
        {"ln_out", false, 2},                    /* the last norm, the loss */
        {"blocks.2.ffn.value.weight", false, 3}, /* a product before these */
        {"blocks.2.*", true, 3},                 /* a segment before these */
        {"blocks.1.*", true, 4},
        {"blocks.0.att.*", true, 5},
        {"ln0", true, 6},
        {"emb", true, 7},
    };
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        const tape found = tape_of(cases[i].only, cases[i].recompute);
        if (found.n_nodes != cases[i].n_nodes)
            fail_msg("%s: %d nodes, expected %d", cases[i].only, found.n_nodes, cases[i].n_nodes);
    }
    const tape all = tape_of("", false), upper = tape_of("blocks.2.*", false);
    assert_true(upper.n_nodes > 3 && upper.n_nodes < all.n_nodes / 2);
    assert_true(upper.bytes < all.bytes / 2);
}

/* What is said to be saved is the difference of two plans, activations included. */
static void test_saved(void **state)
{
    (void)state;
    rk_engine *e = NULL;
    rk_model *m = NULL;
    rk_task *task = NULL;
    rk_error err = {0};
    rk_train_plan plan;
    rk_train_params p = small();
    size_t all = 0, some = 0;
    test_ok(rk_engine_new(&e, NULL, &err), &err);
    test_ok(rk_trainer_plan(&p, e, &all, &err), &err);
    p.train_only = "blocks.2.*";
    test_ok(rk_trainer_plan(&p, e, &some, &err), &err);
    test_ok(rk_train_model(&m, &p, &err), &err);
    test_ok(rk_next_token_new(&task, &p, &err), &err);
    test_ok(rk_training_plan(&(rk_training){m, task, &p, NULL}, e, &plan, &err), &err);
    assert_int_equal(plan.bytes, some);
    assert_int_equal(plan.saved, all - some);
    assert_true(plan.saved > 3 * sizeof(float) * (size_t)plan.n_frozen * 3 / 2);
    rk_task_close(task);
    rk_model_close(m);
    rk_engine_free(e);
}

int main(void)
{
    const struct CMUnitTest every[] = {cmocka_unit_test(test_gradients)};
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_tape),
                                       cmocka_unit_test(test_lr_scales),
                                       cmocka_unit_test(test_saved)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; rk_archs[i]; i++) {
        arch = rk_archs[i];
        failed += cmocka_run_group_tests_name(arch->name, every, NULL, NULL);
    }
    return failed;
}
