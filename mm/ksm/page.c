// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages of an mm, and what is read of them.
 */

#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagewalk.h>
#include <linux/sched/mm.h>

#include "../internal.h"
#include "domain.h"
#include "page.h"
#include "slots.h"
#include "vma.h"

/**
 * ksm_flush_page - let the kernel read what a process has written to a page
 * @vma: a VMA that maps it
 * @page: the page
 * @address: its user address
 *
 * Context: mmap_lock held.
 */
void ksm_flush_page(struct vm_area_struct *vma, struct page *page, unsigned long address)
{
	flush_anon_page(vma, page, address);
	flush_dcache_page(page);
}

/**
 * ksm_get_page - take a reference to the mergeable page at an address
 * @vma: a mergeable VMA
 * @address: a user address in it
 *
 * Context: mmap_lock held.
 * Return: the page, or NULL where none is mapped that may be merged.  A KSM page
 * counts as mergeable.
 */
struct page *ksm_get_page(struct vm_area_struct *vma, unsigned long address)
{
	struct folio_walk fw;
	struct folio *folio;
	struct page *page;

	folio = folio_walk_start(&fw, vma, address, 0);
	if (!folio)
		return NULL;
	page = ksm_mergeable_page(fw.page);
	if (page)
		folio_get(folio);
	folio_walk_end(&fw, vma);
	if (page)
		ksm_flush_page(vma, page, address);
	return page;
}

static bool maps_huge_page(struct mm_struct *mm, unsigned long address)
{
	pmd_t *pmd = mm_find_pmd(mm, address);

	return pmd && pmd_trans_huge(pmdp_get_lockless(pmd));
}

/*
 * Take the lock of a VMA only, as page faults do: it is free while mmap() and munmap() hold
 * mmap_lock for other VMAs.  The reference keeps the mm from being torn down meanwhile.
 * Huge pages are left out, since folio_walk_start() needs mmap_lock.
 */
static struct vm_area_struct *lock_vma_alone(struct mm_struct *mm, unsigned long address)
{
	struct vm_area_struct *vma;

	if (!mmget_not_zero(mm))
		return NULL;
	vma = lock_vma_under_rcu(mm, address);
	if (vma && ksm_vma_populated(vma) && !maps_huge_page(mm, address))
		return vma;
	if (vma)
		vma_end_read(vma);
	mmput_async(mm);
	return NULL;
}

/* Returns as ksm_target_get() does. */
static int lock_vma(struct ksm_target *target, struct ksm_lock *lock, struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;
	bool locked = ksm_mmap_trylock(slot);

	target->vma = locked ? NULL : lock_vma_alone(mm, target->address);
	target->alone = target->vma;
	if (target->alone)
		return 0;
	if (!locked && !ksm_mmap_lock_soon(lock, slot))
		return -EBUSY;
	target->vma = ksm_find_vma(mm, target->address);
	if (target->vma)
		return 0;
	mmap_read_unlock(mm);
	return -ENOENT;
}

static struct page *get_small_page(struct vm_area_struct *vma, unsigned long address)
{
	pmd_t *pmd = mm_find_pmd(vma->vm_mm, address);
	struct page *page = NULL;
	spinlock_t *ptl;	/* of the page table */
	pte_t *ptep, pte;

	ptep = pmd ? pte_offset_map_lock(vma->vm_mm, pmd, address, &ptl) : NULL;
	if (!ptep)
		return NULL;
	pte = ptep_get(ptep);
	if (pte_present(pte))
		page = ksm_mergeable_page(vm_normal_page(vma, address, pte));
	if (page)
		get_page(page);
	pte_unmap_unlock(ptep, ptl);
	if (page)
		ksm_flush_page(vma, page, address);
	return page;
}

/**
 * ksm_target_get - look up a page to read it
 * @target: filled in
 * @lock: ksm.lock
 * @slot: the slot of the mm
 * @address: user address of the page
 *
 * The VMA stays in place until ksm_target_unlock().  If mmap_lock is taken, the lock of the
 * VMA does that.  Then MADV_UNMERGEABLE may be at work on the page, so no PTE may be
 * replaced.
 *
 * Context: may sleep; under ksm.lock, no mmap_lock held.
 * Return: 0 with a reference to the page; or without one, -EBUSY if the process holds
 * mmap_lock for long, -ENOENT if there is no mergeable page.
 */
