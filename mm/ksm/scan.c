// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: a pass over the mergeable memory of all mms.
 *
 * Page tables are walked by range.  The pages of one leaf are looked at under a
 * single hold of the page table lock, and most of them need no more than that:
 * their sample is hashed and compared with the record.  Only a page whose sample
 * speaks for a merge becomes a candidate, to be dealt with once the locks are
 * dropped.
 *
 * With smart_scan a page is left alone for some passes after a look in vain, and
 * for more passes if its accessed bit says that nobody used it since.
 */

#include <linux/bitops.h>
#include <linux/freezer.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/jiffies.h>
#include <linux/mmu_notifier.h>
#include <linux/page_idle.h>
#include <linux/pagewalk.h>
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "advisor.h"
#include "domain.h"
#include "merge.h"
#include "page.h"
#include "record.h"
#include "scan.h"
#include "slots.h"
#include "stable.h"
#include "unmerge.h"
#include "vma.h"

/* Looks that every page gets before it is skipped. */
#define KSM_LOOKS_BEFORE_SKIP	3
/* Most passes to skip a page for that is in use, and one that is not. */
#define KSM_MAX_SKIPS_YOUNG	8U
#define KSM_MAX_SKIPS_OLD	64U
#define KSM_MAX_AGE		31
/* Skipping a page takes about this fraction of a look at it. */
#define KSM_SKIPS_PER_LOOK	16
/* Passes between two renewals of the filter of samples. */
#define KSM_PASSES_PER_RENEWAL	16
/* Entries of a page table that are looked at together, in bytes: a cache line. */
#define KSM_GLANCE_BYTES	64
/* Of ksmd, unless less than one part in so many of all memory is available. */
#define KSM_NICE		5
#define KSM_SHORT_SHARE		4

/**
 * struct ksm_chunk - pages of one leaf that lie in one area
 * @domain: the trees
 * @vma: the VMA
 * @base: first address of the leaf's range
 * @at: page of the range to look at next
 * @end: page behind the last
 * @map: the entries, as they are mapped
 * @pte: where the entry of page 0 of the range is, or would be; NULL where a
 *       PMD maps the pages
 * @huge: likewise page 0 of the range where a PMD maps the pages
 * @young: some of the pages were used, and no entry tells which
 */
struct ksm_chunk {
	struct ksm_domain *domain;
	struct vm_area_struct *vma;
	unsigned long base;
	unsigned int at;
	unsigned int end;
	pte_t *map;
	pte_t *pte;
	struct page *huge;
	bool young;
};

/* Why looking at a chunk ended. */
enum ksm_chunk_result {
	KSM_CHUNK_DONE,
	KSM_CHUNK_NO_BUDGET,
	KSM_CHUNK_NO_RECORD,
};

/**
 * ksm_scan_init - prepare for the first pass
 * @scan: filled in
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_scan_init(struct ksm_scan *scan)
{
	scan->nice = KSM_NICE;
	scan->nice_tick = jiffies;
	scan->candidate = kcalloc(KSM_LEAF_PAGES, sizeof(*scan->candidate), GFP_KERNEL);
	return scan->candidate ? 0 : -ENOMEM;
}

static unsigned int leaf_offset(unsigned long address)
{
	return (address >> PAGE_SHIFT) & (KSM_LEAF_PAGES - 1);
}

static unsigned long leaf_base(unsigned long address)
{
	return ALIGN_DOWN(address, KSM_LEAF_BYTES);
}

/* Forget what is known of the pages between the last one scanned and @address. */
static void forget_until(struct ksm_scan *scan, unsigned long address)
{
	unsigned int budget;

	do {
		budget = UINT_MAX;
	} while (!ksm_leaf_cursor_forget(scan->domain, &scan->cursor, address, &budget));
}

static struct page *chunk_page(const struct ksm_chunk *chunk, unsigned int offset)
{
	unsigned long address = chunk->base + offset * PAGE_SIZE;
	pte_t pte;

