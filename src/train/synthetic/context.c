/* context.c: what is to be done follows from what was read: classes shown by an example each, one of
 * many fixed permutations, the topics of blocks of text. */
#include "base/num.h"
#include "train/synthetic/synthetic.h"

/* ---- classify: prototypes with labels, then noisy copies of them ---- */

enum { CLASSES, BITS, FLIP, QUERIES };

static const rk_syn_param classify_params[] = {
    [CLASSES] = {"classes", 8, 2, 1024, NULL, false, "prototypes of a sample, and labels"},
    [BITS] = {"bits", 16, 1, 1024, NULL, false, "bits of a prototype"},
    [FLIP] = {"flip", 0.1, 0, 1, NULL, true, "chance of each bit of a copy to be wrong"},
    [QUERIES] = {"queries", 8, 1, 4096, NULL, false,
                 "noisy copies of a sample, which are its questions"},
};

/* Tokens: the bits, the question, the labels. */
enum { QUESTION = 2, FIRST_LABEL };

static rk_status settle_classify(rk_synthetic *s, rk_error *err)
{
    (void)err;
    const int64_t classes = rk_syn_int(s, CLASSES), bits = rk_syn_int(s, BITS);
    s->n_tokens = (classes + rk_syn_int(s, QUERIES)) * (bits + 1);
    s->n_vocab = FIRST_LABEL + classes;
    s->n_scratch = classes;
    return RK_OK;
}

/* The prototypes stay where the window shows them. */
static void fill_classify(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t classes = rk_syn_int(s, CLASSES), bits = rk_syn_int(s, BITS);
    int32_t *labels = x->scratch, *at = x->ids;
    rk_draw_permutation(&x->draws, classes, labels);
    for (int64_t c = 0; c < classes; c++) {
        for (int64_t i = 0; i < bits; i++)
            *at++ = rk_draw_below(&x->draws, 2);
        *at++ = FIRST_LABEL + labels[c];
    }
    for (int64_t q = 0; q < rk_syn_int(s, QUERIES); q++) {
        const int32_t c = rk_draw_below(&x->draws, classes);
        const int32_t *prototype = x->ids + c * (bits + 1);
        for (int64_t i = 0; i < bits; i++)
            *at++ = prototype[i] ^ (rk_draw_real(&x->draws) < s->values[FLIP]);
        *at = QUESTION;
        rk_syn_ask(x, at++ - x->ids, FIRST_LABEL + labels[c], 0);
    }
}

static void put_classify(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    (void)s;
    if (id < FIRST_LABEL)
        rk_buf_add(out, &"01?"[id], 1);
    else
        rk_buf_printf(out, "c%d", id - FIRST_LABEL);
}

const rk_generator rk_gen_classify = {
    .summary = "noisy copies of prototypes, by the labels that they were shown with",
    .params = classify_params,
    .n_params = RK_COUNT(classify_params),
    .settle = settle_classify,
    .fill = fill_classify,
    .put = put_classify};

/* ---- switched: the first token says which of the fixed permutations is applied ---- */

enum { LENGTH, SYMBOLS, MAPS, FIRST_MAP, SELECTORS, MAP_SEED };

static const rk_syn_param switched_params[] = {
    [LENGTH] = {"length", 16, 1, RK_SYN_TOKENS_MAX - 1, NULL, false, "symbols of a sample"},
    [SYMBOLS] = {"symbols", 16, 2, 4096, NULL, false, "different symbols"},
    [MAPS] = {"maps", 64, 1, 1 << 16, NULL, false, "permutations that a sample may name"},
    [FIRST_MAP] = {"first-map", 0, 0, 1 << 16, NULL, false, "number of the first of --maps"},
    [SELECTORS] = {"selectors", 64, 1, 1 << 17, NULL, false,
                   "permutations that the vocabulary has a token for"},
    [MAP_SEED] = {"map-seed", 1, 0, 1e15, NULL, false,
                  "of the permutations or distributions, which no sample changes"},
};

