// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: walks over all nodes of the stable tree.
 */

#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched.h>

#include "domain.h"
#include "stable.h"

/* Nodes that one step of reaping visits. */
#define KSM_REAP_NODES		50

/**
 * ksm_stable_reap_step - free some nodes whose page has gone after its mappings
 * @domain: the trees
 *
 * A node outlives its last rmap_item while a fork that no scan has seen maps the
 * page, and while the page is in the swap cache.
 *
 * Context: any task context; under ksm.lock.
 * Return: true if more nodes are to be visited in this round.
 */
bool ksm_stable_reap_step(struct ksm_domain *domain)
{
	unsigned int i;

	ksm_domain_assert_locked(domain);
	if (list_empty(&domain->to_reap))
		list_splice_init(&domain->unmapped, &domain->to_reap);
	for (i = 0; i < KSM_REAP_NODES && !list_empty(&domain->to_reap); i++) {
		struct ksm_stable_node *node;
		struct folio *folio;

		node = list_first_entry(&domain->to_reap, struct ksm_stable_node, unmapped);
		list_move_tail(&node->unmapped, &domain->unmapped);
		folio = ksm_stable_folio(domain, node, KSM_FOLIO_NOLOCK);
		if (folio)
			folio = ksm_drop_if_hwpoison(domain, node, folio);
		if (!IS_ERR_OR_NULL(folio))
			folio_put(folio);
	}
	return !list_empty(&domain->to_reap);
}

/* A page that nothing maps may still wait to be freed, or be swapped out. */
static bool node_free_unmapped(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	struct folio *folio = ksm_stable_folio(domain, node, KSM_FOLIO_LOCK);
	bool mapped;

	if (!folio)
		return true;
	mapped = folio_mapped(folio);
	if (!mapped)
		ksm_folio_disown_node(domain, node, folio);
	folio_unlock(folio);
	folio_put(folio);
	return !mapped;
}

/* The node in the tree goes last, so that the ring can be walked from it. */
static bool chain_free_unmapped(struct ksm_domain *domain, struct ksm_stable_node *first)
{
	struct ksm_stable_node *node, *next;
	bool cleared = true;

	list_for_each_entry_safe(node, next, &first->dups, dups) {
		cleared &= node_free_unmapped(domain, node);
		cond_resched();
	}
	return node_free_unmapped(domain, first) && cleared;
}

/* Pages in swap have rmap_items, so these are back from there, or have gone. */
static bool parked_free_unmapped(struct ksm_domain *domain)
{
	struct ksm_stable_node *node, *next;
	bool cleared = true;

	list_for_each_entry_safe(node, next, &domain->parked, dups) {
		cleared &= node_free_unmapped(domain, node);
		cond_resched();
	}
	return cleared;
}

/**
 * ksm_stable_clear - empty the stable tree of what is mapped no more
 * @domain: the trees; the nodes have no rmap_items, except those of pages that are
 *          still mapped
 *
 * Context: may sleep; under ksm.lock.
 * Return: false where a page is still mapped, by a process that is exiting or
 * by one that was not to be unmerged.
 */
bool ksm_stable_clear(struct ksm_domain *domain)
{
	struct rb_node *rb, *behind;
	bool cleared = true;

	for (rb = rb_first(&domain->stable); rb; rb = behind) {
		behind = rb_next(rb);
		cleared &= chain_free_unmapped(domain, rb_entry(rb, struct ksm_stable_node, rb));
		cond_resched();
	}
	return parked_free_unmapped(domain) && cleared;
}

static void forget_if_in(struct ksm_domain *domain, struct ksm_stable_node *node,
			 unsigned long start, unsigned long end)
{
	const unsigned long kpfn = READ_ONCE(node->kpfn);

	if (kpfn >= start && kpfn < end)
		ksm_node_remove(domain, node);
}

/**
 * ksm_stable_forget_pfns - drop the nodes of memory that has gone offline
 * @domain: the trees
 * @start: first page frame
 * @end: page frame behind the last
 *
 * The pages must not be accessed any more, not even by a lock-free look-up.
 *
 * Context: may sleep; nothing else may use the trees.
 */
void ksm_stable_forget_pfns(struct ksm_domain *domain, unsigned long start,
			    unsigned long end)
{
	struct ksm_stable_node *first, *node, *next;
	struct rb_node *rb, *behind;

	for (rb = rb_first(&domain->stable); rb; rb = behind) {
		behind = rb_next(rb);
		first = rb_entry(rb, struct ksm_stable_node, rb);
		list_for_each_entry_safe(node, next, &first->dups, dups)
			forget_if_in(domain, node, start, end);
		forget_if_in(domain, first, start, end);
		cond_resched();
	}
	list_for_each_entry_safe(node, next, &domain->parked, dups)
		forget_if_in(domain, node, start, end);
}

/* The first node, in the order of keys, whose key is not less than @key. */
static struct rb_node *first_from(const struct rb_root *root, u64 key)
{
	struct rb_node *rb = root->rb_node, *first = NULL;

	while (rb) {
		if (rb_entry(rb, struct ksm_stable_node, rb)->key < key) {
			rb = rb->rb_right;
		} else {
			first = rb;
			rb = rb->rb_left;
		}
	}
	return first;
}

/**
 * ksm_stable_fill_filter - add the tags of some shared pages to the filter
 * @domain: the stable tree and the filter
 * @key: the least key to begin with; set to the one to go on with
 * @nr: most contents to go through
 *
 * Contents that are added to the stable tree meanwhile add their tags themselves.
 *
 * Context: any; under ksm.lock.
 * Return: true if there is more to do.
 */
bool ksm_stable_fill_filter(struct ksm_domain *domain, u64 *key, unsigned int nr)
{
	struct rb_node *rb;

	for (rb = first_from(&domain->stable, *key); rb; rb = rb_next(rb)) {
		struct ksm_stable_node *node = rb_entry(rb, struct ksm_stable_node, rb);

		if (!nr--) {
			*key = node->key;
			return true;
		}
		ksm_node_note_keys(&domain->filter, node);
	}
	return false;
}
