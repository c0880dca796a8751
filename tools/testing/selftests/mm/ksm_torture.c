// SPDX-License-Identifier: GPL-2.0
/*
 * Everything that a host does to KSM, at once, in an order that is drawn from a seed.
 * Workers use mergeable memory and check each word of it, are killed, and start again.
 * Disturbers write to every control, and have the kernel swap, migrate, compact and
 * collapse pages, and take them offline. In the end everything is unmerged, and all
 * figures have to be 0.
 *
 * usage: ksm_torture [--time SECONDS] [--seed NUMBER] [--faults]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

/* A worker hangs if it begins no operation for so long. */
#define HUNG_MS		180000L
#define REPORT_MS	20000L
/* How long a worker may take to check its memory at the end. */
#define END_MS		120000L
/* Disturbers are killed as well, though not often. */
#define ROLE_DEATHS	4
/* In a run of this length, each event has to occur. */
#define LONG_ENOUGH	60
#define CENSUS_MS	12000L
/* How much longer such a run may take: enough for several censuses. */
#define LONGER_MS	90000L

struct torture *torture;

/* The processes that were started, and whether this process killed them. */
struct member {
	pid_t pid;
	bool chosen;
	unsigned int generation;
};

static void (*const role_run[ROLES])(uint64_t seed, enum torture_role role) = {
	torture_knobs, torture_knobs, torture_machine, torture_offline, torture_read,
	torture_start_many, torture_cgroups, torture_merge_now, torture_merge_now,
};

static const char *const role_names[ROLES] = {
	"a writer of controls", "a second writer of controls", "the manager of the host",
	"the disturber that takes memory offline", "the reader of all files",
	"the disturber that starts processes", "the disturber that moves processes",
	"a writer to ksm_merge", "a second writer to ksm_merge",
};

static struct member workers[TORTURE_WORKERS], roles[ROLES];
static unsigned int started, deaths, role_deaths, oom_deaths;
/* How often merge_across_cgroups was read, and how often it was 0. */
static unsigned long samples, samples_with_domains;
static uint64_t first_seed;

void dice_init(struct dice *dice, uint64_t seed, uint64_t stream)
{
	dice->state = seed * 0x9e3779b97f4a7c15ULL + stream * 0xd1342543de82ef95ULL;
}

/* splitmix64 */
uint64_t roll(struct dice *dice, uint64_t sides)
{
	uint64_t z = dice->state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) % sides;
}

/* The first reason is the one that counts. */
void torture_fail(const char *fmt, ...)
{
	char text[TORTURE_REASON];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	dprintf(STDOUT_FILENO, "# %s\n", text);
	if (!torture->reason[0])
		memcpy(torture->reason, text, sizeof(text));
	_exit(KSFT_FAIL);
}

/* As fork(); the child dies with its parent. */
static pid_t start(void)
{
	pid_t pid = fork();

	if (pid < 0)
		torture_fail("fork: %s", strerror(errno));
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void end_member(struct member *member)
{
	if (!member->pid)
		return;
	member->chosen = true;
	kill(member->pid, SIGKILL);
}

static uint64_t seed_of(uint64_t stream)
{
	return first_seed * 1000003 + stream;
}

/* What a member does in its n-th life does not depend on when others die. */
static uint64_t seed_of_life(struct member *member, uint64_t number)
{
	return seed_of(1000 + 100 * ++member->generation + number);
}

static void start_role(enum torture_role role)
{
	uint64_t seed = seed_of_life(&roles[role], 50 + role);

	roles[role].chosen = false;
	roles[role].pid = start();
	if (!roles[role].pid)
		role_run[role](seed, role);
}

static void start_worker(unsigned int i)
{
	uint64_t seed = seed_of_life(&workers[i], i);

	started++;
	workers[i].chosen = false;
	workers[i].pid = start();
	if (!workers[i].pid)
		torture_work(i, seed);
}

/* If this process did not kill it, only the OOM killer may have done so. */
static bool died_rightly(const struct member *member, int status)
{
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		return false;
	if (member->chosen)
		return true;
	return ksm_vmstat("oom_kill") >= ++oom_deaths;
}

__printf(1, 2) static void blame(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!torture->reason[0])
		vsnprintf(torture->reason, TORTURE_REASON, fmt, args);
	va_end(args);
}

/* Before the end, a worker may be killed, and must not exit. */
static void worker_ended(unsigned int i, int status)
{
	workers[i].pid = 0;
	torture->parked[i] = false;
	if (!status && torture_over())
		return;
	if (!died_rightly(&workers[i], status)) {
		blame("worker %u ended with wait status 0x%x at %s", i, status,
		      torture->doing[i] ?: "its start");
		return;
	}
	deaths++;
	if (!torture_over())
		start_worker(i);
}

