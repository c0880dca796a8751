// SPDX-License-Identifier: GPL-2.0
/*
 * The files of domains: merge_across_cgroups, memory.ksm.group, memory.ksm.stat and the
 * line ksm_domain of ksm_stat; and what becomes of the domain of a removed cgroup.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_domain_member.h"

static void values_of_control(void)
{
	domain_begin();
	ksm_expect("merge_across_cgroups", ksm_get("merge_across_cgroups"), 0);
	ksm_expect("2", ksm_try("merge_across_cgroups", "2"), -EINVAL);
	ksm_expect("-1", ksm_try("merge_across_cgroups", "-1"), -EINVAL);
	ksm_expect("yes", ksm_try("merge_across_cgroups", "yes"), -EINVAL);
	ksm_expect("99999999999", ksm_try("merge_across_cgroups", "99999999999"), -EINVAL);
	ksm_expect("merge_across_cgroups", ksm_get("merge_across_cgroups"), 0);
	domain_set_across(1);
	ksm_expect("merge_across_cgroups", ksm_get("merge_across_cgroups"), 1);
}

static void busy_while_shared(void)
{
	domain_begin();
	ksm_merged_area(10, SEED);
	ksm_expect("1 while pages are shared", ksm_try("merge_across_cgroups", "1"), -EBUSY);
	ksm_expect("0 while pages are shared", ksm_try("merge_across_cgroups", "0"), 0);
	ksm_unmerge_all();
	domain_set_across(1);
	ksm_merged_area(10, SEED);
	ksm_expect("0 while pages are shared", ksm_try("merge_across_cgroups", "0"), -EBUSY);
}

static void values_of_group(void)
{
	domain_begin();
	cgroup_make("a");
	ksm_expect("memory.ksm.group", cgroup_read("a", "memory.ksm.group"), 0);
	cgroup_write("a", "memory.ksm.group", "1");
	ksm_expect("memory.ksm.group", cgroup_read("a", "memory.ksm.group"), 1);
	ksm_expect("2", cgroup_try_write("a", "memory.ksm.group", "2"), -EINVAL);
	ksm_expect("-1", cgroup_try_write("a", "memory.ksm.group", "-1"), -EINVAL);
	ksm_expect("memory.ksm.group", cgroup_read("a", "memory.ksm.group"), 1);
	cgroup_divide("a");
	cgroup_make("a/x");
	ksm_expect("memory.ksm.group below", cgroup_read("a/x", "memory.ksm.group"), 0);
	ksm_expect("memory.ksm.group of the root",
		   access(CGROUP_ROOT "memory.ksm.group", F_OK), -1);
	/* A new cgroup may get the number of one that has gone. */
	ksm_expect("rmdir", cgroup_remove("a/x"), 0);
	ksm_expect("rmdir", cgroup_remove("a"), 0);
	cgroup_make("a");
	ksm_expect("memory.ksm.group anew", cgroup_read("a", "memory.ksm.group"), 0);
}

static bool none_dying(void *unused)
{
	char value[KSM_TEXT];

	return ksm_field(KSM_CGROUPS "cgroup.stat", "nr_dying_descendants", value, sizeof(value)) &&
	       !strtol(value, NULL, 10);
}

/*
 * A page of a process that has ended stays charged while it is in the LRU batch of a CPU
 * that the process had left. Dropping caches empties the batches of all CPUs.
 */
static void expect_none_dying(const char *what)
{
	ksm_expect("drop_caches", ksm_write_file("/proc/sys/vm/drop_caches", "1"), 0);
	ksm_check(ksm_poll(none_dying, NULL), what);
}

static void removal(void)
{
	struct member *a, *b, *c;
	long scanned;

	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	cgroup_make("c");
	a = member_start(0, "a");
	b = member_start(1, "b");
	c = member_start(2, "b");
	ksm_settle();
	expect_together(b, c);
	scanned = ksm_get("pages_scanned");
	ksm_child_kill(&b->child);
	ksm_child_kill(&c->child);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("rmdir", cgroup_remove("b"), 0);
	ksm_check(ksm_get("pages_scanned") >= scanned, "pages_scanned does not go back");
	/* An mm that moved leaves nothing behind either. */
	cgroup_move(a->child.pid, "c");
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("rmdir", cgroup_remove("a"), 0);
	/* What it has faulted in before stays charged to the former cgroup. */
	ksm_child_kill(&a->child);
	expect_none_dying("cgroups go when they are removed");
}

