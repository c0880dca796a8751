// SPDX-License-Identifier: GPL-2.0
/*
 * Shared pages are swapped out and in: they keep their content, later writes to them are
 * private, and the figures stay exact. ksm_swap_shared has the cases of pages that several
 * processes share.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	40
#define SEED	0x7000

static char *swapped_area(void)
{
	char *area;

	ksm_need_reclaim();
	area = ksm_merged_area(PAGES, SEED);
	ksm_check(ksm_reclaim(area, PAGES), "all shared pages are swapped out");
	return area;
}

static void out_and_in(void)
{
	char *area = swapped_area();

	ksm_check_same(area, PAGES, SEED);
}

static void merges_again(void)
{
	char *area = swapped_area();

	ksm_check_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

/* Pages that are out share one swap slot, and one page when they are in again. */
static void figures_while_out(void)
{
	char *area = swapped_area();

	ksm_passes(2);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

/*
 * After an unmerge the page in swap is an ordinary one. At other addresses than the
 * first, it has to be copied.
 */
static void copies_are_counted(void)
{
	char *area = swapped_area();
	long before = ksm_vmstat("ksm_swpin_copy"), copies;

	ksm_unmerge_all();
	ksm_check_same(area, PAGES, SEED);
	copies = ksm_vmstat("ksm_swpin_copy") - before;
	if (copies < 1 || copies > PAGES)
		ksm_fail("ksm_swpin_copy went up by %ld for %d pages", copies, PAGES);
}

static void write_after_swap_in(void)
{
	char *area = swapped_area();

	ksm_check_same(area, PAGES / 2, SEED);
	ksm_fill_unique(area, PAGES / 2, SEED + 1);
	ksm_check_same(area + PAGES / 2 * psize(), PAGES - PAGES / 2, SEED);
	ksm_check_unique(area, PAGES / 2, SEED + 1);
}

static void write_straight_from_swap(void)
{
	char *area = swapped_area();
	size_t i;

	for (i = 0; i < PAGES; i += 2)
		ksm_fill(area + i * psize(), SEED + 1 + i);
	for (i = 0; i < PAGES; i++)
		ksm_check(ksm_holds(area + i * psize(), i & 1 ? SEED : SEED + 1 + i),
			  "written pages have the new content, the others the old");
}

static void sharing_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(PAGES);

	(void)arg;
	ksm_fill_same(area, PAGES, SEED);
	ksm_child_pause(self);
	ksm_check(ksm_reclaim(area, PAGES), "the child's pages are swapped out");
	ksm_child_pause(self);
	ksm_check_same(area, PAGES, SEED);
	ksm_fill_unique(area, PAGES, SEED + 1);
	ksm_child_pause(self);
	ksm_check_unique(area, PAGES, SEED + 1);
}

static void two_processes(void)
{
	struct ksm_child child;
	char *area;

	ksm_need_reclaim();
	ksm_child_start(&child, sharing_child, NULL);
	ksm_child_wait(&child);
	area = ksm_merged_area(PAGES, SEED);
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_child_step(&child);
	ksm_check(ksm_reclaim(area, PAGES), "the parent's pages are swapped out");
	ksm_child_step(&child);
	ksm_check_same(area, PAGES, SEED);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

static void unmerge_while_out(void)
{
	char *area = swapped_area();

	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, PAGES, SEED);
	ksm_fill_unique(area, PAGES, SEED + 1);
	ksm_check_unique(area, PAGES, SEED + 1);
}

static void unmergeable_while_out(void)
{
	char *area = swapped_area();

	ksm_unmergeable(area, PAGES);
	ksm_check_same(area, PAGES, SEED);
	ksm_expect("pages merged of an area no longer mergeable",
		   ksm_count_merged(area, PAGES), 0);
}

