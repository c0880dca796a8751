// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: finding the duplicate of a page.
 *
 * Both indexes are searched by key.  The bytes are compared before a huge page is split
 * and before a shared page is allocated.  A small page that may join a shared page
 * is not compared here: it is compared when its PTE is cleared, and nearly always equal.
 *
 * Most samples belong to a single content, and their key finds the duplicate.  A
 * sample of several contents is ambiguous: its pages are found by a fingerprint of the
 * whole page.
 */

#include <linux/mm.h>

#include "batch.h"
#include "domain.h"
#include "huge.h"
#include "match.h"
#include "page.h"
#include "record.h"
#include "skip.h"
#include "stable.h"

/* Records with one sample that a search converts at most. */
#define KSM_MAX_CONVERSIONS	4
/* Records with one tag whose pages a search reads at most. */
#define KSM_MAX_PROBES		4
/* Shared pages that one collision gives another key at most. */
#define KSM_MAX_REKEYED		1024

/**
 * ksm_content_read - read what a page is found by
 * @domain: the domain of the page
 * @content: @sample is 0 or the key of the sample; filled in
 * @page: the page, with a reference
 *
 * Context: any task context; under ksm.lock.  The page may change meanwhile.
 */
void ksm_content_read(const struct ksm_domain *domain, struct ksm_content *content,
		      struct page *page)
{
	if (!content->sample)
		content->sample = ksm_page_key(domain, page, ksm_sample);
	content->key = content->sample;
	content->whole = ksm_filter_ambiguous(&domain->filter, ksm_tag(content->sample));
	if (content->whole)
		content->key = ksm_page_key(domain, page, ksm_fingerprint);
}

/* @page differs from a page with the same sample, unless it has just changed. */
static enum ksm_result collision_or_gone(const struct ksm_domain *domain,
					 struct page *page,
					 const struct ksm_content *content)
{
	return ksm_page_key(domain, page, ksm_sample) == content->sample ?
	       KSM_SAMPLE_COLLISION : KSM_GONE;
}

/* A page that is shared under @key, with a reference; ERR_PTR() if it is poisoned. */
static struct folio *shared_folio(struct ksm_domain *domain, u64 key,
				  struct ksm_stable_node **node)
{
	struct folio *folio = NULL;

	while (!folio) {
		*node = ksm_stable_find(domain, key);
		if (!*node)
			return NULL;
		folio = ksm_stable_folio(domain, *node, KSM_FOLIO_NOLOCK);
		if (folio)
			folio = ksm_drop_if_hwpoison(domain, *node, folio);
	}
	return folio;
}

/**
 * ksm_differs_from_shared - whether the pages shared under a key hold something else
 * @domain: the trees
 * @page: the page, with a reference
 * @key: the key
 *
 * Context: may sleep; under ksm.lock.
 * Return: true where there is such a page and it differs, or is poisoned.
 */
bool ksm_differs_from_shared(struct ksm_domain *domain, struct page *page, u64 key)
{
	struct ksm_stable_node *node;
	struct folio *kfolio = shared_folio(domain, key, &node);
	bool equal;

	if (IS_ERR(kfolio))
		return true;
	if (!kfolio)
		return false;
	equal = ksm_pages_equal(page, &kfolio->page);
	folio_put(kfolio);
	return !equal;
}

/**
 * ksm_set_ambiguous - note that a sample belongs to several contents
 * @domain: the trees
 * @sample: key of the sample
 *
 * From here on pages with that sample are read as a whole.  If very many shared pages are
 * found by the sample, the next collisions change the keys of the rest.
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_set_ambiguous(struct ksm_domain *domain, u64 sample)
{
	struct ksm_stable_node *node;
	struct folio *kfolio = shared_folio(domain, sample, &node);
	u64 key;

	ksm_filter_set_ambiguous(&domain->filter, ksm_tag(sample));
	if (IS_ERR_OR_NULL(kfolio))
		return;
	key = ksm_key_on_node(ksm_page_fingerprint(domain, &kfolio->page), node->nid);
	/* The pages of a ring are equal, whatever their fingerprints: see poison.c. */
	if (!ksm_differs_from_shared(domain, &kfolio->page, key))
		ksm_stable_set_key(domain, sample, key, KSM_MAX_REKEYED);
	folio_put(kfolio);
}