/* A disturber never exits. */
static void role_ended(enum torture_role role, int status)
{
	roles[role].pid = 0;
	if (!died_rightly(&roles[role], status)) {
		blame("%s ended with wait status 0x%x", role_names[role], status);
		return;
	}
	role_deaths++;
	if (!torture_over())
		start_role(role);
}

void torture_collect(void)
{
	int status;
	pid_t pid;
	unsigned int i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < TORTURE_WORKERS; i++)
			if (workers[i].pid == pid)
				worker_ended(i, status);
		for (i = 0; i < ROLES; i++)
			if (roles[i].pid == pid)
				role_ended(i, status);
	}
}

/* For the log of a run that takes long to end. */
static void note(const char *text)
{
	ksm_write_file("/dev/kmsg", text);
}

static void report(long left)
{
	unsigned long beats = 0;
	char text[160];
	unsigned int i;

	for (i = 0; i < TORTURE_WORKERS; i++)
		beats += torture->beats[i];
	snprintf(text, sizeof(text),
		 "torture: %ld s left, %lu operations, %u deaths, %ld shared, %ld sharing\n",
		 left / 1000, beats, deaths, ksm_get("pages_shared"), ksm_get("pages_sharing"));
	note(text);
}

struct beat {
	unsigned long last;
	long since;
};

static bool hangs(struct beat *beat, unsigned long now)
{
	if (beat->last != now || !beat->since) {
		beat->last = now;
		beat->since = ksm_now_ms();
	}
	return ksm_now_ms() - beat->since > HUNG_MS;
}

/* A process that stays in one operation for long hangs. */
static void watch_beats(void)
{
	static struct beat of_workers[TORTURE_WORKERS], of_roles[ROLES];
	unsigned int i;

	for (i = 0; i < TORTURE_WORKERS; i++)
		if (hangs(&of_workers[i], torture->beats[i]))
			blame("worker %u hangs at %s", i, torture->doing[i] ?: "its start");
	for (i = 0; i < ROLES; i++)
		if (hangs(&of_roles[i], torture->role_beats[i]))
			blame("%s hangs", role_names[i]);
}

static void kill_some(struct dice *dice)
{
	if (chance(dice, 40))
		end_member(&workers[roll(dice, TORTURE_WORKERS)]);
	if (chance(dice, ROLE_DEATHS))
		end_member(&roles[roll(dice, ROLES)]);
}

static bool all_compared(void)
{
	return torture->counts[COUNT_APART] && torture->counts[COUNT_TOGETHER];
}

/*
 * Domains may have been on at each census of a short run, or off at each, because the
 * processes that write to knobs change this too. Then the run goes on, and only a census
 * changes it, so that a few more are enough.
 */
static bool goes_on(long end, bool may_last_longer)
{
	const long now = ksm_now_ms();

	if (torture->reason[0])
		return false;
	if (now < end)
		return true;
	if (!may_last_longer || now >= end + LONGER_MS || all_compared())
		return false;
	__atomic_store_n(&torture->keep_domains, 1, __ATOMIC_RELAXED);
	return true;
}

/* Returns the seconds that it lasted; a failure ends it early. */
static long torment(long seconds)
{
	long begin = ksm_now_ms(), end = begin + seconds * 1000;
	long next = 0, census = begin + CENSUS_MS;
	bool unmerge = false;
	struct dice dice;

	dice_init(&dice, first_seed, 1);
	torture_set_domains(chance(&dice, 50));
	while (goes_on(end, seconds >= LONG_ENOUGH && torture->flag_trusted)) {
		usleep(50000 + roll(&dice, 400000));
		torture_collect();
		watch_beats();
		kill_some(&dice);
		samples++;
		samples_with_domains += torture_has_domains();
		if (ksm_now_ms() > census) {
			/* Every second census unmerges, and so turns domains on or off. */
			unmerge = !unmerge;
			torture_census(unmerge);
			census = ksm_now_ms() + CENSUS_MS;
		}
		if (ksm_now_ms() > next) {
			report(end - ksm_now_ms());
			next = ksm_now_ms() + REPORT_MS;
		}
	}
	return (ksm_now_ms() - begin) / 1000;
}

static bool all_ended(void *unused)
{
	unsigned int i;

	torture_collect();
	for (i = 0; i < TORTURE_WORKERS; i++)
		if (workers[i].pid)
			return false;
	return true;
}

