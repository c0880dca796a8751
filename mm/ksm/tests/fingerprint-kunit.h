/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: tests of fingerprints.
 *
 * Each test has a key of its own.
 */

#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_FINGERPRINT_KUNIT_H
#define _KSM_FINGERPRINT_KUNIT_H

#include <kunit/test.h>
#include <linux/vmalloc.h>

#define KSM_TEST_WORDS	(PAGE_SIZE / sizeof(u64))

static u64 *ksm_test_page(struct kunit *test)
{
	u64 *page = kunit_kmalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	get_random_bytes(page, PAGE_SIZE);
	return page;
}

static struct ksm_key *ksm_test_key(struct kunit *test)
{
	struct ksm_key *key = kunit_kmalloc(test, sizeof(*key), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, key);
	ksm_key_init(key, page_address(ZERO_PAGE(0)));
	return key;
}

static void ksm_test_key_init(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test);
	unsigned int i;

	KUNIT_EXPECT_EQ(test, key->fold[0] & 1, 1ULL);
	KUNIT_EXPECT_EQ(test, key->fold[1] & 1, 1ULL);
	for (i = 0; i < KSM_SAMPLE_LINES; i++) {
		KUNIT_EXPECT_EQ(test, key->line[i] % KSM_LINE_BYTES, 0UL);
		KUNIT_EXPECT_EQ(test, key->line[i] / (PAGE_SIZE / KSM_SAMPLE_LINES),
				(unsigned long)i);
	}
}

static u64 ksm_test_hash(u64 (*hash)(const struct ksm_key *key, const void *addr),
			 const struct ksm_key *key, const void *page)
{
	u64 fingerprint;

	ksm_hash_begin();
	fingerprint = hash(key, page);
	ksm_hash_end();
	return fingerprint;
}

static u64 ksm_test_whole(const struct ksm_key *key, const void *page)
{
	return ksm_test_hash(ksm_fingerprint, key, page);
}

static u64 ksm_test_sampled(const struct ksm_key *key, const void *page)
{
	return ksm_test_hash(ksm_sample, key, page);
}

static bool ksm_test_same(const void *one, const void *other)
{
	bool same;

	ksm_hash_begin();
	same = ksm_equal(one, other);
	ksm_hash_end();
	return same;
}

static void ksm_test_equal(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test);
	u64 *page = ksm_test_page(test), *other = ksm_test_page(test);

	KUNIT_EXPECT_FALSE(test, ksm_test_same(page, other));
	memcpy(other, page, PAGE_SIZE);
	KUNIT_EXPECT_TRUE(test, ksm_test_same(page, other));
	KUNIT_EXPECT_EQ(test, ksm_test_whole(key, page), ksm_test_whole(key, other));
	KUNIT_EXPECT_EQ(test, ksm_test_sampled(key, page), ksm_test_sampled(key, other));
}

static void ksm_test_one_bit(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test);
	u64 *page = ksm_test_page(test), *other = ksm_test_page(test);
	const u64 before = ksm_test_whole(key, page);
	unsigned int i;

	memcpy(other, page, PAGE_SIZE);
	for (i = 0; i < KSM_TEST_WORDS; i++) {
		page[i] ^= BIT_ULL(i % 64);
		KUNIT_EXPECT_NE(test, ksm_test_whole(key, page), before);
		KUNIT_EXPECT_FALSE(test, ksm_test_same(page, other));
		page[i] ^= BIT_ULL(i % 64);
	}
	KUNIT_EXPECT_EQ(test, ksm_test_whole(key, page), before);
}

/* Both ways to sum up and to compare a block, held against each other. */
static void ksm_test_avx2(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test);
	u64 *page = ksm_test_page(test), *other = ksm_test_page(test);
	unsigned int i;
	bool avx2;

	ksm_hash_begin();
	avx2 = use_avx2();
	ksm_hash_end();
	if (!avx2)
		kunit_skip(test, "no AVX2");
	memcpy(other, page, PAGE_SIZE);
	for (i = 0; i < KSM_KEY_WORDS; i++) {
		u64 sum, lines;
		bool equal;

		page[i] ^= BIT_ULL(i % 64);
		ksm_hash_begin();
		sum = ksm_avx2_sum(page, key->word);
		lines = ksm_avx2_sum_lines(key, page);
		equal = ksm_avx2_equal(page, other);
		ksm_hash_end();
		KUNIT_EXPECT_EQ(test, sum, sum_block(page, key->word));
		KUNIT_EXPECT_EQ(test, lines, sum_lines(key, page));
		KUNIT_EXPECT_FALSE(test, equal);
		page[i] = i % 3 ? U64_MAX : 0;
		other[i] = page[i];
		ksm_hash_begin();
		equal = ksm_avx2_equal(page, other);
		ksm_hash_end();
		KUNIT_EXPECT_TRUE(test, equal);
	}
}

