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

#include <linux/bitops.h>
#include <linux/minmax.h>
#include <linux/random.h>

#include "ksm.h"

#define KSM_LINE_BYTES	(KSM_SAMPLE_WORDS * sizeof(u64))

/* The sum of products: 128 bits wide where the machine multiplies that wide. */
struct ksm_sum {
#ifdef CONFIG_ARCH_SUPPORTS_INT128
	unsigned __int128 wide;
#else
	u64 low;
	u64 high;
#endif
};

#ifdef CONFIG_ARCH_SUPPORTS_INT128
static __always_inline void ksm_sum_add(struct ksm_sum *sum, u64 a, u64 b)
{
	sum->wide += (unsigned __int128)a * b;
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

static __always_inline void ksm_sum_words(struct ksm_sum *sum, const u64 *text,
					  const u64 *secret, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i += 2)
		ksm_sum_add(sum, text[i] + secret[i], text[i + 1] + secret[i + 1]);
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
			ksm_sum_words(&sum, text + i, key->word + i,
				      KSM_SAMPLE_WORDS);
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
		ksm_sum_words(&sum, addr + key->line[i],
			      key->word + i * KSM_SAMPLE_WORDS,
			      KSM_SAMPLE_WORDS);
	return ksm_sum_fold(&sum, key);
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
