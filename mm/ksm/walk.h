/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the page tables of one VMA.
 */
#ifndef _MM_KSM_WALK_H
#define _MM_KSM_WALK_H

#include <linux/mm_types.h>
#include <linux/types.h>

#include "merge.h"
#include "record.h"

struct ksm_domain;
struct ksm_mm_slot;

/* Most passes for which a leaf is skipped as a whole. */
#define KSM_MAX_LEAF_SKIPS	255U

/**
 * struct ksm_budget - what is left to do before a batch, or a piece of it, ends
 * @pages: pages that may still be scanned in this batch
 * @skips: pages that may still be skipped in this batch
 * @deadline: local_clock() at which mmap_lock has to be released
 */
struct ksm_budget {
	unsigned int pages;
	unsigned int skips;
	u64 deadline;
};

/**
 * struct ksm_unit - pages that are mapped together, and share accessed bits
 * @end: address behind the last of them
 * @young: one of them was used since the previous pass
 */
struct ksm_unit {
	unsigned long end;
	bool young;
};

/**
 * struct ksm_walk - a walk of the page tables of one mm
 * @domain: the domain of its pages
 * @slot: its slot
 * @cursor: its leaves, up to where they have been scanned
 * @address: the next address
 * @scanned: end of the pages that were scanned last
 * @pmd_unit: pages that a PMD maps, when their accessed bits were read
 * @leaf_unit: likewise pages of one leaf in secondary MMUs
 * @seqnr: number of the pass
 * @only_new: pages in the index are skipped, and no large folio is split
 * @budget: when to pause
 * @now: the pages are visited for /proc/PID/ksm_merge: none is skipped, and each
 *	counts as settled
 * @skipped: not all pages were visited, since page tables changed
 * @no_memory: not all pages were visited, since there was no memory for records, for a
 *	domain or for copies
 * @nr_missed: pages that were not visited since there was no memory for records
 * @nr_candidates: elements of @candidate in use
 * @candidate: pages of one leaf that may be merged
 */
struct ksm_walk {
	struct ksm_domain *domain;
	struct ksm_mm_slot *slot;
	struct ksm_leaf_cursor cursor;
	unsigned long address;
	unsigned long scanned;
	struct ksm_unit pmd_unit;
	struct ksm_unit leaf_unit;
	unsigned long seqnr;
	bool only_new;
	struct ksm_budget budget;
	bool now;
	bool skipped;
	bool no_memory;
	unsigned int nr_missed;
	unsigned int nr_candidates;
	struct ksm_candidate *candidate;
};

void ksm_walk_begin(struct ksm_walk *walk, struct ksm_mm_slot *slot);
void ksm_walk_merged(struct ksm_walk *walk);
bool ksm_walk_should_pause(const struct ksm_walk *walk, const struct mm_struct *mm);
bool ksm_walk_forget_rest(struct ksm_walk *walk);
bool ksm_walk_vma(struct ksm_walk *walk, struct vm_area_struct *vma);
bool ksm_walk_mm(struct ksm_walk *walk, struct mm_struct *mm, bool *found_vma);

#endif /* _MM_KSM_WALK_H */
