/* Every file of the folders of malformed input: the expected status, a sentence that says what is
 * wrong, at most a second and 64 MiB; and large hostile files, which may take four times their
 * size. */
#include "test_util.h"

#include <sys/resource.h>

#include "base/clock.h"
#include "data/text_file.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "text/gguf_vocab.h"
#include "text/tokenizer.h"

enum { MIB = 1024 * 1024, SLACK_MIB = 64 };

/* Open a file, read all that was accepted, close. */
static volatile unsigned sink;

static void read_bytes(const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++)
        sink += p[i];
}

static rk_status open_safetensors(const char *path, rk_error *err)
{
    rk_st *f = NULL;
    const rk_status st = rk_st_open(&f, path, err);
    for (int64_t i = 0; st == RK_OK && i < rk_st_count(f); i++) {
        const rk_file_tensor *t = rk_st_at(f, i);
        assert_ptr_equal(rk_st_find(f, t->name), t);
        read_bytes(t->data, t->bytes);
    }
    rk_st_close(f);
    return st;
}

static rk_status open_container(const char *path, rk_error *err)
{
    rk_file *f = NULL;
    const rk_status st = rk_file_open(&f, path, err);
    for (int64_t i = 0; st == RK_OK && i < rk_file_count(f); i++) {
        const rk_file_tensor *t = rk_file_at(f, i);
        assert_ptr_equal(rk_file_find(f, t->name), t);
        read_bytes(t->data, t->bytes);
    }
    rk_file_close(f);
    return st;
}

static rk_status open_npy(const char *path, rk_error *err)
{
    rk_npy f;
    const rk_status st = rk_npy_open(&f, path, err);
    if (st == RK_OK)
        for (int64_t i = 0; i < f.dims[0] * (f.n_dims == 2 ? f.dims[1] : 1); i++)
            read_bytes(&f.data[i], sizeof f.data[i]);
    rk_npy_close(&f);
    return st;
}

/* As tokens of single bytes. */
static rk_status open_jsonl(const char *path, rk_error *err)
{
    rk_tokenizer *tok = NULL;
    rk_text_file f;
    rk_token_list list;
    rk_token_list_init(&list, RK_ID_U16);
    rk_status st = rk_tokenizer_new(&tok, "byte", err);
    if (st == RK_OK)
        st = rk_text_file_open(&f, path, err);
    if (st == RK_OK) {
        const rk_text_how how = {.tokenizer = tok, .ends = true};
        st = rk_text_file_encode(&f, &how, &list, err);
        rk_text_file_close(&f);
    }
    if (st == RK_OK)
        read_bytes(list.ids, (size_t)list.n * 2);
    rk_token_list_deinit(&list);
    rk_tokenizer_free(tok);
    return st;
}

/* A vocabulary of either kind; what is accepted encodes something and decodes all. */
static rk_status open_tokenizer(const char *path, rk_error *err)
{
    static const char text[] = "hello  hell\xcc\x81 he<|end|> \xff";
    rk_tokenizer *t = NULL;
    const rk_status st = rk_tokenizer_new(&t, path, err);
    for (int64_t id = 0; st == RK_OK && id < rk_tokenizer_n_vocab(t); id++) {
        size_t n;
        const char *bytes = rk_tokenizer_bytes(t, (int32_t)id, &n);
        read_bytes(bytes, n);
    }
    if (st == RK_OK)
        assert_true(rk_tokenizer_encode(t, text, sizeof text - 1, NULL, 0) > 0);
    rk_tokenizer_free(t);
    return st;
}

static rk_status open_gguf_vocab(const char *path, rk_error *err)
{
    rk_tokenizer *t = NULL;
    rk_file *f = NULL;
    rk_status st = rk_file_open(&f, path, err);
    if (st == RK_OK)
        st = rk_gguf_get_vocab(&t, f, err);
    if (st == RK_OK && t)
        assert_in_range(rk_tokenizer_encode(t, "he said it's", 12, NULL, 0),
                        rk_tokenizer_has_merges(t) ? 11 : 8, rk_tokenizer_has_merges(t) ? 12 : 8);
    rk_tokenizer_free(t);
    rk_file_close(f);
    return st;
}

typedef rk_status open_fn(const char *path, rk_error *err);

static long peak_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void check_row(test_ctx *t, const char *dir, open_fn *fn, char *row)
{
    static const char *const statuses[] = {
        [RK_OK] = "OK", [RK_ERR_FORMAT] = "FORMAT", [RK_ERR_UNSUPPORTED] = "UNSUPPORTED"};
    rk_error err = {.msg = ""};
    char *status = strchr(row, '\t'), *part = strchr(status + 1, '\t');
    *status++ = *part++ = '\0';
    const char *path = test_path(t, dir, row);
    const double begin = rk_now_s();
    test_cap_memory(SLACK_MIB * (size_t)MIB + 4 * test_file_bytes(path));
    const rk_status st = fn(path, &err);
    test_cap_memory(0);
    if (rk_now_s() - begin > 1.0)
        fail_msg("%s took %.2f s", row, rk_now_s() - begin);
    if ((size_t)st >= RK_COUNT(statuses) || !statuses[st] || strcmp(statuses[st], status) != 0)
        fail_msg("%s: status %d, expected %s: %s", row, (int)st, status, err.msg);
    if (st != RK_OK && (!strstr(err.msg, part) || strncmp(err.msg, path, strlen(path)) != 0))
        fail_msg("%s: expected '%s' in: %s", row, part, err.msg);
}

