// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: PTEs are replaced by PTEs of shared pages, in batches.
 *
 * The PTEs of a batch are cleared, the TLB is flushed once, and only then is each
 * page compared with the page that is to replace it.  Nothing can write to the page
 * at that time: a write through the page table faults and waits for the page table
 * lock, and a reference that GUP took is seen in the reference count.  A PTE whose
 * page is not equal, or has other users, is put back.
 *
 * flush_tlb_range() covers the span of the batch with one interrupt to each CPU
 * that runs the mm.  The deferred flushes of reclaim (arch_tlbbatch) would flush all
 * of the TLB of those CPUs, and exist on few architectures.
 */

#include <linux/hugetlb.h>
#include <linux/ksm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagevec.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "fingerprint.h"
#include "page.h"
#include "replace.h"

/**
 * ksm_lock_table - map and lock the page table of a batch
 * @batch: the PTEs, at least one
 * @lock: filled in
 *
 * Context: mmap_lock or the anon_vma of the VMA locked.
 * Return: false where there is no page table.
 */
bool ksm_lock_table(const struct ksm_pte_batch *batch, struct ksm_table_lock *lock)
{
	struct mm_struct *mm = batch->vma->vm_mm;
	unsigned long address = batch->at[0].address;
	pmd_t *pmd = mm_find_pmd(mm, address);

	lock->mapped = pmd ? pte_offset_map_lock(mm, pmd, address, &lock->ptl) : NULL;
	if (lock->mapped)
		lock->table = lock->mapped - pte_index(address);
	return lock->mapped;
}

/**
 * ksm_unlock_table - undo ksm_lock_table()
 * @lock: the page table
 */
void ksm_unlock_table(struct ksm_table_lock *lock)
{
	pte_unmap_unlock(lock->mapped, lock->ptl);
}

/* With the folio lock neither reclaim nor migration uses the page meanwhile. */
static enum ksm_result pin_page(struct vm_area_struct *vma,
				struct ksm_replacement *at, pte_t pte)
{
	struct folio *folio;
	struct page *page;

	if (!pte_present(pte))
		return KSM_GONE;
	page = ksm_mergeable_page(vm_normal_page(vma, at->address, pte));
	if (!page || PageKsm(page))
		return KSM_GONE;
	folio = page_folio(page);
	if (folio_test_large(folio) || !folio_trylock(folio))
		return KSM_BUSY;
	folio_get(folio);
	at->page = page;
	return KSM_MERGED;
}

static bool pin_pages(const struct ksm_pte_batch *batch)
{
	struct ksm_table_lock lock;
	bool pinned = false;
	unsigned int i;

	for (i = 0; i < batch->nr; i++)
		batch->at[i].result = KSM_GONE;
	if (!ksm_lock_table(batch, &lock))
		return false;
	for (i = 0; i < batch->nr; i++) {
		struct ksm_replacement *at = &batch->at[i];

		at->result = pin_page(batch->vma, at,
				      ptep_get(ksm_replacement_pte(lock.table, at)));
		pinned |= at->result == KSM_MERGED;
	}
	ksm_unlock_table(&lock);
	return pinned;
}

/**
 * ksm_clear_ptes - clear PTEs and flush them from the TLB
 * @batch: the PTEs; a PTE that does not map @page gets the result KSM_GONE and stays
 * @table: the PTE of address 0 of the page table's range, mapped
 *
 * get_user_pages_fast() takes references without a lock.  It cannot take any from
 * here on, and those it took before are seen.
 *
 * Context: page table lock held; between start and end of an MMU notifier range.
 */
