// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what is saved, and what that costs.
 *
 * The counters change under ksm.lock, which a reader does not wait for: figures
 * that are made from several of them may be off by what a batch is doing.
 */

#include <linux/ksm.h>
#include <linux/sched/coredump.h>

#include "ksm.h"

/* Zero pages that merging put in place of zeroed ones, on the whole machine. */
atomic_long_t ksm_zero_pages = ATOMIC_LONG_INIT(0);

static unsigned long metadata_bytes(const struct ksm_domain *domain)
{
	const struct ksm_counters *counters = &domain->counters;
	unsigned long mappings = READ_ONCE(counters->shared) + READ_ONCE(counters->sharing);

	return READ_ONCE(counters->leaf_bytes) +
	       mappings * sizeof(struct ksm_rmap_item) +
	       READ_ONCE(counters->shared) * sizeof(struct ksm_stable_node) +
	       ksm_unstable_bytes(&domain->unstable);
}

/**
 * ksm_pages_volatile - pages that are in no tree: new, changing, or not to be merged
 * @domain: the counters
 *
 * Context: any.
 * Return: the pages that are known and neither shared nor unshared.
 */
unsigned long ksm_pages_volatile(const struct ksm_domain *domain)
{
	const struct ksm_counters *counters = &domain->counters;
	unsigned long known = READ_ONCE(counters->records);
	unsigned long placed = READ_ONCE(counters->shared) +
			       READ_ONCE(counters->sharing) +
			       READ_ONCE(domain->unstable.nr);

	return known > placed ? known - placed : 0;
}

/**
 * ksm_general_profit - what merging saves on the whole machine
 * @domain: the counters
 *
 * Context: any.
 * Return: bytes, less than 0 where the metadata takes more than is saved.
 */
long ksm_general_profit(const struct ksm_domain *domain)
{
	unsigned long saved = READ_ONCE(domain->counters.sharing) +
			      atomic_long_read(&ksm_zero_pages);

	return saved * PAGE_SIZE - metadata_bytes(domain);
}

/**
 * ksm_process_profit - what merging saves in one process
 * @mm: its mm
 *
 * A page is counted in each process that shares it.
 *
 * Context: any.
 * Return: bytes, less than 0 where the records take more than is saved.
 */
long ksm_process_profit(struct mm_struct *mm)
{
	unsigned long merged = READ_ONCE(mm->ksm_merging_pages);
	long saved = merged + mm_ksm_zero_pages(mm);

	return saved * PAGE_SIZE - merged * sizeof(struct ksm_rmap_item) -
	       READ_ONCE(mm->ksm_rmap_items) * sizeof(struct ksm_record);
}

/**
 * ksm_process_mergeable - whether a process has an area that may be merged
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
	mergeable = ksm_has_mergeable_area(mm);
	mmap_read_unlock(mm);
	return mergeable;
}
