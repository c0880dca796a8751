// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: making equal pages one, and one page several again.
 *
 * Fingerprints suggest what to merge; contents decide.  A page is compared while
 * its entry is cleared and flushed, when nobody can write to it, and only if its
 * references are the mappings, the swap cache and our own, so that nobody is
 * about to.
 *
 * One mmap_lock is held at a time.  Two pages that are like each other are hence
 * merged in two steps: the first becomes a shared page with a single mapping,
 * the second is then merged with that like any other; if this fails, the first
 * step is undone.
 */

#include <linux/ksm.h>
#include <linux/rmap.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "domain.h"
#include "merge.h"
#include "page.h"
#include "record.h"
#include "replace.h"
#include "stable.h"
#include "unmerge.h"
#include "vma.h"

/* Records with one and the same sample that a search converts at most. */
#define KSM_MAX_CONVERSIONS	4
/* Records with one and the same tag that a search asks for their page at most. */
#define KSM_MAX_PROBES		4

/**
 * struct ksm_content - what a page holds, as far as it was read
 * @sample: key of its sample
 * @key: key of all of it; @sample again where that was enough
 * @whole: all of it was read
 */
struct ksm_content {
	u64 sample;
	u64 key;
	bool whole;
};

static int result_to_errno(enum ksm_result result)
{
	return result == KSM_MERGED ? 0 : -EFAULT;
}

static void read_whole(const struct ksm_domain *domain, struct ksm_content *content,
		       struct page *page)
{
	content->key = ksm_page_key(domain, page, ksm_fingerprint);
	content->whole = true;
}

/* @page differs from one with the same sample, unless it has changed meanwhile. */
static enum ksm_result mixed_or_gone(const struct ksm_domain *domain, struct page *page,
				      const struct ksm_content *content)
{
	return ksm_page_key(domain, page, ksm_sample) == content->sample ? KSM_MIXED : KSM_GONE;
}

