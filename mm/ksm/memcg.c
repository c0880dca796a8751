// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the files of memory cgroups.
 *
 * What they set is kept by the number of the cgroup, until it goes offline: in
 * group.c and in cgroup_merge.c.
 */

#include <linux/cgroup.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/seq_file.h>
#include <linux/vm_event_item.h>
#include <linux/workqueue.h>

#include "../memcontrol-v1.h"
#include "cgroup_merge.h"
#include "core.h"
#include "domains.h"
#include "group.h"
#include "slots.h"
#include "stable.h"
#include "stats.h"

/* Pause before another try to free the domains of removed cgroups. */
#define KSM_REAP_PAUSE		(5 * HZ)

static void reap(struct work_struct *work);
static DECLARE_DELAYED_WORK(reap_work, reap);

static void reap(struct work_struct *work)
{
	/* A cgroup is online until the end of the call that takes it offline. */
	cgroup_lock();
	cgroup_unlock();
	if (ksm_reap_removed())
		queue_delayed_work(system_unbound_wq, &reap_work, KSM_REAP_PAUSE);
}

/**
 * ksm_memcg_offline - forget what the files of a cgroup have set
 * @css: the memory cgroup, which goes offline
 *
 * Context: may sleep.
 */
void ksm_memcg_offline(struct cgroup_subsys_state *css)
{
	ksm_group_forget(css->id);
	ksm_cgroup_merge_offline(css);
	queue_delayed_work(system_unbound_wq, &reap_work, HZ);
}

static u64 group_read(struct cgroup_subsys_state *css, struct cftype *cft)
{
	return ksm_is_group(mem_cgroup_from_css(css));
}

static int group_write(struct cgroup_subsys_state *css, struct cftype *cft, u64 value)
{
	int err = 0;

	if (value > 1)
		return -EINVAL;
	if (value)
		err = ksm_group_make(css->id);
	else
		ksm_group_forget(css->id);
	if (!err)
		ksm_wake();
	return err;
}

static bool in_domain(const struct ksm_mm_slot *slot, const void *memcg)
{
	return slot->domain && slot->domain->memcg == memcg;
}

static bool is_below(const struct ksm_mm_slot *slot, const void *memcg)
{
	struct mem_cgroup *of_mm;
	bool below;

	rcu_read_lock();
	of_mm = mem_cgroup_from_task(rcu_dereference(slot->slot.mm->owner));
	below = of_mm && mem_cgroup_is_descendant(of_mm, (struct mem_cgroup *)memcg);
	rcu_read_unlock();
	return below;
}

static void show_domain(struct seq_file *m, const struct ksm_figures *figures)
{
	seq_printf(m, "pages_shared %lu\n", figures->pages_shared);
	seq_printf(m, "pages_sharing %lu\n", figures->pages_sharing);
	seq_printf(m, "pages_unshared %lu\n", figures->pages_unshared);
	seq_printf(m, "pages_volatile %lu\n", figures->pages_volatile);
	seq_printf(m, "ksm_zero_pages %ld\n", figures->ksm_zero_pages);
	seq_printf(m, "metadata_bytes %lu\n", figures->metadata_bytes);
	seq_printf(m, "profit_bytes %ld\n", figures->general_profit);
}

/* A cgroup that is no domain has no shared pages of its own, so they are not counted. */
static void show_processes(struct seq_file *m, const struct ksm_slots_sum *sum)
{
	const unsigned long metadata = sum->leaf_bytes +
				       sum->merging * sizeof(struct ksm_rmap_item);
	const long saved = sum->merging + sum->zero_pages;

	seq_printf(m, "pages_sharing %lu\n", sum->merging);
	seq_printf(m, "ksm_zero_pages %ld\n", sum->zero_pages);
	seq_printf(m, "metadata_bytes %lu\n", metadata);
	seq_printf(m, "profit_bytes %ld\n", saved * (long)PAGE_SIZE - (long)metadata);
}

/* Whether @memcg is the root of a domain that lies directly inside that of @outer. */
static bool is_nested_domain(struct mem_cgroup *memcg, const struct mem_cgroup *outer)
{
	return memcg != outer && ksm_group_of(memcg) == memcg &&
	       ksm_group_of(parent_mem_cgroup(memcg)) == outer;
}

/*
 * Events of @memcg and its descendants.  If @memcg is the root of a domain, those of the
 * domains inside it are left out, since each of these shows its own.  The events of a
 * removed cgroup count for the domain around it, so that the sum over all domains does
 * not fall.
 */
static unsigned long events_of(struct mem_cgroup *memcg, bool domain, int event)
{
	unsigned long events = memcg_events(memcg, event), nested;
	struct mem_cgroup *at;

	if (!domain)
		return events;
	for (at = mem_cgroup_iter(memcg, NULL, NULL); at;
	     at = mem_cgroup_iter(memcg, at, NULL)) {
		if (!is_nested_domain(at, memcg))
			continue;
		nested = memcg_events(at, event);
		events -= min(events, nested);
	}
	return events;
}

static void show_events(struct seq_file *m, struct mem_cgroup *memcg, bool domain)
{
	mem_cgroup_flush_stats(memcg);
	seq_printf(m, "cow_ksm %lu\n", events_of(memcg, domain, COW_KSM));
#ifdef CONFIG_SWAP
	seq_printf(m, "ksm_swpin_copy %lu\n", events_of(memcg, domain, KSM_SWPIN_COPY));
#else
	seq_puts(m, "ksm_swpin_copy 0\n");
#endif
}

static int stat_show(struct seq_file *m, void *unused)
{
	struct mem_cgroup *memcg = mem_cgroup_from_css(seq_css(m));
	struct ksm_slots_sum sum;
	struct ksm_figures figures;
	bool domain;

	ksm_slots_add_up(&ksm_slots, in_domain, memcg, &sum);
	domain = ksm_get_domain_figures(ksm_memcg_id(memcg), sum.zero_pages, &figures) ||
		 (ksm_is_group(memcg) && !READ_ONCE(ksm_settings.controls.merge_across_cgroups));
	if (domain) {
		show_domain(m, &figures);
	} else {
		ksm_slots_add_up(&ksm_slots, is_below, memcg, &sum);
		show_processes(m, &sum);
	}
	show_events(m, memcg, domain);
	return 0;
}

/* How much a tenant merges is not for other tenants to see. */
static int stat_open(struct kernfs_open_file *of)
{
	return inode_owner_or_capable(&nop_mnt_idmap, file_inode(of->file)) ? 0 : -EACCES;
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
	{
		.name = "ksm.merge",
		.flags = CFTYPE_NOT_ON_ROOT,
		.seq_show = ksm_cgroup_merge_show,
		.write = ksm_cgroup_merge_write,
	},
	{
		.name = "ksm.stat",
		.flags = CFTYPE_NOT_ON_ROOT,
		.open = stat_open,
		.seq_show = stat_show,
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
