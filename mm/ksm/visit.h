/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: what the sample of a page says about merging it.
 */
#ifndef _MM_KSM_VISIT_H
#define _MM_KSM_VISIT_H

#include <linux/types.h>

struct ksm_domain;
struct ksm_record;

/* Most passes to skip a page for that is in use, and one that is not. */
#define KSM_MAX_SKIPS_YOUNG	4U
#define KSM_MAX_SKIPS_IDLE	64U

/**
 * enum ksm_visit - what to do about a page that was visited
 * @KSM_VISIT_DONE: nothing
 * @KSM_VISIT_CANDIDATE: look for a shared page with the same content
 * @KSM_VISIT_SETTLED: likewise, and for a duplicate that is not shared; the page
 *	has not changed since the previous visit
 */
enum ksm_visit {
	KSM_VISIT_DONE,
	KSM_VISIT_CANDIDATE,
	KSM_VISIT_SETTLED,
};

enum ksm_visit ksm_visit_page(struct ksm_domain *domain, struct ksm_record *record,
			      u64 sample, u64 key);
enum ksm_visit ksm_visit_page_now(struct ksm_domain *domain, struct ksm_record *record,
				  u64 sample, u64 key);
void ksm_visit_rewritten(struct ksm_record *record, u8 pass);
void ksm_visit_back_off(struct ksm_record *record, bool young);

#endif /* _MM_KSM_VISIT_H */