static void walk_table(const char *folder, open_fn *fn)
{
    test_ctx t = test_begin(1);
    const char *dir = test_source(&t, folder);
    char *table = test_read_file(&t, test_path(&t, dir, "expected.tsv"), NULL);
    const long before = peak_kib();
    int n_rows = 0;
    for (char *row = strtok(table, "\n"); row; row = strtok(NULL, "\n"), n_rows++)
        check_row(&t, dir, fn, row);
    assert_true(n_rows > 30);
    assert_true(peak_kib() - before < SLACK_MIB * 1024L);
    test_end(&t);
}

static void test_safetensors(void **state)
{
    (void)state;
    walk_table("tests/data/safetensors", open_safetensors);
}

static void test_gguf(void **state)
{
    (void)state;
    walk_table("tests/data/gguf", open_container);
}

static void test_rwkvcpp(void **state)
{
    (void)state;
    walk_table("tests/data/rwkvcpp", open_container);
}

static void test_pth(void **state)
{
    (void)state;
    walk_table("tests/data/pth", open_container);
}

static void test_tokenizer_json(void **state)
{
    (void)state;
    walk_table("tests/data/tokenizer_json", open_tokenizer);
}

static void test_gguf_vocab(void **state)
{
    (void)state;
    walk_table("tests/data/gguf_vocab", open_gguf_vocab);
}

static void test_npy(void **state)
{
    (void)state;
    walk_table("tests/data/npy", open_npy);
}

static void test_jsonl(void **state)
{
    (void)state;
    walk_table("tests/data/jsonl", open_jsonl);
}

/* A file of about 16 MiB made of pieces that cost a reader the most: head, then the piece with a
 * running number in place of its %, then tail. length: write a safetensors header length. */
static size_t write_repeated(const char *path, const char *head, const char *before,
                             const char *after, const char *tail, bool length)
{
    unsigned char n_bytes[8] = {0};
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (length)
        fwrite(n_bytes, 1, sizeof n_bytes, f);
    fputs(head, f);
    for (int i = 0; ftell(f) < 16 * MIB; i++)
        fprintf(f, "%s%s%d%s", i > 0 && length ? "," : "", before, i, after);
    fputs(tail, f);
    const long size = ftell(f);
    for (size_t i = 0; i < sizeof n_bytes; i++)
        n_bytes[i] = (unsigned char)((uint64_t)(size - 8) >> (8 * i));
    rewind(f);
    if (length)
        fwrite(n_bytes, 1, sizeof n_bytes, f);
    assert_int_equal(fclose(f), 0);
    return (size_t)size;
}

static void check_large(const char *path, size_t size, open_fn *fn, rk_status want)
{
    rk_error err = {.msg = ""};
    const long before = peak_kib();
    test_cap_memory(SLACK_MIB * (size_t)MIB + 4 * size);
    const rk_status st = fn(path, &err);
    test_cap_memory(0);
    const long grown = peak_kib() - before;
    if (st != want)
        fail_msg("status %d: %s", (int)st, err.msg);
    if (grown > SLACK_MIB * 1024L + 4 * (long)size / 1024)
        fail_msg("%s of %zu bytes took %ld KiB", path, size, grown);
    print_message("%zu bytes took %ld KiB\n", size, grown);
}

static void test_large(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *st = test_path(&t, dir, "a.safetensors"), *jsonl = test_path(&t, dir, "a.jsonl");
    size_t n = write_repeated(st, "{", "\"",
                              "\":{\"dtype\":\"U8\",\"shape\":[0],"
                              "\"data_offsets\":[0,0]}",
                              "}", true);
    check_large(st, n, open_safetensors, RK_OK);
    n = write_repeated(st, "{\"__metadata__\":{", "\"", "\":\"\"", "}}", true);
    check_large(st, n, open_safetensors, RK_ERR_FORMAT);
    n = write_repeated(st, "{", "\"", "\":{}", "}", true);
    check_large(st, n, open_safetensors, RK_ERR_FORMAT);
    n = write_repeated(jsonl, "", "{\"text\":\"", "\"}\n", "", false);
    check_large(jsonl, n, open_jsonl, RK_OK);
    n = write_repeated(jsonl, "{\"x\":[0", ",", "", "],\"text\":\"\"}", false);
    check_large(jsonl, n, open_jsonl, RK_OK);
    test_end(&t);
}

/* The good tokenizer.json with 400,000 more tokens "t0", "t1" ... and the merges that make them. */
static size_t write_tokens(test_ctx *t, const char *path)
{
    enum { N = 400000, ID = 251 };
    static const char vocab[] = "\"vocab\":{", merges[] = "\"merges\":[";
    char *good = test_read_file(
        t, test_path(t, test_source(t, "tests/data/tokenizer_json"), "good.json"), NULL);
    char *at_vocab = strstr(good, vocab) + strlen(vocab);
    char *at_merges = strstr(good, merges) + strlen(merges);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(good, 1, (size_t)(at_vocab - good), f);
    for (int i = 0; i < N; i++)
        fprintf(f, "\"t%d\":%d,", i, ID + i);
    fwrite(at_vocab, 1, (size_t)(at_merges - at_vocab), f);
    for (int i = 0; i < 10; i++)
        fprintf(f, "\"t %d\",", i);
    for (int i = 10; i < N; i++)
        fprintf(f, "\"t%d %d\",", i / 10, i % 10);
    fputs(at_merges, f);
    const long size = ftell(f);
    assert_int_equal(fclose(f), 0);
    return (size_t)size;
}

static void test_large_vocabulary(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *path = test_path(&t, test_temp_dir(&t), "tokenizer.json");
    const size_t n = write_tokens(&t, path);
    check_large(path, n, open_tokenizer, RK_OK);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_vocabulary),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_rwkvcpp),
        cmocka_unit_test(test_pth),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_tokenizer_json),
        cmocka_unit_test(test_gguf_vocab),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
