/* Packed files: what is read, what is refused, what an interrupted packing ends with; orders and mixtures. */
#include "test_util.h"

#include "data/bits.h"
#include "data/dataset.h"
#include "data/pack.h"

static const char *put_file(test_ctx *t, const char *dir, const char *name, const void *bytes,
                            size_t n)
{
    const char *path = test_path(t, dir, name);
    test_write_file(path, bytes, n);
    return path;
}

/* ---- orders ---- */

static void test_cubic(void **state)
{
    (void)state;
    static const struct {
        int64_t n, ctx, prime, factor, starts[3];
    } rows[] = {
        {1498226207, 512, 2926181, 1808479, {925941248, 1414711296, 1029138944}},
        {1498226207, 4096, 365759, 226051, {925904896, 1414643712, 1029050368}},
        {332115325534, 4096, 81082817, 50111936, {205258489856, -1, -1}},
    };
    rk_cubic c;
    rk_error err;
    for (size_t r = 0; r < RK_COUNT(rows); r++) {
        test_ok(rk_cubic_init(&c, rows[r].n, rows[r].ctx, &err), &err);
        assert_int_equal(c.prime, rows[r].prime);
        assert_int_equal(c.factor, rows[r].factor);
        for (uint64_t i = 0; i < 3 && rows[r].starts[i] >= 0; i++)
            assert_int_equal(rk_cubic_window(&c, rows[r].ctx, i), rows[r].starts[i]);
    }
    /* Every block once in prime windows, and again. */
    enum { CTX = 4, N = 4 * 200 };
    bool seen[N / CTX] = {false};
    test_ok(rk_cubic_init(&c, N, CTX, &err), &err);
    for (int64_t i = 0; i < c.prime; i++) {
        const int64_t at = rk_cubic_window(&c, CTX, (uint64_t)i);
        assert_true(at % CTX == 0 && at + CTX < N && !seen[at / CTX]);
        seen[at / CTX] = true;
        assert_int_equal(rk_cubic_window(&c, CTX, (uint64_t)(i + c.prime)), at);
    }
    test_ok(rk_cubic_init(&c, 4 * 198, CTX, &err), &err); /* below 198 - 1 */
    assert_int_equal(c.prime, 191);
    test_ok(rk_cubic_init(&c, 4 * 198 + 1, CTX, &err), &err);
    assert_int_equal(c.prime, 197);
    assert_int_equal(rk_cubic_init(&c, 60, 4, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "the cubic order of 15 windows meets 11 of them"));
}

static void test_mixture(void **state)
{
    (void)state;
    static const double weights[] = {0.5, 3.0, 1.0, 0.01};
    enum { N = 4 };
    rk_mixture m;
    uint64_t count[N] = {0};
    rk_mixture_init(&m, weights, N);
    for (uint64_t i = 0; i < 100000; i++) {
        uint64_t number;
        const int s = rk_mixture_pick(&m, i, &number);
        assert_int_equal(number, count[s]); /* each in its own order, without a gap */
        count[s]++;
        for (int k = 0; k < N; k++)
            assert_true(fabs((double)count[k] - (double)(i + 1) * weights[k] / 4.51) < N);
    }
    uint64_t number;
    rk_mixture_init(&m, weights, 1);
    assert_int_equal(rk_mixture_pick(&m, UINT64_MAX, &number), 0);
    assert_true(number == UINT64_MAX);
}

/* ---- formats ---- */

static rk_corpus *open_good(const char *path)
{
    rk_corpus *c = NULL;
    rk_error err;
    test_ok(rk_corpus_open(&c, path, &err), &err);
    return c;
}

static void refused(const char *path, rk_status code, const char *part)
{
    rk_corpus *c = NULL;
    rk_error err = {0};
    const rk_status st = rk_corpus_open(&c, path, &err);
    if (st != code || !strstr(err.msg, part))
        fail_msg("%s: status %d, expected %d and '%s' in: %s", path, (int)st, (int)code, part,
                 err.msg);
}

