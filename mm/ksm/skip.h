/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: why pages were not merged.
 */
#ifndef _MM_KSM_SKIP_H
#define _MM_KSM_SKIP_H

#include <linux/mm_types.h>
#include <trace/events/ksm.h>

#include "replace.h"

struct ksm_chunk;
struct ksm_lock;
struct ksm_record;

const char *ksm_skip_name(unsigned int reason);
enum ksm_skip ksm_skip_reason(struct page *page, enum ksm_result result);
void ksm_trace_skipped(const struct ksm_record *record, struct page *page,
		       enum ksm_result result);
void ksm_note_skipped(struct ksm_record *record, enum ksm_skip reason);
void ksm_note_request(struct ksm_lock *lock, struct ksm_record *record,
		      enum ksm_result result);
void ksm_trace_visited(const struct ksm_record *record, bool unchanged);
void ksm_trace_unusable(const struct ksm_chunk *chunk);

#endif /* _MM_KSM_SKIP_H */
