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

#include <linux/slab.h>

#include "batch.h"
#include "domain.h"
#include "fresh.h"
#include "huge.h"
#include "match.h"
#include "merge.h"
#include "page.h"
#include "record.h"
#include "skip.h"
#include "stable.h"
#include "unmerge.h"
#include "visit.h"
#include "vma.h"

/* The memory cgroup of the candidates is active already. */
static struct ksm_rmap_item *item_alloc(const struct ksm_merge *merge, struct mm_struct *mm)
{
	struct ksm_rmap_item *item;
	struct mem_cgroup *old;

	if (mm == merge->mm)
		return ksm_item_alloc();
	old = ksm_charge_begin(mm);
	item = ksm_item_alloc();
	ksm_charge_end(old);
	return item;
}

/*
 * A page is back from swap, or was migrated to another NUMA node.  Its sample may be
 * ambiguous there and now, and other pages with its content may have been merged.
 */
static void link_again(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct folio *folio)
{
	struct ksm_content content = {};

	if (folio_test_hwpoison(folio))
		return;
	ksm_content_read(domain, &content, &folio->page);
	if (!ksm_differs_from_shared(domain, &folio->page, content.key))
		ksm_stable_relink(domain, node, folio, content.key, content.sample);
	else if (!content.whole)
		ksm_set_ambiguous(domain, content.sample);
}

/* The keys of a page depend on its NUMA node. */
static void rekey_shared(struct ksm_domain *domain, struct ksm_stable_node *node,
			 struct folio *folio)
{
	if (node->parked || node->nid != ksm_page_nid(domain, &folio->page))
		link_again(domain, node, folio);
}

/*
 * A PTE maps a shared page that no scan has seen there: after a fork, or a swap-in.
 * It keeps the page whatever max_page_sharing says, if that is of its domain.
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
	item = ksm_item_alloc();
	if (!item || !folio_trylock(folio)) {
		ksm_item_free(item);
		return;
	}
	node = ksm_folio_node(folio);
	if (node && node->domain == domain->id) {
		ksm_item_fill(item, target->vma, target->address);
		ksm_record_share(domain, record, node, item);
		rekey_shared(domain, node, folio);
		node = NULL;
	} else {
		ksm_item_free(item);
	}
	folio_unlock(folio);
	/* Should that fail, the next scan of the page tries again. */
	if (node)
		ksm_break_range(target->vma, target->address, target->address + PAGE_SIZE);
}

/* Pages that PTEs map, all under one hold of the page table lock. */
static bool get_small_pages(struct vm_area_struct *vma, struct page **page,
			    const struct ksm_candidate *candidate, unsigned int nr)
{
	struct ksm_replacement first = { .address = ksm_record_address(candidate->record) };
	const struct ksm_pte_batch batch = { .vma = vma, .at = &first, .nr = 1 };
	struct ksm_table_lock lock;
	unsigned int i;

	if (!ksm_lock_table(&batch, &lock))
		return false;
	for (i = 0; i < nr; i++) {
		unsigned long address = ksm_record_address(candidate[i].record);
		pte_t pte = ptep_get(lock.table + pte_index(address));

		page[i] = NULL;
		if (pte_present(pte))
			page[i] = ksm_mergeable_page(vm_normal_page(vma, address, pte));
		if (page[i])
			get_page(page[i]);
	}
	ksm_unlock_table(&lock);
	return true;
}

/* ERR_PTR() where there is no page, NULL where there is a shared page. */
static void get_pages(struct ksm_domain *domain, struct vm_area_struct *vma,
		      struct page **page, const struct ksm_candidate *candidate,
		      unsigned int nr)
{
	bool small = get_small_pages(vma, page, candidate, nr);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		struct ksm_target target = {
			.vma = vma,
			.address = ksm_record_address(candidate[i].record),
		};

		if (!small)
			page[i] = ksm_get_page(vma, target.address);
		target.page = page[i];
		if (!page[i]) {
			page[i] = ERR_PTR(-ENOENT);
		} else if (PageKsm(page[i])) {
			adopt_shared(domain, candidate[i].record, &target);
			put_page(page[i]);
			page[i] = NULL;
		} else {
			ksm_flush_page(vma, page[i], target.address);
		}
	}
}

