// SPDX-License-Identifier: GPL-2.0
/*
 * With merge_across_cgroups 0, processes of different memory cgroups share no page,
 * unless an ancestor of both has memory.ksm.group 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define CGROUP		"/sys/fs/cgroup/"
#define OURS		CGROUP "ksm_domains/"
#define PAGES		20
#define MANY		200
#define MANY_PAGES	8
#define SEED		0xd0300000

/**
 * struct member - a process with mergeable memory in a cgroup
 * @child: the process
 * @cgroup: name of its cgroup, from OURS on
 * @seed: what its pages hold
 * @pages: number of its pages
 * @same: all of its pages are equal
 * @area: its pages
 * @pfns: where they are, written by the process when it is asked
 */
struct member {
	struct ksm_child child;
	char cgroup[64];
	uint64_t seed;
	size_t pages;
	bool same;
	char *area;
	unsigned long pfns[PAGES];
};

static struct member *members;

/* Cgroups. */

static void path_of(char *path, size_t size, const char *cgroup, const char *file)
{
	snprintf(path, size, OURS "%s/%s", cgroup, file);
}

static int try_write(const char *cgroup, const char *file, const char *text)
{
	char path[192];

	path_of(path, sizeof(path), cgroup, file);
	return ksm_write_file(path, text);
}

static void write_to(const char *cgroup, const char *file, const char *text)
{
	int err = try_write(cgroup, file, text);

	if (err)
		ksm_fail("writing \"%s\" to %s of %s: %d", text, file, cgroup, err);
}

static long read_from(const char *cgroup, const char *file)
{
	char path[192], text[KSM_TEXT] = "";

	path_of(path, sizeof(path), cgroup, file);
	ksm_check(ksm_read_file(path, text, sizeof(text)) > 0, file);
	return strtol(text, NULL, 10);
}

static void make_cgroup(const char *cgroup)
{
	char path[192];

	path_of(path, sizeof(path), cgroup, "");
	if (mkdir(path, 0755))
		ksm_fail("making %s: %s", path, strerror(errno));
}

static int remove_cgroup(const char *cgroup)
{
	char path[192];

	path_of(path, sizeof(path), cgroup, "");
	return rmdir(path) ? -errno : 0;
}

static void move_to(pid_t pid, const char *cgroup)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%d", pid);
	write_to(cgroup, "cgroup.procs", text);
}

/* What a case has left; its processes have been killed. */
static void remove_all(void)
{
	static const char *const names[] = { "a/x", "a/y", "a", "b/x", "b", "c" };
	char name[KSM_TEXT];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		remove_cgroup(names[i]);
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		remove_cgroup(name);
	}
	rmdir(OURS);
}

static void set_across(long value)
{
	char text[2] = { '0' + value };
	int err = ksm_try("merge_across_cgroups", text);

	if (err == -ENOENT)
		ksm_skip("this kernel has no merge_across_cgroups");
	ksm_expect("error of merge_across_cgroups", err, 0);
}

