/* Samples of synthetic tasks against what they are defined as, worked out in other ways: from the ids
 * alone, by brute force, with bit boards. */
#include "test_util.h"

#include "io/checksum.h"
#include "train/synthetic/synthetic.h"
#include "train/task.h"

enum { SAMPLES = 200 };

/* A task and one of its samples. */
typedef struct sample {
    rk_synthetic s;
    rk_syn_sample x;
} sample;

static void begin(test_ctx *t, sample *to, const char *task, const rk_size *given, int64_t n)
{
    rk_error err = {0};
    const rk_task_kind *kind = rk_task_find(task);
    assert_non_null(kind);
    if (rk_synthetic_init(&to->s, task, kind->generator, given, n, &err) != RK_OK)
        fail_msg("%s: %s", task, err.msg);
    const size_t bytes = (size_t)to->s.n_tokens * sizeof(int32_t);
    to->x.ids = test_alloc(t, bytes);
    to->x.targets = test_alloc(t, bytes);
    to->x.kinds = test_alloc(t, bytes);
    to->x.scratch = test_alloc(t, (size_t)to->s.n_scratch * sizeof(int32_t));
}

#define BEGIN(t, to, task, ...)                                                                    \
    begin(t, to, task, (const rk_size[]){__VA_ARGS__},                                             \
          sizeof((const rk_size[]){__VA_ARGS__}) / sizeof(rk_size))

static void draw(test_ctx *t, sample *to, rk_syn_stream stream, uint64_t index)
{
    test_shape(t, "%s, sample %" PRIu64, to->s.task, index);
    rk_synthetic_sample(&to->s, 7, stream, index, &to->x);
}

static uint64_t hash(const sample *a)
{
    const size_t bytes = (size_t)a->s.n_tokens * sizeof(int32_t);
    rk_checksum *c = rk_checksum_new();
    assert_non_null(c);
    rk_checksum_add(c, a->x.ids, bytes);
    rk_checksum_add(c, a->x.targets, bytes);
    rk_checksum_add(c, a->x.kinds, bytes);
    const uint64_t value = rk_checksum_value(c);
    rk_checksum_free(c);
    return value;
}

static int n_kinds(const rk_generator *g)
{
    int n = 0;
    while (n < RK_SYN_KINDS_MAX && g->kinds[n])
        n++;
    return n > 0 ? n : 1;
}

/* ---- all of them ---- */

/* Does each answer follow its question? */
static bool is_next(const sample *a)
{
    for (int64_t i = 0; i + 1 < a->s.n_tokens; i++)
        if (a->x.targets[i] != RK_NO_TARGET && a->x.targets[i] != a->x.ids[i + 1])
            return false;
    return true;
}

static void check_ranges(const sample *a)
{
    int64_t n_asked = 0;
    for (int64_t i = 0; i < a->s.n_tokens; i++) {
        assert_in_range(a->x.ids[i], 0, a->s.n_vocab - 1);
        assert_in_range(a->x.kinds[i], 0, n_kinds(a->s.gen) - 1);
        if (a->x.targets[i] == RK_NO_TARGET)
            continue;
        assert_in_range(a->x.targets[i], 0, a->s.n_vocab - 1);
        n_asked++;
    }
    assert_true(n_asked > 0);
}

/* Of the first four samples of a stream. */
static uint64_t hash_of(test_ctx *t, sample *a, uint64_t seed, rk_syn_stream stream)
{
    uint64_t all = 0;
    test_shape(t, "%s, seed %" PRIu64 ", stream %d", a->s.task, seed, stream);
    for (uint64_t i = 0; i < 4; i++) {
        rk_synthetic_sample(&a->s, seed, stream, i, &a->x);
        all = 3 * all + hash(a);
    }
    return all;
}

