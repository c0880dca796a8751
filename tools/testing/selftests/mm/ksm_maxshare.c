// SPDX-License-Identifier: GPL-2.0
/*
 * max_page_sharing: no shared page is mapped more often than it says, and the
 * figures of chains tell how often one content had to be kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED	0x6000

static void check_bound(const char *area, size_t pages, long bound)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (ksm_is_merged(area + i * psize()) &&
		    ksm_mapcount(area + i * psize()) > bound)
			ksm_fail("a page is mapped %ld times, with a bound of %ld",
				 ksm_mapcount(area + i * psize()), bound);
}

/* One page too many to fill the last share is a page on its own. */
static void bounded(size_t pages, size_t bound)
{
	char *area = ksm_map_mergeable(pages);
	size_t rest = pages % bound, alone = rest == 1;
	size_t shared = pages / bound + (rest > 1);

	ksm_set("max_page_sharing", bound);
	ksm_fill_same(area, pages, SEED);
	ksm_settle();
	ksm_expect_figures(shared, pages - shared - alone, alone);
	ksm_expect("distinct pages", ksm_distinct_merged(area, pages), shared);
	check_bound(area, pages, bound);
	ksm_expect("stable_node_chains", ksm_get("stable_node_chains"), shared > 1);
	ksm_expect("stable_node_dups", ksm_get("stable_node_dups"), shared > 1 ? shared : 0);
	ksm_check_same(area, pages, SEED);
}

static void bound_two(void)
{
	bounded(40, 2);
}

static void bound_three(void)
{
	bounded(60, 3);
}

static void bound_with_one_left(void)
{
	bounded(61, 3);
}

static void bound_with_rest(void)
{
	bounded(107, 10);
}

static void bound_default(void)
{
	bounded(600, 256);
}

static void bound_just_reached(void)
{
	bounded(64, 64);
}

static void bound_just_passed(void)
{
	bounded(66, 64);
}

static void bound_never_reached(void)
{
	bounded(500, 1000000);
}

static void several_chains(void)
{
	char *area = ksm_map_mergeable(80);
	unsigned int i;

	ksm_set("max_page_sharing", 4);
	for (i = 0; i < 4; i++)
		ksm_fill_same(area + 20 * i * psize(), 20, SEED + i);
	ksm_settle();
	ksm_expect_figures(20, 60, 0);
	ksm_expect("stable_node_chains", ksm_get("stable_node_chains"), 4);
	ksm_expect("stable_node_dups", ksm_get("stable_node_dups"), 20);
	for (i = 0; i < 4; i++)
		ksm_check_same(area + 20 * i * psize(), 20, SEED + i);
}

/* Full chains of one content are no place for another that looks like it. */
static void alike_but_for_the_end(void)
{
	const size_t last = psize() - sizeof(long);
	char *area = ksm_map_mergeable(60);
	long i;

	ksm_set("max_page_sharing", 2);
	ksm_fill_same(area, 60, SEED);
	for (i = 0; i < 60; i++)
		*(long *)(area + i * psize() + last) = i / 2 % 3;
	ksm_settle();
	ksm_expect_figures(30, 30, 0);
	check_bound(area, 60, 2);
	for (i = 0; i < 60; i++)
		ksm_expect("the last word", *(long *)(area + i * psize() + last), i / 2 % 3);
	for (i = 0; i < 60; i++)
		*(long *)(area + i * psize() + last) = 0;
	ksm_settle();
	ksm_expect_figures(30, 30, 0);
}

/*
 * The second content comes when the chain of the first has no room to be tried.
 * They differ in one byte, each time in another cache line: one may be sampled.
 */
static void alike_but_for_a_byte(const char *content, long shared, long sharing)
{
	const size_t pages = strlen(content);
	char *area = ksm_map_mergeable(3 * pages);
	size_t i;

	ksm_set("max_page_sharing", 4);
	for (i = 0; i < 3; i++)
		ksm_fill_same(area + i * pages * psize(), pages, SEED + i);
	for (i = 0; i < 3 * pages; i++)
		area[(i + 1) * psize() - 1 - 64 * (i / pages)] = content[i % pages];
	ksm_settle();
	ksm_expect_figures(shared, sharing, 0);
	for (i = 0; i < 3 * pages; i++)
		ksm_expect("the byte", area[(i + 1) * psize() - 1 - 64 * (i / pages)],
			   content[i % pages]);
}

static void alike_but_for_a_byte_when_full(void)
{
	alike_but_for_a_byte("000011001111", 12, 24);
}

/* Nothing of the first content is left that the second could be compared with. */
static void alike_but_for_a_byte_when_all_full(void)
{
	alike_but_for_a_byte("00001111", 6, 18);
}

static void sharing_child(struct ksm_child *self, void *arg)
{
	size_t pages = (uintptr_t)arg;
	char *area = ksm_map_mergeable(pages);

	ksm_fill_same(area, pages, SEED);
	ksm_child_pause(self);
	check_bound(area, pages, 5);
	ksm_check_same(area, pages, SEED);
}

