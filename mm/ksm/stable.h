/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the index of shared pages
 */
#ifndef _MM_KSM_STABLE_H
#define _MM_KSM_STABLE_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/rbtree.h>
#include <linux/types.h>

struct anon_vma;
struct ksm_domain;
struct ksm_filter;
struct ksm_mm_slot;

/**
 * struct ksm_rmap_item - a mapping of a shared page
 * @link: in the rmap_items of @node
 * @node: the shared page, NULL once that page has gone
 * @anon_vma: where to look for mappings; a reference is held
 * @slot: the slot of the mm that the page was merged in
 * @address: where it was merged
 * @index: page offset that @address has in @anon_vma
 */
struct ksm_rmap_item {
	struct hlist_node link;
	struct ksm_stable_node *node;
	struct anon_vma *anon_vma;
	struct ksm_mm_slot *slot;
	unsigned long address;
	pgoff_t index;
};

/* The place of a page in swap. */
#define KSM_NO_PFN	(~0UL)

/**
 * struct ksm_stable_node - a write-protected page that mappings share
 * @rb: in the stable tree, for the first node of a content
 * @dups: ring of all nodes with that content; in ksm_domain.parked while @parked
 * @items: the rmap_items; the first one stands for the page, each other one saves one
 * @unmapped: in ksm_domain.unmapped or to_reap while there is no rmap_item
 * @key: fingerprint of the content, for the pages of NUMA node @nid; or @sample
 * @sample: likewise, of the sample of the content
 * @kpfn: where the page is, or KSM_NO_PFN
 * @swap: the swap entry, from swap-out until a folio with it is about to be mapped;
 *        else 0; changes under ksm_swap_lock()
 * @pruned: in jiffies, when the dups were last looked through
 * @nr_items: length of @items
 * @nid: NUMA node whose pages may share this one, 0 for all
 * @swapins: how often the page has returned from swap
 * @in_tree: @rb is linked
 * @parked: in neither tree nor ring, since the page was found in swap
 * @domain: number of the domain
 */
struct ksm_stable_node {
	struct rb_node rb;
	struct list_head dups;
	struct hlist_head items;
	struct list_head unmapped;
	u64 key;
	u64 sample;
	unsigned long kpfn;
	swp_entry_t swap;
	unsigned long pruned;
	int nr_items;
	int nid;
	u16 swapins;
	bool in_tree;
	bool parked;
	unsigned int domain;
};

/* What ksm_stable_folio() does about the lock of the folio. */
enum ksm_folio_lock {
	KSM_FOLIO_NOLOCK,
	KSM_FOLIO_LOCK,
	KSM_FOLIO_TRYLOCK,
};

/* node.c */
int ksm_stable_init(void);
struct ksm_stable_node *ksm_node_alloc(void);
void ksm_node_free(struct ksm_stable_node *node);
struct ksm_rmap_item *ksm_item_alloc(void);
void ksm_item_free(struct ksm_rmap_item *item);
void ksm_items_free(struct ksm_rmap_item **items, unsigned int nr);

/* stable.c */
struct ksm_stable_node *ksm_stable_find(const struct ksm_domain *domain, u64 key);
void ksm_stable_insert(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct folio *folio, u64 key, u64 sample);
void ksm_stable_relink(struct ksm_domain *domain, struct ksm_stable_node *node,
		       const struct folio *folio, u64 key, u64 sample);
struct folio *ksm_stable_folio(struct ksm_domain *domain,
			       struct ksm_stable_node *node,
			       enum ksm_folio_lock lock);
void ksm_stable_set_key(struct ksm_domain *domain, u64 from, u64 to, unsigned int nr);
void ksm_node_note_keys(struct ksm_filter *filter, const struct ksm_stable_node *node);
void ksm_node_remove(struct ksm_domain *domain, struct ksm_stable_node *node);
void ksm_folio_disown_node(struct ksm_domain *domain, struct ksm_stable_node *node,
			   struct folio *folio);
struct folio *ksm_drop_if_hwpoison(struct ksm_domain *domain,
				   struct ksm_stable_node *node, struct folio *folio);
struct folio *ksm_stable_candidate(struct ksm_domain *domain, u64 key, bool *has_room);
void ksm_stable_append(struct ksm_domain *domain, struct ksm_stable_node *node,
		       struct ksm_rmap_item *item);
void ksm_stable_detach(struct ksm_domain *domain, struct ksm_rmap_item *item);

/* sweep.c */
bool ksm_stable_reap_step(struct ksm_domain *domain);
bool ksm_stable_clear(struct ksm_domain *domain);
void ksm_stable_forget_pfns(struct ksm_domain *domain, unsigned long start,
			    unsigned long end);
bool ksm_stable_fill_filter(struct ksm_domain *domain, u64 *key, unsigned int nr);

/**
 * ksm_node_mapping - what a shared page has as its mapping
 * @node: its stable node
 *
 * Return: the value of folio->mapping.
 */
static inline void *ksm_node_mapping(const struct ksm_stable_node *node)
{
	return (void *)((unsigned long)node | PAGE_MAPPING_KSM);
}

/**
 * ksm_folio_node - the stable node of a folio
 * @folio: any folio
 *
 * Return: the node, or NULL where the folio is no KSM page or one whose node
 * has gone.  Good for as long as the folio is locked or ksm.lock is held.
 */
static inline struct ksm_stable_node *ksm_folio_node(const struct folio *folio)
{
	const unsigned long mapping = (unsigned long)READ_ONCE(folio->mapping);

	if ((mapping & PAGE_MAPPING_FLAGS) != PAGE_MAPPING_KSM)
		return NULL;
	return (struct ksm_stable_node *)(mapping & ~PAGE_MAPPING_FLAGS);
}

#endif /* _MM_KSM_STABLE_H */
