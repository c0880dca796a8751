// SPDX-License-Identifier: GPL-2.0
/*
 * memory.ksm.merge and the rights of users: a user marks only processes that it may
 * ptrace, and no mark outlives an exec that gains privileges.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_merge_member.h"
#include "ksm_tracing.h"

static void gains_privileges(void)
{
	struct member *member, *by_user;

	merge_begin();
	member_copy_program(true);
	member = member_start_as(0, USER, 0);
	by_user = member_start_as(1, USER, 0);
	cgroup_move(member->child.pid, "a");
	cgroup_move(by_user->child.pid, "b");
	merge_set("a", "1");
	merge_write_as_user("b", "1");
	expect_marked_now(member);
	expect_marked_now(by_user);
	member_execute(member, PROGRAM);
	member_execute(by_user, PROGRAM);
	expect_never_marked(member);
	expect_unmarked_now(by_user);
	/* Nor if the file is written again. */
	merge_set("a", "1");
	merge_write_as_user("b", "1");
	expect_unmarked_now(member);
	expect_unmarked_now(by_user);
	unlink(PROGRAM);
}

static void unprivileged_writer(void)
{
	struct member *of_root, *of_user, *later, *executes;

	merge_begin();
	member_copy_program(false);
	of_root = member_start_in(0, "a");
	of_user = member_start_as(1, USER, 0);
	executes = member_start_as(2, USER, 0);
	cgroup_move(of_user->child.pid, "a");
	cgroup_move(executes->child.pid, "a");
	merge_write_as_user("a", "1");
	ksm_expect("memory.ksm.merge", merge_get("a"), 1);
	expect_unmarked_now(of_root);
	expect_marked_now(of_user);
	later = member_start_in(3, "a");
	member_execute(of_root, PROGRAM);
	member_execute(executes, PROGRAM);
	expect_marked(executes);
	/* The user must not read this program. KSM never knows its mm. */
	ksm_check(!chmod(PROGRAM, 0711), "chmod");
	tracing_start("ksm_enter");
	member_execute(executes, PROGRAM);
	expect_never_marked(executes);
	ksm_expect("events of ksm_enter", tracing_count("ksm_enter", ""), 0);
	tracing_end();
	expect_unmarked_now(later);
	expect_unmarked_now(of_root);
	/* The same file, written by root. */
	merge_set("a", "1");
	expect_marked_now(of_root);
	expect_marked_now(later);
	expect_marked_now(executes);
	merge_write_as_user("a", "1");
	expect_unmarked_now(of_root);
	expect_marked_now(of_user);
	merge_set("a", "0");
	expect_unmarked_now(of_user);
	unlink(PROGRAM);
}

/* A privileged process writes to a file that a user has opened. */
static void opened_by_user(void)
{
	struct member *of_root;
	int fd;

	merge_begin();
	of_root = member_start_in(0, "a");
	cgroup_move(getpid(), "a");
	ksm_check(!chown(KSM_CGROUPS "a/memory.ksm.merge", USER, USER), "chown");
	ksm_check(!setresuid(-1, USER, 0), "setresuid");
	fd = open(KSM_CGROUPS "a/memory.ksm.merge", O_WRONLY);
	ksm_check(!setresuid(-1, 0, 0), "setresuid");
	ksm_check(fd >= 0 && write(fd, "1", 1) == 1, "writing the file");
	expect_never_marked(of_root);
	ksm_expect("PR_GET of the writer", ksm_get_merge(), 0);
}

static const struct ksm_case cases[] = {
	{ "an exec that gains privileges ends the mark", gains_privileges },
	{ "a user marks only processes that it may read", unprivileged_writer },
	{ "the user that opened the file counts", opened_by_user },
};

int main(int argc, char **argv)
{
	if (member_is_program(argc, argv))
		return 0;
	atexit(merge_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
