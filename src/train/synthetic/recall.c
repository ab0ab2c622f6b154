/* recall.c: keys and values that come first, and questions for them.
 *
 * mqar: multi-query associative recall of Arora et al., "Zoology", arXiv 2312.04927: questions stand
 * where a power law of gaps puts them, and the value is not shown after them. mqar-filler: each value
 * follows its question, a filler between them. */
#include <math.h>

#include "base/num.h"
#include "train/synthetic/synthetic.h"

/* ---- mqar ---- */

enum { SEQ_LEN, PAIRS, VOCAB_SIZE, POWER, BETWEEN };
enum { BETWEEN_RANDOM, BETWEEN_FILLER };

static const rk_syn_param mqar_params[] = {
    [SEQ_LEN] = {"seq-len", 64, 4, RK_SYN_TOKENS_MAX, NULL, false, "tokens of a sample"},
    [PAIRS] = {"pairs", 4, 1, 1 << 16, NULL, false, "keys with a value"},
    [VOCAB_SIZE] = {"vocab-size", 8192, 8, 1 << 20, NULL, false,
                    "tokens: 0, keys, and from the half on values"},
    [POWER] = {"power", 0.01, 1e-6, 1, NULL, true,
               "weight of a gap g between values and questions is g^(power - 1)"},
    [BETWEEN] = {"between", BETWEEN_RANDOM, BETWEEN_RANDOM, BETWEEN_FILLER, "random|filler", false,
                 "what stands between questions: any tokens, or token 0"},
};

static rk_status expect_even(const rk_synthetic *s, rk_error *err)
{
    const int64_t tokens = rk_syn_int(s, SEQ_LEN), pairs = rk_syn_int(s, PAIRS);
    if (tokens % 2 != 0 || tokens < 4 * pairs)
        return rk_fail(err, RK_ERR_ARG,
                       "--seq-len is %lld, expected an even number from %lld on for --pairs %lld",
                       (long long)tokens, (long long)(4 * pairs), (long long)pairs);
    return RK_OK;
}

/* Keys, values, and where the questions stand. */
static rk_status settle_mqar(rk_synthetic *s, rk_error *err)
{
    const int64_t vocab = rk_syn_int(s, VOCAB_SIZE), pairs = rk_syn_int(s, PAIRS);
    s->n_tokens = rk_syn_int(s, SEQ_LEN);
    s->n_vocab = vocab;
    s->n_scratch = 3 * pairs;
    if (pairs > vocab / 2 - 1)
        return rk_fail(err, RK_ERR_ARG,
                       "--pairs is %lld, expected at most %lld for --vocab-size %lld",
                       (long long)pairs, (long long)(vocab / 2 - 1), (long long)vocab);
    return expect_even(s, err);
}

static bool is_among(int32_t x, int64_t n, const int32_t *list)
{
    for (int64_t i = 0; i < n; i++)
        if (list[i] == x)
            return true;
    return false;
}

static double gap_weight(const rk_synthetic *s, int64_t gap)
{
    return pow((double)gap + 1.0, s->values[POWER] - 1.0);
}

/* k different gaps of [0, n), each drawn in proportion to its weight among those that are left. */
static void draw_gaps(const rk_synthetic *s, rk_draws *d, int64_t n, int64_t k, int32_t *gaps)
{
    double left = 0.0;
    for (int64_t g = 0; g < n; g++)
        left += gap_weight(s, g);
    for (int64_t i = 0; i < k; i++) {
        double at = left * rk_draw_real(d);
        int64_t last = 0;
        for (int64_t g = 0; g < n; g++) {
            if (is_among((int32_t)g, i, gaps))
                continue;
            last = g;
            at -= gap_weight(s, g);
            if (at < 0.0)
                break;
        }
        gaps[i] = (int32_t)last;
        left -= gap_weight(s, last);
    }
}

static void fill_mqar(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t pairs = rk_syn_int(s, PAIRS), half = s->n_vocab / 2, first = 2 * pairs;
    int32_t *keys = x->scratch, *values = keys + pairs, *gaps = values + pairs;
    rk_draw_distinct(&x->draws, half - 1, pairs, keys);
    rk_draw_distinct(&x->draws, s->n_vocab - half, pairs, values);
    draw_gaps(s, &x->draws, (s->n_tokens - first) / 2, pairs, gaps);
    for (int64_t t = first; t < s->n_tokens && rk_syn_int(s, BETWEEN) == BETWEEN_RANDOM; t++)
        x->ids[t] = rk_draw_below(&x->draws, s->n_vocab);
    for (int64_t i = 0; i < pairs; i++) {
        const int32_t key = 1 + keys[i], value = (int32_t)half + values[i];
        const int64_t at = first + 2 * gaps[i];
        x->ids[2 * i] = x->ids[at] = key;
        x->ids[2 * i + 1] = value;
        rk_syn_ask(x, at, value, 0);
    }
}