/* Neither ksmd nor another process comes to the domain. */
static void removal_while_stopped(void)
{
	struct member *a, *b;

	domain_begin();
	cgroup_make("a");
	a = member_start(0, "a");
	b = member_start(1, "a");
	ksm_settle();
	expect_together(a, b);
	ksm_stop();
	ksm_child_kill(&a->child);
	ksm_child_kill(&b->child);
	ksm_expect("rmdir", cgroup_remove("a"), 0);
	expect_none_dying("the cgroup goes while run is 0");
	ksm_expect_figures(0, 0, 0);
}

/* Both are merged in the domain of a, which is removed while they are in others. */
static void remove_behind(struct member **member, struct member **other, const char *to)
{
	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	cgroup_make("c");
	*member = member_start(0, "a");
	*other = member_start(1, "a");
	ksm_settle();
	expect_together(*member, *other);
	ksm_stop();
	cgroup_move((*member)->child.pid, "b");
	cgroup_move((*other)->child.pid, to);
	ksm_expect("rmdir", cgroup_remove("a"), 0);
}

static bool nothing_known(void *unused)
{
	return !ksm_get("pages_shared") && !ksm_get("pages_unshared");
}

static void removal_after_move(void)
{
	struct member *a, *b;

	remove_behind(&a, &b, "c");
	ksm_check(ksm_poll(nothing_known, NULL), "the domain goes while both live");
	expect_apart(a, b);
	ksm_expect_figures(0, 0, 0);
	ksm_expect("pages_sharing", cgroup_stat("b", "pages_sharing"), 0);
	ksm_child_kill(&a->child);
	ksm_child_kill(&b->child);
	expect_none_dying("the cgroup goes with its last page");
}

/* Once as soon as the cgroup is removed, and again after its domain has gone. */
static void removal_and_request(void)
{
	struct member *a, *b;
	unsigned int i;

	remove_behind(&a, &b, "b");
	for (i = 0; i < 2; i++) {
		member_merge_now(a);
		member_merge_now(b);
		expect_together(a, b);
		ksm_expect_figures(PAGES, PAGES, 0);
		sleep(3);
	}
	/* What the two have faulted in before stays charged to the former cgroup. */
	ksm_child_kill(&a->child);
	ksm_child_kill(&b->child);
	expect_none_dying("the cgroup goes with its last page");
}

/**
 * struct forked - a parent and a child that share a page
 * @both: the parent, and the child
 * @pfn: the page
 */
struct forked {
	struct member *both[2];
	unsigned long pfn;
};

static bool have_copies(void *arg)
{
	struct forked *forked = arg;

	member_report(forked->both[0]);
	ksm_child_step(&forked->both[1]->child);
	return forked->both[0]->pfns[0] != forked->pfn &&
	       forked->both[1]->pfns[0] != forked->pfn;
}

/* ksmd has not come to the child, so it is in no domain yet. */
static void removal_after_fork(void)
{
	struct forked forked;

	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	cgroup_make("c");
	forked.both[0] = member_self("a");
	ksm_stop();
	forked.both[1] = member_fork(1, "b");
	forked.pfn = ksm_pfn(forked.both[0]->area);
	ksm_child_step(&forked.both[1]->child);
	ksm_expect("page of the child", forked.both[1]->pfns[0], forked.pfn);
	cgroup_move(getpid(), "c");
	ksm_expect("rmdir", cgroup_remove("a"), 0);
	ksm_check(ksm_poll(have_copies, &forked), "both get copies");
	ksm_expect_figures(0, 0, 0);
}

static long inode_of(const char *cgroup)
{
	struct stat st;
	char path[192];

	cgroup_path(path, sizeof(path), cgroup, "");
	ksm_check(!stat(path, &st), "stat");
	return st.st_ino;
}

static void domain_in_ksm_stat(void)
{
	struct member *x, *y;

	domain_begin();
	cgroup_make_tree();
	x = member_start(0, "a/x");
	y = member_start(1, "a/y");
	ksm_expect("ksm_domain", ksm_stat(x->child.pid, "ksm_domain"), inode_of("a/x"));
	ksm_expect("ksm_domain", ksm_stat(y->child.pid, "ksm_domain"), inode_of("a/y"));
	cgroup_write("a", "memory.ksm.group", "1");
	ksm_expect("ksm_domain", ksm_stat(x->child.pid, "ksm_domain"), inode_of("a"));
	ksm_expect("ksm_domain", ksm_stat(y->child.pid, "ksm_domain"), inode_of("a"));
	domain_set_across(1);
	ksm_expect("ksm_domain", ksm_stat(x->child.pid, "ksm_domain"), 0);
}

/* The root cgroup has no mergeable process here. */
static void expect_sum(const char *key, const char *figure)
{
	ksm_expect(key, cgroup_stat("a", key) + cgroup_stat("b", key), ksm_get(figure));
}

