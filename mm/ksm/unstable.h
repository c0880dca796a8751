/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the index of pages that are not shared.
 */
#ifndef _MM_KSM_UNSTABLE_H
#define _MM_KSM_UNSTABLE_H

#include <linux/types.h>

#include "array.h"

struct ksm_record;

/**
 * struct ksm_unstable - records of pages that may have a duplicate, by tag
 * @buckets: heads of chains of records; a tag's lower bits choose the bucket
 * @most: number of records beyond which the index has to grow
 * @least: number of records below which it has to shrink
 * @nr: number of records
 */
struct ksm_unstable {
	struct ksm_array buckets;
	unsigned long most;
	unsigned long least;
	unsigned long nr;
};

int ksm_unstable_init(struct ksm_unstable *unstable);
void ksm_unstable_destroy(struct ksm_unstable *unstable);
bool ksm_unstable_adjust(struct ksm_unstable *unstable);
void ksm_unstable_insert(struct ksm_unstable *unstable, struct ksm_record *record);
void ksm_unstable_remove(struct ksm_unstable *unstable, struct ksm_record *record);
void ksm_unstable_move(struct ksm_unstable *unstable, struct ksm_record *from,
		       struct ksm_record *to);
struct ksm_record *ksm_unstable_find(const struct ksm_unstable *unstable,
				     u32 tag, bool full);
struct ksm_record *ksm_unstable_next(struct ksm_record *record);
unsigned long ksm_unstable_bytes(const struct ksm_unstable *unstable);

/**
 * ksm_unstable_needs_adjust - whether ksm_unstable_adjust() has something to do
 * @unstable: the index
 *
 * Context: any; under ksm.lock.
 * Return: true if it has.
 */
static inline bool ksm_unstable_needs_adjust(const struct ksm_unstable *unstable)
{
	return unstable->nr > unstable->most || unstable->nr < unstable->least;
}

#endif /* _MM_KSM_UNSTABLE_H */
