// SPDX-License-Identifier: GPL-2.0
/*
 * A working set beside a larger idle set, in a cgroup at its limit. Each idle page is
 * read once in a while. With ksmd running, there are no more major faults than without:
 * ksmd does not make idle pages look used to reclaim, or used pages look idle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_common.h"

/* Pages. */
#define LIMIT		2048
#define WORKING		512
#define IDLE		4096
#define ROUNDS		16
/* In each round: idle pages that are read, then passes of ksmd. */
#define SOME		384
#define PASSES		4
/* The most faults with ksmd, in percent more than without. */
#define PERCENT		2
/*
 * The multi-generational LRU loses the working set in some rounds and not in others,
 * without ksmd too.
 */
#define ATTEMPTS_LRU_GEN	4
#define SEED		0x7e5000

/* Has the compiler read the pages. */
char sum_read;

static void read_set(char *area, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		sum_read += area[i * psize()];
}

static void write_set(char *area, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		area[i * psize() + 8]++;
}

/* The kernel writes a byte of each page. */
static void writev_set(char *area, size_t pages)
{
	static char byte;
	struct iovec from = { &byte, 1 }, to = { area + 8, 1 };
	size_t i;

	for (i = 0; i < pages; i++, to.iov_base += psize())
		if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != 1)
			ksm_skip("process_vm_writev does not work here");
}

/**
 * struct work - what is done in the cgroup
 * @use: uses the working set
 * @ksmd: ksmd runs
 * @faults: major faults that this took
 */
struct work {
	void (*use)(char *area, size_t pages);
	bool ksmd;
	long faults;
};

static long major_faults(void)
{
	char value[KSM_TEXT];

	ksm_check(ksm_field(KSM_CGROUP "memory.stat", "pgmajfault", value, sizeof(value)),
		  "the cgroup counts major faults");
	return strtol(value, NULL, 10);
}

/* Each use sets the accessed bit of a page, which the TLB would prevent. */
static void run_work(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(WORKING), *idle = ksm_map_mergeable(IDLE);
	struct work *work = arg;
	unsigned int i, j, at = 0;
	long before;

	(void)self;
	/* On one NUMA node, since reclaim treats each node on its own. */
	ksm_stay_on_cpu();
	ksm_fill_unique(area, WORKING, SEED);
	ksm_fill_unique(idle, IDLE, SEED + WORKING);
	before = major_faults();
	for (i = 0; i < ROUNDS; i++) {
		for (j = 0; j < SOME; j++, at = (at + 1) % IDLE)
			read_set(idle + at * psize(), 1);
		ksm_flush_tlb(area, WORKING);
		ksm_flush_tlb(idle, IDLE);
		work->use(area, WORKING);
		for (j = 0; work->ksmd && j < PASSES; j++)
			ksm_one_pass();
	}
	work->faults = major_faults() - before;
}

static long faults(struct work *work, bool ksmd)
{
	struct ksm_child child;

	work->ksmd = ksmd;
	ksm_child_start(&child, run_work, work);
	ksm_wait_ok(child.pid);
	ksm_unmerge_all();
	return work->faults;
}

static bool few_more(struct work *work)
{
	long without = faults(work, false), with = faults(work, true);

	ksft_print_msg("%ld major faults without ksmd, %ld with\n", without, with);
	ksm_check(without >= ROUNDS * SOME, "the idle pages were in swap");
	return with * 100 <= without * (100 + PERCENT);
}

static bool lru_gen_is_on(void)
{
	char text[KSM_TEXT];

	return ksm_read_file("/sys/kernel/mm/lru_gen/enabled", text, sizeof(text)) > 0 &&
	       strtol(text, NULL, 16);
}

static void limit_cgroup(void)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%zu", LIMIT * psize());
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.max", text), "the cgroup has a limit");
}

static void compare(void (*use)(char *area, size_t pages), int smart)
{
	struct work *work = mmap(NULL, sizeof(*work), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned int i, attempts = lru_gen_is_on() ? ATTEMPTS_LRU_GEN : 1;

	ksm_check(work != MAP_FAILED, "mmap");
	ksm_need_reclaim();
	limit_cgroup();
	ksm_set("smart_scan", smart);
	work->use = use;
	for (i = 0; i < attempts; i++)
		if (few_more(work))
			return;
	ksm_fail("there are over %d percent more major faults with ksmd", PERCENT);
}

static void read_smart(void)
{
	compare(read_set, 1);
}

static void read_all(void)
{
	compare(read_set, 0);
}

static void written_smart(void)
{
	compare(write_set, 1);
}

static void written_by_kernel(void)
{
	compare(writev_set, 1);
}

static const struct ksm_case cases[] = {
	{ "a working set that is read stays, with smart_scan", read_smart },
	{ "a working set that is read stays, without smart_scan", read_all },
	{ "a working set that is written stays", written_smart },
	{ "a working set that process_vm_writev writes stays", written_by_kernel },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
