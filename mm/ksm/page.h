/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: what is read of a page.
 */
#ifndef _MM_KSM_PAGE_H
#define _MM_KSM_PAGE_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct ksm_domain;
struct ksm_key;

typedef u64 ksm_hash_fn(const struct ksm_key *key, const void *addr);

struct page *ksm_mergeable_page(struct page *page);
u64 ksm_page_fingerprint(const struct ksm_domain *domain, struct page *page);
u64 ksm_page_key(const struct ksm_domain *domain, struct page *page, ksm_hash_fn *hash);
bool ksm_page_never_equal(struct page *page);
bool ksm_pages_equal(struct page *page, struct page *kpage);

#endif /* _MM_KSM_PAGE_H */
