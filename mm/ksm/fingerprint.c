// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: what a page holds, in 64 bits.
 *
 * The hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: "UMAC: Fast and
 * Secure Message Authentication", CRYPTO '99): words are added to secret words,
 * and the products of their halves summed up.  Two different pages collide with a
 * probability that depends on the secret alone, so a process that does not know the
 * secret cannot make pages that collide.  With a CRC it could, whatever the seed, since
 * a CRC is linear.  Nor is a CRC faster where a multiplication takes one cycle.
 */

#include <linux/build_bug.h>
#include <linux/jump_label.h>
#include <linux/mm.h>
#include <linux/random.h>
#ifdef CONFIG_KSM_AVX2
#include <linux/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/xstate.h>
#endif

#include "fingerprint.h"

#define KSM_LINE_BYTES	(KSM_SAMPLE_WORDS * sizeof(u64))

#ifdef CONFIG_KSM_AVX2
static DEFINE_STATIC_KEY_FALSE(have_avx2);

static void __init detect_avx2(void)
{
	if (boot_cpu_has(X86_FEATURE_AVX2) &&
	    cpu_has_xfeatures(XFEATURE_MASK_SSE | XFEATURE_MASK_YMM, NULL))
		static_branch_enable(&have_avx2);
}

static bool use_avx2(void)
{
	if (!static_branch_likely(&have_avx2))
		return false;
	VM_WARN_ON_ONCE(irq_fpu_usable());	/* not between begin and end */
	return true;
}

/**
 * ksm_hash_vectors - whether this machine has the vector instructions that KSM uses
 *
 * Context: any.
 * Return: true if there are any, and pages are hashed and compared faster by them.
 */
bool ksm_hash_vectors(void)
{
	return static_branch_likely(&have_avx2);
}

/**
 * ksm_hash_begin - get ready to hash and compare pages
 *
 * Taking the vector unit takes about as long as hashing a sample does.
 *
 * Context: a task.  Until ksm_hash_end() it must not sleep.
 */
void ksm_hash_begin(void)
{
	if (static_branch_likely(&have_avx2))
		kernel_fpu_begin();
}

/**
 * ksm_hash_end - give up what ksm_hash_begin() took
 */
void ksm_hash_end(void)
{
	if (static_branch_likely(&have_avx2))
		kernel_fpu_end();
}
#else
static void __init detect_avx2(void)
{
}

static bool use_avx2(void)
{
	return false;
}
#endif /* CONFIG_KSM_AVX2 */

static __always_inline u64 product(u64 text, u64 secret)
{
	u64 word = text + secret;

	return (u64)(u32)word * (word >> 32);
}

/* One cache line, spelt out: a loop takes more instructions. */
static __always_inline u64 sum_line(const u64 *text, const u64 *secret)
{
	BUILD_BUG_ON(KSM_SAMPLE_WORDS != 8);
	return product(text[0], secret[0]) + product(text[1], secret[1]) +
	       product(text[2], secret[2]) + product(text[3], secret[3]) +
	       product(text[4], secret[4]) + product(text[5], secret[5]) +
	       product(text[6], secret[6]) + product(text[7], secret[7]);
}

static u64 sum_block(const u64 *text, const u64 *secret)
{
	const u64 *end = text + KSM_KEY_WORDS;
	u64 sum = 0;

	for (; text < end; text += KSM_SAMPLE_WORDS, secret += KSM_SAMPLE_WORDS)
		sum += sum_line(text, secret);
	return sum;
}

/*
 * Pages that hold little but a counter have sums in an arithmetic progression:
 * this spreads them over the range, and keeps different sums different.
 */
static u64 finish(const struct ksm_key *key, u64 sum)
{
	sum ^= sum >> 32;
	sum *= key->fold[1];
	return sum ^ (sum >> 32);
}

