/* test_runlog.c: log.jsonl over several sittings, and the curve drawn from it. */
#include "test_util.h"

#include "train/curve.h"
#include "train/runlog.h"

static rk_log_entry entry(int64_t step)
{
    return (rk_log_entry){.step = step,
                          .tokens = step * 96,
                          .loss = 4.0 / (double)step,
                          .lr = 1e-3,
                          .grad_norm = 0.5,
                          .tokens_per_s = 1000.0,
                          .val_loss = step % 10 == 0 ? 5.0 / (double)step : (double)NAN};
}

/* One sitting: from the step after `from` to `to`. */
static void sit(const char *dir, int64_t from, int64_t to)
{
    rk_runlog *l = NULL;
    rk_error err = {0};
    test_ok(rk_runlog_open(&l, dir, from, &err), &err);
    test_ok(rk_runlog_status(l, from, from ? "resumed" : "started", "ref", &err), &err);
    for (int64_t step = from + 1; step <= to; step++) {
        const rk_log_entry e = entry(step);
        test_ok(rk_runlog_step(l, &e, &err), &err);
    }
    test_ok(rk_runlog_sync(l, &err), &err);
    rk_runlog_close(l);
}

/* Checks that entries come as 1, 2, 3 ... */
static bool in_order(void *user, const rk_log_entry *e)
{
    int64_t *last = user;
    const rk_log_entry want = entry(e->step);
    assert_int_equal(e->step, *last + 1);
    assert_int_equal(e->tokens, want.tokens);
    assert_true(fabs(e->loss - want.loss) < 1e-8);
    assert_true(isnan(want.val_loss) ? isnan(e->val_loss)
                                     : fabs(e->val_loss - want.val_loss) < 1e-8);
    *last = e->step;
    return true;
}

static void test_resume_drops_later_lines(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    int64_t last = 0;
    test_ok(rk_runlog_read(dir, "loss", in_order, &last, &err), &err);
    assert_int_equal(last, 0);
    sit(dir, 0, 37);
    FILE *f = fopen(test_path(&t, dir, "log.jsonl"), "a");
    assert_non_null(f);
    fputs("{\"step\": 5, \"loss\": torn", f); /* by a kill */
    fclose(f);
    sit(dir, 20, 45);
    sit(dir, 45, 50);
    test_ok(rk_runlog_read(dir, "loss", in_order, &last, &err), &err);
    assert_int_equal(last, 50);
    const char *text = test_read_file(&t, test_path(&t, dir, "log.jsonl"), NULL);
    assert_null(strstr(text, "torn"));
    int lines = 0, statuses = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    for (const char *p = text; (p = strstr(p, "\"status\"")); p++)
        statuses++;
    assert_int_equal(statuses, 3);
    assert_int_equal(lines, 50 + statuses);
    test_end(&t);
}

static void test_not_finite_is_null(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    rk_runlog *l = NULL;
    test_ok(rk_runlog_open(&l, dir, 0, &err), &err);
    const rk_log_entry e = {.step = 1,
                            .loss = (double)INFINITY,
                            .val_loss = (double)NAN,
                            .ema_val_loss = (double)NAN,
                            .noise_scale = (double)NAN,
                            .skipped = true};
    test_ok(rk_runlog_step(l, &e, &err), &err);
    rk_runlog_close(l);
    const char *text = test_read_file(&t, test_path(&t, dir, "log.jsonl"), NULL);
    assert_non_null(strstr(text, "\"loss\": null"));
    assert_non_null(strstr(text, "\"skipped\": true"));
    test_end(&t);
}

static bool take_drawn(void *user, const rk_log_entry *e)
{
    double *sums = user;
    sums[0] += isnan(e->drawn) ? 0.0 : e->drawn;
    sums[1] += isnan(e->val_drawn) ? 0.0 : e->val_drawn;
    sums[2] += 1.0;
    return true;
}

/* A task's metrics stand beside the losses, and either can be read; step 0 has what was measured. */
static void test_metrics(void **state)
{
    (void)state;
    static const char *const names[] = {"accuracy", "other"};
    static const double means[] = {0.25, 7.0}, val_means[] = {0.5, 9.0};
    test_ctx t = test_begin(4);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    rk_runlog *l = NULL;
    rk_log_entry e = {.loss = 3.0,
                      .val_loss = 2.0,
                      .ema_val_loss = (double)NAN,
                      .noise_scale = (double)NAN,
                      .names = names,
                      .metrics = means,
                      .val_metrics = val_means,
                      .n_metrics = 2};
    test_ok(rk_runlog_open(&l, dir, 0, &err), &err);
    test_ok(rk_runlog_step(l, &e, &err), &err);
    e.step = 1;
    e.val_loss = (double)NAN;
    test_ok(rk_runlog_step(l, &e, &err), &err);
    e.ema_val_loss = 1.5;
    e.noise_scale = 12.0;
    test_ok(rk_runlog_step(l, &e, &err), &err);
    rk_runlog_close(l);
    const char *text = test_read_file(&t, test_path(&t, dir, "log.jsonl"), NULL);
    assert_non_null(strstr(
        text,
        "\"other\": 7, \"ema_val_loss\": 1.5, \"lr\": 0, \"grad_norm\": 0, \"noise_scale\": 12, "));
    assert_ptr_equal(strstr(text,
                            "{\"step\": 0, \"tokens\": 0, \"val_loss\": 2, \"val_accuracy\": 0.5, "
                            "\"val_other\": 9}\n{\"step\": 1, \"tokens\": 0, \"loss\": 3, "
                            "\"accuracy\": 0.25, \"other\": 7, \"lr\": 0, "),
                     text);
    double accuracy[3] = {0.0}, loss[3] = {0.0};
    test_ok(rk_runlog_read(dir, "accuracy", take_drawn, accuracy, &err), &err);
    test_ok(rk_runlog_read(dir, "loss", take_drawn, loss, &err), &err);
    assert_true(accuracy[0] == 0.5 && accuracy[1] == 0.5 && accuracy[2] == 3.0);
    assert_true(loss[0] == 6.0 && loss[1] == 2.0 && loss[2] == 3.0);
    test_end(&t);
}

