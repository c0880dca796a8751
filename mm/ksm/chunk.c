// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the pages of one leaf, under one page table lock.
 *
 * Most pages need no more than a glance under the lock: a merged page still maps
 * its shared page, a page that smart_scan skips has not been used.  The sample of
 * the others is hashed and compared with the record.  Only a page whose sample
 * speaks for a merge becomes a candidate, which is dealt with after the locks are
 * released.
 */

#include <linux/bitops.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "chunk.h"
#include "domain.h"
#include "fingerprint.h"
#include "page.h"
#include "record.h"
#include "skip.h"
#include "stable.h"
#include "swap.h"
#include "visit.h"
#include "walk.h"
#include "young.h"

/* Bytes of a page table that are read together: a cache line. */
#define KSM_LINE_BYTES		64
/* Bytes of whole pages that are hashed under one page table lock. */
#define KSM_WHOLE_BYTES		SZ_64K

/*
 * The first PTE from @at on that may not be empty, by cache lines: most page tables
 * of a sparse mapping hold next to nothing.  On no machine does a PTE of zero map
 * user memory.
 */
static __always_inline unsigned int skip_zero_lines(const void *table, size_t size,
						    unsigned int at, unsigned int to)
{
	const unsigned int step = KSM_LINE_BYTES / size;

	for (; IS_ALIGNED(at, sizeof(u64) / min(size, sizeof(u64))) && at + step <= to;
	     at += step) {
		const u64 *word = table + at * size;

		/*
		 * READ_ONCE() would take twice the instructions.  A reader that sees
		 * half of a PTE still sees that there is one.
		 */
		if (data_race(word[0] | word[1] | word[2] | word[3] |
			      word[4] | word[5] | word[6] | word[7]))
			break;
	}
	return at;
}

/**
 * ksm_first_used_pte - find a PTE that is not none
 * @table: PTE of index 0
 * @from: first index
 * @to: index behind the last
 *
 * Context: the table is mapped.  Without its lock the answer is a hint.
 * Return: the index of the first, or @to.
 */
unsigned int ksm_first_used_pte(const pte_t *table, unsigned int from, unsigned int to)
{
	while (from < to && pte_none(ptep_get_lockless((pte_t *)table + from)))
		from = skip_zero_lines(table, sizeof(*table), from + 1, to);
	return from;
}

/**
 * ksm_first_used_pmd - find a PMD that is not none
 * @table: PMD of index 0
 * @from: first index
 * @to: index behind the last
 *
 * Context: mmap_lock held, which keeps the table.
 * Return: the index of the first, or @to.
 */
unsigned int ksm_first_used_pmd(const pmd_t *table, unsigned int from, unsigned int to)
{
	while (from < to && pmd_none(pmdp_get_lockless((pmd_t *)table + from)))
		from = skip_zero_lines(table, sizeof(*table), from + 1, to);
	return from;
}

static __always_inline struct page *chunk_page(const struct ksm_chunk *chunk,
					       unsigned int offset)
{
	struct page *page;
	pte_t pte;

	if (!chunk->pte)
		return ksm_mergeable_page(chunk->huge + offset);
	pte = ptep_get(chunk->pte + offset);
	if (!pte_present(pte))
		return NULL;
	/* A mergeable VMA has no PFN map, so a PTE that is not special has a page. */
	if (IS_ENABLED(CONFIG_ARCH_HAS_PTE_SPECIAL))
		page = pte_special(pte) ? NULL : pte_page(pte);
	else
		page = vm_normal_page(chunk->vma, ksm_chunk_address(chunk, offset), pte);
	return ksm_mergeable_page(page);
}

/**
 * ksm_chunk_present - the pages of a chunk that may be merged
 * @chunk: the chunk, locked
 *
 * Return: a bit for each page of the leaf's range, from @chunk->at on.
 */
