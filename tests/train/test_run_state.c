/* test_run_state.c: state.json as it should not be, each with a checksum that agrees. */
#include "test_util.h"

#include "io/checksum.h"
#include "train/run_state.h"

#define SUMS                                                                                       \
    "\"model.safetensors bytes\": 1, \"model.safetensors xxh3\": \"ff\", "                         \
    "\"optim.safetensors bytes\": 2, \"optim.safetensors xxh3\": \"0a\""
#define HEAD "{\"format\": 1, \"step\": 7, \"skipped_in_row\": 2, \"numerics\": \"ref\", "

/* Parse body with the closing checksum added. */
static rk_status parse(test_ctx *t, const char *body, rk_saved_state **out, rk_error *err)
{
    const size_t n = strlen(body), bytes = n + 64;
    char *text = test_alloc(t, bytes);
    const int tail = snprintf(text, bytes, "%s, \"checksum\": \"%016" PRIx64 "\"}\n", body,
                              rk_checksum_bytes(body, n));
    rk_map map;
    test_ok(rk_map_memory(&map, test_copy(t, text, (size_t)tail), (size_t)tail, "state.json", err),
            err);
    const rk_status st = rk_saved_state_read_map(out, &map, err);
    rk_map_close(&map);
    return st;
}

static void test_good(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err = {0};
    rk_saved_state *s = NULL;
    test_ok(parse(&t, HEAD SUMS ", \"--lr\": \"0.\\u0031\", \"--note\": \"\"", &s, &err), &err);
    assert_int_equal(s->step, 7);
    assert_int_equal(s->skipped_in_row, 2);
    assert_string_equal(s->numerics, "ref");
    assert_true(s->files[0].bytes == 1 && s->files[0].checksum == 0xff);
    assert_true(s->files[1].bytes == 2 && s->files[1].checksum == 10);
    assert_string_equal(rk_saved_state_option(s, "lr"), "0.1");
    assert_string_equal(rk_saved_state_option(s, "note"), "");
    assert_null(rk_saved_state_option(s, "seed"));
    assert_null(s->base);
    rk_saved_state_free(s);
    test_ok(parse(&t, HEAD SUMS ", \"base\": \"a/b\", \"base xxh3\": \"1f\"", &s, &err), &err);
    assert_string_equal(s->base, "a/b");
    assert_int_equal(s->base_checksum, 0x1f);
    rk_saved_state_free(s);
    test_end(&t);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{",
        "[1",
        "{\"format\": 1",
        "{\"format\": 2, " SUMS,
        "{\"format\": \"one\", " SUMS,
        "{\"format\": 1, \"step\": -7, \"skipped_in_row\": 2, \"numerics\": \"ref\", " SUMS,
        "{\"format\": 1, \"step\": 7.5, \"skipped_in_row\": 2, \"numerics\": \"ref\", " SUMS,
        "{\"format\": 1, \"step\": 99999999999999999999, \"skipped_in_row\": 2, \"numerics\": "
        "\"ref\", " SUMS,
        "{\"format\": 1, \"step\": 7, \"numerics\": \"ref\", " SUMS,
        "{\"format\": 1, \"step\": 7, \"skipped_in_row\": 2, " SUMS,
        HEAD "\"model.safetensors bytes\": 1, \"model.safetensors xxh3\": \"ff\"",
        HEAD "\"model.safetensors bytes\": 1, \"model.safetensors xxh3\": \"fg\", "
             "\"optim.safetensors bytes\": 2, \"optim.safetensors xxh3\": \"0a\"",
        HEAD SUMS ", \"--lr\": [1]",
        HEAD SUMS ", \"--lr\": {\"a\": 1}",
        HEAD SUMS ", \"--lr\"",
        HEAD SUMS ", \"--lr\": \"open",
        HEAD SUMS ", 5: 6",
        HEAD SUMS ", \"base\": \"a\"",
        HEAD SUMS ", \"base\": \"a\", \"base xxh3\": \"\"",
        HEAD SUMS ", \"a\": \"\xff\"",
        HEAD SUMS "} {\"a\": 1",
        HEAD SUMS "}, {\"a\": 1",
    };
    test_ctx t = test_begin(2);
    for (size_t i = 0; i < RK_COUNT(bodies); i++) {
        rk_saved_state *s = NULL;
        rk_error err = {0};
        const rk_status st = parse(&t, bodies[i], &s, &err);
        if (st != RK_ERR_FORMAT && st != RK_ERR_UNSUPPORTED)
            fail_msg("case %zu: status %d", i, (int)st);
        assert_ptr_equal(strstr(err.msg, "state.json: "), err.msg);
        assert_null(s);
    }
    test_end(&t);
}

/* More members than there is room for. */
static void test_too_many(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_error err = {0};
    rk_saved_state *s = NULL;
    char *body = test_alloc(&t, 16384);
    size_t n = (size_t)snprintf(body, 16384, "%s", HEAD SUMS);
    for (int i = 0; i < RK_SAVED_MEMBERS_MAX; i++)
        n += (size_t)snprintf(body + n, 16384 - n, ", \"--x%d\": \"1\"", i);
    assert_int_equal(parse(&t, body, &s, &err), RK_ERR_FORMAT);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