static bool sum_steps(void *user, const rk_log_entry *e)
{
    *(int64_t *)user += e->step;
    return true;
}

/* Lines that are none are passed over and take no other with them. */
static void test_malformed_lines(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "{}",
        "null",
        "{\"step\": 1}",
        "{\"loss\": 1}",
        "{\"step\": -1, \"loss\": 1}",
        "{\"step\": \"1\", \"loss\": 1}",
        "{\"step\": null, \"loss\": 1}",
        "{\"step\": 1e300, \"loss\": 1}",
        "{\"step\": 1, \"loss\": }",
        "{\"step\": 1, \"loss\"",
        "{\"step\": 1, \"loss\": 1",
        "{\"step\": 1, \"loss\": 1}}",
        "{\"step\": 1, \"loss\": 1} x",
        "{\"step\": 1 \"loss\": 1}",
        "[1, 2]",
        "\xff\xfe",
    };
    for (size_t i = 0; i < RK_COUNT(lines); i++) {
        char text[256];
        int64_t sum = 0;
        const int n = snprintf(text, sizeof text,
                               "{\"step\": 100, \"loss\": 2.5}\n%s\n"
                               "{\"step\": 200, \"other\": [1, {}], \"loss\": null}\n",
                               lines[i]);
        assert_true(rk_runlog_read_bytes(text, (size_t)n, "loss", sum_steps, &sum));
        if (sum != 300)
            fail_msg("line %zu: the steps add up to %" PRId64, i, sum);
    }
    /* A line too long to be of this log, and one that a crash has torn. */
    char text[4000];
    int64_t sum = 0;
    const int n = snprintf(text, sizeof text,
                           "{\"step\": 1, \"loss\": 1, \"x\": \"%02000d\"}\n"
                           "{\"step\": 2, \"loss\": 1}\n{\"step\": 4, \"loss\": 1}",
                           0);
    assert_true(rk_runlog_read_bytes(text, (size_t)n, "loss", sum_steps, &sum));
    assert_int_equal(sum, 2);
    assert_true(rk_runlog_read_bytes(text, 0, "loss", sum_steps, &sum));
}

static int count(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* Few points have dots, many are thinned and the file stays small. */
static void test_curve(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    test_ok(rk_curve_write(dir, &(rk_curve){"empty", "loss", "nats a token"}, &err), &err);
    assert_int_equal(access(test_path(&t, dir, "curve.svg"), F_OK), -1);
    sit(dir, 0, 1);
    test_ok(rk_curve_write(dir, &(rk_curve){"a < b & c", "loss", "nats a token"}, &err), &err);
    const char *one = test_read_file(&t, test_path(&t, dir, "curve.svg"), NULL);
    assert_non_null(strstr(one, "a &lt; b &amp; c"));
    assert_int_equal(count(one, "<circle"), 1);
    sit(dir, 1, 30);
    test_ok(rk_curve_write(dir, &(rk_curve){"few", "loss", "nats a token"}, &err), &err);
    const char *few = test_read_file(&t, test_path(&t, dir, "curve.svg"), NULL);
    assert_int_equal(count(few, "<circle"), 33);
    assert_int_equal(count(few, "<polyline"), 2);
    assert_int_equal(count(few, "<polygon"), 0);
    sit(dir, 30, 3000);
    test_ok(rk_curve_write(dir, &(rk_curve){"many", "loss", "nats a token"}, &err), &err);
    size_t bytes;
    const char *many = test_read_file(&t, test_path(&t, dir, "curve.svg"), &bytes);
    assert_int_equal(count(many, "<polygon"), 1);
    assert_int_equal(count(many, "<circle"), 0);
    assert_true(bytes < 40000);
    assert_string_equal(many + bytes - 7, "</svg>\n");
    assert_int_equal(count(many, "nan") + count(many, "inf"), 0);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume_drops_later_lines),
        cmocka_unit_test(test_not_finite_is_null),
        cmocka_unit_test(test_malformed_lines),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