void ksm_clear_ptes(const struct ksm_pte_batch *batch, pte_t *table)
{
	struct vm_area_struct *vma = batch->vma;
	unsigned long start = ULONG_MAX, end = 0;
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		struct ksm_replacement *at = &batch->at[i];
		pte_t *ptep = ksm_replacement_pte(table, at);
		pte_t pte = ptep_get(ptep);

		if (at->result != KSM_MERGED)
			continue;
		if (!pte_present(pte) || pte_pfn(pte) != page_to_pfn(at->page)) {
			at->result = KSM_GONE;
			continue;
		}
		flush_cache_page(vma, at->address, pte_pfn(pte));
		at->old = ptep_get_and_clear(vma->vm_mm, at->address, ptep);
		start = min(start, at->address);
		end = max(end, at->address + PAGE_SIZE);
	}
	if (start < end)
		flush_tlb_range(vma, start, end);
}

/*
 * Only the mappings, the swap cache and this attempt may hold a reference.  A fork
 * or an unmap elsewhere changes both counts: the map count is read between two
 * reads of the reference count, so that it cannot hide the reference of another.
 */
static bool only_mapped(const struct folio *folio)
{
	const int refs = folio_ref_count(folio);
	int mapped;

	smp_rmb();	/* the second read pairs with the first */
	mapped = folio_mapcount(folio) + folio_test_swapcache(folio);
	smp_rmb();	/* as above */
	return refs == mapped + 1 && refs == folio_ref_count(folio);
}

/* The kernel goes on with the zero page where memory_failure() has marked it. */
static bool is_poisoned(struct page *page)
{
	return PageHWPoison(page) && !is_zero_pfn(page_to_pfn(page));
}

/* With the PTE cleared: whether the page may be replaced. */
static enum ksm_result may_replace(const struct ksm_replacement *at)
{
	if (is_poisoned(at->page) || is_poisoned(at->kpage))
		return KSM_GONE;
	if (!only_mapped(page_folio(at->page)) || ksm_page_never_equal(at->page))
		return KSM_BUSY;
	return __ksm_pages_equal(at->page, at->kpage) ? KSM_MERGED : KSM_DIFFERENT;
}

/* The vector unit is taken once for all pages, since that takes time as well. */
static void compare_cleared(const struct ksm_pte_batch *batch)
{
	unsigned int i;

	ksm_hash_begin();
	for (i = 0; i < batch->nr; i++)
		if (batch->at[i].result == KSM_MERGED)
			batch->at[i].result = may_replace(&batch->at[i]);
	ksm_hash_end();
}

/* This cannot be taken back, so it comes last. */
static enum ksm_result share_exclusive(const struct ksm_replacement *at)
{
	if (PageAnonExclusive(at->page) &&
	    folio_try_share_anon_rmap_pte(page_folio(at->page), at->page))
		return KSM_BUSY;
	return KSM_MERGED;
}

/*
 * MADV_FREE by the only process that maps a shared page says that the page may be
 * dropped.  That holds for no other process.  A dirty page is not dropped.
 */
static pte_t shared_pte(struct vm_area_struct *vma, const struct ksm_replacement *at)
{
	struct folio *kfolio = page_folio(at->kpage);

	VM_WARN_ON_FOLIO(!folio_test_locked(kfolio), kfolio);
	folio_get(kfolio);
	folio_add_anon_rmap_pte(kfolio, at->kpage, vma, at->address, RMAP_NONE);
	if (!folio_test_dirty(kfolio))
		folio_set_dirty(kfolio);
	return mk_pte(at->kpage, vma->vm_page_prot);
}

/* A dirty PTE of the zero page says that KSM has set it. */
static pte_t zero_pte(struct vm_area_struct *vma, const struct ksm_replacement *at)
{
	pte_t pte = pfn_pte(page_to_pfn(at->kpage), vma->vm_page_prot);

	ksm_map_zero_page(vma->vm_mm);
	dec_mm_counter(vma->vm_mm, MM_ANONPAGES);
	return pte_mkdirty(pte_mkspecial(pte));
}

/**
 * ksm_set_shared_pte - set a PTE that was cleared to the new page
 * @vma: its VMA
 * @at: what to replace; @kpage is equal to @page, and its folio is locked
 * @ptep: the PTE
 *
 * Context: page table lock held; between start and end of an MMU notifier range.
 */
