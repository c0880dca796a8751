// SPDX-License-Identifier: GPL-2.0
/*
 * Pages that processes share are shared again as soon as they are read back from swap:
 * no scan is needed, and no copy is made. A page that takes over the swap slot of a
 * shared page is not shared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#include "ksm_swap_world.h"

#define MANY		2000
#define FEW		100
#define OTHERS		2000	/* that may get the slots of a few */
#define OTHER_SEED	0x70000
/* Of a page in swap, pagemap tells the device and the slot. */
#define SLOT_MASK	((1ULL << 55) - 1)

/* The second time shows that the reverse map finds the pages that came back. */
static void shared_at_once(void)
{
	struct world world;
	int i;

	share(&world, MANY);
	for (i = 0; i < 2; i++) {
		page_out(&world);
		read_back(&world);
		expect_read_once(&world);
		expect_shared(&world);
	}
	ksm_settle();
	expect_shared(&world);
}

static void shared_while_scanned(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_settle();
	expect_shared(&world);
	read_back(&world);
	expect_shared(&world);
}

static void written_to(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_fill_unique(world.area, FEW, OTHER_SEED);
	read_as_children(&world);
	ksm_check_unique(world.area, FEW, OTHER_SEED);
	ksm_settle();
	ksm_expect_figures(FEW, (SHARERS - 1) * FEW, FEW);
}

static void reading_child(struct ksm_child *self, void *arg)
{
	const struct world *world = arg;

	ksm_child_pause(self);
	ksm_check_unique(world->area, world->pages, SEED);
	ksm_expect("merged pages of a child",
		   ksm_count_merged(world->area, world->pages), world->pages);
	ksm_child_pause(self);
	ksm_check_unique(world->area, world->pages, SEED);
	ksm_fill_unique(world->area, world->pages, OTHER_SEED);
	ksm_check_unique(world->area, world->pages, OTHER_SEED);
}

static void forked(void)
{
	struct ksm_child child;
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_child_start(&child, reading_child, &world);
	ksm_child_wait(&child);
	ksm_child_step(&child);
	read_back(&world);
	page_out(&world);
	ksm_child_end(&child);
	read_back(&world);
	ksm_settle();
	expect_shared(&world);
}

static void one_exits(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_child_kill(&world.child[0]);
	world.child[0].pid = 0;
	read_back(&world);
	ksm_settle();
	ksm_expect_figures(FEW, (SHARERS - 1) * FEW, 0);
}

static void given_up(int advice)
{
	struct world world;
	size_t i;

	share(&world, FEW);
	page_out(&world);
	ksm_check(!madvise(world.area, FEW * psize(), advice), "madvise of swapped pages");
	read_as_children(&world);
	for (i = 0; i < FEW * psize(); i += psize())
		ksm_check(!world.area[i], "a page that was given up is zero");
	ksm_settle();
	ksm_expect_figures(FEW, (SHARERS - 1) * FEW, 0);
	read_as_children(&world);
}

static void given_up_lazily(void)
{
	given_up(MADV_FREE);
}

static void given_up_now(void)
{
	given_up(MADV_DONTNEED);
}

static void unmerged(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_unique(world.area, FEW, SEED);
	read_as_children(&world);
	ksm_expect("merged pages", ksm_count_merged(world.area, FEW), 0);
	ksm_expect_nothing();
	ksm_settle();
	expect_shared(&world);
}

static void one_unmergeable(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_unmergeable(world.area, FEW);
	ksm_check_unique(world.area, FEW, SEED);
	ksm_expect("merged pages", ksm_count_merged(world.area, FEW), 0);
	read_as_children(&world);
	ksm_fill_unique(world.area, FEW, OTHER_SEED);
	read_as_children(&world);
	ksm_settle();
	ksm_expect_figures(FEW, (SHARERS - 1) * FEW, 0);
}

/* The device of the first swap area. */
static const char *swap_device(void)
{
	static char device[KSM_TEXT];
	FILE *file;

	if (device[0])
		return device;
	file = fopen("/proc/swaps", "r");
	if (!file || fscanf(file, "%*[^\n] %63s", device) != 1)
		ksm_fail("/proc/swaps has no device");
	fclose(file);
	return device;
}

static void turn_swap_off(void)
{
	ksm_check(!swapoff(swap_device()), "swapoff");
}

static void turn_swap_on(void)
{
	ksm_check(!swapon(swap_device(), 0), "swapon");
}

static void turned_off(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	turn_swap_off();
	ksm_expect("merged pages after swapoff", ksm_count_merged(world.area, FEW), FEW);
	read_back(&world);
	expect_shared(&world);
	turn_swap_on();
	page_out(&world);
	read_back(&world);
	expect_shared(&world);
}

/* Pages whose content is in swap merge with each other, and later with that one. */
static void merged_meanwhile(void)
{
	struct world world;
	char *late;

	share(&world, FEW);
	page_out(&world);
	late = ksm_map_mergeable(2 * FEW);
	ksm_fill_unique(late, FEW, SEED);
	ksm_fill_unique(late + FEW * psize(), FEW, SEED);
	ksm_settle();
	ksm_expect_figures(2 * FEW, SHARERS * FEW + FEW, 0);
	read_back(&world);
	ksm_settle();
	ksm_expect_figures(2 * FEW, SHARERS * FEW + FEW, 0);
	ksm_expect("contents shared twice", ksm_get("stable_node_chains"), FEW);
	ksm_check_unique(late, FEW, SEED);
}

