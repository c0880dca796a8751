// SPDX-License-Identifier: GPL-2.0
/*
 * Signals while pages are unmerged: by run 2, by MADV_UNMERGEABLE, and by the prctl.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_holder.h"

#define SEED		0x4000
#define PAGES		50
/* Unmerging a long area takes so long, which is many ticks, on a machine of any speed. */
#define LONG_USECS	60000
#define LEAST_PAGES	512
#define MOST_PAGES	8192
#define UNIT_PAGES	64
#define ATTEMPTS	20
/* Pages that are not merged. Walking so many PTEs takes many ticks, too. */
#define POPULATED	(256UL * 1024)
/* Pages that take seconds to unmerge, and the time in which a task that waits has to die. */
#define HELD_PAGES	(psize() > 4096 ? 5000 : 20000)
#define KILL_MS		1500

static size_t long_pages;

/* A way to unmerge: how to map the memory, and how to unmerge it. */
struct way {
	char *(*map)(void);
	int (*unmerge)(char *area);
	/* Whether the memory is still mergeable after it was unmerged. */
	bool keeps_advice;
};

static char *map_advised(void)
{
	return ksm_map_mergeable(long_pages);
}

/* Taken out of merging although its process is under the prctl. */
static char *excluded;

static char *map_under_prctl(void)
{
	if (!excluded)
		excluded = ksm_map(1);
	ksm_expect("PR_SET 1", ksm_set_merge(1), 0);
	ksm_unmergeable(excluded, 1);
	return ksm_map(long_pages);
}

static int unmerge_by_run(char *area)
{
	(void)area;
	return ksm_try("run", "2");
}

static int unmerge_by_advice(char *area)
{
	return madvise(area, long_pages * psize(), MADV_UNMERGEABLE) ? -errno : 0;
}

static int unmerge_by_prctl(char *area)
{
	(void)area;
	return ksm_set_merge(0) ? -errno : 0;
}

static const struct way by_run = { map_advised, unmerge_by_run, true };
static const struct way by_advice = { map_advised, unmerge_by_advice, false };
static const struct way by_prctl = { map_under_prctl, unmerge_by_prctl, false };

static unsigned int signals;

static void on_timer(int signal)
{
	(void)signal;
	__atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
}

/* A timer of CPU time would expire only at the end of the system call. */
static void set_timer(long usecs)
{
	struct itimerval value = { .it_value = { usecs / 1000000, usecs % 1000000 } };

	ksm_check(!setitimer(ITIMER_REAL, &value, NULL), "setitimer");
}

static void catch_timer(int flags)
{
	struct sigaction action = { .sa_handler = on_timer, .sa_flags = flags };

	ksm_check(!sigaction(SIGALRM, &action, NULL), "sigaction");
}

