// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the page tables of one VMA.
 *
 * Page tables are walked by range, a leaf's range at a time, under one hold of the
 * page table lock each.  After each range the walk pauses if it has run for long
 * enough, or if something is to be merged; it goes on at the same address later.
 */

#include <linux/freezer.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <trace/events/ksm.h>

#include "chunk.h"
#include "domain.h"
#include "record.h"
#include "slots.h"
#include "vma.h"
#include "walk.h"
#include "young.h"

/* Records that are forgotten between two looks at the clock. */
#define KSM_FORGET_RECORDS	KSM_LEAF_PAGES
/* Attempts to lock a page table that changes at the same time. */
#define KSM_LOCK_ATTEMPTS	2

static bool smart_scan(const struct ksm_walk *walk)
{
	return READ_ONCE(walk->domain->controls->smart_scan) && !walk->now;
}

/**
 * ksm_walk_begin - begin with an mm
 * @walk: the walk
 * @slot: the slot of the mm
 *
 * Context: under ksm.lock.
 */
void ksm_walk_begin(struct ksm_walk *walk, struct ksm_mm_slot *slot)
{
	walk->slot = slot;
	walk->address = 0;
	walk->pmd_unit.end = 0;
	walk->leaf_unit.end = 0;
	walk->nr_missed = 0;
	ksm_leaf_cursor_init(&walk->cursor, slot);
}

/**
 * ksm_walk_merged - the candidates have been dealt with
 * @walk: the walk, which paused because of them
 *
 * Candidates point to records of the leaf that was scanned last, so the leaf could
 * not be freed or replaced before.
 *
 * Context: under ksm.lock, with no mmap_lock held.
 */
void ksm_walk_merged(struct ksm_walk *walk)
{
	if (walk->nr_candidates)
		ksm_leaf_cursor_scanned(walk->domain, &walk->cursor, walk->scanned);
	walk->nr_candidates = 0;
	ksm_leaves_free(walk->domain);
}

static bool past_deadline(const struct ksm_walk *walk)
{
	return local_clock() >= walk->budget.deadline;
}

/**
 * ksm_walk_should_pause - whether mmap_lock has to be released
 * @walk: the walk
 * @mm: the mm
 *
 * Context: mmap_lock held.
 * Return: true if the walk has to pause.
 */
bool ksm_walk_should_pause(const struct ksm_walk *walk, const struct mm_struct *mm)
{
	const struct ksm_budget *budget = &walk->budget;

	return walk->nr_candidates || !budget->pages || !budget->skips ||
	       need_resched() || past_deadline(walk) ||
	       mmap_lock_is_contended((struct mm_struct *)mm) || ksm_mm_exiting(mm) ||
	       ksm_domain_needs_adjust(walk->domain) || freezing(current);
}

/* Forget the pages behind the last one scanned up to @address.  Returns false at a pause. */
static bool walk_forget(struct ksm_walk *walk, unsigned long address)
{
	unsigned int records;

	do {
		records = KSM_FORGET_RECORDS;
		if (ksm_leaf_cursor_forget(walk->domain, &walk->cursor, address, &records))
			return true;
	} while (!past_deadline(walk));
	return false;
}

/**
 * ksm_walk_forget_rest - forget what is known of pages that were not scanned
 * @walk: the walk, at the end of the mm
 *
 * Context: may sleep; under ksm.lock, with no mmap_lock held.
 * Return: true if done; false if it was time to pause.
 */
bool ksm_walk_forget_rest(struct ksm_walk *walk)
{
	const bool done = walk_forget(walk, ULONG_MAX);

	ksm_leaves_free(walk->domain);
	return done;
}

/*
 * All records of a leaf are to be skipped.  Let the next passes count that once for
 * the leaf, as long as its pages stay idle.
 */
static void skip_whole_leaf(const struct ksm_chunk *chunk, struct ksm_leaf *leaf)
{
	unsigned int i, skips = KSM_MAX_LEAF_SKIPS;

	if (chunk->young || !leaf || chunk->nr_skipped != KSM_LEAF_PAGES)
		return;
	for (i = 0; i < leaf->nr; i++)
		skips = min(skips, leaf->record[i].skips);
	for (i = 0; i < leaf->nr; i++)
		leaf->record[i].skips -= skips;
	leaf->skips = skips;
}

/* Undo skip_whole_leaf(): some of the pages may have to be visited. */
static void skip_by_page(struct ksm_leaf *leaf)
{
	unsigned int i;

	if (!leaf || !leaf->skips)
		return;
	for (i = 0; i < leaf->nr; i++)
		leaf->record[i].skips += leaf->skips;
	leaf->skips = 0;
}

/* Whether a leaf may be skipped as a whole; @nr of its pages are to be scanned. */
static bool may_skip_leaf(const struct ksm_walk *walk, const struct ksm_leaf *leaf,
			  unsigned long nr)
{
	return leaf && leaf->skips && nr == KSM_LEAF_PAGES &&
	       smart_scan(walk);
}

