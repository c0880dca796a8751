// SPDX-License-Identifier: GPL-2.0
/*
 * Fork: what a child inherits, what it counts, and KSM pages that several generations
 * map.
 */
#include <errno.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x4000
#define PAGES		50
#define GENERATIONS	5

static void fork_counts_child(struct ksm_child *self, void *arg)
{
	char *area = arg;

	ksm_expect("ksm_merging_pages after fork", ksm_stat(0, "ksm_merging_pages"), 0);
	ksm_expect("ksm_rmap_items after fork", ksm_stat(0, "ksm_rmap_items"), 0);
	ksm_check(ksm_vmflag(area, "mg"), "the area is mergeable in the child");
	ksm_check_same(area, PAGES, SEED);
	ksm_child_pause(self);
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), PAGES);
	ksm_check_same(area, PAGES, SEED);
	ksm_fill_unique(area, PAGES, SEED + 1);
	ksm_check_unique(area, PAGES, SEED + 1);
}

static void fork_counts_anew(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child child;

	ksm_child_start(&child, fork_counts_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_expect("merging pages of the parent", ksm_stat(0, "ksm_merging_pages"), PAGES);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void fork_prctl_child(struct ksm_child *self, void *arg)
{
	char *area;

	(void)arg;
	ksm_expect("PR_GET in the child", ksm_get_merge(), 1);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_child_pause(self);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("PR_SET 0 in the child", ksm_set_merge(0), 0);
}

static void fork_inherits_prctl(void)
{
	struct ksm_child child;

	ksm_set_merge(1);
	ksm_child_start(&child, fork_prctl_child, NULL);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_child_end(&child);
	ksm_expect("PR_GET in the parent", ksm_get_merge(), 1);
}

static void zero_child(struct ksm_child *self, void *arg)
{
	ksm_expect("zero pages of the child", ksm_stat(0, "ksm_zero_pages"), PAGES);
	ksm_child_pause(self);
	ksm_check_same(arg, PAGES, 0);
}

static void fork_accounts_zero_pages(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), PAGES);
	ksm_child_start(&child, zero_child, area);
	ksm_child_wait(&child);
	ksm_expect("ksm_zero_pages with a child", ksm_get("ksm_zero_pages"), 2 * PAGES);
	ksm_child_end(&child);
	ksm_expect("ksm_zero_pages after it", ksm_get("ksm_zero_pages"), PAGES);
	ksm_expect("zero pages of the parent", ksm_stat(0, "ksm_zero_pages"), PAGES);
}

/* The counts of a child without mergeable memory are zero. */
static void zero_none_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_expect("zero pages of the child", ksm_stat(0, "ksm_zero_pages"), 0);
	ksm_child_pause(self);
}

static void fork_after_unmerging_zero_pages(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_unmergeable(area, PAGES);
	ksm_child_start(&child, zero_none_child, NULL);
	ksm_child_wait(&child);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	ksm_child_end(&child);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
}

static void grandchild(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check_same(arg, PAGES, SEED);
	ksm_fill_unique(arg, PAGES, SEED + 7);
	ksm_check_unique(arg, PAGES, SEED + 7);
}

static void middle_child(struct ksm_child *self, void *arg)
{
	struct ksm_child child;

	ksm_child_start(&child, grandchild, arg);
	ksm_child_wait(&child);
	ksm_child_pause(self);
	ksm_check_same(arg, PAGES, SEED);
	ksm_child_end(&child);
	ksm_check_same(arg, PAGES, SEED);
}

