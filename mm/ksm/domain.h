/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: pages that may be merged with each other.
 *
 * Locks, outermost first:
 *
 *   ksm.lock            mutex; guards the records, both trees and every counter.  ksmd
 *                       holds it for a batch, a write to /proc/PID/ksm_merge for a
 *                       piece, sysfs for an unmerge and for a change of some controls;
 *                       a memory error and the work item of reap.c take it as well
 *     mmap_lock         of one mm at a time, for reading; the wait has a time limit,
 *                       except in an unmerge of everything; if it is not free, a
 *                       single page may be read under the lock of its VMA
 *       folio lock      trylock while a page table lock or another folio lock is held
 *         page table lock
 *         ksm_slots.lock    spinlock; the list and hash of mm_slots, and the cursor
 *     ksm_domains.lock  spinlock; keeps domains for readers without ksm.lock
 *
 *     ksm_swap_lock()   spinlock, taken with interrupts off; which nodes are in swap
 *
 * The rmap_items of a stable node change under ksm.lock and the lock of its
 * folio.  A reverse map walk holds only the latter.  While the page is in swap,
 * ksm_swap_lock() takes the place of the lock of the folio.
 *
 * Ownership: an mm_slot owns the leaves of its mm, a leaf owns its records, a
 * record in state KSM_SHARED owns its rmap_item.  A stable node owns nothing: it
 * lists rmap_items, and knows its page by PFN without holding a reference.
 */
#ifndef _MM_KSM_DOMAIN_H
#define _MM_KSM_DOMAIN_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/rbtree.h>

#include "filter.h"
#include "fingerprint.h"
#include "lock.h"
#include "unstable.h"

struct ksm_leaf;
struct ksm_merge;
struct mem_cgroup;
struct mm_struct;

/**
 * struct ksm_controls - files of /sys/kernel/mm/ksm that merging depends on
 * @prune_millisecs: shortest time between two searches of a chain for stale nodes
 * @min_ptes_merged: pages of a huge page that must have a duplicate before it is split
 * @max_page_sharing: most rmap_items that ksmd gives a stable node
 * @merge_across_nodes: pages of different NUMA nodes may be merged
 * @merge_across_cgroups: pages of different memory cgroups may be merged
 * @use_zero_pages: zeroed pages are replaced by the zero page
 * @smart_scan: pages that do not change are skipped
 */
struct ksm_controls {
	unsigned int prune_millisecs;
	unsigned int min_ptes_merged;
	int max_page_sharing;
	bool merge_across_nodes;
	bool merge_across_cgroups;
	bool use_zero_pages;
	bool smart_scan;
};

/**
 * struct ksm_counters - what the figures are made from
 * @records: records in use, of every state but KSM_NONE
 * @shared: stable nodes with an rmap_item
 * @sharing: rmap_items beyond the first of their node
 * @chains: contents with more than one stable node
 * @dups: the stable nodes of those
 * @scanned: pages scanned
 * @skipped: pages skipped by smart_scan
 * @changed: pages that were new, had changed, or were merged, ever
 * @leaf_bytes: memory in leaves
 *
 * They change under ksm.lock.
 */
struct ksm_counters {
	unsigned long records;
	unsigned long shared;
	unsigned long sharing;
	unsigned long chains;
	unsigned long dups;
	unsigned long scanned;
	unsigned long skipped;
	unsigned long changed;
	unsigned long leaf_bytes;
};

/**
 * struct ksm_domain - memory whose pages may be merged with each other
 * @link: in ksm_domains.list
 * @memcg: the memory cgroup that the domain is for, with a reference; NULL for the
 *         common domain
 * @id: 0 for the common domain, else the number of the cgroup among memory cgroups
 * @nr_slots: mm_slots of the domain; changes under ksm_slots.lock
 * @lock: ksm.lock
 * @controls: the controls in force
 * @key: the secret that fingerprints depend on
 * @stable: the first stable node of each content, by key
 * @unmapped: stable nodes without an rmap_item, to be freed with their page
 * @parked: stable nodes that are not in @stable, since their page was found in swap
 * @to_reap: those of @unmapped that this round of reaping has not visited
 * @unstable: the index of pages that are not shared
 * @filter: the tags that more than one page has
 * @counters: its figures
 * @dead_leaves: leaves for ksm_leaves_free()
 * @merge: what a merge works with, in the domain that is scanned; allocated by the
 *         first merge
 */
struct ksm_domain {
	struct list_head link;
	struct mem_cgroup *memcg;
	unsigned int id;
	unsigned int nr_slots;
	struct ksm_lock *lock;	/* see above */
	const struct ksm_controls *controls;
	const struct ksm_key *key;
	struct rb_root stable;
	struct list_head unmapped;
	struct list_head to_reap;
	struct list_head parked;
	struct ksm_unstable unstable;
	struct ksm_filter filter;
	struct ksm_counters counters;
	struct ksm_leaf *dead_leaves;
	struct ksm_merge *merge;
};

int ksm_domain_init(struct ksm_domain *domain, struct ksm_lock *lock,
		    const struct ksm_controls *controls, const struct ksm_key *key);
void ksm_domain_destroy(struct ksm_domain *domain);
struct mem_cgroup *ksm_charge_begin(struct mm_struct *mm);
void ksm_charge_end(struct mem_cgroup *old);
bool ksm_domain_adjust_step(struct ksm_domain *domain);
void ksm_domain_adjust_for(struct ksm_domain *domain, struct mm_struct *mm);
void ksm_domain_filter_begin_rebuild(struct ksm_domain *domain);
bool ksm_domain_filter_rebuild_step(struct ksm_domain *domain);
void ksm_domain_filter_rebuild(struct ksm_domain *domain);
void ksm_domain_reset(struct ksm_domain *domain);

/**
 * ksm_domain_assert_locked - warn if ksm.lock is not held
 * @domain: any domain
 */
static inline void ksm_domain_assert_locked(const struct ksm_domain *domain)
{
	lockdep_assert_held(&domain->lock->mutex);
}

/**
 * ksm_page_nid - the NUMA node whose pages a page may be merged with
 * @domain: the domain of the page
 * @page: the page
 *
 * Context: under ksm.lock.
 * Return: its node, or 0 for all while merge_across_nodes is 1.
 */
static inline int ksm_page_nid(const struct ksm_domain *domain, const struct page *page)
{
	return domain->controls->merge_across_nodes ? 0 : page_to_nid(page);
}

/**
 * ksm_domain_nr_tags - the number of tags that the filter has to tell apart
 * @domain: the domain
 *
 * A stable node counts twice: it may have a tag of the whole page beside that of
 * the sample.  So does a zeroed page of each NUMA node.
 *
 * Context: any; under ksm.lock.
 * Return: the number.
 */
static inline unsigned long ksm_domain_nr_tags(const struct ksm_domain *domain)
{
	return domain->unstable.nr + 2 * (domain->counters.shared + nr_node_ids);
}

/**
 * ksm_domain_needs_adjust - whether the index or the filter has the wrong size
 * @domain: the domain
 *
 * Context: any; under ksm.lock.
 * Return: true if ksm_domain_adjust_step() has something to do.
 */
static inline bool ksm_domain_needs_adjust(const struct ksm_domain *domain)
{
	return ksm_unstable_needs_adjust(&domain->unstable) ||
	       ksm_filter_needs_adjust(&domain->filter, ksm_domain_nr_tags(domain));
}

#endif /* _MM_KSM_DOMAIN_H */
