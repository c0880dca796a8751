// SPDX-License-Identifier: GPL-2.0
/*
 * What KSM costs, measured in a booted kernel, by its public interface alone: the
 * same program runs on any kernel.
 *
 * Under QEMU's -icount a nanosecond is an instruction, of the whole machine by the
 * monotonic clock, and of ksmd by its schedstat.
 *
 *	guest-bench			names the workloads
 *	guest-bench WORKLOAD		runs one: prints "RESULT workload value" and,
 *					for some, "CURVE workload instructions pages";
 *					or "PER workload number", for what cachelines.c
 *					counts in QEMU to be divided by
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#endif

#define KSM		"/sys/kernel/mm/ksm/"
#define PAGE		4096UL
#define WORDS		(PAGE / sizeof(uint64_t))
#define PMD		(2UL << 20)

static uint64_t state = 88172645463325252ULL;

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "guest-bench: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

/* xorshift64: Marsaglia, "Xorshift RNGs", 2003. */
static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static long knob(const char *name)
{
	char path[100];
	long value = 0;
	FILE *file;

	snprintf(path, sizeof(path), KSM "%s", name);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%ld", &value) != 1)
		die("cannot read %s: %s", path, strerror(errno));
	fclose(file);
	return value;
}

static void set_knob(const char *name, long value)
{
	char path[100];
	FILE *file;

	snprintf(path, sizeof(path), KSM "%s", name);
	file = fopen(path, "w");
	if (!file)
		die("cannot open %s: %s", path, strerror(errno));
	fprintf(file, "%ld", value);
	if (fclose(file))
		die("cannot write %ld to %s: %s", value, path, strerror(errno));
}

static int find_ksmd(void)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int pid = 0;

	while (!pid && (entry = readdir(proc))) {
		char path[300], name[32] = "";
		FILE *file;

		if (!isdigit(entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fgets(name, sizeof(name), file) && !strcmp(name, "ksmd\n"))
			pid = atoi(entry->d_name);
		fclose(file);
	}
	closedir(proc);
	if (!pid)
		die("there is no ksmd");
	return pid;
}

/* Instructions that ksmd has executed. */
static double ksmd_work(void)
{
	static char path[40];
	double work = 0;
	FILE *file;

	if (!*path)
		snprintf(path, sizeof(path), "/proc/%d/schedstat", find_ksmd());
	file = fopen(path, "r");
	if (!file || fscanf(file, "%lf", &work) != 1)
		die("cannot read %s", path);
	fclose(file);
	return work;
}

/* Instructions that the machine has executed. */
static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

static void passes(long nr)
{
	long until = knob("full_scans") + nr;

	while (knob("full_scans") < until)
		usleep(20000);
}

static void result(const char *name, double value)
{
	printf("RESULT %s %.*f\n", name, value < 10 ? 3 : 1, value);
}

static char *map(unsigned long bytes)
{
	char *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED)
		die("no area of %lu bytes: %s", bytes, strerror(errno));
	if (madvise(addr, bytes, MADV_NOHUGEPAGE))
		die("MADV_NOHUGEPAGE: %s", strerror(errno));
	return addr;
}

static void mergeable(char *addr, unsigned long bytes)
{
	if (madvise(addr, bytes, MADV_MERGEABLE))
		die("MADV_MERGEABLE: %s", strerror(errno));
}

static void fill_random(char *page)
{
	uint64_t *word = (uint64_t *)page;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		word[i] = rnd();
}

/* Pages of which each @group in a row are alike. */
static char *map_groups(unsigned long nr, unsigned long group)
{
	char *addr = map(nr * PAGE);
	unsigned long i;

	for (i = 0; i < nr; i++) {
		if (i % group)
			memcpy(addr + i * PAGE, addr + (i - 1) * PAGE, PAGE);
		else
			fill_random(addr + i * PAGE);
	}
	mergeable(addr, nr * PAGE);
	return addr;
}

