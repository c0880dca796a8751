// SPDX-License-Identifier: GPL-2.0
/* The controls of KSM, clocks, and memory with known content. */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "guest-bench.h"

#define KSM		"/sys/kernel/mm/ksm/"

static uint64_t state = 88172645463325252ULL;

void die(const char *format, ...)
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
uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

void seed_rnd(uint64_t seed)
{
	state = seed;
}

long knob(const char *name)
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

void set_knob_text(const char *name, const char *value)
{
	char path[100];
	FILE *file;

	snprintf(path, sizeof(path), KSM "%s", name);
	file = fopen(path, "w");
	if (!file)
		die("cannot open %s: %s", path, strerror(errno));
	fputs(value, file);
	if (fclose(file))
		die("cannot write %s to %s: %s", value, path, strerror(errno));
}

void set_knob(const char *name, long value)
{
	char text[24];

	snprintf(text, sizeof(text), "%ld", value);
	set_knob_text(name, text);
}

/* Waits until @nr more passes have ended. */
void passes(long nr)
{
	long until = knob("full_scans") + nr;

	while (knob("full_scans") < until)
		usleep(20000);
}

void wait_for_sharing(long pages)
{
	while (knob("pages_sharing") < pages)
		usleep(10000);
}

int find_ksmd(void)
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
double ksmd_work(void)
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
double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

double time_write_to_run(long value)
{
	double began;

	usleep(1000 + rnd() % 1000);
	began = now();
	set_knob("run", value);
	return now() - began;
}

void start_process(void (*run)(int told))
{
	int told[2];
	pid_t pid;
	char byte;

	if (pipe(told))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(told[0]);
		run(told[1]);
	}
	close(told[1]);
	if (read(told[0], &byte, 1) != 1)
		die("a process has ended early");
}

void tell(int told)
{
	if (write(told, "", 1) != 1)
		die("write: %s", strerror(errno));
}

void result(const char *name, double value)
{
	printf("RESULT %s %.*f\n", name, value < 10 ? 3 : 1, value);
}

static int compare(const void *one, const void *other)
{
	const double a = *(const double *)one, b = *(const double *)other;

	return (a > b) - (a < b);
}

void sort(double *values, unsigned long nr)
{
	qsort(values, nr, sizeof(*values), compare);
}

static char *map_with(unsigned long bytes, int advice)
{
	char *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (addr == MAP_FAILED)
		die("cannot map %lu bytes: %s", bytes, strerror(errno));
	if (madvise(addr, bytes, advice))
		die("madvise %d: %s", advice, strerror(errno));
	return addr;
}

/* Small pages, not populated. */
char *map(unsigned long bytes)
{
	return map_with(bytes, MADV_NOHUGEPAGE);
}

/* Huge pages, not populated; @bytes is rounded up to whole huge pages. */
char *map_huge(unsigned long bytes)
{
	char *addr = map_with((bytes + 2 * PMD - 1) / PMD * PMD, MADV_HUGEPAGE);

	return (char *)(((uintptr_t)addr + PMD - 1) / PMD * PMD);
}

void mergeable(char *addr, unsigned long bytes)
{
	if (madvise(addr, bytes, MADV_MERGEABLE))
		die("MADV_MERGEABLE: %s", strerror(errno));
}

void fill_random(char *page)
{
	uint64_t *word = (uint64_t *)page;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		word[i] = rnd();
}

static char *fill_groups(char *addr, unsigned long nr, unsigned long group)
{
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

/* @nr small pages.  Each @group consecutive ones have the same content. */
char *map_groups(unsigned long nr, unsigned long group)
{
	return fill_groups(map(nr * PAGE), nr, group);
}

/* Likewise in huge pages. */
char *map_huge_groups(unsigned long nr, unsigned long group)
{
	return fill_groups(map_huge(nr * PAGE), nr, group);
}

static char *fill_tail(char *addr, unsigned long nr)
{
	unsigned long i;

	fill_random(addr);
	for (i = 1; i < nr; i++) {
		memcpy(addr + i * PAGE, addr, PAGE);
		((uint64_t *)(addr + i * PAGE))[WORDS - 1] = i;
	}
	mergeable(addr, nr * PAGE);
	return addr;
}

/* @nr small pages that differ in the last word only, so whole pages are hashed. */
char *map_tail(unsigned long nr)
{
	return fill_tail(map(nr * PAGE), nr);
}

/* Likewise in huge pages. */
char *map_huge_tail(unsigned long nr)
{
	return fill_tail(map_huge(nr * PAGE), nr);
}
