// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: an array of words that changes its length in pieces.
 *
 * The index and the filter are hash tables that follow the number of pages, from
 * a hundred to billions.  They use linear hashing (W. Litwin, "Linear hashing: a
 * new tool for file and table addressing", 1980): a table grows by one bucket at
 * its end at a time, and only one other bucket is split for that.  This file is the array
 * that they use.  It has three levels, like a page table, so a change of its length copies
 * one segment or directory at most.
 *
 * Each level starts with one slot and doubles until it has KSM_SEGMENT_WORDS.
 */

#include <linux/errno.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "array.h"

/*
 * Atomic: the memory cgroup that is charged is not reclaimed from when it is at
 * its limit, and no step waits for reclaim.  The callers do without the memory.
 */
#define KSM_ARRAY_GFP	(GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT)

/* Replace a table of pointers or words by one of @nr_new, keeping @nr_kept. */
static void *resize(struct ksm_array *array, void *table, unsigned long nr_kept,
		    unsigned long nr_new)
{
	void *new = kcalloc(nr_new, sizeof(unsigned long), KSM_ARRAY_GFP);

	if (!new)
		return NULL;
	array->bytes += ksize(new);
	if (!table)
		return new;
	memcpy(new, table, nr_kept * sizeof(unsigned long));
	array->bytes -= ksize(table);
	kfree(table);
	return new;
}

static void free_table(struct ksm_array *array, void *table)
{
	array->bytes -= ksize(table);
	kfree(table);
}

/* A directory has a power of two of slots: make it have slot @i. */
static int add_slot(struct ksm_array *array, void **table, unsigned long i)
{
	void *new;

	if (i && !is_power_of_2(i))
		return 0;
	new = resize(array, i ? *table : NULL, i, i ? 2 * i : 1);
	if (!new)
		return -ENOMEM;
	*table = new;
	return 0;
}

/* Slot @i of a directory is no longer used, nor is any behind it. */
static void remove_slot(struct ksm_array *array, void **table, unsigned long i)
{
	void *new;

	if (!i) {
		free_table(array, *table);
		*table = NULL;
		return;
	}
	if (!is_power_of_2(i))
		return;
	/* Without memory the directory stays as large as it is. */
	new = resize(array, *table, i, i);
	if (new)
		*table = new;
}

static int add_segment(struct ksm_array *array)
{
	const unsigned long segment = array->room >> KSM_SEGMENT_SHIFT;
	const unsigned long i = segment & KSM_SEGMENT_MASK;
	const unsigned long t = segment >> KSM_SEGMENT_SHIFT;
	unsigned long *words;

	if (!i && add_slot(array, (void **)&array->top, t))
		return -ENOMEM;
	if (add_slot(array, (void **)&array->top[t], i))
		goto no_slot;
	words = resize(array, NULL, 0, KSM_SEGMENT_WORDS);
	if (!words)
		goto no_words;
	array->top[t][i] = words;
	array->room += KSM_SEGMENT_WORDS;
	return 0;
no_words:
	remove_slot(array, (void **)&array->top[t], i);
no_slot:
	if (!i)
		remove_slot(array, (void **)&array->top, t);
	return -ENOMEM;
}

static int resize_first(struct ksm_array *array, unsigned long room)
{
	unsigned long *words = resize(array, array->top[0][0], min(room, array->room), room);

	if (!words)
		return -ENOMEM;
	array->top[0][0] = words;
	array->room = room;
	return 0;
}

static void set_nr(struct ksm_array *array, unsigned long nr)
{
	array->nr = nr;
	array->mask = roundup_pow_of_two(nr) - 1;
}

/**
 * ksm_array_init - make an array of zeroes
 * @array: filled in
 * @nr: its length, a power of two, at most KSM_SEGMENT_WORDS
 *
 * Context: any.
 * Return: 0, or -ENOMEM.
 */
int ksm_array_init(struct ksm_array *array, unsigned long nr)
{
	*array = (struct ksm_array){};
	if (add_slot(array, (void **)&array->top, 0))
		return -ENOMEM;
	if (add_slot(array, (void **)&array->top[0], 0))
		goto no_directory;
	array->top[0][0] = resize(array, NULL, 0, nr);
	if (!array->top[0][0])
		goto no_segment;
	array->room = nr;
	array->bytes = 0;
	set_nr(array, nr);
	return 0;
no_segment:
	kfree(array->top[0]);
no_directory:
	kfree(array->top);
	*array = (struct ksm_array){};
	return -ENOMEM;
}

/**
 * ksm_array_free_segment - free the last segment of an array
 * @array: the array; only freed from here on
 *
 * Context: any.
 * Return: true while there is more to free.
 */
bool ksm_array_free_segment(struct ksm_array *array)
{
	unsigned long segment, i, t;

	if (!array->room)
		return false;
	segment = (array->room - 1) >> KSM_SEGMENT_SHIFT;
	i = segment & KSM_SEGMENT_MASK;
	t = segment >> KSM_SEGMENT_SHIFT;
	free_table(array, array->top[t][i]);
	remove_slot(array, (void **)&array->top[t], i);
	if (!i)
		remove_slot(array, (void **)&array->top, t);
	array->room = segment << KSM_SEGMENT_SHIFT;
	return array->room;
}

/**
 * ksm_array_destroy - free the memory of an array
 * @array: the array
 *
 * Context: may sleep.
 */
void ksm_array_destroy(struct ksm_array *array)
{
	while (ksm_array_free_segment(array))
		cond_resched();
}

/**
 * ksm_array_extend - add zeroed words
 * @array: the array
 * @nr: the length wanted, more than the present one
 *
 * One call adds at most a segment.
 *
 * Context: any.
 * Return: 0 if the array has got longer, or -ENOMEM.
 */
int ksm_array_extend(struct ksm_array *array, unsigned long nr)
{
	int err = 0;

	if (array->nr == array->room) {
		if (array->room < KSM_SEGMENT_WORDS)
			err = resize_first(array, 2 * array->room);
		else
			err = add_segment(array);
	}
	if (!err)
		set_nr(array, min(nr, array->room));
	return err;
}

/**
 * ksm_array_pop - remove the last word
 * @array: the array, of more than one word
 *
 * Context: any.
 */
void ksm_array_pop(struct ksm_array *array)
{
	*ksm_array_at(array, array->nr - 1) = 0;
	set_nr(array, array->nr - 1);
	if (array->room <= KSM_SEGMENT_WORDS) {
		/* Without memory for a smaller segment this one stays. */
		if (array->nr == array->room / 2)
			resize_first(array, array->nr);
	} else if (array->nr == array->room - KSM_SEGMENT_WORDS) {
		ksm_array_free_segment(array);
	}
}