/* Samples depend on seed and stream, and on nothing else. */
static void check_streams(test_ctx *t, sample *a)
{
    uint64_t seen[6];
    for (int i = 0; i < 6; i++) {
        seen[i] = hash_of(t, a, 7 + (uint64_t)i / 3, (rk_syn_stream)(i % 3));
        for (int j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
    assert_true(hash_of(t, a, 7, RK_SYN_TRAIN) == seen[0]);
}

static void test_all(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (int k = 0; k < rk_n_task_kinds; k++) {
        sample a;
        if (!rk_task_kinds[k].generator)
            continue;
        begin(&t, &a, rk_task_kinds[k].name, NULL, 0);
        int n_next = 0;
        for (uint64_t i = 0; i < SAMPLES; i++) {
            draw(&t, &a, i % 2 ? RK_SYN_TRAIN : RK_SYN_EVAL, i);
            check_ranges(&a);
            n_next += is_next(&a);
        }
        assert_true((n_next == SAMPLES) == a.s.gen->next);
        check_streams(&t, &a);
        test_reset(&t);
    }
    test_end(&t);
}

/* An option has the same form for all tasks that have it, and the tables are in order. */
static void test_tables(void **state)
{
    (void)state;
    const rk_syn_param *all[256];
    int n = 0;
    for (int k = 0; k < rk_n_task_kinds; k++) {
        const rk_generator *g = rk_task_kinds[k].generator;
        for (int i = 0; g && i < g->n_params; i++) {
            const rk_syn_param *p = &g->params[i];
            assert_true(n < 256 && g->n_params <= RK_SYN_PARAMS_MAX);
            assert_true(p->name && p->help && p->min <= p->initial && p->initial <= p->max);
            for (int j = 0; j < n; j++)
                if (!strcmp(all[j]->name, p->name)) {
                    assert_true(all[j]->real == p->real);
                    assert_true(!all[j]->choices == !p->choices);
                    assert_true(!p->choices || !strcmp(all[j]->choices, p->choices));
                }
            all[n++] = p;
        }
    }
}

/* What a seed draws stays: these values are of the first four samples for training, seed 7. */
static void test_golden(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        uint64_t hash;
    } rows[] = {
        {"mqar", 0xe1b245e170c6d9c3},     {"mqar-filler", 0x0d9e40915c0a29f4},
        {"needle", 0x69c7435a208024f2},   {"retrieval", 0xc7705048e0417934},
        {"two-hop", 0x9578f196e401a9c9},  {"swap", 0xefd84e025e3b5937},
        {"parity", 0x519d8f820daa538c},   {"s3", 0x430995b11adadde7},
        {"a5", 0x1b04acd0d6c021ab},       {"s5", 0xbe4503c9fdd99beb},
        {"copy", 0x47328b3c6b79288f},     {"sort", 0x96fbbbede0d841f7},
        {"reverse", 0xeea55d6af26550ab},  {"addition", 0xaf358e7d78725bbb},
        {"longbit", 0xba51fe2b33de756f},  {"classify", 0xbe7201ec626a3148},
        {"switched", 0xdb2ddbc412526ee0}, {"topic", 0x9e1eeef3d6f2562c},
        {"othello", 0x267b1c1530da48af},  {"sudoku4", 0x59b363b6c192f75c},
    };
    test_ctx t = test_begin(1);
    for (size_t k = 0; k < RK_COUNT(rows); k++) {
        sample a;
        begin(&t, &a, rows[k].task, NULL, 0);
        const uint64_t all = hash_of(&t, &a, 7, RK_SYN_TRAIN);
        if (all != rows[k].hash)
            fail_msg("%s: samples of hash 0x%016" PRIx64 ", expected 0x%016" PRIx64, rows[k].task,
                     all, rows[k].hash);
        test_reset(&t);
    }
    int n_drawn = 0;
    for (int k = 0; k < rk_n_task_kinds; k++)
        n_drawn += rk_task_kinds[k].generator != NULL;
    assert_int_equal(RK_COUNT(rows), n_drawn);
    test_end(&t);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        rk_size given[2];
        const char *says;
    } rows[] = {
        {"mqar", {{"pairs", 0}, {"pairs", 4}}, "--pairs is 0, expected a whole number from 1 to"},
        {"mqar", {{"pairs", 2.5}, {"pairs", 4}}, "--pairs is 2.5, expected a whole number"},
        {"mqar",
         {{"pairs", 4}, {"digits", 4}},
         "--digits is no parameter of the task mqar, which has "
         "--seq-len, --pairs"},
        {"mqar",
         {{"pairs", 9}, {"seq-len", 34}},
         "--seq-len is 34, expected an even number from 36"},
        {"mqar", {{"pairs", 4}, {"seq-len", 65}}, "--seq-len is 65, expected an even number"},
        {"mqar", {{"pairs", 8}, {"vocab-size", 16}}, "--pairs is 8, expected at most 7"},
        {"mqar-filler", {{"pairs", 8}, {"keys", 7}}, "--pairs is 8, expected at most --keys, 7"},
        {"needle", {{"pairs", 2}, {"seq-len", 5}}, "--seq-len is 5, expected at least 6"},
        {"reverse", {{"digits", 60}, {"seq-len", 120}}, "--seq-len is 120, expected at least 121"},
        {"mqar-filler",
         {{"min-pairs", 5}, {"pairs", 4}},
         "--min-pairs is 5, expected at most --pairs"},
        {"copy",
         {{"length", 4}, {"min-length", 5}},
         "--min-length is 5, expected at most --length, 4"},
        {"a5",
         {{"seq-len", 4}, {"elements", 1}},
         "--elements is swaps, expected all or generators"},
        {"parity",
         {{"seq-len", 4}, {"elements", 1}},
         "--elements is no parameter of the task parity"},
        {"switched", {{"maps", 60}, {"first-map", 5}}, "--selectors is 64, expected at least 65"},
        {"topic", {{"blocks", 16384}, {"block-len", 64}}, "tokens, expected at most 1048576"},
        {"two-hop",
         {{"symbols", 4}, {"queries", 5}},
         "--queries is 5, expected at most --symbols, 4"},
    };
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        rk_synthetic s;
        rk_error err = {0};
        const rk_task_kind *kind = rk_task_find(rows[i].task);
        assert_int_equal(
            rk_synthetic_init(&s, rows[i].task, kind->generator, rows[i].given, 2, &err),
            RK_ERR_ARG);
        if (!strstr(err.msg, rows[i].says))
            fail_msg("row %zu: '%s', expected '%s'", i, err.msg, rows[i].says);
    }
}

