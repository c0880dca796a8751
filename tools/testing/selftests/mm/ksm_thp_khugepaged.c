// SPDX-License-Identifier: GPL-2.0
/*
 * khugepaged and ksmd do not undo each other's work: a huge page that was split, since
 * min_ptes_merged of its pages have duplicates, stays split; one with fewer is made huge
 * once and stays huge.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x61c80000UL
/* The count of duplicates is an estimate: FEW is clearly less, and ENOUGH is more. */
#define MINIMUM		64
#define FEW		32
#define ENOUGH		96
#define HUGE		2
#define FIRST_PASSES	10
#define PASSES		20
#define ENABLED		"/sys/kernel/mm/transparent_hugepage/enabled"
#define DIR		"/sys/kernel/mm/transparent_hugepage/khugepaged/"

static const char *const controls[][2] = {
	{ ENABLED, "madvise" },
	{ DIR "scan_sleep_millisecs", "10" },
	{ DIR "alloc_sleep_millisecs", "10" },
	{ DIR "pages_to_scan", "100000" },
};

static char initial[ARRAY_SIZE(controls)][KSM_TEXT];

static void restore(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(controls); i++)
		ksm_write_file(controls[i][0], initial[i]);
}

/* A file with a choice has brackets around the word that is chosen. */
static void keep_choice(char *text)
{
	char *begin = strchr(text, '['), *end = strchr(text, ']');

	if (!begin || !end)
		return;
	*end = '\0';
	memmove(text, begin + 1, end - begin);
}

static void make_fast(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(controls); i++) {
		ksm_read_file(controls[i][0], initial[i], KSM_TEXT);
		keep_choice(initial[i]);
		ksm_write_file(controls[i][0], controls[i][1]);
	}
}

static long khugepaged_scans(void)
{
	char text[KSM_TEXT];

	if (ksm_read_file(DIR "full_scans", text, sizeof(text)) <= 0)
		ksm_skip("there is no khugepaged");
	return strtol(text, NULL, 10);
}

static bool scanned_since(void *arg)
{
	return khugepaged_scans() >= *(long *)arg;
}

/* khugepaged takes a range if a page of it is used. A scan may have begun already. */
static void let_khugepaged_scan(char *area, size_t pages)
{
	long until = khugepaged_scans() + 2;
	size_t i;

	ksm_flush_tlb(area, pages);
	for (i = 0; i < pages; i += ksm_huge_pages())
		__atomic_load_n(area + i * psize(), __ATOMIC_RELAXED);
	ksm_check(ksm_poll(scanned_since, &until), "khugepaged scans");
}

/* Both huge pages of the area begin with the same pages. */
static void fill(char *area, size_t equal)
{
	const size_t pages = ksm_huge_pages();

	ksm_fill_unique(area, HUGE * pages, SEED);
	ksm_fill_unique(area + pages * psize(), equal, SEED);
}

static char *huge_area(size_t equal)
{
	char *area = ksm_huge_area(HUGE, SEED);

	fill(area, equal);
	return area;
}

/*
 * khugepaged is stopped while ksmd works. On a slow machine it would often come to a range
 * between its split and the merge. The write of "never" returns when khugepaged has
 * stopped.
 */
static void take_turns(char *area, unsigned int passes)
{
	for (; passes; passes--) {
		ksm_check(!ksm_write_file(ENABLED, "never"), "khugepaged stops");
		ksm_passes(1);
		ksm_check(!ksm_write_file(ENABLED, "madvise"), "khugepaged starts");
		let_khugepaged_scan(area, HUGE * ksm_huge_pages());
	}
}

/* Counts splits and collapses. */
static void count_changes(char *area, unsigned int passes, long *splits, long *collapses)
{
	*splits = -ksm_vmstat("thp_split_pmd");
	*collapses = -ksm_vmstat("thp_collapse_alloc");
	take_turns(area, passes);
	*splits += ksm_vmstat("thp_split_pmd");
	*collapses += ksm_vmstat("thp_collapse_alloc");
	ksft_print_msg("%ld splits and %ld collapses in %u passes\n", *splits, *collapses,
		       passes);
}

static void expect_no_more_changes(char *area)
{
	long splits, collapses;

	count_changes(area, FIRST_PASSES, &splits, &collapses);
	count_changes(area, PASSES, &splits, &collapses);
	ksm_expect("splits", splits, 0);
	ksm_expect("collapses", collapses, 0);
}

static void stays_split(long least)
{
	char *area;

	ksm_set("min_ptes_merged", least);
	area = huge_area(ENOUGH);
	expect_no_more_changes(area);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), ENOUGH);
}

static void enough(void)
{
	stays_split(MINIMUM);
}

static void enough_for_default(void)
{
	stays_split(1);
}

static void zeros(void)
{
	char *area;

	ksm_set("use_zero_pages", 1);
	ksm_set("min_ptes_merged", MINIMUM);
	area = huge_area(0);
	memset(area + psize(), 0, ENOUGH * psize());
	expect_no_more_changes(area);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), ENOUGH);
}

/* Pages that merged when they were small. */
static void too_few(void)
{
	const size_t pages = HUGE * ksm_huge_pages();
	char *area = ksm_map_huge(HUGE);

	ksm_set("min_ptes_merged", MINIMUM);
	madvise(area, pages * psize(), MADV_NOHUGEPAGE);
	fill(area, FEW);
	ksm_mergeable(area, pages);
	ksm_settle();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), FEW);
	ksm_check(!madvise(area, pages * psize(), MADV_HUGEPAGE), "MADV_HUGEPAGE");
	expect_no_more_changes(area);
	ksm_expect("pages of huge pages", ksm_count_flag(area, pages, KPF_THP_BIT), pages);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
}

/* A page that no other process shares any more is no reason to keep the range small. */
static void shared_no_more(void)
{
	const size_t pages = ksm_huge_pages();
	char *area;

	ksm_set("min_ptes_merged", MINIMUM);
	area = huge_area(ENOUGH);
	expect_no_more_changes(area);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), ENOUGH);
	munmap(area + pages * psize(), pages * psize());
	let_khugepaged_scan(area, pages);
	let_khugepaged_scan(area, pages);
	ksm_expect("pages of huge pages", ksm_count_flag(area, pages, KPF_THP_BIT), pages);
}

static const struct ksm_case cases[] = {
	{ "huge pages that were split stay split", enough },
	{ "the same with min_ptes_merged 1", enough_for_default },
	{ "huge pages that were split for zeros stay split", zeros },
	{ "a range with few shared pages becomes huge and stays huge", too_few },
	{ "a range becomes huge when its pages are no longer shared", shared_no_more },
};

int main(void)
{
	make_fast();
	atexit(restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
