/* addition.c: "47+85=132;" in decimal digits, the first foremost. */
#include "base/num.h"
#include "train/synthetic/synthetic.h"

enum { DIGITS, PROBLEMS };
enum { PLUS = 10, EQUALS, NEWLINE, N_VOCAB };
enum { DIGITS_MAX = 18 };

static const rk_syn_param params[] = {
    [DIGITS] = {"digits", 2, 1, DIGITS_MAX, NULL, false, "digits of the longest number"},
    [PROBLEMS] = {"problems", 1, 1, 1 << 14, NULL, false, "sums of a sample"},
};

static rk_status settle(rk_synthetic *s, rk_error *err)
{
    (void)err;
    /* a + b = c and an end, of which the last sum's is only asked for */
    s->n_tokens = rk_syn_int(s, PROBLEMS) * (3 * rk_syn_int(s, DIGITS) + 4) - 1;
    s->n_vocab = N_VOCAB;
    return RK_OK;
}

static void push_decimal(const rk_synthetic *s, rk_syn_sample *x, int64_t *at, int64_t number,
                         bool asked)
{
    int64_t unit = 1;
    while (number / unit >= 10)
        unit *= 10;
    for (; unit > 0; unit /= 10)
        rk_syn_push(s, x, at, (int32_t)(number / unit % 10), asked);
}

/* Uniform below 10^digits, a digit at a time. */
static int64_t draw_number(rk_draws *d, int64_t digits)
{
    int64_t number = 0;
    for (int64_t i = 0; i < digits; i++)
        number = 10 * number + rk_draw_below(d, 10);
    return number;
}

static void fill(const rk_synthetic *s, rk_syn_sample *x)
{
    int64_t at = 0;
    for (int64_t i = 0; i < rk_syn_int(s, PROBLEMS); i++) {
        const int64_t a = draw_number(&x->draws, rk_syn_int(s, DIGITS));
        const int64_t b = draw_number(&x->draws, rk_syn_int(s, DIGITS));
        push_decimal(s, x, &at, a, false);
        rk_syn_push(s, x, &at, PLUS, false);
        push_decimal(s, x, &at, b, false);
        rk_syn_push(s, x, &at, EQUALS, false);
        push_decimal(s, x, &at, a + b, true);
        rk_syn_push(s, x, &at, NEWLINE, true);
    }
    while (at < s->n_tokens)
        rk_syn_push(s, x, &at, NEWLINE, false);
}

static void put_sign(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    (void)s;
    rk_buf_add(out, &"0123456789+=;"[id], 1);
}

const rk_generator rk_gen_addition = {.summary = "sums of two decimal numbers",
                                      .params = params,
                                      .n_params = RK_COUNT(params),
                                      .next = true,
                                      .settle = settle,
                                      .fill = fill,
                                      .put = put_sign};
