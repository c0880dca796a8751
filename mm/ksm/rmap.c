// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the reverse map of shared pages, and swap-in.
 *
 * A shared page belongs to no single anon_vma.  Its stable node has an rmap_item for
 * each mapping that was merged: the anon_vma, and the page offset in it.  VMAs that were
 * forked since then are in the same anon_vma at the same offset.
 */

#include <linux/ksm.h>
#include <linux/memcontrol.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "../internal.h"
#include "settings.h"
#include "slots.h"
#include "stable.h"
#include "swap.h"

/**
 * struct ksm_rmap_step - which VMAs of an anon_vma to visit, and what for
 * @folio: the shared page
 * @rwc: what the walk is for
 * @own: visit the VMA that was merged, or else those that were forked from it
 */
struct ksm_rmap_step {
	struct folio *folio;
	struct rmap_walk_control *rwc;
	bool own;
};

static bool vma_maps_item(const struct vm_area_struct *vma,
			  const struct ksm_rmap_item *item)
{
	return item->address >= vma->vm_start && item->address < vma->vm_end;
}

/* Returns false if the walk is over. */
static bool visit_vma(struct ksm_rmap_step *step, struct vm_area_struct *vma,
		      struct ksm_rmap_item *item)
{
	struct rmap_walk_control *rwc = step->rwc;
	bool own = vma->vm_mm == item->slot->slot.mm;

	if (!vma_maps_item(vma, item) || own != step->own)
		return true;
	if (rwc->invalid_vma && rwc->invalid_vma(vma, rwc->arg))
		return true;
	if (!rwc->rmap_one(step->folio, vma, item->address, rwc->arg))
		return false;
	return !rwc->done || !rwc->done(step->folio);
}

static bool lock_anon_vma(struct anon_vma *anon_vma, struct rmap_walk_control *rwc)
{
	if (anon_vma_trylock_read(anon_vma))
		return true;
	if (rwc->try_lock) {
		rwc->contended = true;
		return false;
	}
	anon_vma_lock_read(anon_vma);
	return true;
}

static bool visit_item(struct ksm_rmap_step *step, struct ksm_rmap_item *item)
{
	struct anon_vma_chain *avc;
	bool more = true;

	if (!lock_anon_vma(item->anon_vma, step->rwc))
		return false;
	anon_vma_interval_tree_foreach(avc, &item->anon_vma->rb_root,
				       item->index, item->index) {
		cond_resched();
		more = visit_vma(step, avc->vma, item);
		if (!more)
			break;
	}
	anon_vma_unlock_read(item->anon_vma);
	return more;
}

static bool visit_items(struct ksm_rmap_step *step, struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item;

	hlist_for_each_entry(item, &node->items, link) {
		cond_resched();
		if (!visit_item(step, item))
			return false;
	}
	return true;
}

/**
 * rmap_walk_ksm - visit the mappings of a shared page
 * @folio: the page, locked: that holds its rmap_items still
 * @rwc: what to do with each
 *
 * The VMAs that were merged come first; often there are no others, and the walk is over.
 * Each visit of an anon_vma looks up one page offset in its interval tree, however many
 * VMAs are in it.
 *
 * Context: may sleep.
 */
void rmap_walk_ksm(struct folio *folio, struct rmap_walk_control *rwc)
{
	struct ksm_rmap_step step = { .folio = folio, .rwc = rwc, .own = true };
	struct ksm_stable_node *node = ksm_folio_node(folio);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	if (!node || !visit_items(&step, node))
		return;
	step.own = false;
	visit_items(&step, node);
}

#ifdef CONFIG_MEMORY_FAILURE
/* Since the merge, a write may have given the VMA a copy. */
static bool vma_maps_folio(struct vm_area_struct *vma, struct folio *folio,
			   unsigned long address)
{
	DEFINE_FOLIO_VMA_WALK(pvmw, folio, vma, address, PVMW_SYNC);

	if (!page_vma_mapped_walk(&pvmw))
		return false;
	page_vma_mapped_walk_done(&pvmw);
	return true;
}

static void collect_procs_of_item(struct ksm_rmap_item *item, struct task_struct *task,
				  struct page *page, struct list_head *to_kill)
{
	struct anon_vma_chain *avc;

	anon_vma_interval_tree_foreach(avc, &item->anon_vma->rb_root,
				       item->index, item->index) {
		struct vm_area_struct *vma = avc->vma;

		if (vma->vm_mm == task->mm && vma_maps_item(vma, item) &&
		    vma_maps_folio(vma, page_folio(page), item->address))
			add_to_kill_ksm(task, page, vma, to_kill, item->address);
	}
}

/**
 * collect_procs_ksm - find the processes that map a poisoned shared page
 * @folio: the page, locked
 * @page: the same
 * @to_kill: list that they are added to
 * @force_early: add processes that did not ask for early signals, too
 *
 * Context: may sleep.
 */