static void put_pair(int32_t id, int64_t first_value, rk_buf *out)
{
    if (id == 0)
        rk_buf_puts(out, "-");
    else if (id < first_value)
        rk_buf_printf(out, "k%d", id);
    else
        rk_buf_printf(out, "v%d", (int)(id - first_value));
}

static void put_mqar(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    put_pair(id, s->n_vocab / 2, out);
}

const rk_generator rk_gen_mqar = {.summary = "multi-query associative recall, as zoology has it",
                                  .params = mqar_params,
                                  .n_params = RK_COUNT(mqar_params),
                                  .settle = settle_mqar,
                                  .fill = fill_mqar,
                                  .put = put_mqar};

/* ---- mqar-filler ---- */

enum { KEYS = PAIRS + 1, VALUES, MIN_LEN, MIN_PAIRS };

static const rk_syn_param filler_params[] = {
    [SEQ_LEN] = {"seq-len", 64, 4, RK_SYN_TOKENS_MAX, NULL, false, "tokens of a sample"},
    [PAIRS] = {"pairs", 4, 1, 1 << 16, NULL, false, "keys with a value"},
    [KEYS] = {"keys", 4096, 1, 1 << 20, NULL, false, "different keys"},
    [VALUES] = {"values", 4096, 2, 1 << 20, NULL, false, "different values"},
    [MIN_LEN] = {"min-len", 0, 0, RK_SYN_TOKENS_MAX, NULL, false,
                 "lengths are drawn from this to the longest; 0: all are the longest"},
    [MIN_PAIRS] = {"min-pairs", 0, 0, 1 << 16, NULL, false,
                   "numbers of pairs are drawn from this to the largest; 0: all are the largest"},
};

static rk_status expect_keys(const rk_synthetic *s, rk_error *err)
{
    const int64_t pairs = rk_syn_int(s, PAIRS), keys = rk_syn_int(s, KEYS);
    if (pairs > keys)
        return rk_fail(err, RK_ERR_ARG, "--pairs is %lld, expected at most --keys, %lld",
                       (long long)pairs, (long long)keys);
    return RK_OK;
}

static rk_status settle_filler(rk_synthetic *s, rk_error *err)
{
    s->n_tokens = rk_syn_int(s, SEQ_LEN);
    s->n_vocab = 1 + rk_syn_int(s, KEYS) + rk_syn_int(s, VALUES);
    s->n_scratch = 2 * rk_syn_int(s, PAIRS);
    rk_status st = expect_keys(s, err);
    if (st == RK_OK)
        st = rk_syn_expect_order(s, MIN_LEN, SEQ_LEN, err);
    if (st == RK_OK)
        st = rk_syn_expect_order(s, MIN_PAIRS, PAIRS, err);
    return st == RK_OK ? expect_even(s, err) : st;
}

/* A length that has room for the pairs and their questions. */
static int64_t draw_length(const rk_synthetic *s, rk_draws *d, int64_t pairs)
{
    const int64_t min = rk_syn_int(s, MIN_LEN), max = s->n_tokens;
    return min > 0 ? rk_draw_between(d, rk_max_i64(min, 4 * pairs), max) : max;
}

static void fill_filler(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t pairs = rk_syn_length(s, MIN_PAIRS, PAIRS, &x->draws), first = 2 * pairs;
    const int64_t places_max = (draw_length(s, &x->draws, pairs) - first) / 2;
    const int64_t n_keys = rk_syn_int(s, KEYS);
    int32_t *keys = x->scratch, *places = keys + pairs;
    rk_draw_distinct(&x->draws, n_keys, pairs, keys);
    rk_draw_distinct(&x->draws, places_max, pairs, places);
    for (int64_t i = 0; i < pairs; i++) {
        const int32_t value = 1 + (int32_t)n_keys + rk_draw_below(&x->draws, rk_syn_int(s, VALUES));
        const int64_t at = first + 2 * places[i];
        x->ids[2 * i] = x->ids[at] = 1 + keys[i];
        x->ids[2 * i + 1] = x->ids[at + 1] = value;
        rk_syn_ask(x, at, value, 0);
    }
}

