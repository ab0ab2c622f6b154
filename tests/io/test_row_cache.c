/* Rows through a cache: what is asked for comes, the oldest row goes, and a file that changes is noticed. */
#include "test_util.h"

#include "io/row_cache.h"

enum { N_ROWS = 2000, ROW = 24, TOKENS = 10000, LIST_MAX = 24, BEFORE = 40 };

typedef struct table {
    char *path;
    unsigned char *bytes; /* of the file */
    size_t n;
    rk_map map;
} table;

static table table_open(test_ctx *t)
{
    table x = {.path = test_path(t, test_temp_dir(t), "rows"), .n = BEFORE + N_ROWS * ROW};
    rk_error err = {0};
    x.bytes = test_alloc(t, x.n);
    for (size_t i = 0; i < x.n; i++)
        x.bytes[i] = (unsigned char)(rk_rng_f32(t->seed, RK_RNG_TEST, 0, i) * 256.0f);
    test_write_file(x.path, x.bytes, x.n);
    test_ok(rk_map_open(&x.map, x.path, &err), &err);
    return x;
}

static rk_row_cache *cache_of(const table *x, int64_t capacity)
{
    rk_row_cache *c = NULL;
    rk_error err = {0};
    test_ok(rk_row_cache_new(&c, &x->map, x->map.data + BEFORE, ROW, N_ROWS, capacity, &err), &err);
    return c;
}

/* The rows held by age, the newest first, and whether the fetch at hand wants them: what a cache should do, said
 * plainly. */
typedef struct model {
    int32_t rows[N_ROWS + 1];
    bool wanted[N_ROWS + 1];
    int64_t n, capacity, hits, misses;
} model;

static int64_t place_in(const model *m, int32_t row)
{
    int64_t at = 0;
    while (at < m->n && m->rows[at] != row)
        at++;
    return at;
}

static void to_front(model *m, int64_t at, int32_t row)
{
    memmove(m->rows + 1, m->rows, (size_t)at * sizeof *m->rows);
    memmove(m->wanted + 1, m->wanted, (size_t)at * sizeof *m->wanted);
    m->rows[0] = row;
    m->wanted[0] = true;
}

/* False: there is no place left for this fetch. */
static bool model_ask(model *m, int32_t row, bool must)
{
    int64_t at = place_in(m, row);
    if (at == m->n && m->n == m->capacity && m->wanted[m->n - 1] && !must)
        return false;
    m->hits += at < m->n;
    m->misses += at == m->n;
    if (at == m->n && m->n < m->capacity)
        m->n++;
    to_front(m, rk_min_i64(at, m->n - 1), row);
    return true;
}

static int64_t model_fetch(model *m, const int32_t *ids, int64_t n)
{
    memset(m->wanted, 0, sizeof m->wanted);
    for (int64_t i = n - 1; i >= 0; i--)
        if (place_in(m, ids[i]) < m->n)
            to_front(m, place_in(m, ids[i]), ids[i]);
    for (int64_t i = 0; i < n; i++)
        if (!model_ask(m, ids[i], i < rk_max_i64(m->capacity / 4, 1)))
            return i;
    return n;
}

/* Rows that come often, and rows that come once. */
static int32_t draw(test_ctx *t, uint64_t i)
{
    const float u = rk_rng_f32(t->seed, RK_RNG_TEST, 1, i);
    return (int32_t)(u * u * u * (float)(N_ROWS - 1));
}

static void check_against_model(test_ctx *t, const table *x, int64_t capacity)
{
    rk_row_cache *c = cache_of(x, capacity);
    model *m = test_alloc(t, sizeof *m);
    rk_error err = {0};
    *m = (model){.capacity = capacity};
    test_shape(t, "capacity %" PRId64, capacity);
    for (int64_t done = 0; done < TOKENS;) {
        int32_t ids[LIST_MAX];
        const void *rows[LIST_MAX];
        int64_t found = 0;
        const int64_t n = 1 + done % LIST_MAX;
        for (int64_t i = 0; i < n; i++)
            ids[i] = draw(t, (uint64_t)(done + i));
        test_ok(rk_row_cache_fetch(c, NULL, ids, n, rows, &found, &err), &err);
        assert_in_range(found, 1, n);
        assert_int_equal(found, model_fetch(m, ids, n));
        for (int64_t i = 0; i < found; i++)
            assert_memory_equal(rows[i], x->bytes + BEFORE + (size_t)ids[i] * ROW, ROW);
        assert_true(rk_row_cache_stats(c).held <= capacity);
        assert_int_equal(rk_row_cache_oldest(c), m->rows[m->n - 1]);
        done += found;
    }
    const rk_row_stats s = rk_row_cache_stats(c);
    assert_int_equal(s.hits, m->hits);
    assert_int_equal(s.misses, m->misses);
    assert_int_equal(s.bytes_read, m->misses * ROW);
    assert_int_equal(s.held, m->n);
    rk_row_cache_free(c);
}

