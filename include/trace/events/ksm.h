/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ksm

#if !defined(_TRACE_KSM_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_KSM_H

#include <linux/tracepoint.h>

#ifndef _KSM_SKIP_REASONS
#define _KSM_SKIP_REASONS
/**
 * enum ksm_skip - why a page was visited and not merged
 * @KSM_SKIP_CHANGED: it is new, or has changed since the previous visit
 * @KSM_SKIP_NO_DUPLICATE: no page with the same content is known
 * @KSM_SKIP_LOCKED: it, or the page to merge it with, was locked or in use for a moment
 * @KSM_SKIP_PINNED: something besides page tables has references to it
 * @KSM_SKIP_MAPPED_ELSEWHERE: its duplicate is the same page, mapped by another process
 * @KSM_SKIP_HUGE_KEPT: it belongs to a huge page that is kept
 * @KSM_SKIP_POISONED: the hardware has reported an error in it
 * @KSM_SKIP_TAGGED: it has memory tags
 * @KSM_SKIP_NO_MEMORY: there was no memory for a record or a shared page
 * @KSM_SKIP_OTHER_DOMAIN: it is shared in a domain that the process has left, and gets
 *	a copy first
 */
enum ksm_skip {
	KSM_SKIP_CHANGED,
	KSM_SKIP_NO_DUPLICATE,
	KSM_SKIP_LOCKED,
	KSM_SKIP_PINNED,
	KSM_SKIP_MAPPED_ELSEWHERE,
	KSM_SKIP_HUGE_KEPT,
	KSM_SKIP_POISONED,
	KSM_SKIP_TAGGED,
	KSM_SKIP_NO_MEMORY,
	KSM_SKIP_OTHER_DOMAIN,
};

/* As users read them. */
#define KSM_SKIP_NAMES \
	{ KSM_SKIP_CHANGED, "changed" },	\
	{ KSM_SKIP_NO_DUPLICATE, "no duplicate" },	\
	{ KSM_SKIP_LOCKED, "locked" },	\
	{ KSM_SKIP_PINNED, "pinned" },	\
	{ KSM_SKIP_MAPPED_ELSEWHERE, "mapped elsewhere" },	\
	{ KSM_SKIP_HUGE_KEPT, "huge page kept" },	\
	{ KSM_SKIP_POISONED, "poisoned" },	\
	{ KSM_SKIP_TAGGED, "tagged" },	\
	{ KSM_SKIP_NO_MEMORY, "no memory" },	\
	{ KSM_SKIP_OTHER_DOMAIN, "other domain" }
#endif

DECLARE_EVENT_CLASS(ksm_pass,

	TP_PROTO(int seq, u32 rmap_entries),

	TP_ARGS(seq, rmap_entries),

	TP_STRUCT__entry(
		__field(int, seq)
		__field(u32, rmap_entries)
	),

	TP_fast_assign(
		__entry->seq = seq;
		__entry->rmap_entries = rmap_entries;
	),

	TP_printk("seq %d rmap size %u", __entry->seq, __entry->rmap_entries)
);

/**
 * ksm_start_scan - a pass over all mergeable memory begins
 * @seq: passes completed before it
 * @rmap_entries: pages that are known
 */
DEFINE_EVENT(ksm_pass, ksm_start_scan,
	TP_PROTO(int seq, u32 rmap_entries),
	TP_ARGS(seq, rmap_entries)
);

/**
 * ksm_stop_scan - a pass has got to its end
 * @seq: passes completed before it
 * @rmap_entries: pages that are known
 */
DEFINE_EVENT(ksm_pass, ksm_stop_scan,
	TP_PROTO(int seq, u32 rmap_entries),
	TP_ARGS(seq, rmap_entries)
);

DECLARE_EVENT_CLASS(ksm_membership,

	TP_PROTO(void *mm),

	TP_ARGS(mm),

	TP_STRUCT__entry(
		__field(void *, mm)
	),

	TP_fast_assign(
		__entry->mm = mm;
	),

	TP_printk("mm %p", __entry->mm)
);

/**
 * ksm_enter - an mm is going to be scanned
 * @mm: the mm
 */
DEFINE_EVENT(ksm_membership, ksm_enter,
	TP_PROTO(void *mm),
	TP_ARGS(mm)
);

/**
 * ksm_exit - an mm that is scanned is about to lose its page tables
 * @mm: the mm
 */
DEFINE_EVENT(ksm_membership, ksm_exit,
	TP_PROTO(void *mm),
	TP_ARGS(mm)
);

/**
 * ksm_merge_one_page - a zeroed page was to be replaced by the zero page
 * @pfn: page frame of the zero page
 * @rmap_item: address of the record
 * @mm: the mm of the page
 * @err: 0 where it was replaced
 */
TRACE_EVENT(ksm_merge_one_page,

	TP_PROTO(unsigned long pfn, void *rmap_item, void *mm, int err),

	TP_ARGS(pfn, rmap_item, mm, err),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(void *, rmap_item)
		__field(void *, mm)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->rmap_item = rmap_item;
		__entry->mm = mm;
		__entry->err = err;
	),

	TP_printk("ksm pfn %lu rmap_item %p mm %p error %d",
		  __entry->pfn, __entry->rmap_item, __entry->mm, __entry->err)
);

