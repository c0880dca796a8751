// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: allocation of stable nodes and rmap_items.
 */

#include <linux/rmap.h>
#include <linux/slab.h>

#include "stable.h"

/*
 * Merging frees more memory than this takes.  So reserves may be used, and a memory
 * cgroup may exceed its limit, but nothing is reclaimed and no process is killed.
 */
#define KSM_STABLE_GFP		(__GFP_HIGH | __GFP_NOWARN)

static struct kmem_cache *node_cache;
static struct kmem_cache *item_cache;

/**
 * ksm_stable_init - create the caches
 *
 * Context: once, at boot.
 * Return: 0, or -ENOMEM.
 */
int __init ksm_stable_init(void)
{
	node_cache = KMEM_CACHE(ksm_stable_node, SLAB_ACCOUNT);
	item_cache = KMEM_CACHE(ksm_rmap_item, SLAB_ACCOUNT);
	if (node_cache && item_cache)
		return 0;
	kmem_cache_destroy(node_cache);
	kmem_cache_destroy(item_cache);
	return -ENOMEM;
}

/**
 * ksm_node_alloc - allocate a stable node
 *
 * Context: any; it is charged to the active memory cgroup.
 * Return: the node, in no tree, or NULL.
 */
struct ksm_stable_node *ksm_node_alloc(void)
{
	return kmem_cache_zalloc(node_cache, KSM_STABLE_GFP);
}

/**
 * ksm_node_free - free a stable node
 * @node: in no tree and without rmap_items, or NULL
 */
void ksm_node_free(struct ksm_stable_node *node)
{
	if (node)
		kmem_cache_free(node_cache, node);
}

/**
 * ksm_item_alloc - allocate an rmap_item
 *
 * Context: any; it is charged to the active memory cgroup.
 * Return: the rmap_item, of no node, or NULL.
 */
struct ksm_rmap_item *ksm_item_alloc(void)
{
	struct ksm_rmap_item *item = kmem_cache_alloc(item_cache, KSM_STABLE_GFP);

	/* A few stores: memset() would take longer. */
	if (item)
		*item = (struct ksm_rmap_item){};
	return item;
}

/**
 * ksm_item_free - free an rmap_item and the reference to its anon_vma
 * @item: of no node any more, or NULL
 *
 * Context: may sleep.
 */
void ksm_item_free(struct ksm_rmap_item *item)
{
	if (!item)
		return;
	if (item->anon_vma)
		put_anon_vma(item->anon_vma);
	kmem_cache_free(item_cache, item);
}

/**
 * ksm_items_free - free rmap_items and their references to anon_vmas
 * @items: of no node any more
 * @nr: their number
 *
 * Context: may sleep.
 */
void ksm_items_free(struct ksm_rmap_item **items, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (items[i]->anon_vma)
			put_anon_vma(items[i]->anon_vma);
	if (nr)
		kmem_cache_free_bulk(item_cache, nr, (void **)items);
}
