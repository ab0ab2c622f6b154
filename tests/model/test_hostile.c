/* Hostile folders: config.json beside a model, indexes of shards, things that are no files; and
 * models whose names or storages promise far more than the file holds. Each is answered with a
 * sentence, within a second and in little memory. */
#include "test_util.h"

#include <unistd.h>

#include "format/scheme.h"
#include "model/model.h"

enum { CAP = 64 << 20 };

/* ---- files ---- */

typedef struct entry {
    const char *name, *dtype, *shape;
    size_t bytes;
} entry;

static void write_safetensors(test_ctx *t, const char *path, const entry *entries, size_t n)
{
    size_t at = 0, len = 0;
    const size_t room = 256 * (n + 1);
    char *text = test_alloc(t, room);
    len += (size_t)snprintf(text + 8, room - 8, "{");
    for (size_t i = 0; i < n; i++, at += entries[i - 1].bytes)
        len += (size_t)snprintf(
            text + 8 + len, room - 8 - len,
            "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
            entries[i].name, entries[i].dtype, entries[i].shape, at, at + entries[i].bytes);
    text[8 + len++] = '}';
    for (size_t i = 0; i < 8; i++)
        text[i] = (char)((uint64_t)len >> (8 * i));
    char *file = test_alloc(t, 8 + len + at);
    memset(file, 0, 8 + len + at);
    memcpy(file, text, 8 + len);
    test_write_file(path, file, 8 + len + at);
}

static rk_status open_names(const char *path, rk_error *err)
{
    rk_file *f = NULL;
    rk_status st = rk_file_open(&f, path, err);
    if (st == RK_OK)
        st = rk_scheme_import(&f, err);
    rk_file_close(f);
    return st;
}

static rk_status open_model(const char *path, rk_error *err)
{
    rk_model *m = NULL;
    const rk_status st = rk_model_open(&m, path, err);
    rk_model_close(m);
    return st;
}

typedef rk_status open_fn(const char *path, rk_error *err);

static void check(const char *what, open_fn *fn, const char *path, rk_status want, const char *part)
{
    rk_error err = {.msg = ""};
    const clock_t begin = clock(); /* of the process: other work on the machine takes seconds too */
    test_cap_memory(CAP + 4 * test_file_bytes(path));
    const rk_status st = fn(path, &err);
    test_cap_memory(0);
    const double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (seconds > 1.0)
        fail_msg("%s took %.2f s", what, seconds);
    if (st != want || (st != RK_OK && !strstr(err.msg, part)))
        fail_msg("%s: status %d, expected %d and '%s': %s", what, (int)st, (int)want, part,
                 err.msg);
}

static char *repeated(test_ctx *t, const char *s, size_t n)
{
    char *text = test_alloc(t, n * strlen(s) + 1);
    text[0] = '\0';
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * strlen(s), s, strlen(s) + 1);
    return text;
}

/* ---- config.json ---- */

typedef struct row {
    const char *text;
    rk_status want;
    const char *part;
} row;