	if (!chunk->pte)
		return ksm_mergeable_page(chunk->huge + offset);
	pte = ptep_get(chunk->pte + offset);
	if (!pte_present(pte))
		return NULL;
	return ksm_mergeable_page(vm_normal_page(chunk->vma, address, pte));
}

/* What ksmd takes from an entry is kept for reclaim and idle page tracking. */
static void hand_on_young(struct page *page)
{
	struct folio *folio = page_folio(page);

	folio_set_young(folio);
	folio_clear_idle(folio);
}

/* A secondary MMU does not say which of the pages it was that it used. */
static void chunk_hand_on_young(const struct ksm_chunk *chunk)
{
	unsigned int offset;

	for (offset = chunk->at; offset < chunk->end; offset++) {
		struct page *page = chunk_page(chunk, offset);

		if (page)
			hand_on_young(page);
	}
}

/* Whether a page was used since the last pass; the next pass starts afresh. */
static bool test_clear_young(const struct ksm_chunk *chunk, unsigned int offset,
			     struct page *page)
{
	unsigned long address = chunk->base + offset * PAGE_SIZE;

	if (!chunk->pte || !pte_young(ptep_get(chunk->pte + offset)))
		return chunk->young;
	if (ptep_test_and_clear_young(chunk->vma, address, chunk->pte + offset))
		hand_on_young(page);
	return true;
}

static void add_candidate(struct ksm_scan *scan, struct ksm_record *record,
			  u64 sample, bool settled)
{
	scan->candidate[scan->nr_candidates++] = (struct ksm_candidate){
		.record = record,
		.sample = sample,
		.settled = settled,
	};
}

static u64 page_key(struct ksm_chunk *chunk, struct page *page, unsigned int offset,
		    ksm_hash_fn *hash)
{
	void *addr;
	u64 fingerprint;

	flush_anon_page(chunk->vma, page, chunk->base + offset * PAGE_SIZE);
	flush_dcache_page(page);
	addr = kmap_local_page(page);
	fingerprint = hash(chunk->domain->key, addr);
	kunmap_local(addr);
	return ksm_key_on_node(fingerprint, ksm_page_nid(chunk->domain, page));
}

static void look_first(struct ksm_scan *scan, struct ksm_record *record, u64 sample)
{
	ksm_record_seen(scan->domain, record);
	record->tag = ksm_tag(sample);
	record->full = false;
	if (ksm_filter_repeated(&scan->domain->filter, record->tag))
		add_candidate(scan, record, sample, false);
}

static void look_changed(struct ksm_scan *scan, struct ksm_record *record, u64 sample)
{
	ksm_record_changed(scan->domain, record, ksm_tag(sample));
}

/* The page is what it was; has its like turned up? */
static void look_again(struct ksm_scan *scan, struct ksm_record *record, u64 sample)
{
	struct ksm_unstable *unstable = &scan->domain->unstable;
	struct ksm_filter *filter = &scan->domain->filter;

	if (!ksm_filter_repeated(filter, record->tag)) {
		if (record->state == KSM_UNSHARED)
			return;
		if (!ksm_unstable_find(unstable, record->tag, record->full)) {
			ksm_unstable_insert(unstable, record);
			return;
		}
		ksm_filter_set_repeated(filter, record->tag);
	}
	add_candidate(scan, record, sample, true);
}

static void look_unshared(struct ksm_scan *scan, struct ksm_chunk *chunk,
			  struct ksm_record *record, struct page *page)
{
	u64 sample = page_key(chunk, page, record->offset, ksm_sample);
	u64 key = sample;