/* By now, only orphans are left. */
static bool none_left(void *unused)
{
	torture_end_all();
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

/* Each worker checks all of its memory once more, and exits. */
static void come_to_an_end(void)
{
	long end = ksm_now_ms() + END_MS;
	unsigned int i;

	note("torture: the time is over\n");
	__atomic_store_n(&torture->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < ROLES; i++)
		end_member(&roles[i]);
	for (i = 0; i < ROLES; i++)
		if (roles[i].pid)
			waitpid(roles[i].pid, NULL, 0);
	note("torture: the disturbers have ended\n");
	torture_tear_down();
	ksm_try("run", "1");
	while (!all_ended(NULL) && ksm_now_ms() < end)
		usleep(10000);
	if (!all_ended(NULL))
		blame("a worker does not exit");
	if (!ksm_poll(none_left, NULL))
		blame("a process does not exit");
	note("torture: all have ended\n");
}

static bool unmerged(void *err)
{
	ksm_try("run", "0");
	*(int *)err = ksm_try("run", "2");
	return !*(int *)err;
}

/* Objects that KSM has not freed. Shrinking empties the caches of the CPUs. */
static long objects_left(const char *cache)
{
	char path[128], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", cache);
	ksm_write_file(path, "1");
	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/objects", cache);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return strtol(text, NULL, 10);
}

static bool no_objects_left(void *cache)
{
	return !objects_left(cache);
}

/*
 * The first write of 2 to run has to unmerge all. A second one would hide an error of
 * the first.
 */
static bool nothing_left(char *text, size_t size)
{
	unsigned int i;
	int err;

	if (!ksm_poll(unmerged, &err)) {
		snprintf(text, size, "run 2 gives %d though no process is left", err);
		return false;
	}
	if (!torture_figures_are_zero(text, size) || !torture_cgroups_remove(text, size))
		return false;
	if (access("/sys/kernel/slab/ksm_rmap_item/objects", R_OK))
		ksft_print_msg("this kernel does not show the objects in slab caches\n");
	for (i = 0; i < TORTURE_CACHES; i++) {
		if (ksm_poll(no_objects_left, (void *)torture_caches[i]))
			continue;
		snprintf(text, size, "%ld objects of %s are left", objects_left(torture_caches[i]),
			 torture_caches[i]);
		return false;
	}
	return true;
}

/* Events, and how often each has to occur in a long run. */
static const struct {
	const char *what;
	unsigned long least;
} counted[TORTURE_COUNTS] = {
	[COUNT_MMS] = { "processes that exited at once", 100 },
	[COUNT_FORKS_REFUSED] = { "forks refused to fork bombs", 0 },
	[COUNT_OOM_DEATHS] = { "processes killed by the OOM killer", 1 },
	[COUNT_FLIPS] = { "changes of merge_across_nodes and max_page_sharing", 1 },
	[COUNT_CENSUSES] = { "times that all figures were added up", 1 },
	[COUNT_BLOCKS_SHARED] = { "blocks taken offline that had shared pages", 0 },
	[COUNT_BLOCKS] = { "other blocks taken offline", 0 },
	[COUNT_PIPES_OLD] = { "pipes that kept a page as it was", 0 },
	[COUNT_PIPES_NEW] = { "pipes that were written through to", 0 },
	[COUNT_FILES] = { "files taken from other processes", 0 },
	[COUNT_MISSING] = { "faults served: missing", 0 },
	[COUNT_PROTECTED] = { "faults served: protected", 0 },
	[COUNT_MINOR] = { "faults served: minor", 0 },
	[COUNT_DIRTY] = { "writes found by soft-dirty", 0 },
	[COUNT_POKES] = { "words written by ptrace", 0 },
	[COUNT_SOFT_OFFLINE] = { "pages taken offline in time", 0 },
	[COUNT_ZERO_KEPT] = { "attempts to take the zero page offline", 0 },
	[COUNT_HARD_POISON] = { "pages poisoned", 0 },
	[COUNT_LOST] = { "poisoned pages that processes lost", 0 },
	[COUNT_MOVES] = { "moves to another cgroup", 20 },
	[COUNT_REMOVED] = { "cgroups removed", 1 },
	[COUNT_APART] = { "times that no domain had a page of another", 1 },
	[COUNT_TOGETHER] = { "times that cgroups of one domain shared a page", 1 },
	[COUNT_COMPARED] = { "mappings compared for that", 100 },
	[COUNT_MERGED_NOW] = { "processes merged by a write to ksm_merge", 10 },
	[COUNT_INTERRUPTED] = { "such writes that a signal ended", 0 },
	[COUNT_UNMERGED] = { "times that all was unmerged during the run", 0 },
};

/* Whether each event has occurred. Prints those that did not. */
static bool all_happened(void)
{
	bool happened = true;
	unsigned int i;

	for (i = 0; i < TORTURE_COUNTS; i++) {
		ksft_print_msg("%lu %s\n", torture->counts[i], counted[i].what);
		happened &= torture->counts[i] >= counted[i].least;
	}
	return happened;
}

static void verdict(long seconds)
{
	unsigned long beats = 0;
	char text[TORTURE_REASON];
	unsigned int i;
	bool happened, zero;

	for (i = 0; i < TORTURE_WORKERS; i++)
		beats += torture->beats[i];
	ksft_print_msg("seed %llu: %lu operations in %ld s\n",
		       (unsigned long long)first_seed, beats, seconds);
	ksft_print_msg("%u processes, %u of them killed, and %u disturbers killed\n",
		       started, deaths, role_deaths);
	for (i = 0; i < ROLES; i++)
		ksft_print_msg("%lu turns of %s\n", torture->role_beats[i], role_names[i]);
	if (torture->faults)
		ksft_print_msg("made to fail: %ld allocations by KSM, %ld of pages\n",
			       torture->failed_objects, torture->failed_pages);
	ksft_print_msg("with domains %lu %% of the time\n",
		       samples_with_domains * 100 / (samples ?: 1));
	happened = all_happened();
	if (torture->reason[0])
		ksft_print_msg("%s\n", torture->reason);
	ksft_test_result(!torture->reason[0], "memory holds what was written, nothing hangs\n");
	zero = nothing_left(text, sizeof(text));
	if (!zero)
		ksft_print_msg("%s\n", text);
	ksft_test_result(zero, "all figures are 0 in the end\n");
	if (seconds < LONG_ENOUGH || torture->reason[0])
		ksft_test_result_skip("each event has occurred: the run is short\n");
	else
		ksft_test_result(happened, "each event has occurred\n");
	ksft_finished();
}

static void wrong_options(void)
{
	fprintf(stderr, "usage: ksm_torture [--time SECONDS] [--seed NUMBER] [--faults]\n");
	exit(2);
}

static long read_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "time", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 's' },
		{ "faults", no_argument, NULL, 'f' },
		{ "live", required_argument, NULL, 'l' },
		{ }
	};
	long seconds = 60;
	int option;

	first_seed = time(NULL);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 't':
			seconds = strtol(optarg, NULL, 10);
			break;
		case 's':
			first_seed = strtoull(optarg, NULL, 10);
			break;
		case 'f':
			torture->faults = true;
			break;
		case 'l':
			/* A worker has executed itself. */
			torture_live_on(strtoull(optarg, NULL, 10));
		default:
			wrong_options();
		}
	}
	return seconds;
}

