// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the index of pages that are not shared.
 *
 * In KSM's documentation this is the unstable tree.  A tree that is ordered by
 * the content of pages becomes inconsistent when a page changes, and has to be
 * rebuilt in every pass.  Here the key is the tag in the record, which does not
 * change with the page.  The index is a hash table of records, which are chained
 * through themselves.
 *
 * The table grows and shrinks by linear hashing, see array.c: a bucket at a time,
 * in bounded steps, while ksmd scans.  Insertion never allocates.  Without memory
 * for more buckets the chains get longer.
 */

#include <linux/bits.h>
#include <linux/bug.h>
#include <linux/errno.h>
#include <linux/math.h>
#include <linux/minmax.h>
#include <linux/mm.h>

#include "record.h"
#include "unstable.h"

#define KSM_UNSTABLE_MIN_BUCKETS	16UL
#define KSM_UNSTABLE_MAX_BUCKETS	BIT(27)
/* The table grows when it has more records than this in a bucket on average. */
#define KSM_UNSTABLE_LOAD		3UL
/* It shrinks when only one bucket in this many would have a record. */
#define KSM_UNSTABLE_SPARSE		2UL
/* Buckets that are added or removed in one step, and records moved for that. */
#define KSM_UNSTABLE_STEP		128UL
#define KSM_UNSTABLE_STEP_RECORDS	512UL

static struct ksm_record **bucket_at(const struct ksm_unstable *unstable, unsigned long i)
{
	return (struct ksm_record **)ksm_array_at(&unstable->buckets, i);
}

static struct ksm_record **bucket_of(const struct ksm_unstable *unstable, u32 tag)
{
	return bucket_at(unstable, ksm_array_slot(&unstable->buckets, tag));
}

static struct ksm_record **link_to(const struct ksm_unstable *unstable,
				   const struct ksm_record *record)
{
	struct ksm_record **link = bucket_of(unstable, record->tag);

	while (*link && *link != record)
		link = &(*link)->next;
	return link;
}

static void set_limits(struct ksm_unstable *unstable)
{
	const unsigned long nr = unstable->buckets.nr;

	unstable->most = nr < KSM_UNSTABLE_MAX_BUCKETS ? nr * KSM_UNSTABLE_LOAD : ULONG_MAX;
	unstable->least = nr > KSM_UNSTABLE_MIN_BUCKETS ?
			  DIV_ROUND_UP(nr, KSM_UNSTABLE_SPARSE) : 0;
}

/**
 * ksm_unstable_init - make an empty index
 * @unstable: filled in
 *
 * Context: any.
 * Return: 0, or -ENOMEM.
 */
int ksm_unstable_init(struct ksm_unstable *unstable)
{
	*unstable = (struct ksm_unstable){};
	if (ksm_array_init(&unstable->buckets, KSM_UNSTABLE_MIN_BUCKETS))
		return -ENOMEM;
	set_limits(unstable);
	return 0;
}

/**
 * ksm_unstable_destroy - free the memory of an index
 * @unstable: the index; its records are not used any more
 *
 * Context: may sleep.
 */
void ksm_unstable_destroy(struct ksm_unstable *unstable)
{
	ksm_array_destroy(&unstable->buckets);
}

/* The last bucket is new: it takes its records from its parent. */
static unsigned long split_bucket(struct ksm_unstable *unstable)
{
	const unsigned long last = unstable->buckets.nr - 1;
	struct ksm_record **from = bucket_at(unstable, ksm_array_parent(&unstable->buckets));
	struct ksm_record **to = bucket_at(unstable, last);
	struct ksm_record *record;
	unsigned long visited = 0;

	while ((record = *from)) {
		visited++;
		if (ksm_array_slot(&unstable->buckets, record->tag) == last) {
			*from = record->next;
			*to = record;
			to = &record->next;
		} else {
			from = &record->next;
		}
	}
	*to = NULL;
	return visited;
}

/* The last bucket goes: its records are put behind those of its parent. */
static unsigned long join_bucket(struct ksm_unstable *unstable)
{
	struct ksm_record **last = bucket_at(unstable, unstable->buckets.nr - 1);
	struct ksm_record **to = bucket_at(unstable, ksm_array_parent(&unstable->buckets));
	unsigned long visited = 0;

	for (; *to; to = &(*to)->next)
		visited++;
	*to = *last;
	ksm_array_pop(&unstable->buckets);
	return visited;
}

