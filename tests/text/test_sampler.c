/* The sampler against its definition: sorts and loops in double that say how probable each token is
 * after the tokens drawn before. Draws must follow it (chi-square) and not leave its support. */
#include "test_util.h"

#include <float.h>

#include "text/sampler.h"

enum { V_MAX = 65536 };

/* ------------------------------------------------------------------------------ the definition */

typedef struct definition {
    rk_sampler_params params;
    int64_t n;
    double *p, *count; /* (n) */
    bool *seen;        /* (n) */
    struct rank {
        double key;
        int64_t id;
    } * ranks; /* (n) */
} definition;

static definition define(test_ctx *t, const rk_sampler_params *params, int64_t n)
{
    definition d = {.params = *params, .n = n, .p = test_alloc_f64(t, n)};
    d.count = test_alloc_f64(t, n);
    d.seen = test_alloc(t, (size_t)n * sizeof *d.seen);
    d.ranks = test_alloc(t, (size_t)n * sizeof *d.ranks);
    for (int64_t i = 0; i < n; i++) {
        d.count[i] = 0.0;
        d.seen[i] = false;
    }
    return d;
}

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key ? 1 : x->id < y->id ? -1 : x->id > y->id;
}

/* Order tokens by key; zero those behind the place where mass (or number) is reached. */
static void cut(definition *d, double mass, int64_t number, bool keep_ties)
{
    int64_t i = 0;
    double sum = 0.0;
    qsort(d->ranks, (size_t)d->n, sizeof *d->ranks, compare_ranks);
    while (i < d->n - 1 && i < number - 1 && sum + d->p[d->ranks[i].id] < mass)
        sum += d->p[d->ranks[i++].id];
    const double last = d->ranks[i].key;
    for (i++; i < d->n; i++)
        if (!keep_ties || d->ranks[i].key > last)
            d->p[d->ranks[i].id] = 0.0;
}

static void rank_by_probability(definition *d)
{
    for (int64_t i = 0; i < d->n; i++)
        d->ranks[i] = (struct rank){-d->p[i], i};
}

static void normalise(definition *d)
{
    double sum = 0.0;
    for (int64_t i = 0; i < d->n; i++)
        sum += d->p[i];
    for (int64_t i = 0; i < d->n; i++)
        d->p[i] /= sum;
}

static void cut_typical(definition *d)
{
    double entropy = 0.0;
    normalise(d);
    for (int64_t i = 0; i < d->n; i++)
        entropy -= d->p[i] > 0 ? d->p[i] * log(d->p[i]) : 0;
    for (int64_t i = 0; i < d->n; i++)
        d->ranks[i] = (struct rank){fabs(-log(d->p[i]) - entropy), i};
    cut(d, (double)d->params.typical_p, d->n, true);
}

static void softmax(definition *d, const float *logits)
{
    const rk_sampler_params *p = &d->params;
    double highest = (double)-INFINITY;
    for (int64_t i = 0; i < d->n; i++) {
        double x = (double)logits[i];
        if (d->seen[i]) {
            x = x > 0 ? x / (double)p->repeat_penalty : x * (double)p->repeat_penalty;
            x -= (double)p->presence_penalty + (double)p->frequency_penalty * d->count[i];
        }
        d->p[i] = x;
        highest = fmax(highest, x);
    }
    for (int64_t i = 0; i < d->n; i++)
        d->p[i] = exp(d->p[i] - highest);
    normalise(d);
}

/* d->p: how probable each token is now. */
static void predict(definition *d, const float *logits)
{
    const rk_sampler_params *p = &d->params;
    softmax(d, logits);
    rank_by_probability(d);
    if (p->top_p < 1)
        cut(d, (double)p->top_p, d->n, true);
    rank_by_probability(d);
    if (p->top_k > 0)
        cut(d, (double)INFINITY, p->top_k, false);
    double highest = 0.0;
    for (int64_t i = 0; i < d->n; i++)
        highest = fmax(highest, d->p[i]);
    for (int64_t i = 0; i < d->n; i++)
        d->p[i] = d->p[i] < (double)p->min_p * highest ? 0 : d->p[i];
    if (p->typical_p < 1)
        cut_typical(d);
    for (int64_t i = 0; i < d->n; i++)
        d->p[i] = pow(d->p[i], 1 / (double)p->temp);
    normalise(d);
}