/* The process holds its mmap_lock for long: the next pass tries again. */
static void leave_locked(struct ksm_domain *domain, const struct ksm_candidate *candidate,
			 unsigned int nr)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i;

	merge->outcomes |= BIT(KSM_BUSY);
	for (i = 0; i < nr; i++) {
		merge->page[i] = NULL;
		if (candidate[i].record->state == KSM_SEEN)
			candidate[i].record->skips = 0;
		ksm_note_skipped(candidate[i].record, KSM_SKIP_LOCKED);
	}
}

static void read_pages(struct ksm_domain *domain, const struct ksm_candidate *candidate,
		       unsigned int nr)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int from, to;

	if (!ksm_mmap_lock_soon(domain->lock, ksm_record_slot(candidate->record))) {
		leave_locked(domain, candidate, nr);
		return;
	}
	for (from = 0; from < nr; from = to) {
		unsigned long address = ksm_record_address(candidate[from].record);
		struct vm_area_struct *vma = ksm_find_vma(merge->mm, address);

		to = from + 1;
		if (!vma) {
			merge->page[from] = ERR_PTR(-ENOENT);
			continue;
		}
		while (to < nr && ksm_record_address(candidate[to].record) < vma->vm_end)
			to++;
		get_pages(domain, vma, merge->page + from, candidate + from, to - from);
	}
	mmap_read_unlock(merge->mm);
}

static enum ksm_result request_zero(struct ksm_domain *domain, struct ksm_record *record,
				    struct page *page)
{
	if (!ksm_pages_equal(page, ZERO_PAGE(0)))
		return KSM_GONE;
	ksm_batch_add(domain->merge, &(struct ksm_request){
		.record = record,
		.large = PageCompound(page),
		.compared = true,
		.candidate = domain->merge->current_candidate,
	});
	return KSM_MERGED;
}

/* Merge with a page that is shared already. */
static enum ksm_result request_stable(struct ksm_domain *domain,
				      struct ksm_record *record, struct page *page,
				      const struct ksm_content *content)
{
	struct ksm_merge *merge = domain->merge;
	struct ksm_request request = {
		.record = record,
		.large = PageCompound(page),
		.compared = PageCompound(page) || merge->compare,
		.candidate = merge->current_candidate,
	};
	enum ksm_result result;

	result = ksm_match_stable(domain, page, content, request.compared, &request.kfolio);
	if (result != KSM_MERGED)
		return result;
	if (!ksm_batch_has_room(domain, request.kfolio)) {
		/* The next batch, without these requests, may find room. */
		merge->full = merge->nr_requests;
		result = KSM_BUSY;
	} else if (!ksm_page_only_mapped(page)) {
		result = KSM_BUSY;
	} else {
		request.item = item_alloc(merge, merge->mm);
		result = request.item ? KSM_MERGED : KSM_NO_MEMORY;
	}
	if (result == KSM_MERGED)
		ksm_batch_add(merge, &request);
	else
		folio_put(request.kfolio);
	return result;
}

/* A copy of a page, in the stable tree.  The page may have changed since it was read. */
static struct folio *make_shared(struct ksm_domain *domain, struct page *page,
				 const struct ksm_content *content,
				 struct ksm_stable_node *node)
{
	ksm_hash_fn *hash = content->whole ? ksm_fingerprint : ksm_sample;
	struct ksm_merge *merge = domain->merge;
	struct folio *folio = ksm_fresh_copy(&merge->reserve, page,
					     domain->controls->merge_across_nodes);

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
				   const struct ksm_duplicate *duplicate)
{
	struct ksm_merge *merge = domain->merge;
	struct ksm_request own = {
		.record = record,
		.item = item_alloc(merge, merge->mm),
		.large = PageCompound(page),
		.compared = true,
		.candidate = merge->current_candidate,
	};
	struct ksm_request other = {
		.record = duplicate->record,
		.item = item_alloc(merge, ksm_record_mm(duplicate->record)),
		.large = duplicate->large,
		.compared = true,
		.candidate = KSM_NO_CANDIDATE,
	};
	struct ksm_stable_node *node = ksm_node_alloc();
	struct folio *kfolio = ERR_PTR(-ENOMEM);

	if (own.item && other.item && node)
		kfolio = make_shared(domain, page, content, node);
	if (IS_ERR(kfolio)) {
		ksm_item_free(own.item);
		ksm_item_free(other.item);
		ksm_node_free(node);
		return kfolio == ERR_PTR(-ENOMEM) ? KSM_NO_MEMORY : KSM_GONE;
	}
	ksm_record_remove(domain, duplicate->record);
	folio_ref_add(kfolio, 2);
	own.kfolio = kfolio;
	other.kfolio = kfolio;
	ksm_batch_add(merge, &other);
	ksm_batch_add(merge, &own);
	return KSM_MERGED;
}

