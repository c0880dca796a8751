// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what is saved, and what that costs.
 *
 * The counters change under ksm.lock, which a reader does not wait for: figures
 * that are made from several of them may be off by what a batch is doing.
 */

#include <linux/ksm.h>

#include "domains.h"
#include "slots.h"
#include "stable.h"
#include "stats.h"
#include "vma.h"

/* PTEs in which merging put the zero page, on the whole machine. */
atomic_long_t ksm_zero_pages = ATOMIC_LONG_INIT(0);

static unsigned long metadata_bytes(const struct ksm_domain *domain)
{
	const struct ksm_counters *counters = &domain->counters;
	unsigned long mappings = READ_ONCE(counters->shared) + READ_ONCE(counters->sharing);

	return ksm_domain_size(domain) + READ_ONCE(counters->leaf_bytes) +
	       mappings * sizeof(struct ksm_rmap_item) +
	       READ_ONCE(counters->shared) * sizeof(struct ksm_stable_node) +
	       ksm_unstable_bytes(&domain->unstable) + ksm_filter_bytes(&domain->filter);
}

/* Pages in no tree: new, changing, or not to be merged. */
static unsigned long pages_volatile(const struct ksm_domain *domain)
{
	const struct ksm_counters *counters = &domain->counters;
	unsigned long known = READ_ONCE(counters->records);
	unsigned long placed = READ_ONCE(counters->shared) + READ_ONCE(counters->sharing) +
			       READ_ONCE(domain->unstable.nr);

	return known > placed ? known - placed : 0;
}

static void add_domain(struct ksm_figures *figures, const struct ksm_domain *domain)
{
	const struct ksm_counters *counters = &domain->counters;

	figures->pages_scanned += READ_ONCE(counters->scanned);
	figures->pages_skipped += READ_ONCE(counters->skipped);
	figures->pages_shared += READ_ONCE(counters->shared);
	figures->pages_sharing += READ_ONCE(counters->sharing);
	figures->pages_unshared += READ_ONCE(domain->unstable.nr);
	figures->pages_volatile += pages_volatile(domain);
	figures->stable_node_chains += READ_ONCE(counters->chains);
	figures->stable_node_dups += READ_ONCE(counters->dups);
	figures->metadata_bytes += metadata_bytes(domain);
}

static void set_profit(struct ksm_figures *figures)
{
	figures->general_profit =
		(figures->pages_sharing + figures->ksm_zero_pages) * PAGE_SIZE -
		figures->metadata_bytes;
}

/**
 * ksm_domains_figures - add up the figures of all domains
 * @domains: the domains
 * @figures: filled in, except for full_scans
 *
 * Context: any.  ksm.lock is not taken: the figures may not fit each other.
 */
void ksm_domains_figures(struct ksm_domains *domains, struct ksm_figures *figures)
{
	const struct ksm_domain *domain;

	*figures = (struct ksm_figures){
		.ksm_zero_pages = atomic_long_read(&ksm_zero_pages),
	};
	spin_lock(&domains->lock);
	list_for_each_entry(domain, &domains->list, link)
		add_domain(figures, domain);
	spin_unlock(&domains->lock);
	set_profit(figures);
}

/**
 * ksm_domain_figures - read the figures of the domain of a memory cgroup
 * @domains: the domains
 * @id: the number of the domain
 * @zero_pages: PTEs in which merging put the zero page
 * @figures: filled in, except for full_scans
 *
 * Context: any.  ksm.lock is not taken: the figures may not fit each other.
 * Return: false if no mm is in such a domain; all other figures are 0 then.
 */
bool ksm_domain_figures(struct ksm_domains *domains, unsigned int id, long zero_pages,
			struct ksm_figures *figures)
{
	const struct ksm_domain *domain;

	*figures = (struct ksm_figures){ .ksm_zero_pages = zero_pages };
	spin_lock(&domains->lock);
	domain = xa_load(&domains->by_id, id);
	if (domain)
		add_domain(figures, domain);
	spin_unlock(&domains->lock);
	set_profit(figures);
	return domain;
}

/**
 * ksm_process_profit - what merging saves in one process
 * @mm: its mm
 *
 * A page is counted in each process that shares it.
 *
 * Context: any; takes ksm_slots.lock.
 * Return: bytes, less than 0 if the records take more than is saved.
 */
long ksm_process_profit(struct mm_struct *mm)
{
	unsigned long merged = READ_ONCE(mm->ksm_merging_pages);
	long saved = merged + mm_ksm_zero_pages(mm);
	struct ksm_slot_figures figures;

	ksm_slots_read(&ksm_slots, mm, &figures);
	return saved * PAGE_SIZE - merged * sizeof(struct ksm_rmap_item) -
	       figures.leaf_bytes;
}

/**
 * ksm_process_sharing - how many pages a process saves
 * @mm: its mm
 *
 * One mapping of each shared page counts for the page itself.  The sum over all
 * processes is pages_sharing.
 *
 * Context: any; takes ksm_slots.lock.
 * Return: pages.
 */
unsigned long ksm_process_sharing(struct mm_struct *mm)
{
	struct ksm_slot_figures figures;

	ksm_slots_read(&ksm_slots, mm, &figures);
	return figures.sharing;
}

/**
 * ksm_process_mergeable - whether a process has a mergeable VMA
 * @mm: its mm
 *
 * Context: may sleep; takes mmap_lock.
 * Return: true where it has one; false also where a fatal signal has arrived.
 */
bool ksm_process_mergeable(struct mm_struct *mm)
{
	bool mergeable;

	if (mmap_read_lock_killable(mm))
		return false;
	mergeable = ksm_has_mergeable_vma(mm);
	mmap_read_unlock(mm);
	return mergeable;
}
