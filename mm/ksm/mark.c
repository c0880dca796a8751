// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: which VMAs are mergeable, by advice or all of an mm.
 *
 * MMF_VM_MERGE_ANY says that all VMAs of an mm are mergeable.  The process has asked
 * for this by prctl(), or inherited it from one that has, unless MMF_VM_MERGE_CGROUP
 * is set as well: then its cgroup has marked it, see cgroup_merge.c.  A VMA that is
 * mergeable only because of the cgroup has VM_MERGE_CGROUP, so that the advice of the
 * process outlasts the mark of the cgroup.  Where there are only 32 flags for VMAs,
 * the end of this mark ends the advice as well.
 *
 * MMF_VM_MERGE_ANY is set after MMF_VM_MERGE_CGROUP and cleared before it, so that an
 * exec never takes the mark of a cgroup for that of the process.
 */

#include <linux/ksm.h>
#include <linux/mman.h>
#include <linux/sched/coredump.h>

#include "mark.h"
#include "unmerge.h"
#include "vma.h"

#define KSM_VM_MARKS		(VM_MERGEABLE | VM_MERGE_CGROUP)

static int enter_once(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGEABLE, &mm->flags) ? 0 : __ksm_enter(mm);
}

/* The flags that make a VMA mergeable because all VMAs of @mm are. */
static vm_flags_t marks_of(const struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGE_CGROUP, &mm->flags) ? KSM_VM_MARKS : VM_MERGEABLE;
}

/**
 * ksm_vma_flags - flags of a new VMA
 * @mm: the mm that the VMA is for
 * @file: the file that it maps, NULL for anonymous memory
 * @vm_flags: its flags so far
 *
 * With VM_MERGEABLE from the start, the VMA can merge with its neighbours.  When a
 * file is mapped, the flags may still change: see ksm_add_vma().
 *
 * Context: mmap_lock held for writing.
 * Return: the flags, with VM_MERGEABLE if all VMAs of the mm are to be mergeable
 * and this one can be.
 */
vm_flags_t ksm_vma_flags(const struct mm_struct *mm, const struct file *file,
			 vm_flags_t vm_flags)
{
	if (!test_bit(MMF_VM_MERGE_ANY, &mm->flags) || !ksm_vm_flags_mergeable(vm_flags))
		return vm_flags;
	if (file && IS_DAX(file_inode(file)))
		return vm_flags;
	return vm_flags | marks_of(mm);
}

/**
 * ksm_add_vma - mark a VMA if all VMAs of its mm are to be mergeable
 * @vma: the VMA, complete
 *
 * The mmap method of a driver may have set flags that rule out merging.  Then the
 * mark is cleared.  The VMA has no pages yet.
 *
 * Context: mmap_lock held for writing.
 */
void ksm_add_vma(struct vm_area_struct *vma)
{
	if (!test_bit(MMF_VM_MERGE_ANY, &vma->vm_mm->flags))
		return;
	if (!ksm_vma_mergeable(vma)) {
		if (vma->vm_flags & KSM_VM_MARKS)
			vm_flags_clear(vma, KSM_VM_MARKS);
	} else if (!(vma->vm_flags & VM_MERGEABLE)) {
		vm_flags_set(vma, marks_of(vma->vm_mm));
	}
}

static void mark_vmas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;

	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		ksm_add_vma(vma);
}

/* Until mmap_lock is released, no page of the range is merged again. */
static int unmerge_range(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end)
{
	if (!vma->anon_vma)
		return 0;
	vma_start_write(vma);
	return ksm_break_range(vma, start, end);
}

/*
 * Of VMAs with one of @flags.  No flag is cleared before every VMA is unmerged.  After
 * an error each VMA is as mergeable as it was, and nothing has to be restored.
 */
static int unmark_vmas(struct mm_struct *mm, vm_flags_t flags)
{
	struct vm_area_struct *vma;
	int err;

	VMA_ITERATOR(vmi, mm, 0);

	while ((vma = ksm_next_vma(&vmi))) {
		if (!(vma->vm_flags & flags))
			continue;
		err = unmerge_range(vma, vma->vm_start, vma->vm_end);
		if (err)
			return err;
	}
	vma_iter_set(&vmi, 0);
	while ((vma = ksm_next_vma(&vmi)))
		if (vma->vm_flags & flags)
			vm_flags_clear(vma, KSM_VM_MARKS);
	return 0;
}

/* The process asks for what its cgroup has given it, and keeps it. */
static void adopt_mark(struct mm_struct *mm)
{
	struct vm_area_struct *vma;

	VMA_ITERATOR(vmi, mm, 0);

	if (!test_and_clear_bit(MMF_VM_MERGE_CGROUP, &mm->flags))
		return;
	for_each_vma(vmi, vma)
		if (vma->vm_flags & VM_MERGE_CGROUP)
			vm_flags_clear(vma, VM_MERGE_CGROUP);
}

/**
 * ksm_enable_merge_any - make all VMAs of an mm mergeable, and all future ones
 * @mm: the mm
 *
 * The process asks for it itself.
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, or -ENOMEM.
 */
