// SPDX-License-Identifier: GPL-2.0
/*
 * What fingerprints have to tell apart; and that both ways to compute them, with
 * AVX2 where this machine has it and without, agree.
 */

#include <stdlib.h>
#include <string.h>

#include <linux/mm.h>

#include "harness.h"

#define WORDS		(PAGE_SIZE / sizeof(u64))
#define LINE_BYTES	(KSM_SAMPLE_WORDS * sizeof(u64))

static u64 page[WORDS], other[WORDS];
static struct ksm_key key;

/* Both paths have to come to the same. */
static u64 whole(const void *addr)
{
	u64 fingerprint = ksm_fingerprint(&key, addr);

	CHECK_EQ(portable_fingerprint(&key, addr), fingerprint);
	return fingerprint;
}

static bool equal(const void *one, const void *another)
{
	bool answer = ksm_equal(one, another);

	CHECK_EQ(portable_equal(one, another), answer);
	return answer;
}

static void fill_page(u64 *to)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		to[i] = one_in(4) ? 0 : rnd() >> rnd_below(64);
}

static void test_key(void)
{
	unsigned long i;
	unsigned int line;

	for (i = 0; i < rounds(1000); i++) {
		ksm_key_init(&key, zero_page);
		CHECK(key.fold[0] & 1);
		CHECK(key.fold[1] & 1);
		for (line = 0; line < KSM_SAMPLE_LINES; line++) {
			const unsigned int part = PAGE_SIZE / KSM_SAMPLE_LINES;

			CHECK_EQ(key.line[line] % LINE_BYTES, 0);
			CHECK_EQ(key.line[line] / part, line);
			CHECK_LE(key.line[line] + LINE_BYTES, PAGE_SIZE);
		}
	}
}

static void test_equal(void)
{
	unsigned long i;

	for (i = 0; i < rounds(200); i++) {
		ksm_key_init(&key, zero_page);
		fill_page(page);
		memcpy(other, page, PAGE_SIZE);
		CHECK_EQ(whole(page), whole(other));
		CHECK_EQ(ksm_sample(&key, page), ksm_sample(&key, other));
	}
}

static void test_bits(void)
{
	/* Every bit of a small page, one of each word of a large one. */
	const unsigned int step = PAGE_SIZE > 4096 ? 64 : 1;

	unsigned int bit;
	u64 before;

	ksm_key_init(&key, zero_page);
	fill_page(page);
	before = whole(page);
	for (bit = rnd_below(step); bit < PAGE_SIZE * 8; bit += step) {
		page[bit / 64] ^= 1ULL << bit % 64;
		CHECK_NE(whole(page), before);
		page[bit / 64] ^= 1ULL << bit % 64;
	}
	CHECK_EQ(whole(page), before);
}

static void test_bytes(void)
{
	u8 *byte = (u8 *)page;
	unsigned long i;

	for (i = 0; i < rounds(10000); i++) {
		unsigned int at = rnd_below(PAGE_SIZE);
		u8 old = byte[at];
		u64 before;

		if (i % 1000 == 0) {
			ksm_key_init(&key, zero_page);
			fill_page(page);
			old = byte[at];
		}
		before = whole(page);
		byte[at] ^= 1 + rnd_below(255);
		CHECK_NE(whole(page), before);
		byte[at] = old;
	}
}

/* Changes that a sum of words, or of blocks, would not see. */
static void test_swaps(void)
{
	unsigned long i;

	for (i = 0; i < rounds(2000); i++) {
		unsigned int nr = one_in(2) ? 1 : KSM_KEY_WORDS;
		unsigned int a = rnd_below(WORDS / nr) * nr;
		unsigned int b = rnd_below(WORDS / nr) * nr;
		u64 before;

		if (i % 100 == 0) {
			ksm_key_init(&key, zero_page);
			fill_page(page);
		}
		before = whole(page);
		memcpy(other, page + a, nr * sizeof(u64));
		if (!memcmp(page + a, page + b, nr * sizeof(u64)))
			continue;
		memcpy(page + a, page + b, nr * sizeof(u64));
		memcpy(page + b, other, nr * sizeof(u64));
		CHECK_NE(whole(page), before);
	}
}

static bool in_sample(unsigned int byte)
{
	unsigned int i;

	for (i = 0; i < KSM_SAMPLE_LINES; i++)
		if (byte - key.line[i] < LINE_BYTES)
			return true;
	return false;
}

