// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: which VMAs may be merged.
 */

#include <linux/dax.h>
#include <linux/mm.h>

#include "vma.h"

/**
 * ksm_mm_exiting - whether an address space is being torn down
 * @mm: the mm
 *
 * If mmap_lock is held and the answer is false, the page tables stay until mmap_lock is
 * released, since ksm_exit() takes it.
 *
 * Context: any.
 * Return: true if its page tables must not be used any more.
 */
bool ksm_mm_exiting(const struct mm_struct *mm)
{
	return !atomic_read(&mm->mm_users);
}

/**
 * ksm_vm_flags_mergeable - whether a VMA with some flags may be merged
 * @vm_flags: the flags
 *
 * Context: any.
 * Return: false if the flags rule out merging.  DAX has no flag of its own: see
 * ksm_vma_mergeable().
 */
bool ksm_vm_flags_mergeable(vm_flags_t vm_flags)
{
	if (vm_flags & (VM_SHARED | VM_MAYSHARE | VM_PFNMAP | VM_IO | VM_DONTEXPAND |
			VM_HUGETLB | VM_MIXEDMAP | VM_DROPPABLE))
		return false;
#ifdef VM_SAO
	if (vm_flags & VM_SAO)
		return false;
#endif
#ifdef VM_SPARC_ADI
	if (vm_flags & VM_SPARC_ADI)
		return false;
#endif
	return true;
}

/**
 * ksm_vma_mergeable - whether a VMA may be merged
 * @vma: the VMA
 *
 * Context: mmap_lock held.
 * Return: true if it may be marked with VM_MERGEABLE.
 */
bool ksm_vma_mergeable(struct vm_area_struct *vma)
{
	return ksm_vm_flags_mergeable(vma->vm_flags) && !vma_is_dax(vma);
}

/**
 * ksm_vma_populated - whether a VMA is mergeable and has, or had, anonymous pages
 * @vma: the VMA
 *
 * Context: mmap_lock or the lock of the VMA held.
 * Return: true if it may have pages to merge.
 */
bool ksm_vma_populated(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_MERGEABLE && vma->anon_vma;
}

/**
 * ksm_find_vma - the mergeable VMA at an address
 * @mm: the mm
 * @address: a user address
 *
 * Context: mmap_lock held.
 * Return: the VMA, or NULL if no mergeable VMA with anonymous pages covers
 * @address.
 */
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long address)
{
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	if (ksm_mm_exiting(mm))
		return NULL;
	vma = vma_lookup(mm, address);
	return vma && ksm_vma_populated(vma) ? vma : NULL;
}

/**
 * ksm_next_vma - the next mergeable VMA
 * @vmi: iterator over the VMAs of an mm
 *
 * Context: mmap_lock held.
 * Return: the VMA, with or without pages, or NULL.
 */
struct vm_area_struct *ksm_next_vma(struct vma_iterator *vmi)
{
	struct vm_area_struct *vma;

	do {
		vma = vma_next(vmi);
	} while (vma && !(vma->vm_flags & VM_MERGEABLE));
	return vma;
}

/**
 * ksm_has_mergeable_vma - whether an mm has a mergeable VMA
 * @mm: the mm
 *
 * Context: mmap_lock held.
 * Return: true if it has one.
 */
bool ksm_has_mergeable_vma(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);

	mmap_assert_locked(mm);
	return ksm_next_vma(&vmi);
}
