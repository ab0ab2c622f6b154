/* test_checkpoint.c: saving, keeping two, and finding the newest that is whole among broken ones.
 */
#include "test_util.h"

#include "train/checkpoint.h"
#include "train/checkpoint_dir.h"

enum { N_ARRAYS = 3 };

/* Three sets of three arrays of odd shapes; the values tell set, array and step. */
typedef struct model {
    rk_named_array sets[3][N_ARRAYS];
    float values[3][N_ARRAYS][40];
    rk_run_arrays arrays;
} model;

static void model_fill(model *m, float base)
{
    static const rk_named_array shapes[N_ARRAYS] = {
        {.name = "emb.weight", .dims = {8, 5}, .n_dims = 2, .n = 40},
        {.name = "blocks.0.att.x_r", .dims = {1, 1, 5}, .n_dims = 3, .n = 5},
        {.name = "ln_out.bias", .dims = {7}, .n_dims = 1, .n = 7},
    };
    for (int s = 0; s < 3; s++)
        for (int a = 0; a < N_ARRAYS; a++) {
            m->sets[s][a] = shapes[a];
            m->sets[s][a].data = m->values[s][a];
            for (int i = 0; i < 40; i++)
                m->values[s][a][i] = base + (float)(s * 1000 + a * 100 + i) / 7.0f;
        }
    m->arrays = (rk_run_arrays){{NULL, m->sets[0], N_ARRAYS},
                                {{"m", m->sets[1], N_ARRAYS}, {"v", m->sets[2], N_ARRAYS}},
                                2};
}

#define CUT "a-path-of-63-characters/which-version-0.1.0-cut-off-in-state.js"
static const rk_pair options[] = {{"lr", "0.001"}, {"seed", "1"}, {"tokenizer", CUT}};

static rk_run_state state_of(int64_t step, int64_t skipped)
{
    return (rk_run_state){.step = step,
                          .skipped_in_row = skipped,
                          .noise = {1.0 / 3.0, 7e-9},
                          .numerics = "ref",
                          .options = options,
                          .n_options = RK_COUNT(options)};
}

static void save(const char *dir, int64_t step)
{
    model m;
    rk_error err = {0};
    model_fill(&m, (float)step);
    const rk_run_state s = state_of(step, step % 3);
    test_ok(rk_checkpoint_save(dir, &s, &m.arrays, &(rk_log){0}, &err), &err);
}

static int64_t newest(const char *dir)
{
    rk_checkpoint *c = NULL;
    rk_error err = {0};
    test_ok(rk_checkpoint_find(&c, dir, &(rk_log){0}, &err), &err);
    const int64_t step = c ? rk_checkpoint_step(c) : -1;
    rk_checkpoint_close(c);
    return step;
}

static bool there(test_ctx *t, const char *dir, const char *name)
{
    return access(test_path(t, dir, name), F_OK) == 0;
}

static void test_round_trip(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    model want, got;
    rk_checkpoint *c = NULL;
    assert_int_equal(newest(dir), -1);
    save(dir, 11);
    model_fill(&want, 11.0f);
    model_fill(&got, 0.0f);
    memset(got.values, 0, sizeof got.values);
    test_ok(rk_checkpoint_find(&c, dir, &(rk_log){0}, &err), &err);
    test_ok(rk_checkpoint_restore(c, &got.arrays, &err), &err);
    for (int s = 0; s < 3; s++)
        for (int a = 0; a < N_ARRAYS; a++)
            test_same(&t, want.sets[s][a].name, want.values[s][a], got.values[s][a],
                      (size_t)want.sets[s][a].n * sizeof(float));
    assert_int_equal(rk_checkpoint_skipped_in_row(c), 2);
    const rk_noise noise = rk_checkpoint_noise(c);
    assert_true(noise.grad == 1.0 / 3.0 && noise.spread == 7e-9);
    assert_string_equal(rk_checkpoint_numerics(c), "ref");
    got.sets[1][2].dims[0] = 6;
    assert_int_equal(rk_checkpoint_restore(c, &got.arrays, &err), RK_ERR_FORMAT);
    assert_non_null(strstr(err.msg, "'m.ln_out.bias'"));
    rk_checkpoint_close(c);
    test_end(&t);
}

