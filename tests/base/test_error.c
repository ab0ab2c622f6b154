/* Errors carry a sentence, cut when it is too long, and statuses become exit statuses. */
#include "test_util.h"

static void test_fail(void **state)
{
    (void)state;
    rk_error err;
    assert_int_equal(rk_fail(&err, RK_ERR_FORMAT, "%s: %d", "x", 7), RK_ERR_FORMAT);
    assert_int_equal(err.code, RK_ERR_FORMAT);
    assert_string_equal(err.msg, "x: 7");
    assert_int_equal(rk_fail(NULL, RK_ERR_IO, "%s", "nobody listens"), RK_ERR_IO);
}

static void test_fail_cuts(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    char *text = test_alloc(&t, 1001);
    rk_error err;
    memset(text, 'a', 1000);
    text[1000] = '\0';
    assert_int_equal(rk_fail(&err, RK_ERR_ARG, "%s", text), RK_ERR_ARG);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    test_end(&t);
}

/* A name from a file cannot control the terminal that shows it. */
static void test_fail_controls(void **state)
{
    (void)state;
    rk_error err;
    rk_fail(&err, RK_ERR_FORMAT, "%s", "a\x1b[2J \xc2\x9b \x7f \xc2\xa0 \xc3\xa4");
    assert_string_equal(err.msg, "a?[2J ?? ? \xc2\xa0 \xc3\xa4");
}

static void test_exit_status(void **state)
{
    (void)state;
    static const struct {
        rk_status code;
        int want;
    } rows[] = {{RK_OK, 0},          {RK_ERR_ARG, 2},     {RK_ERR_IO, 1},
                {RK_ERR_FORMAT, 2},  {RK_ERR_NOMEM, 1},   {RK_ERR_UNSUPPORTED, 2},
                {RK_ERR_ABORTED, 1}, {RK_ERR_NUMERIC, 1}, {RK_ERR_FULL, 2}};
    for (size_t i = 0; i < RK_COUNT(rows); i++)
        assert_int_equal(rk_exit_status(rows[i].code), rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail),
        cmocka_unit_test(test_fail_cuts),
        cmocka_unit_test(test_fail_controls),
        cmocka_unit_test(test_exit_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
