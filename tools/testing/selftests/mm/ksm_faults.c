// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations fail in the system calls of a process that KSM takes part in: the first
 * allocation of a call, then the second, and so on until none is left to fail. The call
 * returns an error, or it succeeds without the allocation. Memory keeps its content, and
 * once allocations succeed again everything merges, to the exact count.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_inject.h"

/* The same as those of the witness. */
#define PAGES		INJECT_PAGES
#define SEED		INJECT_SEED
/* Unmerging these takes more than two batches of copies. */
#define BATCHES		40
/* The argument with which the program executes itself. */
#define EXEC_TELL	"--tell-what-is-left"

#ifndef MPOL_LOCAL
#define MPOL_LOCAL	4
#endif

static int set_merge(unsigned long on)
{
	return prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0) ? errno : 0;
}

/* madvise, prctl, exec and fork allocate a slot. */

/* Advises the middle of a VMA, which is then split. */
static enum outcome try_mergeable(unsigned int nth)
{
	char *area = ksm_map(PAGES + 2) + psize();
	enum outcome outcome;
	int error;

	ksm_fill_same(area, PAGES, SEED);
	inject(nth);
	error = madvise(area, PAGES * psize(), MADV_MERGEABLE) ? errno : 0;
	outcome = inject_judge("MADV_MERGEABLE", error, EAGAIN);
	if (outcome == REFUSED)
		ksm_check(!ksm_vmflag(area, "mg"), "what was refused is not mergeable");
	/* There may be a slot without a mergeable VMA, which a pass removes. */
	if (nth & 1)
		ksm_passes(1);
	ksm_mergeable(area, PAGES);
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
	return outcome;
}

static enum outcome mergeable_in_child(unsigned int nth)
{
	return inject_child(try_mergeable, nth, false);
}

