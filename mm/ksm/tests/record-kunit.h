/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: tests of records and leaves.
 *
 * Each test has a domain of its own, and an mm without a task.
 */

#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_RECORD_KUNIT_H
#define _KSM_RECORD_KUNIT_H

#include <kunit/test.h>
#include <linux/mm_types.h>

/**
 * struct ksm_record_test - the state of a test
 * @lock: guards @domain
 * @controls: the controls of @domain
 * @key: the secret of @domain
 * @domain: its trees and counters
 * @slot: owner of its leaves
 * @mm: the mm of the pages
 */
struct ksm_record_test {
	struct ksm_lock lock;	/* what guards the domain */
	struct ksm_controls controls;
	struct ksm_key key;
	struct ksm_domain domain;
	struct ksm_mm_slot slot;
	struct mm_struct mm;
};

static int ksm_record_test_init(struct kunit *test)
{
	struct ksm_record_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	if (!t)
		return -ENOMEM;
	ksm_lock_init(&t->lock);
	t->controls.max_page_sharing = 256;
	t->controls.merge_across_nodes = true;
	if (ksm_domain_init(&t->domain, &t->lock, &t->controls, &t->key))
		return -ENOMEM;
	t->slot.slot.mm = &t->mm;
	test->priv = t;
	return 0;
}

/* Nothing is left once all pages are forgotten. */
static void ksm_record_test_exit(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf_cursor cursor;
	unsigned int budget = UINT_MAX;

	if (!t)
		return;
	ksm_leaf_cursor_init(&cursor, &t->slot);
	KUNIT_EXPECT_TRUE(test, ksm_leaf_cursor_forget(&t->domain, &cursor, ULONG_MAX,
						       &budget));
	ksm_leaves_free(&t->domain);
	KUNIT_EXPECT_NULL(test, t->slot.leaves);
	KUNIT_EXPECT_EQ(test, t->domain.counters.records, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.leaf_bytes, 0UL);
	KUNIT_EXPECT_EQ(test, t->slot.leaf_bytes, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.unstable.nr, 0UL);
	KUNIT_EXPECT_EQ(test, t->mm.ksm_rmap_items, 0UL);
	ksm_domain_destroy(&t->domain);
}

static void ksm_test_extend(struct kunit *test, struct ksm_leaf **link,
			    unsigned long address, u64 offsets)
{
	struct ksm_record_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, ksm_leaf_extend(&t->domain, &t->slot, link, address,
					      offsets), 0);
}

static struct ksm_record *ksm_test_record(struct ksm_leaf *leaf, unsigned int offset)
{
	unsigned int i;

	for (i = 0; i < leaf->nr; i++)
		if (leaf->record[i].offset == offset)
			return &leaf->record[i];
	return NULL;
}

static void ksm_test_capacity(struct kunit *test)
{
	unsigned int nr;

	KUNIT_EXPECT_EQ(test, ksm_leaf_capacity(0), 1);
	KUNIT_EXPECT_EQ(test, ksm_leaf_capacity(KSM_LEAF_CLASSES - 1), KSM_LEAF_PAGES);
	for (nr = 1; nr <= KSM_LEAF_PAGES; nr++) {
		unsigned int class = class_for(nr);

		KUNIT_EXPECT_LT(test, class, (unsigned int)KSM_LEAF_CLASSES);
		KUNIT_EXPECT_GE(test, ksm_leaf_capacity(class), nr);
		KUNIT_EXPECT_TRUE(test, !class || ksm_leaf_capacity(class - 1) < nr);
	}
	KUNIT_EXPECT_LE(test, leaf_size(KSM_LEAF_CLASSES - 1) / KSM_LEAF_PAGES, 17UL);
	KUNIT_EXPECT_LE(test, leaf_size(0), 40UL);
}

