// SPDX-License-Identifier: GPL-2.0
/* A child that holds its mmap_lock for seconds. */
#include <sys/mman.h>

#include "ksm_holder.h"

#define SEED		0x4d00
/* When so many pages are unmerged, the child holds its mmap_lock. */
#define FIRST_PAGES	10

void holder_run(struct ksm_child *self, size_t pages)
{
	char *area = ksm_merged_area(pages, SEED);

	ksm_use_last_cpu(0);
	ksm_child_pause(self);
	madvise(area, pages * psize(), MADV_UNMERGEABLE);
	ksm_child_pause(self);
}

pid_t holder_begin(struct ksm_child *child)
{
	const long faults = ksm_faults(child->pid);
	const pid_t hog = ksm_hog_last_cpu();

	ksm_child_go(child);
	while (!ksm_child_reported(child) && ksm_faults(child->pid) < faults + FIRST_PAGES)
		;
	return hog;
}
