// SPDX-License-Identifier: GPL-2.0
/*
 * Processes with the same data: what it costs to merge them by a write to ksm_merge
 * of each, and what by ksmd at its fastest.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest-bench.h"

#define PROCESSES	32
#define DATA_PAGES	((64UL << 20) / PAGE)
#define ALL_PAGES	(PROCESSES * DATA_PAGES)
#define SAVED_PAGES	((long)((PROCESSES - 1) * DATA_PAGES))

struct loaded {
	pid_t pid[PROCESSES];
	int count;
};

/* The data follow a page later. */
static struct loaded *make_data(void)
{
	struct loaded *loaded = mmap(NULL, PAGE + DATA_PAGES * PAGE, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long i;

	if (loaded == MAP_FAILED)
		die("no shared memory: %s", strerror(errno));
	for (i = 0; i < DATA_PAGES; i++)
		fill_random((char *)loaded + (i + 1) * PAGE);
	return loaded;
}

static void load(struct loaded *loaded)
{
	char *addr = map(DATA_PAGES * PAGE);

	memcpy(addr, (char *)loaded + PAGE, DATA_PAGES * PAGE);
	mergeable(addr, DATA_PAGES * PAGE);
	__atomic_fetch_add(&loaded->count, 1, __ATOMIC_RELAXED);
	for (;;)
		pause();
}

static struct loaded *start_processes(void)
{
	struct loaded *loaded = make_data();
	unsigned int i;

	for (i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			load(loaded);
		loaded->pid[i] = pid;
	}
	while (__atomic_load_n(&loaded->count, __ATOMIC_RELAXED) < PROCESSES)
		usleep(10000);
	return loaded;
}

static void end_processes(struct loaded *loaded)
{
	unsigned int i;

	for (i = 0; i < PROCESSES; i++)
		kill(loaded->pid[i], SIGKILL);
	while (wait(NULL) > 0)
		;
}

static void merge_now(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ksm_merge", pid);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, "1", 1) != 1)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

/* Returns the instructions until all is merged. */
static double merge_by_ksmd(void)
{
	double began = now();

	set_knob("pages_to_scan", ALL_PAGES);
	set_knob("sleep_millisecs", 0);
	set_knob("run", 1);
	while (knob("pages_sharing") < SAVED_PAGES)
		usleep(2000);
	began = now() - began;
	set_knob("run", 2);
	set_knob("run", 0);
	return began;
}

static void bench_now(const char *name)
{
	struct loaded *loaded = start_processes();
	double began, by_ksmd, by_call;
	unsigned int i;

	by_ksmd = merge_by_ksmd();
	began = now();
	for (i = 0; i < PROCESSES; i++)
		merge_now(loaded->pid[i]);
	by_call = now() - began;
	printf("# ksmd: %.1f instructions a page\n", by_ksmd / ALL_PAGES);
	result("now/page", by_call / ALL_PAGES);
	result("now/ksmd", by_call / by_ksmd);
	result("now/left", SAVED_PAGES - knob("pages_sharing"));
	end_processes(loaded);
}

const struct workload now_workloads[] = {
	{ "now", bench_now },
	{ }
};
