// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages that may be merged with each other.
 */

#include "domain.h"

/**
 * ksm_domain_init - make a domain without pages
 * @domain: filled in
 * @lock: the mutex that guards it
 * @controls: the controls in force
 * @key: the secret that fingerprints depend on
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM.
 */
int ksm_domain_init(struct ksm_domain *domain, struct mutex *lock,
		    const struct ksm_controls *controls, const struct ksm_key *key)
{
	*domain = (struct ksm_domain){
		.lock = lock,
		.controls = controls,
		.key = key,
		.stable = RB_ROOT,
		.unmapped = LIST_HEAD_INIT(domain->unmapped),
	};
	return ksm_unstable_init(&domain->unstable);
}

/**
 * ksm_domain_destroy - free what ksm_domain_init() allocated
 * @domain: a domain without records and stable nodes
 *
 * Context: may sleep.
 */
void ksm_domain_destroy(struct ksm_domain *domain)
{
	VM_WARN_ON_ONCE(!RB_EMPTY_ROOT(&domain->stable));
	ksm_unstable_destroy(&domain->unstable);
}
