/* strings.c: a string, a separator, and the string again, in order, backwards or sorted; a symbol that
 * is to be kept for long.
 *
 * Copy as in "Repeat after me" (arXiv 2402.01032); reverse as in BlinkDL/RWKV-LM's small training demo
 * of RWKV-7, whose windows hold as many numbers as fit. */
#include "base/num.h"
#include "train/synthetic/synthetic.h"

#define LENGTH_MIN_HELP "lengths are drawn from this to the longest; 0: all are the longest"

/* ---- copy, sort ---- */

enum { LENGTH, MIN_LENGTH, SYMBOLS };

static const rk_syn_param string_params[] = {
    [LENGTH] = {"length", 32, 1, RK_SYN_TOKENS_MAX / 2, NULL, false,
                "symbols of a string, at most"},
    [MIN_LENGTH] = {"min-length", 0, 0, RK_SYN_TOKENS_MAX / 2, NULL, false, LENGTH_MIN_HELP},
    [SYMBOLS] = {"symbols", 64, 2, 1 << 16, NULL, false, "different symbols"},
};

static rk_status settle_string(rk_synthetic *s, rk_error *err)
{
    s->n_tokens = 2 * rk_syn_int(s, LENGTH); /* the last symbol is only asked for */
    s->n_vocab = rk_syn_int(s, SYMBOLS) + 1;
    s->n_scratch = rk_syn_int(s, LENGTH);
    return rk_syn_expect_order(s, MIN_LENGTH, LENGTH, err);
}

static void put_symbol(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    if (id == rk_syn_int(s, SYMBOLS))
        rk_buf_puts(out, "|");
    else
        rk_buf_printf(out, "%d", id);
}

static void sort(int64_t n, int32_t *x)
{
    for (int64_t i = 1; i < n; i++) {
        const int32_t keep = x[i];
        int64_t j = i;
        for (; j > 0 && x[j - 1] > keep; j--)
            x[j] = x[j - 1];
        x[j] = keep;
    }
}

static void fill_string(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t n = rk_syn_length(s, MIN_LENGTH, LENGTH, &x->draws);
    const int32_t n_symbols = (int32_t)rk_syn_int(s, SYMBOLS);
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        x->scratch[i] = rk_draw_below(&x->draws, n_symbols);
        rk_syn_push(s, x, &at, x->scratch[i], false);
    }
    rk_syn_push(s, x, &at, n_symbols, false);
    if (s->gen == &rk_gen_sort)
        sort(n, x->scratch);
    for (int64_t i = 0; i < n; i++)
        rk_syn_push(s, x, &at, x->scratch[i], true);
}

const rk_generator rk_gen_copy = {.summary = "repeat a string of random symbols",
                                  .params = string_params,
                                  .n_params = RK_COUNT(string_params),
                                  .next = true,
                                  .settle = settle_string,
                                  .fill = fill_string,
                                  .put = put_symbol};
const rk_generator rk_gen_sort = {.summary = "repeat random symbols in ascending order",
                                  .params = string_params,
                                  .n_params = RK_COUNT(string_params),
                                  .next = true,
                                  .settle = settle_string,
                                  .fill = fill_string,
                                  .put = put_symbol};

/* ---- reverse ---- */

enum { REV_SEQ_LEN, REV_DIGITS, REV_TARGETS };
enum { TARGETS_ALL, TARGETS_ANSWERS };
enum { COMMA = 10, END, REV_VOCAB };

static const rk_syn_param reverse_params[] = {
    [REV_SEQ_LEN] = {"seq-len", 128, 4, RK_SYN_TOKENS_MAX, NULL, false, "tokens of a sample"},
    [REV_DIGITS] = {"digits", 60, 1, RK_SYN_TOKENS_MAX / 2, NULL, false,
                    "digits of the longest number"},
    [REV_TARGETS] = {"targets", TARGETS_ALL, TARGETS_ALL, TARGETS_ANSWERS, "all|answers", false,
                     "what is learned: every next token, or the reversed numbers"},
};

static rk_status settle_reverse(rk_synthetic *s, rk_error *err)
{
    const int64_t digits = rk_syn_int(s, REV_DIGITS);
    s->n_tokens = rk_syn_int(s, REV_SEQ_LEN);
    s->n_vocab = REV_VOCAB;
    s->n_scratch = digits;
    if (2 * digits + 1 > s->n_tokens)
        return rk_fail(err, RK_ERR_ARG,
                       "--seq-len is %lld, expected at least %lld for --digits %lld",
                       (long long)s->n_tokens, (long long)(2 * digits + 1), (long long)digits);
    return RK_OK;
}