static void test_config(void **state)
{
    static const row rows[] = {
        {"{}", RK_OK, ""},
        {" {\n} ", RK_OK, ""},
        {"{\"norm_eps\":1e-5,\"head_size_divisor\":8,\"attn\":null}", RK_OK, ""},
        {"{\"norm_eps\":null,\"hidden_size\":null}", RK_OK, ""},
        {"{\"norm_eps\":\"1e-5\"}", RK_ERR_FORMAT, "byte 12: expected a number"},
        {"{\"hidden_size\":[2]}", RK_ERR_FORMAT, "byte 15: expected a number"},
        {"{\"hidden_size\":2,\"num_hidden_layers\":1}", RK_OK, ""},
        {"{\"hidden_size\":2e0}", RK_OK, ""},
        {"", RK_ERR_FORMAT, "the file is empty"},
        {" ", RK_ERR_FORMAT, "byte 1: expected '{'"},
        {"[]", RK_ERR_FORMAT, "byte 0: expected '{'"},
        {"null", RK_ERR_FORMAT, "expected '{'"},
        {"import os", RK_ERR_FORMAT, "expected '{'"},
        {"\xef\xbb\xbf{}", RK_OK, ""},
        {"{", RK_ERR_FORMAT, "expected a string"},
        {"{\"hidden_size", RK_ERR_FORMAT, "closing quote"},
        {"{\"hidden_size\"", RK_ERR_FORMAT, "expected ':'"},
        {"{\"hidden_size\":", RK_ERR_FORMAT, "expected"},
        {"{\"hidden_size\":2", RK_ERR_FORMAT, "expected '}'"},
        {"{\"hidden_size\":2,", RK_ERR_FORMAT, "expected a string"},
        {"{\"hidden_size\":2,}", RK_ERR_FORMAT, "expected a string"},
        {"{\"hidden_size\":2}}", RK_ERR_FORMAT, "expected the end"},
        {"{'hidden_size':2}", RK_ERR_FORMAT, "expected a string"},
        {"{\"a\xff\":2}", RK_ERR_FORMAT, "UTF-8"},
        {"{\"\\ud800\":2}", RK_ERR_FORMAT, "surrogate"},
        {"{\"norm_eps\":NaN}", RK_ERR_FORMAT, "expected"},
        {"{\"norm_eps\":Infinity}", RK_ERR_FORMAT, "expected"},
        {"{\"norm_eps\":0x10}", RK_ERR_FORMAT, "expected"},
        {"{\"norm_eps\":1e}", RK_ERR_FORMAT, "expected"},
        {"{\"hidden_size\":3}", RK_ERR_FORMAT, "hidden_size is 3, the tensors beside it have 2"},
        {"{\"hidden_size\":-2}", RK_ERR_FORMAT, "hidden_size is -2"},
        {"{\"hidden_size\":9223372036854775808}", RK_ERR_FORMAT, "hidden_size is 9.22337e+18"},
        {"{\"hidden_size\":1e999}", RK_ERR_FORMAT, "hidden_size is inf"},
        {"{\"num_hidden_layers\":2}", RK_ERR_FORMAT, "num_hidden_layers is 2"},
        {"{\"num_hidden_layers\":0.5}", RK_ERR_FORMAT, "num_hidden_layers is 0.5"},
    };
    static const entry entries[] = {{"model.embeddings.weight", "F32", "3,2", 24},
                                    {"model.layers.0.attn.r_k", "F32", "1,2", 8}};
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t), *config = test_path(&t, dir, "config.json");
    write_safetensors(&t, test_path(&t, dir, "model.safetensors"), entries, RK_COUNT(entries));
    check("no config.json", open_names, dir, RK_OK, "");
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        test_write_file(config, rows[i].text, strlen(rows[i].text));
        check(rows[i].text, open_names, dir, rows[i].want, rows[i].part);
    }
    const char *deep = repeated(&t, "{\"a\":", 100000), *arrays = repeated(&t, "[", 100000);
    test_write_file(config, deep, strlen(deep));
    check("deep objects", open_names, dir, RK_ERR_FORMAT, "expected");
    char *text = test_alloc(&t, strlen(arrays) + 16);
    sprintf(text, "{\"a\":%s", arrays);
    test_write_file(config, text, strlen(text));
    check("deep arrays", open_names, dir, RK_ERR_FORMAT, "expected");
    const char *large = repeated(&t, "        ", 1 << 18);
    test_write_file(config, large, strlen(large));
    check("2 MiB", open_names, dir, RK_ERR_FORMAT, "a configuration of 2097152 bytes");
    remove(config);
    assert_int_equal(mkdir(config, 0777), 0);
    check("a directory", open_names, dir, RK_ERR_FORMAT, "config.json: is a directory");
    assert_int_equal(rmdir(config), 0);
    assert_int_equal(mkfifo(config, 0666), 0);
    check("a pipe", open_names, dir, RK_ERR_FORMAT, "config.json: is a pipe or device");
    remove(config);
    assert_int_equal(symlink("/dev/zero", config), 0);
    check("a device", open_names, dir, RK_ERR_FORMAT, "config.json: is a pipe or device");
    remove(config);
    assert_int_equal(symlink("config.json", config), 0);
    check("a link to itself", open_names, dir, RK_OK, "");
    test_end(&t);
}

/* ---- an index of shards ---- */

