/* Outputs appear whole or not at all: also when the writer is killed, the disk is full, or somebody
 * else takes the name. */
#include "test_util.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "io/atomic_file.h"
#include "io/checksum.h"
#include "io/path.h"

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

static int count_entries(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void said(const rk_error *err, rk_status code, const char *part)
{
    assert_int_equal(err->code, code);
    if (!strstr(err->msg, part))
        fail_msg("'%s' does not say '%s'", err->msg, part);
}

/* Writes of all sizes around the buffer's arrive in order, and the checksum is that of the file. */
static void test_contents(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    rk_error err;
    rk_out *o;
    const char *path = test_path(&t, test_temp_dir(&t), "out");
    static const size_t sizes[] = {0, 1, 100000, 262143, 262144, 262145, 5, 1000000, 262144};
    size_t total = 0, n;
    for (size_t i = 0; i < RK_COUNT(sizes); i++)
        total += sizes[i];
    const float *bytes = test_uniform(&t, (int64_t)(total / 4 + 1), -1, 1);
    test_ok(rk_out_open(&o, path, false, &err), &err);
    for (size_t i = 0, at = 0; i < RK_COUNT(sizes); at += sizes[i++])
        assert_true(rk_out_write(o, (const char *)bytes + at, sizes[i]));
    assert_false(exists(path));
    assert_int_equal(rk_out_bytes(o), total);
    const uint64_t sum = rk_out_checksum(o);
    test_ok(rk_out_commit(o, &err), &err);

    const char *got = test_read_file(&t, path, &n);
    assert_int_equal(n, total);
    test_same(&t, "file", bytes, got, total);
    uint64_t file_sum, file_bytes;
    test_ok(rk_checksum_file(path, &file_sum, &file_bytes, &err), &err);
    assert_int_equal(file_bytes, total);
    assert_true(file_sum == sum && sum == rk_checksum_bytes(bytes, total));
    test_end(&t);
}

/* The published value of XXH3-64 for no bytes. */
static void test_checksum_known(void **state)
{
    (void)state;
    assert_true(rk_checksum_bytes("", 0) == UINT64_C(0x2d06800538d394c2));
    rk_error err = {0};
    uint64_t sum = 1, bytes = 1;
    assert_int_equal(rk_checksum_file("/nonexistent/file", &sum, &bytes, &err), RK_ERR_IO);
    assert_true(sum == rk_checksum_bytes("", 0) && bytes == 0);
}

static void test_overwrite(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_out *o;
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "out");
    test_write_file(path, "old", 3);
    assert_int_equal(rk_out_open(&o, path, false, &err), RK_ERR_ARG);
    said(&err, RK_ERR_ARG, "exists");
    test_ok(rk_out_open(&o, path, true, &err), &err);
    rk_out_write(o, "new", 3);
    assert_string_equal(test_read_file(&t, path, NULL), "old");
    test_ok(rk_out_commit(o, &err), &err);
    assert_string_equal(test_read_file(&t, path, NULL), "new");
    assert_int_equal(count_entries(dir), 1);
    assert_int_equal(rk_out_open(&o, dir, true, &err), RK_ERR_ARG);
    said(&err, RK_ERR_ARG, "directory");
    test_end(&t);
}

