// SPDX-License-Identifier: GPL-2.0
/*
 * The filter against the tags that were put into it.
 */

#include <stdlib.h>

#include "harness.h"

#define NR_TAGS		300U
#define MIN_WORDS	8UL

static struct ksm_filter filter;
static u32 tags[NR_TAGS];
static unsigned int nr_tags;

static void filter_begin(void)
{
	nr_tags = 0;
	CHECK_EQ(ksm_filter_init(&filter), 0);
}

static void filter_end(void)
{
	ksm_filter_destroy(&filter);
	CHECK_EQ(shim.bytes, 0);
}

/* Every other tag is ambiguous. */
static void add_tag(void)
{
	const u32 tag = rnd();

	if (nr_tags == NR_TAGS)
		return;
	if (nr_tags % 2)
		ksm_filter_set_repeated(&filter, tag);
	else
		ksm_filter_set_ambiguous(&filter, tag);
	tags[nr_tags++] = tag;
}

static void check_bits(const struct ksm_filter_bits *bits)
{
	unsigned long i, nr_set = 0;

	for (i = 0; i < bits->words.nr; i++)
		nr_set += hweight_long(*ksm_array_at(&bits->words, i));
	CHECK_EQ(bits->nr_set, nr_set);
}

static void check_tags(unsigned int from)
{
	unsigned int i;

	for (i = from; i < nr_tags; i++) {
		CHECK(ksm_filter_repeated(&filter, tags[i]));
		CHECK(i % 2 || ksm_filter_ambiguous(&filter, tags[i]));
	}
	check_bits(&filter.bits);
}

/* Of tags that were not added, how many in a thousand seem to be there. */
static unsigned int false_hits(void)
{
	unsigned int i, hits = 0;

	for (i = 0; i < 10000; i++)
		hits += ksm_filter_repeated(&filter, rnd());
	return hits / 10;
}

static bool step(unsigned long nr)
{
	const unsigned long before = filter.bits.words.nr;
	const long allocations = shim.allocations;
	bool more = ksm_filter_adjust(&filter, nr);

	CHECK_LE(max(before, filter.bits.words.nr) - min(before, filter.bits.words.nr), 128);
	CHECK_LE(shim.allocations - allocations, 6);
	CHECK_LE(shim.largest, KSM_SEGMENT_WORDS * sizeof(long));
	return more;
}

/* From a thousand tags to a million and back, whatever was added stays. */
static void test_size(void)
{
	unsigned long nr;

	filter_begin();
	for (nr = 1000; nr <= 1000000; nr += 1000) {
		while (step(nr))
			;
		if (nr % 10000 == 0) {
			add_tag();
			check_tags(0);
		}
	}
	CHECK_LE(false_hits(), 1);
	for (; nr; nr -= 1000) {
		while (step(nr))
			;
		if (nr % 10000 == 0)
			check_tags(0);
	}
	while (step(0))
		;
	check_tags(0);
	CHECK_EQ(filter.bits.words.nr, MIN_WORDS);
	CHECK_EQ(ksm_filter_bytes(&filter), 0);
	filter_end();
}

static void test_ambiguous(void)
{
	filter_begin();
	ksm_filter_set_repeated(&filter, 0x12345678);
	CHECK(ksm_filter_repeated(&filter, 0x12345678));
	CHECK(!ksm_filter_ambiguous(&filter, 0x12345678));
	ksm_filter_set_ambiguous(&filter, 0x12345679);
	CHECK(ksm_filter_repeated(&filter, 0x12345679));
	CHECK(ksm_filter_ambiguous(&filter, 0x12345679));
	CHECK(!ksm_filter_ambiguous(&filter, 0x12345678));
	filter_end();
}

/* The filter is saturated before unique pages find their bit set often. */
static void test_saturated(void)
{
	filter_begin();
	while (step(30000))
		;
	CHECK(!ksm_filter_saturated(&filter));
	while (!ksm_filter_saturated(&filter))
		ksm_filter_set_repeated(&filter, rnd());
	CHECK_LE(false_hits(), 1000 / 4);
	CHECK_GE(false_hits(), 1000 / 32);
	filter_end();
}

static void finish_rebuild(void)
{
	while (filter.rebuild == KSM_REBUILD_ALLOCATE)
		ksm_filter_allocate_step(&filter);
	if (filter.rebuild == KSM_REBUILD_FILL)
		ksm_filter_use_spare(&filter);
	while (filter.rebuild == KSM_REBUILD_FREE)
		ksm_filter_free_step(&filter);
}