static void test_index(void **state)
{
    static const row rows[] = {
        {"{\"weight_map\":{\"a\":\"a.safetensors\"}}", RK_OK, ""},
        {"{\"metadata\":{\"total_size\":8},\"weight_map\":{\"a\":\"a.safetensors\"},\"x\":[1]}",
         RK_OK, ""},
        {"", RK_ERR_FORMAT, "the file is empty"},
        {"[]", RK_ERR_FORMAT, "expected '{'"},
        {"{}", RK_ERR_FORMAT, "expected a string"},
        {"{\"weight_map\"", RK_ERR_FORMAT, "expected ':'"},
        {"{\"weight_map\":[]}", RK_ERR_FORMAT, "expected '{'"},
        {"{\"weight_map\":{}}", RK_ERR_FORMAT, "no \"weight_map\""},
        {"{\"weight_map\":{\"a\":1}}", RK_ERR_FORMAT, "expected a string"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",}}", RK_ERR_FORMAT, "expected a string"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"}", RK_ERR_FORMAT, "expected '}'"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"}}x", RK_ERR_FORMAT, "expected the end"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\"},\"weight_map\":{}}", RK_ERR_FORMAT,
         "occurs twice"},
        {"{\"weight_map\":{\"a\":\"\"}}", RK_ERR_FORMAT, "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", RK_ERR_FORMAT, "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\"../a.safetensors\"}}", RK_ERR_FORMAT,
         "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\"s/a.safetensors\"}}", RK_ERR_FORMAT, "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\"..\"}}", RK_ERR_FORMAT, "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\".\"}}", RK_ERR_FORMAT, "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\"a\\u0000.safetensors\"}}", RK_ERR_FORMAT,
         "no name of a file beside"},
        {"{\"weight_map\":{\"a\":\"gone\"}}", RK_ERR_IO, "gone"},
        {"{\"weight_map\":{\"a\":\"folder\"}}", RK_ERR_FORMAT, "is a directory"},
        {"{\"weight_map\":{\"a\":\"loop\"}}", RK_ERR_FORMAT, "is a directory"},
        {"{\"weight_map\":{\"a\":\"pipe\"}}", RK_ERR_FORMAT, "is a pipe or device"},
        {"{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}", RK_ERR_FORMAT,
         "those of no model file"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"a.safetensors\"}}", RK_ERR_FORMAT,
         "it names 2 tensors, its 1 files hold 1"},
        {"{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"again\"}}", RK_ERR_FORMAT,
         "tensor 'a' occurs twice"},
    };
    static const entry entries[] = {{"a", "F32", "2", 8}};
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *index = test_path(&t, dir, "model.safetensors.index.json");
    write_safetensors(&t, test_path(&t, dir, "a.safetensors"), entries, RK_COUNT(entries));
    assert_int_equal(symlink("a.safetensors", test_path(&t, dir, "again")), 0);
    assert_int_equal(mkdir(test_path(&t, dir, "folder"), 0777), 0);
    assert_int_equal(symlink(".", test_path(&t, dir, "loop")), 0);
    assert_int_equal(mkfifo(test_path(&t, dir, "pipe"), 0666), 0);
    for (size_t i = 0; i < RK_COUNT(rows); i++) {
        test_write_file(index, rows[i].text, strlen(rows[i].text));
        check(rows[i].text, open_names, dir, rows[i].want, rows[i].part);
        check(rows[i].text, open_names, index, rows[i].want, rows[i].part);
    }
    test_end(&t);
}

/* ---- what is no file ---- */

static void test_places(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "m.gguf");
    check("nothing", open_model, path, RK_ERR_IO, "No such file");
    check("an empty folder", open_model, dir, RK_ERR_FORMAT, "a folder without model.safetensors");
    test_write_file(path, "", 0);
    check("an empty file", open_model, path, RK_ERR_FORMAT, "the file is empty");
    test_write_file(path, "\0", 1);
    check("a byte", open_model, path, RK_ERR_FORMAT, "those of no model file");
    check("below a file", open_model, test_path(&t, path, "x"), RK_ERR_IO, "Not a directory");
    remove(path);
    assert_int_equal(mkfifo(path, 0666), 0);
    check("a pipe", open_model, path, RK_ERR_FORMAT, "is a pipe or device");
    remove(path);
    assert_int_equal(symlink("m.gguf", path), 0);
    check("a link to itself", open_model, path, RK_ERR_IO, "symbolic links");
    check("a device", open_model, "/dev/zero", RK_ERR_FORMAT, "is a pipe or device");
    test_end(&t);
}

/* ---- names and numbers that promise much ---- */

static void test_promises(void **state)
{
    static const entry sizes[] = {
        {"emb.weight", "F32", "3,2", 24},
        {"blocks.0.att.r_k", "F32", "1,2", 8},
        {"blocks.0.ffn.key.weight", "F32", "1,2", 8},
        {"blocks.0.att.w1", "F32", "2,1", 8},
        {"blocks.0.att.a1", "F32", "2,1", 8},
        {"blocks.0.att.g1", "F32", "2,1", 8},
        {"blocks.1.att.v1", "F32", "2,1", 8},
    };
    enum { N = 60000, OWN = RK_COUNT(sizes) };
    (void)state;
    test_ctx t = test_begin(1);
    const char *path = test_path(&t, test_temp_dir(&t), "a.safetensors");
    entry *entries = test_alloc(&t, (OWN + N) * sizeof *entries);
    memcpy(entries, sizes, sizeof sizes);
    check("nothing", open_model, path, RK_ERR_IO, "No such file");
    entries[OWN] = (entry){"blocks.999999.x", "U8", "0", 0};
    write_safetensors(&t, path, entries, OWN + 1);
    check("a million layers", open_model, path, RK_ERR_FORMAT,
          "a block numbered 999999 among 8 tensors");
    for (size_t i = 0; i < N; i++) {
        char *name = test_alloc(&t, 32);
        snprintf(name, 32, "blocks.%zu.x", i);
        entries[OWN + i] = (entry){name, "U8", "0", 0};
    }
    write_safetensors(&t, path, entries, OWN + N);
    check("layers of one tensor", open_model, path, RK_ERR_FORMAT, "a block numbered 59999 among");
    for (size_t i = 0; i < N; i++)
        snprintf((char *)(uintptr_t)entries[OWN + i].name, 32, "unknown.%zu", i);
    write_safetensors(&t, path, entries, OWN + N);
    check("unknown tensors", open_model, path, RK_ERR_FORMAT, "no tensor");
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
