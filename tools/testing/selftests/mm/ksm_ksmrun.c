// SPDX-License-Identifier: GPL-2.0
/*
 * ksmrun (tools/mm): the command has merging on, and errors are reported.
 * ksmrun.c is compiled into this program, so that the test needs no other file.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

/* The error that prctl returns to ksmrun, to imitate another kernel. */
static int prctl_error;

static int fake_prctl(int option, unsigned long arg2, unsigned long arg3,
		      unsigned long arg4, unsigned long arg5)
{
	if (prctl_error) {
		errno = prctl_error;
		return -1;
	}
	return prctl(option, arg2, arg3, arg4, arg5);
}

#define prctl	fake_prctl
#define main	ksmrun_main
#include "../../../mm/ksmrun.c"
#undef main
#undef prctl

#define MAX_ARGS	8
#define NOBODY		65534
#define SEED		0x52000000

/* What this program does when ksmrun executes it. */
#define ROLE_ASK	"--tell-memory-merge"
#define ROLE_ARGUMENTS	"--tell-arguments"

struct outcome {
	int status;
	char text[4096];	/* output on stdout and stderr */
};

static void be_ksmrun(int out, char **argv, void (*prepare)(void))
{
	int argc = 0;

	while (argv[argc])
		argc++;
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	/* Earlier output of the test must not be written here again. */
	setvbuf(stdout, NULL, _IONBF, 0);
	if (prepare)
		prepare();
	optind = 1;
	_exit(ksmrun_main(argc, argv));
}

static void read_all(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t got;

	while (len < size - 1 && (got = read(fd, text + len, size - 1 - len)) > 0)
		len += got;
	text[len] = '\0';
}

/* Runs ksmrun with arguments, after calling @prepare in its process. */
static struct outcome ksmrun_after(void (*prepare)(void), const char *const *arguments)
{
	char *argv[MAX_ARGS + 1] = { "ksmrun" };
	struct outcome outcome;
	int ends[2], i;
	pid_t pid;

	for (i = 0; i < MAX_ARGS - 1 && arguments[i]; i++)
		argv[i + 1] = (char *)arguments[i];
	ksm_check(!pipe(ends), "pipe");
	pid = fork();
	if (!pid)
		be_ksmrun(ends[1], argv, prepare);
	close(ends[1]);
	read_all(ends[0], outcome.text, sizeof(outcome.text));
	close(ends[0]);
	ksm_check(waitpid(pid, &outcome.status, 0) == pid && WIFEXITED(outcome.status),
		  "ksmrun exits");
	outcome.status = WEXITSTATUS(outcome.status);
	return outcome;
}

#define ksmrun(...)	\
	ksmrun_after(NULL, (const char *const[]) { __VA_ARGS__, NULL })

static void expect(struct outcome outcome, int status, const char *text)
{
	if (outcome.status != status)
		ksm_fail("exit status %d instead of %d, with \"%s\"", outcome.status,
			 status, outcome.text);
	if (!strstr(outcome.text, text))
		ksm_fail("the output is \"%s\" instead of \"%s\"", outcome.text, text);
}

/* An error is one line. A usage error has a second line about --help. */
static void expect_lines(struct outcome outcome, unsigned int want)
{
	unsigned int lines = 0;
	char *c;

	for (c = outcome.text; *c; c++)
		lines += *c == '\n';
	ksm_expect("lines of an error", lines, want);
}

static void tells_help(void)
{
	expect(ksmrun("--help"), 0, "Usage: ksmrun");
	expect(ksmrun("-h"), 0, "--check");
}

static void tells_version(void)
{
	expect(ksmrun("--version"), 0, "ksmrun ");
	expect(ksmrun("-V"), 0, "ksmrun ");
}

static void turns_merging_on(void)
{
	ksm_expect("PR_GET here", prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 0);
	expect(ksmrun("/proc/self/exe", ROLE_ASK), 1, "");
	expect(ksmrun("--", "/proc/self/exe", ROLE_ASK), 1, "");
	ksm_expect("PR_GET here", prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0), 0);
}

static void passes_arguments(void)
{
	expect(ksmrun("/proc/self/exe", ROLE_ARGUMENTS, "--help", "a b"), 0, "[--help][a b]");
	expect(ksmrun("--", "/proc/self/exe", ROLE_ARGUMENTS, "--", "-c"), 0, "[--][-c]");
}

static void no_command(void)
{
	struct outcome outcome = ksmrun_after(NULL, (const char *const[]) { NULL });

	expect(outcome, 125, "no command");
	expect_lines(outcome, 2);
	expect(ksmrun("--"), 125, "no command");
}

static void bad_options(void)
{
	expect(ksmrun("--no-such-option"), 125, "--help");
	expect(ksmrun("-x"), 125, "--help");
	expect(ksmrun("--check", "true"), 125, "takes no command");
}

static void command_not_found(void)
{
	struct outcome outcome = ksmrun("/no/such/command");

	expect(outcome, 127, "/no/such/command");
	expect_lines(outcome, 1);
	expect(ksmrun("no-such-command-anywhere"), 127, "no-such-command-anywhere");
}

static void command_not_executable(void)
{
	struct outcome outcome = ksmrun("/proc/self/status");

	expect(outcome, 126, "/proc/self/status");
	expect_lines(outcome, 1);
	expect(ksmrun("/proc"), 126, "/proc");
}

static void check_while_merging(void)
{
	ksm_set("run", 1);
	expect(ksmrun("--check"), 0, "ksmrun works");
	expect(ksmrun("-c"), 0, "KSM is merging");
}