static rk_status settle_switched(rk_synthetic *s, rk_error *err)
{
    const int64_t end = rk_syn_int(s, FIRST_MAP) + rk_syn_int(s, MAPS);
    s->n_tokens = 1 + rk_syn_int(s, LENGTH);
    s->n_vocab = rk_syn_int(s, SYMBOLS) + rk_syn_int(s, SELECTORS);
    s->n_scratch = rk_syn_int(s, SYMBOLS);
    if (end > rk_syn_int(s, SELECTORS))
        return rk_fail(err, RK_ERR_ARG,
                       "--selectors is %lld, expected at least %lld, the last of "
                       "--maps behind --first-map",
                       (long long)rk_syn_int(s, SELECTORS), (long long)end);
    return RK_OK;
}

static void fill_switched(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t n = rk_syn_int(s, SYMBOLS);
    const int64_t map = rk_syn_int(s, FIRST_MAP) + rk_draw_below(&x->draws, rk_syn_int(s, MAPS));
    rk_draws fixed = rk_syn_fixed((uint64_t)rk_syn_int(s, MAP_SEED), (uint64_t)map);
    rk_draw_permutation(&fixed, n, x->scratch);
    x->ids[0] = (int32_t)(n + map);
    for (int64_t t = 1; t < s->n_tokens; t++) {
        x->ids[t] = rk_draw_below(&x->draws, n);
        rk_syn_ask(x, t, x->scratch[x->ids[t]], 0);
    }
}

static void put_switched(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    const int64_t selector = id - rk_syn_int(s, SYMBOLS);
    if (selector < 0)
        rk_buf_printf(out, "%d", id);
    else
        rk_buf_printf(out, "f%d", (int)selector);
}

const rk_generator rk_gen_switched = {.summary = "apply the permutation that the first token names",
                                      .params = switched_params,
                                      .n_params = RK_COUNT(switched_params),
                                      .settle = settle_switched,
                                      .fill = fill_switched,
                                      .put = put_switched};

/* ---- topic: blocks of text, each of one topic; which one led so far, and which a block had ---- */

enum { BLOCKS, BLOCK_LEN, TOPICS, ACTIVE, WORDS, TOPIC_QUERIES, TOPIC_SEED };
enum { MAJORITY, BLOCK };

static const rk_syn_param topic_params[] = {
    [BLOCKS] = {"blocks", 16, 1, 1 << 14, NULL, false, "blocks of a sample"},
    [BLOCK_LEN] = {"block-len", 16, 1, 1 << 14, NULL, false, "words of a block"},
    [TOPICS] = {"topics", 16, 2, 4096, NULL, false, "distributions of words"},
    [ACTIVE] = {"active", 4, 1, 4096, NULL, false, "topics of a sample, at most"},
    [WORDS] = {"words", 64, 2, 4096, NULL, false, "different words"},
    [TOPIC_QUERIES] = {"queries", 4, 0, 1 << 14, NULL, false, "questions about single blocks"},
    [TOPIC_SEED] = {"map-seed", 1, 0, 1e15, NULL, false,
                    "of the permutations or distributions, which no sample changes"},
};

/* Tokens: words, topics, numbers of blocks, the question about the majority. */
static int32_t first_topic(const rk_synthetic *s)
{
    return (int32_t)rk_syn_int(s, WORDS);
}
static int32_t first_block(const rk_synthetic *s)
{
    return first_topic(s) + (int32_t)rk_syn_int(s, TOPICS);
}

static rk_status settle_topic(rk_synthetic *s, rk_error *err)
{
    const int64_t blocks = rk_syn_int(s, BLOCKS), topics = rk_syn_int(s, TOPICS);
    s->n_tokens = blocks * (rk_syn_int(s, BLOCK_LEN) + 1) + rk_syn_int(s, TOPIC_QUERIES);
    s->n_vocab = first_block(s) + blocks + 1;
    s->n_scratch = rk_syn_int(s, WORDS) + 2 * topics + blocks;
    return rk_syn_expect_order(s, ACTIVE, TOPICS, err);
}

