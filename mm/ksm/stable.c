// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: the index of shared pages, also called the stable tree.
 *
 * The tree is ordered by fingerprint, so a search reads no page.  The caller
 * compares contents before anything is mapped.  While merge_across_nodes is 0, the
 * number of the NUMA node is part of the key, so one tree serves all nodes.
 *
 * max_page_sharing bounds the rmap_items of a node, and so the length of a walk of
 * the reverse map.  A page with more duplicates has several nodes: the first is in
 * the tree, the others (dups) are in a ring with it.  Dups with room come before
 * those without, so a search reads at most two nodes.
 *
 * A node holds no reference to its page.  The page may be freed at any moment, so
 * reclaim need not wait for ksmd.  The page points back at the node for as long as
 * the two belong together; ksm_stable_folio() checks that.
 */

#include <linux/bug.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <trace/events/ksm.h>

#include "domain.h"
#include "slots.h"
#include "stable.h"
#include "swap.h"

/* Most dups that a search looks through for pages that have gone. */
#define KSM_PRUNE_NODES		256

/**
 * ksm_stable_find - look for a content
 * @domain: the trees
 * @key: from ksm_key_on_node()
 *
 * Context: under ksm.lock.  Touches no page.
 * Return: the first node of that content, or NULL.
 */
struct ksm_stable_node *ksm_stable_find(const struct ksm_domain *domain, u64 key)
{
	struct rb_node *rb = domain->stable.rb_node;

	while (rb) {
		struct ksm_stable_node *node;

		node = rb_entry(rb, struct ksm_stable_node, rb);
		if (key == node->key)
			return node;
		rb = key < node->key ? rb->rb_left : rb->rb_right;
	}
	return NULL;
}

static bool has_room(const struct ksm_domain *domain, const struct ksm_stable_node *node)
{
	return node->nr_items < domain->controls->max_page_sharing;
}

static void chain_link(struct ksm_domain *domain, struct ksm_stable_node *first,
		       struct ksm_stable_node *node)
{
	if (list_empty(&first->dups)) {
		domain->counters.chains++;
		domain->counters.dups++;
	}
	domain->counters.dups++;
	if (has_room(domain, node))
		list_add(&node->dups, &first->dups);
	else
		list_add_tail(&node->dups, &first->dups);
}

static void node_link(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	struct rb_node **link = &domain->stable.rb_node;
	struct rb_node *parent = NULL;

	INIT_LIST_HEAD(&node->dups);
	while (*link) {
		struct ksm_stable_node *other;

		parent = *link;
		other = rb_entry(parent, struct ksm_stable_node, rb);
		if (node->key == other->key) {
			node->in_tree = false;
			chain_link(domain, other, node);
			return;
		}
		link = node->key < other->key ? &parent->rb_left : &parent->rb_right;
	}
	rb_link_node(&node->rb, parent, link);
	rb_insert_color(&node->rb, &domain->stable);
	node->in_tree = true;
}

static void node_unlink(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	struct ksm_stable_node *heir;

	if (node->parked) {
		list_del_init(&node->dups);
		node->parked = false;
		return;
	}
	if (list_empty(&node->dups)) {
		rb_erase(&node->rb, &domain->stable);
		return;
	}
	heir = list_first_entry(&node->dups, struct ksm_stable_node, dups);
	if (node->in_tree) {
		rb_replace_node(&node->rb, &heir->rb, &domain->stable);
		heir->in_tree = true;
		heir->pruned = node->pruned;
	}
	list_del_init(&node->dups);
	domain->counters.dups--;
	if (list_empty(&heir->dups)) {
		domain->counters.chains--;
		domain->counters.dups--;
	}
}

/*
 * A page in swap cannot be compared, and so not be found.  Other pages with its content
 * may be merged meanwhile.
 */
static void node_park(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	node_unlink(domain, node);
	list_add(&node->dups, &domain->parked);
	node->in_tree = false;
	node->parked = true;
}

/**
 * ksm_node_note_keys - add the keys of a stable node to the filter
 * @filter: the filter
 * @node: the node
 *
 * Context: under ksm.lock.
 */
void ksm_node_note_keys(struct ksm_filter *filter, const struct ksm_stable_node *node)
{
	ksm_filter_set_repeated(filter, ksm_tag(node->key));
	if (node->key != node->sample)
		ksm_filter_set_ambiguous(filter, ksm_tag(node->sample));
}

