/* .npy: the bytes NumPy writes, and reading them back. */
#include "test_util.h"

#include "io/npy.h"

static void test_round_trip(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    static const int64_t shapes[][2] = {{1, 0}, {7, 0}, {0, 5}, {1, 1}, {3, 65}, {257, 31}};
    for (size_t i = 0; i < RK_COUNT(shapes); i++) {
        const int n_dims = shapes[i][1] ? 2 : 1;
        const int64_t n = n_dims == 2 ? shapes[i][0] * shapes[i][1] : shapes[i][0];
        test_shape(&t, "(%" PRId64 ", %" PRId64 ")", shapes[i][0], shapes[i][1]);
        rk_error err;
        rk_npy f;
        const float *x = test_uniform(&t, n, -1, 1);
        const char *path = test_path(&t, test_temp_dir(&t), "x.npy");
        test_ok(rk_npy_write(path, x, n_dims, shapes[i], false, &err), &err);
        test_ok(rk_npy_open(&f, path, &err), &err);
        assert_int_equal(f.n_dims, n_dims);
        assert_memory_equal(f.dims, shapes[i], sizeof f.dims);
        test_same(&t, "data", x, f.data, (size_t)n * sizeof *x);
        rk_npy_close(&f);
    }
    test_end(&t);
}

/* As numpy.save writes np.zeros((2, 3), '<f4'), header padded to 128 bytes. */
static void test_bytes(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    size_t n;
    const float zeros[6] = {0};
    const char *path = test_path(&t, test_temp_dir(&t), "x.npy");
    test_ok(rk_npy_write(path, zeros, 2, (const int64_t[]){2, 3}, false, &err), &err);
    const char *file = test_read_file(&t, path, &n);
    assert_int_equal(n, 128 + sizeof zeros);
    char want[129];
    snprintf(want, sizeof want, "%-117s\n",
             "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
    assert_memory_equal(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    assert_memory_equal(file + 10, want, 118);
    test_end(&t);
}

static void test_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    const float x[1] = {0};
    const char *path = test_path(&t, test_temp_dir(&t), "x.npy");
    assert_int_equal(rk_npy_write(path, x, 3, (const int64_t[]){1, 1, 1}, false, &err), RK_ERR_ARG);
    assert_int_equal(rk_npy_write(path, x, 2, (const int64_t[]){1, -1}, false, &err), RK_ERR_ARG);
    assert_int_not_equal(access(path, F_OK), 0);
    test_end(&t);
}

/* Every truncation is refused, read from exact heap blocks. */
static void test_truncation(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    size_t n;
    const char *path = test_path(&t, test_temp_dir(&t), "x.npy");
    const float x[3] = {1, 2, 3};
    test_ok(rk_npy_write(path, x, 1, (const int64_t[]){3}, false, &err), &err);
    const char *file = test_read_file(&t, path, &n);
    for (size_t cut = 0; cut < n; cut++) {
        rk_npy f;
        char *block = malloc(cut ? cut : 1);
        memcpy(block, file, cut);
        if (rk_npy_open_memory(&f, block, cut, "block", &err) != RK_ERR_FORMAT)
            fail_msg("cut at %zu of %zu was not refused", cut, n);
        rk_npy_close(&f);
        free(block);
    }
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_truncation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
