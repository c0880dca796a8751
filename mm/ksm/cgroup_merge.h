/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: memory cgroups whose processes are merged.
 */
#ifndef _MM_KSM_CGROUP_MERGE_H
#define _MM_KSM_CGROUP_MERGE_H

#include <linux/types.h>

struct cgroup_subsys_state;
struct kernfs_open_file;
struct seq_file;
struct task_struct;

#ifdef CONFIG_MEMCG
bool ksm_cgroup_marks_all(struct task_struct *task);
int ksm_cgroup_merge_show(struct seq_file *m, void *unused);
ssize_t ksm_cgroup_merge_write(struct kernfs_open_file *of, char *text, size_t size,
			       loff_t off);
void ksm_cgroup_merge_offline(struct cgroup_subsys_state *css);
#else
static inline bool ksm_cgroup_marks_all(struct task_struct *task)
{
	return false;
}
#endif

#endif /* _MM_KSM_CGROUP_MERGE_H */
