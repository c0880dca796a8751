/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: whether a large folio has enough duplicates to be split.
 */
#ifndef _MM_KSM_HUGE_H
#define _MM_KSM_HUGE_H

#include <linux/types.h>

struct ksm_domain;
struct page;

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
bool ksm_may_split(const struct ksm_domain *domain, struct page *page);
#else
static inline bool ksm_may_split(const struct ksm_domain *domain, struct page *page)
{
	return true;
}
#endif

#endif /* _MM_KSM_HUGE_H */