/* A page that was looked for while it was in swap can be found when it is back. */
static void found_again(void)
{
	struct world world;
	char *late;

	share(&world, FEW);
	page_out(&world);
	late = ksm_map_mergeable(FEW);
	ksm_fill_unique(late, FEW, SEED);
	ksm_settle();
	ksm_expect_figures(FEW, SHARERS * FEW, FEW);
	read_back(&world);
	ksm_settle();
	ksm_expect_figures(FEW, SHARERS * FEW + FEW, 0);
}

/* One process has the page in swap alone now, and reads a page of its own. */
static void back_alone(void)
{
	char *area, *gone, *others;

	ksm_need_reclaim();
	ksm_set("smart_scan", 1);
	area = ksm_map_mergeable(FEW);
	gone = ksm_map_mergeable(FEW);
	ksm_fill_unique(area, FEW, SEED);
	ksm_fill_unique(gone, FEW, SEED);
	ksm_settle();
	ksm_expect_figures(FEW, FEW, 0);
	ksm_check(ksm_reclaim(area, FEW), "all shared pages are swapped out");
	others = ksm_map_mergeable(2 * FEW);
	ksm_fill_unique(others, FEW, SEED);
	ksm_fill_unique(others + FEW * psize(), FEW, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(others, 2 * FEW), 2 * FEW);
	munmap(gone, FEW * psize());
	ksm_check_unique(area, FEW, SEED);
	ksm_one_pass();
	ksm_expect("merged pages of a process after the next pass",
		   ksm_count_merged(area, FEW), FEW);
}

/* The pages are idle at first, and so to be skipped for many passes. */
static void scanned_when_back(void)
{
	long before;
	char *area;

	ksm_need_reclaim();
	ksm_set("smart_scan", 1);
	area = ksm_map_mergeable(FEW);
	ksm_fill_unique(area, FEW, SEED);
	ksm_passes(6);
	ksm_check(ksm_reclaim(area, FEW), "all pages are swapped out");
	ksm_check_unique(area, FEW, SEED);
	before = ksm_get("pages_scanned");
	ksm_one_pass();
	before = ksm_get("pages_scanned") - before;
	if (before < FEW)
		ksm_fail("%ld of %d pages from swap were scanned", before, FEW);
}

static void waiting_child(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check_unique(arg, OTHERS, OTHER_SEED);
	ksm_child_pause(self);
}

/* Where pages of a swapped area are in swap. */
static void note_slots(const char *area, size_t pages, uint64_t *slot)
{
	size_t i;

	ksm_read_pagemap(area, pages, slot);
	for (i = 0; i < pages; i++)
		slot[i] &= SLOT_MASK;
}

static bool any_equal(const uint64_t *slot, const uint64_t *other)
{
	size_t i, k;

	for (i = 0; i < FEW; i++)
		for (k = 0; k < OTHERS; k++)
			if (slot[i] == other[k])
				return true;
	return false;
}

/* With a child each page is used twice, and so read by way of the swap cache. */
static void slots_used_again(void)
{
	uint64_t slot[FEW], again[OTHERS];
	struct ksm_child child;
	struct world world;
	unsigned int i;
	char *area;

	/* Swap slots are allocated for each CPU from a cluster of its own. */
	ksm_stay_on_cpu();
	share(&world, FEW);
	page_out(&world);
	note_slots(world.area, FEW, slot);
	for (i = 0; i < SHARERS; i++)
		ksm_child_kill(&world.child[i]);
	munmap(world.area, FEW * psize());
	turn_swap_off();
	turn_swap_on();
	area = ksm_map_mergeable(OTHERS);
	ksm_fill_unique(area, OTHERS, OTHER_SEED);
	ksm_child_start(&child, waiting_child, area);
	ksm_child_wait(&child);
	ksm_check(ksm_reclaim(area, OTHERS), "other pages are swapped out");
	note_slots(area, OTHERS, again);
	ksm_check(any_equal(slot, again), "they have slots of the shared pages");
	ksm_check_unique(area, OTHERS, OTHER_SEED);
	ksm_expect("merged pages that were never merged", ksm_count_merged(area, OTHERS), 0);
	ksm_child_step(&child);
	ksm_child_end(&child);
	ksm_check_unique(area, OTHERS, OTHER_SEED);
}

static const struct ksm_case cases[] = {
	{ "pages are shared at once when they are back", shared_at_once },
	{ "pages in swap are counted as shared", shared_while_scanned },
	{ "a write straight from swap", written_to },
	{ "fork while the pages are out", forked },
	{ "exit of a process while the pages are out", one_exits },
	{ "MADV_FREE while the pages are out", given_up_lazily },
	{ "MADV_DONTNEED while the pages are out", given_up_now },
	{ "run 2 while the pages are out", unmerged },
	{ "MADV_UNMERGEABLE while the pages are out", one_unmergeable },
	{ "swapoff", turned_off },
	{ "other pages with the content merge meanwhile", merged_meanwhile },
	{ "a page that is back is found", found_again },
	{ "a page that comes back alone merges in the next pass", back_alone },
	{ "a page that is not shared is scanned when it is back", scanned_when_back },
	{ "swap slots of shared pages are used again", slots_used_again },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