static void note(definition *d, int32_t token)
{
    for (int64_t i = 0; i < d->n; i++)
        d->count[i] *= (double)d->params.penalty_decay;
    d->seen[token] = true;
    d->count[token] += 1;
}

/* -------------------------------------------------------------------------------- distribution */

static rk_sampler *make(const rk_sampler_params *p, int64_t n, const rk_tokenizer *tokenizer)
{
    rk_error err = {0};
    rk_sampler *s = NULL;
    test_ok(rk_sampler_new(&s, p, n, tokenizer, &err), &err);
    return s;
}

static int32_t next(rk_sampler *s, const float *logits)
{
    rk_error err = {0};
    int32_t token = -1;
    test_ok(rk_sampler_next(s, logits, &token, &err), &err);
    return token;
}

/* Sum of (observed - expected)^2 / expected, rare tokens put together. Five standard deviations
 * above its mean; seeds are fixed, so that a failure is a change and not bad luck. */
static void check_counts(const test_ctx *t, const double *expected, const double *observed,
                         int64_t n)
{
    double chi2 = 0.0, rare_expected = 0.0, rare_observed = 0.0;
    int64_t freedom = 0;
    for (int64_t i = 0; i < n; i++) {
        if (expected[i] < 8) {
            rare_expected += expected[i];
            rare_observed += observed[i];
            continue;
        }
        chi2 += pow(observed[i] - expected[i], 2) / expected[i];
        freedom++;
    }
    if (rare_expected > 8) {
        chi2 += pow(rare_observed - rare_expected, 2) / rare_expected;
        freedom++;
    }
    if (chi2 > (double)freedom + 5 * sqrt(2 * (double)freedom))
        fail_msg("chi-square %g with %" PRId64 " cells; %s", chi2, freedom, t->shape);
}

/* A sampler, and a twin that may guess for it by logits of its own. */
typedef struct pair {
    rk_sampler *sampler, *twin;
    const float *draft; /* NULL: nothing is guessed */
    rk_guess guess;
} pair;

static pair make_pair(test_ctx *t, const rk_sampler_params *p, int64_t n, const float *draft)
{
    rk_error err = {0};
    pair out = {.sampler = make(p, n, NULL), .draft = draft};
    test_ok(rk_sampler_twin(&out.twin, out.sampler, &err), &err);
    out.guess.id = test_alloc(t, (size_t)n * sizeof *out.guess.id);
    out.guess.weight = test_alloc_f32(t, n);
    return out;
}

static void free_pair(pair *p)
{
    rk_sampler_free(p->sampler);
    rk_sampler_free(p->twin);
}

static int32_t next_of_pair(pair *p, const float *logits)
{
    rk_error err = {0};
    int32_t token = -1;
    if (!p->draft)
        return next(p->sampler, logits);
    rk_sampler_follow(p->twin, p->sampler);
    test_ok(rk_sampler_guess(p->twin, p->draft, &p->guess, &err), &err);
    test_ok(rk_sampler_judge(p->sampler, logits, &p->guess, &token, &err), &err);
    return token;
}

