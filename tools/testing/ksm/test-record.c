// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves and records against a plain array of what should be known of each page,
 * in two processes, in every state.
 */

#include <limits.h>
#include <string.h>

#include <linux/memcontrol.h>
#include <linux/rmap.h>
#include <linux/slab.h>

#include "harness.h"
#include "memory.h"

#define NR_OWNERS	2
#define NR_RANGES	40
#define NR_PAGES	KSM_LEAF_PAGES
#define NR_NODES	16

/**
 * struct model_page - what should be known of a page
 * @state: likewise
 * @tag: likewise
 * @age: likewise
 * @skips: likewise
 * @full: likewise
 * @reason: likewise, of a page that is %KSM_SEEN
 * @item: its rmap_item, where it is shared
 */
struct model_page {
	enum ksm_state state;
	u32 tag;
	unsigned int age;
	unsigned int skips;
	bool full;
	u8 reason;
	struct ksm_rmap_item *item;
};

/**
 * struct owner - a process
 * @slot: what the code under test has
 * @mm: its mm
 * @pages: what its leaves should hold
 */
struct owner {
	struct ksm_mm_slot slot;
	struct mm_struct mm;
	struct model_page pages[NR_RANGES][NR_PAGES];
};

static struct owner owners[NR_OWNERS];
static struct ksm_domain domain;
static struct anon_vma anon_vma;
static struct mem_cgroup groups[NR_OWNERS];
static struct ksm_stable_node *nodes[NR_NODES];

static void world_init(void)
{
	unsigned int i;

	memset(owners, 0, sizeof(owners));
	memset(nodes, 0, sizeof(nodes));
	memset(groups, 0, sizeof(groups));
	anon_vma.refs = 0;
	for (i = 0; i < NR_OWNERS; i++) {
		owners[i].slot.slot.mm = &owners[i].mm;
		owners[i].mm.memcg = &groups[i];
	}
	CHECK_EQ(ksm_record_init(), 0);
	CHECK_EQ(ksm_stable_init(), 0);
	CHECK_EQ(ksm_domain_init(&domain, &lock, &controls, &secret), 0);
}

/* Ranges lie side by side, in places, and up to the end of a large address space. */
static unsigned long range_start(unsigned int range)
{
	unsigned long nr = range < NR_RANGES / 2 ? 7 + range :
			   (1UL << (56 - PAGE_SHIFT - KSM_LEAF_SHIFT)) - NR_RANGES + range;

	return nr * KSM_LEAF_BYTES;
}

static unsigned long address_of(unsigned int range, unsigned int page)
{
	return range_start(range) + page * PAGE_SIZE;
}

/* Where the leaf of a range is linked, or would be. */
static struct ksm_leaf **link_of(struct owner *owner, unsigned int range)
{
	struct ksm_leaf **link = &owner->slot.leaves;

	while (*link && ksm_leaf_start(*link) < range_start(range))
		link = &(*link)->next;
	return link;
}

static struct ksm_record *record_of(struct owner *owner, unsigned int range,
				    unsigned int page)
{
	struct ksm_leaf *leaf = *link_of(owner, range);
	unsigned int i;

	if (!ksm_leaf_covers(leaf, address_of(range, page)))
		return NULL;
	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].offset == page)
			return &leaf->record[i];
	return NULL;
}

static bool in_unstable(const struct ksm_record *wanted)
{
	struct ksm_record *record = bucket_of(&domain.unstable, wanted->tag);

	while (record && record != wanted)
		record = record->next;
	return record;
}

static void check_record(const struct ksm_record *record, const struct model_page *page)
{
	CHECK_EQ(record->state, page->state);
	if (page->state == KSM_NONE)
		return;
	CHECK_EQ(record->tag, page->tag);
	CHECK_EQ(record->age, page->age);
	CHECK_EQ(record->skips, page->skips);
	CHECK_EQ(record->full, page->full);
	if (page->state == KSM_SEEN)
		CHECK_EQ(record->reason, page->reason);
	if (page->state == KSM_SHARED)
		CHECK(record->item == page->item);
	if (page->state == KSM_UNSHARED)
		CHECK(in_unstable(record));
}

