// SPDX-License-Identifier: GPL-2.0
/*
 * Areas moved by mremap, before and after their pages merged: they hold what
 * they held, merge where they now are, and the kernel finds every mapping of
 * their pages when it swaps or migrates them.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define PAGES	30
#define SEED	0x8000

/* A free stretch of addresses, so that a move does not land on anything. */
static char *free_range(size_t pages)
{
	char *area = mmap(NULL, pages * psize(), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ksm_check(area != MAP_FAILED, "reserving addresses");
	return area;
}

static char *move(char *area, size_t pages)
{
	char *target = free_range(pages);

	if (mremap(area, pages * psize(), pages * psize(),
		   MREMAP_MAYMOVE | MREMAP_FIXED, target) != target)
		ksm_fail("mremap: %s", strerror(errno));
	return target;
}

/* Moved away from the addresses at which its pages were first written. */
static char *moved_area(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	return move(area, PAGES);
}

static void moved_then_merged(void)
{
	char *area = moved_area();

	ksm_check(ksm_vmflag(area, "mg"), "the area is still mergeable");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void merged_then_moved(void)
{
	char *area = move(ksm_merged_area(PAGES, SEED), PAGES);

	ksm_check_same(area, PAGES, SEED);
	ksm_check(ksm_vmflag(area, "mg"), "the area is still mergeable");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void moved_over_and_over(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	unsigned int i;

	for (i = 0; i < 10; i++) {
		area = move(area, PAGES);
		ksm_check_same(area, PAGES, SEED);
		if (i % 3 == 0)
			ksm_settle();
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, PAGES, SEED);
}

static void write_after_move(void)
{
	char *area = move(ksm_merged_area(PAGES, SEED), PAGES);

	ksm_settle();
	ksm_fill_unique(area, PAGES / 2, SEED + 1);
	ksm_check_unique(area, PAGES / 2, SEED + 1);
	ksm_check_same(area + PAGES / 2 * psize(), PAGES - PAGES / 2, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES - PAGES / 2 - 1, PAGES / 2);
}

/* The middle third moves; the VMA is split and each part has its own offset. */
static void part_moved(void)
{
	char *area = ksm_map_mergeable(PAGES), *part;
	size_t third = PAGES / 3;

	ksm_fill_same(area, PAGES, SEED);
	part = move(area + third * psize(), third);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_expect("merged pages of the part", ksm_count_merged(part, third), third);
	ksm_check_same(part, third, SEED);
	ksm_check_same(area, third, SEED);
	ksm_check_same(area + 2 * third * psize(), third, SEED);
}

static void grown(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *larger;

	larger = mremap(area, PAGES * psize(), 3 * PAGES * psize(), MREMAP_MAYMOVE);
	ksm_check(larger != MAP_FAILED, "growing by mremap");
	ksm_check_same(larger, PAGES, SEED);
	ksm_fill_same(larger + PAGES * psize(), 2 * PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, 3 * PAGES - 1, 0);
	ksm_check_same(larger, 3 * PAGES, SEED);
}

static void shrunk(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	ksm_check(mremap(area, PAGES * psize(), PAGES / 3 * psize(), 0) == area,
		  "shrinking by mremap");
	ksm_settle();
	ksm_expect_figures(1, PAGES / 3 - 1, 0);
	ksm_check_same(area, PAGES / 3, SEED);
}

/* The pages go, the old area stays and is empty. */
static void dontunmap(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *moved;

	moved = mremap(area, PAGES * psize(), PAGES * psize(),
		       MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (moved == MAP_FAILED)
		ksm_skip("MREMAP_DONTUNMAP is not known here");
	ksm_check_same(moved, PAGES, SEED);
	ksm_check_same(area, PAGES, 0);
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_check_same(moved, PAGES, SEED);
}

/* Two areas trade places while they share pages. */
static void swapped_places(void)
{
	char *one = ksm_map_mergeable(PAGES), *two = ksm_map_mergeable(PAGES), *spare;

	ksm_fill_same(one, PAGES, SEED);
	ksm_fill_same(two, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	spare = move(one, PAGES);
	ksm_check(mremap(two, PAGES * psize(), PAGES * psize(),
			 MREMAP_MAYMOVE | MREMAP_FIXED, one) == one, "moving back");
	ksm_check(mremap(spare, PAGES * psize(), PAGES * psize(),
			 MREMAP_MAYMOVE | MREMAP_FIXED, two) == two, "moving across");
	ksm_check_same(one, PAGES, SEED);
	ksm_check_same(two, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
}

/* A page that is found through one mapping alone stays in memory. */
static void moved_swapped_out(void)
{
	char *area;

	ksm_need_reclaim();
	area = moved_area();
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check(ksm_reclaim(area, PAGES), "every mapping is found, the pages swapped out");
	ksm_check_same(area, PAGES, SEED);
}

static void merged_moved_swapped_out(void)
{
	char *area;

	ksm_need_reclaim();
	area = move(ksm_merged_area(PAGES, SEED), PAGES);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check(ksm_reclaim(area, PAGES), "every mapping is found, the pages swapped out");
	ksm_check_same(area, PAGES, SEED);
}

static void moved_migrated(void)
{
	int nodes[2], status[PAGES], target;
	char *area;

	ksm_need_nodes(nodes);
	area = moved_area();
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	target = ksm_node_of(area) == nodes[0] ? nodes[1] : nodes[0];
	ksm_move_pages(area, 1, target, MPOL_MF_MOVE_ALL, status);
	ksm_expect("answer of move_pages", status[0], target);
	ksm_expect("distinct pages", ksm_distinct_merged(area, PAGES), 1);
	ksm_expect("node of the last mapping", ksm_node_of(area + (PAGES - 1) * psize()), target);
	ksm_check_same(area, PAGES, SEED);
}

/* After fork there are two processes with the area at its moved place. */
static void fork_child(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check(ksm_reclaim(arg, PAGES), "the child's mappings are found too");
	ksm_check_same(arg, PAGES, SEED);
}

static void moved_forked_swapped_out(void)
{
	struct ksm_child child;
	char *area;

	ksm_need_reclaim();
	area = moved_area();
	ksm_child_start(&child, fork_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_child_end(&child);
	ksm_check(ksm_reclaim(area, PAGES), "the parent's mappings are found");
	ksm_check_same(area, PAGES, SEED);
}

static void moved_while_scanning(void)
{
	char *area = ksm_map_mergeable(PAGES);
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 200; i++) {
		area = move(area, PAGES);
		ksm_check_same(area, PAGES, SEED);
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

/*
 * The area that the pages came from stands in their anon_vma still, at the same
 * offsets, and is locked: that is no reason to keep the pages it does not map.
 */
static void left_behind_locked(void)
{
	char *area = ksm_map_mergeable(PAGES + 1), *moved = free_range(PAGES);

	ksm_need_reclaim();
	ksm_fill_same(area, PAGES + 1, SEED);
	if (mremap(area, PAGES * psize(), PAGES * psize(),
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, moved) != moved)
		ksm_skip("MREMAP_DONTUNMAP is not known here");
	ksm_fill_unique(area, PAGES + 1, SEED + 1);
	ksm_check(!mlock(area, (PAGES + 1) * psize()), "mlock");
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(moved, PAGES), PAGES);
	ksm_check(ksm_reclaim(moved, PAGES), "the merged pages go out");
	ksm_check_same(moved, PAGES, SEED);
	ksm_check_unique(area, PAGES + 1, SEED + 1);
}

static const struct ksm_case cases[] = {
	{ "an area moved before it merges", moved_then_merged },
	{ "an area moved after it merged", merged_then_moved },
	{ "an area moved many times", moved_over_and_over },
	{ "writing after a move", write_after_move },
	{ "a part of an area moved", part_moved },
	{ "an area grown", grown },
	{ "an area shrunk", shrunk },
	{ "MREMAP_DONTUNMAP", dontunmap },
	{ "two areas trade places", swapped_places },
	{ "moved, merged, swapped out", moved_swapped_out },
	{ "merged, moved, merged, swapped out", merged_moved_swapped_out },
	{ "moved, merged, migrated", moved_migrated },
	{ "moved, forked, merged, swapped out", moved_forked_swapped_out },
	{ "moved from an area that is locked, merged, swapped out", left_behind_locked },
	{ "moved while ksmd is at work", moved_while_scanning },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
