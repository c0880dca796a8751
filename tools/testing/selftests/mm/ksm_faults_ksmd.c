// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations of ksmd fail: the first one of a few passes, then the second, and so on
 * until none is left to fail; or many of them, at intervals and at random. No process
 * gets an error. Memory keeps its content, and once allocations succeed again everything
 * merges, to the exact count. A write to ksm_merge returns the error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_inject.h"

#define PAGES		12
#define SEED		0x140000

/* ksmd: leaves, stable nodes, rmap_items, tables. */

/* Pages in four leaves of different sizes. The last WORK_ALONE have no duplicate. */
static const unsigned int leaf_pages[] = { 1, 3, 10, 20 };

#define LEAF		64
#define WORK_PAGES	34
#define WORK_ALONE	2
#define WORK_CONTENTS	8

static char *work;
/* Where the pages are, and what they hold. */
static char *work_page[WORK_PAGES];
static uint64_t work_seed[WORK_PAGES];

static void write_work(unsigned int i, uint64_t seed)
{
	work_seed[i] = seed;
	ksm_fill(work_page[i], seed);
}

static uint64_t first_seed(unsigned int i)
{
	return SEED + (i < WORK_PAGES - WORK_ALONE ? i % WORK_CONTENTS : i);
}

static void map_work(void)
{
	const size_t leaf_size = LEAF * psize();
	unsigned int leaf, page, i = 0;

	work = ksm_map_mergeable((ARRAY_SIZE(leaf_pages) + 1) * LEAF);
	work += -(uintptr_t)work % leaf_size;
	for (leaf = 0; leaf < ARRAY_SIZE(leaf_pages); leaf++)
		for (page = 0; page < leaf_pages[leaf]; page++)
			work_page[i++] = work + (leaf * LEAF + page) * psize();
	for (i = 0; i < WORK_PAGES; i++)
		write_work(i, first_seed(i));
}

static void check_work(void)
{
	unsigned int i;

	for (i = 0; i < WORK_PAGES; i++)
		if (!ksm_holds(work_page[i], work_seed[i]))
			ksm_fail("page %u no longer holds what was written", i);
}

static void expect_work_figures(void)
{
	check_work();
	ksm_expect_figures(WORK_CONTENTS, WORK_PAGES - WORK_ALONE - WORK_CONTENTS,
			   WORK_ALONE);
}

static void expect_work_merged(void)
{
	ksm_settle();
	expect_work_figures();
}

/* Passes with failures leave a state that can be unmerged, or merged further. */
static void after_passes(unsigned int nth)
{
	check_work();
	if (nth & 1) {
		ksm_unmerge_all();
		ksm_expect_nothing();
	}
	expect_work_merged();
}

/* All pages are new to ksmd. */
static enum outcome try_new_pages(unsigned int nth)
{
	enum outcome outcome;

	ksm_unmerge_all();
	ksm_expect_nothing();
	inject_ksmd(nth);
	ksm_settle();
	outcome = inject_judge_ksmd();
	after_passes(nth);
	return outcome;
}

static void new_pages(void)
{
	inject_nothing();
	map_work();
	inject_each(try_new_pages);
	/* Leaves, nodes, rmap_items. */
	ksm_check(outcomes[WENT_ON] >= ARRAY_SIZE(leaf_pages) + WORK_CONTENTS +
		  WORK_PAGES - WORK_ALONE, "each allocation of ksmd fails");
}

/* Every other page is known, so leaves have to be replaced by larger ones. */
static enum outcome try_more_pages(unsigned int nth)
{
	enum outcome outcome;
	unsigned int i;

	ksm_unmerge_all();
	ksm_expect_nothing();
	for (i = 0; i < WORK_PAGES; i += 2)
		madvise(work_page[i], psize(), MADV_DONTNEED);
	ksm_settle();
	for (i = 0; i < WORK_PAGES; i += 2)
		write_work(i, first_seed(i));
	inject_ksmd(nth);
	ksm_settle();
	outcome = inject_judge_ksmd();
	after_passes(nth);
	return outcome;
}

static void more_pages(void)
{
	inject_nothing();
	map_work();
	inject_each(try_more_pages);
	ksm_check(outcomes[WENT_ON] >= ARRAY_SIZE(leaf_pages) + WORK_PAGES / 2,
		  "each allocation of ksmd fails");
}

