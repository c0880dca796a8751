// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: which page to merge with which.
 *
 * A page is merged with a shared page of the same content.  Where there is none yet
 * and a second page holds the content, a shared page is allocated, and both are merged
 * with it in the same way.  So there is one way to merge, and nothing to undo: a
 * shared page that no PTE came to map is freed, and one that only one PTE maps waits
 * for the next duplicate.
 *
 * Candidates of a leaf are merged in batches.  First it is chosen, page by page, what
 * to merge each candidate with; that makes a list of requests.  Then the requests are
 * carried out, those of one page table together.  One mmap_lock is held at a time.
 */

#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "domain.h"
#include "fresh.h"
#include "match.h"
#include "merge.h"
#include "page.h"
#include "record.h"
#include "replace.h"
#include "stable.h"
#include "vma.h"

/* A candidate may bring along its duplicate. */
#define KSM_MAX_REQUESTS	(2 * KSM_BATCH_PAGES)

/**
 * struct ksm_request - a page and the shared page that its PTE is to map
 * @record: the record of the page; in no tree
 * @mm: the mm of the page
 * @address: its user address
 * @kfolio: the shared page, with a reference; NULL for the zero page
 * @item: for the new mapping, until it is used; NULL for the zero page
 * @large: the page belongs to a large folio
 * @pending: not yet carried out
 */
struct ksm_request {
	struct ksm_record *record;
	struct mm_struct *mm;
	unsigned long address;
	struct folio *kfolio;
	struct ksm_rmap_item *item;
	bool large;
	bool pending;
};

/**
 * struct ksm_merge - one batch
 * @page: page of each candidate, with a reference; NULL or ERR_PTR() where none is left
 * @nr_requests: elements of @request in use
 * @request: what to do
 * @nr_fresh: elements of @fresh in use
 * @fresh: shared pages that this batch has allocated, each with a reference
 * @nr: requests that are carried out together: elements of @chosen and @at in use
 * @chosen: these requests
 * @at: likewise, as replace.c wants them
 * @nr_locked: elements of @locked in use
 * @locked: shared pages whose lock is held
 * @full: the rest of the candidates have to wait for the next batch
 * @reserve: pages set aside
 */
struct ksm_merge {
	struct page *page[KSM_BATCH_PAGES];
	unsigned int nr_requests;
	struct ksm_request request[KSM_MAX_REQUESTS];
	unsigned int nr_fresh;
	struct folio *fresh[KSM_BATCH_PAGES];
	unsigned int nr;
	struct ksm_request *chosen[KSM_BATCH_PAGES];
	struct ksm_replacement at[KSM_BATCH_PAGES];
	unsigned int nr_locked;
	struct folio *locked[KSM_BATCH_PAGES];
	bool full;
	struct ksm_reserve reserve;
};

static int result_to_errno(enum ksm_result result)
{
	return result == KSM_MERGED ? 0 : -EFAULT;
}

static struct ksm_rmap_item *item_alloc(struct mm_struct *mm)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mm);
	struct mem_cgroup *active = set_active_memcg(memcg);
	struct ksm_rmap_item *item = ksm_item_alloc();

	set_active_memcg(active);
	mem_cgroup_put(memcg);
	return item;
}

static struct ksm_stable_node *node_alloc(struct mm_struct *mm)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mm);
	struct mem_cgroup *active = set_active_memcg(memcg);
	struct ksm_stable_node *node = ksm_node_alloc();

	set_active_memcg(active);
	mem_cgroup_put(memcg);
	return node;
}

/* mmap_lock keeps the anon_vma until the rmap_item has its own reference. */
static void item_fill(struct ksm_rmap_item *item, struct vm_area_struct *vma,
		      unsigned long address)
{
	item->mm = vma->vm_mm;
	item->address = address;
	item->index = linear_page_index(vma, address);
	item->anon_vma = vma->anon_vma;
	get_anon_vma(item->anon_vma);
}