/* ---- recall ---- */

/* The token behind the first `id` of the window. */
static int32_t value_of(const sample *a, int32_t id)
{
    int64_t i = 0;
    while (a->x.ids[i] != id)
        i++;
    return a->x.ids[i + 1];
}

/* Each question is a key that was shown, its answer the value behind it. */
static void check_recall(const sample *a, int64_t n_asked)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->s.n_tokens; i++)
        if (a->x.targets[i] != RK_NO_TARGET) {
            assert_int_equal(a->x.targets[i], value_of(a, a->x.ids[i]));
            n++;
        }
    assert_int_equal(n, n_asked);
}

static void test_mqar(void **state)
{
    (void)state;
    enum { PAIRS = 8, TOKENS = 128 };
    test_ctx t = test_begin(1);
    sample a;
    BEGIN(&t, &a, "mqar", {"seq-len", TOKENS}, {"pairs", PAIRS});
    assert_int_equal(a.s.n_vocab, 8192);
    for (uint64_t i = 0; i < SAMPLES; i++) {
        draw(&t, &a, RK_SYN_TRAIN, i);
        check_recall(&a, PAIRS);
        for (int64_t at = 0; at < TOKENS; at++) {
            const bool asked = a.x.targets[at] != RK_NO_TARGET;
            assert_true(!asked || (at >= 2 * PAIRS && at % 2 == 0));
            if (at < 2 * PAIRS && at % 2 == 0)
                assert_in_range(a.x.ids[at], 1, 4095);
            else if (at < 2 * PAIRS)
                assert_in_range(a.x.ids[at], 4096, 8191);
            for (int64_t b = 0; b < at && at < 2 * PAIRS; b++)
                assert_int_not_equal(a.x.ids[b], a.x.ids[at]);
        }
    }
    test_end(&t);
}

/* With one pair a gap g comes in proportion to (g + 1)^(power - 1). */
static void test_mqar_gaps(void **state)
{
    (void)state;
    enum { DRAWS = 40000, SPACE = 15 };
    test_ctx t = test_begin(1);
    sample a;
    double weights[SPACE], sum = 0;
    int counts[SPACE] = {0};
    BEGIN(&t, &a, "mqar", {"seq-len", 32}, {"pairs", 1}, {"power", 0.3}, {"between", 1});
    for (uint64_t i = 0; i < DRAWS; i++) {
        draw(&t, &a, RK_SYN_TRAIN, i);
        for (int64_t g = 0; g < SPACE; g++) {
            assert_int_equal(a.x.ids[2 + 2 * g + 1], 0);
            counts[g] += a.x.ids[2 + 2 * g] != 0;
        }
    }
    for (int g = 0; g < SPACE; g++)
        sum += weights[g] = pow(g + 1.0, -0.7);
    for (int g = 0; g < SPACE; g++) {
        const double want = DRAWS * weights[g] / sum;
        if (fabs(counts[g] - want) > 5 * sqrt(want))
            fail_msg("gap %d: %d of %d, expected %.0f", g, counts[g], DRAWS, want);
    }
    test_end(&t);
}

