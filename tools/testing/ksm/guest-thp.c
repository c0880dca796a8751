// SPDX-License-Identifier: GPL-2.0
/*
 * What is saved, and which huge pages are kept.  Some processes have their memory in huge
 * pages, as guests with transparent huge pages.  Some percent of it are runs of pages
 * that the other processes have too, each somewhere else.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guest-bench.h"

#define NR_PROCESSES	4
#define BYTES		(64UL << 20)
#define RUN_PAGES	32UL
#define RUN_BYTES	(RUN_PAGES * PAGE)
#define SAME_SEED	7000
#define OWN_SEED	100
/* Makes seeds that differ in few bits differ in many. */
#define SPREAD		0x9e3779b97f4a7c15UL
#define NR_PASSES	12

static void fill_run(char *addr)
{
	unsigned long i;

	for (i = 0; i < RUN_PAGES; i++)
		fill_random(addr + i * PAGE);
}

/*
 * Each process draws which runs are equal to one of the others.  The first of these is
 * the first of each process, and so on.
 */
static void fill_memory(char *addr, unsigned int process, unsigned long percent)
{
	unsigned long at, nr_equal = 0;

	for (at = 0; at < BYTES; at += RUN_BYTES) {
		seed_rnd((OWN_SEED + process * BYTES + at) * SPREAD);
		if (rnd() % 100 < percent)
			seed_rnd(SAME_SEED + nr_equal++);
		fill_run(addr + at);
	}
}

static void serve(unsigned int process, unsigned long percent, int told)
{
	char *addr = map_huge(BYTES);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fill_memory(addr, process, percent);
	mergeable(addr, BYTES);
	if (write(told, "", 1) != 1)
		die("write: %s", strerror(errno));
	for (;;)
		pause();
}

static void start_processes(unsigned long percent)
{
	unsigned int i;
	int told[2];
	char byte;

	if (pipe(told))
		die("pipe: %s", strerror(errno));
	for (i = 0; i < NR_PROCESSES; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			serve(i, percent, told[1]);
		if (read(told[0], &byte, 1) != 1)
			die("read: %s", strerror(errno));
	}
}

static unsigned long nr_huge(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "AnonHugePages: %lu", &kib) == 1)
			break;
	if (!file)
		die("cannot read /proc/meminfo");
	fclose(file);
	return (kib << 10) / PMD;
}

/* The base has no min_ptes_merged: it splits a huge page for one duplicate. */
static void set_least(unsigned long least)
{
	if (least != 1)
		set_knob("min_ptes_merged", least);
}

/* The name is thp-PERCENT-MIN_PTES_MERGED. */
static void bench_thp(const char *name)
{
	unsigned long percent, least, before;
	char row[64];

	if (sscanf(name, "thp-%lu-%lu", &percent, &least) != 2)
		die("%s names no percent and no minimum", name);
	set_least(least);
	start_processes(percent);
	before = nr_huge();
	if (before < NR_PROCESSES * BYTES / PMD)
		die("only %lu huge pages could be had", before);
	set_knob("run", 1);
	passes(NR_PASSES);
	set_knob("run", 0);
	snprintf(row, sizeof(row), "%s/saved", name);
	result(row, knob("pages_sharing") * PAGE / (double)(1 << 20));
	snprintf(row, sizeof(row), "%s/huge", name);
	result(row, nr_huge());
}

const struct workload thp_workloads[] = {
	{ "thp-10-1", bench_thp },
	{ "thp-10-64", bench_thp },
	{ "thp-10-256", bench_thp },
	{ "thp-90-1", bench_thp },
	{ "thp-90-64", bench_thp },
	{ "thp-90-256", bench_thp },
	{ }
};