static void across_processes(void)
{
	struct ksm_child children[3];
	unsigned int i;

	ksm_set("max_page_sharing", 5);
	for (i = 0; i < 3; i++) {
		ksm_child_start(&children[i], sharing_child, (void *)10UL);
		ksm_child_wait(&children[i]);
	}
	ksm_settle();
	ksm_expect_figures(6, 24, 0);
	for (i = 0; i < 3; i++)
		ksm_child_end(&children[i]);
}

/* fork adds mappings without asking; that is the one way past the bound. */
static void fork_child(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check_same(arg, 10, SEED);
}

static void fork_may_exceed(void)
{
	char *area = ksm_map_mergeable(10);
	struct ksm_child child;

	ksm_set("max_page_sharing", 2);
	ksm_fill_same(area, 10, SEED);
	ksm_settle();
	ksm_expect_figures(5, 5, 0);
	ksm_child_start(&child, fork_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(5, 15, 0);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(5, 5, 0);
}

static void late_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(18);

	(void)arg;
	ksm_child_pause(self);
	ksm_fill_same(area, 18, SEED);
	ksm_child_pause(self);
}

/* A shared page that is not mapped any more goes when an equal page is scanned. */
static void pruned(void)
{
	struct ksm_child child;
	char *area;

	ksm_set("max_page_sharing", 4);
	ksm_set("stable_node_chains_prune_millisecs", 10);
	ksm_child_start(&child, late_child, NULL);
	ksm_child_wait(&child);
	area = ksm_map_mergeable(4);
	ksm_fill_same(area, 2, SEED);
	ksm_settle();
	ksm_child_step(&child);
	ksm_settle();
	ksm_expect_figures(5, 15, 0);
	ksm_expect("stable_node_dups", ksm_get("stable_node_dups"), 5);
	ksm_child_end(&child);
	ksm_fill_same(area + 2 * psize(), 1, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", 2), "what is left shares one page");
	ksm_check(ksm_wait_figure("pages_shared", 1), "pages that are not mapped are gone");
	/* A node goes after what it shared. */
	ksm_stop();
	ksm_check(ksm_get("stable_node_dups") <= 1, "the chain is down to one at most");
	ksm_check_same(area, 3, SEED);
}

static void unmerged(void)
{
	char *area = ksm_map_mergeable(50);

	ksm_set("max_page_sharing", 2);
	ksm_fill_same(area, 50, SEED);
	ksm_settle();
	ksm_expect("stable_node_dups", ksm_get("stable_node_dups"), 25);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, 50, SEED);
}

/*
 * Pages merge into a shared page that has lost mappings before they make another one. Its
 * stable node may be the one in the tree or a dup.
 */
static void room_is_used_again(void)
{
	char *area = ksm_map_mergeable(20), *four;

	ksm_set("max_page_sharing", 10);
	ksm_fill_same(area, 20, SEED);
	ksm_settle();
	ksm_expect_figures(2, 18, 0);
	for (four = area; four < area + 20 * psize(); four += 4 * psize()) {
		ksm_fill_unique(four, 4, SEED + 100);
		ksm_settle();
		ksm_expect("pages_unshared", ksm_get("pages_unshared"), 4);
		ksm_fill_same(four, 4, SEED);
		ksm_settle();
		ksm_expect_figures(2, 18, 0);
		check_bound(area, 20, 10);
	}
}

static void changed_between(void)
{
	char *area = ksm_map_mergeable(40);

	ksm_set("max_page_sharing", 2);
	ksm_fill_same(area, 40, SEED);
	ksm_settle();
	ksm_expect_figures(20, 20, 0);
	ksm_unmerge_all();
	ksm_set("max_page_sharing", 40);
	ksm_settle();
	ksm_expect_figures(1, 39, 0);
	ksm_check_same(area, 40, SEED);
}

static const struct ksm_case cases[] = {
	{ "a bound of 2", bound_two },
	{ "a bound of 3", bound_three },
	{ "a bound of 3 and one page too many", bound_with_one_left },
	{ "a bound of 10 and a last share not full", bound_with_rest },
	{ "the default bound of 256", bound_default },
	{ "as many pages as the bound", bound_just_reached },
	{ "a few more pages than the bound", bound_just_passed },
	{ "fewer pages than the bound", bound_never_reached },
	{ "several contents have a chain each", several_chains },
	{ "contents that differ in their last word share no chain", alike_but_for_the_end },
	{ "a full chain is no place for another content", alike_but_for_a_byte_when_full },
	{ "a full chain hides no other content", alike_but_for_a_byte_when_all_full },
	{ "the bound holds across processes", across_processes },
	{ "fork may go past the bound", fork_may_exceed },
	{ "shared pages that are not mapped are pruned", pruned },
	{ "unmerging leaves no chain", unmerged },
	{ "room in a shared page is used again", room_is_used_again },
	{ "the bound changes once all is unmerged", changed_between },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
