// SPDX-License-Identifier: GPL-2.0
/*
 * The stable tree against lists of the nodes and rmap_items that were put there,
 * while pages are freed, locked and migrated at every moment.
 */

#include <string.h>

#include <linux/jiffies.h>
#include <linux/rmap.h>
#include <linux/slab.h>

#include "harness.h"
#include "memory.h"

#define NR_CONTENTS	12
#define NR_NODES	200
#define NR_ITEMS	1500
#define NR_MMS		3

/**
 * struct model_node - a stable node as it should be
 * @node: where it is; freed once its page was found to have gone
 * @content: which content its page has
 * @by_sample: its key is that of the sample
 * @nid: NUMA node it was last told of
 */
struct model_node {
	struct ksm_stable_node *node;
	unsigned int content;
	bool by_sample;
	int nid;
};

/**
 * struct model_item - an rmap_item as it should be
 * @item: where it is
 * @node: which node it was appended to
 */
struct model_item {
	struct ksm_rmap_item *item;
	struct ksm_stable_node *node;
};

static struct ksm_domain domain;
static struct model_node nodes[NR_NODES];
static struct model_item items[NR_ITEMS];
static struct mm_struct mms[NR_MMS];
static struct anon_vma anon_vma;

/* Now and then it hits the very page that is being looked at. */
static void race(struct folio *folio)
{
	if (one_in(3))
		memory_act(one_in(4) ? folio : NULL);
}

static void world_init(bool races)
{
	memset(nodes, 0, sizeof(nodes));
	memset(items, 0, sizeof(items));
	memset(mms, 0, sizeof(mms));
	anon_vma.refs = 0;
	CHECK_EQ(ksm_stable_init(), 0);
	CHECK_EQ(ksm_domain_init(&domain, &lock, &controls, &secret), 0);
	secret.zero_sample = rnd();
	if (races)
		shim.race = race;
}

/* Contents have any keys; some are neighbours of others. */
static u64 content_key(unsigned int content)
{
	return (content & ~3) * 0x5851f42d4c957f2dULL + (content & 3);
}

static u64 content_sample(unsigned int content)
{
	return content_key(content) * 0x2545f4914f6cdd1dULL + 0x1000;
}

static u64 any_key(unsigned int content, bool by_sample, int nid)
{
	return ksm_key_on_node(by_sample ? content_sample(content) : content_key(content),
			       nid);
}

static int nid_of(const struct folio *folio)
{
	return controls.merge_across_nodes ? 0 : folio_nid(folio);
}

static struct model_node *model_of(const struct ksm_stable_node *node)
{
	unsigned int i;

	for (i = 0; i < NR_NODES; i++)
		if (nodes[i].node == node)
			return &nodes[i];
	return NULL;
}

static u64 model_key(const struct model_node *model)
{
	return any_key(model->content, model->by_sample, model->nid);
}

static unsigned int nr_items_of(const struct ksm_stable_node *node)
{
	unsigned int i, nr = 0;

	for (i = 0; i < NR_ITEMS; i++)
		nr += items[i].item && items[i].node == node;
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
	CHECK(!seen->found[model - nodes]);
	seen->found[model - nodes] = true;
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

	list_for_each_entry(node, &domain.unmapped, unmapped) {
		CHECK(model_of(node));
		CHECK(seen->found[model_of(node) - nodes]);
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
		if (!nodes[i].node || seen->found[i])
			continue;
		CHECK(!page_of(nodes[i].node));
		nodes[i].node = NULL;
	}
	for (i = 0; i < NR_ITEMS; i++) {
		if (items[i].item && items[i].node && !model_of(items[i].node)) {
			CHECK(!items[i].item->node);
			items[i].node = NULL;
		}
	}
}

static void check_items(void)
{
	unsigned long merging[NR_MMS] = {}, i, nr = 0;

	for (i = 0; i < NR_ITEMS; i++) {
		if (!items[i].item)
			continue;
		nr++;
		CHECK(items[i].item->node == items[i].node);
		if (items[i].node)
			merging[items[i].item->mm - mms]++;
	}
	for (i = 0; i < NR_MMS; i++)
		CHECK_EQ(mms[i].ksm_merging_pages, merging[i]);
	CHECK_EQ(shim_objects_of("ksm_rmap_item"), nr);
	CHECK_EQ(anon_vma.refs, nr);
}

