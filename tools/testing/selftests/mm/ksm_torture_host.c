// SPDX-License-Identifier: GPL-2.0
/*
 * What an administrator may do at any time: write to the controls of KSM, have memory
 * compacted, collapsed, balanced, swapped and taken offline, and read all figures. What
 * the machine does not have is left out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/time.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

#define CGROUP		"/sys/fs/cgroup/"
#define CONFINED	CGROUP "ksm_torture/"
#define BOMBS		CGROUP "ksm_torture_bombs/"
#define MEMORY		"/sys/devices/system/memory/"
#define MOST_REFUSALS	2
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define CMA		"/sys/kernel/debug/cma/reserved/"

/* zram is read synchronously, a disk through the swap cache. */
static const char *const swaps[] = { "/dev/zram0", "/dev/vda" };

struct setting {
	const char *path;
	const char *values[6];
};

static const struct setting knobs[] = {
	{ "run", { "1", "1", "1", "0", "2" } },
	{ "run", { "1", "1", "1", "1", "1" } },
	{ "pages_to_scan", { "1", "100", "10000", "4000000000", "nonsense" } },
	{ "sleep_millisecs", { "0", "0", "1", "20" } },
	{ "merge_across_nodes", { "0", "1", "2" } },
	{ "merge_across_cgroups", { "0", "1", "2" } },
	{ "use_zero_pages", { "0", "1" } },
	{ "max_page_sharing", { "2", "3", "10", "256", "1" } },
	{ "min_ptes_merged", { "1", "2", "64", "512", "0" } },
	{ "stable_node_chains_prune_millisecs", { "0", "1", "2000" } },
	{ "smart_scan", { "0", "1" } },
	{ "advisor_mode", { "none", "none", "scan-time", "pressure", "no-mode" } },
	{ "advisor_max_cpu", { "1", "70", "100" } },
	{ "advisor_min_pages_to_scan", { "1", "500", "5000" } },
	{ "advisor_max_pages_to_scan", { "100", "30000", "1000000" } },
	{ "advisor_target_scan_time", { "0", "1", "200" } },
	{ "advisor_start_available", { "1", "20", "100" } },
	{ "advisor_full_available", { "1", "20", "100" } },
};

static const struct setting machine[] = {
	{ "/proc/sys/vm/compact_memory", { "1" } },
	{ "/proc/sys/vm/drop_caches", { "1", "2", "3" } },
	{ "/proc/sys/kernel/numa_balancing", { "0", "1" } },
	{ "/proc/sys/vm/swappiness", { "0", "60", "200" } },
	{ THP "enabled", { "always", "madvise", "never" } },
	{ THP "defrag", { "always", "madvise", "never" } },
	{ THP "khugepaged/scan_sleep_millisecs", { "0", "100", "10000" } },
	{ THP "khugepaged/alloc_sleep_millisecs", { "0", "100" } },
	{ THP "khugepaged/max_ptes_shared", { "0", "256", "511" } },
	/* CMA allocates whole ranges. Their pages have to be moved. */
	{ CMA "alloc", { "16", "512", "4096" } },
	{ CMA "free", { "100", "16384" } },
	{ CONFINED "memory.reclaim", { "1M", "8M" } },
	{ CONFINED "memory.high", { "max", "max", "8M", "16M" } },
	/* With little memory and swap, the OOM killer has to act. */
	{ CONFINED "memory.max", { "6M", "12M", "32M", "32M" } },
	{ CONFINED "memory.swap.max", { "0", "4M", "max" } },
};

static const char *any_value(struct dice *dice, const struct setting *setting)
{
	unsigned int count = 0;

	while (count < ARRAY_SIZE(setting->values) && setting->values[count])
		count++;
	return setting->values[roll(dice, count)];
}

static void beat(enum torture_role role)
{
	__atomic_fetch_add(&torture->role_beats[role], 1, __ATOMIC_RELAXED);
}