static void check_distribution(test_ctx *t, const rk_sampler_params *p, int64_t n, int n_draws,
                               float spread, bool guessed)
{
    const float *logits = test_uniform(t, n, -spread, spread);
    const float *draft = guessed ? test_uniform(t, n, -spread, spread) : NULL;
    double *expected = test_alloc_f64(t, n), *observed = test_alloc_f64(t, n);
    definition d = define(t, p, n);
    pair s = make_pair(t, p, n, draft);
    int n_excluded = 0;
    for (int64_t i = 0; i < n; i++)
        expected[i] = observed[i] = 0.0;
    for (int draw = 0; draw < n_draws; draw++) {
        const int32_t token = next_of_pair(&s, logits);
        predict(&d, logits);
        n_excluded += !(d.p[token] > 0);
        observed[token] += 1;
        for (int64_t i = 0; i < n; i++)
            expected[i] += d.p[i];
        note(&d, token);
    }
    /* f32 may differ where a cut falls between nearly equal numbers, once in some 100000 draws. */
    if (n_excluded > 1)
        fail_msg("%d draws of excluded tokens; %s", n_excluded, t->shape);
    check_counts(t, expected, observed, n);
    free_pair(&s);
    test_reset(t);
}

static const rk_sampler_params off = {
    .temp = 1, .top_p = 1, .typical_p = 1, .repeat_penalty = 1, .penalty_decay = 1, .seed = 11};

/* Rows change one parameter or more of "off". */
static size_t make_rows(rk_sampler_params *rows)
{
    size_t n = 0;
    for (; n < 24; n++)
        rows[n] = off;
    n = 1;
    rows[n++] = rk_sampler_defaults();
    rows[n++].temp = 0.5f;
    rows[n++].temp = 2.0f;
    rows[n++].top_p = 0.3f;
    rows[n++].top_p = 0.95f;
    rows[n++].top_k = 1;
    rows[n++].top_k = 7;
    rows[n++].top_k = 1000000;
    rows[n++].min_p = 0.2f;
    rows[n++].min_p = 1.0f;
    rows[n++].typical_p = 0.4f;
    rows[n++].typical_p = 0.9f;
    rows[n++].repeat_penalty = 1.5f;
    rows[n++].presence_penalty = 0.8f;
    rows[n++].frequency_penalty = 0.05f;
    rows[n].frequency_penalty = 0.5f;
    rows[n++].penalty_decay = 0.9f;
    rows[n++] = (rk_sampler_params){0.7f, 0.9f, 20, 0.02f, 0.9f, 1.1f, 0.2f, 0.3f, 0.99f, 0};
    rows[n++] = (rk_sampler_params){1.4f, 0.8f, 5, 0.0f, 0.7f, 1.0f, -0.2f, 0.0f, 0.5f, 0};
    return n;
}

static void test_distribution(void **state)
{
    (void)state;
    test_ctx t = test_begin(21);
    rk_sampler_params rows[24];
    const size_t n_rows = make_rows(rows);
    for (size_t i = 0; i < n_rows; i++) {
        rows[i].seed = 100 + i;
        test_shape(&t, "row %zu of %zu", i, n_rows);
        check_distribution(&t, &rows[i], 37, 3000, 3.0f, false);
        test_shape(&t, "row %zu of %zu, guessed", i, n_rows);
        check_distribution(&t, &rows[i], 37, 3000, 3.0f, true);
    }
    check_distribution(&t, &off, 1, 10, 3.0f, false);
    check_distribution(&t, &off, 1, 10, 3.0f, true);
    test_end(&t);
}

/* A vocabulary of the usual size, peaked and flat. */
static void test_large_vocabulary(void **state)
{
    (void)state;
    test_ctx t = test_begin(22);
    rk_sampler_params rows[24];
    const size_t n_rows = make_rows(rows);
    for (size_t i = 0; i < n_rows; i += 3) {
        test_shape(&t, "row %zu, large", i);
        check_distribution(&t, &rows[i], V_MAX, 4, i % 2 ? 20.0f : 0.5f, i % 4 > 1);
    }
    test_end(&t);
}

/* Which tokens appear in many draws, as bits. */
static unsigned support(const rk_sampler_params *p, const float *logits, int64_t n)
{
    unsigned found = 0;
    rk_sampler *s = make(p, n, NULL);
    for (int i = 0; i < 400; i++)
        found |= 1u << next(s, logits);
    rk_sampler_free(s);
    return found;
}

