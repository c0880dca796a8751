/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: which tags more than one page has.
 */
#ifndef _MM_KSM_FILTER_H
#define _MM_KSM_FILTER_H

#include <linux/bits.h>
#include <linux/hash.h>
#include <linux/types.h>

#include "array.h"

/* log2 of the bits in a word. */
#define KSM_FILTER_WORD_SHIFT	(BITS_PER_LONG == 64 ? 6 : 5)

/**
 * enum ksm_rebuild - how far a rebuild of the filter is
 * @KSM_REBUILD_NONE: none is under way
 * @KSM_REBUILD_ALLOCATE: the new bits are being allocated
 * @KSM_REBUILD_FILL: tags are being added to the new bits
 * @KSM_REBUILD_FREE: the bits that are not used any more are being freed
 */
enum ksm_rebuild {
	KSM_REBUILD_NONE,
	KSM_REBUILD_ALLOCATE,
	KSM_REBUILD_FILL,
	KSM_REBUILD_FREE,
};

/**
 * struct ksm_filter_bits - a set of tags that may contain others as well
 * @words: a bit for each tag; a tag's upper bits choose the word
 * @nr_set: bits set
 */
struct ksm_filter_bits {
	struct ksm_array words;
	unsigned long nr_set;
};

/**
 * struct ksm_filter - the tags for which a search may find a duplicate
 * @bits: the tags
 * @most: number of tags beyond which the filter has to grow
 * @least: number of tags below which it has to shrink
 * @rebuild: state of the rebuild
 * @spare: in %KSM_REBUILD_ALLOCATE and %KSM_REBUILD_FILL what replaces @bits, in
 *         %KSM_REBUILD_FREE what is left of the bits to be freed
 * @cursor: in %KSM_REBUILD_FILL, the stable node key to go on with
 */
struct ksm_filter {
	struct ksm_filter_bits bits;
	unsigned long most;
	unsigned long least;
	enum ksm_rebuild rebuild;
	struct ksm_filter_bits spare;
	u64 cursor;
};

int ksm_filter_init(struct ksm_filter *filter);
void ksm_filter_destroy(struct ksm_filter *filter);
bool ksm_filter_adjust(struct ksm_filter *filter, unsigned long nr_tags);
void ksm_filter_set_repeated(struct ksm_filter *filter, u32 tag);
void ksm_filter_set_ambiguous(struct ksm_filter *filter, u32 tag);
unsigned int ksm_filter_expected(const struct ksm_filter *filter, unsigned int nr);
bool ksm_filter_saturated(const struct ksm_filter *filter);
void ksm_filter_begin_rebuild(struct ksm_filter *filter);
void ksm_filter_allocate_step(struct ksm_filter *filter);
void ksm_filter_use_spare(struct ksm_filter *filter);
void ksm_filter_free_step(struct ksm_filter *filter);
unsigned long ksm_filter_bytes(const struct ksm_filter *filter);

static inline unsigned long *ksm_filter_word(const struct ksm_filter_bits *bits, u32 tag)
{
	return ksm_array_at(&bits->words,
			    ksm_array_slot(&bits->words, tag >> KSM_FILTER_WORD_SHIFT));
}

/**
 * ksm_filter_repeated - whether more than one page is known to have a tag
 * @filter: the filter
 * @tag: of a sample, or of a whole page
 *
 * Context: any; under ksm.lock.
 * Return: false if a search for the tag cannot find a page to merge with.
 */
static inline bool ksm_filter_repeated(const struct ksm_filter *filter, u32 tag)
{
	return *ksm_filter_word(&filter->bits, tag) >> (tag % BITS_PER_LONG) & 1;
}

/*
 * The bits of an ambiguous sample: its own, and two others of the same word.  With a
 * single bit, as many unique samples would pass for ambiguous as bits are set.
 */
static inline unsigned long ksm_filter_ambiguous_bits(u32 tag)
{
	const u32 others = hash_32(tag, 2 * KSM_FILTER_WORD_SHIFT);

	return BIT(tag % BITS_PER_LONG) | BIT(others % BITS_PER_LONG) |
	       BIT(others / BITS_PER_LONG);
}

/**
 * ksm_filter_ambiguous - whether pages that differ have the same sample
 * @filter: the filter
 * @tag: of the sample
 *
 * Context: any; under ksm.lock.
 * Return: true if whole pages have to be hashed to tell them apart.
 */
static inline bool ksm_filter_ambiguous(const struct ksm_filter *filter, u32 tag)
{
	return !(ksm_filter_ambiguous_bits(tag) & ~*ksm_filter_word(&filter->bits, tag));
}

/**
 * ksm_filter_needs_adjust - whether ksm_filter_adjust() has something to do
 * @filter: the filter
 * @nr_tags: tags that it has to tell apart
 *
 * Context: any; under ksm.lock.
 * Return: true if it has.
 */
static inline bool ksm_filter_needs_adjust(const struct ksm_filter *filter,
					   unsigned long nr_tags)
{
	return (nr_tags > filter->most || nr_tags < filter->least) &&
	       filter->rebuild == KSM_REBUILD_NONE;
}

#endif /* _MM_KSM_FILTER_H */
