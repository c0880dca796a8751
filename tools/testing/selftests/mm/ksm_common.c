// SPDX-License-Identifier: GPL-2.0
/*
 * The common part of the ksm_* selftests: verdicts, controls, waiting for ksmd, and
 * running cases. See ksm_common.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define KSM_CASE_MS	300000L

const char *const ksm_files[KSM_NR_FILES] = {
	"run", "pages_to_scan", "sleep_millisecs", "merge_across_nodes",
	"use_zero_pages", "max_page_sharing",
	"stable_node_chains_prune_millisecs", "smart_scan", "advisor_mode",
	"advisor_max_cpu", "advisor_min_pages_to_scan",
	"advisor_max_pages_to_scan", "advisor_target_scan_time",
	"advisor_start_available", "advisor_full_available", "min_ptes_merged",
	/* From here on: figures. */
	"full_scans", "pages_scanned", "pages_skipped", "pages_shared",
	"pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages",
	"stable_node_chains", "stable_node_dups", "general_profit",
};

struct ksm_shared *ksm_shared;
static char initial[KSM_NR_CONTROLS][KSM_TEXT];

/* Verdicts. */

void ksm_fail(const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s\n", text);
	_exit(KSFT_FAIL);
}

void ksm_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ksm_shared->reason, sizeof(ksm_shared->reason), fmt, args);
	va_end(args);
	_exit(KSFT_SKIP);
}

void ksm_expect(const char *what, long got, long want)
{
	if (got != want)
		ksm_fail("%s: %ld instead of %ld", what, got, want);
}

void ksm_check(bool ok, const char *what)
{
	if (!ok)
		ksm_fail("does not hold: %s (errno %d)", what, errno);
}

/* Files. Only system calls are used, so that a signal handler may use them, too. */

int ksm_write_file(const char *path, const char *text)
{
	ssize_t len = strlen(text), done;
	int fd, err = 0;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	done = write(fd, text, len);
	if (done < 0)
		err = -errno;
	else if (done != len)
		err = -EIO;
	close(fd);
	return err;
}

ssize_t ksm_read_file(const char *path, char *text, size_t size)
{
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	if (len < 0)
		len = -errno;
	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	return len;
}

static const char *ksm_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), KSM_DIR "%s", name);
	return path;
}

int ksm_try(const char *name, const char *text)
{
	return ksm_write_file(ksm_path(name), text);
}

void ksm_set(const char *name, long value)
{
	char text[KSM_TEXT];
	int err;

	snprintf(text, sizeof(text), "%ld", value);
	err = ksm_try(name, text);
	if (err)
		ksm_fail("writing %ld to %s: %s", value, name, strerror(-err));
}

void ksm_get_text(const char *name, char *text, size_t size)
{
	ssize_t len = ksm_read_file(ksm_path(name), text, size);

	if (len < 0)
		ksm_fail("reading %s: %s", name, strerror(-len));
}

long ksm_get(const char *name)
{
	char text[KSM_TEXT];

	ksm_get_text(name, text, sizeof(text));
	return strtol(text, NULL, 10);
}

/* The value of a control before the first case. */
const char *ksm_initial(const char *name)
{
	unsigned int i;

	for (i = 0; i < KSM_NR_CONTROLS; i++)
		if (!strcmp(ksm_files[i], name))
			return initial[i];
	return "";
}

void ksm_expect_figures(long shared, long sharing, long unshared)
{
	long figures[4] = {
		ksm_get("pages_shared"), ksm_get("pages_sharing"),
		ksm_get("pages_unshared"), ksm_get("pages_volatile"),
	};

	if (figures[0] != shared || figures[1] != sharing ||
	    figures[2] != unshared || figures[3] != 0)
		ksm_fail("shared %ld sharing %ld unshared %ld volatile %ld, not %ld %ld %ld 0",
			 figures[0], figures[1], figures[2], figures[3],
			 shared, sharing, unshared);
}

void ksm_expect_nothing(void)
{
	ksm_expect_figures(0, 0, 0);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	ksm_expect("stable_node_chains", ksm_get("stable_node_chains"), 0);
	ksm_expect("stable_node_dups", ksm_get("stable_node_dups"), 0);
}

/* Saving and restoring. */

