/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: requests to merge, carried out together.
 */
#ifndef _MM_KSM_BATCH_H
#define _MM_KSM_BATCH_H

#include <linux/mm_types.h>
#include <linux/types.h>

#include "fingerprint.h"
#include "fresh.h"
#include "replace.h"

struct ksm_domain;
struct ksm_record;
struct ksm_rmap_item;
struct ksm_stable_node;

/* A candidate may bring along its duplicate. */
#define KSM_MAX_REQUESTS	(2 * KSM_BATCH_PAGES)
/* The request is for the duplicate of a candidate. */
#define KSM_NO_CANDIDATE	KSM_BATCH_PAGES

/**
 * struct ksm_request - a page and the shared page that its PTE is to map
 * @record: the record of the page; in no tree
 * @mm: the mm of the page
 * @address: its user address
 * @kfolio: the shared page, with a reference; NULL for the zero page
 * @item: for the new mapping, until it is used; NULL for the zero page
 * @large: the page belongs to a large folio
 * @compared: the bytes were compared before
 * @candidate: which candidate of the batch this is, or KSM_NO_CANDIDATE
 * @pending: not yet carried out
 * @result: what came of it
 */
struct ksm_request {
	struct ksm_record *record;
	struct mm_struct *mm;
	unsigned long address;
	struct folio *kfolio;
	struct ksm_rmap_item *item;
	bool large;
	bool compared;
	unsigned int candidate;
	bool pending;
	enum ksm_result result;
};

/* Results of counts that are kept; a page and its duplicate may need one each. */
#define KSM_NR_COUNTS		8

/**
 * struct ksm_count - whether merging is worth the split of a large folio
 * @pfn: the folio
 * @wanted: how many of its pages must have a duplicate
 * @pass: in which pass they were counted, low bits
 * @enough: that many have one
 */
struct ksm_count {
	unsigned long pfn;
	unsigned int wanted;
	u8 pass;
	bool enough;
};

/**
 * struct ksm_merge - one batch
 * @mm: the mm of the candidates
 * @address: user address of the first candidate; the others are of the same leaf
 * @compare: compare bytes before any request is made
 * @current_candidate: the candidate that requests are made for
 * @page: page of each candidate, with a reference; NULL or ERR_PTR() where none is left
 * @nr_requests: elements of @request in use
 * @request: what to do
 * @nr_own: how many of them are for the page table of the candidates
 * @nr_duplicates: how many of them are not for candidates
 * @nr_fresh: elements of @fresh in use
 * @fresh: shared pages that this batch has allocated, each with a reference
 * @nr: requests that are carried out together: elements of @chosen and @at in use
 * @chosen: these requests
 * @at: likewise, as replace.c wants them
 * @pass: the low bits of the number of the pass
 * @keep_large: no large folio is split
 * @count: the results of counts in large folios
 * @nr_locked: elements of @locked in use
 * @locked: shared pages whose lock is held
 * @full: the rest of the candidates have to wait for the next batch
 * @outcomes: a bit for each enum ksm_result that an attempt to merge has ended with
 * @reserve: pages set aside
 */
struct ksm_merge {
	struct mm_struct *mm;
	unsigned long address;
	bool compare;
	unsigned int current_candidate;
	struct page *page[KSM_BATCH_PAGES];
	unsigned int nr_requests;
	struct ksm_request request[KSM_MAX_REQUESTS];
	unsigned int nr_own;
	unsigned int nr_duplicates;
	unsigned int nr_fresh;
	struct folio *fresh[KSM_BATCH_PAGES];
	unsigned int nr;
	struct ksm_request *chosen[KSM_BATCH_PAGES];
	struct ksm_replacement at[KSM_BATCH_PAGES];
	u8 pass;
	bool keep_large;
	struct ksm_count count[KSM_NR_COUNTS];
	unsigned int nr_locked;
	struct folio *locked[KSM_BATCH_PAGES];
	bool full;
	unsigned int outcomes;
	struct ksm_reserve reserve;
};

/**
 * ksm_batch_pages - most PTEs of one page table that are replaced together
 *
 * Their pages are compared under one hold of the page table lock: 128 KiB with vector
 * instructions, 64 KiB without them, and 256 KiB where pages are larger.
 *
 * Return: at most KSM_BATCH_PAGES.
 */
static inline unsigned int ksm_batch_pages(void)
{
	return ksm_hash_vectors() ? KSM_BATCH_PAGES : MIN(16U, KSM_BATCH_PAGES);
}

void ksm_record_share(struct ksm_domain *domain, struct ksm_record *record,
		      struct ksm_stable_node *node, struct ksm_rmap_item *item);
void ksm_item_fill(struct ksm_rmap_item *item, struct vm_area_struct *vma,
		   unsigned long address);
bool ksm_batch_has(const struct ksm_merge *merge, const struct ksm_record *record);
void ksm_batch_add(struct ksm_merge *merge, const struct ksm_request *request);
bool ksm_batch_has_room(const struct ksm_domain *domain, const struct folio *kfolio);
bool ksm_batch_full(const struct ksm_merge *merge);
void ksm_batch_run(struct ksm_domain *domain);

#endif /* _MM_KSM_BATCH_H */