static void record_share(struct ksm_domain *domain, struct ksm_record *record,
			 struct ksm_stable_node *node, struct ksm_rmap_item *item)
{
	ksm_record_unshare(domain, record);
	record->item = item;
	record->state = KSM_SHARED;
	record->age = 0;
	record->skips = 0;
	ksm_stable_append(domain, node, item);
}

/* On another NUMA node the sample may be that of another content. */
static void rekey_shared(struct ksm_domain *domain, struct ksm_stable_node *node,
			 const struct folio *folio)
{
	if (node->nid != ksm_page_nid(domain, &folio->page) && node->key == node->sample)
		ksm_set_ambiguous(domain, node->sample);
	ksm_stable_rekey(domain, node, folio);
}

/*
 * A PTE maps a shared page that no scan has seen there: after a fork, or a swap-in.
 * It keeps the page whatever max_page_sharing says.
 */
static void adopt_shared(struct ksm_domain *domain, struct ksm_record *record,
			 const struct ksm_target *target)
{
	struct folio *folio = page_folio(target->page);
	struct ksm_stable_node *node;
	struct ksm_rmap_item *item;

	if (record->state == KSM_SHARED && record->item->node &&
	    record->item->node == ksm_folio_node(folio)) {
		rekey_shared(domain, record->item->node, folio);
		return;
	}
	ksm_record_unshare(domain, record);
	item = item_alloc(target->vma->vm_mm);
	if (!item || !folio_trylock(folio)) {
		ksm_item_free(item);
		return;
	}
	node = ksm_folio_node(folio);
	if (node) {
		item_fill(item, target->vma, target->address);
		record_share(domain, record, node, item);
		rekey_shared(domain, node, folio);
	} else {
		ksm_item_free(item);
	}
	folio_unlock(folio);
}

/* ERR_PTR() where there is no page, NULL where it is a shared page. */
static struct page *read_page(struct ksm_domain *domain, struct mm_struct *mm,
			      struct ksm_target *target, struct ksm_record *record)
{
	target->address = ksm_record_address(record);
	if (!target->vma || target->address >= target->vma->vm_end)
		target->vma = ksm_find_vma(mm, target->address);
	target->page = target->vma ? ksm_get_page(target->vma, target->address) : NULL;
	if (!target->page)
		return ERR_PTR(-ENOENT);
	if (!PageKsm(target->page))
		return target->page;
	adopt_shared(domain, record, target);
	put_page(target->page);
	return NULL;
}

static void read_pages(struct ksm_domain *domain, const struct ksm_candidate *candidate,
		       unsigned int nr)
{
	struct mm_struct *mm = ksm_record_mm(candidate->record);
	struct ksm_target target = {};
	unsigned int i;

	mmap_read_lock(mm);
	for (i = 0; i < nr; i++)
		domain->merge->page[i] = read_page(domain, mm, &target, candidate[i].record);
	mmap_read_unlock(mm);
}

static bool has_request(const struct ksm_merge *merge, const struct ksm_record *record)
{
	unsigned int i;

	for (i = 0; i < merge->nr_requests; i++)
		if (merge->request[i].record == record)
			return true;
	return false;
}

/* @kfolio comes with a reference of the request's own. */
static void add_request(struct ksm_merge *merge, struct ksm_record *record,
			struct folio *kfolio, struct ksm_rmap_item *item, bool large)
{
	merge->request[merge->nr_requests++] = (struct ksm_request){
		.record = record,
		.mm = ksm_record_mm(record),
		.address = ksm_record_address(record),
		.kfolio = kfolio,
		.item = item,
		.large = large,
		.pending = true,
	};
}

