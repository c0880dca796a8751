/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: pages of an mm, and what is read of them.
 */
#ifndef _MM_KSM_PAGE_H
#define _MM_KSM_PAGE_H

#include <linux/mm.h>
#include <linux/types.h>
#ifdef CONFIG_ARM64_MTE
#include <asm/mte.h>
#endif

struct ksm_domain;
struct ksm_key;
struct ksm_lock;
struct ksm_mm_slot;

typedef u64 ksm_hash_fn(const struct ksm_key *key, const void *addr);

/**
 * struct ksm_target - a page at its place in an mm
 * @vma: its mergeable VMA, while it is locked
 * @alone: the VMA is locked, and not all of the mm
 * @address: its user address
 * @page: the page, with a reference
 */
struct ksm_target {
	struct vm_area_struct *vma;
	bool alone;
	unsigned long address;
	struct page *page;
};

/**
 * ksm_page_never_equal - whether a page differs from all others
 * @page: the page
 *
 * MTE tags belong to the content, and a comparison of bytes does not see them.
 *
 * Return: true if the page has tags.
 */
static inline bool ksm_page_never_equal(struct page *page)
{
#ifdef CONFIG_ARM64_MTE
	return system_supports_mte() && page_mte_tagged(page);
#else
	return false;
#endif
}

/**
 * ksm_mergeable_page - whether a page is of a kind that is merged
 * @page: the page, or NULL
 *
 * Return: @page, or NULL where it is not anonymous, not memory, poisoned, or has tags.
 */
static inline struct page *ksm_mergeable_page(struct page *page)
{
	struct folio *folio;

	if (!page)
		return NULL;
	folio = page_folio(page);
	if (!folio_test_anon(folio) || folio_is_zone_device(folio) || PageHWPoison(page) ||
	    ksm_page_never_equal(page))
		return NULL;
	return page;
}

void ksm_flush_page(struct vm_area_struct *vma, struct page *page,
		    unsigned long address);
struct page *ksm_get_page(struct vm_area_struct *vma, unsigned long address);
int ksm_target_get(struct ksm_target *target, struct ksm_lock *lock,
		   struct ksm_mm_slot *slot, unsigned long address);
void ksm_target_unlock(const struct ksm_target *target);
void ksm_target_put(struct ksm_target *target);
bool ksm_page_only_mapped(struct page *page);
u64 ksm_page_fingerprint(const struct ksm_domain *domain, struct page *page);
u64 ksm_page_key(const struct ksm_domain *domain, struct page *page, ksm_hash_fn *hash);
bool __ksm_pages_equal(struct page *page, struct page *kpage);
bool ksm_pages_equal(struct page *page, struct page *kpage);

#endif /* _MM_KSM_PAGE_H */
