// SPDX-License-Identifier: GPL-2.0
/*
 * Random operations on the stable tree, while pages are freed, locked and migrated at
 * every moment.
 */

#include <linux/jiffies.h>

#include "stable-world.h"

static struct model_node *random_node(void)
{
	struct model_node *model = &world.nodes[rnd_below(NR_NODES)];

	return model->node ? model : NULL;
}

static void op_insert(void)
{
	struct model_node *model = world_insert(rnd_below(NR_CONTENTS), one_in(3));

	/* Merging gives it a mapping at once. */
	if (model && !one_in(8))
		world_append(model->node);
}

static bool room_in_chain(u64 key)
{
	unsigned int i;

	for (i = 0; i < NR_NODES; i++)
		if (world.nodes[i].node && model_key(&world.nodes[i]) == key &&
		    world.nodes[i].node->nr_items < controls.max_page_sharing &&
		    page_of(world.nodes[i].node))
			return true;
	return false;
}

static void op_candidate(void)
{
	u64 key = any_key(rnd_below(NR_CONTENTS), one_in(3),
			  controls.merge_across_nodes ? 0 : rnd_below(nr_node_ids));
	struct ksm_stable_node *node;
	struct folio *folio;
	bool has_room;

	memory_settle();
	folio = ksm_stable_candidate(&world.domain, key, &has_room);
	CHECK(!IS_ERR(folio));
	if (!folio || !has_room) {
		world_check();
		CHECK(!room_in_chain(key));
	}
	if (!folio)
		return;
	/* It is not locked, and may have been migrated since. */
	node = ksm_folio_node(folio);
	if (node) {
		CHECK_EQ(node->key, key);
		CHECK_EQ(has_room, node->nr_items < controls.max_page_sharing);
	}
	if (node && has_room)
		world_append(node);
	folio_put(folio);
}

static void op_detach(void)
{
	struct model_item *model = &world.items[rnd_below(NR_ITEMS)];

	if (model->item)
		world_detach(model);
}

/* A mapping that is there already is taken in beyond max_page_sharing. */
static void op_adopt(void)
{
	struct model_node *model = random_node();

	memory_settle();
	if (model && page_of(model->node))
		world_append(model->node);
}

static void op_rekey(void)
{
	struct model_node *model = random_node();
	struct folio *folio;
	u64 offset;

	memory_settle();
	folio = model ? page_of(model->node) : NULL;
	if (!folio || model->nid == nid_of(folio))
		return;
	offset = ksm_key_on_node(0, nid_of(folio)) - ksm_key_on_node(0, model->nid);
	ksm_stable_relink(&world.domain, model->node, folio, model->node->key + offset,
			  model->node->sample + offset);
	model->nid = nid_of(folio);
	CHECK(ksm_filter_repeated(&world.domain.filter, ksm_tag(model->node->sample)));
}

/* Another content has the sample, so its pages are no longer found by it. */
static void op_set_key(void)
{
	unsigned int most = one_in(2) ? NR_NODES : 1 + rnd_below(4), moved = 0, i;
	struct model_node *model = random_node();
	bool all = true;
	u64 from, to;

	world_check();
	if (!model || !model->by_sample || !model->node)
		return;
	from = model_key(model);
	to = any_key(model->content, false, model->nid);
	ksm_stable_set_key(&world.domain, from, to, most);
	for (i = 0; i < NR_NODES; i++) {
		model = &world.nodes[i];
		if (!model->node || model_key(model) != from)
			continue;
		model->by_sample = model->node->key == from;
		moved += !model->by_sample;
		all &= !model->by_sample;
	}
	CHECK(moved == most || (moved < most && all));
	world_check();
}

static void op_find(void)
{
	unsigned int content = rnd_below(NR_CONTENTS), i;
	int nid = controls.merge_across_nodes ? 0 : rnd_below(nr_node_ids);
	u64 key = any_key(content, one_in(3), nid);
	struct ksm_stable_node *node = ksm_stable_find(&world.domain, key);
	bool expected = false;

	for (i = 0; i < NR_NODES; i++)
		expected |= world.nodes[i].node && model_key(&world.nodes[i]) == key;
	CHECK_EQ(!!node, expected);
	if (node)
		CHECK(node->key == key && node->in_tree);
}