void ksm_set_shared_pte(struct vm_area_struct *vma, const struct ksm_replacement *at,
			pte_t *ptep)
{
	struct folio *folio = page_folio(at->page);
	pte_t pte = is_zero_pfn(page_to_pfn(at->kpage)) ? zero_pte(vma, at) :
							  shared_pte(vma, at);

	set_pte_at(vma->vm_mm, at->address, ptep, ksm_pte_keep_marks(pte, at->old));
	folio_remove_rmap_pte(folio, at->page, vma);
	folio_put(folio);
}

/* Set a PTE that was cleared: to the new page where it is equal, else as it was. */
static void set_cleared_pte(struct vm_area_struct *vma, struct ksm_replacement *at,
			    pte_t *ptep)
{
	if (at->result == KSM_MERGED)
		at->result = share_exclusive(at);
	if (at->result == KSM_MERGED)
		ksm_set_shared_pte(vma, at, ptep);
	else
		set_pte_at(vma->vm_mm, at->address, ptep, at->old);
}

/* Pinned pages carry KSM_MERGED; others are left alone. */
static void replace_pinned(const struct ksm_pte_batch *batch)
{
	struct ksm_table_lock lock;
	unsigned int i;

	if (!ksm_lock_table(batch, &lock)) {
		for (i = 0; i < batch->nr; i++)
			batch->at[i].result = KSM_GONE;
		return;
	}
	ksm_clear_ptes(batch, lock.table);
	compare_cleared(batch);
	for (i = 0; i < batch->nr; i++) {
		struct ksm_replacement *at = &batch->at[i];

		if (pte_present(at->old))
			set_cleared_pte(batch->vma, at,
					ksm_replacement_pte(lock.table, at));
	}
	ksm_unlock_table(&lock);
}

/* Pages that nothing maps any more are freed here. */
static void unpin_pages(const struct ksm_pte_batch *batch)
{
	struct folio_batch put;
	unsigned int i;

	folio_batch_init(&put);
	for (i = 0; i < batch->nr; i++) {
		struct folio *folio;

		if (!batch->at[i].page)
			continue;
		folio = page_folio(batch->at[i].page);
		if (!folio_mapped(folio))
			folio_free_swap(folio);
		folio_unlock(folio);
		if (!folio_batch_add(&put, folio))
			folios_put(&put);
	}
	folios_put(&put);
}

/**
 * ksm_notifier_range_init - the range of addresses that a batch changes
 * @batch: the PTEs, at least one
 * @range: filled in
 */
void ksm_notifier_range_init(const struct ksm_pte_batch *batch,
			     struct mmu_notifier_range *range)
{
	unsigned long start = ULONG_MAX, end = 0;
	unsigned int i;

	for (i = 0; i < batch->nr; i++) {
		start = min(start, batch->at[i].address);
		end = max(end, batch->at[i].address + PAGE_SIZE);
	}
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, batch->vma->vm_mm, start, end);
}

/**
 * ksm_replace_ptes - let PTEs map shared pages where the contents are equal
 * @batch: 1 to KSM_BATCH_PAGES PTEs of one page table and one mergeable VMA; each
 *	gets a @result
 *
 * Each @kpage is the zero page, or a KSM page whose folio the caller has locked.
 *
 * Context: may sleep; mmap_lock held.
 */
void ksm_replace_ptes(const struct ksm_pte_batch *batch)
{
	struct mmu_notifier_range range;

	mmap_assert_locked(batch->vma->vm_mm);
	if (!pin_pages(batch))
		return;
	ksm_notifier_range_init(batch, &range);
	mmu_notifier_invalidate_range_start(&range);
	/*
	 * For pages that its guest has used, KVM calls mark_page_accessed(), which may
	 * put them into a batch of this CPU.  The reference of a batch prevents a merge.
	 */
	if (mm_has_notifiers(batch->vma->vm_mm))
		lru_add_drain();
	replace_pinned(batch);
	mmu_notifier_invalidate_range_end(&range);
	unpin_pages(batch);
}
