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
};

/**
 * struct ksm_advisor - how much to scan in a batch
 * @mode: who decides on @pages_to_scan
 * @pages_to_scan: pages in a batch
 * @max_cpu: percent of a CPU that ksmd may use
 * @min_pages_to_scan: where the advisor starts
 * @max_pages_to_scan: the most it may ask for
 * @target_scan_time: seconds that a pass should take
 * @start: in nanoseconds, when the pass began; 0 where the advisor did not see
 * @scan_time: seconds that the previous pass took, 0 if there was none
 * @change: in percent, moving average of how the scan time changes
 * @cpu_time: in nanoseconds, CPU time of ksmd when the pass began
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
};

#define KSM_PAGES_TO_SCAN	100

/**
 * struct ksm_advice - what the advisor found out at the end of a pass
 * @scan_time: seconds that the pass took
 * @cpu_percent: share of a CPU that it took
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
unsigned int ksm_back_off_millisecs(u64 busy, unsigned long fresh, unsigned long records);

#endif /* _MM_KSM_ADVISOR_H */
