// SPDX-License-Identifier: GPL-2.0
/*
 * A census: all processes stop, and so does ksmd after it has visited each page. Then the
 * figures of all processes are added up, and have to equal those of KSM.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

/* How long to wait for operations to end. If they do not, there is no census. */
#define PARK_MS		20000L
#define STOP_MS		10000L
/* A process may exit while others are stopped, so a difference has to repeat. */
#define CENSUSES	4

/* With more processes, two of one mm would not be recognised. */
#define MOST_PROCESSES	1024

/**
 * struct sums - the figures of all processes
 * @merging: merged pages
 * @records: pages with a record
 * @zeros: zero pages
 * @pids: processes with such pages, one for each mm
 * @nr: elements of @pids in use
 */
struct sums {
	long merging;
	long records;
	long zeros;
	pid_t pids[MOST_PROCESSES];
	unsigned int nr;
};

/* All processes of the group except the caller. */
static bool is_member(pid_t pid)
{
	return pid > 0 && pid != getpid() && getpgid(pid) == getpgrp();
}

/* Whether a process is neither stopped nor dead. */
static bool runs(pid_t pid)
{
	char path[64], state = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return !strchr("TtZX", state);
}

/* Sends a signal to all. Returns how many still run. */
static unsigned int signal_all(int signal)
{
	unsigned int running = 0;
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	pid_t pid;

	while (proc && (entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		if (!is_member(pid))
			continue;
		running += runs(pid);
		if (runs(pid) || signal != SIGSTOP)
			kill(pid, signal);
	}
	if (proc)
		closedir(proc);
	return running;
}

void torture_end_all(void)
{
	signal_all(SIGKILL);
}

static bool stop_all(void)
{
	long end = ksm_now_ms() + STOP_MS;

	while (signal_all(SIGSTOP)) {
		if (ksm_now_ms() > end)
			return false;
		usleep(2000);
	}
	return true;
}

static bool all_parked(void)
{
	unsigned int i;

	torture_collect();
	for (i = 0; i < TORTURE_WORKERS; i++)
		if (!__atomic_load_n(&torture->parked[i], __ATOMIC_RELAXED))
			return false;
	return true;
}

/* Workers stop between two operations, and their children anywhere. */
static bool park_all(void)
{
	long end = ksm_now_ms() + PARK_MS;

	__atomic_store_n(&torture->pause, 1, __ATOMIC_RELAXED);
	while (!all_parked()) {
		if (ksm_now_ms() > end)
			return false;
		usleep(10000);
	}
	return true;
}

/* Two passes: the first may not visit processes that have exited. */
static bool pass(void)
{
	long end = ksm_now_ms() + KSM_PATIENCE_MS, want = ksm_get("full_scans") + 2;

	ksm_try("advisor_mode", "none");
	ksm_try("pages_to_scan", "10000");
	ksm_try("sleep_millisecs", "0");
	ksm_try("run", "1");
	while (ksm_get("full_scans") < want) {
		if (ksm_now_ms() > end)
			return false;
		usleep(1000);
	}
	return !ksm_try("run", "0");
}

/* A field of a process that has exited is 0. */
static long stat_of(pid_t pid, const char *name)
{
	char value[32];

	return ksm_stat_text(pid, name, value, sizeof(value)) ? strtol(value, NULL, 10) : 0;
}

/*
 * Processes made by vfork() or with CLONE_VM share an mm, and each shows its figures.
 * Without kcmp() they are not recognised.
 */
static bool is_counted(const struct sums *sums, pid_t pid)
{
	unsigned int i;

	for (i = 0; i < sums->nr; i++)
		if (!syscall(SYS_kcmp, pid, sums->pids[i], KCMP_VM, 0, 0))
			return true;
	return false;
}

static void add_process(struct sums *sums, pid_t pid)
{
	const long merging = stat_of(pid, "ksm_merging_pages");
	const long records = stat_of(pid, "ksm_rmap_items");
	const long zeros = stat_of(pid, "ksm_zero_pages");

	if ((!merging && !records && !zeros) || is_counted(sums, pid))
		return;
	sums->merging += merging;
	sums->records += records;
	sums->zeros += zeros;
	if (sums->nr < MOST_PROCESSES)
		sums->pids[sums->nr++] = pid;
}

static void add_up(struct sums *sums)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t pid;

	memset(sums, 0, sizeof(*sums));
	while (proc && (entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		if (pid > 0)
			add_process(sums, pid);
	}
	if (proc)
		closedir(proc);
}

static bool is_right(char *text, size_t size)
{
	long shared = ksm_get("pages_shared") + ksm_get("pages_sharing");
	long known = shared + ksm_get("pages_unshared") + ksm_get("pages_volatile");
	long zeros = ksm_get("ksm_zero_pages");
	struct sums sums;

	add_up(&sums);
	snprintf(text, size,
		 "torture: processes have %ld merged, %ld known, %ld zero pages; KSM %ld, %ld, %ld\n",
		 sums.merging, sums.records, sums.zeros, shared, known, zeros);
	ksm_write_file("/dev/kmsg", text);
	if (sums.merging == shared && sums.records == known && sums.zeros == zeros)
		return true;
	text[strcspn(text, "\n")] = '\0';
	return false;
}

bool torture_figures_are_zero(char *text, size_t size)
{
	static const char *const figures[] = {
		"pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
		"ksm_zero_pages", "stable_node_chains", "stable_node_dups",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(figures); i++) {
		long value = ksm_get(figures[i]);

		if (!value)
			continue;
		snprintf(text, size, "%s is %ld after run 2", figures[i], value);
		return false;
	}
	return true;
}

/*
 * While all processes are stopped, one write of 2 to run has to unmerge all. Then domains
 * are turned on or off.
 */
static bool unmerges(char *text, size_t size)
{
	if (ksm_try("run", "2"))
		return true;
	torture_count(COUNT_UNMERGED);
	torture_set_domains(!torture_has_domains());
	return torture_figures_are_zero(text, size) && is_right(text, size);
}

static bool count_all(bool unmerge, char *text, size_t size)
{
	bool right = true;

	text[0] = '\0';
	if (stop_all() && pass()) {
		right = is_right(text, size) && torture_domains_apart(text, size);
		if (right) {
			torture_count(COUNT_CENSUSES);
			if (unmerge)
				right = unmerges(text, size);
		}
	}
	signal_all(SIGCONT);
	return right;
}

void torture_census(bool unmerge)
{
	char text[TORTURE_REASON];
	unsigned int tries = 0;

	while (park_all() && !count_all(unmerge, text, sizeof(text)) && ++tries < CENSUSES)
		usleep(300000);
	if (tries == CENSUSES && !torture->reason[0])
		memcpy(torture->reason, text, sizeof(text));
	ksm_try("run", "1");
	__atomic_store_n(&torture->pause, 0, __ATOMIC_RELAXED);
}
