// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: in which memory cgroup a process is merged.
 */

#include <linux/cgroup.h>
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/xarray.h>

#include "group.h"
#include "settings.h"

/* Cgroups with memory.ksm.group 1, by ksm_memcg_id(). */
static DEFINE_XARRAY(groups);

/**
 * ksm_memcg_id - the number of a memory cgroup
 * @memcg: the cgroup, with a reference
 *
 * Return: the number, not 0.
 */
unsigned int ksm_memcg_id(const struct mem_cgroup *memcg)
{
	return memcg->css.id;
}

/**
 * ksm_is_group - whether memory.ksm.group of a cgroup is 1
 * @memcg: the cgroup
 *
 * Context: any.
 * Return: true if the cgroups below it are merged with it.
 */
bool ksm_is_group(const struct mem_cgroup *memcg)
{
	return xa_load(&groups, ksm_memcg_id(memcg));
}

/**
 * ksm_group_make - set memory.ksm.group of a cgroup to 1
 * @id: its number
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM.
 */
int ksm_group_make(unsigned int id)
{
	return xa_err(xa_store(&groups, id, xa_mk_value(1), GFP_KERNEL));
}

/**
 * ksm_group_forget - set memory.ksm.group of a cgroup to 0
 * @id: its number
 *
 * Context: may sleep.
 */
void ksm_group_forget(unsigned int id)
{
	xa_erase(&groups, id);
}

/**
 * ksm_group_of - the cgroup that a cgroup is merged in
 * @memcg: the cgroup
 *
 * Context: any.
 * Return: the nearest cgroup upward with memory.ksm.group 1, or else @memcg.
 */
struct mem_cgroup *ksm_group_of(struct mem_cgroup *memcg)
{
	struct mem_cgroup *at;

	for (at = memcg; at; at = parent_mem_cgroup(at))
		if (ksm_is_group(at))
			return at;
	return memcg;
}

/**
 * ksm_mm_memcg - the cgroup that an mm is merged in
 * @mm: the mm
 *
 * It is the nearest cgroup upward with memory.ksm.group 1, or else the cgroup that
 * the memory of the mm is charged to.
 *
 * Context: any; @mm is kept from being freed.
 * Return: the cgroup, with a reference; NULL if the mm has no owner, or if there are
 * no memory cgroups.
 */
struct mem_cgroup *ksm_mm_memcg(struct mm_struct *mm)
{
	struct mem_cgroup *memcg;

	if (mem_cgroup_disabled())
		return NULL;
	rcu_read_lock();
	do {
		memcg = mem_cgroup_from_task(rcu_dereference(mm->owner));
		if (memcg)
			memcg = ksm_group_of(memcg);
	} while (memcg && !css_tryget(&memcg->css));
	rcu_read_unlock();
	return memcg;
}

/**
 * ksm_process_domain - which processes a process is merged with
 * @mm: its mm
 *
 * Context: any.
 * Return: the inode number of the directory of a cgroup, or 0 if the process is
 * merged with all others.
 */
u64 ksm_process_domain(struct mm_struct *mm)
{
	struct mem_cgroup *memcg;
	u64 ino;

	if (READ_ONCE(ksm_settings.controls.merge_across_cgroups))
		return 0;
	memcg = ksm_mm_memcg(mm);
	if (!memcg)
		return 0;
	ino = cgroup_ino(memcg->css.cgroup);
	mem_cgroup_put(memcg);
	return ino;
}
