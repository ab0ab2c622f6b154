/* Pages of small models (fuzz/fuzz_model.c): each opens and is evaluated as it is; with a line missing, a dimension
 * or a value changed it is refused or evaluated, and nothing else happens. */
#include "test_util.h"

#include <dirent.h>

#include "../../fuzz/fuzz_model.c"

static bool opens(const char *text)
{
    return run_page((const uint8_t *)text, strlen(text));
}

/* The page without line `at`, or with `change` in the place of its last word. */
static void changed(const char *text, int64_t at, const char *change, char *out)
{
    for (int64_t line = 0; *text; line++) {
        const size_t n = strcspn(text, "\n");
        size_t kept = n;
        while (line == at && kept > 0 && text[kept - 1] != ' ')
            kept--;
        if (line != at)
            out += sprintf(out, "%.*s\n", (int)n, text);
        else if (change)
            out += sprintf(out, "%.*s%s\n", (int)kept, text, change);
        text += n + (text[n] == '\n');
    }
    *out = 0;
}

static int64_t lines_of(const char *text)
{
    int64_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void test_pages(void **state)
{
    (void)state;
    static const char *const changes[] = {NULL, "0", "1", "3", "1=", "-1", "999999999999", "nan"};
    test_ctx t = test_begin(1);
    const char *folder = test_source(&t, "tests/data/model");
    DIR *d = opendir(folder);
    assert_non_null(d);
    int n_pages = 0;
    for (const struct dirent *e; (e = readdir(d));) {
        size_t n;
        if (!strstr(e->d_name, ".txt"))
            continue;
        const char *text = test_read_file(&t, test_path(&t, folder, e->d_name), &n);
        char *hurt = test_alloc(&t, n + 64);
        if (!opens(text))
            fail_msg("%s does not open", e->d_name);
        for (int64_t i = 0; i < lines_of(text); i++)
            for (size_t k = 0; k < RK_COUNT(changes); k++) {
                changed(text, i, changes[k], hurt);
                opens(hurt);
            }
        n_pages++;
    }
    closedir(d);
    assert_true(n_pages >= 19);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
