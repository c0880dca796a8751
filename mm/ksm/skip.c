// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: why pages were not merged.
 *
 * The reason is derived from the page after the attempt, when a lock or a reference may
 * be gone.  ksm_note_*() store it in the record, too.  ksm_trace_*() only report it, and
 * their callers check that the event is on.
 */

#include <linux/mm.h>
#include <linux/pgtable.h>

#include "chunk.h"
#include "page.h"
#include "record.h"
#include "skip.h"
#include "slots.h"

/**
 * ksm_skip_name - the name of a reason
 * @reason: an enum ksm_skip
 *
 * Return: the name, as in the trace event ksm_page_skipped.
 */
const char *ksm_skip_name(unsigned int reason)
{
	static const struct trace_print_flags names[] = { KSM_SKIP_NAMES };

	return reason < ARRAY_SIZE(names) ? names[reason].name : "unknown";
}

static_assert(KSM_SKIP_CHANGED == 0);
static_assert(KSM_SKIP_OTHER_DOMAIN + 1 == KSM_NR_SKIPS);

static enum ksm_skip busy_reason(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_large(folio))
		return folio_maybe_dma_pinned(folio) ? KSM_SKIP_PINNED : KSM_SKIP_HUGE_KEPT;
	if (!ksm_page_only_mapped(page))
		return KSM_SKIP_PINNED;
	if (folio_mapcount(folio) > 1 && !folio_test_locked(folio))
		return KSM_SKIP_MAPPED_ELSEWHERE;
	return KSM_SKIP_LOCKED;
}

/**
 * ksm_skip_reason - why a page was not merged
 * @page: the page, with one reference of the caller
 * @result: how the attempt to merge it ended, not KSM_MERGED
 *
 * Context: any.
 * Return: the reason.
 */
enum ksm_skip ksm_skip_reason(struct page *page, enum ksm_result result)
{
	if (PageHWPoison(page))
		return KSM_SKIP_POISONED;
	if (ksm_page_never_equal(page))
		return KSM_SKIP_TAGGED;
	switch (result) {
	case KSM_BUSY:
		return busy_reason(page);
	case KSM_DIFFERENT:
		return KSM_SKIP_NO_DUPLICATE;
	case KSM_KEPT:
		return KSM_SKIP_HUGE_KEPT;
	case KSM_NO_MEMORY:
		return KSM_SKIP_NO_MEMORY;
	default:
		return KSM_SKIP_CHANGED;
	}
}

/**
 * ksm_trace_skipped - tell why no request was made for a candidate
 * @record: its record
 * @page: its page, with one reference of the caller
 * @result: what came of it
 *
 * Context: under ksm.lock.
 */
void ksm_trace_skipped(const struct ksm_record *record, struct page *page,
		       enum ksm_result result)
{
	if (result != KSM_MERGED)
		trace_ksm_page_skipped(ksm_record_mm(record), ksm_record_address(record),
				       ksm_skip_reason(page, result));
}

/**
 * ksm_note_skipped - note why a page is not merged now, and tell it
 * @record: its record
 * @reason: the reason
 *
 * Context: under ksm.lock.
 */
void ksm_note_skipped(struct ksm_record *record, enum ksm_skip reason)
{
	ksm_record_set_reason(record, reason);
	if (reason != KSM_SKIP_CHANGED)
		trace_ksm_page_skipped(ksm_record_mm(record), ksm_record_address(record),
				       reason);
}

/**
 * ksm_note_request - note why a request failed, and tell it
 * @lock: ksm.lock
 * @record: the record of the page
 * @result: what came of the request, not KSM_MERGED
 *
 * Context: may sleep; under ksm.lock; takes mmap_lock.
 */
void ksm_note_request(struct ksm_lock *lock, struct ksm_record *record,
		      enum ksm_result result)
{
	const unsigned long address = ksm_record_address(record);
	enum ksm_skip reason = KSM_SKIP_CHANGED;
	struct ksm_target target;

	switch (ksm_target_get(&target, lock, ksm_record_slot(record), address)) {
	case 0:
		/* The contents differ from what they were when they were hashed. */
		if (result != KSM_DIFFERENT)
			reason = ksm_skip_reason(target.page, result);
		ksm_target_put(&target);
		break;
	case -EBUSY:
		reason = KSM_SKIP_LOCKED;
		break;
	}
	ksm_record_set_reason(record, reason);
	trace_ksm_page_skipped(ksm_record_mm(record), address, reason);
}

/**
 * ksm_trace_visited - tell why the sample of a page made no candidate of it
 * @record: its record
 * @unchanged: the page holds what it held when it was visited before
 *
 * Context: under ksm.lock.
 */
void ksm_trace_visited(const struct ksm_record *record, bool unchanged)
{
	trace_ksm_page_skipped(ksm_record_mm(record), ksm_record_address(record),
			       unchanged ? KSM_SKIP_NO_DUPLICATE : KSM_SKIP_CHANGED);
}

/**
 * ksm_trace_unusable - tell why a page without a record gets none
 * @chunk: the chunk; the page is that at @chunk->at
 *
 * Context: under ksm.lock, with the page table lock held.
 */
void ksm_trace_unusable(const struct ksm_chunk *chunk)
{
	const unsigned long address = ksm_chunk_address(chunk, chunk->at);
	struct page *page = chunk->huge;
	pte_t pte;

	if (chunk->pte) {
		pte = ptep_get(chunk->pte + chunk->at);
		page = pte_present(pte) ? vm_normal_page(chunk->vma, address, pte) : NULL;
	} else {
		page += chunk->at;
	}
	if (page && (PageHWPoison(page) || ksm_page_never_equal(page)))
		trace_ksm_page_skipped(chunk->vma->vm_mm, address,
				       ksm_skip_reason(page, KSM_GONE));
}
