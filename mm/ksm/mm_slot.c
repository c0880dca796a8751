// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: which mms have mergeable VMAs.
 *
 * An mm_slot holds a reference to the mm_struct, not to the address space.  ksmd takes
 * mmap_lock, which keeps the page tables in place, and then reads mm_users.  ksm_exit()
 * runs after mm_users fell to zero, and takes mmap_lock once if ksmd may be at work on
 * the mm.  After that, ksmd sees no users and does not touch the page tables.  Only while
 * ksmd uses the lock of a VMA instead, it has a reference to the address space.
 */

#include <linux/hashtable.h>
#include <linux/ksm.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <trace/events/ksm.h>

#include "domains.h"
#include "slots.h"
#include "vma.h"

#define KSM_SLOT_HASH_BITS	10
/* Slots that one call of ksm_slots_any() visits. */
#define KSM_ANY_SLOTS		256U

struct ksm_slots ksm_slots = {
	.lock = __SPIN_LOCK_UNLOCKED(ksm_slots.lock),
	.list = LIST_HEAD_INIT(ksm_slots.list),
	.wait = __WAIT_QUEUE_HEAD_INITIALIZER(ksm_slots.wait),
	.released = __WAIT_QUEUE_HEAD_INITIALIZER(ksm_slots.released),
};

static DEFINE_HASHTABLE(slot_hash, KSM_SLOT_HASH_BITS);
static struct kmem_cache *slot_cache;

/**
 * ksm_mm_slot_init - create the cache
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_mm_slot_init(void)
{
	slot_cache = KMEM_CACHE(ksm_mm_slot, 0);
	return slot_cache ? 0 : -ENOMEM;
}

/**
 * ksm_slots_set_changed - tell ksmd that there is something new to scan
 * @slots: the slots
 *
 * Context: any.
 */
void ksm_slots_set_changed(struct ksm_slots *slots)
{
	WRITE_ONCE(slots->changed, true);
	wake_up_interruptible(&slots->wait);
}

/**
 * ksm_slots_empty - whether there is nothing to scan
 * @slots: the slots
 *
 * Context: any.  Without ksm_slots.lock the answer is a hint.
 * Return: true if no mm has a slot.
 */
bool ksm_slots_empty(const struct ksm_slots *slots)
{
	return list_empty(&slots->list);
}

/**
 * ksm_slots_find - find the slot of an mm
 * @slots: the slots
 * @mm: the mm
 *
 * Context: under ksm_slots.lock.
 * Return: the slot, or NULL if @mm has none.
 */
struct ksm_mm_slot *ksm_slots_find(struct ksm_slots *slots, struct mm_struct *mm)
{
	struct mm_slot *slot;

	lockdep_assert_held(&slots->lock);
	slot = mm_slot_lookup(slot_hash, mm);
	return slot ? mm_slot_entry(slot, struct ksm_mm_slot, slot) : NULL;
}

/**
 * ksm_slots_any - whether a condition holds for one of the next mms
 * @slots: the slots
 * @match: the condition; called with a spinlock held
 * @bucket: where to begin; moved to where the next call is to begin
 *
 * A call visits about KSM_ANY_SLOTS mms, which bounds its time.
 *
 * Context: ksmd; takes ksm_slots.lock.
 * Return: true if @match was true for an mm that was visited.
 */
bool ksm_slots_any(struct ksm_slots *slots, bool (*match)(struct mm_struct *mm),
		   unsigned int *bucket)
{
	unsigned int buckets, visited = 0;
	struct mm_slot *slot;
	bool found = false;

	for (buckets = 0; buckets < HASH_SIZE(slot_hash) && visited < KSM_ANY_SLOTS &&
	     !found; buckets++) {
		struct hlist_head *head = slot_hash + *bucket % HASH_SIZE(slot_hash);

		(*bucket)++;
		if (hlist_empty(head))
			continue;
		spin_lock(&slots->lock);
		hlist_for_each_entry(slot, head, hash) {
			visited++;
			found = found || match(slot->mm);
		}
		spin_unlock(&slots->lock);
	}
	return found;
}

/**
 * ksm_slots_add_up - add up figures of mms
 * @slots: the slots
 * @match: tells which to take; called with a spinlock held
 * @arg: for @match
 * @sum: filled in
 *
 * There may be tens of thousands of mms, so the lock is released between the buckets of
 * the hash table.
 *
 * Context: may sleep; takes ksm_slots.lock.
 */
