/* sampler.c: drawing the next token.
 *
 * The order is that of the rwkv package: bias, penalties, softmax, top_p, top_k, then min_p and
 * typical_p, and the temperature last, as p^(1/temp); so top_p acts on the untempered distribution.
 * The filters need no sorted list of tokens, only the key at which a mass or a number is reached: a
 * radix selection finds it in four passes over the candidates, whatever the distribution. (Taking
 * tokens from a heap costs more the flatter the distribution is.) Candidates stay in the order of
 * their ids, which settles ties and the draw.
 *
 * Everything is taken when the sampler is made; drawing allocates nothing. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "base/random.h"
#include "text/sampler.h"

struct rk_sampler {
    rk_sampler_params params;
    int64_t n_vocab;
    uint64_t step;            /* tokens drawn since the beginning */
    float *bias;              /* (n_vocab) */
    unsigned char *uncounted; /* (n_vocab) digits and spaces: only whether they occurred counts */

    int64_t n_seen;
    int32_t *seen;          /* (n_seen) tokens drawn, each once */
    unsigned char *is_seen; /* (n_vocab) */
    float *count;           /* (n_vocab) decayed numbers of draws */

    int64_t n;     /* candidates left */
    int32_t *id;   /* (n) ascending */
    float *p;      /* (n) their probability, later their weight; before that (n_vocab) logits */
    uint32_t *key; /* (n) what a filter selects by, lowest first */
};

rk_sampler_params rk_sampler_defaults(void)
{
    return (rk_sampler_params){.temp = 1.0f,
                               .top_p = 0.85f,
                               .typical_p = 1.0f,
                               .repeat_penalty = 1.0f,
                               .penalty_decay = 0.996f};
}

/* ------------------------------------------------------------------------------ making a sampler
 */

static rk_status check_params(const rk_sampler_params *p, rk_error *err)
{
    const struct {
        const char *name;
        float value, low, high;
        const char *range;
    } rows[] = {
        {"temp", p->temp, 0.0f, FLT_MAX, "a finite number, at least 0"},
        {"top_p", p->top_p, 0.0f, 1.0f, "a number in [0, 1]"},
        {"min_p", p->min_p, 0.0f, 1.0f, "a number in [0, 1]"},
        {"typical_p", p->typical_p, 0.0f, 1.0f, "a number in [0, 1]"},
        {"repeat_penalty", p->repeat_penalty, FLT_MIN, FLT_MAX, "a finite number above 0"},
        {"presence_penalty", p->presence_penalty, -FLT_MAX, FLT_MAX, "a finite number"},
        {"frequency_penalty", p->frequency_penalty, -FLT_MAX, FLT_MAX, "a finite number"},
        {"penalty_decay", p->penalty_decay, 0.0f, 1.0f, "a number in [0, 1]"},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++)
        if (!(rows[i].value >= rows[i].low && rows[i].value <= rows[i].high))
            return rk_fail(err, RK_ERR_ARG, "%s is %g, expected %s", rows[i].name,
                           (double)rows[i].value, rows[i].range);
    if (p->top_k < 0)
        return rk_fail(err, RK_ERR_ARG, "top_k is %" PRId32 ", expected at least 0", p->top_k);
    return RK_OK;
}

/* Whether a token's text is a piece of these characters: a digit, "12", a space, nothing. */
static bool is_uncounted(const rk_tokenizer *t, int32_t id)
{
    static const char text[] = " \t0123456789";
    size_t n;
    const char *bytes = rk_tokenizer_bytes(t, id, &n);
    for (size_t i = 0; i + n < sizeof text; i++)
        if (memcmp(text + i, bytes, n) == 0)
            return true;
    return false;
}

