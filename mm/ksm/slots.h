/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the mm_structs that are scanned, and the cursor.
 */
#ifndef _MM_KSM_SLOTS_H
#define _MM_KSM_SLOTS_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "../mm_slot.h"

struct ksm_domain;
struct ksm_leaf;

/**
 * struct ksm_mm_slot - an mm that may have mergeable VMAs
 * @slot: link from the mm, and into the list of all slots
 * @leaves: its leaves, in the order of addresses
 * @leaf_bytes: memory in @leaves
 * @domain: the domain of its pages, NULL until the scan has come to it
 */
struct ksm_mm_slot {
	struct mm_slot slot;
	struct ksm_leaf *leaves;
	unsigned long leaf_bytes;
	struct ksm_domain *domain;
};

/**
 * struct ksm_slots - all mm_slots
 * @lock: guards @list, the hash table of slots, @cursor, @unmerging, @moving, and
 *        which domain each slot is in
 * @list: the slots, in the order of scanning
 * @cursor: the slot that is scanned or unmerged, NULL between passes
 * @unmerging: every slot is being unmerged, and so has to be each new one
 * @moving: the slot at the cursor is about to change its domain
 * @changed: there is something new to scan; set without a lock
 * @wait: where ksmd waits for @changed
 */
struct ksm_slots {
	spinlock_t lock;	/* see above */
	struct list_head list;
	struct ksm_mm_slot *cursor;
	bool unmerging;
	bool moving;
	bool changed;
	wait_queue_head_t wait;
};

/**
 * struct ksm_slots_sum - figures of some mms
 * @zero_pages: PTEs in which merging put the zero page
 * @merging: pages that are shared
 * @leaf_bytes: memory in leaves
 */
struct ksm_slots_sum {
	long zero_pages;
	unsigned long merging;
	unsigned long leaf_bytes;
};

typedef bool ksm_slot_match(const struct ksm_mm_slot *slot, const void *arg);

extern struct ksm_slots ksm_slots;

int ksm_mm_slot_init(void);
void ksm_slots_set_changed(struct ksm_slots *slots);
bool ksm_slots_empty(const struct ksm_slots *slots);
unsigned long ksm_mm_leaf_bytes(struct ksm_slots *slots, struct mm_struct *mm);
bool ksm_slots_any_short(struct ksm_slots *slots, unsigned int *bucket);
void ksm_slots_add_up(struct ksm_slots *slots, ksm_slot_match *match, const void *arg,
		      struct ksm_slots_sum *sum);
void ksm_slots_begin(struct ksm_slots *slots, bool unmerging);
void ksm_slots_end(struct ksm_slots *slots);
void ksm_slots_leave(struct ksm_slots *slots, bool forget);
void ksm_slots_begin_move(struct ksm_slots *slots);
void ksm_slots_move(struct ksm_slots *slots, struct ksm_domain *domain);
bool ksm_slots_may_share(struct ksm_slots *slots, struct mm_struct *mm, unsigned int id);

#endif /* _MM_KSM_SLOTS_H */