int ksm_target_get(struct ksm_target *target, struct ksm_lock *lock,
		   struct ksm_mm_slot *slot, unsigned long address)
{
	int err;

	target->address = address;
	err = lock_vma(target, lock, slot);
	if (err)
		return err;
	if (target->alone)
		target->page = get_small_page(target->vma, address);
	else
		target->page = ksm_get_page(target->vma, address);
	if (target->page)
		return 0;
	ksm_target_unlock(target);
	return -ENOENT;
}

/**
 * ksm_target_unlock - let the VMA of a page go
 * @target: the page; the caller keeps the reference to it
 *
 * Context: after ksm_target_get().
 */
void ksm_target_unlock(const struct ksm_target *target)
{
	struct mm_struct *mm = target->vma->vm_mm;

	if (target->alone) {
		vma_end_read(target->vma);
		mmput_async(mm);
	} else {
		mmap_read_unlock(mm);
	}
}

/**
 * ksm_target_put - undo ksm_target_get()
 * @target: the page
 */
void ksm_target_put(struct ksm_target *target)
{
	put_page(target->page);
	ksm_target_unlock(target);
}

/**
 * ksm_page_only_mapped - whether a page has no users that keep it from being merged
 * @page: the page, with one reference of the caller
 *
 * This is a hint that saves the attempt to merge a pinned page.  References to a large
 * folio are not counted: they may be for other pages of it.
 *
 * Context: any.
 * Return: false if the page has references beside mappings, swap cache and caller.
 */
bool ksm_page_only_mapped(struct page *page)
{
	struct folio *folio = page_folio(page);

	return folio_test_large(folio) ||
	       folio_ref_count(folio) ==
	       folio_mapcount(folio) + folio_test_swapcache(folio) + 1;
}

static u64 hash_page(const struct ksm_key *key, struct page *page, ksm_hash_fn *hash)
{
	void *addr = kmap_local_page(page);
	u64 fingerprint;

	ksm_hash_begin();
	fingerprint = hash(key, addr);
	ksm_hash_end();
	kunmap_local(addr);
	return fingerprint;
}

/**
 * ksm_page_fingerprint - hash all of a page
 * @domain: the domain, for its secret
 * @page: the page, with a reference
 *
 * Context: any task context.  The page may change meanwhile.
 * Return: the fingerprint, which does not depend on the NUMA node.
 */
u64 ksm_page_fingerprint(const struct ksm_domain *domain, struct page *page)
{
	return hash_page(domain->key, page, ksm_fingerprint);
}

/**
 * ksm_page_key - the key that a page has in the trees
 * @domain: the domain of the page
 * @page: the page, with a reference
 * @hash: ksm_sample() or ksm_fingerprint()
 *
 * Context: under ksm.lock.  The page may change meanwhile.
 * Return: the key.
 */
u64 ksm_page_key(const struct ksm_domain *domain, struct page *page, ksm_hash_fn *hash)
{
	return ksm_key_on_node(hash_page(domain->key, page, hash),
			       ksm_page_nid(domain, page));
}

/**
 * __ksm_pages_equal - compare the bytes of two pages
 * @page: a page, with a reference
 * @kpage: another
 *
 * Context: between ksm_hash_begin() and ksm_hash_end().  The answer holds while neither
 * page changes.
 * Return: true if all bytes are equal.
 */
bool __ksm_pages_equal(struct page *page, struct page *kpage)
{
	void *one = kmap_local_page(page);
	void *other = kmap_local_page(kpage);
	bool equal = ksm_equal(one, other);

	kunmap_local(other);
	kunmap_local(one);
	return equal;
}

/**
 * ksm_pages_equal - compare the bytes of two pages
 * @page: a page, with a reference
 * @kpage: another
 *
 * Context: any task context.  The answer holds while neither page changes.
 * Return: true if all bytes are equal.
 */
bool ksm_pages_equal(struct page *page, struct page *kpage)
{
	bool equal;

	ksm_hash_begin();
	equal = __ksm_pages_equal(page, kpage);
	ksm_hash_end();
	return equal;
}