/* A run that began with a model says which; the newest state that can be read counts. */
static void test_base(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    const char *dir = test_temp_dir(&t);
    rk_error err = {0};
    rk_checkpoint *c = NULL;
    char *path = NULL;
    uint64_t checksum = 1;
    model m;
    test_ok(rk_checkpoint_find_base(&path, test_path(&t, dir, "nowhere"), &err), &err);
    assert_null(path);
    save(dir, 5);
    test_ok(rk_checkpoint_find_base(&path, dir, &err), &err);
    assert_null(path);
    test_ok(rk_checkpoint_find_option(&path, dir, "l2wrap", &err), &err);
    assert_null(path);
    test_ok(rk_checkpoint_find_option(&path, dir, "lr", &err), &err);
    assert_string_equal(path, "0.001");
    free(path);
    model_fill(&m, 1.0f);
    const rk_run_state s = {.step = 7, .numerics = "ref", .base = "a/\"b\"", .base_checksum = 77};
    test_ok(rk_checkpoint_save(dir, &s, &m.arrays, &(rk_log){0}, &err), &err);
    test_write_file(test_path(&t, dir, "checkpoint-9"), "no folder", 9);
    test_ok(rk_checkpoint_find_base(&path, dir, &err), &err);
    assert_string_equal(path, "a/\"b\"");
    free(path);
    test_ok(rk_checkpoint_find(&c, dir, &(rk_log){0}, &err), &err);
    assert_string_equal(rk_checkpoint_base(c, &checksum), "a/\"b\"");
    assert_int_equal(checksum, 77);
    rk_checkpoint_close(c);
    test_end(&t);
}

static void test_two_are_kept(void **state)
{
    (void)state;
    test_ctx t = test_begin(2);
    const char *dir = test_temp_dir(&t);
    save(dir, 9);
    save(dir, 90);
    save(dir, 100); /* sorted as numbers, not as names */
    assert_false(there(&t, dir, "checkpoint-9"));
    assert_true(there(&t, dir, "checkpoint-90") && there(&t, dir, "checkpoint-100"));
    assert_int_equal(newest(dir), 100);
    test_end(&t);
}

static void test_options(void **state)
{
    (void)state;
    test_ctx t = test_begin(3);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    rk_checkpoint *c = NULL;
    save(dir, 5);
    test_ok(rk_checkpoint_find(&c, dir, &(rk_log){0}, &err), &err);
    const rk_pair defaults[] = {
        {"lr", "1"}, {"seed", "0"}, {"tokenizer", "byte"}}; /* all are recorded */
    test_ok(rk_checkpoint_check_options(c, options, defaults, RK_COUNT(options), &err), &err);
    const rk_pair changed[] = {{"lr", "0.001"}, {"seed", "2"}};
    assert_int_equal(rk_checkpoint_check_options(c, changed, defaults, 2, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "--seed is 2"));
    assert_non_null(strstr(err.msg, "made with 1"));
    const rk_pair whole[] = {{"tokenizer", CUT "on"}}, another[] = {{"tokenizer", "b" CUT}};
    test_ok(rk_checkpoint_check_options(c, whole, defaults, 1, &err), &err);
    assert_int_equal(rk_checkpoint_check_options(c, another, defaults, 1, &err), RK_ERR_ARG);
    const rk_pair longer[] = {{"seed", "12"}};
    assert_int_equal(rk_checkpoint_check_options(c, longer, defaults, 1, &err), RK_ERR_ARG);
    const rk_pair later[] = {{"dropout", "0.5"}}, none[] = {{"dropout", NULL}};
    const rk_pair zero[] = {{"dropout", "0"}};
    test_ok(rk_checkpoint_check_options(c, later, later, 1, &err), &err);
    assert_int_equal(rk_checkpoint_check_options(c, later, zero, 1, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "made with 0;"));
    assert_int_equal(rk_checkpoint_check_options(c, later, none, 1, &err), RK_ERR_ARG);
    assert_non_null(strstr(err.msg, "made with none;"));
    rk_checkpoint_close(c);
    test_end(&t);
}

