/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: PTEs are replaced by PTEs of shared pages, in batches.
 */
#ifndef _MM_KSM_REPLACE_H
#define _MM_KSM_REPLACE_H

#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mm_types.h>
#include <linux/sizes.h>
#include <linux/userfaultfd_k.h>

struct mmu_notifier_range;

/* Most PTEs that one hold of the page table lock replaces. */
#define KSM_BATCH_PAGES		MIN(32U, SZ_256K / PAGE_SIZE)

/**
 * enum ksm_result - how an attempt to merge a page ended
 * @KSM_MERGED: the PTE maps the shared page
 * @KSM_GONE: the VMA or the page is no longer there, or the page is poisoned
 * @KSM_BUSY: the page is locked, has other users or cannot be split
 * @KSM_DIFFERENT: the contents differ, or there is nothing to merge with
 * @KSM_SAMPLE_COLLISION: the samples are equal and the contents differ
 * @KSM_KEPT: its large folio is not to be split
 * @KSM_NO_MEMORY: no page, stable node or rmap_item could be allocated
 */
enum ksm_result {
	KSM_MERGED,
	KSM_GONE,
	KSM_BUSY,
	KSM_DIFFERENT,
	KSM_SAMPLE_COLLISION,
	KSM_KEPT,
	KSM_NO_MEMORY,
};

/**
 * struct ksm_replacement - one PTE and the page that it is to map
 * @address: what the PTE translates, a user address
 * @kpage: the page to map
 * @page: the page that is mapped now, NULL if it is left alone
 * @old: the PTE that was cleared; zero until then
 * @result: KSM_MERGED while nothing speaks against it
 */
struct ksm_replacement {
	unsigned long address;
	struct page *kpage;
	struct page *page;
	pte_t old;
	enum ksm_result result;
};

/**
 * struct ksm_pte_batch - PTEs of one page table that are replaced together
 * @vma: their VMA
 * @at: what to replace
 * @nr: elements of @at in use
 */
struct ksm_pte_batch {
	struct vm_area_struct *vma;
	struct ksm_replacement *at;
	unsigned int nr;
};

/**
 * struct ksm_table_lock - the page table of a batch, locked
 * @table: the PTE of address 0 of the table's range
 * @mapped: the PTE that pte_offset_map_lock() returned
 * @ptl: the lock
 */
struct ksm_table_lock {
	pte_t *table;
	pte_t *mapped;
	spinlock_t *ptl;	/* of the page table */
};

bool ksm_lock_table(const struct ksm_pte_batch *batch, struct ksm_table_lock *lock);
void ksm_unlock_table(struct ksm_table_lock *lock);
void ksm_notifier_range_init(const struct ksm_pte_batch *batch,
			     struct mmu_notifier_range *range);
void ksm_clear_ptes(const struct ksm_pte_batch *batch, pte_t *table);
void ksm_set_shared_pte(struct vm_area_struct *vma, const struct ksm_replacement *at,
			pte_t *ptep);
void ksm_replace_ptes(const struct ksm_pte_batch *batch);

/**
 * ksm_replacement_pte - the PTE of a replacement
 * @table: the PTE of address 0 of the page table's range, mapped
 * @replacement: the replacement
 *
 * Return: the PTE.
 */
static inline pte_t *ksm_replacement_pte(pte_t *table,
					 const struct ksm_replacement *replacement)
{
	return table + pte_index(replacement->address);
}

/**
 * ksm_pte_keep_marks - give a new PTE the marks that belong to the address
 * @pte: the new PTE
 * @old: the PTE that it replaces
 *
 * Return: @pte with soft-dirty and userfaultfd marks exactly where @old has them.
 */
static inline pte_t ksm_pte_keep_marks(pte_t pte, pte_t old)
{
	pte = pte_soft_dirty(old) ? pte_mksoft_dirty(pte) : pte_clear_soft_dirty(pte);
	return pte_uffd_wp(old) ? pte_mkuffd_wp(pte) : pte;
}

#endif /* _MM_KSM_REPLACE_H */
