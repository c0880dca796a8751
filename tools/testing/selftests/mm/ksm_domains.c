// SPDX-License-Identifier: GPL-2.0
/*
 * With merge_across_cgroups 0, processes of different memory cgroups share no page,
 * unless an ancestor of both has memory.ksm.group 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_domain_member.h"

#define MANY_PAGES	8

/* Nothing inside of a cgroup is equal. */
static void equal_cgroups(bool across)
{
	struct member *a, *b;

	domain_begin();
	domain_set_across(across);
	cgroup_make("a");
	cgroup_make("b");
	a = member_start(0, "a");
	b = member_start(1, "b");
	ksm_settle();
	if (across) {
		ksm_expect_figures(PAGES, PAGES, 0);
		expect_together(a, b);
	} else {
		ksm_expect_figures(0, 0, 2 * PAGES);
		expect_apart(a, b);
	}
}

static void two_cgroups(void)
{
	equal_cgroups(false);
}

static void all_together(void)
{
	equal_cgroups(true);
}

static void merging_inside(void)
{
	struct member *a, *b, *also_a;

	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	members[1].same = true;
	a = member_start(0, "a");
	b = member_start(1, "b");
	also_a = member_start(2, "a");
	ksm_settle();
	ksm_expect_figures(PAGES + 1, PAGES + PAGES - 1, 0);
	expect_together(a, also_a);
	expect_apart(a, b);
}

static int compare_pfns(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* All pages are equal: each cgroup has one page, and no other has the same. */
static void many_cgroups(void)
{
	static unsigned long pfns[MANY];
	char name[KSM_TEXT];
	unsigned int i, j;

	domain_begin();
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		cgroup_make(name);
		members[i].pages = MANY_PAGES;
		members[i].same = true;
		member_start(i, name);
	}
	ksm_settle();
	ksm_expect_figures(MANY, MANY * (MANY_PAGES - 1), 0);
	for (i = 0; i < MANY; i++) {
		ksm_child_step(&members[i].child);
		for (j = 1; j < MANY_PAGES; j++)
			ksm_expect("pfn", members[i].pfns[j], members[i].pfns[0]);
		pfns[i] = members[i].pfns[0];
	}
	qsort(pfns, MANY, sizeof(*pfns), compare_pfns);
	for (i = 1; i < MANY; i++)
		ksm_check(pfns[i] != pfns[i - 1], "no cgroup has a page of another");
	ksm_unmerge_all();
	ksm_expect_nothing();
	for (i = 0; i < MANY; i++)
		ksm_child_step(&members[i].child);
}

static void group_of_two(void)
{
	struct member *x, *y, *b;

	domain_begin();
	cgroup_make_tree();
	cgroup_make("b");
	cgroup_write("a", "memory.ksm.group", "1");
	x = member_start(0, "a/x");
	y = member_start(1, "a/y");
	b = member_start(2, "b");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, PAGES);
	expect_together(x, y);
	expect_apart(x, b);
}

static void group_in_group(void)
{
	struct member *x, *y;

	domain_begin();
	cgroup_make_tree();
	cgroup_write("a", "memory.ksm.group", "1");
	cgroup_write("a/x", "memory.ksm.group", "1");
	x = member_start(0, "a/x");
	y = member_start(1, "a/y");
	ksm_settle();
	ksm_expect_figures(0, 0, 2 * PAGES);
	expect_apart(x, y);
}

static void group_changes(void)
{
	struct member *x, *y;

	domain_begin();
	cgroup_make_tree();
	x = member_start(0, "a/x");
	y = member_start(1, "a/y");
	ksm_settle();
	expect_apart(x, y);
	cgroup_write("a", "memory.ksm.group", "1");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, 0);
	expect_together(x, y);
	cgroup_write("a/y", "memory.ksm.group", "1");
	ksm_settle();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
	expect_apart(x, y);
	cgroup_write("a/y", "memory.ksm.group", "0");
	ksm_settle();
	expect_together(x, y);
}

static void move_breaks(void)
{
	struct member *a, *b, *c;

	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	a = member_start(0, "a");
	b = member_start(1, "a");
	c = member_start(2, "b");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, PAGES);
	expect_together(a, b);
	cgroup_move(b->child.pid, "b");
	ksm_settle();
	expect_apart(a, b);
	expect_together(b, c);
	/* A shared page that one process is left with stays. */
	ksm_expect_figures(2 * PAGES, PAGES, 0);
	cgroup_move(b->child.pid, "a");
	ksm_settle();
	expect_together(a, b);
	expect_apart(b, c);
	ksm_unmerge_all();
	ksm_expect_nothing();
	expect_apart(a, b);
}

