// SPDX-License-Identifier: GPL-2.0
/*
 * Pages of zeros: with use_zero_pages they are mapped to the zero page and
 * counted on their own, without it they merge like any others.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	60
#define SEED	0x5000

/* An area of zeros, written once so that it has pages of its own. */
static char *zero_area(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	return area;
}

static void expect_zero_pages(long want)
{
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), want);
	ksm_expect("ksm_zero_pages of the process", ksm_stat(0, "ksm_zero_pages"), want);
}

static void counted(void)
{
	char *area = zero_area();

	expect_zero_pages(PAGES);
	ksm_expect_figures(0, 0, 0);
	ksm_expect("pages that are the zero page",
		   ksm_count_flag(area, PAGES, KPF_ZERO_PAGE_BIT), PAGES);
	ksm_check_same(area, PAGES, 0);
}

static void counted_beside_others(void)
{
	char *area = ksm_map_mergeable(3 * PAGES);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_fill_same(area + PAGES * psize(), PAGES, SEED);
	ksm_fill_unique(area + 2 * PAGES * psize(), PAGES, SEED + 1);
	ksm_settle();
	expect_zero_pages(PAGES);
	ksm_expect_figures(1, PAGES - 1, PAGES);
}

static void off_merges_as_ordinary(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	expect_zero_pages(0);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, 0);
}

static void turned_on_later(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);

	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area + PAGES * psize(), PAGES, 0);
	ksm_settle();
	ksm_expect("all pages of zeros are merged one way or the other",
		   ksm_get("ksm_zero_pages") + ksm_count_merged(area, 2 * PAGES), 2 * PAGES);
	ksm_check_same(area, 2 * PAGES, 0);
}

/* A page of zeros is often about to be filled: it has to stay one for a pass. */
static void not_at_first_sight(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_one_pass();
	expect_zero_pages(0);
	ksm_set("sleep_millisecs", 1);
	ksm_settle();
	expect_zero_pages(PAGES);
}

static void turned_off_later(void)
{
	char *area = zero_area();

	ksm_set("use_zero_pages", 0);
	ksm_passes(3);
	expect_zero_pages(PAGES);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	expect_zero_pages(0);
	ksm_expect_figures(1, PAGES - 1, 0);
}

static void run_two(void)
{
	char *area = zero_area();

	ksm_unmerge_all();
	expect_zero_pages(0);
	ksm_expect_nothing();
	ksm_expect("pages that are the zero page",
		   ksm_count_flag(area, PAGES, KPF_ZERO_PAGE_BIT), 0);
	ksm_check_same(area, PAGES, 0);
}

static void unmergeable(void)
{
	char *area = zero_area();

	ksm_unmergeable(area, PAGES / 2);
	expect_zero_pages(PAGES - PAGES / 2);
	ksm_unmergeable(area, PAGES);
	expect_zero_pages(0);
	ksm_check_same(area, PAGES, 0);
}

static void prctl_off(void)
{
	char *area;

	ksm_set("use_zero_pages", 1);
	prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_expect("pages that are the zero page",
		   ksm_count_flag(area, PAGES, KPF_ZERO_PAGE_BIT), PAGES);
	prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	expect_zero_pages(0);
	ksm_check_same(area, PAGES, 0);
}

static void write_copies(void)
{
	char *area = zero_area();

	ksm_fill(area, SEED);
	area[psize()] = 1;
	expect_zero_pages(PAGES - 2);
	ksm_check(ksm_holds(area, SEED), "a page written whole holds what was written");
	ksm_check(area[psize()] == 1, "a byte written is there");
	ksm_check_same(area + 2 * psize(), PAGES - 2, 0);
	ksm_fill_unique(area, PAGES, SEED);
	expect_zero_pages(0);
	ksm_check_unique(area, PAGES, SEED);
}

static void dontneed(void)
{
	char *area = zero_area();

	madvise(area, PAGES * psize() / 2, MADV_DONTNEED);
	expect_zero_pages(PAGES - PAGES / 2);
	madvise(area, PAGES * psize(), MADV_DONTNEED);
	expect_zero_pages(0);
	ksm_check_same(area, PAGES, 0);
	expect_zero_pages(0);
}

static void munmap_gives_back(void)
{
	char *area = zero_area();

	munmap(area, 10 * psize());
	expect_zero_pages(PAGES - 10);
	munmap(area, PAGES * psize());
	expect_zero_pages(0);
}