/* A worker that has executed itself finds it at the address of its parent. */
static void share_state(void)
{
	int fd;

	if (fcntl(TORTURE_FD, F_GETFD) < 0) {
		fd = syscall(SYS_memfd_create, "torture", 0);
		if (fd < 0 || ftruncate(fd, sizeof(*torture)) || dup2(fd, TORTURE_FD) < 0)
			ksft_exit_fail_perror("memfd_create");
		close(fd);
	}
	torture = mmap(NULL, sizeof(*torture), PROT_READ | PROT_WRITE, MAP_SHARED, TORTURE_FD, 0);
	if (torture == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
}

int main(int argc, char **argv)
{
	long seconds;
	unsigned int i;

	share_state();
	seconds = read_options(argc, argv);
	ksft_print_header();
	if (geteuid() || access("/sys/kernel/mm/ksm/run", F_OK))
		ksft_exit_skip("needs root and a kernel with KSM\n");
	ksft_set_plan(3);
	ksft_print_msg("seed %llu\n", (unsigned long long)first_seed);
	fflush(stdout);
	/* A census stops all processes of this group. */
	setpgid(0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGPIPE, SIG_IGN);
	oom_deaths = ksm_vmstat("oom_kill");
	torture->begin = ksm_now_ms();
	torture->length = seconds * 1000 + 1;
	torture->flag_trusted = ksm_flag_trusted();
	torture_set_up();
	for (i = 0; i < ROLES; i++)
		start_role(i);
	for (i = 0; i < TORTURE_WORKERS; i++)
		start_worker(i);
	seconds = torment(seconds);
	come_to_an_end();
	verdict(seconds);
}
