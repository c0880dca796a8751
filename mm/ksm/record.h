/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the state of each scanned page in 16 bytes
 */
#ifndef _MM_KSM_RECORD_H
#define _MM_KSM_RECORD_H

#include <linux/mm.h>
#include <linux/types.h>

/* A leaf has room for the pages of one aligned range of this many. */
#define KSM_LEAF_SHIFT		6
#define KSM_LEAF_PAGES		64U
#define KSM_LEAF_BYTES		(PAGE_SIZE << KSM_LEAF_SHIFT)
#define KSM_LEAF_CLASSES	4

struct ksm_domain;
struct ksm_mm_slot;
struct ksm_rmap_item;

/**
 * enum ksm_state - what is known of a page
 * @KSM_NONE: nothing; the record is free
 * @KSM_SEEN: read once, or its content changed, or no merge is possible
 * @KSM_UNSHARED: unchanged when read again; in the unstable tree
 * @KSM_SHARED: merged; the record points to an rmap_item
 */
enum ksm_state {
	KSM_NONE,
	KSM_SEEN,
	KSM_UNSHARED,
	KSM_SHARED,
};

/**
 * struct ksm_record - a page of an mm that a scan came across
 * @next: in state KSM_UNSHARED, the next record of its bucket
 * @item: in state KSM_SHARED, the reverse mapping
 * @tag: what the page held when last read, the top half of a fingerprint
 * @offset: which page of the leaf's range
 * @slot: which record of the leaf
 * @skips: passes to leave the page alone for
 * @age: how often a look at the page was in vain, saturating
 * @full: @tag is of the whole page, not of its sample
 * @state: an enum ksm_state
 */
struct ksm_record {
	union {
		struct ksm_record *next;
		struct ksm_rmap_item *item;
	};
	u32 tag;
	u8 offset;
	u8 slot;
	u8 skips;
	u8 age:5;
	u8 full:1;
	u8 state:2;
};

/**
 * struct ksm_leaf - records of neighbouring pages, in the order of addresses
 * @next: the leaf behind, in the same mm
 * @owner: whose pages these are
 * @range: first address of the range >> (PAGE_SHIFT + KSM_LEAF_SHIFT)
 * @class: size class, see ksm_leaf_capacity()
 * @nr: records in @record, free ones included
 * @record: the records, ascending by @offset
 */
struct ksm_leaf {
	struct ksm_leaf *next;
	struct ksm_mm_slot *owner;
	u64 range:48;
	u64 class:8;
	u64 nr:8;
	struct ksm_record record[];
};

int ksm_record_init(void);
unsigned int ksm_leaf_capacity(unsigned int class);
struct ksm_leaf *ksm_leaf_of(const struct ksm_record *record);
unsigned long ksm_leaf_start(const struct ksm_leaf *leaf);
bool ksm_leaf_covers(const struct ksm_leaf *leaf, unsigned long address);
unsigned long ksm_record_address(const struct ksm_record *record);
struct mm_struct *ksm_record_mm(const struct ksm_record *record);
void ksm_record_seen(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_unshare(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_forget(struct ksm_domain *domain, struct ksm_record *record);
int ksm_leaf_extend(struct ksm_domain *domain, struct ksm_mm_slot *owner,
		    struct ksm_leaf **link, unsigned long address, u64 offsets);
bool ksm_leaf_free_empty(struct ksm_domain *domain, struct ksm_leaf **link);
void ksm_leaf_forget(struct ksm_domain *domain, struct ksm_leaf *leaf,
		     unsigned int from, unsigned int to);
void ksm_leaves_forget(struct ksm_domain *domain, struct ksm_leaf **link,
		       unsigned long end);

#endif /* _MM_KSM_RECORD_H */