static rk_status sampler_init(rk_sampler *s, const rk_sampler_params *p, int64_t n_vocab,
                              const rk_tokenizer *t, rk_error *err)
{
    const size_t n = (size_t)n_vocab;
    *s = (rk_sampler){.params = *p,
                      .n_vocab = n_vocab,
                      .bias = calloc(n, sizeof *s->bias),
                      .uncounted = calloc(n, 1),
                      .seen = calloc(n, sizeof *s->seen),
                      .is_seen = calloc(n, 1),
                      .count = calloc(n, sizeof *s->count),
                      .id = calloc(n, sizeof *s->id),
                      .p = calloc(n, sizeof *s->p),
                      .key = calloc(n, sizeof *s->key)};
    if (!s->bias || !s->uncounted || !s->seen || !s->is_seen || !s->count || !s->id || !s->p ||
        !s->key)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a sampler of %" PRId64 " tokens",
                       n_vocab);
    for (int32_t i = 0; t && i < n_vocab; i++)
        s->uncounted[i] = is_uncounted(t, i);
    /* Tables are padded: what lies behind the vocabulary is never drawn. */
    for (int64_t i = t ? rk_tokenizer_n_vocab(t) : n_vocab; i < n_vocab; i++)
        s->bias[i] = -INFINITY;
    return RK_OK;
}

rk_status rk_sampler_new(rk_sampler **out, const rk_sampler_params *p, int64_t n_vocab,
                         const rk_tokenizer *tokenizer, rk_error *err)
{
    rk_status st = check_params(p, err);
    if (st != RK_OK)
        return st;
    if (n_vocab < 1 || n_vocab > INT32_MAX)
        return rk_fail(err, RK_ERR_ARG, "n_vocab is %" PRId64 ", expected 1 .. %d", n_vocab,
                       INT32_MAX);
    rk_sampler *s = malloc(sizeof *s);
    if (!s)
        return rk_fail(err, RK_ERR_NOMEM, "out of memory for a sampler");
    st = sampler_init(s, p, n_vocab, tokenizer, err);
    if (st == RK_OK)
        *out = s;
    else
        rk_sampler_free(s);
    return st;
}

void rk_sampler_free(rk_sampler *s)
{
    if (!s)
        return;
    free(s->bias);
    free(s->uncounted);
    free(s->seen);
    free(s->is_seen);
    free(s->count);
    free(s->id);
    free(s->p);
    free(s->key);
    free(s);
}

rk_status rk_sampler_twin(rk_sampler **out, const rk_sampler *s, rk_error *err)
{
    const size_t n = (size_t)s->n_vocab;
    const rk_status st = rk_sampler_new(out, &s->params, s->n_vocab, NULL, err);
    if (st != RK_OK)
        return st;
    memcpy((*out)->bias, s->bias, n * sizeof *s->bias);
    memcpy((*out)->uncounted, s->uncounted, n);
    return RK_OK;
}

void rk_sampler_follow(rk_sampler *s, const rk_sampler *other)
{
    rk_sampler_reset(s);
    memcpy(s->seen, other->seen, (size_t)other->n_seen * sizeof *s->seen);
    for (int64_t i = 0; i < other->n_seen; i++) {
        s->is_seen[s->seen[i]] = 1;
        s->count[s->seen[i]] = other->count[s->seen[i]];
    }
    s->n_seen = other->n_seen;
    s->step = other->step;
    s->params.seed = other->params.seed;
}

void rk_sampler_remember(const rk_sampler *s, rk_sampler_memory *m)
{
    m->seed = s->params.seed;
    m->step = s->step;
    for (int64_t i = 0; i < s->n_vocab; i++)
        m->counts[i] = s->is_seen[i] ? s->count[i] : -1.0f;
}

void rk_sampler_recall(rk_sampler *s, const rk_sampler_memory *m)
{
    rk_sampler_reset(s);
    for (int32_t i = 0; i < s->n_vocab; i++) {
        if (m->counts[i] < 0.0f)
            continue;
        s->seen[s->n_seen++] = i;
        s->is_seen[i] = 1;
        s->count[i] = m->counts[i];
    }
    s->step = m->step;
    s->params.seed = m->seed;
}

