// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages to be shared are allocated.
 *
 * A shared page is never one of the pages it replaces.  So a process cannot choose
 * the physical page that others will read, and a page that fork shares with a process
 * outside of KSM stays as it is there.
 *
 * Each merge frees at least one page for the page it takes.  So nothing is reclaimed
 * for it and no process is killed: the reserves of the page allocator may be used,
 * a memory cgroup may exceed its limit, and a few pages are set aside.
 */

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "fingerprint.h"
#include "fresh.h"

/* For the reserve: only from what is left above the watermarks. */
#define KSM_RESERVE_GFP		((GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM) | \
				 __GFP_THISNODE | __GFP_NOWARN)
#define KSM_FRESH_GFP		(KSM_RESERVE_GFP | __GFP_HIGH)

/**
 * ksm_reserve_fill - set pages aside while memory is free
 * @reserve: the reserve
 * @nid: NUMA node to take them from
 *
 * Context: any task context; under ksm.lock.
 */
void ksm_reserve_fill(struct ksm_reserve *reserve, int nid)
{
	while (reserve->nr < KSM_RESERVE_PAGES) {
		struct folio *folio = __folio_alloc_node(KSM_RESERVE_GFP, 0, nid);

		if (!folio)
			return;
		reserve->folio[reserve->nr++] = folio;
	}
}

/**
 * ksm_reserve_free - give back the pages that were set aside
 * @reserve: the reserve
 *
 * Context: any task context; under ksm.lock.
 */
void ksm_reserve_free(struct ksm_reserve *reserve)
{
	while (reserve->nr)
		folio_put(reserve->folio[--reserve->nr]);
}

/*
 * ksmd may have filled the reserve on another node.  If nodes are kept apart, a page of
 * another node is given back: the next fill replaces it.
 */
static struct folio *reserve_take(struct ksm_reserve *reserve, int nid, bool any_node)
{
	while (reserve->nr) {
		struct folio *folio = reserve->folio[--reserve->nr];

		if (any_node || folio_nid(folio) == nid)
			return folio;
		folio_put(folio);
	}
	return NULL;
}

/* The charge is that of the page that is copied, which is about to go. */
static int charge_as(struct folio *folio, struct folio *old)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_folio(old);
	struct mem_cgroup *active = set_active_memcg(memcg);
	int err = mem_cgroup_charge(folio, NULL, KSM_FRESH_GFP);

	set_active_memcg(active);
	mem_cgroup_put(memcg);
	return err;
}

static bool copy_page_content(struct folio *folio, struct page *page)
{
	void *from = kmap_local_page(page);
	void *to = kmap_local_folio(folio, 0);
	bool copied;

	ksm_hash_begin();
	copied = ksm_copy(to, from);
	ksm_hash_end();
	kunmap_local(to);
	kunmap_local(from);
	return copied || !copy_mc_highpage(folio_page(folio, 0), page);
}

/**
 * ksm_fresh_copy - copy a page into one that nothing else uses
 * @reserve: where to take a page from if the page allocator has none
 * @page: the page to copy, with a reference; it may change meanwhile
 * @any_node: without free memory on the NUMA node of @page, take a page of another one
 *
 * Context: any task context; under ksm.lock.
 * Return: the folio, with one reference, on no LRU list; ERR_PTR(-ENOMEM); or
 * ERR_PTR(-EHWPOISON) where @page cannot be read.
 */
struct folio *ksm_fresh_copy(struct ksm_reserve *reserve, struct page *page, bool any_node)
{
	const int nid = page_to_nid(page);
	struct folio *folio;

	if (PageHWPoison(page))
		return ERR_PTR(-EHWPOISON);
	folio = __folio_alloc_node(KSM_FRESH_GFP, 0, nid);
	if (!folio)
		folio = reserve_take(reserve, nid, any_node);
	if (!folio)
		return ERR_PTR(-ENOMEM);
	if (charge_as(folio, page_folio(page))) {
		folio_put(folio);
		return ERR_PTR(-ENOMEM);
	}
	if (!copy_page_content(folio, page)) {
		folio_put(folio);
		return ERR_PTR(-EHWPOISON);
	}
	flush_dcache_folio(folio);
	__folio_set_swapbacked(folio);
	__folio_mark_uptodate(folio);
	folio_set_dirty(folio);
	return folio;
}