static void test_llmc(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    uint32_t file[256 + 2] = {20240520, 1, 3};
    uint16_t *ids = (uint16_t *)(void *)(file + 256);
    ids[0] = 50256, ids[1] = 65535, ids[2] = 7;
    const char *path = put_file(&t, dir, "a.bin", file, 1024 + 6);
    rk_corpus *c = open_good(path);
    assert_int_equal(c->n, 3);
    assert_int_equal(rk_ids_at(c->type, c->ids, 1), 65535);
    rk_error err;
    test_ok(rk_corpus_check_ids(c, 65536, &err), &err);
    assert_int_equal(rk_corpus_check_ids(c, 50257, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(
        err.msg, "a.bin: byte 1026: token 1 is 65535, the vocabulary has ids from 0 to 50256"));
    rk_corpus_close(c);
    put_file(&t, dir, "a.bin", file, 1024 + 5);
    refused(path, RK_ERR_FORMAT,
            "byte 8: 3 tokens of 2 bytes and a header of 1024 do not make its 1029");
    file[0] = 20240801, file[1] = 7, file[2] = 2;
    c = open_good(put_file(&t, dir, "b.bin", file, sizeof file));
    assert_int_equal(c->type, RK_ID_U32);
    rk_corpus_close(c);
    file[1] = 8;
    refused(put_file(&t, dir, "b.bin", file, sizeof file), RK_ERR_UNSUPPORTED, "byte 4: version 8");
    file[0]++;
    refused(put_file(&t, dir, "b.bin", file, sizeof file), RK_ERR_FORMAT, "no .idx is beside it");
    test_end(&t);
}

static void test_npy(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const char *dir = test_temp_dir(&t);
    char file[128 + 24] = "\x93NUMPY\x01";
    file[8] = 118;
    memset(file + 10, ' ', 118);
    file[127] = '\n';
    static const char dict[] = "{'descr': '<i8', 'fortran_order': False, 'shape': (1, 3), }";
    memcpy(file + 10, dict, sizeof dict - 1);
    const int64_t ids[3] = {1, INT64_C(1) << 40, -2};
    memcpy(file + 128, ids, sizeof ids);
    const char *path = put_file(&t, dir, "a.npy", file, sizeof file);
    rk_corpus *c = open_good(path);
    rk_error err;
    assert_int_equal(c->n_docs, 1);
    assert_int_equal(c->n, 3);
    assert_int_equal(rk_corpus_check_ids(c, 65536, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "byte 136: token 1 is 1099511627776,"));
    rk_corpus_close(c);
    memcpy(strstr(file + 10, "<i8"), "<f8", 3);
    refused(put_file(&t, dir, "a.npy", file, sizeof file), RK_ERR_UNSUPPORTED, "whole numbers");
    test_end(&t);
}

/* Two documents of 2 and 1 tokens. */
typedef struct pair {
    unsigned char idx[34 + 12 * 2 + 8 * 3];
    uint16_t bin[3];
} pair;

static void put_number(pair *p, size_t at, int64_t x, size_t bytes)
{
    memcpy(p->idx + at, &x, bytes);
}

static pair good_pair(void)
{
    pair p = {.idx = "MMIDIDX", .bin = {5, 6, 0}};
    put_number(&p, 9, 1, 8);
    put_number(&p, 17, 8, 1);
    put_number(&p, 18, 2, 8);
    put_number(&p, 26, 3, 8);
    put_number(&p, 34, 2, 4);
    put_number(&p, 38, 1, 4);
    put_number(&p, 50, 4, 8);
    put_number(&p, 66, 1, 8);
    put_number(&p, 74, 2, 8);
    return p;
}

static const char *put_pair(test_ctx *t, const char *dir, const pair *p, size_t idx_bytes)
{
    put_file(t, dir, "p.idx", p->idx, idx_bytes);
    return put_file(t, dir, "p.bin", p->bin, sizeof p->bin);
}

static void test_index_that_lies(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    const char *dir = test_temp_dir(&t);
    static const struct {
        size_t at, bytes;
        int64_t value;
        rk_status code;
        const char *part;
    } rows[] = {
        {0, 1, 'X', RK_ERR_FORMAT, "p.idx: is no index of Megatron"},
        {9, 8, 2, RK_ERR_UNSUPPORTED, "p.idx: byte 9: version 2, expected 1"},
        {17, 1, 6, RK_ERR_UNSUPPORTED, "p.idx: byte 17: type 6 of tokens"},
        {17, 1, 0, RK_ERR_UNSUPPORTED, "p.idx: byte 17: type 0 of tokens"},
        {17, 1, 4, RK_ERR_FORMAT, "p.bin: sequence 0 ends at byte 8, the file has 6"},
        {18, 8, 3, RK_ERR_FORMAT, "p.idx: byte 18: 3 sequences and 3 documents do not fit"},
        {18, 8, INT64_MAX, RK_ERR_FORMAT, "do not fit its 82 bytes"},
        {26, 8, -1, RK_ERR_FORMAT, "do not fit its 82 bytes"},
        {34, 4, -1, RK_ERR_FORMAT, "p.idx: byte 34: sequence 0 has -1 tokens"},
        {34, 4, INT32_MAX, RK_ERR_FORMAT,
         "p.bin: sequence 0 ends at byte 4294967294, the file has 6"},
        {38, 4, 0, RK_ERR_FORMAT, "p.bin: has 6 bytes,"},
        {42, 8, 2, RK_ERR_FORMAT, "p.idx: byte 42: sequence 0 begins at byte 2 of"},
        {50, 8, -4, RK_ERR_FORMAT, "p.idx: byte 50: sequence 1 begins at byte -4 of"},
        {58, 8, 1, RK_ERR_FORMAT, "p.idx: byte 58: document 0 begins with sequence 1, expected 0"},
        {66, 8, 9, RK_ERR_FORMAT,
         "p.idx: byte 66: document 1 begins with sequence 9, expected at least 0"},
        {74, 8, 1, RK_ERR_FORMAT, "p.idx: byte 74: document 2 begins with sequence 1, expected 2"},
    };
    pair p = good_pair();
    rk_corpus *c = open_good(put_pair(&t, dir, &p, sizeof p.idx));
    assert_int_equal(c->n_docs, 2);
    assert_int_equal(c->start(c, 1), 2);
    assert_int_equal(c->start(c, 2), 3);
    rk_corpus_close(c);
    c = open_good(test_path(&t, dir, "p")); /* the name of the pair */
    rk_corpus_close(c);
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        p = good_pair();
        put_number(&p, rows[i].at, rows[i].value, rows[i].bytes);
        refused(put_pair(&t, dir, &p, sizeof p.idx), rows[i].code, rows[i].part);
    }
    p = good_pair();
    for (size_t n = 1; n < sizeof p.idx; n++)
        refused(put_pair(&t, dir, &p, n), RK_ERR_FORMAT, "p.idx: ");
    put_pair(&t, dir, &p, sizeof p.idx);
    put_file(&t, dir, "p.mask", "xx", 2);
    refused(test_path(&t, dir, "p.bin"), RK_ERR_FORMAT,
            "p.mask: has 2 bytes, a bit for each of 3 tokens are 1");
    put_file(&t, dir, "p.mask", "\x05", 1);
    put_file(&t, dir, "p.json", "[1]", 3); /* another program's */
    c = open_good(test_path(&t, dir, "p.bin"));
    assert_int_equal(rk_corpus_n_counted(c), 2);
    rk_corpus_close(c);
    static const char *const about[] = {
        "{\"format\": \"rwkv-packed\", \"version\": 2}",
        "version 1",
        "{\"format\": \"rwkv-packed\", \"dtype\": \"u16\", \"tokens\": 4, \"documents\": 2}",
        "tells of 4 tokens, it has 3",
        "{\"format\": \"rwkv-packed\", \"dtype\": \"u16\", \"tokens\": 3, \"documents\": 1}",
        "tells of 1 documents, it has 2",
        "{\"format\": \"rwkv-packed\", \"dtype\": \"i32\"}",
        "tells of i32, its .idx of u16",
        "{\"format\": \"rwkv-packed\", \"bin\": [\"12\"]}",
        "a checksum of 16 hexadecimal digits",
        "{\"format\": \"rwkv-packed\"",
        "byte 25: expected '}'"};
    for (size_t i = 0; i < RK_COUNT(about); i += 2) {
        put_file(&t, dir, "p.json", about[i], strlen(about[i]));
        refused(test_path(&t, dir, "p.bin"), RK_ERR_FORMAT, about[i + 1]);
    }
    test_end(&t);
}

