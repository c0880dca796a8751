// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what the sample of a page says about merging it.
 *
 * Most pages are unique and unchanged.  The filter tells them from the few that
 * may have a duplicate, so that a visit reads a sample and nothing else.  With
 * smart_scan, visits that find nothing become rare.
 */

#include <linux/minmax.h>

#include "domain.h"
#include "fingerprint.h"
#include "record.h"
#include "visit.h"

/* Visits that every page gets before any is skipped. */
#define KSM_VISITS_BEFORE_SKIP	3
#define KSM_MAX_AGE		31
/* A write at most this many passes after a merge counts as soon. */
#define KSM_SOON		64

static enum ksm_visit visit_new(struct ksm_domain *domain, struct ksm_record *record,
				u64 sample)
{
	ksm_record_seen(domain, record);
	record->tag = ksm_tag(sample);
	record->full = false;
	return ksm_filter_repeated(&domain->filter, record->tag) ?
		KSM_VISIT_CANDIDATE : KSM_VISIT_DONE;
}

/*
 * A page that changed is in no index: no duplicate can find it until it settles.
 * It is visited in the next pass, unless it changes all the time.
 */
static void visit_changed(struct ksm_domain *domain, struct ksm_record *record, u64 sample)
{
	const u8 age = record->state == KSM_UNSHARED ? 0 : record->age;

	ksm_record_changed(domain, record, ksm_tag(sample));
	record->age = age;
}

/* The page is unchanged.  Look for a duplicate. */
static enum ksm_visit visit_unchanged(struct ksm_domain *domain, struct ksm_record *record)
{
	if (!ksm_filter_repeated(&domain->filter, record->tag)) {
		if (record->state == KSM_UNSHARED)
			return KSM_VISIT_DONE;	/* it is in the index already */
		if (!ksm_unstable_find(&domain->unstable, record->tag, record->full)) {
			ksm_record_insert(domain, record);
			return KSM_VISIT_DONE;
		}
		ksm_filter_set_repeated(&domain->filter, record->tag);
	}
	return KSM_VISIT_SETTLED;
}

/*
 * A rebuild of the filter drops the bits of a sample while the records of its pages
 * stay.  These bits are set again here, as otherwise no other page would find them.
 */
static void keep_ambiguous(struct ksm_filter *filter, u32 tag)
{
	if (!ksm_filter_ambiguous(filter, tag))
		ksm_filter_set_ambiguous(filter, tag);
}

/* Not inline: the usual case below needs no registers saved. */
static noinline enum ksm_visit visit_unusual(struct ksm_domain *domain,
					     struct ksm_record *record, u64 sample, u64 key)
{
	if (record->state == KSM_NONE)
		return visit_new(domain, record, sample);
	if (record->tag != ksm_tag(key)) {
		visit_changed(domain, record, sample);
		return KSM_VISIT_DONE;
	}
	if (record->full)
		keep_ambiguous(&domain->filter, ksm_tag(sample));
	return visit_unchanged(domain, record);
}

/**
 * ksm_visit_page - note what a page holds, and whether it may have a duplicate
 * @domain: the domain of the page
 * @record: its record, not KSM_SHARED
 * @sample: key of its sample
 * @key: key of the whole page if @record->full, else @sample
 *
 * Context: under ksm.lock.
 * Return: what to do about the page.
 */
enum ksm_visit ksm_visit_page(struct ksm_domain *domain, struct ksm_record *record,
			      u64 sample, u64 key)
{
	/* Most pages are unique and stay as they are. */
	if (record->state == KSM_UNSHARED && !record->full &&
	    record->tag == ksm_tag(key) && !ksm_filter_repeated(&domain->filter, record->tag))
		return KSM_VISIT_DONE;
	return visit_unusual(domain, record, sample, key);
}

/**
 * ksm_visit_rewritten - wait with the next merge of a page that was written to
 * @record: the record of a page that had been merged in pass @record->skips; no
 *	longer %KSM_SHARED
 * @pass: the low bits of the number of the present pass
 *
 * Each write to a merged page costs the process a fault and a copy.  A page that is
 * written to again and again soon after it has merged waits for 4, 16 and then 64
 * passes.
 *
 * Context: under ksm.lock.
 */
void ksm_visit_rewritten(struct ksm_record *record, u8 pass)
{
	static const u8 wait[] = { 0, 4, 16, 64 };
	const u8 passes = pass - record->skips;

	if (passes > KSM_SOON)
		record->rewrites = 1;
	else if (record->rewrites < ARRAY_SIZE(wait) - 1)
		record->rewrites++;
	record->skips = wait[record->rewrites];
}

/**
 * ksm_visit_page_now - like ksm_visit_page(), but take the page for settled
 * @domain: the domain of the page
 * @record: its record, not KSM_SHARED
 * @sample: key of its sample
 * @key: key of the whole page if @record->full, else @sample
 *
 * A page that changes after all is found to be different when it is compared.
 *
 * Context: under ksm.lock.
 * Return: what to do about the page: KSM_VISIT_DONE or KSM_VISIT_SETTLED.
 */
enum ksm_visit ksm_visit_page_now(struct ksm_domain *domain, struct ksm_record *record,
				  u64 sample, u64 key)
{
	if (record->state == KSM_NONE)
		visit_new(domain, record, sample);
	else if (record->tag != ksm_tag(key))
		visit_changed(domain, record, sample);
	else if (record->full)
		keep_ambiguous(&domain->filter, ksm_tag(sample));
	return visit_unchanged(domain, record);
}

/**
 * ksm_visit_back_off - choose for how many passes to skip a page
 * @record: the record of a page that was just visited
 * @young: the page was used since the previous visit
 *
 * An idle page has not changed, and a duplicate finds its record in the index: it
 * can be skipped for long.  A page that is in no index may have to be tried again.
 *
 * Context: under ksm.lock.
 */
void ksm_visit_back_off(struct ksm_record *record, bool young)
{
	unsigned int most = young ? KSM_MAX_SKIPS_YOUNG : KSM_MAX_SKIPS_IDLE;

	if (record->age < KSM_MAX_AGE)
		record->age++;
	if (record->age < KSM_VISITS_BEFORE_SKIP)
		record->skips = 0;
	else if (!young && record->state == KSM_UNSHARED)
		record->skips = most;
	else
		record->skips = min(2U << min(record->age - KSM_VISITS_BEFORE_SKIP, 5U), most);
}
