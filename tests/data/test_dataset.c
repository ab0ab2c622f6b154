/* test_dataset.c: documents, held-out parts and windows. */
#include "test_util.h"

#include "data/bits.h"
#include "data/dataset.h"

/* What a window has, of at most this many tokens. */
enum { ROOM = 128 };
typedef struct room {
    int32_t ids[ROOM];
    bool counts[ROOM];
} room;

static void window(const rk_dataset *d, uint64_t index, room *r)
{
    rk_dataset_window(d, index, &(rk_window){r->ids, r->counts, NULL});
}

static void val_window(const rk_dataset *d, int64_t i, room *r)
{
    rk_dataset_val_window(d, i, &(rk_window){r->ids, r->counts, NULL});
}

/* A token of the stream, which has to count. */
static int32_t token_at(const rk_token_stream *s, int64_t i)
{
    int32_t id;
    bool counts;
    rk_token_stream_read(s, i, 1, &id, &counts, NULL);
    assert_true(counts);
    return id;
}

static const rk_token_stream *train_of(const rk_dataset *d)
{
    return &d->sources[0].train;
}
static const rk_token_stream *val_of(const rk_dataset *d)
{
    return &d->sources[0].val;
}

/* Options of one file, of which a dataset borrows them. */
static rk_data_options *options_of(test_ctx *t, const char *path)
{
    rk_data_options *o = test_alloc(t, sizeof *o);
    *o = (rk_data_options){.paths = {path}, .n_paths = 1};
    return o;
}

static rk_dataset open_as(const rk_data_options *o, const char *tokenizer, double val_frac,
                          int64_t ctx_len, uint64_t seed)
{
    const rk_data_params p = {o, val_frac, ctx_len, seed};
    rk_tokenizer *tok = NULL;
    rk_dataset d;
    rk_error err = {0};
    assert_true(ctx_len < ROOM);
    test_ok(rk_tokenizer_new(&tok, tokenizer, &err), &err);
    test_ok(rk_dataset_init(&d, &p, tok, rk_tokenizer_n_vocab(tok), &err), &err);
    rk_tokenizer_free(tok);
    return d;
}

static rk_dataset load(test_ctx *t, const char *path, const char *tokenizer, double val_frac,
                       int64_t ctx_len, uint64_t seed)
{
    return open_as(options_of(t, path), tokenizer, val_frac, ctx_len, seed);
}

/* A text whose byte at i is i mod 251, which tells where a window lies. */
static const char *counting_text(test_ctx *t, const char *dir, size_t n)
{
    char *text = test_alloc(t, n), *path = test_path(t, dir, "count.txt");
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i % 251);
    test_write_file(path, text, n);
    return path;
}

static void test_tail_is_held_out(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *path = counting_text(&t, test_temp_dir(&t), 1009);
    rk_dataset d = load(&t, path, "byte", 0.1, 16, 7);
    assert_int_equal(train_of(&d)->n, 908); /* floor(0.9 * 1009) */
    assert_int_equal(val_of(&d)->n, 101);
    assert_int_equal(token_at(train_of(&d), 907), 907 % 251);
    assert_int_equal(token_at(val_of(&d), 0), 908 % 251);
    assert_int_equal(d.n_val, 6); /* 6 * 16 + 1 <= 101 < 7 * 16 + 1 */
    room r;
    val_window(&d, 5, &r);
    for (int i = 0; i < 17; i++)
        assert_int_equal(r.ids[i], (908 + 80 + i) % 251);
    rk_dataset_deinit(&d);
    test_end(&t);
}

/* In each epoch the windows are disjoint pieces of one grid and every one comes once. */
static void test_epochs(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const char *dir = test_temp_dir(&t);
    static const int64_t sizes[] = {5, 6, 8, 9, 17, 100, 250};
    enum { CTX = 4 };
    for (size_t s = 0; s < RK_COUNT(sizes); s++) {
        rk_dataset d = load(&t, counting_text(&t, dir, (size_t)sizes[s]), "byte", 0.0, CTX, 3);
        const int64_t n = sizes[s], n_windows = rk_max_i64(1, (n - CTX) / CTX);
        uint64_t phases = 0;
        for (int64_t epoch = 0; epoch < 40; epoch++) {
            bool seen[64] = {false};
            int64_t phase = -1;
            for (int64_t i = 0; i < n_windows; i++) {
                room r;
                test_shape(&t, "n %" PRId64 ", epoch %" PRId64 ", window %" PRId64, n, epoch, i);
                window(&d, (uint64_t)(epoch * n_windows + i), &r);
                const int64_t start = r.ids[0];
                for (int64_t j = 0; j <= CTX; j++)
                    assert_int_equal(r.ids[j], start + j);
                assert_true(start + CTX < n);
                if (phase < 0)
                    phase = start % CTX;
                assert_int_equal(start % CTX, phase);
                assert_false(seen[start / CTX]);
                seen[start / CTX] = true;
            }
            phases |= UINT64_C(1) << phase;
        }
        if (n >= 2 * CTX)
            assert_int_equal(phases, 15); /* every phase in 40 epochs */
        rk_dataset_deinit(&d);
        test_reset(&t);
    }
    test_end(&t);
}

