// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages: a huge page without duplicates stays whole, others are split so that their
 * pages merge, and MADV_COLLAPSE makes huge pages of merged pages again.
 */
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED	0xa0000
/* How long a huge page is moved between nodes. */
#define MOVE_MS	2000

static size_t count_huge(const char *area, unsigned int count)
{
	return ksm_count_flag(area, count * ksm_huge_pages(), KPF_THP_BIT);
}

static void unique_stays_huge(void)
{
	char *area = ksm_huge_area(2, SEED);
	size_t pages = 2 * ksm_huge_pages();

	ksm_settle();
	ksm_expect_figures(0, 0, pages);
	ksm_expect("pages in huge pages", count_huge(area, 2), pages);
	ksm_check_unique(area, pages, SEED);
}

static void duplicates_merge(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(2, SEED);

	ksm_fill_unique(area + pages * psize(), pages, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", pages), "all pages find their duplicates");
	ksm_settle();
	ksm_expect_figures(pages, pages, 0);
	ksm_expect("pages in huge pages", count_huge(area, 2), 0);
	ksm_check_unique(area, pages, SEED);
	ksm_check_unique(area + pages * psize(), pages, SEED);
}

static bool all_merged(void *area)
{
	return ksm_count_merged(area, ksm_huge_pages()) == ksm_huge_pages();
}

static void all_alike_merge(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(1, SEED);

	ksm_fill_same(area, pages, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_merged, area), "the huge page merges with itself");
	ksm_settle();
	ksm_expect("pages merged", ksm_get("pages_shared") + ksm_get("pages_sharing"), pages);
	ksm_expect("pages_unshared", ksm_get("pages_unshared"), 0);
	ksm_check_same(area, pages, SEED);
}

static void one_pair_merges(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(2, SEED);

	ksm_fill(area + (pages + 7) * psize(), SEED + 3);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", 1), "the one pair merges");
	ksm_settle();
	ksm_expect_figures(1, 1, 2 * pages - 2);
	ksm_check(ksm_pfn(area + 3 * psize()) == ksm_pfn(area + (pages + 7) * psize()),
		  "the pair shares one page");
	ksm_check_unique(area, pages, SEED);
}

static void huge_and_small(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(1, SEED), *small = ksm_map_mergeable(pages);

	ksm_fill_unique(small, pages, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", pages), "small pages merge with a huge one");
	ksm_check_unique(area, pages, SEED);
	ksm_check_unique(small, pages, SEED);
}

static bool all_zero_pages(void *area)
{
	return ksm_count_flag(area, ksm_huge_pages(), KPF_ZERO_PAGE_BIT) == ksm_huge_pages();
}

/* Splitting maps pages of zeros to the zero page as well, and counts none. */
static void zeros_in_huge(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(1, SEED);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, pages, 0);
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_zero_pages, area), "all become zero pages");
	ksm_stop();
	ksm_check(ksm_get("ksm_zero_pages") <= (long)pages, "none is counted twice");
	ksm_check_same(area, pages, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, pages, 0);
}

/* A read of an unwritten page maps the zero page. */
static void huge_zero_page(void)
{
	char *area = ksm_map_huge(1);
	size_t pages = ksm_huge_pages();

	ksm_mergeable(area, pages);
	ksm_set("use_zero_pages", 1);
	ksm_check_same(area, pages, 0);
	ksm_merged_area(4, SEED);
	ksm_expect_figures(1, 3, 0);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	ksm_check_same(area, pages, 0);
}

static char *merged_huge_area(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(1, SEED);

	ksm_fill_same(area, pages, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_merged, area), "the huge page merges with itself");
	ksm_stop();
	return area;
}

/*
 * Returns whether the range was collapsed. MADV_COLLAPSE needs a writable page, so write
 * to one without changing it.
 */
static bool collapse(char *area)
{
	ksm_fill(area, SEED);
	return !madvise(area, ksm_huge_pages() * psize(), MADV_COLLAPSE);
}

