/* Mapping files: what is refused, what is noticed, and what a cut file does. */
/* MAP_ANONYMOUS. NOLINTNEXTLINE(bugprone-reserved-identifier) */
#define _DEFAULT_SOURCE
#include "test_util.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "io/map.h"

static void test_open(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_map m;
    const char *path = test_path(&t, test_temp_dir(&t), "f");
    test_write_file(path, "abc", 3);
    test_ok(rk_map_open(&m, path, &err), &err);
    assert_int_equal(m.size, 3);
    assert_memory_equal(m.data, "abc", 3);
    assert_string_equal(m.name, path);
    test_ok(rk_map_check(&m, &err), &err);
    rk_map_close(&m);
    rk_map_close(&m);
    rk_map_close(&(rk_map){0});
    test_end(&t);
}

static void refused(const char *path, rk_status code, const char *part)
{
    rk_error err;
    rk_map m;
    assert_int_equal(rk_map_open(&m, path, &err), code);
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, path) || !strstr(err.msg, part))
        fail_msg("'%s' does not name '%s' and '%s'", err.msg, path, part);
    assert_null(m.data);
    rk_map_close(&m);
}

static void test_refused(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *fifo = test_path(&t, dir, "fifo"), *empty = test_path(&t, dir, "empty");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    test_write_file(empty, "", 0);
    refused(dir, RK_ERR_FORMAT, "directory");
    refused(fifo, RK_ERR_FORMAT, "pipe");
    refused("/dev/null", RK_ERR_FORMAT, "device");
    refused(empty, RK_ERR_FORMAT, "empty");
    refused(test_path(&t, dir, "none"), RK_ERR_IO, "No such file");
    test_end(&t);
}

static void test_memory(void **state)
{
    (void)state;
    rk_error err;
    rk_map m;
    const char bytes[] = "xy";
    test_ok(rk_map_memory(&m, bytes, 2, "here", &err), &err);
    assert_ptr_equal(m.data, bytes);
    test_ok(rk_map_check(&m, &err), &err);
    rk_map_close(&m);
    assert_int_equal(rk_map_memory(&m, bytes, 0, "here", &err), RK_ERR_FORMAT);
}

static void changed(const rk_map *m, const char *part)
{
    rk_error err;
    assert_int_equal(rk_map_check(m, &err), RK_ERR_IO);
    if (!strstr(err.msg, part))
        fail_msg("'%s' does not say '%s'", err.msg, part);
}

static void test_check(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err;
    rk_map m;
    const char *dir = test_temp_dir(&t);
    const char *path = test_path(&t, dir, "f"), *other = test_path(&t, dir, "g");
    test_write_file(path, "abc", 3);
    test_write_file(other, "xyz", 3);
    test_ok(rk_map_open(&m, path, &err), &err);
    /* Another file under the name is not ours to notice. */
    const int fd = open(path, O_WRONLY);
    assert_int_equal(rename(other, path), 0);
    test_ok(rk_map_check(&m, &err), &err);
    /* What happens to the mapped one is. Its times are set apart: a clock tick may be coarse. */
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};
    assert_int_equal(futimens(fd, times), 0);
    changed(&m, "written");
    assert_int_equal(ftruncate(fd, 7), 0);
    changed(&m, "extended");
    assert_int_equal(ftruncate(fd, 1), 0);
    changed(&m, "cut");
    close(fd);
    rk_map_close(&m);
    test_end(&t);
}

/* A program as it should be: the handler says its sentence and ends with status 1. */
static void on_bus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    if (rk_map_report_fault(info->si_addr, "prog"))
        _exit(1);
    signal(sig, SIG_DFL);
}

