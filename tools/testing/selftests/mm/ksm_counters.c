// SPDX-License-Identifier: GPL-2.0
/*
 * Counters are conserved: what merging adds, unmerging, unmapping and exit
 * take away again, for the machine and for each process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED	0x3000

/*
 * No record of a page takes more than this; and records may come in blocks, of
 * which a few are not full.
 */
#define MAX_RECORD	128
#define BLOCKS		(16 * 1024)

static char *mixed_area(void)
{
	char *area = ksm_map_mergeable(100);

	ksm_fill_same(area, 60, SEED);
	ksm_fill_unique(area + 60 * psize(), 40, SEED + 1);
	ksm_settle();
	ksm_expect_figures(1, 59, 40);
	return area;
}

static void check_mixed(const char *area)
{
	ksm_check_same(area, 60, SEED);
	ksm_check_unique(area + 60 * psize(), 40, SEED + 1);
}

static void run_two_clears(void)
{
	char *area = mixed_area();

	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_expect("merged pages", ksm_count_merged(area, 100), 0);
	ksm_expect("ksm_rmap_items", ksm_stat(0, "ksm_rmap_items"), 0);
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), 0);
	check_mixed(area);
}

static void run_two_resets_full_scans(void)
{
	mixed_area();
	ksm_unmerge_all();
	ksm_expect("full_scans", ksm_get("full_scans"), 0);
}

static void run_two_then_one_merges_again(void)
{
	char *area = mixed_area();

	ksm_unmerge_all();
	ksm_settle();
	ksm_expect_figures(1, 59, 40);
	check_mixed(area);
}

static void unmergeable_clears(void)
{
	char *area = mixed_area();

	ksm_unmergeable(area, 100);
	ksm_expect("merged pages", ksm_count_merged(area, 100), 0);
	check_mixed(area);
	ksm_passes(1);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* The area that keeps ksmd going while another one is taken away. */
static char *standing_area(void)
{
	char *area = ksm_map_mergeable(20);

	ksm_fill_same(area, 10, SEED + 1000);
	ksm_fill_unique(area + 10 * psize(), 10, SEED + 1001);
	return area;
}

static void munmap_takes_back(void)
{
	char *area;

	standing_area();
	ksm_settle();
	ksm_expect_figures(1, 9, 10);
	area = ksm_map_mergeable(100);
	ksm_fill_same(area, 60, SEED);
	ksm_fill_unique(area + 60 * psize(), 40, SEED + 1);
	ksm_settle();
	ksm_expect_figures(2, 9 + 59, 10 + 40);
	munmap(area, 100 * psize());
	ksm_settle();
	ksm_expect_figures(1, 9, 10);
}

static void mixed_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(100);

	(void)arg;
	ksm_fill_same(area, 60, SEED);
	ksm_fill_unique(area + 60 * psize(), 40, SEED + 1);
	ksm_child_pause(self);
	check_mixed(area);
}

static void sharer_goes(bool by_signal)
{
	struct ksm_child child;

	ksm_child_start(&child, mixed_child, NULL);
	ksm_child_wait(&child);
	standing_area();
	ksm_settle();
	ksm_expect_figures(2, 9 + 59, 10 + 40);
	if (by_signal)
		ksm_child_kill(&child);
	else
		ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(1, 9, 10);
}

static void exit_takes_back(void)
{
	sharer_goes(false);
}

static void kill_takes_back(void)
{
	sharer_goes(true);
}

/* A shared page with one mapping left is still a shared page, and counts. */
static void last_sharer_keeps_page(void)
{
	char *area = ksm_merged_area(10, SEED);

	munmap(area + psize(), 9 * psize());
	ksm_settle();
	ksm_expect_figures(1, 0, 0);
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), 1);
	ksm_check(ksm_holds(area, SEED), "the page that is left holds its content");
}

static void write_takes_back(void)
{
	char *area = ksm_merged_area(10, SEED);

	ksm_fill_unique(area, 10, SEED + 500);
	ksm_settle();
	ksm_expect_figures(0, 0, 10);
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), 0);
	ksm_check_unique(area, 10, SEED + 500);
}

