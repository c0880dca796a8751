// SPDX-License-Identifier: GPL-2.0
/*
 * The cursor of a pass over the leaves of an mm, against an array that says which
 * pages there are.
 */

#include <limits.h>
#include <string.h>

#include <linux/slab.h>

#include "harness.h"

#define NR_RANGES	24
#define NR_PAGES	(NR_RANGES * KSM_LEAF_PAGES)

static struct ksm_domain domain;
static struct ksm_mm_slot slot;
static struct mm_struct mm;
static struct ksm_leaf_cursor cursor;
/* Pages that are there, and pages that are known. */
static bool present[NR_PAGES];
static bool known[NR_PAGES];

static void world_init(void)
{
	memset(&slot, 0, sizeof(slot));
	memset(&mm, 0, sizeof(mm));
	memset(present, 0, sizeof(present));
	memset(known, 0, sizeof(known));
	slot.slot.mm = &mm;
	CHECK_EQ(ksm_record_init(), 0);
	CHECK_EQ(ksm_domain_init(&domain, &lock, &controls, &secret), 0);
}

static void world_end(void)
{
	unsigned int budget = UINT_MAX;

	ksm_leaf_cursor_init(&cursor, &slot);
	CHECK(ksm_leaf_cursor_forget(&domain, &cursor, ULONG_MAX, &budget));
	ksm_leaves_free(&domain);
	CHECK(!slot.leaves);
	CHECK_EQ(domain.counters.records, 0);
	CHECK_EQ(domain.unstable.nr, 0);
	CHECK_EQ(domain.counters.leaf_bytes, 0);
	ksm_domain_destroy(&domain);
}

static struct ksm_record *record_of(struct ksm_leaf *leaf, unsigned int page)
{
	unsigned int i;

	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].offset == page % KSM_LEAF_PAGES)
			return &leaf->record[i];
	return NULL;
}

static unsigned int nr_used(const struct ksm_leaf *leaf)
{
	unsigned int i, nr = 0;

	for (i = 0; i < leaf->nr; i++)
		nr += leaf->record[i].state != KSM_NONE;
	return nr;
}

/* What the cursor keeps true; without failures no leaf behind it is too large. */
static void check_cursor(bool failures)
{
	struct ksm_leaf *leaf = slot.leaves;

	for (; leaf && ksm_leaf_start(leaf) + KSM_LEAF_BYTES <= cursor.done; leaf = leaf->next) {
		unsigned int nr = nr_used(leaf);

		CHECK_NE(nr, 0);
		CHECK(failures || !leaf->class ||
		      ksm_leaf_capacity(leaf->class - 1) < nr);
	}
	CHECK(*cursor.link == leaf);
	CHECK_EQ(ksm_leaf_cursor_next_start(&cursor), leaf ? ksm_leaf_start(leaf) : ULONG_MAX);
	CHECK(ksm_leaf_cursor_leaf(&cursor, cursor.done) ==
	      (ksm_leaf_covers(leaf, cursor.done) ? leaf : NULL));
}

static void check_known(void)
{
	bool found[NR_PAGES] = {};
	struct ksm_leaf *leaf;
	unsigned int i, nr = 0;

	for (leaf = slot.leaves; leaf; leaf = leaf->next)
		for (i = 0; i < leaf->nr; i++)
			if (leaf->record[i].state != KSM_NONE)
				found[ksm_record_address(&leaf->record[i]) >> PAGE_SHIFT] = true;
	for (i = 0; i < NR_PAGES; i++) {
		CHECK_EQ(found[i], known[i]);
		nr += found[i];
	}
	CHECK_EQ(domain.counters.records, nr);
	CHECK_EQ(mm.ksm_rmap_items, nr);
}

static unsigned int done_page(void)
{
	return cursor.done >> PAGE_SHIFT;
}

/* In steps, as a scan does that has other things to do. */
static void forget_until(unsigned int page, bool failures)
{
	const unsigned long address = page * PAGE_SIZE;
	bool done;

	do {
		const unsigned long records = domain.counters.records;
		unsigned int given = 1 + rnd_below(150), left = given;
		unsigned int from = done_page();

		done = ksm_leaf_cursor_forget(&domain, &cursor, address, &left);
		CHECK_LE(records - domain.counters.records, given + KSM_LEAF_PAGES - 1);
		CHECK(done ? cursor.done == address : cursor.done < address && !left);
		for (; from < done_page(); from++)
			known[from] = false;
		check_cursor(failures);
	} while (!done);
}

static u64 present_from(unsigned int page)
{
	u64 offsets = 0;

	do {
		if (present[page])
			offsets |= 1ULL << page % KSM_LEAF_PAGES;
	} while (++page % KSM_LEAF_PAGES);
	return offsets;
}

static struct ksm_record *get_record(unsigned int page)
{
	struct ksm_leaf *leaf = ksm_leaf_cursor_leaf(&cursor, page * PAGE_SIZE);
	struct ksm_record *record = leaf ? record_of(leaf, page) : NULL;

	if (record)
		return record;
	if (ksm_leaf_extend(&domain, &slot, cursor.link, page * PAGE_SIZE,
			    present_from(page)))
		return NULL;
	return record_of(ksm_leaf_cursor_leaf(&cursor, page * PAGE_SIZE), page);
}

