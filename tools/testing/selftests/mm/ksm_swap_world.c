// SPDX-License-Identifier: GPL-2.0
/*
 * The common part of the ksm_swap_* selftests. See ksm_swap_world.h.
 */
#include <stdlib.h>

#include "ksm_swap_world.h"

/* Pages of programs that go out with those of a case. */
#define OTHER_PAGES	400

/* zswap counts those that it had. */
long swapped_in(void)
{
	char value[KSM_TEXT];
	long pages = ksm_vmstat("pswpin");

	if (ksm_field("/proc/vmstat", "zswpin", value, sizeof(value)))
		pages += strtol(value, NULL, 10);
	return pages;
}

/* Each step reads all pages. */
static void check_again(struct ksm_child *self, void *arg)
{
	const struct world *world = arg;
	char *area = ksm_map_mergeable(world->pages);

	ksm_fill_unique(area, world->pages, SEED);
	ksm_child_pause(self);
	for (;;) {
		ksm_check_unique(area, world->pages, SEED);
		ksm_child_pause(self);
	}
}

void expect_shared(const struct world *world)
{
	ksm_expect_figures(world->pages, SHARERS * world->pages, 0);
}

/* Afterwards ksmd is stopped. */
void share_with(struct world *world, size_t pages,
		void (*sharer)(struct ksm_child *self, void *world))
{
	unsigned int i;

	*world = (struct world){ .pages = pages };
	ksm_need_reclaim();
	for (i = 0; i < SHARERS; i++) {
		ksm_child_start(&world->child[i], sharer, world);
		ksm_child_wait(&world->child[i]);
	}
	world->area = ksm_map_mergeable(pages);
	ksm_fill_unique(world->area, pages, SEED);
	ksm_settle();
	expect_shared(world);
	world->copies = ksm_vmstat("ksm_swpin_copy");
}

void share(struct world *world, size_t pages)
{
	share_with(world, pages, check_again);
}

void page_out(struct world *world)
{
	ksm_check(ksm_reclaim(world->area, world->pages), "all shared pages are swapped out");
	world->read = swapped_in();
}

void read_as_children(struct world *world)
{
	unsigned int i;

	for (i = 0; i < SHARERS; i++)
		if (world->child[i].pid)
			ksm_child_step(&world->child[i]);
}

void expect_no_copies(const struct world *world)
{
	ksm_expect("pages copied at swap-in",
		   ksm_vmstat("ksm_swpin_copy") - world->copies, 0);
}

void read_back(struct world *world)
{
	ksm_check_unique(world->area, world->pages, SEED);
	ksm_expect("pages that are merged right after they are read",
		   ksm_count_merged(world->area, world->pages), world->pages);
	read_as_children(world);
	expect_no_copies(world);
}

void expect_read_once(const struct world *world)
{
	long read = swapped_in() - world->read;

	if (read > (long)world->pages + OTHER_PAGES)
		ksm_fail("%ld pages were read from swap for %zu shared pages", read,
			 world->pages);
}