/* Instructions of ksmd in so many passes, a page and pass. */
static double pass_work(long nr_passes, unsigned long nr_pages)
{
	long before = knob("full_scans");
	double work = ksmd_work();

	passes(nr_passes);
	return (ksmd_work() - work) / (knob("full_scans") - before) / nr_pages;
}

static void unique(const char *name, unsigned long nr)
{
	map_groups(nr, 1);
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(3, nr));
}

static void bench_unique_10k(const char *name)
{
	unique(name, 10000);
}

static void bench_unique_40k(const char *name)
{
	unique(name, 40000);
}

static void bench_unique_160k(const char *name)
{
	unique(name, 160000);
}

static void bench_unique_1m(const char *name)
{
	unique(name, 1000000);
}

/* From the first pass on, with smart_scan. */
static void idle(const char *name, unsigned long nr)
{
	set_knob("smart_scan", 1);
	set_knob("run", 1);
	result(name, pass_work(60, nr));
}

static void bench_idle(const char *name)
{
	map_groups(100000, 1);
	idle(name, 100000);
}

static void bench_merged(const char *name)
{
	const unsigned long nr = 40000;

	map_groups(nr, 4);
	set_knob("run", 1);
	passes(4);
	result(name, pass_work(3, nr));
}

/* Until @sharing pages are saved, noting on the way how many were. */
static void merge_all(const char *name, unsigned long nr, long sharing)
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

static void bench_same(const char *name)
{
	const long nr = 100000, most = knob("max_page_sharing");

	map_groups(nr, nr);
	merge_all(name, nr, nr - (nr + most - 1) / most);
}

/* A pass is one batch here, so that ksmd is stopped between two of them. */
static void bench_volatile(const char *name)
{
	const unsigned long nr = 20000;
	char *addr = map_groups(nr, 1);
	double work = 0;
	unsigned long i;
	int round;

	set_knob("pages_to_scan", 2 * nr);
	set_knob("sleep_millisecs", 500);
	set_knob("run", 1);
	passes(2);
	for (round = 0; round < 3; round++) {
		set_knob("run", 0);
		for (i = 0; i < nr; i++)
			((uint64_t *)(addr + i * PAGE))[rnd() % WORDS] = rnd();
		set_knob("run", 1);
		work += pass_work(1, nr);
	}
	result(name, work / 3);
}

/* Alike but for the last word: made to defeat whoever looks at samples. */
static void map_tail(unsigned long nr)
{
	char *addr = map(nr * PAGE);
	unsigned long i;

	fill_random(addr);
	for (i = 1; i < nr; i++) {
		memcpy(addr + i * PAGE, addr, PAGE);
		((uint64_t *)(addr + i * PAGE))[WORDS - 1] = i;
	}
	mergeable(addr, nr * PAGE);
}

static void bench_tail(const char *name)
{
	map_tail(20000);
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(3, 20000));
}

static void bench_tail_idle(const char *name)
{
	map_tail(20000);
	idle(name, 20000);
}

/*
 * The same words in another order: all the same to a sum, an exclusive or, or
 * any other hash that forgets where a word stands.
 */
static void bench_collide(const char *name)
{
	const unsigned long nr = 40000;
	char *addr = map(nr * PAGE);
	unsigned long i, j;

	fill_random(addr);
	for (i = 1; i < nr; i++) {
		uint64_t *word = (uint64_t *)(addr + i * PAGE);

		memcpy(word, addr, PAGE);
		for (j = WORDS - 1; j; j--) {
			unsigned long other = rnd() % (j + 1);
			uint64_t moved = word[j];

			word[j] = word[other];
			word[other] = moved;
		}
	}
	mergeable(addr, nr * PAGE);
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(3, nr));
}

/* Unique pages, one at each @step bytes. */
static void map_scattered(unsigned long nr, unsigned long step)
{
	char *addr = map(nr * step);
	unsigned long i;

	for (i = 0; i < nr; i++)
		fill_random(addr + i * step);
	mergeable(addr, nr * step);
}

/* Pages that lie next to each other, and the same number all over 32 TiB. */
static void scattered(const char *name, unsigned long step)
{
	const unsigned long nr = 1000;

	map_scattered(nr, step);
	set_knob("run", 1);
	passes(3);
	result(name, pass_work(20, nr));
}