/* A number of n digits, whose first is not 0 unless it is the only one, and its reverse. */
static void push_number(const rk_synthetic *s, rk_syn_sample *x, int64_t *at, int64_t n, bool all)
{
    for (int64_t i = 0; i < n; i++) {
        const int first = i == 0 && n > 1;
        x->scratch[i] = first + rk_draw_below(&x->draws, 10 - first);
        rk_syn_push(s, x, at, x->scratch[i], all);
    }
    rk_syn_push(s, x, at, COMMA, all);
    for (int64_t i = n - 1; i >= 0; i--)
        rk_syn_push(s, x, at, x->scratch[i], true);
    rk_syn_push(s, x, at, END, true);
}

/* A window for training is full of numbers of random lengths. One that measures holds a single number;
 * their lengths follow each other, so that as many are as long as each. */
static void fill_reverse(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t digits = rk_syn_int(s, REV_DIGITS);
    int64_t at = 0;
    if (x->stream != RK_SYN_TRAIN) {
        push_number(s, x, &at, 1 + (int64_t)(x->index % (uint64_t)digits), false);
        while (at < s->n_tokens)
            rk_syn_push(s, x, &at, END, false);
        return;
    }
    while (at <= s->n_tokens)
        push_number(s, x, &at, rk_draw_between(&x->draws, 1, digits),
                    rk_syn_int(s, REV_TARGETS) == TARGETS_ALL);
}

static void put_digit(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    (void)s;
    rk_buf_add(out, &"0123456789,#"[id], 1);
}

const rk_generator rk_gen_reverse = {.summary = "decimal numbers, each followed by its reverse",
                                     .params = reverse_params,
                                     .n_params = RK_COUNT(reverse_params),
                                     .next = true,
                                     .settle = settle_reverse,
                                     .fill = fill_reverse,
                                     .put = put_digit};

/* ---- longbit ---- */

enum { BIT_DISTANCE, BIT_MIN_DISTANCE, BIT_SYMBOLS };

static const rk_syn_param longbit_params[] = {
    [BIT_DISTANCE] = {"distance", 128, 1, RK_SYN_TOKENS_MAX - 2, NULL, false,
                      "fillers between the symbol and its question, at most"},
    [BIT_MIN_DISTANCE] = {"min-distance", 0, 0, RK_SYN_TOKENS_MAX - 2, NULL, false,
                          "distances are drawn from this to the longest; 0: all are the longest"},
    [BIT_SYMBOLS] = {"symbols", 16, 2, 1 << 16, NULL, false, "different symbols"},
};

static rk_status settle_longbit(rk_synthetic *s, rk_error *err)
{
    s->n_tokens = rk_syn_int(s, BIT_DISTANCE) + 2;
    s->n_vocab = rk_syn_int(s, BIT_SYMBOLS) + 2; /* a filler, a question */
    return rk_syn_expect_order(s, BIT_MIN_DISTANCE, BIT_DISTANCE, err);
}

static void fill_longbit(const rk_synthetic *s, rk_syn_sample *x)
{
    const int32_t n_symbols = (int32_t)rk_syn_int(s, BIT_SYMBOLS);
    const int64_t distance = rk_syn_length(s, BIT_MIN_DISTANCE, BIT_DISTANCE, &x->draws);
    const int32_t symbol = rk_draw_below(&x->draws, n_symbols);
    int64_t at = 0;
    rk_syn_push(s, x, &at, symbol, false);
    while (at <= distance)
        rk_syn_push(s, x, &at, n_symbols, false);
    rk_syn_push(s, x, &at, n_symbols + 1, false);
    rk_syn_push(s, x, &at, symbol, true);
    while (at < s->n_tokens)
        rk_syn_push(s, x, &at, n_symbols, false);
}

static void put_longbit(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    const int32_t extra = id - (int32_t)rk_syn_int(s, BIT_SYMBOLS);
    if (extra < 0)
        rk_buf_printf(out, "%d", id);
    else
        rk_buf_puts(out, extra == 0 ? "-" : "?");
}

const rk_generator rk_gen_longbit = {.summary = "say the first symbol after a long filler",
                                     .params = longbit_params,
                                     .n_params = RK_COUNT(longbit_params),
                                     .next = true,
                                     .settle = settle_longbit,
                                     .fill = fill_longbit,
                                     .put = put_longbit};
