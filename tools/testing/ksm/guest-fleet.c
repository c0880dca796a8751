// SPDX-License-Identifier: GPL-2.0
/*
 * Groups of processes.  Those of a group load the same data.  Each then reads all
 * of its data, and writes to a tenth of the pages again and again.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-bench.h"

#define GROUPS		8
#define MEMBERS		32
#define PROCESSES	(GROUPS * MEMBERS)
#define DATA_PAGES	400UL
#define OWN_PAGES	(DATA_PAGES / 10)

/* What is saved once all is merged. */
#define FLEET_SAVES	((long)(DATA_PAGES - OWN_PAGES) * GROUPS * (MEMBERS - 1))

struct fleet {
	int loaded;		/* processes that have loaded their data */
	int over;
	long faults[PROCESSES];	/* while they worked */
};

static long minor_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static void load_and_work(struct fleet *fleet, unsigned int nr)
{
	char *addr = map(DATA_PAGES * PAGE);
	uint64_t sum = 0;
	unsigned long i;
	long before;

	seed_rnd(1000 + nr % GROUPS);
	for (i = 0; i < DATA_PAGES; i++)
		fill_random(addr + i * PAGE);
	mergeable(addr, DATA_PAGES * PAGE);
	seed_rnd(2000 + nr);
	__atomic_fetch_add(&fleet->loaded, 1, __ATOMIC_RELAXED);
	before = minor_faults();
	while (!__atomic_load_n(&fleet->over, __ATOMIC_RELAXED)) {
		for (i = 0; i < OWN_PAGES; i++)
			((uint64_t *)(addr + i * PAGE))[rnd() % WORDS] = rnd();
		for (i = OWN_PAGES; i < DATA_PAGES; i++)
			sum += ((uint64_t *)(addr + i * PAGE))[rnd() % WORDS];
		usleep(100000);
	}
	fleet->faults[nr] = minor_faults() - before;
	_exit(sum == 0);
}

static struct fleet *start_fleet(void)
{
	struct fleet *fleet = mmap(NULL, sizeof(*fleet), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	if (fleet == MAP_FAILED)
		die("no shared memory: %s", strerror(errno));
	for (i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			load_and_work(fleet, i);
	}
	while (__atomic_load_n(&fleet->loaded, __ATOMIC_RELAXED) < PROCESSES)
		usleep(10000);
	return fleet;
}

/* Returns the sum of the page faults. */
static long end_fleet(struct fleet *fleet)
{
	long faults = 0;
	unsigned int i;

	__atomic_store_n(&fleet->over, 1, __ATOMIC_RELAXED);
	while (wait(NULL) > 0)
		;
	for (i = 0; i < PROCESSES; i++)
		faults += fleet->faults[i];
	return faults;
}

static void bench_fleet(const char *name)
{
	struct fleet *fleet = start_fleet();

	merge_all(name, PROCESSES * DATA_PAGES, FLEET_SAVES);
	end_fleet(fleet);
}

/* Page faults of the processes until the last page is merged, a page. */
static void bench_fleet_faults(const char *name)
{
	struct fleet *fleet = start_fleet();

	set_knob("run", 1);
	while (knob("pages_sharing") < FLEET_SAVES)
		usleep(2000);
	set_knob("run", 0);
	result(name, (double)end_fleet(fleet) / PROCESSES / DATA_PAGES);
}

const struct workload fleet_workloads[] = {
	{ "fleet", bench_fleet },
	{ "fleet-faults", bench_fleet_faults },
	{ }
};
