// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that write to what was merged.  Each such write is a fault and a copy, so
 * with smart_scan a page that is written to again and again is left alone for longer
 * and longer.
 */
#include "ksm_common.h"

#define PAGES	64
#define SEED	0x4e3417e0000
/* Passes after which the longest wait has begun: it begins with the third write. */
#define START	40
#define PASSES	100

/* Pairs of equal pages: one of each pair is written to after every pass. */
static char *map_pairs(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);

	ksm_fill_unique(area, PAGES, SEED);
	ksm_fill_unique(area + PAGES * psize(), PAGES, SEED);
	return area;
}

/* What the pages hold stays the same. */
static void write_all(char *area)
{
	ksm_fill_unique(area, PAGES, SEED);
}

/* Copies of merged pages that the writes of so many passes have cost. */
static long rewrite(char *area, unsigned int passes)
{
	long before = ksm_vmstat("cow_ksm");

	while (passes--) {
		ksm_passes(1);
		write_all(area);
	}
	return ksm_vmstat("cow_ksm") - before;
}

static void rewritten_is_left_alone(void)
{
	char *area = map_pairs();
	long copies;

	ksm_set("smart_scan", 1);
	ksm_set("run", 1);
	rewrite(area, START);
	copies = rewrite(area, PASSES);
	ksm_check(copies <= 2 * PAGES, "a page is copied twice at most in 100 passes");
	ksm_check_unique(area, PAGES, SEED);
}

static void without_smart_scan(void)
{
	char *area = map_pairs();

	ksm_set("smart_scan", 0);
	ksm_set("run", 1);
	rewrite(area, START);
	ksm_check(rewrite(area, PASSES) > 10 * PAGES, "pages merge again at once");
}

static void check_all_merged(const char *area)
{
	ksm_expect("merged pages", ksm_count_merged(area, 2 * PAGES), 2 * PAGES);
}

static void calm_merges_again(void)
{
	char *area = map_pairs();

	ksm_set("smart_scan", 1);
	ksm_set("run", 1);
	rewrite(area, START);
	/* The pass under way, the wait, and two visits that see the page unchanged. */
	ksm_passes(64 + 6);
	check_all_merged(area);
}

/* One write says nothing about the next. */
static void one_write_costs_little(void)
{
	char *area = map_pairs();

	ksm_set("smart_scan", 1);
	ksm_set("run", 1);
	ksm_passes(6);
	check_all_merged(area);
	write_all(area);
	ksm_passes(12);
	check_all_merged(area);
}

static const struct ksm_case cases[] = {
	{ "what is rewritten is left alone", rewritten_is_left_alone },
	{ "without smart_scan it merges each time", without_smart_scan },
	{ "what is no longer rewritten merges again", calm_merges_again },
	{ "a single write costs little", one_write_costs_little },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