/* A link is kept, what it points to is replaced. */
static void test_symlink(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_out *o;
    const char *dir = test_temp_dir(&t);
    const char *path = test_path(&t, dir, "out"), *name = test_path(&t, dir, "link");
    test_write_file(path, "old", 3);
    assert_int_equal(symlink("out", name), 0);
    test_ok(rk_out_open(&o, name, true, &err), &err);
    rk_out_write(o, "new", 3);
    test_ok(rk_out_commit(o, &err), &err);
    assert_string_equal(test_read_file(&t, path, NULL), "new");
    struct stat info;
    assert_int_equal(lstat(name, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    test_end(&t);
}

static void count_bytes(void *user, const void *bytes, size_t n)
{
    (void)bytes;
    *(size_t *)user += n;
}

/* Whoever listens hears all bytes, also those behind a full buffer. */
static void test_tap(void **state)
{
    (void)state;
    enum { N = 1 << 20, TIMES = 9 };
    test_ctx t = test_begin(1);
    rk_error err;
    rk_out *o;
    size_t heard = 0;
    char *bytes = test_alloc(&t, N);
    test_ok(rk_out_open(&o, test_path(&t, test_temp_dir(&t), "out"), false, &err), &err);
    rk_out_tap(o, count_bytes, &heard);
    for (int i = 0; i < TIMES; i++)
        rk_out_write(o, bytes, (size_t)N / 2 + (size_t)i);
    test_ok(rk_out_commit(o, &err), &err);
    assert_int_equal(heard, TIMES * (N / 2) + TIMES * (TIMES - 1) / 2);
    test_end(&t);
}

/* The name is taken between open and commit: the other file wins. */
static void test_name_taken(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_out *o, *second;
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "out");
    test_ok(rk_out_open(&o, path, false, &err), &err);
    test_ok(rk_out_open(&second, path, false, &err), &err);
    rk_out_write(second, "second", 6);
    test_ok(rk_out_commit(second, &err), &err);
    rk_out_write(o, "first", 5);
    assert_int_equal(rk_out_commit(o, &err), RK_ERR_ARG);
    said(&err, RK_ERR_ARG, "appeared");
    assert_string_equal(test_read_file(&t, path, NULL), "second");
    assert_int_equal(count_entries(dir), 1);
    test_end(&t);
}

static void test_abort(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_out *o;
    const char *dir = test_temp_dir(&t);
    test_ok(rk_out_open(&o, test_path(&t, dir, "out"), false, &err), &err);
    rk_out_write(o, "x", 1);
    rk_out_abort(o);
    rk_out_abort(NULL);
    assert_int_equal(count_entries(dir), 0);
    test_end(&t);
}

static void test_bad_places(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_out *o;
    const char *dir = test_temp_dir(&t);
    assert_int_equal(rk_out_open(&o, test_path(&t, dir, "none/out"), false, &err), RK_ERR_IO);
    said(&err, RK_ERR_IO, "No such file");
    test_write_file(test_path(&t, dir, "file"), "x", 1);
    assert_int_equal(rk_out_open(&o, test_path(&t, dir, "file/out"), false, &err), RK_ERR_IO);
    said(&err, RK_ERR_IO, "Not a directory");
    test_end(&t);
}

/* A device is written to and stays what it is. */
static void test_device_full(void **state)
{
    (void)state;
    rk_error err;
    rk_out *o;
    struct stat info;
    if (!exists("/dev/full"))
        skip();
    test_ok(rk_out_open(&o, "/dev/full", true, &err), &err);
    rk_out_write(o, "x", 1);
    assert_int_equal(rk_out_commit(o, &err), RK_ERR_IO);
    said(&err, RK_ERR_IO, "No space left");
    assert_int_equal(stat("/dev/full", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    test_ok(rk_out_open(&o, "/dev/null", false, &err), &err);
    rk_out_write(o, "x", 1);
    test_ok(rk_out_commit(o, &err), &err);
}

/* In a child, because limits and ignored signals are the process's. */
static int write_beyond_limit(const char *path)
{
    const struct rlimit limit = {300000, 300000};
    rk_error err;
    rk_out *o;
    static const char bytes[100000];
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || rk_out_open(&o, path, false, &err) != RK_OK)
        return 1;
    for (int i = 0; i < 10; i++)
        rk_out_write(o, bytes, sizeof bytes);
    if (rk_out_ok(o))
        return 2;
    const rk_status st = rk_out_commit(o, &err);
    return st == RK_ERR_IO && strstr(err.msg, "File too large") ? 0 : 3;
}

static void test_size_limit(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "out");
    int status;
    const pid_t child = fork();
    if (child == 0)
        _exit(write_beyond_limit(path));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(count_entries(dir), 0);
    test_end(&t);
}

/* Killed before the commit: no file of the final name; the leftover is found by its name. */
static void test_killed(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "out");
    int status;
    const pid_t child = fork();
    if (child == 0) {
        rk_out *o;
        static const char bytes[1000000];
        if (rk_out_open(&o, path, false, NULL) == RK_OK && rk_out_write(o, bytes, sizeof bytes))
            kill(getpid(), SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_false(exists(path));
    assert_int_equal(count_entries(dir), 1);
    test_write_file(test_path(&t, dir, "keep.tmp-x1"), "", 0);
    test_write_file(test_path(&t, dir, "keep.txt"), "", 0);
    /* Nobody here wrote these. */
    test_write_file(test_path(&t, dir, "notes.old-3"), "", 0);
    test_write_file(test_path(&t, dir, "out.txt.tmp-3"), "", 0);
    test_write_file(test_path(&t, dir, "step-.tmp-3"), "", 0);
    assert_int_equal(mkdir(test_path(&t, dir, "step-12.old-7-1"), 0700), 0);
    test_write_file(test_path(&t, dir, "step-12.old-7-1/inner"), "", 0);
    static const char *const names[] = {"step-", "out"};
    test_ok(rk_dir_remove_leftovers(dir, names, 2, &err), &err);
    assert_int_equal(count_entries(dir), 5);
    assert_false(exists(test_path(&t, dir, "step-12.old-7-1")));
    test_end(&t);
}

static void put(const char *dir, const char *name, const char *text)
{
    rk_error err;
    rk_out *o;
    test_ctx t = test_begin(1);
    test_ok(rk_out_open(&o, test_path(&t, dir, name), false, &err), &err);
    rk_out_write(o, text, strlen(text));
    test_ok(rk_out_commit(o, &err), &err);
    test_end(&t);
}

static void test_directory(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    char *tmp;
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "step");
    for (int round = 0; round < 2; round++) { /* the second replaces the first */
        test_ok(rk_dir_begin(&tmp, path, &err), &err);
        put(tmp, round ? "b" : "a", "text");
        assert_true(exists(path) == (round == 1));
        test_ok(rk_dir_commit(tmp, path, &err), &err);
        assert_int_equal(count_entries(dir), 1);
        assert_int_equal(count_entries(path), 1);
        assert_string_equal(test_read_file(&t, test_path(&t, path, round ? "b" : "a"), NULL),
                            "text");
    }
    test_ok(rk_dir_begin(&tmp, path, &err), &err);
    put(tmp, "c", "text");
    rk_dir_abort(tmp);
    rk_dir_abort(NULL);
    assert_int_equal(count_entries(dir), 1);
    test_ok(rk_dir_remove(path, &err), &err);
    test_ok(rk_dir_remove(path, &err), &err);
    assert_int_equal(count_entries(dir), 0);
    test_end(&t);
}

/* A file stands where the directory should go: it stays, and so does nothing else. */
static void test_directory_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    char *tmp;
    const char *dir = test_temp_dir(&t), *path = test_path(&t, dir, "step");
    test_write_file(path, "x", 1);
    test_ok(rk_dir_begin(&tmp, path, &err), &err);
    assert_int_equal(rk_dir_commit(tmp, path, &err), RK_ERR_IO);
    assert_int_equal(count_entries(dir), 1);
    assert_int_equal(rk_dir_begin(&tmp, test_path(&t, dir, "none/step"), &err), RK_ERR_IO);
    test_end(&t);
}

