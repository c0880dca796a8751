// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: whether memory is short.
 *
 * Memory is short if the host has little available, or if a memory cgroup of a process
 * with mergeable memory has: the cgroup or one above it is at memory.high, or its
 * processes wait for memory.
 */

#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/memcontrol.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/psi.h>
#include <linux/sched/clock.h>
#include <linux/sched/loadavg.h>

#include "advisor.h"
#include "pressure.h"
#include "slots.h"

/* A cgroup is at memory.high if at most one part in this many of it is left. */
#define KSM_HIGH_MARGIN		32
/* A cgroup that is short counts as short for a while. */
#define KSM_CGROUP_SHORT_TICKS	(2 * HZ)
/* Percent of the last 10 s that a process of the cgroup waits for memory. */
#define KSM_STALLED_PERCENT	1
/* Averages that are overdue by more than this belong to a cgroup that has become idle. */
#define KSM_STALE_NSEC		(2 * NSEC_PER_SEC)

#ifdef CONFIG_MEMCG
#ifdef CONFIG_PSI
static bool memcg_stalled(const struct mem_cgroup *memcg)
{
	const struct psi_group *group;

	if (static_branch_likely(&psi_disabled))
		return false;
	group = cgroup_psi(memcg->css.cgroup);
	if (!group || local_clock() > READ_ONCE(group->avg_next_update) + KSM_STALE_NSEC)
		return false;
	return LOAD_INT(READ_ONCE(group->avg[PSI_MEM_SOME][0])) >= KSM_STALLED_PERCENT;
}
#else
static bool memcg_stalled(const struct mem_cgroup *memcg)
{
	return false;
}
#endif

static bool memcg_at_high(struct mem_cgroup *memcg)
{
	const unsigned long high = READ_ONCE(memcg->memory.high);

	return high != PAGE_COUNTER_MAX &&
	       page_counter_read(&memcg->memory) >= high - high / KSM_HIGH_MARGIN;
}

/**
 * ksm_mm_short - whether the memory cgroup of an mm is short of memory
 * @mm: the mm, which may be exiting
 *
 * Context: any.
 * Return: true if the cgroup or one above it is at memory.high, or waits for memory.
 */
bool ksm_mm_short(struct mm_struct *mm)
{
	struct mem_cgroup *memcg;
	bool found = false;

	if (mem_cgroup_disabled())
		return false;
	rcu_read_lock();
	memcg = mem_cgroup_from_task(rcu_dereference(mm->owner));
	for (; memcg && !mem_cgroup_is_root(memcg) && !found; memcg = parent_mem_cgroup(memcg))
		found = memcg_at_high(memcg) || memcg_stalled(memcg);
	rcu_read_unlock();
	return found;
}
#else
bool ksm_mm_short(struct mm_struct *mm)
{
	return false;
}
#endif

/**
 * ksm_pressure_read - find out how much memory there is
 * @pressure: what is known of memory pressure
 * @slots: the mms; their memory cgroups count
 * @memory: filled in
 *
 * Memory set aside for huge pages is not available, and does not count as RAM.
 *
 * Context: ksmd; under ksm.lock.
 */
void ksm_pressure_read(struct ksm_pressure *pressure, struct ksm_slots *slots,
		       struct ksm_memory *memory)
{
	const unsigned long total = totalram_pages(), huge = hugetlb_total_pages();

	if (ksm_slots_any(slots, ksm_mm_short, &pressure->bucket)) {
		pressure->cgroup_short = true;
		pressure->cgroup_tick = jiffies;
	} else if (time_after(jiffies, pressure->cgroup_tick + KSM_CGROUP_SHORT_TICKS)) {
		pressure->cgroup_short = false;
	}
	*memory = (struct ksm_memory){
		.available = max(si_mem_available(), 0L),
		.total = total - min(total, huge),
		.cgroup_short = pressure->cgroup_short,
	};
}
