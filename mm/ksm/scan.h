/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: a pass over all mergeable memory.
 */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

#include <linux/types.h>

#include "priority.h"
#include "walk.h"

struct ksm_settings;
struct ksm_slots;

/* CPU time after which a batch ends, in milliseconds. */
#define KSM_BATCH_MSEC		20U

/**
 * enum ksm_stage - how far a pass has got
 * @KSM_STAGE_NONE: between two passes
 * @KSM_STAGE_REAP: stable nodes without a page are being freed
 * @KSM_STAGE_FILTER: the filter is being rebuilt
 * @KSM_STAGE_SCAN: the mm under the cursor is being scanned
 * @KSM_STAGE_LEAVE: what is known of pages behind its last VMA is being forgotten
 */
enum ksm_stage {
	KSM_STAGE_NONE,
	KSM_STAGE_REAP,
	KSM_STAGE_FILTER,
	KSM_STAGE_SCAN,
	KSM_STAGE_LEAVE,
};

/**
 * struct ksm_scan - a pass over all mms
 * @settings: the settings in force
 * @slots: the mms, and the cursor on the one that is being scanned
 * @domain: the trees
 * @stage: how far the pass has got
 * @walk: how far the scan of the mm has got
 * @found_vma: the mm has a mergeable VMA
 * @exiting: the mm exits
 * @cut_short: the last batch ended by time, and its budget is not used up
 * @seqnr: passes completed
 * @changed: counters.changed when this pass began
 * @cpu_time: CPU time of ksmd when this pass began, in nanoseconds
 * @back_off: pause after this pass, in milliseconds
 * @priority: the priority of ksmd
 */
struct ksm_scan {
	struct ksm_settings *settings;
	struct ksm_slots *slots;
	struct ksm_domain *domain;
	enum ksm_stage stage;
	struct ksm_walk walk;
	bool found_vma;
	bool exiting;
	bool cut_short;
	unsigned long seqnr;
	unsigned long changed;
	u64 cpu_time;
	unsigned int back_off;
	struct ksm_priority priority;
};

int ksm_scan_init(struct ksm_scan *scan, struct ksm_settings *settings,
		  struct ksm_slots *slots, struct ksm_domain *domain);
void ksm_scan_batch(struct ksm_scan *scan, unsigned int nr_pages);
int ksm_scan_unmerge(struct ksm_scan *scan);

#endif /* _MM_KSM_SCAN_H */
