// SPDX-License-Identifier: GPL-2.0
/*
 * With memory.ksm.merge 1, the processes of a cgroup are merged.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_merge_member.h"

#define RACE_MS		5000
/* What a process maps at once, and the longest time that a write may take beside it. */
#define BUSY_BYTES	(256UL * 1024 * 1024)
#define WAIT_MS		2500

static int try_merge(const char *text)
{
	return cgroup_try_write("a", "memory.ksm.merge", text);
}

static void values(void)
{
	merge_begin();
	ksm_expect("memory.ksm.merge", merge_get("a"), 0);
	merge_set("a", "1");
	ksm_expect("memory.ksm.merge", merge_get("a"), 1);
	ksm_expect("2", try_merge("2"), -EINVAL);
	ksm_expect("-1", try_merge("-1"), -EINVAL);
	ksm_expect("yes", try_merge("yes"), -EINVAL);
	ksm_expect("99999999999", try_merge("99999999999"), -EINVAL);
	ksm_expect("memory.ksm.merge", merge_get("a"), 1);
	merge_set("a", "0");
	ksm_expect("memory.ksm.merge", merge_get("a"), 0);
	merge_set("a", "1");
	ksm_expect("memory.ksm.merge of the root",
		   access(CGROUP_ROOT "memory.ksm.merge", F_OK), -1);
	/* A new cgroup may get the number of one that has gone. */
	ksm_check(!cgroup_remove("a"), "rmdir");
	cgroup_make("a");
	ksm_expect("memory.ksm.merge anew", merge_get("a"), 0);
}

static void present(void)
{
	struct member *in, *out;

	merge_begin();
	in = member_start_in(0, "a");
	out = member_start_in(1, "b");
	merge_set("a", "1");
	expect_marked_now(in);
	expect_unmarked_now(out);
	expect_merged(in);
	merge_set("a", "0");
	expect_unmarked_now(in);
	ksm_expect("merged pages", in->merged, 0);
}

static void started_later(void)
{
	struct member *member;

	merge_begin();
	merge_set("a", "1");
	cgroup_move(getpid(), "a");
	member = member_start_as(0, 0, 0);
	expect_marked(member);
	expect_merged(member);
	cgroup_move(getpid(), "b");
	merge_set("a", "0");
	expect_unmarked_now(member);
}

static void executed(void)
{
	struct member *member;

	merge_begin();
	member_copy_program(false);
	member = member_start_in(0, "a");
	merge_set("a", "1");
	member_execute(member, PROGRAM);
	expect_marked(member);
	expect_merged(member);
	merge_set("a", "0");
	expect_unmarked_now(member);
	member_execute(member, PROGRAM);
	expect_never_marked(member);
}

static void moved(void)
{
	struct member *member;

	merge_begin();
	merge_set("a", "1");
	member = member_start_in(0, "a");
	expect_marked(member);
	expect_merged(member);
	cgroup_move(member->child.pid, "b");
	expect_unmarked(member);
	ksm_expect("merged pages", member->merged, 0);
}

static void descendant(void)
{
	struct member *member;

	merge_begin();
	cgroup_divide("a");
	cgroup_make("a/x");
	member = member_start_in(0, "a/x");
	merge_set("a", "1");
	expect_marked_now(member);
	/* Either of the two is enough. */
	merge_set("a/x", "1");
	merge_set("a", "0");
	expect_marked_now(member);
	merge_set("a/x", "0");
	expect_unmarked_now(member);
	/* The process gets into the cgroup above without being moved. */
	merge_set("a/x", "1");
	expect_marked_now(member);
	cgroup_write("a", "cgroup.subtree_control", "-memory");
	expect_unmarked(member);
}

