// SPDX-License-Identifier: GPL-2.0
/*
 * How fast a process can test guesses about the memory of another process in its domain.
 * It writes a page for each guess, and waits until the pages of the right guesses merge.
 */

#include <unistd.h>

#include "guest-bench.h"

#define GUESSES		4096UL
/* Every second guess is right. */
#define RIGHT		(GUESSES / 2)
/* Nanoseconds after which the test ends. */
#define LIMIT		60e9
#define VICTIM_SEED	1000000UL
#define WRONG_SEED	2000000UL

static void fill(char *page, uint64_t seed)
{
	seed_rnd(seed);
	fill_random(page);
}

static void run_victim(int told)
{
	char *addr = map(GUESSES * PAGE);
	unsigned long i;

	for (i = 0; i < GUESSES; i++)
		fill(addr + i * PAGE, VICTIM_SEED + i);
	mergeable(addr, GUESSES * PAGE);
	tell(told);
	for (;;)
		pause();
}

/*
 * With smart_scan, 6.12 skips an unchanged page in 8 of 9 passes.  If it scans two equal
 * pages in different passes, it never merges them.
 */
static double test_guesses(void)
{
	const double began = now();
	unsigned long found;

	do {
		usleep(1000);
		found = knob("pages_sharing");
	} while (found < RIGHT && now() - began < LIMIT);
	return GUESSES * ((double)found / RIGHT) / ((now() - began) / 1e9);
}

static void guesses(const char *name, long quiet)
{
	char *addr = map(GUESSES * PAGE);
	unsigned long i;

	start_process(run_victim);
	set_knob("smart_scan", 1);
	set_knob("pages_to_scan", 1000);
	set_knob("sleep_millisecs", 20);
	set_knob("run", 1);
	passes(quiet);
	for (i = 0; i < GUESSES; i++)
		fill(addr + i * PAGE, i % 2 ? VICTIM_SEED + i : WRONG_SEED + i);
	mergeable(addr, GUESSES * PAGE);
	result(name, test_guesses());
}

static void bench_guesses_63(const char *name)
{
	guesses(name, 63);
}

static void bench_guesses_200(const char *name)
{
	guesses(name, 200);
}

const struct workload guess_workloads[] = {
	{ "guesses-63", bench_guesses_63 },
	{ "guesses-200", bench_guesses_200 },
	{ }
};
