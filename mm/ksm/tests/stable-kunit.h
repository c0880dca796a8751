/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: tests of the stable tree.
 *
 * Each test has a domain of its own and pages that nobody maps.  The lock of
 * the domain is held.  So no test may end at an assertion: it uses expectations
 * and returns.
 */

#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_STABLE_KUNIT_H
#define _KSM_STABLE_KUNIT_H

#include <kunit/test.h>
#include <linux/gfp.h>
#include <linux/ksm.h>
#include <linux/mm_types.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#define KSM_TEST_PAGES	8
#define KSM_TEST_KEY	0x123456789abcdef0ULL

/**
 * struct ksm_stable_test - what a test has
 * @lock: guards @domain
 * @controls: the controls of @domain
 * @key: the secret of @domain
 * @domain: its trees and counters
 * @folio: its pages
 * @nr: how many of those there are
 * @slot: the slot of @mm
 * @mm: whose pages these would be
 */
struct ksm_stable_test {
	struct ksm_lock lock;	/* what guards the domain */
	struct ksm_controls controls;
	struct ksm_key key;
	struct ksm_domain domain;
	struct folio *folio[KSM_TEST_PAGES];
	unsigned int nr;
	struct ksm_mm_slot slot;
	struct mm_struct mm;
};

static int ksm_stable_test_init(struct kunit *test)
{
	struct ksm_stable_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	ksm_lock_init(&t->lock);
	t->controls.max_page_sharing = 256;
	t->controls.merge_across_nodes = true;
	t->slot.slot.mm = &t->mm;
	if (ksm_domain_init(&t->domain, &t->lock, &t->controls, &t->key))
		return -ENOMEM;
	test->priv = t;
	return 0;
}

static void ksm_test_vanish(struct folio *folio)
{
	folio->mapping = NULL;
}

static void ksm_stable_test_exit(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	unsigned int i;

	if (!t)
		return;
	for (i = 0; i < t->nr; i++)
		ksm_test_vanish(t->folio[i]);
	mutex_lock(&t->lock.mutex);
	while (ksm_stable_reap_step(&t->domain))
		;
	mutex_unlock(&t->lock.mutex);
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&t->domain.stable));
	KUNIT_EXPECT_TRUE(test, list_empty(&t->domain.parked));
	KUNIT_EXPECT_EQ(test, t->domain.counters.shared, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.sharing, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.chains, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.dups, 0UL);
	KUNIT_EXPECT_EQ(test, t->mm.ksm_merging_pages, 0UL);
	for (i = 0; i < t->nr; i++)
		folio_put(t->folio[i]);
	ksm_domain_destroy(&t->domain);
}

static struct folio *ksm_test_folio(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	struct folio *folio;

	if (t->nr == KSM_TEST_PAGES)
		return NULL;
	folio = folio_alloc(GFP_KERNEL, 0);
	if (folio)
		t->folio[t->nr++] = folio;
	return folio;
}

/* NULL for want of memory, which fails the test; so in the next one. */
static struct ksm_stable_node *ksm_test_node(struct kunit *test, u64 key)
{
	struct folio *folio = ksm_test_folio(test);
	struct ksm_stable_test *t = test->priv;
	struct ksm_stable_node *node;

	node = folio ? ksm_node_alloc() : NULL;
	KUNIT_EXPECT_NOT_NULL(test, node);
	if (!node)
		return NULL;
	ksm_stable_insert(&t->domain, node, folio, key, ~key);
	folio->mapping = ksm_node_mapping(node);
	return node;
}

static struct ksm_rmap_item *ksm_test_append(struct kunit *test,
					     struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item = node ? ksm_item_alloc() : NULL;
	struct ksm_stable_test *t = test->priv;

	KUNIT_EXPECT_NOT_NULL(test, item);
	if (!item)
		return NULL;
	item->slot = &t->slot;
	ksm_stable_append(&t->domain, node, item);
	return item;
}

static void ksm_test_detach_all(struct ksm_domain *domain, struct ksm_stable_node *node)
{
	while (!hlist_empty(&node->items)) {
		struct ksm_rmap_item *item;

		item = hlist_entry(node->items.first, struct ksm_rmap_item, link);
		ksm_stable_detach(domain, item);
		ksm_item_free(item);
	}
}

