// SPDX-License-Identifier: GPL-2.0
/*
 * Shared pages and NUMA nodes: they move with all their mappings, and with
 * merge_across_nodes 0 pages merge inside a node only.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	20
#define SEED	0x9000

static int nodes[2];

static char *area_on(int node)
{
	char *area = ksm_map_on_node(PAGES, node);

	ksm_mergeable(area, PAGES);
	ksm_fill_same(area, PAGES, SEED);
	return area;
}

static int other_node(int node)
{
	return node == nodes[0] ? nodes[1] : nodes[0];
}

static void expect_node(const char *area, size_t pages, int node)
{
	size_t i;

	for (i = 0; i < pages; i++)
		ksm_expect("node of a page", ksm_node_of(area + i * psize()), node);
}

/* Moves the one page that all of an area shares. */
static void move_shared(char *area, int node)
{
	int status;

	ksm_check(!ksm_move_pages(area, 1, node, MPOL_MF_MOVE_ALL, &status),
		  "move_pages moves the page");
	ksm_expect("status of move_pages", status, node);
}

static void moves_with_all(void)
{
	char *area;
	int target;

	ksm_need_nodes(nodes);
	area = ksm_merged_area(PAGES, SEED);
	target = other_node(ksm_node_of(area));
	move_shared(area, target);
	expect_node(area, PAGES, target);
	ksm_expect("distinct pages", ksm_distinct_merged(area, PAGES), 1);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void stays_merged(void)
{
	char *area;
	unsigned int i;

	ksm_need_nodes(nodes);
	area = ksm_merged_area(PAGES, SEED);
	for (i = 0; i < 8; i++) {
		move_shared(area, nodes[i & 1]);
		ksm_passes(1);
		ksm_expect_figures(1, PAGES - 1, 0);
	}
	ksm_check_same(area, PAGES, SEED);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, PAGES, SEED);
}

/* Without MPOL_MF_MOVE_ALL, what others map too is not for moving. */
static void shared_not_moved_alone(void)
{
	int status = 0, before;
	char *area;

	ksm_need_nodes(nodes);
	area = ksm_merged_area(PAGES, SEED);
	before = ksm_node_of(area);
	ksm_move_pages(area, 1, other_node(before), MPOL_MF_MOVE, &status);
	ksm_expect("status of move_pages", status, -EACCES);
	expect_node(area, 1, before);
}

static void across_nodes(void)
{
	char *one, *two;

	ksm_need_nodes(nodes);
	one = area_on(nodes[0]);
	two = area_on(nodes[1]);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check(ksm_pfn(one) == ksm_pfn(two), "both nodes share one page");
	ksm_check_same(one, PAGES, SEED);
	ksm_check_same(two, PAGES, SEED);
}

static void inside_nodes(void)
{
	char *one, *two;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	one = area_on(nodes[0]);
	two = area_on(nodes[1]);
	ksm_settle();
	ksm_expect_figures(2, 2 * PAGES - 2, 0);
	expect_node(one, PAGES, nodes[0]);
	expect_node(two, PAGES, nodes[1]);
	ksm_check_same(one, PAGES, SEED);
	ksm_check_same(two, PAGES, SEED);
}

static void unique_per_node(void)
{
	char *one, *two;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	one = area_on(nodes[0]);
	two = area_on(nodes[1]);
	ksm_fill_unique(one, PAGES, SEED);
	ksm_fill_unique(two, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, 2 * PAGES);
	ksm_unmerge_all();
	ksm_set("merge_across_nodes", 1);
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, 0);
}

/* The two may become one or stay two; what counts is that nothing is lost. */
static void moved_to_like_page(void)
{
	char *one, *two;
	long shared;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	one = area_on(nodes[0]);
	two = area_on(nodes[1]);
	ksm_settle();
	ksm_expect_figures(2, 2 * PAGES - 2, 0);
	move_shared(one, nodes[1]);
	ksm_settle();
	shared = 1 + (ksm_pfn(one) != ksm_pfn(two));
	ksm_expect_figures(shared, 2 * PAGES - shared, 0);
	expect_node(one, PAGES, nodes[1]);
	expect_node(two, PAGES, nodes[1]);
	ksm_check_same(one, PAGES, SEED);
	ksm_check_same(two, PAGES, SEED);
}

