// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel Samepage Merging: pages summed up, compared and copied 32 bytes at a time,
 * on x86-64 machines that have AVX2.
 *
 * Each function has one asm statement, which uses ymm0, ymm1 and ymm2.  The compiler
 * keeps nothing in them, since the kernel is built without vector instructions.
 */

#include <linux/build_bug.h>
#include <linux/mm.h>
#include <asm/asm.h>
#include <asm/extable_fixup_types.h>

#include "fingerprint.h"

/* Bytes that one turn of a loop deals with: 16 vectors of 32 bytes. */
#define KSM_TURN_BYTES	512

/* What one turn reads, for the compiler. */
struct ksm_block {
	u64 word[KSM_KEY_WORDS];
};

struct ksm_whole_page {
	u64 word[PAGE_SIZE / sizeof(u64)];
};

/*
 * What product() in fingerprint.c does, for four words: the instruction multiplies
 * lower halves.
 */
#define ADD_PRODUCTS(text, secret)			\
	"vmovdqu " text ", %%ymm1\n\t"			\
	"vpaddq " secret ", %%ymm1, %%ymm1\n\t"		\
	"vpsrlq $32, %%ymm1, %%ymm2\n\t"		\
	"vpmuludq %%ymm1, %%ymm2, %%ymm2\n\t"		\
	"vpaddq %%ymm2, %%ymm0, %%ymm0\n\t"

#define ADD_DIFFERENCE(one, other)			\
	"vmovdqu " one ", %%ymm1\n\t"			\
	"vpxor " other ", %%ymm1, %%ymm1\n\t"		\
	"vpor %%ymm1, %%ymm0, %%ymm0\n\t"

/* The assembler repeats what follows, up to .endr, for the vectors of one turn. */
#define FOR_EACH_VECTOR							\
	".irp at, 0x000, 0x020, 0x040, 0x060, 0x080, 0x0a0, 0x0c0, 0x0e0, "	\
		 "0x100, 0x120, 0x140, 0x160, 0x180, 0x1a0, 0x1c0, 0x1e0\n\t"

/* Add up the four words of ymm0. */
#define END_SUM(sum)					\
	"vextracti128 $1, %%ymm0, %%xmm1\n\t"		\
	"vpaddq %%xmm1, %%xmm0, %%xmm0\n\t"		\
	"vpsrldq $8, %%xmm0, %%xmm1\n\t"		\
	"vpaddq %%xmm1, %%xmm0, %%xmm0\n\t"		\
	"vmovq %%xmm0, " sum "\n\t"			\
	"vzeroupper"

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
	const u64 *end = text + KSM_KEY_WORDS, *at = text, *word = secret;
	u64 sum;

	BUILD_BUG_ON(sizeof(struct ksm_block) % KSM_TURN_BYTES);
	asm volatile("vpxor %%ymm0, %%ymm0, %%ymm0\n"
		     "1:\t"
		     FOR_EACH_VECTOR
		     ADD_PRODUCTS("\\at(%[text])", "\\at(%[secret])")
		     ".endr\n\t"
		     "add %[turn], %[text]\n\t"
		     "add %[turn], %[secret]\n\t"
		     "cmp %[end], %[text]\n\t"
		     "jne 1b\n\t"
		     END_SUM("%[sum]")
		     : [text] "+r" (at), [secret] "+r" (word), [sum] "=r" (sum)
		     : [end] "r" (end), [turn] "i" (KSM_TURN_BYTES),
		       "m" (*(const struct ksm_block *)text),
		       "m" (*(const struct ksm_block *)secret));
	return sum;
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
	u64 sum;

	BUILD_BUG_ON(KSM_SAMPLE_LINES != 4 || KSM_SAMPLE_WORDS * sizeof(u64) != 0x40);
	asm volatile("vpxor %%ymm0, %%ymm0, %%ymm0\n\t"
		     ADD_PRODUCTS("(%[line0])", "0x00(%[secret])")
		     ADD_PRODUCTS("0x20(%[line0])", "0x20(%[secret])")
		     ADD_PRODUCTS("(%[line1])", "0x40(%[secret])")
		     ADD_PRODUCTS("0x20(%[line1])", "0x60(%[secret])")
		     ADD_PRODUCTS("(%[line2])", "0x80(%[secret])")
		     ADD_PRODUCTS("0x20(%[line2])", "0xa0(%[secret])")
		     ADD_PRODUCTS("(%[line3])", "0xc0(%[secret])")
		     ADD_PRODUCTS("0x20(%[line3])", "0xe0(%[secret])")
		     END_SUM("%[sum]")
		     : [sum] "=r" (sum)
		     : [line0] "r" (addr + key->line[0]), [line1] "r" (addr + key->line[1]),
		       [line2] "r" (addr + key->line[2]), [line3] "r" (addr + key->line[3]),
		       [secret] "r" (key->word),
		       "m" (*(const struct ksm_whole_page *)addr), "m" (*key));
	return sum;
}

