/* A byte string grows, stays NUL-terminated, and remembers that a write failed. */
#include "test_util.h"

#include "base/buf.h"

static void test_writes(void **state)
{
    (void)state;
    rk_buf b = {0};
    rk_buf_clear(&b);
    assert_null(b.data);
    rk_buf_add(&b, NULL, 0);
    assert_string_equal(b.data, "");
    rk_buf_puts(&b, "one");
    rk_buf_add(&b, "\0!", 2);
    rk_buf_printf(&b, " %d %s", 2, "three");
    assert_int_equal(b.len, 13);
    assert_memory_equal(b.data, "one\0! 2 three", 14);
    rk_buf_clear(&b);
    assert_string_equal(b.data, "");
    assert_false(b.failed);
    rk_buf_deinit(&b);
    assert_null(b.data);
}

/* Lengths around each capacity, so that the NUL is written at the last byte of a block. */
static void test_grows(void **state)
{
    (void)state;
    rk_buf bytes = {0}, printed = {0};
    for (size_t i = 0; i < 5000; i++) {
        const char c = (char)('a' + i % 26);
        rk_buf_add(&bytes, &c, 1);
        rk_buf_printf(&printed, "%c", c);
        assert_int_equal(strlen(bytes.data), i + 1);
        assert_int_equal(printed.len, i + 1);
    }
    assert_string_equal(bytes.data, printed.data);
    for (size_t i = 0; i < 5000; i++)
        assert_int_equal(bytes.data[i], 'a' + i % 26);
    rk_buf_deinit(&bytes);
    rk_buf_deinit(&printed);
}

static void test_failure_stays(void **state)
{
    (void)state;
    rk_buf b = {0};
    rk_buf_puts(&b, "kept");
    rk_buf_add(&b, "x", SIZE_MAX - 2); /* refused before the bytes are looked at */
    assert_true(b.failed);
    rk_buf_puts(&b, "ignored");
    rk_buf_printf(&b, "%d", 1);
    assert_string_equal(b.data, "kept");
    rk_buf_deinit(&b);
    assert_false(b.failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_grows),
        cmocka_unit_test(test_failure_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
