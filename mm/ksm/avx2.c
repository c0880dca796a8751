// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages summed up and compared 32 bytes at a time, on
 * x86-64 machines that have AVX2.
 *
 * All of this belongs between kernel_fpu_begin() and kernel_fpu_end(): registers
 * keep their values from one statement to the next, since the compiler does not
 * use them.
 */

#include "fingerprint.h"

#define KSM_VECTOR_WORDS	4

/**
 * struct ksm_vector - what one register holds
 * @word: as words
 */
struct ksm_vector {
	u64 word[KSM_VECTOR_WORDS];
};

static const struct ksm_vector *vector_at(const u64 *words)
{
	return (const struct ksm_vector *)words;
}

/* All sums and differences are collected in register 0. */
static void begin_sum(void)
{
	asm volatile("vpxor %ymm0, %ymm0, %ymm0");
}

static __always_inline struct ksm_vector end_sum(void)
{
	struct ksm_vector sum;

	asm volatile("vmovdqu %%ymm0, %0\n\t"
		     "vzeroupper" : "=m" (sum));
	return sum;
}

/* What product() in fingerprint.c does: the instruction multiplies lower halves. */
static __always_inline void add_products(const u64 *text, const u64 *secret)
{
	asm volatile("vmovdqu %0, %%ymm1\n\t"
		     "vpaddq %1, %%ymm1, %%ymm1\n\t"
		     "vpsrlq $32, %%ymm1, %%ymm2\n\t"
		     "vpmuludq %%ymm1, %%ymm2, %%ymm2\n\t"
		     "vpaddq %%ymm2, %%ymm0, %%ymm0"
		     : : "m" (*vector_at(text)), "m" (*vector_at(secret)));
}

static __always_inline void add_difference(const u64 *a, const u64 *b)
{
	asm volatile("vmovdqu %0, %%ymm1\n\t"
		     "vpxor %1, %%ymm1, %%ymm1\n\t"
		     "vpor %%ymm1, %%ymm0, %%ymm0"
		     : : "m" (*vector_at(a)), "m" (*vector_at(b)));
}

static u64 sum_of_words(struct ksm_vector sum)
{
	return sum.word[0] + sum.word[1] + sum.word[2] + sum.word[3];
}

/**
 * ksm_avx2_sum - the sum of products of one block
 * @text: the block, KSM_KEY_WORDS words
 * @secret: as many words
 *
 * Context: between kernel_fpu_begin() and kernel_fpu_end(), with AVX2.
 * Return: what sum_block() in fingerprint.c does.
 */
u64 ksm_avx2_sum(const u64 *text, const u64 *secret)
{
	unsigned int i;

	begin_sum();
#pragma GCC unroll 8
	for (i = 0; i < KSM_KEY_WORDS; i += KSM_VECTOR_WORDS)
		add_products(text + i, secret + i);
	return sum_of_words(end_sum());
}

/**
 * ksm_avx2_sum_lines - the sum of products of a sample
 * @key: the secret, which says which lines
 * @addr: the page, mapped
 *
 * Context: between kernel_fpu_begin() and kernel_fpu_end(), with AVX2.
 * Return: what sum_lines() in fingerprint.c does.
 */
u64 ksm_avx2_sum_lines(const struct ksm_key *key, const void *addr)
{
	const u64 *secret = key->word;
	unsigned int i, j;

	begin_sum();
#pragma GCC unroll 4
	for (i = 0; i < KSM_SAMPLE_LINES; i++, secret += KSM_SAMPLE_WORDS) {
		const u64 *line = addr + key->line[i];

		for (j = 0; j < KSM_SAMPLE_WORDS; j += KSM_VECTOR_WORDS)
			add_products(line + j, secret + j);
	}
	return sum_of_words(end_sum());
}

/**
 * ksm_avx2_equal - compare one block of two pages
 * @a: a block, KSM_KEY_WORDS words
 * @b: another
 *
 * Context: between kernel_fpu_begin() and kernel_fpu_end(), with AVX2.
 * Return: true where all bytes are equal.
 */
bool ksm_avx2_equal(const u64 *a, const u64 *b)
{
	struct ksm_vector difference;
	unsigned int i;

	begin_sum();
#pragma GCC unroll 8
	for (i = 0; i < KSM_KEY_WORDS; i += KSM_VECTOR_WORDS)
		add_difference(a + i, b + i);
	difference = end_sum();
	return !(difference.word[0] | difference.word[1] |
		 difference.word[2] | difference.word[3]);
}
