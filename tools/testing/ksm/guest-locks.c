// SPDX-License-Identifier: GPL-2.0
/* For how long ksmd keeps other tasks waiting for mmap_lock. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-bench.h"

#define TRACING		"/sys/kernel/tracing/"
#define MAX_HOLDS	1000000

static void trace(const char *file, const char *value)
{
	char path[100];
	FILE *to;

	snprintf(path, sizeof(path), TRACING "%s", file);
	to = fopen(path, "w");
	if (!to || fprintf(to, "%s", value) < 0 || fclose(to))
		die("cannot write %s to %s: %s", value, path, strerror(errno));
}

static void start_trace(void)
{
	char pid[20];

	snprintf(pid, sizeof(pid), "%d", find_ksmd());
	trace("buffer_size_kb", "40000");
	trace("set_event_pid", pid);
	trace("events/mmap_lock/enable", "1");
}

/* Seconds at which a line of the trace was written; 0 where it is no event. */
static double event_time(const char *line)
{
	const char *at = strstr(line, ": mmap_lock");

	while (at && at > line && at[-1] != ' ')
		at--;
	return at ? strtod(at, NULL) : 0;
}

/* How long ksmd held mmap_lock each time, ascending, from the trace. */
static unsigned long read_holds(double *hold)
{
	FILE *from = fopen(TRACING "trace", "r");
	unsigned long nr = 0;
	char line[500];
	double taken = 0;

	if (!from)
		die("cannot read the trace: %s", strerror(errno));
	while (nr < MAX_HOLDS && fgets(line, sizeof(line), from)) {
		if (strstr(line, "mmap_lock_acquire_returned") && strstr(line, "success=true"))
			taken = event_time(line);
		else if (strstr(line, "mmap_lock_released") && taken)
			hold[nr++] = (event_time(line) - taken) * 1e9;
	}
	fclose(from);
	sort(hold, nr);
	return nr;
}

/* Prints the hold time that @share of all hold times do not exceed. */
static void result_of_trace(const char *name, double share)
{
	double *hold = malloc(MAX_HOLDS * sizeof(*hold));
	unsigned long nr;

	trace("tracing_on", "0");
	nr = read_holds(hold);
	if (!nr)
		die("the trace has no mmap_lock of ksmd");
	result(name, hold[(unsigned long)((nr - 1) * share)]);
}

/* While ksmd scans memory that it has recorded. */
static void scanning(const char *name, double share)
{
	set_knob("run", 1);
	passes(3);
	start_trace();
	passes(2);
	result_of_trace(name, share);
}

static void bench_lock_99(const char *name)
{
	map_groups(40000, 1);
	scanning(name, 0.99);
}

static void bench_lock_longest(const char *name)
{
	map_groups(40000, 1);
	scanning(name, 1);
}

static void bench_lock_longest_thp(const char *name)
{
	map_huge_groups(40960, 1);
	scanning(name, 1);
}

static void bench_lock_longest_tail(const char *name)
{
	map_tail(20000);
	scanning(name, 1);
}

/* From the first pass until all is merged. */
static void longest_until_merged(const char *name, unsigned long group)
{
	const unsigned long nr = 20000;

	map_groups(nr, group);
	set_knob("max_page_sharing", nr);
	start_trace();
	set_knob("run", 1);
	wait_for_sharing(nr - nr / group);
	result_of_trace(name, 1);
}

static void bench_lock_longest_groups(const char *name)
{
	longest_until_merged(name, 4);
}

static void bench_lock_longest_same(const char *name)
{
	longest_until_merged(name, 20000);
}

/* Most of the VMAs that a process may have by default are not mergeable. */
static void bench_lock_longest_vmas(const char *name)
{
	const unsigned long nr = 60000;
	unsigned long i;
	char *addr;

	addr = mmap(NULL, nr * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (addr == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	for (i = 0; i < nr; i += 2)
		if (mprotect(addr + i * PAGE, PAGE, PROT_READ))
			die("mprotect: %s", strerror(errno));
	map_groups(1000, 1);
	scanning(name, 1);
}

/* All but the last page goes, so that ksmd finds one large hole before it. */
static void bench_lock_longest_forget(const char *name)
{
	const unsigned long nr = (4UL << 30) / PAGE;
	char *addr = map_groups(nr, 1);

	set_knob("run", 1);
	passes(3);
	set_knob("run", 0);
	if (madvise(addr, (nr - 1) * PAGE, MADV_DONTNEED))
		die("MADV_DONTNEED: %s", strerror(errno));
	start_trace();
	set_knob("run", 1);
	passes(2);
	result_of_trace(name, 1);
}

/* The longest time that mprotect() takes in a process that ksmd scans. */
static void bench_lock_wait(const char *name)
{
	char *small = map(PAGE);
	double longest = 0;
	unsigned long i;

	map_groups(40000, 1);
	set_knob("run", 1);
	passes(3);
	for (i = 0; i < 2000; i++) {
		double began;

		usleep(1000);
		began = now();
		if (mprotect(small, PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE))
			die("mprotect: %s", strerror(errno));
		began = now() - began;
		if (began > longest)
			longest = began;
	}
	result(name, longest);
}

const struct workload lock_workloads[] = {
	{ "lock-99", bench_lock_99 },
	{ "lock-longest", bench_lock_longest },
	{ "lock-longest-thp", bench_lock_longest_thp },
	{ "lock-longest-tail", bench_lock_longest_tail },
	{ "lock-longest-groups", bench_lock_longest_groups },
	{ "lock-longest-same", bench_lock_longest_same },
	{ "lock-longest-vmas", bench_lock_longest_vmas },
	{ "lock-longest-forget", bench_lock_longest_forget },
	{ "lock-wait", bench_lock_wait },
	{ }
};