/* A window is a function of its number alone; another seed or epoch gives another order. */
static void test_order(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const char *path = counting_text(&t, test_temp_dir(&t), 20000);
    rk_dataset a = load(&t, path, "byte", 0.0, 8, 1), b = load(&t, path, "byte", 0.0, 8, 2);
    room x, y, z;
    int same_seed = 0, other_seed = 0, next = 0;
    window(&a, 0, &z);
    for (uint64_t i = 0; i < 500; i++) {
        window(&a, i, &x);
        window(&b, i, &y);
        other_seed += memcmp(x.ids, y.ids, 9 * sizeof *x.ids) == 0;
        window(&a, i, &y);
        same_seed += memcmp(x.ids, y.ids, 9 * sizeof *x.ids) == 0;
        next += i > 0 && x.ids[0] == (z.ids[0] + 8) % 251; /* not in the order of the text */
        z = x;
    }
    assert_int_equal(same_seed, 500);
    assert_in_range(other_seed, 0, 20);
    assert_in_range(next, 0, 20);
    rk_dataset_deinit(&a);
    rk_dataset_deinit(&b);
    test_end(&t);
}

static char *documents(test_ctx *t, const char *dir, int n)
{
    char *path = test_path(t, dir, "docs.jsonl");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < n; i++)
        fprintf(f, "{\"text\": \"%c%c%c%c\"}\n", '0' + i, '0' + i, '0' + i, '0' + i);
    fclose(f);
    return path;
}

/* Whole documents of "XXXX" and token 0, in their order; returns a bit for each X. */
static uint64_t kinds(const rk_token_stream *r)
{
    uint64_t found = 0;
    assert_int_equal(r->n % 5, 0);
    for (int64_t i = 0; i < r->n; i += 5) {
        const int kind = token_at(r, i);
        for (int j = 0; j < 4; j++)
            assert_int_equal(token_at(r, i + j), kind);
        assert_int_equal(token_at(r, i + 4), 0);
        assert_true(found < UINT64_C(1) << (kind - '0'));
        found |= UINT64_C(1) << (kind - '0');
    }
    return found;
}

static void test_documents_are_held_out_whole(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const char *path = documents(&t, test_temp_dir(&t), 40);
    rk_dataset a = load(&t, path, "byte", 0.1, 4, 1), b = load(&t, path, "byte", 0.1, 4, 2);
    const uint64_t held = kinds(val_of(&a)), trained = kinds(train_of(&a));
    assert_int_equal(val_of(&a)->n, 4 * 5);
    assert_true((held & trained) == 0 && (held | trained) == (UINT64_C(1) << 40) - 1);
    assert_true(held != kinds(val_of(&b)));
    assert_true(a.checksum != b.checksum);
    rk_dataset_deinit(&a);
    rk_dataset_deinit(&b);
    test_end(&t);
}

static void test_few_documents_lose_their_tail(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    rk_dataset d = load(&t, documents(&t, test_temp_dir(&t), 19), "byte", 0.1, 4, 1);
    assert_int_equal(train_of(&d)->n, 85); /* floor(0.9 * 95) */
    assert_int_equal(val_of(&d)->n, 10);
    rk_dataset_deinit(&d);
    test_end(&t);
}

/* Text longer than the encoder's pieces comes out as the whole text would; and bytes are counted.
 */