static void process_counts(void)
{
	struct ksm_child child;
	char *area;

	ksm_child_start(&child, mixed_child, NULL);
	ksm_child_wait(&child);
	area = ksm_map_mergeable(30);
	ksm_fill_same(area, 20, SEED);
	ksm_fill_unique(area + 20 * psize(), 10, SEED + 900);
	ksm_settle();
	ksm_expect_figures(1, 79, 50);
	ksm_expect("merging pages of the one", ksm_stat(0, "ksm_merging_pages"), 20);
	ksm_expect("merging pages of the other", ksm_stat(child.pid, "ksm_merging_pages"), 60);
	ksm_expect("records of the one", ksm_stat(0, "ksm_rmap_items"), 30);
	ksm_expect("records of the other", ksm_stat(child.pid, "ksm_rmap_items"), 100);
	ksm_child_end(&child);
}

static void merging_pages_file(void)
{
	char text[32] = "", path[64];
	FILE *file;

	mixed_area();
	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", getpid());
	file = fopen(path, "r");
	ksm_check(file && fgets(text, sizeof(text), file), "ksm_merging_pages reads");
	fclose(file);
	ksm_check(!strcmp(text, "60\n"), "ksm_merging_pages is a number and a newline");
}

/* Both profits: what is saved, less something for the records. */
static void check_profit(const char *what, long profit, long saved, long records)
{
	long gain = saved * psize();

	if (profit > gain || profit < gain - records * MAX_RECORD - BLOCKS)
		ksm_fail("%s is %ld, with %ld pages saved and %ld records", what,
			 profit, saved, records);
}

static void profits(void)
{
	mixed_area();
	check_profit("general_profit", ksm_get("general_profit"), 59, 100);
	check_profit("ksm_process_profit", ksm_stat(0, "ksm_process_profit"), 60, 100);
}

static void profits_may_be_losses(void)
{
	char *area = ksm_map_mergeable(1000);
	long general, process;

	ksm_fill_unique(area, 1000, SEED);
	ksm_settle();
	general = ksm_get("general_profit");
	process = ksm_stat(0, "ksm_process_profit");
	check_profit("general_profit", general, 0, 1000);
	check_profit("ksm_process_profit", process, 0, 1000);
	ksm_check(general < 0 && process < 0, "records of unique pages are a loss");
	ksm_unmerge_all();
	ksm_expect("general_profit", ksm_get("general_profit"), 0);
	ksm_expect("ksm_process_profit", ksm_stat(0, "ksm_process_profit"), 0);
}

static void expect_words(const char *any, const char *mergeable)
{
	char value[16];

	ksm_check(ksm_stat_text(0, "ksm_merge_any", value, sizeof(value)),
		  "ksm_stat has a line ksm_merge_any");
	if (strcmp(value, any))
		ksm_fail("ksm_merge_any: %s instead of %s", value, any);
	ksm_check(ksm_stat_text(0, "ksm_mergeable", value, sizeof(value)),
		  "ksm_stat has a line ksm_mergeable");
	if (strcmp(value, mergeable))
		ksm_fail("ksm_mergeable: %s instead of %s", value, mergeable);
}

static void says_mergeable(void)
{
	char *area;

	expect_words("no", "no");
	area = ksm_map_mergeable(4);
	expect_words("no", "yes");
	ksm_unmergeable(area, 4);
	expect_words("no", "no");
}

static void says_merge_any(void)
{
	expect_words("no", "no");
	prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	expect_words("yes", "yes");
	prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0);
	expect_words("no", "no");
}

static void cow_events(void)
{
	char *area = ksm_merged_area(20, SEED);
	long before = ksm_vmstat("cow_ksm");

	ksm_check_same(area, 20, SEED);
	ksm_expect("cow_ksm after reading", ksm_vmstat("cow_ksm"), before);
	ksm_fill_unique(area, 12, SEED + 1);
	ksm_expect("cow_ksm after 12 writes", ksm_vmstat("cow_ksm"), before + 12);
}

/* Asks for one batch: a new value of sleep_millisecs ends the sleep. */
static bool scanned_reached(void *arg)
{
	return ksm_get("pages_scanned") >= *(long *)arg;
}