	if (record->state == KSM_NONE) {
		look_first(scan, record, sample);
		return;
	}
	if (record->full)
		key = page_key(chunk, page, record->offset, ksm_fingerprint);
	if (record->tag != ksm_tag(key)) {
		look_changed(scan, record, sample);
		return;
	}
	/* Where the filter has been renewed, this page counts again. */
	if (record->full)
		ksm_filter_set_ambiguous(&scan->domain->filter, ksm_tag(sample));
	look_again(scan, record, sample);
}

/*
 * The usual case of a record that is KSM_SHARED: the entry maps a page that says
 * that it is the one of the record's node, and it lies where that belongs.
 */
static bool pte_maps_shared(const struct ksm_domain *domain, pte_t pte,
			    const struct ksm_record *record)
{
	const struct ksm_stable_node *node = record->item->node;
	const struct page *page;

	if (!pte_present(pte) || !node)
		return false;
	page = pfn_to_page(pte_pfn(pte));
	return READ_ONCE(page->mapping) == ksm_node_mapping(node) &&
	       (domain->controls->merge_across_nodes ||
		node->nid == page_to_nid(page));
}

/*
 * Pass over pages that are as they were, merged or left alone for this pass.
 * This is all that ksmd does most of the time.
 */
static struct ksm_record *pass_over(struct ksm_scan *scan, struct ksm_chunk *chunk,
				    struct ksm_record *record,
				    const struct ksm_record *end, bool may_skip)
{
	const unsigned int first = chunk->at;
	unsigned int at, skipped = 0;

	end = min(end, record + min3(chunk->end - first, scan->budget, scan->skip_budget));
	for (at = first; record < end && record->offset == at; record++, at++) {
		pte_t pte = ptep_get(chunk->pte + at);

		if (record->state == KSM_SHARED) {
			if (!pte_maps_shared(scan->domain, pte, record))
				break;
		} else {
			if (!may_skip || !record->skips || pte_young(pte) ||
			    !pte_present(pte))
				break;
			record->skips--;
			skipped++;
		}
	}
	chunk->at = at;
	scan->budget -= at - first - skipped;
	scan->skip_budget -= skipped;
	scan->domain->counters.scanned += at - first - skipped;
	scan->domain->counters.skipped += skipped;
	return record;
}

/*
 * A page that nobody used is what it was, and its like will find its record in
 * the unstable tree; without one there, it may be that a merge has to be tried
 * again.
 */
static unsigned int skips_for(const struct ksm_record *record, bool young)
{
	unsigned int most = young ? KSM_MAX_SKIPS_YOUNG : KSM_MAX_SKIPS_OLD;

	if (record->age < KSM_LOOKS_BEFORE_SKIP)
		return 0;
	if (!young && record->state == KSM_UNSHARED)
		return most;
	return min(2U << min(record->age - KSM_LOOKS_BEFORE_SKIP, 5U), most);
}

static void look(struct ksm_scan *scan, struct ksm_chunk *chunk,
		 struct ksm_record *record, struct page *page, bool young)
{
	struct folio *folio = page_folio(page);

	scan->budget--;
	scan->domain->counters.scanned++;
	if (record->state == KSM_SHARED || folio_test_ksm(folio)) {
		if (record->state == KSM_NONE)
			ksm_record_seen(scan->domain, record);
		add_candidate(scan, record, 0, false);
		return;
	}
	look_unshared(scan, chunk, record, page);
	if (record->age < KSM_MAX_AGE)
		record->age++;
	record->skips = skips_for(record, young);
}

/* There is no page to merge at this address any more. */
static void look_missing(struct ksm_scan *scan, struct ksm_record *record)
{
	if (record->state == KSM_SHARED)
		add_candidate(scan, record, 0, false);
	else
		ksm_record_forget(scan->domain, record);
}

/*
 * From entry @at of a page table on, the first that may not be empty.  Most tables
 * of a sparse mapping hold next to nothing.  On no machine does an entry that is
 * zero map memory of a program.
 */
