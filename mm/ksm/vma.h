/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: which VMAs may be merged.
 */
#ifndef _MM_KSM_VMA_H
#define _MM_KSM_VMA_H

#include <linux/mm_types.h>

bool ksm_mm_exiting(const struct mm_struct *mm);
bool ksm_vm_flags_mergeable(vm_flags_t vm_flags);
bool ksm_vma_mergeable(struct vm_area_struct *vma);
bool ksm_vma_populated(const struct vm_area_struct *vma);
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long address);
struct vm_area_struct *ksm_next_vma(struct vma_iterator *vmi);
bool ksm_has_mergeable_vma(struct mm_struct *mm);

#endif /* _MM_KSM_VMA_H */