static void bench_side_by_side(const char *name)
{
	scattered(name, PAGE);
}

static void bench_sparse(const char *name)
{
	scattered(name, (32UL << 40) / 1000 / PAGE * PAGE);
}

static void merged_100m(char **addr, unsigned long *bytes)
{
	*bytes = 100UL << 20;
	*addr = map_groups(*bytes / PAGE, 4);
	set_knob("run", 1);
	while (knob("pages_sharing") < (long)(*bytes / PAGE / 4 * 3))
		usleep(10000);
	set_knob("run", 0);
}

static void bench_unmerge_run(const char *name)
{
	unsigned long bytes;
	double began;
	char *addr;

	merged_100m(&addr, &bytes);
	began = now();
	set_knob("run", 2);
	result(name, (now() - began) / (bytes / PAGE));
}

static void bench_unmerge_madvise(const char *name)
{
	unsigned long bytes;
	double began;
	char *addr;

	merged_100m(&addr, &bytes);
	began = now();
	if (madvise(addr, bytes, MADV_UNMERGEABLE))
		die("MADV_UNMERGEABLE: %s", strerror(errno));
	result(name, (now() - began) / (bytes / PAGE));
}

static void bench_unmerge_prctl(const char *name)
{
	unsigned long bytes;
	double began;
	char *addr;

	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0))
		die("PR_SET_MEMORY_MERGE: %s", strerror(errno));
	merged_100m(&addr, &bytes);
	began = now();
	if (prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0))
		die("PR_SET_MEMORY_MERGE: %s", strerror(errno));
	result(name, (now() - began) / (bytes / PAGE));
}

/* With nothing saved, the profit is what book-keeping takes. */
static void metadata(const char *name, unsigned long nr, unsigned long step)
{
	map_scattered(nr, step);
	set_knob("run", 1);
	passes(4);
	result(name, -(double)knob("general_profit") / knob("pages_unshared"));
}

static void bench_metadata_dense(const char *name)
{
	metadata(name, 100000, PAGE);
}

static void bench_metadata_sparse(const char *name)
{
	metadata(name, 10000, PMD);
}

