// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: a pass over all mergeable memory.
 *
 * A pass goes through the mms, and in each through its mergeable VMAs.  It is done
 * in batches, and a batch in steps.  A step is short whatever there is to do: it
 * holds mmap_lock for KSM_STEP_NSEC and the time that one leaf takes.  A batch ends
 * when it has scanned as many pages as the controls say, or when it has used
 * KSM_BATCH_NSEC of CPU time, which counts all work.  It also ends if it has waited for
 * mmap_locks for long while others wait for ksm.lock.
 */

#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/limits.h>
#include <linux/sched/clock.h>
#include <linux/sched/coredump.h>
#include <linux/sched/cputime.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <trace/events/ksm.h>

#include "domains.h"
#include "move.h"
#include "scan.h"
#include "settings.h"
#include "slots.h"
#include "stable.h"
#include "unmerge.h"
#include "vma.h"

/* Time between two updates of the priority. */
#define KSM_PRIORITY_NSEC	(200 * NSEC_PER_USEC)
/* Pages that are skipped in the time that one is scanned in. */
#define KSM_SKIPS_PER_SCAN	6
/* How often a pass waits for an mmap_lock before it goes on to the next mm. */
#define KSM_MMAP_LOCK_TRIES	50
/* Passes between two rebuilds of the filter. */
#define KSM_PASSES_PER_REBUILD	16

/**
 * ksm_scan_init - prepare for the first pass
 * @scan: filled in
 * @lock: ksm.lock
 * @settings: the settings in force
 * @slots: the mms
 * @domains: all domains
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_scan_init(struct ksm_scan *scan, struct ksm_lock *lock,
			 struct ksm_settings *settings, struct ksm_slots *slots,
			 struct ksm_domains *domains)
{
	scan->lock = lock;
	scan->settings = settings;
	scan->slots = slots;
	scan->domains = domains;
	scan->walk.domain = &domains->common;
	ksm_priority_init(&scan->priority);
	scan->walk.candidate = kcalloc(KSM_LEAF_PAGES, sizeof(*scan->walk.candidate),
				       GFP_KERNEL);
	return scan->walk.candidate ? 0 : -ENOMEM;
}

static struct mm_struct *cursor_mm(const struct ksm_scan *scan)
{
	return scan->slots->cursor->slot.mm;
}

/* Use the mm under the cursor in the domain where it is. */
static void begin_slot(struct ksm_scan *scan)
{
	struct ksm_mm_slot *slot = scan->slots->cursor;

	scan->found_vma = false;
	scan->exiting = false;
	/* If its mmap_lock was waited for in vain lately, it may still be held. */
	scan->tries = slot->held ? 1 : KSM_MMAP_LOCK_TRIES;
	ksm_walk_use_domain(&scan->walk, slot->domain ?: &scan->domains->common);
	ksm_walk_begin(&scan->walk, slot);
}

/*
 * While memory is plentiful, known pages are left alone.  If a memory cgroup is short
 * of memory, the known pages of its mms are scanned nevertheless.
 */
static void set_only_new(struct ksm_scan *scan)
{
	const struct ksm_advisor *advisor = &scan->settings->advisor;

	scan->walk.only_new = advisor->mode == KSM_ADVISOR_PRESSURE && advisor->plentiful &&
			      !(scan->pressure.cgroup_short && ksm_mm_short(cursor_mm(scan)));
}

/* See whether the mm under the cursor has changed its domain. */
static void begin_move(struct ksm_scan *scan)
{
	struct ksm_walk *walk = &scan->walk;

	scan->target = ksm_domains_of(scan->domains, walk->slot);
	scan->stage = ksm_move_begin(scan->slots, walk, scan->target);
}

/* Begin with the mm under the cursor, if there is one. */
static void enter_slot(struct ksm_scan *scan)
{
	if (!scan->slots->cursor) {
		scan->stage = KSM_STAGE_NONE;
		return;
	}
	begin_slot(scan);
	set_only_new(scan);
	if (READ_ONCE(scan->slots->cursor->claimed))
		scan->stage = KSM_STAGE_SKIP;
	else
		begin_move(scan);
}

