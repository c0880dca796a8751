// SPDX-License-Identifier: GPL-2.0
/*
 * min_ptes_merged: a huge page is split only if enough of its pages have a duplicate,
 * and then all of these merge.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x417e0000UL
#define OTHER_SEED	0x52ee0000UL
/* The count is an estimate: FEW is clearly less, and ENOUGH is clearly more. */
#define MINIMUM		64
#define FEW		32
#define ENOUGH		96
/* Passes in which pages of two equal huge pages merge, with some to spare. */
#define PASSES		8
#define KSM_PATH	128
#define THP		"/sys/kernel/mm/transparent_hugepage/"

static size_t count_huge(const char *area)
{
	return ksm_count_flag(area, ksm_huge_pages(), KPF_THP_BIT);
}

/* Two huge pages whose first @equal pages are equal, each to one of the other. */
static char *two_huge_pages(size_t equal)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_map_huge(2);
	char *other = area + pages * psize();

	ksm_fill_unique(area, 2 * pages, SEED);
	ksm_fill_unique(other, equal, SEED);
	if (count_huge(area) + count_huge(other) != 2 * pages)
		ksm_skip("no huge pages could be had");
	ksm_mergeable(area, 2 * pages);
	return area;
}

static void expect_kept(const char *area)
{
	size_t pages = ksm_huge_pages();

	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
	ksm_expect("pages in the first huge page", count_huge(area), pages);
	ksm_expect("pages in the second huge page", count_huge(area + pages * psize()), pages);
}

static void too_few(void)
{
	char *area;

	ksm_set("min_ptes_merged", MINIMUM);
	area = two_huge_pages(FEW);
	ksm_passes(PASSES);
	ksm_stop();
	expect_kept(area);
}

static void enough(void)
{
	size_t pages = ksm_huge_pages();
	char *area;

	ksm_set("min_ptes_merged", MINIMUM);
	area = two_huge_pages(ENOUGH);
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect_figures(ENOUGH, ENOUGH, 2 * (pages - ENOUGH));
	ksm_expect("pages in the first huge page", count_huge(area), 0);
	ksm_check_unique(area, pages, SEED);
	ksm_check_unique(area + pages * psize(), ENOUGH, SEED);
}

static void all_of_it(void)
{
	size_t pages = ksm_huge_pages();

	ksm_set("min_ptes_merged", pages);
	two_huge_pages(pages);
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect_figures(pages, pages, 0);
}

static void one_is_the_default(void)
{
	size_t pages = ksm_huge_pages();

	ksm_expect("min_ptes_merged", ksm_get("min_ptes_merged"), 1);
	two_huge_pages(1);
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect_figures(1, 1, 2 * pages - 2);
}

/* A small page is no reason to split a huge page, but finds other small pages. */
static void small_duplicates(void)
{
	char *area, *small = ksm_map(2);

	ksm_set("min_ptes_merged", MINIMUM);
	area = two_huge_pages(0);
	ksm_fill_unique(small, 1, SEED);
	ksm_mergeable(small, 2);
	ksm_passes(PASSES);
	ksm_stop();
	expect_kept(area);
	ksm_fill_unique(small + psize(), 1, SEED);
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 1);
	ksm_check(ksm_pfn(small) == ksm_pfn(small + psize()), "the small pages share one");
	ksm_expect("pages in the first huge page", count_huge(area), ksm_huge_pages());
}

/* The number is lowered while huge pages are kept. */
static void lowered(void)
{
	char *area;

	ksm_set("min_ptes_merged", MINIMUM);
	area = two_huge_pages(FEW);
	ksm_passes(PASSES);
	ksm_stop();
	expect_kept(area);
	ksm_set("min_ptes_merged", FEW / 2);
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), FEW);
}

/* Zeros count if they are merged with the zero page. */
static void zeros_count(void)
{
	size_t pages = ksm_huge_pages();
	char *area;

	ksm_set("min_ptes_merged", MINIMUM);
	ksm_set("use_zero_pages", 1);
	area = two_huge_pages(0);
	memset(area, 0, ENOUGH * psize());
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), ENOUGH);
	ksm_expect("pages in the first huge page", count_huge(area), 0);
	ksm_expect("pages in the second huge page", count_huge(area + pages * psize()), pages);
}