static void test_least_recently_used(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    table x = table_open(&t);
    static const int64_t capacities[] = {1, 10, 1000, N_ROWS};
    for (size_t i = 0; i < RK_COUNT(capacities); i++)
        check_against_model(&t, &x, capacities[i]);
    rk_map_close(&x.map);
    test_end(&t);
}

/* A list of more rows than are held comes in pieces; the same row several times is one. */
static void test_long_list(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    table x = table_open(&t);
    rk_row_cache *c = cache_of(&x, 3);
    rk_error err = {0};
    const int32_t ids[] = {7, 7, 8, 7, 9, 10, 9};
    const void *rows[RK_COUNT(ids)];
    int64_t found = 0;
    test_ok(rk_row_cache_fetch(c, NULL, ids, RK_COUNT(ids), rows, &found, &err), &err);
    assert_int_equal(found, 5);
    assert_ptr_equal(rows[0], rows[3]);
    test_ok(rk_row_cache_fetch(c, NULL, ids + 5, 2, rows, &found, &err), &err);
    assert_int_equal(found, 2);
    assert_int_equal(rk_row_cache_stats(c).misses, 4);
    assert_int_equal(rk_row_cache_oldest(c), 7);
    rk_row_cache_free(c);
    rk_row_cache_free(NULL);
    rk_map_close(&x.map);
    test_end(&t);
}

/* Runs of rows, some of which are held, up to the table's end. */
static void test_runs(void **state)
{
    (void)state;
    enum { N = 200 };
    test_ctx t = test_begin(4);
    table x = table_open(&t);
    static const int64_t capacities[] = {50, N_ROWS};
    for (size_t c = 0; c < RK_COUNT(capacities); c++) {
        rk_row_cache *cache = cache_of(&x, capacities[c]);
        rk_error err = {0};
        const int32_t some[] = {N_ROWS - 1, N_ROWS - 40, N_ROWS - 41, N_ROWS - 90};
        int32_t ids[N];
        const void *rows[N];
        int64_t found = 0;
        test_ok(rk_row_cache_fetch(cache, NULL, some, RK_COUNT(some), rows, &found, &err), &err);
        for (int i = 0; i < N; i++)
            ids[i] = N_ROWS - N + i;
        for (int64_t done = 0; done < N; done += found) {
            test_ok(rk_row_cache_fetch(cache, NULL, ids + done, N - done, rows, &found, &err),
                    &err);
            for (int64_t i = 0; i < found; i++)
                assert_memory_equal(rows[i], x.bytes + BEFORE + (size_t)ids[done + i] * ROW, ROW);
        }
        assert_true(rk_row_cache_stats(cache).hits > 0);
        rk_row_cache_free(cache);
    }
    rk_map_close(&x.map);
    test_end(&t);
}

static void refused(rk_row_cache *c, int32_t row, const char *part)
{
    rk_error err = {0};
    const void *rows[1];
    int64_t found = 0;
    assert_int_equal(rk_row_cache_fetch(c, NULL, &row, 1, rows, &found, &err), RK_ERR_IO);
    if (!strstr(err.msg, part))
        fail_msg("'%s' does not say '%s'", err.msg, part);
    assert_int_equal(rk_row_cache_stats(c).held, 0);
}

static void test_changed(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    table x = table_open(&t);
    rk_row_cache *c = cache_of(&x, 10);
    rk_error err = {0};
    const void *rows[1];
    int64_t found = 0;
    const int32_t first = 0;
    test_ok(rk_row_cache_fetch(c, NULL, &first, 1, rows, &found, &err), &err);
    assert_int_equal(truncate(x.path, BEFORE + 5 * ROW + 1), 0);
    refused(c, 5, "was cut while in use");  /* in the middle of the row */
    refused(c, 90, "was cut while in use"); /* behind the end */
    refused(c, 1, "was cut while in use");  /* what is there may be another file's, too */
    const int32_t run[] = {3, 4, 5, 6};     /* of which two are there */
    const void *four[RK_COUNT(run)];
    assert_int_equal(rk_row_cache_fetch(c, NULL, run, RK_COUNT(run), four, &found, &err),
                     RK_ERR_IO);
    assert_int_equal(rk_row_cache_stats(c).held, 0);
    test_sleep_ms(20);
    test_write_file(x.path, x.bytes, x.n);
    refused(c, 1, "was written to while in use");
    rk_row_cache_free(c);
    rk_map_close(&x.map);
    test_end(&t);
}

static void test_memory(void **state)
{
    (void)state;
    rk_map m;
    rk_row_cache *c = NULL;
    rk_error err = {0};
    const void *rows[2];
    int64_t found = 0;
    const int32_t ids[] = {2, 0};
    test_ok(rk_map_memory(&m, "aabbcc", 6, "here", &err), &err);
    test_ok(rk_row_cache_new(&c, &m, m.data, 2, 3, 100, &err), &err);
    assert_int_equal(rk_row_cache_capacity(c), 3);
    test_ok(rk_row_cache_fetch(c, NULL, ids, 2, rows, &found, &err), &err);
    assert_memory_equal(rows[0], "cc", 2);
    assert_memory_equal(rows[1], "aa", 2);
    rk_row_cache_free(c);
    rk_map_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_recently_used),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
