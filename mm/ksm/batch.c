// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: requests to merge, carried out together.
 *
 * A batch has requests for the pages of one leaf and for their duplicates elsewhere.
 * Those of one page table are carried out under one hold of mmap_lock, with one
 * TLB flush.
 */

#include <linux/ksm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "../internal.h"
#include "batch.h"
#include "domain.h"
#include "page.h"
#include "record.h"
#include "replace.h"
#include "skip.h"
#include "stable.h"
#include "vma.h"

static int result_to_errno(enum ksm_result result)
{
	return result == KSM_MERGED ? 0 : -EFAULT;
}

/**
 * ksm_item_fill - note where a shared page is mapped
 * @item: new; filled in but for its node and its slot
 * @vma: the VMA
 * @address: the user address
 *
 * Context: mmap_lock held, which keeps the anon_vma until @item has a reference.
 */
void ksm_item_fill(struct ksm_rmap_item *item, struct vm_area_struct *vma,
		   unsigned long address)
{
	item->address = address;
	item->index = linear_page_index(vma, address);
	item->anon_vma = vma->anon_vma;
	get_anon_vma(item->anon_vma);
}

/**
 * ksm_record_share - note that the page of a record is shared now
 * @domain: the trees and counters
 * @record: its record
 * @node: the stable node of the shared page
 * @item: from ksm_item_fill(); belongs to the record from here on
 *
 * Context: may sleep; under ksm.lock, with the folio of the shared page locked.
 */
void ksm_record_share(struct ksm_domain *domain, struct ksm_record *record,
		      struct ksm_stable_node *node, struct ksm_rmap_item *item)
{
	ksm_record_unshare(domain, record);
	record->item = item;
	record->state = KSM_SHARED;
	record->age = 0;
	record->skips = domain->merge->pass;
	item->slot = ksm_record_slot(record);
	ksm_stable_append(domain, node, item);
}

/**
 * ksm_batch_has - whether there is a request for a page
 * @merge: the batch
 * @record: the record of the page
 *
 * Return: true if there is one.
 */
bool ksm_batch_has(const struct ksm_merge *merge, const struct ksm_record *record)
{
	unsigned int i;

	for (i = 0; merge->nr_duplicates && i < merge->nr_requests; i++)
		if (merge->request[i].record == record)
			return true;
	return false;
}

static bool same_table(const struct mm_struct *mm, unsigned long address,
		       const struct ksm_request *request)
{
	return request->mm == mm && !((request->address ^ address) & PMD_MASK);
}

/**
 * ksm_batch_add - add a request
 * @merge: the batch, not full
 * @request: the request but for @mm, @address and what comes of it; the batch takes
 *	over its rmap_item and its reference to the shared page
 */
void ksm_batch_add(struct ksm_merge *merge, const struct ksm_request *request)
{
	struct ksm_request *added = &merge->request[merge->nr_requests++];

	*added = *request;
	added->mm = ksm_record_mm(request->record);
	added->address = ksm_record_address(request->record);
	added->pending = true;
	added->result = KSM_BUSY;
	merge->nr_own += same_table(merge->mm, merge->address, added);
	merge->nr_duplicates += request->candidate == KSM_NO_CANDIDATE;
}

/**
 * ksm_batch_has_room - whether a shared page may get another mapping in this batch
 * @domain: its domain
 * @kfolio: the shared page
 *
 * Context: under ksm.lock.
 * Return: false if this batch fills it up to max_page_sharing.
 */
bool ksm_batch_has_room(const struct ksm_domain *domain, const struct folio *kfolio)
{
	const struct ksm_stable_node *node = ksm_folio_node(kfolio);
	const struct ksm_merge *merge = domain->merge;
	unsigned int i, nr;

	/* It was migrated a moment ago: the request will fail. */
	if (!node)
		return true;
	nr = node->nr_items;
	if (nr + merge->nr_requests < domain->controls->max_page_sharing)
		return true;
	for (i = 0; i < merge->nr_requests; i++)
		nr += merge->request[i].kfolio == kfolio;
	return nr < domain->controls->max_page_sharing;
}

/**
 * ksm_batch_full - whether the requests should be carried out first
 * @merge: the batch
 *
 * Return: true if another candidate and its duplicate might not fit, or if the
 * requests of one page table are as many as are carried out together.
 */
bool ksm_batch_full(const struct ksm_merge *merge)
{
	return merge->full || merge->nr_requests + 2 > KSM_MAX_REQUESTS ||
	       merge->nr_own >= ksm_batch_pages();
}

/* The bytes are compared once more: a split cannot be taken back. */
static void split_large(struct ksm_lock *lock, struct ksm_request *request)
{
	struct page *kpage = request->kfolio ? &request->kfolio->page : ZERO_PAGE(0);
	struct ksm_target target;

	if (ksm_target_get(&target, lock, ksm_record_slot(request->record), request->address))
		return;
	ksm_target_unlock(&target);
	if (PageTransCompound(target.page) && ksm_pages_equal(target.page, kpage) &&
	    trylock_page(target.page)) {
		split_huge_page_keep_zeroes(target.page);
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
	for (request = first; request < end && merge->nr < ksm_batch_pages(); request++) {
		if (!request->pending || !same_table(first->mm, first->address, request) ||
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
	ksm_item_fill(request->item, vma, request->address);
	ksm_record_share(domain, request->record, ksm_folio_node(kfolio), request->item);
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
		merge->chosen[i]->result = merge->at[i].result;
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

	if (ksm_mmap_lock_soon(domain->lock, ksm_record_slot(first->record))) {
		vma = ksm_find_vma(first->mm, first->address);
		if (vma) {
			gather(domain->merge, vma, first);
			carry_out(domain, vma);
		}
		mmap_read_unlock(first->mm);
	}
	first->pending = false;
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

/*
 * A page that differs from the shared page with its sample is tried again, so this result
 * is not reported yet.
 */
static void note_result(struct ksm_domain *domain, const struct ksm_request *request)
{
	const enum ksm_result result = request->result;
	const bool told = trace_ksm_page_skipped_enabled() &&
			  (request->compared || result != KSM_DIFFERENT);

	domain->merge->outcomes |= BIT(result);
	if (result == KSM_MERGED)
		return;
	if (told || result == KSM_BUSY || result == KSM_NO_MEMORY)
		ksm_note_request(domain->lock, request->record, result);
}

static void finish(struct ksm_domain *domain)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i;

	for (i = 0; i < merge->nr_requests; i++) {
		note_result(domain, &merge->request[i]);
		ksm_item_free(merge->request[i].item);
		if (merge->request[i].kfolio)
			folio_put(merge->request[i].kfolio);
	}
	for (i = 0; i < merge->nr_fresh; i++)
		release_fresh(domain, merge->fresh[i]);
}

/**
 * ksm_batch_run - carry out all requests of a batch
 * @domain: the domain of the batch
 *
 * Context: a task; may sleep; under ksm.lock, with no mmap_lock held.
 */
void ksm_batch_run(struct ksm_domain *domain)
{
	struct ksm_merge *merge = domain->merge;
	unsigned int i;

	for (i = 0; i < merge->nr_requests; i++)
		if (merge->request[i].large)
			split_large(domain->lock, &merge->request[i]);
	for (i = 0; i < merge->nr_requests; i++)
		if (merge->request[i].pending)
			carry_out_with(domain, &merge->request[i]);
	finish(domain);
}