/*
 * Take the mmap_lock of the mm under the cursor.  If that fails, the next step tries again.
 * After the last try, the pass goes on to the next mm.
 */
static bool lock_mm(struct ksm_scan *scan)
{
	struct ksm_mm_slot *slot = scan->slots->cursor;

	slot->held = false;
	if (ksm_mmap_lock_soon(scan->lock, slot)) {
		scan->tries = KSM_MMAP_LOCK_TRIES;
		return true;
	}
	if (!--scan->tries)
		scan->stage = KSM_STAGE_SKIP;
	return false;
}

/* One bounded step of moving the mm under the cursor to another domain. */
static void move_step(struct ksm_scan *scan)
{
	struct ksm_domain *old = scan->walk.slot->domain;

	if (scan->stage == KSM_STAGE_BREAK) {
		if (!lock_mm(scan))
			return;
		scan->stage = ksm_move_break(&scan->walk, scan->target,
					     local_clock() + KSM_STEP_NSEC);
		mmap_read_unlock(cursor_mm(scan));
	} else {
		scan->stage = ksm_move_forget(scan->slots, &scan->walk, scan->target,
					      local_clock() + KSM_STEP_NSEC);
		ksm_scan_free_unused(scan, old);
	}
}

/**
 * ksm_scan_yield_slot - end the visit of an mm that is to be claimed
 * @scan: the pass
 * @mm: the mm
 *
 * A change of domain that is under way is not left half done, even if ksmd is stopped:
 * the caller does a step of it.
 *
 * Context: may sleep; under ksm.lock, no mmap_lock held.
 * Return: true if the mm may be claimed; false if the caller has to try again.
 */
bool ksm_scan_yield_slot(struct ksm_scan *scan, const struct mm_struct *mm)
{
	ksm_domains_assert_locked(scan->domains);
	if (!scan->slots->cursor || cursor_mm(scan) != mm)
		return true;
	if (scan->stage == KSM_STAGE_BREAK || scan->stage == KSM_STAGE_FORGET) {
		move_step(scan);
		return false;
	}
	if (scan->stage == KSM_STAGE_SCAN || scan->stage == KSM_STAGE_LEAVE)
		scan->stage = KSM_STAGE_SKIP;
	return true;
}

/* Scan the mm under the cursor until the walk pauses. */
static void scan_mm(struct ksm_scan *scan)
{
	struct mm_struct *mm = cursor_mm(scan);

	if (!lock_mm(scan))
		return;
	scan->walk.budget.deadline = local_clock() + KSM_STEP_NSEC;
	scan->exiting = ksm_mm_exiting(mm);
	if (scan->exiting || ksm_walk_mm(&scan->walk, mm, &scan->found_vma))
		scan->stage = KSM_STAGE_LEAVE;
	mmap_read_unlock(mm);
	/* An exiting mm has no pages any more. */
	if (scan->exiting)
		ksm_walk_begin(&scan->walk, scan->slots->cursor);
}

/* An mm may have asked for all its VMAs to be merged and not have any yet. */
static bool needs_slot(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGE_ANY, &mm->flags) || ksm_has_mergeable_vma(mm);
}

/*
 * The mm had nothing to merge.  Its slot goes, unless the mm may get something to
 * merge.  mmap_lock keeps madvise() and prctl() from using the slot meanwhile.
 */
static void leave_unused_slot(struct ksm_scan *scan, struct mm_struct *mm)
{
	if (!ksm_mmap_lock_soon(scan->lock, scan->slots->cursor)) {
		ksm_slots_leave(scan->slots, false);
		return;
	}
	mmgrab(mm);
	ksm_slots_leave(scan->slots, ksm_mm_exiting(mm) || !needs_slot(mm));
	mmap_read_unlock(mm);
	mmdrop(mm);
}