/**
 * ksm_stable_insert - add a page to the stable tree
 * @domain: the trees
 * @node: new; filled in
 * @folio: the page, which only the caller uses
 * @key: from ksm_key_on_node() for the NUMA node of @folio, of all it holds, or
 *       @sample where no other content is known to have that
 * @sample: likewise, of the sample
 *
 * Cannot fail, so that the folio may be made to point at the node afterwards.
 *
 * Context: under ksm.lock.
 */
void ksm_stable_insert(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct folio *folio, u64 key, u64 sample)
{
	node->domain = domain->id;
	node->nid = ksm_page_nid(domain, &folio->page);
	node->key = key;
	node->sample = sample;
	node->kpfn = folio_pfn(folio);
	node->pruned = jiffies;
	node_link(domain, node);
	list_add(&node->unmapped, &domain->unmapped);
	ksm_node_note_keys(&domain->filter, node);
}

/**
 * ksm_stable_relink - let a page be found by other keys
 * @domain: the trees
 * @node: a stable node, in the tree or parked
 * @folio: its page
 * @key: as for ksm_stable_insert()
 * @sample: likewise
 *
 * Context: under ksm.lock.
 */
void ksm_stable_relink(struct ksm_domain *domain, struct ksm_stable_node *node,
		       const struct folio *folio, u64 key, u64 sample)
{
	node_unlink(domain, node);
	node->nid = ksm_page_nid(domain, &folio->page);
	node->key = key;
	node->sample = sample;
	node_link(domain, node);
	ksm_node_note_keys(&domain->filter, node);
}

/**
 * ksm_stable_set_key - let pages with a content be found by another key
 * @domain: the trees
 * @from: the key by which they are found now
 * @to: the key to be
 * @nr: for how many pages to do so at most
 *
 * Context: under ksm.lock.
 */
void ksm_stable_set_key(struct ksm_domain *domain, u64 from, u64 to, unsigned int nr)
{
	struct ksm_stable_node *node;

	for (; nr && (node = ksm_stable_find(domain, from)); nr--) {
		node_unlink(domain, node);
		node->key = to;
		node_link(domain, node);
		ksm_node_note_keys(&domain->filter, node);
	}
}

static struct ksm_rmap_item *first_item(const struct ksm_stable_node *node)
{
	return hlist_entry_safe(node->items.first, struct ksm_rmap_item, link);
}

static void item_remove(struct ksm_domain *domain, struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = item->node;
	struct mm_struct *mm = item->slot->slot.mm;
	struct ksm_rmap_item *saving = item;

	if (item == first_item(node))
		saving = hlist_entry_safe(item->link.next, struct ksm_rmap_item, link);
	trace_ksm_remove_rmap_item(node->kpfn, item, mm);
	hlist_del(&item->link);
	item->node = NULL;
	mm->ksm_merging_pages--;
	node->nr_items--;
	if (saving) {
		saving->slot->nr_sharing--;
		domain->counters.sharing--;
	} else {
		domain->counters.shared--;
	}
}

/* All rmap_items of a node: one of them counts as shared, the others as sharing. */
static void items_remove(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item = first_item(node);

	if (!item)
		return;
	item->slot->nr_sharing++;
	domain->counters.shared--;
	domain->counters.sharing -= node->nr_items - 1;
	hlist_for_each_entry(item, &node->items, link) {
		trace_ksm_remove_rmap_item(node->kpfn, item, item->slot->slot.mm);
		item->node = NULL;
		item->slot->slot.mm->ksm_merging_pages--;
		item->slot->nr_sharing--;
	}
	INIT_HLIST_HEAD(&node->items);
	node->nr_items = 0;
}

/**
 * ksm_node_remove - free a node whose page has gone or no longer points at it
 * @domain: the trees and counters
 * @node: the node; its rmap_items stay with their records, without a node
 *
 * Context: under ksm.lock.
 */
void ksm_node_remove(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	VM_WARN_ON_ONCE(ksm_node_in_swap(node));
	items_remove(domain, node);
	trace_ksm_remove_ksm_page(node->kpfn);
	node_unlink(domain, node);
	list_del(&node->unmapped);
	ksm_node_free(node);
}

/* A reference to the folio, if it still points at the node. */
static struct folio *folio_get_of_node(struct folio *folio, const void *mapping)
{
	while (READ_ONCE(folio->mapping) == mapping) {
		if (folio_try_get(folio)) {
			if (READ_ONCE(folio->mapping) == mapping)
				return folio;
			folio_put(folio);
			return NULL;
		}
		/*
		 * A page that is being freed has no references.  But migration
		 * also freezes those of a page in the swap cache, and that page or
		 * its new copy still belongs to the node.  Pairs with the barrier
		 * of folio_ref_freeze(): a failed folio_try_get() orders nothing,
		 * and the page may just have entered the swap cache.
		 */
		smp_rmb();
		if (!folio_test_swapcache(folio))
			return NULL;
		cpu_relax();
	}
	return NULL;
}

