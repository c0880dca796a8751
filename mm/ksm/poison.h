/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: recovery from a memory error in a shared page.
 */
#ifndef _MM_KSM_POISON_H
#define _MM_KSM_POISON_H

struct folio;
struct ksm_domain;
struct ksm_stable_node;

void ksm_replace_poisoned(struct ksm_domain *domain, struct ksm_stable_node *node,
			  struct folio *folio);

#endif /* _MM_KSM_POISON_H */