static void check_page(struct owner *owner, unsigned int range, unsigned int page)
{
	struct ksm_record *record = record_of(owner, range, page);
	struct ksm_leaf *leaf = *link_of(owner, range);

	if (!record) {
		CHECK_EQ(owner->pages[range][page].state, KSM_NONE);
		return;
	}
	check_record(record, &owner->pages[range][page]);
	CHECK_EQ(record->slot, record - leaf->record);
	CHECK(ksm_leaf_of(record) == leaf);
	CHECK_EQ(ksm_record_address(record), address_of(range, page));
	CHECK(ksm_record_mm(record) == &owner->mm);
}

static unsigned long check_leaf(const struct ksm_leaf *leaf, struct owner *owner)
{
	const unsigned int capacity = ksm_leaf_capacity(leaf->class);
	unsigned int i;

	CHECK(leaf->owner == &owner->slot);
	CHECK(leaf->class < KSM_LEAF_CLASSES);
	CHECK_LE(leaf->nr, capacity);
	CHECK_LE(leaf->nr, NR_PAGES);
	for (i = 1; i < leaf->nr; i++)
		CHECK(leaf->record[i - 1].offset < leaf->record[i].offset);
	if (leaf->next)
		CHECK(leaf->range < leaf->next->range);
	CHECK_EQ(shim_object_size((void *)leaf),
		 sizeof(*leaf) + capacity * sizeof(leaf->record[0]));
	return shim_object_size((void *)leaf);
}

/* The slot counts the pages of each reason, but not those that have changed. */
static void check_reasons(const struct owner *owner)
{
	unsigned int nr[KSM_NR_SKIPS] = {}, range, page, i;

	for (range = 0; range < NR_RANGES; range++)
		for (page = 0; page < NR_PAGES; page++)
			if (owner->pages[range][page].state == KSM_SEEN)
				nr[owner->pages[range][page].reason]++;
	CHECK_EQ(owner->slot.nr_skipped[0], 0);
	for (i = 1; i < KSM_NR_SKIPS; i++)
		CHECK_EQ(owner->slot.nr_skipped[i], nr[i]);
}

static void check_counters(const unsigned long *nr, unsigned long leaf_bytes)
{
	CHECK_EQ(domain.counters.records, nr[KSM_SEEN] + nr[KSM_UNSHARED] + nr[KSM_SHARED]);
	CHECK_EQ(domain.unstable.nr, nr[KSM_UNSHARED]);
	CHECK_EQ(domain.counters.leaf_bytes, leaf_bytes);
	CHECK_EQ(shim_objects_of("ksm_rmap_item"), nr[KSM_SHARED]);
	CHECK_EQ(anon_vma.refs, nr[KSM_SHARED]);
	CHECK_LE(domain.counters.shared + domain.counters.sharing, nr[KSM_SHARED]);
}

static void check_world(void)
{
	unsigned long nr[KSM_SHARED + 1] = {}, leaf_bytes = 0;
	unsigned int i, range, page;

	for (i = 0; i < NR_OWNERS; i++) {
		struct owner *owner = &owners[i];
		unsigned long used = 0, bytes = 0;
		struct ksm_leaf *leaf;

		for (leaf = owner->slot.leaves; leaf; leaf = leaf->next)
			bytes += check_leaf(leaf, owner);
		CHECK_EQ(owner->slot.leaf_bytes, bytes);
		leaf_bytes += bytes;
		for (range = 0; range < NR_RANGES; range++) {
			for (page = 0; page < NR_PAGES; page++) {
				check_page(owner, range, page);
				nr[owner->pages[range][page].state]++;
				used += owner->pages[range][page].state != KSM_NONE;
			}
		}
		CHECK_EQ(owner->mm.ksm_rmap_items, used);
		check_reasons(owner);
	}
	check_counters(nr, leaf_bytes);
}

static struct ksm_stable_node *any_node(void)
{
	unsigned int i = rnd_below(NR_NODES);
	struct folio *folio;

	if (nodes[i] && page_of(nodes[i]))
		return nodes[i];
	folio = page_new();
	CHECK(folio);
	nodes[i] = ksm_node_alloc();
	CHECK(nodes[i]);
	ksm_stable_insert(&domain, nodes[i], folio, rnd_below(4), 0);
	page_share(folio, nodes[i]);
	return nodes[i];
}

static struct ksm_rmap_item *share(struct owner *owner, struct ksm_record *record)
{
	struct ksm_rmap_item *item = ksm_item_alloc();

