// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: shared pages in swap.
 *
 * When the folio of a shared page leaves the swap cache, its stable node is kept under
 * the swap entry.  When a folio with that entry is read in, it becomes the page of the
 * node before it is mapped.  When the entry is freed, the node is dropped: the next
 * page with that entry is another one.
 *
 * A node is here only while its page is in no folio that was mapped.  So the content
 * of the entry is that of the shared page, which nothing can write to.
 *
 * A node here has an rmap_item.  Without one, the reverse map would not find the
 * mappings of the page when it is back: such a page comes back as an ordinary one.
 * So does one for which there was no memory here.
 *
 * Reclaim and faults cannot take ksm.lock.  They change only the place of a node.  If
 * the page of a node is neither in a folio nor here, the page has gone, and ksmd frees
 * the node in a later pass.
 */

#include <linux/ksm.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/swap.h>
#include <linux/xarray.h>

#include "settings.h"
#include "stable.h"
#include "swap.h"

/* The swap cache takes its nodes like this.  Nothing may be reclaimed here. */
#define KSM_SWAP_GFP		(__GFP_HIGH | __GFP_NOMEMALLOC | __GFP_NOWARN)

/*
 * The nodes by the value of the swap entry.  Reclaim comes here with the lock of the
 * swap cache, so interrupts are off.
 */
static DEFINE_XARRAY_FLAGS(swapped_nodes, XA_FLAGS_LOCK_IRQ);

/**
 * ksm_swap_lock - keep nodes from going to swap and from coming back
 *
 * Context: any but interrupts.
 * Return: what to pass to ksm_swap_unlock().
 */
unsigned long ksm_swap_lock(void)
	__acquires(&swapped_nodes.xa_lock)
{
	unsigned long flags;

	xa_lock_irqsave(&swapped_nodes, flags);
	return flags;
}

/**
 * ksm_swap_unlock - undo ksm_swap_lock()
 * @flags: what that returned
 */
void ksm_swap_unlock(unsigned long flags)
	__releases(&swapped_nodes.xa_lock)
{
	xa_unlock_irqrestore(&swapped_nodes, flags);
}

/* The node stays without a page, unless the caller gives it one. */
static struct ksm_stable_node *take_node(swp_entry_t entry)
{
	struct ksm_stable_node *node = __xa_erase(&swapped_nodes, entry.val);

	if (node)
		WRITE_ONCE(node->swap.val, 0);
	return node;
}

/**
 * ksm_swap_drop - a page in swap is shared no more
 * @node: its node, which has no page from here on
 *
 * Context: under ksm_swap_lock().
 */
void ksm_swap_drop(struct ksm_stable_node *node)
{
	lockdep_assert_held(&swapped_nodes.xa_lock);
	take_node(node->swap);
}

/**
 * ksm_node_in_swap - whether a stable node is kept under a swap entry
 * @node: its node
 *
 * Context: under ksm.lock.  The page may come back at any moment.
 * Return: true if it is.
 */
bool ksm_node_in_swap(struct ksm_stable_node *node)
{
	unsigned long flags = ksm_swap_lock();
	bool in_swap = node->swap.val;

	ksm_swap_unlock(flags);
	return in_swap;
}

/**
 * ksm_node_has_entry - whether a swap entry stands for a shared page
 * @node: the node of the page
 * @entry: the entry that a PTE has
 *
 * Context: under ksm.lock.  This is a hint: the page may come back or go.
 * Return: true if the page is in swap, or in the swap cache, under @entry.
 */
bool ksm_node_has_entry(const struct ksm_stable_node *node, swp_entry_t entry)
{
	const unsigned long swap = READ_ONCE(node->swap.val);
	const unsigned long kpfn = READ_ONCE(node->kpfn);
	struct folio *folio;

	if (swap)
		return swap == entry.val;
	if (kpfn == KSM_NO_PFN)
		return false;
	folio = pfn_folio(kpfn);
	return READ_ONCE(folio->mapping) == ksm_node_mapping(node) &&
	       folio_test_swapcache(folio) && READ_ONCE(folio->swap.val) == entry.val;
}

/**
 * ksm_swap_out - keep the stable node of a page that leaves the swap cache
 * @folio: a KSM page, clean, locked, its references frozen, still in the swap cache
 *
 * The folio forgets its node, if the node is kept.
 *
 * Context: reclaim; the lock of the swap cache held, interrupts off.
 */
void ksm_swap_out(struct folio *folio)
{
	struct ksm_stable_node *node = ksm_folio_node(folio), *old;
	unsigned long flags;

	VM_WARN_ON_ONCE_FOLIO(!folio_test_locked(folio), folio);
	VM_WARN_ON_ONCE_FOLIO(folio_test_dirty(folio), folio);
	if (!node || !node->nr_items || folio_test_hwpoison(folio))
		return;
	flags = ksm_swap_lock();
	old = __xa_store(&swapped_nodes, folio->swap.val, node, KSM_SWAP_GFP);
	if (!xa_is_err(old)) {
		if (WARN_ON_ONCE(old))
			WRITE_ONCE(old->swap.val, 0);
		WRITE_ONCE(node->swap.val, folio->swap.val);
		WRITE_ONCE(node->kpfn, KSM_NO_PFN);
		WRITE_ONCE(folio->mapping, (void *)PAGE_MAPPING_KSM);
	}
	ksm_swap_unlock(flags);
	/*
	 * A look-up that finds the folio out of the swap cache has to see the new
	 * place: pairs with smp_rmb() in ksm_stable_folio().
	 */
	smp_wmb();
}

/* Under ksm_swap_lock(). */
static void give_page(struct ksm_stable_node *node, struct folio *folio)
{
	WRITE_ONCE(node->kpfn, folio_pfn(folio));
	WRITE_ONCE(folio->mapping, ksm_node_mapping(node));
	/* Pairs with smp_load_acquire() in ksm_stable_folio(). */
	smp_store_release(&node->swapins, node->swapins + 1);
}

/**
 * ksm_swap_in - make a page that was read from swap a shared page again
 * @folio: the page, locked; about to be mapped
 *
 * Does nothing to a page that was not shared.  The node is dropped from the entry in any
 * case: if the page does not become shared, it may be written to.
 *
 * Context: a page fault or swapoff; takes no sleeping lock.
 */
void ksm_swap_in(struct folio *folio)
{
	struct ksm_stable_node *node;
	unsigned long flags;

	if (folio->mapping || folio_test_large(folio) || !folio_test_swapcache(folio) ||
	    !folio_test_uptodate(folio) || !xa_load(&swapped_nodes, folio->swap.val))
		return;
	flags = ksm_swap_lock();
	node = take_node(folio->swap);
	if (node && !ksm_unmerging() && !folio_test_hwpoison(folio))
		give_page(node, folio);
	ksm_swap_unlock(flags);
}

/**
 * ksm_swap_free - swap entries are freed, and may be used for other pages
 * @entry: the first
 * @nr: how many
 *
 * Context: swap_info_struct.lock held.
 */
void ksm_swap_free(swp_entry_t entry, unsigned int nr)
{
	unsigned long flags;

	if (xa_empty(&swapped_nodes))
		return;
	for (; nr; nr--, entry.val++) {
		if (!xa_load(&swapped_nodes, entry.val))
			continue;
		flags = ksm_swap_lock();
		take_node(entry);
		ksm_swap_unlock(flags);
	}
}
