/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: whether pages were used since the previous pass.
 */
#ifndef _MM_KSM_YOUNG_H
#define _MM_KSM_YOUNG_H

#include <linux/mm_types.h>
#include <linux/types.h>

struct ksm_chunk;
struct ksm_walk;

/**
 * enum ksm_use - what is known of the use of a page since the previous pass
 * @KSM_USE_IDLE: it was not used
 * @KSM_USE_YOUNG: it was read or written
 * @KSM_USE_SWAPPED: it was read, and not written to since it was read from swap
 * @KSM_USE_KERNEL: the kernel wrote it through a reference, or may have
 */
enum ksm_use {
	KSM_USE_IDLE,
	KSM_USE_YOUNG,
	KSM_USE_SWAPPED,
	KSM_USE_KERNEL,
};

/* One pass in this many checks idle pages for writes by the kernel. */
#define KSM_FIND_WRITTEN_PASSES	4

#ifdef CONFIG_ARM64_CONTPTE
/* PTEs that may share one accessed bit. */
#define KSM_YOUNG_SPAN	CONT_PTES
#else
#define KSM_YOUNG_SPAN	1U
#endif

/**
 * ksm_young_find_written - whether a pass looks for what the kernel wrote
 * @seqnr: number of the pass
 *
 * Return: true if the pass checks idle pages as well.  In such a pass a page counts as
 * written if its dirty mark cannot be cleared.
 */
static inline bool ksm_young_find_written(unsigned long seqnr)
{
	return seqnr % KSM_FIND_WRITTEN_PASSES == 0;
}

void ksm_young_read_pmd(struct ksm_walk *walk, struct vm_area_struct *vma, pmd_t *pmd,
			unsigned long address);
void ksm_young_read_leaf(struct ksm_chunk *chunk, bool huge);
void ksm_young_hand_on(struct ksm_chunk *chunk);
enum ksm_use ksm_young_test_clear(struct ksm_chunk *chunk, unsigned int offset,
				  struct page *page);

#endif /* _MM_KSM_YOUNG_H */