/* Whether a shared page has room beside what this batch adds to it. */
static bool room_in_batch(const struct ksm_domain *domain, const struct folio *kfolio)
{
	const struct ksm_stable_node *node = ksm_folio_node(kfolio);
	const struct ksm_merge *merge = domain->merge;
	unsigned int i, nr;

	/* It was migrated a moment ago: the request will fail. */
	if (!node)
		return true;
	nr = node->nr_items;
	for (i = 0; i < merge->nr_requests; i++)
		nr += merge->request[i].kfolio == kfolio;
	return nr < domain->controls->max_page_sharing;
}

static enum ksm_result request_zero(struct ksm_domain *domain, struct ksm_record *record,
				    struct page *page)
{
	if (!ksm_pages_equal(page, ZERO_PAGE(0)))
		return KSM_GONE;
	add_request(domain->merge, record, NULL, NULL, PageCompound(page));
	return KSM_MERGED;
}

/* Merge with a page that is shared already. */
static enum ksm_result request_stable(struct ksm_domain *domain,
				      struct ksm_record *record, struct page *page,
				      const struct ksm_content *content)
{
	struct ksm_rmap_item *item = NULL;
	enum ksm_result result;
	struct folio *kfolio;

	result = ksm_match_stable(domain, page, content, &kfolio);
	if (result != KSM_MERGED)
		return result;
	if (!room_in_batch(domain, kfolio)) {
		domain->merge->full = true;
		result = KSM_BUSY;
	} else if (!ksm_page_only_mapped(page)) {
		result = KSM_BUSY;
	} else {
		item = item_alloc(ksm_record_mm(record));
		result = item ? KSM_MERGED : KSM_NO_MEMORY;
	}
	if (result == KSM_MERGED)
		add_request(domain->merge, record, kfolio, item, PageCompound(page));
	else
		folio_put(kfolio);
	return result;
}

/* A copy of a page, in the stable tree.  The page may have changed since it was read. */
static struct folio *make_shared(struct ksm_domain *domain, struct page *page,
				 const struct ksm_content *content,
				 struct ksm_stable_node *node)
{
	ksm_hash_fn *hash = content->whole ? ksm_fingerprint : ksm_sample;
	struct ksm_merge *merge = domain->merge;
	struct folio *folio = ksm_fresh_copy(&merge->reserve, page);

	if (IS_ERR(folio))
		return folio;
	if (ksm_page_key(domain, &folio->page, hash) != content->key ||
	    ksm_differs_from_shared(domain, &folio->page, content->key)) {
		folio_put(folio);
		return ERR_PTR(-EAGAIN);
	}
	ksm_stable_insert(domain, node, folio, content->key, content->sample);
	WRITE_ONCE(folio->mapping, ksm_node_mapping(node));
	merge->fresh[merge->nr_fresh++] = folio;
	return folio;
}

/* Merge a page and its duplicate with a shared page made for them. */
static enum ksm_result request_two(struct ksm_domain *domain, struct ksm_record *record,
				   struct page *page, const struct ksm_content *content,
				   const struct ksm_duplicate *other)
{
	struct ksm_rmap_item *item = item_alloc(ksm_record_mm(record));
	struct ksm_rmap_item *other_item = item_alloc(ksm_record_mm(other->record));
	struct ksm_stable_node *node = node_alloc(ksm_record_mm(record));
	struct folio *kfolio = ERR_PTR(-ENOMEM);

	if (item && other_item && node)
		kfolio = make_shared(domain, page, content, node);
	if (IS_ERR(kfolio)) {
		ksm_item_free(item);
		ksm_item_free(other_item);
		ksm_node_free(node);
		return kfolio == ERR_PTR(-ENOMEM) ? KSM_NO_MEMORY : KSM_GONE;
	}
	ksm_unstable_remove(&domain->unstable, other->record);
	folio_get(kfolio);
	add_request(domain->merge, other->record, kfolio, other_item, other->large);
	folio_get(kfolio);
	add_request(domain->merge, record, kfolio, item, PageCompound(page));
	return KSM_MERGED;
}