static void skip_leaf(struct ksm_walk *walk, struct ksm_leaf *leaf)
{
	leaf->skips--;
	walk->budget.skips -= min_t(unsigned int, walk->budget.skips, leaf->nr);
	walk->domain->counters.skipped += leaf->nr;
}

static enum ksm_chunk_lock lock_chunk(struct ksm_chunk *chunk, pmd_t *pmd)
{
	enum ksm_chunk_lock lock = KSM_CHUNK_CHANGING;
	unsigned int i;

	for (i = 0; lock == KSM_CHUNK_CHANGING && i < KSM_LOCK_ATTEMPTS; i++)
		lock = ksm_chunk_lock(chunk, pmd);
	return lock;
}

/*
 * Without memory for a leaf, its pages wait for the next pass.  They use up the budget, so
 * that a pass without memory is not faster than others, but pages_scanned does not count
 * them.  A cgroup at its limit does not stop ksmd.
 */
static void skip_chunk(struct ksm_walk *walk, struct ksm_chunk *chunk)
{
	walk->nr_missed += chunk->end - chunk->at;
	WRITE_ONCE(walk->slot->nr_missed, max(walk->slot->nr_missed, walk->nr_missed));
	trace_ksm_page_skipped(chunk->vma->vm_mm, ksm_chunk_address(chunk, chunk->at),
			       KSM_SKIP_NO_MEMORY);
	chunk->at = chunk->end;
	walk->budget.pages -= min(walk->budget.pages, KSM_LEAF_PAGES);
	walk->no_memory = true;
}

/*
 * Scan the pages of a chunk until a pause.  Pages without a record get one, but
 * not while a candidate points into the leaf.
 */
static void scan_chunk(struct ksm_walk *walk, struct ksm_chunk *chunk, pmd_t *pmd)
{
	struct ksm_leaf *leaf = ksm_leaf_cursor_leaf(&walk->cursor, chunk->base);
	enum ksm_chunk_result result;
	u64 missing = 0;

	if (may_skip_leaf(walk, leaf, chunk->end - chunk->at) && !chunk->young &&
	    ksm_chunk_idle(chunk)) {
		ksm_chunk_unlock(chunk);
		skip_leaf(walk, leaf);
		chunk->at = chunk->end;
		return;
	}
	skip_by_page(leaf);
	do {
		result = ksm_chunk_scan(chunk);
		if (result == KSM_CHUNK_NEEDS_LEAF && !walk->nr_candidates)
			missing = ksm_chunk_present(chunk);
		ksm_chunk_unlock(chunk);
	} while (result == KSM_CHUNK_RELOCK && !past_deadline(walk) &&
		 lock_chunk(chunk, pmd) == KSM_CHUNK_LOCKED);
	if (missing && ksm_leaf_extend(walk->domain, walk->slot, walk->cursor.link,
				       chunk->base, missing))
		skip_chunk(walk, chunk);
	if (result == KSM_CHUNK_DONE)
		skip_whole_leaf(chunk, ksm_leaf_cursor_leaf(&walk->cursor, chunk->base));
}

/* Returns true if the leaf of an idle huge page was skipped: no lock is needed. */
static bool skip_huge_leaf(struct ksm_walk *walk, pmd_t *pmd, unsigned long address,
			   unsigned long end)
{
	struct ksm_leaf *leaf = ksm_leaf_cursor_leaf(&walk->cursor, address);

	if (!may_skip_leaf(walk, leaf, (end - address) / PAGE_SIZE) || walk->pmd_unit.young ||
	    !pmd_trans_huge(pmdp_get_lockless(pmd)))
		return false;
	skip_leaf(walk, leaf);
	walk->scanned = end;
	ksm_leaf_cursor_scanned(walk->domain, &walk->cursor, end);
	return true;
}

/* Returns the address to go on at. */
static unsigned long scan_leaf(struct ksm_walk *walk, struct vm_area_struct *vma,
			       pmd_t *pmd, unsigned long address, unsigned long end)
{
	struct ksm_chunk chunk = {
		.walk = walk,
		.vma = vma,
		.base = ALIGN_DOWN(address, KSM_LEAF_BYTES),
		.at = ksm_leaf_offset(address),
		.end = ksm_leaf_offset(end - 1) + 1,
		.smart = smart_scan(walk),
		.find_written = ksm_young_find_written(walk->seqnr),
	};

	if (chunk.smart && ksm_leaf_cursor_leaf(&walk->cursor, chunk.base))
		ksm_young_read_leaf(&chunk, pmd_trans_huge(pmdp_get_lockless(pmd)));
	switch (lock_chunk(&chunk, pmd)) {
	case KSM_CHUNK_LOCKED:
		scan_chunk(walk, &chunk, pmd);
		end = ksm_chunk_address(&chunk, chunk.at);
		break;
	case KSM_CHUNK_EMPTY:
		if (!walk_forget(walk, end))
			return address;
		break;
	case KSM_CHUNK_CHANGING:
		walk->skipped = true;
		break;
	}
	walk->scanned = end;
	if (!walk->nr_candidates)
		ksm_leaf_cursor_scanned(walk->domain, &walk->cursor, end);
	return end;
}