/* Probabilities 1/2, 1/8 four times: exact in binary, so that ties are ties. */
static void test_ties(void **state)
{
    (void)state;
    const float eighth = logf(0.25f);
    const float logits[] = {eighth, eighth, 0, eighth, eighth};
    rk_sampler_params p = off;
    p.top_p = 0.5f;
    assert_int_equal(support(&p, logits, 5), 1u << 2);
    p.top_p = 0.51f; /* the cut lies among the equal ones: all stay */
    assert_int_equal(support(&p, logits, 5), 31);
    p.top_p = 0.0f;
    assert_int_equal(support(&p, logits, 5), 1u << 2);
    assert_int_equal(support(&p, (const float[]){1, 2, 2, 2, 0}, 5),
                     1u << 1); /* one of those that tie */
    p.top_p = 1.0f;
    p.typical_p = 0.0f;
    assert_int_equal(support(&p, (const float[]){1, 1, 1, 1, 1}, 5), 1);
    p.typical_p = 1.0f;
    p.top_k = 3; /* exactly so many, the lowest ids */
    assert_int_equal(support(&p, logits, 5), 7);
    p.top_k = 0;
    p.min_p = 0.25f;
    assert_int_equal(support(&p, logits, 5), 31);
    p.min_p = 0.26f;
    assert_int_equal(support(&p, logits, 5), 1u << 2);
}

/* ----------------------------------------------------------------------------------- penalties */

static void test_presence(void **state)
{
    (void)state;
    static const float logits[8] = {0};
    rk_sampler_params p = off;
    p.presence_penalty = 1000;
    assert_int_equal(support(&p, logits, 8), 255);
    rk_sampler *s = make(&p, 8, NULL);
    unsigned found = 0;
    for (int i = 0; i < 8; i++) /* each token once before any comes again */
        found |= 1u << next(s, logits);
    assert_int_equal(found, 255);
    rk_sampler_free(s);
}

/* With decay 0 only the last token has a count. */
static void test_decay(void **state)
{
    (void)state;
    static const float logits[2] = {0};
    rk_sampler_params p = off;
    p.frequency_penalty = 1000;
    p.penalty_decay = 0;
    rk_sampler *s = make(&p, 2, NULL);
    for (int32_t i = 0, last = next(s, logits); i < 50; i++) {
        const int32_t token = next(s, logits);
        assert_int_equal(token, 1 - last);
        last = token;
    }
    rk_sampler_free(s);
}

/* Digits and spaces have no count, but presence. */
static void test_uncounted(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_tokenizer *t = NULL;
    float logits[256];
    rk_sampler_params p = off;
    test_ok(rk_tokenizer_new(&t, "byte", &err), &err);
    for (int i = 0; i < 256; i++)
        logits[i] = i == '5' || i == 'a' ? 0 : -INFINITY;
    p.frequency_penalty = 1000;
    rk_sampler *s = make(&p, 256, t);
    while (next(s, logits) != 'a')
        ;
    for (int i = 0; i < 50; i++)
        assert_int_equal(next(s, logits), '5');
    rk_sampler_free(s);
    p.frequency_penalty = 0;
    p.presence_penalty = 1000;
    s = make(&p, 256, t);
    const int32_t first = next(s, logits);
    assert_int_equal(next(s, logits), 'a' + '5' - first);
    rk_sampler_free(s);
    rk_tokenizer_free(t);
}

/* A table of scores that is longer than the vocabulary: what is beyond is never drawn. */
static void test_padded(void **state)
{
    (void)state;
    rk_error err = {0};
    rk_tokenizer *t = NULL;
    float logits[300];
    rk_sampler_params p = off;
    test_ok(rk_tokenizer_new(&t, "byte", &err), &err);
    for (int i = 0; i < 300; i++)
        logits[i] = i < 256 ? 0.0f : 100.0f;
    for (int greedy = 0; greedy < 2; greedy++) {
        p.temp = greedy ? 0 : 1;
        rk_sampler *s = make(&p, 300, t);
        for (int i = 0; i < 50; i++)
            assert_true(next(s, logits) < 256);
        rk_sampler_free(s);
    }
    rk_tokenizer_free(t);
}

