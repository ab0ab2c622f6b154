/* Gradients of whole models in double, parameter by parameter, against central differences: every
 * architecture, with and without tuned states, with blocks recorded and computed again. */
#include "test_sizes.h"

#include "base/random.h"
#include "model/model.h"

enum { V = 7, BATCH = 2, STEPS = 5 };

typedef struct fixture {
    test_ctx t;
    rk_pool *pool;
    rk_ctx ctx;
    rk_model *m;
    int32_t *tokens; /* (BATCH, STEPS + 1) */
    bool recompute;
} fixture;

static bool has_gradient(const rk_param *p)
{
    return p->used && !rk_roles[p->role].constant;
}

/* Numbers of heads are what a new model has. */
static void fill_places(const rk_model *m, int64_t i, double *to)
{
    const int64_t n = rk_tensor_count(&m->params[i].tensor);
    float *x = calloc((size_t)n, sizeof *x);
    rk_error err = {0};
    assert_non_null(x);
    test_ok(rk_param_init(m, i, 1, x, NULL, &err), &err);
    for (int64_t e = 0; e < n; e++)
        to[e] = (double)x[e];
    free(x);
}

static void fill(rk_model *m, uint64_t seed)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++)
        n += rk_tensor_count(&m->params[i].tensor);
    double *at = m->owned = calloc((size_t)n, sizeof *at);
    assert_non_null(at);
    for (int64_t i = 0; i < m->n_params; i++) {
        rk_tensor *t = &m->params[i].tensor;
        const double base = rk_tensor_rows(t) == 1 ? 0.3 : 0.0;
        t->dtype = RK_F64;
        t->data = at;
        t->requires_grad = has_gradient(&m->params[i]);
        if (m->params[i].role == RK_ROLE_PLACES) {
            fill_places(m, i, at);
            at += rk_tensor_count(t);
            continue;
        }
        for (int64_t e = 0; e < rk_tensor_count(t); e++)
            *at++ = base + 1.2 * rk_rng_f64(seed, RK_RNG_TEST, (uint64_t)i, (uint64_t)e) - 0.6;
    }
}

static double removal_scale = 1, tied = 0; /* of the models, where they have one */
static unsigned kept; /* bit l: layer l of four is kept; 0: models of two layers without such */
enum { FORM_MAX = 4 };
static const rk_size
    *form; /* what some models of an architecture have, FORM_MAX with names or NULL */

static fixture begin(const rk_arch *arch, bool tuned, bool recompute)
{
    fixture f = {.t = test_begin(3), .recompute = recompute};
    const rk_size sizes[] = {{"n_vocab", V},
                             {"n_embd", 8},
                             {"n_layer", kept ? 4 : 2},
                             {"head_size", 4},
                             {"dim_ffn", 12},
                             {"rank_w", 3},
                             {"rank_a", 2},
                             {"rank_v", 3},
                             {"rank_g", 2},
                             {"rank_m", 2},
                             {"rank_s", 3},
                             {"removal_scale", removal_scale},
                             {"n_head", 2},
                             {"n_kv_head", 1},
                             {"tied", tied},
                             {"state_head_size", 4},
                             {"state_heads", 2},
                             {"n_attention_head", 4},
                             {"n_attention_kv_head", 2},
                             {"attention_head_size", 2},
                             {"medium_interval", 2},
                             {"medium_rank", 3}};
    rk_size all[RK_COUNT(sizes) + FORM_MAX];
    size_t n = 0;
    for (int i = 0; form && i < FORM_MAX && form[i].name; i++) /* the first of a name counts */
        all[n++] = form[i];
    memcpy(all + n, sizes, sizeof sizes);
    n += RK_COUNT(sizes);
    rk_hparams hp = test_hparams_kept(arch, all, n, kept);
    rk_error err = {0};
    hp.tuned_state = hp.tuned_shift = hp.tuned_basis = tuned;
    test_ok(rk_model_new(&f.m, arch, &hp, &err), &err);
    fill(f.m, 5);
    test_ok(rk_pool_new(&f.pool, 2, NULL, NULL, NULL, &err), &err);
    const rk_ctx_params p = {
        .kernels = &rk_kernels_ref_f32, .pool = f.pool, .data_kind = RK_ARENA_GROWING};
    test_ok(rk_ctx_init(&f.ctx, &p, &err), &err);
    f.tokens = test_tokens(&f.t, BATCH * (STEPS + 1), V);
    return f;
}