static void begin(void)
{
	remove_all();
	ksm_write_file(CGROUP "cgroup.subtree_control", "+memory");
	if (mkdir(OURS, 0755) ||
	    ksm_write_file(OURS "cgroup.subtree_control", "+memory"))
		ksm_skip("no memory cgroup can be made");
	set_across(0);
	members = mmap(NULL, MANY * sizeof(*members), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksm_check(members != MAP_FAILED, "mmap");
}

/* Members. */

static uint64_t seed_of(const struct member *member, size_t page)
{
	return member->seed + (member->same ? 0 : page);
}

static void report(struct member *member)
{
	size_t i;

	for (i = 0; i < member->pages; i++) {
		ksm_check(ksm_holds(member->area + i * psize(), seed_of(member, i)),
			  "a page has its content");
		member->pfns[i] = ksm_pfn(member->area + i * psize());
	}
}

static void run_member(struct ksm_child *self, void *arg)
{
	struct member *member = arg;
	size_t i;

	move_to(getpid(), member->cgroup);
	member->area = ksm_map_mergeable(member->pages);
	for (i = 0; i < member->pages; i++)
		ksm_fill(member->area + i * psize(), seed_of(member, i));
	for (;;) {
		ksm_child_pause(self);
		report(member);
	}
}

static struct member *start(unsigned int i, const char *cgroup)
{
	struct member *member = &members[i];
	struct ksm_child child;

	snprintf(member->cgroup, sizeof(member->cgroup), "%s", cgroup);
	member->seed = SEED;
	member->pages = member->pages ?: PAGES;
	ksm_child_start(&child, run_member, member);
	member->child = child;
	ksm_child_wait(&member->child);
	return member;
}

static size_t count_common(struct member *a, struct member *b)
{
	size_t i, j, common = 0;

	ksm_child_step(&a->child);
	ksm_child_step(&b->child);
	for (i = 0; i < a->pages; i++) {
		for (j = 0; j < b->pages && a->pfns[i] != b->pfns[j]; j++)
			;
		common += j < b->pages;
	}
	return common;
}

static void expect_apart(struct member *a, struct member *b)
{
	ksm_expect("pages that two domains share", count_common(a, b), 0);
}

static void expect_together(struct member *a, struct member *b)
{
	ksm_expect("pages of the first that the second shares", count_common(a, b), a->pages);
}

/* Cases. */

static void values_of_control(void)
{
	begin();
	ksm_expect("merge_across_cgroups", ksm_get("merge_across_cgroups"), 0);
	ksm_expect("2", ksm_try("merge_across_cgroups", "2"), -EINVAL);
	ksm_expect("-1", ksm_try("merge_across_cgroups", "-1"), -EINVAL);
	ksm_expect("yes", ksm_try("merge_across_cgroups", "yes"), -EINVAL);
	ksm_expect("99999999999", ksm_try("merge_across_cgroups", "99999999999"), -EINVAL);
	ksm_expect("merge_across_cgroups", ksm_get("merge_across_cgroups"), 0);
	set_across(1);
	ksm_expect("merge_across_cgroups", ksm_get("merge_across_cgroups"), 1);
}

static void busy_while_shared(void)
{
	begin();
	ksm_merged_area(10, SEED);
	ksm_expect("1 while pages are shared", ksm_try("merge_across_cgroups", "1"), -EBUSY);
	ksm_expect("0 while pages are shared", ksm_try("merge_across_cgroups", "0"), 0);
	ksm_unmerge_all();
	set_across(1);
	ksm_merged_area(10, SEED);
	ksm_expect("0 while pages are shared", ksm_try("merge_across_cgroups", "0"), -EBUSY);
}

static void values_of_group(void)
{
	begin();
	make_cgroup("a");
	ksm_expect("memory.ksm.group", read_from("a", "memory.ksm.group"), 0);
	write_to("a", "memory.ksm.group", "1");
	ksm_expect("memory.ksm.group", read_from("a", "memory.ksm.group"), 1);
	ksm_expect("2", try_write("a", "memory.ksm.group", "2"), -EINVAL);
	ksm_expect("-1", try_write("a", "memory.ksm.group", "-1"), -EINVAL);
	ksm_expect("memory.ksm.group", read_from("a", "memory.ksm.group"), 1);
	write_to("a", "cgroup.subtree_control", "+memory");
	make_cgroup("a/x");
	ksm_expect("memory.ksm.group below", read_from("a/x", "memory.ksm.group"), 0);
	ksm_expect("memory.ksm.group of the root", access(CGROUP "memory.ksm.group", F_OK), -1);
	/* A new cgroup may get the number of one that has gone. */
	ksm_expect("rmdir", remove_cgroup("a/x"), 0);
	ksm_expect("rmdir", remove_cgroup("a"), 0);
	make_cgroup("a");
	ksm_expect("memory.ksm.group anew", read_from("a", "memory.ksm.group"), 0);
}

static void two_cgroups(void)
{
	struct member *a, *b;

	begin();
	make_cgroup("a");
	make_cgroup("b");
	a = start(0, "a");
	b = start(1, "b");
	ksm_settle();
	/* Nothing inside is equal. */
	ksm_expect_figures(0, 0, 2 * PAGES);
	expect_apart(a, b);
}

static void merging_inside(void)
{
	struct member *a, *b, *also_a;

	begin();
	make_cgroup("a");
	make_cgroup("b");
	members[1].same = true;
	a = start(0, "a");
	b = start(1, "b");
	also_a = start(2, "a");
	ksm_settle();
	ksm_expect_figures(PAGES + 1, PAGES + PAGES - 1, 0);
	expect_together(a, also_a);
	expect_apart(a, b);
}

static void all_together(void)
{
	struct member *a, *b;

	begin();
	set_across(1);
	make_cgroup("a");
	make_cgroup("b");
	a = start(0, "a");
	b = start(1, "b");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, 0);
	expect_together(a, b);
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

	begin();
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		make_cgroup(name);
		members[i].pages = MANY_PAGES;
		members[i].same = true;
		start(i, name);
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

static void make_tree(void)
{
	make_cgroup("a");
	write_to("a", "cgroup.subtree_control", "+memory");
	make_cgroup("a/x");
	make_cgroup("a/y");
}

static void group_of_two(void)
{
	struct member *x, *y, *b;

	begin();
	make_tree();
	make_cgroup("b");
	write_to("a", "memory.ksm.group", "1");
	x = start(0, "a/x");
	y = start(1, "a/y");
	b = start(2, "b");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, PAGES);
	expect_together(x, y);
	expect_apart(x, b);
}

