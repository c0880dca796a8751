// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: which tags more than one page has.
 *
 * The filter has bits for each tag, that of a sample or of a whole page.
 *
 * Repeated: more than one page was found to have the tag.  While the bit is
 * clear, a search is in vain: no page in the stable tree has the tag, and no page
 * in the index except the one that is scanned.
 *
 * Ambiguous: pages that differ were found to have the sample.  While one of its three
 * bits is clear, the sample is enough to find a duplicate.
 *
 * Different tags may have the same bit.  A bit that is set without need costs a
 * search.  A bit that gets lost, by a rebuild, delays a merge: until the next scan
 * of a page that is in the index by a tag of its whole content.
 *
 * Bits are never cleared, so that those of contents that no longer exist add up.
 * A rebuild replaces all bits.  It goes in steps: allocate new bits, set those of
 * all stable nodes, use the new bits, free the old ones.  A bit that is set
 * meanwhile is set in both.
 */

#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/minmax.h>

#include "filter.h"

#define KSM_FILTER_MIN_WORDS	8UL
/* A tag has no more bits to choose the word by. */
#define KSM_FILTER_MAX_WORDS	BIT(25)
/* The filter grows and shrinks when a word has more tags, or less, than these. */
#define KSM_FILTER_MOST_TAGS	7UL
#define KSM_FILTER_LEAST_TAGS	1UL
/* Words that are added or removed in one step. */
#define KSM_FILTER_STEP		128UL
/* The filter is of no use if more than one bit in this many is set. */
#define KSM_FILTER_SPARSE	8

static void set_limits(struct ksm_filter *filter)
{
	const unsigned long nr = filter->bits.words.nr;

	filter->most = nr < KSM_FILTER_MAX_WORDS ? nr * KSM_FILTER_MOST_TAGS : ULONG_MAX;
	filter->least = nr > KSM_FILTER_MIN_WORDS ? nr * KSM_FILTER_LEAST_TAGS : 0;
}

static int bits_init(struct ksm_filter_bits *bits)
{
	bits->nr_set = 0;
	return ksm_array_init(&bits->words, KSM_FILTER_MIN_WORDS);
}

/**
 * ksm_filter_init - make an empty filter
 * @filter: filled in
 *
 * Context: any.
 * Return: 0, or -ENOMEM.
 */
int ksm_filter_init(struct ksm_filter *filter)
{
	*filter = (struct ksm_filter){};
	if (bits_init(&filter->bits))
		return -ENOMEM;
	set_limits(filter);
	return 0;
}

/**
 * ksm_filter_destroy - free the memory of a filter
 * @filter: the filter
 *
 * Context: may sleep.
 */
void ksm_filter_destroy(struct ksm_filter *filter)
{
	ksm_array_destroy(&filter->bits.words);
	ksm_array_destroy(&filter->spare.words);
}

static int grow_word(struct ksm_filter_bits *bits)
{
	struct ksm_array *words = &bits->words;
	unsigned long word;

	if (ksm_array_extend(words, words->nr + 1))
		return -ENOMEM;
	/* Each tag of the other word is in one of the two now. */
	word = *ksm_array_at(words, ksm_array_parent(words));
	*ksm_array_at(words, words->nr - 1) = word;
	bits->nr_set += hweight_long(word);
	return 0;
}

static void shrink_word(struct ksm_filter_bits *bits)
{
	struct ksm_array *words = &bits->words;
	unsigned long *parent = ksm_array_at(words, ksm_array_parent(words));
	const unsigned long last = *ksm_array_at(words, words->nr - 1);

	bits->nr_set -= hweight_long(*parent & last);
	*parent |= last;
	ksm_array_pop(words);
}

static void grow(struct ksm_filter *filter, unsigned long nr_tags)
{
	unsigned long i = min(filter->bits.words.nr, KSM_FILTER_STEP);

	while (i-- && filter->bits.words.nr < KSM_FILTER_MAX_WORDS) {
		if (grow_word(&filter->bits)) {
			set_limits(filter);
			/* Try again once there are a quarter more tags. */
			filter->most = max(filter->most, nr_tags + nr_tags / 4);
			return;
		}
	}
	set_limits(filter);
}

static void shrink(struct ksm_filter *filter)
{
	unsigned long i = min(filter->bits.words.nr / 4, KSM_FILTER_STEP);

	while (i-- && filter->bits.words.nr > KSM_FILTER_MIN_WORDS)
		shrink_word(&filter->bits);
	set_limits(filter);
}

/**
 * ksm_filter_adjust - adapt the size of a filter by one step
 * @filter: the filter
 * @nr_tags: tags that it has to tell apart
 *
 * Context: any; under ksm.lock.
 * Return: true if there is more to do.
 */
bool ksm_filter_adjust(struct ksm_filter *filter, unsigned long nr_tags)
{
	if (!ksm_filter_needs_adjust(filter, nr_tags))
		return false;
	if (nr_tags > filter->most)
		grow(filter, nr_tags);
	else
		shrink(filter);
	return ksm_filter_needs_adjust(filter, nr_tags);
}

