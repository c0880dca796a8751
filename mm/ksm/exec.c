// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what an exec keeps.
 */

#include <linux/bits.h>
#include <linux/ksm.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>

#include "cgroup_merge.h"

/**
 * __ksm_execve - have the mm of a new program scanned if the mark goes on
 * @mm: the new mm, with the flags that an exec keeps
 *
 * The mark of a cgroup goes on only if it is for any process.  Otherwise the cgroup
 * may mark the new program when the exec is complete.
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, or -ENOMEM.
 */
int __ksm_execve(struct mm_struct *mm)
{
	const unsigned long old = current->mm ? READ_ONCE(current->mm->flags) : 0;
	const bool by_cgroup = old & BIT(MMF_VM_MERGE_CGROUP);

	if (!(old & BIT(MMF_VM_MERGE_ANY)) || (by_cgroup && !ksm_cgroup_marks_all(current))) {
		clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
		return 0;
	}
	if (by_cgroup)
		set_bit(MMF_VM_MERGE_CGROUP, &mm->flags);
	return __ksm_enter(mm);
}
