// SPDX-License-Identifier: GPL-2.0
/*
 * ksmrun - run a command with memory merging on
 *
 * KSM merges equal pages of anonymous memory. A program marks single VMAs as
 * mergeable with madvise(2), or all of its memory with prctl(2). The setting of
 * prctl(2) is inherited over fork and exec: ksmrun turns it on and executes the
 * command, which need not know about KSM.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#define PR_GET_MEMORY_MERGE	68
#endif

#define RUN_FILE	"/sys/kernel/mm/ksm/run"
#define VERSION		"1.0"

/* The same as those of env(1) and nice(1). */
enum {
	EXIT_OURS = 125,	/* ksmrun failed */
	EXIT_NO_EXEC = 126,	/* the command exists and cannot be run */
	EXIT_NO_COMMAND = 127,	/* the command was not found */
};

static const char usage_text[] =
	"Usage: ksmrun [--] COMMAND [ARGUMENT...]\n"
	"       ksmrun --check\n"
	"\n"
	"Runs COMMAND with KSM (Kernel Samepage Merging) turned on for all of its\n"
	"memory, and for the programs that it starts.\n"
	"\n"
	"  -c, --check    print whether ksmrun works here, and whether KSM is merging\n"
	"  -h, --help     print this text\n"
	"  -V, --version  print the version\n"
	"\n"
	"KSM merges while /sys/kernel/mm/ksm/run is 1. /proc/PID/ksm_stat has what it\n"
	"saves in process PID.\n"
	"\n"
	"The exit status is that of COMMAND, or 125 if ksmrun failed, 126 if COMMAND\n"
	"could not be run, 127 if it was not found. With --check it is 0 if ksmrun\n"
	"works and KSM is merging, and 1 otherwise.\n";

/* Output to a full disk is an error. */
static int print(const char *text)
{
	if (fputs(text, stdout) == EOF || fflush(stdout)) {
		fprintf(stderr, "ksmrun: cannot write: %s\n", strerror(errno));
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
		return "turning merging on requires CAP_SYS_RESOURCE";
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "check", no_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};

	/* The '+' stops at the command, which has its own options. */
	switch (getopt_long(argc, argv, "+chV", options, NULL)) {
	case 'c':
		return argv[optind] ? bad_usage("--check takes no command") : check();
	case 'h':
		return print(usage_text);
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
