// SPDX-License-Identifier: GPL-2.0
/*
 * The pressure advisor: little CPU time and only new memory while memory is plentiful,
 * and all that advisor_max_cpu allows once it is short.
 *
 * Whether memory is short is decided by advisor_start_available and
 * advisor_full_available, so no case has to use it up.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

/* So few that a slow kernel merges them soon. */
#define PAGES	20
#define SEED	0x9e550000
#define OTHER_SEED	(SEED + 0x1000)

/* Percent of memory that is available, for this test. */
static long available(void)
{
	char total[KSM_TEXT], left[KSM_TEXT];

	ksm_check(ksm_field("/proc/meminfo", "MemTotal:", total, sizeof(total)) &&
		  ksm_field("/proc/meminfo", "MemAvailable:", left, sizeof(left)),
		  "/proc/meminfo has MemTotal and MemAvailable");
	return atol(left) * 100 / atol(total);
}

static void make_plentiful(void)
{
	if (available() < 10)
		ksm_skip("memory is short here");
	ksm_set("advisor_full_available", 1);
	ksm_set("advisor_start_available", 2);
}

static void make_short(void)
{
	ksm_set("advisor_start_available", 100);
	ksm_set("advisor_full_available", 100);
}

static char *begin(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("smart_scan", 1);
	if (ksm_try("advisor_mode", "pressure"))
		ksm_fail("advisor_mode does not accept pressure");
	return area;
}

static bool all_seen(void *unused)
{
	return ksm_get("pages_volatile") == PAGES || ksm_get("pages_sharing") == PAGES - 1;
}

/*
 * The passes that merge it may take a debug kernel many minutes with half a percent of a
 * CPU, so the case waits for the first pass alone.
 */
static void scans_new_memory(void)
{
	char *area;

	make_plentiful();
	area = begin();
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_seen, NULL), "new memory is scanned");
	make_short();
	ksm_check(ksm_wait_figure("pages_sharing", PAGES - 1), "it merges");
	ksm_check_same(area, PAGES, SEED);
}

static bool all_known(void *unused)
{
	return ksm_get("pages_unshared") == PAGES;
}

/* A change of known memory waits until memory is short, and then waits no longer. */
static void leaves_known_memory(void)
{
	char *area;
	long began;

	make_short();
	area = begin();
	ksm_set("smart_scan", 0);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_poll(all_known, NULL), "all pages get known");
	make_plentiful();
	/* Until ksmd has decided and a pass that began before has ended. */
	sleep(2);
	ksm_fill_same(area, PAGES, SEED);
	sleep(3);
	ksm_expect("pages merged while memory is plentiful", ksm_get("pages_sharing"), 0);
	began = ksm_now_ms();
	make_short();
	ksm_check(ksm_wait_figure("pages_sharing", PAGES - 1), "short memory merges");
	ksft_print_msg("all was merged %ld ms after memory got short\n",
		       ksm_now_ms() - began);
	ksm_check_same(area, PAGES, SEED);
	/* It stays merged once memory is plentiful again. */
	ksm_set("advisor_full_available", 1);
	ksm_set("advisor_start_available", 2);
	sleep(1);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), PAGES - 1);
}

/* Writes again and again to more memory than its cgroup may have. */
static void *write_in_turn(void *unused)
{
	const size_t pages = (32 << 20) / psize();
	char *area = ksm_map(pages);
	size_t i;

	for (i = 0;; i = (i + 1) % pages)
		area[i * psize()]++;
	return unused;
}

static void stall_cgroup(void)
{
	pthread_t thread;

	ksm_enter_cgroup();
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.max", "16M"), "memory.max is set");
	ksm_check(!pthread_create(&thread, NULL, write_in_turn, NULL), "pthread_create");
}

static void run_in_cgroup(struct ksm_child *self, void *arg)
{
	void (*const *get_short)(void) = arg;
	char *area = ksm_map_mergeable(PAGES);

	/* What is swapped out does not merge. */
	ksm_check(!mlock(area, PAGES * psize()), "mlock");
	ksm_fill_unique(area, PAGES, OTHER_SEED);
	ksm_child_pause(self);
	ksm_fill_same(area, PAGES, OTHER_SEED);
	(*get_short)();
	ksm_child_pause(self);
	ksm_check_same(area, PAGES, OTHER_SEED);
	ksm_child_pause(self);
}

