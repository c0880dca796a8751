// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of terabytes with a few pages in them: scanning and unmerging cost
 * what the pages and page tables cost, not what the addresses would.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES		1000
#define SEED		0xc0000
#define TERABYTE	(1024ULL * 1024 * 1024 * 1024)
#define SPARSE_SIZE	(8 * TERABYTE)
#define LIMIT_MS	30000

#define PROT_RW		(PROT_READ | PROT_WRITE)

static char *sparse_map(void)
{
	char *area;

	if (sizeof(long) < 8)
		ksm_skip("there are no terabytes of addresses here");
	area = mmap(NULL, SPARSE_SIZE, PROT_RW,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		ksm_skip("8 TiB of addresses are not to be had");
	madvise(area, SPARSE_SIZE, MADV_NOHUGEPAGE);
	return area;
}

static char *sparse_page(char *area, size_t page)
{
	size_t stride = SPARSE_SIZE / PAGES / psize() * psize();

	return area + page * stride;
}

static void fill_sparse(char *area)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		ksm_fill(sparse_page(area, i), i & 1 ? SEED : SEED + 1 + i);
}

static void check_sparse(char *area)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		if (!ksm_holds(sparse_page(area, i), i & 1 ? SEED : SEED + 1 + i))
			ksm_fail("page %zu no longer holds what was written", i);
}

static char *sparse_area(void)
{
	char *area = sparse_map();

	ksm_set("max_page_sharing", PAGES);
	fill_sparse(area);
	if (madvise(area, SPARSE_SIZE, MADV_MERGEABLE))
		ksm_fail("MADV_MERGEABLE of 8 TiB");
	return area;
}

static void expect_time(const char *what, long start)
{
	long took = ksm_now_ms() - start;

	if (took > LIMIT_MS)
		ksm_fail("%s took %ld ms", what, took);
}

static void scan(void)
{
	char *area = sparse_area();
	long start = ksm_now_ms();

	ksm_settle();
	expect_time("three passes", start);
	ksm_expect_figures(1, PAGES / 2 - 1, PAGES / 2);
	check_sparse(area);
}

static void run_two(void)
{
	char *area = sparse_area();
	long start;

	ksm_settle();
	start = ksm_now_ms();
	ksm_unmerge_all();
	expect_time("run 2", start);
	ksm_expect_nothing();
	check_sparse(area);
}

static void unmergeable(void)
{
	char *area = sparse_area();
	long start;

	ksm_settle();
	start = ksm_now_ms();
	madvise(area, SPARSE_SIZE, MADV_UNMERGEABLE);
	expect_time("MADV_UNMERGEABLE", start);
	ksm_expect("merged pages", ksm_count_merged(sparse_page(area, 1), 1), 0);
	check_sparse(area);
}

static void prctl_off(void)
{
	char *area;
	long start;

	prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	ksm_set("max_page_sharing", PAGES);
	area = sparse_map();
	fill_sparse(area);
	ksm_settle();
	start = ksm_now_ms();
	ksm_expect("PR_SET 0", prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0), 0);
	expect_time("PR_SET_MEMORY_MERGE 0", start);
	check_sparse(area);
}

/* Nothing but holes, not even a page table. */
static void empty(void)
{
	char *area = sparse_map(), *small;
	long start;

	madvise(area, SPARSE_SIZE, MADV_MERGEABLE);
	small = ksm_map_mergeable(10);
	ksm_fill_same(small, 10, SEED);
	start = ksm_now_ms();
	ksm_settle();
	ksm_expect_figures(1, 9, 0);
	ksm_unmerge_all();
	expect_time("a pass and run 2", start);
}

static void sparse_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	sparse_area();
	ksm_child_pause(self);
}

static void exit_and_kill(void)
{
	struct ksm_child child;
	long start;

	ksm_child_start(&child, sparse_child, NULL);
	ksm_child_wait(&child);
	ksm_settle();
	start = ksm_now_ms();
	ksm_child_kill(&child);
	expect_time("the end of a killed process", start);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void scanning_makes_no_pages(void)
{
	char *area = sparse_area(), before[64], after[64];

	ksm_smaps(area, "Rss", before, sizeof(before));
	ksm_settle();
	ksm_smaps(area, "Rss", after, sizeof(after));
	ksm_check(!strcmp(before, after), "scanning fills no holes");
	ksm_expect("records", ksm_stat(0, "ksm_rmap_items"), PAGES);
}

static const struct ksm_case cases[] = {
	{ "scanning 8 TiB with 1000 pages", scan },
	{ "scanning fills no holes", scanning_makes_no_pages },
	{ "scanning and unmerging 8 TiB of nothing", empty },
	{ "exit", exit_and_kill },
	{ "run 2", run_two },
	{ "MADV_UNMERGEABLE", unmergeable },
	{ "prctl off", prctl_off },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