static void put_filler(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    put_pair(id, 1 + rk_syn_int(s, KEYS), out);
}

const rk_generator rk_gen_mqar_filler = {
    .summary = "the same with fillers, each value behind its question",
    .params = filler_params,
    .n_params = RK_COUNT(filler_params),
    .next = true,
    .settle = settle_filler,
    .fill = fill_filler,
    .put = put_filler};

/* ---- needle, retrieval: pairs somewhere in fillers, and one question at the end ---- */

enum { FILLERS = VALUES + 1 };

#define HAYSTACK(tokens, pairs, fillers)                                                           \
    {                                                                                              \
        [SEQ_LEN] = {"seq-len", tokens, 4, RK_SYN_TOKENS_MAX, NULL, false, "tokens of a sample"},  \
        [PAIRS] = {"pairs", pairs, 1, 1 << 16, NULL, false, "keys with a value"},                  \
        [KEYS] = {"keys", 64, 1, 1 << 20, NULL, false, "different keys"},                          \
        [VALUES] = {"values", 64, 2, 1 << 20, NULL, false, "different values"},                    \
        [FILLERS] = {                                                                              \
            "fillers", fillers, 1, 1 << 20, NULL, false, "different tokens around the pairs"},     \
    }

static const rk_syn_param needle_params[] = HAYSTACK(256, 1, 64);
static const rk_syn_param retrieval_params[] = HAYSTACK(256, 8, 1);

static rk_status settle_haystack(rk_synthetic *s, rk_error *err)
{
    const int64_t pairs = rk_syn_int(s, PAIRS);
    s->n_tokens = rk_syn_int(s, SEQ_LEN);
    s->n_vocab = 1 + rk_syn_int(s, KEYS) + rk_syn_int(s, VALUES) + rk_syn_int(s, FILLERS);
    s->n_scratch = 2 * pairs;
    if (s->n_tokens < 2 * pairs + 2)
        return rk_fail(err, RK_ERR_ARG,
                       "--seq-len is %lld, expected at least %lld for --pairs %lld",
                       (long long)s->n_tokens, (long long)(2 * pairs + 2), (long long)pairs);
    return expect_keys(s, err);
}

/* The window is cut into pairs of tokens from its end on; the last is the question. */
static void fill_haystack(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t pairs = rk_syn_int(s, PAIRS), n_keys = rk_syn_int(s, KEYS);
    const int64_t n_values = rk_syn_int(s, VALUES), end = s->n_tokens, odd = end % 2;
    int32_t *keys = x->scratch, *places = keys + pairs;
    for (int64_t t = 0; t < end; t++)
        x->ids[t] =
            (int32_t)(1 + n_keys + n_values) + rk_draw_below(&x->draws, rk_syn_int(s, FILLERS));
    rk_draw_distinct(&x->draws, n_keys, pairs, keys);
    rk_draw_distinct(&x->draws, end / 2 - 1, pairs, places);
    for (int64_t i = 0; i < pairs; i++) {
        x->ids[odd + 2 * places[i]] = 1 + keys[i];
        x->ids[odd + 2 * places[i] + 1] =
            (int32_t)(1 + n_keys) + rk_draw_below(&x->draws, n_values);
    }
    const int32_t asked = rk_draw_below(&x->draws, pairs);
    x->ids[end - 2] = 0;
    x->ids[end - 1] = 1 + keys[asked];
    rk_syn_ask(x, end - 1, x->ids[odd + 2 * places[asked] + 1], 0);
}

static void put_haystack(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    const int64_t filler = 1 + rk_syn_int(s, KEYS) + rk_syn_int(s, VALUES);
    if (id == 0)
        rk_buf_puts(out, "?");
    else if (id < filler)
        put_pair(id, 1 + rk_syn_int(s, KEYS), out);
    else
        rk_buf_printf(out, "%d", (int)(id - filler));
}

const rk_generator rk_gen_needle = {.summary = "one pair somewhere in random text",
                                    .params = needle_params,
                                    .n_params = RK_COUNT(needle_params),
                                    .next = true,
                                    .settle = settle_haystack,
                                    .fill = fill_haystack,
                                    .put = put_haystack};
const rk_generator rk_gen_retrieval = {.summary = "one of some pairs spread over a filler",
                                       .params = retrieval_params,
                                       .n_params = RK_COUNT(retrieval_params),
                                       .next = true,
                                       .settle = settle_haystack,
                                       .fill = fill_haystack,
                                       .put = put_haystack};