static void batches_exact(void)
{
	char *area = ksm_map_mergeable(500);
	long start = ksm_get("pages_scanned"), want;
	unsigned int i;

	ksm_fill_unique(area, 500, SEED);
	ksm_set("pages_to_scan", 30);
	ksm_set("sleep_millisecs", 1000000);
	ksm_set("run", 1);
	for (i = 1; i <= 10; i++) {
		want = start + i * 30;
		ksm_check(ksm_poll(scanned_reached, &want), "a batch runs");
		ksm_wait_asleep();
		ksm_expect("pages_scanned", ksm_get("pages_scanned"), want);
		ksm_set("sleep_millisecs", 1000000 + i);
	}
}

/* Batches so large that each is one pass, and no pass is begun twice. */
static void passes_exact(void)
{
	char *area = ksm_map_mergeable(400);
	long scans, pages;

	ksm_fill_same(area, 100, SEED);
	ksm_fill_unique(area + 100 * psize(), 300, SEED + 1);
	ksm_set("pages_to_scan", 100000);
	ksm_passes(5);
	scans = ksm_get("full_scans");
	pages = ksm_get("pages_scanned");
	ksm_passes(5);
	scans = ksm_get("full_scans") - scans;
	pages = ksm_get("pages_scanned") - pages;
	ksm_expect("pages scanned in whole passes", pages, 400 * scans);
}

static void skipped_and_scanned_add_up(void)
{
	char *area = ksm_map_mergeable(400);
	long scans, pages;

	ksm_fill_unique(area, 400, SEED);
	ksm_set("smart_scan", 1);
	ksm_set("pages_to_scan", 100000);
	ksm_passes(10);
	scans = ksm_get("full_scans");
	pages = ksm_get("pages_scanned") + ksm_get("pages_skipped");
	ksm_passes(20);
	scans = ksm_get("full_scans") - scans;
	pages = ksm_get("pages_scanned") + ksm_get("pages_skipped") - pages;
	ksm_expect("pages scanned or skipped in whole passes", pages, 400 * scans);
}

static void smart_scan_skips(void)
{
	char *area = ksm_map_mergeable(400);
	long before = ksm_get("pages_skipped");

	ksm_fill_unique(area, 400, SEED);
	ksm_passes(10);
	ksm_expect("pages skipped without smart_scan", ksm_get("pages_skipped"), before);
	ksm_set("smart_scan", 1);
	ksm_passes(20);
	ksm_check(ksm_get("pages_skipped") > before, "smart_scan skips unique pages");
}

static void ksmd_rests_without_work(void)
{
	long scanned;
	char *area = mixed_area();

	ksm_unmergeable(area, 100);
	munmap(area, 100 * psize());
	ksm_set("run", 1);
	scanned = ksm_get("pages_scanned");
	usleep(100000);
	ksm_expect("pages_scanned with nothing to scan", ksm_get("pages_scanned"), scanned);
}

static const struct ksm_case cases[] = {
	{ "run 2 brings all figures to zero", run_two_clears },
	{ "run 2 begins the count of passes anew", run_two_resets_full_scans },
	{ "all merges again after run 2", run_two_then_one_merges_again },
	{ "MADV_UNMERGEABLE leaves nothing behind", unmergeable_clears },
	{ "munmap takes its pages out of the figures", munmap_takes_back },
	{ "exit takes its pages out of the figures", exit_takes_back },
	{ "a killed process takes its pages out of the figures", kill_takes_back },
	{ "a page with one sharer left counts as shared", last_sharer_keeps_page },
	{ "writing takes pages out of the figures", write_takes_back },
	{ "each process has its own counts", process_counts },
	{ "/proc/PID/ksm_merging_pages", merging_pages_file },
	{ "profit is what is saved less the cost of records", profits },
	{ "profit is negative where nothing merges", profits_may_be_losses },
	{ "ksm_stat says whether a process has mergeable memory", says_mergeable },
	{ "ksm_stat says whether prctl made all mergeable", says_merge_any },
	{ "cow_ksm counts each write to a shared page", cow_events },
	{ "pages_scanned is exact for each batch", batches_exact },
	{ "pages_scanned is exact for each pass", passes_exact },
	{ "every page is scanned or skipped in a pass", skipped_and_scanned_add_up },
	{ "smart_scan alone skips pages", smart_scan_skips },
	{ "nothing is scanned where nothing is mergeable", ksmd_rests_without_work },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