/* The reason is told, and it is nothing for a write to ksm_merge to wait for. */
static void kept_is_not_busy(void)
{
	char *area;

	ksm_set("run", 0);
	ksm_set("min_ptes_merged", MINIMUM);
	area = two_huge_pages(FEW);
	ksm_expect("error of ksm_merge", ksm_write_file("/proc/self/ksm_merge", "1"), 0);
	ksm_expect("error of ksm_merge", ksm_write_file("/proc/self/ksm_merge", "1"), 0);
	expect_kept(area);
}

static int allow_folios(size_t pages, const char *when)
{
	char path[KSM_PATH];

	snprintf(path, sizeof(path), THP "hugepages-%zukB/enabled", pages * psize() / 1024);
	return ksm_write_file(path, when);
}

/* 256 of 512 are a half, whatever the size of the folio. */
static void smaller_folios(void)
{
	const size_t pages = 16;
	char *area;

	ksm_set("min_ptes_merged", ksm_huge_pages() / 2);
	area = ksm_map_huge(2);
	if (allow_folios(pages, "always") || allow_folios(ksm_huge_pages(), "never"))
		ksm_skip("no folios of %zu pages here", pages);
	ksm_fill_unique(area, 4 * pages, SEED);
	allow_folios(ksm_huge_pages(), "inherit");
	allow_folios(pages, "never");
	if (ksm_count_flag(area, 4 * pages, KPF_THP_BIT) != 4 * pages)
		ksm_skip("no folios of 16 pages could be had");
	/* Two pages of the first pair of folios are equal, and twelve of the second. */
	ksm_fill_unique(area + pages * psize(), 2, SEED);
	ksm_fill_unique(area + 2 * pages * psize(), 12, OTHER_SEED);
	ksm_fill_unique(area + 3 * pages * psize(), 12, OTHER_SEED);
	ksm_mergeable(area, 4 * pages);
	ksm_passes(PASSES);
	ksm_stop();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 12);
}

static void run_in_cgroup(struct ksm_child *self, void *unused)
{
	(void)unused;
	ksm_mergeable(ksm_map(1), 1);
	ksm_fill_cgroup_to_high();
	ksm_child_pause(self);
}

/*
 * In mode pressure, huge pages are kept as long as memory is plentiful.  Another process is
 * in a cgroup that is short of memory, so ksmd scans as fast as it may.  For this process,
 * memory is plentiful.
 */
static void kept_while_plentiful(void)
{
	struct ksm_child child;
	char *area;

	ksm_need_cgroup();
	ksm_child_start(&child, run_in_cgroup, NULL);
	ksm_child_wait(&child);
	ksm_set("advisor_full_available", 1);
	ksm_set("advisor_start_available", 2);
	area = two_huge_pages(ksm_huge_pages());
	ksm_check(!ksm_try("advisor_mode", "pressure"), "advisor_mode accepts pressure");
	ksm_passes(PASSES);
	expect_kept(area);
	ksm_set("advisor_start_available", 100);
	ksm_set("advisor_full_available", 100);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", ksm_huge_pages()),
		  "all merge once memory is short");
	ksm_stop();
	ksm_expect("pages in the first huge page", count_huge(area), 0);
}

static const struct ksm_case cases[] = {
	{ "a huge page with too few duplicates is kept", too_few },
	{ "one with enough is split, and all of them merge", enough },
	{ "a huge page all of which has duplicates", all_of_it },
	{ "with 1, one duplicate is enough", one_is_the_default },
	{ "small pages merge beside a huge page that is kept", small_duplicates },
	{ "a lower number takes effect", lowered },
	{ "zeros count with use_zero_pages 1", zeros_count },
	{ "a huge page that is kept is not busy", kept_is_not_busy },
	{ "the number is in proportion for smaller folios", smaller_folios },
	{ "none is split while memory is plentiful", kept_while_plentiful },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
