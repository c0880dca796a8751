// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: recovery from a memory error in a shared page.
 *
 * max_page_sharing splits the mappings of one content among several shared pages.  If
 * one of them is poisoned, a copy of another takes its place, and no process loses
 * data.  The poisoned page itself cannot be read.
 *
 * Migration does not do this: it copies the page, and turns the PTEs of a poisoned
 * page into entries that kill the process.
 */

#include <linux/ksm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include "domain.h"
#include "fresh.h"
#include "poison.h"
#include "replace.h"
#include "stable.h"

/* A parked node has no ring.  ksm_stable_folio() may free @other, and no other node. */
static struct folio *copy_of_equal(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	struct ksm_stable_node *other, *next;
	struct ksm_reserve none = {};

	if (node->parked)
		return NULL;
	list_for_each_entry_safe(other, next, &node->dups, dups) {
		struct folio *folio = ksm_stable_folio(domain, other, KSM_FOLIO_NOLOCK);
		struct folio *copy;

		if (!folio)
			continue;
		copy = ksm_fresh_copy(&none, &folio->page, true);
		folio_put(folio);
		if (!IS_ERR(copy))
			return copy;
		cond_resched();
	}
	return NULL;
}

/* For rmap_walk(): the PTE at @address, if it maps @folio, is to map the copy. */
static bool map_copy(struct folio *folio, struct vm_area_struct *vma,
		     unsigned long address, void *arg)
{
	struct folio *copy = arg;
	struct ksm_replacement at = {
		.address = address,
		.page = &folio->page,
		.kpage = &copy->page,
		.result = KSM_MERGED,
	};
	const struct ksm_pte_batch batch = { .vma = vma, .at = &at, .nr = 1 };
	struct mmu_notifier_range range;
	struct ksm_table_lock lock;

	ksm_notifier_range_init(&batch, &range);
	mmu_notifier_invalidate_range_start(&range);
	if (ksm_lock_table(&batch, &lock)) {
		ksm_clear_ptes(&batch, lock.table);
		if (at.result == KSM_MERGED)
			ksm_set_shared_pte(vma, &at, ksm_replacement_pte(lock.table, &at));
		ksm_unlock_table(&lock);
	}
	mmu_notifier_invalidate_range_end(&range);
	return true;
}

/* The node and its rmap_items go along. */
static void move_mappings(struct folio *folio, struct folio *copy)
{
	struct rmap_walk_control rwc = { .rmap_one = map_copy, .arg = copy };

	__folio_set_locked(copy);
	WRITE_ONCE(copy->mapping, folio->mapping);
	rmap_walk(folio, &rwc);
	folio_migrate_ksm(copy, folio);
	folio_add_lru(copy);
	folio_unlock(copy);
}

/**
 * ksm_replace_poisoned - let the mappings of a poisoned page map an equal page
 * @domain: the domain of the page
 * @node: its stable node
 * @folio: the page, with a reference, not locked
 *
 * A PTE that the reverse map does not find, after mremap() for instance, stays.
 *
 * Context: may sleep; under ksm.lock, with no mmap_lock held.
 */
void ksm_replace_poisoned(struct ksm_domain *domain, struct ksm_stable_node *node,
			  struct folio *folio)
{
	struct folio *copy = copy_of_equal(domain, node);

	if (!copy)
		return;
	folio_lock(folio);
	/* Swap entries may stand for a page in the swap cache, and would stay. */
	if (ksm_folio_node(folio) == node && !folio_test_swapcache(folio))
		move_mappings(folio, copy);
	folio_unlock(folio);
	folio_put(copy);
}
