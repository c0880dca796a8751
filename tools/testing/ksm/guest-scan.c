// SPDX-License-Identifier: GPL-2.0
/* What it costs to scan pages that do not merge, or that are merged already. */

#define _GNU_SOURCE
#include <stdbool.h>
#include <string.h>

#include "guest-bench.h"

/* Instructions of ksmd for a page and pass, over @nr_passes passes. */
double pass_work(long nr_passes, unsigned long nr_pages)
{
	long before = knob("full_scans");
	double work = ksmd_work();

	passes(nr_passes);
	return (ksmd_work() - work) / (knob("full_scans") - before) / nr_pages;
}

/* Once three passes have recorded the pages. */
static void recorded(const char *name, unsigned long nr)
{
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(3, nr));
}

static void unique(const char *name, unsigned long nr)
{
	map_groups(nr, 1);
	recorded(name, nr);
}

static void bench_unique_10k(const char *name)
{
	unique(name, 10000);
}

static void bench_unique_40k(const char *name)
{
	unique(name, 40000);
}

static void bench_unique_160k(const char *name)
{
	unique(name, 160000);
}

static void bench_unique_1m(const char *name)
{
	unique(name, 1000000);
}

static void bench_unique_thp(const char *name)
{
	map_huge_groups(40960, 1);
	recorded(name, 40960);
}

/* From the first pass on, with smart_scan. */
static void idle(const char *name, unsigned long nr)
{
	set_knob("smart_scan", 1);
	set_knob("run", 1);
	result(name, pass_work(60, nr));
}

static void bench_idle(const char *name)
{
	map_groups(100000, 1);
	idle(name, 100000);
}

/* When each page has had its first scans, and is skipped. */
static void bench_idle_thp(const char *name)
{
	map_huge_groups(102400, 1);
	set_knob("smart_scan", 1);
	set_knob("run", 1);
	passes(5);
	result(name, pass_work(60, 102400));
}

static void bench_merged(const char *name)
{
	const unsigned long nr = 40000;

	map_groups(nr, 4);
	set_knob("run", 1);
	passes(4);
	result(name, pass_work(3, nr));
}

/* A pass is one batch here.  The pages are written to while ksmd is stopped. */
static void bench_volatile(const char *name)
{
	const unsigned long nr = 20000;
	char *addr = map_groups(nr, 1);
	double work = 0;
	unsigned long i;
	int round;

	set_knob("pages_to_scan", 2 * nr);
	set_knob("sleep_millisecs", 500);
	set_knob("run", 1);
	passes(2);
	for (round = 0; round < 3; round++) {
		set_knob("run", 0);
		for (i = 0; i < nr; i++)
			((uint64_t *)(addr + i * PAGE))[rnd() % WORDS] = rnd();
		set_knob("run", 1);
		work += pass_work(1, nr);
	}
	result(name, work / 3);
}

static void bench_tail(const char *name)
{
	map_tail(20000);
	recorded(name, 20000);
}

static void bench_tail_idle(const char *name)
{
	map_tail(20000);
	idle(name, 20000);
}

/* A copy of @from with the words in another order. */
static void shuffle(char *page, const char *from)
{
	uint64_t *word = (uint64_t *)page;
	unsigned long i;

	memcpy(word, from, PAGE);
	for (i = WORDS - 1; i; i--) {
		unsigned long other = rnd() % (i + 1);
		uint64_t moved = word[i];

		word[i] = word[other];
		word[other] = moved;
	}
}

/* A hash that ignores the positions of words has the same value for all pages. */
static void bench_collide(const char *name)
{
	const unsigned long nr = 40000;
	char *addr = map(nr * PAGE);
	unsigned long i;

	fill_random(addr);
	for (i = 1; i < nr; i++)
		shuffle(addr + i * PAGE, addr);
	mergeable(addr, nr * PAGE);
	recorded(name, nr);
}

/* Unique pages, one in each @step bytes. */
static void map_scattered(unsigned long nr, unsigned long step)
{
	char *addr = map(nr * step);
	unsigned long i;

	for (i = 0; i < nr; i++)
		fill_random(addr + i * step);
	mergeable(addr, nr * step);
}

static void scattered(const char *name, unsigned long step)
{
	const unsigned long nr = 1000;

	map_scattered(nr, step);
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(20, nr));
}

static void bench_side_by_side(const char *name)
{
	scattered(name, PAGE);
}

static void bench_sparse(const char *name)
{
	scattered(name, (32UL << 40) / 1000 / PAGE * PAGE);
}

/* No page merges, so general_profit is minus the size of the metadata. */
static void metadata(const char *name, unsigned long nr, unsigned long step)
{
	map_scattered(nr, step);
	set_knob("run", 1);
	passes(4);
	result(name, -(double)knob("general_profit") / knob("pages_unshared"));
}

static void bench_metadata_dense(const char *name)
{
	metadata(name, 100000, PAGE);
}

static void bench_metadata_sparse(const char *name)
{
	metadata(name, 10000, PMD);
}

const struct workload scan_workloads[] = {
	{ "unique-10k", bench_unique_10k },
	{ "unique-40k", bench_unique_40k },
	{ "unique-160k", bench_unique_160k },
	{ "unique-1m", bench_unique_1m },
	{ "unique-thp", bench_unique_thp },
	{ "idle", bench_idle },
	{ "idle-thp", bench_idle_thp },
	{ "merged", bench_merged },
	{ "volatile", bench_volatile },
	{ "tail", bench_tail },
	{ "tail-idle", bench_tail_idle },
	{ "collide", bench_collide },
	{ "side-by-side", bench_side_by_side },
	{ "sparse", bench_sparse },
	{ "metadata-dense", bench_metadata_dense },
	{ "metadata-sparse", bench_metadata_sparse },
	{ }
};