/**
 * ksm_merge_with_ksm_page - a page was to be merged with a shared one
 * @ksm_page: the shared page, NULL where the page itself becomes one
 * @pfn: its page frame
 * @rmap_item: address of the rmap_item
 * @mm: the mm of the page
 * @err: 0 where it was merged
 */
TRACE_EVENT(ksm_merge_with_ksm_page,

	TP_PROTO(void *ksm_page, unsigned long pfn, void *rmap_item, void *mm, int err),

	TP_ARGS(ksm_page, pfn, rmap_item, mm, err),

	TP_STRUCT__entry(
		__field(void *, ksm_page)
		__field(unsigned long, pfn)
		__field(void *, rmap_item)
		__field(void *, mm)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->ksm_page = ksm_page;
		__entry->pfn = pfn;
		__entry->rmap_item = rmap_item;
		__entry->mm = mm;
		__entry->err = err;
	),

	TP_printk("%spfn %lu rmap_item %p mm %p error %d",
		  __entry->ksm_page ? "ksm " : "", __entry->pfn,
		  __entry->rmap_item, __entry->mm, __entry->err)
);

/**
 * ksm_remove_ksm_page - a shared page has gone
 * @pfn: its page frame
 */
TRACE_EVENT(ksm_remove_ksm_page,

	TP_PROTO(unsigned long pfn),

	TP_ARGS(pfn),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
	),

	TP_printk("pfn %lu", __entry->pfn)
);

/**
 * ksm_remove_rmap_item - a page is no longer mapped where it was merged
 * @pfn: page frame of the shared page
 * @rmap_item: address of the rmap_item
 * @mm: whose mapping
 */
TRACE_EVENT(ksm_remove_rmap_item,

	TP_PROTO(unsigned long pfn, void *rmap_item, void *mm),

	TP_ARGS(pfn, rmap_item, mm),

	TP_STRUCT__entry(
		__field(unsigned long, pfn)
		__field(void *, rmap_item)
		__field(void *, mm)
	),

	TP_fast_assign(
		__entry->pfn = pfn;
		__entry->rmap_item = rmap_item;
		__entry->mm = mm;
	),

	TP_printk("pfn %lu rmap_item %p mm %p",
		  __entry->pfn, __entry->rmap_item, __entry->mm)
);

/**
 * ksm_advisor - the advisor has chosen how much to scan in a batch
 * @scan_time: seconds that the pass took
 * @pages_to_scan: pages in a batch
 * @cpu_percent: share of a CPU that the pass took
 */
TRACE_EVENT(ksm_advisor,

	TP_PROTO(s64 scan_time, unsigned long pages_to_scan, unsigned int cpu_percent),

	TP_ARGS(scan_time, pages_to_scan, cpu_percent),

	TP_STRUCT__entry(
		__field(s64, scan_time)
		__field(unsigned long, pages_to_scan)
		__field(unsigned int, cpu_percent)
	),

	TP_fast_assign(
		__entry->scan_time = scan_time;
		__entry->pages_to_scan = pages_to_scan;
		__entry->cpu_percent = cpu_percent;
	),

	TP_printk("ksm scan time %lld pages_to_scan %lu cpu percent %u",
		  __entry->scan_time, __entry->pages_to_scan, __entry->cpu_percent)
);

TRACE_DEFINE_ENUM(KSM_SKIP_CHANGED);
TRACE_DEFINE_ENUM(KSM_SKIP_NO_DUPLICATE);
TRACE_DEFINE_ENUM(KSM_SKIP_LOCKED);
TRACE_DEFINE_ENUM(KSM_SKIP_PINNED);
TRACE_DEFINE_ENUM(KSM_SKIP_MAPPED_ELSEWHERE);
TRACE_DEFINE_ENUM(KSM_SKIP_HUGE_KEPT);
TRACE_DEFINE_ENUM(KSM_SKIP_POISONED);
TRACE_DEFINE_ENUM(KSM_SKIP_TAGGED);
TRACE_DEFINE_ENUM(KSM_SKIP_NO_MEMORY);
TRACE_DEFINE_ENUM(KSM_SKIP_OTHER_DOMAIN);

/**
 * ksm_page_skipped - a page was visited and not merged
 * @mm: the mm of the page
 * @address: its user address
 * @reason: an enum ksm_skip
 */
TRACE_EVENT(ksm_page_skipped,

	TP_PROTO(void *mm, unsigned long address, unsigned int reason),

	TP_ARGS(mm, address, reason),

	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, address)
		__field(unsigned int, reason)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->address = address;
		__entry->reason = reason;
	),

	TP_printk("mm %p address %lx reason %s", __entry->mm, __entry->address,
		  __print_symbolic(__entry->reason, KSM_SKIP_NAMES))
);

#endif /* _TRACE_KSM_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
