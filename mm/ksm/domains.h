/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: all domains.
 */
#ifndef _MM_KSM_DOMAINS_H
#define _MM_KSM_DOMAINS_H

#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "domain.h"

struct ksm_mm_slot;

/**
 * struct ksm_domains - all domains
 * @common: the domain of all mms while merge_across_cgroups is 1
 * @lock: keeps domains for readers without ksm.lock; taken to free one, and to change
 *        @list
 * @list: the domains, @common first
 * @by_id: those of memory cgroups, by their number
 */
struct ksm_domains {
	struct ksm_domain common;
	spinlock_t lock;	/* see above */
	struct list_head list;
	struct xarray by_id;
};

int ksm_domains_init(struct ksm_domains *domains, struct ksm_lock *lock,
		     const struct ksm_controls *controls, const struct ksm_key *key);
struct ksm_domain *ksm_domains_of(struct ksm_domains *domains, struct ksm_mm_slot *slot);
struct ksm_domain *ksm_domains_by_id(struct ksm_domains *domains, unsigned int id);
struct ksm_domain *ksm_domains_next(struct ksm_domains *domains, struct ksm_domain *domain);
bool ksm_domain_removed(const struct ksm_domain *domain);
struct ksm_domain *ksm_domains_next_removed(struct ksm_domains *domains, unsigned int id);
bool ksm_domain_unused(const struct ksm_domain *domain);
void ksm_domains_free(struct ksm_domains *domains, struct ksm_domain *domain);
void ksm_domains_sum(struct ksm_domains *domains, struct ksm_counters *sum);
size_t ksm_domain_size(const struct ksm_domain *domain);

/**
 * ksm_domains_assert_locked - warn if ksm.lock is not held
 * @domains: all domains
 */
static inline void ksm_domains_assert_locked(const struct ksm_domains *domains)
{
	ksm_domain_assert_locked(&domains->common);
}

#endif /* _MM_KSM_DOMAINS_H */
