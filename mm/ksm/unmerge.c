// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: shared pages of a range get copies of their own.
 */

#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "unmerge.h"
#include "vma.h"

/* Whether an entry maps a page of ours, or will once its migration is over. */
static bool pte_is_shared(struct vm_area_struct *vma, unsigned long address, pte_t pte)
{
	struct page *page;

	if (pte_none(pte))
		return false;
	if (pte_present(pte)) {
		page = vm_normal_page(vma, address, pte);
		return page ? PageKsm(page) : is_ksm_zero_pte(pte);
	}
	if (!is_migration_entry(pte_to_swp_entry(pte)))
		return false;
	return folio_test_ksm(pfn_swap_entry_folio(pte_to_swp_entry(pte)));
}

static int break_pmd_entry(pmd_t *pmd, unsigned long address, unsigned long end,
			   struct mm_walk *walk)
{
	unsigned long *found = walk->private;
	pte_t *start, *pte;
	spinlock_t *ptl;	/* of the page table */
	int shared = 0;

	start = pte_offset_map_lock(walk->mm, pmd, address, &ptl);
	if (!start)
		return 0;
	for (pte = start; address < end; pte++, address += PAGE_SIZE) {
		if (pte_is_shared(walk->vma, address, ptep_get(pte))) {
			*found = address;
			shared = 1;
			break;
		}
	}
	pte_unmap_unlock(start, ptl);
	return shared;
}

static const struct mm_walk_ops break_ops = {
	.pmd_entry = break_pmd_entry,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_break_range - give the pages of a range back to it, each as its own
 * @vma: a mergeable area
 * @start: first address
 * @end: address behind the last
 *
 * A fault may back out, for instance while a page migrates; the walk then finds
 * the page again.
 *
 * Context: may sleep; mmap_lock held.  Where ksmd is not kept out by ksm.lock or
 * by holding mmap_lock for writing, pages may be merged behind the walk.
 * Return: 0, -ENOMEM, or -ERESTARTSYS where a signal has arrived.
 */
int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end)
{
	mmap_assert_locked(vma->vm_mm);
	while (start < end && !ksm_mm_exiting(vma->vm_mm)) {
		vm_fault_t fault;

		if (signal_pending(current))
			return -ERESTARTSYS;
		if (walk_page_range_vma(vma, start, end, &break_ops, &start) <= 0)
			return 0;
		fault = handle_mm_fault(vma, start,
					FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE, NULL);
		if (fault & VM_FAULT_OOM)
			return -ENOMEM;
		/* The page is poisoned, or its backing was truncated: leave it. */
		if (fault & VM_FAULT_ERROR)
			start += PAGE_SIZE;
		cond_resched();
	}
	return 0;
}
