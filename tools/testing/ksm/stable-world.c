// SPDX-License-Identifier: GPL-2.0
/*
 * A stable tree, what it should hold, and checks that it does.
 */

#include <string.h>

#include <linux/jiffies.h>
#include <linux/slab.h>

#include "stable-world.h"

struct stable_world world;

/* Sometimes it is the page that is being compared. */
static void race(struct folio *folio)
{
	if (one_in(3))
		memory_act(one_in(4) ? folio : NULL);
}

void world_init(bool races)
{
	unsigned int i;

	memset(world.nodes, 0, sizeof(world.nodes));
	memset(world.items, 0, sizeof(world.items));
	memset(world.mms, 0, sizeof(world.mms));
	memset(world.slots, 0, sizeof(world.slots));
	for (i = 0; i < NR_MMS; i++)
		world.slots[i].slot.mm = &world.mms[i];
	world.anon_vma.refs = 0;
	CHECK_EQ(ksm_stable_init(), 0);
	CHECK_EQ(ksm_domain_init(&world.domain, &lock, &controls, &secret), 0);
	secret.zero_sample = rnd();
	if (races)
		shim.race = race;
}

/* Contents have any keys; some are neighbours of others. */
u64 content_key(unsigned int content)
{
	return (content & ~3) * 0x5851f42d4c957f2dULL + (content & 3);
}

u64 content_sample(unsigned int content)
{
	return content_key(content) * 0x2545f4914f6cdd1dULL + 0x1000;
}

u64 any_key(unsigned int content, bool by_sample, int nid)
{
	return ksm_key_on_node(by_sample ? content_sample(content) : content_key(content),
			       nid);
}

int nid_of(const struct folio *folio)
{
	return controls.merge_across_nodes ? 0 : folio_nid(folio);
}

struct model_node *model_of(const struct ksm_stable_node *node)
{
	unsigned int i;

	for (i = 0; i < NR_NODES; i++)
		if (world.nodes[i].node == node)
			return &world.nodes[i];
	return NULL;
}

u64 model_key(const struct model_node *model)
{
	return any_key(model->content, model->by_sample, model->nid);
}

static unsigned int nr_items_of(const struct ksm_stable_node *node)
{
	unsigned int i, nr = 0;

	for (i = 0; i < NR_ITEMS; i++)
		nr += world.items[i].item && world.items[i].node == node;
	return nr;
}

/**
 * struct seen - what a walk of the tree has come across
 * @found: whether each node of the model is there
 * @nr: nodes
 * @shared: of those, the ones with an rmap_item
 * @sharing: further rmap_items
 * @chains: rings of several nodes
 * @dups: nodes in those
 */
struct seen {
	bool found[NR_NODES];
	unsigned long nr;
	unsigned long shared;
	unsigned long sharing;
	unsigned long chains;
	unsigned long dups;
};

static void see_node(struct seen *seen, struct ksm_stable_node *node)
{
	struct model_node *model = model_of(node);
	struct ksm_rmap_item *item;
	int nr = 0;

	CHECK(model);
	CHECK(!seen->found[model - world.nodes]);
	seen->found[model - world.nodes] = true;
	CHECK_EQ(node->nid, model->nid);
	CHECK_EQ(node->key, model_key(model));
	CHECK_EQ(node->sample, ksm_key_on_node(content_sample(model->content), model->nid));
	hlist_for_each_entry(item, &node->items, link) {
		CHECK(item->node == node);
		nr++;
	}
	CHECK_EQ(node->nr_items, nr);
	CHECK_EQ(nr, nr_items_of(node));
	seen->nr++;
	if (nr) {
		seen->shared++;
		seen->sharing += nr - 1;
	}
}

/* A ring has the nodes with room first, but for the one that is in the tree. */
static void see_chain(struct seen *seen, struct ksm_stable_node *first)
{
	struct ksm_stable_node *node;
	bool full = false;

	CHECK(first->in_tree);
	see_node(seen, first);
	if (list_empty(&first->dups))
		return;
	seen->chains++;
	seen->dups++;
	list_for_each_entry(node, &first->dups, dups) {
		CHECK(!node->in_tree);
		CHECK_EQ(node->key, first->key);
		see_node(seen, node);
		seen->dups++;
		if (node->nr_items < controls.max_page_sharing)
			CHECK(!full);
		else
			full = true;
	}
}

static void check_unmapped(const struct seen *seen)
{
	struct ksm_stable_node *node;
	unsigned long nr = 0;

	list_for_each_entry(node, &world.domain.unmapped, unmapped) {
		CHECK(model_of(node));
		CHECK(seen->found[model_of(node) - world.nodes]);
		CHECK_EQ(node->nr_items, 0);
		nr++;
	}
	CHECK_EQ(nr, seen->nr - seen->shared);
}

