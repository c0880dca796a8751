// SPDX-License-Identifier: GPL-2.0
/*
 * What is split, and what the zeroed pages of a huge page become.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define HUGE	4
#define SEED	0x7e0000

/* Huge pages of zeros, written, not mergeable yet. */
static char *huge_zeros(void)
{
	char *area = ksm_map_huge(HUGE);

	ksm_fill_same(area, HUGE * ksm_huge_pages(), 0);
	if (ksm_count_flag(area, HUGE * ksm_huge_pages(), KPF_THP_BIT) != HUGE * ksm_huge_pages())
		ksm_skip("no huge pages could be had");
	return area;
}

static size_t count_zero_pages(const char *area)
{
	return ksm_count_flag(area, HUGE * ksm_huge_pages(), KPF_ZERO_PAGE_BIT);
}

static bool all_merged(void *area)
{
	return ksm_count_merged(area, HUGE * ksm_huge_pages()) == HUGE * ksm_huge_pages();
}

static void zeros_merge_as_ordinary(void)
{
	size_t pages = HUGE * ksm_huge_pages();
	char *area = huge_zeros();

	ksm_mergeable(area, pages);
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_merged, area), "all pages of zeros merge");
	ksm_stop();
	ksm_expect("PTEs of the zero page", count_zero_pages(area), 0);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	ksm_expect("pages merged", ksm_get("pages_shared") + ksm_get("pages_sharing"), pages);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, pages, 0);
}

static bool all_counted(void *unused)
{
	return ksm_get("ksm_zero_pages") == (long)(HUGE * ksm_huge_pages());
}

static void zero_pages_are_counted(void)
{
	size_t pages = HUGE * ksm_huge_pages();
	char *area = huge_zeros();

	ksm_set("use_zero_pages", 1);
	ksm_mergeable(area, pages);
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_counted, NULL), "all pages of zeros are counted");
	ksm_stop();
	ksm_expect("PTEs of the zero page", count_zero_pages(area), pages);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_expect("PTEs of the zero page", count_zero_pages(area), 0);
	ksm_check_same(area, pages, 0);
}

static bool pairs_merged(void *unused)
{
	return ksm_get("pages_sharing") >= HUGE - 1;
}

/* Only what is mergeable is merged; a split touches the rest of the huge page, too. */
static void one_page_of_each(void)
{
	char *area = huge_zeros();
	unsigned int i;

	for (i = 0; i < HUGE; i++) {
		ksm_fill(area + i * ksm_huge_pages() * psize(), SEED);
		ksm_mergeable(area + i * ksm_huge_pages() * psize(), 1);
	}
	ksm_set("run", 1);
	ksm_check(ksm_poll(pairs_merged, NULL), "one page of each huge page merges");
	ksm_stop();
	ksm_expect_figures(1, HUGE - 1, 0);
	ksm_expect("PTEs of the zero page", count_zero_pages(area), 0);
}

/* Samples of these are equal: a few cache lines are read, and the last differs. */
static void nothing_equal_nothing_split(void)
{
	size_t pages = HUGE * ksm_huge_pages();
	char *area = huge_zeros();
	size_t i;

	ksm_fill_same(area, pages, SEED);
	for (i = 0; i < pages; i++)
		memcpy(area + (i + 1) * psize() - sizeof(i), &i, sizeof(i));
	ksm_mergeable(area, pages);
	ksm_settle();
	ksm_expect_figures(0, 0, pages);
	ksm_expect("pages in huge pages", ksm_count_flag(area, pages, KPF_THP_BIT), pages);
}

static const struct ksm_case cases[] = {
	{ "huge pages of zeros merge like others", zeros_merge_as_ordinary },
	{ "huge pages of zeros become counted zero pages", zero_pages_are_counted },
	{ "splitting for one page maps no zero page", one_page_of_each },
	{ "pages whose samples alone are equal split nothing", nothing_equal_nothing_split },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