static void moved_to_empty_node(void)
{
	char *one, *two;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	one = area_on(nodes[0]);
	ksm_settle();
	move_shared(one, nodes[1]);
	ksm_passes(3);
	ksm_expect_figures(1, PAGES - 1, 0);
	two = area_on(nodes[1]);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check(ksm_pfn(one) == ksm_pfn(two), "new pages of the node join it");
	ksm_check_same(two, PAGES, SEED);
}

/* The record of an idle page is old, and does not say that the page has moved. */
static void moved_unshared(void)
{
	char *one, *two;
	int status;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	ksm_set("smart_scan", 1);
	one = ksm_map_on_node(1, nodes[0]);
	ksm_mergeable(one, 1);
	ksm_fill(one, SEED);
	ksm_passes(10);
	ksm_expect_figures(0, 0, 1);
	ksm_check(!ksm_move_pages(one, 1, nodes[1], MPOL_MF_MOVE, &status),
		  "move_pages moves the page");
	ksm_expect("status of move_pages", status, nodes[1]);
	two = ksm_map_on_node(1, nodes[0]);
	ksm_mergeable(two, 1);
	ksm_fill(two, SEED);
	ksm_passes(6);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
	ksm_expect("node of the page that moved", ksm_node_of(one), nodes[1]);
	ksm_expect("node of the other page", ksm_node_of(two), nodes[0]);
}

static void copies_on_node_of_policy(void)
{
	unsigned int i;
	char *area;
	size_t n;

	ksm_need_nodes(nodes);
	for (i = 0; i < 2; i++) {
		area = ksm_map_on_node(PAGES, nodes[i]);
		ksm_mergeable(area, PAGES);
		ksm_fill_same(area, PAGES, SEED);
		ksm_settle();
		ksm_check(!madvise(area, PAGES * psize(), MADV_UNMERGEABLE),
			  "the pages are unmerged");
		for (n = 0; n < PAGES; n++)
			ksm_expect("node of a copy", ksm_node_of(area + n * psize()), nodes[i]);
	}
}