static __always_inline unsigned int skip_empty(const void *table, size_t size,
					       unsigned int at, unsigned int end)
{
	const unsigned int step = KSM_GLANCE_BYTES / size;

	for (; at + step <= end; at += step) {
		const u64 *word = table + at * size;

		/*
		 * READ_ONCE() would take twice the instructions, and who sees
		 * half of an entry sees that there is one.
		 */
		if (data_race(word[0] | word[1] | word[2] | word[3] |
			      word[4] | word[5] | word[6] | word[7]))
			break;
	}
	return at;
}

static unsigned int next_pte(const pte_t *table, unsigned int at, unsigned int end)
{
	while (at < end && pte_none(ptep_get_lockless((pte_t *)table + at)))
		at = skip_empty(table, sizeof(*table), at + 1, end);
	return at;
}

static unsigned int next_pmd(const pmd_t *table, unsigned int at, unsigned int end)
{
	while (at < end && pmd_none(pmdp_get_lockless((pmd_t *)table + at)))
		at = skip_empty(table, sizeof(*table), at + 1, end);
	return at;
}

/* The next page that is there, or that was there when its record was made. */
static unsigned int next_page(const struct ksm_chunk *chunk,
			      const struct ksm_record *record,
			      const struct ksm_record *end)
{
	unsigned int until = record < end ? min(record->offset, chunk->end) : chunk->end;
	unsigned int at = chunk->at;

	if (at < until && pte_none(ptep_get(chunk->pte + at)))
		at = next_pte(chunk->pte, at + 1, until);
	return at;
}

/* The page is neither merged nor idle, or not there: see what has become of it. */
static void look_closer(struct ksm_scan *scan, struct ksm_chunk *chunk,
			struct ksm_record *record, bool smart)
{
	struct page *page = chunk_page(chunk, record->offset);
	bool young = true;

	if (!page) {
		if (record->state != KSM_NONE)
			look_missing(scan, record);
		return;
	}
	if (smart && record->state != KSM_SHARED && record->state != KSM_NONE) {
		young = test_clear_young(chunk, record->offset, page);
		if (young)
			record->skips = min(record->skips, KSM_MAX_SKIPS_YOUNG);
		if (record->skips) {
			record->skips--;
			scan->skip_budget--;
			scan->domain->counters.skipped++;
			return;
		}
	}
	look(scan, chunk, record, page, young);
}

static enum ksm_chunk_result scan_chunk(struct ksm_scan *scan, struct ksm_chunk *chunk)
{
	struct ksm_leaf *leaf = ksm_leaf_cursor_leaf(&scan->cursor, chunk->base);
	const bool smart = READ_ONCE(scan->domain->controls->smart_scan);
	const bool may_skip = smart && !chunk->young;
	struct ksm_record *record = NULL, *end = NULL;

	if (leaf) {
		record = leaf->record;
		end = record + leaf->nr;
	}
	while (record < end && record->offset < chunk->at)
		record++;
	for (; chunk->at < chunk->end; chunk->at++) {
		if (chunk->pte) {
			if (record < end && (may_skip || record->state == KSM_SHARED))
				record = pass_over(scan, chunk, record, end, may_skip);
			chunk->at = next_page(chunk, record, end);
			if (chunk->at == chunk->end)
				break;
		}
		if (!scan->budget || !scan->skip_budget)
			return KSM_CHUNK_NO_BUDGET;
		if (record < end && record->offset == chunk->at)
			look_closer(scan, chunk, record++, smart);
		else if (chunk_page(chunk, chunk->at))
			return KSM_CHUNK_NO_RECORD;
	}
	return KSM_CHUNK_DONE;
}

static u64 chunk_present(const struct ksm_chunk *chunk)
{
	u64 present = 0;
	unsigned int offset;

	for (offset = chunk->at; offset < chunk->end; offset++)
		if (chunk_page(chunk, offset))
			present |= BIT_ULL(offset);
	return present;
}