/* Everything that can be said about the tree, whatever has been done to it. */
static void check_world(void)
{
	struct ksm_stable_node *last = NULL;
	struct seen seen = {};
	struct rb_node *rb;

	for (rb = rb_first(&domain.stable); rb; rb = rb_next(rb)) {
		struct ksm_stable_node *node = rb_entry(rb, struct ksm_stable_node, rb);

		if (last)
			CHECK(last->key < node->key);
		last = node;
		see_chain(&seen, node);
	}
	check_gone(&seen);
	check_unmapped(&seen);
	check_items();
	CHECK_EQ(domain.counters.shared, seen.shared);
	CHECK_EQ(domain.counters.sharing, seen.sharing);
	CHECK_EQ(domain.counters.chains, seen.chains);
	CHECK_EQ(domain.counters.dups, seen.dups);
	CHECK_EQ(shim_objects_of("ksm_stable_node"), seen.nr);
}

static struct model_node *free_node(void)
{
	return model_of(NULL);
}

static struct model_node *random_node(void)
{
	struct model_node *model = &nodes[rnd_below(NR_NODES)];

	return model->node ? model : NULL;
}

static struct model_item *append(struct ksm_stable_node *node)
{
	struct ksm_rmap_item *item;
	unsigned int i;

	for (i = 0; i < NR_ITEMS && items[i].item; i++)
		;
	if (i == NR_ITEMS)
		return NULL;
	item = ksm_item_alloc();
	CHECK(item && !item->node);
	item->mm = &mms[rnd_below(NR_MMS)];
	item->anon_vma = &anon_vma;
	anon_vma.refs++;
	ksm_stable_append(&domain, node, item);
	items[i] = (struct model_item){ .item = item, .node = node };
	return &items[i];
}

static void detach(struct model_item *model)
{
	ksm_stable_detach(&domain, model->item);
	CHECK(!model->item->node);
	ksm_item_free(model->item);
	*model = (struct model_item){};
}

/* As a page becomes a shared one.  NULL where there is no room in the test. */
static struct model_node *insert(unsigned int content, bool by_sample)
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
	ksm_stable_insert(&domain, model->node, folio,
			  any_key(content, by_sample, nid),
			  ksm_key_on_node(content_sample(content), nid));
	page_share(folio, model->node);
	return model;
}

static void op_insert(void)
{
	struct model_node *model = insert(rnd_below(NR_CONTENTS), one_in(3));

	/* Merging gives it a mapping at once. */
	if (model && !one_in(8))
		append(model->node);
}

static bool room_in_chain(u64 key)
{
	unsigned int i;

	for (i = 0; i < NR_NODES; i++)
		if (nodes[i].node && model_key(&nodes[i]) == key &&
		    nodes[i].node->nr_items < controls.max_page_sharing &&
		    page_of(nodes[i].node))
			return true;
	return false;
}

/* A shared page with a content that has room, with a reference, or NULL. */
static struct folio *candidate_with_room(unsigned int content)
{
	struct folio *folio;
	bool has_room;

	folio = ksm_stable_candidate(&domain, content_key(content), &has_room);
	CHECK(!IS_ERR(folio));
	if (!folio || has_room)
		return folio;
	folio_put(folio);
	return NULL;
}

