// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages that are not shared but may have their like.
 *
 * The field calls this the unstable tree.  Ordered by content it was one, whose
 * order broke whenever a page changed, so that it had to be rebuilt every pass.
 * Here the key is a tag that stands in the record: a hash table of records,
 * chained through themselves, which stays right whatever becomes of the pages.
 *
 * Beside it stands a filter with two bits for each sample.  The first says that
 * more than one page was found to have it: while it is clear, looking further is
 * in vain, since no page in either tree has that sample, or only one that stands
 * in the table by it.  The second says that more than one content was found to
 * have it: while it is clear, pages need not be read as a whole to be found.  A bit
 * set for nothing costs just that.  A bit lost, as happens when the filter is
 * renewed, delays a merge until a page that stands in the table by its whole
 * content is looked at again.
 *
 * The tag of a whole page has a bit in the filter too, which says what the first
 * of a sample does.
 */

#include <linux/bitmap.h>
#include <linux/bug.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "record.h"
#include "unstable.h"

#define KSM_UNSTABLE_MIN_BITS	10
/* kvcalloc() has no more than 2 GiB to give, and a tag no more than 32 bits. */
#define KSM_UNSTABLE_MAX_BITS	27
/* So many records for each bucket make the table grow; a stable node counts twice. */
#define KSM_UNSTABLE_LOAD	3UL
/* Bits of the filter for each bucket, as a power of two. */
#define KSM_MET_SHIFT		4
/* The filter is made anew when more than one bit in so many is set. */
#define KSM_MET_SPARSE		8
/* Bits of the filter that are cleared at once. */
#define KSM_MET_PIECE		BIT(20)

static unsigned long nr_buckets(const struct ksm_unstable *unstable)
{
	return 1UL << unstable->bits;
}

static unsigned long met_bit(const struct ksm_unstable *unstable, u32 tag)
{
	return tag >> (32 - KSM_MET_SHIFT - unstable->bits);
}

static unsigned long nr_met_bits(unsigned int bits)
{
	return 1UL << (bits + KSM_MET_SHIFT);
}

static struct ksm_record **bucket_of(const struct ksm_unstable *unstable, u32 tag)
{
	return &unstable->bucket[tag >> (32 - unstable->bits)];
}

static struct ksm_record **link_to(const struct ksm_unstable *unstable,
				   const struct ksm_record *record)
{
	struct ksm_record **link = bucket_of(unstable, record->tag);

	while (*link && *link != record)
		link = &(*link)->next;
	return link;
}

static void free_tables(struct ksm_unstable *unstable)
{
	kvfree(unstable->bucket);
	kvfree(unstable->met);
}

static int alloc_tables(struct ksm_unstable *unstable, unsigned int bits)
{
	/* It can do without: nobody is to be killed for it. */
	const gfp_t gfp = GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL;

	unstable->bucket = kvcalloc(1UL << bits, sizeof(*unstable->bucket), gfp);
	if (!unstable->bucket)
		return -ENOMEM;
	unstable->met = kvcalloc(BITS_TO_LONGS(nr_met_bits(bits)),
				 sizeof(*unstable->met), gfp);
	if (!unstable->met) {
		kvfree(unstable->bucket);
		return -ENOMEM;
	}
	unstable->bits = bits;
	unstable->most = bits < KSM_UNSTABLE_MAX_BITS ? KSM_UNSTABLE_LOAD << bits : ULONG_MAX;
	return 0;
}

/**
 * ksm_unstable_init - make an empty table
 * @unstable: filled in
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM.
 */
int ksm_unstable_init(struct ksm_unstable *unstable)
{
	*unstable = (struct ksm_unstable){};
	return alloc_tables(unstable, KSM_UNSTABLE_MIN_BITS);
}

/**
 * ksm_unstable_destroy - free the memory of a table
 * @unstable: the table; its records are not used any more
 *
 * Context: may sleep.
 */
void ksm_unstable_destroy(struct ksm_unstable *unstable)
{
	free_tables(unstable);
}

/**
 * ksm_unstable_shrink - give back the memory of a table that is empty
 * @unstable: the table; where it shrinks, its filter is empty afterwards
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_unstable_shrink(struct ksm_unstable *unstable)
{
	struct ksm_unstable small;

	if (unstable->nr || unstable->bits == KSM_UNSTABLE_MIN_BITS ||
	    ksm_unstable_init(&small))
		return;
	free_tables(unstable);
	*unstable = small;
}

/* Each bit of the old filter stands for several of the new, larger one. */
static void spread_met(struct ksm_unstable *to, const struct ksm_unstable *from)
{
	const unsigned long factor = nr_met_bits(to->bits) / nr_met_bits(from->bits);
	unsigned long bit;

	for_each_set_bit(bit, from->met, nr_met_bits(from->bits)) {
		bitmap_set(to->met, bit * factor, factor);
		cond_resched();
	}
	to->nr_met = from->nr_met * factor;
}

static void move_records(struct ksm_unstable *to, const struct ksm_unstable *from)
{
	struct ksm_record *record;
	unsigned long i;

	for (i = 0; i < nr_buckets(from); i++) {
		while ((record = from->bucket[i])) {
			from->bucket[i] = record->next;
			ksm_unstable_insert(to, record);
		}
		cond_resched();
	}
}