int ksm_enable_merge_any(struct mm_struct *mm)
{
	int err;

	mmap_assert_write_locked(mm);
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags)) {
		adopt_mark(mm);
		return 0;
	}
	err = enter_once(mm);
	if (!err) {
		clear_bit(MMF_VM_MERGE_OUT, &mm->flags);
		set_bit(MMF_VM_MERGE_ANY, &mm->flags);
		mark_vmas(mm);
	}
	return err;
}

/**
 * ksm_disable - make no VMA of an mm mergeable any more, and unmerge
 * @mm: the mm
 *
 * Until the next exec, its cgroup does not mark it either.
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0; -ENOMEM or -ERESTARTSYS if some pages are still merged, and each VMA
 * is as mergeable as before.
 */
int ksm_disable(struct mm_struct *mm)
{
	int err;

	mmap_assert_write_locked(mm);
	err = unmark_vmas(mm, VM_MERGEABLE);
	if (!err) {
		set_bit(MMF_VM_MERGE_OUT, &mm->flags);
		clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
		clear_bit(MMF_VM_MERGE_CGROUP, &mm->flags);
	}
	return err;
}

/**
 * ksm_disable_merge_any - undo ksm_enable_merge_any() and unmerge
 * @mm: the mm
 *
 * Until the next exec, its cgroup does not mark it either.
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0; -ENOMEM or -ERESTARTSYS if some pages are still merged, and each VMA
 * is as mergeable as before.
 */
int ksm_disable_merge_any(struct mm_struct *mm)
{
	mmap_assert_write_locked(mm);
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		return ksm_disable(mm);
	set_bit(MMF_VM_MERGE_OUT, &mm->flags);
	return 0;
}

/**
 * ksm_mark_by_cgroup - make all VMAs of an mm mergeable for its cgroup
 * @mm: the mm; nothing is done if it has asked itself, or is not to be marked
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, or -ENOMEM.
 */
int ksm_mark_by_cgroup(struct mm_struct *mm)
{
	int err;

	mmap_assert_write_locked(mm);
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags) || test_bit(MMF_VM_MERGE_OUT, &mm->flags))
		return 0;
	err = enter_once(mm);
	if (!err) {
		set_bit(MMF_VM_MERGE_CGROUP, &mm->flags);
		smp_mb__after_atomic();	/* see the head of this file */
		set_bit(MMF_VM_MERGE_ANY, &mm->flags);
		mark_vmas(mm);
	}
	return err;
}

/**
 * ksm_unmark_by_cgroup - undo ksm_mark_by_cgroup() and unmerge
 * @mm: the mm; nothing is done if it has no such mark
 *
 * VMAs stay mergeable that the process has advised to merge.
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0; -ENOMEM or -ERESTARTSYS if some pages are still merged, and each VMA
 * is as mergeable as before.
 */
int ksm_unmark_by_cgroup(struct mm_struct *mm)
{
	int err;

	mmap_assert_write_locked(mm);
	if (!test_bit(MMF_VM_MERGE_CGROUP, &mm->flags))
		return 0;
	err = unmark_vmas(mm, VM_MERGE_CGROUP ?: VM_MERGEABLE);
	if (!err) {
		clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
		smp_mb__after_atomic();	/* see the head of this file */
		clear_bit(MMF_VM_MERGE_CGROUP, &mm->flags);
	}
	return err;
}

static int advise_mergeable(struct vm_area_struct *vma, vm_flags_t *vm_flags)
{
	int err;

	*vm_flags &= ~VM_MERGE_CGROUP;
	if ((vma->vm_flags & VM_MERGEABLE) || !ksm_vma_mergeable(vma))
		return 0;
	err = enter_once(vma->vm_mm);
	if (!err)
		*vm_flags |= VM_MERGEABLE;
	return err;
}

/* The complement of an int mask would also clear the flags above bit 31. */
static int advise_unmergeable(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, vm_flags_t *vm_flags)
{
	const vm_flags_t marks = KSM_VM_MARKS;
	int err;

	if (!(*vm_flags & VM_MERGEABLE))
		return 0;
	err = unmerge_range(vma, start, end);
	if (!err)
		*vm_flags &= ~marks;
	return err;
}

/**
 * ksm_madvise - MADV_MERGEABLE and MADV_UNMERGEABLE
 * @vma: the VMA of the range
 * @start: first address of the range
 * @end: first address behind the range
 * @advice: one of the two; all other advice is ignored
 * @vm_flags: new flags of the range, changed on success
 *
 * If the VMA cannot be mergeable, MADV_MERGEABLE has no effect.
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, -ENOMEM or -ERESTARTSYS.
 */
int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
		unsigned long end, int advice, unsigned long *vm_flags)
{
	if (advice == MADV_MERGEABLE)
		return advise_mergeable(vma, vm_flags);
	if (advice == MADV_UNMERGEABLE)
		return advise_unmergeable(vma, start, end, vm_flags);
	return 0;
}
EXPORT_SYMBOL_GPL(ksm_madvise);