/* Merged pages that a child has inherited: each needs an rmap_item. */

static char *forked_area;

static void live_forked(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_check_same(forked_area, PAGES, SEED);
	ksm_child_pause(self);
	ksm_check_same(forked_area, PAGES, SEED);
}

static enum outcome try_forked_pages(unsigned int nth)
{
	struct ksm_child child;
	enum outcome outcome;

	ksm_child_start(&child, live_forked, NULL);
	ksm_child_wait(&child);
	inject_ksmd(nth);
	ksm_settle();
	outcome = inject_judge_ksmd();
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(forked_area, PAGES, SEED);
	return outcome;
}

static void forked_pages(void)
{
	inject_nothing();
	forked_area = ksm_merged_area(PAGES, SEED);
	inject_each(try_forked_pages);
	ksm_check(outcomes[WENT_ON] > PAGES, "each allocation of ksmd fails");
}

/* More records than the first table holds, and more for a table that could not grow. */
#define TABLE_PAGES	4200
#define MORE_PAGES	5000

static char *table_area;

/*
 * An earlier pass has seen the pages. The first of these has them in the table, and the
 * second finds the table too small.
 */
static void two_passes(void)
{
	ksm_one_pass();
	ksm_one_pass();
}

static void expect_table(size_t pages)
{
	ksm_settle();
	ksm_expect_figures(0, 0, pages);
	ksm_check_unique(table_area, pages, SEED);
}

static enum outcome try_larger_table(unsigned int nth)
{
	enum outcome outcome;

	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_one_pass();
	inject_ksmd(nth);
	two_passes();
	outcome = inject_judge_ksmd();
	ksm_set("sleep_millisecs", 1);
	expect_table(TABLE_PAGES);
	return outcome;
}

static void larger_table(void)
{
	inject_nothing();
	table_area = ksm_map_mergeable(TABLE_PAGES);
	ksm_fill_unique(table_area, TABLE_PAGES, SEED);
	inject_each(try_larger_table);
	ksm_check(outcomes[WENT_ON] >= 2, "the table and its filter fail");
}

