/* cores.c: usable cores, the smaller of the affinity mask and the control groups' CPU quota.
 *
 * A quota may be set in any group from the process's own up to the root, so all are read. Version 2
 * of control groups has one hierarchy and the file cpu.max ("max 100000" or "150000 100000");
 * version 1 has one hierarchy for cpu with two files. In a container the path that /proc names may
 * not exist below the mount: files that are missing set no limit, and the mount's root then holds
 * the container's own limit. */
#define _GNU_SOURCE /* sched_getaffinity() */
#include "cores.h"

#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 4096 };

/* The first line of dir/file; false when there is none. */
static bool read_line(const char *dir, const char *file, char *line, int size)
{
    char path[PATH_BYTES];
    const int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    if (n < 0 || n >= PATH_BYTES)
        return false;
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    const bool ok = fgets(line, size, f) != NULL;
    fclose(f);
    return ok;
}

static double quota_cores(double quota, double period)
{
    return quota > 0 && period > 0 ? quota / period : HUGE_VAL;
}

static double group_cores_v2(const char *dir)
{
    char line[64], *end;
    if (!read_line(dir, "cpu.max", line, sizeof line) || strncmp(line, "max", 3) == 0)
        return HUGE_VAL;
    const double quota = strtod(line, &end);
    return quota_cores(quota, strtod(end, NULL));
}

static double group_cores_v1(const char *dir)
{
    char quota[64], period[64];
    if (!read_line(dir, "cpu.cfs_quota_us", quota, sizeof quota) ||
        !read_line(dir, "cpu.cfs_period_us", period, sizeof period))
        return HUGE_VAL; /* a quota of -1 is none */
    return quota_cores(strtod(quota, NULL), strtod(period, NULL));
}

/* The least over the group and its ancestors; group begins with '/'. */
static double path_cores(const char *mount, const char *group, double (*cores)(const char *dir))
{
    char dir[PATH_BYTES];
    const size_t root = strlen(mount);
    const int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
    if (n < 0 || n >= PATH_BYTES)
        return HUGE_VAL;
    double least = HUGE_VAL;
    while (strlen(dir) > root) {
        least = fmin(least, cores(dir));
        *strrchr(dir, '/') = '\0';
    }
    return fmin(least, cores(mount));
}

/* Whether "cpu" is in a list like "cpu,cpuacct". */
static bool lists_cpu(const char *controllers)
{
    for (const char *at = controllers; *at; at += *at == ',') {
        const size_t n = strcspn(at, ",");
        if (n == 3 && memcmp(at, "cpu", 3) == 0)
            return true;
        at += n;
    }
    return false;
}

/* A line is "hierarchy:controllers:group"; version 2 has no controllers. Version 1 is mounted under
 * the name of its controllers, and usually under each of them too. */
static double line_cores(char *line, const char *mount)
{
    char dir[PATH_BYTES];
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group || group[1] != '/')
        return HUGE_VAL;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return path_cores(mount, group, group_cores_v2);
    const int n = snprintf(dir, sizeof dir, "%s/cpu", mount);
    if (!lists_cpu(controllers) || n < 0 || n >= PATH_BYTES)
        return HUGE_VAL;
    return path_cores(dir, group, group_cores_v1);
}

double rk_cgroup_cores(const char *proc_cgroup, const char *mount)
{
    char line[LINE_BYTES];
    double least = HUGE_VAL;
    FILE *f = fopen(proc_cgroup, "r");
    if (!f)
        return HUGE_VAL;
    while (fgets(line, sizeof line, f))
        least = fmin(least, line_cores(line, mount));
    fclose(f);
    return least;
}

static long affinity_cores(void)
{
#ifdef __linux__
    cpu_set_t set; /* 1024 processors; a larger machine refuses the call */
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    return sysconf(_SC_NPROCESSORS_ONLN);
}

/* A quota of 1.5 cores is worth a second thread, hence ceil. */
int rk_usable_cores(void)
{
    const double quota = ceil(rk_cgroup_cores("/proc/self/cgroup", "/sys/fs/cgroup"));
    const double cores = fmin((double)affinity_cores(), quota);
    return cores < 1 ? 1 : (int)cores;
}
