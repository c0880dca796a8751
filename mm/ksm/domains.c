// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: all domains.
 *
 * While merge_across_cgroups is 1, every mm is in the common domain.  While it is 0,
 * an mm is in the domain of a memory cgroup, see ksm_mm_memcg().  Such a domain is
 * made when ksmd, a write to /proc/PID/ksm_merge or the work item of reap.c visits the
 * first mm in it.  It is freed when it has neither mm_slots nor shared pages: by ksmd, by
 * a write of 2 to run, or by the work item if its cgroup was removed and ksmd does not
 * scan.  Domains are made and freed under ksm.lock.
 *
 * A stable node has the number of its domain, which is that of the cgroup among
 * memory cgroups.  The reference to the cgroup keeps the number from being reused.
 */

#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "domains.h"
#include "group.h"
#include "fingerprint.h"
#include "record.h"
#include "slots.h"

/* Like a leaf, a domain is charged to a cgroup that may be at its limit. */
#define KSM_DOMAIN_GFP		(GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT)

/**
 * struct ksm_own_domain - the domain of a memory cgroup
 * @domain: the domain
 * @key: its secret
 */
struct ksm_own_domain {
	struct ksm_domain domain;
	struct ksm_key key;
};

/**
 * ksm_domains_init - make the common domain
 * @domains: filled in
 * @lock: ksm.lock
 * @controls: the controls in force
 * @key: the secret of the common domain
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_domains_init(struct ksm_domains *domains, struct ksm_lock *lock,
			    const struct ksm_controls *controls, const struct ksm_key *key)
{
	int err = ksm_domain_init(&domains->common, lock, controls, key);

	if (err)
		return err;
	spin_lock_init(&domains->lock);
	INIT_LIST_HEAD(&domains->list);
	list_add(&domains->common.link, &domains->list);
	xa_init(&domains->by_id);
	return 0;
}

static struct ksm_own_domain *domain_alloc(const struct ksm_domain *common)
{
	struct ksm_own_domain *own = kzalloc(sizeof(*own), KSM_DOMAIN_GFP);

	if (!own)
		return NULL;
	ksm_key_init(&own->key, page_address(ZERO_PAGE(0)));
	if (!ksm_domain_init(&own->domain, common->lock, common->controls, &own->key))
		return own;
	kfree(own);
	return NULL;
}

static void domain_free(struct ksm_domain *domain)
{
	ksm_domain_destroy(domain);
	kfree(container_of(domain, struct ksm_own_domain, domain));
}

/* Takes over the reference to @memcg, unless it fails. */
static struct ksm_domain *domain_add(struct ksm_domains *domains, struct mm_struct *mm,
				     struct mem_cgroup *memcg)
{
	struct mem_cgroup *old = ksm_charge_begin(mm);
	struct ksm_own_domain *own = domain_alloc(&domains->common);
	const unsigned int id = ksm_memcg_id(memcg);

	ksm_charge_end(old);
	if (!own)
		return NULL;
	own->domain.memcg = memcg;
	own->domain.id = id;
	if (xa_err(xa_store(&domains->by_id, id, &own->domain, GFP_NOWAIT | __GFP_NOWARN))) {
		domain_free(&own->domain);
		return NULL;
	}
	spin_lock(&domains->lock);
	list_add_tail(&own->domain.link, &domains->list);
	spin_unlock(&domains->lock);
	return &own->domain;
}

/**
 * ksm_domains_of - the domain that an mm belongs to
 * @domains: all domains
 * @slot: the slot of the mm
 *
 * If the owner of an mm has exited, the mm stays in the domain of its cgroup.
 *
 * Context: may sleep; under ksm.lock.
 * Return: the domain, which may be new; or NULL if there is no memory for it, or if
 * the mm has no owner and is in no such domain.
 */
struct ksm_domain *ksm_domains_of(struct ksm_domains *domains, struct ksm_mm_slot *slot)
{
	struct mm_struct *mm = slot->slot.mm;
	struct mem_cgroup *memcg;
	struct ksm_domain *domain;

	ksm_domains_assert_locked(domains);
	if (READ_ONCE(domains->common.controls->merge_across_cgroups))
		return &domains->common;
	memcg = ksm_mm_memcg(mm);
	if (!memcg)
		return slot->domain && slot->domain->id ? slot->domain : NULL;
	domain = xa_load(&domains->by_id, ksm_memcg_id(memcg));
	if (!domain) {
		domain = domain_add(domains, mm, memcg);
		if (domain)
			return domain;
	}
	mem_cgroup_put(memcg);
	return domain;
}