	CHECK(item);
	item->slot = &owner->slot;
	item->anon_vma = &anon_vma;
	anon_vma.refs++;
	ksm_record_unshare(&domain, record);
	record->item = item;
	record->state = KSM_SHARED;
	ksm_stable_append(&domain, any_node(), item);
	return item;
}

/* A page that was looked at: into any state, out of any state. */
static void use(struct owner *owner, unsigned int range, unsigned int page)
{
	struct ksm_record *record = record_of(owner, range, page);
	struct model_page *model = &owner->pages[range][page];

	if (!record)
		return;
	if (record->state == KSM_NONE) {
		ksm_record_seen(&domain, record);
		CHECK_EQ(record->age, 0);
		CHECK_EQ(record->skips, 0);
	} else {
		ksm_record_unshare(&domain, record);
	}
	CHECK_EQ(record->state, KSM_SEEN);
	CHECK_EQ(record->reason, 0);
	*model = (struct model_page){
		.state = KSM_SEEN + rnd_below(3),
		.tag = rnd_below(8) << 29 | rnd_below(2),
		.age = rnd_below(32),
		.skips = rnd_below(256),
		.full = one_in(2),
		.reason = rnd_below(KSM_NR_SKIPS),
	};
	ksm_record_set_reason(record, model->reason);
	if (model->state == KSM_SHARED)
		model->item = share(owner, record);
	record->tag = model->tag;
	record->age = model->age;
	record->skips = model->skips;
	record->full = model->full;
	if (model->state == KSM_UNSHARED)
		ksm_record_insert(&domain, record);
	/* Only a page that is neither merged nor in the index has a reason. */
	if (model->state != KSM_SEEN)
		ksm_record_set_reason(record, 1);
}

/* The page has changed: any reason that it had is gone. */
static void op_changed(void)
{
	struct owner *owner = &owners[rnd_below(NR_OWNERS)];
	unsigned int range = rnd_below(NR_RANGES), page = rnd_below(NR_PAGES);
	struct ksm_record *record = record_of(owner, range, page);
	const u32 tag = rnd_below(8) << 29 | rnd_below(2);

	if (!record || record->state == KSM_NONE || record->state == KSM_SHARED)
		return;
	ksm_record_changed(&domain, record, tag);
	owner->pages[range][page] = (struct model_page){ .state = KSM_SEEN, .tag = tag };
}

static struct owner *any_owner(void)
{
	return &owners[rnd_below(NR_OWNERS)];
}

static u64 any_offsets(void)
{
	switch (rnd_below(4)) {
	case 0:
		return 1ULL << rnd_below(64);
	case 1:
		return ~0ULL;
	case 2:
		return rnd() & rnd() & rnd();
	default:
		return rnd();
	}
}

static u64 used_offsets(struct owner *owner, unsigned int range)
{
	u64 offsets = 0;
	unsigned int page;

	for (page = 0; page < NR_PAGES; page++)
		if (owner->pages[range][page].state != KSM_NONE)
			offsets |= 1ULL << page;
	return offsets;
}

static void check_extended(struct owner *owner, unsigned int range, u64 wanted)
{
	const unsigned int nr = __builtin_popcountll(wanted);
	struct ksm_leaf *leaf = *link_of(owner, range);
	unsigned int page;

	CHECK(ksm_leaf_covers(leaf, range_start(range)));
	CHECK(!ksm_leaf_covers(leaf, range_start(range) - 1));
	CHECK(!ksm_leaf_covers(leaf, range_start(range) + KSM_LEAF_BYTES));
	CHECK_EQ(leaf->nr, nr);
	/* The smallest class that does. */
	CHECK(!leaf->class || ksm_leaf_capacity(leaf->class - 1) < nr);
	for (page = 0; page < NR_PAGES; page++)
		CHECK_EQ(!!record_of(owner, range, page), wanted >> page & 1);
}

static void op_extend(void)
{
	struct owner *owner = any_owner();
	unsigned int range = rnd_below(NR_RANGES);
	struct ksm_leaf **link = link_of(owner, range);
	u64 offsets = any_offsets(), wanted = offsets | used_offsets(owner, range);
	unsigned long address = address_of(range, rnd_below(NR_PAGES)) + rnd_below(PAGE_SIZE);
	unsigned int i;

	CHECK_EQ(ksm_leaf_extend(&domain, &owner->slot, link, address, offsets), 0);
	CHECK(link == link_of(owner, range));
	check_extended(owner, range, wanted);
	for (i = rnd_below(20); i; i--)
		use(owner, range, rnd_below(NR_PAGES));
}

