// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the domains of removed cgroups, while ksmd does not scan.
 *
 * An mm may still be in such a domain: its process has exited, or was moved to another
 * cgroup before the removal.  Pages of an mm that has exited are forgotten.  Any other
 * mm is moved to the domain that it belongs to by now.  Then the domain is freed, unless
 * its pages are still in use.
 *
 * All of this is done in pieces.  Each piece takes ksm.lock for at most as long as a
 * batch of ksmd may take.  If ksmd begins to scan, the rest is left to it.
 */

#include <linux/sched.h>
#include <linux/sched/mm.h>

#include "domains.h"
#include "lock.h"
#include "move.h"
#include "now.h"
#include "reap.h"
#include "scan.h"
#include "slots.h"
#include "stable.h"

/* The pass under way ends, since the cursor may be on an mm that has exited. */
static struct ksm_mm_slot *claim_next(struct ksm_scan *scan, struct ksm_mm_slot *after)
{
	struct ksm_mm_slot *next = NULL;

	if (ksm_lock_take(scan->lock))
		return NULL;
	if (!ksm_scan_wanted(scan) && ksm_domains_next_removed(scan->domains, 0)) {
		ksm_scan_abort(scan);
		next = ksm_slots_claim_left(scan->slots, after);
	}
	ksm_lock_release(scan->lock);
	return next;
}

static void release(struct ksm_scan *scan, struct ksm_mm_slot *slot)
{
	struct mm_struct *mm;

	if (!slot)
		return;
	mm = slot->slot.mm;
	ksm_slots_release(scan->slots, slot);
	mmdrop(mm);
}

/* A slot stays claimed until the next one is found, since it tells where to go on. */
static void move_mms(struct ksm_scan *scan)
{
	struct ksm_mm_slot *slot = NULL, *next;

	do {
		next = claim_next(scan, slot);
		release(scan, slot);
		slot = next;
		if (slot)
			ksm_move_claimed(scan, slot);
	} while (slot);
}

/*
 * Free a domain, or do a step towards it.  Returns the lowest number of the domains that
 * are left to do: that of @domain if more of its nodes are to be visited.
 */
static unsigned int free_domain(struct ksm_scan *scan, struct ksm_domain *domain)
{
	const unsigned int id = domain->id;

	if (ksm_stable_reap_step(domain))
		return id;
	ksm_scan_abort(scan);
	ksm_scan_free_unused(scan, domain);
	return id + 1;
}

/* Returns true if there is more to do; @id is the lowest number of what is left. */
static bool free_piece(struct ksm_scan *scan, unsigned int *id)
{
	struct ksm_domain *domain;

	domain = ksm_domains_next_removed(scan->domains, *id);
	if (!domain || ksm_scan_wanted(scan))
		return false;
	*id = free_domain(scan, domain);
	return true;
}

/**
 * ksm_reap_domains - free the domains of removed cgroups
 * @scan: the pass of ksmd, which ends if there is such a domain and ksmd does not scan
 *
 * Context: may sleep; takes ksm.lock.
 * Return: true if the caller has to try again later, since such a domain is left: ksmd
 * scans, there was no memory to move an mm, a process holds its mmap_lock for long, or
 * pages of the domain are still in use.
 */
bool ksm_reap_domains(struct ksm_scan *scan)
{
	unsigned int id = 0;
	bool more, left;

	move_mms(scan);
	do {
		if (ksm_lock_take(scan->lock))
			return true;
		more = free_piece(scan, &id);
		left = ksm_domains_next_removed(scan->domains, 0);
		ksm_lock_release(scan->lock);
		cond_resched();
	} while (more);
	return left;
}
