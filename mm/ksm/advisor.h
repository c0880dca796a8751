/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the amount of work in a batch
 */
#ifndef _MM_KSM_ADVISOR_H
#define _MM_KSM_ADVISOR_H

#include <linux/types.h>

enum ksm_advisor_mode {
	KSM_ADVISOR_NONE,
	KSM_ADVISOR_SCAN_TIME,
	KSM_ADVISOR_PRESSURE,
};

/**
 * struct ksm_advisor - how much to scan in a batch
 * @mode: how @pages_to_scan is chosen
 * @pages_to_scan: pages in a batch
 * @max_cpu: percent of a CPU that ksmd may use
 * @min_pages_to_scan: the first @pages_to_scan of a mode; in mode pressure, also the least
 * @max_pages_to_scan: the most it may ask for
 * @target_scan_time: seconds that a pass should take
 * @start: in nanoseconds, when the pass began; 0 if the advisor was off then
 * @scan_time: seconds that the previous pass took, 0 if there was none
 * @change: in percent, moving average of how the scan time changes
 * @cpu_time: in nanoseconds, CPU time of ksmd when the pass began
 * @start_available: percent of memory; while more is available, memory is plentiful
 * @full_available: percent of memory; up to this much, ksmd may use all of @max_cpu
 * @share: thousandths of a CPU that ksmd takes under memory pressure; 0 before the
 *         first decision
 * @plentiful: memory is plentiful, so only new memory is scanned
 */
struct ksm_advisor {
	enum ksm_advisor_mode mode;
	unsigned int pages_to_scan;
	unsigned long max_cpu;
	unsigned long min_pages_to_scan;
	unsigned long max_pages_to_scan;
	unsigned long target_scan_time;
	u64 start;
	unsigned long scan_time;
	unsigned long change;
	u64 cpu_time;
	unsigned long start_available;
	unsigned long full_available;
	unsigned int share;
	bool plentiful;
};

#define KSM_PAGES_TO_SCAN	100

/**
 * struct ksm_memory - how much memory there is
 * @available: pages that are available
 * @total: pages of RAM, without those of hugetlb
 * @cgroup_short: a memory cgroup with mergeable memory is short of it
 */
struct ksm_memory {
	unsigned long available;
	unsigned long total;
	bool cgroup_short;
};

/**
 * struct ksm_advice - what the advisor found out
 * @scan_time: seconds that the pass took; 0 in mode pressure
 * @cpu_percent: share of a CPU that it took; that it may take in mode pressure
 * @pages_to_scan: pages in a batch from now on
 */
struct ksm_advice {
	unsigned long scan_time;
	unsigned int cpu_percent;
	unsigned long pages_to_scan;
};

void ksm_advisor_init(struct ksm_advisor *advisor);
void ksm_advisor_set_mode(struct ksm_advisor *advisor, enum ksm_advisor_mode mode);
void ksm_advisor_start(struct ksm_advisor *advisor, u64 now, u64 cpu_time);
bool ksm_advisor_stop(struct ksm_advisor *advisor, u64 now, u64 cpu_time,
		      struct ksm_advice *advice);
bool ksm_advisor_decide(struct ksm_advisor *advisor, const struct ksm_memory *memory,
			struct ksm_advice *advice);
u64 ksm_advisor_pause_begins(u64 due, u64 busy, u64 now);
u64 ksm_advisor_pause(const struct ksm_advisor *advisor, u64 busy);
unsigned int ksm_back_off_millisecs(u64 busy, unsigned long changed, unsigned long records);

#endif /* _MM_KSM_ADVISOR_H */