static void group_in_group(void)
{
	struct member *x, *y;

	begin();
	make_tree();
	write_to("a", "memory.ksm.group", "1");
	write_to("a/x", "memory.ksm.group", "1");
	x = start(0, "a/x");
	y = start(1, "a/y");
	ksm_settle();
	ksm_expect_figures(0, 0, 2 * PAGES);
	expect_apart(x, y);
}

static void group_changes(void)
{
	struct member *x, *y;

	begin();
	make_tree();
	x = start(0, "a/x");
	y = start(1, "a/y");
	ksm_settle();
	expect_apart(x, y);
	write_to("a", "memory.ksm.group", "1");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, 0);
	expect_together(x, y);
	write_to("a/y", "memory.ksm.group", "1");
	ksm_settle();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
	expect_apart(x, y);
	write_to("a/y", "memory.ksm.group", "0");
	ksm_settle();
	expect_together(x, y);
}

static void move_breaks(void)
{
	struct member *a, *b, *c;

	begin();
	make_cgroup("a");
	make_cgroup("b");
	a = start(0, "a");
	b = start(1, "a");
	c = start(2, "b");
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, PAGES);
	expect_together(a, b);
	move_to(b->child.pid, "b");
	ksm_settle();
	expect_apart(a, b);
	expect_together(b, c);
	/* A shared page that one process is left with stays. */
	ksm_expect_figures(2 * PAGES, PAGES, 0);
	move_to(b->child.pid, "a");
	ksm_settle();
	expect_together(a, b);
	expect_apart(b, c);
	ksm_unmerge_all();
	ksm_expect_nothing();
	expect_apart(a, b);
}

static void merge_now(const struct member *member)
{
	char path[KSM_TEXT];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merge", member->child.pid);
	ksm_expect("error of ksm_merge", ksm_write_file(path, "1"), 0);
}

static void request_inside(void)
{
	struct member *a, *b, *also_a;

	begin();
	ksm_set("run", 0);
	make_cgroup("a");
	make_cgroup("b");
	a = start(0, "a");
	b = start(1, "b");
	also_a = start(2, "a");
	merge_now(a);
	merge_now(b);
	merge_now(also_a);
	ksm_expect_figures(PAGES, PAGES, PAGES);
	expect_together(a, also_a);
	expect_apart(a, b);
}