static void ksm_find(struct kunit *test)
{
	struct ksm_stable_node *middle = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_stable_node *low = ksm_test_node(test, 1);
	struct ksm_stable_node *high = ksm_test_node(test, ~1ULL);
	struct ksm_stable_test *t = test->priv;

	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_find(&t->domain, 1), low);
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_find(&t->domain, KSM_TEST_KEY), middle);
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_find(&t->domain, ~1ULL), high);
	KUNIT_EXPECT_NULL(test, ksm_stable_find(&t->domain, KSM_TEST_KEY + 1));
}

static void ksm_count(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_rmap_item *item;

	KUNIT_EXPECT_FALSE(test, list_empty(&t->domain.unmapped));
	item = ksm_test_append(test, node);
	if (!item)
		return;
	KUNIT_EXPECT_TRUE(test, list_empty(&t->domain.unmapped));
	KUNIT_EXPECT_EQ(test, t->domain.counters.shared, 1UL);
	ksm_test_append(test, node);
	KUNIT_EXPECT_EQ(test, t->domain.counters.sharing, 1UL);
	KUNIT_EXPECT_EQ(test, t->mm.ksm_merging_pages, 2UL);
	KUNIT_EXPECT_EQ(test, t->slot.nr_sharing, 1UL);
	ksm_stable_detach(&t->domain, item);
	KUNIT_EXPECT_NULL(test, item->node);
	KUNIT_EXPECT_EQ(test, t->slot.nr_sharing, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.sharing, 0UL);
	ksm_item_free(item);
	ksm_test_detach_all(&t->domain, node);
	KUNIT_EXPECT_EQ(test, t->domain.counters.shared, 0UL);
	KUNIT_EXPECT_FALSE(test, list_empty(&t->domain.unmapped));
}

/* A page that has gone takes its node along, and its rmap_items know. */
static void ksm_gone(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_rmap_item *item = ksm_test_append(test, node);
	struct folio *folio = t->folio[0];

	if (!item)
		return;
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_folio(&t->domain, node, KSM_FOLIO_TRYLOCK),
			    folio);
	KUNIT_EXPECT_TRUE(test, folio_test_locked(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 2);
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_folio(&t->domain, node, KSM_FOLIO_TRYLOCK),
			    (struct folio *)ERR_PTR(-EBUSY));
	folio_unlock(folio);
	folio_put(folio);
	ksm_test_vanish(folio);
	KUNIT_EXPECT_NULL(test, ksm_stable_folio(&t->domain, node, KSM_FOLIO_NOLOCK));
	KUNIT_EXPECT_NULL(test, ksm_stable_find(&t->domain, KSM_TEST_KEY));
	KUNIT_EXPECT_NULL(test, item->node);
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	ksm_item_free(item);
}

/* A page that moves is followed. */
static void ksm_moved(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct folio *from = t->folio[0], *to = ksm_test_folio(test);

	KUNIT_EXPECT_NOT_NULL(test, to);
	if (!node || !to)
		return;
	to->mapping = from->mapping;
	node->kpfn = folio_pfn(to);
	from->mapping = (void *)PAGE_MAPPING_KSM;
	KUNIT_EXPECT_NULL(test, ksm_folio_node(from));
	KUNIT_EXPECT_PTR_EQ(test, ksm_folio_node(to), node);
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_folio(&t->domain, node, KSM_FOLIO_NOLOCK), to);
	KUNIT_EXPECT_EQ(test, folio_ref_count(to), 2);
	folio_put(to);
}