/**
 * ksm_avx2_equal - compare two pages
 * @one: a page, mapped
 * @other: another
 *
 * Context: between kernel_fpu_begin() and kernel_fpu_end(), with AVX2.
 * Return: true where all bytes are equal.
 */
bool ksm_avx2_equal(const void *one, const void *other)
{
	const void *end = one + PAGE_SIZE, *a = one, *b = other;
	bool equal;

	asm volatile("vpxor %%ymm0, %%ymm0, %%ymm0\n"
		     "1:\t"
		     FOR_EACH_VECTOR
		     ADD_DIFFERENCE("\\at(%[a])", "\\at(%[b])")
		     ".endr\n\t"
		     "add %[turn], %[a]\n\t"
		     "add %[turn], %[b]\n\t"
		     "cmp %[end], %[a]\n\t"
		     "jne 1b\n\t"
		     "vptest %%ymm0, %%ymm0\n\t"
		     "sete %[equal]\n\t"
		     "vzeroupper"
		     : [a] "+r" (a), [b] "+r" (b), [equal] "=r" (equal)
		     : [end] "r" (end), [turn] "i" (KSM_TURN_BYTES),
		       "m" (*(const struct ksm_whole_page *)one),
		       "m" (*(const struct ksm_whole_page *)other));
	return equal;
}

/**
 * ksm_avx2_copy - copy a page
 * @to: where to, mapped
 * @from: the page, mapped; a load from it may fail with a machine check
 *
 * Context: between kernel_fpu_begin() and kernel_fpu_end(), with AVX2.
 * Return: false where a load failed.  Part of @to is written then.
 */
bool ksm_avx2_copy(void *to, const void *from)
{
	const void *end = from + PAGE_SIZE, *source = from;
	bool copied = false;
	void *at = to;

	asm volatile("1:\t"
		     FOR_EACH_VECTOR
		     "2:\t"
		     "vmovdqu \\at(%[from]), %%ymm0\n\t"
		     _ASM_EXTABLE_TYPE(2b, 3f, EX_TYPE_DEFAULT_MCE_SAFE)
		     "vmovdqu %%ymm0, \\at(%[to])\n\t"
		     ".endr\n\t"
		     "add %[turn], %[from]\n\t"
		     "add %[turn], %[to]\n\t"
		     "cmp %[end], %[from]\n\t"
		     "jne 1b\n\t"
		     "movb $1, %[copied]\n"
		     "3:\t"
		     "vzeroupper"
		     : [from] "+r" (source), [to] "+r" (at), [copied] "+r" (copied),
		       "=m" (*(struct ksm_whole_page *)to)
		     : [end] "r" (end), [turn] "i" (KSM_TURN_BYTES),
		       "m" (*(const struct ksm_whole_page *)from));
	return copied;
}