static void bench_write_fault(const char *name)
{
	unsigned long bytes, i;
	double began;
	char *addr;

	merged_100m(&addr, &bytes);
	began = now();
	for (i = 0; i < bytes; i += PAGE)
		addr[i]++;
	result(name, (now() - began) / (bytes / PAGE));
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

/* Reading the idle bit of a page walks its reverse map. */
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

/* A page with two mappings, in an area that was split into so many. */
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
	while (knob("pages_sharing") < 1)
		usleep(10000);
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

#define TRACING		"/sys/kernel/tracing/"
#define MAX_HOLDS	1000000

static void trace(const char *file, const char *value)
{
	char path[100];
	FILE *to;

	snprintf(path, sizeof(path), TRACING "%s", file);
	to = fopen(path, "w");
	if (!to || fprintf(to, "%s", value) < 0 || fclose(to))
		die("cannot write %s to %s: %s", value, path, strerror(errno));
}

/* Seconds at which a line of the trace was written; 0 where it is no event. */
static double event_time(const char *line)
{
	const char *at = strstr(line, ": mmap_lock");

	while (at && at > line && at[-1] != ' ')
		at--;
	return at ? strtod(at, NULL) : 0;
}

static int compare_holds(const void *one, const void *other)
{
	const double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

/* How long ksmd held mmap_lock each time, ascending, from the trace. */
static unsigned long read_holds(double *hold)
{
	FILE *from = fopen(TRACING "trace", "r");
	unsigned long nr = 0;
	char line[500];
	double taken = 0;

	if (!from)
		die("cannot read the trace: %s", strerror(errno));
	while (nr < MAX_HOLDS && fgets(line, sizeof(line), from)) {
		if (strstr(line, "mmap_lock_acquire_returned") && strstr(line, "success=true"))
			taken = event_time(line);
		else if (strstr(line, "mmap_lock_released") && taken)
			hold[nr++] = (event_time(line) - taken) * 1e9;
	}
	fclose(from);
	qsort(hold, nr, sizeof(*hold), compare_holds);
	return nr;
}

/* Of 40,000 unique pages in one area: the hold that @share of all are shorter than. */
static void lock_holds(const char *name, double share)
{
	double *hold = malloc(MAX_HOLDS * sizeof(*hold));
	char pid[20];
	unsigned long nr;

	map_groups(40000, 1);
	set_knob("run", 1);
	passes(3);
	snprintf(pid, sizeof(pid), "%d", find_ksmd());
	trace("buffer_size_kb", "40000");
	trace("set_event_pid", pid);
	trace("events/mmap_lock/enable", "1");
	passes(2);
	trace("tracing_on", "0");
	nr = read_holds(hold);
	if (!nr)
		die("the trace has no mmap_lock of ksmd");
	result(name, hold[(unsigned long)((nr - 1) * share)]);
}

static void bench_lock_99(const char *name)
{
	lock_holds(name, 0.99);
}

static void bench_lock_longest(const char *name)
{
	lock_holds(name, 1);
}

/* What a program waits for longest that changes its areas while ksmd scans. */
static void bench_lock_wait(const char *name)
{
	char *small = map(PAGE);
	double longest = 0;
	unsigned long i;

	map_groups(40000, 1);
	set_knob("run", 1);
	passes(3);
	for (i = 0; i < 2000; i++) {
		double began;

		usleep(1000);
		began = now();
		if (mprotect(small, PAGE, i % 2 ? PROT_READ : PROT_READ | PROT_WRITE))
			die("mprotect: %s", strerror(errno));
		began = now() - began;
		if (began > longest)
			longest = began;
	}
	result(name, longest);
}

/*
 * Groups of processes, of which each loads the data of its group and works on it:
 * it reads all, and goes on writing to a tenth of the pages.
 */
#define GROUPS		8
#define MEMBERS		32
#define PROCESSES	(GROUPS * MEMBERS)
#define DATA_PAGES	400UL
#define OWN_PAGES	(DATA_PAGES / 10)

struct fleet {
	int loaded;		/* processes that have their data */
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

	state = 1000 + nr % GROUPS;
	for (i = 0; i < DATA_PAGES; i++)
		fill_random(addr + i * PAGE);
	mergeable(addr, DATA_PAGES * PAGE);
	state = 2000 + nr;
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

static const long fleet_saves = (DATA_PAGES - OWN_PAGES) * GROUPS * (MEMBERS - 1);

static void bench_fleet(const char *name)
{
	struct fleet *fleet = start_fleet();

	merge_all(name, PROCESSES * DATA_PAGES, fleet_saves);
	end_fleet(fleet);
}

/* All that the programs meet until the last page is merged, for a page of theirs. */
static void bench_fleet_faults(const char *name)
{
	struct fleet *fleet = start_fleet();

	set_knob("run", 1);
	while (knob("pages_sharing") < fleet_saves)
		usleep(2000);
	set_knob("run", 0);
	result(name, (double)end_fleet(fleet) / PROCESSES / DATA_PAGES);
}

/* As in cachelines.c: a store there begins the count, or ends it. */
#define MARK_BEGIN	0x4b534d000000UL
#define MARK_END	(MARK_BEGIN + 8)

static void mark(unsigned long address)
{
	static void *page;

	if (!page)
		page = mmap((void *)MARK_BEGIN, PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (page != (void *)MARK_BEGIN)
		die("no page at %#lx: %s", MARK_BEGIN, strerror(errno));
	__atomic_store_n((uint64_t *)address, 1, __ATOMIC_RELAXED);
}

static void per(const char *name, double number)
{
	printf("PER %s %.3f\n", name, number);
}

/*
 * A pass is one batch here, and polls are closer to each other than batches: the
 * marks are set between two passes.
 */
static void whole_passes(unsigned long nr_pages)
{
	set_knob("pages_to_scan", 2 * nr_pages);
	set_knob("sleep_millisecs", 40);
	set_knob("run", 1);
}

static void count_lines(const char *name, long nr_passes, unsigned long nr_pages)
{
	long before = knob("full_scans");

	mark(MARK_BEGIN);
	passes(nr_passes);
	mark(MARK_END);
	per(name, (double)(knob("full_scans") - before) * nr_pages);
}

/* Of @nr pages in groups of @group, once @first passes have settled them. */
static void lines_settled(const char *name, unsigned long nr, unsigned int group, long first)
{
	map_groups(nr, group);
	whole_passes(nr);
	passes(first);
	count_lines(name, 3, nr);
}

static void bench_lines_unique(const char *name)
{
	lines_settled(name, 40000, 1, 3);
}

static void bench_lines_idle(const char *name)
{
	const unsigned long nr = 100000;

	map_groups(nr, 1);
	set_knob("smart_scan", 1);
	whole_passes(nr);
	count_lines(name, 60, nr);
}

static void bench_lines_merged(const char *name)
{
	lines_settled(name, 160000, 4, 4);
}

/* Leaves nothing in the caches, as ksmd does. */
static void use_cache(void)
{
	const unsigned long bytes = 8UL << 20;
	char *addr = map(bytes);
	unsigned long i;

	for (;;)
		for (i = 0; i < bytes; i += 64)
			__atomic_store_n(addr + i, 1, __ATOMIC_RELAXED);
}

/* What else is counted, in a million instructions: the ticks and this program. */
static void bench_lines_rest(const char *name)
{
	pid_t pid = fork();
	double began;
	int i;

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid)
		use_cache();
	usleep(1000000);
	began = now();
	mark(MARK_BEGIN);
	for (i = 0; i < 50; i++) {
		usleep(20000);
		knob("full_scans");
	}
	mark(MARK_END);
	per(name, (now() - began) / 1e6);
	kill(pid, SIGKILL);
}

static const struct {
	const char *name;
	void (*run)(const char *name);
} workloads[] = {
	{ "unique-10k", bench_unique_10k },
	{ "unique-40k", bench_unique_40k },
	{ "unique-160k", bench_unique_160k },
	{ "unique-1m", bench_unique_1m },
	{ "idle", bench_idle },
	{ "merged", bench_merged },
	{ "groups", bench_groups },
	{ "same", bench_same },
	{ "volatile", bench_volatile },
	{ "tail", bench_tail },
	{ "tail-idle", bench_tail_idle },
	{ "collide", bench_collide },
	{ "side-by-side", bench_side_by_side },
	{ "sparse", bench_sparse },
	{ "unmerge-run", bench_unmerge_run },
	{ "unmerge-madvise", bench_unmerge_madvise },
	{ "unmerge-prctl", bench_unmerge_prctl },
	{ "metadata-dense", bench_metadata_dense },
	{ "metadata-sparse", bench_metadata_sparse },
	{ "rmap-2", bench_rmap_2 },
	{ "rmap-20k", bench_rmap_20k },
	{ "write-fault", bench_write_fault },
	{ "lock-99", bench_lock_99 },
	{ "lock-longest", bench_lock_longest },
	{ "lock-wait", bench_lock_wait },
	{ "fleet", bench_fleet },
	{ "fleet-faults", bench_fleet_faults },
	{ "lines-unique", bench_lines_unique },
	{ "lines-idle", bench_lines_idle },
	{ "lines-merged", bench_lines_merged },
	{ "lines-rest", bench_lines_rest },
	{ }
};

int main(int argc, char **argv)
{
	unsigned int i;

	if (argc == 1) {
		for (i = 0; workloads[i].name; i++)
			printf("%s\n", workloads[i].name);
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_knob("run", 0);
	set_knob("pages_to_scan", 10000);
	set_knob("sleep_millisecs", 1);
	set_knob("smart_scan", 0);
	for (i = 0; workloads[i].name; i++) {
		if (strcmp(argv[1], workloads[i].name))
			continue;
		workloads[i].run(argv[1]);
		return 0;
	}
	die("there is no workload %s; without an argument all are named", argv[1]);
}
