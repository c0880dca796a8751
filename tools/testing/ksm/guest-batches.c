// SPDX-License-Identifier: GPL-2.0
/*
 * For how long ksmd works without a pause.  A write to run waits until the batch
 * that is under way has ended.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-bench.h"

/* The longest wait of the writes during @nr passes. */
static double longest_wait(long nr)
{
	long until = knob("full_scans") + nr;
	double longest = 0;

	set_knob("run", 1);
	while (knob("full_scans") < until) {
		const double wait = time_write_to_run(1);

		if (wait > longest)
			longest = wait;
	}
	return longest;
}

/* Page tables that map nothing: each took a page, which was given up. */
static void bench_batch_empty_tables(const char *name)
{
	const unsigned long nr = 1000000;
	char *addr = map(nr * PMD);
	unsigned long i;

	for (i = 0; i < nr; i++) {
		addr[i * PMD] = 1;
		if (madvise(addr + i * PMD, PAGE, MADV_DONTNEED))
			die("MADV_DONTNEED: %s", strerror(errno));
	}
	mergeable(addr, nr * PMD);
	set_knob("pages_to_scan", 100);
	result(name, longest_wait(3));
}

static void bench_batch_uint_max(const char *name)
{
	map_groups((1UL << 30) / PAGE, 1);
	set_knob("pages_to_scan", 4294967295);
	set_knob("sleep_millisecs", 20);
	result(name, longest_wait(4));
}

const struct workload batch_workloads[] = {
	{ "batch-empty-tables", bench_batch_empty_tables },
	{ "batch-uint-max", bench_batch_uint_max },
	{ }
};