static void ksm_bound(struct kunit *test)
{
	struct ksm_stable_node *first = ksm_test_node(test, KSM_TEST_KEY), *second;
	struct ksm_stable_test *t = test->priv;
	bool has_room = true;
	struct folio *folio;
	int i;

	KUNIT_EXPECT_NULL(test, ksm_stable_candidate(&t->domain, KSM_TEST_KEY + 1, &has_room));
	for (i = 0; i < t->controls.max_page_sharing; i++)
		if (!ksm_test_append(test, first))
			return;
	folio = ksm_stable_candidate(&t->domain, KSM_TEST_KEY, &has_room);
	KUNIT_EXPECT_PTR_EQ(test, folio, t->folio[0]);
	KUNIT_EXPECT_FALSE(test, has_room);
	folio_put(folio);
	second = ksm_test_node(test, KSM_TEST_KEY);
	KUNIT_EXPECT_EQ(test, t->domain.counters.chains, 1UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.dups, 2UL);
	folio = ksm_stable_candidate(&t->domain, KSM_TEST_KEY, &has_room);
	KUNIT_EXPECT_PTR_EQ(test, folio, t->folio[1]);
	KUNIT_EXPECT_TRUE(test, has_room);
	if (!IS_ERR_OR_NULL(folio)) {
		KUNIT_EXPECT_PTR_EQ(test, ksm_folio_node(folio), second);
		folio_put(folio);
	}
	ksm_test_detach_all(&t->domain, first);
	ksm_test_vanish(t->folio[1]);
	KUNIT_EXPECT_NULL(test, ksm_stable_folio(&t->domain, second, KSM_FOLIO_NOLOCK));
	KUNIT_EXPECT_EQ(test, t->domain.counters.chains, 0UL);
}

/* A poisoned page is not offered; it is forgotten once nothing maps it. */
static void ksm_hwpoison(struct kunit *test)
{
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_stable_test *t = test->priv;
	struct folio *folio = t->folio[0];
	bool has_room;

	if (!node || !IS_ENABLED(CONFIG_MEMORY_FAILURE))
		return;
	SetPageHWPoison(folio_page(folio, 0));
	folio_lock(folio);
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_candidate(&t->domain, KSM_TEST_KEY, &has_room),
			    (struct folio *)ERR_PTR(-EBUSY));
	folio_unlock(folio);
	KUNIT_EXPECT_NULL(test, ksm_stable_candidate(&t->domain, KSM_TEST_KEY, &has_room));
	KUNIT_EXPECT_NULL(test, ksm_folio_node(folio));
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
	ClearPageHWPoison(folio_page(folio, 0));
}

/* A round of reaping visits each node once and ends. */
static void ksm_reap(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < KSM_TEST_PAGES; i++)
		ksm_test_node(test, i);
	for (i = 0; i < t->nr; i += 2)
		ksm_test_vanish(t->folio[i]);
	KUNIT_EXPECT_FALSE(test, ksm_stable_reap_step(&t->domain));
	for (i = 0; i < t->nr; i++)
		KUNIT_EXPECT_EQ(test, !ksm_stable_find(&t->domain, i), !(i % 2));
	KUNIT_EXPECT_FALSE(test, ksm_stable_reap_step(&t->domain));
}

static void ksm_clear(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < KSM_TEST_PAGES; i++)
		ksm_test_node(test, i / 3);
	KUNIT_EXPECT_EQ(test, t->domain.counters.chains, 3UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.dups, (unsigned long)KSM_TEST_PAGES);
	KUNIT_EXPECT_TRUE(test, ksm_stable_clear(&t->domain));
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&t->domain.stable));
	for (i = 0; i < t->nr; i++)
		KUNIT_EXPECT_NULL(test, ksm_folio_node(t->folio[i]));
}

static void ksm_forget(struct kunit *test)
{
	struct ksm_stable_test *t = test->priv;
	struct ksm_stable_node *node;
	unsigned int i;

	for (i = 0; i < KSM_TEST_PAGES; i++)
		ksm_test_node(test, KSM_TEST_KEY);
	for (i = 0; i + 1 < t->nr; i++) {
		unsigned long pfn = folio_pfn(t->folio[i]);

		ksm_stable_forget_pfns(&t->domain, pfn, pfn + 1);
	}
	node = ksm_stable_find(&t->domain, KSM_TEST_KEY);
	KUNIT_EXPECT_NOT_NULL(test, node);
	if (node)
		KUNIT_EXPECT_EQ(test, node->kpfn, folio_pfn(t->folio[i]));
	KUNIT_EXPECT_EQ(test, t->domain.counters.dups, 0UL);
}

