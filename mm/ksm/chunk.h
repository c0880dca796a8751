/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: the pages of one leaf, under one page table lock.
 */
#ifndef _MM_KSM_CHUNK_H
#define _MM_KSM_CHUNK_H

#include <linux/mm.h>
#include <linux/spinlock.h>
#include <linux/types.h>

struct ksm_record;
struct ksm_walk;

/**
 * struct ksm_chunk - pages of one leaf that lie in one VMA
 * @walk: the walk that came to them
 * @vma: the VMA
 * @base: first address of the leaf's range
 * @at: offset in the range of the next page, in pages
 * @end: offset behind the last page
 * @record: the first record whose offset is not below @at
 * @end_record: behind the last record of the leaf
 * @ptl: the lock of the page table, or of the PMD
 * @map: the PTEs, as they are mapped
 * @pte: the PTE of offset 0, whether or not it is mapped; NULL if a PMD maps the
 *       pages
 * @huge: the page of offset 0 if a PMD maps the pages
 * @smart: smart_scan is on
 * @young: an accessed bit that covers several of the pages was set
 * @young_end: pages before this offset share an accessed bit that was set
 * @find_written: look for pages that the kernel wrote
 * @nr_skipped: pages that were skipped
 * @hashing: ksm_hash_begin() has been called under @ptl
 * @nr_whole: pages that may still be hashed as a whole under @ptl
 */
struct ksm_chunk {
	struct ksm_walk *walk;
	struct vm_area_struct *vma;
	unsigned long base;
	unsigned int at;
	unsigned int end;
	struct ksm_record *record;
	struct ksm_record *end_record;
	spinlock_t *ptl;	/* of the page table or PMD */
	pte_t *map;
	pte_t *pte;
	struct page *huge;
	bool smart;
	bool young;
	unsigned int young_end;
	bool find_written;
	unsigned int nr_skipped;
	bool hashing;
	unsigned int nr_whole;
};

/**
 * enum ksm_chunk_lock - what the page tables say about a chunk
 * @KSM_CHUNK_LOCKED: it is locked
 * @KSM_CHUNK_EMPTY: no page is mapped there
 * @KSM_CHUNK_CHANGING: a huge page migrates, or has just been split
 */
enum ksm_chunk_lock {
	KSM_CHUNK_LOCKED,
	KSM_CHUNK_EMPTY,
	KSM_CHUNK_CHANGING,
};

/**
 * enum ksm_chunk_result - why the scan of a chunk ended
 * @KSM_CHUNK_DONE: all pages have been scanned
 * @KSM_CHUNK_NO_BUDGET: the batch is over
 * @KSM_CHUNK_RELOCK: the lock has been held for long enough
 * @KSM_CHUNK_NEEDS_LEAF: a page has no record
 */
enum ksm_chunk_result {
	KSM_CHUNK_DONE,
	KSM_CHUNK_NO_BUDGET,
	KSM_CHUNK_RELOCK,
	KSM_CHUNK_NEEDS_LEAF,
};

enum ksm_chunk_lock ksm_chunk_lock(struct ksm_chunk *chunk, pmd_t *pmd);
void ksm_chunk_unlock(struct ksm_chunk *chunk);
enum ksm_chunk_result ksm_chunk_scan(struct ksm_chunk *chunk);
bool ksm_chunk_idle(const struct ksm_chunk *chunk);
u64 ksm_chunk_present(const struct ksm_chunk *chunk);
unsigned int ksm_first_used_pte(const pte_t *table, unsigned int from, unsigned int to);
unsigned int ksm_first_used_pmd(const pmd_t *table, unsigned int from, unsigned int to);

/**
 * ksm_chunk_address - the address of a page of a chunk
 * @chunk: the chunk
 * @offset: which page of the leaf's range
 *
 * Return: its user address.
 */
static inline unsigned long ksm_chunk_address(const struct ksm_chunk *chunk,
					      unsigned int offset)
{
	return chunk->base + offset * PAGE_SIZE;
}

#endif /* _MM_KSM_CHUNK_H */