static void end(fixture *f)
{
    rk_ctx_deinit(&f->ctx);
    rk_pool_free(f->pool);
    rk_model_close(f->m);
    test_end(&f->t);
}

static rk_tensor *loss_of(fixture *f)
{
    const int64_t dims[] = {BATCH, STEPS};
    rk_tensor *state[4 * RK_STATE_MAX], *head = NULL;
    rk_forward in = {
        .in = {rk_new(&f->ctx, RK_I32, 2, dims)}, .state = state, .recompute = f->recompute};
    rk_tensor *targets = rk_new(&f->ctx, RK_I32, 2, dims);
    for (int64_t i = 0; i < BATCH * STEPS; i++) {
        const int32_t *at = f->tokens + i / STEPS * (STEPS + 1) + i % STEPS;
        ((int32_t *)in.in[0]->data)[i] = at[0];
        ((int32_t *)targets->data)[i] = at[1];
    }
    rk_model_new_state(&f->ctx, f->m, RK_F64, BATCH, state);
    for (int64_t i = 0; i < f->m->n_params; i++)
        if (&f->m->params[i].tensor == f->m->head->matrix)
            head = &f->m->params[i].tensor;
    rk_tensor *hidden = rk_model_forward(&f->ctx, f->m, &in);
    return rk_sum(&f->ctx, rk_cross_entropy(&f->ctx, hidden, head, targets, 0.0));
}

static double loss_alone(fixture *f)
{
    rk_error err = {0};
    rk_ctx_reset(&f->ctx);
    const rk_tensor *loss = loss_of(f);
    test_ok(rk_ctx_status(&f->ctx, &err), &err);
    return *(const double *)loss->data;
}

/* The loss after a step of h along the direction. */
static double loss_beside(fixture *f, const rk_tensor *t, const double *direction, double h)
{
    double *x = t->data;
    const int64_t n = rk_tensor_count(t);
    double *before = test_copy_f64(&f->t, x, n);
    for (int64_t i = 0; i < n; i++)
        x[i] += h * direction[i];
    const double loss = loss_alone(f);
    memcpy(x, before, (size_t)n * sizeof *x);
    return loss;
}

/* Copies of all gradients; NULL for what is not used. */
static double **gradients(fixture *f)
{
    double **grads = test_alloc(&f->t, (size_t)f->m->n_params * sizeof *grads);
    rk_error err = {0};
    rk_ctx_reset(&f->ctx);
    f->ctx.recording = true;
    for (int64_t i = 0; i < f->m->n_params; i++)
        rk_grad(&f->ctx, &f->m->params[i].tensor);
    rk_backward(&f->ctx, loss_of(f), 1.0);
    test_ok(rk_ctx_status(&f->ctx, &err), &err);
    f->ctx.recording = false;
    for (int64_t i = 0; i < f->m->n_params; i++) {
        rk_tensor *t = &f->m->params[i].tensor;
        const void *grad = rk_grad(&f->ctx, t);
        assert_int_equal(grad != NULL, has_gradient(&f->m->params[i]));
        grads[i] = grad ? test_copy_f64(&f->t, grad, rk_tensor_count(t)) : NULL;
        t->has_grad = false;
    }
    return grads;
}

