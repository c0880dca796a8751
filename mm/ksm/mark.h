/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: all VMAs of an mm become mergeable, or no longer are.
 */
#ifndef _MM_KSM_MARK_H
#define _MM_KSM_MARK_H

struct mm_struct;

int ksm_mark_by_cgroup(struct mm_struct *mm);
int ksm_unmark_by_cgroup(struct mm_struct *mm);

#endif /* _MM_KSM_MARK_H */
