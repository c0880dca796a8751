/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the state of each scanned page in 16 bytes
 */
#ifndef _MM_KSM_RECORD_H
#define _MM_KSM_RECORD_H

#include <linux/mm.h>
#include <linux/types.h>

/* A leaf has space for the pages of one aligned range of this many. */
#define KSM_LEAF_SHIFT		6
#define KSM_LEAF_PAGES		64U
#define KSM_LEAF_BYTES		(PAGE_SIZE << KSM_LEAF_SHIFT)
#define KSM_LEAF_CLASSES	4

struct ksm_domain;
struct ksm_mm_slot;
struct ksm_rmap_item;
struct mem_cgroup;

/**
 * enum ksm_state - what is known of a page
 * @KSM_NONE: nothing; the record is free
 * @KSM_SEEN: scanned once, or its content changed, or it cannot be merged now
 * @KSM_UNSHARED: unchanged when scanned again; in the index
 * @KSM_SHARED: merged; the record points to an rmap_item
 */
enum ksm_state {
	KSM_NONE,
	KSM_SEEN,
	KSM_UNSHARED,
	KSM_SHARED,
};

/**
 * struct ksm_record - a page of an mm that has been scanned
 * @next: in state %KSM_UNSHARED, the next record of its bucket
 * @item: in state %KSM_SHARED, the reverse mapping
 * @reason: in state %KSM_SEEN, an enum ksm_skip
 * @tag: the upper half of the fingerprint that the page had when last scanned
 * @offset: which page of the leaf's range
 * @slot: which record of the leaf
 * @rewrites: how often the page was written to soon after it had merged; saturating
 * @skips: passes for which the page is skipped; in state %KSM_SHARED, the low bits of
 *	the number of the pass that merged it
 * @age: scans since the page was new, changed or left a tree; saturating
 * @full: @tag is of the whole page, not of its sample
 * @state: an enum ksm_state
 */
struct ksm_record {
	union {
		struct ksm_record *next;
		struct ksm_rmap_item *item;
		u8 reason;
	};
	u32 tag;
	u8 offset;
	u8 slot:6;
	u8 rewrites:2;
	u8 skips;
	u8 age:5;
	u8 full:1;
	u8 state:2;
};

/**
 * struct ksm_leaf - records of neighbouring pages, in the order of addresses
 * @next: the next leaf of the same mm
 * @owner: the slot of the mm
 * @range: first address of the range >> (PAGE_SHIFT + KSM_LEAF_SHIFT)
 * @class: size class, see ksm_leaf_capacity()
 * @nr: records in @record, free ones included
 * @skips: passes for which all of the leaf is skipped; 0 again as soon as one of
 *         its records is put into use, changes or is freed
 * @may_shrink: a record was freed, or never used, since the leaf was last checked
 * @record: the records, ascending by @offset
 */
struct ksm_leaf {
	struct ksm_leaf *next;
	struct ksm_mm_slot *owner;
	u64 range:46;
	u64 class:2;
	u64 nr:7;
	u64 skips:8;
	u64 may_shrink:1;
	struct ksm_record record[];
};

/**
 * struct ksm_leaf_cursor - how far the leaves of an mm have been scanned
 * @link: where the first leaf is linked whose range ends behind @done
 * @done: in this pass, all pages at lower addresses have been scanned, or have
 *        been forgotten because they are no longer there
 *
 * Each function that takes a cursor keeps it so.  A leaf at a lower address than
 * @done therefore has no free record more than it needs, and @link leads to the
 * leaf of @done if there is one.
 */
struct ksm_leaf_cursor {
	struct ksm_leaf **link;
	unsigned long done;
};

int ksm_record_init(void);
unsigned int ksm_leaf_capacity(unsigned int class);
struct ksm_leaf *ksm_leaf_of(const struct ksm_record *record);
unsigned long ksm_leaf_start(const struct ksm_leaf *leaf);
bool ksm_leaf_covers(const struct ksm_leaf *leaf, unsigned long address);
unsigned long ksm_record_address(const struct ksm_record *record);
struct ksm_mm_slot *ksm_record_slot(const struct ksm_record *record);
struct mm_struct *ksm_record_mm(const struct ksm_record *record);
void ksm_record_seen(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_changed(struct ksm_domain *domain, struct ksm_record *record, u32 tag);
void ksm_record_set_reason(struct ksm_record *record, u8 reason);
void ksm_record_insert(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_remove(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_unshare(struct ksm_domain *domain, struct ksm_record *record);
void ksm_record_forget(struct ksm_domain *domain, struct ksm_record *record);
void ksm_leaves_free(struct ksm_domain *domain);
int ksm_leaf_extend(struct ksm_domain *domain, struct ksm_mm_slot *owner,
		    struct ksm_leaf **link, unsigned long address, u64 offsets);
void ksm_leaf_cursor_init(struct ksm_leaf_cursor *cursor, struct ksm_mm_slot *slot);
bool ksm_leaf_cursor_forget(struct ksm_domain *domain, struct ksm_leaf_cursor *cursor,
			    unsigned long address, unsigned int *budget);
void ksm_leaf_cursor_scanned(struct ksm_domain *domain, struct ksm_leaf_cursor *cursor,
			     unsigned long address);
struct ksm_leaf *ksm_leaf_cursor_leaf(const struct ksm_leaf_cursor *cursor,
				      unsigned long address);
unsigned long ksm_leaf_cursor_next_start(const struct ksm_leaf_cursor *cursor);

/**
 * ksm_leaf_offset - where a page is in the range of its leaf
 * @address: its user address
 *
 * Return: in pages, below KSM_LEAF_PAGES.
 */
static inline unsigned int ksm_leaf_offset(unsigned long address)
{
	return (address >> PAGE_SHIFT) & (KSM_LEAF_PAGES - 1);
}

#endif /* _MM_KSM_RECORD_H */
