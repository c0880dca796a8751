// SPDX-License-Identifier: GPL-2.0
/*
 * Processes in cgroups, for tests of domains; see ksm_domain_member.h.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_domain_member.h"

struct member *members;

void domain_set_across(long value)
{
	char text[2] = { '0' + value };

	ksm_expect("error of merge_across_cgroups", ksm_try("merge_across_cgroups", text), 0);
}

void domain_begin(void)
{
	cgroup_begin_domains();
	members = mmap(NULL, MANY * sizeof(*members), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksm_check(members != MAP_FAILED, "mmap");
}

static uint64_t seed_of(const struct member *member, size_t page)
{
	return member->seed + (member->same ? 0 : page);
}

void member_report(struct member *member)
{
	size_t i;

	for (i = 0; i < member->pages; i++) {
		ksm_check(ksm_holds(member->area + i * psize(), seed_of(member, i)),
			  "a page has its content");
		member->pfns[i] = ksm_pfn(member->area + i * psize());
	}
}

void member_run(struct ksm_child *self, void *arg)
{
	struct member *member = arg;
	size_t i;

	cgroup_move(getpid(), member->cgroup);
	member->area = ksm_map_mergeable(member->pages);
	for (i = 0; i < member->pages; i++)
		ksm_fill(member->area + i * psize(), seed_of(member, i));
	for (;;) {
		ksm_child_pause(self);
		member_report(member);
	}
}

struct member *member_start(unsigned int i, const char *cgroup)
{
	struct member *member = &members[i];
	struct ksm_child child;

	snprintf(member->cgroup, sizeof(member->cgroup), "%s", cgroup);
	member->seed = SEED;
	member->pages = member->pages ?: PAGES;
	ksm_child_start(&child, member_run, member);
	member->child = child;
	ksm_child_wait(&member->child);
	return member;
}

struct member *member_self(const char *cgroup)
{
	struct member *self = &members[0];

	if (cgroup[0])
		cgroup_move(getpid(), cgroup);
	snprintf(self->cgroup, sizeof(self->cgroup), "%s", cgroup);
	self->seed = SEED;
	self->pages = PAGES;
	self->same = true;
	self->area = ksm_merged_area(PAGES, SEED);
	return self;
}

static void run_fork(struct ksm_child *self, void *arg)
{
	struct member *member = arg;

	if (member->cgroup[0])
		cgroup_move(getpid(), member->cgroup);
	for (;;) {
		ksm_child_pause(self);
		member_report(member);
	}
}

struct member *member_fork(unsigned int i, const char *cgroup)
{
	struct member *member = &members[i];
	struct ksm_child child;

	*member = members[0];
	snprintf(member->cgroup, sizeof(member->cgroup), "%s", cgroup);
	ksm_child_start(&child, run_fork, member);
	member->child = child;
	ksm_child_wait(&member->child);
	return member;
}

void member_merge_now(const struct member *member)
{
	char path[KSM_TEXT];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merge", member->child.pid);
	ksm_expect("error of ksm_merge", ksm_write_file(path, "1"), 0);
}

size_t count_common(struct member *a, struct member *b)
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

void expect_apart(struct member *a, struct member *b)
{
	ksm_expect("pages that two domains share", count_common(a, b), 0);
}

void expect_together(struct member *a, struct member *b)
{
	ksm_expect("pages of the first that the second shares", count_common(a, b), a->pages);
}

void cgroup_make_tree(void)
{
	cgroup_make("a");
	cgroup_divide("a");
	cgroup_make("a/x");
	cgroup_make("a/y");
}