static void save_knobs(void)
{
	unsigned int i;

	for (i = 0; i < KSM_NR_CONTROLS; i++)
		ksm_read_file(ksm_path(ksm_files[i]), initial[i], KSM_TEXT);
}

/*
 * Unmerge first, because two controls cannot change while pages are shared. Turn the
 * advisor on after pages_to_scan is set, because pages_to_scan cannot be set while it
 * is on. Set run last.
 */
static void restore_knobs(void)
{
	unsigned int i;

	ksm_try("run", "2");
	ksm_try("advisor_mode", "none");
	for (i = 1; i < KSM_NR_CONTROLS; i++)
		if (strcmp(ksm_files[i], "advisor_mode"))
			ksm_try(ksm_files[i], initial[i]);
	/* One of them may not cross the other on its way. */
	ksm_try("advisor_start_available", ksm_initial("advisor_start_available"));
	if (strstr(ksm_initial("advisor_mode"), "[scan-time]"))
		ksm_try("advisor_mode", "scan-time");
	else if (strstr(ksm_initial("advisor_mode"), "[pressure]"))
		ksm_try("advisor_mode", "pressure");
	ksm_try("run", ksm_initial("run"));
}

/* Each case begins with nothing merged, and with ksmd stopped but set to be fast. */
static void set_test_knobs(void)
{
	static const char *const values[KSM_NR_CONTROLS] = {
		"2", "20000", "1", "1", "0", "256", "2000", "0", "none",
		"70", "500", "30000", "200", "20", "5", "1",
	};
	unsigned int i;

	ksm_try("run", "2");
	ksm_try("advisor_mode", "none");
	for (i = 1; i < KSM_NR_CONTROLS; i++)
		ksm_try(ksm_files[i], values[i]);
	ksm_try("advisor_start_available", "20");
}

static void on_signal(int signal)
{
	restore_knobs();
	_exit(128 + signal);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action = { .sa_handler = on_signal };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static void default_signals(void)
{
	signal(SIGHUP, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

/* Waiting. */

long ksm_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

bool ksm_poll(bool (*condition)(void *arg), void *arg)
{
	long end = ksm_now_ms() + KSM_PATIENCE_MS;
	bool late;

	/* Check once more after the end: this process may not have run for a while. */
	do {
		late = ksm_now_ms() > end;
		if (condition(arg))
			return true;
		usleep(1000);
	} while (!late);
	return false;
}

struct figure {
	const char *name;
	long value;
};

static bool figure_is(void *arg)
{
	struct figure *figure = arg;

	return ksm_get(figure->name) == figure->value;
}

static bool figure_reached(void *arg)
{
	struct figure *figure = arg;

	return ksm_get(figure->name) >= figure->value;
}

bool ksm_wait_figure(const char *name, long want)
{
	struct figure figure = { name, want };

	return ksm_poll(figure_is, &figure);
}

static bool is_ksmd(const char *pid)
{
	char path[300], name[16] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return !strcmp(name, "ksmd\n");
}

/* Returns 0 if ksmd is not in /proc. */
pid_t ksm_ksmd(void)
{
	static pid_t ksmd;
	struct dirent *entry;
	DIR *proc;

	if (ksmd)
		return ksmd;
	proc = opendir("/proc");
	while (proc && !ksmd && (entry = readdir(proc)))
		if (is_ksmd(entry->d_name))
			ksmd = atoi(entry->d_name);
	if (proc)
		closedir(proc);
	return ksmd;
}

/* CPU time that ksmd has taken, in nanoseconds; 0 if the kernel does not say. */
unsigned long long ksm_ksmd_ns(void)
{
	unsigned long long ns = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", ksm_ksmd());
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (fscanf(file, "%llu", &ns) != 1)
		ns = 0;
	fclose(file);
	return ns;
}

/* The same in milliseconds. The case fails if the kernel does not say. */
long ksm_ksmd_ms(void)
{
	unsigned long long ns = ksm_ksmd_ns();

	ksm_check(ns, "the CPU time of ksmd is known");
	return ns / 1000000;
}

/* The letter for the state of a process; '?' if there is no such process. */
char ksm_state(pid_t pid)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file)
		return state;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(file);
	return state;
}

/* Page faults of a process. Each page that it unmerges counts as one. */
long ksm_faults(pid_t pid)
{
	char path[64];
	long faults = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (file && fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %ld",
			   &faults) != 1)
		faults = 0;
	if (file)
		fclose(file);
	return faults;
}