static void test_fillers(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    sample a, b, c, d;
    uint64_t lengths = 0;
    BEGIN(&t, &d, "mqar-filler", {"pairs", 5}, {"min-pairs", 3}, {"min-len", 30});
    BEGIN(&t, &a, "mqar-filler", {"pairs", 6});
    BEGIN(&t, &b, "needle", {"seq-len", 33});
    BEGIN(&t, &c, "retrieval", {"seq-len", 20});
    for (uint64_t i = 0; i < SAMPLES; i++) {
        draw(&t, &a, RK_SYN_TRAIN, i);
        check_recall(&a, 6);
        for (int64_t at = 12; at < a.s.n_tokens; at += 2) /* the value follows; else fillers */
            assert_int_equal(a.x.ids[at + 1],
                             a.x.targets[at] == RK_NO_TARGET ? a.x.ids[at] : a.x.targets[at]);
        draw(&t, &d, RK_SYN_TRAIN, i);
        int64_t n_pairs = 0, end = 0;
        for (int64_t at = 0; at < d.s.n_tokens; at++) {
            n_pairs += d.x.targets[at] != RK_NO_TARGET;
            end = d.x.ids[at] ? at + 1 : end;
        }
        assert_in_range(n_pairs, 3, 5);
        check_recall(&d, n_pairs);
        lengths |= UINT64_C(1) << (end - 1);
        draw(&t, &b, RK_SYN_TRAIN, i);
        check_recall(&b, 1);
        assert_true(b.x.targets[32] != RK_NO_TARGET && b.x.ids[31] == 0);
        draw(&t, &c, RK_SYN_TRAIN, i);
        check_recall(&c, 1);
    }
    assert_true((lengths & 0xffffffff) != 0 &&
                lengths >> 56 != 0); /* short ones and long ones came */
    test_end(&t);
}

/* What stands behind x where pairs stand. */
static int32_t map_of(const sample *a, int32_t x)
{
    int64_t i = 0;
    while (a->x.ids[i] != x)
        i += 2;
    return a->x.ids[i + 1];
}

static void test_two_hop(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (int g_first = 0; g_first < 2; g_first++) {
        sample a;
        BEGIN(&t, &a, "two-hop", {"queries", 16}, {"first", g_first});
        for (uint64_t i = 0; i < SAMPLES; i++) {
            draw(&t, &a, RK_SYN_TRAIN, i);
            assert_true((a.x.ids[0] < 16) == !g_first);
            for (int64_t q = 64; q < 80; q++)
                assert_int_equal(a.x.targets[q], map_of(&a, map_of(&a, a.x.ids[q])));
        }
    }
    test_end(&t);
}

/* Exchanges are read off the text that people see. */
static void test_swap(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    sample a;
    BEGIN(&t, &a, "swap", {"slots", 12}, {"min-swaps", 3}, {"swaps", 20}, {"queries", 10});
    for (uint64_t i = 0; i < SAMPLES; i++) {
        int32_t held[12], n_tracked = 0;
        int64_t n_swaps = 0;
        draw(&t, &a, RK_SYN_TRAIN, i);
        for (int64_t at = 0; at < 24; at += 2)
            held[a.x.ids[at]] = a.x.ids[at + 1];
        for (int64_t at = 24; at < a.s.n_tokens; at++) {
            rk_buf b = {0};
            a.s.gen->put(&a.s, a.x.ids[at], &b);
            if (b.data[0] == '(') {
                const int p = b.data[1] - '0', q = b.data[2] - '0';
                const int32_t keep = held[p];
                assert_true(p < q && q < 5);
                held[p] = held[q];
                held[q] = keep;
                n_swaps++;
            } else if (b.data[0] == '?') {
                const int32_t slot = a.x.ids[at - 1];
                assert_int_equal(a.x.targets[at], held[slot]);
                assert_int_equal(a.x.kinds[at], slot < 5 ? 0 : 1);
                n_tracked += slot < 5;
            }
            rk_buf_deinit(&b);
        }
        assert_in_range(n_swaps, 3, 20);
        assert_int_equal(n_tracked, 5);
    }
    test_end(&t);
}

/* ---- groups ---- */

/* All permutations of n points in lexicographic order, by taking the next one again and again. */
static int list_permutations(int n, int (*all)[5])
{
    int p[5] = {0, 1, 2, 3, 4}, count = 0;
    for (;;) {
        memcpy(all[count++], p, sizeof p);
        int i = n - 2, j = n - 1;
        while (i >= 0 && p[i] > p[i + 1])
            i--;
        if (i < 0)
            return count;
        while (p[j] < p[i])
            j--;
        const int keep = p[i];
        p[i] = p[j];
        p[j] = keep;
        for (int a = i + 1, b = n - 1; a < b; a++, b--) {
            const int other = p[a];
            p[a] = p[b];
            p[b] = other;
        }
    }
}

/* By its cycles: a permutation of n points with c of them is even when n - c is. */
static bool even(int n, const int *p)
{
    bool seen[5] = {false};
    int c = 0;
    for (int i = 0; i < n; i++) {
        c += !seen[i];
        for (int j = i; !seen[j]; j = p[j])
            seen[j] = true;
    }
    return (n - c) % 2 == 0;
}

