/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: pages with the same content, made one.
 *
 * What the rest of the kernel may call.  The implementation is in mm/ksm/, how
 * it works in Documentation/mm/ksm.rst.
 */
#ifndef __LINUX_KSM_H
#define __LINUX_KSM_H

#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/sched.h>
#include <linux/sched/coredump.h>

struct cgroup_subsys_state;

/*
 * Flags of an mm, in bits that sched/coredump.h leaves free.  exec does not copy them;
 * __ksm_execve() sets MMF_VM_MERGE_CGROUP if the mark goes on.
 *
 * MMF_VM_MERGE_CHECK:	it will be checked whether its cgroup marks it; fork does not copy
 *			this flag
 * MMF_VM_MERGE_OUT:	its cgroup does not mark it
 * MMF_VM_MERGE_CGROUP:	MMF_VM_MERGE_ANY is set, and it is the mark of its cgroup
 */
#define MMF_VM_MERGE_CHECK	13
#define MMF_VM_MERGE_OUT	14
#define MMF_VM_MERGE_CGROUP	15
static_assert(MMF_DUMP_FILTER_SHIFT + MMF_DUMP_FILTER_BITS <= MMF_VM_MERGE_CHECK);

/* A VMA that is mergeable because of its cgroup, and not by advice. */
#ifdef CONFIG_64BIT
#define VM_MERGE_CGROUP		BIT(62)
#else
#define VM_MERGE_CGROUP		VM_NONE
#endif

#ifdef CONFIG_KSM

int __ksm_enter(struct mm_struct *mm);
void __ksm_exit(struct mm_struct *mm);
int __ksm_execve(struct mm_struct *mm);

int ksm_madvise(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		int advice, unsigned long *vm_flags);
vm_flags_t ksm_vma_flags(const struct mm_struct *mm, const struct file *file,
			 vm_flags_t vm_flags);
void ksm_add_vma(struct vm_area_struct *vma);
int ksm_enable_merge_any(struct mm_struct *mm);
int ksm_disable_merge_any(struct mm_struct *mm);
int ksm_disable(struct mm_struct *mm);
int ksm_exec_secure(struct mm_struct *mm);

struct folio *ksm_might_need_to_copy(struct folio *folio, struct vm_area_struct *vma,
				     unsigned long addr);
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc);
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio);
void collect_procs_ksm(struct folio *folio, struct page *page,
		       struct list_head *to_kill, int force_early);
void ksm_recover(struct folio *folio);

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
bool ksm_keeps_small(unsigned int merged);
#endif

#ifdef CONFIG_SWAP
void ksm_swap_out(struct folio *folio);
void ksm_swap_free(swp_entry_t entry, unsigned int nr);
#else
static inline void ksm_swap_out(struct folio *folio) { }
static inline void ksm_swap_free(swp_entry_t entry, unsigned int nr) { }
#endif

long ksm_process_profit(struct mm_struct *mm);
unsigned long ksm_process_sharing(struct mm_struct *mm);
bool ksm_process_mergeable(struct mm_struct *mm);
int ksm_merge_now(struct mm_struct *mm);

#ifdef CONFIG_MEMCG
u64 ksm_process_domain(struct mm_struct *mm);
void ksm_memcg_offline(struct cgroup_subsys_state *css);
void ksm_cgroup_check(struct task_struct *task);
#else
static inline void ksm_cgroup_check(struct task_struct *task) { }
static inline u64 ksm_process_domain(struct mm_struct *mm)
{
	return 0;
}
#endif

extern atomic_long_t ksm_zero_pages;

/**
 * is_ksm_zero_pte - whether a present PTE maps the zero page for KSM
 * @pte: the PTE
 *
 * Only KSM makes a PTE of the zero page dirty.
 *
 * Return: true where merging put the zero page there.
 */
static inline bool is_ksm_zero_pte(pte_t pte)
{
	return pte_dirty(pte) && is_zero_pfn(pte_pfn(pte));
}

/**
 * ksm_map_zero_page - count a PTE that maps the zero page for KSM
 * @mm: where it is
 *
 * Context: page table lock held.
 */
static inline void ksm_map_zero_page(struct mm_struct *mm)
{
	atomic_long_inc(&mm->ksm_zero_pages);
	atomic_long_inc(&ksm_zero_pages);
}

/**
 * ksm_might_unmap_zero_page - a PTE without a normal page is cleared
 * @mm: where it is
 * @pte: what it was, present
 *
 * Context: page table lock held.
 */
static inline void ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte)
{
	if (!is_ksm_zero_pte(pte))
		return;
	atomic_long_dec(&mm->ksm_zero_pages);
	atomic_long_dec(&ksm_zero_pages);
}

/**
 * ksm_might_copy_zero_page - fork copies a PTE without a normal page
 * @mm: the child
 * @pte: the PTE, present
 *
 * Context: page table locks held.
 */
