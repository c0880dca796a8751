// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations fail when shared pages go to swap and come back. Memory keeps its content,
 * and once allocations succeed again everything merges, to the exact count.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_inject.h"

#define STARVED		"/sys/fs/cgroup/ksm_faults/"
#define SEED		INJECT_SEED
#define SWAPPED		40
/* Pages of two page tables: an area that is so far below another one has its own leaves. */
#define FAR		(2 * ksm_huge_pages())
#define ROUNDS		20

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif

static char *shared_area;

/*
 * Swap-in: a copy of what others had shared. An unmerge makes an ordinary page of one that
 * is in swap, and the first that reads it gets it.
 */

static char *swapped_area(void)
{
	char *area;

	ksm_need_reclaim();
	area = ksm_merged_area(SWAPPED, SEED);
	ksm_check(ksm_reclaim(area, SWAPPED), "all shared pages are swapped out");
	ksm_unmerge_all();
	/* The first to come gets the page itself, all others copies. */
	ksm_check_same(area, 1, SEED);
	shared_area = area;
	return area;
}

/* The kernel looks for the page, and has to say that there is no memory. */
static enum outcome try_populate(unsigned int nth)
{
	char *page = shared_area + nth * psize();
	enum outcome outcome;
	int error;

	ksm_check(nth < SWAPPED, "a fault allocates less often");
	inject(nth);
	error = madvise(page, psize(), MADV_POPULATE_READ) ? errno : 0;
	outcome = inject_judge("MADV_POPULATE_READ", error, ENOMEM);
	ksm_check_same(page, 1, SEED);
	return outcome;
}

/* A fault of its own is repeated until there is memory. */
static enum outcome try_read(unsigned int nth)
{
	char *page = shared_area + nth * psize();
	bool holds;

	ksm_check(nth < SWAPPED, "a fault allocates less often");
	inject(nth);
	holds = ksm_holds(page, SEED);
	ksm_check(holds, "what comes from swap is what was written");
	return inject_judge("a page fault", 0, 0);
}

static void after_swap_in(const char *area)
{
	ksm_check_same(area, SWAPPED, SEED);
	ksm_settle();
	ksm_expect_figures(1, SWAPPED - 1, 0);
	ksm_check_same(area, SWAPPED, SEED);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void populate_from_swap(void)
{
	char *area;

	inject_nothing();
	area = swapped_area();
	inject_each(try_populate);
	ksm_check(outcomes[REFUSED], "a copy fails without memory");
	after_swap_in(area);
}

static void read_from_swap(void)
{
	char *area;

	inject_nothing();
	area = swapped_area();
	inject_each(try_read);
	ksm_check(outcomes[WENT_ON], "a copy fails without memory");
	after_swap_in(area);
}

/* There is a page for the copy, but its memory cgroup may not have it. */
static void starved_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(SWAPPED), pid[16];

	(void)arg;
	ksm_fill_same(area, SWAPPED, SEED);
	ksm_child_pause(self);
	ksm_check(ksm_reclaim(area, SWAPPED), "the child's pages are swapped out");
	ksm_child_pause(self);
	snprintf(pid, sizeof(pid), "%d", getpid());
	ksm_check(!ksm_write_file(STARVED "cgroup.procs", pid), "a child changes its cgroup");
	ksm_holds(area, SEED);
	ksm_fail("a child went on without memory for its page");
}

static void starve(struct ksm_child *child)
{
	int status;

	if (mkdir(STARVED, 0755) || ksm_write_file(STARVED "memory.max", "0"))
		ksm_skip("no memory cgroup can be made");
	ksm_child_go(child);
	ksm_check(waitpid(child->pid, &status, 0) == child->pid, "waitpid");
	rmdir(STARVED);
	ksm_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
		  "a child without memory is killed");
}

static void charge_from_swap(void)
{
	struct ksm_child child;
	char *area;

	inject_nothing();
	ksm_need_reclaim();
	ksm_child_start(&child, starved_child, NULL);
	ksm_child_wait(&child);
	area = ksm_merged_area(SWAPPED, SEED);
	ksm_child_step(&child);
	ksm_check(ksm_reclaim(area, SWAPPED), "all shared pages are swapped out");
	ksm_unmerge_all();
	/* Now the page is there, and not shared. */
	ksm_check_same(area, SWAPPED, SEED);
	starve(&child);
	after_swap_in(area);
}

/*
 * Swap-out: KSM cannot note where a page is, so it comes back as an ordinary one.  Its
 * stable node is freed when an equal page is looked up.
 */

/* Allocations of the swap cache fail as well.  Their pages are swapped out later. */
static void reclaim_starved(const char *area, size_t pages)
{
	bool out;

	/* Opening pagemap takes memory, too. */
	ksm_pagemap(area);
	inject_own("radix_tree_node");
	inject_caches("radix_tree_node", 1, 50);
	out = ksm_reclaim(area, pages);
	inject_nothing();
	ksm_check(out, "all shared pages are swapped out");
}

/* The pages of the new area are scanned first.  Returns how many are shared no more. */
static long forget_some(const char *area)
{
	char *equal;
	long lost;

	reclaim_starved(area, 2 * SWAPPED);
	equal = ksm_map_mergeable(FAR + 2 * SWAPPED);
	ksm_check(equal < area, "a new area is below the others");
	ksm_fill_unique(equal, SWAPPED, SEED);
	ksm_set("run", 1);
	ksm_passes(2);
	lost = SWAPPED - ksm_get("pages_shared");
	ksm_check_unique(area, SWAPPED, SEED);
	ksm_check_unique(area + SWAPPED * psize(), SWAPPED, SEED);
	ksm_settle();
	ksm_expect_figures(SWAPPED, 2 * SWAPPED, 0);
	ksm_check_unique(area, SWAPPED, SEED);
	munmap(equal, (FAR + 2 * SWAPPED) * psize());
	return lost;
}

static void write_to_swap(void)
{
	unsigned int round;
	long lost = 0;
	char *area;

	inject_nothing();
	ksm_need_reclaim();
	area = ksm_map_mergeable(2 * SWAPPED);
	ksm_fill_unique(area, SWAPPED, SEED);
	ksm_fill_unique(area + SWAPPED * psize(), SWAPPED, SEED);
	for (round = 0; !lost && round < ROUNDS; round++) {
		ksm_settle();
		ksm_expect_figures(SWAPPED, SWAPPED, 0);
		lost = forget_some(area);
	}
	ksft_print_msg("%ld pages of %d in round %u\n", lost, SWAPPED, round);
	ksm_check(lost > 0, "pages come back that are shared no more");
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static const struct ksm_case cases[] = {
	{ "a page that the kernel asks for", populate_from_swap },
	{ "a page that a process reads", read_from_swap },
	{ "a page that a cgroup may not have", charge_from_swap },
	{ "a page that KSM loses track of in swap", write_to_swap },
};

int main(void)
{
	return inject_run_cases(cases, ARRAY_SIZE(cases));
}
