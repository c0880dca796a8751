/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: which page to merge with which.
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
 * @rewritten: the page was written to; if it is a private copy now, its next merge waits
 * @keep_large: no large folio is to be split for it
 * @pass: the low bits of the number of the pass
 */
struct ksm_candidate {
	struct ksm_record *record;
	u64 sample;
	bool settled;
	bool rewritten;
	bool keep_large;
	u8 pass;
};

unsigned int ksm_merge_candidates(struct ksm_domain *domain,
				  const struct ksm_candidate *candidate, unsigned int nr);
void ksm_merge_free(struct ksm_domain *domain);

#endif /* _MM_KSM_MERGE_H */