void rk_sampler_reset(rk_sampler *s)
{
    for (int64_t i = 0; i < s->n_seen; i++) {
        s->is_seen[s->seen[i]] = 0;
        s->count[s->seen[i]] = 0.0f;
    }
    s->n_seen = 0;
    s->step = 0;
}

rk_status rk_sampler_bias(rk_sampler *s, int32_t token, float bias, rk_error *err)
{
    if (token < 0 || token >= s->n_vocab)
        return rk_fail(err, RK_ERR_ARG, "bias of token %" PRId32 ", expected one of 0 .. %" PRId64,
                       token, s->n_vocab - 1);
    if (isnan(bias) || bias == INFINITY)
        return rk_fail(err, RK_ERR_ARG, "the bias of token %" PRId32 " is %g, expected less", token,
                       (double)bias);
    s->bias[token] = bias;
    return RK_OK;
}

/* ------------------------------------------------------------------------------- distribution */

static void add_bias(rk_sampler *s, const float *logits)
{
    for (int64_t i = 0; i < s->n_vocab; i++)
        s->p[i] = logits[i] + s->bias[i];
}

static void subtract_penalties(rk_sampler *s)
{
    const rk_sampler_params *p = &s->params;
    for (int64_t i = 0; i < s->n_seen; i++) {
        float *logit = &s->p[s->seen[i]];
        *logit = *logit > 0 ? *logit / p->repeat_penalty : *logit * p->repeat_penalty;
        *logit -= p->presence_penalty + s->count[s->seen[i]] * p->frequency_penalty;
    }
}

/* The token of the highest logit, the lowest such. */
static rk_status find_highest(const rk_sampler *s, int32_t *token, rk_error *err)
{
    int32_t best = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        if (isnan(s->p[i]))
            return rk_fail(err, RK_ERR_NUMERIC, "the logit of token %" PRId32 " is not a number",
                           i);
        if (s->p[i] > s->p[best])
            best = i;
    }
    if (isinf(s->p[best]))
        return rk_fail(err, RK_ERR_NUMERIC, "the highest logit is %g, expected a finite number",
                       (double)s->p[best]);
    *token = best;
    return RK_OK;
}

/* Tokens whose probability is 0 in f32 are no candidates. */
static void softmax(rk_sampler *s, float highest)
{
    double sum = 0.0;
    s->n = 0;
    for (int32_t i = 0; i < s->n_vocab; i++) {
        const float p = expf(s->p[i] - highest);
        if (p > 0.0f) {
            sum += (double)p;
            s->id[s->n] = i;
            s->p[s->n++] = p;
        }
    }
    for (int64_t i = 0; i < s->n; i++)
        s->p[i] /= (float)sum;
}

/* ------------------------------------------------------------------------------------ filters */

/* Bits that order as the numbers do; x >= 0. */
static uint32_t ordered_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The lowest key such that the weights (1 each if NULL) of it and all lower keys reach target;
 * UINT32_MAX when they never do. *below: the weights of the lower keys. */
static uint32_t select_key(const rk_sampler *s, const float *weight, double target, double *below)
{
    uint32_t found = 0, found_mask = 0;
    *below = 0.0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        double mass[256] = {0};
        uint32_t digit = 0;
        for (int64_t i = 0; i < s->n; i++)
            if ((s->key[i] & found_mask) == found)
                mass[s->key[i] >> shift & 255] += weight ? (double)weight[i] : 1.0;
        while (digit < 255 && *below + mass[digit] < target)
            *below += mass[digit++];
        found |= digit << shift;
        found_mask |= (uint32_t)255 << shift;
    }
    return found;
}

/* Keep the candidates with keys below last, and of those with this key the first n_last. */
static void keep(rk_sampler *s, uint32_t last, int64_t n_last)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        if (s->key[i] > last || (s->key[i] == last && n_last-- <= 0))
            continue;
        s->id[n] = s->id[i];
        s->p[n++] = s->p[i];
    }
    s->n = n;
}