static void ksm_test_address(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	const unsigned long start = (TASK_SIZE - 1) & ~(KSM_LEAF_BYTES - 1);
	struct ksm_leaf *leaf;
	unsigned int i;

	ksm_test_extend(test, &t->slot.leaves, start + 5 * PAGE_SIZE, ~0ULL);
	leaf = t->slot.leaves;
	KUNIT_EXPECT_EQ(test, ksm_leaf_start(leaf), start);
	KUNIT_EXPECT_TRUE(test, ksm_leaf_covers(leaf, start));
	KUNIT_EXPECT_TRUE(test, ksm_leaf_covers(leaf, start + KSM_LEAF_BYTES - 1));
	KUNIT_EXPECT_FALSE(test, ksm_leaf_covers(leaf, start - 1));
	KUNIT_EXPECT_FALSE(test, ksm_leaf_covers(leaf, start + KSM_LEAF_BYTES));
	KUNIT_EXPECT_FALSE(test, ksm_leaf_covers(NULL, start));
	for (i = 0; i < KSM_LEAF_PAGES; i++) {
		KUNIT_EXPECT_EQ(test, ksm_record_address(&leaf->record[i]),
				start + i * PAGE_SIZE);
		KUNIT_EXPECT_PTR_EQ(test, ksm_leaf_of(&leaf->record[i]), leaf);
		KUNIT_EXPECT_PTR_EQ(test, ksm_record_mm(&leaf->record[i]), &t->mm);
	}
}

/* A larger leaf gets what is known, and its record is found in the index. */
static void ksm_test_take_over(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf **link = &t->slot.leaves;
	struct ksm_record *record;

	ksm_test_extend(test, link, 0, BIT_ULL(9) | BIT_ULL(40));
	record = ksm_test_record(*link, 40);
	ksm_record_seen(&t->domain, record);
	record->tag = 4711;
	record->full = true;
	record->age = 3;
	record->skips = 60;
	ksm_record_insert(&t->domain, record);

	ksm_test_extend(test, link, 0, GENMASK_ULL(20, 0));
	KUNIT_EXPECT_EQ(test, (int)(*link)->nr, 22);
	KUNIT_EXPECT_NOT_NULL(test, ksm_test_record(*link, 9));
	record = ksm_test_record(*link, 40);
	KUNIT_ASSERT_NOT_NULL(test, record);
	KUNIT_EXPECT_EQ(test, (int)record->state, KSM_UNSHARED);
	KUNIT_EXPECT_EQ(test, record->tag, 4711);
	KUNIT_EXPECT_TRUE(test, record->full);
	KUNIT_EXPECT_EQ(test, (int)record->age, 3);
	KUNIT_EXPECT_EQ(test, (int)record->skips, 60);
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_find(&t->domain.unstable, 4711, true),
			    record);
	KUNIT_EXPECT_EQ(test, t->domain.counters.records, 1UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.leaf_bytes,
			(unsigned long)leaf_size((*link)->class));
	KUNIT_EXPECT_EQ(test, t->slot.leaf_bytes, t->domain.counters.leaf_bytes);
}

/* The slot counts the pages of each reason, as long as they are in no tree. */
static void ksm_test_reason(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf **link = &t->slot.leaves;
	struct ksm_record *record;
	unsigned int i;

	ksm_test_extend(test, link, 0, GENMASK_ULL(3, 0));
	for (i = 0; i < 4; i++) {
		record = ksm_test_record(*link, i);
		ksm_record_seen(&t->domain, record);
		KUNIT_EXPECT_EQ(test, (int)record->reason, 0);
		ksm_record_set_reason(record, i / 2 + 3);
	}
	KUNIT_EXPECT_EQ(test, t->slot.nr_skipped[3], 2);
	KUNIT_EXPECT_EQ(test, t->slot.nr_skipped[4], 2);
	/* They keep their reasons when the leaf is replaced. */
	ksm_test_extend(test, link, 0, BIT_ULL(40));
	record = ksm_test_record(*link, 0);
	KUNIT_EXPECT_EQ(test, (int)record->reason, 3);
	ksm_record_insert(&t->domain, record);
	ksm_record_set_reason(record, 4);
	ksm_record_changed(&t->domain, ksm_test_record(*link, 1), 7);
	KUNIT_EXPECT_EQ(test, t->slot.nr_skipped[3], 0);
	ksm_record_remove(&t->domain, record);
	KUNIT_EXPECT_EQ(test, (int)record->reason, 0);
	ksm_record_forget(&t->domain, ksm_test_record(*link, 2));
	ksm_record_set_reason(ksm_test_record(*link, 3), 0);
	KUNIT_EXPECT_EQ(test, t->slot.nr_skipped[4], 0);
	KUNIT_EXPECT_EQ(test, t->slot.nr_skipped[0], 0);
}

