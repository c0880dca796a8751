// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what is read of a page.
 */

#include <linux/highmem.h>
#include <linux/mm.h>
#ifdef CONFIG_ARM64_MTE
#include <asm/mte.h>
#endif

#include "domain.h"
#include "page.h"

/**
 * ksm_mergeable_page - whether a page is of a kind that is merged
 * @page: the page, or NULL
 *
 * Return: @page, or NULL where it is not anonymous, not memory, or poisoned.
 */
struct page *ksm_mergeable_page(struct page *page)
{
	struct folio *folio;

	if (!page)
		return NULL;
	folio = page_folio(page);
	if (!folio_test_anon(folio) || folio_is_zone_device(folio) || PageHWPoison(page))
		return NULL;
	return page;
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

#ifdef CONFIG_ARM64_MTE
/**
 * ksm_page_never_equal - whether a page differs from all others
 * @page: the page
 *
 * MTE tags belong to the content, and a comparison of bytes does not see them.
 *
 * Return: true if the page has tags.
 */
bool ksm_page_never_equal(struct page *page)
{
	return system_supports_mte() && page_mte_tagged(page);
}
#else
bool ksm_page_never_equal(struct page *page)
{
	return false;
}
#endif

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
	void *one = kmap_local_page(page);
	void *other = kmap_local_page(kpage);
	bool equal;

	ksm_hash_begin();
	equal = ksm_equal(one, other);
	ksm_hash_end();
	kunmap_local(other);
	kunmap_local(one);
	return equal;
}