/* The number of a word by Zipf's law: the r-th comes in proportion to 1 / r. */
static int64_t draw_rank(rk_draws *d, int64_t n)
{
    double sum = 0.0;
    for (int64_t r = 1; r <= n; r++)
        sum += 1.0 / (double)r;
    double at = sum * rk_draw_real(d);
    int64_t r = 0;
    while (r < n - 1 && (at -= 1.0 / (double)(r + 1)) >= 0.0)
        r++;
    return r;
}

/* The topic of more blocks than any other; -1: there are several. */
static int32_t leader(int64_t n, const int32_t *counts)
{
    int32_t best = 0;
    int64_t n_best = 0;
    for (int32_t i = 1; i < n; i++)
        best = counts[i] > counts[best] ? i : best;
    for (int64_t i = 0; i < n; i++)
        n_best += counts[i] == counts[best];
    return n_best == 1 ? best : -1;
}

/* A topic ranks the words in an order of its own. */
static void put_block(const rk_synthetic *s, rk_syn_sample *x, int32_t topic, int64_t *at)
{
    const int64_t words = rk_syn_int(s, WORDS);
    rk_draws fixed = rk_syn_fixed((uint64_t)rk_syn_int(s, TOPIC_SEED), (uint64_t)topic);
    int32_t *ranked = x->scratch;
    rk_draw_permutation(&fixed, words, ranked);
    for (int64_t i = 0; i < rk_syn_int(s, BLOCK_LEN); i++)
        x->ids[(*at)++] = ranked[draw_rank(&x->draws, words)];
}

static void fill_topic(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t blocks = rk_syn_int(s, BLOCKS), topics = rk_syn_int(s, TOPICS);
    const int64_t active = rk_syn_int(s, ACTIVE);
    int32_t *some = x->scratch + rk_syn_int(s, WORDS), *counts = some + topics;
    int32_t *topic_of = counts + topics;
    int64_t at = 0;
    rk_draw_distinct(&x->draws, topics, active, some);
    for (int64_t i = 0; i < topics; i++)
        counts[i] = 0;
    for (int64_t b = 0; b < blocks; b++) {
        topic_of[b] = some[rk_draw_below(&x->draws, active)];
        counts[topic_of[b]]++;
        put_block(s, x, topic_of[b], &at);
        x->ids[at] = first_block(s) + (int32_t)blocks;
        const int32_t led = leader(topics, counts);
        if (led >= 0)
            rk_syn_ask(x, at, first_topic(s) + led, MAJORITY);
        at++;
    }
    for (int64_t q = 0; q < rk_syn_int(s, TOPIC_QUERIES); q++, at++) {
        const int32_t b = rk_draw_below(&x->draws, blocks);
        x->ids[at] = first_block(s) + b;
        rk_syn_ask(x, at, first_topic(s) + topic_of[b], BLOCK);
    }
}

static void put_topic(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    const int32_t block = id - first_block(s);
    if (id < first_topic(s))
        rk_buf_printf(out, "%d", id);
    else if (block < 0)
        rk_buf_printf(out, "t%d", id - first_topic(s));
    else if (block < rk_syn_int(s, BLOCKS))
        rk_buf_printf(out, "b%d?", block);
    else
        rk_buf_puts(out, "most?");
}

const rk_generator rk_gen_topic = {.summary =
                                       "the topic of most blocks so far, and of single blocks",
                                   .params = topic_params,
                                   .n_params = RK_COUNT(topic_params),
                                   .settle = settle_topic,
                                   .fill = fill_topic,
                                   .put = put_topic,
                                   .kinds = {[MAJORITY] = "majority", [BLOCK] = "block"}};
