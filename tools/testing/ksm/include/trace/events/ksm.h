/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_TRACE_EVENTS_KSM_H
#define _KSM_TEST_TRACE_EVENTS_KSM_H

#include <linux/types.h>

static inline void trace_ksm_remove_ksm_page(unsigned long pfn)
{
	(void)pfn;
}

static inline void trace_ksm_remove_rmap_item(unsigned long pfn, void *item, void *mm)
{
	(void)pfn;
	(void)item;
	(void)mm;
}

#endif /* _KSM_TEST_TRACE_EVENTS_KSM_H */