u64 ksm_chunk_present(const struct ksm_chunk *chunk)
{
	u64 present = 0;
	unsigned int offset;

	for (offset = chunk->at; offset < chunk->end; offset++)
		if (chunk_page(chunk, offset))
			present |= BIT_ULL(offset);
	return present;
}

static __always_inline u64 page_key(struct ksm_chunk *chunk, struct page *page,
				    unsigned int offset, ksm_hash_fn *hash)
{
	const struct ksm_domain *domain = chunk->walk->domain;
	void *addr;
	u64 fingerprint;

	/* Most chunks of idle memory need no hash, and so no FPU. */
	if (!chunk->hashing) {
		ksm_hash_begin();
		chunk->hashing = true;
	}
	flush_anon_page(chunk->vma, page, ksm_chunk_address(chunk, offset));
	flush_dcache_page(page);
	addr = kmap_local_page(page);
	fingerprint = hash(domain->key, addr);
	kunmap_local(addr);
	return ksm_key_on_node(fingerprint, ksm_page_nid(domain, page));
}

static struct ksm_candidate *add_candidate(struct ksm_walk *walk,
					   struct ksm_record *record)
{
	struct ksm_candidate *candidate = &walk->candidate[walk->nr_candidates++];

	*candidate = (struct ksm_candidate){
		.record = record,
		.keep_large = walk->only_new,
		.pass = walk->seqnr,
	};
	return candidate;
}

/* Whether a shared page is in swap, where it stays shared.  Not inline, since it is rare. */
static noinline bool pte_has_entry(const struct ksm_stable_node *node, pte_t pte)
{
	return !pte_none(pte) && ksm_node_has_entry(node, pte_to_swp_entry(pte));
}

/* Whether a stable node may be parked, or its page be on the wrong NUMA node. */
static bool nodes_need_check(const struct ksm_domain *domain)
{
	return !domain->controls->merge_across_nodes || !list_empty(&domain->parked);
}

/*
 * The usual case of a KSM_SHARED record: the PTE maps a page that points back at
 * the record's node, and the page is on the NUMA node where it belongs.  Memory of the
 * node is read only if @check_node.  A record may have lost its node, and so may a shared
 * page that was in swap.
 */
static bool pte_maps_shared(const struct ksm_domain *domain, pte_t pte,
			    const struct ksm_record *record, bool check_node)
{
	const struct ksm_stable_node *node = record->item->node;
	const struct page *page;

	if (!node)
		return false;
	if (!pte_present(pte))
		return pte_has_entry(node, pte);
	page = pfn_to_page(pte_pfn(pte));
	if (READ_ONCE(page->mapping) != ksm_node_mapping(node))
		return false;
	return !check_node || (!node->parked && (domain->controls->merge_across_nodes ||
						 node->nid == page_to_nid(page)));
}

static bool pte_idle(pte_t pte)
{
	return pte_present(pte) && !pte_young(pte);
}

/* Whether pages have to be visited although no PTE says that they were used. */
static bool may_be_used(const struct ksm_chunk *chunk, unsigned int at, pte_t pte)
{
	if (KSM_YOUNG_SPAN > 1 && at < chunk->young_end)
		return true;
	return chunk->find_written &&
	       folio_test_dirty(page_folio(pfn_to_page(pte_pfn(pte))));
}

/**
 * ksm_chunk_idle - whether no page of a leaf was used since the previous pass
 * @chunk: all of a leaf that has a record for each page
 *
 * The record of a page that is gone needs a visit, too.
 *
 * Context: page table lock held.
 * Return: true if small pages are mapped, all of them, and none was used.
 */
bool ksm_chunk_idle(const struct ksm_chunk *chunk)
{
	unsigned int at;

	if (!chunk->pte)
		return false;
	for (at = 0; at < KSM_LEAF_PAGES; at++)
		if (!pte_idle(ptep_get(chunk->pte + at)))
			return false;
	for (at = 0; chunk->find_written && at < KSM_LEAF_PAGES; at++)
		if (may_be_used(chunk, at, ptep_get(chunk->pte + at)))
			return false;
	return true;
}