static long now_usecs(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static long merged_in(const char *area)
{
	char value[64];

	ksm_check(ksm_smaps(area, "KSM", value, sizeof(value)), "smaps tells of KSM");
	return strtol(value, NULL, 10) * 1024 / psize();
}

static char *long_merged_area(const struct way *way)
{
	char *area = way->map();

	ksm_fill_same(area, long_pages, SEED);
	ksm_settle();
	ksm_expect("merged pages", merged_in(area), long_pages);
	return area;
}

static void end_of_area(char *area)
{
	munmap(area, long_pages * psize());
	ksm_unmerge_all();
	ksm_stop();
	ksm_expect_nothing();
}

static void expect_unmerged(const struct way *way, char *area)
{
	ksm_expect("merged pages after unmerging", merged_in(area), 0);
	ksm_check(ksm_vmflag(area, "mg") == way->keeps_advice,
		  "only advised memory stays mergeable");
	ksm_check_same(area, long_pages, SEED);
}

/* Returns how many microseconds an unmerge takes without a signal. */
static long undisturbed(const struct way *way)
{
	char *area = long_merged_area(way);
	long begin = now_usecs(), usecs;

	ksm_expect("unmerging", way->unmerge(area), 0);
	usecs = now_usecs() - begin;
	expect_unmerged(way, area);
	end_of_area(area);
	return usecs;
}

/* Unmerges with a signal after @usecs. Returns the result of the unmerge. */
static int disturb(const struct way *way, char *area, long usecs)
{
	int err;

	__atomic_store_n(&signals, 0, __ATOMIC_RELAXED);
	set_timer(usecs);
	err = way->unmerge(area);
	set_timer(0);
	return err;
}

/*
 * A part is unmerged, each VMA is as mergeable as before, and a second call unmerges
 * the rest.
 */
static void check_half_way(const struct way *way, char *area)
{
	ksm_expect("run", ksm_get("run"), 0);
	ksm_check(ksm_vmflag(area, "mg"), "what is left is mergeable");
	/* The VMA of @signals had been unmerged before. */
	ksm_check(ksm_vmflag(&signals, "mg") == (way == &by_prctl),
		  "other VMAs are as mergeable as before");
	ksm_check(!excluded || !ksm_vmflag(excluded, "mg"),
		  "a VMA that was taken out is not mergeable again");
	ksm_expect("PR_GET", ksm_get_merge(), way == &by_prctl);
	ksm_check_same(area, long_pages, SEED);
	ksm_expect("unmerging the rest", way->unmerge(area), 0);
	expect_unmerged(way, area);
}

static bool is_half_way(const char *area)
{
	long left = merged_in(area);

	return left > 0 && left < long_pages;
}

/* Returns after how many microseconds a signal interrupts the unmerge. */
static long interrupt(const struct way *way, long usecs)
{
	unsigned int i;
	bool half_way;
	char *area;
	int err;

	catch_timer(0);
	for (i = 0; i < ATTEMPTS; i++) {
		area = long_merged_area(way);
		err = disturb(way, area, usecs);
		if (err && err != -EINTR)
			ksm_fail("a signal makes it fail with %s", strerror(-err));
		half_way = err && is_half_way(area);
		if (half_way)
			check_half_way(way, area);
		end_of_area(area);
		if (half_way)
			return usecs;
		usecs = err ? usecs * 2 : usecs * 2 / 3;
	}
	ksm_fail("in %d attempts no signal came half-way", ATTEMPTS);
}

/* With SA_RESTART the caller does not notice the signal. */
static void go_on(const struct way *way, long usecs)
{
	unsigned int i;
	char *area;

	catch_timer(SA_RESTART);
	for (i = 0; i < ATTEMPTS; i++) {
		area = long_merged_area(way);
		ksm_expect("unmerging that is restarted", disturb(way, area, usecs), 0);
		expect_unmerged(way, area);
		end_of_area(area);
		if (__atomic_load_n(&signals, __ATOMIC_RELAXED))
			return;
		usecs = usecs * 2 / 3;
	}
	ksm_fail("in %d attempts no signal came while it unmerged", ATTEMPTS);
}

static void choose_long_pages(const struct way *way)
{
	long pages;

	long_pages = LEAST_PAGES;
	pages = LEAST_PAGES * LONG_USECS / (undisturbed(way) + 1);
	if (pages > MOST_PAGES)
		pages = MOST_PAGES;
	/* One page more than some shared pages have room for would have no duplicate. */
	if (pages > LEAST_PAGES)
		long_pages = pages / UNIT_PAGES * UNIT_PAGES;
}

static void interrupted(const struct way *way)
{
	choose_long_pages(way);
	go_on(way, interrupt(way, undisturbed(way) / 2));
}

static void run_interrupted(void)
{
	interrupted(&by_run);
}

static void advice_interrupted(void)
{
	interrupted(&by_advice);
}

static void prctl_interrupted(void)
{
	interrupted(&by_prctl);
}

/* Reports the end of the unmerge. A kill after that came too late. */
static void unmerging_child(struct ksm_child *self, void *arg)
{
	const struct way *way = arg;
	char *area = way->map();

	ksm_fill_same(area, long_pages, SEED);
	ksm_child_pause(self);
	way->unmerge(area);
	ksm_child_pause(self);
}

/* Returns whether the child was killed while it unmerged. */
static bool kill_half_way(const struct way *way, long faults)
{
	struct ksm_child child;
	long before;
	bool done;

	ksm_child_start(&child, unmerging_child, (void *)way);
	ksm_child_wait(&child);
	ksm_settle();
	before = ksm_faults(child.pid);
	ksm_child_go(&child);
	while (!ksm_child_reported(&child) && ksm_faults(child.pid) < before + faults)
		;
	kill(child.pid, SIGKILL);
	waitpid(child.pid, NULL, 0);
	done = ksm_child_reported(&child);
	close(child.in);
	close(child.out);
	return !done;
}

/*
 * The child is killed early and in the middle of an unmerge. The parent's mappings of
 * the same KSM page do not change, and nothing is left of the child.
 */
static void killed_unmerging(const struct way *way)
{
	unsigned int i, tries, hits = 0;
	long faults[2] = { 1 };
	char *area;

	/* With the prctl, this ends all merging of the process. */
	choose_long_pages(way);
	faults[1] = long_pages / 2;
	area = ksm_map_mergeable(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		for (tries = 0; tries < ATTEMPTS && hits == i; tries++) {
			hits += kill_half_way(way, faults[i]);
			ksm_expect("run", ksm_get("run") % 2, 0);
			ksm_settle();
			ksm_expect_figures(1, PAGES - 1, 0);
			ksm_check_same(area, PAGES, SEED);
		}
	}
	ksm_expect("children that were killed half-way", hits, ARRAY_SIZE(faults));
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void killed_writing_run(void)
{
	killed_unmerging(&by_run);
}

static void killed_advising(void)
{
	killed_unmerging(&by_advice);
}

static void killed_in_prctl(void)
{
	killed_unmerging(&by_prctl);
}

/* Waits for the unmerge of another process to end. */
static void waiting_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_child_pause(self);
	ksm_try("run", "0");
	ksm_child_pause(self);
}

/* Returns whether a writer of run was killed while it waited for another one. */
static bool kill_waiting(void)
{
	struct ksm_child unmerging, waiting;
	long faults;
	bool waited;

	ksm_child_start(&unmerging, unmerging_child, (void *)&by_run);
	ksm_child_wait(&unmerging);
	ksm_child_start(&waiting, waiting_child, NULL);
	ksm_child_wait(&waiting);
	ksm_settle();
	faults = ksm_faults(unmerging.pid);
	ksm_child_go(&unmerging);
	while (!ksm_child_reported(&unmerging) && ksm_faults(unmerging.pid) == faults)
		;
	ksm_child_go(&waiting);
	while (!ksm_child_reported(&unmerging) && ksm_state(waiting.pid) != 'D')
		;
	kill(waiting.pid, SIGKILL);
	waitpid(waiting.pid, NULL, 0);
	waited = !ksm_child_reported(&unmerging);
	ksm_child_wait(&unmerging);
	ksm_child_end(&unmerging);
	close(waiting.in);
	close(waiting.out);
	return waited;
}

static void killed_waiting(void)
{
	unsigned int tries, hits = 0;

	choose_long_pages(&by_run);
	for (tries = 0; tries < ATTEMPTS && !hits; tries++) {
		hits += kill_waiting();
		ksm_unmerge_all();
		ksm_expect_nothing();
	}
	ksm_check(hits, "a writer of run can be killed while it waits");
}

static void hold(struct ksm_child *self, void *arg)
{
	(void)arg;
	holder_run(self, HELD_PAGES);
}

static void write_run(struct ksm_child *self, void *arg)
{
	(void)self;
	(void)arg;
	ksm_set("run", 2);
}

static void killed_at_busy_process(void)
{
	struct ksm_child holder, writer;
	long began, taken;
	pid_t hog;

	ksm_child_start(&holder, hold, NULL);
	ksm_child_wait(&holder);
	ksm_stop();
	hog = holder_begin(&holder);
	ksm_child_start(&writer, write_run, NULL);
	while (!ksm_child_reported(&holder) && ksm_state(writer.pid) != 'D')
		;
	began = ksm_now_ms();
	ksm_child_kill(&writer);
	taken = ksm_now_ms() - began;
	ksm_check(!ksm_child_reported(&holder), "the process holds its mmap_lock meanwhile");
	kill(hog, SIGKILL);
	if (taken > KILL_MS)
		ksm_fail("the writer was killed after %ld ms", taken);
	ksm_child_kill(&holder);
}

/* PTEs that map the zero page: nothing to unmerge, and no memory to pay for. */
static char *populated_area(void)
{
	char *area = ksm_map_mergeable(POPULATED);

	ksm_fill(area, SEED);
	if (madvise(area, POPULATED * psize(), MADV_POPULATE_READ))
		ksm_skip("MADV_POPULATE_READ: %s", strerror(errno));
	return area;
}

static int unmerge_populated(char *area)
{
	return madvise(area, POPULATED * psize(), MADV_UNMERGEABLE) ? -errno : 0;
}

/* An unmerge has to notice a signal while it finds nothing to unmerge, too. */
static void unmerged_interrupted(void)
{
	char *area = populated_area();
	unsigned int i, hits = 0;
	long usecs, least;
	int err;

	usecs = now_usecs();
	ksm_expect("unmerging", unmerge_populated(area), 0);
	usecs = (now_usecs() - usecs) / 2;
	least = usecs / 8 + 1;
	catch_timer(0);
	for (i = 0; i < ATTEMPTS; i++) {
		ksm_mergeable(area, POPULATED);
		set_timer(usecs);
		err = unmerge_populated(area);
		set_timer(0);
		ksm_check(!err || err == -EINTR, "MADV_UNMERGEABLE succeeds or is interrupted");
		ksm_expect("mergeable", ksm_vmflag(area, "mg"), !!err);
		hits += !!err;
		if (!err && usecs * 2 / 3 > least)
			usecs = usecs * 2 / 3;
	}
	if (hits < ATTEMPTS / 2)
		ksm_fail("%u of %d calls were interrupted", hits, ATTEMPTS);
}

static const struct ksm_case cases[] = {
	{ "a signal while run 2 is written", run_interrupted },
	{ "a signal in MADV_UNMERGEABLE", advice_interrupted },
	{ "a signal while the prctl is turned off", prctl_interrupted },
	{ "a kill while run 2 is written", killed_writing_run },
	{ "a kill in MADV_UNMERGEABLE", killed_advising },
	{ "a kill while the prctl is turned off", killed_in_prctl },
	{ "a kill while run is written and another write goes on", killed_waiting },
	{ "a kill while run 2 waits for a process", killed_at_busy_process },
	{ "a signal in MADV_UNMERGEABLE of memory that is not merged", unmerged_interrupted },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