static void munmap_while_out(void)
{
	char *area = swapped_area();

	munmap(area, PAGES * psize());
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void fork_child(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check_same(arg, PAGES, SEED);
	ksm_fill_unique(arg, PAGES, SEED + 1);
	ksm_check_unique(arg, PAGES, SEED + 1);
}

static void fork_while_out(void)
{
	char *area = swapped_area();
	struct ksm_child child;

	ksm_child_start(&child, fork_child, area);
	ksm_child_wait(&child);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

static void unique_pages(void)
{
	char *area;

	ksm_need_reclaim();
	area = ksm_map_mergeable(PAGES);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_check(ksm_reclaim(area, PAGES), "pages that are only known are swapped out");
	ksm_passes(2);
	ksm_check_unique(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
}

static void out_while_scanning(void)
{
	char *area;
	unsigned int i;

	ksm_need_reclaim();
	area = ksm_map_mergeable(PAGES);
	ksm_fill_same(area, PAGES / 2, SEED);
	ksm_fill_unique(area + PAGES / 2 * psize(), PAGES / 2, SEED + 1);
	ksm_set("run", 1);
	for (i = 0; i < 10; i++) {
		ksm_check(ksm_reclaim(area, PAGES), "all pages are swapped out");
		ksm_check_same(area, PAGES / 2, SEED);
		ksm_check_unique(area + PAGES / 2 * psize(), PAGES / 2, SEED + 1);
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES / 2 - 1, PAGES / 2);
}

/* MADV_FREE by the only owner of a page must not drop it after others merged with it. */
static void freed_lazily(void)
{
	char *area, *late;

	ksm_need_reclaim();
	area = ksm_merged_area(PAGES, SEED);
	munmap(area + psize(), (PAGES - 1) * psize());
	ksm_check(!madvise(area, psize(), MADV_FREE), "MADV_FREE of a shared page");
	late = ksm_map_mergeable(1);
	ksm_fill(late, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(late, 1), 1);
	munmap(area, psize());
	ksm_check(ksm_reclaim(late, 1), "the page is swapped out, and not dropped");
	ksm_check_same(late, 1, SEED);
}

static void giving_child(struct ksm_child *self, void *area)
{
	ksm_check(!madvise(area, PAGES * psize(), MADV_FREE), "MADV_FREE in a child");
	ksm_child_pause(self);
}

/* No process has written to the pages since they were made, so they are clean. */
static void check_given(char *area)
{
	struct ksm_child child;

	ksm_child_start(&child, giving_child, area);
	ksm_child_wait(&child);
	ksm_child_end(&child);
	ksm_reclaim(area, PAGES);
	ksm_check_unique(area, PAGES, SEED);
}

static void read_and_given(void)
{
	char *area;

	ksm_need_reclaim();
	area = ksm_map_mergeable(PAGES);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_check(ksm_reclaim(area, PAGES), "all pages are swapped out");
	ksm_check_unique(area, PAGES, SEED);
	check_given(area);
}

static void unmerged_and_given(void)
{
	char *area, *duplicates;

	ksm_need_reclaim();
	area = ksm_map_mergeable(PAGES);
	duplicates = ksm_map_mergeable(PAGES);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_fill_unique(duplicates, PAGES, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_unmergeable(area, PAGES);
	check_given(area);
}

static void mergeable_child(struct ksm_child *self, void *area)
{
	ksm_mergeable(area, PAGES);
	ksm_check_same(area, PAGES, SEED);
	ksm_child_pause(self);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_child_pause(self);
	ksm_check_same(area, PAGES, SEED);
}

/*
 * A page that the child has merged is still in the swap cache when the parent swaps it in.
 * The parent gets a copy.
 */
static void unmergeable_parent(void)
{
	struct ksm_child child;
	char *area;

	ksm_need_reclaim();
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_check(ksm_reclaim(area, PAGES), "all pages are swapped out");
	ksm_child_start(&child, mergeable_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_child_step(&child);
	ksm_check_same(area, PAGES, SEED);
	ksm_expect("merged pages of the parent", ksm_count_merged(area, PAGES), 0);
	ksm_child_end(&child);
}

static const struct ksm_case cases[] = {
	{ "shared pages go out and come in", out_and_in },
	{ "they merge again", merges_again },
	{ "a page that one process gave up by MADV_FREE", freed_lazily },
	{ "pages that a child gave up by MADV_FREE", read_and_given },
	{ "unmerged pages that a child gave up by MADV_FREE", unmerged_and_given },
	{ "pages that are out are counted as shared", figures_while_out },
	{ "ksm_swpin_copy counts copies", copies_are_counted },
	{ "a write after swap-in is private", write_after_swap_in },
	{ "a write straight from swap is private", write_straight_from_swap },
	{ "two processes share what is swapped", two_processes },
	{ "run 2 while pages are out", unmerge_while_out },
	{ "MADV_UNMERGEABLE while pages are out", unmergeable_while_out },
	{ "munmap while pages are out", munmap_while_out },
	{ "fork while pages are out", fork_while_out },
	{ "pages known but not shared", unique_pages },
	{ "in and out while ksmd is at work", out_while_scanning },
	{ "an unmergeable parent swaps in pages that its child has merged", unmergeable_parent },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
