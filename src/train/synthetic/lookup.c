/* lookup.c: questions that take more than one look-up: through two maps, and where values were moved
 * about in between. */
#include "base/num.h"
#include "train/synthetic/synthetic.h"

/* ---- two-hop: f from A to B and g from B to C, pair by pair; then g(f(x)) ---- */

enum { SYMBOLS, QUERIES, FIRST };
enum { F_FIRST, G_FIRST };

static const rk_syn_param hop_params[] = {
    [SYMBOLS] = {"symbols", 16, 2, 4096, NULL, false,
                 "different symbols, of each set where there are several"},
    [QUERIES] = {"queries", 8, 1, 4096, NULL, false, "questions of a sample"},
    [FIRST] = {"first", F_FIRST, F_FIRST, G_FIRST, "f|g", false,
               "which of g(f(x)) comes first, pair by pair"},
};

static rk_status settle_hop(rk_synthetic *s, rk_error *err)
{
    const int64_t n = rk_syn_int(s, SYMBOLS);
    s->n_tokens = 4 * n + rk_syn_int(s, QUERIES);
    s->n_vocab = 3 * n;
    s->n_scratch = 3 * n;
    return rk_syn_expect_order(s, QUERIES, SYMBOLS, err);
}

/* A random map of n symbols from the set behind `base` to the next one, its pairs in the order given,
 * into the window from `at` on. */
static void put_map(rk_syn_sample *x, int64_t at, int32_t n, int32_t base, const int32_t *order,
                    int32_t *map)
{
    for (int32_t i = 0; i < n; i++)
        map[i] = rk_draw_below(&x->draws, n);
    for (int64_t i = 0; i < n; i++) {
        x->ids[at + 2 * i] = base + order[i];
        x->ids[at + 2 * i + 1] = base + n + map[order[i]];
    }
}

static void fill_hop(const rk_synthetic *s, rk_syn_sample *x)
{
    const int32_t n = (int32_t)rk_syn_int(s, SYMBOLS);
    const bool g_first = rk_syn_int(s, FIRST) == G_FIRST;
    int32_t *order = x->scratch, *f = order + n, *g = f + n;
    rk_draw_permutation(&x->draws, n, order);
    put_map(x, g_first ? 2 * n : 0, n, 0, order, f);
    rk_draw_permutation(&x->draws, n, order);
    put_map(x, g_first ? 0 : 2 * n, n, n, order, g);
    rk_draw_permutation(&x->draws, n, order);
    for (int64_t i = 0; i < rk_syn_int(s, QUERIES); i++) {
        x->ids[4 * n + i] = order[i];
        rk_syn_ask(x, 4 * n + i, 2 * n + g[f[order[i]]], 0);
    }
}

static void put_hop(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    const int32_t n = (int32_t)rk_syn_int(s, SYMBOLS);
    rk_buf_printf(out, "%c%d", "abc"[id / n], id % n);
}

const rk_generator rk_gen_two_hop = {.summary = "g(f(x)) of two maps given as pairs",
                                     .params = hop_params,
                                     .n_params = RK_COUNT(hop_params),
                                     .settle = settle_hop,
                                     .fill = fill_hop,
                                     .put = put_hop};

/* ---- swap: values in slots, some of which are exchanged; then what is where ---- */

enum { SLOTS, SWAPS, MIN_SWAPS, VALUES, SWAP_QUERIES };
enum { MOVED = 5, N_SWAPS = MOVED * (MOVED - 1) / 2 }; /* the first slots, and their pairs */
enum { TRACKED, STILL };

static const rk_syn_param swap_params[] = {
    [SLOTS] = {"slots", 8, MOVED + 1, 1 << 16, NULL, false, "slots that hold a value"},
    [SWAPS] = {"swaps", 64, 0, RK_SYN_TOKENS_MAX / 2, NULL, false,
               "exchanges among the first five slots, at most"},
    [MIN_SWAPS] = {"min-swaps", 0, 0, RK_SYN_TOKENS_MAX / 2, NULL, false, "exchanges, at least"},
    [VALUES] = {"values", 1024, 2, 1 << 20, NULL, false, "different values"},
    [SWAP_QUERIES] = {"queries", 8, 2, 1 << 16, NULL, false,
                      "questions of a sample, half of them about the first five slots"},
};

