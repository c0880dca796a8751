/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the index of pages that are not shared
 */
#ifndef _MM_KSM_UNSTABLE_H
#define _MM_KSM_UNSTABLE_H

#include <linux/types.h>

struct ksm_record;

/**
 * struct ksm_unstable - pages that may have their like, found by tag
 * @bucket: heads of chains of records; a tag's top bits choose one
 * @met: the filter: what was found out about samples and contents
 * @bits: log2 of the number of buckets
 * @most: records beyond which it has to grow
 * @nr: records in it
 * @nr_met: bits set in @met
 */
struct ksm_unstable {
	struct ksm_record **bucket;
	unsigned long *met;
	unsigned int bits;
	unsigned long most;
	unsigned long nr;
	unsigned long nr_met;
};

int ksm_unstable_init(struct ksm_unstable *unstable);
void ksm_unstable_destroy(struct ksm_unstable *unstable);
void ksm_unstable_shrink(struct ksm_unstable *unstable);
void ksm_unstable_reserve(struct ksm_unstable *unstable, unsigned long nr_nodes);
void ksm_unstable_insert(struct ksm_unstable *unstable, struct ksm_record *record);
void ksm_unstable_remove(struct ksm_unstable *unstable, struct ksm_record *record);
void ksm_unstable_move(struct ksm_unstable *unstable, struct ksm_record *from,
		       struct ksm_record *to);
struct ksm_record *ksm_unstable_find(const struct ksm_unstable *unstable,
				     u32 tag, bool full);
struct ksm_record *ksm_unstable_next(struct ksm_record *record);
bool ksm_unstable_met(const struct ksm_unstable *unstable, u32 tag);
void ksm_unstable_set_met(struct ksm_unstable *unstable, u32 tag);
bool ksm_unstable_mixed(const struct ksm_unstable *unstable, u32 tag);
void ksm_unstable_set_mixed(struct ksm_unstable *unstable, u32 tag);
bool ksm_unstable_met_crowded(const struct ksm_unstable *unstable);
void ksm_unstable_clear_met(struct ksm_unstable *unstable);
unsigned long ksm_unstable_bytes(const struct ksm_unstable *unstable);

#endif /* _MM_KSM_UNSTABLE_H */
