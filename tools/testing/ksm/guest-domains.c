// SPDX-License-Identifier: GPL-2.0
/*
 * What domains cost: 1,000 processes of 100 unique pages, each in a cgroup of its own,
 * are scanned in one domain and then in 1,000.
 *
 * How long a write to run waits for the work item that empties the domain of a removed
 * cgroup, while ksmd is stopped.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-bench.h"

#define CGROUP		"/sys/fs/cgroup/"
#define DOMAINS		1000
#define DOMAIN_PAGES	100UL
/* Shared pages, each of which is mapped twice. */
#define REMOVED_PAGES	150000UL

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	if (!file || fputs(text, file) < 0 || fclose(file))
		die("cannot write to %s: %s", path, strerror(errno));
}

static void mount_cgroups(void)
{
	mkdir(CGROUP, 0755);
	if (mount("cgroup2", CGROUP, "cgroup2", 0, NULL) && errno != EBUSY)
		die("cannot mount cgroup2: %s", strerror(errno));
	write_text(CGROUP "cgroup.subtree_control", "+memory");
}

static void make_cgroup(unsigned int nr)
{
	char path[100];

	snprintf(path, sizeof(path), CGROUP "d%u", nr);
	if (mkdir(path, 0755))
		die("cannot make %s: %s", path, strerror(errno));
}

static void remove_cgroup(unsigned int nr)
{
	char path[100];

	snprintf(path, sizeof(path), CGROUP "d%u", nr);
	if (rmdir(path))
		die("cannot remove %s: %s", path, strerror(errno));
}

/* @pid is 0 for this process. */
static void enter_cgroup(unsigned int nr, pid_t pid)
{
	char path[100], text[20];

	snprintf(path, sizeof(path), CGROUP "d%u/cgroup.procs", nr);
	snprintf(text, sizeof(text), "%d", pid);
	write_text(path, text);
}

static int *make_ready(void)
{
	int *ready = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	if (ready == MAP_FAILED)
		die("no shared memory: %s", strerror(errno));
	return ready;
}

static void live_in_cgroup(unsigned int nr, unsigned long pages, unsigned long group,
			   int *ready)
{
	enter_cgroup(nr, 0);
	seed_rnd(1 + nr);
	map_groups(pages, group);
	__atomic_fetch_add(ready, 1, __ATOMIC_RELAXED);
	for (;;)
		pause();
}

static pid_t start_in_cgroup(unsigned int nr, unsigned long pages, unsigned long group,
			     int *ready)
{
	pid_t pid;

	make_cgroup(nr);
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid)
		live_in_cgroup(nr, pages, group, ready);
	return pid;
}

static void start_processes(void)
{
	int *ready = make_ready();
	unsigned int i;

	for (i = 0; i < DOMAINS; i++)
		start_in_cgroup(i, DOMAIN_PAGES, 1, ready);
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

	mount_cgroups();
	start_processes();
	one = scan(1, &metadata, &slab);
	many = scan(0, &metadata_many, &slab_many);
	result("domains/one", one);
	result("domains/many", many);
	result("domains/ratio", many / one);
	result("domains/bytes", (metadata_many - metadata) / DOMAINS);
	result("domains/slab", (slab_many - slab) / DOMAINS);
}

/* Starts a process, merges its pages, and stops ksmd. */
static pid_t start_merged(unsigned int nr)
{
	int *ready = make_ready();
	pid_t pid = start_in_cgroup(nr, 2 * REMOVED_PAGES, 2, ready);

	while (!__atomic_load_n(ready, __ATOMIC_RELAXED))
		usleep(10000);
	set_knob("run", 1);
	wait_for_sharing(REMOVED_PAGES);
	set_knob("run", 0);
	return pid;
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* The longest wait of a write to run until the domain has no shared page any more. */
static double wait_until_empty(void)
{
	double longest = 0;

	while (knob("pages_shared")) {
		const double wait = time_write_to_run(0);

		if (wait > longest)
			longest = wait;
	}
	return longest;
}

static void bench_removed(const char *name)
{
	pid_t pid;

	(void)name;
	mount_cgroups();
	set_knob("merge_across_cgroups", 0);
	set_knob("pages_to_scan", 100000);
	pid = start_merged(0);
	end_process(pid);
	remove_cgroup(0);
	result("removed/exited", wait_until_empty());
	pid = start_merged(1);
	make_cgroup(2);
	enter_cgroup(2, pid);
	remove_cgroup(1);
	result("removed/moved", wait_until_empty());
	end_process(pid);
}

const struct workload domain_workloads[] = {
	{ "domains", bench_domains },
	{ "removed", bench_removed },
	{ }
};
