// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: which mms hold mergeable areas.
 *
 * An mm_slot holds a reference to the mm_struct, not to the address space: exit
 * need not wait for ksmd.  What keeps page tables in place under ksmd is
 * mmap_lock, taken before mm_users is looked at.  ksm_exit(), which runs after
 * mm_users fell to zero, takes that lock once where ksmd may be at work, so that
 * whoever saw users has gone by the time page tables are freed.
 */

#include <linux/dax.h>
#include <linux/hashtable.h>
#include <linux/ksm.h>
#include <linux/mman.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <trace/events/ksm.h>

#include "ksm.h"

#define KSM_SLOT_HASH_BITS	10

static DEFINE_HASHTABLE(slot_hash, KSM_SLOT_HASH_BITS);
static struct kmem_cache *slot_cache;

/**
 * ksm_mm_slot_init - create the cache
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_mm_slot_init(void)
{
	slot_cache = KMEM_CACHE(ksm_mm_slot, 0);
	return slot_cache ? 0 : -ENOMEM;
}

/**
 * ksm_mm_exiting - whether an address space is being torn down
 * @mm: the mm
 *
 * Context: any; the answer no holds for as long as mmap_lock is held.
 * Return: true where its page tables are not to be touched any more.
 */
bool ksm_mm_exiting(struct mm_struct *mm)
{
	return !atomic_read(&mm->mm_users);
}

/**
 * ksm_find_vma - the mergeable area at an address
 * @mm: the mm
 * @address: a user address
 *
 * Context: mmap_lock held.
 * Return: the area, or NULL where none with pages to merge covers @address.
 */
struct vm_area_struct *ksm_find_vma(struct mm_struct *mm, unsigned long address)
{
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	if (ksm_mm_exiting(mm))
		return NULL;
	vma = vma_lookup(mm, address);
	if (!vma || !(vma->vm_flags & VM_MERGEABLE) || !vma->anon_vma)
		return NULL;
	return vma;
}

/**
 * ksm_next_area - the next area that may be merged
 * @vmi: iterator over the areas of an mm
 *
 * Context: mmap_lock held.
 * Return: the area, with or without pages in it, or NULL.
 */
struct vm_area_struct *ksm_next_area(struct vma_iterator *vmi)
{
	struct vm_area_struct *vma;

	do {
		vma = vma_next(vmi);
	} while (vma && !(vma->vm_flags & VM_MERGEABLE));
	return vma;
}

/**
 * ksm_has_mergeable_area - whether an mm has an area that may be merged
 * @mm: the mm
 *
 * Context: mmap_lock held.
 * Return: true where it has one.
 */
bool ksm_has_mergeable_area(struct mm_struct *mm)
{
	VMA_ITERATOR(vmi, mm, 0);

	mmap_assert_locked(mm);
	return ksm_next_area(&vmi);
}

/**
 * ksm_slots_empty - whether there is nothing to scan
 *
 * Context: any.  Without ksm.slots_lock the answer is a hint.
 * Return: true where no mm has a slot.
 */
bool ksm_slots_empty(void)
{
	return list_empty(&ksm.slots);
}

static struct ksm_mm_slot *slot_after(struct list_head *at)
{
	if (at->next == &ksm.slots)
		return NULL;
	return list_entry(at->next, struct ksm_mm_slot, slot.mm_node);
}

/**
 * ksm_slot_first - put the cursor on the first mm
 * @scan: the cursor; on none where there is no mm
 *
 * Context: under ksm.lock.
 */
void ksm_slot_first(struct ksm_scan *scan)
{
	spin_lock(&ksm.slots_lock);
	scan->slot = slot_after(&ksm.slots);
	spin_unlock(&ksm.slots_lock);
}

/**
 * ksm_slot_none - take the cursor off
 * @scan: the cursor
 *
 * Context: under ksm.lock, no mmap_lock held.
 */
void ksm_slot_none(struct ksm_scan *scan)
{
	spin_lock(&ksm.slots_lock);
	scan->slot = NULL;
	spin_unlock(&ksm.slots_lock);
}

/**
 * ksm_slot_leave - move the cursor on
 * @scan: the cursor; on none behind the last mm
 * @forget: free the slot, which has no leaves any more, and its hold on the mm
 *
 * While the cursor is on a slot, ksm_exit() leaves that alone; afterwards the
 * mm may go at any moment.
 *
 * Context: under ksm.lock.  To forget an mm that is not exiting, its mmap_lock
 * has to be held, and a reference to it.
 */
