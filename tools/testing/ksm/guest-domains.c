// SPDX-License-Identifier: GPL-2.0
/*
 * What domains cost: 1,000 processes of 100 unique pages, each in a cgroup of its own,
 * are scanned in one domain and then in 1,000.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest-bench.h"

#define CGROUP		"/sys/fs/cgroup/"
#define DOMAINS		1000
#define DOMAIN_PAGES	100UL

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs(text, file) < 0 || fclose(file))
		die("cannot write to %s: %s", path, strerror(errno));
}

static void make_cgroup(unsigned int nr)
{
	char path[100];

	snprintf(path, sizeof(path), CGROUP "d%u", nr);
	if (mkdir(path, 0755))
		die("cannot make %s: %s", path, strerror(errno));
}

static void live_in_cgroup(unsigned int nr, int *ready)
{
	char path[100];

	snprintf(path, sizeof(path), CGROUP "d%u/cgroup.procs", nr);
	write_text(path, "0");
	seed_rnd(1 + nr);
	map_groups(DOMAIN_PAGES, 1);
	__atomic_fetch_add(ready, 1, __ATOMIC_RELAXED);
	for (;;)
		pause();
}

static void start_processes(void)
{
	int *ready = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);
	unsigned int i;

	if (ready == MAP_FAILED)
		die("no shared memory: %s", strerror(errno));
	for (i = 0; i < DOMAINS; i++) {
		pid_t pid;

		make_cgroup(i);
		pid = fork();
		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			live_in_cgroup(i, ready);
	}
	while (__atomic_load_n(ready, __ATOMIC_RELAXED) < DOMAINS)
		usleep(10000);
}

static double slab_bytes(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long kib = 0;
	char line[100];

	while (file && !kib && fgets(line, sizeof(line), file))
		sscanf(line, "Slab: %lu", &kib);
	if (!kib)
		die("/proc/meminfo has no Slab");
	fclose(file);
	return kib * 1024.0;
}

/* No page merges, so general_profit is minus the size of the metadata. */
static double scan(int across, double *metadata, double *slab)
{
	double work;

	set_knob("run", 2);
	set_knob("merge_across_cgroups", across);
	set_knob("run", 1);
	passes(4);
	work = pass_work(3, DOMAINS * DOMAIN_PAGES);
	*metadata = -knob("general_profit");
	*slab = slab_bytes();
	return work;
}

static void bench_domains(const char *name)
{
	double one, many, metadata, slab, metadata_many, slab_many;

	mkdir(CGROUP, 0755);
	if (mount("cgroup2", CGROUP, "cgroup2", 0, NULL) && errno != EBUSY)
		die("cannot mount cgroup2: %s", strerror(errno));
	write_text(CGROUP "cgroup.subtree_control", "+memory");
	start_processes();
	one = scan(1, &metadata, &slab);
	many = scan(0, &metadata_many, &slab_many);
	result("domains/one", one);
	result("domains/many", many);
	result("domains/ratio", many / one);
	result("domains/bytes", (metadata_many - metadata) / DOMAINS);
	result("domains/slab", (slab_many - slab) / DOMAINS);
}

const struct workload domain_workloads[] = {
	{ "domains", bench_domains },
	{ }
};
