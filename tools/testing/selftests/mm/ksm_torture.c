// SPDX-License-Identifier: GPL-2.0
/*
 * KSM under everything a host does to it at once, in an order that is drawn from
 * a seed: processes live with mergeable memory and check each word of it, get
 * killed and start again, while others write to every knob and have the machine
 * swap, migrate, compact, collapse, offline and poison. It ends with everything
 * unmerged, and then all figures have to be 0.
 *
 * usage: ksm_torture [--time SECONDS] [--seed NUMBER] [--faults]
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

/* A worker that has not begun anything new for so long hangs. */
#define HUNG_MS		180000L
#define REPORT_MS	20000L
/* How long a worker may take to check all its memory at the end. */
#define END_MS		120000L

struct torture *torture;

enum role {
	ROLE_KNOBS,
	ROLE_KNOBS_TOO,
	ROLE_MACHINE,
	ROLE_READER,
	ROLES,
};

static void (*const role_run[ROLES])(uint64_t seed) = {
	torture_knobs, torture_knobs, torture_machine, torture_read,
};

static pid_t workers[TORTURE_WORKERS], roles[ROLES];
static unsigned int generation, deaths;
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

/* As fork(); what is started goes when its parent does. */
static pid_t start(void)
{
	pid_t pid = fork();

	if (pid < 0)
		torture_fail("fork: %s", strerror(errno));
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* 0 and -1 stand for whole groups of processes. */
static void end_process(pid_t pid)
{
	if (pid > 0)
		kill(pid, SIGKILL);
}

static uint64_t seed_of(uint64_t stream)
{
	return first_seed * 1000003 + stream;
}

static void start_role(enum role role)
{
	roles[role] = start();
	if (!roles[role])
		role_run[role](seed_of(10 + role));
}

static void start_worker(unsigned int i)
{
	generation++;
	workers[i] = start();
	if (!workers[i])
		torture_work(i, seed_of(1000 + generation));
}

/* Killed is a way to go for a worker; nothing else is, before the end. */
static void worker_ended(unsigned int i, int status)
{
	workers[i] = 0;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		deaths++;
		if (!torture_over())
			start_worker(i);
	} else if (status && !torture->reason[0]) {
		snprintf(torture->reason, TORTURE_REASON,
			 "worker %u ended with wait status 0x%x at %s", i, status,
			 torture->doing[i] ?: "its start");
	}
}

static void collect(void)
{
	int status;
	pid_t pid;
	unsigned int i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (i = 0; i < TORTURE_WORKERS; i++)
			if (workers[i] == pid)
				worker_ended(i, status);
}

/* For who reads the log of a run that took long to end. */
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

/* Who is at one and the same operation for long hangs. */
static void watch_beats(void)
{
	static unsigned long last[TORTURE_WORKERS];
	static long since[TORTURE_WORKERS];
	unsigned int i;

	for (i = 0; i < TORTURE_WORKERS; i++) {
		if (last[i] != torture->beats[i] || !since[i]) {
			last[i] = torture->beats[i];
			since[i] = ksm_now_ms();
		} else if (ksm_now_ms() - since[i] > HUNG_MS && !torture->reason[0]) {
			snprintf(torture->reason, TORTURE_REASON, "worker %u hangs at %s", i,
				 torture->doing[i] ?: "its start");
		}
	}
}

static void torment(long seconds)
{
	long end = ksm_now_ms() + seconds * 1000, next = 0;
	struct dice dice;

	dice_init(&dice, first_seed, 1);
	while (ksm_now_ms() < end && !torture->reason[0]) {
		usleep(50000 + roll(&dice, 400000));
		collect();
		watch_beats();
		if (chance(&dice, 40))
			end_process(workers[roll(&dice, TORTURE_WORKERS)]);
		if (ksm_now_ms() > next) {
			report(end - ksm_now_ms());
			next = ksm_now_ms() + REPORT_MS;
		}
	}
}

static bool all_ended(void *unused)
{
	unsigned int i;

	collect();
	for (i = 0; i < TORTURE_WORKERS; i++)
		if (workers[i])
			return false;
	return true;
}

/* Everybody checks all they have once more, and goes. */
static void come_to_an_end(void)
{
	long end = ksm_now_ms() + END_MS;
	unsigned int i;

	note("torture: the time is over\n");
	__atomic_store_n(&torture->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < ROLES; i++)
		end_process(roles[i]);
	for (i = 0; i < ROLES; i++)
		waitpid(roles[i], NULL, 0);
	note("torture: those who disturbed have ended\n");
	torture_tear_down();
	ksm_try("run", "1");
	while (!all_ended(NULL) && ksm_now_ms() < end)
		usleep(10000);
	if (!all_ended(NULL) && !torture->reason[0])
		snprintf(torture->reason, TORTURE_REASON, "a worker does not come to its end");
	for (i = 0; i < TORTURE_WORKERS; i++)
		end_process(workers[i]);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	note("torture: all have ended\n");
}

static bool nothing_left(void *unused)
{
	static const char *const figures[] = {
		"pages_shared", "pages_sharing", "pages_unshared", "pages_volatile",
		"ksm_zero_pages", "stable_node_chains", "stable_node_dups",
	};
	unsigned int i;
	int err;

	ksm_try("run", "0");
	err = ksm_try("run", "2");
	for (i = 0; i < ARRAY_SIZE(figures); i++)
		if (ksm_get(figures[i])) {
			snprintf(torture->reason, TORTURE_REASON,
				 "%s is %ld after run 2, which gave %d", figures[i],
				 ksm_get(figures[i]), err);
			return false;
		}
	torture->reason[0] = '\0';
	return true;
}

static void verdict(long seconds)
{
	unsigned long beats = 0;
	unsigned int i;
	bool zero;

	for (i = 0; i < TORTURE_WORKERS; i++)
		beats += torture->beats[i];
	ksft_print_msg("seed %llu: %lu operations in %ld s\n",
		       (unsigned long long)first_seed, beats, seconds);
	ksft_print_msg("%u processes, %u of them killed, %u pages poisoned\n",
		       generation, deaths, torture->poisoned);
	if (torture->faults)
		ksft_print_msg("made to fail: %ld allocations by KSM, %ld of pages by ksmd\n",
			       torture->failed_objects, torture->failed_pages);
	if (torture->reason[0])
		ksft_print_msg("%s\n", torture->reason);
	ksft_test_result(!torture->reason[0], "memory holds what was written, nothing hangs\n");
	torture->reason[0] = '\0';
	zero = ksm_poll(nothing_left, NULL);
	if (!zero)
		ksft_print_msg("%s\n", torture->reason);
	ksft_test_result(zero, "all figures are 0 in the end\n");
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

int main(int argc, char **argv)
{
	long seconds;
	unsigned int i;

	torture = mmap(NULL, sizeof(*torture), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (torture == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	seconds = read_options(argc, argv);
	ksft_print_header();
	if (geteuid() || access("/sys/kernel/mm/ksm/run", F_OK))
		ksft_exit_skip("needs root and a kernel with KSM\n");
	ksft_set_plan(2);
	ksft_print_msg("seed %llu\n", (unsigned long long)first_seed);
	fflush(stdout);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	torture_set_up();
	for (i = 0; i < ROLES; i++)
		start_role(i);
	for (i = 0; i < TORTURE_WORKERS; i++)
		start_worker(i);
	torment(seconds);
	come_to_an_end();
	verdict(seconds);
}