void ksm_slot_leave(struct ksm_scan *scan, bool forget)
{
	struct ksm_mm_slot *slot = scan->slot;
	struct mm_struct *mm = slot->slot.mm;

	spin_lock(&ksm.slots_lock);
	scan->slot = slot_after(&slot->slot.mm_node);
	if (forget) {
		hash_del(&slot->slot.hash);
		list_del(&slot->slot.mm_node);
	}
	spin_unlock(&ksm.slots_lock);
	if (!forget)
		return;
	VM_WARN_ON_ONCE(slot->leaves);
	mm_slot_free(slot_cache, slot);
	clear_bit(MMF_VM_MERGEABLE, &mm->flags);
	mmdrop(mm);
}

/**
 * __ksm_enter - give an mm a slot
 * @mm: the mm, which has none
 *
 * A new mm comes last in the pass under way, so that a fork followed by an exec
 * is not looked at in vain.  An unmerge through sysfs has to reach it too; it
 * goes to the end of the list, which is ahead of that.
 *
 * Context: may sleep; mmap_lock of @mm held for writing, or @mm not in use yet.
 * Return: 0, or -ENOMEM.
 */
int __ksm_enter(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot = mm_slot_alloc(slot_cache);
	struct list_head *before = &ksm.slots;

	if (!slot)
		return -ENOMEM;
	mmgrab(mm);
	spin_lock(&ksm.slots_lock);
	mm_slot_insert(slot_hash, mm, (&slot->slot));
	if (READ_ONCE(ksm.run) != KSM_RUN_UNMERGE && ksm.scan.slot)
		before = &ksm.scan.slot->slot.mm_node;
	list_add_tail(&slot->slot.mm_node, before);
	spin_unlock(&ksm.slots_lock);
	set_bit(MMF_VM_MERGEABLE, &mm->flags);
	ksm_rouse();
	trace_ksm_enter(mm);
	return 0;
}

/* Unlink the slot where nobody needs it, else have ksmd come to it next. */
static struct ksm_mm_slot *slot_unlink(struct ksm_mm_slot *slot)
{
	lockdep_assert_held(&ksm.slots_lock);
	if (slot == ksm.scan.slot)
		return NULL;
	if (slot->leaves) {
		if (ksm.scan.slot)
			list_move(&slot->slot.mm_node, &ksm.scan.slot->slot.mm_node);
		return NULL;
	}
	hash_del(&slot->slot.hash);
	list_del(&slot->slot.mm_node);
	return slot;
}

/**
 * __ksm_exit - an mm is about to lose its page tables
 * @mm: the mm
 *
 * An exec that fails comes here too, with its mm in use and locked: nothing is
 * done then, because the mm comes again when it is put.
 *
 * Context: may sleep.
 */
void __ksm_exit(struct mm_struct *mm)
{
	struct ksm_mm_slot *slot, *unlinked = NULL;
	struct mm_slot *found;

	if (!ksm_mm_exiting(mm))
		return;
	spin_lock(&ksm.slots_lock);
	found = mm_slot_lookup(slot_hash, mm);
	slot = found ? mm_slot_entry(found, struct ksm_mm_slot, slot) : NULL;
	if (slot)
		unlinked = slot_unlink(slot);
	spin_unlock(&ksm.slots_lock);
	if (unlinked) {
		mm_slot_free(slot_cache, unlinked);
		clear_bit(MMF_VM_MERGEABLE, &mm->flags);
		mmdrop(mm);
	} else if (slot) {
		/* Wait for ksmd to be done with the page tables; it frees the slot. */
		mmap_write_lock(mm);
		mmap_write_unlock(mm);
	}
	trace_ksm_exit(mm);
}

static int enter_once(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGEABLE, &mm->flags) ? 0 : __ksm_enter(mm);
}

static bool vm_flags_mergeable(vm_flags_t vm_flags)
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

static bool vma_mergeable(struct vm_area_struct *vma)
{
	return vm_flags_mergeable(vma->vm_flags) && !vma_is_dax(vma);
}

/**
 * ksm_vma_flags - flags of an area that is about to be made
 * @mm: the mm that it is made in
 * @file: what it maps, NULL for anonymous memory
 * @vm_flags: its flags so far
 *
 * Knowing VM_MERGEABLE from the start lets the area become one with its
 * neighbours.  Mapping a file may yet change the flags: see ksm_add_vma().
 *
 * Context: mmap_lock held for writing.
 * Return: the flags, with VM_MERGEABLE where the mm asked for everything to be
 * merged and the area qualifies.
 */