void collect_procs_ksm(struct folio *folio, struct page *page,
		       struct list_head *to_kill, int force_early)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);
	struct ksm_rmap_item *item;
	struct task_struct *process;

	if (!node)
		return;
	hlist_for_each_entry(item, &node->items, link) {
		anon_vma_lock_read(item->anon_vma);
		rcu_read_lock();
		for_each_process(process) {
			struct task_struct *task = task_early_kill(process, force_early);

			if (task)
				collect_procs_of_item(item, task, page, to_kill);
		}
		rcu_read_unlock();
		anon_vma_unlock_read(item->anon_vma);
	}
}
#endif /* CONFIG_MEMORY_FAILURE */

#if defined(CONFIG_MIGRATION) || defined(CONFIG_MEMORY_FAILURE)
/**
 * folio_migrate_ksm - hand a stable node over to the new folio of a migration
 * @newfolio: the new folio, locked; its mapping has been copied
 * @folio: the old folio, locked
 *
 * Context: any.
 */
void folio_migrate_ksm(struct folio *newfolio, struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio);

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(newfolio->mapping != folio->mapping, newfolio);
	if (!node)
		return;
	WRITE_ONCE(node->kpfn, folio_pfn(newfolio));
	/*
	 * A reader that finds the old folio without the node must see the new PFN:
	 * pairs with smp_rmb() in ksm_stable_folio().
	 */
	smp_wmb();
	WRITE_ONCE(folio->mapping, (void *)PAGE_MAPPING_KSM);
}
#endif

/* The lock of the folio keeps its node. */
static bool in_domain(const struct folio *folio, struct mm_struct *mm)
{
	const struct ksm_stable_node *node = ksm_folio_node(folio);

	if (!node || READ_ONCE(ksm_settings.controls.merge_across_cgroups))
		return node;
	return ksm_slots_may_share(&ksm_slots, mm, node->domain);
}

/* Whether a page from swap can be mapped here as it is. */
static bool may_map_directly(struct folio *folio, struct vm_area_struct *vma,
			     unsigned long address)
{
	struct anon_vma *anon_vma = folio_anon_vma(folio);

	if (folio_test_large(folio))
		return true;
	if (folio_test_ksm(folio))
		return (vma->vm_flags & VM_MERGEABLE) && !ksm_unmerging() &&
		       in_domain(folio, vma->vm_mm);
	if (!anon_vma)
		return true;
	return folio->index == linear_page_index(vma, address) &&
	       anon_vma->root == vma->anon_vma->root;
}

static struct folio *alloc_copy(struct vm_area_struct *vma, unsigned long address)
{
	struct folio *copy = vma_alloc_folio(GFP_HIGHUSER_MOVABLE, 0, vma, address, false);

	if (copy && mem_cgroup_charge(copy, vma->vm_mm, GFP_KERNEL)) {
		folio_put(copy);
		return NULL;
	}
	return copy;
}

/**
 * ksm_might_need_to_copy - copy a page from swap if it cannot be mapped as it is
 * @folio: the page, locked
 * @vma: the VMA that is to map it
 * @addr: the user address
 *
 * A shared page becomes shared again.  A process that may not share it gets a copy.
 *
 * A page that has lost its stable node belongs to the anon_vma of the first process
 * that faults it in.  A process that shared it from another, or at another offset,
 * gets a copy, which a later pass may merge again.
 *
 * Context: may sleep; mmap_lock or the lock of @vma held.
 * Return: @folio; a copy, locked and up to date; NULL for want of memory;
 * ERR_PTR(-EHWPOISON) where the page cannot be read.
 */
struct folio *ksm_might_need_to_copy(struct folio *folio,
				     struct vm_area_struct *vma, unsigned long addr)
{
	struct page *page = folio_page(folio, 0);
	struct folio *copy;

	ksm_swap_in(folio);
	if (may_map_directly(folio, vma, addr))
		return folio;
	if (PageHWPoison(page))
		return ERR_PTR(-EHWPOISON);
	/* The caller finds out and reports the error. */
	if (!folio_test_uptodate(folio))
		return folio;
	copy = alloc_copy(vma, addr);
	if (!copy)
		return NULL;
	if (copy_mc_user_highpage(folio_page(copy, 0), page, addr, vma)) {
		folio_put(copy);
		return ERR_PTR(-EHWPOISON);
	}
	folio_set_dirty(copy);
	__folio_mark_uptodate(copy);
	__folio_set_locked(copy);
#ifdef CONFIG_SWAP
	count_vm_event(KSM_SWPIN_COPY);
	count_memcg_event_mm(vma->vm_mm, KSM_SWPIN_COPY);
#endif
	return copy;
}