/* As a folio that reclaim or a fault has in the swap cache. */
static void ksm_test_enter_swapcache(struct folio *folio, swp_entry_t entry)
{
	folio_lock(folio);
	__folio_set_swapbacked(folio);
	folio_mark_uptodate(folio);
	folio_set_swapcache(folio);
	folio->swap = entry;
}

static void ksm_test_leave_swapcache(struct folio *folio)
{
	folio->swap.val = 0;
	folio_clear_swapcache(folio);
	__folio_clear_swapbacked(folio);
	folio_unlock(folio);
}

static void ksm_test_swap_out(struct folio *folio, swp_entry_t entry)
{
	ksm_test_enter_swapcache(folio, entry);
	ksm_swap_out(folio);
	ksm_test_leave_swapcache(folio);
}

static struct folio *ksm_test_swap_in(struct kunit *test, swp_entry_t entry)
{
	struct folio *folio = ksm_test_folio(test);

	KUNIT_EXPECT_NOT_NULL(test, folio);
	if (!folio)
		return NULL;
	ksm_test_enter_swapcache(folio, entry);
	ksm_swap_in(folio);
	ksm_test_leave_swapcache(folio);
	return folio;
}

/* No device has so many slots. */
static swp_entry_t ksm_test_entry(void)
{
	return swp_entry(MAX_SWAPFILES - 1, SWP_OFFSET_MASK);
}

/* A page in swap keeps its node, which gets the page that is read. */
static void ksm_swapped(struct kunit *test)
{
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_rmap_item *item = ksm_test_append(test, node);
	struct ksm_stable_test *t = test->priv;
	struct folio *folio;

	if (!item || !IS_ENABLED(CONFIG_SWAP))
		return;
	ksm_test_swap_out(t->folio[0], ksm_test_entry());
	KUNIT_EXPECT_NULL(test, ksm_folio_node(t->folio[0]));
	KUNIT_EXPECT_NULL(test, ksm_stable_folio(&t->domain, node, KSM_FOLIO_NOLOCK));
	KUNIT_EXPECT_PTR_EQ(test, item->node, node);
	KUNIT_EXPECT_NULL(test, ksm_stable_find(&t->domain, KSM_TEST_KEY));
	KUNIT_EXPECT_TRUE(test, ksm_node_has_entry(node, ksm_test_entry()));
	folio = ksm_test_swap_in(test, ksm_test_entry());
	if (!folio)
		return;
	KUNIT_EXPECT_PTR_EQ(test, ksm_folio_node(folio), node);
	KUNIT_EXPECT_FALSE(test, ksm_node_in_swap(node));
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_folio(&t->domain, node, KSM_FOLIO_NOLOCK), folio);
	KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 2);
	folio_put(folio);
	ksm_stable_relink(&t->domain, node, folio, KSM_TEST_KEY, KSM_TEST_KEY);
	KUNIT_EXPECT_PTR_EQ(test, ksm_stable_find(&t->domain, KSM_TEST_KEY), node);
	ksm_test_detach_all(&t->domain, node);
}

/* The next page with the entry is another one. */
static void ksm_swap_entry_freed(struct kunit *test)
{
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_rmap_item *item = ksm_test_append(test, node);
	struct ksm_stable_test *t = test->priv;
	struct folio *folio;

	if (!item || !IS_ENABLED(CONFIG_SWAP))
		return;
	ksm_test_swap_out(t->folio[0], ksm_test_entry());
	KUNIT_EXPECT_TRUE(test, ksm_node_in_swap(node));
	ksm_swap_free(ksm_test_entry(), 1);
	KUNIT_EXPECT_FALSE(test, ksm_node_in_swap(node));
	folio = ksm_test_swap_in(test, ksm_test_entry());
	if (folio)
		KUNIT_EXPECT_NULL(test, ksm_folio_node(folio));
	ksm_stable_detach(&t->domain, item);
	KUNIT_EXPECT_NULL(test, item->node);
	KUNIT_EXPECT_EQ(test, t->domain.counters.shared, 0UL);
	ksm_item_free(item);
}

