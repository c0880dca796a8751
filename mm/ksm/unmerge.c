// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: processes get pages of their own in place of shared ones.
 *
 * A range is walked in pieces of at most one page table.  The shared pages of a piece are
 * copied in batches without the page table lock.  Then the PTEs of a batch are
 * cleared, the TLB is flushed once, and the PTEs are set to the copies.
 */

#include <linux/highmem.h>
#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagewalk.h>
#include <linux/rmap.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <trace/events/ksm.h>

#include "domain.h"
#include "replace.h"
#include "stable.h"
#include "unmerge.h"
#include "vma.h"

/* PTEs that are unmerged together, which are on the stack. */
#define KSM_UNMERGE_PAGES	MIN(16U, KSM_BATCH_PAGES)

/**
 * struct ksm_unmerge - a piece of a range
 * @vma: the VMA
 * @keep: shared pages of this domain and zero pages stay; NULL if none do
 * @next: first address that the piece does not cover
 * @migrating: a shared page at @next migrates
 * @nr: elements of @at in use
 * @at: PTEs that map shared pages, each page with a reference
 * @nr_spare: elements of @spare in use
 * @spare: pages allocated for copies; elements that are not in use are NULL
 */
struct ksm_unmerge {
	struct vm_area_struct *vma;
	const struct ksm_domain *keep;
	unsigned long next;
	bool migrating;
	unsigned int nr;
	struct ksm_replacement at[KSM_UNMERGE_PAGES];
	unsigned int nr_spare;
	struct page *spare[KSM_UNMERGE_PAGES];
};

/* ksm.lock keeps the node of a page that a PTE maps. */
static bool is_shared(const struct ksm_unmerge *piece, const struct folio *folio)
{
	const struct ksm_stable_node *node;

	if (!folio_test_ksm(folio))
		return false;
	if (!piece->keep)
		return true;
	node = ksm_folio_node(folio);
	return !node || node->domain != piece->keep->id;
}

static bool is_migrating(const struct ksm_unmerge *piece, pte_t pte)
{
	if (pte_none(pte) || pte_present(pte) ||
	    !is_migration_entry(pte_to_swp_entry(pte)))
		return false;
	return is_shared(piece, pfn_swap_entry_folio(pte_to_swp_entry(pte)));
}

/* The shared page that a PTE maps, or the zero page where KSM has mapped it. */
static struct page *shared_page(const struct ksm_unmerge *piece, unsigned long address,
				pte_t pte)
{
	struct page *page;

	if (!pte_present(pte))
		return NULL;
	page = vm_normal_page(piece->vma, address, pte);
	if (!page)
		return is_ksm_zero_pte(pte) && !piece->keep ? pte_page(pte) : NULL;
	return is_shared(piece, page_folio(page)) ? page : NULL;
}

static void add_shared(struct ksm_unmerge *piece, unsigned long address,
		       struct page *page)
{
	if (piece->keep)
		trace_ksm_page_skipped(piece->vma->vm_mm, address, KSM_SKIP_OTHER_DOMAIN);
	get_page(page);
	piece->at[piece->nr++] = (struct ksm_replacement){
		.address = address,
		.page = page,
		.result = KSM_MERGED,
	};
}

static int find_in_table(pmd_t *pmd, unsigned long address, unsigned long end,
			 struct mm_walk *walk)
{
	struct ksm_unmerge *piece = walk->private;
	pte_t *start, *ptep;
	spinlock_t *ptl;	/* of the page table */

	piece->next = end;
	start = pte_offset_map_lock(walk->mm, pmd, address, &ptl);
	if (!start)
		return 1;
	for (ptep = start; address < end; ptep++, address += PAGE_SIZE) {
		pte_t pte = ptep_get(ptep);
		struct page *page = shared_page(piece, address, pte);

		piece->migrating = is_migrating(piece, pte);
		if (piece->migrating || piece->nr == KSM_UNMERGE_PAGES)
			break;
		if (page)
			add_shared(piece, address, page);
	}
	piece->next = address;
	pte_unmap_unlock(start, ptl);
	return 1;
}

static const struct mm_walk_ops find_ops = {
	.pmd_entry = find_in_table,
	.walk_lock = PGWALK_RDLOCK,
};

static bool maps_zero_page(const struct ksm_replacement *at)
{
	return is_zero_pfn(page_to_pfn(at->page));
}

/*
 * One call for all pages takes fewer instructions.  It uses the memory policy of the task.
 * So the pages of a VMA with a policy of its own are allocated one by one.
 */
static void fill_spare(struct ksm_unmerge *piece)
{
	unsigned int i, nr = 0;

	if (!vma_is_anonymous(piece->vma) || vma_policy(piece->vma))
		return;
	for (i = 0; i < piece->nr; i++)
		nr += !maps_zero_page(&piece->at[i]);
	if (nr)
		piece->nr_spare = alloc_pages_bulk_array_mempolicy(GFP_HIGHUSER_MOVABLE, nr,
								   piece->spare);
}