static void test_bias(void **state)
{
    (void)state;
    const float logits[] = {1, 2, 3};
    rk_error err = {0};
    rk_sampler_params p = off;
    for (int greedy = 0; greedy < 2; greedy++) {
        p.temp = greedy ? 0 : 1;
        rk_sampler *s = make(&p, 3, NULL);
        test_ok(rk_sampler_bias(s, 2, -INFINITY, &err), &err);
        for (int i = 0; i < 100; i++)
            assert_int_not_equal(next(s, logits), 2);
        test_ok(rk_sampler_bias(s, 0, 200, &err), &err);
        for (int i = 0; i < 100; i++)
            assert_int_equal(next(s, logits), 0);
        assert_int_equal(rk_sampler_bias(s, 3, 0, &err), RK_ERR_ARG);
        assert_string_equal(err.msg, "bias of token 3, expected one of 0 .. 2");
        assert_int_equal(rk_sampler_bias(s, -1, 0, &err), RK_ERR_ARG);
        assert_int_equal(rk_sampler_bias(s, 0, NAN, &err), RK_ERR_ARG);
        assert_int_equal(rk_sampler_bias(s, 0, INFINITY, &err), RK_ERR_ARG);
        rk_sampler_free(s);
    }
}

/* ---------------------------------------------------------------------------------- the others */

static void test_greedy(void **state)
{
    (void)state;
    const float logits[] = {-1, 4, 0, 4, 3.9f};
    rk_sampler_params p = off;
    p.temp = 0;
    p.presence_penalty = p.frequency_penalty = 100;
    p.repeat_penalty = 5;
    rk_sampler *s = make(&p, 5, NULL);
    for (int i = 0; i < 20; i++)
        assert_int_equal(next(s, logits), 1);
    rk_sampler_free(s);
    p = off; /* temperatures next to 0 and far above 1 do not lose the weights */
    p.temp = 1e-30f;
    assert_int_equal(support(&p, logits, 5), 1u << 1 | 1u << 3);
    p.temp = 1e30f;
    assert_int_equal(support(&p, logits, 5), 31);
}

static void test_seeds(void **state)
{
    (void)state;
    enum { N = 50 };
    test_ctx t = test_begin(23);
    const float *logits = test_uniform(&t, 100, -1, 1);
    rk_sampler_params p = rk_sampler_defaults();
    int32_t first[N];
    int n_same = 0;
    p.frequency_penalty = 0.5f;
    rk_sampler *a = make(&p, 100, NULL), *b = make(&p, 100, NULL);
    p.seed = 1;
    rk_sampler *c = make(&p, 100, NULL);
    for (int i = 0; i < N; i++) {
        first[i] = next(a, logits);
        assert_int_equal(next(b, logits), first[i]);
        n_same += next(c, logits) == first[i];
    }
    assert_true(n_same < N / 2);
    rk_sampler_reset(a);
    for (int i = 0; i < N; i++)
        assert_int_equal(next(a, logits), first[i]);
    rk_sampler_free(a);
    rk_sampler_free(b);
    rk_sampler_free(c);
    rk_sampler_free(NULL);
    test_end(&t);
}

/* An error leaves the stream of draws where it was. */
static void test_not_finite(void **state)
{
    (void)state;
    const float good[] = {0, 1, 2, 1}, banned[] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    const float nan_last[] = {0, 1, 2, NAN}, too_high[] = {0, INFINITY, 2, 1};
    static const char *const messages[] = {"the highest logit is -inf, expected a finite number",
                                           "the logit of token 3 is not a number",
                                           "the highest logit is inf, expected a finite number"};
    const float *const bad[] = {banned, nan_last, too_high};
    rk_sampler_params p = off;
    for (int greedy = 0; greedy < 2; greedy++) {
        p.temp = greedy ? 0 : 1;
        rk_sampler *s = make(&p, 4, NULL), *undisturbed = make(&p, 4, NULL);
        for (int i = 0; i < 60; i++) {
            rk_error err = {0};
            int32_t token = -1;
            assert_int_equal(rk_sampler_next(s, bad[i % 3], &token, &err), RK_ERR_NUMERIC);
            assert_string_equal(err.msg, messages[i % 3]);
            assert_int_equal(token, -1);
            assert_int_equal(next(s, good), next(undisturbed, good));
        }
        rk_sampler_free(s);
        rk_sampler_free(undisturbed);
    }
}