static void read_line(const char *path, char *text, size_t size)
{
	FILE *file = fopen(path, "r");

	if (!file || !fgets(text, size, file))
		text[0] = '\0';
	if (file)
		fclose(file);
}

/* While allocations fail, reading a file may fail, too. */
static long knob_value(const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", name);
	read_line(path, text, sizeof(text));
	return text[0] ? strtol(text, NULL, 10) : -1;
}

/* Two controls can be changed only while nothing is shared. */
static void flip(struct dice *dice)
{
	static const struct setting flips[] = {
		{ "merge_across_nodes", { "0", "1" } },
		{ "max_page_sharing", { "2", "3", "10", "256" } },
	};
	const struct setting *knob = &flips[roll(dice, ARRAY_SIZE(flips))];
	const char *value = any_value(dice, knob);
	long before;

	ksm_try("run", "2");
	before = knob_value(knob->path);
	if (!ksm_try(knob->path, value) && before >= 0 &&
	    before != strtol(value, NULL, 10))
		torture_count(COUNT_FLIPS);
	ksm_try("run", "1");
}

static bool may_write(const struct setting *knob)
{
	return strcmp(knob->path, "merge_across_cgroups") ||
	       !__atomic_load_n(&torture->keep_domains, __ATOMIC_RELAXED);
}

void torture_knobs(uint64_t seed, enum torture_role role)
{
	const struct setting *knob;
	unsigned int turn = 0;
	struct dice dice;

	dice_init(&dice, seed, 11);
	if (chance(&dice, 50))
		faults_hit_me();
	for (;;) {
		beat(role);
		knob = &knobs[roll(&dice, ARRAY_SIZE(knobs))];
		if (may_write(knob))
			ksm_try(knob->path, any_value(&dice, knob));
		if (turn++ % 6 == 0)
			flip(&dice);
		usleep(roll(&dice, 200000));
		/* Most of the time ksmd should run. */
		if (chance(&dice, 30))
			ksm_try("run", "1");
	}
}

/* Memory outside of ZONE_MOVABLE cannot be moved, or takes long. */
static bool is_movable(size_t block)
{
	char path[128], text[128];

	/* Some blocks have pages that cannot be moved. */
	if (torture->refusals[block] >= MOST_REFUSALS)
		return false;
	snprintf(path, sizeof(path), MEMORY "memory%zu/valid_zones", block);
	read_line(path, text, sizeof(text));
	return !strncmp(text, "Movable", strlen("Movable"));
}

/* Whether one of these pages is shared and in a block that may go offline. */
static bool has_shared(int flags_of_all, size_t pfn, size_t pages, size_t per_block)
{
	static uint64_t flags[1024];
	ssize_t size = pread(flags_of_all, flags, pages * sizeof(*flags), pfn * sizeof(*flags));
	ssize_t i;

	for (i = 0; i < size / (ssize_t)sizeof(*flags); i++)
		if (flags[i] & KPF_KSM_BIT)
			return is_movable(pfn / per_block);
	return false;
}

/* A block with a shared page, searched from a random place, or -1. */
static long shared_block(struct dice *dice)
{
	char text[32];
	int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	size_t per_block, all, i, first;
	long block = -1;

	read_line(MEMORY "block_size_bytes", text, sizeof(text));
	per_block = strtoul(text, NULL, 16) / psize();
	all = TORTURE_BLOCKS * per_block;
	first = all ? roll(dice, all / 1024) * 1024 : 0;
	for (i = 0; i < all && block < 0; i += 1024)
		if (has_shared(fd, (first + i) % all, 1024, per_block))
			block = (first + i) % all / per_block;
	close(fd);
	return block;
}