/* A record that is free when its leaf is replaced is not kept. */
static void ksm_test_drop_free(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf **link = &t->slot.leaves;

	ksm_test_extend(test, link, 0, GENMASK_ULL(30, 10));
	ksm_record_seen(&t->domain, ksm_test_record(*link, 12));
	ksm_test_extend(test, link, 0, BIT_ULL(1));
	KUNIT_EXPECT_EQ(test, (int)(*link)->nr, 2);
	KUNIT_EXPECT_NOT_NULL(test, ksm_test_record(*link, 1));
	KUNIT_EXPECT_NOT_NULL(test, ksm_test_record(*link, 12));
}

static void ksm_test_fill_leaf(struct kunit *test, struct ksm_leaf **link,
			       unsigned long address)
{
	struct ksm_record_test *t = test->priv;
	unsigned int i;

	ksm_test_extend(test, link, address, ~0ULL);
	for (i = 0; i < KSM_LEAF_PAGES; i++) {
		ksm_record_seen(&t->domain, &(*link)->record[i]);
		if (i % 2)
			ksm_record_insert(&t->domain, &(*link)->record[i]);
	}
}

static void ksm_test_forget(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf **link = &t->slot.leaves;
	struct ksm_leaf_cursor cursor;
	unsigned int budget = UINT_MAX;

	ksm_test_fill_leaf(test, link, 0);
	KUNIT_EXPECT_EQ(test, t->mm.ksm_rmap_items, (unsigned long)KSM_LEAF_PAGES);
	KUNIT_EXPECT_EQ(test, t->domain.unstable.nr, KSM_LEAF_PAGES / 2UL);
	(*link)->record[12].skips = 60;
	ksm_leaf_cursor_init(&cursor, &t->slot);
	ksm_leaf_cursor_scanned(&t->domain, &cursor, 10 * PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, ksm_leaf_cursor_forget(&t->domain, &cursor, 20 * PAGE_SIZE,
						       &budget));
	KUNIT_EXPECT_EQ(test, t->domain.counters.records, KSM_LEAF_PAGES - 10UL);
	KUNIT_EXPECT_EQ(test, t->domain.unstable.nr, KSM_LEAF_PAGES / 2UL - 5);
	KUNIT_EXPECT_EQ(test, (int)(*link)->record[9].state, KSM_UNSHARED);
	KUNIT_EXPECT_EQ(test, (int)(*link)->record[10].state, KSM_NONE);
	KUNIT_EXPECT_EQ(test, (int)(*link)->record[12].skips, 0);
	KUNIT_EXPECT_EQ(test, (int)(*link)->record[20].state, KSM_SEEN);
	KUNIT_EXPECT_PTR_EQ(test, ksm_leaf_cursor_leaf(&cursor, 20 * PAGE_SIZE), *link);
}

/* A leaf of which one page is left takes no more than a leaf of one page. */
static void ksm_test_shrink(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf_cursor cursor;
	unsigned int budget = UINT_MAX;
	u32 tag;

	ksm_test_fill_leaf(test, &t->slot.leaves, 0);
	t->slot.leaves->skips = 7;
	ksm_leaf_cursor_init(&cursor, &t->slot);
	ksm_leaf_cursor_forget(&t->domain, &cursor, 33 * PAGE_SIZE, &budget);
	tag = ksm_test_record(t->slot.leaves, 33)->tag;
	ksm_leaf_cursor_scanned(&t->domain, &cursor, 34 * PAGE_SIZE);
	ksm_leaf_cursor_forget(&t->domain, &cursor, KSM_LEAF_BYTES, &budget);
	KUNIT_EXPECT_EQ(test, t->domain.counters.leaf_bytes, (unsigned long)leaf_size(0));
	KUNIT_EXPECT_EQ(test, (int)t->slot.leaves->skips, 0);
	KUNIT_EXPECT_EQ(test, t->domain.counters.records, 1UL);
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_find(&t->domain.unstable, tag, false),
			    &t->slot.leaves->record[0]);
	KUNIT_EXPECT_NULL(test, ksm_leaf_cursor_leaf(&cursor, KSM_LEAF_BYTES));
	KUNIT_EXPECT_EQ(test, ksm_leaf_cursor_next_start(&cursor), ULONG_MAX);
}

