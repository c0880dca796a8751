// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: whether a large folio has enough duplicates to be split.
 *
 * A page of a large folio can only be merged after the folio is split.  min_ptes_merged
 * says how many pages of a huge page must have a duplicate; of a smaller large folio, in
 * proportion.  Counting needs no split and reads samples only.
 *
 * When the scan finds the second page with a sample, it marks the sample in the filter.
 * So the pages of two equal huge pages are marked in one pass, and both folios are split
 * in the next.  The filter has one bit for several tags, so some unique pages are counted,
 * too.  The expected number of these, less two standard deviations, is subtracted.  So a
 * folio that has enough duplicates is rarely kept.
 */

#include <linux/ksm.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>

#include "batch.h"
#include "domain.h"
#include "fingerprint.h"
#include "huge.h"
#include "page.h"
#include "settings.h"

/* Returns 1 if the page probably has a duplicate. */
static unsigned int has_duplicate(const struct ksm_domain *domain, struct page *page)
{
	if (PageHWPoison(page))
		return 0;
	return ksm_filter_repeated(&domain->filter,
				   ksm_tag(ksm_page_key(domain, page, ksm_sample)));
}

/* Whether @wanted pages of a folio have duplicates, as far as samples tell. */
static bool enough_duplicates(const struct ksm_domain *domain, struct folio *folio,
			      unsigned int wanted)
{
	unsigned int left = folio_nr_pages(folio), found = 0;
	unsigned int by_chance;

	by_chance = ksm_filter_expected(&domain->filter, left - wanted);
	wanted += by_chance - min(by_chance, 2 * (unsigned int)int_sqrt(by_chance));
	while (found < wanted && found + left >= wanted)
		found += has_duplicate(domain, folio_page(folio, --left));
	return found >= wanted;
}

/* The result of a count is kept for the pass: the other pages ask for it as well. */
static bool worth_a_split(const struct ksm_domain *domain, struct folio *folio,
			  unsigned int wanted)
{
	struct ksm_merge *merge = domain->merge;
	const unsigned long nr = folio_pfn(folio) >> folio_order(folio);
	struct ksm_count *count = &merge->count[nr % ARRAY_SIZE(merge->count)];

	if (count->pfn != folio_pfn(folio) || count->wanted != wanted ||
	    count->pass != merge->pass) {
		count->pfn = folio_pfn(folio);
		count->wanted = wanted;
		count->pass = merge->pass;
		count->enough = enough_duplicates(domain, folio, wanted);
	}
	return count->enough;
}

/**
 * ksm_may_split - whether a page may be merged if its large folio has to be split
 * @domain: the domain of the page
 * @page: the page, with a reference
 *
 * Context: under ksm.lock, between ksm_merge_candidates() and its end.
 * Return: true if the page is in no large folio, or if enough pages of that have a
 * duplicate.
 */
bool ksm_may_split(const struct ksm_domain *domain, struct page *page)
{
	const unsigned int least = READ_ONCE(domain->controls->min_ptes_merged);
	struct folio *folio = page_folio(page);

	if (!folio_test_large(folio))
		return true;
	if (domain->merge->keep_large)
		return false;
	if (least <= 1)
		return true;
	return worth_a_split(domain, folio,
			     DIV_ROUND_UP(least * folio_nr_pages(folio), HPAGE_PMD_NR));
}

/**
 * ksm_keeps_small - whether ksmd would split a range again that was made huge
 * @merged: how many PTEs of the range map a page that KSM shares, or the zero page for KSM
 *
 * The huge page would have a copy of each of these pages, and each copy a duplicate.
 *
 * Context: khugepaged; any locks.
 * Return: true if the range has to stay as it is.
 */
bool ksm_keeps_small(unsigned int merged)
{
	return merged >= READ_ONCE(ksm_settings.controls.min_ptes_merged);
}
