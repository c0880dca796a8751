// SPDX-License-Identifier: GPL-2.0
/*
 * Processes that exit or are killed, and that leave and enter again.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x4000
#define PAGES		50
#define NR_MMS		200

static void busy_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(PAGES);
	uint64_t round;

	ksm_fill_same(area, PAGES, SEED);
	ksm_child_pause(self);
	for (round = 0; arg; round++)
		ksm_fill_same(area, PAGES / 2, SEED + round % 3);
	pause();
}

/*
 * Each child lives longer than the one before, so that the kill comes at different
 * points of ksmd's scan.
 */
static void killed_at_any_time(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < 60; i++) {
		ksm_child_start(&child, busy_child, i & 1 ? &child : NULL);
		ksm_child_wait(&child);
		ksm_child_go(&child);
		usleep(i * 300);
		ksm_child_kill(&child);
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void short_lived(void)
{
	char *area = ksm_map_mergeable(PAGES);
	unsigned int i;
	pid_t pid;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < NR_MMS; i++) {
		pid = fork();
		if (!pid) {
			ksm_fill_same(ksm_map_mergeable(4), 4, SEED);
			_exit(0);
		}
		ksm_wait_ok(pid);
	}
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void exit_while_stopped_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_fill_same(ksm_map_mergeable(PAGES), PAGES, SEED);
	ksm_child_pause(self);
}

/* ksmd is stopped, and yet nothing of the process may stay. */
static void exit_while_stopped(void)
{
	struct ksm_child child;

	ksm_child_start(&child, exit_while_stopped_child, NULL);
	ksm_child_wait(&child);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_child_end(&child);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void enters_again(void)
{
	char *area = ksm_map(PAGES);
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	for (i = 0; i < 5; i++) {
		ksm_mergeable(area, PAGES);
		ksm_settle();
		ksm_expect_figures(1, PAGES - 1, 0);
		ksm_unmergeable(area, PAGES);
		ksm_set("run", 1);
		usleep(20000);
		ksm_stop();
	}
	ksm_check_same(area, PAGES, SEED);
}

static const struct ksm_case cases[] = {
	{ "processes killed at any time", killed_at_any_time },
	{ "many short-lived processes", short_lived },
	{ "exit while ksmd is stopped", exit_while_stopped },
	{ "a process leaves and enters again", enters_again },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