static void request_inside(void)
{
	struct member *a, *b, *also_a;

	domain_begin();
	ksm_set("run", 0);
	cgroup_make("a");
	cgroup_make("b");
	a = member_start(0, "a");
	b = member_start(1, "b");
	also_a = member_start(2, "a");
	member_merge_now(a);
	member_merge_now(b);
	member_merge_now(also_a);
	ksm_expect_figures(PAGES, PAGES, PAGES);
	expect_together(a, also_a);
	expect_apart(a, b);
}

/* ksmd does not run, so that the write finds each mm in its former domain. */
static void request_moves(void)
{
	struct member *a, *b, *c;

	domain_begin();
	ksm_set("run", 0);
	cgroup_make("a");
	cgroup_make("b");
	a = member_start(0, "a");
	b = member_start(1, "a");
	c = member_start(2, "b");
	member_merge_now(a);
	member_merge_now(b);
	member_merge_now(c);
	expect_together(a, b);
	cgroup_move(b->child.pid, "b");
	member_merge_now(b);
	expect_apart(a, b);
	expect_together(b, c);
	ksm_expect_figures(2 * PAGES, PAGES, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* Pages that were shared before the fork. */
static void forked_and_moved(void)
{
	struct member *parent, *child;

	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	parent = member_self("a");
	child = member_fork(1, "b");
	ksm_settle();
	ksm_child_step(&child->child);
	member_report(parent);
	ksm_check(parent->pfns[0] != child->pfns[0], "parent and child share no page");
	ksm_expect_figures(2, 2 * (PAGES - 1), 0);
	cgroup_move(child->child.pid, "a");
	ksm_settle();
	ksm_child_step(&child->child);
	member_report(parent);
	ksm_expect("page of the child", child->pfns[0], parent->pfns[0]);
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
}

/*
 * A move gives no copies of pages that are in swap. Whichever process reads them first,
 * the other must not map the same.
 */
static void swapped_and_moved(void)
{
	struct member *parent, *child;

	ksm_need_reclaim();
	domain_begin();
	cgroup_make("b");
	parent = member_self("");
	child = member_fork(1, "");
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check(ksm_reclaim(parent->area, PAGES), "the shared page is swapped out");
	cgroup_move(child->child.pid, "b");
	ksm_passes(2);
	member_report(parent);
	ksm_child_step(&child->child);
	ksm_check(ksm_is_merged(parent->area), "the page is shared again by the parent");
	ksm_check(parent->pfns[0] != child->pfns[0], "parent and child share no page");
}

static void zero_pages_are_common(void)
{
	struct member *a, *b;

	domain_begin();
	ksm_set("use_zero_pages", 1);
	cgroup_make("a");
	cgroup_make("b");
	a = &members[0];
	b = &members[1];
	a->same = true;
	b->same = true;
	snprintf(a->cgroup, sizeof(a->cgroup), "a");
	snprintf(b->cgroup, sizeof(b->cgroup), "b");
	a->pages = PAGES;
	b->pages = PAGES;
	ksm_child_start(&a->child, member_run, a);
	ksm_child_start(&b->child, member_run, b);
	ksm_child_wait(&a->child);
	ksm_child_wait(&b->child);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 2 * PAGES);
	expect_together(a, b);
	cgroup_move(b->child.pid, "a");
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 2 * PAGES);
	ksm_unmerge_all();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	expect_apart(a, b);
}

static const struct ksm_case cases[] = {
	{ "two cgroups of equal content share nothing", two_cgroups },
	{ "processes of a cgroup are merged", merging_inside },
	{ "with merge_across_cgroups 1 cgroups are merged", all_together },
	{ "200 cgroups of equal content share nothing", many_cgroups },
	{ "memory.ksm.group merges the cgroups below", group_of_two },
	{ "a group in a group is kept apart", group_in_group },
	{ "shared pages follow memory.ksm.group", group_changes },
	{ "a process that changes its cgroup gets copies", move_breaks },
	{ "a child that changes its cgroup gets copies", forked_and_moved },
	{ "a write to ksm_merge merges inside a cgroup", request_inside },
	{ "a write to ksm_merge gives a process that has moved copies", request_moves },
	{ "a process that changes its cgroup gets copies of pages from swap", swapped_and_moved },
	{ "zero pages are common", zero_pages_are_common },
};

int main(void)
{
	atexit(cgroup_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
