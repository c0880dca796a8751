// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: merging one mm at once, for /proc/PID/ksm_merge.
 *
 * The writer does in its own time what ksmd does in a pass, with the same walk, the
 * same trees and the same way to merge.  It works in pieces.  Each piece takes
 * ksm.lock for as long as a batch of ksmd may take, so ksmd and the writers take turns.
 * Within a piece, mmap_lock is released as often as ksmd releases it.
 *
 * The writer claims the slot of the mm.  A walk points into the leaves of the slot,
 * so only one walk may be under way in an mm.  A pass that comes to a claimed slot goes
 * on to the next: the writer visits each page that the pass would have visited.
 *
 * Each piece begins with the question which domain the mm belongs to.  If that is not
 * the domain of the slot, the writer moves the slot first, as ksmd does, and begins
 * anew.  It frees no domain: ksmd may be in the middle of one.
 *
 * A work item moves the mms that are left in domains of removed cgroups in the same way.
 */

#include <linux/ksm.h>
#include <linux/limits.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "domains.h"
#include "lock.h"
#include "move.h"
#include "now.h"
#include "replace.h"
#include "scan.h"
#include "settings.h"
#include "slots.h"
#include "vma.h"

/**
 * struct ksm_now - one write to /proc/PID/ksm_merge, or one mm moved by a work item
 * @scan: the pass of ksmd
 * @mm: the mm that is merged
 * @slot: its slot, claimed
 * @target: the domain that it belongs to, as of this piece
 * @walk: how far the visit has got, and the domain of @slot
 * @stage: what is to be done next, as in a pass; %KSM_STAGE_NONE at the end
 * @only_move: the mm is only moved to its domain, for a removed cgroup
 * @exited: the mm has exited
 * @held: the process holds its mmap_lock for long
 * @copied: it got copies of pages, which may sit in per-CPU batches
 * @outcomes: a bit for each enum ksm_result that an attempt to merge has ended with
 */
struct ksm_now {
	struct ksm_scan *scan;
	struct mm_struct *mm;
	struct ksm_mm_slot *slot;
	struct ksm_domain *target;
	struct ksm_walk walk;
	enum ksm_stage stage;
	bool only_move;
	bool exited;
	bool held;
	bool copied;
	unsigned int outcomes;
};

/* An unmerge holds ksm.lock for long, so run is read before the lock is taken, too. */
static int lock_unless_unmerging(struct ksm_lock *lock)
{
	int err;

	if (ksm_unmerging())
		return -EBUSY;
	err = ksm_lock_take(lock);
	if (!err && ksm_unmerging()) {
		ksm_lock_release(lock);
		err = -EBUSY;
	}
	return err;
}

/* Returns -EAGAIN if the slot cannot be claimed yet. */
static int claim_locked(struct ksm_now *now)
{
	struct ksm_scan *scan = now->scan;
	struct ksm_mm_slot *slot;

	if (!ksm_scan_yield_slot(scan, now->mm))
		return -EAGAIN;
	slot = ksm_slots_claim(scan->slots, now->mm);
	if (IS_ERR(slot))
		return -EAGAIN;
	now->slot = slot;
	if (slot) {
		slot->rewound = true;
		now->walk.domain = slot->domain ?: &scan->domains->common;
	}
	return 0;
}

static int try_claim(struct ksm_now *now)
{
	int err = lock_unless_unmerging(now->scan->lock);

	if (err)
		return err;
	err = claim_locked(now);
	ksm_lock_release(now->scan->lock);
	return err;
}

/* Wait until no other writer has claimed the mm, and no pass is moving it. */
static int claim(struct ksm_now *now)
{
	struct ksm_slots *slots = now->scan->slots;
	int err;

	while ((err = try_claim(now)) == -EAGAIN) {
		if (signal_pending(current) ||
		    wait_event_interruptible(slots->released,
					     !ksm_slots_claimed(slots, now->mm)))
			return -EINTR;
		cond_resched();
	}
	return err;
}