static void test_free_space(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    const char *path = test_path(&t, test_temp_dir(&t), "out");
    test_ok(rk_check_free_space(path, 1, &err), &err);
    test_ok(rk_check_free_space("relative", 0, &err), &err);
    assert_int_equal(rk_check_free_space(path, UINT64_C(1) << 62, &err), RK_ERR_IO);
    said(&err, RK_ERR_IO, "free");
    test_end(&t);
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const parents[][2] = {{"a", "."},     {"a/b", "a"},  {"/a", "/"},
                                             {"/a/b", "/a"}, {"a/b/", "a"}, {"/", "/"}};
    for (size_t i = 0; i < RK_COUNT(parents); i++) {
        char *parent = rk_path_parent(parents[i][0]);
        assert_string_equal(parent, parents[i][1]);
        free(parent);
    }
    assert_true(rk_path_is_temporary("a.tmp-12", "tmp"));
    assert_true(rk_path_is_temporary("a.tmp-12-3", "tmp"));
    assert_false(rk_path_is_temporary("a.tmp-12", "old"));
    assert_false(rk_path_is_temporary("a.tmp-", "tmp"));
    assert_false(rk_path_is_temporary("a.tmp", "tmp"));
    assert_false(rk_path_is_temporary("a.tmp-1x", "tmp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_checksum_known),
        cmocka_unit_test(test_overwrite),
        cmocka_unit_test(test_symlink),
        cmocka_unit_test(test_tap),
        cmocka_unit_test(test_name_taken),
        cmocka_unit_test(test_abort),
        cmocka_unit_test(test_bad_places),
        cmocka_unit_test(test_device_full),
        cmocka_unit_test(test_size_limit),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_directory),
        cmocka_unit_test(test_directory_refused),
        cmocka_unit_test(test_free_space),
        cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