/* mmap_lock keeps the anon_vma until the rmap_item has its own reference. */
static void item_fill(struct ksm_rmap_item *item, struct ksm_subject *subject)
{
	struct vm_area_struct *vma = subject->vma;

	item->mm = vma->vm_mm;
	item->address = subject->address;
	item->index = linear_page_index(vma, subject->address);
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

/* Merge with a shared page that is locked; the lock and reference stay. */
static enum ksm_result merge_into(struct ksm_domain *domain, struct ksm_record *record,
				  struct ksm_subject *subject, struct folio *kfolio)
{
	struct ksm_rmap_item *item;
	enum ksm_result result;

	/* One of them was moved; the shared page gets its new key in this pass. */
	if (ksm_page_nid(domain, subject->page) != ksm_page_nid(domain, &kfolio->page))
		return KSM_BUSY;
	item = ksm_item_alloc();
	if (!item)
		return KSM_NO_MEMORY;
	result = ksm_replace(subject, &kfolio->page);
	trace_ksm_merge_with_ksm_page(&kfolio->page, folio_pfn(kfolio), item,
				      subject->vma->vm_mm, result_to_errno(result));
	if (result != KSM_MERGED) {
		ksm_item_free(item);
		return result;
	}
	item_fill(item, subject);
	record_share(domain, record, ksm_folio_node(kfolio), item);
	return KSM_MERGED;
}

/* Merge with a page that is shared under @key. */
static enum ksm_result merge_key(struct ksm_domain *domain, struct ksm_record *record,
				 struct ksm_subject *subject, u64 key)
{
	struct folio *kfolio = ksm_stable_candidate(domain, key);
	enum ksm_result result;

	if (!kfolio)
		return KSM_DIFFERENT;
	if (IS_ERR(kfolio))
		return KSM_BUSY;
	result = merge_into(domain, record, subject, kfolio);
	if (result == KSM_DIFFERENT)
		result = KSM_MIXED;
	folio_unlock(kfolio);
	folio_put(kfolio);
	return result;
}

/* Merge a zeroed page with the zero page, where that is wanted and can be done. */
static bool merge_zero(struct ksm_domain *domain, struct ksm_record *record,
		       struct ksm_subject *subject)
{
	struct mm_struct *mm = subject->vma->vm_mm;
	struct page *zero = ZERO_PAGE(subject->address);
	enum ksm_result result;

	if (!READ_ONCE(domain->controls->use_zero_pages) || mm_forbids_zeropage(mm))
		return false;
	result = ksm_replace(subject, zero);
	trace_ksm_merge_one_page(page_to_pfn(zero), record, mm, result_to_errno(result));
	if (result != KSM_MERGED)
		return false;
	ksm_record_forget(domain, record);
	return true;
}

/*
 * A page that is shared under @key, with a reference; NULL where there is none,
 * or where it is broken and not to be read.
 */
static struct folio *shared_folio(struct ksm_domain *domain, u64 key,
				  struct ksm_stable_node **node)
{
	struct folio *folio = NULL;

	while (!folio) {
		*node = ksm_stable_find(domain, key);
		if (!*node)
			break;
		folio = ksm_stable_folio(domain, *node, KSM_FOLIO_NOLOCK);
	}
	if (folio && folio_test_hwpoison(folio)) {
		folio_put(folio);
		return NULL;
	}
	return folio;
}

/* Whether the pages that are shared under @key hold something else. */
static bool differs_from_shared(struct ksm_domain *domain, struct page *page, u64 key)
{
	struct ksm_stable_node *node;
	struct folio *kfolio = shared_folio(domain, key, &node);
	bool equal;

	if (!kfolio)
		return false;
	equal = ksm_pages_equal(page, &kfolio->page);
	folio_put(kfolio);
	return !equal;
}

/*
 * Now that nobody can write to the page: whether it still holds what it is to be
 * known by, and may be shared.
 */
static enum ksm_result confirm_shared(struct ksm_domain *domain, struct page *page,
				      const struct ksm_content *content)
{
	u64 key = ksm_page_key(domain, page, content->whole ? ksm_fingerprint : ksm_sample);

	if (key != content->key || differs_from_shared(domain, page, key))
		return KSM_DIFFERENT;
	return ksm_folio_claim(page_folio(page)) ? KSM_MERGED : KSM_BUSY;
}

/* First step: the page becomes a shared one.  @node and @item are used then. */
static enum ksm_result make_shared(struct ksm_domain *domain, struct ksm_record *record,
				   struct ksm_subject *subject,
				   const struct ksm_content *content,
				   struct ksm_stable_node *node,
				   struct ksm_rmap_item *item)
{
	enum ksm_result result = ksm_subject_lock(subject, true);
	struct folio *folio;

	if (result != KSM_MERGED)
		goto out;
	folio = page_folio(subject->page);
	result = ksm_replace_locked(subject, NULL);
	/* If it is not to be shared, it is just write-protected for nothing. */
	if (result == KSM_MERGED)
		result = confirm_shared(domain, subject->page, content);
	if (result == KSM_MERGED) {
		ksm_stable_insert(domain, node, folio, content->key, content->sample);
		ksm_folio_become_shared(folio, node);
		item_fill(item, subject);
		record_share(domain, record, node, item);
	}
	folio_unlock(folio);
out:
	trace_ksm_merge_with_ksm_page(NULL, page_to_pfn(subject->page), item,
				      subject->vma->vm_mm, result_to_errno(result));
	return result;
}

/* Undo the first step. */
static void break_share(struct ksm_domain *domain, struct ksm_record *record)
{
	struct mm_struct *mm = ksm_record_mm(record);
	unsigned long address = ksm_record_address(record);
	struct vm_area_struct *vma;

	mmap_read_lock(mm);
	vma = ksm_find_vma(mm, address);
	if (vma)
		ksm_break_range(vma, address, address + PAGE_SIZE);
	mmap_read_unlock(mm);
	ksm_record_unshare(domain, record);
}

/* Second step: merge the page of @record with the one that @first shares. */
static enum ksm_result join_shared(struct ksm_domain *domain, struct ksm_record *first,
				   struct ksm_record *record)
{
	struct ksm_subject subject;
	enum ksm_result result = KSM_BUSY;
	struct folio *kfolio;

	if (!first->item->node)
		return KSM_GONE;
	if (!ksm_subject_get(&subject, ksm_record_mm(record), ksm_record_address(record)))
		return KSM_GONE;
	kfolio = ksm_stable_folio(domain, first->item->node, KSM_FOLIO_TRYLOCK);
	if (!IS_ERR_OR_NULL(kfolio)) {
		result = merge_into(domain, record, &subject, kfolio);
		folio_unlock(kfolio);
		folio_put(kfolio);
	}
	ksm_subject_put(&subject);
	return result;
}

static enum ksm_result share_first(struct ksm_domain *domain, struct ksm_record *record,
				   const struct ksm_content *content)
{
	struct ksm_stable_node *node = ksm_node_alloc();
	struct ksm_rmap_item *item = ksm_item_alloc();
	enum ksm_result result = KSM_NO_MEMORY;
	struct ksm_subject subject;

	if (node && item) {
		result = KSM_GONE;
		if (ksm_subject_get(&subject, ksm_record_mm(record), ksm_record_address(record))) {
			result = make_shared(domain, record, &subject, content,
					     node, item);
			ksm_subject_put(&subject);
		}
	}
	if (result != KSM_MERGED) {
		ksm_node_free(node);
		ksm_item_free(item);
	}
	return result;
}

/*
 * Compare the page of @other, which has the tag of @content, with @page.
 * KSM_MERGED stands for the same content in another page, KSM_BUSY for the very
 * same page, which two processes map after a fork, KSM_GONE for a page of either
 * that holds something else by now, or lies elsewhere.
 */
static enum ksm_result check_other(const struct ksm_domain *domain,
				   const struct ksm_record *other, struct page *page,
				   const struct ksm_content *content)
{
	ksm_hash_fn *hash = content->whole ? ksm_fingerprint : ksm_sample;
	enum ksm_result result;
	struct ksm_subject subject;

	if (!ksm_subject_get(&subject, ksm_record_mm(other), ksm_record_address(other)))
		return KSM_GONE;
	if (subject.page == page)
		result = KSM_BUSY;
	else if (ksm_page_nid(domain, subject.page) != ksm_page_nid(domain, page))
		result = KSM_GONE;
	else if (ksm_pages_equal(page, subject.page))
		result = KSM_MERGED;
	else if (ksm_tag(ksm_page_key(domain, subject.page, hash)) != other->tag)
		result = KSM_GONE;
	else
		result = content->whole ? KSM_DIFFERENT : KSM_MIXED;
	ksm_subject_put(&subject);
	return result;
}

/*
 * Find the record of a page with the same content.  Those whose page no longer
 * holds what their tag says leave the table.
 */
static enum ksm_result find_other(struct ksm_domain *domain, struct page *page,
				  const struct ksm_content *content,
				  struct ksm_record **found)
{
	struct ksm_record *other, *next;
	unsigned int i = 0;

	other = ksm_unstable_find(&domain->unstable, ksm_tag(content->key),
				  content->whole);
	for (; other && i < KSM_MAX_PROBES; other = next, i++) {
		enum ksm_result result = check_other(domain, other, page, content);

		next = ksm_unstable_next(other);
		*found = other;
		if (result == KSM_GONE)
			ksm_unstable_remove(&domain->unstable, other);
		else if (result != KSM_DIFFERENT)
			return result;
	}
	return other ? KSM_BUSY : KSM_DIFFERENT;
}

/*
 * Merge the pages of two records; undo it where the second does not come along.  A
 * page that must not become the shared one may still be merged with it.
 */
static void merge_pair(struct ksm_domain *domain, struct ksm_record *record,
		       struct ksm_record *other, const struct ksm_content *content)
{
	struct ksm_record *first = record, *second = other;
	enum ksm_result result = share_first(domain, first, content);

	if (result == KSM_UNWILLING) {
		swap(first, second);
		result = share_first(domain, first, content);
	}
	if (result != KSM_MERGED || join_shared(domain, first, second) == KSM_MERGED)
		return;
	break_share(domain, first);
	/* It stood in the way: let it leave its place to @record. */
	ksm_record_unshare(domain, other);
	ksm_unstable_insert(&domain->unstable, record);
}

/*
 * A record stands in the unstable tree by the sample of its page, which another
 * content has as well: make it stand there by the whole page.
 */
static void convert(struct ksm_domain *domain, struct ksm_record *record)
{
	struct ksm_subject subject;
	u64 sample, key;

	ksm_unstable_remove(&domain->unstable, record);
	if (!ksm_subject_get(&subject, ksm_record_mm(record), ksm_record_address(record)))
		return;
	sample = ksm_page_key(domain, subject.page, ksm_sample);
	key = ksm_page_key(domain, subject.page, ksm_fingerprint);
	ksm_subject_put(&subject);
	if (ksm_tag(sample) != record->tag) {
		record->tag = ksm_tag(sample);
		return;
	}
	record->tag = ksm_tag(key);
	record->full = true;
	/* Where its like stands there, the next look at this page will find that. */
	if (!ksm_unstable_find(&domain->unstable, record->tag, true))
		ksm_unstable_insert(&domain->unstable, record);
}

static void convert_sampled(struct ksm_domain *domain, u64 sample)
{
	struct ksm_record *record;
	unsigned int i;

	for (i = 0; i < KSM_MAX_CONVERSIONS; i++) {
		record = ksm_unstable_find(&domain->unstable, ksm_tag(sample), false);
		if (!record)
			return;
		convert(domain, record);
	}
}

/*
 * The page of @record is settled and in no tree, its tag that of @content.  Where
 * its like cannot be merged with it now, it stays out of the table: one of them
 * in there is enough to be found by the next.  @page has a reference, dropped
 * here: nobody but its mappings may have one when it is merged.
 */
static enum ksm_result merge_unstable(struct ksm_domain *domain,
				      struct ksm_record *record, struct page *page,
				      const struct ksm_content *content)
{
	struct ksm_record *other;
	enum ksm_result result;

	if (content->whole)
		convert_sampled(domain, content->sample);
	result = find_other(domain, page, content, &other);
	if (result == KSM_MIXED)
		result = mixed_or_gone(domain, page, content);
	put_page(page);
	if (result == KSM_MERGED)
		merge_pair(domain, record, other, content);
	else if (result == KSM_DIFFERENT)
		ksm_unstable_insert(&domain->unstable, record);
	return result;
}

/* Two contents turned out to have a sample: from now on whole pages are read. */
static void set_mixed(struct ksm_domain *domain, u64 sample)
{
	struct ksm_stable_node *node;
	struct folio *kfolio = shared_folio(domain, sample, &node);
	u64 fingerprint;

	ksm_filter_set_ambiguous(&domain->filter, ksm_tag(sample));
	if (!kfolio)
		return;
	fingerprint = ksm_page_fingerprint(domain, &kfolio->page);
	ksm_stable_set_key(domain, sample, ksm_key_on_node(fingerprint, node->nid));
	folio_put(kfolio);
}

/* On another NUMA node the sample may be that of another content. */
static void rekey_shared(struct ksm_domain *domain, struct ksm_stable_node *node,
			 const struct folio *folio)
{
	if (node->nid != ksm_page_nid(domain, &folio->page) && node->key == node->sample)
		set_mixed(domain, node->sample);
	ksm_stable_rekey(domain, node, folio);
}

/*
 * A shared page turns up where no scan saw it before: after a fork, or where it
 * was swapped in again.  It keeps its mapping whatever max_page_sharing says.
 */
static void adopt_shared(struct ksm_domain *domain, struct ksm_record *record,
			 struct ksm_subject *subject)
{
	struct folio *folio = page_folio(subject->page);
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
	if (node) {
		item_fill(item, subject);
		record_share(domain, record, node, item);
		rekey_shared(domain, node, folio);
	} else {
		ksm_item_free(item);
	}
	folio_unlock(folio);
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

/*
 * Merge with a page that is shared already.  KSM_DIFFERENT means that there is
 * none with room, KSM_MIXED that all of the page has to be read to find one.
 */
static enum ksm_result merge_stable(struct ksm_domain *domain, struct ksm_record *record,
				    struct ksm_subject *subject,
				    const struct ksm_content *content)
{
	enum ksm_result result = merge_key(domain, record, subject, content->sample);

	if (result == KSM_DIFFERENT &&
	    differs_from_shared(domain, subject->page, content->sample))
		result = KSM_MIXED;
	if (result == KSM_MIXED)
		return mixed_or_gone(domain, subject->page, content);
	if (result != KSM_DIFFERENT || !content->whole)
		return result;
	result = merge_key(domain, record, subject, content->key);
	return result == KSM_MIXED ? KSM_BUSY : result;
}

static enum ksm_result merge_known(struct ksm_domain *domain, struct ksm_record *record,
				   struct ksm_subject *subject,
				   const struct ksm_content *content, bool settled)
{
	int nid = ksm_page_nid(domain, subject->page);

	if (content->whole && content->key == ksm_key_on_node(domain->key->zero, nid)) {
		/* Zeroed pages are often about to be written to. */
		if (!settled)
			return KSM_BUSY;
		if (merge_zero(domain, record, subject))
			return KSM_MERGED;
	}
	return merge_stable(domain, record, subject, content);
}

static enum ksm_result cmp_and_merge(struct ksm_domain *domain, struct ksm_record *record,
				     struct ksm_content *content, bool settled)
{
	struct ksm_subject subject;
	enum ksm_result result;

	if (!ksm_subject_get(&subject, ksm_record_mm(record), ksm_record_address(record))) {
		ksm_record_forget(domain, record);
		return KSM_GONE;
	}
	if (PageKsm(subject.page)) {
		adopt_shared(domain, record, &subject);
		ksm_subject_put(&subject);
		return KSM_MERGED;
	}
	if (record->state == KSM_SHARED) {
		ksm_record_unshare(domain, record);
		record->full = false;
	}
	if (!content->sample)
		content->sample = ksm_page_key(domain, subject.page, ksm_sample);
	content->key = content->sample;
	if (ksm_filter_ambiguous(&domain->filter, ksm_tag(content->sample)))
		read_whole(domain, content, subject.page);
	settled = record_settled(domain, record, content, settled);
	result = merge_known(domain, record, &subject, content, settled);
	if (!settled || result != KSM_DIFFERENT) {
		ksm_subject_put(&subject);
		return result;
	}
	get_page(subject.page);
	ksm_subject_put(&subject);
	return merge_unstable(domain, record, subject.page, content);
}

static void cmp_and_merge_page(struct ksm_domain *domain,
			       const struct ksm_candidate *candidate)
{
	struct ksm_content content = { .sample = candidate->sample };
	struct ksm_record *record = candidate->record;
	const u8 skips = record->skips;

	if (cmp_and_merge(domain, record, &content, candidate->settled) == KSM_MIXED) {
		set_mixed(domain, content.sample);
		cmp_and_merge(domain, record, &content, candidate->settled);
	}
	/* It is in the index again, where a duplicate finds it meanwhile. */
	if (record->state == KSM_UNSHARED)
		record->skips = skips;
}

/**
 * ksm_merge_candidates - merge pages with their duplicates
 * @domain: the trees
 * @candidate: pages of one leaf
 * @nr: number of candidates
 *
 * A page is looked up among the shared pages, then in the unstable tree, which it
 * joins if nothing is found.
 *
 * Most samples belong to a single content, and what is found by a sample is compared
 * without hashing the whole page.  If it differs, pages with that sample are looked
 * up by a fingerprint of the whole page.
 *
 * Context: ksmd; may sleep; under ksm.lock, with no mmap_lock held.
 */
void ksm_merge_candidates(struct ksm_domain *domain, const struct ksm_candidate *candidate,
			  unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		cmp_and_merge_page(domain, &candidate[i]);
		cond_resched();
	}
}