/* ---- packing ---- */

enum { FILES = 5, DOCS = 40 };

/* Files of documents, of which every second does not count wholly. */
static void put_files(test_ctx *t, const char *dir, const char **paths)
{
    for (int f = 0; f < FILES; f++) {
        char name[16];
        snprintf(name, sizeof name, "f%d.jsonl", f);
        paths[f] = test_path(t, dir, name);
        FILE *out = fopen(paths[f], "w");
        assert_non_null(out);
        for (int i = 0; i < DOCS; i++)
            if (i % 2)
                fprintf(out, "{\"text\": \"document %d of file %d\"}\n", i, f);
            else
                fprintf(out, "{\"prompt\": \"%d?\", \"response\": \"%d!\"}\n", i, f);
        fclose(out);
    }
}

/* A signal at the n-th time of asking. */
static int countdown(void *left)
{
    return --*(int *)left == 0 ? 2 : 0;
}

static rk_pack_result pack(const char *const *paths, const char *out, int n_threads, int stop_at,
                           const rk_tokenizer *tok)
{
    rk_pool *pool = NULL;
    rk_pack_result result;
    rk_error err;
    const rk_log log = {0};
    test_ok(rk_pool_new(&pool, n_threads, NULL, NULL, NULL, &err), &err);
    const rk_pack_params p = {.paths = paths,
                              .n_paths = FILES,
                              .out = out,
                              .tokenizer_name = "byte",
                              .tokenizer = tok,
                              .n_vocab = 256,
                              .chat = rk_chat_formats};
    const rk_pack_env env = {
        .pool = pool, .log = &log, .signal = countdown, .signal_user = &stop_at};
    test_ok(rk_pack(&p, &env, &result, &err), &err);
    rk_pool_free(pool);
    return result;
}

