// SPDX-License-Identifier: GPL-2.0
/*
 * What the stable tree has to do, a behaviour a test.
 */

#include <linux/jiffies.h>

#include "stable-world.h"

static void test_init_no_memory(void)
{
	unsigned int after;

	for (after = 0; after < 2; after++) {
		shim.fail_after = after;
		CHECK_EQ(ksm_stable_init(), -ENOMEM);
		CHECK_EQ(shim.caches, 0);
	}
	shim.fail_after = -1;
	world_init(false);
	shim.fail_after = 0;
	CHECK(!ksm_node_alloc());
	shim.fail_after = 0;
	CHECK(!ksm_item_alloc());
	shim.fail_after = -1;
	ksm_node_free(NULL);
	ksm_item_free(NULL);
	world_end();
}

/* No more pages than max_page_sharing requires. */
static void test_bound(void)
{
	const unsigned int nr = 100, most = 7;
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = most;
	for (i = 0; i < nr; i++) {
		struct folio *folio = candidate_with_room(3);

		if (folio) {
			world_append(ksm_folio_node(folio));
			folio_put(folio);
		} else {
			world_append(world_insert(3, false)->node);
		}
		world_check();
	}
	CHECK_EQ(world.domain.counters.shared, (nr + most - 1) / most);
	CHECK_EQ(world.domain.counters.sharing, nr - world.domain.counters.shared);
	CHECK_EQ(world.domain.counters.chains, 1);
	CHECK_EQ(world.domain.counters.dups, world.domain.counters.shared);
	world_end();
}

/* When a page loses a mapping, the next duplicate finds the room. */
static void test_room(void)
{
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = 3;
	for (i = 0; i < 30; i++) {
		struct ksm_stable_node *node = world_insert(3, false)->node;

		world_append(node);
		world_append(node);
		world_append(node);
	}
	CHECK(!candidate_with_room(3));
	for (i = 0; i < rounds(500); i++) {
		struct model_item *model = &world.items[rnd_below(90)];
		struct ksm_stable_node *node = model->node;
		struct folio *folio;

		world_detach(model);
		folio = candidate_with_room(3);
		CHECK(folio);
		CHECK(ksm_folio_node(folio) == node);
		world_append(node);
		folio_put(folio);
		CHECK(!candidate_with_room(3));
	}
	world_check();
	world_end();
}

static void test_prune(void)
{
	struct ksm_stable_node *first;
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = 2;
	controls.prune_millisecs = 1000;
	for (i = 0; i < 20; i++) {
		struct ksm_stable_node *node = world_insert(5, false)->node;

		world_append(node);
		world_append(node);
	}
	first = ksm_stable_find(&world.domain, content_key(5));
	for (i = 0; i < 20; i++)
		if (world.nodes[i].node != first)
			page_vanish(page_of(world.nodes[i].node));
	/* The page is full, and it is too early to look for pages that have gone. */
	jiffies += 999;
	CHECK(!candidate_with_room(5));
	CHECK_EQ(world.domain.counters.dups, 20);
	jiffies += 1;
	CHECK(!candidate_with_room(5));
	CHECK_EQ(world.domain.counters.dups, 0);
	CHECK_EQ(world.domain.counters.chains, 0);
	CHECK_EQ(world.domain.counters.shared, 1);
	world_check();
	world_end();
}

static void test_clear(void)
{
	struct folio *folio;
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = 2;
	for (i = 0; i < 60; i++)
		world_append(world_insert(rnd_below(NR_CONTENTS), one_in(3))->node);
	CHECK(!ksm_stable_clear(&world.domain));
	world_check();
	/* Nothing maps these pages, but they still exist, as in the swap cache. */
	for (folio = frames; folio < frames + NR_FRAMES; folio += 2)
		folio->mapcount = 0;
	CHECK(!ksm_stable_clear(&world.domain));
	world_check();
	for (folio = frames; folio < frames + NR_FRAMES; folio++) {
		CHECK(!ksm_folio_node(folio) || folio->mapcount);
		folio->mapcount = 0;
	}
	CHECK(ksm_stable_clear(&world.domain));
	CHECK_EQ(shim_objects_of("ksm_stable_node"), 0);
	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		CHECK(!ksm_folio_node(folio));
	CHECK_EQ(world.domain.counters.shared, 0);
	CHECK_EQ(world.domain.counters.sharing, 0);
	world_end();
}

/* A poisoned page is not shared any further, and its mappings have to be found. */
static void test_poison(void)
{
	struct ksm_stable_node *node;
	struct folio *folio;
	bool has_room;

	world_init(false);
	node = world_insert(3, false)->node;
	world_append(node);
	folio = page_of(node);
	folio->poisoned = true;
	CHECK_EQ(PTR_ERR(ksm_stable_candidate(&world.domain, content_key(3), &has_room)), -EBUSY);
	CHECK(ksm_folio_node(folio) == node);
	folio->mapcount = 0;
	CHECK(!ksm_stable_candidate(&world.domain, content_key(3), &has_room));
	CHECK(!ksm_folio_node(folio) && !folio->locked);
	CHECK_EQ(folio->refs, 1);
	CHECK_EQ(world.domain.counters.shared, 0);
	world_check();
	world_end();
}

const struct test stable_tests[] = {
	{ "max_page_sharing bounds the mappings of a page", test_bound },
	{ "a page with room is found in any place of the chain", test_room },
	{ "dups are pruned after prune_millisecs", test_prune },
	{ "clearing removes the pages that nothing maps", test_clear },
	{ "a poisoned page gets no more mappings", test_poison },
	{ "allocations that fail", test_init_no_memory },
	{ }
};