static void fork_of_fork(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child child;
	long copied;

	ksm_child_start(&child, middle_child, area);
	ksm_child_wait(&child);
	copied = ksm_vmstat("cow_ksm");
	ksm_settle();
	ksm_expect_figures(1, 3 * PAGES - 1, 0);
	/* What the children map is recorded, and not copied and merged again. */
	ksm_expect("cow_ksm", ksm_vmstat("cow_ksm"), copied);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

/* The child has the same pages and waits. */
static void expect_nothing_merged(struct ksm_child *child,
				  void (*run)(struct ksm_child *self, void *arg), char *area)
{
	ksm_child_start(child, run, area);
	ksm_child_wait(child);
	ksm_settle();
	ksm_expect("pages_shared", ksm_get("pages_shared"), 0);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
}

static void idle_child(struct ksm_child *self, void *arg)
{
	ksm_child_pause(self);
	ksm_check_unique(arg, PAGES, SEED);
}

/* A request to merge has nothing to wait for. */
static void expect_not_busy(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merge", pid);
	ksm_expect("error of ksm_merge", ksm_write_file(path, "1"), 0);
}

/* Parent and child map the same page. Merging it with itself saves nothing. */
static void shared_by_fork_alone(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;

	ksm_fill_unique(area, PAGES, SEED);
	expect_nothing_merged(&child, idle_child, area);
	expect_not_busy(getpid());
	expect_not_busy(child.pid);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_check_unique(area, PAGES, SEED);
}

/* A new mapping has a lower address, so ksmd scans this page first. */
static void child_with_own(struct ksm_child *self, void *area)
{
	char *own = ksm_map(1);

	ksm_check(own < (char *)area, "the child's own page comes first");
	ksm_fill(own, SEED);
	ksm_mergeable(own, 1);
	ksm_mergeable(area, PAGES);
	ksm_child_pause(self);
	ksm_check_same(area, PAGES, SEED);
}

/* The parent's page must not become a KSM page, so its duplicate does. */
static void parent_not_mergeable_with_duplicate(void)
{
	char *area = ksm_map(PAGES);
	struct ksm_child child;

	ksm_fill_same(area, PAGES, SEED);
	ksm_child_start(&child, child_with_own, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES, 0);
	ksm_expect("shared pages of the parent", ksm_count_merged(area, PAGES), 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_child_end(&child);
}

static void parent_ends_first_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child *child = arg;

	ksm_child_start(child, grandchild, area);
	ksm_child_wait(child);
	ksm_child_pause(self);
}

/* KSM pages outlive the process that first mapped them. */
static void parent_ends_first(void)
{
	struct ksm_child *inner, child;

	inner = mmap(NULL, sizeof(*inner), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ksm_child_start(&child, parent_ends_first_child, inner);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_child_end(&child);
	/* It was killed when its parent ended. */
	waitpid(inner->pid, NULL, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* What the processes of a tree share. */
enum tree_step {
	TREE_MOVE,
	TREE_MIGRATE,
	TREE_REPORT,
};

struct tree {
	enum tree_step step;
	unsigned int depth;
	char *area;
	int node;
	unsigned long pfn[GENERATIONS];
};

static struct tree *tree;

static bool migrated(void *area)
{
	int status;

	ksm_move_pages(area, 1, tree->node, MPOL_MF_MOVE_ALL, &status);
	return ksm_node_of(area) == tree->node;
}

static char *move_elsewhere(char *area)
{
	char *moved, *target = mmap(NULL, 2 * psize(), PROT_NONE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ksm_check(target != MAP_FAILED, "mmap");
	moved = mremap(area, 2 * psize(), 2 * psize(), MREMAP_MAYMOVE | MREMAP_FIXED, target);
	ksm_check(moved == target, "mremap");
	return moved;
}

static void tree_report(char *area, unsigned int level)
{
	ksm_check_same(area, 2, SEED);
	ksm_expect("KSM pages", ksm_count_merged(area, 2), 2);
	tree->pfn[level] = ksm_pfn(area);
}

/* Only the process in the middle moves and migrates the page. */
static char *tree_do(char *area, unsigned int level)
{
	const bool middle = level == GENERATIONS / 2;

	if (tree->step == TREE_REPORT)
		tree_report(area, level);
	else if (middle && tree->step == TREE_MOVE)
		area = move_elsewhere(area);
	else if (middle && !ksm_poll(migrated, area))
		ksm_fail("a KSM page does not migrate to node %d", tree->node);
	return area;
}

/* Each process forks the next one and passes each step on to it. */
static void tree_child(struct ksm_child *self, void *arg)
{
	const unsigned int level = tree->depth++;
	struct ksm_child child;

	ksm_expect("ksm_merging_pages after fork", ksm_stat(0, "ksm_merging_pages"), 0);
	if (level < GENERATIONS - 1) {
		ksm_child_start(&child, tree_child, arg);
		ksm_child_wait(&child);
	}
	for (;;) {
		ksm_child_pause(self);
		arg = tree_do(arg, level);
		if (level < GENERATIONS - 1)
			ksm_child_step(&child);
	}
}

static void tree_start(struct ksm_child *child)
{
	int nodes[2];

	ksm_need_nodes(nodes);
	tree = mmap(NULL, sizeof(*tree), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	ksm_check(tree != MAP_FAILED, "mmap");
	tree->area = ksm_merged_area(2, SEED);
	tree->node = ksm_node_of(tree->area) == nodes[0] ? nodes[1] : nodes[0];
	ksm_child_start(child, tree_child, tree->area);
	ksm_child_wait(child);
}

static void tree_step(struct ksm_child *child, enum tree_step step)
{
	tree->step = step;
	ksm_child_step(child);
}

static void tree_migrate(struct ksm_child *child)
{
	unsigned long before = ksm_pfn(tree->area), after;
	unsigned int i;

	tree_step(child, TREE_MIGRATE);
	tree_step(child, TREE_REPORT);
	after = ksm_pfn(tree->area);
	ksm_check(after != before, "the page has a new page frame");
	for (i = 0; i < GENERATIONS; i++)
		if (tree->pfn[i] != after)
			ksm_fail("generation %u maps page frame %lx and not %lx", i + 1,
				 tree->pfn[i], after);
	ksm_check_same(tree->area, 2, SEED);
}

/* Before ksmd has scanned the children, and after. */
static void tree_migrates(void)
{
	struct ksm_child child;

	tree_start(&child);
	tree_migrate(&child);
	ksm_settle();
	ksm_expect_figures(1, 2 * (GENERATIONS + 1) - 1, 0);
	tree->node = !tree->node;
	tree_migrate(&child);
}

/* mremap() unmerges what it moves, so ksmd has to merge it again. */
static void tree_moves_and_migrates(void)
{
	struct ksm_child child;

	tree_start(&child);
	tree_step(&child, TREE_MOVE);
	ksm_settle();
	ksm_expect_figures(1, 2 * (GENERATIONS + 1) - 1, 0);
	tree_migrate(&child);
}

static const struct ksm_case cases[] = {
	{ "a child inherits merging, and its counts start at zero", fork_counts_anew },
	{ "a child inherits the prctl", fork_inherits_prctl },
	{ "zero pages of a child are counted until it ends", fork_accounts_zero_pages },
	{ "a child of a process without zero pages has none", fork_after_unmerging_zero_pages },
	{ "three generations share", fork_of_fork },
	{ "a page that only fork shares is not merged with itself", shared_by_fork_alone },
	{ "its duplicate is shared in place of such a page", parent_not_mergeable_with_duplicate },
	{ "the parent ends first", parent_ends_first },
	{ "five generations map a page that one of them migrates", tree_migrates },
	{ "five generations map a page that one moves and migrates", tree_moves_and_migrates },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