void ksm_slots_add_up(struct ksm_slots *slots, ksm_slot_match *match, const void *arg,
		      struct ksm_slots_sum *sum)
{
	const struct ksm_mm_slot *slot;
	unsigned int bucket;

	*sum = (struct ksm_slots_sum){};
	for (bucket = 0; bucket < HASH_SIZE(slot_hash); bucket++) {
		spin_lock(&slots->lock);
		hlist_for_each_entry(slot, &slot_hash[bucket], slot.hash) {
			if (!match(slot, arg))
				continue;
			sum->zero_pages += mm_ksm_zero_pages(slot->slot.mm);
			sum->merging += READ_ONCE(slot->slot.mm->ksm_merging_pages);
			sum->leaf_bytes += READ_ONCE(slot->leaf_bytes);
		}
		spin_unlock(&slots->lock);
		cond_resched();
	}
}

static struct ksm_mm_slot *slot_after(struct ksm_slots *slots, struct list_head *at)
{
	lockdep_assert_held(&slots->lock);
	if (at->next == &slots->list)
		return NULL;
	return list_entry(at->next, struct ksm_mm_slot, slot.mm_node);
}

/* A slot that is claimed may be moving for the writer. */
static void end_visit(struct ksm_slots *slots)
{
	lockdep_assert_held(&slots->lock);
	if (slots->cursor && !slots->cursor->claimed)
		slots->cursor->moving = false;
}

/**
 * ksm_slots_begin - put the cursor on the first slot
 * @slots: the slots; the cursor is NULL if there is none
 * @unmerging: an unmerge begins, and not a pass
 *
 * Context: under ksm.lock.
 */
void ksm_slots_begin(struct ksm_slots *slots, bool unmerging)
{
	spin_lock(&slots->lock);
	end_visit(slots);
	slots->cursor = slot_after(slots, &slots->list);
	slots->unmerging = unmerging;
	spin_unlock(&slots->lock);
}

/**
 * ksm_slots_end - take the cursor off the slots
 * @slots: the slots
 *
 * Context: under ksm.lock, no mmap_lock held.
 */
void ksm_slots_end(struct ksm_slots *slots)
{
	spin_lock(&slots->lock);
	end_visit(slots);
	slots->cursor = NULL;
	slots->unmerging = false;
	spin_unlock(&slots->lock);
}

static void slot_unlink(struct ksm_slots *slots, struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&slots->lock);
	hash_del(&slot->slot.hash);
	list_del(&slot->slot.mm_node);
	/* The domain exists while it counts this slot: see ksm_domain_unused(). */
	if (slot->domain)
		WRITE_ONCE(slot->domain->nr_slots, slot->domain->nr_slots - 1);
}

static void slot_free(struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;

	VM_WARN_ON_ONCE(slot->leaves);
	mm_slot_free(slot_cache, slot);
	clear_bit(MMF_VM_MERGEABLE, &mm->flags);
	mmdrop(mm);
}

/**
 * ksm_slots_leave - move the cursor to the next slot
 * @slots: the slots; the cursor is NULL behind the last slot
 * @forget: free the slot, which has no leaves, and drop its reference to the mm
 *
 * While the cursor is on a slot, ksm_exit() leaves the slot alone.  Afterwards the
 * mm may go at any moment.
 *
 * Context: under ksm.lock.  To forget an mm that is not exiting, the caller holds
 * its mmap_lock and a reference to it.
 */
void ksm_slots_leave(struct ksm_slots *slots, bool forget)
{
	struct ksm_mm_slot *slot = slots->cursor;

	spin_lock(&slots->lock);
	end_visit(slots);
	slots->cursor = slot_after(slots, &slot->slot.mm_node);
	forget = forget && !slot->claimed;
	if (forget)
		slot_unlink(slots, slot);
	spin_unlock(&slots->lock);
	if (forget)
		slot_free(slot);
}

/**
 * ksm_slots_release - end a claim
 * @slots: the slots
 * @slot: from ksm_slots_claim(); not valid any more
 *
 * If the mm has exited meanwhile and has no leaves, the slot is freed.  If it has
 * leaves, the next pass frees both.
 *
 * Context: any task context; the caller holds a reference to the mm.
 */