/* Ways to break a file. */
static void cut_short(const char *path, const char *bytes, size_t n)
{
    test_write_file(path, bytes, n / 2);
}
static void cut_last(const char *path, const char *bytes, size_t n)
{
    test_write_file(path, bytes, n - 1);
}
static void make_empty(const char *path, const char *bytes, size_t n)
{
    (void)n;
    test_write_file(path, bytes, 0);
}
static void remove_it(const char *path, const char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    remove(path);
}
static void flip_a_bit(const char *path, const char *bytes, size_t n)
{
    char copy[8192];
    assert_true(n < sizeof copy);
    memcpy(copy, bytes, n);
    copy[n / 2] ^= 4;
    test_write_file(path, copy, n);
}
static void make_zeros(const char *path, const char *bytes, size_t n)
{
    static const char zeros[8192];
    (void)bytes;
    assert_true(n < sizeof zeros);
    test_write_file(path, zeros, n);
}

static void note_line(void *user, rk_log_level level, const char *line)
{
    int *n = user;
    assert_int_equal(level, RK_LOG_WARN);
    assert_non_null(strstr(line, "checkpoint-20"));
    ++*n;
}

/* Every file of the newest, broken in every way: the one before it is found, with one warning. */
static void test_broken_newest(void **state)
{
    (void)state;
    static const char *const files[] = {"model.safetensors", "optim.safetensors", "state.json"};
    static void (*const ways[])(const char *, const char *, size_t) = {
        cut_short, cut_last, make_empty, remove_it, flip_a_bit, make_zeros};
    test_ctx t = test_begin(4);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    save(dir, 10);
    save(dir, 20);
    for (size_t f = 0; f < RK_COUNT(files); f++)
        for (size_t w = 0; w < RK_COUNT(ways); w++) {
            const char *path = test_path(&t, test_path(&t, dir, "checkpoint-20"), files[f]);
            size_t n;
            const char *bytes = test_read_file(&t, path, &n);
            int warnings = 0;
            const rk_log log = {note_line, &warnings, RK_LOG_DEBUG};
            rk_checkpoint *c = NULL;
            ways[w](path, bytes, n);
            test_ok(rk_checkpoint_find(&c, dir, &log, &err), &err);
            assert_non_null(c);
            assert_int_equal(rk_checkpoint_step(c), 10);
            assert_int_equal(warnings, 1);
            rk_checkpoint_close(c);
            test_write_file(path, bytes, n);
            assert_int_equal(newest(dir), 20);
        }
    test_end(&t);
}

static rk_status clear(const char *dir, int64_t done, bool resumed, rk_error *err)
{
    return rk_checkpoint_dir_clear(dir, &(rk_save_steps){done, 10, 45}, resumed, &(rk_log){0}, err);
}

/* A valid checkpoint under another number is damaged too. Who goes on from an earlier one sets it
 * aside, under a name that is free, and removes nothing. */
static void test_after_broken(void **state)
{
    (void)state;
    test_ctx t = test_begin(5);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t);
    for (int i = 0; i < 2; i++) {
        save(dir, 10);
        save(dir, 20);
        assert_int_equal(
            rename(test_path(&t, dir, "checkpoint-20"), test_path(&t, dir, "checkpoint-30")), 0);
        assert_int_equal(newest(dir), 10);
        test_ok(clear(dir, 10, true, &err), &err);
    }
    assert_false(there(&t, dir, "checkpoint-30"));
    assert_true(there(&t, dir, "checkpoint-30.damaged/model.safetensors"));
    assert_true(there(&t, dir, "checkpoint-30.damaged-2/model.safetensors"));
    save(dir, 15);
    assert_int_equal(newest(dir), 15);
    /* The same step once more replaces what is there. */
    save(dir, 15);
    assert_int_equal(newest(dir), 15);
    test_end(&t);
}

/* What is not a checkpoint of the run stays as it is, whatever its name and its age, and is in the
 * way only where a checkpoint will need the name. */
