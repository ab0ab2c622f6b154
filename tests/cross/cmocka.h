/* cmocka.h: the few names of cmocka that the tests of base and kernels use, for cross builds, whose
 * target has no cmocka package. A failing check prints and leaves its test; the rest still runs. */
#ifndef RK_TEST_CROSS_CMOCKA_H
#define RK_TEST_CROSS_CMOCKA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f                                                                                      \
    }

/* Where a check jumps to, and with what. */
enum { CROSS_PASSED, CROSS_FAILED, CROSS_SKIPPED };
static jmp_buf cross_test;

#define print_message printf
#define skip() longjmp(cross_test, CROSS_SKIPPED)
#define fail_msg(...)                                                                              \
    do {                                                                                           \
        printf(__VA_ARGS__);                                                                       \
        printf("\n%s:%d: failed\n", __FILE__, __LINE__);                                           \
        longjmp(cross_test, CROSS_FAILED);                                                         \
    } while (0)
#define assert_true(x)                                                                             \
    do {                                                                                           \
        if (!(x))                                                                                  \
            fail_msg("not so: %s", #x);                                                            \
    } while (0)
#define assert_false(x) assert_true(!(x))
#define assert_null(x) assert_true((x) == NULL)
#define assert_non_null(x) assert_true((x) != NULL)
#define assert_int_equal(a, b) assert_true((long long)(a) == (long long)(b))
#define assert_in_range(x, low, high) assert_true((x) >= (low) && (x) <= (high))
#define assert_ptr_equal(a, b) assert_true((const void *)(a) == (const void *)(b))
#define assert_string_equal(a, b) assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n) assert_true(memcmp(a, b, n) == 0)

/* Run a test, or a setup or teardown, which fails by returning non-zero; NULL: none. How it ended.
 */
static inline int cross_run_one(void (*test)(void **), int (*fixture)(void **), void **state)
{
    switch (setjmp(cross_test)) {
    case CROSS_PASSED:
        if (test)
            test(state);
        return fixture && fixture(state) != 0 ? CROSS_FAILED : CROSS_PASSED;
    case CROSS_SKIPPED:
        return CROSS_SKIPPED;
    default:
        return CROSS_FAILED;
    }
}

static inline int cross_run(const struct CMUnitTest *tests, size_t n, int (*setup)(void **),
                            int (*teardown)(void **))
{
    static const char *const says[] = {"OK", "FAILED", "SKIPPED"};
    void *state = NULL; /* the group's, handed to each test */
    int failed = 0;
    if (cross_run_one(NULL, setup, &state) != CROSS_PASSED)
        return 1;
    for (size_t i = 0; i < n; i++) {
        const int result = cross_run_one(tests[i].run, NULL, &state);
        printf("[%9s] %s\n", says[result], tests[i].name);
        failed += result == CROSS_FAILED;
    }
    return failed + (cross_run_one(NULL, teardown, &state) == CROSS_FAILED);
}
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cross_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)

#endif