static void asked_themselves(void)
{
	struct member *before, *later, *never, *advised;

	merge_begin();
	before = member_start_as(0, 0, ASK_PRCTL);
	later = member_start_as(1, 0, 0);
	advised = member_start_as(2, 0, ASK_ADVICE);
	never = member_start_as(3, 0, 0);
	cgroup_move(before->child.pid, "a");
	cgroup_move(later->child.pid, "a");
	cgroup_move(never->child.pid, "a");
	cgroup_move(advised->child.pid, "a");
	merge_set("a", "1");
	member_tell(later, ASK);
	merge_set("a", "0");
	expect_marked_now(before);
	expect_marked_now(later);
	expect_unmarked_now(never);
	member_tell(advised, REPORT);
	ksm_expect("PR_GET of a process with advice", advised->merge, 0);
	ksm_check(advised->mergeable, "its advice is still there");
	expect_merged(advised);
}

static void opted_out(void)
{
	struct member *member;

	merge_begin();
	member_copy_program(false);
	member = member_start_in(0, "a");
	merge_set("a", "1");
	expect_marked_now(member);
	member_tell(member, OPT_OUT);
	merge_set("a", "1");
	expect_unmarked_now(member);
	cgroup_move(member->child.pid, "b");
	cgroup_move(member->child.pid, "a");
	expect_never_marked(member);
	member_execute(member, PROGRAM);
	expect_marked(member);
	merge_set("a", "0");
	expect_unmarked_now(member);
}

static void ignore(int signal)
{
	(void)signal;
}

/* Returns whether a write was interrupted, which has to leave everything as it was. */
static bool interrupt_write(const char *text)
{
	struct itimerval often = { .it_interval.tv_usec = 50, .it_value.tv_usec = 50 };
	const struct itimerval never = {};
	int err;

	setitimer(ITIMER_REAL, &often, NULL);
	err = try_merge(text);
	setitimer(ITIMER_REAL, &never, NULL);
	if (err && err != -EINTR)
		ksm_fail("a write that is interrupted: %d", err);
	return err;
}

static bool all_are(bool (*condition)(void *arg))
{
	unsigned int i;

	for (i = 0; i < MEMBERS; i++)
		if (!condition(&members[i]))
			return false;
	return true;
}

static bool all_marked(void *unused)
{
	return all_are(is_marked);
}

static bool all_unmarked(void *unused)
{
	return all_are(is_unmarked);
}

static void signals(void)
{
	const struct sigaction action = { .sa_handler = ignore };
	unsigned int i, on = 0, off = 0;

	merge_begin();
	ksm_check(!sigaction(SIGALRM, &action, NULL), "sigaction");
	for (i = 0; i < MEMBERS; i++)
		member_start_in(i, "a");
	for (i = 0; i < 200 && (!on || !off); i++) {
		merge_set("a", "0");
		if (interrupt_write("1")) {
			on++;
			ksm_expect("memory.ksm.merge", merge_get("a"), 0);
			ksm_check(ksm_poll(all_unmarked, NULL), "nothing has changed");
		}
		merge_set("a", "1");
		if (interrupt_write("0")) {
			off++;
			ksm_expect("memory.ksm.merge", merge_get("a"), 1);
			ksm_check(ksm_poll(all_marked, NULL), "nothing has changed");
		}
	}
	ksft_print_msg("%u writes of 1 and %u writes of 0 were interrupted\n", on, off);
	if (!on || !off)
		ksm_skip("no write was interrupted");
}

/* Everything at once; ends when it is killed. */

static void race_forks(struct ksm_child *self, void *arg)
{
	unsigned int i;
	pid_t pid;

	(void)self;
	for (i = 0;; i++) {
		ksm_fill_same(ksm_map(4), 4, SEED);
		pid = fork();
		if (pid > 0) {
			waitpid(pid, NULL, 0);
		} else if (i % 4 == 0) {
			execl(PROGRAM, "ksm_cgroup_merge", EXEC_NOTHING, NULL);
		} else if (i % 4 == 1 && !fork()) {
			ksm_set_merge(i % 3);
			_exit(0);
		}
		if (!pid)
			_exit(0);
	}
}