static void test_groups(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        int n, order, even;
    } groups[] = {{"parity", 2, 2, 0}, {"s3", 3, 6, 0}, {"a5", 5, 60, 1}, {"s5", 5, 120, 0}};
    test_ctx t = test_begin(1);
    for (size_t g = 0; g < RK_COUNT(groups); g++) {
        int all[120][5], members[120][5], n = 0;
        const int total = list_permutations(groups[g].n, all);
        for (int i = 0; i < total; i++)
            if (!groups[g].even || even(groups[g].n, all[i]))
                memcpy(members[n++], all[i], sizeof all[i]);
        assert_int_equal(n, groups[g].order);
        sample a;
        BEGIN(&t, &a, groups[g].task, {"seq-len", 20}, {"min-len", 5});
        assert_int_equal(a.s.n_vocab, n);
        for (uint64_t i = 0; i < SAMPLES; i++) {
            int product[5] = {0, 1, 2, 3, 4};
            int64_t at = 0;
            draw(&t, &a, RK_SYN_TRAIN, i);
            for (; at < 20 && a.x.targets[at] != RK_NO_TARGET; at++) {
                int next[5] = {0, 1, 2, 3, 4};
                for (int k = 0; k < groups[g].n; k++)
                    next[k] = members[a.x.ids[at]][product[k]];
                memcpy(product, next, sizeof product);
                assert_memory_equal(product, members[a.x.targets[at]], sizeof product);
                const bool last = at == 19 || a.x.targets[at + 1] == RK_NO_TARGET;
                assert_int_equal(a.x.kinds[at], last);
            }
            assert_true(at >= 5);
        }
        test_reset(&t);
    }
    test_end(&t);
}

/* Swaps are ten, generators two, and both reach more than they are. */
static void test_elements(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        int elements, n, reached;
    } rows[] = {{"s5", 1, 10, 120}, {"s5", 2, 2, 120}, {"a5", 2, 2, 60}, {"s3", 1, 3, 6}};
    test_ctx t = test_begin(1);
    for (size_t r = 0; r < RK_COUNT(rows); r++) {
        bool came[120] = {false}, reached[120] = {false};
        int n = 0, n_reached = 0;
        sample a;
        BEGIN(&t, &a, rows[r].task, {"seq-len", 40}, {"elements", rows[r].elements});
        for (uint64_t i = 0; i < SAMPLES; i++) {
            draw(&t, &a, RK_SYN_TRAIN, i);
            for (int64_t at = 0; at < 40; at++) {
                n += !came[a.x.ids[at]];
                n_reached += !reached[a.x.targets[at]];
                came[a.x.ids[at]] = reached[a.x.targets[at]] = true;
            }
        }
        assert_int_equal(n, rows[r].n);
        assert_int_equal(n_reached, rows[r].reached);
    }
    test_end(&t);
}

/* ---- strings ---- */

