/* groups.c: word problems of groups: after each element, the product of all so far.
 *
 * An element is a permutation of n points and its token its number in lexicographic order, among the
 * even ones where the group is alternating. The new element is applied last: P_t(i) = g_t(P_(t-1)(i)).
 * S3, A5 and S5 as in Merrill et al., arXiv 2404.08819; Z2 is parity. */
#include "base/num.h"
#include "train/synthetic/synthetic.h"

enum { POINTS_MAX = 5 };

typedef struct group {
    int64_t n_points, order;
    bool even; /* permutations only */
} group;

enum { SEQ_LEN, MIN_LEN, ELEMENTS };
enum { ALL, SWAPS, GENERATORS };
enum { EARLIER, LAST };

/* ---- permutations ---- */

static int64_t factorial(int64_t n)
{
    return n < 2 ? 1 : n * factorial(n - 1);
}

/* The permutation of this number in lexicographic order. */
static void unrank(int64_t n, int64_t rank, int *p)
{
    bool taken[POINTS_MAX] = {false};
    for (int64_t i = 0; i < n; i++) {
        const int64_t f = factorial(n - 1 - i);
        int64_t left = rank / f;
        int x = 0;
        while (taken[x] || left-- > 0)
            x++;
        taken[x] = true;
        p[i] = x;
        rank %= f;
    }
}

static int64_t rank_of(int64_t n, const int *p)
{
    int64_t rank = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t smaller = 0;
        for (int64_t j = i + 1; j < n; j++)
            smaller += p[j] < p[i];
        rank += smaller * factorial(n - 1 - i);
    }
    return rank;
}

static bool is_even(int64_t n, const int *p)
{
    bool even = true;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++)
            even ^= p[j] < p[i];
    return even;
}

/* Numbers 2k and 2k + 1 differ in the order of the last two points: one of them is even. */
static void element(const group *g, int32_t id, int *p)
{
    unrank(g->n_points, g->even ? 2 * id : id, p);
    if (g->even && !is_even(g->n_points, p))
        unrank(g->n_points, 2 * id + 1, p);
}

static int32_t id_of(const group *g, const int *p)
{
    const int64_t rank = rank_of(g->n_points, p);
    return (int32_t)(g->even ? rank / 2 : rank);
}

/* ---- which elements come ---- */

/* The cycle (1 2 .. n). */
static void cycle(int64_t n_points, int64_t n, int *p)
{
    for (int64_t i = 0; i < n_points; i++)
        p[i] = (int)(i < n ? (i + 1) % n : i);
}

static int32_t draw_swap(const group *g, rk_draws *d)
{
    int32_t two[2];
    int p[POINTS_MAX];
    rk_draw_distinct(d, g->n_points, 2, two);
    cycle(g->n_points, 1, p);
    p[two[0]] = two[1];
    p[two[1]] = two[0];
    return id_of(g, p);
}

/* A cycle of two points and the longest generate S_n; of three and the longest, A5. */
static int32_t draw_generator(const group *g, rk_draws *d)
{
    int p[POINTS_MAX];
    const int64_t shorter = g->even ? 3 : 2;
    cycle(g->n_points, rk_draw_below(d, 2) ? g->n_points : shorter, p);
    return id_of(g, p);
}

static int32_t draw_element(const group *g, int64_t which, rk_draws *d)
{
    if (which == SWAPS)
        return draw_swap(g, d);
    return which == GENERATORS ? draw_generator(g, d) : rk_draw_below(d, g->order);
}

/* ---- the rows ---- */

static void fill(const rk_synthetic *s, rk_syn_sample *x)
{
    const group *g = s->gen->own;
    const int64_t n = rk_syn_length(s, MIN_LEN, SEQ_LEN, &x->draws);
    const int64_t which = s->gen->n_params > ELEMENTS ? rk_syn_int(s, ELEMENTS) : ALL;
    int product[POINTS_MAX], factor[POINTS_MAX];
    cycle(g->n_points, 1, product);
    for (int64_t t = 0; t < n; t++) {
        x->ids[t] = draw_element(g, which, &x->draws);
        element(g, x->ids[t], factor);
        for (int64_t i = 0; i < g->n_points; i++)
            product[i] = factor[product[i]];
        rk_syn_ask(x, t, id_of(g, product), t + 1 < n ? EARLIER : LAST);
    }
}

static rk_status settle(rk_synthetic *s, rk_error *err)
{
    const group *g = s->gen->own;
    s->n_tokens = rk_syn_int(s, SEQ_LEN);
    s->n_vocab = g->order;
    if (g->even && rk_syn_int(s, ELEMENTS) == SWAPS)
        return rk_fail(err, RK_ERR_ARG,
                       "--elements is swaps, expected all or generators: no swap of two points is "
                       "even");
    return rk_syn_expect_order(s, MIN_LEN, SEQ_LEN, err);
}

static const rk_syn_param params[] = {
    [SEQ_LEN] = {"seq-len", 16, 1, RK_SYN_TOKENS_MAX, NULL, false, "tokens of a sample"},
    [MIN_LEN] = {"min-len", 0, 0, RK_SYN_TOKENS_MAX, NULL, false,
                 "lengths are drawn from this to the longest; 0: all are the longest"},
    [ELEMENTS] = {"elements", ALL, ALL, GENERATORS, "all|swaps|generators", false,
                  "permutations that come: all, swaps of two points, two that generate the group"},
};

static const group z2 = {2, 2, false}, s3 = {3, 6, false}, a5 = {5, 60, true}, s5 = {5, 120, false};

const rk_generator rk_gen_parity = {.summary = "is the number of ones so far odd",
                                    .params = params,
                                    .n_params = ELEMENTS, /* there is one that is not neutral */
                                    .own = &z2,
                                    .settle = settle,
                                    .fill = fill,
                                    .kinds = {[EARLIER] = "earlier", [LAST] = "last"}};
const rk_generator rk_gen_s3 = {.summary = "the product so far of permutations of three points",
                                .params = params,
                                .n_params = RK_COUNT(params),
                                .own = &s3,
                                .settle = settle,
                                .fill = fill,
                                .kinds = {[EARLIER] = "earlier", [LAST] = "last"}};
const rk_generator rk_gen_a5 = {.summary = "the product so far of even permutations of five points",
                                .params = params,
                                .n_params = RK_COUNT(params),
                                .own = &a5,
                                .settle = settle,
                                .fill = fill,
                                .kinds = {[EARLIER] = "earlier", [LAST] = "last"}};
const rk_generator rk_gen_s5 = {.summary = "the product so far of permutations of five points",
                                .params = params,
                                .n_params = RK_COUNT(params),
                                .own = &s5,
                                .settle = settle,
                                .fill = fill,
                                .kinds = {[EARLIER] = "earlier", [LAST] = "last"}};
