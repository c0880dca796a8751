// SPDX-License-Identifier: GPL-2.0
/*
 * ksmrun - run a command with memory merging on
 *
 * KSM merges equal pages of anonymous memory. A program marks single VMAs as
 * mergeable with madvise(2), or all of its memory with prctl(2). The setting of
 * prctl(2) is inherited over fork and exec: ksmrun turns it on and executes the
 * command, which need not know about KSM. With --now it has the memory of a process
 * merged at once, by a write to /proc/PID/ksm_merge. With --cgroup it has all processes
 * of a cgroup merged, by a write to memory.ksm.merge.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#define PR_GET_MEMORY_MERGE	68
#endif

#define RUN_FILE	"/sys/kernel/mm/ksm/run"
#define CGROUPS		"/sys/fs/cgroup/"
#define VERSION		"1.0"

/* Busy pages are tried again after this time. */
#define RETRY_MILLISECS	100
#define RETRIES		3
/* With a command, its memory is merged anew after this time. */
#define ROUND_SECONDS	1

/* The same as those of env(1) and nice(1). */
enum {
	EXIT_OURS = 125,	/* ksmrun failed */
	EXIT_NO_EXEC = 126,	/* the command exists and cannot be run */
	EXIT_NO_COMMAND = 127,	/* the command was not found */
};

static const char usage_text[] =
	"Usage: ksmrun [--] COMMAND [ARGUMENT...]\n"
	"       ksmrun --now PID...\n"
	"       ksmrun --now -- COMMAND [ARGUMENT...]\n"
	"       ksmrun --cgroup DIRECTORY on|off\n"
	"       ksmrun --check\n"
	"\n"
	"Runs COMMAND with KSM (Kernel Samepage Merging) turned on for all of its\n"
	"memory, and for the programs that it starts.\n"
	"\n"
	"  -n, --now      merge what is marked in the processes PID now; or run COMMAND\n"
	"                 and merge its memory once a second while it runs, whether\n"
	"                 ksmd runs or not\n"
	"  -g, --cgroup   merge all processes of a cgroup and of those below, also those\n"
	"                 that are started there later; DIRECTORY may leave out\n"
	"                 " CGROUPS "\n"
	"  -c, --check    print whether ksmrun works here, and whether KSM is merging\n"
	"  -h, --help     print this text\n"
	"  -V, --version  print the version\n"
	"\n"
	"KSM merges while /sys/kernel/mm/ksm/run is 1. /proc/PID/ksm_stat has what it\n"
	"saves in process PID.\n"
	"\n"
	"The exit status is that of COMMAND, or 125 if ksmrun failed, 126 if COMMAND\n"
	"could not be run, 127 if it was not found. With --now PID it is 0 if all was\n"
	"merged that could be, and 1 otherwise. With --cgroup it is 0 or 1. With\n"
	"--check it is 0 if ksmrun works and KSM is merging, and 1 otherwise.\n";

/* Output to a full disk is an error. */
static int print(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout)) {
		fprintf(stderr, "ksmrun: cannot write to standard output: %s\n", strerror(errno));
		return EXIT_OURS;
	}
	return EXIT_SUCCESS;
}

static int bad_usage(const char *what)
{
	if (what)
		fprintf(stderr, "ksmrun: %s\n", what);
	fprintf(stderr, "Try 'ksmrun --help'.\n");
	return EXIT_OURS;
}

static int turn_on(void)
{
	return prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) ? errno : 0;
}

static const char *reason(int error)
{
	switch (error) {
	case EINVAL:
		return "this kernel was built without CONFIG_KSM or is older than Linux 6.4";
	case EPERM:
		return "turning merging on requires CAP_SYS_RESOURCE; run ksmrun as root";
	default:
		return strerror(error);
	}
}

/* Returns the first character of /sys/kernel/mm/ksm/run, 0 if it cannot be read. */
static int run_state(void)
{
	FILE *file = fopen(RUN_FILE, "r");
	int state = 0;

	if (!file)
		return 0;
	state = fgetc(file);
	fclose(file);
	return state == EOF ? 0 : state;
}

