// SPDX-License-Identifier: GPL-2.0
/*
 * Shared pages are allocated for the purpose: none of the pages that were merged
 * becomes the shared page, and processes outside of KSM keep theirs.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	40
#define SEED	0xf4e50000
#define ROUNDS	30

static void note_pfns(const char *area, size_t pages, unsigned long *pfns)
{
	size_t i;

	for (i = 0; i < pages; i++)
		pfns[i] = ksm_pfn(area + i * psize());
}

/* How many pages of @area lie in a page frame that is listed in @pfns. */
static size_t count_listed(const char *area, size_t pages, const unsigned long *pfns,
			   size_t nr)
{
	size_t i, j, listed = 0;

	for (i = 0; i < pages; i++) {
		unsigned long pfn = ksm_pfn(area + i * psize());

		for (j = 0; j < nr && pfns[j] != pfn; j++)
			;
		listed += j < nr;
	}
	return listed;
}

static void no_page_is_kept(void)
{
	char *area = ksm_map_mergeable(PAGES);
	unsigned long pfns[PAGES];

	ksm_fill_same(area, PAGES, SEED);
	note_pfns(area, PAGES, pfns);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_expect("pages that one of the merged pages was made the shared page of",
		   count_listed(area, PAGES, pfns, PAGES), 0);
	ksm_check_same(area, PAGES, SEED);
}

static void no_page_of_a_pair_is_kept(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);
	unsigned long pfns[2 * PAGES];

	ksm_fill_unique(area, PAGES, SEED);
	ksm_fill_unique(area + PAGES * psize(), PAGES, SEED);
	note_pfns(area, 2 * PAGES, pfns);
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, 0);
	ksm_expect("pages that lie where one of their pair lay",
		   count_listed(area, 1, pfns, 1) +
		   count_listed(area + PAGES * psize(), 1, pfns, 1) +
		   count_listed(area, 1, pfns + PAGES, 1), 0);
	ksm_check_unique(area, PAGES, SEED);
	ksm_check_unique(area + PAGES * psize(), PAGES, SEED);
}

static void merging_child(struct ksm_child *self, void *area)
{
	ksm_mergeable(area, PAGES);
	ksm_child_pause(self);
	ksm_check_same(area, PAGES, SEED);
	ksm_expect("shared pages of the child", ksm_count_merged(area, PAGES), PAGES);
	ksm_child_pause(self);
}

static void expect_untouched(const char *area, const unsigned long *pfns)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		ksm_expect("page frame", ksm_pfn(area + i * psize()), pfns[i]);
	ksm_expect("shared pages of the parent", ksm_count_merged(area, PAGES), 0);
	ksm_check_same(area, PAGES, SEED);
}

static bool nothing_shared(void *unused)
{
	return !ksm_get("pages_shared");
}

static void parent_is_left_alone(void)
{
	char *area = ksm_map(PAGES);
	unsigned long pfns[PAGES];
	struct ksm_child child;

	ksm_fill_same(area, PAGES, SEED);
	note_pfns(area, PAGES, pfns);
	ksm_child_start(&child, merging_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	expect_untouched(area, pfns);
	ksm_child_step(&child);
	ksm_child_end(&child);
	/* No mm is left to be scanned, so no pass ends. */
	ksm_set("run", 1);
	ksm_check(ksm_poll(nothing_shared, NULL), "the shared page goes with the child");
	expect_untouched(area, pfns);
}

struct toggler {
	char *area;
	bool stop;
};

/* Each call clears PTEs and sets them again under the page table lock. */
static void *toggle(void *arg)
{
	struct toggler *toggler = arg;

	while (!__atomic_load_n(&toggler->stop, __ATOMIC_RELAXED)) {
		mprotect(toggler->area, PAGES * psize(), PROT_READ);
		mprotect(toggler->area, PAGES * psize(), PROT_READ | PROT_WRITE);
	}
	return NULL;
}

static void parent_that_protects(void)
{
	struct toggler toggler = { .area = ksm_map(PAGES) };
	unsigned long pfns[PAGES];
	struct ksm_child child;
	pthread_t thread;
	unsigned int i;

	ksm_set("smart_scan", 0);
	ksm_fill_same(toggler.area, PAGES, SEED);
	note_pfns(toggler.area, PAGES, pfns);
	ksm_check(!pthread_create(&thread, NULL, toggle, &toggler), "pthread_create");
	for (i = 0; i < ROUNDS; i++) {
		ksm_child_start(&child, merging_child, toggler.area);
		ksm_child_wait(&child);
		ksm_passes(3);
		ksm_child_kill(&child);
	}
	__atomic_store_n(&toggler.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	expect_untouched(toggler.area, pfns);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* The page of a write is the writer's alone, the shared page stays for the others. */
static void one_mapping_is_left(void)
{
	char *area = ksm_merged_area(2, SEED);

	ksm_fill(area, SEED + 1);
	ksm_settle();
	ksm_expect_figures(1, 0, 1);
	ksm_fill(area, SEED);
	ksm_settle();
	ksm_expect_figures(1, 1, 0);
	ksm_check_same(area, 2, SEED);
}

static const struct ksm_case cases[] = {
	{ "none of many merged pages becomes the shared page", no_page_is_kept },
	{ "none of two merged pages becomes the shared page", no_page_of_a_pair_is_kept },
	{ "a parent that does not merge keeps its page frames", parent_is_left_alone },
	{ "a parent that calls mprotect() keeps its page frames", parent_that_protects },
	{ "a shared page with one mapping is merged with again", one_mapping_is_left },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