static void test_foreign(void **state)
{
    (void)state;
    test_ctx t = test_begin(6);
    rk_error err = {0};
    const char *dir = test_temp_dir(&t), *away = test_temp_dir(&t);
    save(away, 3);
    /* A link to a checkpoint, a file, a folder of notes, a checkpoint with notes, an empty folder. */
    assert_int_equal(
        symlink(test_path(&t, away, "checkpoint-3"), test_path(&t, dir, "checkpoint-3")), 0);
    test_write_file(test_path(&t, dir, "checkpoint-4"), "mine", 4);
    assert_int_equal(mkdir(test_path(&t, dir, "checkpoint-5"), 0777), 0);
    test_write_file(test_path(&t, dir, "checkpoint-5/notes.txt"), "mine", 4);
    assert_int_equal(mkdir(test_path(&t, dir, "checkpoint-7"), 0777), 0);
    save(dir, 6);
    test_write_file(test_path(&t, dir, "checkpoint-6/notes.txt"), "mine", 4);
    for (int64_t step = 11; step < 15; step++)
        save(dir, step);
    assert_true(there(&t, away, "checkpoint-3/model.safetensors"));
    assert_true(there(&t, dir, "checkpoint-3") && there(&t, dir, "checkpoint-4"));
    assert_true(there(&t, dir, "checkpoint-5/notes.txt") && there(&t, dir, "checkpoint-7"));
    assert_true(there(&t, dir, "checkpoint-6/notes.txt"));
    assert_true(there(&t, dir, "checkpoint-6/state.json"));
    assert_false(there(&t, dir, "checkpoint-11") || there(&t, dir, "checkpoint-12"));
    assert_true(there(&t, dir, "checkpoint-13") && there(&t, dir, "checkpoint-14"));

    assert_int_equal(mkdir(test_path(&t, dir, "checkpoint-33"), 0777), 0);
    test_write_file(test_path(&t, dir, "checkpoint-33/notes.txt"), "mine", 4);
    test_ok(clear(dir, 14, true, &err), &err); /* no checkpoint of step 33 is asked for */
    test_write_file(test_path(&t, dir, "checkpoint-45"), "mine", 4);
    for (int resumed = 0; resumed < 2; resumed++) {
        assert_int_equal(clear(dir, 14, resumed, &err), RK_ERR_ARG);
        assert_non_null(strstr(err.msg, "checkpoint-45: is in the way"));
    }
    model m;
    model_fill(&m, 1.0f);
    const rk_run_state s = state_of(33, 0);
    assert_int_equal(rk_checkpoint_save(dir, &s, &m.arrays, &(rk_log){0}, &err), RK_ERR_ARG);
    assert_true(there(&t, dir, "checkpoint-33/notes.txt"));
    assert_int_equal(newest(dir), 14);
    test_end(&t);
}

static void note_stubborn(void *user, rk_log_level level, const char *line)
{
    int *n = user;
    assert_int_equal(level, RK_LOG_WARN);
    assert_non_null(strstr(line, "an older checkpoint stays"));
    ++*n;
}

/* An older checkpoint that cannot be removed is a warning. */
static void test_stubborn(void **state)
{
    (void)state;
    test_ctx t = test_begin(7);
    rk_error err = {0};
    int warnings = 0;
    const rk_log log = {note_stubborn, &warnings, RK_LOG_DEBUG};
    const char *dir = test_temp_dir(&t);
    model m;
    model_fill(&m, 1.0f);
    save(dir, 1);
    save(dir, 2);
    const char *old = test_path(&t, dir, "checkpoint-1");
    assert_int_equal(chmod(old, 0555), 0);
    const rk_run_state s = state_of(3, 0);
    const bool root = geteuid() == 0; /* whom no mode stops, so somebody else saves */
    assert_int_equal(chmod(dir, 0777), 0);
    assert_false(root && seteuid(65534) != 0);
    const rk_status st = rk_checkpoint_save(dir, &s, &m.arrays, &log, &err);
    assert_false(root && seteuid(0) != 0);
    test_ok(st, &err);
    assert_int_equal(warnings, 1);
    assert_true(there(&t, dir, "checkpoint-1") && there(&t, dir, "checkpoint-3"));
    assert_int_equal(chmod(old, 0777), 0);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_base),
        cmocka_unit_test(test_two_are_kept),  cmocka_unit_test(test_options),
        cmocka_unit_test(test_broken_newest), cmocka_unit_test(test_after_broken),
        cmocka_unit_test(test_foreign),       cmocka_unit_test(test_stubborn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