/*
 * Merge with a page that is not shared yet.  Where no duplicate can be merged with
 * now, the record stays out of the index: the duplicate's is enough for the next page
 * to be found.
 */
static enum ksm_result request_unstable(struct ksm_domain *domain,
					struct ksm_record *record, struct page *page,
					const struct ksm_content *content)
{
	struct ksm_duplicate other;
	enum ksm_result result;

	result = ksm_match_unstable(domain, page, content, &other);
	if (result == KSM_DIFFERENT) {
		ksm_unstable_insert(&domain->unstable, record);
	} else if (result == KSM_MERGED) {
		if (!ksm_page_only_mapped(page))
			return KSM_BUSY;
		result = request_two(domain, record, page, content, &other);
	}
	return result;
}

/* Compare a page with what the record says, and note what it holds now. */
static bool record_settled(struct ksm_domain *domain, struct ksm_record *record,
			   const struct ksm_content *content, bool settled)
{
	if (record->full && record->tag != ksm_tag(content->key))
		settled = false;
	ksm_record_unshare(domain, record);
	record->full = settled && content->whole;
	record->tag = ksm_tag(record->full ? content->key : content->sample);
	return settled;
}

static bool is_zero(const struct ksm_domain *domain, const struct page *page,
		    const struct ksm_content *content)
{
	return content->whole && content->key == ksm_key_on_node(domain->key->zero,
								  ksm_page_nid(domain, page));
}

static bool wants_zero_page(const struct ksm_domain *domain,
			    const struct ksm_record *record)
{
	return READ_ONCE(domain->controls->use_zero_pages) &&
	       !mm_forbids_zeropage(ksm_record_mm(record));
}

/* First the pages that are shared already, then those in the unstable index. */
static enum ksm_result find_and_request(struct ksm_domain *domain,
					struct ksm_record *record, struct page *page,
					const struct ksm_content *content, bool settled)
{
	enum ksm_result result;

	if (is_zero(domain, page, content)) {
		/* Zeroed pages are often about to be written to. */
		if (!settled)
			return KSM_BUSY;
		if (wants_zero_page(domain, record))
			return request_zero(domain, record, page);
	}
	result = request_stable(domain, record, page, content);
	if (result != KSM_DIFFERENT || !settled)
		return result;
	return request_unstable(domain, record, page, content);
}

/* Choose what to merge a page with, or insert it in the unstable index. */
static void cmp_and_merge_page(struct ksm_domain *domain,
			       const struct ksm_candidate *candidate, struct page *page)
{
	struct ksm_content content = { .sample = candidate->sample };
	struct ksm_record *record = candidate->record;
	const u8 skips = record->skips;
	enum ksm_result result;
	unsigned int tries;

	/* A write has given the process a page of its own. */
	if (record->state == KSM_SHARED)
		record->full = false;
	for (tries = 0; tries < 2; tries++) {
		bool settled;

		ksm_content_read(domain, &content, page);
		settled = record_settled(domain, record, &content, candidate->settled);
		result = find_and_request(domain, record, page, &content, settled);
		if (result != KSM_SAMPLE_COLLISION)
			break;
		ksm_set_ambiguous(domain, content.sample);
	}
	/* In the index its duplicates will find it meanwhile. */
	if (record->state == KSM_UNSHARED)
		record->skips = skips;
}

/* The page may be the duplicate of a candidate before it. */
static void choose(struct ksm_domain *domain, const struct ksm_candidate *candidate,
		   struct page *page)
{
	if (has_request(domain->merge, candidate->record))
		return;
	if (IS_ERR(page))
		ksm_record_forget(domain, candidate->record);
	else if (page)
		cmp_and_merge_page(domain, candidate, page);
}

static bool same_table(const struct ksm_request *one, const struct ksm_request *other)
{
	return one->mm == other->mm &&
	       !((one->address ^ other->address) & PMD_MASK);
}

