/* .gguf and .pth: tensors in memory and tensors from a source in pieces make the same file, which is
 * read back. */
#include "test_util.h"

#include "io/gguf.h"
#include "io/pth.h"

static const float floats[6] = {0, 1, 2, 3, 4, 5};
static const uint16_t halves[3] = {0x3c00, 0x4000, 0x4200};
static const rk_file_tensor tensors[] = {
    {"blocks.0.att.x_r", RK_F32, 2, {2, 3}, floats, sizeof floats, false, NULL},
    {"half", RK_F16, 1, {3}, halves, sizeof halves, false, NULL},
};
enum { N = RK_COUNT(tensors) };

static rk_status write_gguf(const char *path, const rk_file_contents *c, rk_error *err)
{
    const rk_gguf_meta none = {0};
    return rk_gguf_write(path, c, &none, false, err);
}

static rk_status write_pth(const char *path, const rk_file_contents *c, rk_error *err)
{
    return rk_pth_write(path, c, false, err);
}

static const struct {
    const char *container;
    rk_status (*write)(const char *path, const rk_file_contents *c, rk_error *err);
} writers[] = {{"gguf", write_gguf}, {"pth", write_pth}};

/* One byte at a time, and as many more of the second tensor as the user says. */
static rk_status write_pieces(void *user, int64_t i, rk_out *out, rk_error *err)
{
    (void)err;
    for (size_t at = 0; at < tensors[i].bytes; at++)
        rk_out_write(out, (const char *)tensors[i].data + at, 1);
    if (i == 1)
        rk_out_write(out, floats, *(const size_t *)user);
    return RK_OK;
}

static void check_file(const char *path)
{
    rk_error err;
    rk_file *f;
    test_ok(rk_file_open(&f, path, &err), &err);
    assert_int_equal(rk_file_count(f), N);
    for (int i = 0; i < N; i++) {
        const rk_file_tensor *want = &tensors[i], *got = rk_file_find(f, want->name);
        assert_non_null(got);
        assert_int_equal(got->dtype, want->dtype);
        assert_int_equal(got->bytes, want->bytes);
        assert_memory_equal(got->data, want->data, want->bytes);
    }
    rk_file_close(f);
}

static void test_sources(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    for (size_t w = 0; w < RK_COUNT(writers); w++) {
        rk_error err;
        size_t extra = 0, n, n_pieces;
        rk_file_contents c = {tensors, N, NULL, 0, NULL, NULL};
        test_shape(&t, "%s", writers[w].container);
        const char *memory = test_path(&t, test_temp_dir(&t), "m");
        const char *pieces = test_path(&t, test_temp_dir(&t), "m");
        const char *bad = test_path(&t, dir, "bad");
        test_ok(writers[w].write(memory, &c, &err), &err);
        check_file(memory);
        c.source = write_pieces;
        c.user = &extra;
        test_ok(writers[w].write(pieces, &c, &err), &err);
        const char *want = test_read_file(&t, memory, &n);
        const char *got = test_read_file(&t, pieces, &n_pieces);
        assert_int_equal(n_pieces, n);
        test_same(&t, "file", want, got, n);
        extra = 1;
        assert_int_equal(writers[w].write(bad, &c, &err), RK_ERR_ARG);
        assert_non_null(strstr(err.msg, "tensor 'half': 7 bytes were given, expected 6"));
        assert_int_not_equal(access(bad, F_OK), 0);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sources)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