static void test_sample(void)
{
	u8 *byte = (u8 *)page;
	unsigned int at;
	u64 before;

	ksm_key_init(&key, zero_page);
	fill_page(page);
	before = ksm_sample(&key, page);
	for (at = 0; at < PAGE_SIZE; at++) {
		u8 old = byte[at];

		byte[at] ^= 1 + rnd_below(255);
		if (in_sample(at))
			CHECK_NE(ksm_sample(&key, page), before);
		else
			CHECK_EQ(ksm_sample(&key, page), before);
		byte[at] = old;
	}
}

static void test_compare(void)
{
	unsigned int at;

	fill_page(page);
	memcpy(other, page, PAGE_SIZE);
	CHECK(equal(page, other));
	for (at = 0; at < PAGE_SIZE; at++) {
		u8 *byte = (u8 *)(one_in(2) ? page : other) + at;
		u8 bit = 1 << rnd_below(8);

		*byte ^= bit;
		CHECK(!equal(page, other));
		*byte ^= bit;
	}
	CHECK(equal(page, other));
}

static bool has_vectors(void)
{
#ifdef __x86_64__
	return __builtin_cpu_supports("avx2");
#else
	return false;
#endif
}

/* Without vector instructions nothing is copied. */
static void test_copy(void)
{
	u64 copy[3 * WORDS];
	bool copied;
	unsigned long i;

	for (i = 0; i < rounds(200); i++) {
		fill_page(page);
		memcpy(other, page, PAGE_SIZE);
		memset(copy, 0xa5, sizeof(copy));
		copied = ksm_copy(copy + WORDS, page);
		CHECK_EQ(copied, has_vectors());
		if (copied)
			CHECK(!memcmp(copy + WORDS, page, PAGE_SIZE));
		else
			CHECK(!memcmp(copy + WORDS, copy, PAGE_SIZE));
		CHECK(!memcmp(other, page, PAGE_SIZE));
		CHECK_EQ(copy[WORDS - 1], 0xa5a5a5a5a5a5a5a5ULL);
		CHECK_EQ(copy[2 * WORDS], 0xa5a5a5a5a5a5a5a5ULL);
	}
}

static void test_keys_differ(void)
{
	unsigned long i;

	fill_page(page);
	u64 hash = 0, sample = 0;

	for (i = 0; i < rounds(1000); i++) {
		u64 last_hash = hash, last_sample = sample;

		ksm_key_init(&key, zero_page);
		hash = whole(page);
		sample = ksm_sample(&key, page);
		CHECK_NE(hash, last_hash);
		CHECK_NE(sample, last_sample);
		CHECK_NE(hash, sample);
	}
}

/* Pages as programs leave them, each different from all others. */

static void page_counter(u64 nr)
{
	page[0] = nr;
}

static void page_last_word(u64 nr)
{
	page[WORDS - 1] = nr;
}

static void page_one_word(u64 nr)
{
	memset(page, 0, PAGE_SIZE);
	page[nr % WORDS] = nr / WORDS + 1;
}

static void page_one_bit_pair(u64 nr)
{
	memset(page, 0, PAGE_SIZE);
	page[nr % WORDS] = 1ULL << nr / WORDS % 64;
	page[(nr + 1 + nr / WORDS / 64) % WORDS] |= 1ULL << 63;
}

static void page_all_words(u64 nr)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		page[i] = nr;
}

static void page_text(u64 nr)
{
	char *to = (char *)page;

	memset(page, 0, PAGE_SIZE);
	while (nr) {
		*to++ = '0' + nr % 10;
		nr /= 10;
	}
}

static void page_padded(u64 nr)
{
	unsigned int i, length = 1 + nr % (WORDS - 1);

	memset(page, 0, PAGE_SIZE);
	for (i = 0; i < length; i++)
		page[i] = nr + i;
}

static const struct {
	const char *name;
	void (*make)(u64 nr);
} kinds[] = {
	{ "a counter", page_counter },
	{ "a counter at the end", page_last_word },
	{ "one word anywhere", page_one_word },
	{ "two bits anywhere", page_one_bit_pair },
	{ "one word everywhere", page_all_words },
	{ "digits", page_text },
	{ "padded with zeroes", page_padded },
};

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

static unsigned long collisions(u64 *value, unsigned long nr, unsigned int shift)
{
	unsigned long i, found = 0;

	for (i = 1; i < nr; i++)
		found += value[i - 1] >> shift == value[i] >> shift;
	return found;
}