/* Events of cgroups are collected every two seconds, as for memory.stat. */
static bool copies_are(void *want)
{
	return cgroup_stat("a", "cow_ksm") + cgroup_stat("b", "cow_ksm") == *(long *)want;
}

static void figures_of_domains(void)
{
	long cow;

	domain_begin();
	ksm_set("use_zero_pages", 1);
	cgroup_make_tree();
	cgroup_make("b");
	cgroup_write("a", "memory.ksm.group", "1");
	members[2].same = true;
	member_start(0, "a/x");
	member_start(1, "a/y");
	member_start(2, "b");
	ksm_settle();
	ksm_expect("pages_shared", cgroup_stat("a", "pages_shared"), PAGES);
	ksm_expect("pages_sharing", cgroup_stat("a", "pages_sharing"), PAGES);
	ksm_expect("pages_shared", cgroup_stat("b", "pages_shared"), 1);
	ksm_expect("pages_sharing", cgroup_stat("b", "pages_sharing"), PAGES - 1);
	expect_sum("pages_shared", "pages_shared");
	expect_sum("pages_sharing", "pages_sharing");
	expect_sum("pages_unshared", "pages_unshared");
	expect_sum("pages_volatile", "pages_volatile");
	expect_sum("ksm_zero_pages", "ksm_zero_pages");
	/* What is in a part of the domain. */
	ksm_expect("shared pages of x", cgroup_stat("a/x", "pages_sharing"), PAGES);
	ksm_check(cgroup_stat("a/x", "metadata_bytes") > 0, "x has metadata");
	cow = ksm_vmstat("cow_ksm");
	ksm_unmerge_all();
	cow = ksm_vmstat("cow_ksm") - cow;
	ksm_check(ksm_poll(copies_are, &cow), "the copies of both are all copies");
	ksm_expect("copies of b", cgroup_stat("b", "cow_ksm"), PAGES);
	expect_sum("pages_shared", "pages_shared");
	ksm_expect("pages_sharing", cgroup_stat("a", "pages_sharing"), 0);
}

static bool inner_copies_are_apart(void *unused)
{
	return cgroup_stat("a", "cow_ksm") == PAGES && cgroup_stat("a/x", "cow_ksm") == PAGES;
}

static bool inner_copies_are_kept(void *unused)
{
	return cgroup_stat("a", "cow_ksm") == 2 * PAGES;
}

/* A group in a group has its own figures, which are not those of the outer one as well. */
static void figures_of_nested_domains(void)
{
	struct member *inner;

	domain_begin();
	cgroup_make_tree();
	cgroup_write("a", "memory.ksm.group", "1");
	cgroup_write("a/x", "memory.ksm.group", "1");
	members[0].same = true;
	members[1].same = true;
	inner = member_start(0, "a/x");
	member_start(1, "a/y");
	ksm_settle();
	ksm_expect("pages_sharing", cgroup_stat("a", "pages_sharing"), PAGES - 1);
	ksm_expect("pages_sharing", cgroup_stat("a/x", "pages_sharing"), PAGES - 1);
	ksm_unmerge_all();
	ksm_check(ksm_poll(inner_copies_are_apart, NULL), "each has its own copies");
	ksm_child_kill(&inner->child);
	ksm_expect("rmdir", cgroup_remove("a/x"), 0);
	ksm_check(ksm_poll(inner_copies_are_kept, NULL), "no copies are lost by the removal");
}

static void figures_are_private(void)
{
	char path[192];
	int fd, status;
	pid_t pid;

	domain_begin();
	cgroup_make("a");
	cgroup_path(path, sizeof(path), "a", "memory.ksm.stat");
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

	domain_begin();
	cgroup_make("a");
	cgroup_make("b");
	a = member_start(0, "a");
	b = member_start(1, "b");
	for (i = 0; i < 3; i++) {
		domain_set_across(0);
		ksm_settle();
		ksm_expect_figures(0, 0, 2 * PAGES);
		expect_apart(a, b);
		domain_set_across(1);
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
	{ "a removed cgroup goes", removal },
	{ "a removed cgroup goes while ksmd is stopped", removal_while_stopped },
	{ "processes that had moved away do not keep a removed cgroup", removal_after_move },
	{ "a removed cgroup goes beside writes to ksm_merge", removal_and_request },
	{ "a removed cgroup leaves nothing shared after a fork", removal_after_fork },
	{ "ksm_stat has the domain", domain_in_ksm_stat },
	{ "memory.ksm.stat has the figures of a domain", figures_of_domains },
	{ "memory.ksm.stat has no figures of a domain inside", figures_of_nested_domains },
	{ "memory.ksm.stat is for its owner", figures_are_private },
	{ "merge_across_cgroups changes while pages are known", control_changes },
};

int main(void)
{
	atexit(cgroup_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