static struct folio *folio_lock_of_node(struct folio *folio, const void *mapping,
					enum ksm_folio_lock lock)
{
	if (lock == KSM_FOLIO_NOLOCK)
		return folio;
	if (lock == KSM_FOLIO_LOCK) {
		folio_lock(folio);
	} else if (!folio_trylock(folio)) {
		folio_put(folio);
		return ERR_PTR(-EBUSY);
	}
	if (READ_ONCE(folio->mapping) == mapping)
		return folio;
	folio_unlock(folio);
	folio_put(folio);
	return NULL;
}

/**
 * ksm_stable_folio - the page of a stable node, with a reference
 * @domain: the trees
 * @node: a node; freed, with its rmap_items unlinked, where its page has gone
 * @lock: what to do about the lock of the folio
 *
 * The node of a page in swap stays with its rmap_items, but leaves the tree until
 * ksm_stable_relink().
 *
 * Context: may sleep with KSM_FOLIO_LOCK; under ksm.lock.
 * Return: the folio, NULL where it has gone and @node with it, or is in swap, or
 * ERR_PTR(-EBUSY) where KSM_FOLIO_TRYLOCK found it locked.
 */
struct folio *ksm_stable_folio(struct ksm_domain *domain,
			       struct ksm_stable_node *node,
			       enum ksm_folio_lock lock)
{
	const void *mapping = ksm_node_mapping(node);
	unsigned long kpfn;
	u16 swapins;

	ksm_domain_assert_locked(domain);
	do {
		struct folio *folio = NULL;

		/* The page may have gone to swap and returned to the same place. */
		swapins = smp_load_acquire(&node->swapins);
		kpfn = READ_ONCE(node->kpfn);
		if (kpfn != KSM_NO_PFN)
			folio = folio_get_of_node(pfn_folio(kpfn), mapping);
		if (folio)
			folio = folio_lock_of_node(folio, mapping, lock);
		if (folio)
			return folio;
		/*
		 * The folio had gone, or migration or swap-out has made it forget
		 * the node: pairs with smp_wmb() in folio_migrate_ksm() and
		 * ksm_swap_out(), so that the new place is seen once the folio was
		 * seen to have forgotten.
		 */
		smp_rmb();
		if (ksm_node_in_swap(node)) {
			node_park(domain, node);
			return NULL;
		}
	} while (READ_ONCE(node->kpfn) != kpfn || READ_ONCE(node->swapins) != swapins);
	ksm_node_remove(domain, node);
	return NULL;
}

static void chain_prune(struct ksm_domain *domain, struct ksm_stable_node *first)
{
	struct ksm_stable_node *node, *next;
	unsigned int visited = 0;

	if (list_empty(&first->dups) ||
	    time_before(jiffies, first->pruned +
			msecs_to_jiffies(READ_ONCE(domain->controls->prune_millisecs))))
		return;
	first->pruned = jiffies;
	list_for_each_entry_safe(node, next, &first->dups, dups) {
		struct folio *folio = ksm_stable_folio(domain, node, KSM_FOLIO_NOLOCK);

		if (folio)
			folio_put(folio);
		cond_resched();
		if (++visited == KSM_PRUNE_NODES)
			break;
	}
}

static struct ksm_stable_node *chain_room(const struct ksm_domain *domain,
					  struct ksm_stable_node *first)
{
	struct ksm_stable_node *node;

	if (has_room(domain, first))
		return first;
	if (list_empty(&first->dups))
		return NULL;
	node = list_first_entry(&first->dups, struct ksm_stable_node, dups);
	return has_room(domain, node) ? node : NULL;
}

/**
 * ksm_folio_disown_node - take a page that nothing maps out of the stable tree
 * @domain: the trees and counters
 * @node: its node, freed
 * @folio: the page, locked
 *
 * Context: under ksm.lock.
 */
void ksm_folio_disown_node(struct ksm_domain *domain, struct ksm_stable_node *node,
			   struct folio *folio)
{
	WRITE_ONCE(folio->mapping, (void *)PAGE_MAPPING_KSM);
	ksm_node_remove(domain, node);
}

/**
 * ksm_drop_if_hwpoison - stop the use of a shared page that is poisoned
 * @domain: the trees and counters
 * @node: its node
 * @folio: the page, with a reference, not locked
 *
 * A poisoned page is neither read nor mapped anew.  While it is mapped, its node is
 * needed to find the processes to be told.
 *
 * Context: under ksm.lock.
 * Return: @folio where it is sound.  Else the reference is dropped; NULL where the
 * node is freed, ERR_PTR(-EBUSY) where it stays.
 */