static int by_value(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

static void test_strings(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (int sorted = 0; sorted < 2; sorted++) {
        sample a;
        BEGIN(&t, &a, sorted ? "sort" : "copy", {"length", 9}, {"min-length", 2}, {"symbols", 20});
        bool seen[10] = {false};
        for (uint64_t i = 0; i < SAMPLES; i++) {
            int32_t want[9];
            int64_t n = 0;
            draw(&t, &a, RK_SYN_TRAIN, i);
            for (; a.x.ids[n] != 20; n++)
                assert_int_equal(a.x.targets[n], RK_NO_TARGET);
            seen[n] = true;
            memcpy(want, a.x.ids, (size_t)n * sizeof *want);
            if (sorted)
                qsort(want, (size_t)n, sizeof *want, by_value);
            for (int64_t k = 0; k < n; k++) {
                assert_int_equal(a.x.targets[n + k], want[k]);
                if (n + k + 1 < a.s.n_tokens && k + 1 < n)
                    assert_int_equal(a.x.ids[n + k + 1], want[k]);
            }
            for (int64_t k = 2 * n; k < a.s.n_tokens; k++)
                assert_int_equal(a.x.targets[k], RK_NO_TARGET);
        }
        for (int n = 2; n <= 9; n++)
            assert_true(seen[n]);
    }
    test_end(&t);
}

/* Windows as text: every number that is whole is followed by its reverse. */
static void check_reversed(const sample *a)
{
    char text[512];
    int n = 0;
    for (int64_t i = 0; i < a->s.n_tokens; i++)
        text[n++] = "0123456789,#"[a->x.ids[i]];
    text[n] = '\0';
    for (char *number = text; *number;) {
        const size_t digits = strspn(number, "0123456789");
        if (!number[digits] || !number[digits + 1])
            return;
        assert_true(digits >= 1 && digits <= 60 && number[digits] == ',');
        assert_true(digits == 1 || *number != '0');
        for (size_t i = 0; i < digits; i++) {
            if (!number[digits + 1 + i])
                return;
            assert_int_equal(number[digits + 1 + i], number[digits - 1 - i]);
        }
        number += 2 * digits + 1;
        if (*number)
            assert_int_equal(*number++, '#');
    }
}

static void test_reverse(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    sample a, b;
    int64_t n_asked = 0;
    BEGIN(&t, &a, "reverse", {"digits", 60});
    BEGIN(&t, &b, "reverse", {"targets", 1});
    assert_int_equal(a.s.n_tokens, 128);
    assert_int_equal(a.s.n_vocab, 12);
    for (uint64_t i = 0; i < SAMPLES; i++) {
        bool answer = false;
        draw(&t, &a, RK_SYN_TRAIN, i);
        check_reversed(&a);
        draw(&t, &b, RK_SYN_TRAIN, i);
        assert_memory_equal(a.x.ids, b.x.ids, 128 * sizeof(int32_t));
        for (int64_t at = 0; at < 127; at++) { /* every next token, or those of answers */
            answer = a.x.ids[at] == 10 || (answer && a.x.ids[at] != 11);
            assert_int_equal(a.x.targets[at], a.x.ids[at + 1]);
            assert_int_equal(b.x.targets[at], answer ? a.x.ids[at + 1] : RK_NO_TARGET);
        }
    }
    /* Ten numbers of each length: 18,900 tokens of answers. */
    for (uint64_t i = 0; i < 600; i++) {
        int64_t n = 0;
        draw(&t, &a, RK_SYN_EVAL, i);
        for (int64_t at = 0; at < 128; at++)
            n += a.x.targets[at] != RK_NO_TARGET;
        assert_int_equal(n, i % 60 + 2);
        assert_int_equal(a.x.ids[i % 60 + 1], 10);
        n_asked += n;
    }
    assert_int_equal(n_asked, 18900);
    test_end(&t);
}

static void test_addition(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    sample a;
    BEGIN(&t, &a, "addition", {"digits", 3}, {"problems", 3});
    for (uint64_t i = 0; i < SAMPLES; i++) {
        char text[64];
        int n = 0, used = 0;
        draw(&t, &a, RK_SYN_TRAIN, i);
        for (int64_t at = 0; at < a.s.n_tokens; at++)
            text[n++] = "0123456789+=;"[a.x.ids[at]];
        text[n] = '\0';
        for (int k = 0, from = 0; k < 3; k++, from += used) {
            int x, y, sum;
            char want[16];
            used = 0;
            assert_int_equal(sscanf(text + from, "%3d+%3d=%n%d", &x, &y, &used, &sum), 3);
            snprintf(want, sizeof want, "%d;", x + y);
            for (int j = 0; want[j]; j++)
                assert_int_equal("0123456789+=;"[a.x.targets[from + used - 1 + j]], want[j]);
            assert_int_equal(sum, x + y);
            used += (int)strlen(want);
        }
    }
    test_end(&t);
}

static void test_longbit(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    sample a;
    BEGIN(&t, &a, "longbit", {"distance", 30}, {"min-distance", 10});
    for (uint64_t i = 0; i < SAMPLES; i++) {
        draw(&t, &a, RK_SYN_TRAIN, i);
        for (int64_t at = 1; at < a.s.n_tokens; at++) {
            const bool answer = at > 1 && a.x.targets[at - 1] != RK_NO_TARGET;
            assert_int_equal(a.x.ids[at], a.x.targets[at] != RK_NO_TARGET ? 17
                                          : answer                        ? a.x.ids[0]
                                                                          : 16);
            if (a.x.targets[at] != RK_NO_TARGET) {
                assert_int_equal(a.x.targets[at], a.x.ids[0]);
                assert_in_range(at, 11, 31);
            }
        }
    }
    test_end(&t);
}

/* ---- context ---- */

/* Without noise a copy is a prototype; with 10 % of it some 1.6 of 16 bits differ. */
static void test_classify(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    for (int noisy = 0; noisy < 2; noisy++) {
        sample a;
        int64_t n_wrong = 0;
        BEGIN(&t, &a, "classify", {"flip", noisy ? 0.1 : 0});
        for (uint64_t i = 0; i < SAMPLES; i++) {
            draw(&t, &a, RK_SYN_TRAIN, i);
            for (int64_t q = 0; q < 8; q++) {
                const int32_t *copy = a.x.ids + (8 + q) * 17, *of = a.x.ids;
                const int32_t label = a.x.targets[(8 + q) * 17 + 16];
                assert_int_equal(copy[16], 2);
                while (of[16] != label)
                    of += 17;
                assert_true(of < a.x.ids + 8 * 17);
                for (int b = 0; b < 16; b++)
                    n_wrong += of[b] != copy[b];
            }
        }
        const double want = noisy ? 0.1 * SAMPLES * 8 * 16 : 0;
        assert_true(fabs((double)n_wrong - want) <= 5 * sqrt(want));
    }
    test_end(&t);
}

/* The permutations are the same for every seed and stream, and another map-seed has others. */
static void test_switched(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    int32_t map[2][64][16];
    memset(map, -1, sizeof map);
    for (int seed = 0; seed < 2; seed++) {
        sample a;
        BEGIN(&t, &a, "switched", {"length", 60}, {"map-seed", seed});
        for (uint64_t i = 0; i < 20 * SAMPLES; i++) {
            rk_synthetic_sample(&a.s, i % 3, i % 2 ? RK_SYN_TRAIN : RK_SYN_EVAL, i, &a.x);
            for (int64_t at = 1; at <= 60; at++) {
                int32_t *to = &map[seed][a.x.ids[0] - 16][a.x.ids[at]];
                assert_true(*to == -1 || *to == a.x.targets[at]);
                *to = a.x.targets[at];
            }
        }
        for (int m = 0; m < 64; m++)
            for (int x = 0, seen = 0; x < 16; x++) {
                seen |= 1 << map[seed][m][x];
                assert_true(x < 15 || seen == 0xffff);
            }
    }
    assert_memory_not_equal(map[0], map[1], sizeof map[0]);
    test_end(&t);
}

/* Questions about every block tell which topics they have; then the majority is counted. */
static void test_topic(void **state)
{
    (void)state;
    enum { BLOCKS = 6, LEN = 4, QUERIES = 60, WORDS = 64 };
    test_ctx t = test_begin(1);
    sample a;
    BEGIN(&t, &a, "topic", {"blocks", BLOCKS}, {"block-len", LEN}, {"queries", QUERIES});
    for (uint64_t i = 0; i < SAMPLES; i++) {
        int32_t topic[BLOCKS];
        int counts[16] = {0};
        draw(&t, &a, RK_SYN_TRAIN, i);
        memset(topic, -1, sizeof topic);
        for (int64_t at = BLOCKS * (LEN + 1); at < a.s.n_tokens; at++) {
            const int32_t b = a.x.ids[at] - WORDS - 16, of = a.x.targets[at] - WORDS;
            assert_true(topic[b] == -1 || topic[b] == of);
            assert_int_equal(a.x.kinds[at], 1);
            topic[b] = of;
        }
        for (int b = 0; b < BLOCKS && topic[b] >= 0; b++) {
            const int64_t at = (int64_t)(b + 1) * (LEN + 1) - 1;
            int best = 0, n_best = 0;
            counts[topic[b]]++;
            for (int k = 0; k < 16; k++)
                best = counts[k] > best ? counts[k] : best;
            for (int k = 0; k < 16; k++)
                n_best += counts[k] == best;
            assert_true((a.x.targets[at] == RK_NO_TARGET) == (n_best > 1));
            assert_true(n_best > 1 || counts[a.x.targets[at] - WORDS] == best);
            assert_int_equal(a.x.kinds[at], 0);
        }
    }
    test_end(&t);
}

/* ---- games ---- */

/* Every grid of four by four that is solved: rows are permutations, columns and boxes hold all digits. */
static int list_sudokus(int32_t (*grids)[16])
{
    int rows[24][5], n = 0;
    list_permutations(4, rows);
    for (int code = 0; code < 24 * 24 * 24 * 24; code++) {
        int32_t g[16];
        bool ok = true;
        for (int r = 0, c = code; r < 4; r++, c /= 24)
            for (int k = 0; k < 4; k++)
                g[4 * r + k] = 1 + rows[c % 24][k];
        for (int k = 0; k < 4 && ok; k++) {
            const int box = 8 * (k / 2) + 2 * (k % 2);
            ok = (1 << g[k] | 1 << g[4 + k] | 1 << g[8 + k] | 1 << g[12 + k]) == 30 &&
                 (1 << g[box] | 1 << g[box + 1] | 1 << g[box + 4] | 1 << g[box + 5]) == 30;
        }
        if (ok)
            memcpy(grids[n++], g, sizeof g);
    }
    return n;
}

static void test_sudoku(void **state)
{
    (void)state;
    static int32_t grids[300][16];
    test_ctx t = test_begin(1);
    const int n = list_sudokus(grids);
    assert_int_equal(n, 288);
    for (int clues = 4; clues <= 10; clues += 3) {
        sample a;
        BEGIN(&t, &a, "sudoku4", {"clues", clues});
        for (uint64_t i = 0; i < SAMPLES; i++) {
            int fits = 0, given = 0;
            draw(&t, &a, RK_SYN_TRAIN, i);
            assert_int_equal(a.x.ids[16], 5);
            for (int g = 0; g < n; g++) {
                bool is = true;
                for (int c = 0; c < 16 && is; c++)
                    is = a.x.ids[c] == 0 || a.x.ids[c] == grids[g][c];
                fits += is;
                if (is)
                    assert_memory_equal(a.x.targets + 16, grids[g], sizeof grids[g]);
            }
            assert_int_equal(fits, 1);
            for (int c = 0; c < 16; c++)
                given += a.x.ids[c] != 0;
            assert_true(given >= clues && (clues < 10 || given == clues));
        }
    }
    test_end(&t);
}

/* Bit boards: bit 8 row + column. One step in a direction, off the board or not. */
static uint64_t step(uint64_t x, int direction)
{
    static const uint64_t not_a = 0xfefefefefefefefe, not_h = 0x7f7f7f7f7f7f7f7f;
    switch (direction) {
    case 0:
        return x << 8;
    case 1:
        return x >> 8;
    case 2:
        return (x & not_h) << 1;
    case 3:
        return (x & not_a) >> 1;
    case 4:
        return (x & not_h) << 9;
    case 5:
        return (x & not_a) << 7;
    case 6:
        return (x & not_h) >> 7;
    default:
        return (x & not_a) >> 9;
    }
}

/* The discs of `other` that a move of `own` to `at` turns. */
static uint64_t turns(uint64_t own, uint64_t other, uint64_t at)
{
    uint64_t all = 0;
    for (int d = 0; d < 8 && !((own | other) & at); d++) {
        uint64_t line = 0, x = step(at, d);
        for (; x & other; x = step(x, d))
            line |= x;
        all |= x & own ? line : 0;
    }
    return all;
}

static uint64_t moves_of(uint64_t own, uint64_t other)
{
    uint64_t all = 0;
    for (int i = 0; i < 64; i++)
        all |= turns(own, other, UINT64_C(1) << i) ? UINT64_C(1) << i : 0;
    return all;
}

static void exchange(uint64_t *a, uint64_t *b)
{
    const uint64_t keep = *a;
    *a = *b;
    *b = keep;
}

static void test_othello(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    sample a;
    int n_short = 0;
    begin(&t, &a, "othello", NULL, 0);
    for (uint64_t i = 0; i < 3 * SAMPLES; i++) {
        uint64_t own = UINT64_C(1) << 28 | UINT64_C(1) << 35; /* e4 and d5, black */
        uint64_t other = UINT64_C(1) << 27 | UINT64_C(1) << 36;
        draw(&t, &a, RK_SYN_TRAIN, i);
        for (int64_t at = 0; at < a.s.n_tokens; at++) {
            if (!moves_of(own, other))
                exchange(&own, &other);
            const uint64_t legal = moves_of(own, other);
            if (a.x.targets[at] == RK_NO_TARGET) {
                assert_true(legal == 0);
                n_short++;
                break;
            }
            const uint64_t move = UINT64_C(1) << a.x.targets[at];
            assert_true(legal & move);
            for (int32_t id = 0; id < 65 && i < 4; id++)
                assert_true(a.s.gen->accepts(&a.s, a.x.ids, at, id) ==
                            (id < 64 && (legal >> id & 1)));
            const uint64_t turned = turns(own, other, move);
            own |= turned | move;
            other &= ~turned;
            exchange(&own, &other);
        }
    }
    assert_true(n_short > 0); /* some games end before the board is full */
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),      cmocka_unit_test(test_tables),
        cmocka_unit_test(test_golden),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_mqar),     cmocka_unit_test(test_mqar_gaps),
        cmocka_unit_test(test_fillers),  cmocka_unit_test(test_two_hop),
        cmocka_unit_test(test_swap),     cmocka_unit_test(test_groups),
        cmocka_unit_test(test_elements), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_reverse),  cmocka_unit_test(test_addition),
        cmocka_unit_test(test_longbit),  cmocka_unit_test(test_classify),
        cmocka_unit_test(test_switched), cmocka_unit_test(test_topic),
        cmocka_unit_test(test_sudoku),   cmocka_unit_test(test_othello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