/* Scan the pages of one leaf's range, and return the address to go on at. */
static unsigned long scan_range(struct ksm_walk *walk, struct vm_area_struct *vma,
				pmd_t *pmd, unsigned long address, unsigned long end)
{
	if (!walk_forget(walk, address))
		return address;
	if (skip_huge_leaf(walk, pmd, address, end))
		return end;
	return scan_leaf(walk, vma, pmd, address, end);
}

/*
 * The first address of a range that a PTE or a record stands for.  Nothing is
 * locked: a page that is mapped meanwhile may wait for the next pass.  A PTE that is
 * being changed reads as none, so ranges with records are scanned under the lock.
 */
static unsigned long first_used_address(struct ksm_walk *walk, pmd_t *pmd,
					unsigned long address, unsigned long end)
{
	unsigned long known = ksm_leaf_cursor_next_start(&walk->cursor);
	const unsigned int at = pte_index(address);
	pte_t *pte;

	end = clamp(known, address, end);
	if (address == end)
		return address;
	pte = pte_offset_map(pmd, address);
	if (!pte)
		return address;
	address += (ksm_first_used_pte(pte - at, at, pte_index(end - 1) + 1) - at) * PAGE_SIZE;
	pte_unmap(pte);
	return address;
}

static int scan_pmd(struct ksm_walk *walk, struct vm_area_struct *vma, pmd_t *pmd,
		    unsigned long address, unsigned long end)
{
	if (smart_scan(walk) &&
	    ksm_leaf_cursor_next_start(&walk->cursor) < end)
		ksm_young_read_pmd(walk, vma, pmd, address);
	while (address < end) {
		address = first_used_address(walk, pmd, address, end);
		if (address < end)
			address = scan_range(walk, vma, pmd, address,
					     min(end, ALIGN(address + 1, KSM_LEAF_BYTES)));
		walk->address = address;
		if (ksm_walk_should_pause(walk, vma->vm_mm))
			return 1;
	}
	return 0;
}

/* Takes the place of the generic walk below a PUD, which visits each empty PMD. */
static int scan_pud_entry(pud_t *pudp, unsigned long address, unsigned long end,
			  struct mm_walk *mm_walk)
{
	struct ksm_walk *walk = mm_walk->private;
	const unsigned int last = pmd_index(end - 1) + 1;
	unsigned int at = pmd_index(address);
	pud_t pud = pudp_get(pudp);
	pmd_t *table;

	mm_walk->action = ACTION_CONTINUE;
	if (!pud_present(pud) || pud_leaf(pud))
		return 0;
	table = pmd_offset(pudp, address) - at;
	for (at = ksm_first_used_pmd(table, at, last); at < last;
	     at = ksm_first_used_pmd(table, at + 1, last)) {
		unsigned long start = (address & PUD_MASK) + at * PMD_SIZE;

		if (scan_pmd(walk, mm_walk->vma, table + at, max(address, start),
			     min(end, start + PMD_SIZE)))
			return 1;
	}
	walk->address = end;
	return ksm_walk_should_pause(walk, mm_walk->mm);
}

static const struct mm_walk_ops scan_ops = {
	.pud_entry = scan_pud_entry,
	.walk_lock = PGWALK_RDLOCK,
};

/**
 * ksm_walk_vma - scan the pages of a VMA
 * @walk: the walk; begins at @walk->address, or at the start of @vma
 * @vma: a mergeable VMA
 *
 * Context: under ksm.lock, mmap_lock held for reading.
 * Return: true at the end of the VMA; false if the walk has to pause, and there
 * may be more at @walk->address.
 */
bool ksm_walk_vma(struct ksm_walk *walk, struct vm_area_struct *vma)
{
	unsigned long start = max(walk->address, vma->vm_start);

	if (vma->anon_vma &&
	    walk_page_range_vma(vma, start, vma->vm_end, &scan_ops, walk) > 0)
		return false;
	walk->address = vma->vm_end;
	return !ksm_walk_should_pause(walk, vma->vm_mm);
}

/**
 * ksm_walk_mm - scan the pages of all mergeable VMAs of an mm
 * @walk: the walk; begins at @walk->address
 * @mm: the mm
 * @found_vma: set to true if there is a mergeable VMA
 *
 * Context: under ksm.lock, mmap_lock held for reading.
 * Return: true at the end of the address space, false if there may be more.
 */
bool ksm_walk_mm(struct ksm_walk *walk, struct mm_struct *mm, bool *found_vma)
{
	struct vm_area_struct *vma;

	VMA_ITERATOR(vmi, mm, walk->address);

	/* A process may have a million VMAs of which none is mergeable. */
	while ((vma = vma_next(&vmi))) {
		if (vma->vm_flags & VM_MERGEABLE) {
			*found_vma = true;
			if (!ksm_walk_vma(walk, vma))
				return false;
			continue;
		}
		walk->address = vma->vm_end;
		if (ksm_walk_should_pause(walk, mm))
			return false;
	}
	return true;
}