/* Step over pages that are to be skipped and have not been used. */
static unsigned int skip_idle(struct ksm_chunk *chunk, unsigned int nr)
{
	const bool check = chunk->find_written || (KSM_YOUNG_SPAN > 1 && chunk->young_end);
	pte_t *const table = chunk->pte;
	struct ksm_record *record = chunk->record;
	const unsigned int to = chunk->at + nr;
	unsigned int at = chunk->at;

	for (; at < to && record->offset == at; record++, at++) {
		pte_t pte = ptep_get(table + at);

		if (record->state == KSM_SHARED || !record->skips || !pte_idle(pte))
			break;
		if (check && may_be_used(chunk, at, pte))
			break;
		record->skips--;
	}
	nr = at - chunk->at;
	chunk->at = at;
	chunk->record = record;
	return nr;
}

/* Step over pages that are merged. */
static unsigned int skip_merged(struct ksm_chunk *chunk, unsigned int nr)
{
	const struct ksm_domain *domain = chunk->walk->domain;
	const bool check_node = nodes_need_check(domain);
	pte_t *const table = chunk->pte;
	struct ksm_record *record = chunk->record;
	const unsigned int to = chunk->at + nr;
	unsigned int at = chunk->at;

	for (; at < to && record->offset == at; record++, at++)
		if (record->state != KSM_SHARED ||
		    !pte_maps_shared(domain, ptep_get(table + at), record, check_node))
			break;
	nr = at - chunk->at;
	chunk->at = at;
	chunk->record = record;
	return nr;
}

/*
 * Step over pages that are unchanged: merged, or idle and to be skipped.  This is
 * all that ksmd does most of the time.
 */
static void skip_unchanged(struct ksm_chunk *chunk)
{
	struct ksm_budget *budget = &chunk->walk->budget;
	unsigned int nr, most;

	most = min_t(unsigned long, chunk->end - chunk->at,
		     chunk->end_record - chunk->record);
	if (chunk->record->state == KSM_SHARED) {
		nr = skip_merged(chunk, min(most, budget->pages));
		budget->pages -= nr;
	} else {
		nr = skip_idle(chunk, min(most, budget->skips));
		budget->skips -= nr;
		chunk->nr_skipped += nr;
	}
}

static bool has_record(const struct ksm_chunk *chunk)
{
	return chunk->record < chunk->end_record && chunk->record->offset == chunk->at;
}

/* Whether the next page may be one that skip_unchanged() steps over. */
static bool may_be_unchanged(const struct ksm_chunk *chunk)
{
	const struct ksm_record *record = chunk->record;

	return has_record(chunk) && (record->state == KSM_SHARED ||
				     (record->skips && chunk->smart && !chunk->young));
}

/* The next page that is mapped, or that was mapped when its record was made. */
static unsigned int next_page(const struct ksm_chunk *chunk)
{
	unsigned int to = chunk->end;

	if (has_record(chunk))
		return chunk->at;
	if (chunk->record < chunk->end_record)
		to = min(chunk->record->offset, to);
	return ksm_first_used_pte(chunk->pte, chunk->at, to);
}

/* No page is mapped any more that could be merged. */
static void visit_missing(struct ksm_walk *walk, struct ksm_record *record)
{
	if (record->state == KSM_SHARED)
		add_candidate(walk, record);
	else
		ksm_record_forget(walk->domain, record);
}

/* Whether a write made the private copy, and not swap-in. */
static bool written_to(const struct ksm_chunk *chunk, unsigned int offset)
{
	return !chunk->pte || pte_dirty(ptep_get(chunk->pte + offset));
}

/* The page was merged, or is now. */
static void visit_shared(struct ksm_chunk *chunk, struct ksm_record *record)
{
	struct ksm_walk *walk = chunk->walk;
	struct ksm_candidate *candidate;

	if (record->state == KSM_NONE)
		ksm_record_seen(walk->domain, record);
	candidate = add_candidate(walk, record);
	candidate->rewritten = chunk->smart && written_to(chunk, record->offset);
	candidate->settled = walk->now;
}