struct folio *ksm_drop_if_hwpoison(struct ksm_domain *domain,
				   struct ksm_stable_node *node, struct folio *folio)
{
	struct folio *left = ERR_PTR(-EBUSY);

	if (!folio_test_hwpoison(folio))
		return folio;
	if (folio_trylock(folio)) {
		if (!folio_mapped(folio)) {
			ksm_folio_disown_node(domain, node, folio);
			left = NULL;
		}
		folio_unlock(folio);
	}
	folio_put(folio);
	return left;
}

/**
 * ksm_stable_candidate - find a shared page by its key
 * @domain: the trees
 * @key: from ksm_key_on_node()
 * @has_room: set to whether one more mapping may share the page
 *
 * Context: may sleep; under ksm.lock.
 * Return: a folio with a reference, NULL where there is none, or ERR_PTR(-EBUSY)
 * where it is poisoned.
 */
struct folio *ksm_stable_candidate(struct ksm_domain *domain, u64 key, bool *has_room)
{
	struct ksm_stable_node *first, *node;
	struct folio *folio = NULL;

	while (!folio) {
		first = ksm_stable_find(domain, key);
		if (!first)
			return NULL;
		chain_prune(domain, first);
		node = chain_room(domain, first);
		*has_room = node;
		node = node ?: first;
		folio = ksm_stable_folio(domain, node, KSM_FOLIO_NOLOCK);
		if (folio)
			folio = ksm_drop_if_hwpoison(domain, node, folio);
	}
	return folio;
}

/* Keep the dups with room in front. */
static void chain_sort(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	struct ksm_stable_node *first;

	if (node->in_tree || node->parked)
		return;
	first = ksm_stable_find(domain, node->key);
	if (WARN_ON_ONCE(!first))
		return;
	if (has_room(domain, node))
		list_move(&node->dups, &first->dups);
	else
		list_move_tail(&node->dups, &first->dups);
}

/**
 * ksm_stable_append - note one more mapping of a shared page
 * @domain: the trees and counters
 * @node: its node
 * @item: the mapping, complete but for @node
 *
 * Context: under ksm.lock, with the folio locked against reverse map walks.
 */
void ksm_stable_append(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct ksm_rmap_item *item)
{
	struct ksm_rmap_item *saving;

	ksm_domain_assert_locked(domain);
	item->node = node;
	saving = first_item(node);
	hlist_add_head(&item->link, &node->items);
	item->slot->slot.mm->ksm_merging_pages++;
	domain->counters.changed++;
	node->nr_items++;
	if (saving) {
		saving->slot->nr_sharing++;
		domain->counters.sharing++;
	} else {
		domain->counters.shared++;
		list_del_init(&node->unmapped);
	}
	if (node->nr_items == domain->controls->max_page_sharing)
		chain_sort(domain, node);
}

/*
 * A page in swap has no folio to lock.  Its node stays in swap while the entries are
 * locked, so no reverse map walk can begin.  Returns false where it is not in swap.
 */
static bool detach_in_swap(struct ksm_domain *domain, struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = item->node;
	unsigned long flags = ksm_swap_lock();
	bool in_swap = node->swap.val;

	if (in_swap) {
		item_remove(domain, item);
		if (!node->nr_items)
			ksm_swap_drop(node);
	}
	ksm_swap_unlock(flags);
	if (in_swap && !node->nr_items)
		ksm_node_remove(domain, node);
	return in_swap;
}

/**
 * ksm_stable_detach - a mapping no longer shares its page
 * @domain: the trees and counters
 * @item: the mapping
 *
 * Context: may sleep; under ksm.lock.
 */
void ksm_stable_detach(struct ksm_domain *domain, struct ksm_rmap_item *item)
{
	struct ksm_stable_node *node = item->node;
	struct folio *folio = NULL;

	while (item->node && !folio) {
		folio = ksm_stable_folio(domain, node, KSM_FOLIO_LOCK);
		if (!folio && item->node && detach_in_swap(domain, item))
			return;
	}
	if (!folio)
		return;
	item_remove(domain, item);
	folio_unlock(folio);
	folio_put(folio);
	if (!node->nr_items)
		list_add(&node->unmapped, &domain->unmapped);
	if (node->nr_items == domain->controls->max_page_sharing - 1)
		chain_sort(domain, node);
}

#include "tests/stable-kunit.h"