static void moved_then_gone(void)
{
	char *one;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	one = area_on(nodes[0]);
	ksm_settle();
	move_shared(one, nodes[1]);
	munmap(one, PAGES * psize());
	one = area_on(nodes[0]);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	expect_node(one, PAGES, nodes[0]);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void moved_chain(void)
{
	char *area;
	int target;
	size_t i;

	ksm_need_nodes(nodes);
	ksm_set("max_page_sharing", 4);
	area = ksm_merged_area(PAGES, SEED);
	ksm_expect_figures(5, PAGES - 5, 0);
	target = other_node(ksm_node_of(area));
	for (i = 0; i < PAGES; i++)
		move_shared(area + i * psize(), target);
	expect_node(area, PAGES, target);
	ksm_settle();
	ksm_expect_figures(5, PAGES - 5, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void moved_chain_inside_nodes(void)
{
	char *one;
	size_t i;

	ksm_need_nodes(nodes);
	ksm_set("merge_across_nodes", 0);
	ksm_set("max_page_sharing", 4);
	one = area_on(nodes[0]);
	ksm_settle();
	ksm_expect_figures(5, PAGES - 5, 0);
	for (i = 0; i < PAGES; i += 2)
		move_shared(one + i * psize(), nodes[1]);
	ksm_settle();
	ksm_expect("pages merged", ksm_get("pages_shared") + ksm_get("pages_sharing"), PAGES);
	ksm_expect("pages_shared", ksm_get("pages_shared"), ksm_distinct_merged(one, PAGES));
	ksm_check_same(one, PAGES, SEED);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void write_after_move(void)
{
	char *area;

	ksm_need_nodes(nodes);
	area = ksm_merged_area(PAGES, SEED);
	move_shared(area, other_node(ksm_node_of(area)));
	ksm_fill_unique(area, PAGES / 2, SEED + 1);
	ksm_check_unique(area, PAGES / 2, SEED + 1);
	ksm_check_same(area + PAGES / 2 * psize(), PAGES / 2, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES / 2 - 1, PAGES / 2);
}

static void two_processes_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(PAGES);

	(void)arg;
	ksm_fill_same(area, PAGES, SEED);
	ksm_child_pause(self);
	expect_node(area, PAGES, nodes[1]);
	ksm_check_same(area, PAGES, SEED);
}

static void moves_for_other_process(void)
{
	struct ksm_child child;
	char *area;

	ksm_need_nodes(nodes);
	ksm_child_start(&child, two_processes_child, NULL);
	ksm_child_wait(&child);
	area = ksm_merged_area(PAGES, SEED);
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	move_shared(area, nodes[0]);
	move_shared(area, nodes[1]);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

static void migrate_pages_moves(void)
{
	unsigned long from, to;
	char *area;

	ksm_need_nodes(nodes);
	area = area_on(nodes[0]);
	ksm_settle();
	from = 1UL << nodes[0];
	to = 1UL << nodes[1];
	ksm_check(syscall(SYS_migrate_pages, 0, 8 * sizeof(from), &from, &to) >= 0,
		  "migrate_pages");
	expect_node(area, PAGES, nodes[1]);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void moved_while_scanning(void)
{
	int status[2 * PAGES];
	char *area;
	unsigned int i;

	ksm_need_nodes(nodes);
	area = ksm_map_mergeable(2 * PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_fill_unique(area + PAGES * psize(), PAGES, SEED + 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 60; i++)
		ksm_move_pages(area, 2 * PAGES, nodes[i & 1], MPOL_MF_MOVE_ALL, status);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, PAGES);
	ksm_check_same(area, PAGES, SEED);
	ksm_check_unique(area + PAGES * psize(), PAGES, SEED + 1);
}

static void compacted(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	if (ksm_write_file("/proc/sys/vm/compact_memory", "1"))
		ksm_skip("there is no compaction here");
	ksm_expect("distinct pages", ksm_distinct_merged(area, PAGES), 1);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

/* Takes a block of memory offline, any that can be, and brings it back. */
static bool offline_any(void)
{
	char path[128];
	unsigned int block;

	for (block = 0; block < 256; block++) {
		snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%u/state", block);
		if (ksm_write_file(path, "offline"))
			continue;
		ksm_check(!ksm_write_file(path, "online"), "memory can be brought back");
		return true;
	}
	return false;
}

/* KSM waits meanwhile and goes on afterwards, wherever the shared page lies. */
static void offlined(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	if (!offline_any())
		ksm_skip("no memory can go offline");
	ksm_check_same(area, PAGES, SEED);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_fill(area, SEED + 1);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 2, 1);
}

#define MEMORY_BLOCKS	"/sys/devices/system/memory/"

static unsigned long pages_in_block(void)
{
	char text[32] = "";
	FILE *file = fopen(MEMORY_BLOCKS "block_size_bytes", "r");

	if (!file || fscanf(file, "%31s", text) != 1)
		ksm_skip("memory is not in blocks here");
	fclose(file);
	return strtoul(text, NULL, 16) / psize();
}

static int set_block(unsigned long block, const char *state)
{
	char path[128];

	snprintf(path, sizeof(path), MEMORY_BLOCKS "memory%lu/state", block);
	return ksm_write_file(path, state);
}

static int node_of_block(unsigned long block)
{
	char path[128];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(nodes); i++) {
		snprintf(path, sizeof(path), MEMORY_BLOCKS "memory%lu/node%d", block, nodes[i]);
		if (!access(path, F_OK))
			return nodes[i];
	}
	ksm_skip("block %lu of memory is on another node", block);
}

/*
 * Nothing says of a block in use that it can be emptied. One that was empty can be
 * kept for what may move, and is where memory of programs comes from first then.
 */
static unsigned long movable_block(void)
{
	unsigned long block;

	for (block = 256; block--;) {
		if (set_block(block, "offline"))
			continue;
		if (!set_block(block, "online_movable"))
			return block;
		set_block(block, "online");
		break;
	}
	ksm_skip("there is no memory that can go offline and be for movable pages only");
}

/* The very block that the shared page is in. */
static void offlined_with_shared(void)
{
	unsigned long block, before, after, size;
	char *area;
	int err;

	ksm_need_nodes(nodes);
	size = pages_in_block();
	block = movable_block();
	area = area_on(node_of_block(block));
	ksm_settle();
	before = ksm_pfn(area);
	err = set_block(block, "offline");
	after = ksm_pfn(area);
	/* Back to what it was. */
	if (!err)
		ksm_check(!set_block(block, "online"), "memory can be brought back");
	if (before / size != block)
		ksm_skip("the shared page is not in the block that can go offline");
	ksm_expect("taking the block offline", err, 0);
	ksm_check(after && after / size != block, "the shared page has left the block");
	ksm_expect("distinct pages", ksm_distinct_merged(area, PAGES), 1);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
	ksm_fill(area, SEED + 1);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 2, 1);
	ksm_check_same(area + psize(), PAGES - 1, SEED);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* A page that stays where it is for as long as the pipe is not read. */
static unsigned long hold_page(int node)
{
	char *page = ksm_map_on_node(1, node);
	struct iovec iov = { .iov_base = page, .iov_len = psize() };
	int ends[2];

	ksm_fill(page, SEED + 2);
	ksm_check(!pipe(ends) && vmsplice(ends[1], &iov, 1, 0) == psize(),
		  "a pipe holds a page");
	return ksm_pfn(page);
}

static bool ksmd_waits(void *arg)
{
	char path[64], state[32] = "";

	(void)arg;
	snprintf(path, sizeof(path), "/proc/%d/status", ksm_ksmd());
	return ksm_field(path, "State", state, sizeof(state)) && state[0] == 'D';
}

/* Tries to take a block offline that does not go, until that is interrupted. */
static int offline_in_vain(unsigned long block)
{
	pid_t pid = fork();
	int status;

	ksm_check(pid >= 0, "fork");
	if (!pid)
		_exit(set_block(block, "offline"));
	ksm_check(ksm_poll(ksmd_waits, NULL), "ksmd waits for memory to go offline");
	kill(pid, SIGTERM);
	ksm_check(waitpid(pid, &status, 0) == pid, "waitpid");
	return status;
}

/* KSM goes on where memory does not go offline after all. */
static void not_offlined(void)
{
	unsigned long block;
	char *area;
	int status;

	ksm_need_nodes(nodes);
	block = movable_block();
	area = area_on(node_of_block(block));
	ksm_settle();
	if (hold_page(node_of_block(block)) / pages_in_block() != block)
		ksm_skip("no page is held in the block that can go offline");
	ksm_set("run", 1);
	status = offline_in_vain(block);
	ksm_check(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM,
		  "what takes memory offline can be interrupted");
	ksm_check_same(area, PAGES, SEED);
	ksm_fill(area, SEED + 1);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 2, 1);
	ksm_check_same(area + psize(), PAGES - 1, SEED);
}

static const struct ksm_case cases[] = {
	{ "a shared page moves with all its mappings", moves_with_all },
	{ "a page stays merged however often it moves", stays_merged },
	{ "MPOL_MF_MOVE alone does not move it", shared_not_moved_alone },
	{ "merge_across_nodes 1 merges across nodes", across_nodes },
	{ "merge_across_nodes 0 merges inside nodes", inside_nodes },
	{ "merge_across_nodes 0 keeps pages of two nodes apart", unique_per_node },
	{ "a page that moved merges with an equal page of its new node", moved_to_like_page },
	{ "a page that moved is found on its new node", moved_to_empty_node },
	{ "a page that moved does not merge with pages of its old node", moved_unshared },
	{ "a page that moved and went leaves nothing", moved_then_gone },
	{ "copies go to the node of the memory policy", copies_on_node_of_policy },
	{ "a chain of pages moves", moved_chain },
	{ "half a chain moves, with merge_across_nodes 0", moved_chain_inside_nodes },
	{ "writing after a move", write_after_move },
	{ "a move reaches the mappings of another process", moves_for_other_process },
	{ "migrate_pages moves shared pages", migrate_pages_moves },
	{ "pages move while ksmd runs", moved_while_scanning },
	{ "compaction keeps pages merged", compacted },
	{ "memory goes offline and comes back", offlined },
	{ "memory with a shared page goes offline", offlined_with_shared },
	{ "memory fails to go offline", not_offlined },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