static spinlock_t *chunk_lock_huge(struct ksm_chunk *chunk, pmd_t *pmd)
{
	unsigned long address = chunk->base + chunk->at * PAGE_SIZE;
	struct page *page;
	spinlock_t *ptl;	/* of the PMD */

	ptl = pmd_trans_huge_lock(pmd, chunk->vma);
	if (!ptl)
		return NULL;
	page = NULL;
	if (pmd_present(*pmd))
		page = ksm_mergeable_page(vm_normal_page_pmd(chunk->vma, address, *pmd));
	if (!page) {
		spin_unlock(ptl);
		return NULL;
	}
	page += (address & ~PMD_MASK) >> PAGE_SHIFT;
	chunk->huge = page - chunk->at;
	chunk->young |= pmd_young(*pmd);
	return ptl;
}

/* Lock the page table of a chunk; NULL where it maps no page. */
static spinlock_t *chunk_lock(struct ksm_chunk *chunk, pmd_t *pmd)
{
	unsigned long address = chunk->base + chunk->at * PAGE_SIZE;
	pmd_t value = pmdp_get_lockless(pmd);
	spinlock_t *ptl;	/* of the page table */

	if (!pmd_present(value))
		return NULL;
	if (pmd_trans_huge(value))
		return chunk_lock_huge(chunk, pmd);
	chunk->map = pte_offset_map_lock(chunk->vma->vm_mm, pmd, address, &ptl);
	if (!chunk->map)
		return NULL;
	chunk->pte = chunk->map - chunk->at;
	return ptl;
}

static void chunk_unlock(struct ksm_chunk *chunk, spinlock_t *ptl)
{
	if (chunk->map)
		pte_unmap_unlock(chunk->map, ptl);
	else
		spin_unlock(ptl);
}

#ifdef CONFIG_MMU_NOTIFIER
static bool secondary_young(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	return mmu_notifier_clear_young(mm, start, end);
}
#else
static bool secondary_young(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	return false;
}
#endif

/* Asking clears the bits: when a batch ends within a chunk, the next remembers. */
static void ask_secondary_mmu(struct ksm_scan *scan, struct ksm_chunk *chunk)
{
	unsigned long start = chunk->base + chunk->at * PAGE_SIZE;
	unsigned long end = chunk->base + chunk->end * PAGE_SIZE;

	if (!READ_ONCE(scan->domain->controls->smart_scan))
		return;
	if (start >= scan->asked) {
		scan->young = secondary_young(chunk->vma->vm_mm, start, end);
		scan->asked = end;
	}
	chunk->young = scan->young;
}

/*
 * Look at the pages from @address on.  Where some have no record yet, make it
 * and come again; but not while a candidate points into the leaf.
 */
static unsigned long scan_range(struct ksm_scan *scan, struct vm_area_struct *vma,
				pmd_t *pmd, unsigned long address, unsigned long end)
{
	struct ksm_chunk chunk = {
		.domain = scan->domain,
		.vma = vma,
		.base = leaf_base(address),
		.at = leaf_offset(address),
		.end = leaf_offset(end - 1) + 1,
	};
	enum ksm_chunk_result result;
	u64 missing = 0;
	spinlock_t *ptl;	/* of the page table */

	ask_secondary_mmu(scan, &chunk);
	forget_until(scan, address);
	ptl = chunk_lock(&chunk, pmd);
	if (!ptl) {
		forget_until(scan, end);
		return end;
	}
	if (chunk.young)
		chunk_hand_on_young(&chunk);
	ksm_hash_begin();
	result = scan_chunk(scan, &chunk);
	ksm_hash_end();
	if (result == KSM_CHUNK_NO_RECORD && !scan->nr_candidates)
		missing = chunk_present(&chunk);
	chunk_unlock(&chunk, ptl);
	if (missing && ksm_leaf_extend(scan->domain, scan->slots->cursor,
				       scan->cursor.link, chunk.base, missing))
		chunk.at = chunk.end;
	address = chunk.base + chunk.at * PAGE_SIZE;
	/* Candidates point into the leaf: see merge_candidates(). */
	if (!scan->nr_candidates)
		ksm_leaf_cursor_scanned(scan->domain, &scan->cursor, address);
	return address;
}

