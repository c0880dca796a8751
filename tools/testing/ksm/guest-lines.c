// SPDX-License-Identifier: GPL-2.0
/* Cache lines that the kernel takes from memory, as cachelines.c counts them. */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "guest-bench.h"

/*
 * A pass is one batch here.  The time between two batches is longer than the time
 * between two polls of full_scans, so the marks are set between two passes.
 */
static void whole_passes(unsigned long nr_pages)
{
	set_knob("pages_to_scan", 2 * nr_pages);
	set_knob("sleep_millisecs", 40);
	set_knob("run", 1);
}

static void count_lines(const char *name, long nr_passes, unsigned long nr_pages)
{
	long before = knob("full_scans");

	mark_begin();
	passes(nr_passes);
	mark_end();
	per(name, (double)(knob("full_scans") - before) * nr_pages);
}

/* @nr pages in groups of @group, recorded or merged by the @first passes. */
static void lines_settled(const char *name, unsigned long nr, unsigned int group, long first)
{
	map_groups(nr, group);
	whole_passes(nr);
	passes(first);
	count_lines(name, 3, nr);
}

static void bench_lines_unique(const char *name)
{
	lines_settled(name, 40000, 1, 3);
}

static void bench_lines_idle(const char *name)
{
	const unsigned long nr = 100000;

	map_groups(nr, 1);
	set_knob("smart_scan", 1);
	whole_passes(nr);
	count_lines(name, 60, nr);
}

static void bench_lines_merged(const char *name)
{
	lines_settled(name, 160000, 4, 4);
}

/* Fills the cache with lines of its own, as ksmd does. */
static void use_cache(void)
{
	const unsigned long bytes = 8UL << 20;
	char *addr = map(bytes);
	unsigned long i;

	for (;;)
		for (i = 0; i < bytes; i += 64)
			__atomic_store_n(addr + i, 1, __ATOMIC_RELAXED);
}

/* Lines of timer interrupts and of this program, for a million instructions. */
static void bench_lines_rest(const char *name)
{
	pid_t pid = fork();
	double began;
	int i;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid)
		use_cache();
	usleep(1000000);
	began = now();
	mark_begin();
	for (i = 0; i < 50; i++) {
		usleep(20000);
		knob("full_scans");
	}
	mark_end();
	per(name, (now() - began) / 1e6);
	kill(pid, SIGKILL);
}

const struct workload line_workloads[] = {
	{ "lines-unique", bench_lines_unique },
	{ "lines-idle", bench_lines_idle },
	{ "lines-merged", bench_lines_merged },
	{ "lines-rest", bench_lines_rest },
	{ }
};