static void same_files(test_ctx *t, const char *dir, const char *a, const char *b)
{
    static const char *const endings[] = {"bin", "idx", "mask", "json"};
    for (size_t i = 0; i < RK_COUNT(endings); i++) {
        char name[2][32];
        size_t n[2];
        snprintf(name[0], 32, "%s.%s", a, endings[i]);
        snprintf(name[1], 32, "%s.%s", b, endings[i]);
        const char *x = test_read_file(t, test_path(t, dir, name[0]), &n[0]);
        const char *y = test_read_file(t, test_path(t, dir, name[1]), &n[1]);
        assert_int_equal(n[0], n[1]);
        test_same(t, endings[i], x, y, n[0]);
        if (i < 3)
            unlink(test_path(t, dir, name[1]));
    }
    unlink(test_path(t, dir, "got.json"));
}

/* Stopped at any time, with bytes behind what was saved, as a killed process leaves them. */
static void test_stopped(void **state)
{
    (void)state;
    test_ctx t = test_begin(4);
    const char *dir = test_temp_dir(&t), *paths[FILES];
    const char *want = test_path(&t, dir, "want.bin"), *got = test_path(&t, dir, "got.bin");
    static const char *const parts[] = {"got.bin.packing/bin", "got.bin.packing/lengths",
                                        "got.bin.packing/mask"};
    rk_tokenizer *tok = NULL;
    rk_error err;
    test_ok(rk_tokenizer_new(&tok, "byte", &err), &err);
    put_files(&t, dir, paths);
    rk_pack_result r = pack(paths, want, 3, 0, tok);
    assert_int_equal(r.n_docs, FILES * DOCS);
    for (int stop = 1; stop <= FILES; stop++) {
        r = pack(paths, got, 1 + stop % 2, stop, tok);
        assert_int_equal(r.signal, 2);
        assert_true(access(got, F_OK) != 0);
        for (size_t i = 0; i < RK_COUNT(parts); i++) {
            FILE *f = access(test_path(&t, dir, parts[i]), F_OK)
                          ? NULL
                          : fopen(test_path(&t, dir, parts[i]), "ab");
            if (f) {
                for (int k = 0; k < 20000; k++)
                    fputs("torn", f);
                fclose(f);
            }
        }
        r = pack(paths, got, 2, 0, tok);
        assert_int_equal(r.signal, 0);
        same_files(&t, dir, "want", "got");
    }
    rk_tokenizer_free(tok);
    test_end(&t);
}

