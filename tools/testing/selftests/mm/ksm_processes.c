// SPDX-License-Identifier: GPL-2.0
/*
 * What KSM tells of each process: /sys/kernel/debug/ksm/processes, and the line
 * ksm_pages_sharing of /proc/PID/ksm_stat.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define DEBUGFS		"/sys/kernel/debug"
#define PROCESSES	DEBUGFS "/ksm/processes"
#define HEADER		"pid comm shared sharing unshared volatile zero domain reason\n"
#define PAGES		100
#define SEED		0x9c00000UL
#define NOBODY		65534

/* One line of the file. */
struct line {
	int pid;
	char comm[64];
	long shared;
	long sharing;
	long unshared;
	long rest;
	long zero;
	long domain;
	char reason[32];
};

static FILE *open_processes(void)
{
	char header[256];
	FILE *file;

	if (access(DEBUGFS "/ksm", F_OK))
		mount("debugfs", DEBUGFS, "debugfs", 0, NULL);
	if (access(DEBUGFS, F_OK) || access(DEBUGFS "/tracing", F_OK))
		ksm_skip("no debugfs at %s", DEBUGFS);
	file = fopen(PROCESSES, "r");
	ksm_check(file && fgets(header, sizeof(header), file), "read " PROCESSES);
	ksm_check(!strcmp(header, HEADER), "header of " PROCESSES);
	return file;
}

static bool read_line(FILE *file, struct line *line)
{
	char text[256];

	if (!fgets(text, sizeof(text), file))
		return false;
	ksm_expect("fields of a line",
		   sscanf(text, "%d %63s %ld %ld %ld %ld %ld %ld %31s", &line->pid,
			  line->comm, &line->shared, &line->sharing, &line->unshared,
			  &line->rest, &line->zero, &line->domain, line->reason), 9);
	return true;
}

static bool find_line(pid_t pid, struct line *line)
{
	FILE *file = open_processes();
	bool found = false;

	while (!found && read_line(file, line))
		found = line->pid == pid;
	fclose(file);
	return found;
}

static void expect_reason(const struct line *line, const char *reason)
{
	if (strcmp(line->reason, reason))
		ksm_fail("reason is '%s' instead of '%s'", line->reason, reason);
}

static void pages_by_state(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct line line;

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, 40, SEED);
	ksm_fill_unique(area + 40 * psize(), 50, SEED + 1);
	memset(area + 90 * psize(), 0, 10 * psize());
	ksm_settle();
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	ksm_expect("shared", line.shared, 40);
	ksm_expect("sharing", line.sharing, 39);
	ksm_expect("unshared", line.unshared, 50);
	ksm_expect("volatile", line.rest, 0);
	ksm_expect("zero", line.zero, 10);
	ksm_expect("domain", line.domain, 0);
	expect_reason(&line, "no_duplicate");
}

static void all_merged(void)
{
	struct line line;

	ksm_merged_area(PAGES, SEED);
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	expect_reason(&line, "-");
}

static void changing_pages(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct line line;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		ksm_fill_unique(area, PAGES, SEED + i * PAGES);
		ksm_one_pass();
	}
	ksm_stop();
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	ksm_expect("volatile", line.rest, PAGES);
	expect_reason(&line, "changed");
}

static void pinned_pages(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct iovec pinned = { .iov_base = area, .iov_len = 4 * psize() };
	struct line line;
	int ends[2];

	ksm_fill_same(area, PAGES, SEED);
	ksm_check(!pipe(ends), "pipe");
	ksm_expect("vmsplice", vmsplice(ends[1], &pinned, 1, 0), 4 * psize());
	ksm_settle();
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	ksm_expect("shared", line.shared, PAGES - 4);
	expect_reason(&line, "pinned");
}

/* Reads of a pipe end the references to the pages. */
static void pin(char *area, unsigned int pages)
{
	struct iovec pinned = { .iov_base = area, .iov_len = pages * psize() };
	int ends[2];

	ksm_check(!pipe(ends), "pipe");
	ksm_expect("vmsplice", vmsplice(ends[1], &pinned, 1, 0), pages * psize());
}

/* Each finds the others, and none of them can be merged. */
static void all_duplicates_pinned(void)
{
	char *area = ksm_map_mergeable(16);
	struct line line;

	ksm_fill_same(area, 16, SEED);
	pin(area, 16);
	ksm_settle();
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	ksm_expect("shared", line.shared, 0);
	expect_reason(&line, "pinned");
}

/* Pages that change, and pinned ones behind them, which are visited last. */
static void most_pages_change(void)
{
	char *area = ksm_map_mergeable(PAGES), *last = area + (PAGES - 10) * psize();
	struct line line;
	unsigned int i;

	ksm_fill_same(last, 10, SEED);
	pin(last, 4);
	for (i = 1; i < 4; i++) {
		ksm_fill_unique(area, PAGES - 10, SEED + i * PAGES);
		ksm_one_pass();
	}
	ksm_stop();
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	ksm_expect("shared", line.shared, 6);
	ksm_expect("volatile", line.rest, PAGES - 6);
	expect_reason(&line, "changed");
}

