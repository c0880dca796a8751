// SPDX-License-Identifier: GPL-2.0
/*
 * A batch of ksmd ends after 20 ms of CPU time, whatever there is to do. So a write to
 * run, which waits for the end of the batch, is answered within two batches, and a
 * suspend is not delayed by more than one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0xb0a00
#define BATCH_US	20000L
#define WRITES		30
/* Writes that may take longer, because other programs run on the machine. */
#define LATE		(WRITES / 10)

/* Where suspend freezes all tasks and then lets them go on, after so many seconds. */
#define PM_TEST		"/sys/power/pm_test"
#define PM_TEST_DELAY	"/sys/module/suspend/parameters/pm_test_delay"
#define SUSPENDS	7
#define SOON_MS		100L

/* Microseconds that ksmd has run. */
static long ksmd_us(void)
{
	unsigned long long ns = ksm_ksmd_ns();

	if (!ns)
		ksm_skip("the CPU time of ksmd is not known");
	return ns / 1000;
}

static bool ksmd_works(void *arg)
{
	(void)arg;
	return ksm_state(ksm_ksmd()) != 'S';
}

/* How many pages make up a quarter of the memory, at most @most. */
static size_t quarter_of_memory(size_t most)
{
	char value[KSM_TEXT];
	size_t pages;

	ksm_check(ksm_field("/proc/meminfo", "MemAvailable", value, sizeof(value)),
		  "/proc/meminfo has MemAvailable");
	pages = strtoul(value, NULL, 10) / 4 * 1024 / psize();
	return pages < most ? pages : most;
}

/* Microseconds that ksmd works while a write waits, which begins at a random moment. */
static long write_waits(void)
{
	long us;

	ksm_check(ksm_poll(ksmd_works, NULL), "ksmd works");
	usleep(rand() % 5000);
	us = ksmd_us();
	ksm_set("run", 1);
	return ksmd_us() - us;
}

/* Returns how many of the writes have to wait for more than two batches. */
static unsigned int count_late(void)
{
	unsigned int i, late = 0;
	long us, longest = 0;

	for (i = 0; i < WRITES; i++) {
		us = write_waits();
		late += us > 2 * BATCH_US;
		longest = us > longest ? us : longest;
	}
	ksft_print_msg("ksmd worked for at most %ld us while a write waited\n", longest);
	return late;
}

/* In a virtual machine the time that the host takes counts as that of ksmd. */
static void expect_quick_writes(void)
{
	unsigned int late, tries = 3;

	ksm_set("run", 1);
	while ((late = count_late()) > LATE)
		if (!--tries)
			ksm_fail("%u of %u writes waited for more than two batches", late, WRITES);
}

/* Page tables stay when their pages are given up. */
static void empty_tables(void)
{
	size_t i, nr = quarter_of_memory(1000000), pages = psize() / sizeof(long);
	char *area = mmap(NULL, nr * pages * psize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ksm_check(area != MAP_FAILED, "mmap");
	madvise(area, nr * pages * psize(), MADV_NOHUGEPAGE);
	for (i = 0; i < nr; i++)
		ksm_holds(area + i * pages * psize(), 0);
	ksm_check(!madvise(area, nr * pages * psize(), MADV_DONTNEED), "MADV_DONTNEED");
	/* Without a page of its own, a VMA has nothing to scan. */
	ksm_fill(area, SEED);
	ksm_mergeable(area, nr * pages);
	ksft_print_msg("%zu page tables\n", nr);
	ksm_set("pages_to_scan", 100);
	expect_quick_writes();
}

static void unlimited_pages(void)
{
	size_t pages = quarter_of_memory(131072);
	char *area = ksm_map_mergeable(pages);

	ksm_fill_unique(area, pages, SEED);
	ksm_set("pages_to_scan", 4294967295);
	expect_quick_writes();
	ksm_stop();
	ksm_check_unique(area, pages, SEED);
}

/* The first pass makes a record of each page. */
static void new_pages(void)
{
	size_t pages = quarter_of_memory(32768);
	unsigned int i;

	ksm_set("pages_to_scan", 4294967295);
	for (i = 0; i < 3; i++) {
		char *area = ksm_map_mergeable(pages);

		ksm_fill_unique(area, pages, SEED);
		expect_quick_writes();
		munmap(area, pages * psize());
	}
}

/* Suspend: PM_TEST lets it freeze all tasks, and no more than that. */

static void end_suspend_test(void)
{
	ksm_write_file(PM_TEST, "none");
	ksm_write_file(PM_TEST_DELAY, "5");
}

/* Tasks go on at once. A delay is a busy loop, which takes longer on a busy machine. */
static void begin_suspend_test(void)
{
	if (access(PM_TEST, W_OK))
		ksm_skip("it takes CONFIG_PM_DEBUG and CONFIG_SUSPEND");
	atexit(end_suspend_test);
	ksm_check(!ksm_write_file(PM_TEST, "freezer"), "suspend can be tested");
	ksm_check(!ksm_write_file(PM_TEST_DELAY, "0"), "the time until tasks go on can be set");
}

static void freeze_tasks(void)
{
	ksm_check(!ksm_write_file("/sys/power/state", "freeze"), "tasks can be frozen");
}

/* ksmd may be one of many tasks that want the CPU, so its CPU time counts. */
static bool late_in_batch(void)
{
	long us;

	ksm_check(ksm_poll(ksmd_works, NULL), "ksmd works");
	us = ksmd_us();
	freeze_tasks();
	us = ksmd_us() - us;
	ksft_print_msg("ksmd worked for %ld us\n", us);
	return us > BATCH_US;
}

static bool late_in_pause(void)
{
	long ms;

	ksm_wait_asleep();
	ms = ksm_now_ms();
	freeze_tasks();
	ms = ksm_now_ms() - ms;
	ksft_print_msg("all tasks were frozen and went on within %ld ms\n", ms);
	return ms > SOON_MS;
}

/* Other programs on the machine delay a suspend, too, but not each. */
static void expect_quick_suspends(bool (*late)(void))
{
	unsigned int i, nr, tries = 3;

	do {
		if (!tries--)
			ksm_fail("most suspends are delayed by ksmd");
		for (i = 0, nr = 0; i < SUSPENDS; i++)
			nr += late();
	} while (nr > SUSPENDS / 2);
}

static void suspend_during_batch(void)
{
	size_t pages = quarter_of_memory(131072);

	begin_suspend_test();
	ksm_fill_unique(ksm_map_mergeable(pages), pages, SEED);
	ksm_set("pages_to_scan", 4294967295);
	ksm_set("run", 1);
	expect_quick_suspends(late_in_batch);
}

/* New memory is scanned with half a percent of a CPU: ksmd sleeps half a second at a time. */
static void suspend_during_pause(void)
{
	size_t pages = quarter_of_memory(32768);

	begin_suspend_test();
	ksm_fill_unique(ksm_map_mergeable(pages), pages, SEED);
	ksm_set("advisor_full_available", 1);
	ksm_set("advisor_start_available", 1);
	ksm_check(!ksm_try("advisor_mode", "pressure"), "advisor_mode accepts pressure");
	ksm_set("run", 1);
	expect_quick_suspends(late_in_pause);
}

static const struct ksm_case cases[] = {
	{ "a write to run beside page tables that map nothing", empty_tables },
	{ "a write to run while pages_to_scan has no limit", unlimited_pages },
	{ "a write to run while pages come and go", new_pages },
	{ "suspend during a batch", suspend_during_batch },
	{ "suspend while ksmd pauses", suspend_during_pause },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
