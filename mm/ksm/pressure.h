/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: whether memory is short.
 */
#ifndef _MM_KSM_PRESSURE_H
#define _MM_KSM_PRESSURE_H

#include <linux/types.h>

struct ksm_memory;
struct ksm_slots;
struct mm_struct;

/**
 * struct ksm_pressure - what is known of memory pressure
 * @cgroup_short: a memory cgroup of a process with mergeable memory was short of
 *                memory lately
 * @cgroup_tick: in jiffies, when such a cgroup was last found
 * @bucket: where to look for one next
 */
struct ksm_pressure {
	bool cgroup_short;
	unsigned long cgroup_tick;
	unsigned int bucket;
};

bool ksm_mm_short(struct mm_struct *mm);
void ksm_pressure_read(struct ksm_pressure *pressure, struct ksm_slots *slots,
		       struct ksm_memory *memory);

#endif /* _MM_KSM_PRESSURE_H */
