/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KSM_TEST_LINUX_RMAP_H
#define _KSM_TEST_LINUX_RMAP_H

struct rmap_walk_control;

/* All that is left of it is how many references there are. */
struct anon_vma {
	int refs;
};

static inline void put_anon_vma(struct anon_vma *anon_vma)
{
	anon_vma->refs--;
}

#endif /* _KSM_TEST_LINUX_RMAP_H */