/*
 * The sum of squared deviations over 2^10 buckets is close to 1023, whatever
 * the number of values; 45 is its standard deviation.  Values that are spread
 * more evenly than chance would are fine.
 */
static double spread(const u64 *value, unsigned long nr)
{
	double expected = nr / 1024.0, sum = 0;
	unsigned long count[1024] = {}, i;

	for (i = 0; i < nr; i++)
		count[value[i] >> 54]++;
	for (i = 0; i < 1024; i++)
		sum += (count[i] - expected) * (count[i] - expected) / expected;
	return sum;
}

/* Fingerprints of so many pages of every kind, with a fresh key. */
static unsigned long hash_structured(u64 *value, unsigned long nr_of_kind)
{
	unsigned long i, nr = 0;
	unsigned int kind;

	ksm_key_init(&key, zero_page);
	for (kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		u64 from = 1 + rnd_below(1000);

		fill_page(page);
		for (i = 0; i < nr_of_kind; i++) {
			kinds[kind].make(from + i);
			/* Small numbers make the same page in several ways. */
			page[2] ^= (u64)kind << 56;
			value[nr++] = whole(page);
			page[2] ^= (u64)kind << 56;
		}
	}
	return nr;
}

static void test_collisions(void)
{
	/* A million small pages. */
	const unsigned long nr_of_kind = 1000000 / ARRAY_SIZE(kinds) / (PAGE_SIZE / 4096);
	u64 *value = calloc(nr_of_kind * ARRAY_SIZE(kinds), sizeof(*value));
	unsigned long nr = hash_structured(value, nr_of_kind);
	double by_chance = nr / 4294967296.0 * nr / 2;
	unsigned long same;

	qsort(value, nr, sizeof(*value), by_value);
	CHECK_EQ(collisions(value, nr, 0), 0);
	same = collisions(value, nr, 32);
	note("%lu pages, %lu share a tag, by chance it were %.0f", nr, same, by_chance);
	CHECK_LE(same, 10 + 2 * by_chance);
	free(value);
}

static void test_spread(void)
{
	const unsigned long nr_of_kind = 10000 / (PAGE_SIZE / 4096);
	u64 *value = calloc(nr_of_kind * ARRAY_SIZE(kinds), sizeof(*value));
	double most = 0;
	unsigned int i;

	for (i = 0; i < rounds(20); i++) {
		double chi2 = spread(value, hash_structured(value, nr_of_kind));

		CHECK_LE(chi2, 1023 + 45 * 10);
		if (chi2 > most)
			most = chi2;
	}
	note("chi-square up to %.0f, by chance it were 1023", most);
	free(value);
}

/* Here chance alone decides: the bounds are ten standard deviations away. */
static void test_random(void)
{
	const unsigned long nr = 200000 / (PAGE_SIZE / 4096);
	u64 *value = calloc(nr, sizeof(*value));
	u64 *sample = calloc(nr, sizeof(*sample));

	unsigned long i;

	ksm_key_init(&key, zero_page);
	fill_page(page);
	for (i = 0; i < nr; i++) {
		unsigned int line;

		page[rnd_below(WORDS)] = rnd();
		for (line = 0; line < KSM_SAMPLE_LINES; line++)
			page[key.line[line] / sizeof(u64)] = rnd();
		value[i] = whole(page);
		sample[i] = ksm_sample(&key, page);
	}
	CHECK_LE(spread(value, nr), 1023 + 45 * 10);
	CHECK_LE(spread(sample, nr), 1023 + 45 * 10);
	qsort(value, nr, sizeof(*value), by_value);
	CHECK_EQ(collisions(value, nr, 0), 0);
	qsort(sample, nr, sizeof(*sample), by_value);
	CHECK_EQ(collisions(sample, nr, 0), 0);
	free(value);
	free(sample);
}

const struct test fingerprint_tests[] = {
	{ "a key has odd factors and one line in each part", test_key },
	{ "equal pages have equal fingerprints", test_equal },
	{ "any one changed bit changes it", test_bits },
	{ "any one changed byte changes it", test_bytes },
	{ "words and blocks that change places change it", test_swaps },
	{ "a sample depends on its lines alone", test_sample },
	{ "a comparison sees any one changed byte", test_compare },
	{ "a copy is equal, and changes nothing else", test_copy },
	{ "another key gives other fingerprints", test_keys_differ },
	{ "structured pages don't collide", test_collisions },
	{ "structured pages don't bunch", test_spread },
	{ "random pages neither collide nor bunch", test_random },
	{ }
};
