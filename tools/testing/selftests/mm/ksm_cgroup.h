/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory cgroups of a test. They are named from KSM_CGROUPS on: "a", or "a/x" for a
 * cgroup below it.
 */
#ifndef KSM_CGROUP_H
#define KSM_CGROUP_H

#include <stddef.h>
#include <sys/types.h>

#define CGROUP_ROOT	"/sys/fs/cgroup/"
#define KSM_CGROUPS	CGROUP_ROOT "ksm_cgroups/"

/* Removes what a test before has left; skips the case if there are no cgroups. */
void cgroup_begin(void);
/* Likewise, and each cgroup is a domain of its own until cgroup_restore(). */
void cgroup_begin_domains(void);
void cgroup_remove_all(void);
/* Unmerges all, since merge_across_cgroups cannot change before. For atexit(). */
void cgroup_restore(void);

void cgroup_path(char *path, size_t size, const char *cgroup, const char *file);
void cgroup_make(const char *cgroup);
/* Has memory cgroups of their own below a cgroup. */
void cgroup_divide(const char *cgroup);
int cgroup_remove(const char *cgroup);
void cgroup_move(pid_t pid, const char *cgroup);
int cgroup_try_write(const char *cgroup, const char *file, const char *text);
void cgroup_write(const char *cgroup, const char *file, const char *text);
long cgroup_read(const char *cgroup, const char *file);
/* A line of memory.ksm.stat. */
long cgroup_stat(const char *cgroup, const char *key);

#endif /* KSM_CGROUP_H */