vm_flags_t ksm_vma_flags(const struct mm_struct *mm, const struct file *file,
			 vm_flags_t vm_flags)
{
	if (!test_bit(MMF_VM_MERGE_ANY, &mm->flags) || !vm_flags_mergeable(vm_flags))
		return vm_flags;
	if (file && IS_DAX(file_inode(file)))
		return vm_flags;
	return vm_flags | VM_MERGEABLE;
}

/**
 * ksm_add_vma - mark an area where its mm asked for everything to be merged
 * @vma: the area, complete
 *
 * Takes the mark off a new area that a driver has turned into one that cannot be
 * merged.  It has no pages yet.
 *
 * Context: mmap_lock held for writing.
 */
void ksm_add_vma(struct vm_area_struct *vma)
{
	if (!test_bit(MMF_VM_MERGE_ANY, &vma->vm_mm->flags))
		return;
	if (vma_mergeable(vma))
		vm_flags_set(vma, VM_MERGEABLE);
	else if (vma->vm_flags & VM_MERGEABLE)
		vm_flags_clear(vma, VM_MERGEABLE);
}

static void mark_areas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;

	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		ksm_add_vma(vma);
}

/* Take the pages of a range out of being shared, so that nobody shares it again. */
static int unmerge_range(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end)
{
	if (!vma->anon_vma)
		return 0;
	vma_start_write(vma);
	return ksm_break_range(vma, start, end);
}

static int unmark_areas(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	int err;

	VMA_ITERATOR(vmi, mm, 0);

	while ((vma = ksm_next_area(&vmi))) {
		err = unmerge_range(vma, vma->vm_start, vma->vm_end);
		if (err)
			return err;
		vm_flags_clear(vma, VM_MERGEABLE);
	}
	return 0;
}

/**
 * ksm_enable_merge_any - have all areas of an mm merged, those to come included
 * @mm: the mm
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, or -ENOMEM.
 */
int ksm_enable_merge_any(struct mm_struct *mm)
{
	int err;

	mmap_assert_write_locked(mm);
	if (test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		return 0;
	err = enter_once(mm);
	if (!err) {
		set_bit(MMF_VM_MERGE_ANY, &mm->flags);
		mark_areas(mm);
	}
	return err;
}

/**
 * ksm_disable_merge_any - undo ksm_enable_merge_any() and unmerge
 * @mm: the mm
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0; -ENOMEM or -ERESTARTSYS and everything stays mergeable.
 */
int ksm_disable_merge_any(struct mm_struct *mm)
{
	int err;

	mmap_assert_write_locked(mm);
	if (!test_bit(MMF_VM_MERGE_ANY, &mm->flags))
		return 0;
	err = unmark_areas(mm);
	if (err)
		mark_areas(mm);
	else
		clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
	return err;
}

/**
 * ksm_disable - have nothing of an mm merged any more, and unmerge it
 * @mm: the mm
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, -ENOMEM or -ERESTARTSYS.
 */
int ksm_disable(struct mm_struct *mm)
{
	mmap_assert_write_locked(mm);
	return test_bit(MMF_VM_MERGE_ANY, &mm->flags) ? ksm_disable_merge_any(mm) :
							unmark_areas(mm);
}

static int advise_mergeable(struct vm_area_struct *vma, vm_flags_t *vm_flags)
{
	int err;

	if ((vma->vm_flags & VM_MERGEABLE) || !vma_mergeable(vma))
		return 0;
	err = enter_once(vma->vm_mm);
	if (!err)
		*vm_flags |= VM_MERGEABLE;
	return err;
}

/* An int mask would clear the flags above bit 31 as well. */
static int advise_unmergeable(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, vm_flags_t *vm_flags)
{
	const vm_flags_t mergeable = VM_MERGEABLE;
	int err;

	if (!(*vm_flags & mergeable))
		return 0;
	err = unmerge_range(vma, start, end);
	if (!err)
		*vm_flags &= ~mergeable;
	return err;
}

/**
 * ksm_madvise - MADV_MERGEABLE and MADV_UNMERGEABLE
 * @vma: the area that the range lies in
 * @start: first address
 * @end: address behind the last
 * @advice: either of the two
 * @vm_flags: flags that the range is to have, changed on success
 *
 * Advice that does not fit the area is ignored.
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