/* Most pages are pinned and the last ones change.  Pinned pages that are skipped count. */
static void most_pages_pinned(void)
{
	char *area = ksm_map_mergeable(PAGES), *last = area + 20 * psize();
	struct line line;
	unsigned int i;

	ksm_fill_same(area, 20, SEED);
	pin(area, 16);
	ksm_fill_unique(last, PAGES - 20, SEED + PAGES);
	ksm_set("smart_scan", 1);
	for (i = 2; i < 16; i++) {
		ksm_fill_unique(last, 10, SEED + i * PAGES);
		ksm_one_pass();
		ksm_check(find_line(getpid(), &line), "there is a line for the process");
		if (i > 5)
			expect_reason(&line, "pinned");
	}
}

/* A name with a space and a line break is one field. */
static void odd_name(void)
{
	struct line line;

	ksm_check(!prctl(PR_SET_NAME, "a b\nc\\d"), "PR_SET_NAME");
	ksm_merged_area(PAGES, SEED);
	ksm_check(find_line(getpid(), &line), "there is a line for the process");
	if (strcmp(line.comm, "a\\040b\\012c\\134d"))
		ksm_fail("name is '%s'", line.comm);
}

static void unmarked_process(void)
{
	struct line line;

	ksm_check(!find_line(getpid(), &line), "there is no line for the process");
}

static void idle_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_map_mergeable(1);
	for (;;)
		ksm_child_pause(self);
}

/* Each process that stays has one line, whatever comes and goes between two reads. */
static void many_processes(void)
{
	static struct ksm_child child[200];
	unsigned int i, nr = 0, last = 0;
	struct line line;
	FILE *file;

	for (i = 0; i < ARRAY_SIZE(child); i++)
		ksm_child_start(&child[i], idle_child, NULL);
	for (i = 0; i < ARRAY_SIZE(child); i++)
		ksm_child_wait(&child[i]);
	file = open_processes();
	setvbuf(file, NULL, _IONBF, 0);
	for (i = 0; read_line(file, &line); i++) {
		ksm_check((unsigned int)line.pid > last, "the lines are in order");
		last = line.pid;
		if (i < ARRAY_SIZE(child) / 2)
			ksm_child_kill(&child[i]);
		nr++;
	}
	fclose(file);
	ksm_check(nr >= ARRAY_SIZE(child) / 2, "each process that stays has a line");
}

static void others_may_not_read(void)
{
	int status;
	pid_t pid;

	fclose(open_processes());
	pid = fork();
	if (!pid) {
		if (setresuid(NOBODY, NOBODY, NOBODY))
			_exit(255);
		_exit(open(PROCESSES, O_RDONLY) < 0 ? errno : 0);
	}
	ksm_check(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "waitpid");
	ksm_expect("error of open", WEXITSTATUS(status), EACCES);
}

static void sharing_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_unique(area, PAGES / 2, SEED);
	ksm_fill_same(area + PAGES / 2 * psize(), PAGES / 2, SEED - 1 - *(int *)arg);
	for (;;)
		ksm_child_pause(self);
}

static long sum_of_sharing(struct ksm_child *child, unsigned int nr)
{
	long sum = 0;

	while (nr--)
		sum += ksm_stat(child[nr].pid, "ksm_pages_sharing");
	return sum;
}

/* The page that a shared page stands for is counted in one process, not in each. */
static void sums_of_sharing(void)
{
	static int number[5] = { 0, 0, 1, 2, 2 };
	struct ksm_child child[5];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(child); i++)
		ksm_child_start(&child[i], sharing_child, &number[i]);
	for (i = 0; i < ARRAY_SIZE(child); i++)
		ksm_child_wait(&child[i]);
	ksm_settle();
	ksm_expect("pages_sharing", ksm_get("pages_sharing"),
		   4 * PAGES / 2 + 5 * PAGES / 2 - 3);
	ksm_expect("sum of ksm_pages_sharing", sum_of_sharing(child, 5),
		   ksm_get("pages_sharing"));
	/* What it stood for is now counted elsewhere. */
	for (i = 0; i < 4; i++) {
		ksm_child_kill(&child[i]);
		ksm_settle();
		ksm_expect("sum of ksm_pages_sharing",
			   sum_of_sharing(child + i + 1, 4 - i), ksm_get("pages_sharing"));
	}
	ksm_unmerge_all();
	ksm_expect("sum of ksm_pages_sharing", sum_of_sharing(child + 4, 1), 0);
}

static const struct ksm_case cases[] = {
	{ "the pages of a process by state", pages_by_state },
	{ "no reason where all is merged", all_merged },
	{ "pages that change", changing_pages },
	{ "pages that are pinned", pinned_pages },
	{ "all duplicates are pinned", all_duplicates_pinned },
	{ "most pages change", most_pages_change },
	{ "most pages are pinned", most_pages_pinned },
	{ "a name with spaces is one field", odd_name },
	{ "a process without mergeable memory has no line", unmarked_process },
	{ "200 processes, of which half end", many_processes },
	{ "the file is for root", others_may_not_read },
	{ "the sum of ksm_pages_sharing is pages_sharing", sums_of_sharing },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