static bool ksmd_asleep(void *arg)
{
	(void)arg;
	if (!ksm_ksmd())
		ksm_skip("ksmd is not in /proc");
	return ksm_state(ksm_ksmd()) == 'S';
}

/* A change of sleep_millisecs wakes ksmd only if ksmd sleeps. */
void ksm_wait_asleep(void)
{
	ksm_check(ksm_poll(ksmd_asleep, NULL), "ksmd goes to sleep");
}

/* Runs ksmd for @count more passes and stops it. */
void ksm_passes(unsigned int count)
{
	struct figure figure = { "full_scans", ksm_get("full_scans") + count };

	ksm_set("run", 1);
	if (!ksm_poll(figure_reached, &figure))
		ksm_fail("full_scans stands at %ld and did not reach %ld within %ld s",
			 ksm_get("full_scans"), figure.value, KSM_PATIENCE_MS / 1000);
	ksm_stop();
}

/*
 * Runs a single pass. ksmd sleeps very long after it, until sleep_millisecs is
 * changed.
 */
void ksm_one_pass(void)
{
	static unsigned int turn;
	struct figure figure = { "full_scans", ksm_get("full_scans") + 1 };

	ksm_wait_asleep();
	ksm_set("sleep_millisecs", 1000000 + ++turn % 2);
	ksm_set("run", 1);
	if (!ksm_poll(figure_is, &figure))
		ksm_fail("full_scans stands at %ld and not at %ld after %ld s",
			 ksm_get("full_scans"), figure.value, KSM_PATIENCE_MS / 1000);
}

/* After three passes the figures have to be exact. */
void ksm_settle(void)
{
	ksm_passes(3);
}

void ksm_stop(void)
{
	ksm_set("run", 0);
}

void ksm_unmerge_all(void)
{
	ksm_set("run", 2);
}

/* Running cases. */

/* Returns whether the process ends in time. */
static bool wait_for_end(pid_t pid, int ms)
{
	struct pollfd end = { .fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	bool ended;

	ksm_check(end.fd >= 0, "pidfd_open");
	ended = poll(&end, 1, ms) == 1;
	close(end.fd);
	return ended;
}

/* Waits for the case and, as the subreaper, for all processes that it has left. */
static int collect_case(pid_t pid)
{
	int status = 0, verdict = KSFT_FAIL;

	if (!wait_for_end(pid, KSM_CASE_MS)) {
		ksft_print_msg("the case did not end within %ld s\n", KSM_CASE_MS / 1000);
		kill(pid, SIGKILL);
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status))
		verdict = WEXITSTATUS(status);
	else
		ksft_print_msg("the case was ended by signal %d\n", WTERMSIG(status));
	kill(-pid, SIGKILL);
	while (waitpid(-1, &status, 0) > 0 || errno == EINTR)
		;
	return verdict;
}

static void start_case(const struct ksm_case *test)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	default_signals();
	test->run();
	_exit(KSFT_PASS);
}

static void run_case(const struct ksm_case *test)
{
	int verdict = KSFT_FAIL;
	pid_t pid;

	set_test_knobs();
	fflush(stdout);
	pid = fork();
	if (!pid)
		start_case(test);
	if (pid > 0)
		verdict = collect_case(pid);
	ksm_give_back_cgroup();
	if (verdict == KSFT_SKIP)
		ksft_test_result_skip("%s: %s\n", test->name, ksm_shared->reason);
	else
		ksft_test_result(verdict == KSFT_PASS, "%s\n", test->name);
}

static void begin(unsigned int count)
{
	ksft_print_header();
	if (access(KSM_DIR "run", F_OK))
		ksft_exit_skip("this kernel has no KSM\n");
	if (geteuid())
		ksft_exit_skip("needs root\n");
	ksm_shared = mmap(NULL, sizeof(*ksm_shared), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ksm_shared == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ksft_set_plan(count);
	save_knobs();
	catch_signals();
}

int ksm_run_cases(const struct ksm_case *cases, unsigned int count)
{
	unsigned int i;

	begin(count);
	for (i = 0; i < count; i++)
		run_case(&cases[i]);
	restore_knobs();
	ksm_give_back_swap();
	ksft_finished();
}