/* In other zones, chance decides whether memory can be taken offline. */
static void offline_memory(struct dice *dice)
{
	char path[128];
	long block = chance(dice, 70) ? shared_block(dice) : -1;
	bool shared = block >= 0;
	int err;

	if (!shared)
		block = roll(dice, TORTURE_BLOCKS);
	snprintf(path, sizeof(path), MEMORY "memory%ld/state", block);
	/* The kernel tries until all pages have moved, or a signal comes. */
	alarm(10);
	err = ksm_write_file(path, "offline");
	alarm(0);
	if (err) {
		torture->refusals[block] += err != -EINTR;
		return;
	}
	torture->refusals[block] = 0;
	torture_count(shared ? COUNT_BLOCKS_SHARED : COUNT_BLOCKS);
	usleep(roll(dice, 300000));
	ksm_write_file(path, "online_movable");
	ksm_write_file(path, "online");
}

/* Swap areas of one priority are used in turn. */
static void add_swap(const char *path)
{
	swapon(path, SWAP_FLAG_PREFER | 1);
}

static void renew_swap(struct dice *dice)
{
	const char *path = swaps[roll(dice, ARRAY_SIZE(swaps))];

	if (swapoff(path))
		return;
	usleep(roll(dice, 100000));
	add_swap(path);
}

/* For a moment, the limit is so low that the OOM killer acts unless all is shared. */
static void tighten(struct dice *dice)
{
	static const char *const rooms[] = { "512K", "1M", "2M", "4M" };

	ksm_write_file(CONFINED "memory.swap.max", "0");
	ksm_write_file(CONFINED "memory.max", rooms[roll(dice, ARRAY_SIZE(rooms))]);
	usleep(roll(dice, 100000));
	ksm_write_file(CONFINED "memory.max", "32M");
	ksm_write_file(CONFINED "memory.swap.max", "max");
}

static void on_alarm(int signal)
{
}

static void online_all(void)
{
	char path[128];
	unsigned int block;

	for (block = 0; block < TORTURE_BLOCKS; block++) {
		snprintf(path, sizeof(path), MEMORY "memory%u/state", block);
		ksm_write_file(path, "online");
	}
}

static void add_swaps(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(swaps); i++)
		add_swap(swaps[i]);
}

/* The process that did this before may have been killed half-way. */
void torture_offline(uint64_t seed, enum torture_role role)
{
	static const struct sigaction alarm_action = { .sa_handler = on_alarm };
	struct dice dice;

	sigaction(SIGALRM, &alarm_action, NULL);
	dice_init(&dice, seed, 14);
	online_all();
	for (;;) {
		beat(role);
		offline_memory(&dice);
		usleep(roll(&dice, 2000000));
	}
}

void torture_machine(uint64_t seed, enum torture_role role)
{
	const struct setting *setting;
	unsigned int turn = 0;
	struct dice dice;

	dice_init(&dice, seed, 12);
	add_swaps();
	for (;;) {
		beat(role);
		setting = &machine[roll(&dice, ARRAY_SIZE(machine))];
		ksm_write_file(setting->path, any_value(&dice, setting));
		if (torture->faults && chance(&dice, 5))
			faults_choose(&dice);
		if (turn++ % 10 == 5)
			tighten(&dice);
		if (chance(&dice, 3))
			renew_swap(&dice);
		usleep(roll(&dice, 400000));
	}
}

static void read_all(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		return;
	while (read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
}

static void read_process(const char *pid, struct dice *dice)
{
	static const char *const files[] = {
		"ksm_stat", "ksm_merging_pages", "smaps", "smaps_rollup", "numa_maps",
	};
	char path[300];

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, files[roll(dice, ARRAY_SIZE(files))]);
	read_all(path);
}

static void read_processes(struct dice *dice)
{
	struct dirent *entry;
	DIR *proc = opendir("/proc");

	while (proc && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && chance(dice, 30))
			read_process(entry->d_name, dice);
	if (proc)
		closedir(proc);
}

void torture_read(uint64_t seed, enum torture_role role)
{
	struct dice dice;
	char text[128];
	unsigned int i;

	dice_init(&dice, seed, 13);
	for (;;) {
		beat(role);
		for (i = 0; i < KSM_NR_FILES; i++)
			ksm_get_text(ksm_files[i], text, sizeof(text));
		read_processes(&dice);
		usleep(roll(&dice, 1000000));
	}
}

