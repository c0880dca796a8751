// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: whether pages were used since the previous pass.
 *
 * An accessed bit is cleared when it is read, so that the next pass sees only what
 * was used since.  Reclaim and idle page tracking need the bit too: what ksmd
 * takes from a page table it keeps in the flags of the folio.
 *
 * A bit may cover more than one page: that of a PMD, of a 2 MiB mapping in a
 * secondary MMU, of contiguous PTEs on arm64.  It is read once for all of its pages
 * and counts for each of them.
 *
 * The kernel writes user pages through references, and sets no accessed bit.  It marks
 * a folio as dirty when it has written to it.  A folio of a process has this mark for
 * few other reasons, since its PTEs are dirty.  Reclaim does not use it to tell which
 * pages are used, unlike PG_referenced, which ksmd leaves alone.
 */

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/page-flags.h>
#include <linux/page_idle.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>

#include "chunk.h"
#include "page.h"
#include "walk.h"
#include "young.h"

static void hand_on_young(struct folio *folio)
{
	if (!folio_test_young(folio))
		folio_set_young(folio);
	if (folio_test_idle(folio))
		folio_clear_idle(folio);
}

/*
 * Clear PG_dirty, so that the next write of the kernel sets it again.  @dirty says that
 * the PTE or PMD of the whole folio is dirty: reclaim then sets the flag again when it
 * unmaps the folio.  In the swap cache the flag may stand for content that is not in swap
 * yet.  The folio lock keeps the folio from entering the swap cache or migrating.
 */
static bool take_written(struct folio *folio, bool dirty)
{
	bool taken;

	if (!dirty || !folio_test_anon(folio) || folio_test_ksm(folio) ||
	    !folio_test_swapbacked(folio) || !folio_trylock(folio))
		return false;
	taken = !folio_test_swapcache(folio) && folio_test_clear_dirty(folio);
	folio_unlock(folio);
	return taken;
}

/* A flag that stays set does not say when the kernel wrote, so only some passes use it. */
static bool written(struct folio *folio, bool dirty, unsigned long seqnr)
{
	return folio_test_dirty(folio) &&
	       (take_written(folio, dirty) || ksm_young_find_written(seqnr));
}

#ifdef CONFIG_MMU_NOTIFIER
static bool secondary_young(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	return mmu_notifier_clear_young(mm, start, end);
}
#else
static bool secondary_young(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	return false;
}
#endif

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static bool huge_young(struct vm_area_struct *vma, pmd_t *pmd, unsigned long start,
		       unsigned long seqnr)
{
	bool young = secondary_young(vma->vm_mm, start, start + PMD_SIZE);
	spinlock_t *ptl = pmd_trans_huge_lock(pmd, vma);	/* of the PMD */
	struct page *page = NULL;

	if (!ptl)
		return young;
	if (pmd_present(*pmd)) {
		young |= pmdp_test_and_clear_young(vma, start, pmd);
		page = vm_normal_page_pmd(vma, start, *pmd);
	}
	if (page) {
		if (young)
			hand_on_young(page_folio(page));
		young |= written(page_folio(page), pmd_dirty(*pmd), seqnr);
	}
	spin_unlock(ptl);
	return young;
}
#else
static bool huge_young(struct vm_area_struct *vma, pmd_t *pmd, unsigned long start,
		       unsigned long seqnr)
{
	return false;
}
#endif

/**
 * ksm_young_read_pmd - read the accessed bits that cover a whole PMD
 * @walk: the walk; @walk->pmd_unit keeps the answer until the next PMD
 * @vma: the VMA
 * @pmd: the PMD
 * @address: an address that @pmd maps
 *
 * Context: mmap_lock held, no page table lock.
 */
void ksm_young_read_pmd(struct ksm_walk *walk, struct vm_area_struct *vma, pmd_t *pmd,
			unsigned long address)
{
	if (address < walk->pmd_unit.end)
		return;
	walk->pmd_unit.end = pmd_addr_end(address, vma->vm_end);
	walk->pmd_unit.young = pmd_trans_huge(pmdp_get_lockless(pmd)) &&
			       huge_young(vma, pmd, address & PMD_MASK, walk->seqnr);
}

/**
 * ksm_young_read_leaf - read what secondary MMUs know about a chunk
 * @chunk: the chunk; @chunk->young is set if one of its pages was used
 * @huge: a PMD maps the pages, and ksm_young_read_pmd() has asked for all of them
 *
 * If a batch ends within the chunk, the answer is kept for the next batch.
 *
 * Context: mmap_lock held, no page table lock.
 */
void ksm_young_read_leaf(struct ksm_chunk *chunk, bool huge)
{
	unsigned long start = ksm_chunk_address(chunk, chunk->at);
	unsigned long end = ksm_chunk_address(chunk, chunk->end);
	struct ksm_unit *unit = &chunk->walk->leaf_unit;

	if (huge) {
		chunk->young = chunk->walk->pmd_unit.young;
		return;
	}
	if (start >= unit->end) {
		unit->young = secondary_young(chunk->vma->vm_mm, start, end);
		unit->end = end;
	}
	chunk->young = unit->young;
}

/**
 * ksm_young_hand_on - keep for others what a secondary MMU said of a chunk
 * @chunk: the chunk
 *
 * The MMU does not say which pages it used, so each page counts as used, also
 * those that are not merged: reclaim would take a file page of a guest for idle.
 *
 * Context: page table lock held.
 */
void ksm_young_hand_on(struct ksm_chunk *chunk)
{
	unsigned int offset;

	for (offset = chunk->at; chunk->pte && offset < chunk->end; offset++) {
		pte_t pte = ptep_get(chunk->pte + offset);
		struct page *page = NULL;

		if (pte_present(pte))
			page = vm_normal_page(chunk->vma, ksm_chunk_address(chunk, offset),
					      pte);
		if (page)
			hand_on_young(page_folio(page));
	}
}

/* A page of a process is dirty, except for one that was read and not written to since. */
static bool read_from_swap(const struct folio *folio, pte_t pte)
{
	return !pte_dirty(pte) && !folio_test_dirty(folio) && folio_test_swapbacked(folio);
}

/**
 * ksm_young_test_clear - whether a page was used since the previous pass
 * @chunk: the chunk
 * @offset: which page of it
 * @page: the page
 *
 * Context: page table lock held.
 * Return: how it was used.
 */
enum ksm_use ksm_young_test_clear(struct ksm_chunk *chunk, unsigned int offset,
				  struct page *page)
{
	struct folio *folio = page_folio(page);
	pte_t *pte = chunk->pte + offset;
	enum ksm_use use = KSM_USE_YOUNG;

	if (!chunk->pte)
		return chunk->young ? KSM_USE_YOUNG : KSM_USE_IDLE;
	/* The flag of a large folio may stand for any of its pages, so it is not cleared. */
	if (written(folio, pte_dirty(ptep_get(pte)) && !folio_test_large(folio),
		    chunk->walk->seqnr))
		return KSM_USE_KERNEL;
	if (offset < chunk->young_end)
		return KSM_USE_YOUNG;
	if (!pte_young(ptep_get(pte)))
		return chunk->young ? KSM_USE_YOUNG : KSM_USE_IDLE;
	if (read_from_swap(folio, ptep_get(pte)))
		use = KSM_USE_SWAPPED;
	if (KSM_YOUNG_SPAN > 1 && folio_test_large(folio))
		chunk->young_end = ALIGN(offset + 1, KSM_YOUNG_SPAN);
	if (ptep_test_and_clear_young(chunk->vma, ksm_chunk_address(chunk, offset), pte))
		hand_on_young(folio);
	return use;
}