static inline void ksm_might_copy_zero_page(struct mm_struct *mm, pte_t pte)
{
	if (is_ksm_zero_pte(pte))
		ksm_map_zero_page(mm);
}

/**
 * mm_ksm_zero_pages - PTEs of an mm that map the zero page for KSM
 * @mm: the mm
 *
 * Return: their number.
 */
static inline long mm_ksm_zero_pages(struct mm_struct *mm)
{
	return atomic_long_read(&mm->ksm_zero_pages);
}

/**
 * ksm_mm_init - start the figures of an mm at zero
 * @mm: the mm, which may be a copy of another's
 *
 * Context: @mm not in use yet; before PTEs are copied to it.
 */
static inline void ksm_mm_init(struct mm_struct *mm)
{
	mm->ksm_rmap_items = 0;
	mm->ksm_merging_pages = 0;
	atomic_long_set(&mm->ksm_zero_pages, 0);
}

/**
 * ksm_fork - have KSM scan a child if it scans the parent
 * @mm: the child
 * @oldmm: the parent
 *
 * Without a slot, shared pages and zero pages of the child could not be unmerged.  Its VMAs
 * have the marks that the parent has now, which may be newer than the flags in @mm.  So
 * these flags are copied again.
 *
 * Context: may sleep; mmap_lock of @mm and @oldmm held for writing.
 * Return: 0, or -ENOMEM.
 */
static inline int ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
	const unsigned long marks = BIT(MMF_VM_MERGE_ANY) | BIT(MMF_VM_MERGE_OUT) |
				    BIT(MMF_VM_MERGE_CGROUP);

	mm->flags = (mm->flags & ~marks) | (READ_ONCE(oldmm->flags) & marks);
	return test_bit(MMF_VM_MERGEABLE, &oldmm->flags) ? __ksm_enter(mm) : 0;
}

/**
 * ksm_execve - have KSM scan a new program if its process is marked
 * @mm: the new mm
 *
 * Context: may sleep; mmap_lock held for writing.
 * Return: 0, or -ENOMEM.
 */
static inline int ksm_execve(struct mm_struct *mm)
{
	return test_bit(MMF_VM_MERGE_ANY, &mm->flags) ? __ksm_execve(mm) : 0;
}

/**
 * ksm_exit - an mm is about to lose its page tables
 * @mm: the mm
 *
 * Context: may sleep.
 */
static inline void ksm_exit(struct mm_struct *mm)
{
	if (test_bit(MMF_VM_MERGEABLE, &mm->flags))
		__ksm_exit(mm);
}

#else /* !CONFIG_KSM */

static inline vm_flags_t ksm_vma_flags(const struct mm_struct *mm,
				       const struct file *file, vm_flags_t vm_flags)
{
	return vm_flags;
}

static inline void ksm_add_vma(struct vm_area_struct *vma) { }

static inline int ksm_disable(struct mm_struct *mm)
{
	return 0;
}

static inline bool ksm_keeps_small(unsigned int merged)
{
	return false;
}

static inline bool is_ksm_zero_pte(pte_t pte)
{
	return false;
}

static inline void ksm_might_unmap_zero_page(struct mm_struct *mm, pte_t pte) { }
static inline void ksm_might_copy_zero_page(struct mm_struct *mm, pte_t pte) { }
static inline void ksm_mm_init(struct mm_struct *mm) { }
static inline void ksm_memcg_offline(struct cgroup_subsys_state *css) { }
static inline void ksm_cgroup_check(struct task_struct *task) { }

static inline int ksm_exec_secure(struct mm_struct *mm)
{
	return 0;
}

static inline int ksm_fork(struct mm_struct *mm, struct mm_struct *oldmm)
{
	return 0;
}

static inline int ksm_execve(struct mm_struct *mm)
{
	return 0;
}

static inline void ksm_exit(struct mm_struct *mm) { }

static inline void collect_procs_ksm(struct folio *folio, struct page *page,
				     struct list_head *to_kill, int force_early) { }
static inline void ksm_recover(struct folio *folio) { }
static inline void ksm_swap_out(struct folio *folio) { }
static inline void ksm_swap_free(swp_entry_t entry, unsigned int nr) { }

#ifdef CONFIG_MMU
static inline int ksm_madvise(struct vm_area_struct *vma, unsigned long start,
			      unsigned long end, int advice, unsigned long *vm_flags)
{
	return 0;
}

static inline struct folio *ksm_might_need_to_copy(struct folio *folio,
						   struct vm_area_struct *vma,
						   unsigned long addr)
{
	return folio;
}

static inline void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc) { }
static inline void folio_migrate_ksm(struct folio *newfolio, struct folio *folio) { }
#endif /* CONFIG_MMU */

#endif /* CONFIG_KSM */

#endif /* __LINUX_KSM_H */