static bool should_pause(struct ksm_scan *scan, struct mm_struct *mm)
{
	return scan->nr_candidates || !scan->budget || !scan->skip_budget ||
	       ksm_domain_needs_adjust(scan->domain) ||
	       need_resched() || mmap_lock_is_contended(mm) || ksm_mm_exiting(mm);
}

/*
 * The first address of a range that has an entry in its page table.  Nothing is
 * locked: who makes an entry now may be too late for this pass.
 */
static unsigned long next_address(pmd_t *pmd, unsigned long address, unsigned long end)
{
	const unsigned int at = pte_index(address);
	pte_t *pte = pte_offset_map(pmd, address);

	if (!pte)
		return address;
	address += (next_pte(pte - at, at, pte_index(end - 1) + 1) - at) * PAGE_SIZE;
	pte_unmap(pte);
	return address;
}

/* A leaf without pages is a reason to look where the next page is. */
static int scan_pmd(struct ksm_scan *scan, struct vm_area_struct *vma, pmd_t *pmd,
		    unsigned long address, unsigned long end)
{
	unsigned long budget = 0, left = 0;

	while (address < end) {
		if (left == budget)
			address = next_address(pmd, address, end);
		budget = (unsigned long)scan->budget + scan->skip_budget;
		if (address < end)
			address = scan_range(scan, vma, pmd, address,
					     min(end, leaf_base(address) + KSM_LEAF_BYTES));
		left = (unsigned long)scan->budget + scan->skip_budget;
		scan->address = address;
		if (should_pause(scan, vma->vm_mm))
			return 1;
	}
	return 0;
}

/* Instead of the walk of page tables, which would look at each entry by itself. */
static int scan_pud_entry(pud_t *pud, unsigned long address, unsigned long end,
			  struct mm_walk *walk)
{
	struct ksm_scan *scan = walk->private;
	unsigned int at = pmd_index(address);
	const unsigned int last = pmd_index(end - 1) + 1;
	pmd_t *table;

	walk->action = ACTION_CONTINUE;
	if (!pud_present(*pud) || pud_leaf(*pud))
		return 0;
	table = pmd_offset(pud, address) - at;
	for (at = next_pmd(table, at, last); at < last; at = next_pmd(table, at + 1, last)) {
		unsigned long start = (address & PUD_MASK) + at * PMD_SIZE;

		if (scan_pmd(scan, walk->vma, table + at, max(address, start),
			     min(end, start + PMD_SIZE)))
			return 1;
	}
	scan->address = end;
	return should_pause(scan, walk->mm);
}

static const struct mm_walk_ops scan_ops = {
	.pud_entry = scan_pud_entry,
	.walk_lock = PGWALK_RDLOCK,
};

/* Returns true at the end of the address space, false where there is more. */
static bool scan_areas(struct ksm_scan *scan, struct mm_struct *mm)
{
	struct vm_area_struct *vma;

	VMA_ITERATOR(vmi, mm, scan->address);

	while ((vma = ksm_next_vma(&vmi))) {
		unsigned long start = max(scan->address, vma->vm_start);

		scan->found_vma = true;
		if (vma->anon_vma &&
		    walk_page_range_vma(vma, start, vma->vm_end, &scan_ops, scan) > 0)
			return false;
	}
	return true;
}

static void enter_slot(struct ksm_scan *scan)
{
	scan->address = 0;
	scan->asked = 0;
	if (scan->slots->cursor)
		ksm_leaf_cursor_init(&scan->cursor, scan->slots->cursor);
	scan->found_vma = false;
}

