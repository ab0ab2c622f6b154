/* Chains that a model draws for problems: where they stand, when they end, what they are worth. */
#include "infer/test_model_util.h"

#include "infer/session.h"
#include "train/test_time.h"

enum { PROBLEMS = 5, CHAINS = 6, EQUALS = 11, END = 12, VOCAB = 13 };

typedef struct fixture {
    test_model model;
    rk_engine *engine;
    rk_problems problems;
    rk_prober *prober;
    rk_chain *chains;
    float *state;
} fixture;

static void begin(fixture *f, test_ctx *t, rk_test_time_options o, bool judged)
{
    const rk_size digits = {"digits", 1};
    rk_error err = {0};
    test_n_vocab = VOCAB;
    *f = (fixture){.engine = test_engine(2), .model = test_model_open(t, 3, 1, 32, RK_F32)};
    o.judge = judged ? f->model.path : NULL;
    test_ok(rk_problems_init(&f->problems, "addition", &digits, 1, PROBLEMS, 4, &err), &err);
    test_ok(rk_prober_open(&f->prober, &f->problems, &o, f->model.path, f->engine, &err), &err);
    test_ok(rk_chains_new(&f->chains, &f->problems, CHAINS, &err), &err);
    f->state = test_alloc(t, rk_state_layout_bytes(&f->model.model->state, 0));
    rk_model_initial_state(f->model.model, f->state);
}

static void end(fixture *f)
{
    rk_chains_free(f->chains);
    rk_prober_close(f->prober);
    rk_problems_deinit(&f->problems);
    rk_model_close(f->model.model);
    rk_engine_free(f->engine);
}

static void draw(fixture *f, uint64_t stream, rk_chain *chains)
{
    rk_error err = {0};
    test_ok(rk_prober_draw(f->prober, f->state, 9, stream, CHAINS, chains, &err), &err);
}

static rk_test_time_options options(double temp, int verifier)
{
    return (rk_test_time_options){.max_tokens = 512, .temp = temp, .verifier = verifier};
}

static void check_chain(const fixture *f, int64_t i, const rk_chain *c)
{
    const rk_problems *p = &f->problems;
    const int64_t n = p->gen.n_tokens, first = p->first[i];
    bool right = true;
    assert_true(c->n >= 1 && c->n <= n - first);
    for (int64_t t = 0; t < n; t++) {
        const bool said = t >= first && t < first + c->n;
        assert_true(said ? c->targets[t] >= 0 && c->targets[t] < VOCAB
                         : c->targets[t] == RK_NO_TARGET);
        if (t < first + c->n - 1)
            assert_true(c->targets[t] != END);
        right = right && c->targets[t] == p->targets[i * n + t];
    }
    assert_int_equal(c->answered, c->targets[first + c->n - 1] == END);
    assert_int_equal(c->right, right);
    assert_true(fabs(c->reward - (right ? 1.0 : 0.0) + (c->answered ? 0.0 : 0.1)) < 1e-12);
}

static void test_chains(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    fixture f;
    begin(&f, &t, options(1.0, 1), false);
    draw(&f, 0, f.chains);
    for (int64_t i = 0; i < PROBLEMS; i++) {
        const rk_problems *p = &f.problems;
        double advantages = 0.0;
        assert_int_equal(p->ids[i * p->gen.n_tokens + p->first[i]], EQUALS);
        assert_int_equal(p->end, END);
        for (int64_t k = 0; k < CHAINS; k++) {
            check_chain(&f, i, &f.chains[i * CHAINS + k]);
            advantages += f.chains[i * CHAINS + k].advantage;
        }
        assert_true(fabs(advantages) < 1e-9);
    }
    end(&f);
    test_end(&t);
}

/* A draw is a function of seed and stream; of temperature 0 all chains of a problem are the likeliest. */
static void test_draws(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    fixture f;
    rk_chain *again = NULL;
    rk_error err = {0};
    int64_t same = 0, other = 0;
    begin(&f, &t, options(1.0, 1), false);
    test_ok(rk_chains_new(&again, &f.problems, CHAINS, &err), &err);
    const size_t bytes = (size_t)f.problems.gen.n_tokens * sizeof(int32_t);
    draw(&f, 3, f.chains);
    draw(&f, 3, again);
    for (int64_t i = 0; i < PROBLEMS * CHAINS; i++)
        same += !memcmp(f.chains[i].targets, again[i].targets, bytes);
    draw(&f, (uint64_t)1 << 20 | 3, again);
    for (int64_t i = 0; i < PROBLEMS * CHAINS; i++)
        other += !memcmp(f.chains[i].targets, again[i].targets, bytes);
    assert_int_equal(same, PROBLEMS * CHAINS);
    assert_true(other < PROBLEMS * CHAINS / 2);
    rk_chains_free(again);
    end(&f);

    begin(&f, &t, options(0.0, 1), false);
    draw(&f, 0, f.chains);
    for (int64_t i = 0; i < PROBLEMS * CHAINS; i++) {
        const rk_chain *c = &f.chains[i], *first = &f.chains[i / CHAINS * CHAINS];
        assert_memory_equal(c->targets, first->targets, bytes);
        assert_true(c->majority == (c->right ? 1.0 : 0.0) && fabs(c->advantage) < 1e-9);
    }
    end(&f);
    test_end(&t);
}

/* What a judge adds is half its mean log-probability, cut at -4, over 4, and a half. */
static void test_judge(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    fixture f;
    rk_session *s = NULL;
    rk_error err = {0};
    begin(&f, &t, options(1.0, 0), true);
    draw(&f, 0, f.chains);
    const rk_problems *p = &f.problems;
    const int64_t i = 2, n = p->gen.n_tokens, first = p->first[i];
    const rk_chain *c = &f.chains[i * CHAINS];
    float logits[VOCAB];
    double sum = 0.0;
    test_ok(rk_session_new(&s, f.model.model, f.engine, &err), &err);
    test_ok(rk_session_eval(s, p->ids + i * n, first + 1, logits, &err), &err);
    for (int64_t k = 0; k < c->n; k++) {
        sum += rk_logprob(logits, VOCAB, c->targets[first + k]);
        test_ok(rk_session_eval(s, &c->targets[first + k], 1, logits, &err), &err);
    }
    const double want =
        0.5 * fmax(sum / (double)c->n, -4.0) / 4.0 + 0.5 - (c->answered ? 0.0 : 0.1);
    assert_true(fabs(c->reward - want) < 1e-5);
    rk_session_free(s);
    end(&f);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_judge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
