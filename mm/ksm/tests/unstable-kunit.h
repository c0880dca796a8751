/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: tests of the index of pages that are not shared.
 *
 * Each test has an index of its own.
 */

#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_UNSTABLE_KUNIT_H
#define _KSM_UNSTABLE_KUNIT_H

#include <kunit/test.h>
#include <linux/random.h>

/* Enough for several segments of buckets. */
#define KSM_TEST_RECORDS	(8 * KSM_UNSTABLE_LOAD * KSM_SEGMENT_WORDS)

static int ksm_unstable_test_init(struct kunit *test)
{
	struct ksm_unstable *unstable = kunit_kzalloc(test, sizeof(*unstable), GFP_KERNEL);

	if (!unstable || ksm_unstable_init(unstable))
		return -ENOMEM;
	test->priv = unstable;
	return 0;
}

static void ksm_unstable_test_exit(struct kunit *test)
{
	if (test->priv)
		ksm_unstable_destroy(test->priv);
}

static struct ksm_record *ksm_test_records(struct kunit *test, unsigned long nr)
{
	struct ksm_record *record = kunit_kcalloc(test, nr, sizeof(*record), GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, record);
	for (i = 0; i < nr; i++)
		record[i].tag = get_random_u32();
	return record;
}

static void ksm_test_insert_find_remove(struct kunit *test)
{
	struct ksm_unstable *unstable = test->priv;
	struct ksm_record *record = ksm_test_records(test, 1);
	const u32 tag = record->tag;

	KUNIT_EXPECT_NULL(test, ksm_unstable_find(unstable, tag, false));
	ksm_unstable_insert(unstable, record);
	KUNIT_EXPECT_EQ(test, (int)record->state, KSM_UNSHARED);
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_find(unstable, tag, false), record);
	KUNIT_EXPECT_NULL(test, ksm_unstable_find(unstable, tag, true));
	KUNIT_EXPECT_NULL(test, ksm_unstable_find(unstable, tag ^ 1, false));
	ksm_unstable_remove(unstable, record);
	KUNIT_EXPECT_EQ(test, (int)record->state, KSM_SEEN);
	KUNIT_EXPECT_NULL(test, ksm_unstable_find(unstable, tag, false));
	KUNIT_EXPECT_EQ(test, unstable->nr, 0UL);
}

/* Three records in one chain: each leaves without taking another along. */
static void ksm_test_chain(struct kunit *test)
{
	struct ksm_unstable *unstable = test->priv;
	struct ksm_record *record = ksm_test_records(test, 3);
	unsigned int i;

	for (i = 0; i < 3; i++) {
		record[i].tag = 0x12345670 + i;
		ksm_unstable_insert(unstable, &record[i]);
	}
	ksm_unstable_remove(unstable, &record[1]);
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_find(unstable, 0x12345670, false),
			    &record[0]);
	KUNIT_EXPECT_NULL(test, ksm_unstable_find(unstable, 0x12345671, false));
	KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_find(unstable, 0x12345672, false),
			    &record[2]);
	ksm_unstable_remove(unstable, &record[2]);
	ksm_unstable_remove(unstable, &record[0]);
	KUNIT_EXPECT_EQ(test, unstable->nr, 0UL);
}

static void ksm_test_same_tag(struct kunit *test)
{
	struct ksm_unstable *unstable = test->priv;
	struct ksm_record *record = ksm_test_records(test, 4), *found;
	unsigned int i, nr = 0;

	for (i = 0; i < 4; i++) {
		record[i].tag = record[0].tag;
		record[i].full = i != 2;
		ksm_unstable_insert(unstable, &record[i]);
	}
	for (found = ksm_unstable_find(unstable, record[0].tag, true); found;
	     found = ksm_unstable_next(found)) {
		KUNIT_EXPECT_PTR_NE(test, found, &record[2]);
		nr++;
	}
	KUNIT_EXPECT_EQ(test, nr, 3);
}

static void ksm_test_move(struct kunit *test)
{
	struct ksm_unstable *unstable = test->priv;
	struct ksm_record *record = ksm_test_records(test, 4);
	unsigned int i;

	for (i = 0; i < 3; i++) {
		record[i].tag = 7 + i;
		ksm_unstable_insert(unstable, &record[i]);
	}
	record[3] = record[1];
	ksm_unstable_move(unstable, &record[1], &record[3]);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_PTR_EQ(test, ksm_unstable_find(unstable, 7 + i, false),
				    &record[i == 1 ? 3 : i]);
	KUNIT_EXPECT_EQ(test, unstable->nr, 3UL);
}

static void ksm_test_size(struct kunit *test)
{
	struct ksm_unstable *unstable = test->priv;
	struct ksm_record *record = ksm_test_records(test, KSM_TEST_RECORDS);
	unsigned long i, lost = 0;

	for (i = 0; i < KSM_TEST_RECORDS; i++) {
		ksm_unstable_insert(unstable, &record[i]);
		if (ksm_unstable_needs_adjust(unstable))
			ksm_unstable_adjust(unstable);
	}
	KUNIT_EXPECT_GE(test, unstable->buckets.nr * KSM_UNSTABLE_LOAD, KSM_TEST_RECORDS);
	KUNIT_EXPECT_GT(test, ksm_unstable_bytes(unstable), 0UL);
	KUNIT_EXPECT_EQ(test, unstable->nr, KSM_TEST_RECORDS);
	for (i = 0; i < KSM_TEST_RECORDS; i++)
		lost += !ksm_unstable_find(unstable, record[i].tag, false);
	KUNIT_EXPECT_EQ(test, lost, 0UL);
	for (i = 0; i < KSM_TEST_RECORDS; i++)
		ksm_unstable_remove(unstable, &record[i]);
	KUNIT_EXPECT_EQ(test, unstable->nr, 0UL);
	while (ksm_unstable_adjust(unstable))
		cond_resched();
	KUNIT_EXPECT_EQ(test, unstable->buckets.nr, KSM_UNSTABLE_MIN_BUCKETS);
	KUNIT_EXPECT_EQ(test, ksm_unstable_bytes(unstable), 0UL);
}

static struct kunit_case ksm_unstable_cases[] = {
	KUNIT_CASE(ksm_test_insert_find_remove),
	KUNIT_CASE(ksm_test_chain),
	KUNIT_CASE(ksm_test_same_tag),
	KUNIT_CASE(ksm_test_move),
	KUNIT_CASE(ksm_test_size),
	{ }
};

static struct kunit_suite ksm_unstable_suite = {
	.name = "ksm_unstable",
	.init = ksm_unstable_test_init,
	.exit = ksm_unstable_test_exit,
	.test_cases = ksm_unstable_cases,
};

kunit_test_suite(ksm_unstable_suite);

#endif /* _KSM_UNSTABLE_KUNIT_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