static void scan_page(unsigned int page)
{
	struct ksm_record *record = get_record(page);

	if (!record)
		return;
	if (record->state == KSM_NONE)
		ksm_record_seen(&domain, record);
	else if (record->state == KSM_SEEN)
		ksm_record_insert(&domain, record);
	else if (one_in(3))
		ksm_record_changed(&domain, record, rnd());
	known[page] = true;
}

static void pass(bool failures)
{
	unsigned int page;

	ksm_leaf_cursor_init(&cursor, &slot);
	for (page = 0; page < NR_PAGES; page++) {
		if (!present[page] && one_in(4))
			continue;
		if (failures)
			shim.fail_after = rnd_below(4);
		forget_until(page + !present[page], failures);
		if (present[page]) {
			scan_page(page);
			ksm_leaf_cursor_scanned(&domain, &cursor, (page + 1) * PAGE_SIZE);
			check_cursor(failures);
		}
		shim.fail_after = -1;
		if (failures)
			continue;
		CHECK_EQ(known[page], present[page]);
	}
	forget_until(NR_PAGES, failures);
}

/* Pages come and go: single ones, and whole ranges. */
static void change_pages(void)
{
	unsigned int i, from, to;

	for (i = rnd_below(40); i; i--) {
		from = rnd_below(NR_PAGES);
		to = from + (one_in(4) ? rnd_below(300) : 1);
		for (; from < to && from < NR_PAGES; from++)
			present[from] = i % 2;
	}
}

static void run_passes(bool failures)
{
	unsigned long i;

	world_init();
	for (i = 0; i < rounds(60); i++) {
		change_pages();
		pass(failures);
		check_known();
	}
	/* Once nothing fails any more, two passes set all right. */
	pass(false);
	pass(false);
	check_known();
	CHECK(!memcmp(present, known, sizeof(known)));
	world_end();
}

static void test_passes(void)
{
	run_passes(false);
}

static void test_failures(void)
{
	run_passes(true);
}

/* 64 pages are known, and 63 of them go. */
static void test_shrink(void)
{
	unsigned int stays;

	for (stays = 0; stays < KSM_LEAF_PAGES; stays += 9) {
		world_init();
		memset(present, true, KSM_LEAF_PAGES);
		pass(false);
		CHECK_GE(slot.leaf_bytes, KSM_LEAF_PAGES * sizeof(struct ksm_record));
		memset(present, false, KSM_LEAF_PAGES);
		present[stays] = true;
		pass(false);
		CHECK_LE(slot.leaf_bytes, 99);
		CHECK_EQ(domain.counters.leaf_bytes, slot.leaf_bytes);
		check_known();
		world_end();
		shim_destroy_caches();
	}
}

/* A leaf that is skipped as a whole is not once one of its records has changed. */
static void test_leaf_skips(void)
{
	struct ksm_record *record;

	world_init();
	memset(present, true, KSM_LEAF_PAGES);
	pass(false);
	record = &slot.leaves->record[7];
	slot.leaves->skips = 60;
	ksm_record_changed(&domain, record, 1);
	CHECK_EQ(slot.leaves->skips, 0);
	ksm_record_insert(&domain, record);
	slot.leaves->skips = 60;
	ksm_record_remove(&domain, record);
	CHECK_EQ(slot.leaves->skips, 0);
	slot.leaves->skips = 60;
	ksm_record_unshare(&domain, record);
	CHECK_EQ(slot.leaves->skips, 0);
	slot.leaves->skips = 60;
	record->skips = 60;
	ksm_record_forget(&domain, record);
	CHECK_EQ(slot.leaves->skips, 0);
	CHECK_EQ(record->skips, 0);
	slot.leaves->skips = 60;
	ksm_record_seen(&domain, record);
	CHECK_EQ(slot.leaves->skips, 0);
	slot.leaves->skips = 60;
	CHECK_EQ(ksm_leaf_extend(&domain, &slot, &slot.leaves, 0, 0), 0);
	CHECK_EQ(slot.leaves->skips, 0);
	world_end();
}

/* A million records are forgotten in steps of at most a thousand. */
static void test_budget(void)
{
	struct ksm_leaf **link = &slot.leaves;
	unsigned long i, steps = 0;
	unsigned int budget;

	world_init();
	for (i = 0; i < 1000000 / KSM_LEAF_PAGES; i++) {
		unsigned int j;

		CHECK_EQ(ksm_leaf_extend(&domain, &slot, link, i * KSM_LEAF_BYTES, ~0ULL), 0);
		for (j = 0; j < KSM_LEAF_PAGES; j++)
			ksm_record_seen(&domain, &(*link)->record[j]);
		link = &(*link)->next;
	}
	ksm_leaf_cursor_init(&cursor, &slot);
	do {
		const unsigned long records = domain.counters.records;

		budget = 1000;
		if (ksm_leaf_cursor_forget(&domain, &cursor, ULONG_MAX, &budget))
			break;
		CHECK_LE(records - domain.counters.records, 1000 + KSM_LEAF_PAGES - 1);
		steps++;
	} while (true);
	CHECK_GE(steps, 900);
	world_end();
}

const struct test cursor_tests[] = {
	{ "passes while pages come and go", test_passes },
	{ "allocations that fail", test_failures },
	{ "a leaf shrinks when its pages go", test_shrink },
	{ "a change ends the skipping of a leaf", test_leaf_skips },
	{ "forgetting is bounded", test_budget },
	{ }
};
