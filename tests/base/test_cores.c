/* The CPU quota of control groups, read from made-up trees of both versions. */
#include "test_util.h"

#include "base/cores.h"
#include "base/pool.h"

static const char *tree_file(test_ctx *t, const char *root, const char *path, const char *text)
{
    char *name = test_path(t, root, path);
    for (char *at = name + strlen(root) + 1; (at = strchr(at, '/')); at++) {
        *at = '\0';
        mkdir(name, 0700);
        *at = '/';
    }
    test_write_file(name, text, strlen(text));
    return name;
}

static void test_version_2(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *root = test_temp_dir(&t);
    const char *proc = tree_file(&t, root, "proc", "0::/a/b/c\n");
    assert_true(rk_cgroup_cores(proc, root) == HUGE_VAL);
    tree_file(&t, root, "a/b/c/cpu.max", "max 100000\n");
    assert_true(rk_cgroup_cores(proc, root) == HUGE_VAL);
    tree_file(&t, root, "a/b/c/cpu.max", "400000 100000\n");
    assert_true(rk_cgroup_cores(proc, root) == 4);
    tree_file(&t, root, "a/cpu.max", "150000 100000\n"); /* an ancestor's limit */
    assert_true(rk_cgroup_cores(proc, root) == 1.5);
    tree_file(&t, root, "proc", "0::/elsewhere/than/mounted\n");
    tree_file(&t, root, "cpu.max", "50000 100000\n");
    assert_true(rk_cgroup_cores(proc, root) == 0.5);
    tree_file(&t, root, "proc", "0::/\n");
    assert_true(rk_cgroup_cores(proc, root) == 0.5);
    test_end(&t);
}

static void test_version_1(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *root = test_temp_dir(&t);
    const char *proc = tree_file(&t, root, "proc", "9:cpuset:/x\n3:cpuacct,cpu:/box\n0::/\n");
    tree_file(&t, root, "cpu/box/cpu.cfs_quota_us", "-1\n");
    tree_file(&t, root, "cpu/box/cpu.cfs_period_us", "100000\n");
    assert_true(rk_cgroup_cores(proc, root) == HUGE_VAL);
    tree_file(&t, root, "cpu/box/cpu.cfs_quota_us", "250000\n");
    assert_true(rk_cgroup_cores(proc, root) == 2.5);
    tree_file(&t, root, "proc", "9:cpuset:/box\n8:cpuacct:/box\n");
    assert_true(rk_cgroup_cores(proc, root) == HUGE_VAL);
    test_end(&t);
}

/* What makes no sense is no limit. */
static void test_malformed(void **state)
{
    (void)state;
    test_ctx t = test_begin(1);
    const char *root = test_temp_dir(&t);
    static const char *const limits[] = {"", "\n", "x y\n", "100000\n", "100000 0\n", "-5 100\n"};
    static const char *const groups[] = {"", "\n", "0\n", "0:\n", "0::\n", "0::a\n", ":::\n"};
    const char *proc = tree_file(&t, root, "proc", "0::/\n");
    for (size_t i = 0; i < RK_COUNT(limits); i++) {
        tree_file(&t, root, "cpu.max", limits[i]);
        assert_true(rk_cgroup_cores(proc, root) == HUGE_VAL);
    }
    tree_file(&t, root, "cpu.max", "100000 100000\n");
    for (size_t i = 0; i < RK_COUNT(groups); i++) {
        tree_file(&t, root, "proc", groups[i]);
        assert_true(rk_cgroup_cores(proc, root) == HUGE_VAL);
    }
    assert_true(rk_cgroup_cores(test_path(&t, root, "absent"), root) == HUGE_VAL);
    assert_in_range(rk_usable_cores(), 1, 1 << 16);
    test_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