void ksm_slots_release(struct ksm_slots *slots, struct ksm_mm_slot *slot)
{
	bool forget;

	spin_lock(&slots->lock);
	WRITE_ONCE(slot->claimed, false);
	slot->moving = false;
	forget = ksm_mm_exiting(slot->slot.mm) && !slot->leaves && slot != slots->cursor;
	if (forget)
		slot_unlink(slots, slot);
	spin_unlock(&slots->lock);
	if (forget)
		slot_free(slot);
	wake_up_all(&slots->released);
}

/**
 * __ksm_enter - give an mm a slot
 * @mm: the mm, which has none
 *
 * The slot is linked before the cursor, so that the pass under way does not come
 * to it: a fork is often followed by an exec.  An unmerge through sysfs has to
 * come to it, so during one the slot is linked at the end.
 *
 * Context: may sleep; mmap_lock of @mm held for writing, or @mm not in use yet.
 * Return: 0, or -ENOMEM.
 */
int __ksm_enter(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot = mm_slot_alloc(slot_cache);
	struct ksm_slots *slots = &ksm_slots;
	struct list_head *before = &slots->list;

	if (!slot)
		return -ENOMEM;
	mmgrab(mm);
	spin_lock(&slots->lock);
	mm_slot_insert(slot_hash, mm, (&slot->slot));
	if (slots->cursor && !slots->unmerging)
		before = &slots->cursor->slot.mm_node;
	list_add_tail(&slot->slot.mm_node, before);
	spin_unlock(&slots->lock);
	set_bit(MMF_VM_MERGEABLE, &mm->flags);
	ksm_slots_set_changed(slots);
	trace_ksm_enter(mm);
	return 0;
}

/*
 * Take an exiting mm off the list.  A slot that the cursor is on, or that has
 * leaves, stays: ksmd frees it, and scans it next.  A claimed slot stays until it is
 * released.
 */
static struct ksm_mm_slot *slot_detach(struct ksm_slots *slots, struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&slots->lock);
	if (slot == slots->cursor || slot->claimed)
		return NULL;
	if (slot->leaves) {
		if (slots->cursor)
			list_move(&slot->slot.mm_node, &slots->cursor->slot.mm_node);
		return NULL;
	}
	slot_unlink(slots, slot);
	return slot;
}

/*
 * After a failed exec, the owner of the new mm is the task that called exec.  That task has
 * never used the mm, so nothing clears the owner when the task exits.
 */
static void forget_owner(struct mm_struct *mm)
{
#ifdef CONFIG_MEMCG
	WRITE_ONCE(mm->owner, NULL);
#endif
}

/*
 * The mm of an exec that failed before it had a VMA.  Its mmap_lock is held, and it
 * is dropped without being put, so __ksm_exit() is not called for it again.  If the
 * cursor is on the slot, ksmd uses the mm and frees the slot at the end of its
 * visit, because nothing asks for the slot any more.
 */
static void slot_abandon(struct mm_struct *mm, struct ksm_mm_slot *detached)
{
	mmap_assert_write_locked(mm);
	clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	if (detached)
		slot_free(detached);
	else
		forget_owner(mm);
}

/* Wait until ksmd is done with the page tables; it frees a slot that is left. */
static void slot_exit(struct mm_struct *mm, struct ksm_mm_slot *detached)
{
	if (detached) {
		slot_free(detached);
		return;
	}
	forget_owner(mm);
	mmap_write_lock(mm);
	mmap_write_unlock(mm);
}

/**
 * __ksm_exit - an mm is about to lose its page tables, or its exec has failed
 * @mm: the mm
 *
 * Context: may sleep.  For an exec that failed, mmap_lock is held for writing and
 * @mm has no VMAs; otherwise @mm has no users.
 */
void __ksm_exit(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot, *detached = NULL;
	struct ksm_slots *slots = &ksm_slots;

	spin_lock(&slots->lock);
	slot = ksm_slots_find(slots, mm);
	if (slot)
		detached = slot_detach(slots, slot);
	spin_unlock(&slots->lock);
	if (slot && ksm_mm_exiting(mm))
		slot_exit(mm, detached);
	else if (slot)
		slot_abandon(mm, detached);
	trace_ksm_exit(mm);
}