/* An mm that asked for all its areas to be merged may not have got to make any. */
static bool wants_slot(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGE_ANY, &mm->flags) || ksm_has_mergeable_vma(mm);
}

/*
 * The mm had nothing to merge.  Unless it may have, its slot goes; mmap_lock keeps
 * madvise() and prctl() from relying on it meanwhile.
 */
static void leave_barren_slot(struct ksm_scan *scan, struct mm_struct *mm)
{
	mmgrab(mm);
	mmap_read_lock(mm);
	ksm_slots_leave(scan->slots, ksm_mm_exiting(mm) || !wants_slot(mm));
	mmap_read_unlock(mm);
	mmdrop(mm);
}

/* Go on to the next mm. */
static void leave_slot(struct ksm_scan *scan)
{
	struct mm_struct *mm = scan->slots->cursor->slot.mm;
	bool exiting = ksm_mm_exiting(mm);

	if (exiting)
		enter_slot(scan);
	forget_until(scan, ULONG_MAX);
	if (exiting || scan->found_vma)
		ksm_slots_leave(scan->slots, exiting);
	else
		leave_barren_slot(scan, mm);
	enter_slot(scan);
}

/* Look at the mm the cursor is in, until there is something to merge. */
static void scan_mm(struct ksm_scan *scan)
{
	struct mm_struct *mm = scan->slots->cursor->slot.mm;
	bool done;

	mmap_read_lock(mm);
	done = ksm_mm_exiting(mm) || scan_areas(scan, mm);
	mmap_read_unlock(mm);
	if (done)
		leave_slot(scan);
}

static void merge_candidates(struct ksm_scan *scan)
{
	unsigned int i;

	for (i = 0; i < scan->nr_candidates; i++) {
		ksm_cmp_and_merge(scan->domain, &scan->candidate[i]);
		cond_resched();
	}
	if (scan->nr_candidates)
		ksm_leaf_cursor_scanned(scan->domain, &scan->cursor, scan->address);
	scan->nr_candidates = 0;
}

/* Samples of pages long gone make the filter say yes too often. */
static void renew_filter(struct ksm_scan *scan)
{
	if (scan->seqnr % KSM_PASSES_PER_RENEWAL == 0 &&
	    ksm_filter_saturated(&scan->domain->filter))
		ksm_domain_filter_rebuild(scan->domain);
}

/*
 * Pages that were faulted in lately may sit in per-CPU batches, whose references
 * keep them from being merged: have those let go of.
 */
static bool begin_pass(struct ksm_scan *scan)
{
	/* Whoever comes behind the cursor from here on is of the next pass. */
	WRITE_ONCE(scan->slots->changed, false);
	ksm_slots_begin(scan->slots, false);
	enter_slot(scan);
	if (!scan->slots->cursor)
		return false;
	scan->cpu_time = task_sched_runtime(current);
	ksm_advisor_start(scan->advisor, ktime_get_ns(), scan->cpu_time);
	scan->changed = scan->domain->counters.changed;
	trace_ksm_start_scan(scan->seqnr, scan->domain->counters.records);
	lru_add_drain_all();
	ksm_stable_reap(scan->domain);
	renew_filter(scan);
	return true;
}

static void end_pass(struct ksm_scan *scan)
{
	const struct ksm_counters *counters = &scan->domain->counters;
	u64 cpu_time = task_sched_runtime(current);
	struct ksm_advice advice;

	if (ksm_advisor_stop(scan->advisor, ktime_get_ns(), cpu_time, &advice))
		trace_ksm_advisor(advice.scan_time, advice.pages_to_scan,
				  advice.cpu_percent);
	scan->back_off = ksm_rest_millisecs(cpu_time - scan->cpu_time,
					counters->changed - scan->changed, counters->records);
	trace_ksm_stop_scan(scan->seqnr, counters->records);
	WRITE_ONCE(scan->seqnr, scan->seqnr + 1);
}

