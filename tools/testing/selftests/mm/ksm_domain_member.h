/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes in cgroups, for tests of domains.
 */
#ifndef KSM_DOMAIN_MEMBER_H
#define KSM_DOMAIN_MEMBER_H

#include "ksm_common.h"

#define PAGES		20
#define MANY		200
#define SEED		0xd0300000

/**
 * struct member - a process with mergeable memory in a cgroup
 * @child: the process
 * @cgroup: name of its cgroup, from KSM_CGROUPS on
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

/* MANY of them. */
extern struct member *members;

/* Begins a case with merge_across_cgroups 0. At exit, cgroup_restore() ends that. */
void domain_begin(void);
void domain_set_across(long value);

/* a/x and a/y. */
void cgroup_make_tree(void);

/* Starts members[i], which waits with its pages written. */
struct member *member_start(unsigned int i, const char *cgroup);
/* The function of the process. */
void member_run(struct ksm_child *self, void *arg);
/*
 * Makes this process members[0], with merged pages that are all equal. With "" it stays
 * in its cgroup.
 */
struct member *member_self(const char *cgroup);
/* Makes a fork of this process members[i]. With "" it stays in the cgroup of this one. */
struct member *member_fork(unsigned int i, const char *cgroup);
/* Merges its pages by a write to ksm_merge. */
void member_merge_now(const struct member *member);
/* Checks the content of the pages, and notes where they are. */
void member_report(struct member *member);

/* Pages of the first that the second shares. */
size_t count_common(struct member *a, struct member *b);
void expect_apart(struct member *a, struct member *b);
void expect_together(struct member *a, struct member *b);

#endif /* KSM_DOMAIN_MEMBER_H */
