// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the PTE of a page is replaced by one of a shared page.
 *
 * A page is compared while its PTE is cleared and flushed, when it cannot be
 * written to, and only if its references are the mappings, the swap cache and the
 * one of this attempt.
 */

#include <linux/highmem.h>
#include <linux/ksm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <asm/tlbflush.h>

#include "../internal.h"
#include "page.h"
#include "replace.h"
#include "stable.h"
#include "vma.h"

/* VMAs of forks that a page to be shared is looked for in at most. */
#define KSM_MAX_AREAS		256

static struct page *subject_page(struct vm_area_struct *vma, unsigned long address)
{
	struct folio_walk fw;
	struct page *page;
	struct folio *folio;

	folio = folio_walk_start(&fw, vma, address, 0);
	if (!folio)
		return NULL;
	page = ksm_mergeable_page(fw.page);
	if (page)
		folio_get(folio);
	folio_walk_end(&fw, vma);
	return page;
}

/**
 * ksm_subject_get - take mmap_lock and look up a page
 * @subject: filled in
 * @mm: the mm
 * @address: where the page is
 *
 * Context: may sleep.
 * Return: true with mmap_lock and a reference to the page, or false with neither.
 */
bool ksm_subject_get(struct ksm_subject *subject, struct mm_struct *mm,
		     unsigned long address)
{
	subject->address = address;
	mmap_read_lock(mm);
	subject->vma = ksm_find_vma(mm, subject->address);
	if (subject->vma) {
		subject->page = subject_page(subject->vma, subject->address);
		if (subject->page) {
			flush_anon_page(subject->vma, subject->page, subject->address);
			flush_dcache_page(subject->page);
			return true;
		}
	}
	mmap_read_unlock(mm);
	return false;
}

/**
 * ksm_subject_put - undo ksm_subject_get()
 * @subject: the page
 */
void ksm_subject_put(struct ksm_subject *subject)
{
	struct mm_struct *mm = subject->vma->vm_mm;

	put_page(subject->page);
	mmap_read_unlock(mm);
}

/* Beside the mappings, only the swap cache and this attempt may hold a reference. */
static bool only_mapped(const struct folio *folio)
{
	return folio_ref_count(folio) ==
	       folio_mapcount(folio) + 1 + folio_test_swapcache(folio);
}

/* What the entry says about the address stays; what it says of the page doesn't. */
static pte_t keep_marks(pte_t pte, pte_t old)
{
	if (pte_soft_dirty(old))
		pte = pte_mksoft_dirty(pte);
	if (pte_uffd_wp(old))
		pte = pte_mkuffd_wp(pte);
	return pte;
}

/*
 * The one process that still mapped the shared page may have told by MADV_FREE
 * that it can be dropped.  That holds for nobody else, and a dirty page stays.
 */
static pte_t map_shared(struct ksm_subject *subject, struct page *kpage, pte_t old)
{
	struct vm_area_struct *vma = subject->vma;
	struct folio *kfolio = page_folio(kpage);

	VM_WARN_ON_FOLIO(!folio_test_locked(kfolio), kfolio);
	folio_get(kfolio);
	folio_add_anon_rmap_pte(kfolio, kpage, vma, subject->address, RMAP_NONE);
	if (!folio_test_dirty(kfolio))
		folio_set_dirty(kfolio);
	return keep_marks(mk_pte(kpage, vma->vm_page_prot), old);
}

/* A dirty entry for the zero page tells that it was put there by KSM. */
static pte_t map_zero(struct ksm_subject *subject, struct page *zero, pte_t old)
{
	struct vm_area_struct *vma = subject->vma;
	pte_t pte = pfn_pte(page_to_pfn(zero), vma->vm_page_prot);

	ksm_map_zero_page(vma->vm_mm);
	dec_mm_counter(vma->vm_mm, MM_ANONPAGES);
	return keep_marks(pte_mkdirty(pte_mkspecial(pte)), old);
}

/*
 * With the entry cleared: whether the page may be shared, and what to map then.
 * Sharing the anonymous mapping comes last, since it cannot be taken back.
 */
