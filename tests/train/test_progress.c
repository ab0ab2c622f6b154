/* test_progress.c: what a log file and a terminal are shown. */
#define _XOPEN_SOURCE 700 /* pseudo-terminals */
#include "test_util.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "train/progress.h"

static void test_plain(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    char *path = test_path(&t, test_temp_dir(&t), "out");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    rk_progress p;
    rk_progress_init(&p, f, 0, 1000, 64);
    for (int64_t step = 1; step <= 1000; step++)
        rk_progress_step(&p, step, 2.0);
    rk_progress_note(&p, "a note of %d", 7);
    rk_progress_end(&p);
    fclose(f);
    const char *text = test_read_file(&t, path, NULL);
    int lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines,
                     3); /* the first step, the last, the note: ten seconds have not passed */
    assert_ptr_equal(strstr(text, "step 1/1000  loss 2.0000  "), text);
    assert_non_null(strstr(text, "\nstep 1000/1000  loss 2.0000  "));
    assert_non_null(strstr(text, " tok/s  0:00:00 left\na note of 7\n"));
    assert_null(strchr(text, '\r'));
    test_end(&t);
}

static void test_silent(void **state)
{
    (void)state;
    rk_progress p;
    rk_progress_init(&p, NULL, 0, 10, 64);
    for (int64_t step = 1; step <= 10; step++)
        rk_progress_step(&p, step, 2.0);
    rk_progress_note(&p, "nobody hears this");
    rk_progress_end(&p);
}

/* The longest visible line that a terminal of this width is sent for one step. */
static size_t longest_line(test_ctx *t, unsigned short width, const char **text)
{
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0) {
        print_message("skipped: no pseudo-terminals here\n");
        skip();
    }
    assert_true(grantpt(master) == 0 && unlockpt(master) == 0);
    FILE *f = fopen(ptsname(master), "w");
    assert_non_null(f);
    assert_int_equal(ioctl(fileno(f), TIOCSWINSZ, &(struct winsize){.ws_row = 24, .ws_col = width}),
                     0);
    rk_progress p;
    rk_progress_init(&p, f, 0, 100, 64);
    rk_progress_step(&p, 50, 1.5);
    rk_progress_end(&p);
    fflush(f);
    char *buffer = test_alloc(t, 4096);
    const ssize_t n = read(master, buffer, 4095);
    assert_true(n > 4);
    buffer[n] = '\0';
    fclose(f);
    close(master);
    assert_memory_equal(buffer, "\r\033[K", 4);
    *text = buffer + 4;
    return strcspn(buffer + 4, "\r\n");
}

static void test_terminal(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const char *text;
    assert_in_range(longest_line(&t, 120, &text), 60, 119);
    assert_int_equal(strspn(text + 1, "="), 20); /* half of 40 */
    assert_non_null(strstr(text, "]  50/100  loss 1.5000  "));
    assert_in_range(longest_line(&t, 80, &text), 60, 79);
    assert_int_equal(text[0], '[');
    assert_in_range(longest_line(&t, 60, &text), 30, 59);
    assert_int_equal(text[0], '5'); /* no room for a bar */
    assert_int_equal(longest_line(&t, 20, &text), 19);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
