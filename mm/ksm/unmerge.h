/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: shared pages of a range get copies of their own.
 */
#ifndef _MM_KSM_UNMERGE_H
#define _MM_KSM_UNMERGE_H

#include <linux/mm_types.h>

int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end);

#endif /* _MM_KSM_UNMERGE_H */
