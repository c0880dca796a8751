/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: a pass over all mergeable memory
 */
#ifndef _MM_KSM_SCAN_H
#define _MM_KSM_SCAN_H

#include <linux/types.h>

#include "record.h"

struct ksm_candidate;
struct ksm_domain;
struct ksm_advisor;
struct ksm_slots;

/**
 * struct ksm_scan - where a pass over all mms has got to
 * @slots: the mms, and which of them is scanned
 * @domain: the trees
 * @advisor: the amount of work in a batch
 * @sleep_millisecs: pause between two batches
 * @address: the next address in it
 * @asked: behind the last page that secondary MMUs were asked about
 * @young: what they said
 * @cursor: in the leaves of the mm
 * @found_vma: the mm has a mergeable VMA
 * @seqnr: passes completed
 * @changed: as in struct ksm_counters, when this pass began
 * @cpu_time: of ksmd then, in nanoseconds
 * @back_off: pause after this pass, in milliseconds
 * @budget: pages still to be looked at in this batch
 * @skip_budget: pages that may still be skipped in this batch
 * @nice: of ksmd, as it was last set
 * @nice_tick: when, in jiffies
 * @nr_candidates: entries of @candidate in use
 * @candidate: pages of one leaf that need more than a look at their sample
 */
struct ksm_scan {
	struct ksm_slots *slots;
	struct ksm_domain *domain;
	struct ksm_advisor *advisor;
	const unsigned int *sleep_millisecs;
	unsigned long address;
	unsigned long asked;
	bool young;
	struct ksm_leaf_cursor cursor;
	bool found_vma;
	unsigned long seqnr;
	unsigned long changed;
	u64 cpu_time;
	unsigned int back_off;
	unsigned int budget;
	unsigned int skip_budget;
	int nice;
	unsigned long nice_tick;
	unsigned int nr_candidates;
	struct ksm_candidate *candidate;
};

int ksm_scan_init(struct ksm_scan *scan);
void ksm_scan_batch(struct ksm_scan *scan, unsigned int nr_pages);
int ksm_scan_unmerge(struct ksm_scan *scan);

#endif /* _MM_KSM_SCAN_H */