static bool ksm_test_word_in_sample(const struct ksm_key *key, unsigned int word)
{
	unsigned int i;

	for (i = 0; i < KSM_SAMPLE_LINES; i++)
		if (word - key->line[i] / sizeof(u64) < KSM_SAMPLE_WORDS)
			return true;
	return false;
}

static void ksm_test_sample(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test);
	u64 *page = ksm_test_page(test);
	const u64 before = ksm_test_sampled(key, page);
	unsigned int i;

	for (i = 0; i < KSM_TEST_WORDS; i++) {
		page[i] = ~page[i];
		KUNIT_EXPECT_EQ(test, ksm_test_sampled(key, page) != before,
				ksm_test_word_in_sample(key, i));
		page[i] = ~page[i];
	}
}

static void ksm_test_keys_differ(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test), *other = ksm_test_key(test);
	u64 *page = ksm_test_page(test);

	KUNIT_EXPECT_NE(test, ksm_test_whole(key, page), ksm_test_whole(other, page));
	KUNIT_EXPECT_NE(test, ksm_test_sampled(key, page), ksm_test_sampled(other, page));
}

/* ksm_key_init() hashes a zeroed page; a later hash of one gives the same. */
static void ksm_test_zero_page(struct kunit *test)
{
	const struct ksm_key *key = ksm_test_key(test);
	u64 *page = ksm_test_page(test);

	KUNIT_EXPECT_NE(test, ksm_test_whole(key, page), key->zero);
	memset(page, 0, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, ksm_test_whole(key, page), key->zero);
	KUNIT_EXPECT_EQ(test, ksm_test_sampled(key, page), key->zero_sample);
	KUNIT_EXPECT_NE(test, key->zero, 0ULL);
}

static bool ksm_test_copied(void *to, const void *from)
{
	bool copied;

	ksm_hash_begin();
	copied = ksm_copy(to, from);
	ksm_hash_end();
	return copied;
}

/* The page behind one from vmalloc() is not mapped. */
static void ksm_test_copy(struct kunit *test)
{
	u64 *page = ksm_test_page(test), *other = ksm_test_page(test);
	u64 *alone = vmalloc(PAGE_SIZE);

	KUNIT_ASSERT_NOT_NULL(test, alone);
	KUNIT_EXPECT_EQ(test, ksm_test_copied(other, page), ksm_hash_vectors());
	if (ksm_hash_vectors()) {
		KUNIT_EXPECT_TRUE(test, ksm_test_same(page, other));
		KUNIT_EXPECT_TRUE(test, ksm_test_copied(alone, page));
		KUNIT_EXPECT_TRUE(test, ksm_test_same(page, alone));
	}
	KUNIT_EXPECT_FALSE(test, ksm_test_copied(other, alone + KSM_TEST_WORDS));
	KUNIT_EXPECT_FALSE(test, ksm_test_copied(other, alone + KSM_TEST_WORDS / 2));
	vfree(alone);
}

static struct kunit_case ksm_fingerprint_cases[] = {
	KUNIT_CASE(ksm_test_key_init),
	KUNIT_CASE(ksm_test_equal),
	KUNIT_CASE(ksm_test_one_bit),
	KUNIT_CASE(ksm_test_avx2),
	KUNIT_CASE(ksm_test_sample),
	KUNIT_CASE(ksm_test_copy),
	KUNIT_CASE(ksm_test_keys_differ),
	KUNIT_CASE(ksm_test_zero_page),
	{ }
};

static struct kunit_suite ksm_fingerprint_suite = {
	.name = "ksm_fingerprint",
	.test_cases = ksm_fingerprint_cases,
};

kunit_test_suite(ksm_fingerprint_suite);

#endif /* _KSM_FINGERPRINT_KUNIT_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