static void grow(struct ksm_unstable *unstable)
{
	struct ksm_array *buckets = &unstable->buckets;
	unsigned long i = min(buckets->nr, KSM_UNSTABLE_STEP), visited = 0;

	while (i-- && buckets->nr < KSM_UNSTABLE_MAX_BUCKETS &&
	       visited < KSM_UNSTABLE_STEP_RECORDS) {
		if (ksm_array_extend(buckets, buckets->nr + 1)) {
			set_limits(unstable);
			/* Try again once there are a quarter more records. */
			unstable->most = max(unstable->most, unstable->nr + unstable->nr / 4);
			return;
		}
		visited += split_bucket(unstable);
	}
	set_limits(unstable);
}

static void shrink(struct ksm_unstable *unstable)
{
	struct ksm_array *buckets = &unstable->buckets;
	unsigned long i = min(buckets->nr / 4, KSM_UNSTABLE_STEP), visited = 0;

	while (i-- && buckets->nr > KSM_UNSTABLE_MIN_BUCKETS &&
	       visited < KSM_UNSTABLE_STEP_RECORDS)
		visited += join_bucket(unstable);
	set_limits(unstable);
}

/**
 * ksm_unstable_adjust - adapt the number of buckets by one step
 * @unstable: the index
 *
 * A step leaves some space, so that the next few hundred insertions or removals
 * need no other.
 *
 * Context: any; under ksm.lock.
 * Return: true if there is more to do.
 */
bool ksm_unstable_adjust(struct ksm_unstable *unstable)
{
	if (unstable->nr > unstable->most)
		grow(unstable);
	else if (unstable->nr < unstable->least)
		shrink(unstable);
	return ksm_unstable_needs_adjust(unstable);
}

/**
 * ksm_unstable_insert - add a record under its tag
 * @unstable: the index
 * @record: with @tag and @full set, not in the index; becomes %KSM_UNSHARED
 *
 * Context: any; under ksm.lock.
 */
void ksm_unstable_insert(struct ksm_unstable *unstable, struct ksm_record *record)
{
	struct ksm_record **bucket = bucket_of(unstable, record->tag);

	record->next = *bucket;
	record->state = KSM_UNSHARED;
	*bucket = record;
	unstable->nr++;
}

/**
 * ksm_unstable_remove - take a record out of the index
 * @unstable: the index
 * @record: in the index; becomes %KSM_SEEN
 *
 * A duplicate no longer finds the record, so that its page must not be skipped in
 * the next passes.
 *
 * Context: any; under ksm.lock.
 */
void ksm_unstable_remove(struct ksm_unstable *unstable, struct ksm_record *record)
{
	struct ksm_record **link = link_to(unstable, record);
	struct ksm_record *next = record->next;

	record->next = NULL;
	record->state = KSM_SEEN;
	record->skips = 0;
	record->age = 0;
	if (WARN_ON_ONCE(!*link))
		return;
	*link = next;
	unstable->nr--;
}

/**
 * ksm_unstable_move - replace a record by its copy
 * @unstable: the index
 * @from: the record, in the index
 * @to: a copy of @from
 *
 * Context: any; under ksm.lock.
 */
void ksm_unstable_move(struct ksm_unstable *unstable, struct ksm_record *from,
		       struct ksm_record *to)
{
	struct ksm_record **link = link_to(unstable, from);

	if (!WARN_ON_ONCE(!*link))
		*link = to;
}

/**
 * ksm_unstable_find - find a record by its tag
 * @unstable: the index
 * @tag: the tag
 * @full: whether @tag is of a whole page or of a sample
 *
 * Context: any; under ksm.lock.  No page is read.
 * Return: a record, or NULL.
 */
struct ksm_record *ksm_unstable_find(const struct ksm_unstable *unstable,
				     u32 tag, bool full)
{
	struct ksm_record *record = *bucket_of(unstable, tag);

	while (record && (record->tag != tag || record->full != full))
		record = record->next;
	return record;
}

/**
 * ksm_unstable_next - find another record with the same tag
 * @record: in the index
 *
 * Context: any; under ksm.lock.
 * Return: a record behind @record in its chain, or NULL.
 */
struct ksm_record *ksm_unstable_next(struct ksm_record *record)
{
	const u32 tag = record->tag;
	const bool full = record->full;

	do {
		record = record->next;
	} while (record && (record->tag != tag || record->full != full));
	return record;
}

/**
 * ksm_unstable_bytes - memory that an index has grown by
 * @unstable: the index
 *
 * Context: any; a hint without ksm.lock.
 * Return: bytes, 0 while the index is as it was made.
 */
unsigned long ksm_unstable_bytes(const struct ksm_unstable *unstable)
{
	return READ_ONCE(unstable->buckets.bytes);
}

#include "tests/unstable-kunit.h"