/* Nodes that are not there any more: right where their pages have gone. */
static void check_gone(const struct seen *seen)
{
	unsigned int i;

	for (i = 0; i < NR_NODES; i++) {
		if (!world.nodes[i].node || seen->found[i])
			continue;
		CHECK(!page_of(world.nodes[i].node));
		world.nodes[i].node = NULL;
	}
	for (i = 0; i < NR_ITEMS; i++) {
		if (world.items[i].item && world.items[i].node && !model_of(world.items[i].node)) {
			CHECK(!world.items[i].item->node);
			world.items[i].node = NULL;
		}
	}
}

static void check_items(void)
{
	unsigned long merging[NR_MMS] = {}, i, nr = 0, sharing = 0;

	for (i = 0; i < NR_ITEMS; i++) {
		if (!world.items[i].item)
			continue;
		nr++;
		CHECK(world.items[i].item->node == world.items[i].node);
		if (world.items[i].node)
			merging[world.items[i].item->slot - world.slots]++;
	}
	for (i = 0; i < NR_MMS; i++) {
		CHECK_EQ(world.mms[i].ksm_merging_pages, merging[i]);
		CHECK(world.slots[i].nr_sharing <= merging[i]);
		sharing += world.slots[i].nr_sharing;
	}
	CHECK_EQ(world.domain.counters.sharing, sharing);
	CHECK_EQ(shim_objects_of("ksm_rmap_item"), nr);
	CHECK_EQ(world.anon_vma.refs, nr);
}

/* Everything that can be said about the tree, whatever has been done to it. */
void world_check(void)
{
	struct ksm_stable_node *last = NULL;
	struct seen seen = {};
	struct rb_node *rb;

	for (rb = rb_first(&world.domain.stable); rb; rb = rb_next(rb)) {
		struct ksm_stable_node *node = rb_entry(rb, struct ksm_stable_node, rb);

		if (last)
			CHECK(last->key < node->key);
		last = node;
		see_chain(&seen, node);
	}
	check_gone(&seen);
	check_unmapped(&seen);
	check_items();
	CHECK_EQ(world.domain.counters.shared, seen.shared);
	CHECK_EQ(world.domain.counters.sharing, seen.sharing);
	CHECK_EQ(world.domain.counters.chains, seen.chains);
	CHECK_EQ(world.domain.counters.dups, seen.dups);
	CHECK_EQ(shim_objects_of("ksm_stable_node"), seen.nr);
}

static struct model_node *free_node(void)
{
	return model_of(NULL);
}

struct model_item *world_append(struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item;
	unsigned int i;

	for (i = 0; i < NR_ITEMS && world.items[i].item; i++)
		;
	if (i == NR_ITEMS)
		return NULL;
	item = ksm_item_alloc();
	CHECK(item && !item->node);
	item->slot = &world.slots[rnd_below(NR_MMS)];
	item->anon_vma = &world.anon_vma;
	world.anon_vma.refs++;
	ksm_stable_append(&world.domain, node, item);
	world.items[i] = (struct model_item){ .item = item, .node = node };
	return &world.items[i];
}

void world_detach(struct model_item *model)
{
	ksm_stable_detach(&world.domain, model->item);
	CHECK(!model->item->node);
	ksm_item_free(model->item);
	*model = (struct model_item){};
}

/* As a page becomes a shared one.  NULL where there is no room in the test. */
struct model_node *world_insert(unsigned int content, bool by_sample)
{
	struct model_node *model = free_node();
	struct folio *folio = page_new();
	int nid;

	if (!model || !folio) {
		if (folio)
			page_vanish(folio);
		return NULL;
	}
	nid = nid_of(folio);
	*model = (struct model_node){
		.node = ksm_node_alloc(),
		.content = content,
		.by_sample = by_sample,
		.nid = nid,
	};
	CHECK(model->node);
	ksm_stable_insert(&world.domain, model->node, folio,
			  any_key(content, by_sample, nid),
			  ksm_key_on_node(content_sample(content), nid));
	page_share(folio, model->node);
	return model;
}

/* A shared page with a content that has room, with a reference, or NULL. */
struct folio *candidate_with_room(unsigned int content)
{
	struct folio *folio;
	bool has_room;

	folio = ksm_stable_candidate(&world.domain, content_key(content), &has_room);
	CHECK(!IS_ERR(folio));
	if (!folio || has_room)
		return folio;
	folio_put(folio);
	return NULL;
}

static void all_vanish(void)
{
	struct folio *folio;

	memory_settle();
	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		page_vanish(folio);
}

void world_end(void)
{
	unsigned int i;

	all_vanish();
	for (i = 0; i < NR_ITEMS; i++)
		if (world.items[i].item)
			world_detach(&world.items[i]);
	while (ksm_stable_reap_step(&world.domain))
		;
	world_check();
	CHECK(RB_EMPTY_ROOT(&world.domain.stable));
	CHECK(list_empty(&world.domain.unmapped));
	ksm_domain_destroy(&world.domain);
}