static void collapse_keeps_content(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(2, SEED);

	ksm_fill_unique(area + pages * psize(), pages, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", pages), "all pages find their duplicates");
	ksm_stop();
	if (collapse(area))
		ksm_expect("pages merged of a huge page", ksm_count_merged(area, pages), 0);
	ksm_check_unique(area, pages, SEED);
	ksm_check_unique(area + pages * psize(), pages, SEED);
	ksm_fill_unique(area, pages, SEED + pages);
	ksm_check_unique(area, pages, SEED + pages);
	ksm_check_unique(area + pages * psize(), pages, SEED);
	ksm_settle();
	ksm_expect("pages counted", ksm_get("pages_shared") + ksm_get("pages_sharing") +
		   ksm_get("pages_unshared"), 2 * pages);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void collapse_at_work(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(2, SEED);
	unsigned int i;

	ksm_fill_unique(area + pages * psize(), pages, SEED);
	ksm_set("run", 1);
	for (i = 0; i < 10; i++) {
		usleep(10000);
		collapse(area);
		ksm_check_unique(area, pages, SEED);
	}
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_unique(area, pages, SEED);
	ksm_check_unique(area + pages * psize(), pages, SEED);
}

static void unmerged_after_split(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_huge_area(2, SEED);

	ksm_fill_unique(area + pages * psize(), pages, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", pages), "all pages find their duplicates");
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_unique(area, pages, SEED);
	ksm_check_unique(area + pages * psize(), pages, SEED);
	ksm_fill_unique(area, pages, SEED + pages);
	ksm_check_unique(area + pages * psize(), pages, SEED);
}

static void part_unmapped(void)
{
	size_t pages = ksm_huge_pages(), half = pages / 2;
	char *area = ksm_huge_area(1, SEED);

	ksm_settle();
	munmap(area + half * psize(), (pages - half) * psize());
	ksm_settle();
	ksm_expect_figures(0, 0, half);
	ksm_check_unique(area, half, SEED);
}

/* Two processes map the same huge page while ksmd scans. No content is lost. */
static void fork_child(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check_unique(arg, ksm_huge_pages(), SEED);
	ksm_fill_unique(arg, ksm_huge_pages(), SEED + 5000);
	ksm_check_unique(arg, ksm_huge_pages(), SEED + 5000);
}

static void forked(void)
{
	struct ksm_child child;
	char *area = ksm_huge_area(1, SEED);

	ksm_child_start(&child, fork_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_child_end(&child);
	ksm_settle();
	ksm_check_unique(area, ksm_huge_pages(), SEED);
	ksm_expect_figures(0, 0, ksm_huge_pages());
}

static void merged_then_written(void)
{
	size_t pages = ksm_huge_pages();
	char *area = merged_huge_area();

	ksm_fill_unique(area, pages, SEED + 1);
	ksm_check_unique(area, pages, SEED + 1);
	ksm_settle();
	ksm_expect_figures(0, 0, pages);
}

static void keep_moving(struct ksm_child *self, void *arg)
{
	int nodes[2], status;
	unsigned int i;

	ksm_need_nodes(nodes);
	ksm_child_pause(self);
	for (i = 0;; i++)
		syscall(SYS_move_pages, getppid(), 1UL, &arg, &nodes[i % 2], &status,
			MPOL_MF_MOVE);
}

/*
 * A write to a huge page is marked as soft-dirty, even if the page was being migrated
 * when the marks were cleared. MADV_FREE makes the page clean before, because the end of
 * a migration marks a dirty page.
 */
static void soft_dirty_while_moved(void)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_map_huge(1);
	struct ksm_child child;
	long end;
	int nodes[2];

	ksm_need_nodes(nodes);
	ksm_check(!madvise(area, pages * psize(), MADV_DONTFORK), "MADV_DONTFORK");
	ksm_fill_unique(area, pages, SEED);
	if (!ksm_count_soft_dirty(area, 1))
		ksm_skip("there are no soft-dirty marks here");
	if (count_huge(area, 1) != pages)
		ksm_skip("no huge pages could be allocated");
	ksm_child_start(&child, keep_moving, area);
	ksm_child_wait(&child);
	ksm_child_go(&child);
	for (end = ksm_now_ms() + MOVE_MS; ksm_now_ms() < end;) {
		ksm_check(!madvise(area, pages * psize(), MADV_FREE), "MADV_FREE");
		ksm_clear_soft_dirty();
		++*area;
		ksm_expect("pages marked that were written to",
			   ksm_count_soft_dirty(area, 1), 1);
	}
	ksm_child_kill(&child);
	ksm_expect("pages that stayed huge", count_huge(area, 1), pages);
}

static const struct ksm_case cases[] = {
	{ "huge pages of unique content stay huge", unique_stays_huge },
	{ "two equal huge pages merge page by page", duplicates_merge },
	{ "a huge page of equal pages merges with itself", all_alike_merge },
	{ "one pair in two huge pages merges", one_pair_merges },
	{ "a huge page merges with small ones", huge_and_small },
	{ "a huge page of zeros becomes zero pages", zeros_in_huge },
	{ "the huge zero page is left alone", huge_zero_page },
	{ "MADV_COLLAPSE over merged pages keeps content", collapse_keeps_content },
	{ "MADV_COLLAPSE while ksmd is at work", collapse_at_work },
	{ "unmerging what was huge", unmerged_after_split },
	{ "half a huge page unmapped", part_unmapped },
	{ "a huge page shared by fork", forked },
	{ "writing to merged pages that were huge", merged_then_written },
	{ "a huge page moves while soft-dirty marks are cleared", soft_dirty_while_moved },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
