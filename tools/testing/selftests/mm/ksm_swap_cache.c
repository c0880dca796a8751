// SPDX-License-Identifier: GPL-2.0
/*
 * Shared pages that came back from swap and still are in the swap cache, since not every
 * process has read them: they are migrated, taken out of use, and lost.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_swap_world.h"

#define FEW		100
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

static sigjmp_buf lost;

/* Migration. */

static void move_all(char *area, const int nodes[2])
{
	int status[FEW], target;
	size_t i;

	target = ksm_node_of(area) == nodes[0] ? nodes[1] : nodes[0];
	ksm_check(!ksm_move_pages(area, FEW, target, MPOL_MF_MOVE_ALL, status), "move_pages");
	for (i = 0; i < FEW; i++)
		ksm_expect("node of a page", ksm_node_of(area + i * psize()), target);
	ksm_expect("merged pages after a move", ksm_count_merged(area, FEW), FEW);
}

static void need_nodes_and_share(int nodes[2], struct world *world)
{
	ksm_need_nodes(nodes);
	share(world, FEW);
	page_out(world);
	ksm_check_unique(world->area, FEW, SEED);
}

static void moved_in_the_cache(void)
{
	struct world world;
	int nodes[2];

	need_nodes_and_share(nodes, &world);
	move_all(world.area, nodes);
	read_back(&world);
	expect_shared(&world);
	expect_read_once(&world);
	page_out(&world);
	read_back(&world);
	expect_shared(&world);
}

static void moved_when_all_are_back(void)
{
	struct world world;
	int nodes[2];

	need_nodes_and_share(nodes, &world);
	read_as_children(&world);
	move_all(world.area, nodes);
	read_back(&world);
	expect_shared(&world);
	ksm_settle();
	expect_shared(&world);
}

/* No process maps the pages when they are moved. */
static void moved_by_compaction(void)
{
	struct world world;

	share(&world, FEW);
	page_out(&world);
	ksm_check(!madvise(world.area, FEW * psize(), MADV_WILLNEED), "MADV_WILLNEED");
	if (ksm_write_file("/proc/sys/vm/compact_memory", "1"))
		ksm_skip("memory cannot be compacted here");
	read_back(&world);
	expect_shared(&world);
}

static void offlined(void)
{
	struct world world;
	unsigned long pfn;

	share(&world, FEW);
	page_out(&world);
	ksm_check_unique(world.area, FEW, SEED);
	pfn = ksm_pfn(world.area);
	if (access(UNPOISON, W_OK) || madvise(world.area, psize(), MADV_SOFT_OFFLINE))
		ksm_skip("memory cannot be taken out of use here");
	ksm_check(ksm_pfn(world.area) != pfn, "the page has moved");
	read_back(&world);
	expect_shared(&world);
}

/* Poison. */

/**
 * struct verdict - what became of a page that was poisoned
 * @pfn: its page frame
 * @lost: how many processes have lost a page
 */
struct verdict {
	unsigned long pfn;
	size_t lost;
};

/* Processes share it. */
static struct verdict *verdict;

static void on_access(int signal)
{
	(void)signal;
	siglongjmp(lost, 1);
}

static void catch_access(void)
{
	struct sigaction action = { .sa_handler = on_access };

	ksm_check(!sigaction(SIGBUS, &action, NULL), "sigaction");
}

static bool is_lost(const char *page, uint64_t seed)
{
	if (sigsetjmp(lost, 1))
		return true;
	if (!ksm_holds(page, seed))
		ksm_fail("a page holds something else");
	return false;
}

/* A page that is not lost has its old content, in another page frame. */
static void judge_pages(const char *area, size_t pages)
{
	size_t i, count = 0;

	catch_access();
	for (i = 0; i < pages; i++) {
		if (is_lost(area + i * psize(), SEED + i))
			count++;
		else
			ksm_check(ksm_pfn(area + i * psize()) != verdict->pfn,
				  "no process maps a page that is poisoned");
	}
	__atomic_fetch_add(&verdict->lost, count, __ATOMIC_RELAXED);
}

static void judging_child(struct ksm_child *self, void *arg)
{
	const struct world *world = arg;
	char *area = ksm_map_mergeable(world->pages);

	ksm_fill_unique(area, world->pages, SEED);
	ksm_child_pause(self);
	for (;;) {
		judge_pages(area, world->pages);
		ksm_child_pause(self);
	}
}

static void share_with_judges(struct world *world)
{
	verdict = mmap(NULL, sizeof(*verdict), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksm_check(verdict != MAP_FAILED, "mmap");
	if (access(UNPOISON, W_OK))
		ksm_skip("there is no hwpoison in debugfs to undo it");
	share_with(world, FEW, judging_child);
	page_out(world);
	ksm_check_unique(world->area, FEW, SEED);
}

/* The caller gets a signal at once if the content is nowhere else. */
static void poison(char *page)
{
	verdict->pfn = ksm_pfn(page);
	catch_access();
	if (!sigsetjmp(lost, 1) && madvise(page, psize(), MADV_HWPOISON))
		ksm_skip("memory cannot be poisoned here: %s", strerror(errno));
}

static void unpoison(void)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%lu", verdict->pfn);
	ksm_write_file(UNPOISON, text);
}

/* A page that is clean is read from swap again. One that is dirty is lost to all. */
static void expect_verdict(struct world *world)
{
	judge_pages(world->area, FEW);
	read_as_children(world);
	unpoison();
	ksft_print_msg("%zu of %d processes have lost the page\n", verdict->lost, SHARERS + 1);
	if (verdict->lost && verdict->lost != SHARERS + 1)
		ksm_fail("%zu of %d processes have lost the page", verdict->lost, SHARERS + 1);
	ksm_settle();
	if (!verdict->lost)
		expect_shared(world);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void poisoned_in_the_cache(void)
{
	struct world world;

	share_with_judges(&world);
	poison(world.area);
	expect_verdict(&world);
}

static void poisoned_when_all_are_back(void)
{
	struct world world;

	share_with_judges(&world);
	read_as_children(&world);
	poison(world.area);
	expect_verdict(&world);
}

static const struct ksm_case cases[] = {
	{ "pages migrate while some processes have not read them", moved_in_the_cache },
	{ "pages migrate when all processes have read them", moved_when_all_are_back },
	{ "compaction moves pages that no process maps yet", moved_by_compaction },
	{ "a page is taken out of use in the swap cache", offlined },
	{ "a page is poisoned in the swap cache", poisoned_in_the_cache },
	{ "a page is poisoned when all processes have read it", poisoned_when_all_are_back },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