/* The most probable tokens come first. */
static void key_by_probability(rk_sampler *s)
{
    for (int64_t i = 0; i < s->n; i++)
        s->key[i] = ~ordered_bits(s->p[i]);
}

/* The candidates of the lowest keys that hold mass together, and all that tie with the last of
 * them; where mass is 0 one candidate, which has no ties. */
static void keep_mass(rk_sampler *s, double mass)
{
    double below;
    const uint32_t last = select_key(s, s->p, fmax(mass, DBL_TRUE_MIN), &below);
    keep(s, last, mass > 0.0 ? s->n : 1);
}

/* The most probable tokens that hold top_p together. */
static void keep_top_p(rk_sampler *s)
{
    key_by_probability(s);
    keep_mass(s, (double)s->params.top_p);
}

static void keep_top_k(rk_sampler *s)
{
    const int64_t k = s->params.top_k;
    double below;
    key_by_probability(s);
    const uint32_t last = select_key(s, NULL, (double)k, &below);
    keep(s, last, k - (int64_t)below);
}

static float highest_p(const rk_sampler *s)
{
    float highest = 0.0f;
    for (int64_t i = 0; i < s->n; i++)
        highest = fmaxf(highest, s->p[i]);
    return highest;
}

static void keep_min_p(rk_sampler *s)
{
    const float least = s->params.min_p * highest_p(s);
    for (int64_t i = 0; i < s->n; i++)
        s->key[i] = s->p[i] < least;
    keep(s, 0, s->n);
}

/* The tokens whose surprise -log p is nearest to its mean, the entropy, until they hold typical_p
 * of the mass that is left (Meister et al., "Locally typical sampling", arXiv 2202.00666). */
static void keep_typical(rk_sampler *s)
{
    double mass = 0.0, entropy = 0.0;
    for (int64_t i = 0; i < s->n; i++)
        mass += (double)s->p[i];
    for (int64_t i = 0; i < s->n; i++)
        if (s->p[i] > 0.0f)
            entropy -= (double)s->p[i] / mass * log((double)s->p[i] / mass);
    for (int64_t i = 0; i < s->n; i++)
        s->key[i] = ordered_bits((float)fabs(log((double)s->p[i] / mass) + entropy));
    keep_mass(s, (double)s->params.typical_p * mass);
}

static void filter(rk_sampler *s)
{
    const rk_sampler_params *p = &s->params;
    if (p->top_p < 1.0f)
        keep_top_p(s);
    if (p->top_k > 0 && p->top_k < s->n)
        keep_top_k(s);
    if (p->min_p > 0.0f)
        keep_min_p(s);
    if (p->typical_p < 1.0f)
        keep_typical(s);
}

/* --------------------------------------------------------------------------------------- draw */

/* Weights p^(1/temp), of which the highest is 1: low temperatures do not make all of them 0. */
static void temper(rk_sampler *s)
{
    const float highest = highest_p(s), power = 1.0f / s->params.temp;
    if (s->params.temp == 1.0f)
        return;
    for (int64_t i = 0; i < s->n; i++)
        s->p[i] = powf(s->p[i] / highest, power);
}

static double total_weight(const rk_sampler *s)
{
    double total = 0.0;
    for (int64_t i = 0; i < s->n; i++)
        total += (double)s->p[i];
    return total;
}

/* What the random numbers of a step are for. */
typedef enum draw_purpose {
    DRAW_TOKEN,   /* without speculation */
    DRAW_GUESS,   /* of a draft's token */
    DRAW_VERDICT, /* whether a draft token is accepted */
    DRAW_INSTEAD, /* of the token that replaces a rejected one */
} draw_purpose;

static double uniform(const rk_sampler *s, draw_purpose purpose)
{
    return rk_rng_f64(s->params.seed, RK_RNG_SAMPLE, s->step, purpose);
}

static int32_t draw(const rk_sampler *s, draw_purpose purpose)
{
    const double x = total_weight(s) * uniform(s, purpose);
    double sum = (double)s->p[0];
    int64_t i = 0;
    while (x >= sum && i + 1 < s->n)
        sum += (double)s->p[++i];
    return s->id[i]; /* its weight is above 0, because it lifted sum above x */
}