static enum ksm_result choose_pte(struct ksm_subject *subject, struct page *kpage,
				  pte_t *pte)
{
	struct folio *folio = page_folio(subject->page);
	pte_t old = *pte;

	if (!only_mapped(folio) || ksm_page_never_equal(subject->page) ||
	    (kpage && ksm_page_never_equal(kpage)))
		return KSM_BUSY;
	if (kpage && !ksm_pages_equal(subject->page, kpage))
		return KSM_DIFFERENT;
	if (PageAnonExclusive(subject->page) &&
	    folio_try_share_anon_rmap_pte(folio, subject->page))
		return KSM_BUSY;
	if (!kpage)
		*pte = pte_wrprotect(old);
	else if (is_zero_pfn(page_to_pfn(kpage)))
		*pte = map_zero(subject, kpage, old);
	else
		*pte = map_shared(subject, kpage, old);
	return KSM_MERGED;
}

static enum ksm_result replace_locked_pte(struct ksm_subject *subject,
					  struct page *kpage, pte_t *ptep)
{
	struct vm_area_struct *vma = subject->vma;
	struct folio *folio = page_folio(subject->page);
	pte_t pte = ptep_get(ptep);
	enum ksm_result result;

	if (!pte_present(pte) || pte_pfn(pte) != page_to_pfn(subject->page))
		return KSM_GONE;
	flush_cache_page(vma, subject->address, pte_pfn(pte));
	/*
	 * get_user_pages_fast() takes references without a lock.  Once the entry
	 * is flushed it cannot, and those it took before are seen.
	 */
	pte = ptep_clear_flush(vma, subject->address, ptep);
	result = choose_pte(subject, kpage, &pte);
	set_pte_at(vma->vm_mm, subject->address, ptep, pte);
	if (result == KSM_MERGED && kpage) {
		folio_remove_rmap_pte(folio, subject->page, vma);
		folio_put(folio);
	}
	return result;
}

/*
 * Let the entry of a page map @kpage, or write-protect it where that is NULL.
 * Both folios are locked.
 */
static enum ksm_result replace_pte(struct ksm_subject *subject, struct page *kpage)
{
	struct mm_struct *mm = subject->vma->vm_mm;
	enum ksm_result result = KSM_GONE;
	struct mmu_notifier_range range;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep;
	pmd_t *pmd;

	pmd = mm_find_pmd(mm, subject->address);
	if (!pmd)
		return KSM_GONE;
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mm, subject->address,
				subject->address + PAGE_SIZE);
	mmu_notifier_invalidate_range_start(&range);
	ptep = pte_offset_map_lock(mm, pmd, subject->address, &ptl);
	if (ptep) {
		result = replace_locked_pte(subject, kpage, ptep);
		pte_unmap_unlock(ptep, ptl);
	}
	mmu_notifier_invalidate_range_end(&range);
	return result;
}

/**
 * ksm_replace_locked - let the PTE of a locked page map another
 * @subject: the page
 * @kpage: the page to map, locked; NULL to write-protect @subject
 *
 * Context: may sleep; mmap_lock held.
 * Return: KSM_MERGED, or why it was not done.
 */
enum ksm_result ksm_replace_locked(struct ksm_subject *subject, struct page *kpage)
{
	struct folio *folio = page_folio(subject->page);

	if (!folio_test_anon(folio) || folio_test_ksm(folio))
		return KSM_GONE;
	return replace_pte(subject, kpage);
}

/**
 * struct ksm_consent - whether all who map a page want it to be merged
 * @willing: nobody was found who does not
 * @areas: that may still be looked at
 */
struct ksm_consent {
	bool willing;
	unsigned int areas;
};

/* For rmap_walk(): goes on until an area maps the folio that is not to be merged. */
static bool maps_willingly(struct folio *folio, struct vm_area_struct *vma,
			   unsigned long address, void *arg)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, address, 0);
	struct ksm_consent *consent = arg;

	if (!consent->areas--) {
		consent->willing = false;
	} else if (!(vma->vm_flags & VM_MERGEABLE) && page_vma_mapped_walk(&pvmw)) {
		page_vma_mapped_walk_done(&pvmw);
		consent->willing = false;
	}
	return consent->willing;
}

