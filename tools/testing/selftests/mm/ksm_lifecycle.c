// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of merging over fork, exec, exit, signals and being killed, and
 * what the two prctls answer.
 */
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x4000
#define PAGES		50
#define NR_MMS		200
/* More than ksmd asks whether they want a page of theirs to be merged. */
#define MANY_CHILDREN	260
/* Unmerging so many takes many ticks. */
#define LONG_AREA	2048
#define ATTEMPTS	20
#define NOBODY		65534

/* Names under which this program runs itself again. */
#define EXEC_ASK	"--tell-memory-merge"
#define EXEC_MERGE	"--merge-an-area"

static int set_merge(unsigned long on)
{
	return prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0);
}

static int get_merge(void)
{
	return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

/* prctl */

static void prctl_on_off(void)
{
	ksm_expect("PR_GET at first", get_merge(), 0);
	ksm_expect("PR_SET 1", set_merge(1), 0);
	ksm_expect("PR_GET after PR_SET 1", get_merge(), 1);
	ksm_expect("PR_SET 1 again", set_merge(1), 0);
	ksm_expect("PR_GET", get_merge(), 1);
	ksm_expect("PR_SET 0", set_merge(0), 0);
	ksm_expect("PR_GET after PR_SET 0", get_merge(), 0);
	ksm_expect("PR_SET 0 again", set_merge(0), 0);
	ksm_expect("PR_GET", get_merge(), 0);
}

static void expect_einval(int option, unsigned long a2, unsigned long a3,
			  unsigned long a4, unsigned long a5)
{
	errno = 0;
	if (prctl(option, a2, a3, a4, a5) != -1 || errno != EINVAL)
		ksm_fail("prctl(%d, %lu, %lu, %lu, %lu) is not refused with EINVAL",
			 option, a2, a3, a4, a5);
}

static void prctl_set_arguments(void)
{
	expect_einval(PR_SET_MEMORY_MERGE, 1, 1, 0, 0);
	expect_einval(PR_SET_MEMORY_MERGE, 1, 0, 1, 0);
	expect_einval(PR_SET_MEMORY_MERGE, 1, 0, 0, 1);
	expect_einval(PR_SET_MEMORY_MERGE, 0, 1, 0, 0);
	ksm_expect("PR_GET after refusals", get_merge(), 0);
}

static void prctl_get_arguments(void)
{
	expect_einval(PR_GET_MEMORY_MERGE, 1, 0, 0, 0);
	expect_einval(PR_GET_MEMORY_MERGE, 0, 1, 0, 0);
	expect_einval(PR_GET_MEMORY_MERGE, 0, 0, 1, 0);
	expect_einval(PR_GET_MEMORY_MERGE, 0, 0, 0, 1);
}

/* A kernel may ask for CAP_SYS_RESOURCE; what it may not do is half of it. */
static void prctl_without_capability(void)
{
	int result;

	ksm_check(!setresuid(NOBODY, NOBODY, NOBODY), "setresuid");
	errno = 0;
	result = set_merge(1);
	if (result && errno != EPERM)
		ksm_fail("PR_SET without capabilities fails with errno %d", errno);
	ksm_expect("PR_GET", get_merge(), !result);
}

static void prctl_marks_what_is_there(void)
{
	char *before = ksm_map(PAGES), *after;

	set_merge(1);
	after = ksm_map(PAGES);
	ksm_check(ksm_vmflag(before, "mg"), "memory mapped earlier is mergeable");
	ksm_check(ksm_vmflag(after, "mg"), "memory mapped later is mergeable");
	set_merge(0);
	ksm_check(!ksm_vmflag(before, "mg"), "memory mapped earlier no longer is");
	ksm_check(!ksm_vmflag(after, "mg"), "memory mapped later no longer is");
}

static void prctl_off_unmerges(void)
{
	char *area;

	set_merge(1);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("PR_SET 0", set_merge(0), 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_check_same(area, PAGES, SEED);
}

/* Off is for what on has done; without it, advice stands as given. */
static void prctl_off_leaves_advice(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	ksm_expect("PR_SET 0", set_merge(0), 0);
	ksm_check(ksm_vmflag(area, "mg"), "the advised area is mergeable still");
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
}

static void advice_against_prctl(void)
{
	char *area;

	set_merge(1);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	ksm_unmergeable(area, PAGES);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_expect("PR_GET", get_merge(), 1);
}

static void prctl_on_off_at_work(void)
{
	char *area = ksm_map(PAGES);
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("run", 1);
	for (i = 0; i < 300; i++)
		ksm_expect("PR_SET", set_merge(!(i & 1)), 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), 0);
}

/* fork */

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
	ksm_expect("PR_GET in the child", get_merge(), 1);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_child_pause(self);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("PR_SET 0 in the child", set_merge(0), 0);
}

