// SPDX-License-Identifier: GPL-2.0
/*
 * How merging and unmerging disturb a program, as calls.c counts it: by TLB
 * flushes, by interrupts of other CPUs, and by calls of MMU notifiers.  While they
 * are counted, the program runs on all CPUs but the first.  Either a thread
 * computes, or a vCPU of a KVM guest does, to which the memory belongs.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest-bench.h"

#define NR_PAGES	4000UL
#define CONTENTS	100UL		/* of the pages that join shared ones */

struct runner {
	unsigned int cpu;
	bool in_guest;
	struct vcpu vcpu;
	bool runs;
};

static void pin(pid_t pid, unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(pid, sizeof(set), &set))
		die("cannot move %d to CPU %u: %s", pid, cpu, strerror(errno));
}

static void *run(void *arg)
{
	struct runner *runner = arg;

	pin(0, runner->cpu);
	if (runner->in_guest)
		vcpu_read_all(&runner->vcpu);
	__atomic_store_n(&runner->runs, true, __ATOMIC_RELAXED);
	if (runner->in_guest)
		vcpu_spin(&runner->vcpu);
	for (;;)
		__asm__ volatile("pause");
	return NULL;
}

/* With a KVM guest if @name says so.  ksmd and the caller stay on the first CPU. */
static void start_runners(const char *name, char *addr)
{
	const bool in_guest = !strncmp(name, "flushes-kvm-", 12);
	const unsigned int nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct vm vm = in_guest ? vm_create_with(addr, NR_PAGES) : vm_create();
	static struct runner runner[8];
	pthread_t thread;
	unsigned int i;

	pin(0, 0);
	pin(find_ksmd(), 0);
	for (i = 1; i < nr_cpus && i < 8; i++) {
		runner[i] = (struct runner){ .cpu = i, .in_guest = in_guest };
		if (in_guest)
			runner[i].vcpu = vcpu_create(&vm, i);
		if (pthread_create(&thread, NULL, run, &runner[i]))
			die("cannot start a thread");
		while (!__atomic_load_n(&runner[i].runs, __ATOMIC_RELAXED))
			usleep(1000);
	}
}

static void print_counts(const char *name, unsigned long nr)
{
	static const char *const row[][2] = {
		{ "tlb", "flush_tlb_mm_range" },
		{ "ipi", "smp_call_function_many_cond" },
		{ "notifier", "__mmu_notifier_invalidate_range_start" },
		{ "exit", "svm_handle_exit" },
	};
	unsigned int i;

	for (i = 0; i < sizeof(row) / sizeof(*row); i++)
		printf("PER %s/%s %lu %s\n", name, row[i][0], nr, row[i][1]);
}

/* Counts while ksmd saves @nr pages more. */
static void count_merging(const char *name, unsigned long nr)
{
	long before = knob("pages_sharing");

	mark_begin();
	set_knob("run", 1);
	wait_for_sharing(before + nr);
	set_knob("run", 0);
	mark_end();
	print_counts(name, nr);
}

static void bench_groups(const char *name)
{
	char *addr = map_groups(NR_PAGES, 4);

	start_runners(name, addr);
	count_merging(name, NR_PAGES / 4 * 3);
}

static void bench_same(const char *name)
{
	const unsigned long most = knob("max_page_sharing");
	char *addr = map_groups(NR_PAGES, NR_PAGES);

	start_runners(name, addr);
	count_merging(name, NR_PAGES - (NR_PAGES + most - 1) / most);
}

/* Batches of few pages, without a sleep between them, as ksm_tests sets it. */
static void bench_small(const char *name)
{
	set_knob("pages_to_scan", 10);
	set_knob("sleep_millisecs", 0);
	bench_same(name);
}

/* First two pages of each content merge, then all the others join them. */
static void bench_join(const char *name)
{
	char *addr = map(NR_PAGES * PAGE);
	const unsigned long first = 2 * CONTENTS;
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++) {
		if (i < CONTENTS)
			fill_random(addr + i * PAGE);
		else
			memcpy(addr + i * PAGE, addr + i % CONTENTS * PAGE, PAGE);
	}
	start_runners(name, addr);
	mergeable(addr, first * PAGE);
	set_knob("run", 1);
	wait_for_sharing(CONTENTS);
	set_knob("run", 0);
	mergeable(addr + first * PAGE, (NR_PAGES - first) * PAGE);
	count_merging(name, NR_PAGES - first);
}

static char *map_merged(const char *name)
{
	char *addr = map_groups(NR_PAGES, 4);

	start_runners(name, addr);
	set_knob("run", 1);
	wait_for_sharing(NR_PAGES / 4 * 3);
	set_knob("run", 0);
	return addr;
}

static void bench_unmerge_run(const char *name)
{
	map_merged(name);
	mark_begin();
	set_knob("run", 2);
	mark_end();
	print_counts(name, NR_PAGES);
}

static void bench_unmerge_madvise(const char *name)
{
	char *addr = map_merged(name);

	mark_begin();
	if (madvise(addr, NR_PAGES * PAGE, MADV_UNMERGEABLE))
		die("MADV_UNMERGEABLE: %s", strerror(errno));
	mark_end();
	print_counts(name, NR_PAGES);
}

static void bench_unmerge_prctl(const char *name)
{
	set_memory_merge(1);
	map_merged(name);
	mark_begin();
	set_memory_merge(0);
	mark_end();
	print_counts(name, NR_PAGES);
}

const struct workload flush_workloads[] = {
	{ "flushes-groups", bench_groups },
	{ "flushes-same", bench_same },
	{ "flushes-small", bench_small },
	{ "flushes-join", bench_join },
	{ "flushes-unmerge-run", bench_unmerge_run },
	{ "flushes-unmerge-madvise", bench_unmerge_madvise },
	{ "flushes-unmerge-prctl", bench_unmerge_prctl },
	{ "flushes-kvm-groups", bench_groups },
	{ "flushes-kvm-same", bench_same },
	{ "flushes-kvm-join", bench_join },
	{ "flushes-kvm-unmerge-run", bench_unmerge_run },
	{ "flushes-kvm-unmerge-madvise", bench_unmerge_madvise },
	{ "flushes-kvm-unmerge-prctl", bench_unmerge_prctl },
	{ }
};