static void expect_refusal(rk_sampler_params p, int64_t n_vocab, const char *want)
{
    rk_error err = {0};
    rk_sampler *s = NULL;
    assert_int_equal(rk_sampler_new(&s, &p, n_vocab, NULL, &err), RK_ERR_ARG);
    assert_string_equal(err.msg, want);
    assert_null(s);
}

#define REFUSED(field, bad, want)                                                                  \
    do {                                                                                           \
        rk_sampler_params p = off;                                                                 \
        p.field = bad;                                                                             \
        expect_refusal(p, 10, want);                                                               \
    } while (0)

static void test_arguments(void **state)
{
    (void)state;
    REFUSED(temp, -1, "temp is -1, expected a finite number, at least 0");
    REFUSED(temp, INFINITY, "temp is inf, expected a finite number, at least 0");
    REFUSED(top_p, -0.5f, "top_p is -0.5, expected a number in [0, 1]");
    REFUSED(top_p, 1.5f, "top_p is 1.5, expected a number in [0, 1]");
    REFUSED(top_k, -1, "top_k is -1, expected at least 0");
    REFUSED(min_p, -0.5f, "min_p is -0.5, expected a number in [0, 1]");
    REFUSED(typical_p, -0.5f, "typical_p is -0.5, expected a number in [0, 1]");
    REFUSED(typical_p, 1.5f, "typical_p is 1.5, expected a number in [0, 1]");
    REFUSED(repeat_penalty, 0, "repeat_penalty is 0, expected a finite number above 0");
    REFUSED(presence_penalty, INFINITY, "presence_penalty is inf, expected a finite number");
    REFUSED(frequency_penalty, -INFINITY, "frequency_penalty is -inf, expected a finite number");
    REFUSED(penalty_decay, 2, "penalty_decay is 2, expected a number in [0, 1]");
    expect_refusal(off, 0, "n_vocab is 0, expected 1 .. 2147483647");
    rk_sampler_params p = off;
    rk_sampler *s = NULL;
    p.min_p = NAN;
    assert_int_equal(rk_sampler_new(&s, &p, 10, NULL, NULL), RK_ERR_ARG);
}

static void test_logprob(void **state)
{
    (void)state;
    test_ctx t = test_begin(24);
    const float *logits = test_uniform(&t, 1000, -30, 30);
    const float huge[] = {3e38f, 3e38f, -3e38f}, banned[] = {0, -INFINITY};
    double sum = 0.0;
    for (int32_t i = 0; i < 1000; i++)
        sum += exp(rk_logprob(logits, 1000, i));
    assert_true(fabs(sum - 1) < 1e-12);
    assert_true(fabs(rk_logprob(logits, 1000, 7) - rk_logprob(logits, 1000, 3) -
                     ((double)logits[7] - (double)logits[3])) < 1e-12);
    assert_true(fabs(rk_logprob(huge, 3, 1) + log(2)) < 1e-15);
    assert_true(rk_logprob(banned, 2, 0) == 0.0);
    assert_true(isinf(rk_logprob(banned, 2, 1)));
    assert_true(isnan(rk_logprob(banned, 2, 2)));
    assert_true(isnan(rk_logprob(banned, 2, -1)));
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distribution), cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_ties),         cmocka_unit_test(test_presence),
        cmocka_unit_test(test_decay),        cmocka_unit_test(test_uncounted),
        cmocka_unit_test(test_padded),       cmocka_unit_test(test_bias),
        cmocka_unit_test(test_greedy),       cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_not_finite),   cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_logprob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