/* ksmd does not run, so that the write finds each mm in its former domain. */
static void request_moves(void)
{
	struct member *a, *b, *c;

	begin();
	ksm_set("run", 0);
	make_cgroup("a");
	make_cgroup("b");
	a = start(0, "a");
	b = start(1, "a");
	c = start(2, "b");
	merge_now(a);
	merge_now(b);
	merge_now(c);
	expect_together(a, b);
	move_to(b->child.pid, "b");
	merge_now(b);
	expect_apart(a, b);
	expect_together(b, c);
	ksm_expect_figures(2 * PAGES, PAGES, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void run_offspring(struct ksm_child *self, void *arg)
{
	struct member *offspring = arg;

	move_to(getpid(), offspring->cgroup);
	for (;;) {
		ksm_child_pause(self);
		report(offspring);
	}
}

/* Pages that were shared before the fork. */
static void forked_and_moved(void)
{
	struct member *parent, *child;
	struct ksm_child process;

	begin();
	make_cgroup("a");
	make_cgroup("b");
	move_to(getpid(), "a");
	parent = &members[0];
	child = &members[1];
	parent->pages = PAGES;
	parent->same = true;
	parent->seed = SEED;
	parent->area = ksm_merged_area(PAGES, SEED);
	*child = *parent;
	snprintf(child->cgroup, sizeof(child->cgroup), "b");
	ksm_child_start(&process, run_offspring, child);
	child->child = process;
	ksm_child_wait(&child->child);
	ksm_settle();
	ksm_child_step(&child->child);
	report(parent);
	ksm_check(parent->pfns[0] != child->pfns[0], "parent and child share no page");
	ksm_expect_figures(2, 2 * (PAGES - 1), 0);
	move_to(child->child.pid, "a");
	ksm_settle();
	ksm_child_step(&child->child);
	report(parent);
	ksm_expect("page of the child", child->pfns[0], parent->pfns[0]);
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
}

static void zero_pages_are_common(void)
{
	struct member *a, *b;

	begin();
	ksm_set("use_zero_pages", 1);
	make_cgroup("a");
	make_cgroup("b");
	a = &members[0];
	b = &members[1];
	a->same = true;
	b->same = true;
	snprintf(a->cgroup, sizeof(a->cgroup), "a");
	snprintf(b->cgroup, sizeof(b->cgroup), "b");
	a->pages = PAGES;
	b->pages = PAGES;
	ksm_child_start(&a->child, run_member, a);
	ksm_child_start(&b->child, run_member, b);
	ksm_child_wait(&a->child);
	ksm_child_wait(&b->child);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 2 * PAGES);
	expect_together(a, b);
	move_to(b->child.pid, "a");
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 2 * PAGES);
	ksm_unmerge_all();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	expect_apart(a, b);
}

static bool none_dying(void *unused)
{
	char value[KSM_TEXT];

	return ksm_field(OURS "cgroup.stat", "nr_dying_descendants", value, sizeof(value)) &&
	       !strtol(value, NULL, 10);
}

static void removal(void)
{
	struct member *a, *b, *c;
	long scanned;

	begin();
	make_cgroup("a");
	make_cgroup("b");
	make_cgroup("c");
	a = start(0, "a");
	b = start(1, "b");
	c = start(2, "b");
	ksm_settle();
	expect_together(b, c);
	scanned = ksm_get("pages_scanned");
	ksm_child_kill(&b->child);
	ksm_child_kill(&c->child);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("rmdir", remove_cgroup("b"), 0);
	ksm_check(ksm_get("pages_scanned") >= scanned, "pages_scanned does not go back");
	/* An mm that moved leaves nothing behind either. */
	move_to(a->child.pid, "c");
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("rmdir", remove_cgroup("a"), 0);
	/* What it has faulted in before stays charged to the former cgroup. */
	ksm_child_kill(&a->child);
	ksm_check(ksm_poll(none_dying, NULL), "cgroups go when they are removed");
}

static long inode_of(const char *cgroup)
{
	struct stat st;
	char path[192];

	path_of(path, sizeof(path), cgroup, "");
	ksm_check(!stat(path, &st), "stat");
	return st.st_ino;
}

static void domain_in_ksm_stat(void)
{
	struct member *x, *y;

	begin();
	make_tree();
	x = start(0, "a/x");
	y = start(1, "a/y");
	ksm_expect("ksm_domain", ksm_stat(x->child.pid, "ksm_domain"), inode_of("a/x"));
	ksm_expect("ksm_domain", ksm_stat(y->child.pid, "ksm_domain"), inode_of("a/y"));
	write_to("a", "memory.ksm.group", "1");
	ksm_expect("ksm_domain", ksm_stat(x->child.pid, "ksm_domain"), inode_of("a"));
	ksm_expect("ksm_domain", ksm_stat(y->child.pid, "ksm_domain"), inode_of("a"));
	set_across(1);
	ksm_expect("ksm_domain", ksm_stat(x->child.pid, "ksm_domain"), 0);
}

static long stat_of(const char *cgroup, const char *key)
{
	char path[192], value[KSM_TEXT];

	path_of(path, sizeof(path), cgroup, "memory.ksm.stat");
	if (!ksm_field(path, key, value, sizeof(value)))
		ksm_fail("memory.ksm.stat of %s has no %s", cgroup, key);
	return strtol(value, NULL, 10);
}

/* The root cgroup has no mergeable process here. */
static void expect_sum(const char *key, const char *figure)
{
	ksm_expect(key, stat_of("a", key) + stat_of("b", key), ksm_get(figure));
}