static void check_param(fixture *f, const rk_param *p, const double *grad)
{
    const double h = 1e-5; /* within it no relu of these models has its kink */
    const int64_t n = rk_tensor_count(&p->tensor);
    const double *d = test_uniform_f64(&f->t, n, -1, 1);
    const double far = loss_beside(f, &p->tensor, d, 2 * h) - loss_beside(f, &p->tensor, d, -2 * h);
    const double near = loss_beside(f, &p->tensor, d, h) - loss_beside(f, &p->tensor, d, -h);
    const double want = (8 * near - far) / (12 * h); /* of fourth order */
    double got = 0;
    for (int64_t i = 0; i < n; i++)
        got += grad[i] * d[i];
    if (!test_is_close(want, got, 1e-8))
        fail_msg("%s: want %.12g, got %.12g; %s", p->name, want, got, f->t.shape);
}

static void check_arch(const rk_arch *arch, bool tuned, bool recompute)
{
    fixture f = begin(arch, tuned, recompute);
    test_shape(&f.t, "%s%s%s", arch->name, tuned ? ", tuned" : "", recompute ? ", recomputed" : "");
    double **grads = gradients(&f);
    for (int64_t i = 0; i < f.m->n_params; i++)
        if (grads[i])
            check_param(&f, &f.m->params[i], grads[i]);
    end(&f);
}

static void test_parameters(void **state)
{
    (void)state;
    for (int i = 0; rk_archs[i]; i++)
        for (int way = 0; way < 4; way++)
            check_arch(rk_archs[i], way & 1, way & 2);
}

static void test_removal(void **state)
{
    (void)state;
    removal_scale = 2;
    check_arch(&rk_arch_rwkv7, false, false);
    check_arch(&rk_arch_rwkv7a, true, true);
    removal_scale = 1;
}

static void test_tied(void **state)
{
    (void)state;
    tied = 1;
    check_arch(&rk_arch_qwen2, false, false);
    check_arch(&rk_arch_llama, false, true);
    tied = 0;
}

/* What some models of an architecture have and others lack. */
static void test_forms(void **state)
{
    (void)state;
    static const struct {
        const rk_arch *arch;
        rk_size form[FORM_MAX];
    } rows[] = {
        {&rk_arch_arwkv7, {{"wkv_gate_mode", 0}, {"wkv_has_group_norm", 1}}},
        {&rk_arch_arwkv7, {{"wkv_gate_mode", 1}, {"wkv_has_group_norm", 0}}},
        {&rk_arch_rwkv7qwen2, {{"balance_state", 0}, {"wkv_has_group_norm", 1}}},
        {&rk_arch_rwkv7qwen2, {{"full_gate", 1}, {"wkv_has_group_norm", 0}}},
        {&rk_arch_wuneng, {{"middle_heads", 3}, {"value_from", 1}}},
        {&rk_arch_wuneng, {{"middle_mode", 1}, {"middle_heads", 2}, {"head_output", 1}}},
        {&rk_arch_wuneng,
         {{"middle_mode", 2}, {"head_output", 2}, {"removal_scale", 2}, {"taps", 1}}},
        {&rk_arch_wuneng, {{"middle_mode", 3}, {"middle_heads", 2}, {"two_hop", 1}, {"taps", 2}}},
        {&rk_arch_wuneng,
         {{"middle_heads", 0}, {"value_residual", 1}, {"bonus", 1}, {"output_gate", 1}}},
        {&rk_arch_wuneng, {{"middle_heads", 0}, {"head_output", 3}, {"unbiased", 1}}},
        {&rk_arch_rwkv4, {{"low_rank", 3}, {"low_rank_form", 1}}},
        {&rk_arch_rwkv4, {{"low_rank", 2}}},
        {&rk_arch_rwkv5, {{"low_rank", 3}, {"low_rank_form", 1}}},
        {&rk_arch_rwkv5, {{"low_rank", 3}, {"rank_gate", 0}, {"rank_key", 1}}},
        {&rk_arch_rwkv6, {{"low_rank", 8}, {"low_rank_form", 1}}},
        {&rk_arch_rwkv7, {{"low_rank", 3}, {"low_rank_form", 1}}},
        {&rk_arch_rwkv7, {{"low_rank", 3}}},
        {&rk_arch_rwkv7a, {{"low_rank", 2}, {"rank_value", 0}}},
        {&rk_arch_rrwkv, {{"medium_interval", 1}}},
        {&rk_arch_rrwkv, {{"medium_interval", 3}, {"low_rank", 3}, {"low_rank_form", 1}}},
        {&rk_arch_rrwkv, {{"medium_interval", 32}}},
        {&rk_arch_rrwkv, {{"medium_tau", 0}}},
        {&rk_arch_rrwkv, {{"medium_mix", 0}}},
        {&rk_arch_rrwkv, {{"medium_se", 0}}},
        {&rk_arch_rrwkv, {{"medium_tau", 0}, {"medium_mix", 0}}},
        {&rk_arch_meta7, {{"n_head", 3}, {"meta_heads", 3}, {"removal_scale", 2}}},
        {&rk_arch_meta7, {{"n_head", 1}, {"meta_extra", 2}, {"meta_heads", 3}, {"meta_norm", 0}}},
        {&rk_arch_meta7, {{"meta_heads", 2}, {"meta_time", 1}, {"meta_extra", 1}}},
        {&rk_arch_meta7,
         {{"meta_heads", 0}, {"route_k", 1}, {"route_block", 5}, {"route_balance", 0}}},
        {&rk_arch_meta7,
         {{"route_gate", 1}, {"route_k", 2}, {"route_block", 4}, {"route_balance", 0}}},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        form = rows[i].form;
        check_arch(rows[i].arch, i & 2, i & 1);
    }
    form = NULL;
}

