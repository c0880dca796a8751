// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages that may be merged with each other.
 */

#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>

#include "domain.h"
#include "record.h"
#include "stable.h"

/* Contents whose tags are added to the filter in one step of a rebuild. */
#define KSM_REBUILD_CONTENTS	128

/*
 * A zeroed page may be merged with the zero page before a duplicate of it is
 * found.  Pages that are zero in the sampled lines, but not elsewhere, are common.
 */
static void note_zero_page(struct ksm_domain *domain)
{
	int nid;

	for (nid = 0; nid < nr_node_ids; nid++) {
		ksm_filter_set_repeated(&domain->filter,
					ksm_tag(ksm_key_on_node(domain->key->zero, nid)));
		ksm_filter_set_ambiguous(&domain->filter,
					 ksm_tag(ksm_key_on_node(domain->key->zero_sample, nid)));
	}
}

/**
 * ksm_domain_init - make a domain without pages
 * @domain: filled in
 * @lock: the lock that guards it
 * @controls: the controls in force
 * @key: the secret that fingerprints depend on
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM.
 */
int ksm_domain_init(struct ksm_domain *domain, struct ksm_lock *lock,
		    const struct ksm_controls *controls, const struct ksm_key *key)
{
	int err;

	*domain = (struct ksm_domain){
		.link = LIST_HEAD_INIT(domain->link),
		.lock = lock,
		.controls = controls,
		.key = key,
		.stable = RB_ROOT,
		.unmapped = LIST_HEAD_INIT(domain->unmapped),
		.to_reap = LIST_HEAD_INIT(domain->to_reap),
		.parked = LIST_HEAD_INIT(domain->parked),
	};
	err = ksm_unstable_init(&domain->unstable);
	if (err)
		return err;
	err = ksm_filter_init(&domain->filter);
	if (err) {
		ksm_unstable_destroy(&domain->unstable);
		return err;
	}
	note_zero_page(domain);
	return 0;
}

/**
 * ksm_domain_destroy - free what ksm_domain_init() allocated
 * @domain: a domain without records and stable nodes
 *
 * Context: may sleep.
 */
void ksm_domain_destroy(struct ksm_domain *domain)
{
	VM_WARN_ON_ONCE(!RB_EMPTY_ROOT(&domain->stable) || !list_empty(&domain->parked) ||
			domain->dead_leaves);
	ksm_unstable_destroy(&domain->unstable);
	ksm_filter_destroy(&domain->filter);
}

/**
 * ksm_domain_adjust_step - adapt the index and the filter to the number of pages
 * @domain: the domain
 *
 * One step takes at most about 20,000 instructions.  It never waits for memory:
 * without it, searches take longer until the next try.
 *
 * Context: any; under ksm.lock.
 * Return: true if there is more to do.
 */
bool ksm_domain_adjust_step(struct ksm_domain *domain)
{
	if (ksm_unstable_needs_adjust(&domain->unstable))
		ksm_unstable_adjust(&domain->unstable);
	else
		ksm_filter_adjust(&domain->filter, ksm_domain_nr_tags(domain));
	return ksm_domain_needs_adjust(domain);
}

/**
 * ksm_charge_begin - charge allocations to the memory cgroup of an mm
 * @mm: the mm of the pages that the allocations describe
 *
 * Allocations with __GFP_ACCOUNT, or from caches with SLAB_ACCOUNT, are charged
 * until ksm_charge_end().  They must be GFP_NOWAIT: a cgroup at its limit would
 * be reclaimed from otherwise, and in the end a process in it killed.
 *
 * Context: a task; the mm is kept from being freed.
 * Return: what to pass to ksm_charge_end().
 */
struct mem_cgroup *ksm_charge_begin(struct mm_struct *mm)
{
	return set_active_memcg(get_mem_cgroup_from_mm(mm));
}

/**
 * ksm_charge_end - end what ksm_charge_begin() began
 * @old: what that returned
 *
 * Context: a task.
 */
void ksm_charge_end(struct mem_cgroup *old)
{
	mem_cgroup_put(set_active_memcg(old));
}

/**
 * ksm_domain_adjust_for - adapt the index and the filter before pages are added
 * @domain: the domain
 * @mm: the mm of these pages; its memory cgroup is charged
 *
 * Takes at most one step, see ksm_domain_adjust_step().
 *
 * Context: a task; under ksm.lock; @mm is kept from being freed.
 */
void ksm_domain_adjust_for(struct ksm_domain *domain, struct mm_struct *mm)
{
	struct mem_cgroup *old;

	if (!ksm_domain_needs_adjust(domain))
		return;
	old = ksm_charge_begin(mm);
	ksm_domain_adjust_step(domain);
	ksm_charge_end(old);
}

/**
 * ksm_domain_filter_begin_rebuild - begin to remove tags of pages that have gone
 * @domain: the domain
 *
 * Does nothing if a rebuild is under way, or if there is no memory for one.
 *
 * Context: any; under ksm.lock.
 */
void ksm_domain_filter_begin_rebuild(struct ksm_domain *domain)
{
	ksm_filter_begin_rebuild(&domain->filter);
}

/* Tags of pages that are not shared are added when these pages are scanned. */
static void fill_step(struct ksm_domain *domain)
{
	struct ksm_filter *filter = &domain->filter;

	if (!filter->cursor)
		note_zero_page(domain);
	if (!ksm_stable_fill_filter(domain, &filter->cursor, KSM_REBUILD_CONTENTS))
		ksm_filter_use_spare(filter);
}

/**
 * ksm_domain_filter_rebuild_step - go on with a rebuild of the filter
 * @domain: the domain
 *
 * One step takes at most about 20,000 instructions.
 *
 * Context: any; under ksm.lock.
 * Return: true if there is more to do.
 */
bool ksm_domain_filter_rebuild_step(struct ksm_domain *domain)
{
	switch (domain->filter.rebuild) {
	case KSM_REBUILD_NONE:
		return false;
	case KSM_REBUILD_ALLOCATE:
		ksm_filter_allocate_step(&domain->filter);
		break;
	case KSM_REBUILD_FILL:
		fill_step(domain);
		break;
	case KSM_REBUILD_FREE:
		ksm_filter_free_step(&domain->filter);
		break;
	}
	return domain->filter.rebuild != KSM_REBUILD_NONE;
}

/**
 * ksm_domain_filter_rebuild - rebuild the filter at once
 * @domain: the domain
 *
 * A rebuild that is under way is finished first, so that tags it has added since
 * it began are removed as well.
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_domain_filter_rebuild(struct ksm_domain *domain)
{
	while (ksm_domain_filter_rebuild_step(domain))
		cond_resched();
	ksm_domain_filter_begin_rebuild(domain);
	while (ksm_domain_filter_rebuild_step(domain))
		cond_resched();
}

/**
 * ksm_domain_reset - free the memory that a domain without records needs no more
 * @domain: the domain
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_domain_reset(struct ksm_domain *domain)
{
	ksm_domain_filter_rebuild(domain);
	while (ksm_domain_adjust_step(domain))
		cond_resched();
}