/* Events of cgroups are collected every two seconds, as for memory.stat. */
static bool copies_are(void *want)
{
	return stat_of("a", "cow_ksm") + stat_of("b", "cow_ksm") == *(long *)want;
}

static void figures_of_domains(void)
{
	long cow;

	begin();
	ksm_set("use_zero_pages", 1);
	make_tree();
	make_cgroup("b");
	write_to("a", "memory.ksm.group", "1");
	members[2].same = true;
	start(0, "a/x");
	start(1, "a/y");
	start(2, "b");
	ksm_settle();
	ksm_expect("pages_shared", stat_of("a", "pages_shared"), PAGES);
	ksm_expect("pages_sharing", stat_of("a", "pages_sharing"), PAGES);
	ksm_expect("pages_shared", stat_of("b", "pages_shared"), 1);
	ksm_expect("pages_sharing", stat_of("b", "pages_sharing"), PAGES - 1);
	expect_sum("pages_shared", "pages_shared");
	expect_sum("pages_sharing", "pages_sharing");
	expect_sum("pages_unshared", "pages_unshared");
	expect_sum("pages_volatile", "pages_volatile");
	expect_sum("ksm_zero_pages", "ksm_zero_pages");
	/* What is in a part of the domain. */
	ksm_expect("shared pages of x", stat_of("a/x", "pages_sharing"), PAGES);
	ksm_check(stat_of("a/x", "metadata_bytes") > 0, "x has metadata");
	cow = ksm_vmstat("cow_ksm");
	ksm_unmerge_all();
	cow = ksm_vmstat("cow_ksm") - cow;
	ksm_check(ksm_poll(copies_are, &cow), "the copies of both are all copies");
	ksm_expect("copies of b", stat_of("b", "cow_ksm"), PAGES);
	expect_sum("pages_shared", "pages_shared");
	ksm_expect("pages_sharing", stat_of("a", "pages_sharing"), 0);
}

static void figures_are_private(void)
{
	char path[192];
	int fd, status;
	pid_t pid;

	begin();
	make_cgroup("a");
	path_of(path, sizeof(path), "a", "memory.ksm.stat");
	pid = fork();
	if (!pid) {
		if (setresuid(1000, 1000, 1000))
			_exit(1);
		fd = open(path, O_RDONLY);
		_exit(fd >= 0 || errno != EACCES);
	}
	ksm_check(waitpid(pid, &status, 0) == pid && !status,
		  "another user cannot read the figures");
	ksm_check(!chown(path, 1000, -1), "chown");
	pid = fork();
	if (!pid) {
		if (setresuid(1000, 1000, 1000))
			_exit(1);
		_exit(open(path, O_RDONLY) < 0);
	}
	ksm_check(waitpid(pid, &status, 0) == pid && !status, "the owner can read them");
}

static void control_changes(void)
{
	struct member *a, *b;
	unsigned int i;

	begin();
	make_cgroup("a");
	make_cgroup("b");
	a = start(0, "a");
	b = start(1, "b");
	for (i = 0; i < 3; i++) {
		set_across(0);
		ksm_settle();
		ksm_expect_figures(0, 0, 2 * PAGES);
		expect_apart(a, b);
		set_across(1);
		ksm_settle();
		ksm_expect_figures(PAGES, PAGES, 0);
		expect_together(a, b);
		ksm_unmerge_all();
		ksm_expect_nothing();
	}
}

static const struct ksm_case cases[] = {
	{ "merge_across_cgroups takes 0 and 1", values_of_control },
	{ "merge_across_cgroups is busy while pages are shared", busy_while_shared },
	{ "memory.ksm.group takes 0 and 1", values_of_group },
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
	{ "zero pages are common", zero_pages_are_common },
	{ "a removed cgroup goes", removal },
	{ "ksm_stat has the domain", domain_in_ksm_stat },
	{ "memory.ksm.stat has the figures of a domain", figures_of_domains },
	{ "memory.ksm.stat is for its owner", figures_are_private },
	{ "merge_across_cgroups changes while pages are known", control_changes },
};

static void restore(void)
{
	ksm_try("run", "2");
	ksm_try("merge_across_cgroups", "1");
	ksm_try("run", ksm_initial("run"));
	remove_all();
}

int main(void)
{
	atexit(restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
