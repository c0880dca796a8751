/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: in which memory cgroup a process is merged.
 */
#ifndef _MM_KSM_GROUP_H
#define _MM_KSM_GROUP_H

#include <linux/types.h>

struct mem_cgroup;
struct mm_struct;

#ifdef CONFIG_MEMCG
struct mem_cgroup *ksm_mm_memcg(struct mm_struct *mm);
unsigned int ksm_memcg_id(const struct mem_cgroup *memcg);
bool ksm_is_group(const struct mem_cgroup *memcg);
int ksm_group_make(unsigned int id);
void ksm_group_forget(unsigned int id);
struct mem_cgroup *ksm_group_of(struct mem_cgroup *memcg);
#else
static inline struct mem_cgroup *ksm_mm_memcg(struct mm_struct *mm)
{
	return NULL;
}

static inline unsigned int ksm_memcg_id(const struct mem_cgroup *memcg)
{
	return 0;
}
#endif

#endif /* _MM_KSM_GROUP_H */