/* Forget what is left, and move the cursor to the next mm. */
static void leave_slot(struct ksm_scan *scan)
{
	struct ksm_domain *domain = scan->walk.domain;
	struct mm_struct *mm = cursor_mm(scan);

	scan->walk.budget.deadline = local_clock() + KSM_STEP_NSEC;
	if (!ksm_walk_forget_rest(&scan->walk))
		return;
	WRITE_ONCE(scan->walk.slot->nr_missed, scan->walk.nr_missed);
	if (scan->exiting || scan->found_vma)
		ksm_slots_leave(scan->slots, scan->exiting);
	else
		leave_unused_slot(scan, mm);
	ksm_scan_free_unused(scan, domain);
	enter_slot(scan);
}

static bool filter_needs_rebuild(const struct ksm_scan *scan)
{
	return scan->seqnr % KSM_PASSES_PER_REBUILD == 0 &&
	       ksm_filter_saturated(&scan->reaped->filter);
}

static void reap_next(struct ksm_scan *scan)
{
	struct ksm_domain *domain = scan->reaped;

	scan->reaped = ksm_domains_next(scan->domains, domain);
	scan->stage = KSM_STAGE_REAP;
	ksm_scan_free_unused(scan, domain);
	if (!scan->reaped)
		enter_slot(scan);
}

static void reap_step(struct ksm_scan *scan)
{
	struct ksm_domain *domain = scan->reaped;

	if (ksm_stable_reap_step(domain) ||
	    (ksm_domain_needs_adjust(domain) && ksm_domain_adjust_step(domain)))
		return;
	/* A rebuild may have been left when a pass was aborted. */
	if (domain->filter.rebuild != KSM_REBUILD_NONE || filter_needs_rebuild(scan)) {
		ksm_domain_filter_begin_rebuild(domain);
		scan->stage = KSM_STAGE_FILTER;
	} else {
		reap_next(scan);
	}
}

/* One bounded step of a pass. */
static void scan_step(struct ksm_scan *scan)
{
	struct ksm_domain *domain = scan->walk.domain;

	ksm_domain_adjust_for(domain, cursor_mm(scan));
	switch (scan->stage) {
	case KSM_STAGE_REAP:
		reap_step(scan);
		break;
	case KSM_STAGE_FILTER:
		if (!ksm_domain_filter_rebuild_step(scan->reaped))
			reap_next(scan);
		break;
	case KSM_STAGE_BREAK:
	case KSM_STAGE_FORGET:
		move_step(scan);
		break;
	case KSM_STAGE_SKIP:
		ksm_slots_leave(scan->slots, false);
		enter_slot(scan);
		break;
	case KSM_STAGE_SCAN:
		scan_mm(scan);
		ksm_merge_candidates(domain, scan->walk.candidate, scan->walk.nr_candidates);
		ksm_walk_merged(&scan->walk);
		break;
	case KSM_STAGE_LEAVE:
		leave_slot(scan);
		break;
	case KSM_STAGE_NONE:
		break;
	}
}

static bool begin_pass(struct ksm_scan *scan)
{
	struct ksm_counters sum;

	/* What is linked before the cursor from here on belongs to the next pass. */
	WRITE_ONCE(scan->slots->changed, false);
	ksm_slots_begin(scan->slots, false);
	if (!scan->slots->cursor)
		return false;
	scan->cpu_time = task_sched_runtime(current);
	ksm_advisor_start(&scan->settings->advisor, ktime_get_ns(), scan->cpu_time);
	ksm_domains_sum(scan->domains, &sum);
	scan->changed = sum.changed;
	trace_ksm_start_scan(scan->seqnr, sum.records);
	scan->walk.seqnr = scan->seqnr;
	scan->reaped = ksm_domains_next(scan->domains, NULL);
	scan->stage = KSM_STAGE_REAP;
	return true;
}