static void race_writes(struct ksm_child *self, void *arg)
{
	const char *cgroup = arg;
	unsigned int i;

	(void)self;
	for (i = 0;; i++)
		cgroup_try_write(cgroup, "memory.ksm.merge", i % 2 ? "1" : "0");
}

static void race_user(struct ksm_child *self, void *arg)
{
	(void)self;
	become_user();
	for (;;) {
		cgroup_try_write("b", "memory.ksm.merge", "1");
		usleep(1000);
	}
}

static void races(void)
{
	struct ksm_child racers[6];
	struct member *member;
	unsigned int i;
	long end;

	merge_begin();
	member_copy_program(false);
	ksm_set("sleep_millisecs", 0);
	ksm_check(!chown(KSM_CGROUPS "b/memory.ksm.merge", USER, USER), "chown");
	member = member_start_in(0, "a");
	for (i = 0; i < 3; i++)
		ksm_child_start(&racers[i], race_forks, NULL);
	ksm_child_start(&racers[3], race_writes, "a");
	ksm_child_start(&racers[4], race_writes, "b");
	ksm_child_start(&racers[5], race_user, NULL);
	for (i = 0, end = ksm_now_ms() + RACE_MS; ksm_now_ms() < end; i++) {
		cgroup_move(racers[i % 3].pid, i % 2 ? "a" : "b");
		cgroup_move(member->child.pid, i % 2 ? "b" : "a");
		member_tell(member, i % 7 ? REPORT : OPT_OUT);
	}
	for (i = 0; i < 6; i++)
		ksm_child_kill(&racers[i]);
	unlink(PROGRAM);
	merge_set("a", "0");
	merge_set("b", "0");
	expect_unmarked(member);
	member_tell(member, ASK);
	member_tell(member, OPT_OUT);
	expect_unmarked_now(member);
}

/* The mmap_lock is held for most of the time. */
static void map_again_and_again(struct ksm_child *self, void *arg)
{
	(void)self;
	(void)arg;
	ksm_use_last_cpu(0);
	for (;;) {
		char *area = mmap(NULL, BUSY_BYTES, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (area != MAP_FAILED)
			munmap(area, BUSY_BYTES);
	}
}

static bool is_merge_any(void *pid)
{
	char text[KSM_TEXT];

	return ksm_stat_text(*(pid_t *)pid, "ksm_merge_any", text, sizeof(text)) &&
	       !strcmp(text, "yes");
}

/* A process that does not release its mmap_lock for seconds is marked after the write. */
static void busy_process(void)
{
	struct ksm_child child;
	long began, taken;
	pid_t hog;

	merge_begin();
	ksm_child_start(&child, map_again_and_again, NULL);
	cgroup_move(child.pid, "a");
	hog = ksm_hog_last_cpu();
	began = ksm_now_ms();
	merge_set("a", "1");
	taken = ksm_now_ms() - began;
	kill(hog, SIGKILL);
	if (taken > WAIT_MS)
		ksm_fail("the write returned after %ld ms", taken);
	ksm_check(ksm_poll(is_merge_any, &child.pid), "the process is marked later");
	ksm_child_kill(&child);
}

static const struct ksm_case cases[] = {
	{ "memory.ksm.merge takes 0 and 1", values },
	{ "processes of the cgroup are merged", present },
	{ "a process that is started later is merged", started_later },
	{ "a program that is executed is merged", executed },
	{ "a process that is moved in is merged until it is moved out", moved },
	{ "processes of a descendant are merged", descendant },
	{ "0 leaves alone what a process has asked for", asked_themselves },
	{ "a process leaves by prctl until its next exec", opted_out },
	{ "a write that is interrupted changes nothing", signals },
	{ "a write does not wait for a process that is busy for long", busy_process },
	{ "fork, exec, attach, exit and writes at once", races },
};

int main(int argc, char **argv)
{
	if (member_is_program(argc, argv))
		return 0;
	atexit(merge_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
