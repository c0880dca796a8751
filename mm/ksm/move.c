// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: an mm changes its domain.
 *
 * Which domain an mm is in depends on its memory cgroup and on the controls, none of
 * which notifies ksmd.  The scan asks for it each time that it comes to the mm, and a
 * write to /proc/PID/ksm_merge each time that it takes ksm.lock.  If the domain has
 * changed, the mm gets copies of all pages that it shares in other domains.  Then its
 * records are forgotten, and then it is scanned in the new domain.
 *
 * A child shares the pages of its parent, and may have been put into another cgroup
 * before the first scan of it.  So its pages are checked as well.
 */

#include <linux/mm.h>
#include <linux/sched/clock.h>
#include <trace/events/ksm.h>

#include "domains.h"
#include "move.h"
#include "scan.h"
#include "slots.h"
#include "unmerge.h"
#include "vma.h"

/**
 * ksm_domain_lend_merge - have a domain use the buffers of another one
 * @from: where the buffers are
 * @to: where they are needed
 *
 * There is one set of buffers.
 *
 * Context: under ksm.lock, without candidates.
 */
void ksm_domain_lend_merge(struct ksm_domain *from, struct ksm_domain *to)
{
	ksm_domain_assert_locked(to);
	swap(from->merge, to->merge);
}

/**
 * ksm_walk_use_domain - scan pages of a domain from here on
 * @walk: the walk, whose domain has the buffers
 * @domain: the domain
 *
 * Context: under ksm.lock, without candidates.
 */
void ksm_walk_use_domain(struct ksm_walk *walk, struct ksm_domain *domain)
{
	ksm_domain_lend_merge(walk->domain, domain);
	walk->domain = domain;
}

/**
 * ksm_scan_free_unused - free a domain if nothing is in it any more
 * @scan: the pass
 * @domain: the domain, or NULL
 *
 * Context: may sleep; under ksm.lock, without candidates.
 */
void ksm_scan_free_unused(struct ksm_scan *scan, struct ksm_domain *domain)
{
	if (!domain || !ksm_domain_unused(domain))
		return;
	if (scan->walk.domain == domain)
		ksm_walk_use_domain(&scan->walk, &scan->domains->common);
	ksm_domains_free(scan->domains, domain);
}

static enum ksm_stage finish(struct ksm_slots *slots, struct ksm_walk *walk,
			     struct ksm_domain *target)
{
	ksm_slots_move(slots, walk->slot, target);
	ksm_walk_use_domain(walk, target);
	ksm_walk_begin(walk, walk->slot);
	return KSM_STAGE_SCAN;
}

/**
 * ksm_move_begin - see whether an mm has changed its domain
 * @slots: the slots
 * @walk: the walk, at the beginning of the mm
 * @target: the domain that the mm belongs to now, or NULL
 *
 * Context: may sleep; under ksm.lock.
 * Return: the next stage for the mm.
 */
enum ksm_stage ksm_move_begin(struct ksm_slots *slots, struct ksm_walk *walk,
			      struct ksm_domain *target)
{
	struct ksm_mm_slot *slot = walk->slot;

	if (ksm_mm_exiting(slot->slot.mm))
		return KSM_STAGE_SCAN;
	if (!target)
		return KSM_STAGE_SKIP;
	if (target == slot->domain)
		return KSM_STAGE_SCAN;
	if (target->id) {
		ksm_slots_set_moving(slots, slot, true);
		return KSM_STAGE_BREAK;
	}
	/* merge_across_cgroups changes only while nothing is shared: nothing to unmerge. */
	return slot->domain ? KSM_STAGE_FORGET : finish(slots, walk, target);
}

static enum ksm_stage break_vmas(struct ksm_walk *walk, const struct ksm_domain *target,
				 u64 deadline)
{
	unsigned long *address = &walk->address;
	struct vm_area_struct *vma;

	VMA_ITERATOR(vmi, walk->slot->slot.mm, *address);

	while ((vma = vma_next(&vmi))) {
		*address = max(*address, vma->vm_start);
		if (vma->anon_vma && (vma->vm_flags & VM_MERGEABLE)) {
			if (ksm_break_foreign(vma, address, target, deadline))
				return KSM_STAGE_SKIP;
			if (*address < vma->vm_end)
				return KSM_STAGE_BREAK;
		}
		*address = vma->vm_end;
		if (local_clock() >= deadline)
			return KSM_STAGE_BREAK;
	}
	return KSM_STAGE_FORGET;
}

/**
 * ksm_move_break - give an mm copies of what it shares in other domains
 * @walk: the walk over the mm
 * @target: its new domain
 * @deadline: local_clock() at which to pause
 *
 * Context: may sleep; under ksm.lock, with mmap_lock held for reading.
 * Return: the next stage for the mm: %KSM_STAGE_BREAK at a pause, %KSM_STAGE_SKIP if
 * there is no memory for the copies, %KSM_STAGE_SCAN if the mm exits.
 */
enum ksm_stage ksm_move_break(struct ksm_walk *walk, const struct ksm_domain *target,
			      u64 deadline)
{
	struct mm_struct *mm = walk->slot->slot.mm;

	mmap_assert_locked(mm);
	return ksm_mm_exiting(mm) ? KSM_STAGE_SCAN : break_vmas(walk, target, deadline);
}

/**
 * ksm_move_forget - forget what is known of an mm, and move it
 * @slots: the slots
 * @walk: the walk over the mm
 * @target: its new domain
 * @deadline: local_clock() at which to pause
 *
 * Context: may sleep; under ksm.lock.
 * Return: the next stage for the mm: %KSM_STAGE_FORGET at a pause.
 */
enum ksm_stage ksm_move_forget(struct ksm_slots *slots, struct ksm_walk *walk,
			       struct ksm_domain *target, u64 deadline)
{
	walk->budget.deadline = deadline;
	if (!ksm_walk_forget_rest(walk))
		return KSM_STAGE_FORGET;
	return finish(slots, walk, target);
}