/* What is added while the new bits are filled is there before and after. */
static void test_rebuild(void)
{
	unsigned int steps = 0, kept;
	unsigned long i;

	filter_begin();
	while (step(200000))
		;
	for (i = 0; i < 400000; i++)
		ksm_filter_set_repeated(&filter, rnd());
	CHECK(ksm_filter_saturated(&filter));
	ksm_filter_begin_rebuild(&filter);
	CHECK(!ksm_filter_saturated(&filter));
	for (; filter.rebuild == KSM_REBUILD_ALLOCATE; steps++) {
		const size_t before = shim.bytes;

		add_tag();
		ksm_filter_allocate_step(&filter);
		CHECK_LE(shim.bytes - before, 2 * KSM_SEGMENT_WORDS * sizeof(long));
		check_tags(0);
	}
	CHECK_GE(steps, filter.bits.words.nr / KSM_SEGMENT_WORDS);
	CHECK_EQ(filter.rebuild, KSM_REBUILD_FILL);
	kept = nr_tags;
	for (i = 0; i < 100; i++) {
		add_tag();
		check_tags(0);
		check_bits(&filter.spare);
	}
	/* Meanwhile the size does not change, nor is anybody told to change it. */
	CHECK(!ksm_filter_needs_adjust(&filter, 10000000));
	CHECK(!ksm_filter_adjust(&filter, 10000000));
	ksm_filter_begin_rebuild(&filter);
	CHECK_EQ(filter.rebuild, KSM_REBUILD_FILL);
	ksm_filter_use_spare(&filter);
	for (; filter.rebuild == KSM_REBUILD_FREE; add_tag()) {
		const size_t before = shim.bytes;

		check_tags(kept);
		ksm_filter_free_step(&filter);
		CHECK_LE(before - shim.bytes, 2 * KSM_SEGMENT_WORDS * sizeof(long));
	}
	check_tags(kept);
	CHECK(!ksm_filter_saturated(&filter));
	CHECK_LE(false_hits(), 1);
	CHECK(ksm_filter_needs_adjust(&filter, 10000000));
	filter_end();
}

/* Without memory for new bits the old ones stay. */
static void test_rebuild_fails(void)
{
	long after;

	for (after = 0; after < 60; after++) {
		filter_begin();
		while (step(100000))
			;
		while (nr_tags < NR_TAGS)
			add_tag();
		shim.fail_after = after;
		ksm_filter_begin_rebuild(&filter);
		while (filter.rebuild == KSM_REBUILD_ALLOCATE)
			ksm_filter_allocate_step(&filter);
		if (filter.rebuild != KSM_REBUILD_FILL)
			check_tags(0);
		finish_rebuild();
		shim.fail_after = -1;
		CHECK_EQ(filter.rebuild, KSM_REBUILD_NONE);
		check_bits(&filter.bits);
		filter_end();
	}
	CHECK_GE(shim.failed, 30);
}

static void test_no_memory(void)
{
	long after;

	for (after = 0; after < 3; after++) {
		shim.fail_after = after;
		CHECK_EQ(ksm_filter_init(&filter), -ENOMEM);
		CHECK_EQ(shim.objects, 0);
	}
	shim.fail_after = -1;
	filter_begin();
	while (nr_tags < 20)
		add_tag();
	shim.fail_after = 0;
	step(1000);
	CHECK_EQ(shim.failed, 4);
	CHECK(!ksm_filter_needs_adjust(&filter, 1000));
	CHECK(ksm_filter_needs_adjust(&filter, 1000 + 1000 / 4 + 1));
	check_tags(0);
	shim.fail_after = -1;
	while (step(1000 + 1000 / 4 + 1))
		;
	check_tags(0);
	CHECK_GE(filter.bits.words.nr, 1000 / 6);
	filter_end();
}

/* A domain of a hundred pages. */
static void test_small(void)
{
	filter_begin();
	while (step(100 + 2 * nr_node_ids))
		;
	CHECK_LE(shim.bytes, 1024);
	filter_end();
}

/* Tags that no page has are found as often as expected, within six deviations. */
static void test_expected(void)
{
	const unsigned int nr = 10000;
	unsigned int i, found = 0, expected;

	filter_begin();
	CHECK_EQ(ksm_filter_expected(&filter, nr), 0);
	while (step(1000))
		;
	while (nr_tags < NR_TAGS)
		add_tag();
	for (i = 0; i < nr; i++)
		found += ksm_filter_repeated(&filter, rnd());
	expected = ksm_filter_expected(&filter, nr);
	CHECK_GE(expected, 100);
	CHECK_LE((found - expected) * (found - expected), 36 * expected);
	CHECK_EQ(ksm_filter_expected(&filter, 0), 0);
	filter_end();
}

const struct test filter_tests[] = {
	{ "a tag, and a tag that is ambiguous", test_ambiguous },
	{ "it grows and shrinks without losing a tag", test_size },
	{ "it is saturated before it is of no use", test_saturated },
	{ "a rebuild loses no tag added meanwhile", test_rebuild },
	{ "a rebuild without memory changes nothing", test_rebuild_fails },
	{ "allocations that fail", test_no_memory },
	{ "a few tags take little memory", test_small },
	{ "how many tags are found by chance", test_expected },
	{ }
};