/* Hybrids: what layers hand on comes from the first that is not kept. */
static void test_hybrids(void **state)
{
    (void)state;
    static const struct {
        const rk_arch *arch;
        unsigned kept;
        rk_size form[FORM_MAX];
    } rows[] = {{&rk_arch_arwkv7, 1, {{"wkv_gate_mode", 2}}},
                {&rk_arch_arwkv7, 6, {{"wkv_gate_mode", 0}, {"wkv_has_group_norm", 1}}},
                {&rk_arch_rwkv7qwen2, 5, {{"balance_state", 1}}},
                {&rk_arch_rwkv6qwen2, 9, {{NULL, 0}}},
                {&rk_arch_wuneng, 1, {{"value_residual", 1}}},
                {&rk_arch_wuneng, 10, {{"bonus", 1}, {"unbiased", 1}}}};
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        form = rows[i].form;
        kept = rows[i].kept;
        check_arch(rows[i].arch, i & 2, i & 1);
    }
    form = NULL;
    kept = 0;
}

/* An input that is missing, or is no ids, is refused by its name. */
static void test_inputs(void **state)
{
    (void)state;
    for (int i = 0; rk_archs[i]; i++) {
        fixture f = begin(rk_archs[i], false, false);
        const int64_t dims[] = {BATCH, STEPS};
        rk_tensor *reals = rk_new(&f.ctx, RK_F64, 2, dims), *part[2 * RK_STATE_MAX];
        for (int wrong = 0; wrong < 2; wrong++) {
            rk_forward in = {.in = {wrong ? reals : NULL}, .state = part};
            rk_error err = {0};
            assert_null(rk_model_forward(&f.ctx, f.m, &in));
            assert_int_equal(rk_ctx_status(&f.ctx, &err), RK_ERR_ARG);
            assert_non_null(strstr(err.msg, "input 'ids'"));
            f.ctx.err = (rk_error){0};
        }
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters), cmocka_unit_test(test_removal),
        cmocka_unit_test(test_tied),       cmocka_unit_test(test_forms),
        cmocka_unit_test(test_hybrids),    cmocka_unit_test(test_inputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
