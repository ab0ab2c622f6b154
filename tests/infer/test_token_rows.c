/* Rows that states share: whatever is appended, copied and cut in whatever order, each state has
 * its own rows; and copies share memory for as long as they may. */
#include "test_util.h"

#include <pthread.h>

#include "infer/token_rows.h"

enum { KEYS = 3, VALUES = 5, WIDTH = KEYS + VALUES, ROWS_MAX = 400 };

static const rk_state_spec specs[] = {
    {.name = "keys", .kind = RK_STATE_TOKENS},
    {.name = "shift"},
    {.name = "values", .kind = RK_STATE_TOKENS},
};
static rk_state_entry parts[] = {
    {.spec = &specs[0], .count = KEYS},
    {.spec = &specs[1], .count = 7},
    {.spec = &specs[2], .count = VALUES, .at = KEYS},
};
static const rk_state_layout layout = {
    .parts = parts, .n_parts = RK_COUNT(parts), .count = 7, .token_count = WIDTH};

/* Rows and what they should be. */
typedef struct history {
    rk_token_rows rows;
    float want[ROWS_MAX];
    float own; /* tells a thread's rows from others' */
} history;

/* Write row i of both parts, all elements alike. */
static void write_row(const rk_token_rows *r, int64_t i, float x)
{
    for (int p = 0; p < 3; p += 2) {
        unsigned char *page = r->data[i / RK_PAGE_ROWS];
        float *row = (float *)(void *)(page + rk_token_rows_offset(RK_F32, &parts[p])) +
                     i % RK_PAGE_ROWS * parts[p].count;
        for (int64_t c = 0; c < parts[p].count; c++)
            row[c] = x;
    }
}

static void append(history *h, int64_t n, float first)
{
    rk_error err = {0};
    test_ok(rk_token_rows_reserve(&h->rows, n, &err), &err);
    for (int64_t i = 0; i < n; i++) {
        h->want[h->rows.n + i] = first + (float)i;
        write_row(&h->rows, h->rows.n + i, first + (float)i);
    }
    h->rows.n += n;
}

static void copy(history *to, const history *from)
{
    rk_error err = {0};
    test_ok(rk_token_rows_copy(&to->rows, &from->rows, &err), &err);
    memcpy(to->want, from->want, sizeof to->want);
}

static void check(test_ctx *t, const history *h)
{
    float got[ROWS_MAX * VALUES];
    for (int p = 0; p < 3; p += 2) {
        rk_token_rows_get(&h->rows, &parts[p], got);
        for (int64_t i = 0; i < h->rows.n * parts[p].count; i++)
            if (got[i] != h->want[i / parts[p].count])
                fail_msg("%s: row %" PRId64 " of %s", t->shape, i / parts[p].count, specs[p].name);
    }
}

static void test_orders(void **state)
{
    (void)state;
    enum { N = 4, STEPS = 400 };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        test_ctx t = test_begin(seed);
        history h[N] = {0};
        uint64_t n_drawn = 0;
        for (int i = 0; i < N; i++)
            h[i].rows.layout = &layout;
        for (int step = 0; step < STEPS; step++) {
            uint64_t draw[3];
            for (int i = 0; i < 3; i++)
                draw[i] = rk_rng_below(seed, RK_RNG_TEST, 0, n_drawn++, 1000);
            history *a = &h[draw[0] % N], *b = &h[draw[1] % N];
            const int64_t n = draw[2] % 4 == 0 ? (int64_t)draw[2] % 90 + 1 : 1;
            test_shape(&t, "seed %" PRIu64 ", step %d", seed, step);
            if (draw[2] % 7 == 0)
                copy(a, b);
            else if (draw[2] % 7 == 1 || a->rows.n + n > ROWS_MAX)
                rk_token_rows_truncate(&a->rows, (int64_t)draw[1] % (a->rows.n + 1));
            else
                append(a, n, (float)(step * 1000));
            for (int i = 0; i < N; i++)
                check(&t, &h[i]);
        }
        for (int i = 0; i < N; i++)
            rk_token_rows_deinit(&h[i].rows);
        test_end(&t);
    }
}

/* A snapshot costs no page, neither when it is taken nor when the stream goes on; going on from it
 * costs the page that two histories part in, and no earlier one. */
static void test_sharing(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    history a = {.rows.layout = &layout}, b = a, c = a;
    append(&a, 70, 0);
    copy(&b, &a);
    append(&a, 20, 100);
    assert_int_equal(a.rows.n_pages, 2);
    for (int i = 0; i < 2; i++)
        assert_ptr_equal(a.rows.pages[i], b.rows.pages[i]);
    append(&b, 20, 200);
    assert_ptr_equal(a.rows.pages[0], b.rows.pages[0]);
    assert_ptr_not_equal(a.rows.pages[1], b.rows.pages[1]);
    /* Alone again, it goes on in its page from any place. */
    rk_page *const own = b.rows.pages[1];
    rk_token_rows_truncate(&b.rows, 65);
    append(&b, 3, 300);
    assert_ptr_equal(b.rows.pages[1], own);
    /* As a call does that was begun, stopped and begun again. */
    for (int i = 0; i < 3; i++) {
        rk_error err = {0};
        copy(&c, &b);
        test_ok(rk_token_rows_reserve(&c.rows, 100, &err), &err);
        assert_ptr_equal(c.rows.pages[1], own);
    }
    check(&t, &a);
    check(&t, &b);
    rk_token_rows_deinit(&a.rows);
    rk_token_rows_deinit(&b.rows);
    rk_token_rows_deinit(&c.rows);
    test_end(&t);
}

static void *go_on(void *arg)
{
    history *h = arg;
    for (int i = 0; i < 50; i++)
        append(h, 1 + i % 3, h->own + (float)(i * 10));
    return NULL;
}

/* Copies of one state go on at the same time. */
static void test_threads(void **state)
{
    (void)state;
    enum { N = 3 };
    for (int times = 0; times < 20; times++) {
        test_ctx t = test_begin(1);
        history h[N] = {0};
        pthread_t threads[N];
        for (int i = 0; i < N; i++)
            h[i].rows.layout = &layout;
        append(&h[0], 30, 7);
        for (int i = 1; i < N; i++)
            copy(&h[i], &h[0]);
        for (int i = 0; i < N; i++)
            h[i].own = (float)(i * 10000);
        for (int i = 0; i < N; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, go_on, &h[i]), 0);
        for (int i = 0; i < N; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < N; i++) {
            test_shape(&t, "copy %d", i);
            check(&t, &h[i]);
            rk_token_rows_deinit(&h[i].rows);
        }
        test_end(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_orders),
                                       cmocka_unit_test(test_sharing),
                                       cmocka_unit_test(test_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