/**
 * ksm_unstable_reserve - grow the table where it has got too small
 * @unstable: the table
 * @nr_nodes: stable nodes, whose samples the filter has to hold as well
 *
 * Insertion never allocates; without memory for a larger table the chains just
 * get longer, and it is asked for again once there are a quarter more records.
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_unstable_reserve(struct ksm_unstable *unstable, unsigned long nr_nodes)
{
	struct ksm_unstable grown = {};

	if (unstable->nr + 2 * nr_nodes <= unstable->most)
		return;
	if (alloc_tables(&grown, unstable->bits + 1)) {
		unstable->most += unstable->most / 4;
		return;
	}
	spread_met(&grown, unstable);
	move_records(&grown, unstable);
	free_tables(unstable);
	*unstable = grown;
}

/**
 * ksm_unstable_insert - add a record under its tag
 * @unstable: the table
 * @record: with @tag and @full set, not in the table
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
 * ksm_unstable_remove - take a record out
 * @unstable: the table
 * @record: in the table; becomes KSM_SEEN
 *
 * Its like does not find it any more, so that the next pass has to look at it.
 *
 * Context: any; under ksm.lock.
 */
void ksm_unstable_remove(struct ksm_unstable *unstable, struct ksm_record *record)
{
	struct ksm_record **link = link_to(unstable, record);

	record->state = KSM_SEEN;
	record->skips = 0;
	if (WARN_ON_ONCE(!*link))
		return;
	*link = record->next;
	record->next = NULL;
	unstable->nr--;
}

/**
 * ksm_unstable_move - say that a record stands elsewhere now
 * @unstable: the table
 * @from: where the record was, in the table
 * @to: where it is now, a copy of @from
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
 * ksm_unstable_find - look for a record by tag
 * @unstable: the table
 * @tag: what to look for
 * @full: whether @tag is of a whole page or of a sample
 *
 * Context: any; under ksm.lock.  Touches no page.
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
 * ksm_unstable_next - look for another record with the same tag
 * @record: in the table
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
 * ksm_unstable_met - whether pages with a tag have met their like
 * @unstable: the table
 * @tag: of their sample, or of all they hold
 *
 * Context: any; under ksm.lock.
 * Return: false where looking closer cannot lead to a merge.
 */
bool ksm_unstable_met(const struct ksm_unstable *unstable, u32 tag)
{
	return test_bit(met_bit(unstable, tag), unstable->met);
}

/**
 * ksm_unstable_set_met - note that pages with a tag have met their like
 * @unstable: the table
 * @tag: of their sample, or of all they hold
 *
 * Context: any; under ksm.lock.
 */
void ksm_unstable_set_met(struct ksm_unstable *unstable, u32 tag)
{
	unsigned long bit = met_bit(unstable, tag);

	if (test_bit(bit, unstable->met))
		return;
	__set_bit(bit, unstable->met);
	unstable->nr_met++;
}

/* The second bit of a sample is the first of another, any one. */
static u32 mixed_tag(u32 tag)
{
	return ~tag;
}

/**
 * ksm_unstable_mixed - whether pages that differ have this sample
 * @unstable: the table
 * @tag: of the sample
 *
 * Context: any; under ksm.lock.
 * Return: true where only the whole page tells what it may be merged with.
 */
bool ksm_unstable_mixed(const struct ksm_unstable *unstable, u32 tag)
{
	return ksm_unstable_met(unstable, mixed_tag(tag));
}

/**
 * ksm_unstable_set_mixed - note that pages that differ have this sample
 * @unstable: the table
 * @tag: of the sample
 *
 * Context: any; under ksm.lock.
 */
void ksm_unstable_set_mixed(struct ksm_unstable *unstable, u32 tag)
{
	ksm_unstable_set_met(unstable, tag);
	ksm_unstable_set_met(unstable, mixed_tag(tag));
}

/**
 * ksm_unstable_met_crowded - whether the filter has lost its use
 * @unstable: the table
 *
 * Context: any; under ksm.lock.
 * Return: true where so many bits are set that unique pages hit them by chance.
 */
bool ksm_unstable_met_crowded(const struct ksm_unstable *unstable)
{
	return unstable->nr_met > nr_met_bits(unstable->bits) / KSM_MET_SPARSE;
}

/**
 * ksm_unstable_clear_met - empty the filter
 * @unstable: the table
 *
 * The bits of samples that still matter come back: those of stable nodes at
 * once, by ksm_stable_renew_met(), the others when their pages are looked at.
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_unstable_clear_met(struct ksm_unstable *unstable)
{
	const unsigned long bits = nr_met_bits(unstable->bits);
	unsigned long bit;

	for (bit = 0; bit < bits; bit += KSM_MET_PIECE) {
		bitmap_zero(unstable->met + BIT_WORD(bit), min(bits - bit, KSM_MET_PIECE));
		cond_resched();
	}
	unstable->nr_met = 0;
}

static unsigned long table_bytes(unsigned int bits)
{
	return (sizeof(struct ksm_record *) << bits) + nr_met_bits(bits) / BITS_PER_BYTE;
}

/**
 * ksm_unstable_bytes - memory that the table has grown by
 * @unstable: the table
 *
 * Context: any; a hint without ksm.lock.
 * Return: bytes, 0 while the table is as it was made.
 */
unsigned long ksm_unstable_bytes(const struct ksm_unstable *unstable)
{
	return table_bytes(READ_ONCE(unstable->bits)) -
	       table_bytes(KSM_UNSTABLE_MIN_BITS);
}

#include "tests/unstable-kunit.h"
