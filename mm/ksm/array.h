/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: an array of words that changes its length in pieces.
 */
#ifndef _MM_KSM_ARRAY_H
#define _MM_KSM_ARRAY_H

#include <linux/bits.h>
#include <linux/types.h>

/* Words of a segment, and pointers of a directory, as a power of two. */
#define KSM_SEGMENT_SHIFT	9
#define KSM_SEGMENT_WORDS	BIT(KSM_SEGMENT_SHIFT)
#define KSM_SEGMENT_MASK	(KSM_SEGMENT_WORDS - 1)

/**
 * struct ksm_array - words that are added and removed at the end
 * @top: directories of segments, in the order of their words
 * @nr: length in words, at least 1
 * @mask: the smallest power of two that is not less than @nr, minus 1
 * @room: words allocated; those from @nr on are zero
 * @bytes: memory allocated since ksm_array_init() and not freed
 *
 * Each step allocates, copies or frees a bounded amount of memory.  No
 * allocation is larger than a segment.  An array of less than a segment has one
 * segment of half the size, a quarter, and so on.
 */
struct ksm_array {
	unsigned long ***top;
	unsigned long nr;
	unsigned long mask;
	unsigned long room;
	unsigned long bytes;
};

int ksm_array_init(struct ksm_array *array, unsigned long nr);
void ksm_array_destroy(struct ksm_array *array);
int ksm_array_extend(struct ksm_array *array, unsigned long nr);
void ksm_array_pop(struct ksm_array *array);
bool ksm_array_free_segment(struct ksm_array *array);

/**
 * ksm_array_at - a word of an array
 * @array: the array
 * @i: index, less than the length
 *
 * Return: the word; it stays there until ksm_array_extend() or ksm_array_pop().
 */
static inline unsigned long *ksm_array_at(const struct ksm_array *array, unsigned long i)
{
	return &array->top[i >> (2 * KSM_SEGMENT_SHIFT)]
			  [(i >> KSM_SEGMENT_SHIFT) & KSM_SEGMENT_MASK]
			  [i & KSM_SEGMENT_MASK];
}

/**
 * ksm_array_slot - the index that belongs to a hash
 * @array: the array, used as a table of linear hashing
 * @hash: uniformly distributed
 *
 * When the length grows by one, the hashes of one index are divided between this
 * index and the new one, see ksm_array_parent().  All others stay.
 *
 * Return: the index.
 */
static inline unsigned long ksm_array_slot(const struct ksm_array *array, u32 hash)
{
	unsigned long i = hash & array->mask;

	return i < array->nr ? i : i & (array->mask >> 1);
}

/**
 * ksm_array_parent - the index that shares its hashes with the last one
 * @array: the array, of more than one word
 *
 * Return: the index that the last word has been split from.
 */
static inline unsigned long ksm_array_parent(const struct ksm_array *array)
{
	return (array->nr - 1) & (array->mask >> 1);
}

#endif /* _MM_KSM_ARRAY_H */
