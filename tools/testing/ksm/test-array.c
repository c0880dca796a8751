// SPDX-License-Identifier: GPL-2.0
/*
 * The array that the index and the filter are made of, and its linear hashing.
 */

#include <stdlib.h>

#include "harness.h"

#define MIN_WORDS	8UL

static struct ksm_array array;

static size_t base_bytes(void)
{
	return MIN_WORDS * sizeof(long) + 2 * sizeof(void *);
}

static void check_length(unsigned long nr)
{
	CHECK_EQ(array.nr, nr);
	CHECK_LE(array.nr, array.mask + 1);
	CHECK(array.nr == 1 || array.nr > (array.mask + 1) / 2);
	CHECK_GE(array.room, array.nr);
	CHECK_EQ(array.bytes + base_bytes(), shim.bytes);
}

/* Across several directories, each word keeps what was put there. */
static void test_words(void)
{
	const unsigned long nr = 3 * KSM_SEGMENT_WORDS * KSM_SEGMENT_WORDS + 5;
	unsigned long i;

	CHECK_EQ(ksm_array_init(&array, MIN_WORDS), 0);
	check_length(MIN_WORDS);
	while (array.nr < nr) {
		const unsigned long from = array.nr;

		CHECK_EQ(ksm_array_extend(&array, nr), 0);
		CHECK_LE(array.nr - from, KSM_SEGMENT_WORDS);
		check_length(array.nr);
		for (i = from; i < array.nr; i++) {
			CHECK_EQ(*ksm_array_at(&array, i), 0);
			*ksm_array_at(&array, i) = ~i;
		}
	}
	CHECK_EQ(array.nr, nr);
	CHECK_LE(shim.largest, KSM_SEGMENT_WORDS * sizeof(long));
	for (i = MIN_WORDS; i < nr; i++)
		CHECK_EQ(*ksm_array_at(&array, i), ~i);
	for (i = nr; i-- > MIN_WORDS; ) {
		CHECK_EQ(*ksm_array_at(&array, i), ~i);
		ksm_array_pop(&array);
		check_length(i);
		CHECK_LE(array.room, i + KSM_SEGMENT_WORDS);
	}
	CHECK_EQ(array.bytes, 0);
	ksm_array_destroy(&array);
	CHECK_EQ(shim.bytes, 0);
}

/* Words that were removed come back as zeroes, at lengths around each limit. */
static void test_length(void)
{
	unsigned long i, nr = MIN_WORDS;

	CHECK_EQ(ksm_array_init(&array, MIN_WORDS), 0);
	for (i = 0; i < rounds(200000); i++) {
		const unsigned long limit = 1UL << (4 + rnd_below(9));

		if (one_in(20))
			shim.fail_after = rnd_below(3);
		if (nr < limit) {
			if (!ksm_array_extend(&array, nr + 1)) {
				CHECK_EQ(*ksm_array_at(&array, nr), 0);
				*ksm_array_at(&array, nr++) = 1;
			}
		} else if (nr > MIN_WORDS) {
			ksm_array_pop(&array);
			nr--;
		}
		shim.fail_after = -1;
		check_length(nr);
	}
	ksm_array_destroy(&array);
	CHECK_EQ(shim.bytes, 0);
}

/* One more word takes hashes from its parent, and from no other. */
static void test_hashing(void)
{
	u32 hash[500];
	unsigned long slot[ARRAY_SIZE(hash)], i;

	for (i = 0; i < ARRAY_SIZE(hash); i++)
		hash[i] = rnd();
	CHECK_EQ(ksm_array_init(&array, MIN_WORDS), 0);
	for (i = 0; i < ARRAY_SIZE(hash); i++)
		slot[i] = ksm_array_slot(&array, hash[i]);
	while (array.nr < 2000) {
		CHECK_EQ(ksm_array_extend(&array, array.nr + 1), 0);
		for (i = 0; i < ARRAY_SIZE(hash); i++) {
			unsigned long now = ksm_array_slot(&array, hash[i]);

			CHECK_LE(now, array.nr - 1);
			CHECK(now == slot[i] || (now == array.nr - 1 &&
						 slot[i] == ksm_array_parent(&array)));
			slot[i] = now;
		}
	}
	ksm_array_destroy(&array);
}

const struct test array_tests[] = {
	{ "each word keeps its value", test_words },
	{ "any length, with allocations that fail", test_length },
	{ "linear hashing splits one slot at a time", test_hashing },
	{ }
};
