// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: an mm changes its domain.
 *
 * Which domain an mm is in depends on its memory cgroup and on the controls, none of
 * which notifies ksmd.  The scan asks for it each time that it comes to the mm.  If
 * the domain has changed, the mm gets copies of all pages that it shares in other
 * domains.  Then its records are forgotten, and then it is scanned in the new domain.
 *
 * A child shares the pages of its parent, and may have been put into another cgroup
 * before the first scan of it.  So its pages are checked as well.
 */

#include <linux/mm.h>
#include <linux/sched/clock.h>

#include "domains.h"
#include "move.h"
#include "scan.h"
#include "slots.h"
#include "unmerge.h"
#include "vma.h"

/**
 * ksm_scan_use_domain - scan pages of a domain from here on
 * @scan: the pass
 * @domain: the domain
 *
 * Context: under ksm.lock, without candidates.
 */
void ksm_scan_use_domain(struct ksm_scan *scan, struct ksm_domain *domain)
{
	struct ksm_domain *old = scan->walk.domain;

	if (old == domain)
		return;
	/* There is one set of buffers. */
	domain->merge = old->merge;
	old->merge = NULL;
	scan->walk.domain = domain;
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
		ksm_scan_use_domain(scan, &scan->domains->common);
	ksm_domains_free(scan->domains, domain);
}

static void finish(struct ksm_scan *scan)
{
	struct ksm_domain *old = scan->slots->cursor->domain;

	ksm_slots_move(scan->slots, scan->target);
	ksm_scan_use_domain(scan, scan->target);
	ksm_walk_begin(&scan->walk, scan->slots->cursor);
	scan->stage = KSM_STAGE_SCAN;
	ksm_scan_free_unused(scan, old);
}

/**
 * ksm_move_begin - see whether the mm under the cursor has changed its domain
 * @scan: the pass; its next stage is set
 *
 * Context: ksmd; may sleep; under ksm.lock.
 */
void ksm_move_begin(struct ksm_scan *scan)
{
	struct ksm_mm_slot *slot = scan->slots->cursor;

	scan->stage = KSM_STAGE_SCAN;
	if (ksm_mm_exiting(slot->slot.mm))
		return;
	scan->target = ksm_domains_of(scan->domains, slot);
	if (!scan->target) {
		scan->stage = KSM_STAGE_SKIP;
	} else if (scan->target->id) {
		if (scan->target == slot->domain)
			return;
		ksm_slots_begin_move(scan->slots);
		scan->stage = KSM_STAGE_BREAK;
	} else if (slot->domain && slot->domain != scan->target) {
		/* Nothing was shared when the common domain got all mms. */
		scan->stage = KSM_STAGE_FORGET;
	} else if (!slot->domain) {
		finish(scan);
	}
}

static int break_vmas(struct ksm_scan *scan, struct mm_struct *mm, u64 deadline)
{
	unsigned long *address = &scan->walk.address;
	struct vm_area_struct *vma;
	int err;

	VMA_ITERATOR(vmi, mm, *address);

	while ((vma = ksm_next_vma(&vmi))) {
		*address = max(*address, vma->vm_start);
		if (vma->anon_vma) {
			err = ksm_break_foreign(vma, address, scan->target, deadline);
			if (err)
				return err;
			if (*address < vma->vm_end)
				return 0;
		}
		*address = vma->vm_end;
		if (local_clock() >= deadline)
			return 0;
	}
	scan->stage = KSM_STAGE_FORGET;
	return 0;
}

/**
 * ksm_move_break - give the mm under the cursor copies of what it shares elsewhere
 * @scan: the pass, in %KSM_STAGE_BREAK; its next stage is set
 * @deadline: local_clock() at which to pause
 *
 * If there is no memory for the copies, the mm is not scanned in this pass.
 *
 * Context: ksmd; may sleep; under ksm.lock.
 */
void ksm_move_break(struct ksm_scan *scan, u64 deadline)
{
	struct mm_struct *mm = scan->slots->cursor->slot.mm;

	mmap_read_lock(mm);
	if (ksm_mm_exiting(mm))
		scan->stage = KSM_STAGE_SCAN;
	else if (break_vmas(scan, mm, deadline))
		scan->stage = KSM_STAGE_SKIP;
	mmap_read_unlock(mm);
}

/**
 * ksm_move_forget - forget what is known of the mm under the cursor, and move it
 * @scan: the pass, in %KSM_STAGE_FORGET; its next stage is set at the end
 * @deadline: local_clock() at which to pause
 *
 * Context: ksmd; may sleep; under ksm.lock.
 */
void ksm_move_forget(struct ksm_scan *scan, u64 deadline)
{
	scan->walk.budget.deadline = deadline;
	if (ksm_walk_forget(&scan->walk, ULONG_MAX))
		finish(scan);
}