static void set_in(struct ksm_filter_bits *bits, u32 tag, unsigned long set)
{
	unsigned long *word = ksm_filter_word(bits, tag);

	bits->nr_set += hweight_long(set & ~*word);
	*word |= set;
}

static void set_bits(struct ksm_filter *filter, u32 tag, unsigned long set)
{
	set_in(&filter->bits, tag, set);
	if (filter->rebuild == KSM_REBUILD_FILL)
		set_in(&filter->spare, tag, set);
}

/**
 * ksm_filter_set_repeated - note that more than one page has a tag
 * @filter: the filter
 * @tag: of a sample, or of a whole page
 *
 * Context: any; under ksm.lock.
 */
void ksm_filter_set_repeated(struct ksm_filter *filter, u32 tag)
{
	set_bits(filter, tag, BIT(tag % BITS_PER_LONG));
}

/**
 * ksm_filter_set_ambiguous - note that pages that differ have the same sample
 * @filter: the filter
 * @tag: of the sample
 *
 * Context: any; under ksm.lock.
 */
void ksm_filter_set_ambiguous(struct ksm_filter *filter, u32 tag)
{
	set_bits(filter, tag, ksm_filter_ambiguous_bits(tag));
}

/**
 * ksm_filter_expected - how many tags seem to be repeated and are not
 * @filter: the filter
 * @nr: a number of tags that single pages have
 *
 * A bit of the filter stands for several tags.
 *
 * Context: any; under ksm.lock.
 * Return: as many of these as are expected to have a bit that was set for others.
 */
unsigned int ksm_filter_expected(const struct ksm_filter *filter, unsigned int nr)
{
	const unsigned long nr_bits = filter->bits.words.nr * BITS_PER_LONG;

	return nr * filter->bits.nr_set / nr_bits;
}

/**
 * ksm_filter_saturated - whether a filter should be rebuilt
 * @filter: the filter
 *
 * Context: any; under ksm.lock.
 * Return: true if unique pages too often have a bit that was set for others, and
 * no rebuild is under way.
 */
bool ksm_filter_saturated(const struct ksm_filter *filter)
{
	const unsigned long nr_bits = filter->bits.words.nr * BITS_PER_LONG;

	return filter->rebuild == KSM_REBUILD_NONE &&
	       filter->bits.nr_set > nr_bits / KSM_FILTER_SPARSE;
}

/**
 * ksm_filter_begin_rebuild - begin to replace all bits
 * @filter: the filter; nothing is done if a rebuild is under way
 *
 * The size of the filter does not change until the rebuild is over.
 *
 * Context: any; under ksm.lock.
 */
void ksm_filter_begin_rebuild(struct ksm_filter *filter)
{
	if (filter->rebuild == KSM_REBUILD_NONE && !bits_init(&filter->spare))
		filter->rebuild = KSM_REBUILD_ALLOCATE;
}

/**
 * ksm_filter_allocate_step - allocate a piece of the new bits
 * @filter: the filter, in %KSM_REBUILD_ALLOCATE
 *
 * Afterwards the filter is in %KSM_REBUILD_FILL if the new bits are complete, and
 * in %KSM_REBUILD_FREE if there is no memory for them.
 *
 * Context: any; under ksm.lock.
 */
void ksm_filter_allocate_step(struct ksm_filter *filter)
{
	const unsigned long nr = filter->bits.words.nr;
	struct ksm_array *spare = &filter->spare.words;

	if (spare->nr < nr && ksm_array_extend(spare, nr)) {
		filter->rebuild = KSM_REBUILD_FREE;
	} else if (spare->nr == nr) {
		filter->cursor = 0;
		filter->rebuild = KSM_REBUILD_FILL;
	}
}

/**
 * ksm_filter_use_spare - replace all bits by the new ones
 * @filter: the filter, in %KSM_REBUILD_FILL; afterwards in %KSM_REBUILD_FREE
 *
 * Context: any; under ksm.lock.
 */
void ksm_filter_use_spare(struct ksm_filter *filter)
{
	swap(filter->bits, filter->spare);
	filter->rebuild = KSM_REBUILD_FREE;
}

/**
 * ksm_filter_free_step - free a piece of the bits that are not used any more
 * @filter: the filter, in %KSM_REBUILD_FREE; in the end in %KSM_REBUILD_NONE
 *
 * Context: any; under ksm.lock.
 */
void ksm_filter_free_step(struct ksm_filter *filter)
{
	if (ksm_array_free_segment(&filter->spare.words))
		return;
	filter->spare = (struct ksm_filter_bits){};
	filter->rebuild = KSM_REBUILD_NONE;
}

/**
 * ksm_filter_bytes - memory that a filter has grown by
 * @filter: the filter
 *
 * Context: any; a hint without ksm.lock.
 * Return: bytes, 0 while the filter is as it was made.
 */
unsigned long ksm_filter_bytes(const struct ksm_filter *filter)
{
	return READ_ONCE(filter->bits.words.bytes) + READ_ONCE(filter->spare.words.bytes);
}

#include "tests/filter-kunit.h"
