/* The trainer: targets that do not count, and several sequences in a row. */
#include "trainer_rig.h"

/* ---- targets that do not count ---- */

/* Next-token prediction in which example `index` has the targets that its row of `masks` lets it. */
typedef struct masked {
    rk_task *task; /* next-token without data */
    const int32_t *windows;
    const char *masks; /* (n, ctx_len): '1' counts */
} masked;
static masked mask;

static void masked_example(const rk_task *task, uint64_t index, void *const *fields)
{
    rk_next_token_put(task, mask.windows + (int64_t)index * (CTX_LEN + 1), fields);
    for (int i = 0; i < CTX_LEN; i++)
        if (mask.masks[(int64_t)index * CTX_LEN + i] != '1')
            ((int32_t *)fields[1])[i] = RK_NO_TARGET;
}
static void masked_held_out(const rk_task *task, int64_t i, void *const *fields)
{
    masked_example(task, (uint64_t)i, fields);
}

typedef struct masked_fixture {
    fixture f;
    rk_model *model;
} masked_fixture;

static void masked_begin(masked_fixture *m, const rk_train_params *params)
{
    rk_error err = {0};
    rk_train_params p = *params;
    test_ok(rk_engine_new(&m->f.engine, &(rk_engine_params){.n_threads = 2}, &err), &err);
    test_ok(rk_train_model(&m->model, &p, &err), &err);
    test_ok(rk_next_token_new(&mask.task, &p, &err), &err);
    mask.task->example = masked_example;
    mask.task->held_out = masked_held_out;
    test_ok(rk_trainer_open(&m->f.trainer, &(rk_training){m->model, mask.task, params, NULL},
                            m->f.engine, &err),
            &err);
    shake(m->f.trainer);
}
static void masked_end(masked_fixture *m)
{
    end(&m->f);
    rk_model_close(m->model);
    rk_task_close(mask.task);
}

static rk_step_info next(rk_trainer *trainer)
{
    rk_step_info info;
    rk_error err = {0};
    test_ok(rk_trainer_next(trainer, &info, NULL, &err), &err);
    return info;
}

/* The mean divides by what counts in the whole batch, however it is cut, and is that of the held-out
 * losses; a batch in which nothing counts changes nothing, and the next one goes on. */
static void test_masked(void **state)
{
    (void)state;
    test_ctx t = test_begin(15);
    rk_error err = {0};
    char *masks = test_alloc(&t, 3 * BATCH * CTX_LEN);
    int64_t n = 0;
    mask.windows = batches(&t);
    mask.masks = masks;
    for (int i = 0; i < BATCH * CTX_LEN; i++) { /* rows of one, of none and of many */
        const bool counts = i / CTX_LEN < 3 ? i % CTX_LEN == 5 && i > CTX_LEN : i % 3 == 0;
        masks[i] = counts ? '1' : '0';
        n += masks[i] == '1';
    }
    memset(masks + BATCH * CTX_LEN, '0', BATCH * CTX_LEN);
    memset(masks + 2 * BATCH * CTX_LEN, '1', BATCH * CTX_LEN);
    floats want[2] = {{0}};
    for (int64_t slices = 1; slices <= 2; slices++)
        for (int64_t micro = 1; micro <= BATCH / slices; micro *= 2) {
            masked_fixture m;
            rk_train_params p = small();
            rk_example_sums sums = {0};
            p.grad_slices = slices;
            p.micro_batch = micro;
            masked_begin(&m, &p);
            test_ok(rk_trainer_held_out(m.f.trainer, 0, BATCH, &sums, &err), &err);
            const rk_step_info first = next(m.f.trainer);
            assert_int_equal(first.counted, n);
            assert_int_equal(sums.counted, n);
            assert_true(first.loss == sums.loss / (double)n);
            const floats before = copy_of(&t, m.f.trainer, 0, 2);
            const rk_step_info none = next(m.f.trainer);
            assert_true(none.skipped && none.counted == 0 && none.step == 2);
            expect_same(&t, before, copy_of(&t, m.f.trainer, 0, 2));
            const rk_step_info all = next(m.f.trainer);
            assert_true(!all.skipped && all.counted == BATCH * CTX_LEN);
            floats got = copy_of(&t, m.f.trainer, 0, 2), *same = &want[slices - 1];
            test_shape(&t, "%d slices, micro-batches of %d", (int)slices, (int)micro);
            *same = same->x ? *same : got;
            expect_same(&t, *same, got);
            masked_end(&m);
        }
    test_end(&t);
}