static void op_folio(void)
{
	struct model_node *model = random_node();
	enum ksm_folio_lock lock = rnd_below(3);
	struct folio *folio;

	if (!model)
		return;
	memory_settle();
	folio = ksm_stable_folio(&world.domain, model->node, lock);
	if (!folio) {
		CHECK(!page_of(model->node));
		return;
	}
	if (IS_ERR(folio)) {
		CHECK_EQ(lock, KSM_FOLIO_TRYLOCK);
		CHECK_EQ(PTR_ERR(folio), -EBUSY);
		CHECK(memory_was_busy());
		return;
	}
	/* Without the lock it may have been migrated since. */
	CHECK(ksm_folio_node(folio) == model->node ||
	      (lock == KSM_FOLIO_NOLOCK && folio_test_ksm(folio)));
	if (lock != KSM_FOLIO_NOLOCK)
		folio_unlock(folio);
	folio_put(folio);
}

static void op_forget(void)
{
	unsigned long start = FIRST_PFN + rnd_below(NR_FRAMES);
	unsigned long end = start + rnd_below(FIRST_PFN + NR_FRAMES - start + 1);
	unsigned int i;

	memory_offline(start, end);
	ksm_stable_forget_pfns(&world.domain, start, end);
	memory_settle();
	world_check();
	for (i = 0; i < NR_NODES; i++) {
		const struct ksm_stable_node *node = world.nodes[i].node;

		CHECK(!node || node->kpfn < start || node->kpfn >= end);
	}
	memory_online();
}

static void check_noted(u64 sample, bool ambiguous)
{
	CHECK(ksm_filter_repeated(&world.domain.filter, ksm_tag(sample)));
	if (ambiguous)
		CHECK(ksm_filter_ambiguous(&world.domain.filter, ksm_tag(sample)));
}

static void op_rebuild_filter(void)
{
	unsigned int i;

	for (i = 0; i < 100; i++)
		ksm_filter_set_repeated(&world.domain.filter, rnd());
	ksm_domain_filter_rebuild(&world.domain);
	world_check();
	for (i = 0; i < NR_NODES; i++)
		if (world.nodes[i].node)
			check_noted(world.nodes[i].node->sample, !world.nodes[i].by_sample);
	for (i = 0; i < (unsigned int)nr_node_ids; i++)
		check_noted(ksm_key_on_node(secret.zero_sample, i), true);
	CHECK_LE(world.domain.filter.bits.nr_set, 2 * (NR_NODES + nr_node_ids));
}

static void op_reap(void)
{
	while (ksm_stable_reap_step(&world.domain))
		;
}

static void op_time(void)
{
	jiffies += rnd_below(3000);
}

static void op_memory(void)
{
	unsigned int i;

	for (i = rnd_below(6); i; i--)
		memory_act(NULL);
	/* Without races nothing else ends what has begun. */
	if (!shim.race)
		memory_settle();
}

static void op_clear(void)
{
	bool cleared = ksm_stable_clear(&world.domain);
	bool mapped = false;
	unsigned int i;

	memory_settle();
	world_check();
	for (i = 0; i < NR_NODES; i++)
		mapped |= world.nodes[i].node && page_of(world.nodes[i].node) &&
			  folio_mapped(page_of(world.nodes[i].node));
	CHECK_EQ(cleared, RB_EMPTY_ROOT(&world.domain.stable));
	if (cleared)
		CHECK(!mapped);
}

static const struct {
	void (*op)(void);
	unsigned int weight;
} ops[] = {
	{ op_insert, 40 },
	{ op_candidate, 120 },
	{ op_detach, 150 },
	{ op_adopt, 20 },
	{ op_rekey, 20 },
	{ op_set_key, 20 },
	{ op_find, 20 },
	{ op_folio, 30 },
	{ op_memory, 60 },
	{ op_reap, 5 },
	{ op_time, 10 },
	{ op_forget, 2 },
	{ op_rebuild_filter, 2 },
	{ op_clear, 1 },
};

static void random_op(void)
{
	unsigned int i, sum = 0, pick;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	pick = rnd_below(sum);
	for (i = 0; pick >= ops[i].weight; i++)
		pick -= ops[i].weight;
	ops[i].op();
}

static void run_random(bool races, bool across)
{
	unsigned long i;

	world_init(races);
	controls.merge_across_nodes = across;
	controls.max_page_sharing = 2 + rnd_below(5);
	for (i = 0; i < rounds(4000); i++) {
		random_op();
		world_check();
	}
	world_end();
}

static void test_random(void)
{
	run_random(false, true);
}

static void test_random_races(void)
{
	run_random(true, true);
}

static void test_random_numa(void)
{
	run_random(true, false);
}

const struct test stable_random_tests[] = {
	{ "random operations", test_random },
	{ "random operations while pages come and go", test_random_races },
	{ "random operations on several NUMA nodes", test_random_numa },
	{ }
};
