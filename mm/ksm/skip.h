/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: why pages were not merged, for the trace event.
 */
#ifndef _MM_KSM_SKIP_H
#define _MM_KSM_SKIP_H

#include <linux/mm_types.h>
#include <trace/events/ksm.h>

#include "replace.h"

struct ksm_chunk;
struct ksm_record;

enum ksm_skip ksm_skip_reason(struct page *page, enum ksm_result result);
void ksm_trace_skipped(const struct ksm_record *record, struct page *page,
		       enum ksm_result result);
void ksm_trace_request(struct mm_struct *mm, unsigned long address,
		       enum ksm_result result);
void ksm_trace_visited(const struct ksm_record *record, bool unchanged);
void ksm_trace_unusable(const struct ksm_chunk *chunk);

#endif /* _MM_KSM_SKIP_H */
