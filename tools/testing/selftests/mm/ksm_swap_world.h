/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The common part of the ksm_swap_* selftests: processes share all their pages, and the
 * pages are swapped out and in.
 */
#ifndef KSM_SWAP_WORLD_H
#define KSM_SWAP_WORLD_H

#include "ksm_common.h"

#define SHARERS		3	/* beside the case itself */
#define SEED		0x9000

/**
 * struct world - processes that share all their pages
 * @pages: of each process
 * @area: those of the case
 * @child: the other processes
 * @copies: ksm_swpin_copy when the pages were shared
 * @read: pages that were read from swap until the pages were out
 */
struct world {
	size_t pages;
	char *area;
	struct ksm_child child[SHARERS];
	long copies;
	long read;
};

long swapped_in(void);
void share(struct world *world, size_t pages);
void share_with(struct world *world, size_t pages,
		void (*sharer)(struct ksm_child *self, void *world));
void expect_shared(const struct world *world);
void page_out(struct world *world);
void read_as_children(struct world *world);
void expect_no_copies(const struct world *world);
void read_back(struct world *world);
void expect_read_once(const struct world *world);

#endif /* KSM_SWAP_WORLD_H */