static void visit_unshared(struct ksm_chunk *chunk, struct ksm_record *record,
			   struct page *page)
{
	u64 sample = page_key(chunk, page, record->offset, ksm_sample);
	const u32 tag = record->state == KSM_NONE ? 0 : record->tag;
	u64 key = sample;
	struct ksm_candidate *candidate;
	enum ksm_visit visit;

	if (record->state != KSM_NONE && record->full) {
		key = page_key(chunk, page, record->offset, ksm_fingerprint);
		chunk->nr_whole--;
	}
	if (chunk->walk->now)
		visit = ksm_visit_page_now(chunk->walk->domain, record, sample, key);
	else
		visit = ksm_visit_page(chunk->walk->domain, record, sample, key);
	if (visit == KSM_VISIT_DONE) {
		if (trace_ksm_page_skipped_enabled())
			ksm_trace_visited(record, chunk->walk->now || tag == ksm_tag(key));
		return;
	}
	candidate = add_candidate(chunk->walk, record);
	candidate->sample = sample;
	candidate->settled = visit == KSM_VISIT_SETTLED;
}

static void count_skipped(struct ksm_chunk *chunk)
{
	chunk->nr_skipped++;
	chunk->walk->budget.skips--;
}

/* Returns true if the page is to be skipped in this pass. */
static bool skip_page(struct ksm_chunk *chunk, struct ksm_record *record, enum ksm_use use)
{
	u8 most = KSM_MAX_SKIPS_IDLE;

	if (use == KSM_USE_KERNEL)
		most = 0;
	else if (use == KSM_USE_YOUNG)
		most = KSM_MAX_SKIPS_YOUNG;
	/* A page that was rewritten after it had merged waits, even if it is used. */
	if (use == KSM_USE_SWAPPED)
		record->skips = 0;
	else if (!record->rewrites)
		record->skips = min(record->skips, most);
	if (!record->skips)
		return false;
	record->skips--;
	count_skipped(chunk);
	return true;
}

/* A page that is neither merged nor idle, or that is missing. */
static void visit_page(struct ksm_chunk *chunk, struct ksm_record *record)
{
	struct page *page = chunk_page(chunk, record->offset);
	struct ksm_walk *walk = chunk->walk;
	enum ksm_use use = KSM_USE_YOUNG;

	if (!page) {
		if (record->state != KSM_NONE)
			visit_missing(walk, record);
		return;
	}
	if (walk->only_new && record->state == KSM_UNSHARED) {
		count_skipped(chunk);
		return;
	}
	if (chunk->smart && record->state != KSM_SHARED && record->state != KSM_NONE) {
		use = ksm_young_test_clear(chunk, record->offset, page);
		if (skip_page(chunk, record, use))
			return;
	}
	walk->budget.pages--;
	if (record->state == KSM_SHARED || folio_test_ksm(page_folio(page))) {
		visit_shared(chunk, record);
		return;
	}
	visit_unshared(chunk, record, page);
	if (chunk->smart)
		ksm_visit_back_off(record, use != KSM_USE_IDLE);
}

static enum ksm_chunk_result scan_pages(struct ksm_chunk *chunk)
{
	const struct ksm_budget *budget = &chunk->walk->budget;

	for (; chunk->at < chunk->end; chunk->at++) {
		if (chunk->pte) {
			if (may_be_unchanged(chunk))
				skip_unchanged(chunk);
			chunk->at = next_page(chunk);
			if (chunk->at == chunk->end)
				break;
		}
		if (!budget->pages || !budget->skips)
			return KSM_CHUNK_NO_BUDGET;
		if (has_record(chunk)) {
			if (!chunk->nr_whole)
				return KSM_CHUNK_RELOCK;
			visit_page(chunk, chunk->record++);
		} else if (chunk_page(chunk, chunk->at)) {
			return KSM_CHUNK_NEEDS_LEAF;
		} else if (trace_ksm_page_skipped_enabled()) {
			ksm_trace_unusable(chunk);
		}
	}
	return KSM_CHUNK_DONE;
}