static void mergeable(void)
{
	inject_nothing();
	inject_call_witness();
	inject_each(mergeable_in_child);
	ksm_check(outcomes[REFUSED], "MADV_MERGEABLE fails without memory");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* A slot, and a VMA for each end of the split VMA. */
static void mergeable_objects(void)
{
	inject_nothing();
	inject_call_witness();
	inject_only("ksm_*");
	inject_only("vm_area_struct");
	inject_each(mergeable_in_child);
	ksm_expect("failures that MADV_MERGEABLE reports", outcomes[REFUSED], 3);
	ksm_expect("failures that do not matter", outcomes[WENT_ON], 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static enum outcome try_prctl(unsigned int nth)
{
	char *area = ksm_map(PAGES);
	enum outcome outcome;

	ksm_fill_same(area, PAGES, SEED);
	inject(nth);
	outcome = inject_judge("PR_SET_MEMORY_MERGE", set_merge(1), ENOMEM);
	ksm_expect("PR_GET_MEMORY_MERGE", ksm_get_merge(), outcome != REFUSED);
	ksm_expect("mergeable", ksm_vmflag(area, "mg"), outcome != REFUSED);
	ksm_expect("PR_SET_MEMORY_MERGE with memory", set_merge(1), 0);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
	return outcome;
}

static enum outcome prctl_in_child(unsigned int nth)
{
	return inject_child(try_prctl, nth, false);
}

static void prctl_on(void)
{
	inject_nothing();
	inject_call_witness();
	inject_each(prctl_in_child);
	ksm_check(outcomes[REFUSED], "PR_SET_MEMORY_MERGE fails without memory");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

/*
 * Runs after the exec and returns the outcome. If fail-nth cannot be opened, then that
 * was the allocation to fail.
 */
static int tell_what_is_left(void)
{
	int fd = open("/proc/self/fail-nth", O_RDWR);
	char text[16] = "0";

	if (fd >= 0 && (read(fd, text, sizeof(text) - 1) < 0 || pwrite(fd, "0", 1, 0) < 0))
		return KSFT_FAIL;
	if (ksm_get_merge() != 1)
		return KSFT_FAIL;
	return strtoul(text, NULL, 10) ? UNTOUCHED : WENT_ON;
}

static enum outcome try_exec(unsigned int nth)
{
	char *const argv[] = { "ksm_faults", EXEC_TELL, NULL };
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("PR_SET_MEMORY_MERGE", set_merge(1), 0);
	inject(nth);
	execv("/proc/self/exe", argv);
	/* Without memory, exec may also return E2BIG, ENOENT or ENOEXEC. */
	inject_judge("exec", ENOMEM, ENOMEM);
	ksm_expect("PR_GET_MEMORY_MERGE", ksm_get_merge(), 1);
	ksm_check_same(area, PAGES, SEED);
	return REFUSED;
}

static enum outcome exec_in_child(unsigned int nth)
{
	return inject_child(try_exec, nth, true);
}

static void exec_merged(void)
{
	inject_nothing();
	inject_call_witness();
	ksm_set("run", 1);
	inject_each(exec_in_child);
	ksm_check(outcomes[REFUSED], "exec fails without memory");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* The pages of a child without a slot would stay merged for ever. */

static char *forked_area;
static char *forked_zeros;

static void live_forked(void)
{
	ksm_check_same(forked_area, PAGES, SEED);
	ksm_check_same(forked_zeros, PAGES, 0);
	raise(SIGSTOP);
	ksm_fill_unique(forked_area, PAGES / 2, SEED + 1);
	ksm_check_unique(forked_area, PAGES / 2, SEED + 1);
	ksm_check_same(forked_area + PAGES / 2 * psize(), PAGES - PAGES / 2, SEED);
	ksm_check_same(forked_zeros, PAGES, 0);
	_exit(KSFT_PASS);
}

static void expect_forked(unsigned int processes)
{
	ksm_settle();
	ksm_expect_figures(1, processes * PAGES - 1, 0);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), processes * PAGES);
}

/* The child is scanned like its parent, and run 2 unmerges all of its pages. */
static void check_forked(pid_t pid)
{
	int status;

	ksm_check(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status),
		  "a child comes as far as it should");
	expect_forked(2);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_expect("ksm_zero_pages after run 2", ksm_get("ksm_zero_pages"), 0);
	kill(pid, SIGCONT);
	ksm_wait_ok(pid);
}

/*
 * The number of allocations before that of the slot varies. If @nth is 0, the slot is
 * what cannot be allocated.
 */
static enum outcome try_fork(unsigned int nth)
{
	enum outcome outcome;
	pid_t pid;

	if (nth)
		inject(nth);
	else
		inject_own("ksm_mm_slot");
	pid = fork();
	if (!pid)
		live_forked();
	outcome = inject_judge("fork", pid < 0 ? errno : 0, ENOMEM);
	inject_nothing();
	if (outcome != REFUSED)
		check_forked(pid);
	expect_forked(1);
	ksm_check_same(forked_area, PAGES, SEED);
	ksm_check_same(forked_zeros, PAGES, 0);
	return outcome;
}

static void forks(void)
{
	inject_nothing();
	ksm_set("use_zero_pages", 1);
	forked_area = ksm_merged_area(PAGES, SEED);
	forked_zeros = ksm_map_mergeable(PAGES);
	ksm_fill_same(forked_zeros, PAGES, 0);
	expect_forked(1);
	inject_each(try_fork);
	ksm_check(outcomes[REFUSED] > 3, "fork fails without memory");
	ksm_expect("fork without a slot", try_fork(0), REFUSED);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/*
 * Unmerging: a page for each that was shared. The kernel allocates the pages of a VMA
 * that has a memory policy one by one, so each of them can fail alone. All others it
 * allocates in batches.
 */

static char *shared_area;
/* Attempts after which some of the pages were shared, and some not. */
static unsigned int half_way;

static void allocate_one_by_one(void)
{
	if (access("/proc/self/numa_maps", F_OK))
		ksm_skip("the kernel has no memory policies");
	ksm_check(!syscall(SYS_mbind, shared_area, PAGES * psize(), MPOL_LOCAL, NULL, 0, 0),
		  "the pages get a memory policy");
}

static void note_half_way(void)
{
	size_t merged = ksm_count_merged(shared_area, PAGES);

	half_way += merged && merged < PAGES;
}

static void expect_half_way(const char *what)
{
	ksm_check(outcomes[REFUSED] >= PAGES, what);
	ksm_check(half_way, "an unmerging ends half-way");
}

static enum outcome try_unmergeable(unsigned int nth)
{
	enum outcome outcome;
	int error;

	inject(nth);
	error = madvise(shared_area, PAGES * psize(), MADV_UNMERGEABLE) ? errno : 0;
	outcome = inject_judge("MADV_UNMERGEABLE", error, EAGAIN);
	ksm_check_same(shared_area, PAGES, SEED);
	note_half_way();
	if (outcome == REFUSED) {
		ksm_check(ksm_vmflag(shared_area, "mg"), "it stays mergeable");
	} else {
		ksm_expect("merged pages", ksm_count_merged(shared_area, PAGES), 0);
		ksm_mergeable(shared_area, PAGES);
	}
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check_same(shared_area, PAGES, SEED);
	return outcome;
}

static void unmergeable(void)
{
	inject_nothing();
	inject_call_witness();
	shared_area = ksm_merged_area(PAGES, SEED);
	allocate_one_by_one();
	inject_each(try_unmergeable);
	expect_half_way("MADV_UNMERGEABLE fails for each page");
	inject_dismiss_witness();
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(shared_area, PAGES, SEED);
}

static enum outcome try_prctl_off(unsigned int nth)
{
	enum outcome outcome;

	inject(nth);
	outcome = inject_judge("PR_SET_MEMORY_MERGE 0", set_merge(0), ENOMEM);
	ksm_check_same(shared_area, PAGES, SEED);
	note_half_way();
	ksm_expect("PR_GET_MEMORY_MERGE", ksm_get_merge(), outcome == REFUSED);
	ksm_expect("mergeable", ksm_vmflag(shared_area, "mg"), outcome == REFUSED);
	if (outcome != REFUSED)
		ksm_expect("merged pages", ksm_count_merged(shared_area, PAGES), 0);
	ksm_expect("PR_SET_MEMORY_MERGE", set_merge(1), 0);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(shared_area, PAGES), PAGES);
	return outcome;
}

static void prctl_off(void)
{
	inject_nothing();
	ksm_expect("PR_SET_MEMORY_MERGE", set_merge(1), 0);
	shared_area = ksm_map(PAGES);
	ksm_fill_same(shared_area, PAGES, SEED);
	ksm_settle();
	allocate_one_by_one();
	inject_each(try_prctl_off);
	expect_half_way("PR_SET_MEMORY_MERGE 0 fails for each page");
	ksm_expect("PR_SET_MEMORY_MERGE 0", set_merge(0), 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(shared_area, PAGES, SEED);
}

/* Opening the file and writing to it also allocate memory. */
static enum outcome try_run_2(unsigned int nth)
{
	enum outcome outcome;

	inject(nth);
	outcome = inject_judge("run 2", -ksm_try("run", "2"), ENOMEM);
	ksm_expect("run", ksm_get("run"), outcome == REFUSED ? 0 : 2);
	ksm_check_same(shared_area, PAGES, SEED);
	note_half_way();
	/* After a failure, the rest can be unmerged, or everything be merged again. */
	if (outcome == REFUSED && nth & 1)
		ksm_unmerge_all();
	if (ksm_get("run") == 2)
		ksm_expect_nothing();
	ksm_settle();
	ksm_expect_figures(1, 2 * PAGES - 1, 0);
	ksm_check_same(shared_area, PAGES, SEED);
	return outcome;
}

static void run_2(void)
{
	inject_nothing();
	inject_call_witness();
	shared_area = ksm_merged_area(PAGES, SEED);
	allocate_one_by_one();
	inject_each(try_run_2);
	expect_half_way("run 2 fails for each page");
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static int unmergeable_error(void)
{
	return madvise(shared_area, BATCHES * psize(), MADV_UNMERGEABLE) ? errno : 0;
}

static int run_2_error(void)
{
	return -ksm_try("run", "2");
}

/*
 * The kernel allocates @allowed times, for one page or for a batch. The call is refused
 * then, with some pages unmerged, and succeeds once there is memory.
 */
static bool is_refused(int (*unmerge)(void), int want, unsigned int allowed)
{
	int error, fd = inject_own_pages(allowed);
	size_t merged;

	error = unmerge();
	inject_own_pages_end(fd);
	inject_nothing();
	merged = ksm_count_merged(shared_area, BATCHES);
	if (error && error != want)
		ksm_fail("without memory after %u allocations: %s", allowed, strerror(error));
	half_way += merged && merged < BATCHES;
	ksm_check(!error == !merged, "the call tells whether all pages are unmerged");
	ksm_check_same(shared_area, BATCHES, SEED);
	ksm_expect("with memory", unmerge(), 0);
	ksm_expect("merged pages", ksm_count_merged(shared_area, BATCHES), 0);
	ksm_check_same(shared_area, BATCHES, SEED);
	return error;
}

static void expect_batches_refused(int (*unmerge)(void), int want)
{
	unsigned int allowed = 0;

	inject_nothing();
	half_way = 0;
	shared_area = ksm_merged_area(BATCHES, SEED);
	while (is_refused(unmerge, want, allowed)) {
		allowed++;
		ksm_check(allowed < 2 * BATCHES, "the kernel allocates once for many pages");
		ksm_mergeable(shared_area, BATCHES);
		ksm_settle();
		ksm_expect_figures(1, BATCHES - 1, 0);
	}
	ksft_print_msg("%u batches refused, %u calls ended half-way\n", allowed, half_way);
	ksm_check(half_way, "an unmerging ends half-way");
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void unmergeable_in_batches(void)
{
	expect_batches_refused(unmergeable_error, EAGAIN);
}

static void run_2_in_batches(void)
{
	expect_batches_refused(run_2_error, ENOMEM);
}

static const struct ksm_case cases[] = {
	{ "MADV_MERGEABLE", mergeable },
	{ "MADV_MERGEABLE, one object at a time", mergeable_objects },
	{ "prctl on", prctl_on },
	{ "exec under the prctl", exec_merged },
	{ "fork", forks },
	{ "MADV_UNMERGEABLE half-way", unmergeable },
	{ "prctl off half-way", prctl_off },
	{ "run 2 half-way", run_2 },
	{ "MADV_UNMERGEABLE between two batches", unmergeable_in_batches },
	{ "run 2 between two batches", run_2_in_batches },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], EXEC_TELL))
		return tell_what_is_left();
	return inject_run_cases(cases, ARRAY_SIZE(cases));
}
