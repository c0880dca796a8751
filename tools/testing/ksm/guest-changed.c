// SPDX-License-Identifier: GPL-2.0
/*
 * How many passes it takes until pages merge that change after a quiet time.  Two
 * processes have unique pages.  After some passes, both get the same content.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "guest-bench.h"

#define NR_PAGES	((4UL << 20) / PAGE)
#define BYTES		(NR_PAGES * PAGE)
#define DISK		"/dev/zram0"

enum how { WRITTEN, WRITEV, DIRECT };

/* What the processes are told, and what they tell. */
struct order {
	int ready;
	int change;
	int changed;
};

struct pair {
	struct order *order;
	char *content;		/* new, the same for both */
	char *addr[2];		/* at which each process has its pages */
	pid_t pid[2];
};

static void *map_shared(unsigned long bytes)
{
	void *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			  -1, 0);

	if (addr == MAP_FAILED)
		die("no shared memory: %s", strerror(errno));
	return addr;
}

static void read_directly(char *addr)
{
	int fd = open(DISK, O_RDONLY | O_DIRECT);

	if (fd < 0 || pread(fd, addr, BYTES, 0) != BYTES)
		die("cannot read " DISK ": %s", strerror(errno));
	close(fd);
}

static void wait_for(int *flag, int value)
{
	while (__atomic_load_n(flag, __ATOMIC_ACQUIRE) < value)
		usleep(1000);
}

/* One of the two processes. */
static void serve(const struct pair *pair, char *addr, unsigned int nr, enum how how)
{
	unsigned long i;

	seed_rnd(1000 + nr);
	for (i = 0; i < NR_PAGES; i++)
		fill_random(addr + i * PAGE);
	mergeable(addr, BYTES);
	__atomic_fetch_add(&pair->order->ready, 1, __ATOMIC_RELEASE);
	wait_for(&pair->order->change, 1);
	if (how == WRITTEN)
		memcpy(addr, pair->content, BYTES);
	if (how == DIRECT)
		read_directly(addr);
	__atomic_fetch_add(&pair->order->changed, 1, __ATOMIC_RELEASE);
	for (;;)
		pause();
}

static void start_pair(struct pair *pair, enum how how)
{
	unsigned int i;

	pair->order = map_shared(sizeof(*pair->order));
	pair->content = map_shared(BYTES);
	for (i = 0; i < NR_PAGES; i++)
		fill_random(pair->content + i * PAGE);
	for (i = 0; i < 2; i++) {
		/* The child has its pages where the parent has nothing. */
		pair->addr[i] = map(BYTES);
		pair->pid[i] = fork();
		if (pair->pid[i] < 0)
			die("fork: %s", strerror(errno));
		if (!pair->pid[i])
			serve(pair, pair->addr[i], i, how);
	}
	wait_for(&pair->order->ready, 2);
}

static void write_disk(const char *content)
{
	FILE *size = fopen("/sys/block/zram0/disksize", "w");
	int fd;

	if (!size || fprintf(size, "%lu", BYTES) < 0 || fclose(size))
		die("cannot set up " DISK ": %s", strerror(errno));
	fd = open(DISK, O_WRONLY);
	if (fd < 0 || pwrite(fd, content, BYTES, 0) != BYTES || fsync(fd) || close(fd))
		die("cannot write " DISK ": %s", strerror(errno));
}

static void change_pages(const struct pair *pair, enum how how)
{
	struct iovec from = { pair->content, BYTES }, to = { .iov_len = BYTES };
	unsigned int i;

	__atomic_store_n(&pair->order->change, 1, __ATOMIC_RELEASE);
	wait_for(&pair->order->changed, 2);
	for (i = 0; i < 2 && how == WRITEV; i++) {
		to.iov_base = pair->addr[i];
		if (process_vm_writev(pair->pid[i], &from, 1, &to, 1, 0) != BYTES)
			die("process_vm_writev: %s", strerror(errno));
	}
}

/* A pass is one batch.  ksmd is stopped while the pages change. */
static void changed(const char *name, long quiet, enum how how)
{
	struct pair pair;
	long before;

	start_pair(&pair, how);
	if (how == DIRECT)
		write_disk(pair.content);
	set_knob("smart_scan", 1);
	set_knob("sleep_millisecs", 20);
	set_knob("run", 1);
	passes(quiet);
	set_knob("run", 0);
	change_pages(&pair, how);
	before = knob("full_scans");
	set_knob("run", 1);
	while (knob("pages_sharing") < (long)NR_PAGES)
		usleep(2000);
	result(name, knob("full_scans") - before);
	kill(pair.pid[0], SIGKILL);
	kill(pair.pid[1], SIGKILL);
}

static void bench_changed_200_written(const char *name)
{
	changed(name, 200, WRITTEN);
}

static void bench_changed_200_writev(const char *name)
{
	changed(name, 200, WRITEV);
}

static void bench_changed_200_direct(const char *name)
{
	changed(name, 200, DIRECT);
}

static void bench_changed_20_written(const char *name)
{
	changed(name, 20, WRITTEN);
}

static void bench_changed_20_writev(const char *name)
{
	changed(name, 20, WRITEV);
}

static void bench_changed_20_direct(const char *name)
{
	changed(name, 20, DIRECT);
}

const struct workload changed_workloads[] = {
	{ "changed-200-written", bench_changed_200_written },
	{ "changed-200-writev", bench_changed_200_writev },
	{ "changed-200-direct", bench_changed_200_direct },
	{ "changed-20-written", bench_changed_20_written },
	{ "changed-20-writev", bench_changed_20_writev },
	{ "changed-20-direct", bench_changed_20_direct },
	{ }
};