static void op_extend_fails(void)
{
	struct owner *owner = any_owner();
	unsigned int range = rnd_below(NR_RANGES);
	struct ksm_leaf **link = link_of(owner, range), *leaf = *link;

	shim.fail_after = 0;
	CHECK_EQ(ksm_leaf_extend(&domain, &owner->slot, link, range_start(range),
				 any_offsets()), -ENOMEM);
	shim.fail_after = -1;
	CHECK(*link == leaf);
	check_world();
}

static void op_use(void)
{
	use(any_owner(), rnd_below(NR_RANGES), rnd_below(NR_PAGES));
}

static void op_forget_record(void)
{
	struct owner *owner = any_owner();
	unsigned int range = rnd_below(NR_RANGES), page = rnd_below(NR_PAGES);
	struct ksm_record *record = record_of(owner, range, page);

	if (!record)
		return;
	ksm_record_forget(&domain, record);
	owner->pages[range][page].state = KSM_NONE;
}

/* A cursor that has come to a page. */
static struct ksm_leaf_cursor cursor_at(struct owner *owner, unsigned int range,
					unsigned int page)
{
	return (struct ksm_leaf_cursor){
		.link = link_of(owner, range),
		.done = address_of(range, page),
	};
}

static void op_forget_part(void)
{
	struct owner *owner = any_owner();
	unsigned int range = rnd_below(NR_RANGES), from = rnd_below(NR_PAGES),
		     to = from + rnd_below(NR_PAGES + 1 - from), budget = NR_PAGES;
	struct ksm_leaf_cursor cursor = cursor_at(owner, range, from);

	CHECK(ksm_leaf_cursor_forget(&domain, &cursor, address_of(range, to), &budget));
	CHECK_EQ(cursor.done, address_of(range, to));
	for (; from < to; from++)
		owner->pages[range][from].state = KSM_NONE;
}

/* At the end of a leaf: it is freed, or made as small as it can be. */
static void op_scanned(void)
{
	struct owner *owner = any_owner();
	unsigned int range = rnd_below(NR_RANGES);
	struct ksm_leaf_cursor cursor = cursor_at(owner, range, rnd_below(NR_PAGES));
	unsigned int nr = __builtin_popcountll(used_offsets(owner, range));
	struct ksm_leaf *leaf;

	ksm_leaf_cursor_scanned(&domain, &cursor, address_of(range, NR_PAGES));
	leaf = *link_of(owner, range);
	CHECK_EQ(ksm_leaf_covers(leaf, range_start(range)), !!nr);
	if (nr)
		CHECK(!leaf->class || ksm_leaf_capacity(leaf->class - 1) < nr);
	CHECK(*cursor.link == (nr ? leaf->next : leaf));
}

/* As a scan does that finds nothing between two addresses. */
static void op_forget_many(void)
{
	struct owner *owner = any_owner();
	unsigned int from = rnd_below(NR_RANGES), to = from + rnd_below(5);
	struct ksm_leaf_cursor cursor = cursor_at(owner, from, 0);
	unsigned int budget = 5 * NR_PAGES;

	if (to > NR_RANGES - 1)
		to = NR_RANGES - 1;
	CHECK(ksm_leaf_cursor_forget(&domain, &cursor, range_start(to), &budget));
	CHECK(cursor.link == link_of(owner, from));
	CHECK(!*cursor.link || ksm_leaf_start(*cursor.link) >= range_start(to));
	for (; from < to; from++)
		memset(owner->pages[from], 0, sizeof(owner->pages[from]));
}

/* The page that several share goes away under them. */
static void op_vanish(void)
{
	struct ksm_stable_node *node = nodes[rnd_below(NR_NODES)];
	struct folio *folio = node ? page_of(node) : NULL;

	if (folio)
		page_vanish(folio);
}

static void forget_all(void)
{
	unsigned int i;

	for (i = 0; i < NR_OWNERS; i++) {
		struct ksm_leaf_cursor cursor;
		unsigned int budget = UINT_MAX;

		ksm_leaf_cursor_init(&cursor, &owners[i].slot);
		CHECK(ksm_leaf_cursor_forget(&domain, &cursor, ULONG_MAX, &budget));
		CHECK(!owners[i].slot.leaves);
		memset(owners[i].pages, 0, sizeof(owners[i].pages));
	}
	ksm_leaves_free(&domain);
}