static void end_pass(struct ksm_scan *scan)
{
	u64 cpu_time = task_sched_runtime(current);
	struct ksm_advice advice;
	struct ksm_counters sum;

	ksm_domains_sum(scan->domains, &sum);
	if (ksm_advisor_stop(&scan->settings->advisor, ktime_get_ns(), cpu_time, &advice))
		trace_ksm_advisor(advice.scan_time, advice.pages_to_scan,
				  advice.cpu_percent);
	scan->back_off = ksm_back_off_millisecs(cpu_time - scan->cpu_time,
						sum.changed - scan->changed, sum.records);
	trace_ksm_stop_scan(scan->seqnr, sum.records);
	WRITE_ONCE(scan->seqnr, scan->seqnr + 1);
}

/**
 * ksm_scan_decide - have the pressure advisor decide, if it is on
 * @scan: the pass
 *
 * Takes effect on the mm under the cursor too.
 *
 * Context: ksmd; under ksm.lock.
 */
void ksm_scan_decide(struct ksm_scan *scan)
{
	struct ksm_advisor *advisor = &scan->settings->advisor;
	struct ksm_memory memory;
	struct ksm_advice advice;

	ksm_domains_assert_locked(scan->domains);
	if (advisor->mode == KSM_ADVISOR_PRESSURE) {
		ksm_pressure_read(&scan->pressure, scan->slots, &memory);
		if (ksm_advisor_decide(advisor, &memory, &advice))
			trace_ksm_advisor(advice.scan_time, advice.pages_to_scan,
					  advice.cpu_percent);
	}
	if (scan->slots->cursor)
		set_only_new(scan);
}

static void update_priority(struct ksm_scan *scan, u64 now)
{
	scan->priority.paced = scan->settings->advisor.mode == KSM_ADVISOR_PRESSURE;
	ksm_priority_update(&scan->priority, now, task_sched_runtime(current),
			    READ_ONCE(scan->settings->advisor.max_cpu));
}

/* The CPU time of ksmd is read now and then only, since that takes a lock. */
static bool batch_has_run_long(struct ksm_scan *scan, u64 began)
{
	u64 now = local_clock();

	if (ksm_lock_overdue(scan->lock))
		return true;
	if (now - scan->priority.time < KSM_PRIORITY_NSEC)
		return false;
	update_priority(scan, now);
	return scan->priority.spent || scan->priority.cpu_time - began >= KSM_BATCH_NSEC;
}

static bool batch_is_over(struct ksm_scan *scan)
{
	const struct ksm_budget *budget = &scan->walk.budget;

	return !budget->pages || !budget->skips || freezing(current) || kthread_should_stop() ||
	       READ_ONCE(scan->settings->run) != KSM_RUN_MERGE;
}

/**
 * ksm_scan_prepare - make pages ready to be merged, if the next batch begins a pass
 * @scan: the pass
 *
 * Pages that were faulted in lately may be in per-CPU batches.  The reference of a batch
 * keeps a page from being merged.  So the batches are drained, which waits for a work
 * item on each CPU.
 *
 * Context: ksmd; may sleep, without ksm.lock.
 */
void ksm_scan_prepare(const struct ksm_scan *scan)
{
	if (READ_ONCE(scan->stage) == KSM_STAGE_NONE)
		lru_add_drain_all();
}

/**
 * ksm_scan_batch - continue the pass, or begin one
 * @scan: the pass
 * @nr_pages: pages to scan
 *
 * The batch ends early at the end of the pass, after KSM_BATCH_NSEC of CPU time, after long
 * waits for mmap_locks if others wait for ksm.lock, and if ksmd has to sleep.  In the last
 * three cases the next call continues it, whatever @nr_pages is.
 * Pages that are skipped count for less.
 *
 * Context: ksmd; may sleep; under ksm.lock.
 */
void ksm_scan_batch(struct ksm_scan *scan, unsigned int nr_pages)
{
	u64 began;

	ksm_domains_assert_locked(scan->domains);
	update_priority(scan, local_clock());
	began = scan->priority.cpu_time;
	if (!scan->cut_short)
		scan->walk.budget = (struct ksm_budget){
			.pages = nr_pages,
			.skips = min(nr_pages, UINT_MAX / KSM_SKIPS_PER_SCAN) *
				 KSM_SKIPS_PER_SCAN,
		};
	scan->cut_short = false;
	if (scan->stage == KSM_STAGE_NONE && !begin_pass(scan))
		return;
	while (!batch_is_over(scan)) {
		scan_step(scan);
		if (scan->stage == KSM_STAGE_NONE) {
			end_pass(scan);
			return;
		}
		cond_resched();
		scan->cut_short = batch_has_run_long(scan, began);
		if (scan->cut_short)
			return;
	}
}