/**
 * ksm_domains_by_id - find the domain of a stable node
 * @domains: all domains
 * @id: the number in the node
 *
 * Context: under ksm.lock.
 * Return: the domain, which is there for as long as the node is.
 */
struct ksm_domain *ksm_domains_by_id(struct ksm_domains *domains, unsigned int id)
{
	ksm_domains_assert_locked(domains);
	return id ? xa_load(&domains->by_id, id) : &domains->common;
}

/**
 * ksm_domains_next - go through all domains
 * @domains: all domains
 * @domain: one of them, or NULL
 *
 * Context: under ksm.lock.
 * Return: the domain behind @domain, the first for NULL, or NULL behind the last.
 */
struct ksm_domain *ksm_domains_next(struct ksm_domains *domains, struct ksm_domain *domain)
{
	if (!domain)
		return list_first_entry(&domains->list, struct ksm_domain, link);
	if (list_is_last(&domain->link, &domains->list))
		return NULL;
	return list_next_entry(domain, link);
}

/**
 * ksm_domain_removed - whether the cgroup of a domain has been removed
 * @domain: the domain
 *
 * Context: any; the domain is not freed meanwhile.
 * Return: true if it has; false for the common domain.
 */
bool ksm_domain_removed(const struct ksm_domain *domain)
{
	return domain->memcg && !mem_cgroup_online(domain->memcg);
}

/**
 * ksm_domains_next_removed - find a domain of a removed cgroup
 * @domains: all domains
 * @id: the lowest number that it may have
 *
 * Context: under ksm.lock.
 * Return: the one with the lowest number, or NULL if there is none.
 */
struct ksm_domain *ksm_domains_next_removed(struct ksm_domains *domains, unsigned int id)
{
	struct ksm_domain *domain;
	unsigned long at;

	ksm_domains_assert_locked(domains);
	xa_for_each_start(&domains->by_id, at, domain, id)
		if (ksm_domain_removed(domain))
			return domain;
	return NULL;
}

/**
 * ksm_domain_unused - whether a domain may be freed
 * @domain: the domain
 *
 * Context: under ksm.lock.
 * Return: true if the domain is that of a cgroup, and has no mm and no shared page.
 */
bool ksm_domain_unused(const struct ksm_domain *domain)
{
	return domain->id && !READ_ONCE(domain->nr_slots) &&
	       RB_EMPTY_ROOT(&domain->stable) && list_empty(&domain->parked);
}

/* Counters that only rise include those of freed domains. */
static void keep_counters(struct ksm_counters *to, const struct ksm_counters *from)
{
	VM_WARN_ON_ONCE(from->records || from->shared || from->sharing || from->leaf_bytes);
	WRITE_ONCE(to->scanned, to->scanned + from->scanned);
	WRITE_ONCE(to->skipped, to->skipped + from->skipped);
	to->changed += from->changed;
}

/**
 * ksm_domains_free - free a domain
 * @domains: all domains
 * @domain: an unused one of them, without @domain->merge
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_domains_free(struct ksm_domains *domains, struct ksm_domain *domain)
{
	struct mem_cgroup *memcg = domain->memcg;

	ksm_domains_assert_locked(domains);
	VM_WARN_ON_ONCE(domain->merge);
	spin_lock(&domains->lock);
	xa_erase(&domains->by_id, domain->id);
	list_del(&domain->link);
	keep_counters(&domains->common.counters, &domain->counters);
	spin_unlock(&domains->lock);
	domain_free(domain);
	mem_cgroup_put(memcg);
}

/**
 * ksm_domains_sum - the work done in all domains
 * @domains: all domains
 * @sum: set to the sums of @records, @changed and @shared
 *
 * Context: under ksm.lock.
 */
void ksm_domains_sum(struct ksm_domains *domains, struct ksm_counters *sum)
{
	struct ksm_domain *domain;

	*sum = (struct ksm_counters){};
	list_for_each_entry(domain, &domains->list, link) {
		sum->records += domain->counters.records;
		sum->changed += domain->counters.changed;
		sum->shared += domain->counters.shared;
	}
}

/**
 * ksm_domain_size - memory that a domain takes before it has pages
 * @domain: the domain
 *
 * Return: bytes; 0 for the common domain, which is always there.
 */
size_t ksm_domain_size(const struct ksm_domain *domain)
{
	return domain->id ? sizeof(struct ksm_own_domain) : 0;
}