/* Without a larger table, chains get longer, and no record is lost. */
static void no_larger_table(void)
{
	inject_nothing();
	table_area = ksm_map_mergeable(MORE_PAGES);
	ksm_fill_unique(table_area, TABLE_PAGES, SEED);
	ksm_one_pass();
	inject_ksmd_all("failslab");
	inject_ksmd_all("fail_page_alloc");
	two_passes();
	two_passes();
	inject_nothing();
	ksm_set("sleep_millisecs", 1);
	expect_table(TABLE_PAGES);
	ksm_fill_unique(table_area, MORE_PAGES, SEED);
	expect_table(MORE_PAGES);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* An index without records frees its memory. */
static enum outcome try_smaller_table(unsigned int nth)
{
	enum outcome outcome;

	inject(nth);
	outcome = inject_judge("run 2", -ksm_try("run", "2"), ENOMEM);
	if (outcome == REFUSED)
		ksm_expect("run", ksm_get("run"), 0);
	else
		ksm_expect_nothing();
	expect_table(TABLE_PAGES);
	return outcome;
}

static void smaller_table(void)
{
	inject_nothing();
	table_area = ksm_map_mergeable(TABLE_PAGES);
	ksm_fill_unique(table_area, TABLE_PAGES, SEED);
	expect_table(TABLE_PAGES);
	inject_each(try_smaller_table);
	inject_nothing();
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_expect("general_profit", ksm_get("general_profit"), 0);
}

/* Many allocations fail, at intervals or at random. */

/* If a fork is refused this often, it is not by chance. */
#define MOST_FORKS	100

/* A process in which each allocation of a slot may fail. */
static enum outcome live_shortly(unsigned int round)
{
	char *area = ksm_map(PAGES);

	check_work();
	if (madvise(area, PAGES * psize(), MADV_MERGEABLE) && errno != EAGAIN)
		ksm_fail("MADV_MERGEABLE: %s", strerror(errno));
	if (prctl(PR_SET_MEMORY_MERGE, round & 1, 0, 0, 0) && errno != ENOMEM)
		ksm_fail("PR_SET_MEMORY_MERGE: %s", strerror(errno));
	ksm_fill_same(area, PAGES, SEED);
	ksm_passes(1);
	ksm_check_same(area, PAGES, SEED);
	return WENT_ON;
}

/* Without memory for a slot, the fork of a process that merges fails. */
static pid_t start_life(unsigned int round, unsigned int *refused)
{
	unsigned int tries = 0;
	pid_t pid;

	do {
		pid = inject_child_start(live_shortly, round);
	} while (pid < 0 && errno == ENOMEM && ++tries < MOST_FORKS);
	if (pid < 0)
		ksm_fail("fork: %s", strerror(errno));
	*refused += tries;
	return pid;
}

/* Returns how often a fork was refused. */
static unsigned int live_through(unsigned int rounds)
{
	unsigned int round, i, refused = 0;

	for (round = 0; round < rounds; round++) {
		i = round * 7 % WORK_PAGES;
		inject_child_end(start_life(round, &refused), false);
		ksm_passes(1);
		check_work();
		/* The page changes, or gets its first content back. */
		write_work(i, work_seed[i] == first_seed(i) ? SEED + 1000 : first_seed(i));
		if (round % 8 == 7)
			ksm_unmerge_all();
		check_work();
	}
	for (i = 0; i < WORK_PAGES; i++)
		write_work(i, first_seed(i));
	return refused;
}

static void expect_failed(long failed)
{
	ksft_print_msg("%ld allocations failed\n", failed);
	ksm_check(failed > 0, "allocations failed");
	inject_nothing();
	expect_work_merged();
	ksm_unmerge_all();
	ksm_expect_nothing();
	check_work();
}

static void one_in_three(void)
{
	inject_nothing();
	map_work();
	inject_caches("ksm_*", 3, 100);
	ksm_check(live_through(40) > 0, "forks are refused");
	expect_failed(inject_count("failslab"));
}

static void by_chance(void)
{
	inject_nothing();
	map_work();
	inject_caches("ksm_*", 1, 50);
	ksm_check(live_through(40) > 0, "forks are refused");
	expect_failed(inject_count("failslab"));
}

static void all_of_ksmd(void)
{
	inject_nothing();
	map_work();
	inject_ksmd_all("failslab");
	inject_ksmd_all("fail_page_alloc");
	ksm_check(live_through(10) == 0, "no fork is refused");
	ksm_expect_figures(0, 0, 0);
	expect_failed(inject_count("failslab"));
}

static int merge_now(void)
{
	return -ksm_write_file("/proc/self/ksm_merge", "1");
}

/* The writer merges in place of ksmd, and gets the error. */
static enum outcome try_merge_now(unsigned int nth)
{
	enum outcome outcome;

	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_stop();
	inject(nth);
	outcome = inject_judge("ksm_merge", merge_now(), ENOMEM);
	check_work();
	if (outcome == REFUSED)
		ksm_expect("a write with memory", merge_now(), 0);
	expect_work_figures();
	return outcome;
}

static void merged_now(void)
{
	inject_nothing();
	map_work();
	inject_each(try_merge_now);
	ksm_check(outcomes[REFUSED] > 0 && outcomes[WENT_ON] > 0,
		  "some failures are reported, and some do not matter");
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* Leaves, nodes, rmap_items: a failure of any of these is reported. */
static void merged_now_objects(void)
{
	inject_nothing();
	map_work();
	inject_only("ksm_*");
	inject_each(try_merge_now);
	ksm_expect("failures that the write reports", outcomes[REFUSED],
		   ARRAY_SIZE(leaf_pages) + WORK_CONTENTS + WORK_PAGES - WORK_ALONE);
	ksm_expect("failures that do not matter", outcomes[WENT_ON], 0);
	inject_nothing();
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static const struct ksm_case cases[] = {
	{ "pages that are new to ksmd", new_pages },
	{ "pages beside those that ksmd knows", more_pages },
	{ "shared pages of a fork", forked_pages },
	{ "a larger table, one failure at a time", larger_table },
	{ "a larger table, no memory at all", no_larger_table },
	{ "a smaller table", smaller_table },
	{ "one in three of the objects of KSM", one_in_three },
	{ "objects of KSM at random", by_chance },
	{ "all that ksmd allocates", all_of_ksmd },
	{ "a write to ksm_merge, one failure at a time", merged_now },
	{ "a write to ksm_merge, one object of KSM at a time", merged_now_objects },
};

int main(void)
{
	return inject_run_cases(cases, ARRAY_SIZE(cases));
}