/* Leaves before an address go, within the budget.  Those behind it stay. */
static void ksm_test_budget(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_leaf **link = &t->slot.leaves, *leaf;
	struct ksm_leaf_cursor cursor;
	unsigned int i, budget = 2;

	for (i = 0; i < 6; i++) {
		ksm_test_extend(test, link, i * KSM_LEAF_BYTES, BIT_ULL(i));
		ksm_record_seen(&t->domain, &(*link)->record[0]);
		link = &(*link)->next;
	}
	ksm_leaf_cursor_init(&cursor, &t->slot);
	ksm_leaf_cursor_scanned(&t->domain, &cursor, KSM_LEAF_BYTES);
	KUNIT_EXPECT_FALSE(test, ksm_leaf_cursor_forget(&t->domain, &cursor,
							4 * KSM_LEAF_BYTES, &budget));
	KUNIT_EXPECT_EQ(test, budget, 0);
	KUNIT_EXPECT_EQ(test, cursor.done, 3 * KSM_LEAF_BYTES);
	budget = 2;
	KUNIT_EXPECT_TRUE(test, ksm_leaf_cursor_forget(&t->domain, &cursor,
						       4 * KSM_LEAF_BYTES, &budget));
	KUNIT_EXPECT_EQ(test, budget, 1);
	leaf = t->slot.leaves;
	KUNIT_ASSERT_NOT_NULL(test, leaf);
	KUNIT_EXPECT_EQ(test, ksm_leaf_start(leaf), 0UL);
	KUNIT_ASSERT_NOT_NULL(test, leaf->next);
	KUNIT_EXPECT_EQ(test, ksm_leaf_start(leaf->next), 4 * KSM_LEAF_BYTES);
	KUNIT_EXPECT_EQ(test, ksm_leaf_cursor_next_start(&cursor), 4 * KSM_LEAF_BYTES);
	KUNIT_EXPECT_EQ(test, t->domain.counters.records, 3UL);
}

/* A page that has changed or left the index is treated like a new one. */
static void ksm_test_changed(struct kunit *test)
{
	struct ksm_record_test *t = test->priv;
	struct ksm_record *record;

	ksm_test_extend(test, &t->slot.leaves, 0, 1);
	record = &t->slot.leaves->record[0];
	ksm_record_seen(&t->domain, record);
	record->tag = 1;
	record->full = true;
	record->age = 20;
	record->skips = 30;
	t->slot.leaves->skips = 40;
	ksm_record_insert(&t->domain, record);
	ksm_record_changed(&t->domain, record, 2);
	KUNIT_EXPECT_EQ(test, (int)record->state, KSM_SEEN);
	KUNIT_EXPECT_EQ(test, record->tag, 2);
	KUNIT_EXPECT_FALSE(test, record->full);
	KUNIT_EXPECT_EQ(test, (int)record->age, 0);
	KUNIT_EXPECT_EQ(test, (int)record->skips, 0);
	KUNIT_EXPECT_EQ(test, (int)t->slot.leaves->skips, 0);
	KUNIT_EXPECT_EQ(test, t->domain.unstable.nr, 0UL);
	KUNIT_EXPECT_EQ(test, t->domain.counters.changed, 2UL);
}

static struct kunit_case ksm_record_cases[] = {
	KUNIT_CASE(ksm_test_capacity),
	KUNIT_CASE(ksm_test_address),
	KUNIT_CASE(ksm_test_take_over),
	KUNIT_CASE(ksm_test_drop_free),
	KUNIT_CASE(ksm_test_forget),
	KUNIT_CASE(ksm_test_shrink),
	KUNIT_CASE(ksm_test_budget),
	KUNIT_CASE(ksm_test_changed),
	KUNIT_CASE(ksm_test_reason),
	{ }
};

static struct kunit_suite ksm_record_suite = {
	.name = "ksm_record",
	.init = ksm_record_test_init,
	.exit = ksm_record_test_exit,
	.test_cases = ksm_record_cases,
};

kunit_test_suite(ksm_record_suite);

#endif /* _KSM_RECORD_KUNIT_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