/* Another candidate and its duplicate might not fit. */
static bool batch_full(const struct ksm_merge *merge)
{
	unsigned int i, nr = 0;

	if (merge->full || merge->nr_requests + 2 > KSM_MAX_REQUESTS)
		return true;
	for (i = 0; i < merge->nr_requests; i++)
		nr += same_table(&merge->request[merge->nr_requests - 1],
				 &merge->request[i]);
	return nr >= KSM_BATCH_PAGES;
}

/* Returns the number of candidates that this batch has dealt with. */
static unsigned int choose_all(struct ksm_domain *domain,
			       const struct ksm_candidate *candidate, unsigned int nr)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i, done = nr;

	for (i = 0; i < nr; i++) {
		if (i < done && batch_full(merge))
			done = i;
		if (i < done)
			choose(domain, &candidate[i], merge->page[i]);
		if (merge->full)
			done = min(done, i);
		if (!IS_ERR_OR_NULL(merge->page[i]))
			put_page(merge->page[i]);
	}
	return done;
}

/* The bytes are compared once more: a split cannot be taken back. */
static void split_large(struct ksm_request *request)
{
	struct page *kpage = request->kfolio ? &request->kfolio->page : ZERO_PAGE(0);
	struct ksm_target target;

	if (!ksm_target_get(&target, request->mm, request->address))
		return;
	mmap_read_unlock(request->mm);
	if (PageTransCompound(target.page) && ksm_pages_equal(target.page, kpage) &&
	    trylock_page(target.page)) {
		split_huge_page(target.page);
		unlock_page(target.page);
	}
	put_page(target.page);
}

static bool lock_shared(struct ksm_merge *merge, struct folio *kfolio)
{
	unsigned int i;

	for (i = 0; i < merge->nr_locked; i++)
		if (merge->locked[i] == kfolio)
			return true;
	if (!folio_trylock(kfolio))
		return false;
	if (!ksm_folio_node(kfolio) || folio_test_hwpoison(kfolio)) {
		folio_unlock(kfolio);
		return false;
	}
	merge->locked[merge->nr_locked++] = kfolio;
	return true;
}

static void unlock_shared(struct ksm_merge *merge)
{
	while (merge->nr_locked)
		folio_unlock(merge->locked[--merge->nr_locked]);
}

/* Choose requests that can be carried out together with @first, which is one. */
static void gather(struct ksm_merge *merge, struct vm_area_struct *vma,
		   struct ksm_request *first)
{
	struct ksm_request *end = merge->request + merge->nr_requests;
	struct ksm_request *request;

	merge->nr = 0;
	for (request = first; request < end && merge->nr < KSM_BATCH_PAGES; request++) {
		if (!request->pending || !same_table(request, first) ||
		    request->address < vma->vm_start || request->address >= vma->vm_end)
			continue;
		request->pending = false;
		if (request->kfolio && !lock_shared(merge, request->kfolio))
			continue;
		merge->chosen[merge->nr] = request;
		merge->at[merge->nr++] = (struct ksm_replacement){
			.address = request->address,
			.kpage = request->kfolio ? &request->kfolio->page :
						   ZERO_PAGE(request->address),
		};
	}
}

static void account_zero(struct ksm_domain *domain, struct ksm_request *request,
			 const struct ksm_replacement *at)
{
	trace_ksm_merge_one_page(page_to_pfn(at->kpage), request->record, request->mm,
				 result_to_errno(at->result));
	if (at->result == KSM_MERGED)
		ksm_record_forget(domain, request->record);
}

static void account_shared(struct ksm_domain *domain, struct vm_area_struct *vma,
			   struct ksm_request *request, const struct ksm_replacement *at)
{
	struct folio *kfolio = request->kfolio;

	trace_ksm_merge_with_ksm_page(&kfolio->page, folio_pfn(kfolio), request->item,
				      request->mm, result_to_errno(at->result));
	if (at->result != KSM_MERGED)
		return;
	item_fill(request->item, vma, request->address);
	record_share(domain, request->record, ksm_folio_node(kfolio), request->item);
	request->item = NULL;
}