static void op_candidate(void)
{
	u64 key = any_key(rnd_below(NR_CONTENTS), one_in(3),
			  controls.merge_across_nodes ? 0 : rnd_below(nr_node_ids));
	struct ksm_stable_node *node;
	struct folio *folio;
	bool has_room;

	memory_settle();
	folio = ksm_stable_candidate(&domain, key, &has_room);
	CHECK(!IS_ERR(folio));
	if (!folio || !has_room) {
		check_world();
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
		append(node);
	folio_put(folio);
}

static void op_detach(void)
{
	struct model_item *model = &items[rnd_below(NR_ITEMS)];

	if (model->item)
		detach(model);
}

/* A mapping that is there already is taken in beyond max_page_sharing. */
static void op_adopt(void)
{
	struct model_node *model = random_node();

	memory_settle();
	if (model && page_of(model->node))
		append(model->node);
}

static void op_rekey(void)
{
	struct model_node *model = random_node();
	struct folio *folio;

	memory_settle();
	folio = model ? page_of(model->node) : NULL;
	if (!folio)
		return;
	ksm_stable_rekey(&domain, model->node, folio);
	if (model->nid == nid_of(folio))
		return;
	model->nid = nid_of(folio);
	CHECK(ksm_filter_repeated(&domain.filter, ksm_tag(model->node->sample)));
}

/* Another content was found to have the sample: nobody is found by it any more. */
static void op_set_key(void)
{
	struct model_node *model = random_node();
	u64 from, to;
	unsigned int i;

	check_world();
	if (!model || !model->by_sample || !model->node)
		return;
	from = model_key(model);
	to = any_key(model->content, false, model->nid);
	ksm_stable_set_key(&domain, from, to);
	CHECK(!ksm_stable_find(&domain, from));
	for (i = 0; i < NR_NODES; i++)
		if (nodes[i].node && model_key(&nodes[i]) == from)
			nodes[i].by_sample = false;
	check_world();
}

static void op_find(void)
{
	unsigned int content = rnd_below(NR_CONTENTS), i;
	int nid = controls.merge_across_nodes ? 0 : rnd_below(nr_node_ids);
	u64 key = any_key(content, one_in(3), nid);
	struct ksm_stable_node *node = ksm_stable_find(&domain, key);
	bool expected = false;

	for (i = 0; i < NR_NODES; i++)
		expected |= nodes[i].node && model_key(&nodes[i]) == key;
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
	folio = ksm_stable_folio(&domain, model->node, lock);
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
	ksm_stable_forget_pfns(&domain, start, end);
	memory_settle();
	check_world();
	for (i = 0; i < NR_NODES; i++)
		if (nodes[i].node)
			CHECK(nodes[i].node->kpfn < start || nodes[i].node->kpfn >= end);
	memory_online();
}

static void check_noted(u64 sample, bool ambiguous)
{
	CHECK(ksm_filter_repeated(&domain.filter, ksm_tag(sample)));
	if (ambiguous)
		CHECK(ksm_filter_ambiguous(&domain.filter, ksm_tag(sample)));
}

static void op_rebuild_filter(void)
{
	unsigned int i;

	for (i = 0; i < 100; i++)
		ksm_filter_set_repeated(&domain.filter, rnd());
	ksm_domain_filter_rebuild(&domain);
	check_world();
	for (i = 0; i < NR_NODES; i++)
		if (nodes[i].node)
			check_noted(nodes[i].node->sample, !nodes[i].by_sample);
	for (i = 0; i < (unsigned int)nr_node_ids; i++)
		check_noted(ksm_key_on_node(secret.zero_sample, i), true);
	CHECK_LE(domain.filter.bits.nr_set, 2 * (NR_NODES + nr_node_ids));
}

static void op_reap(void)
{
	while (ksm_stable_reap_step(&domain))
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
	bool cleared = ksm_stable_clear(&domain);
	bool mapped = false;
	unsigned int i;

	memory_settle();
	check_world();
	for (i = 0; i < NR_NODES; i++)
		mapped |= nodes[i].node && page_of(nodes[i].node) &&
			  folio_mapped(page_of(nodes[i].node));
	CHECK_EQ(cleared, RB_EMPTY_ROOT(&domain.stable));
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

static void all_vanish(void)
{
	struct folio *folio;

	memory_settle();
	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		page_vanish(folio);
}

static void world_end(void)
{
	unsigned int i;

	all_vanish();
	for (i = 0; i < NR_ITEMS; i++)
		if (items[i].item)
			detach(&items[i]);
	while (ksm_stable_reap_step(&domain))
		;
	check_world();
	CHECK(RB_EMPTY_ROOT(&domain.stable));
	CHECK(list_empty(&domain.unmapped));
	ksm_domain_destroy(&domain);
}

static void run_random(bool races, bool across)
{
	unsigned long i;

	world_init(races);
	controls.merge_across_nodes = across;
	controls.max_page_sharing = 2 + rnd_below(5);
	for (i = 0; i < rounds(4000); i++) {
		random_op();
		check_world();
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

/* As many pages as the bound on sharing asks for, and no more. */
static void test_bound(void)
{
	const unsigned int nr = 100, most = 7;
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = most;
	for (i = 0; i < nr; i++) {
		struct folio *folio = candidate_with_room(3);

		if (folio) {
			append(ksm_folio_node(folio));
			folio_put(folio);
		} else {
			append(insert(3, false)->node);
		}
		check_world();
	}
	CHECK_EQ(domain.counters.shared, (nr + most - 1) / most);
	CHECK_EQ(domain.counters.sharing, nr - domain.counters.shared);
	CHECK_EQ(domain.counters.chains, 1);
	CHECK_EQ(domain.counters.dups, domain.counters.shared);
	world_end();
}

/* Any mapping that goes makes room that the next one finds. */
static void test_room(void)
{
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = 3;
	for (i = 0; i < 30; i++) {
		struct ksm_stable_node *node = insert(3, false)->node;

		append(node);
		append(node);
		append(node);
	}
	CHECK(!candidate_with_room(3));
	for (i = 0; i < rounds(500); i++) {
		struct model_item *model = &items[rnd_below(90)];
		struct ksm_stable_node *node = model->node;
		struct folio *folio;

		detach(model);
		folio = candidate_with_room(3);
		CHECK(folio);
		CHECK(ksm_folio_node(folio) == node);
		append(node);
		folio_put(folio);
		CHECK(!candidate_with_room(3));
	}
	check_world();
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
		struct ksm_stable_node *node = insert(5, false)->node;

		append(node);
		append(node);
	}
	first = ksm_stable_find(&domain, content_key(5));
	for (i = 0; i < 20; i++)
		if (nodes[i].node != first)
			page_vanish(page_of(nodes[i].node));
	/* Full, and not yet time to look who has gone. */
	jiffies += 999;
	CHECK(!candidate_with_room(5));
	CHECK_EQ(domain.counters.dups, 20);
	jiffies += 1;
	CHECK(!candidate_with_room(5));
	CHECK_EQ(domain.counters.dups, 0);
	CHECK_EQ(domain.counters.chains, 0);
	CHECK_EQ(domain.counters.shared, 1);
	check_world();
	world_end();
}

static void test_clear(void)
{
	struct folio *folio;
	unsigned int i;

	world_init(false);
	controls.max_page_sharing = 2;
	for (i = 0; i < 60; i++)
		append(insert(rnd_below(NR_CONTENTS), one_in(3))->node);
	CHECK(!ksm_stable_clear(&domain));
	check_world();
	/* Nothing maps them any more, but they live, as in the swap cache. */
	for (folio = frames; folio < frames + NR_FRAMES; folio += 2)
		folio->mapcount = 0;
	CHECK(!ksm_stable_clear(&domain));
	check_world();
	for (folio = frames; folio < frames + NR_FRAMES; folio++) {
		CHECK(!ksm_folio_node(folio) || folio->mapcount);
		folio->mapcount = 0;
	}
	CHECK(ksm_stable_clear(&domain));
	CHECK_EQ(shim_objects_of("ksm_stable_node"), 0);
	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		CHECK(!ksm_folio_node(folio));
	CHECK_EQ(domain.counters.shared, 0);
	CHECK_EQ(domain.counters.sharing, 0);
	world_end();
}

/* Memory that broke is shared no further; who maps it is to be found still. */
static void test_poison(void)
{
	struct ksm_stable_node *node;
	struct folio *folio;
	bool has_room;

	world_init(false);
	node = insert(3, false)->node;
	append(node);
	folio = page_of(node);
	folio->poisoned = true;
	CHECK_EQ(PTR_ERR(ksm_stable_candidate(&domain, content_key(3), &has_room)), -EBUSY);
	CHECK(ksm_folio_node(folio) == node);
	folio->mapcount = 0;
	CHECK(!ksm_stable_candidate(&domain, content_key(3), &has_room));
	CHECK(!ksm_folio_node(folio) && !folio->locked);
	CHECK_EQ(folio->refs, 1);
	CHECK_EQ(domain.counters.shared, 0);
	check_world();
	world_end();
}

const struct test stable_tests[] = {
	{ "random operations", test_random },
	{ "random operations while pages come and go", test_random_races },
	{ "random operations on several NUMA nodes", test_random_numa },
	{ "a bound on sharing makes as many pages as it takes", test_bound },
	{ "room is found wherever it is", test_room },
	{ "dups are pruned when it is time", test_prune },
	{ "clearing takes what nothing maps", test_clear },
	{ "memory that broke is shared no further", test_poison },
	{ "allocations that fail", test_init_no_memory },
	{ }
};