static void world_end(void)
{
	struct folio *folio;

	forget_all();
	check_world();
	CHECK_EQ(domain.counters.shared, 0);
	CHECK_EQ(domain.counters.sharing, 0);
	for (folio = frames; folio < frames + NR_FRAMES; folio++)
		page_vanish(folio);
	while (ksm_stable_reap_step(&domain))
		;
	CHECK(RB_EMPTY_ROOT(&domain.stable));
	ksm_domain_destroy(&domain);
}

static void test_random(void)
{
	static void (* const ops[])(void) = {
		op_extend, op_extend, op_extend, op_extend, op_extend_fails,
		op_use, op_use, op_use, op_use, op_use, op_use, op_use,
		op_changed, op_changed,
		op_forget_record, op_forget_part, op_scanned, op_scanned,
		op_forget_many, op_vanish,
	};
	unsigned long i;

	world_init();
	controls.max_page_sharing = 5;
	for (i = 0; i < rounds(5000); i++) {
		ops[rnd_below(ARRAY_SIZE(ops))]();
		if (one_in(10))
			check_world();
	}
	check_world();
	world_end();
}

static void test_take_over(void)
{
	struct owner *owner = &owners[0];
	unsigned int page;

	/* Grown a page at a time, in any order, a leaf loses nothing. */
	world_init();
	for (page = 0; page < NR_PAGES; page++) {
		unsigned int at = page * 37 % NR_PAGES;

		CHECK_EQ(ksm_leaf_extend(&domain, &owner->slot, link_of(owner, 3),
					 address_of(3, at), 1ULL << at), 0);
		use(owner, 3, at);
		check_world();
	}
	CHECK_EQ(domain.counters.records, NR_PAGES);
	world_end();
}

static void test_no_memory(void)
{
	unsigned int after;

	for (after = 0; after < KSM_LEAF_CLASSES; after++) {
		shim.fail_after = after;
		CHECK_EQ(ksm_record_init(), -ENOMEM);
		CHECK_EQ(shim.caches, 0);
	}
	shim.fail_after = -1;
}

/* All of a leaf is charged to the memory cgroup of its mm, and to no other. */
static void test_charge(void)
{
	struct owner *owner = &owners[0];
	unsigned int budget = NR_PAGES;
	struct ksm_leaf_cursor cursor;

	world_init();
	CHECK_EQ(ksm_leaf_extend(&domain, &owner->slot, &owner->slot.leaves,
				 address_of(0, 0), ~0ULL), 0);
	CHECK_EQ(groups[0].charged, owner->slot.leaf_bytes);
	use(owner, 0, 5);
	/* At its limit the cgroup gets no leaf, and a large leaf stays. */
	groups[0].full = true;
	CHECK_EQ(ksm_leaf_extend(&domain, &owner->slot, link_of(owner, 3),
				 address_of(3, 0), 1), -ENOMEM);
	cursor = cursor_at(owner, 0, 0);
	ksm_leaf_cursor_scanned(&domain, &cursor, address_of(0, NR_PAGES));
	CHECK_EQ(groups[0].charged, owner->slot.leaf_bytes);
	check_world();
	/* The leaf becomes smaller in the next pass. */
	groups[0].full = false;
	cursor = cursor_at(owner, 0, 0);
	ksm_leaf_cursor_scanned(&domain, &cursor, address_of(0, NR_PAGES));
	ksm_leaves_free(&domain);
	CHECK_LE(owner->slot.leaf_bytes, 100);
	CHECK_EQ(groups[0].charged, owner->slot.leaf_bytes);
	check_world();
	cursor = cursor_at(owner, 0, 0);
	ksm_leaf_cursor_forget(&domain, &cursor, address_of(0, NR_PAGES), &budget);
	ksm_leaves_free(&domain);
	owner->pages[0][5].state = KSM_NONE;
	CHECK_EQ(groups[0].charged, 0);
	CHECK_EQ(groups[1].charged, 0);
	CHECK_EQ(groups[0].references, 0);
	world_end();
}

const struct test record_tests[] = {
	{ "random operations", test_random },
	{ "a leaf takes over from a smaller one", test_take_over },
	{ "allocations that fail", test_no_memory },
	{ "leaves are charged to the cgroup of their pages", test_charge },
	{ }
};