static void fork_inherits_prctl(void)
{
	struct ksm_child child;

	set_merge(1);
	ksm_child_start(&child, fork_prctl_child, NULL);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_child_end(&child);
	ksm_expect("PR_GET in the parent", get_merge(), 1);
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

/* Without mergeable memory a child has no counts to begin with. */
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

	ksm_child_start(&child, middle_child, area);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, 3 * PAGES - 1, 0);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

/* With a child that has the same pages, and waits. */
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

/* To merge a page with itself would save nothing. */
static void shared_by_fork_alone(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;

	ksm_fill_unique(area, PAGES, SEED);
	expect_nothing_merged(&child, idle_child, area);
	ksm_child_end(&child);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_check_unique(area, PAGES, SEED);
}

static void willing_child(struct ksm_child *self, void *area)
{
	ksm_mergeable(area, PAGES);
	ksm_child_pause(self);
	ksm_check_same(area, PAGES, SEED);
}

/* It would have shared pages that neither it nor ksmd could be told of. */
static void unwilling_parent(void)
{
	char *area = ksm_map(PAGES);
	struct ksm_child child;

	ksm_fill_same(area, PAGES, SEED);
	expect_nothing_merged(&child, willing_child, area);
	ksm_expect("shared pages of the parent", ksm_count_merged(area, PAGES), 0);
	ksm_check_same(area, PAGES, SEED);
	munmap(area, PAGES * psize());
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_child_end(&child);
}

/* Whether all of them want it is not asked: no page becomes the shared one. */
static void forked_by_many(void)
{
	char *area = ksm_map_mergeable(2);
	pid_t pids[MANY_CHILDREN];
	unsigned int i;

	ksm_fill_same(area, 2, SEED);
	for (i = 0; i < MANY_CHILDREN; i++) {
		pids[i] = fork();
		ksm_check(pids[i] >= 0, "fork");
		if (!pids[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
		}
	}
	ksm_settle();
	ksm_expect("pages_shared", ksm_get("pages_shared"), 0);
	for (i = 0; i < MANY_CHILDREN; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	ksm_settle();
	ksm_expect_figures(1, 1, 0);
	ksm_check_same(area, 2, SEED);
}

/* New areas lie below the others, so that the page there is looked at first. */
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

/* Then another page is the one that is shared, whichever was looked at first. */
static void unwilling_parent_of_likes(void)
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

static void parent_goes_first_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child *child = arg;

	ksm_child_start(child, grandchild, area);
	ksm_child_wait(child);
	ksm_child_pause(self);
}

/* The pages outlive the process that had them first. */
static void parent_goes_first(void)
{
	struct ksm_child *inner, child;

	inner = mmap(NULL, sizeof(*inner), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ksm_child_start(&child, parent_goes_first_child, inner);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_child_end(&child);
	/* It went with its parent, and is ours to collect. */
	waitpid(inner->pid, NULL, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* exec */

static int run_again(const char *argument)
{
	char *const argv[] = { "ksm_lifecycle", (char *)argument, NULL };
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(126);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		ksm_fail("the program that was executed did not end well");
	return WEXITSTATUS(status);
}

static void exec_keeps_prctl(void)
{
	set_merge(1);
	ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 1);
	set_merge(0);
	ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 0);
}

static void exec_drops_advice(void)
{
	ksm_map_mergeable(PAGES);
	ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 0);
}

static void exec_merges(void)
{
	ksm_set("run", 1);
	set_merge(1);
	ksm_expect("exit status of the program", run_again(EXEC_MERGE), 0);
}

/* In the program that was executed: nothing but the prctl was inherited. */
static bool area_merged(void *area)
{
	return ksm_count_merged(area, PAGES) == PAGES;
}

static int merge_an_area(void)
{
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	if (!ksm_poll(area_merged, area))
		return 1;
	ksm_check_same(area, PAGES, SEED);
	return 0;
}

/* The first pass may come upon the new program before it has any memory. */
static void exec_under_scan(void)
{
	unsigned int i;

	ksm_set("run", 1);
	ksm_set("sleep_millisecs", 0);
	set_merge(1);
	for (i = 0; i < 20; i++)
		ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 1);
	ksm_expect("exit status of the program", run_again(EXEC_MERGE), 0);
}

