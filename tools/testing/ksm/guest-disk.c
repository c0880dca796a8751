// SPDX-License-Identifier: GPL-2.0
/*
 * Processes read the same disk image with O_DIRECT, as QEMU does for disks with
 * cache=none.  Their memory did not change before.  The figures are the time until all
 * pages are merged, and the instructions of ksmd.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guest-bench.h"

#define NR_PROCESSES	4
#define NR_PAGES	4096UL		/* of the image */
#define BYTES		(NR_PAGES * PAGE)
#define DISK		"/dev/zram0"
#define QUIET_PASSES	20

static void write_image(void)
{
	FILE *size = fopen("/sys/block/zram0/disksize", "w");
	char *content = map(BYTES);
	unsigned long i;
	int fd;

	if (!size || fprintf(size, "%lu", BYTES) < 0 || fclose(size))
		die("cannot set up " DISK ": %s", strerror(errno));
	for (i = 0; i < NR_PAGES; i++)
		fill_random(content + i * PAGE);
	fd = open(DISK, O_WRONLY);
	if (fd < 0 || pwrite(fd, content, BYTES, 0) != BYTES || fsync(fd) || close(fd))
		die("cannot write " DISK ": %s", strerror(errno));
}

static void read_image(char *addr)
{
	int fd = open(DISK, O_RDONLY | O_DIRECT);

	if (fd < 0 || pread(fd, addr, BYTES, 0) != BYTES)
		die("cannot read " DISK ": %s", strerror(errno));
	close(fd);
}

/* Half of the memory is what the image is read to. */
static void serve(unsigned int process, int orders, int told)
{
	char *addr = map(2 * BYTES), byte;
	unsigned long i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	seed_rnd(1000 + process);
	for (i = 0; i < 2 * NR_PAGES; i++)
		fill_random(addr + i * PAGE);
	mergeable(addr, 2 * BYTES);
	if (write(told, "", 1) != 1 || read(orders, &byte, 1) != 1)
		die("the parent has ended");
	read_image(addr);
	if (write(told, "", 1) != 1)
		die("the parent has ended");
	for (;;)
		pause();
}

static void wait_for_all(int told)
{
	unsigned int i;
	char byte;

	for (i = 0; i < NR_PROCESSES; i++)
		if (read(told, &byte, 1) != 1)
			die("read: %s", strerror(errno));
}

static void start_processes(int orders[2], int told[2])
{
	unsigned int i;
	pid_t pid;

	if (pipe(orders) || pipe(told))
		die("pipe: %s", strerror(errno));
	for (i = 0; i < NR_PROCESSES; i++) {
		pid = fork();
		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (!pid)
			serve(i, orders[0], told[1]);
	}
	wait_for_all(told[0]);
}

/* ksmd runs while the processes read. */
static void bench_disk(const char *name)
{
	int orders[2], told[2];
	double began, work;
	char row[64];

	write_image();
	start_processes(orders, told);
	set_knob("smart_scan", 1);
	set_knob("pages_to_scan", 1000);
	set_knob("sleep_millisecs", 20);
	set_knob("run", 1);
	passes(QUIET_PASSES);
	began = now();
	work = ksmd_work();
	if (write(orders[1], "1234", NR_PROCESSES) != NR_PROCESSES)
		die("write: %s", strerror(errno));
	wait_for_all(told[0]);
	wait_for_sharing((NR_PROCESSES - 1) * NR_PAGES);
	work = ksmd_work() - work;
	snprintf(row, sizeof(row), "%s/time", name);
	result(row, (now() - began) / 1e6);
	snprintf(row, sizeof(row), "%s/work", name);
	result(row, work / (NR_PROCESSES * NR_PAGES));
}

const struct workload disk_workloads[] = {
	{ "disk-direct", bench_disk },
	{ }
};