static __always_inline u64 sum_page(const struct ksm_key *key, const void *addr,
				    u64 (*sum)(const u64 *text, const u64 *secret))
{
	const u64 *text = addr;
	const u64 *end = addr + PAGE_SIZE;
	u64 hash = 0;

	for (; text < end; text += KSM_KEY_WORDS)
		hash = hash * key->fold[0] + sum(text, key->word);
	return hash;
}

/**
 * ksm_fingerprint - hash a whole page
 * @key: the secret
 * @addr: the page, mapped; PAGE_SIZE bytes are read
 *
 * A page is hashed in blocks as long as the secret, chained by a polynomial.
 *
 * Context: between ksm_hash_begin() and ksm_hash_end().  The page may change
 * meanwhile; the result then fits no content in particular.
 * Return: the fingerprint.
 */
u64 ksm_fingerprint(const struct ksm_key *key, const void *addr)
{
	return finish(key, use_avx2() ? sum_page(key, addr, ksm_avx2_sum) :
					sum_page(key, addr, sum_block));
}

static u64 sum_lines(const struct ksm_key *key, const void *addr)
{
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < KSM_SAMPLE_LINES; i++)
		sum += sum_line(addr + key->line[i], key->word + i * KSM_SAMPLE_WORDS);
	return sum;
}

/**
 * ksm_sample - hash a few cache lines of a page
 * @key: the secret, which also says which lines
 * @addr: the page, mapped
 *
 * Most pages differ from all others in any place one looks at.  Pages with
 * equal samples need ksm_fingerprint() to be told apart.
 *
 * Context: as for ksm_fingerprint().
 * Return: the fingerprint of the sample.
 */
u64 ksm_sample(const struct ksm_key *key, const void *addr)
{
	return finish(key, use_avx2() ? ksm_avx2_sum_lines(key, addr) :
					sum_lines(key, addr));
}

static bool words_equal(const u64 *a, const u64 *b)
{
	const u64 *end = a + PAGE_SIZE / sizeof(u64);

	for (; a < end; a += 8, b += 8)
		if ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) |
		    (a[4] ^ b[4]) | (a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7]))
			return false;
	return true;
}

/**
 * ksm_equal - compare two pages
 * @one: a page, mapped
 * @other: another
 *
 * Pages that get here are almost always equal.  Which one is greater, as memcmp()
 * would find out, does not matter.
 *
 * Context: between ksm_hash_begin() and ksm_hash_end().  The answer holds for as
 * long as neither page changes.
 * Return: true where all bytes are equal.
 */
bool ksm_equal(const void *one, const void *other)
{
	return use_avx2() ? ksm_avx2_equal(one, other) : words_equal(one, other);
}

/**
 * ksm_copy - copy a page with vector instructions
 * @to: where to, mapped
 * @from: the page, mapped
 *
 * Context: between ksm_hash_begin() and ksm_hash_end().  The page may change meanwhile.
 * Return: false where there are no such instructions, or @from has a memory error: use
 * copy_mc_highpage(), which reports the error.
 */
bool ksm_copy(void *to, const void *from)
{
	return use_avx2() && ksm_avx2_copy(to, from);
}

/**
 * ksm_fingerprint_init - find out which instructions there are
 *
 * Context: once, at boot, before the first page is hashed.
 */
void __init ksm_fingerprint_init(void)
{
	detect_avx2();
}

/**
 * ksm_key_init - draw the secret
 * @key: filled in
 * @zeroes: a zeroed page, mapped
 *
 * One line is sampled in each of KSM_SAMPLE_LINES equal parts of a page.
 *
 * Context: once the random number generator can be asked.
 */
void ksm_key_init(struct ksm_key *key, const void *zeroes)
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
	ksm_hash_begin();
	key->zero = ksm_fingerprint(key, zeroes);
	key->zero_sample = ksm_sample(key, zeroes);
	ksm_hash_end();
}

#include "tests/fingerprint-kunit.h"