static enum ksm_result match_key(struct ksm_domain *domain, struct page *page, u64 key,
				 bool compare, struct folio **found)
{
	enum ksm_result result = KSM_MERGED;
	struct folio *folio;
	bool has_room;

	folio = ksm_stable_candidate(domain, key, &has_room);
	if (!folio)
		return KSM_DIFFERENT;
	if (IS_ERR(folio))
		return KSM_BUSY;
	/* One of the pages was migrated.  The shared page gets its new key in this pass. */
	if (ksm_page_nid(domain, page) != ksm_page_nid(domain, &folio->page))
		result = KSM_BUSY;
	else if ((compare || !has_room) && !ksm_pages_equal(page, &folio->page))
		result = KSM_SAMPLE_COLLISION;
	else if (!has_room)
		result = KSM_DIFFERENT;
	if (result == KSM_MERGED)
		*found = folio;
	else
		folio_put(folio);
	return result;
}

/**
 * ksm_match_stable - find a shared page that a page may be merged with
 * @domain: the trees
 * @page: the page, with a reference
 * @content: what was read of it
 * @compare: compare bytes, too; the merge does so in any case
 * @found: set to the shared page, with a reference
 *
 * Context: may sleep; under ksm.lock, with no mmap_lock held.
 * Return: KSM_MERGED where one is found; KSM_DIFFERENT where none has room;
 * KSM_SAMPLE_COLLISION where the whole page has to be read to find one; KSM_BUSY or
 * KSM_GONE where the page is to be left alone for now.
 */
enum ksm_result ksm_match_stable(struct ksm_domain *domain, struct page *page,
				 const struct ksm_content *content, bool compare,
				 struct folio **found)
{
	enum ksm_result result = match_key(domain, page, content->sample, compare, found);

	if (result == KSM_SAMPLE_COLLISION)
		return collision_or_gone(domain, page, content);
	if (result != KSM_DIFFERENT || !content->whole)
		return result;
	result = match_key(domain, page, content->key, compare, found);
	return result == KSM_SAMPLE_COLLISION ? KSM_BUSY : result;
}

/* An equal page of @other that cannot be merged leaves its reason in @found. */
static enum ksm_result compare_other(const struct ksm_domain *domain,
				     const struct ksm_record *other, struct page *page,
				     const struct ksm_content *content,
				     struct page *other_page, struct ksm_duplicate *found)
{
	ksm_hash_fn *hash = content->whole ? ksm_fingerprint : ksm_sample;

	if (other_page == page)
		return KSM_BUSY;
	if (PageKsm(other_page) ||
	    ksm_page_nid(domain, other_page) != ksm_page_nid(domain, page))
		return KSM_GONE;
	if (ksm_pages_equal(page, other_page)) {
		if (!ksm_may_split(domain, other_page)) {
			found->reason = ksm_skip_reason(other_page, KSM_KEPT);
			return KSM_GONE;
		}
		if (ksm_page_only_mapped(other_page))
			return KSM_MERGED;
		found->reason = ksm_skip_reason(other_page, KSM_BUSY);
		/* Its own visit found no duplicate yet, so nothing else reports it. */
		domain->merge->outcomes |= BIT(KSM_BUSY);
		return KSM_GONE;
	}
	if (ksm_tag(ksm_page_key(domain, other_page, hash)) != other->tag)
		return KSM_GONE;
	return content->whole ? KSM_DIFFERENT : KSM_SAMPLE_COLLISION;
}