/*
 * Merge with a page that is not shared yet.  If there is a duplicate that cannot be merged
 * now, the record stays out of the index: the next page with this content finds the record
 * of the duplicate.
 */
static enum ksm_result request_unstable(struct ksm_domain *domain,
					struct ksm_record *record, struct page *page,
					const struct ksm_content *content)
{
	struct ksm_duplicate other;
	enum ksm_result result;

	result = ksm_match_unstable(domain, page, content, &other);
	if (result == KSM_DIFFERENT) {
		ksm_record_insert(domain, record);
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

	if (!ksm_may_split(domain, page))
		return KSM_KEPT;
	if (is_zero(domain, page, content)) {
		/* Zeroed pages are often about to be written to. */
		if (!settled)
			return KSM_GONE;
		if (wants_zero_page(domain, record))
			return request_zero(domain, record, page);
	}
	result = request_stable(domain, record, page, content);
	if (result != KSM_DIFFERENT)
		return result;
	/* Until it is seen unchanged, its duplicates must not find it. */
	if (!settled)
		return KSM_GONE;
	return request_unstable(domain, record, page, content);
}

/* A write has given the process a page of its own: with smart_scan, leave it alone. */
static bool wait_if_rewritten(struct ksm_domain *domain,
			      const struct ksm_candidate *candidate)
{
	struct ksm_record *record = candidate->record;
	const u8 merged = record->skips;

	record->full = false;
	if (!candidate->rewritten)
		return false;
	ksm_record_unshare(domain, record);
	record->skips = merged;
	ksm_visit_rewritten(record, candidate->pass);
	return true;
}

/*
 * A page that this batch has no room for comes up in the next one.  A page that is its
 * own duplicate, mapped by another process, is not busy: there is nothing to save.
 */
static void note_outcome(struct ksm_merge *merge, struct ksm_record *record,
			 struct page *page, enum ksm_result result)
{
	enum ksm_skip reason = KSM_SKIP_CHANGED;

	if (merge->full)
		return;
	if (result == KSM_BUSY || result == KSM_KEPT || result == KSM_NO_MEMORY) {
		reason = ksm_skip_reason(page, result);
		ksm_record_set_reason(record, reason);
	}
	if (reason != KSM_SKIP_MAPPED_ELSEWHERE)
		merge->outcomes |= BIT(result);
	if (trace_ksm_page_skipped_enabled())
		ksm_trace_skipped(record, page, result);
}

/* Choose what to merge a page with, or insert it in the unstable index. */
static void cmp_and_merge_page(struct ksm_domain *domain,
			       const struct ksm_candidate *candidate, struct page *page)
{
	struct ksm_content content = { .sample = candidate->sample };
	struct ksm_record *record = candidate->record;
	/* In state KSM_SHARED, skips is the number of a pass. */
	const u8 skips = record->state == KSM_SHARED ? 0 : record->skips;
	enum ksm_result result;
	unsigned int tries;

	if (record->state == KSM_SHARED && wait_if_rewritten(domain, candidate)) {
		if (trace_ksm_page_skipped_enabled())
			ksm_trace_skipped(record, page, KSM_GONE);
		return;
	}
	for (tries = 0; tries < 2; tries++) {
		bool settled;

		ksm_content_read(domain, &content, page);
		settled = record_settled(domain, record, &content, candidate->settled);
		result = find_and_request(domain, record, page, &content, settled);
		if (result != KSM_SAMPLE_COLLISION)
			break;
		ksm_set_ambiguous(domain, content.sample);
	}
	note_outcome(domain->merge, record, page, result);
	/* In the index its duplicates will find it meanwhile. */
	if (record->state == KSM_UNSHARED)
		record->skips = skips;
}

/* The page may be the duplicate of a candidate before it. */
static void choose(struct ksm_domain *domain, const struct ksm_candidate *candidate,
		   struct page *page)
{
	if (ksm_batch_has(domain->merge, candidate->record))
		return;
	if (IS_ERR(page))
		ksm_record_forget(domain, candidate->record);
	else if (page)
		cmp_and_merge_page(domain, candidate, page);
}

/* Returns the number of candidates that this batch has dealt with. */
static unsigned int choose_all(struct ksm_domain *domain,
			       const struct ksm_candidate *candidate, unsigned int nr)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i, done = nr;

	for (i = 0; i < nr; i++) {
		if (i < done && ksm_batch_full(merge))
			done = i;
		merge->current_candidate = i;
		if (i < done)
			choose(domain, &candidate[i], merge->page[i]);
		if (merge->full)
			done = min(done, i);
		if (!IS_ERR_OR_NULL(merge->page[i]))
			put_page(merge->page[i]);
	}
	return done;
}

