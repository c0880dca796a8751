/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the content of a page in 64 bits
 */
#ifndef _MM_KSM_FINGERPRINT_H
#define _MM_KSM_FINGERPRINT_H

#include <linux/types.h>

/* Words of secret that one block of a page is hashed with. */
#define KSM_KEY_WORDS		128
/* Cache lines of a page that make up its sample. */
#define KSM_SAMPLE_LINES	4
#define KSM_SAMPLE_WORDS	8

/**
 * struct ksm_key - the secret of a domain, on which its fingerprints depend
 * @word: addends of the hash
 * @fold: odd multipliers: one chains blocks, one spreads the result
 * @line: byte offset in a page of each sampled line
 * @zero: fingerprint of a zeroed page
 * @zero_sample: fingerprint of the sample of a zeroed page
 */
struct ksm_key {
	u64 word[KSM_KEY_WORDS];
	u64 fold[2];
	unsigned int line[KSM_SAMPLE_LINES];
	u64 zero;
	u64 zero_sample;
};

#ifdef CONFIG_KSM_AVX2
bool ksm_hash_vectors(void);
void ksm_hash_begin(void);
void ksm_hash_end(void);
#else
static inline bool ksm_hash_vectors(void)
{
	return false;
}

static inline void ksm_hash_begin(void)
{
}

static inline void ksm_hash_end(void)
{
}
#endif

void ksm_key_init(struct ksm_key *key, const void *zeroes);
u64 ksm_fingerprint(const struct ksm_key *key, const void *addr);
u64 ksm_sample(const struct ksm_key *key, const void *addr);
bool ksm_equal(const void *one, const void *other);
bool ksm_copy(void *to, const void *from);
void ksm_fingerprint_init(void);

/* avx2.c */
u64 ksm_avx2_sum(const u64 *text, const u64 *secret);
u64 ksm_avx2_sum_lines(const struct ksm_key *key, const void *addr);
bool ksm_avx2_equal(const void *one, const void *other);
bool ksm_avx2_copy(void *to, const void *from);

/**
 * ksm_tag - the part of a fingerprint that a record keeps
 * @fingerprint: of a sample or a page
 *
 * Return: its upper half.
 */
static inline u32 ksm_tag(u64 fingerprint)
{
	return fingerprint >> 32;
}

/* An odd constant to spread NUMA nodes over the keys: 2^64 / golden ratio. */
#define KSM_NODE_STRIDE		0x9e3779b97f4a7c15ULL

/**
 * ksm_key_on_node - fingerprint of a content for the pages of one NUMA node
 * @fingerprint: of the content
 * @nid: NUMA node, 0 where it makes no difference
 *
 * Return: the key under which either tree knows the content.
 */
static inline u64 ksm_key_on_node(u64 fingerprint, int nid)
{
	return fingerprint + nid * KSM_NODE_STRIDE;
}

#endif /* _MM_KSM_FINGERPRINT_H */
