/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: a range gets copies in place of its shared pages.
 */
#ifndef _MM_KSM_UNMERGE_H
#define _MM_KSM_UNMERGE_H

#include <linux/mm_types.h>

struct ksm_domain;

int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end);
int ksm_break_foreign(struct vm_area_struct *vma, unsigned long *address,
		      const struct ksm_domain *keep, u64 deadline);

#endif /* _MM_KSM_UNMERGE_H */
