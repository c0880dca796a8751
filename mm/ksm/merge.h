/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: which page to merge with
 */
#ifndef _MM_KSM_MERGE_H
#define _MM_KSM_MERGE_H

#include <linux/types.h>

struct ksm_domain;
struct ksm_record;

/**
 * struct ksm_candidate - a page that may be merged
 * @record: its record
 * @sample: key of its sample, 0 where that was not read
 * @settled: the sample is what it was a pass ago
 */
struct ksm_candidate {
	struct ksm_record *record;
	u64 sample;
	bool settled;
};

struct page *ksm_mergeable_page(struct page *page);
void ksm_cmp_and_merge(struct ksm_domain *domain, struct ksm_candidate *candidate);
int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end);

#endif /* _MM_KSM_MERGE_H */