/* Windows of packed documents are those of the text, held out or not, with what counts in them. */
static void same_windows(const rk_data_options *a, const rk_data_options *b,
                         const rk_tokenizer *tok)
{
    enum { CTX = 24 };
    rk_dataset x, y;
    rk_error err;
    int32_t ids[2][CTX + 1];
    bool counts[2][CTX + 1];
    test_ok(rk_dataset_init(&x, &(rk_data_params){a, 0.2, CTX, 5}, tok, 256, &err), &err);
    test_ok(rk_dataset_init(&y, &(rk_data_params){b, 0.2, CTX, 5}, tok, 256, &err), &err);
    assert_int_equal(x.n_val, y.n_val);
    assert_true(x.n_val > 0);
    for (int64_t i = 0; i < 100 + x.n_val; i++) {
        for (int k = 0; k < 2; k++) {
            const rk_window w = {ids[k], counts[k], NULL};
            if (i < 100)
                rk_dataset_window(k ? &y : &x, (uint64_t)i, &w);
            else
                rk_dataset_val_window(k ? &y : &x, i - 100, &w);
        }
        assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
        assert_memory_equal(counts[0], counts[1], sizeof counts[0]);
    }
    rk_dataset_deinit(&x);
    rk_dataset_deinit(&y);
}

static void test_windows(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    const char *dir = test_temp_dir(&t), *paths[FILES];
    const char *bin = test_path(&t, dir, "all.bin"), *all = test_path(&t, dir, "all.jsonl");
    rk_tokenizer *tok = NULL;
    rk_error err;
    test_ok(rk_tokenizer_new(&tok, "byte", &err), &err);
    put_files(&t, dir, paths);
    FILE *out = fopen(all, "w");
    for (int f = 0; f < FILES; f++)
        fputs(test_read_file(&t, paths[f], NULL), out);
    fclose(out);
    pack(paths, bin, 1, 0, tok);
    rk_data_options a = {.paths = {all}, .n_paths = 1}, b = {.paths = {bin}, .n_paths = 1};
    same_windows(&a, &b, tok);
    a.packing = b.packing = RK_PACKING_NONE;
    same_windows(&a, &b, tok);

    /* Where states begin anew: behind each token 0, and what begins there is no target. */
    rk_dataset apart;
    int32_t row[25];
    bool count[25], begins[25];
    b.packing = RK_PACKING_WRAPPED;
    test_ok(rk_dataset_init(&apart, &(rk_data_params){&b, 0.2, 24, 5}, tok, 256, &err), &err);
    for (uint64_t i = 0; i < 200; i++) {
        rk_dataset_window(&apart, i, &(rk_window){row, count, begins});
        for (int k = 1; k < 25; k++) {
            assert_int_equal(begins[k], row[k - 1] == 0);
            assert_false(begins[k] && count[k]);
        }
    }
    rk_dataset_deinit(&apart);
    b.packing = RK_PACKING_NONE;

    /* A document a window: its prompt does not count, nor does what is missing behind it. */
    enum { CTX = 40 };
    rk_dataset d;
    int32_t ids[CTX + 1];
    bool counts[CTX + 1];
    test_ok(rk_dataset_init(&d, &(rk_data_params){&b, 0.0, CTX, 5}, tok, 256, &err), &err);
    for (uint64_t i = 0; i < FILES * DOCS; i++) {
        rk_dataset_window(&d, i, &(rk_window){ids, counts, NULL});
        int end = 0, first = 0;
        while (ids[end] != 0)
            end++;
        while (!counts[first])
            first++;
        if (ids[0] == 'U') {
            assert_int_equal(first, end - 3); /* " 4!" and token 0 */
            assert_int_equal(ids[first - 1], ':');
        } else {
            assert_int_equal(first, 0);
        }
        for (int k = 0; k <= CTX; k++) {
            assert_int_equal(counts[k], k >= first && k <= end);
            assert_true(k <= end || ids[k] == 0);
        }
    }
    rk_dataset_deinit(&d);
    rk_tokenizer_free(tok);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cubic),
        cmocka_unit_test(test_mixture),
        cmocka_unit_test(test_llmc),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_index_that_lies),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
