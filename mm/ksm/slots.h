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

/* Number of values of enum ksm_skip. */
#define KSM_NR_SKIPS	10

/**
 * struct ksm_mm_slot - an mm that may have mergeable VMAs
 * @slot: link from the mm, and into the list of all slots
 * @leaves: its leaves, in the order of addresses
 * @leaf_bytes: memory in @leaves
 * @nr_unshared: its records in the unstable index
 * @nr_sharing: its rmap_items beyond the first one of each stable node
 * @nr_skipped: its records of %KSM_SEEN pages by the reason why they are not merged,
 *	an enum ksm_skip; 0 is not counted
 * @nr_missed: its pages for which there was no memory for records, in the last pass
 * @domain: the domain of its pages, NULL until it is visited for the first time
 * @moving: it is about to change its domain
 * @claimed: a write to /proc/PID/ksm_merge visits the mm, or a work item moves it to
 *	another domain, and no pass visits it
 * @rewound: @leaves were freed, or the claim is new: the holder of the claim starts over
 * @held: the last wait for its mmap_lock was given up; see lock.c
 */
struct ksm_mm_slot {
	struct mm_slot slot;
	struct ksm_leaf *leaves;
	unsigned long leaf_bytes;
	unsigned long nr_unshared;
	unsigned long nr_sharing;
	unsigned int nr_skipped[KSM_NR_SKIPS];
	unsigned int nr_missed;
	struct ksm_domain *domain;
	bool moving;
	bool claimed;
	bool rewound;
	bool held;
};

/**
 * struct ksm_slots - all mm_slots
 * @lock: guards @list, the hash table of slots, @cursor and @unmerging; and of each slot
 *        the domain, the claim, and whether it moves
 * @list: the slots, in the order of scanning
 * @cursor: the slot that is scanned or unmerged, NULL between passes
 * @unmerging: every slot is being unmerged, and so has to be each new one
 * @changed: there is something new to scan; set without a lock
 * @wait: where ksmd waits for @changed
 * @released: where a write to /proc/PID/ksm_merge waits until a claim has ended
 */
struct ksm_slots {
	spinlock_t lock;	/* see above */
	struct list_head list;
	struct ksm_mm_slot *cursor;
	bool unmerging;
	bool changed;
	wait_queue_head_t wait;
	wait_queue_head_t released;
};

/**
 * struct ksm_slot_figures - what is known of the pages of one mm
 * @leaf_bytes: memory in leaves
 * @unshared: pages in the unstable index
 * @sharing: rmap_items beyond the first one of each stable node
 * @skipped: pages by the reason why they are not merged, an enum ksm_skip; 0 is not
 *	counted
 * @missed: pages for which there was no memory for records
 * @moving: the mm is about to change its domain
 */
struct ksm_slot_figures {
	unsigned long leaf_bytes;
	unsigned long unshared;
	unsigned long sharing;
	unsigned int skipped[KSM_NR_SKIPS];
	unsigned int missed;
	bool moving;
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
struct ksm_mm_slot *ksm_slots_find(struct ksm_slots *slots, struct mm_struct *mm);
bool ksm_slots_read(struct ksm_slots *slots, struct mm_struct *mm,
		    struct ksm_slot_figures *figures);
bool ksm_slots_any(struct ksm_slots *slots, bool (*match)(struct mm_struct *mm),
		   unsigned int *bucket);
void ksm_slots_add_up(struct ksm_slots *slots, ksm_slot_match *match, const void *arg,
		      struct ksm_slots_sum *sum);
void ksm_slots_begin(struct ksm_slots *slots, bool unmerging);
void ksm_slots_end(struct ksm_slots *slots);
void ksm_slots_leave(struct ksm_slots *slots, bool forget);
void ksm_slots_set_moving(struct ksm_slots *slots, struct ksm_mm_slot *slot, bool moving);
void ksm_slots_move(struct ksm_slots *slots, struct ksm_mm_slot *slot,
		    struct ksm_domain *domain);
bool ksm_slots_may_share(struct ksm_slots *slots, struct mm_struct *mm, unsigned int id);
struct ksm_mm_slot *ksm_slots_claim(struct ksm_slots *slots, struct mm_struct *mm);
struct ksm_mm_slot *ksm_slots_claim_left(struct ksm_slots *slots, struct ksm_mm_slot *after);
void ksm_slots_release(struct ksm_slots *slots, struct ksm_mm_slot *slot);
bool ksm_slots_claimed(struct ksm_slots *slots, struct mm_struct *mm);

#endif /* _MM_KSM_SLOTS_H */