/* The bulk allocator fills only elements that are NULL, so a taken page is removed. */
static struct page *take_spare(struct ksm_unmerge *piece)
{
	struct page *page = piece->spare[--piece->nr_spare];

	piece->spare[piece->nr_spare] = NULL;
	return page;
}

static void free_spare(struct ksm_unmerge *piece)
{
	while (piece->nr_spare)
		__free_page(take_spare(piece));
}

static struct folio *alloc_folio(struct ksm_unmerge *piece, const struct ksm_replacement *at)
{
	if (maps_zero_page(at))
		return vma_alloc_zeroed_movable_folio(piece->vma, at->address);
	if (piece->nr_spare)
		return page_folio(take_spare(piece));
	return vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, piece->vma, at->address, false);
}

static struct folio *alloc_copy(struct ksm_unmerge *piece, const struct ksm_replacement *at)
{
	struct folio *copy = alloc_folio(piece, at);

	if (!copy)
		return ERR_PTR(-ENOMEM);
	if (mem_cgroup_charge(copy, piece->vma->vm_mm, GFP_KERNEL)) {
		folio_put(copy);
		return ERR_PTR(-ENOMEM);
	}
	if (!maps_zero_page(at) &&
	    copy_mc_user_highpage(&copy->page, at->page, at->address, piece->vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	folio_throttle_swaprate(copy, GFP_KERNEL);
	__folio_mark_uptodate(copy);
	return copy;
}

/* A poisoned page is left to the process that reads it. */
static int alloc_copies(struct ksm_unmerge *piece)
{
	int err = anon_vma_prepare(piece->vma);
	unsigned int i;

	if (!err)
		fill_spare(piece);
	for (i = 0; i < piece->nr; i++) {
		struct ksm_replacement *at = &piece->at[i];
		struct folio *copy;

		copy = err ? ERR_PTR(err) : alloc_copy(piece, at);
		if (!IS_ERR(copy)) {
			at->kpage = &copy->page;
			continue;
		}
		at->result = KSM_NO_MEMORY;
		if (copy == ERR_PTR(-ENOMEM))
			err = -ENOMEM;
	}
	free_spare(piece);
	return err;
}

/* As FAULT_FLAG_UNSHARE does it: the PTE of the copy is neither writable nor dirty. */
static void set_to_copy(struct vm_area_struct *vma, struct ksm_replacement *at,
			pte_t *ptep)
{
	pte_t pte = pte_sw_mkyoung(mk_pte(at->kpage, vma->vm_page_prot));
	struct folio *copy = page_folio(at->kpage);
	struct folio *old = page_folio(at->page);

	folio_add_new_anon_rmap(copy, vma, at->address, RMAP_EXCLUSIVE);
	folio_add_lru_vma(copy, vma);
	/* The PTE takes over the reference. */
	at->kpage = NULL;
	set_pte_at(vma->vm_mm, at->address, ptep, ksm_pte_keep_marks(pte, at->old));
	update_mmu_cache(vma, at->address, ptep);
	/* Each copy counts as the fault that would have made it. */
	current->min_flt++;
	if (maps_zero_page(at)) {
		ksm_might_unmap_zero_page(vma->vm_mm, at->old);
		inc_mm_counter(vma->vm_mm, MM_ANONPAGES);
	} else {
		folio_remove_rmap_pte(old, at->page, vma);
		folio_put(old);
	}
}

static void set_to_copies(const struct ksm_pte_batch *batch, pte_t *table)
{
	unsigned int i, nr_shared = 0;

	for (i = 0; i < batch->nr; i++) {
		struct ksm_replacement *at = &batch->at[i];

		if (at->result != KSM_MERGED)
			continue;
		set_to_copy(batch->vma, at, ksm_replacement_pte(table, at));
		nr_shared += !maps_zero_page(at);
	}
	count_vm_events(COW_KSM, nr_shared);
	count_memcg_events_mm(batch->vma->vm_mm, COW_KSM, nr_shared);
}

static void map_copies(const struct ksm_pte_batch *batch)
{
	struct mmu_notifier_range range;
	struct ksm_table_lock lock;

	ksm_notifier_range_init(batch, &range);
	mmu_notifier_invalidate_range_start(&range);
	if (ksm_lock_table(batch, &lock)) {
		ksm_clear_ptes(batch, lock.table);
		set_to_copies(batch, lock.table);
		ksm_unlock_table(&lock);
	}
	mmu_notifier_invalidate_range_end(&range);
}

/* PTEs that have changed since they were found are looked at again. */
static void release_piece(struct ksm_unmerge *piece)
{
	unsigned int i;

	for (i = 0; i < piece->nr; i++) {
		struct ksm_replacement *at = &piece->at[i];

		if (at->result == KSM_GONE)
			piece->next = min(piece->next, at->address);
		if (at->kpage)
			put_page(at->kpage);
		if (!maps_zero_page(at))
			free_swap_cache(page_folio(at->page));
		put_page(at->page);
	}
}

static int unmerge_piece(struct ksm_unmerge *piece)
{
	const struct ksm_pte_batch batch = {
		.vma = piece->vma, .at = piece->at, .nr = piece->nr,
	};
	int err = alloc_copies(piece);

	map_copies(&batch);
	release_piece(piece);
	return err;
}

/* The fault waits until the page has been migrated, and copies it. */
static int unmerge_by_fault(struct ksm_unmerge *piece)
{
	vm_fault_t fault = handle_mm_fault(piece->vma, piece->next,
					   FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE, NULL);

	if (fault & VM_FAULT_OOM)
		return -ENOMEM;
	/* The page is poisoned, or its backing was truncated: leave it. */
	if (fault & VM_FAULT_ERROR)
		piece->next += PAGE_SIZE;
	return 0;
}

static int break_piece(struct ksm_unmerge *piece, unsigned long start, unsigned long end)
{
	piece->next = end;
	piece->migrating = false;
	piece->nr = 0;
	walk_page_range_vma(piece->vma, start, end, &find_ops, piece);
	if (piece->nr)
		return unmerge_piece(piece);
	return piece->migrating ? unmerge_by_fault(piece) : 0;
}

static int break_range(struct vm_area_struct *vma, unsigned long start,
		       unsigned long end, bool killable)
{
	struct ksm_unmerge piece = { .vma = vma };
	int err = 0;

	mmap_assert_locked(vma->vm_mm);
	while (!err && start < end && !ksm_mm_exiting(vma->vm_mm)) {
		if (killable ? fatal_signal_pending(current) : signal_pending(current))
			return -ERESTARTSYS;
		err = break_piece(&piece, start, end);
		start = piece.next;
		cond_resched();
	}
	return err;
}

/**
 * ksm_break_range - give copies of shared pages to the mm that maps them
 * @vma: a mergeable VMA
 * @start: first address
 * @end: address behind the last
 *
 * Zero pages that KSM has mapped are replaced as well.
 *
 * Context: may sleep; mmap_lock held.  Where ksmd is not kept out by ksm.lock or
 * by holding mmap_lock for writing, pages may be merged behind the walk.
 * Return: 0, -ENOMEM, or -ERESTARTSYS where a signal has arrived.
 */
int ksm_break_range(struct vm_area_struct *vma, unsigned long start,
		    unsigned long end)
{
	return break_range(vma, start, end, false);
}

/**
 * ksm_exec_secure - end the mark that a program has inherited
 * @mm: the mm of a new program, which has gained privileges by exec
 *
 * Otherwise the user that set the mark could guess the memory of the program.  For
 * the same reason its cgroup does not mark it until the next exec.
 *
 * Context: may sleep; only the caller uses @mm, except for ksmd.
 * Return: 0; -EINTR, -ENOMEM or -ERESTARTSYS if the mark is still there.
 */
int ksm_exec_secure(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	int err = 0;

	VMA_ITERATOR(vmi, mm, 0);

	/* From here on, ksm_mark_by_cgroup() leaves the mm alone. */
	if (mmap_write_lock_killable(mm))
		return -EINTR;
	set_bit(MMF_VM_MERGE_OUT, &mm->flags);
	while (!err && (vma = ksm_next_vma(&vmi))) {
		vma_start_write(vma);
		if (vma->anon_vma)
			err = break_range(vma, vma->vm_start, vma->vm_end, true);
		if (!err)
			vm_flags_clear(vma, VM_MERGEABLE | VM_MERGE_CGROUP);
	}
	if (!err) {
		clear_bit(MMF_VM_MERGE_ANY, &mm->flags);
		clear_bit(MMF_VM_MERGE_CGROUP, &mm->flags);
	}
	mmap_write_unlock(mm);
	return err;
}

/**
 * ksm_break_foreign - give copies of shared pages of other domains to an mm
 * @vma: a mergeable VMA
 * @address: where to begin; set to where to go on
 * @keep: shared pages of this domain, and zero pages, stay
 * @deadline: local_clock() at which to pause
 *
 * Context: may sleep; under ksm.lock, mmap_lock held.
 * Return: 0, with *@address at the end of @vma if it is done; or -ENOMEM.
 */
int ksm_break_foreign(struct vm_area_struct *vma, unsigned long *address,
		      const struct ksm_domain *keep, u64 deadline)
{
	struct ksm_unmerge piece = { .vma = vma, .keep = keep };
	int err = 0;

	ksm_domain_assert_locked(keep);
	mmap_assert_locked(vma->vm_mm);
	while (!err && *address < vma->vm_end && local_clock() < deadline) {
		err = break_piece(&piece, *address, vma->vm_end);
		*address = piece.next;
	}
	return err;
}