static void test_long_text(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t), *line = "It is a truth universally acknowledged,\n";
    const size_t n_line = strlen(line), n = n_line * 5000;
    char *text = test_alloc(&t, n), *path = test_path(&t, dir, "long.txt");
    for (size_t i = 0; i < n; i++)
        text[i] = line[i % n_line];
    test_write_file(path, text, n);
    rk_tokenizer *tok = NULL;
    test_ok(rk_tokenizer_new(&tok, "world", &err), &err);
    int32_t *ids = test_alloc(&t, n * sizeof *ids);
    const int64_t n_ids = rk_tokenizer_encode(tok, text, n, ids, (int64_t)n);
    rk_dataset d = load(&t, path, "world", 0.5, 8, 1);
    assert_int_equal(train_of(&d)->n + val_of(&d)->n, n_ids);
    for (int64_t i = 0; i < n_ids; i++)
        assert_int_equal(i < train_of(&d)->n ? token_at(train_of(&d), i)
                                             : token_at(val_of(&d), i - train_of(&d)->n),
                         ids[i]);
    const double per_token = rk_dataset_val_bytes_per_token(&d, tok);
    assert_true(fabs(per_token - (double)n / (double)n_ids) < 1e-2);
    rk_dataset_deinit(&d);
    rk_tokenizer_free(tok);
    test_end(&t);
}

/* A vocabulary of every byte and of words "<00100>" to "<11000>" in hexadecimal, which is too many
 * ids for 16 bits. */
enum { WORDS_FIRST = 0x100, WORDS_END = 0x11000 };
static const char *large_vocabulary(test_ctx *t, const char *dir)
{
    char *path = test_path(t, dir, "large.txt");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 256; i++)
        fprintf(f, i < 128 ? "%d '\\x%02x' 1\n" : "%d b'\\x%02x' 1\n", i + 1, (unsigned)i);
    for (int i = WORDS_FIRST + 1; i < WORDS_END; i++)
        fprintf(f, "%d '<%05x>' 7\n", i, (unsigned)i);
    fclose(f);
    return path;
}

/* Ids that differ in their high bits alone stay apart. */
static void test_large_vocabulary(void **state)
{
    (void)state;
    enum { N = 200 };
    test_ctx t = test_begin(8);
    const char *dir = test_temp_dir(&t);
    char *text = test_alloc(&t, 7 * N + 1), *path = test_path(&t, dir, "words.txt");
    for (int i = 0; i < N; i++)
        snprintf(text + 7 * i, 8, "<%05x>",
                 i % 2 ? 0x10000u + 0x200u + (unsigned)i : 0x200u + (unsigned)i);
    test_write_file(path, text, 7 * N);
    rk_dataset d = load(&t, path, large_vocabulary(&t, dir), 0.25, 8, 1);
    assert_int_equal(train_of(&d)->n, 150);
    assert_int_equal(d.sources[0].corpus->type, RK_ID_I32);
    for (int i = 0; i < N; i++)
        assert_int_equal(i < 150 ? token_at(train_of(&d), i) : token_at(val_of(&d), i - 150),
                         0x200 + i + (i % 2 ? 0x10000 : 0));
    room r;
    val_window(&d, 1, &r);
    assert_int_equal(r.ids[1], 0x10000 + 0x200 + 159);
    rk_dataset_deinit(&d);
    rk_dataset bytes = load(&t, path, "byte", 0.25, 8, 1);
    assert_int_equal(bytes.sources[0].corpus->type, RK_ID_U16);
    rk_dataset_deinit(&bytes);
    test_end(&t);
}

static void test_too_small(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    const char *path = counting_text(&t, test_temp_dir(&t), 100);
    rk_tokenizer *tok = NULL;
    rk_error err = {0};
    rk_dataset d;
    test_ok(rk_tokenizer_new(&tok, "byte", &err), &err);
    rk_data_params p = {options_of(&t, path), 0.1, 90, 1};
    assert_int_equal(rk_dataset_init(&d, &p, tok, 256, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "90 tokens to train on, a window of --ctx-len 90 needs 91"));
    p.ctx_len = 10;
    assert_int_equal(rk_dataset_init(&d, &p, tok, 256, &err), RK_ERR_ARG);
    assert_non_null(
        strstr(err.msg, "--val-frac 0.1 holds out 10 tokens, a window of --ctx-len 10 needs 11;"));
    p.val_frac = 0.0;
    test_ok(rk_dataset_init(&d, &p, tok, 256, &err), &err);
    assert_int_equal(d.n_val, 0);
    assert_true(rk_dataset_val_bytes_per_token(&d, tok) == 0.0);
    rk_dataset_deinit(&d);
    rk_tokenizer_free(tok);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_is_held_out),
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_documents_are_held_out_whole),
        cmocka_unit_test(test_few_documents_lose_their_tail),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
