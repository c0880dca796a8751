/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: finding the duplicate of a page.
 */
#ifndef _MM_KSM_MATCH_H
#define _MM_KSM_MATCH_H

#include <linux/mm_types.h>
#include <linux/types.h>

#include "replace.h"
#include "skip.h"

struct ksm_domain;
struct ksm_record;
struct ksm_stable_node;

/**
 * struct ksm_content - what was read of a page
 * @sample: key of its sample
 * @key: key of the whole page; @sample again where that is enough
 * @whole: the whole page was read
 */
struct ksm_content {
	u64 sample;
	u64 key;
	bool whole;
};

/**
 * struct ksm_duplicate - a page in the unstable index that is equal to another
 * @record: its record
 * @large: it belongs to a large folio
 * @reason: why it cannot be merged now, where it is equal
 */
struct ksm_duplicate {
	struct ksm_record *record;
	bool large;
	enum ksm_skip reason;
};

void ksm_content_read(const struct ksm_domain *domain, struct ksm_content *content,
		      struct page *page);
void ksm_set_ambiguous(struct ksm_domain *domain, u64 sample);
bool ksm_differs_from_shared(struct ksm_domain *domain, struct page *page, u64 key);
enum ksm_result ksm_match_stable(struct ksm_domain *domain, struct page *page,
				 const struct ksm_content *content, bool compare,
				 struct folio **found);
enum ksm_result ksm_match_unstable(struct ksm_domain *domain, struct page *page,
				   const struct ksm_content *content,
				   struct ksm_duplicate *found);

#endif /* _MM_KSM_MATCH_H */
