/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Processes in cgroups, for tests of memory.ksm.merge.
 */
#ifndef KSM_MERGE_MEMBER_H
#define KSM_MERGE_MEMBER_H

#include "ksm_common.h"

#define PAGES		20
#define MEMBERS		40
#define SEED		0xc9000000
#define USER		1000
/* A copy of the program that is running. */
#define PROGRAM		"/tmp/ksm_merge_member"
/* With this argument a program exits at once. */
#define EXEC_NOTHING	"--exit"

/* What a process asks for itself when it starts. */
#define ASK_PRCTL	1
#define ASK_ADVICE	2

/* What a process does when it is told to go on. */
enum order {
	REPORT,
	EXEC,
	ASK,
	OPT_OUT,
};

/**
 * struct member - a process
 * @child: the process
 * @uid: user that it runs as
 * @ask: ASK_PRCTL or ASK_ADVICE
 * @order: what to do next
 * @program: for EXEC
 * @merge: what PR_GET_MEMORY_MERGE gave
 * @mergeable: its pages are in a mergeable VMA
 * @merged: number of its pages that are shared
 */
struct member {
	struct ksm_child child;
	uid_t uid;
	unsigned int ask;
	enum order order;
	const char *program;
	int merge;
	bool mergeable;
	long merged;
};

/* MEMBERS of them. */
extern struct member *members;

/* Begins a case with the cgroups a and b. */
void merge_begin(void);
/* For atexit(). */
void merge_restore(void);
/* First in main(): returns true if this is a program that a member has executed. */
bool member_is_program(int argc, char **argv);

/* memory.ksm.merge */
void merge_set(const char *cgroup, const char *text);
long merge_get(const char *cgroup);
/* Writes as a user that the file was given to. */
void merge_write_as_user(const char *cgroup, const char *text);

void become_user(void);
void member_copy_program(bool setuid_root);

/* Starts members[i], as a user or in a cgroup. */
struct member *member_start_as(unsigned int i, uid_t uid, unsigned int ask);
struct member *member_start_in(unsigned int i, const char *cgroup);
void member_tell(struct member *member, enum order order);
void member_execute(struct member *member, const char *program);

/* These ask the member. */
bool is_marked(void *member);
bool is_unmarked(void *member);
bool is_merged(void *member);
void expect_marked_now(struct member *member);
void expect_unmarked_now(struct member *member);
/* After a fork, an exec or an attach this is done soon. */
void expect_marked(struct member *member);
void expect_unmarked(struct member *member);
/* A mark that must not come is given time to come. */
void expect_never_marked(struct member *member);
void expect_merged(struct member *member);

#endif /* KSM_MERGE_MEMBER_H */