static void carry_out(struct ksm_domain *domain, struct vm_area_struct *vma)
{
	struct ksm_merge *merge = domain->merge;
	const struct ksm_pte_batch batch = { .vma = vma, .at = merge->at, .nr = merge->nr };
	unsigned int i;

	if (merge->nr)
		ksm_replace_ptes(&batch);
	for (i = 0; i < merge->nr; i++) {
		if (merge->chosen[i]->kfolio)
			account_shared(domain, vma, merge->chosen[i], &merge->at[i]);
		else
			account_zero(domain, merge->chosen[i], &merge->at[i]);
	}
	unlock_shared(merge);
}

static void carry_out_with(struct ksm_domain *domain, struct ksm_request *first)
{
	struct vm_area_struct *vma;

	mmap_read_lock(first->mm);
	vma = ksm_find_vma(first->mm, first->address);
	if (vma) {
		gather(domain->merge, vma, first);
		carry_out(domain, vma);
	}
	first->pending = false;
	mmap_read_unlock(first->mm);
}

/* A shared page goes to the LRU list once it is mapped, or is freed. */
static void release_fresh(struct ksm_domain *domain, struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);

	if (folio_mapped(folio)) {
		folio_add_lru(folio);
	} else if (node) {
		folio_lock(folio);
		ksm_folio_disown_node(domain, node, folio);
		folio_unlock(folio);
	}
	folio_put(folio);
}

static void finish(struct ksm_domain *domain)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i;

	for (i = 0; i < merge->nr_requests; i++) {
		ksm_item_free(merge->request[i].item);
		if (merge->request[i].kfolio)
			folio_put(merge->request[i].kfolio);
	}
	for (i = 0; i < merge->nr_fresh; i++)
		release_fresh(domain, merge->fresh[i]);
}

static unsigned int merge_batch(struct ksm_domain *domain,
				const struct ksm_candidate *candidate, unsigned int nr)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i, done;

	merge->nr_requests = 0;
	merge->nr_fresh = 0;
	merge->full = false;
	read_pages(domain, candidate, nr);
	done = choose_all(domain, candidate, nr);
	for (i = 0; i < merge->nr_requests; i++)
		if (merge->request[i].large)
			split_large(&merge->request[i]);
	for (i = 0; i < merge->nr_requests; i++)
		if (merge->request[i].pending)
			carry_out_with(domain, &merge->request[i]);
	finish(domain);
	return done;
}

/**
 * ksm_merge_candidates - merge pages with their duplicates
 * @domain: the trees
 * @candidate: pages of one leaf, ascending by address
 * @nr: how many there are
 *
 * A candidate without a duplicate is inserted in the unstable index.
 *
 * Context: ksmd; may sleep; under ksm.lock, with no mmap_lock held.
 */
void ksm_merge_candidates(struct ksm_domain *domain,
			  const struct ksm_candidate *candidate, unsigned int nr)
{
	ksm_domain_assert_locked(domain);
	if (!domain->merge)
		domain->merge = kzalloc(sizeof(*domain->merge), GFP_KERNEL | __GFP_NOWARN);
	if (!domain->merge)
		return;
	ksm_reserve_fill(&domain->merge->reserve, numa_mem_id());
	while (nr) {
		unsigned int done = merge_batch(domain, candidate, min(nr, KSM_BATCH_PAGES));

		candidate += done;
		nr -= done;
		cond_resched();
	}
}

/**
 * ksm_merge_free - free what ksm_merge_candidates() works with
 * @domain: the domain
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_merge_free(struct ksm_domain *domain)
{
	if (domain->merge)
		ksm_reserve_free(&domain->merge->reserve);
	kfree(domain->merge);
	domain->merge = NULL;
}
