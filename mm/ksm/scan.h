/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: a pass over all mergeable memory.
 */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

#include <linux/time64.h>
#include <linux/types.h>

#include "pressure.h"
#include "priority.h"
#include "walk.h"

struct ksm_domains;
struct ksm_lock;
struct ksm_settings;
struct ksm_slots;

/* CPU time after which a batch ends, in milliseconds. */
#define KSM_BATCH_MSEC		20U
#define KSM_BATCH_NSEC		(KSM_BATCH_MSEC * NSEC_PER_MSEC)
/* Time after which mmap_lock is released. */
#define KSM_STEP_NSEC		(60 * NSEC_PER_USEC)

/**
 * enum ksm_stage - how far a pass has got
 * @KSM_STAGE_NONE: between two passes
 * @KSM_STAGE_REAP: stable nodes without a page are being freed
 * @KSM_STAGE_FILTER: the filter is being rebuilt
 * @KSM_STAGE_BREAK: the mm under the cursor is in a new domain, and gets copies of
 *                   the pages that it shares in others
 * @KSM_STAGE_FORGET: what is known of its pages in the old domain is being forgotten
 * @KSM_STAGE_SCAN: the mm under the cursor is being scanned
 * @KSM_STAGE_SKIP: it cannot be scanned in this pass, or is claimed
 * @KSM_STAGE_LEAVE: what is known of pages behind its last VMA is being forgotten
 */
enum ksm_stage {
	KSM_STAGE_NONE,
	KSM_STAGE_REAP,
	KSM_STAGE_FILTER,
	KSM_STAGE_BREAK,
	KSM_STAGE_FORGET,
	KSM_STAGE_SCAN,
	KSM_STAGE_SKIP,
	KSM_STAGE_LEAVE,
};

/**
 * struct ksm_scan - a pass over all mms
 * @lock: ksm.lock
 * @settings: the settings in force
 * @slots: the mms, and the cursor on the one that is being scanned
 * @domains: all domains
 * @stage: how far the pass has got
 * @reaped: in %KSM_STAGE_REAP and %KSM_STAGE_FILTER, the domain that is tidied up
 * @target: in %KSM_STAGE_BREAK and %KSM_STAGE_FORGET, the new domain of the mm
 * @walk: how far the scan of the mm has got, and its domain
 * @found_vma: the mm has a mergeable VMA
 * @exiting: the mm exits
 * @tries: how often its mmap_lock is still waited for
 * @cut_short: the last batch ended by time, and its budget is not used up
 * @seqnr: passes completed
 * @changed: the sum of counters.changed when this pass began
 * @cpu_time: CPU time of ksmd when this pass began, in nanoseconds
 * @back_off: pause after this pass, in milliseconds
 * @priority: the priority of ksmd
 * @pressure: what is known of memory pressure
 */
struct ksm_scan {
	struct ksm_lock *lock;
	struct ksm_settings *settings;
	struct ksm_slots *slots;
	struct ksm_domains *domains;
	enum ksm_stage stage;
	struct ksm_domain *reaped;
	struct ksm_domain *target;
	struct ksm_walk walk;
	bool found_vma;
	bool exiting;
	unsigned int tries;
	bool cut_short;
	unsigned long seqnr;
	unsigned long changed;
	u64 cpu_time;
	unsigned int back_off;
	struct ksm_priority priority;
	struct ksm_pressure pressure;
};

int ksm_scan_init(struct ksm_scan *scan, struct ksm_lock *lock, struct ksm_settings *settings,
		  struct ksm_slots *slots, struct ksm_domains *domains);
void ksm_scan_prepare(const struct ksm_scan *scan);
void ksm_scan_batch(struct ksm_scan *scan, unsigned int nr_pages);
bool ksm_scan_wanted(const struct ksm_scan *scan);
void ksm_scan_abort(struct ksm_scan *scan);
void ksm_scan_decide(struct ksm_scan *scan);
bool ksm_scan_yield_slot(struct ksm_scan *scan, const struct mm_struct *mm);
int ksm_scan_unmerge(struct ksm_scan *scan);

#endif /* _MM_KSM_SCAN_H */