/* Tokens: slots, values, exchanges, the question. */
static int32_t first_value(const rk_synthetic *s)
{
    return (int32_t)rk_syn_int(s, SLOTS);
}
static int32_t first_swap(const rk_synthetic *s)
{
    return first_value(s) + (int32_t)rk_syn_int(s, VALUES);
}

static rk_status settle_swap(rk_synthetic *s, rk_error *err)
{
    const int64_t slots = rk_syn_int(s, SLOTS), queries = rk_syn_int(s, SWAP_QUERIES);
    s->n_tokens = 2 * slots + rk_syn_int(s, SWAPS) + 2 * queries;
    s->n_vocab = first_swap(s) + N_SWAPS + 1;
    s->n_scratch = 2 * slots + queries;
    return rk_syn_expect_order(s, MIN_SWAPS, SWAPS, err);
}

/* The two slots of exchange i, pairs (a, b) with a < b in lexicographic order. */
static void slots_of(int32_t i, int32_t *a, int32_t *b)
{
    for (*a = 0; i >= MOVED - 1 - *a; ++*a)
        i -= MOVED - 1 - *a;
    *b = *a + 1 + i;
}

static void exchange(int32_t i, int32_t *held)
{
    int32_t a, b;
    slots_of(i, &a, &b);
    const int32_t keep = held[a];
    held[a] = held[b];
    held[b] = keep;
}

static void fill_swap(const rk_synthetic *s, rk_syn_sample *x)
{
    const int64_t slots = rk_syn_int(s, SLOTS), queries = rk_syn_int(s, SWAP_QUERIES);
    const int64_t n = rk_draw_between(&x->draws, rk_syn_int(s, MIN_SWAPS), rk_syn_int(s, SWAPS));
    int32_t *held = x->scratch, *order = held + slots, *about = order + slots;
    int64_t at = 0;
    rk_draw_permutation(&x->draws, slots, order);
    for (int64_t i = 0; i < slots; i++) {
        held[order[i]] = first_value(s) + rk_draw_below(&x->draws, rk_syn_int(s, VALUES));
        x->ids[at++] = order[i];
        x->ids[at++] = held[order[i]];
    }
    for (int64_t i = 0; i < n; i++) {
        const int32_t pair = rk_draw_below(&x->draws, N_SWAPS);
        exchange(pair, held);
        x->ids[at++] = first_swap(s) + pair;
    }
    for (int64_t i = 0; i < queries; i++)
        about[i] = i < queries / 2 ? rk_draw_below(&x->draws, MOVED)
                                   : MOVED + rk_draw_below(&x->draws, slots - MOVED);
    rk_draw_shuffle(&x->draws, queries, about);
    for (int64_t i = 0; i < queries; i++) {
        x->ids[at++] = about[i];
        x->ids[at] = first_swap(s) + N_SWAPS;
        rk_syn_ask(x, at++, held[about[i]], about[i] < MOVED ? TRACKED : STILL);
    }
}

static void put_swap(const rk_synthetic *s, int32_t id, rk_buf *out)
{
    int32_t a, b;
    if (id < first_value(s)) {
        rk_buf_printf(out, "s%d", id);
    } else if (id < first_swap(s)) {
        rk_buf_printf(out, "v%d", id - first_value(s));
    } else if (id < first_swap(s) + N_SWAPS) {
        slots_of(id - first_swap(s), &a, &b);
        rk_buf_printf(out, "(%d%d)", a, b);
    } else {
        rk_buf_puts(out, "?");
    }
}

const rk_generator rk_gen_swap = {
    .summary = "values in slots, exchanges among five of them, then what is where",
    .params = swap_params,
    .n_params = RK_COUNT(swap_params),
    .settle = settle_swap,
    .fill = fill_swap,
    .put = put_swap,
    .kinds = {[TRACKED] = "tracked", [STILL] = "still"}};