/* Without an rmap_item, a page is an ordinary one when it is back. */
static void ksm_swap_unmapped(struct kunit *test)
{
	struct ksm_stable_node *node = ksm_test_node(test, KSM_TEST_KEY);
	struct ksm_stable_test *t = test->priv;
	struct ksm_rmap_item *item;
	struct folio *folio;

	if (!node || !IS_ENABLED(CONFIG_SWAP))
		return;
	ksm_test_swap_out(t->folio[0], ksm_test_entry());
	KUNIT_EXPECT_FALSE(test, ksm_node_in_swap(node));
	item = ksm_test_append(test, node);
	if (!item)
		return;
	ksm_test_swap_out(t->folio[0], ksm_test_entry());
	KUNIT_EXPECT_TRUE(test, ksm_node_in_swap(node));
	ksm_stable_detach(&t->domain, item);
	ksm_item_free(item);
	folio = ksm_test_swap_in(test, ksm_test_entry());
	if (folio)
		KUNIT_EXPECT_NULL(test, ksm_folio_node(folio));
	KUNIT_EXPECT_TRUE(test, list_empty(&t->domain.parked));
}

static void ksm_test_locked(struct kunit *test, void (*body)(struct kunit *test))
{
	struct ksm_stable_test *t = test->priv;

	mutex_lock(&t->lock.mutex);
	body(test);
	mutex_unlock(&t->lock.mutex);
}

static void ksm_test_stable_find(struct kunit *test)
{
	ksm_test_locked(test, ksm_find);
}

static void ksm_test_stable_count(struct kunit *test)
{
	ksm_test_locked(test, ksm_count);
}

static void ksm_test_stable_gone(struct kunit *test)
{
	ksm_test_locked(test, ksm_gone);
}

static void ksm_test_stable_moved(struct kunit *test)
{
	ksm_test_locked(test, ksm_moved);
}

static void ksm_test_stable_bound(struct kunit *test)
{
	ksm_test_locked(test, ksm_bound);
}

static void ksm_test_stable_hwpoison(struct kunit *test)
{
	ksm_test_locked(test, ksm_hwpoison);
}

static void ksm_test_stable_reap(struct kunit *test)
{
	ksm_test_locked(test, ksm_reap);
}

static void ksm_test_stable_clear(struct kunit *test)
{
	ksm_test_locked(test, ksm_clear);
}

static void ksm_test_stable_forget(struct kunit *test)
{
	ksm_test_locked(test, ksm_forget);
}

static void ksm_test_stable_swapped(struct kunit *test)
{
	ksm_test_locked(test, ksm_swapped);
}

static void ksm_test_stable_swap_entry_freed(struct kunit *test)
{
	ksm_test_locked(test, ksm_swap_entry_freed);
}

static void ksm_test_stable_swap_unmapped(struct kunit *test)
{
	ksm_test_locked(test, ksm_swap_unmapped);
}

static struct kunit_case ksm_stable_cases[] = {
	KUNIT_CASE(ksm_test_stable_find),
	KUNIT_CASE(ksm_test_stable_count),
	KUNIT_CASE(ksm_test_stable_gone),
	KUNIT_CASE(ksm_test_stable_moved),
	KUNIT_CASE(ksm_test_stable_bound),
	KUNIT_CASE(ksm_test_stable_hwpoison),
	KUNIT_CASE(ksm_test_stable_reap),
	KUNIT_CASE(ksm_test_stable_clear),
	KUNIT_CASE(ksm_test_stable_forget),
	KUNIT_CASE(ksm_test_stable_swapped),
	KUNIT_CASE(ksm_test_stable_swap_entry_freed),
	KUNIT_CASE(ksm_test_stable_swap_unmapped),
	{ }
};

static struct kunit_suite ksm_stable_suite = {
	.name = "ksm_stable",
	.init = ksm_stable_test_init,
	.exit = ksm_stable_test_exit,
	.test_cases = ksm_stable_cases,
};

kunit_test_suite(ksm_stable_suite);

#endif /* _KSM_STABLE_KUNIT_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
