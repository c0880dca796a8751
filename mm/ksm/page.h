/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: pages of an mm, and what is read of them.
 */
#ifndef _MM_KSM_PAGE_H
#define _MM_KSM_PAGE_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct ksm_domain;
struct ksm_key;

typedef u64 ksm_hash_fn(const struct ksm_key *key, const void *addr);

/**
 * struct ksm_target - a page at its place in an mm
 * @vma: its mergeable VMA, while mmap_lock is held
 * @address: its user address
 * @page: the page, with a reference
 */
struct ksm_target {
	struct vm_area_struct *vma;
	unsigned long address;
	struct page *page;
};

struct page *ksm_mergeable_page(struct page *page);
void ksm_flush_page(struct vm_area_struct *vma, struct page *page,
		    unsigned long address);
struct page *ksm_get_page(struct vm_area_struct *vma, unsigned long address);
bool ksm_target_get(struct ksm_target *target, struct mm_struct *mm,
		    unsigned long address);
void ksm_target_put(struct ksm_target *target);
bool ksm_page_only_mapped(struct page *page);
u64 ksm_page_fingerprint(const struct ksm_domain *domain, struct page *page);
u64 ksm_page_key(const struct ksm_domain *domain, struct page *page, ksm_hash_fn *hash);
bool ksm_page_never_equal(struct page *page);
bool ksm_pages_equal(struct page *page, struct page *kpage);

#endif /* _MM_KSM_PAGE_H */
