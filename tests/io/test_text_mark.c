/* test_text_mark.c: byte order marks: that of UTF-8 is counted, those of others are named. */
#include "io/text_mark.h"

#include "test_util.h"

static void test_marks(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n, mark;
        const char *encoding;
    } cases[] = {
        {"", 0, 0, NULL},
        {"text", 4, 0, NULL},
        {"\xef\xbb", 2, 0, NULL},
        {"\xef\xbb\xbf", 3, 3, NULL},
        {"\xef\xbb\xbf\xef\xbb\xbf", 6, 3, NULL},
        {"\xff", 1, 0, NULL},
        {"\xff\xfe", 2, 0, "UTF-16LE"},
        {"\xff\xfe"
         "a\0",
         4, 0, "UTF-16LE"},
        {"\xfe\xff\0a", 4, 0, "UTF-16BE"},
        {"\xff\xfe\0\0", 4, 0, "UTF-32LE"},
        {"\0\0\xfe\xff", 4, 0, "UTF-32BE"},
    };
    for (size_t i = 0; i < RK_COUNT(cases); i++) {
        size_t mark = 9;
        rk_error err = {0};
        const rk_status st = rk_text_begin(cases[i].bytes, cases[i].n, "x.txt", &mark, &err);
        assert_int_equal(st, cases[i].encoding ? RK_ERR_UNSUPPORTED : RK_OK);
        assert_int_equal(mark, cases[i].mark);
        if (cases[i].encoding) {
            assert_non_null(strstr(err.msg, "x.txt: "));
            assert_non_null(strstr(err.msg, cases[i].encoding));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_marks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