/*
 * After a fork a page may be mapped by a process that never asked for merging.  No
 * rmap_item would stand for that one, so that it could neither be found by a walk
 * of the reverse map nor have its page back.  Nobody should be able to make ksmd
 * look for such a process for long: where there are very many, there may be one.
 */
static bool all_willing(struct folio *folio)
{
	struct ksm_consent consent = { .willing = true, .areas = KSM_MAX_AREAS };
	struct rmap_walk_control rwc = {
		.rmap_one = maps_willingly,
		.anon_lock = folio_lock_anon_vma_read,
		.arg = &consent,
	};

	if (folio_mapcount(folio) != 1 && folio_test_anon(folio) && !folio_test_ksm(folio))
		rmap_walk(folio, &rwc);
	return consent.willing;
}

/**
 * ksm_subject_lock - lock a page for merging, split from its large folio
 * @subject: the page
 * @to_stay: the page is to be the one that others share
 *
 * Context: may sleep; mmap_lock held.
 * Return: KSM_MERGED if it is locked, else the reason.
 */
enum ksm_result ksm_subject_lock(struct ksm_subject *subject, bool to_stay)
{
	enum ksm_result result = KSM_MERGED;

	if (!trylock_page(subject->page))
		return KSM_BUSY;
	if (to_stay && !all_willing(page_folio(subject->page)))
		result = KSM_UNWILLING;
	else if (PageTransCompound(subject->page) && split_huge_page(subject->page))
		result = KSM_BUSY;
	if (result != KSM_MERGED)
		unlock_page(subject->page);
	return result;
}

/**
 * ksm_replace - let the PTE of a page map another
 * @subject: the page
 * @kpage: the page to map, locked, or the zero page
 *
 * Context: may sleep; mmap_lock held.
 * Return: KSM_MERGED, or why it was not done.
 */
enum ksm_result ksm_replace(struct ksm_subject *subject, struct page *kpage)
{
	enum ksm_result result = ksm_subject_lock(subject, false);
	struct folio *folio;

	if (result != KSM_MERGED)
		return result;
	folio = page_folio(subject->page);
	result = ksm_replace_locked(subject, kpage);
	if (result == KSM_MERGED && !folio_mapped(folio))
		folio_free_swap(folio);
	folio_unlock(folio);
	return result;
}

/**
 * ksm_folio_become_shared - turn an anonymous page into a KSM page
 * @folio: the page, locked and write-protected
 * @node: its node, in the tree
 *
 * Reclaim drops a clean page, so it has to be dirty in order to be swapped out.
 */
void ksm_folio_become_shared(struct folio *folio, struct ksm_stable_node *node)
{
	VM_WARN_ON_FOLIO(PageAnonExclusive(&folio->page), folio);
	WRITE_ONCE(folio->mapping, ksm_node_mapping(node));
	folio_mark_accessed(folio);
	if (!folio_test_dirty(folio))
		folio_set_dirty(folio);
}

/**
 * ksm_folio_claim - turn a folio into a KSM page without a node
 * @folio: the folio, locked and write-protected
 *
 * A reverse map walk of an anonymous page needs no lock, but takes a reference
 * before it reads folio->mapping.  So either that reference is seen here, or the
 * walk sees a KSM page and waits for the lock.
 *
 * Return: false if the folio has other references, and nothing has changed.
 */
bool ksm_folio_claim(struct folio *folio)
{
	struct address_space *mapping = folio->mapping;

	WRITE_ONCE(folio->mapping, (void *)PAGE_MAPPING_KSM);
	/* As SB+fencembonceonces of tools/memory-model; they have folio_try_get(). */
	smp_mb();
	if (only_mapped(folio))
		return true;
	WRITE_ONCE(folio->mapping, mapping);
	return false;
}

