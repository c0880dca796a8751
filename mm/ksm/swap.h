/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: shared pages in swap.
 */
#ifndef _MM_KSM_SWAP_H
#define _MM_KSM_SWAP_H

#include <linux/types.h>

#include "stable.h"

struct folio;

#ifdef CONFIG_SWAP

unsigned long ksm_swap_lock(void);
void ksm_swap_unlock(unsigned long flags);
void ksm_swap_drop(struct ksm_stable_node *node);
bool ksm_node_in_swap(struct ksm_stable_node *node);
bool ksm_node_has_entry(const struct ksm_stable_node *node, swp_entry_t entry);
void ksm_swap_in(struct folio *folio);

#else

static inline unsigned long ksm_swap_lock(void)
{
	return 0;
}

static inline void ksm_swap_unlock(unsigned long flags) { }
static inline void ksm_swap_drop(struct ksm_stable_node *node) { }

static inline bool ksm_node_in_swap(struct ksm_stable_node *node)
{
	return false;
}

static inline bool ksm_node_has_entry(const struct ksm_stable_node *node,
				      swp_entry_t entry)
{
	return false;
}

static inline void ksm_swap_in(struct folio *folio) { }

#endif /* CONFIG_SWAP */

#endif /* _MM_KSM_SWAP_H */