/* Begin anew if the mm belongs to another domain now, or if an unmerge has passed. */
static void begin_piece(struct ksm_now *now)
{
	struct ksm_domain *target = ksm_domains_of(now->scan->domains, now->slot);

	now->walk.seqnr = now->scan->seqnr;
	if (target == now->target && !now->slot->rewound)
		return;
	now->target = target;
	now->slot->rewound = false;
	ksm_slots_set_moving(now->scan->slots, now->slot, false);
	ksm_walk_begin(&now->walk, now->slot);
	now->stage = ksm_move_begin(now->scan->slots, &now->walk, target);
}

static bool lock_mm(struct ksm_now *now)
{
	now->held = !ksm_mmap_lock_soon(now->scan->lock, now->slot);
	now->walk.budget.deadline = local_clock() + KSM_STEP_NSEC;
	return !now->held;
}

/* Visit pages until there is something to merge, or mmap_lock was held for long. */
static void visit_pages(struct ksm_now *now)
{
	bool found_vma;

	if (!lock_mm(now))
		return;
	now->exited = ksm_mm_exiting(now->mm);
	if (now->exited || ksm_walk_mm(&now->walk, now->mm, &found_vma))
		now->stage = KSM_STAGE_LEAVE;
	mmap_read_unlock(now->mm);
	/* Forget all of its pages. */
	if (now->exited)
		ksm_walk_begin(&now->walk, now->slot);
}

static void merge_pages(struct ksm_now *now)
{
	struct ksm_walk *walk = &now->walk;

	visit_pages(now);
	now->outcomes |= ksm_merge_candidates(walk->domain, walk->candidate,
					      walk->nr_candidates);
	ksm_walk_merged(walk);
}

static void break_shares(struct ksm_now *now)
{
	struct ksm_walk *walk = &now->walk;

	if (!lock_mm(now))
		return;
	now->copied = true;
	now->stage = ksm_move_break(walk, now->target, walk->budget.deadline);
	mmap_read_unlock(now->mm);
}

/* The mm is in its domain, or has exited.  In the latter case all of it is forgotten. */
static void end_move(struct ksm_now *now)
{
	now->stage = KSM_STAGE_NONE;
	if (!ksm_mm_exiting(now->mm))
		return;
	ksm_walk_begin(&now->walk, now->slot);
	now->stage = KSM_STAGE_LEAVE;
}

/* One bounded step. */
static void step(struct ksm_now *now)
{
	struct ksm_slots *slots = now->scan->slots;
	struct ksm_walk *walk = &now->walk;

	ksm_domain_adjust_for(walk->domain, now->mm);
	walk->budget = (struct ksm_budget){
		.pages = UINT_MAX,
		.skips = UINT_MAX,
	};
	switch (now->stage) {
	case KSM_STAGE_BREAK:
		break_shares(now);
		break;
	case KSM_STAGE_FORGET:
		now->stage = ksm_move_forget(slots, walk, now->target,
					     local_clock() + KSM_STEP_NSEC);
		break;
	case KSM_STAGE_SCAN:
		if (now->only_move)
			end_move(now);
		else
			merge_pages(now);
		break;
	case KSM_STAGE_LEAVE:
		walk->budget.deadline = local_clock() + KSM_STEP_NSEC;
		if (ksm_walk_forget_rest(walk))
			now->stage = KSM_STAGE_NONE;
		break;
	default:
		/* There is no memory for its domain, or for copies of its pages. */
		walk->no_memory = true;
		now->stage = KSM_STAGE_NONE;
	}
}

/* Whether ksm.lock is to be released before the next step. */
static bool piece_ends(const struct ksm_now *now, u64 end)
{
	if (now->stage == KSM_STAGE_NONE || signal_pending(current))
		return true;
	if (now->held || ksm_lock_overdue(now->scan->lock))
		return true;
	/* The references of per-CPU batches are dropped first. */
	if (now->stage == KSM_STAGE_SCAN && now->copied)
		return true;
	return local_clock() >= end;
}

