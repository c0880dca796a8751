// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the domain that an mm_slot is in, and its claim.
 */

#include <linux/err.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>

#include "domains.h"
#include "slots.h"

/**
 * ksm_slots_read - read the figures of an mm
 * @slots: the slots
 * @mm: the mm
 * @figures: filled in; all 0 if @mm has no slot
 *
 * Context: any; takes ksm_slots.lock.  ksm.lock is not taken: the figures may not fit
 * each other.
 * Return: true if @mm has a slot.
 */
bool ksm_slots_read(struct ksm_slots *slots, struct mm_struct *mm,
		    struct ksm_slot_figures *figures)
{
	const struct ksm_mm_slot *slot;
	unsigned int i;

	*figures = (struct ksm_slot_figures){};
	spin_lock(&slots->lock);
	slot = ksm_slots_find(slots, mm);
	if (slot) {
		figures->leaf_bytes = READ_ONCE(slot->leaf_bytes);
		figures->unshared = READ_ONCE(slot->nr_unshared);
		figures->sharing = READ_ONCE(slot->nr_sharing);
		figures->missed = READ_ONCE(slot->nr_missed);
		figures->moving = slot->moving;
		for (i = 0; i < KSM_NR_SKIPS; i++)
			figures->skipped[i] = READ_ONCE(slot->nr_skipped[i]);
	}
	spin_unlock(&slots->lock);
	return slot;
}

/**
 * ksm_slots_set_moving - whether an mm may map further shared pages
 * @slots: the slots
 * @slot: the slot of the mm
 * @moving: the mm is about to change its domain
 *
 * While @moving is true, pages that are read from swap are copied.  ksm_slots_move()
 * ends that.  So does the end of the visit: the cursor leaves a slot that is not
 * claimed, or a claim is released.
 *
 * Context: under ksm.lock.
 */
void ksm_slots_set_moving(struct ksm_slots *slots, struct ksm_mm_slot *slot, bool moving)
{
	spin_lock(&slots->lock);
	slot->moving = moving;
	spin_unlock(&slots->lock);
}

/**
 * ksm_slots_move - put a slot into another domain
 * @slots: the slots
 * @slot: the slot, without records in the domain where it was
 * @domain: the domain
 *
 * Context: under ksm.lock.
 */
void ksm_slots_move(struct ksm_slots *slots, struct ksm_mm_slot *slot,
		    struct ksm_domain *domain)
{
	VM_WARN_ON_ONCE(slot->leaves);
	spin_lock(&slots->lock);
	if (slot->domain)
		WRITE_ONCE(slot->domain->nr_slots, slot->domain->nr_slots - 1);
	slot->domain = domain;
	WRITE_ONCE(domain->nr_slots, domain->nr_slots + 1);
	slot->moving = false;
	spin_unlock(&slots->lock);
}

/**
 * ksm_slots_may_share - whether an mm may map shared pages of a domain
 * @slots: the slots
 * @mm: the mm
 * @id: the number of the domain
 *
 * Until a forked mm is visited for the first time, it is in the domain of its parent.
 *
 * Context: any; takes ksm_slots.lock.
 * Return: false if the mm is in another domain, or is about to be.
 */
bool ksm_slots_may_share(struct ksm_slots *slots, struct mm_struct *mm, unsigned int id)
{
	struct ksm_mm_slot *slot;
	bool may = false;

	spin_lock(&slots->lock);
	slot = ksm_slots_find(slots, mm);
	if (slot && !slot->moving)
		may = !slot->domain || slot->domain->id == id;
	spin_unlock(&slots->lock);
	return may;
}

/**
 * ksm_slots_claim - keep passes off an mm
 * @slots: the slots
 * @mm: the mm; no pass is moving it to another domain
 *
 * The slot stays until ksm_slots_release(), even if the mm exits.  An unmerge visits
 * it nevertheless.
 *
 * Context: under ksm.lock.
 * Return: its slot; NULL if it has none; ERR_PTR(-EBUSY) if the slot is claimed.
 */
struct ksm_mm_slot *ksm_slots_claim(struct ksm_slots *slots, struct mm_struct *mm)
{
	struct ksm_mm_slot *slot;

	spin_lock(&slots->lock);
	slot = ksm_slots_find(slots, mm);
	if (slot && slot->claimed)
		slot = ERR_PTR(-EBUSY);
	else if (slot)
		WRITE_ONCE(slot->claimed, true);
	spin_unlock(&slots->lock);
	return slot;
}

/**
 * ksm_slots_claim_left - claim an mm that may be in the domain of a removed cgroup
 * @slots: the slots
 * @after: a slot that the caller has claimed, or NULL
 *
 * An mm without a domain is claimed, too: before its first visit, a fork may map shared
 * pages of any domain.
 *
 * Context: under ksm.lock; no pass is under way.
 * Return: the first such slot behind @after, or of all for NULL, with a reference to its
 * mm; NULL if there is none.
 */
struct ksm_mm_slot *ksm_slots_claim_left(struct ksm_slots *slots, struct ksm_mm_slot *after)
{
	struct ksm_mm_slot *slot, *found = NULL;

	spin_lock(&slots->lock);
	slot = list_prepare_entry(after, &slots->list, slot.mm_node);
	list_for_each_entry_continue(slot, &slots->list, slot.mm_node) {
		if (slot->claimed || (slot->domain && !ksm_domain_removed(slot->domain)))
			continue;
		mmgrab(slot->slot.mm);
		WRITE_ONCE(slot->claimed, true);
		slot->rewound = true;
		found = slot;
		break;
	}
	spin_unlock(&slots->lock);
	return found;
}

/**
 * ksm_slots_claimed - whether the slot of an mm is claimed
 * @slots: the slots
 * @mm: the mm
 *
 * Context: any; takes ksm_slots.lock.
 * Return: true if it is, at this moment.
 */
bool ksm_slots_claimed(struct ksm_slots *slots, struct mm_struct *mm)
{
	struct ksm_mm_slot *slot;
	bool claimed;

	spin_lock(&slots->lock);
	slot = ksm_slots_find(slots, mm);
	claimed = slot && slot->claimed;
	spin_unlock(&slots->lock);
	return claimed;
}
