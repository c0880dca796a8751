// SPDX-License-Identifier: GPL-2.0
/*
 * The first program of a machine without a shell: Debian has no static shell of
 * another architecture to install. Like scripts/guest/init with scripts/guest/tests,
 * it mounts the usual file systems, runs the programs in /tests one after the other,
 * and sends the output and the exit status of each to the host.
 *
 * A line of /tests is a name, a limit in seconds, and a command.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#define RESULTS		"/dev/vport0p1"
#define RESULTS_TRIES	1000	/* in steps of 10 ms */
#define OUTPUT		"/tmp/out"
#define KSM		"/sys/kernel/mm/ksm/"
#define MOST_WORDS	16
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define HUGE_KIB	65536L	/* of reserved huge pages */

/* The statuses of timeout(1). */
#define TIMED_OUT	124
#define SIGNALLED	128

static const struct {
	const char *type;
	const char *path;
} mounts[] = {
	{ "proc", "/proc" },
	{ "sysfs", "/sys" },
	{ "devtmpfs", "/dev" },
	{ "tmpfs", "/dev/shm" },
	{ "tmpfs", "/tmp" },
	{ "debugfs", "/sys/kernel/debug" },
	{ "tracefs", "/sys/kernel/tracing" },
	{ "cgroup2", "/sys/fs/cgroup" },
	{ "hugetlbfs", "/dev/hugepages" },
};

/* Every test starts with the default controls. */
static const struct {
	const char *name;
	const char *value;
} controls[] = {
	{ "run", "2" },
	{ "run", "0" },
	{ "pages_to_scan", "100" },
	{ "sleep_millisecs", "20" },
	{ "merge_across_nodes", "1" },
	{ "use_zero_pages", "0" },
	{ "smart_scan", "1" },
	{ "max_page_sharing", "256" },
};

static FILE *results;

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0)
		return;
	if (write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "init: %s: %s\n", path, strerror(errno));
	close(fd);
}

static void mount_all(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].path, 0755);
		if (mount(mounts[i].type, mounts[i].path, mounts[i].type, 0, NULL))
			fprintf(stderr, "init: %s: %s\n", mounts[i].path, strerror(errno));
	}
}

static void set_defaults(void)
{
	char path[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(controls); i++) {
		snprintf(path, sizeof(path), KSM "%s", controls[i].name);
		write_file(path, controls[i].value);
	}
}

/* With base pages of 64 KiB, a huge page is 512 MiB, and none is reserved. */
static void reserve_huge_pages(void)
{
	FILE *meminfo = fopen("/proc/meminfo", "r");
	char line[128], count[32];
	long kib;

	while (meminfo && fgets(line, sizeof(line), meminfo)) {
		if (sscanf(line, "Hugepagesize: %ld kB", &kib) != 1)
			continue;
		snprintf(count, sizeof(count), "%ld", HUGE_KIB / kib);
		write_file(HUGE_PAGES, count);
	}
	if (meminfo)
		fclose(meminfo);
}

static long seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void execute(char **words)
{
	int in = open("/dev/null", O_RDONLY);
	int out = open(OUTPUT, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	setsid();
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close(in);
	close(out);
	if (!chdir("/tests.d"))
		execv(words[0], words);
	fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
	_exit(127);
}

/* As process 1 it also inherits the orphans of tests. Returns whether @pid has ended. */
static int reap(pid_t pid, int *status)
{
	pid_t ended;
	int how;

	while ((ended = waitpid(-1, &how, WNOHANG)) > 0) {
		if (ended != pid)
			continue;
		*status = WIFEXITED(how) ? WEXITSTATUS(how) : SIGNALLED + WTERMSIG(how);
		return 1;
	}
	return 0;
}

/* Returns the exit status as the shell and timeout(1) have it. */
static int wait_for(pid_t pid, long limit)
{
	long end = seconds_now() + limit;
	int status;

	while (seconds_now() < end) {
		if (reap(pid, &status))
			return status;
		usleep(50000);
	}
	kill(-pid, SIGTERM);
	for (end = seconds_now() + 5; seconds_now() < end; usleep(50000))
		if (reap(pid, &status))
			return TIMED_OUT;
	kill(-pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return TIMED_OUT;
}

static void report(const char *name, int status, long seconds)
{
	FILE *output = fopen(OUTPUT, "r");
	char line[1024];

	fprintf(results, "# BEGIN %s\n", name);
	while (output && fgets(line, sizeof(line), output))
		fprintf(results, "# %s%s", line, strchr(line, '\n') ? "" : "\n");
	if (output)
		fclose(output);
	fprintf(results, "# END %s %d %ld\n", name, status, seconds);
	fflush(results);
}

/* Ends the list of words with NULL. Returns their number. */
static int split(char *line, char **words)
{
	int count = 0;

	while (count < MOST_WORDS && (words[count] = strtok(count ? NULL : line, " \t\n")))
		count++;
	words[count] = NULL;
	return count;
}

static void run_test(char *line)
{
	char *words[MOST_WORDS + 1], note[128];
	long start = seconds_now();
	pid_t pid;

	if (split(line, words) < 3)
		return;
	set_defaults();
	snprintf(note, sizeof(note), "tests: %s\n", words[0]);
	write_file("/dev/kmsg", note);
	pid = fork();
	if (!pid)
		execute(words + 2);
	report(words[0], wait_for(pid, atol(words[1])), seconds_now() - start);
}

/* The kernel may add the port after it has started this program. */
static FILE *open_results(void)
{
	int i, fd = -1;

	for (i = 0; fd < 0 && i < RESULTS_TRIES; i++) {
		usleep(i ? 10000 : 0);
		fd = open(RESULTS, O_WRONLY | O_CLOEXEC);
	}
	if (fd < 0)
		perror(RESULTS);
	return fd < 0 ? NULL : fdopen(fd, "w");
}

int main(void)
{
	FILE *list;
	char line[512];

	mount_all();
	results = open_results();
	list = fopen("/tests", "r");
	if (results && list) {
		reserve_huge_pages();
		write_file("/proc/sys/vm/compact_memory", "1");
		while (fgets(line, sizeof(line), list))
			run_test(line);
		write_file(KSM "run", "2");
		fprintf(results, "EXIT 0\n");
		fflush(results);
	}
	sync();
	reboot(RB_POWER_OFF);
	return 1;
}