/* Map two pages, cut the file to one, touch the second. Returns the child's wait status. */
static int touch_cut_file(const char *path, const char *log)
{
    const pid_t child = fork();
    if (child == 0) {
        rk_map m;
        struct sigaction act = {.sa_flags = SA_SIGINFO};
        act.sa_sigaction = on_bus;
        sigaction(SIGBUS, &act, NULL);
        const int fd = open(log, O_WRONLY | O_CREAT, 0600);
        const bool ready = dup2(fd, STDERR_FILENO) >= 0 && rk_map_open(&m, path, NULL) == RK_OK &&
                           truncate(path, 1) == 0;
        const volatile unsigned char *touched = m.data;
        _exit(ready && touched[m.size - 1] ? 3 : 4);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void test_fault(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *dir = test_temp_dir(&t);
    const char *path = test_path(&t, dir, "model"), *log = test_path(&t, dir, "stderr");
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *bytes = test_alloc(&t, 2 * page);
    memset(bytes, 'x', 2 * page);
    test_write_file(path, bytes, 2 * page);
    const int status = touch_cut_file(path, log);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    const char *said = test_read_file(&t, log, NULL);
    if (strncmp(said, "prog: ", 6) != 0 || !strstr(said, path) || !strstr(said, "cut"))
        fail_msg("stderr: '%s'", said);
    test_end(&t);
}

/* An address in no file, and addresses in nothing at all. */
static void test_fault_elsewhere(void **state)
{
    (void)state;
    int *heap = calloc(1, sizeof *heap);
    assert_false(rk_map_report_fault(heap, "prog"));
    assert_false(rk_map_report_fault(NULL, "prog"));
    free(heap);
}

/* What lies behind a mapping is not the file's, and is not given back with its pages. */
/* Rows that lie one behind the other, each into a place of its own, more than one call reads; short where the
 * file ends. */
static void test_rows(void **state)
{
    (void)state;
    enum { N = 150, ROW = 7, BEFORE = 5 };
    test_ctx t = test_begin(1);
    const char *path = test_path(&t, test_temp_dir(&t), "rows");
    unsigned char bytes[BEFORE + N * ROW], got[N][2 * ROW];
    void *to[N];
    rk_map m, copy;
    rk_error err = {0};
    for (int i = 0; i < BEFORE + N * ROW; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 256);
    for (int i = 0; i < N; i++)
        to[i] = got[(i * 7) % N];
    test_write_file(path, bytes, sizeof bytes);
    test_ok(rk_map_open(&m, path, &err), &err);
    test_ok(rk_map_memory(&copy, bytes, sizeof bytes, "memory", &err), &err);
    const rk_map *const maps[] = {&m, &copy};
    for (int k = 0; k < 2; k++)
        for (int64_t n = 1; n <= N; n += n == 1 ? 63 : 1) {
            memset(got, 0, sizeof got);
            test_ok(rk_map_read_rows(maps[k], BEFORE, to, n, ROW, &err), &err);
            for (int64_t i = 0; i < N; i++)
                assert_memory_equal(
                    to[i], i < n ? bytes + BEFORE + i * ROW : (unsigned char[ROW]){0}, ROW);
        }
    assert_int_equal(truncate(path, BEFORE + 9 * ROW + 3), 0);
    memset(got, 0, sizeof got);
    assert_int_equal(rk_map_read_rows(&m, BEFORE, to, 20, ROW, &err), RK_ERR_IO);
    assert_non_null(strstr(err.msg, "was cut while in use"));
    assert_memory_equal(to[8], bytes + BEFORE + 8 * ROW, ROW);
    rk_map_close(&m);
    rk_map_close(&copy);
    test_end(&t);
}

static void test_drop(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 5 * page + 7;
    const char *path = test_path(&t, test_temp_dir(&t), "f");
    test_write_file(path, test_tokens(&t, (int64_t)(n / 4 + 1), 99), n);
    const int fd = open(path, O_RDONLY);
    char *area = mmap(NULL, 64 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(fd >= 0 && area != MAP_FAILED);
    memset(area, 'x', 64 * page);
    assert_ptr_equal(mmap(area, n, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0), area);
    char name[] = "f";
    const rk_map m = {.data = (unsigned char *)area, .size = n, .name = name, .fd = fd};
    const char first = area[0], last = area[n - 1];
    rk_map_drop_around(&m, m.data, 3);
    rk_map_drop_around(&m, m.data + n - 3, 3);
    rk_map_drop_around(&m, m.data, n);
    assert_int_equal(area[0], first);
    assert_int_equal(area[n - 1], last);
    for (size_t i = 6 * page; i < 64 * page; i += page)
        assert_int_equal(area[i], 'x');
    munmap(area, 64 * page);
    close(fd);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),   cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_check),
        cmocka_unit_test(test_fault),  cmocka_unit_test(test_fault_elsewhere),
        cmocka_unit_test(test_drop),   cmocka_unit_test(test_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