/* Known memory of processes in the cgroup is scanned; that of other processes is not. */
static void scans_memory_of_cgroup(void (*get_short)(void))
{
	struct ksm_child child;
	char *area;

	ksm_child_start(&child, run_in_cgroup, &get_short);
	ksm_child_wait(&child);
	make_short();
	area = begin();
	ksm_set("smart_scan", 0);
	ksm_fill_unique(area, PAGES, SEED);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_unshared", 2 * PAGES), "all pages get known");
	make_plentiful();
	ksm_check(ksm_wait_figure("pages_to_scan", ksm_get("advisor_min_pages_to_scan")),
		  "ksmd notices that memory is plentiful");
	ksm_fill_same(area, PAGES, SEED);
	ksm_child_step(&child);
	ksm_check(ksm_wait_figure("pages_sharing", PAGES - 1), "known memory merges");
	ksm_passes(3);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), PAGES - 1);
	ksm_child_step(&child);
	ksm_check_same(area, PAGES, SEED);
}

static void cgroup_at_high(void)
{
	ksm_need_cgroup();
	scans_memory_of_cgroup(ksm_fill_cgroup_to_high);
}

static void cgroup_stalled(void)
{
	ksm_need_swap();
	ksm_need_cgroup();
	if (access(KSM_CGROUP "memory.pressure", R_OK))
		ksm_skip("this kernel has no CONFIG_PSI, or it was booted with psi=0");
	scans_memory_of_cgroup(stall_cgroup);
}

/* The CPU time that ksmd takes in some seconds, in percent. */
static double ksmd_percent(void)
{
	const long millisecs = 10000;
	long used = ksm_ksmd_ms();

	usleep(millisecs * 1000);
	used = ksm_ksmd_ms() - used;
	ksft_print_msg("ksmd took %ld of %ld ms\n", used, millisecs);
	return used * 100.0 / millisecs;
}

static void takes_little(void)
{
	unsigned int tries = 3;

	make_short();
	begin();
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", PAGES - 1), "all pages merge");
	make_plentiful();
	sleep(2);
	/* In a virtual machine the time that the host takes counts as that of ksmd. */
	while (ksmd_percent() >= 1)
		ksm_check(--tries, "ksmd takes less than 1 percent of a CPU");
}

static void shows_decisions(void)
{
	make_plentiful();
	begin();
	ksm_set("advisor_min_pages_to_scan", 600);
	ksm_set("advisor_max_pages_to_scan", 700);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_to_scan", 600), "batches are small at first");
	make_short();
	ksm_check(ksm_wait_figure("pages_to_scan", 700), "batches grow");
	ksm_expect("write to pages_to_scan", ksm_try("pages_to_scan", "100"), -EINVAL);
	ksm_try("advisor_mode", "none");
	ksm_expect("pages_to_scan", ksm_get("pages_to_scan"), 100);
}

/* A sleep of ksmd in another mode ends when the mode changes. */
static void mode_takes_effect(void)
{
	make_short();
	ksm_set("sleep_millisecs", 4000000);
	ksm_fill_same(ksm_map_mergeable(PAGES), PAGES, SEED);
	ksm_set("run", 1);
	ksm_wait_asleep();
	ksm_fill_same(ksm_map_mergeable(PAGES), PAGES, SEED + 1);
	ksm_try("advisor_mode", "pressure");
	ksm_check(ksm_wait_figure("pages_sharing", 2 * PAGES - 2), "ksmd wakes up and merges");
}

static const struct ksm_case cases[] = {
	{ "new memory is scanned while memory is plentiful", scans_new_memory },
	{ "known memory waits until memory is short", leaves_known_memory },
	{ "known memory of a cgroup at memory.high does not wait", cgroup_at_high },
	{ "known memory is scanned if its cgroup waits for memory", cgroup_stalled },
	{ "ksmd takes less than 1 percent of a CPU", takes_little },
	{ "the decision shows in pages_to_scan", shows_decisions },
	{ "a change of the mode ends a sleep", mode_takes_effect },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