/* Returns true once there is nothing left to do. */
static bool merge_piece(struct ksm_now *now)
{
	const u64 end = local_clock() + KSM_BATCH_NSEC;

	/* The process has released its mmap_lock since. */
	if (now->held)
		now->slot->held = false;
	now->held = false;
	ksm_domain_lend_merge(now->scan->walk.domain, now->walk.domain);
	begin_piece(now);
	do {
		step(now);
		cond_resched();
	} while (!piece_ends(now, end));
	ksm_domain_lend_merge(now->walk.domain, now->scan->walk.domain);
	return now->stage == KSM_STAGE_NONE;
}

/* Without ksm.lock, so that ksmd goes on meanwhile. */
static int wait_until_released(struct ksm_now *now)
{
	if (mmap_read_lock_killable(now->mm))
		return -EINTR;
	mmap_read_unlock(now->mm);
	return 0;
}

static int merge_pieces(struct ksm_now *now)
{
	bool done;
	int err;

	do {
		if (signal_pending(current) || (now->held && wait_until_released(now)))
			return -EINTR;
		err = lock_unless_unmerging(now->scan->lock);
		if (err)
			return err;
		done = merge_piece(now);
		ksm_lock_release(now->scan->lock);
		if (now->copied) {
			lru_add_drain_all();
			now->copied = false;
		}
	} while (!done);
	return 0;
}

/* What the writer is told when each page was visited. */
static int outcome(const struct ksm_now *now)
{
	if (now->exited)
		return -ESRCH;
	if (now->walk.no_memory || (now->outcomes & BIT(KSM_NO_MEMORY)))
		return -ENOMEM;
	if (now->walk.skipped || (now->outcomes & BIT(KSM_BUSY)))
		return -EAGAIN;
	return 0;
}

/**
 * ksm_merge_mm - merge what is marked in an mm
 * @scan: the pass of ksmd
 * @mm: the mm
 *
 * Pages that were faulted in or copied lately may be in per-CPU batches.  A batch holds
 * references, and these keep the pages from being merged.  So the batches are drained.
 *
 * Context: a task; may sleep.  The caller holds a reference to @mm, but need not keep
 * its address space.
 * Return: 0; -EAGAIN if some pages were busy; -ENOMEM; -EINTR if a signal has arrived;
 * -EBUSY if everything is being unmerged, or is to stay so; -ESRCH if the mm exited.
 * What was merged stays merged.
 */
int ksm_merge_mm(struct ksm_scan *scan, struct mm_struct *mm)
{
	struct ksm_now now = { .scan = scan, .mm = mm, .walk.now = true };
	int err;

	now.walk.candidate = kcalloc(KSM_LEAF_PAGES, sizeof(*now.walk.candidate),
				     GFP_KERNEL_ACCOUNT);
	if (!now.walk.candidate)
		return -ENOMEM;
	err = claim(&now);
	if (!err && now.slot) {
		lru_add_drain_all();
		err = merge_pieces(&now);
		ksm_slots_release(scan->slots, now.slot);
	} else if (!err) {
		now.exited = ksm_mm_exiting(mm);
	}
	kfree(now.walk.candidate);
	return err ?: outcome(&now);
}

/**
 * ksm_move_claimed - move an mm to the domain that it belongs to
 * @scan: the pass of ksmd
 * @slot: the slot of the mm, claimed
 *
 * If the mm has exited, what is known of it is forgotten instead.
 *
 * Context: a work item; may sleep.  The caller holds a reference to the mm, but need not
 * keep its address space.  If there is no memory for this, or if the process holds its
 * mmap_lock for long, the mm stays where it is.
 */
void ksm_move_claimed(struct ksm_scan *scan, struct ksm_mm_slot *slot)
{
	struct ksm_now now = {
		.scan = scan,
		.mm = slot->slot.mm,
		.slot = slot,
		.walk = { .now = true, .domain = slot->domain ?: &scan->domains->common },
		.only_move = true,
	};
	bool done;

	do {
		if (ksm_lock_take(scan->lock))
			return;
		done = merge_piece(&now) || now.held;
		ksm_lock_release(scan->lock);
		cond_resched();
	} while (!done);
}
