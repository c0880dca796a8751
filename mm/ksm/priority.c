// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the priority of ksmd.
 *
 * While memory is plentiful, saving it can wait, and ksmd runs behind others.  When
 * memory is short, the tasks that use it up are many, and each would be preferred
 * to ksmd.  Then ksmd runs ahead of them, but only within a share of one CPU that is
 * measured: all of its CPU time is taken from an allowance that grows with time.
 * Once the allowance is used up, ksmd is back behind others until it has grown again.
 */

#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/time64.h>

#include "priority.h"

/*
 * Not 5, the value of 6.12, nor -20: an administrator is likely to set one of these, and
 * ksmd has to tell such a value from its own.
 */
#define KSM_NICE		6
#define KSM_NICE_RAISED		(-19)
/* Memory becomes short when less than one part in this many is available ... */
#define KSM_LOW_MEMORY_DIVISOR	4
/* ... and stays short until one part in this many more than that is available. */
#define KSM_LOW_MEMORY_MARGIN	8
/*
 * The longest stretch at raised priority is this much CPU time and the allowance
 * that grows during it: at 70 percent of a CPU, two thirds of 10 ms.
 */
#define KSM_MAX_ALLOWANCE	(2 * (s64)NSEC_PER_MSEC)
/* CPU time beyond the allowance that is remembered. */
#define KSM_MAX_OVERDRAFT	(20 * (s64)NSEC_PER_MSEC)

/**
 * ksm_priority_init - begin at low priority
 * @priority: filled in
 */
void ksm_priority_init(struct ksm_priority *priority)
{
	*priority = (struct ksm_priority){
		.nice = KSM_NICE,
		.short_tick = jiffies,
	};
}

/**
 * ksm_priority_charge - take CPU time from the allowance
 * @priority: the allowance
 * @time: local_clock(), in nanoseconds
 * @cpu_time: nanoseconds that ksmd has run for
 * @max_cpu: percent of a CPU that the allowance grows by
 *
 * A raise begins with a full allowance and ends with an empty one, so that the
 * priority does not change at every call.
 *
 * Context: ksmd.
 * Return: true if ksmd may run at raised priority.
 */
bool ksm_priority_charge(struct ksm_priority *priority, u64 time, u64 cpu_time,
			 unsigned long max_cpu)
{
	const s64 elapsed = min_t(u64, time - priority->time, NSEC_PER_SEC);
	const s64 used = min_t(u64, cpu_time - priority->cpu_time, NSEC_PER_SEC);

	priority->time = time;
	priority->cpu_time = cpu_time;
	priority->allowance += div_s64(elapsed * min(max_cpu, 100UL), 100) - used;
	priority->allowance = clamp(priority->allowance, -KSM_MAX_OVERDRAFT,
				    KSM_MAX_ALLOWANCE);
	if (priority->nice == KSM_NICE_RAISED)
		return priority->allowance > 0;
	return priority->allowance == KSM_MAX_ALLOWANCE;
}

/* The hugetlb pool is not available, and KSM cannot save any of it. */
static bool memory_short(const struct ksm_priority *priority)
{
	unsigned long limit = (totalram_pages() - hugetlb_total_pages()) /
			      KSM_LOW_MEMORY_DIVISOR;

	if (priority->memory_short)
		limit += limit / KSM_LOW_MEMORY_MARGIN;
	return si_mem_available() < limit;
}

/*
 * At low priority ksmd would wait for a CPU for longer than the allowance takes to grow
 * again.  If it sleeps between batches anyway, it does that instead.
 */
static bool must_sleep(const struct ksm_priority *priority, bool allowed)
{
	return priority->paced && !allowed && priority->memory_short &&
	       priority->nice == KSM_NICE_RAISED && task_nice(current) == KSM_NICE_RAISED;
}

/**
 * ksm_priority_update - raise or lower the priority of ksmd
 * @priority: the priority
 * @time: local_clock(), in nanoseconds
 * @cpu_time: nanoseconds that ksmd has run for
 * @max_cpu: percent of a CPU that ksmd may take at raised priority
 *
 * A priority that an administrator has given to ksmd stays, until it is KSM_NICE.
 *
 * Context: ksmd; any task context.
 */
void ksm_priority_update(struct ksm_priority *priority, u64 time, u64 cpu_time,
			 unsigned long max_cpu)
{
	bool allowed = ksm_priority_charge(priority, time, cpu_time, max_cpu);
	const unsigned long tick = jiffies;
	int nice;

	if (tick != priority->short_tick) {
		priority->short_tick = tick;
		priority->memory_short = memory_short(priority);
	}
	priority->spent = must_sleep(priority, allowed);
	if (priority->spent)
		return;
	/* An administrator has handed control back. */
	if (task_nice(current) == KSM_NICE)
		priority->nice = KSM_NICE;
	nice = allowed && priority->memory_short ? KSM_NICE_RAISED : KSM_NICE;
	if (nice == priority->nice || task_nice(current) != priority->nice)
		return;
	set_user_nice(current, nice);
	priority->nice = nice;
}