/* A window that counts once has the gradient of a batch that is full of it. */
static void test_masked_mean(void **state)
{
    (void)state;
    test_ctx t = test_begin(16);
    int32_t *windows = test_alloc(&t, (size_t)2 * BATCH * (CTX_LEN + 1) * sizeof *windows);
    char *masks = test_alloc(&t, 2 * BATCH * CTX_LEN);
    const int32_t *one = batches(&t);
    for (int i = 0; i < 2 * BATCH; i++) {
        memcpy(windows + (ptrdiff_t)i * (CTX_LEN + 1), one, (CTX_LEN + 1) * sizeof *windows);
        memset(masks + (ptrdiff_t)i * CTX_LEN, i <= BATCH ? '1' : '0', CTX_LEN);
    }
    mask.windows = windows;
    mask.masks = masks;
    masked_fixture m;
    rk_train_params p = small();
    p.lr = 0.0; /* both steps see the same weights */
    masked_begin(&m, &p);
    const rk_step_info full = next(m.f.trainer), once = next(m.f.trainer);
    assert_int_equal(full.counted, BATCH * once.counted);
    assert_true(test_is_close(full.loss, once.loss, 1e-6));
    assert_true(test_is_close(full.grad_norm, once.grad_norm, 1e-5));
    masked_end(&m);
    test_end(&t);
}

/* ---- several sequences in a row ---- */

enum { FIRST = 10 }; /* tokens of the first of two sequences */

/* Example 0 has both sequences in its row; 1 and 2 have one each, and nothing that counts behind it. */
static void joined_example(const rk_task *task, uint64_t index, void *const *fields)
{
    int32_t *ids = fields[0], *targets = fields[1], *begins = fields[2];
    const int32_t *window = mask.windows;
    const int from = index == 2 ? FIRST : 0, to = index == 1 ? FIRST : CTX_LEN;
    (void)task;
    for (int i = 0; i < CTX_LEN; i++) {
        const bool inside = from + i < to;
        ids[i] = inside ? window[from + i] : 0;
        targets[i] = inside && from + i + 1 != FIRST ? window[from + i + 1] : RK_NO_TARGET;
        begins[i] = index == 0 && i == FIRST;
    }
}
static void joined_held_out(const rk_task *task, int64_t i, void *const *fields)
{
    joined_example(task, (uint64_t)i, fields);
}
static void apart_example(const rk_task *task, uint64_t index, void *const *fields)
{
    joined_example(task, index + 1, fields);
}

static void joined_begin(masked_fixture *m, const rk_train_params *p, bool apart)
{
    masked_begin(m, p);
    rk_trainer_free(m->f.trainer);
    rk_error err = {0};
    mask.task->example = apart ? apart_example : joined_example;
    mask.task->held_out = joined_held_out;
    mask.task->fields[mask.task->n_fields++] = (rk_field){"begins", RK_I32, 1, {CTX_LEN}};
    test_ok(rk_trainer_open(&m->f.trainer, &(rk_training){m->model, mask.task, p, NULL},
                            m->f.engine, &err),
            &err);
    shake(m->f.trainer);
}

/* Sequences that share a row have the losses, to the bit, and the gradient of rows of their own. */
static void test_sequences(void **state)
{
    (void)state;
    test_ctx t = test_begin(17);
    rk_error err = {0};
    rk_example_sums sums[3] = {{0}};
    rk_step_info info[2];
    mask.windows = batches(&t);
    for (int recompute = 0; recompute < 2; recompute++)
        for (int apart = 0; apart < 2; apart++) {
            masked_fixture m;
            rk_train_params p = small();
            p.batch = 1 + apart;
            p.checkpoint_blocks = recompute;
            joined_begin(&m, &p, apart);
            memset(sums, 0, sizeof sums);
            for (int i = 0; i < 3; i++)
                test_ok(rk_trainer_held_out(m.f.trainer, i, 1, &sums[i], &err), &err);
            assert_int_equal(sums[0].counted, CTX_LEN - 1);
            assert_int_equal(sums[1].counted, FIRST - 1);
            assert_true(test_is_close(sums[0].loss, sums[1].loss + sums[2].loss, 1e-12));
            info[apart] = next(m.f.trainer);
            assert_true(test_is_close(info[apart].loss, sums[0].loss / (CTX_LEN - 1), 1e-12));
            assert_true(test_is_close(info[apart].grad_norm, info[0].grad_norm, 1e-5));
            masked_end(&m);
        }
    test_end(&t);
}

int main(void)
{
    int failed = 0;
    const struct CMUnitTest every[] = {
        cmocka_unit_test(test_sequences),
    };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masked),
        cmocka_unit_test(test_masked_mean),
    };
    for (int i = 0; next_arch(&i);)
        failed += cmocka_run_group_tests_name(arch->name, every, NULL, NULL);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
