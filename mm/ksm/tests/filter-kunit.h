/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: tests of the filter.
 *
 * Each test has a filter of its own.
 */

#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_FILTER_KUNIT_H
#define _KSM_FILTER_KUNIT_H

#include <kunit/test.h>
#include <linux/random.h>
#include <linux/sched.h>

/* Enough for several segments of words. */
#define KSM_TEST_TAGS	(4 * KSM_FILTER_MOST_TAGS * KSM_SEGMENT_WORDS)

static int ksm_filter_test_init(struct kunit *test)
{
	struct ksm_filter *filter = kunit_kzalloc(test, sizeof(*filter), GFP_KERNEL);

	if (!filter || ksm_filter_init(filter))
		return -ENOMEM;
	test->priv = filter;
	return 0;
}

static void ksm_filter_test_exit(struct kunit *test)
{
	if (test->priv)
		ksm_filter_destroy(test->priv);
}

static void ksm_test_resize(struct ksm_filter *filter, unsigned long nr_tags)
{
	while (ksm_filter_adjust(filter, nr_tags))
		cond_resched();
}

static void ksm_test_ambiguous(struct kunit *test)
{
	struct ksm_filter *filter = test->priv;
	const u32 tag = 0x12345678;

	KUNIT_EXPECT_FALSE(test, ksm_filter_repeated(filter, tag));
	ksm_filter_set_repeated(filter, tag);
	KUNIT_EXPECT_TRUE(test, ksm_filter_repeated(filter, tag));
	KUNIT_EXPECT_FALSE(test, ksm_filter_ambiguous(filter, tag));
	ksm_filter_set_ambiguous(filter, tag + 1);
	KUNIT_EXPECT_TRUE(test, ksm_filter_repeated(filter, tag + 1));
	KUNIT_EXPECT_TRUE(test, ksm_filter_ambiguous(filter, tag + 1));
	KUNIT_EXPECT_FALSE(test, ksm_filter_ambiguous(filter, tag));
}

/* No size loses a tag, and the smallest size takes no more than at first. */
static void ksm_test_filter_size(struct kunit *test)
{
	struct ksm_filter *filter = test->priv;
	u32 tag[20];
	unsigned int i;

	get_random_bytes(tag, sizeof(tag));
	for (i = 0; i < ARRAY_SIZE(tag); i++)
		ksm_filter_set_ambiguous(filter, tag[i]);
	ksm_test_resize(filter, KSM_TEST_TAGS);
	KUNIT_EXPECT_GE(test, filter->bits.words.nr * KSM_FILTER_MOST_TAGS, KSM_TEST_TAGS);
	KUNIT_EXPECT_GT(test, ksm_filter_bytes(filter), 0UL);
	for (i = 0; i < ARRAY_SIZE(tag); i++)
		KUNIT_EXPECT_TRUE(test, ksm_filter_ambiguous(filter, tag[i]));
	ksm_test_resize(filter, 0);
	KUNIT_EXPECT_EQ(test, filter->bits.words.nr, KSM_FILTER_MIN_WORDS);
	KUNIT_EXPECT_EQ(test, ksm_filter_bytes(filter), 0UL);
	for (i = 0; i < ARRAY_SIZE(tag); i++)
		KUNIT_EXPECT_TRUE(test, ksm_filter_ambiguous(filter, tag[i]));
}

/* A rebuild keeps what is set while the new bits are filled, and nothing else. */
static void ksm_test_rebuild(struct kunit *test)
{
	struct ksm_filter *filter = test->priv;
	unsigned long i;

	ksm_test_resize(filter, KSM_TEST_TAGS);
	for (i = 0; !ksm_filter_saturated(filter) && i < KSM_TEST_TAGS * BITS_PER_LONG; i++)
		ksm_filter_set_repeated(filter, get_random_u32());
	KUNIT_ASSERT_TRUE(test, ksm_filter_saturated(filter));
	ksm_filter_begin_rebuild(filter);
	while (filter->rebuild == KSM_REBUILD_ALLOCATE)
		ksm_filter_allocate_step(filter);
	KUNIT_ASSERT_EQ(test, (int)filter->rebuild, KSM_REBUILD_FILL);
	ksm_filter_set_repeated(filter, 4711);
	KUNIT_EXPECT_TRUE(test, ksm_filter_repeated(filter, 4711));
	ksm_filter_use_spare(filter);
	while (filter->rebuild == KSM_REBUILD_FREE)
		ksm_filter_free_step(filter);
	KUNIT_EXPECT_TRUE(test, ksm_filter_repeated(filter, 4711));
	KUNIT_EXPECT_EQ(test, filter->bits.nr_set, 1UL);
	KUNIT_EXPECT_FALSE(test, ksm_filter_saturated(filter));
}

static struct kunit_case ksm_filter_cases[] = {
	KUNIT_CASE(ksm_test_ambiguous),
	KUNIT_CASE(ksm_test_filter_size),
	KUNIT_CASE(ksm_test_rebuild),
	{ }
};

static struct kunit_suite ksm_filter_suite = {
	.name = "ksm_filter",
	.init = ksm_filter_test_init,
	.exit = ksm_filter_test_exit,
	.test_cases = ksm_filter_cases,
};

kunit_test_suite(ksm_filter_suite);

#endif /* _KSM_FILTER_KUNIT_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
