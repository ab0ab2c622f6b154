/* cores.h: how many processors this process may use; rk_usable_cores is declared in pool.h. */
#ifndef RK_BASE_CORES_H
#define RK_BASE_CORES_H

/* The CPU quota of control groups, in cores; HUGE_VAL when there is none or it cannot be read.
 * proc_cgroup: the file that names the process's groups, /proc/self/cgroup. mount: /sys/fs/cgroup.
 */
double rk_cgroup_cores(const char *proc_cgroup, const char *mount);

#endif