/*
 * Saving memory can wait while there is enough.  Once it is short, those that use
 * it up are many, and each is preferred to ksmd: it would come too late.  What it
 * may take is bounded by its controls all the same; where it is not, it had better
 * stay behind.  A priority that the owner of the machine has given it stays.
 */
static void set_nice(struct ksm_scan *scan)
{
	/* What is set aside for huge pages is neither available nor ours to save. */
	const unsigned long total = totalram_pages() - hugetlb_total_pages();
	bool is_short;
	int nice;

	if (!time_after(jiffies, scan->nice_tick))
		return;
	scan->nice_tick = jiffies;
	is_short = READ_ONCE(*scan->sleep_millisecs) &&
		   si_mem_available() < total / KSM_SHORT_SHARE;
	nice = is_short ? MIN_NICE : KSM_NICE;
	if (nice == scan->nice || task_nice(current) != scan->nice)
		return;
	set_user_nice(current, nice);
	scan->nice = nice;
}

/**
 * ksm_scan_batch - go on with the pass, or begin one
 * @scan: the cursor
 * @nr_pages: pages to look at
 *
 * Ends early at the end of a pass.  Pages that are skipped count for less.
 *
 * Context: ksmd; may sleep; under ksm.lock.
 */
void ksm_scan_batch(struct ksm_scan *scan, unsigned int nr_pages)
{
	ksm_domain_assert_locked(scan->domain);
	scan->budget = nr_pages;
	scan->skip_budget = min(nr_pages, UINT_MAX / KSM_SKIPS_PER_LOOK) *
			    KSM_SKIPS_PER_LOOK;
	if (!scan->slots->cursor && !begin_pass(scan))
		return;
	while (scan->budget && scan->skip_budget && !freezing(current)) {
		set_nice(scan);
		while (ksm_domain_adjust_step(scan->domain))
			cond_resched();
		scan_mm(scan);
		merge_candidates(scan);
		if (!scan->slots->cursor) {
			end_pass(scan);
			return;
		}
		cond_resched();
	}
}

static int unmerge_areas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	int err = 0;

	VMA_ITERATOR(vmi, mm, 0);

	while (!err && (vma = ksm_next_vma(&vmi)))
		if (vma->anon_vma)
			err = ksm_break_range(vma, vma->vm_start, vma->vm_end);
	return err;
}

/* Unmerge the mm that the cursor is in and go on to the next. */
static int unmerge_mm(struct ksm_scan *scan)
{
	struct mm_struct *mm = scan->slots->cursor->slot.mm;
	bool exiting;
	int err = 0;

	enter_slot(scan);
	mmap_read_lock(mm);
	exiting = ksm_mm_exiting(mm);
	if (!exiting)
		err = unmerge_areas(mm);
	mmap_read_unlock(mm);
	if (err)
		return err;
	forget_until(scan, ULONG_MAX);
	ksm_slots_leave(scan->slots, exiting);
	return 0;
}

/**
 * ksm_scan_unmerge - give all mms their own pages back and forget every page
 * @scan: the cursor; afterwards between two passes
 *
 * Context: may sleep; under ksm.lock.
 * Return: 0, -ENOMEM or -ERESTARTSYS; the rest stays merged then.
 */
int ksm_scan_unmerge(struct ksm_scan *scan)
{
	int err = 0;

	ksm_domain_assert_locked(scan->domain);
	for (ksm_slots_begin(scan->slots, false); scan->slots->cursor && !err; cond_resched())
		err = unmerge_mm(scan);
	ksm_slots_end(scan->slots);
	enter_slot(scan);
	if (err)
		return err;
	/* Pages of processes that are exiting may still be mapped. */
	ksm_stable_clear(scan->domain);
	ksm_domain_reset(scan->domain);
	WRITE_ONCE(scan->seqnr, 0);
	return 0;
}