/**
 * ksm_scan_wanted - whether ksmd scans
 * @scan: the pass
 *
 * Context: any.  Without ksm.lock the answer is a hint.
 * Return: true if run is 1, and some mm has a slot.
 */
bool ksm_scan_wanted(const struct ksm_scan *scan)
{
	return READ_ONCE(scan->settings->run) == KSM_RUN_MERGE && !ksm_slots_empty(scan->slots);
}

/**
 * ksm_scan_abort - end the pass under way
 * @scan: the pass; the next batch begins one with the first mm
 *
 * Context: under ksm.lock, no mmap_lock held.
 */
void ksm_scan_abort(struct ksm_scan *scan)
{
	ksm_domains_assert_locked(scan->domains);
	ksm_slots_end(scan->slots);
	scan->stage = KSM_STAGE_NONE;
}

static int unmerge_vmas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	int err = 0;

	VMA_ITERATOR(vmi, mm, 0);

	while (!err && (vma = ksm_next_vma(&vmi)))
		if (vma->anon_vma)
			err = ksm_break_range(vma, vma->vm_start, vma->vm_end);
	return err;
}

/* Unmerge the mm under the cursor and move on to the next. */
static int unmerge_mm(struct ksm_scan *scan)
{
	struct mm_struct *mm = cursor_mm(scan);
	bool exiting;
	int err = 0;

	begin_slot(scan);
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	exiting = ksm_mm_exiting(mm);
	if (!exiting)
		err = unmerge_vmas(mm);
	mmap_read_unlock(mm);
	if (err)
		return err;
	while (!ksm_walk_forget_rest(&scan->walk))
		cond_resched();
	scan->slots->cursor->rewound = true;
	ksm_slots_leave(scan->slots, exiting);
	return 0;
}

static int unmerge_all(struct ksm_scan *scan)
{
	int err = 0;

	scan->walk.budget.deadline = 0;
	for (ksm_slots_begin(scan->slots, true); scan->slots->cursor && !err; cond_resched())
		err = unmerge_mm(scan);
	ksm_scan_abort(scan);
	return err;
}

static bool clear_all(struct ksm_scan *scan)
{
	struct ksm_domain *domain = NULL;
	bool cleared = true;

	while ((domain = ksm_domains_next(scan->domains, domain)))
		cleared &= ksm_stable_clear(domain);
	return cleared;
}

static void reset_all(struct ksm_scan *scan)
{
	struct ksm_domain *domain, *next;

	for (domain = ksm_domains_next(scan->domains, NULL); domain; domain = next) {
		next = ksm_domains_next(scan->domains, domain);
		ksm_domain_reset(domain);
		ksm_scan_free_unused(scan, domain);
	}
}

/**
 * ksm_scan_unmerge - give all mms pages of their own and forget every page
 * @scan: the pass, which ends
 *
 * Context: may sleep; under ksm.lock.
 * Return: 0, -ENOMEM, -EINTR or -ERESTARTSYS; the rest stays merged then.
 */
int ksm_scan_unmerge(struct ksm_scan *scan)
{
	int err;

	ksm_domains_assert_locked(scan->domains);
	err = unmerge_all(scan);
	if (err)
		return err;
	/*
	 * A page of a process that exits may still be mapped, and is left.  But a page that
	 * was read from swap meanwhile may be mapped where the walk had passed: walk again.
	 */
	if (!clear_all(scan)) {
		err = unmerge_all(scan);
		if (err)
			return err;
		clear_all(scan);
	}
	reset_all(scan);
	WRITE_ONCE(scan->seqnr, 0);
	return 0;
}
