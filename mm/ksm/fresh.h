/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: pages to be shared are allocated.
 */
#ifndef _MM_KSM_FRESH_H
#define _MM_KSM_FRESH_H

#include <linux/mm_types.h>

#include "replace.h"

/* One page for each PTE of a batch: 128 KiB, and 256 KiB with pages of 64 KiB. */
#define KSM_RESERVE_PAGES	KSM_BATCH_PAGES

/**
 * struct ksm_reserve - free pages that merging goes on with when memory is short
 * @nr: elements of @folio in use
 * @folio: the pages, charged to no memory cgroup
 */
struct ksm_reserve {
	unsigned int nr;
	struct folio *folio[KSM_RESERVE_PAGES];
};

void ksm_reserve_fill(struct ksm_reserve *reserve, int nid);
void ksm_reserve_free(struct ksm_reserve *reserve);
struct folio *ksm_fresh_copy(struct ksm_reserve *reserve, struct page *page, bool any_node);

#endif /* _MM_KSM_FRESH_H */
