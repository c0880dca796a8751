// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what a page holds, in 64 bits.
 *
 * The hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: "UMAC: Fast and
 * Secure Message Authentication", CRYPTO '99): words are added to secret words
 * in pairs, and the products of the pairs summed up.  Two pages that differ
 * collide with a chance that depends on the secret alone, so nobody who does
 * not know it can make pages that collide.  A CRC, although no faster where a
 * multiplication takes one cycle, would allow that whatever its seed: it is
 * linear.
 */

#include <linux/build_bug.h>
#include <linux/random.h>

#include "ksm.h"

#define KSM_LINE_BYTES	(KSM_SAMPLE_WORDS * sizeof(u64))

/* The sum of products: 128 bits wide where the machine multiplies that wide. */
struct ksm_sum {
#ifdef CONFIG_ARCH_SUPPORTS_INT128
	u128 wide;
#else
	u64 low;
	u64 high;
#endif
};

#ifdef CONFIG_ARCH_SUPPORTS_INT128
static __always_inline void ksm_sum_add(struct ksm_sum *sum, u64 a, u64 b)
{
	sum->wide += (u128)a * b;
}

static __always_inline u64 ksm_sum_fold(const struct ksm_sum *sum,
					const struct ksm_key *key)
{
	return (u64)sum->wide * key->fold[0] +
	       (u64)(sum->wide >> 64) * key->fold[1];
}
#else
/* NH over 32-bit words, twice, with the halves paired in two ways. */
static __always_inline void ksm_sum_add(struct ksm_sum *sum, u64 a, u64 b)
{
	sum->low += (u64)(u32)a * (u32)(a >> 32);
	sum->low += (u64)(u32)b * (u32)(b >> 32);
	sum->high += (u64)(u32)a * (u32)(b >> 32);
	sum->high += (u64)(u32)b * (u32)(a >> 32);
}

static __always_inline u64 ksm_sum_fold(const struct ksm_sum *sum,
					const struct ksm_key *key)
{
	return sum->low * key->fold[0] + sum->high * key->fold[1];
}
#endif

/* One cache line, spelt out: a loop would take half as many instructions again. */
static __always_inline void ksm_sum_line(struct ksm_sum *sum, const u64 *text,
					 const u64 *secret)
{
	BUILD_BUG_ON(KSM_SAMPLE_WORDS != 8);
	ksm_sum_add(sum, text[0] + secret[0], text[1] + secret[1]);
	ksm_sum_add(sum, text[2] + secret[2], text[3] + secret[3]);
	ksm_sum_add(sum, text[4] + secret[4], text[5] + secret[5]);
	ksm_sum_add(sum, text[6] + secret[6], text[7] + secret[7]);
}

/**
 * ksm_fingerprint - hash a whole page
 * @key: the secret
 * @addr: the page, mapped; PAGE_SIZE bytes are read
 *
 * A page is hashed in blocks as long as the secret, chained by a polynomial.
 *
 * Context: any.  The page may change meanwhile; the result then fits no
 * content in particular.
 * Return: the fingerprint.
 */
u64 ksm_fingerprint(const struct ksm_key *key, const void *addr)
{
	const u64 *text = addr;
	const u64 *end = addr + PAGE_SIZE;
	u64 hash = 0;

	for (; text < end; text += KSM_KEY_WORDS) {
		struct ksm_sum sum = {};
		unsigned int i;

		for (i = 0; i < KSM_KEY_WORDS; i += KSM_SAMPLE_WORDS)
			ksm_sum_line(&sum, text + i, key->word + i);
		hash = hash * key->fold[0] + ksm_sum_fold(&sum, key);
	}
	return hash;
}

/**
 * ksm_sample - hash a few cache lines of a page
 * @key: the secret, which also says which lines
 * @addr: the page, mapped
 *
 * Most pages differ from all others in any place one looks at.  Pages with
 * equal samples need ksm_fingerprint() to be told apart.
 *
 * Context: any, as for ksm_fingerprint().
 * Return: the fingerprint of the sample.
 */
u64 ksm_sample(const struct ksm_key *key, const void *addr)
{
	struct ksm_sum sum = {};
	unsigned int i;

	for (i = 0; i < KSM_SAMPLE_LINES; i++)
		ksm_sum_line(&sum, addr + key->line[i],
			     key->word + i * KSM_SAMPLE_WORDS);
	return ksm_sum_fold(&sum, key);
}

/**
 * ksm_equal - compare two pages
 * @one: a page, mapped
 * @other: another
 *
 * Pages that get here are almost always equal, and memcmp() takes three times as
 * many instructions to find so, since it wants to know which one is greater.
 *
 * Context: any; the answer holds for as long as neither page changes.
 * Return: true where all bytes are equal.
 */
bool ksm_equal(const void *one, const void *other)
{
	const u64 *a = one, *b = other;
	const u64 *end = one + PAGE_SIZE;

	for (; a < end; a += 8, b += 8)
		if ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) |
		    (a[4] ^ b[4]) | (a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7]))
			return false;
	return true;
}

/**
 * ksm_key_init - draw the secret
 * @key: filled in
 *
 * One line is sampled in each of KSM_SAMPLE_LINES equal parts of a page.
 *
 * Context: once the random number generator can be asked.
 */
void ksm_key_init(struct ksm_key *key)
{
	const unsigned int part = PAGE_SIZE / KSM_SAMPLE_LINES;
	unsigned int i;

	get_random_bytes(key->word, sizeof(key->word));
	get_random_bytes(key->fold, sizeof(key->fold));
	key->fold[0] |= 1;
	key->fold[1] |= 1;
	for (i = 0; i < KSM_SAMPLE_LINES; i++)
		key->line[i] = i * part +
			get_random_u32_below(part / KSM_LINE_BYTES) * KSM_LINE_BYTES;
}

#include "tests/fingerprint-kunit.h"