static const char *state_text(int state)
{
	switch (state) {
	case 0:
		return "Cannot read " RUN_FILE ": it is unknown whether KSM is merging.\n";
	case '1':
		return "KSM is merging.\n";
	default:
		return "KSM is not merging: write 1 to " RUN_FILE " to start it.\n";
	}
}

/* The process exits after this, so turning merging on has no effect. */
static int check(void)
{
	int state = run_state(), error = turn_on(), status;
	char text[256];

	snprintf(text, sizeof(text), "ksmrun %s%s.\n%s", error ? "does not work: " : "works",
		 error ? reason(error) : "", state_text(state));
	status = print(text);
	if (status)
		return status;
	return error || state != '1' ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_command(char **command)
{
	int error = turn_on();

	if (error) {
		fprintf(stderr, "ksmrun: %s\n", reason(error));
		return EXIT_OURS;
	}
	execvp(command[0], command);
	error = errno;
	fprintf(stderr, "ksmrun: cannot run %s: %s\n", command[0], strerror(error));
	return error == ENOENT ? EXIT_NO_COMMAND : EXIT_NO_EXEC;
}

static int exists(const char *pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s", pid);
	return !access(path, F_OK);
}

static const char *now_reason(const char *pid, int error)
{
	switch (error) {
	case ENOENT:
		if (!exists(pid))
			return "there is no such process; check the process ID";
		return "this kernel has no /proc/PID/ksm_merge; boot one that has it";
	case EACCES:
	case EPERM:
		return "merging its memory requires CAP_SYS_NICE; run ksmrun as root";
	case EAGAIN:
		return "some pages were in use and were not merged; try again later";
	case EBUSY:
		return RUN_FILE " is 2, which forbids merging; write 1 to it first";
	case ESRCH:
		return "the process has exited";
	default:
		return strerror(error);
	}
}

/* Returns 0 or an errno. */
static int write_merge(const char *pid)
{
	char path[64];
	int fd, error = 0;

	snprintf(path, sizeof(path), "/proc/%s/ksm_merge", pid);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return errno;
	if (write(fd, "1", 1) != 1)
		error = errno;
	close(fd);
	return error;
}

/* A page that is busy because it is being read or written back is free soon. */
static int merge_pid(const char *pid)
{
	const struct timespec pause = { .tv_nsec = RETRY_MILLISECS * 1000000L };
	int error = write_merge(pid), i;

	for (i = 0; i < RETRIES && error == EAGAIN; i++) {
		nanosleep(&pause, NULL);
		error = write_merge(pid);
	}
	return error;
}

static int is_pid(const char *text)
{
	return *text && strlen(text) < 12 && text[strspn(text, "0123456789")] == '\0';
}

static int merge_pids(char **pid)
{
	int status = EXIT_SUCCESS, error;

	for (; *pid; pid++) {
		if (!is_pid(*pid)) {
			fprintf(stderr, "ksmrun: %s is not a process ID%s\n", *pid,
				"; a command comes after --");
			return EXIT_OURS;
		}
		error = merge_pid(*pid);
		if (error) {
			fprintf(stderr, "ksmrun: process %s: %s\n", *pid,
				now_reason(*pid, error));
			status = EXIT_FAILURE;
		}
	}
	return status;
}

static int exit_status(int status)
{
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

/*
 * The signal that ends a terminal session goes to the command as well: wait for it.
 * Only the process of the command itself is merged, not those that it starts.
 */
static int merge_while_running(pid_t command, const sigset_t *exits)
{
	const struct timespec round = { .tv_sec = ROUND_SECONDS };
	int status, error, last = 0;
	char pid[16];

	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	snprintf(pid, sizeof(pid), "%d", (int)command);
	for (;;) {
		sigtimedwait(exits, NULL, &round);
		if (waitpid(command, &status, WNOHANG) == command)
			return exit_status(status);
		error = write_merge(pid);
		if (error && error != EAGAIN && error != ESRCH && error != EINTR && error != last)
			fprintf(stderr, "ksmrun: process %s: %s\n", pid, now_reason(pid, error));
		last = error;
	}
}

static int run_command_now(char **command)
{
	sigset_t exits;
	pid_t child;

	sigemptyset(&exits);
	sigaddset(&exits, SIGCHLD);
	sigprocmask(SIG_BLOCK, &exits, NULL);
	child = fork();
	if (child < 0) {
		fprintf(stderr, "ksmrun: cannot start a process: %s\n", strerror(errno));
		return EXIT_OURS;
	}
	if (!child) {
		sigprocmask(SIG_UNBLOCK, &exits, NULL);
		_exit(run_command(command));
	}
	return merge_while_running(child, &exits);
}

static int merge_now(char **argument, int after_dashes)
{
	if (!*argument)
		return bad_usage("--now takes process IDs, or -- and a command");
	return after_dashes ? run_command_now(argument) : merge_pids(argument);
}

/* @directory: that of the cgroup, negative if it could not be opened. */
static const char *cgroup_reason(int directory, int error)
{
	switch (error) {
	case ENOENT:
		if (directory < 0)
			return "there is no such cgroup";
		if (faccessat(directory, "memory.current", F_OK, 0))
			return "it is the root, or has no memory controller of cgroup v2";
		return "this kernel has no memory.ksm.merge";
	case EACCES:
	case EPERM:
		return "only the owner and root may write its memory.ksm.merge; run ksmrun as root";
	case EINTR:
		return "interrupted, nothing has changed";
	case ENOMEM:
		return "not enough memory for copies of shared pages, nothing has changed";
	default:
		return strerror(error);
	}
}

/* Returns 0 or an errno. */
static int write_cgroup(int directory, const char *value)
{
	int fd = openat(directory, "memory.ksm.merge", O_WRONLY), error = 0;

	if (fd < 0)
		return errno;
	if (write(fd, value, 1) != 1)
		error = errno;
	close(fd);
	return error;
}

static int turn_cgroup(const char *name, const char *value)
{
	const char *prefix = strncmp(name, CGROUPS, strlen(CGROUPS)) ? CGROUPS : "";
	char path[PATH_MAX + sizeof(CGROUPS)];
	int directory, error;

	snprintf(path, sizeof(path), "%s%s", prefix, name);
	directory = open(path, O_PATH | O_DIRECTORY);
	error = directory < 0 ? errno : write_cgroup(directory, value);
	if (!error)
		return EXIT_SUCCESS;
	fprintf(stderr, "ksmrun: cgroup %s: %s\n", path, cgroup_reason(directory, error));
	return EXIT_FAILURE;
}

static int merge_cgroup(char **argument)
{
	if (!argument[0] || !argument[1] || argument[2])
		return bad_usage("--cgroup takes the directory of a cgroup, and on or off");
	if (!strcmp(argument[1], "on"))
		return turn_cgroup(argument[0], "1");
	if (!strcmp(argument[1], "off"))
		return turn_cgroup(argument[0], "0");
	fprintf(stderr, "ksmrun: --cgroup DIRECTORY takes on or off, not \"%s\"\n", argument[1]);
	return bad_usage(NULL);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "cgroup", no_argument, NULL, 'g' },
		{ "check", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "now", no_argument, NULL, 'n' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};

	/* The '+' stops at the command, which has its own options. */
	switch (getopt_long(argc, argv, "+cghnV", options, NULL)) {
	case 'c':
		return argv[optind] ? bad_usage("--check takes no command") : check();
	case 'g':
		return merge_cgroup(argv + optind);
	case 'h':
		return print(usage_text);
	case 'n':
		if (argv[optind] && !strcmp(argv[optind], "--"))
			return merge_now(argv + optind + 1, 1);
		return merge_now(argv + optind, 0);
	case 'V':
		return print("ksmrun " VERSION "\n");
	case -1:
		break;
	default:
		return bad_usage(NULL);
	}
	if (!argv[optind])
		return bad_usage("no command was given");
	return run_command(argv + optind);
}
