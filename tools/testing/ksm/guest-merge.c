// SPDX-License-Identifier: GPL-2.0
/* What it costs to merge, to unmerge, and to use pages that are merged. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "guest-bench.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

/* Merges until @sharing pages are saved, and prints how many were saved on the way. */
void merge_all(const char *name, unsigned long nr, long sharing)
{
	double began = ksmd_work(), work;
	long saved, last = -1;

	set_knob("run", 1);
	do {
		usleep(2000);
		saved = knob("pages_sharing");
		work = ksmd_work() - began;
		if (saved != last)
			printf("CURVE %s %.0f %ld\n", name, work, saved);
		last = saved;
	} while (saved < sharing);
	set_knob("run", 0);
	result(name, work / nr);
}

static void bench_groups(const char *name)
{
	map_groups(100000, 4);
	merge_all(name, 100000, 75000);
}

static void bench_groups_thp(const char *name)
{
	map_huge_groups(102400, 4);
	merge_all(name, 102400, 76800);
}

static void bench_same(const char *name)
{
	const long nr = 100000, most = knob("max_page_sharing");

	map_groups(nr, nr);
	merge_all(name, nr, nr - (nr + most - 1) / most);
}

/* The size of the memory that is unmerged or written to. */
#define MERGED_BYTES	(100UL << 20)
#define MERGED_PAGES	(MERGED_BYTES / PAGE)

static char *map_merged(void)
{
	char *addr = map_groups(MERGED_PAGES, 4);

	set_knob("run", 1);
	wait_for_sharing(MERGED_PAGES / 4 * 3);
	set_knob("run", 0);
	return addr;
}

static void result_since(const char *name, double began)
{
	result(name, (now() - began) / MERGED_PAGES);
}

/* A page is copied byte by byte, in an instruction that counts for each of them. */
static void result_without_copy(const char *name, double began)
{
	result(name, (now() - began) / MERGED_PAGES - PAGE);
}

static void bench_unmerge_run(const char *name)
{
	double began;

	map_merged();
	began = now();
	set_knob("run", 2);
	result_without_copy(name, began);
}

static void bench_unmerge_madvise(const char *name)
{
	char *addr = map_merged();
	double began = now();

	if (madvise(addr, MERGED_BYTES, MADV_UNMERGEABLE))
		die("MADV_UNMERGEABLE: %s", strerror(errno));
	result_without_copy(name, began);
}

void set_memory_merge(int on)
{
	if (prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0))
		die("PR_SET_MEMORY_MERGE: %s", strerror(errno));
}

static void bench_unmerge_prctl(const char *name)
{
	double began;

	set_memory_merge(1);
	map_merged();
	began = now();
	set_memory_merge(0);
	result_without_copy(name, began);
}

static void bench_write_fault(const char *name)
{
	char *addr = map_merged();
	double began = now();
	unsigned long i;

	for (i = 0; i < MERGED_BYTES; i += PAGE)
		addr[i]++;
	result_since(name, began);
}

static uint64_t pfn_of(const char *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)addr / PAGE * sizeof(entry)) !=
		      sizeof(entry))
		die("cannot read the pagemap: %s", strerror(errno));
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

/* To read the idle bit of a page, the kernel walks its reverse map. */
static double rmap_work(const char *addr)
{
	static const char path[] = "/sys/kernel/mm/page_idle/bitmap";
	const uint64_t pfn = pfn_of(addr);
	const off_t at = pfn / 64 * sizeof(uint64_t);
	uint64_t bits = 1ULL << pfn % 64;
	int fd = open(path, O_RDWR);
	double began;

	if (fd < 0 || pwrite(fd, &bits, sizeof(bits), at) != sizeof(bits))
		die("cannot write %s: %s", path, strerror(errno));
	began = now();
	if (pread(fd, &bits, sizeof(bits), at) != sizeof(bits))
		die("cannot read %s: %s", path, strerror(errno));
	began = now() - began;
	close(fd);
	return began;
}

/* A page with two mappings, in a mapping that was split into @nr_vmas VMAs. */
static void rmap_walk(const char *name, unsigned long nr_vmas)
{
	char *addr = map(nr_vmas * PAGE);
	double work = 0;
	unsigned long i;

	for (i = 0; i < nr_vmas; i++)
		*(uint64_t *)(addr + i * PAGE) = i + 1;
	fill_random(addr);
	memcpy(addr + PAGE, addr, PAGE);
	for (i = 0; i < nr_vmas; i += 2)
		if (mprotect(addr + i * PAGE, PAGE, PROT_READ))
			die("mprotect: %s", strerror(errno));
	mergeable(addr, 2 * PAGE);
	set_knob("run", 1);
	wait_for_sharing(1);
	set_knob("run", 0);
	for (i = 0; i < 10; i++)
		work += rmap_work(addr);
	result(name, work / 10);
}

static void bench_rmap_2(const char *name)
{
	rmap_walk(name, 2);
}

static void bench_rmap_20k(const char *name)
{
	rmap_walk(name, 20000);
}

const struct workload merge_workloads[] = {
	{ "groups", bench_groups },
	{ "groups-thp", bench_groups_thp },
	{ "same", bench_same },
	{ "unmerge-run", bench_unmerge_run },
	{ "unmerge-madvise", bench_unmerge_madvise },
	{ "unmerge-prctl", bench_unmerge_prctl },
	{ "rmap-2", bench_rmap_2 },
	{ "rmap-20k", bench_rmap_20k },
	{ "write-fault", bench_write_fault },
	{ }
};