static void note(rk_sampler *s, int32_t token)
{
    for (int64_t i = 0; i < s->n_seen; i++)
        s->count[s->seen[i]] *= s->params.penalty_decay;
    if (!s->is_seen[token])
        s->seen[s->n_seen++] = token;
    s->is_seen[token] = 1;
    s->count[token] += s->uncounted[token] ? 0.0f : 1.0f;
    s->step++;
}

/* Candidates and their weights; at temperature 0 there is one candidate. */
static rk_status weigh(rk_sampler *s, const float *logits, rk_error *err)
{
    const bool greedy = s->params.temp == 0.0f;
    int32_t best = 0;
    add_bias(s, logits);
    if (!greedy)
        subtract_penalties(s);
    const rk_status st = find_highest(s, &best, err);
    if (st != RK_OK)
        return st;
    if (greedy) {
        s->n = 1;
        s->id[0] = best;
        s->p[0] = 1.0f;
        return RK_OK;
    }
    softmax(s, s->p[best]);
    filter(s);
    temper(s);
    return RK_OK;
}

rk_status rk_sampler_next(rk_sampler *s, const float *logits, int32_t *token, rk_error *err)
{
    const rk_status st = weigh(s, logits, err);
    if (st != RK_OK)
        return st;
    *token = draw(s, DRAW_TOKEN);
    note(s, *token);
    return RK_OK;
}

/* -------------------------------------------------------------------------------- speculation */

rk_status rk_sampler_guess(rk_sampler *s, const float *logits, rk_guess *guess, rk_error *err)
{
    const rk_status st = weigh(s, logits, err);
    if (st != RK_OK)
        return st;
    guess->token = draw(s, DRAW_GUESS);
    guess->n = s->n;
    guess->total = total_weight(s);
    memcpy(guess->id, s->id, (size_t)s->n * sizeof *s->id);
    memcpy(guess->weight, s->p, (size_t)s->n * sizeof *s->p);
    note(s, guess->token);
    return RK_OK;
}

static double weight_of(int64_t n, const int32_t *id, const float *weight, int32_t token)
{
    for (int64_t i = 0; i < n; i++)
        if (id[i] == token)
            return (double)weight[i];
    return 0.0;
}

/* Whether the draft token is accepted: with probability min(1, p / q). */
static bool accepts(const rk_sampler *s, const rk_guess *g)
{
    const double p = weight_of(s->n, s->id, s->p, g->token) / total_weight(s);
    const double q = weight_of(g->n, g->id, g->weight, g->token) / g->total;
    return uniform(s, DRAW_VERDICT) * q < p;
}

/* The candidates become those with p > q, with weight p - q. */
static void subtract_guess(rk_sampler *s, const rk_guess *g)
{
    const double total = total_weight(s);
    int64_t n = 0;
    for (int64_t i = 0, j = 0; i < s->n; i++) {
        while (j < g->n && g->id[j] < s->id[i])
            j++;
        const bool both = j < g->n && g->id[j] == s->id[i];
        const double q = both ? (double)g->weight[j] / g->total : 0.0;
        const float more = (float)((double)s->p[i] / total - q);
        if (more > 0.0f) {
            s->id[n] = s->id[i];
            s->p[n++] = more;
        }
    }
    s->n = n;
}

rk_status rk_sampler_judge(rk_sampler *s, const float *logits, const rk_guess *guess,
                           int32_t *token, rk_error *err)
{
    const rk_status st = weigh(s, logits, err);
    if (st != RK_OK)
        return st;
    *token = guess->token;
    if (!accepts(s, guess)) {
        subtract_guess(s, guess);
        if (s->n > 0) /* else p and q differ by rounding only */
            *token = draw(s, DRAW_INSTEAD);
    }
    note(s, *token);
    return RK_OK;
}