/**
 * ksm_chunk_scan - scan the pages of a chunk
 * @chunk: the chunk, locked; @chunk->at is advanced
 *
 * Context: under ksm.lock, with the page table lock held.
 * Return: why it ended.
 */
enum ksm_chunk_result ksm_chunk_scan(struct ksm_chunk *chunk)
{
	struct ksm_walk *walk = chunk->walk;
	struct ksm_leaf *leaf = ksm_leaf_cursor_leaf(&walk->cursor, chunk->base);
	struct ksm_counters *counters = &walk->domain->counters;
	const struct ksm_budget before = walk->budget;
	enum ksm_chunk_result result;

	chunk->record = leaf ? leaf->record : NULL;
	chunk->end_record = leaf ? leaf->record + leaf->nr : NULL;
	while (chunk->record < chunk->end_record && chunk->record->offset < chunk->at)
		chunk->record++;
	chunk->nr_whole = max(KSM_WHOLE_BYTES / PAGE_SIZE, 1UL);
	if (chunk->young)
		ksm_young_hand_on(chunk);
	result = scan_pages(chunk);
	if (chunk->hashing)
		ksm_hash_end();
	chunk->hashing = false;
	counters->scanned += before.pages - walk->budget.pages;
	counters->skipped += before.skips - walk->budget.skips;
	return result;
}

static enum ksm_chunk_lock lock_huge(struct ksm_chunk *chunk, pmd_t *pmd)
{
	unsigned long address = ksm_chunk_address(chunk, chunk->at);
	struct page *page;

	chunk->ptl = pmd_trans_huge_lock(pmd, chunk->vma);
	if (!chunk->ptl)
		return KSM_CHUNK_CHANGING;
	if (!pmd_present(*pmd)) {
		spin_unlock(chunk->ptl);
		return KSM_CHUNK_CHANGING;
	}
	page = ksm_mergeable_page(vm_normal_page_pmd(chunk->vma, address, *pmd));
	if (!page) {
		spin_unlock(chunk->ptl);
		return KSM_CHUNK_EMPTY;
	}
	page += (address & ~PMD_MASK) >> PAGE_SHIFT;
	chunk->huge = page - chunk->at;
	return KSM_CHUNK_LOCKED;
}

/**
 * ksm_chunk_lock - lock the page table that maps a chunk
 * @chunk: the chunk
 * @pmd: the PMD
 *
 * Context: mmap_lock held.
 * Return: KSM_CHUNK_LOCKED, or why there is nothing to scan.
 */
enum ksm_chunk_lock ksm_chunk_lock(struct ksm_chunk *chunk, pmd_t *pmd)
{
	unsigned long address = ksm_chunk_address(chunk, chunk->at);
	pmd_t value = pmdp_get_lockless(pmd);

	chunk->map = NULL;
	chunk->pte = NULL;
	if (pmd_none(value))
		return KSM_CHUNK_EMPTY;
	if (!pmd_present(value))
		return KSM_CHUNK_CHANGING;
	if (pmd_trans_huge(value))
		return lock_huge(chunk, pmd);
	chunk->map = pte_offset_map_lock(chunk->vma->vm_mm, pmd, address, &chunk->ptl);
	if (!chunk->map)
		return KSM_CHUNK_CHANGING;
	chunk->pte = chunk->map - chunk->at;
	return KSM_CHUNK_LOCKED;
}

/**
 * ksm_chunk_unlock - undo ksm_chunk_lock()
 * @chunk: the chunk, locked; @chunk->at may have changed
 */
void ksm_chunk_unlock(struct ksm_chunk *chunk)
{
	if (chunk->map)
		pte_unmap_unlock(chunk->map, chunk->ptl);
	else
		spin_unlock(chunk->ptl);
}