static void vfork_exec(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	int status;
	pid_t pid;

	pid = vfork();
	if (!pid) {
		execl("/proc/self/exe", "ksm_lifecycle", EXEC_ASK, NULL);
		_exit(126);
	}
	ksm_check(waitpid(pid, &status, 0) == pid, "waitpid");
	ksm_expect("wait status", status, 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* CLONE_VM: one memory, whoever asks. */
static int clone_vm_child(void *arg)
{
	(void)arg;
	return prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) ? 1 : 0;
}

static void clone_vm(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *stack = ksm_map(16);
	pid_t pid;

	pid = clone(clone_vm_child, stack + 16 * psize(), CLONE_VM | SIGCHLD, NULL);
	ksm_check(pid > 0, "clone with CLONE_VM");
	ksm_wait_ok(pid);
	ksm_expect("PR_GET after a clone has set it", get_merge(), 1);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* exit and being killed */

static void busy_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(PAGES);
	uint64_t round;

	ksm_fill_same(area, PAGES, SEED);
	ksm_child_pause(self);
	for (round = 0; arg; round++)
		ksm_fill_same(area, PAGES / 2, SEED + round % 3);
	pause();
}

/*
 * Killed after a time that grows from one child to the next, so that ksmd is
 * met at each stage of its work on one.
 */
static void killed_at_any_time(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 60; i++) {
		ksm_child_start(&child, busy_child, i & 1 ? &child : NULL);
		ksm_child_wait(&child);
		ksm_child_go(&child);
		usleep(i * 300);
		ksm_child_kill(&child);
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void short_lived(void)
{
	char *area = ksm_map_mergeable(PAGES);
	unsigned int i;
	pid_t pid;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < NR_MMS; i++) {
		pid = fork();
		if (!pid) {
			ksm_fill_same(ksm_map_mergeable(4), 4, SEED);
			_exit(0);
		}
		ksm_wait_ok(pid);
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void exit_while_stopped_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_fill_same(ksm_map_mergeable(PAGES), PAGES, SEED);
	ksm_child_pause(self);
}

/* Nobody scans any more, and yet nothing of it may stay. */
static void exit_while_stopped(void)
{
	struct ksm_child child;

	ksm_child_start(&child, exit_while_stopped_child, NULL);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_child_end(&child);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void enters_again(void)
{
	char *area = ksm_map(PAGES);
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	for (i = 0; i < 5; i++) {
		ksm_mergeable(area, PAGES);
		ksm_settle();
		ksm_expect_figures(1, PAGES - 1, 0);
		ksm_unmergeable(area, PAGES);
		ksm_set("run", 1);
		usleep(20000);
		ksm_stop();
	}
	ksm_check_same(area, PAGES, SEED);
}

/* signals */

/* A way to have an area unmerged: how it is made, what ends it, what that answers. */
struct way {
	char *(*map)(void);
	int (*unmerge)(char *area);
	/* Whether the area counts as mergeable while nothing has unmerged all of it. */
	bool keeps_advice;
};

static char *map_advised(void)
{
	return ksm_map_mergeable(LONG_AREA);
}

static char *map_under_prctl(void)
{
	ksm_expect("PR_SET 1", set_merge(1), 0);
	return ksm_map(LONG_AREA);
}

static int unmerge_by_run(char *area)
{
	(void)area;
	return ksm_try("run", "2");
}

static int unmerge_by_advice(char *area)
{
	return madvise(area, LONG_AREA * psize(), MADV_UNMERGEABLE) ? -errno : 0;
}

static int unmerge_by_prctl(char *area)
{
	(void)area;
	return set_merge(0) ? -errno : 0;
}

static const struct way by_run = { map_advised, unmerge_by_run, true };
static const struct way by_advice = { map_advised, unmerge_by_advice, false };
static const struct way by_prctl = { map_under_prctl, unmerge_by_prctl, false };

static unsigned int signals;

static void on_timer(int signal)
{
	(void)signal;
	__atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
}

/* One that counts CPU time would wait for the end of the system call. */
static void set_timer(long usecs)
{
	struct itimerval value = { .it_value = { usecs / 1000000, usecs % 1000000 } };

	ksm_check(!setitimer(ITIMER_REAL, &value, NULL), "setitimer");
}

static void catch_timer(int flags)
{
	struct sigaction action = { .sa_handler = on_timer, .sa_flags = flags };

	ksm_check(!sigaction(SIGALRM, &action, NULL), "sigaction");
}

static long now_usecs(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static long merged_in(const char *area)
{
	char value[64];

	ksm_check(ksm_smaps(area, "KSM", value, sizeof(value)), "smaps tells of KSM");
	return strtol(value, NULL, 10) * 1024 / psize();
}

static char *long_merged_area(const struct way *way)
{
	char *area = way->map();

	ksm_fill_same(area, LONG_AREA, SEED);
	ksm_settle();
	ksm_expect("merged pages", merged_in(area), LONG_AREA);
	return area;
}

static void end_of_area(char *area)
{
	munmap(area, LONG_AREA * psize());
	ksm_unmerge_all();
	ksm_stop();
	ksm_expect_nothing();
}

static void expect_unmerged(const struct way *way, char *area)
{
	ksm_expect("merged pages after unmerging", merged_in(area), 0);
	ksm_check(ksm_vmflag(area, "mg") == way->keeps_advice,
		  "what was advised is what is left");
	ksm_check_same(area, LONG_AREA, SEED);
}

/* How long an unmerge takes which nobody interrupts. */
static long undisturbed(const struct way *way)
{
	char *area = long_merged_area(way);
	long begin = now_usecs(), usecs;

	ksm_expect("unmerging", way->unmerge(area), 0);
	usecs = now_usecs() - begin;
	expect_unmerged(way, area);
	end_of_area(area);
	return usecs;
}

/* Has a signal arrive after @usecs of an unmerge; returns what that said. */
static int disturb(const struct way *way, char *area, long usecs)
{
	int err;

	__atomic_store_n(&signals, 0, __ATOMIC_RELAXED);
	set_timer(usecs);
	err = way->unmerge(area);
	set_timer(0);
	return err;
}

/* A part is unmerged; all is mergeable as before, and a second call does the rest. */
static void check_half_way(const struct way *way, char *area)
{
	ksm_expect("run", ksm_get("run"), 0);
	ksm_check(ksm_vmflag(area, "mg"), "what is left is mergeable");
	/* Areas before this one had been done with. */
	ksm_check(ksm_vmflag(&signals, "mg") == (way == &by_prctl),
		  "other areas are as mergeable as they were");
	ksm_expect("PR_GET", get_merge(), way == &by_prctl);
	ksm_check_same(area, LONG_AREA, SEED);
	ksm_expect("unmerging the rest", way->unmerge(area), 0);
	expect_unmerged(way, area);
}

static bool is_half_way(const char *area)
{
	long left = merged_in(area);

	return left > 0 && left < LONG_AREA;
}

/* Returns after what time a signal found it half-way. */
static long interrupt(const struct way *way, long usecs)
{
	unsigned int i;
	bool half_way;
	char *area;
	int err;

	catch_timer(0);
	for (i = 0; i < ATTEMPTS; i++) {
		area = long_merged_area(way);
		err = disturb(way, area, usecs);
		if (err && err != -EINTR)
			ksm_fail("a signal makes it fail with %s", strerror(-err));
		half_way = err && is_half_way(area);
		if (half_way)
			check_half_way(way, area);
		end_of_area(area);
		if (half_way)
			return usecs;
		usecs = err ? usecs * 2 : usecs * 2 / 3;
	}
	ksm_fail("in %d attempts no signal came half-way", ATTEMPTS);
}

/* A handler that has system calls restarted leaves nothing to be noticed. */
static void go_on(const struct way *way, long usecs)
{
	unsigned int i;
	char *area;

	catch_timer(SA_RESTART);
	for (i = 0; i < ATTEMPTS; i++) {
		area = long_merged_area(way);
		ksm_expect("unmerging that is restarted", disturb(way, area, usecs), 0);
		expect_unmerged(way, area);
		end_of_area(area);
		if (__atomic_load_n(&signals, __ATOMIC_RELAXED))
			return;
		usecs = usecs * 2 / 3;
	}
	ksm_fail("in %d attempts no signal came while it unmerged", ATTEMPTS);
}

static void interrupted(const struct way *way)
{
	go_on(way, interrupt(way, undisturbed(way) / 2));
}

static void run_interrupted(void)
{
	interrupted(&by_run);
}

static void advice_interrupted(void)
{
	interrupted(&by_advice);
}

static void prctl_interrupted(void)
{
	interrupted(&by_prctl);
}

/* Says when it is done, which comes too late for whoever was to kill it. */
static void unmerging_child(struct ksm_child *self, void *arg)
{
	const struct way *way = arg;
	char *area = way->map();

	ksm_fill_same(area, LONG_AREA, SEED);
	ksm_child_pause(self);
	way->unmerge(area);
	ksm_child_pause(self);
}

static bool has_spoken(const struct ksm_child *child)
{
	struct pollfd ready = { .fd = child->in, .events = POLLIN };

	return poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN);
}

/* Each page that is unmerged is a fault of whoever unmerges it. */
static long faults_of(pid_t pid)
{
	char path[64];
	long faults = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (file && fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %ld",
			   &faults) != 1)
		faults = 0;
	if (file)
		fclose(file);
	return faults;
}

/* Returns whether the child was killed while it unmerged. */
static bool kill_half_way(const struct way *way, long faults)
{
	struct ksm_child child;
	long before;
	bool done;

	ksm_child_start(&child, unmerging_child, (void *)way);
	ksm_child_wait(&child);
	ksm_settle();
	before = faults_of(child.pid);
	ksm_child_go(&child);
	while (!has_spoken(&child) && faults_of(child.pid) < before + faults)
		;
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, 0);
	done = has_spoken(&child);
	close(child.in);
	close(child.out);
	return !done;
}

/*
 * The parent shares the page all the while: early and in the middle, nothing
 * of its own changes, and nothing is left of the child.
 */
static void killed_unmerging(const struct way *way)
{
	static const long faults[] = { 1, LONG_AREA / 2 };
	char *area = ksm_map_mergeable(PAGES);
	unsigned int i, tries, hits = 0;

	ksm_fill_same(area, PAGES, SEED);
	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		for (tries = 0; tries < ATTEMPTS && hits == i; tries++) {
			hits += kill_half_way(way, faults[i]);
			ksm_expect("run", ksm_get("run") % 2, 0);
			ksm_settle();
			ksm_expect_figures(1, PAGES - 1, 0);
			ksm_check_same(area, PAGES, SEED);
		}
	}
	ksm_expect("children that were killed half-way", hits, ARRAY_SIZE(faults));
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void killed_writing_run(void)
{
	killed_unmerging(&by_run);
}

static void killed_advising(void)
{
	killed_unmerging(&by_advice);
}

static void killed_in_prctl(void)
{
	killed_unmerging(&by_prctl);
}

static const struct ksm_case cases[] = {
	{ "prctl turns merging on and off, twice over", prctl_on_off },
	{ "PR_SET_MEMORY_MERGE refuses arguments 3 to 5", prctl_set_arguments },
	{ "PR_GET_MEMORY_MERGE refuses arguments 2 to 5", prctl_get_arguments },
	{ "prctl without capabilities works or says EPERM", prctl_without_capability },
	{ "prctl marks memory of before and after", prctl_marks_what_is_there },
	{ "prctl off unmerges", prctl_off_unmerges },
	{ "prctl off leaves advised areas alone if it was never on", prctl_off_leaves_advice },
	{ "MADV_UNMERGEABLE takes an area out of prctl", advice_against_prctl },
	{ "prctl on and off while ksmd is at work", prctl_on_off_at_work },
	{ "a child inherits merging and counts from zero", fork_counts_anew },
	{ "a child inherits the prctl", fork_inherits_prctl },
	{ "a child's zero pages are counted, and gone with it", fork_accounts_zero_pages },
	{ "no zero pages for a child of one that has none", fork_after_unmerging_zero_pages },
	{ "three generations share", fork_of_fork },
	{ "pages that fork alone shares are not merged with themselves", shared_by_fork_alone },
	{ "a parent that does not merge keeps its pages", unwilling_parent },
	{ "more processes have a page than are asked", forked_by_many },
	{ "a child's own page is shared in place of its parent's", unwilling_parent_of_likes },
	{ "the parent goes first", parent_goes_first },
	{ "exec keeps the prctl", exec_keeps_prctl },
	{ "exec drops advice", exec_drops_advice },
	{ "a program executed under the prctl merges", exec_merges },
	{ "exec while ksmd is at work", exec_under_scan },
	{ "vfork and exec leave the parent merged", vfork_exec },
	{ "a CLONE_VM clone sets it for the common memory", clone_vm },
	{ "processes killed at any time", killed_at_any_time },
	{ "many short-lived processes", short_lived },
	{ "exit while ksmd is stopped", exit_while_stopped },
	{ "leaving and entering again", enters_again },
	{ "a signal while run 2 is written", run_interrupted },
	{ "a signal in MADV_UNMERGEABLE", advice_interrupted },
	{ "a signal while the prctl is turned off", prctl_interrupted },
	{ "killed while it writes run 2", killed_writing_run },
	{ "killed in MADV_UNMERGEABLE", killed_advising },
	{ "killed while it turns the prctl off", killed_in_prctl },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], EXEC_ASK))
		return get_merge();
	if (argc == 2 && !strcmp(argv[1], EXEC_MERGE))
		return merge_an_area();
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