/*
 * Compare the page of @other, which has the tag of @content, with @page.  KSM_BUSY
 * stands for the very same page, which two processes map after a fork.  KSM_GONE says
 * that @other must leave the index: its page has changed, or cannot be read or merged
 * now and would keep the next duplicates of @page from being found.
 */
static enum ksm_result check_other(const struct ksm_domain *domain,
				   const struct ksm_record *other, struct page *page,
				   const struct ksm_content *content,
				   struct ksm_duplicate *found)
{
	struct ksm_target target;
	enum ksm_result result;
	int err;

	err = ksm_target_get(&target, domain->lock, ksm_record_slot(other),
			     ksm_record_address(other));
	if (err == -EBUSY) {
		found->reason = KSM_SKIP_LOCKED;
		domain->merge->outcomes |= BIT(KSM_BUSY);
	}
	if (err)
		return KSM_GONE;
	result = compare_other(domain, other, page, content, target.page, found);
	found->large = folio_test_large(page_folio(target.page));
	ksm_target_put(&target);
	return result;
}

static enum ksm_result find_other(struct ksm_domain *domain, struct page *page,
				  const struct ksm_content *content,
				  struct ksm_duplicate *found)
{
	struct ksm_record *other, *next;
	unsigned int i = 0;

	other = ksm_unstable_find(&domain->unstable, ksm_tag(content->key),
				  content->whole);
	for (; other && i < KSM_MAX_PROBES; other = next, i++) {
		enum ksm_result result;

		found->reason = KSM_SKIP_CHANGED;
		result = check_other(domain, other, page, content, found);
		next = ksm_unstable_next(other);
		found->record = other;
		if (result == KSM_GONE) {
			ksm_record_remove(domain, other);
			ksm_note_skipped(other, found->reason);
			continue;
		}
		if (result != KSM_DIFFERENT)
			return result;
	}
	return other ? KSM_BUSY : KSM_DIFFERENT;
}

/*
 * The record is in the index by the sample of its page, and another content has the same
 * sample.  Insert it by the fingerprint of the whole page instead.
 */
static void convert(struct ksm_domain *domain, struct ksm_record *record)
{
	struct ksm_target target;
	u64 sample, key;

	ksm_record_remove(domain, record);
	if (ksm_target_get(&target, domain->lock, ksm_record_slot(record),
			   ksm_record_address(record)))
		return;
	sample = ksm_page_key(domain, target.page, ksm_sample);
	key = ksm_page_key(domain, target.page, ksm_fingerprint);
	ksm_target_put(&target);
	if (ksm_tag(sample) != record->tag) {
		record->tag = ksm_tag(sample);
		return;
	}
	record->tag = ksm_tag(key);
	record->full = true;
	/* If a duplicate is there, the next visit of this page finds it. */
	if (!ksm_unstable_find(&domain->unstable, record->tag, true))
		ksm_record_insert(domain, record);
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

/**
 * ksm_match_unstable - find a duplicate that is not shared yet
 * @domain: the trees
 * @page: the page, with a reference; its record is in no tree
 * @content: what was read of it
 * @found: filled in
 *
 * Records whose page no longer holds what their tag says leave the index.
 *
 * Context: may sleep; under ksm.lock, with no mmap_lock held.
 * Return: KSM_MERGED where one is found; KSM_DIFFERENT where there is none;
 * KSM_SAMPLE_COLLISION where the whole page has to be read to find one; KSM_BUSY or
 * KSM_GONE where the page is to be left alone for now.
 */
enum ksm_result ksm_match_unstable(struct ksm_domain *domain, struct page *page,
				   const struct ksm_content *content,
				   struct ksm_duplicate *found)
{
	enum ksm_result result;

	if (content->whole)
		convert_sampled(domain, content->sample);
	result = find_other(domain, page, content, found);
	if (result == KSM_SAMPLE_COLLISION)
		result = collision_or_gone(domain, page, content);
	return result;
}