static void mremap_keeps_count(void)
{
	char *area = zero_area(), *moved;

	moved = mremap(area, PAGES * psize(), 2 * PAGES * psize(), MREMAP_MAYMOVE);
	ksm_check(moved != MAP_FAILED, "mremap");
	ksm_check_same(moved, PAGES, 0);
	ksm_settle();
	expect_zero_pages(PAGES);
	munmap(moved, 2 * PAGES * psize());
	expect_zero_pages(0);
}

/* What it puts in place is an ordinary zero page. */
static void userfaultfd_moves(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MOVE };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_move move = { .len = PAGES * psize() };
	char *area, *moved;

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		ksm_skip("there is no UFFDIO_MOVE here");
	area = zero_area();
	moved = ksm_map(PAGES);
	ksm_check(!uffd_register(fd, moved, PAGES * psize(), true, false, false),
		  "UFFDIO_REGISTER");
	move.src = (uintptr_t)area;
	move.dst = (uintptr_t)moved;
	ksm_check(!ioctl(fd, UFFDIO_MOVE, &move), "UFFDIO_MOVE");
	expect_zero_pages(0);
	ksm_check_same(moved, PAGES, 0);
}

static void never_written(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_set("use_zero_pages", 1);
	ksm_fill(area, SEED);
	ksm_check_same(area + psize(), PAGES - 1, 0);
	ksm_settle();
	expect_zero_pages(0);
	ksm_unmerge_all();
	expect_zero_pages(0);
}

/* A page of zeros whose very last byte is not. */
static void almost_zero(void)
{
	char *area = ksm_map_mergeable(PAGES);
	size_t i;

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	for (i = 0; i < PAGES; i++)
		area[i * psize() + psize() - 1] = i + 1;
	ksm_settle();
	expect_zero_pages(0);
	ksm_expect_figures(0, 0, PAGES);
}

static void profit_counts_them(void)
{
	long profit;

	zero_area();
	profit = ksm_get("general_profit");
	ksm_check(profit > 0 && profit <= (long)(PAGES * psize()),
		  "general_profit counts zero pages");
	profit = ksm_stat(0, "ksm_process_profit");
	ksm_check(profit > 0 && profit <= (long)(PAGES * psize()),
		  "ksm_process_profit counts zero pages");
}

static void fork_write_child(struct ksm_child *self, void *arg)
{
	char *area = arg;

	ksm_child_pause(self);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_expect("zero pages of the child", ksm_stat(0, "ksm_zero_pages"), 0);
	ksm_child_pause(self);
	ksm_check_unique(area, PAGES, SEED);
}

static void fork_then_write(void)
{
	char *area = zero_area();
	struct ksm_child child;

	ksm_child_start(&child, fork_write_child, area);
	ksm_child_wait(&child);
	ksm_expect("ksm_zero_pages with a child", ksm_get("ksm_zero_pages"), 2 * PAGES);
	ksm_child_step(&child);
	expect_zero_pages(PAGES);
	ksm_child_end(&child);
	expect_zero_pages(PAGES);
	ksm_check_same(area, PAGES, 0);
}

static void killed_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_fill_same(ksm_map_mergeable(PAGES), PAGES, 0);
	ksm_child_pause(self);
}

static void killed(void)
{
	struct ksm_child child;

	ksm_set("use_zero_pages", 1);
	ksm_child_start(&child, killed_child, NULL);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), PAGES);
	ksm_expect("ksm_zero_pages of the child", ksm_stat(child.pid, "ksm_zero_pages"), PAGES);
	ksm_child_kill(&child);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
}

static const struct ksm_case cases[] = {
	{ "zero pages are counted for system and process", counted },
	{ "zero pages beside shared and unique ones", counted_beside_others },
	{ "with use_zero_pages 0 they merge as ordinary pages", off_merges_as_ordinary },
	{ "use_zero_pages turned on later", turned_on_later },
	{ "use_zero_pages turned off later", turned_off_later },
	{ "zeros do not merge at first sight", not_at_first_sight },
	{ "run 2 gives each page back", run_two },
	{ "MADV_UNMERGEABLE gives each page back", unmergeable },
	{ "prctl off gives each page back", prctl_off },
	{ "a write makes a copy", write_copies },
	{ "MADV_DONTNEED lowers the count", dontneed },
	{ "munmap lowers the count", munmap_gives_back },
	{ "mremap keeps the count true", mremap_keeps_count },
	{ "UFFDIO_MOVE lowers the count", userfaultfd_moves },
	{ "memory never written is not counted", never_written },
	{ "zeros but for the last byte", almost_zero },
	{ "profits count zero pages", profit_counts_them },
	{ "a child that writes gives up its own alone", fork_then_write },
	{ "a killed process takes its count along", killed },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