static unsigned int merge_batch(struct ksm_domain *domain,
				const struct ksm_candidate *candidate, unsigned int nr)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int done;

	merge->address = ksm_record_address(candidate->record);
	merge->nr_requests = 0;
	merge->nr_own = 0;
	merge->nr_duplicates = 0;
	merge->nr_fresh = 0;
	merge->full = false;
	read_pages(domain, candidate, nr);
	done = choose_all(domain, candidate, nr);
	ksm_batch_run(domain);
	return done;
}

/*
 * A bit for each candidate that differs from the shared page with its sample: they are
 * to be tried again, with a comparison first.
 */
static unsigned int differing(const struct ksm_merge *merge)
{
	unsigned int i, bits = 0;

	for (i = 0; i < merge->nr_requests; i++)
		if (!merge->request[i].compared && merge->request[i].result == KSM_DIFFERENT)
			bits |= BIT(merge->request[i].candidate);
	return bits;
}

static void merge_differing(struct ksm_domain *domain,
			    const struct ksm_candidate *candidate, unsigned int bits)
{
	domain->merge->compare = true;
	for (; bits; bits &= bits - 1)
		merge_batch(domain, candidate + __ffs(bits), 1);
	domain->merge->compare = false;
}

static void merge_all(struct ksm_domain *domain, const struct ksm_candidate *candidate,
		      unsigned int nr)
{
	while (nr) {
		unsigned int done;

		done = merge_batch(domain, candidate, min(nr, ksm_batch_pages()));
		merge_differing(domain, candidate, differing(domain->merge));
		candidate += done;
		nr -= done;
		cond_resched();
	}
}

/**
 * ksm_merge_candidates - merge pages with their duplicates
 * @domain: the trees
 * @candidate: pages of one leaf, ascending by address
 * @nr: how many there are
 *
 * A candidate without a duplicate is inserted in the unstable index.
 *
 * Context: a task; may sleep; under ksm.lock, with no mmap_lock held.
 * Return: a bit for each enum ksm_result that an attempt has ended with.
 */
unsigned int ksm_merge_candidates(struct ksm_domain *domain,
				  const struct ksm_candidate *candidate, unsigned int nr)
{
	struct mem_cgroup *old;
	struct mm_struct *mm;

	ksm_domain_assert_locked(domain);
	if (!domain->merge)
		domain->merge = kzalloc(sizeof(*domain->merge), GFP_KERNEL | __GFP_NOWARN);
	if (!nr)
		return 0;
	if (!domain->merge)
		return BIT(KSM_NO_MEMORY);
	domain->merge->outcomes = 0;
	mm = ksm_record_mm(candidate->record);
	domain->merge->mm = mm;
	domain->merge->pass = candidate->pass;
	domain->merge->keep_large = candidate->keep_large;
	old = ksm_charge_begin(mm);
	ksm_reserve_fill(&domain->merge->reserve, numa_mem_id());
	merge_all(domain, candidate, nr);
	ksm_charge_end(old);
	return domain->merge->outcomes;
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
