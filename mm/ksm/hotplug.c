// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: memory that goes offline.
 */

#include <linux/init.h>
#include <linux/memory.h>

#include "core.h"

/*
 * Migration empties memory that goes offline.  Meanwhile no stable node is used
 * to look up its folio.  The nodes of folios that are left have to go before the
 * struct pages do.
 */
static int ksm_memory_notify(struct notifier_block *self, unsigned long action, void *arg)
{
	const struct memory_notify *range = arg;

	switch (action) {
	case MEM_GOING_OFFLINE:
		ksm_offline_begin();
		break;
	case MEM_OFFLINE:
		ksm_offline_end(range->start_pfn, range->start_pfn + range->nr_pages);
		break;
	case MEM_CANCEL_OFFLINE:
		ksm_offline_end(0, 0);
		break;
	}
	return NOTIFY_OK;
}

static int __init ksm_hotplug_init(void)
{
	hotplug_memory_notifier(ksm_memory_notify, KSM_CALLBACK_PRI);
	return 0;
}
subsys_initcall_sync(ksm_hotplug_init);