static void check_while_stopped(void)
{
	ksm_set("run", 0);
	expect(ksmrun("--check"), 1, "KSM is not merging");
	ksm_set("run", 2);
	expect(ksmrun("--check"), 1, "KSM is not merging");
}

static void without_ksm(void)
{
	prctl_error = EINVAL;
}

static void without_capability(void)
{
	prctl_error = EPERM;
}

static void expect_refusal(void (*prepare)(void), const char *text)
{
	struct outcome outcome;

	outcome = ksmrun_after(prepare, (const char *const[]) { "/proc/self/exe", ROLE_ASK, NULL });
	expect(outcome, 125, text);
	expect_lines(outcome, 1);
	ksm_set("run", 1);
	outcome = ksmrun_after(prepare, (const char *const[]) { "--check", NULL });
	expect(outcome, 1, text);
}

static void kernel_lacks_it(void)
{
	expect_refusal(without_ksm, "CONFIG_KSM");
}

static void capability_lacks(void)
{
	expect_refusal(without_capability, "CAP_SYS_RESOURCE");
}

static void give_up_privileges(void)
{
	if (setresuid(NOBODY, NOBODY, NOBODY))
		_exit(KSFT_SKIP);
}

/* The kernel may require a capability. Then the message names it. */
static void unprivileged(void)
{
	struct outcome outcome;

	outcome = ksmrun_after(give_up_privileges,
			       (const char *const[]) { "/proc/self/exe", ROLE_ASK, NULL });
	if (outcome.status != 1)
		expect(outcome, 125, "CAP_SYS_RESOURCE");
}

static void to_full_disk(void)
{
	int full = open("/dev/full", O_WRONLY);

	if (full >= 0)
		dup2(full, STDOUT_FILENO);
}

static void output_lost(void)
{
	if (access("/dev/full", W_OK))
		ksm_skip("/dev/full does not exist");
	expect(ksmrun_after(to_full_disk, (const char *const[]) { "--help", NULL }), 125,
	       "cannot write");
	expect(ksmrun_after(to_full_disk, (const char *const[]) { "--version", NULL }), 125,
	       "cannot write");
}

static void merges_now(void)
{
	char *area = ksm_map_mergeable(2);
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	ksm_fill_same(area, 2, SEED);
	ksm_set("run", 0);
	expect(ksmrun("--now", pid), 0, "");
	ksm_expect_figures(1, 1, 0);
	ksm_set("run", 2);
	expect(ksmrun("-n", pid), 1, "is 2");
}

static void runs_and_merges(void)
{
	ksm_set("run", 0);
	expect(ksmrun("--now", "--", "/proc/self/exe", ROLE_ASK), 1, "");
	expect(ksmrun("--now", "--", "/no/such/command"), 127, "/no/such/command");
}

static void now_errors(void)
{
	expect(ksmrun("--now"), 125, "--help");
	expect(ksmrun("--now", "true"), 125, "not a process ID");
	expect(ksmrun("--now", "999999999"), 1, "no such process");
}

static void merges_cgroup(void)
{
	const char *const name = KSM_CGROUP + strlen(CGROUPS);
	char *area;

	ksm_need_cgroup();
	if (access(KSM_CGROUP "memory.ksm.merge", F_OK))
		ksm_skip("this kernel has no memory.ksm.merge");
	ksm_enter_cgroup();
	expect(ksmrun("--cgroup", name, "on"), 0, "");
	area = ksm_map(2);
	ksm_fill_same(area, 2, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, 2), 2);
	expect(ksmrun("-g", KSM_CGROUP, "off"), 0, "");
	ksm_expect("merged pages", ksm_count_merged(area, 2), 0);
}

static void cgroup_errors(void)
{
	static const char *const writes[] = { "--cgroup", KSM_CGROUP, "on", NULL };

	expect(ksmrun("--cgroup"), 125, "--help");
	expect(ksmrun("--cgroup", "name"), 125, "--help");
	expect(ksmrun("--cgroup", "name", "1"), 125, "on or off");
	expect(ksmrun("--cgroup", "name", "on", "off"), 125, "--help");
	expect(ksmrun("--cgroup", "no/such/cgroup", "on"), 1, "no such cgroup");
	expect(ksmrun("--cgroup", CGROUPS, "on"), 1, "it is the root");
	ksm_need_cgroup();
	expect(ksmrun_after(give_up_privileges, writes), 1, "only the owner");
}

static const struct ksm_case cases[] = {
	{ "--help", tells_help },
	{ "--version", tells_version },
	{ "the command has merging on", turns_merging_on },
	{ "arguments reach the command unchanged", passes_arguments },
	{ "no command is an error", no_command },
	{ "unknown options are errors", bad_options },
	{ "a command that is not found gives 127", command_not_found },
	{ "a command that cannot be run gives 126", command_not_executable },
	{ "--check while KSM is merging", check_while_merging },
	{ "--check while KSM is stopped", check_while_stopped },
	{ "--now merges the memory of a process", merges_now },
	{ "--now runs a command", runs_and_merges },
	{ "--now with wrong arguments", now_errors },
	{ "--cgroup merges the processes of a cgroup", merges_cgroup },
	{ "--cgroup with wrong arguments", cgroup_errors },
	{ "a kernel without KSM", kernel_lacks_it },
	{ "a kernel that requires the capability", capability_lacks },
	{ "an unprivileged user", unprivileged },
	{ "output that cannot be written", output_lost },
};

static int tell_arguments(char **argv)
{
	for (argv += 2; *argv; argv++)
		printf("[%s]", *argv);
	printf("\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], ROLE_ASK))
		return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
	if (argc > 2 && !strcmp(argv[1], ROLE_ARGUMENTS))
		return tell_arguments(argv);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
