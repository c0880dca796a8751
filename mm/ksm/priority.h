/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the priority of ksmd.
 */
#ifndef _MM_KSM_PRIORITY_H
#define _MM_KSM_PRIORITY_H

#include <linux/types.h>

/**
 * struct ksm_priority - the priority of ksmd, and the CPU time that allows it
 * @nice: the nice value that ksmd gave itself last
 * @short_tick: in jiffies, when @memory_short was last found out
 * @memory_short: little memory is available
 * @allowance: CPU time in nanoseconds that ksmd may take at raised priority
 * @time: local_clock() of the last update
 * @cpu_time: CPU time of ksmd at the last update, in nanoseconds
 * @paced: ksmd sleeps after each batch
 * @spent: @allowance is used up, and ksmd stays at raised priority: it has to sleep
 */
struct ksm_priority {
	int nice;
	unsigned long short_tick;
	bool memory_short;
	s64 allowance;
	u64 time;
	u64 cpu_time;
	bool paced;
	bool spent;
};

void ksm_priority_init(struct ksm_priority *priority);
bool ksm_priority_charge(struct ksm_priority *priority, u64 time, u64 cpu_time,
			 unsigned long max_cpu);
void ksm_priority_update(struct ksm_priority *priority, u64 time, u64 cpu_time,
			 unsigned long max_cpu);

#endif /* _MM_KSM_PRIORITY_H */