/* An alarm ends a write early, and so does the exit of the process. */
static void merge_now(const char *pid, struct dice *dice)
{
	const struct itimerval soon = { .it_value.tv_usec = 1 + roll(dice, 20000) };
	const struct itimerval never = {};
	char path[300];
	int err;

	snprintf(path, sizeof(path), "/proc/%s/ksm_merge", pid);
	if (chance(dice, 20))
		setitimer(ITIMER_REAL, &soon, NULL);
	err = ksm_write_file(path, "1");
	setitimer(ITIMER_REAL, &never, NULL);
	if (!err)
		torture_count(COUNT_MERGED_NOW);
	else if (err == -EINTR)
		torture_count(COUNT_INTERRUPTED);
}

/* Two of these and ksmd may merge one process at the same time. */
void torture_merge_now(uint64_t seed, enum torture_role role)
{
	static const struct sigaction alarm_action = { .sa_handler = on_alarm };
	struct dirent *entry;
	struct dice dice;
	DIR *proc;

	sigaction(SIGALRM, &alarm_action, NULL);
	dice_init(&dice, seed, 15 + role);
	for (;;) {
		proc = opendir("/proc");
		while (proc && (entry = readdir(proc))) {
			if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !chance(&dice, 30))
				continue;
			beat(role);
			merge_now(entry->d_name, &dice);
		}
		if (proc)
			closedir(proc);
		usleep(roll(&dice, 300000));
	}
}

/* Moves the caller to the cgroup in which memory is short. Its children follow. */
void torture_confine(void)
{
	ksm_write_file(CONFINED "cgroup.procs", "0");
}

/* Whether that cgroup can limit the number of processes, too. */
bool torture_confine_bomb(void)
{
	return !ksm_write_file(BOMBS "cgroup.procs", "0") &&
	       !access(BOMBS "pids.max", F_OK);
}

static long oom_kills_in(const char *events)
{
	char value[32];

	return ksm_field(events, "oom_kill", value, sizeof(value)) ? strtol(value, NULL, 10) : 0;
}

static void make_cgroups(void)
{
	ksm_write_file(CGROUP "cgroup.subtree_control", "+memory");
	ksm_write_file(CGROUP "cgroup.subtree_control", "+pids");
	mkdir(CONFINED, 0755);
	ksm_write_file(CONFINED "memory.max", "32M");
	mkdir(BOMBS, 0755);
	ksm_write_file(BOMBS "memory.max", "32M");
	ksm_write_file(BOMBS "pids.max", "64");
}

/* A disk in memory, for the requests of ksm_torture_io.c. */
static void make_disk(void)
{
	/* Opening the file and reading the number makes the device. */
	read_all("/sys/class/zram-control/hot_add");
	ksm_write_file("/sys/block/zram1/disksize", "1G");
}

void torture_set_up(void)
{
	unsigned int i;

	make_disk();
	for (i = 0; i < ARRAY_SIZE(swaps); i++) {
		swapoff(swaps[i]);
		add_swap(swaps[i]);
	}
	make_cgroups();
	torture_cgroups_set_up();
	ksm_try("sleep_millisecs", "0");
	ksm_try("pages_to_scan", "10000");
	ksm_try("run", "1");
	if (torture->faults)
		faults_begin();
}

/* Undo settings that could keep processes from ending. */
void torture_tear_down(void)
{
	if (torture->faults)
		faults_end();
	online_all();
	add_swaps();
	torture->counts[COUNT_OOM_DEATHS] = oom_kills_in(CONFINED "memory.events") +
					    oom_kills_in(BOMBS "memory.events");
	ksm_write_file(CONFINED "memory.high", "max");
	ksm_write_file(CONFINED "memory.max", "max");
	ksm_write_file(CONFINED "memory.swap.max", "max");
	ksm_write_file(BOMBS "memory.max", "max");
	ksm_try("advisor_mode", "none");
	ksm_try("pages_to_scan", "10000");
	ksm_try("sleep_millisecs", "0");
}
