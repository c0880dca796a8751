// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the memory cgroups whose processes are merged together.
 *
 * What the files of a cgroup set is kept here by the number of the cgroup, until the
 * cgroup goes offline.
 */

#include <linux/cgroup.h>
#include <linux/init.h>
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/xarray.h>

#include "core.h"
#include "domains.h"

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

static bool is_group(const struct mem_cgroup *memcg)
{
	return xa_load(&groups, ksm_memcg_id(memcg));
}

static struct mem_cgroup *group_of(struct mem_cgroup *memcg)
{
	struct mem_cgroup *at;

	for (at = memcg; at; at = parent_mem_cgroup(at))
		if (is_group(at))
			return at;
	return memcg;
}

/**
 * ksm_mm_memcg - the cgroup with whose processes an mm may be merged
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
			memcg = group_of(memcg);
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

/**
 * ksm_memcg_offline - forget what the files of a cgroup have set
 * @css: the memory cgroup, which goes offline
 *
 * Context: any.
 */
void ksm_memcg_offline(struct cgroup_subsys_state *css)
{
	xa_erase(&groups, css->id);
}

static u64 group_read(struct cgroup_subsys_state *css, struct cftype *cft)
{
	return is_group(mem_cgroup_from_css(css));
}

static int group_write(struct cgroup_subsys_state *css, struct cftype *cft, u64 value)
{
	int err = 0;

	if (value > 1)
		return -EINVAL;
	if (value)
		err = xa_err(xa_store(&groups, css->id, xa_mk_value(1), GFP_KERNEL));
	else
		xa_erase(&groups, css->id);
	if (!err)
		ksm_wake();
	return err;
}

/*
 * Not CFTYPE_NS_DELEGATABLE: the owner of a delegated subtree must not undo the group
 * that its root is, which may be in another group.
 */
static struct cftype memcg_files[] = {
	{
		.name = "ksm.group",
		.flags = CFTYPE_NOT_ON_ROOT,
		.read_u64 = group_read,
		.write_u64 = group_write,
	},
	{ }	/* terminate */
};

static int __init ksm_memcg_init(void)
{
	int err = cgroup_add_dfl_cftypes(&memory_cgrp_subsys, memcg_files);

	if (err)
		pr_err("ksm: cannot create the files of memory cgroups (%d)\n", err);
	return err;
}
subsys_initcall_sync(ksm_memcg_init);
