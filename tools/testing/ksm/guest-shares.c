// SPDX-License-Identifier: GPL-2.0
/*
 * What ksmd leaves of the CPU to others while memory is short and ksmd may run at
 * raised priority: how late a thread wakes up, and how much CPU time it gets.  The
 * machine has one CPU.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest-bench.h"

/* Memory is short below 25 percent. */
#define AVAILABLE_PERCENT	16
#define NR_PAGES		65536UL
#define NR_TABLES		1000000UL
#define NR_WAKEUPS		500
#define WORK_NSEC		1e6
#define SHARE_NSEC		3e9
/* Values of advisor_max_cpu. */
#define DEFAULT_MAX_CPU		70
#define HALF_A_CPU		50

static unsigned long meminfo_bytes(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long kib = 0;
	char line[128];

	while (file && !kib && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			kib = strtoul(line + strlen(name), NULL, 10);
	if (!kib)
		die("/proc/meminfo has no %s", name);
	fclose(file);
	return kib << 10;
}

static void take_memory(void)
{
	unsigned long left = meminfo_bytes("MemTotal:") / 100 * AVAILABLE_PERCENT;
	unsigned long available = meminfo_bytes("MemAvailable:");

	if (available < left)
		die("less than %d percent of memory is available", AVAILABLE_PERCENT);
	if (madvise(map_huge(available - left), available - left, MADV_POPULATE_WRITE))
		die("MADV_POPULATE_WRITE: %s", strerror(errno));
}

static void check_short(void)
{
	if (meminfo_bytes("MemAvailable:") >= meminfo_bytes("MemTotal:") / 4)
		die("memory is not short any more");
}

static char *fill_pages(void)
{
	char *addr = map(NR_PAGES * PAGE);
	unsigned long i;

	for (i = 0; i < NR_PAGES; i++)
		fill_random(addr + i * PAGE);
	mergeable(addr, NR_PAGES * PAGE);
	return addr;
}

/*
 * Writes to one page after the other, and in each round to another cache line of them:
 * ksmd reads only some of the lines.
 */
static void write_word(char *addr, unsigned long i)
{
	unsigned long line = i / NR_PAGES * 64 % PAGE;

	__atomic_store_n((unsigned long *)(addr + i % NR_PAGES * PAGE + line), i,
			 __ATOMIC_RELAXED);
}

/* Rewrites a word of each page, again and again. */
static void write_pages(int told)
{
	char *addr = fill_pages();
	unsigned long i;

	tell(told);
	for (i = 0;; i++)
		write_word(addr, i);
}

static double own_work(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static void work_for(double time)
{
	double end = own_work() + time;

	while (own_work() < end)
		;
}

/* Returns how late the thread woke up.  Before, it has worked. */
static double sleep_some(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 + rnd() % 3000000 };
	double end;

	work_for(WORK_NSEC);
	end = now() + pause.tv_nsec;
	nanosleep(&pause, NULL);
	return now() - end;
}

/* How late the thread is of which only 1 % are later. */
static void measure_wakeups(const char *name)
{
	static double late[NR_WAKEUPS];
	unsigned int i;

	for (i = 0; i < NR_WAKEUPS / 10; i++)
		sleep_some();
	for (i = 0; i < NR_WAKEUPS; i++)
		late[i] = sleep_some();
	check_short();
	sort(late, NR_WAKEUPS);
	result(name, late[NR_WAKEUPS * 99 / 100 - 1]);
}

static void wakeups(const char *name, long pages_to_scan, long sleep_millisecs)
{
	start_process(write_pages);
	take_memory();
	set_knob("smart_scan", 1);
	set_knob("pages_to_scan", pages_to_scan);
	set_knob("sleep_millisecs", sleep_millisecs);
	set_knob("run", !!pages_to_scan);
	measure_wakeups(name);
}

static void bench_wakeup_off(const char *name)
{
	wakeups(name, 0, 20);
}

static void bench_wakeup_5000(const char *name)
{
	wakeups(name, 5000, 20);
}

static void bench_wakeup_20000(const char *name)
{
	wakeups(name, 20000, 20);
}

static void bench_wakeup_50000(const char *name)
{
	wakeups(name, 50000, 1);
}

/* ksmd takes as much as it may, whatever is available. */
static void run_under_pressure(long max_cpu)
{
	set_knob_text("advisor_mode", "pressure");
	set_knob("advisor_max_cpu", max_cpu);
	set_knob("advisor_start_available", 100);
	set_knob("advisor_full_available", 100);
	set_knob("run", 1);
}

static void bench_wakeup_pressure(const char *name)
{
	start_process(write_pages);
	take_memory();
	run_under_pressure(DEFAULT_MAX_CPU);
	measure_wakeups(name);
}

static double seconds(struct timeval tv)
{
	return tv.tv_sec + tv.tv_usec / 1e6;
}

/* CPU time of this process and of the children that have ended, in ns. */
static double family_work(void)
{
	struct rusage own, children;

	getrusage(RUSAGE_SELF, &own);
	getrusage(RUSAGE_CHILDREN, &children);
	return (seconds(own.ru_utime) + seconds(own.ru_stime) +
		seconds(children.ru_utime) + seconds(children.ru_stime)) * 1e9;
}

/*
 * The percentage of the CPU that neither the program gets, although it never sleeps, nor
 * the process that notes its CPU time in @other.  The program rewrites its pages, if
 * there are any, so that no pass finds all of them unchanged.
 */
static double missing_share(char *addr, const uint64_t *other)
{
	double began, work;
	unsigned long i;

	set_knob("run", 1);
	usleep(500000);
	began = now();
	work = own_work() + __atomic_load_n(other, __ATOMIC_RELAXED);
	for (i = 0; now() - began < SHARE_NSEC; i++)
		if (addr)
			write_word(addr, i);
	work = own_work() + __atomic_load_n(other, __ATOMIC_RELAXED) - work;
	check_short();
	return 100 - work * 100 / (now() - began);
}

static const uint64_t nobody;

static void bench_share_scan(const char *name)
{
	char *addr = fill_pages();

	take_memory();
	set_knob("pages_to_scan", 1000000);
	result(name, missing_share(addr, &nobody));
}

/* So few that memory is still short when they have merged. */
#define NR_GROUPED		16384UL
#define GROUP			4

static void fill_groups(void)
{
	char *addr = map(NR_GROUPED * PAGE);
	unsigned long i;

	for (i = 0; i < NR_GROUPED; i++)
		if (i % GROUP)
			memcpy(addr + i * PAGE, addr + (i - 1) * PAGE, PAGE);
		else
			fill_random(addr + i * PAGE);
	mergeable(addr, NR_GROUPED * PAGE);
}

static void work_until_shared(long pages)
{
	while (knob("pages_sharing") < pages)
		work_for(WORK_NSEC);
}

/* In mode pressure, while pages merge: what ksmd gets, and what it may get but does not. */
static void bench_share_pressure(const char *name)
{
	double began, work, share;

	fill_groups();
	take_memory();
	run_under_pressure(HALF_A_CPU);
	work_until_shared(1);
	began = now();
	work = own_work();
	work_until_shared(NR_GROUPED / GROUP * (GROUP - 1));
	share = 100 - (own_work() - work) * 100 / (now() - began);
	check_short();
	result("share-pressure/ksmd", share);
	result("share-pressure/unused", share > HALF_A_CPU ? 0 : HALF_A_CPU - share);
}

/* Shared with the process that forks: its CPU time. */
static uint64_t *forks_work;

/*
 * A process with page tables that map nothing.  Its children are mergeable, too, and
 * end at once.
 */
static void fork_tables(int told)
{
	char *addr = map(NR_TABLES * PMD);
	unsigned long i;

	for (i = 0; i < NR_TABLES; i++)
		__atomic_load_n(addr + i * PMD, __ATOMIC_RELAXED);
	addr[0] = 1;
	if (madvise(addr, NR_TABLES * PMD, MADV_DONTNEED) ||
	    madvise(addr, NR_TABLES * PMD, MADV_DONTFORK))
		die("madvise: %s", strerror(errno));
	set_memory_merge(1);
	tell(told);
	for (;;) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		waitpid(pid, NULL, 0);
		__atomic_store_n(forks_work, (uint64_t)family_work(), __ATOMIC_RELAXED);
	}
}

static void bench_share_tables(const char *name)
{
	forks_work = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (forks_work == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	start_process(fork_tables);
	take_memory();
	set_knob("pages_to_scan", 1000000);
	result(name, missing_share(NULL, forks_work));
}

const struct workload share_workloads[] = {
	{ "wakeup-off", bench_wakeup_off },
	{ "wakeup-5000", bench_wakeup_5000 },
	{ "wakeup-20000", bench_wakeup_20000 },
	{ "wakeup-50000", bench_wakeup_50000 },
	{ "wakeup-pressure", bench_wakeup_pressure },
	{ "share-scan", bench_share_scan },
	{ "share-tables", bench_share_tables },
	{ "share-pressure", bench_share_pressure },
	{ }
};
