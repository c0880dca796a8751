// SPDX-License-Identifier: GPL-2.0
/*
 * With memory.ksm.merge 1, the processes of a cgroup are merged, unless the user that
 * wrote the file must not read their memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define CGROUP		"/sys/fs/cgroup/"
#define OURS		CGROUP "ksm_cgroup_merge/"
#define PAGES		20
#define MEMBERS		40
#define SEED		0xc9000000
#define USER		1000
#define PROGRAM		"/tmp/ksm_cgroup_merge_copy"
/* Arguments with which this program runs itself. */
#define EXEC_REPORT	"--report"
#define EXEC_NOTHING	"--exit"
/* Descriptor of the members for a new program. */
#define MEMBERS_FD	200
#define RACE_MS		5000

/* What a process asks for itself when it starts. */
#define ASK_PRCTL	1
#define ASK_ADVICE	2

/* What a process does when it is told to go on. */
enum order {
	REPORT,
	EXEC,
	ASK,
	OPT_OUT,
};

/**
 * struct member - a process
 * @child: the process
 * @uid: user that it runs as
 * @ask: ASK_PRCTL or ASK_ADVICE
 * @order: what to do next
 * @program: for EXEC
 * @merge: what PR_GET_MEMORY_MERGE gave
 * @mergeable: its pages are in a mergeable VMA
 * @merged: number of its pages that are shared
 */
struct member {
	struct ksm_child child;
	uid_t uid;
	unsigned int ask;
	enum order order;
	const char *program;
	int merge;
	bool mergeable;
	long merged;
};

static struct member *members;

/* Cgroups. */

static int try_write(const char *cgroup, const char *file, const char *text)
{
	char path[192];

	snprintf(path, sizeof(path), OURS "%s/%s", cgroup, file);
	return ksm_write_file(path, text);
}

static void write_to(const char *cgroup, const char *file, const char *text)
{
	int err = try_write(cgroup, file, text);

	if (err)
		ksm_fail("writing \"%s\" to %s of %s: %d", text, file, cgroup, err);
}

static void set_merge(const char *cgroup, const char *text)
{
	write_to(cgroup, "memory.ksm.merge", text);
}

static long get_merge(const char *cgroup)
{
	char path[192], text[KSM_TEXT] = "";

	snprintf(path, sizeof(path), OURS "%s/memory.ksm.merge", cgroup);
	ksm_check(ksm_read_file(path, text, sizeof(text)) > 0, "memory.ksm.merge");
	return strtol(text, NULL, 10);
}

static void make_cgroup(const char *cgroup)
{
	char path[192];

	snprintf(path, sizeof(path), OURS "%s", cgroup);
	if (mkdir(path, 0755))
		ksm_fail("making %s: %s", path, strerror(errno));
}

static void move_to(pid_t pid, const char *cgroup)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%d", pid);
	write_to(cgroup, "cgroup.procs", text);
}

/* The processes of the case before have been killed. */
static void remove_all(void)
{
	rmdir(OURS "a/x");
	rmdir(OURS "a");
	rmdir(OURS "b");
	rmdir(OURS);
}

static void begin(void)
{
	int fd = memfd_create("members", 0);

	remove_all();
	ksm_write_file(CGROUP "cgroup.subtree_control", "+memory");
	if (mkdir(OURS, 0755) || ksm_write_file(OURS "cgroup.subtree_control", "+memory"))
		ksm_skip("no memory cgroup can be made");
	make_cgroup("a");
	make_cgroup("b");
	if (access(OURS "a/memory.ksm.merge", F_OK))
		ksm_skip("this kernel has no memory.ksm.merge");
	ksm_check(fd >= 0 && dup2(fd, MEMBERS_FD) == MEMBERS_FD, "memfd_create");
	ksm_check(!ftruncate(MEMBERS_FD, MEMBERS * sizeof(*members)), "ftruncate");
	members = mmap(NULL, MEMBERS * sizeof(*members), PROT_READ | PROT_WRITE, MAP_SHARED,
		       MEMBERS_FD, 0);
	ksm_check(members != MAP_FAILED, "mmap");
	ksm_set("run", 1);
}

/* Members. */

static void become_user(void)
{
	ksm_check(!setresgid(USER, USER, USER), "setresgid");
	ksm_check(!setresuid(USER, USER, USER), "setresuid");
}

static void obey(struct ksm_child *self, struct member *member)
{
	char in[16], out[16], index[16];

	snprintf(in, sizeof(in), "%d", self->in);
	snprintf(out, sizeof(out), "%d", self->out);
	snprintf(index, sizeof(index), "%td", member - members);
	if (member->order == EXEC) {
		execl(member->program, "ksm_cgroup_merge", EXEC_REPORT, index, in, out, NULL);
		ksm_fail("exec of %s: %s", member->program, strerror(errno));
	}
	if (member->order != REPORT)
		ksm_expect("prctl", ksm_set_merge(member->order == ASK), 0);
}

static void live(struct ksm_child *self, struct member *member)
{
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	if (member->ask & ASK_ADVICE)
		ksm_mergeable(area, PAGES);
	for (;;) {
		member->merge = ksm_get_merge();
		member->mergeable = ksm_vmflag(area, "mg");
		member->merged = geteuid() ? -1 : (long)ksm_count_merged(area, PAGES);
		ksm_check_same(area, PAGES, SEED);
		ksm_child_pause(self);
		obey(self, member);
	}
}

static void run_member(struct ksm_child *self, void *arg)
{
	struct member *member = arg;

	if (member->uid)
		become_user();
	/* A program that is executed later is as readable. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (member->ask & ASK_PRCTL)
		ksm_expect("prctl", ksm_set_merge(1), 0);
	live(self, member);
}

/* Runs in a new program. */
static int report(char **argv)
{
	struct ksm_child self = { .pid = getpid(), .in = atoi(argv[3]), .out = atoi(argv[4]) };

	members = mmap(NULL, MEMBERS * sizeof(*members), PROT_READ | PROT_WRITE, MAP_SHARED,
		       MEMBERS_FD, 0);
	if (members == MAP_FAILED)
		return 1;
	members[atoi(argv[2])].ask = 0;
	live(&self, &members[atoi(argv[2])]);
	return 0;
}

static struct member *start_as(unsigned int i, uid_t uid, unsigned int ask)
{
	struct member *member = &members[i];
	struct ksm_child child;

	member->uid = uid;
	member->ask = ask;
	ksm_child_start(&child, run_member, member);
	member->child = child;
	ksm_child_wait(&member->child);
	return member;
}

static struct member *start_in(unsigned int i, const char *cgroup)
{
	struct member *member = start_as(i, 0, 0);

	move_to(member->child.pid, cgroup);
	return member;
}

static void tell(struct member *member, enum order order)
{
	member->order = order;
	ksm_child_step(&member->child);
	member->order = REPORT;
}

static void execute(struct member *member, const char *program)
{
	member->program = program;
	tell(member, EXEC);
}

static bool is_marked(void *arg)
{
	struct member *member = arg;

	tell(member, REPORT);
	return member->merge == 1 && member->mergeable;
}

static bool is_unmarked(void *arg)
{
	struct member *member = arg;

	tell(member, REPORT);
	return !member->merge && !member->mergeable;
}

static bool is_merged(void *arg)
{
	struct member *member = arg;

	tell(member, REPORT);
	return member->merged == PAGES;
}

static void expect_marked_now(struct member *member)
{
	ksm_check(is_marked(member), "the process is marked");
}

static void expect_unmarked_now(struct member *member)
{
	ksm_check(is_unmarked(member), "the process is not marked");
}

/* After a fork, an exec or an attach this is done soon. */
static void expect_marked(struct member *member)
{
	ksm_check(ksm_poll(is_marked, member), "the process is marked soon");
}

static void expect_unmarked(struct member *member)
{
	ksm_check(ksm_poll(is_unmarked, member), "the process is soon not marked");
}

/* A mark that must not come is given time to come. */
static void expect_never_marked(struct member *member)
{
	usleep(500000);
	expect_unmarked_now(member);
}

static void expect_merged(struct member *member)
{
	ksm_check(ksm_poll(is_merged, member), "the pages of the process are merged");
}

/* Writes as a user that the file was given to. */
static void write_as_user(const char *cgroup, const char *text)
{
	char path[192];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), OURS "%s/memory.ksm.merge", cgroup);
	ksm_check(!chown(path, USER, USER), "chown");
	pid = fork();
	if (!pid) {
		become_user();
		_exit(!!ksm_write_file(path, text));
	}
	ksm_check(waitpid(pid, &status, 0) == pid && !status, "the user can write the file");
}

static void copy_program(bool setuid_root)
{
	char buffer[4096];
	int in = open("/proc/self/exe", O_RDONLY), out;
	ssize_t size;

	unlink(PROGRAM);
	out = open(PROGRAM, O_WRONLY | O_CREAT | O_EXCL, 0755);
	if (in < 0 || out < 0)
		ksm_skip("%s cannot be made", PROGRAM);
	while ((size = read(in, buffer, sizeof(buffer))) > 0)
		ksm_check(write(out, buffer, size) == size, "writing the copy");
	close(in);
	close(out);
	ksm_check(!chmod(PROGRAM, setuid_root ? 04755 : 0755), "chmod");
}

/* Cases. */

static void values(void)
{
	begin();
	ksm_expect("memory.ksm.merge", get_merge("a"), 0);
	set_merge("a", "1");
	ksm_expect("memory.ksm.merge", get_merge("a"), 1);
	ksm_expect("2", try_write("a", "memory.ksm.merge", "2"), -EINVAL);
	ksm_expect("-1", try_write("a", "memory.ksm.merge", "-1"), -EINVAL);
	ksm_expect("yes", try_write("a", "memory.ksm.merge", "yes"), -EINVAL);
	ksm_expect("99999999999", try_write("a", "memory.ksm.merge", "99999999999"), -EINVAL);
	ksm_expect("memory.ksm.merge", get_merge("a"), 1);
	set_merge("a", "0");
	ksm_expect("memory.ksm.merge", get_merge("a"), 0);
	set_merge("a", "1");
	ksm_expect("memory.ksm.merge of the root", access(CGROUP "memory.ksm.merge", F_OK), -1);
	/* A new cgroup may get the number of one that has gone. */
	ksm_check(!rmdir(OURS "a"), "rmdir");
	make_cgroup("a");
	ksm_expect("memory.ksm.merge anew", get_merge("a"), 0);
}

static void present(void)
{
	struct member *in, *out;

	begin();
	in = start_in(0, "a");
	out = start_in(1, "b");
	set_merge("a", "1");
	expect_marked_now(in);
	expect_unmarked_now(out);
	expect_merged(in);
	set_merge("a", "0");
	expect_unmarked_now(in);
	ksm_expect("merged pages", in->merged, 0);
}

static void started_later(void)
{
	struct member *member;

	begin();
	set_merge("a", "1");
	move_to(getpid(), "a");
	member = start_as(0, 0, 0);
	expect_marked(member);
	expect_merged(member);
	move_to(getpid(), "b");
	set_merge("a", "0");
	expect_unmarked_now(member);
}

static void executed(void)
{
	struct member *member;

	begin();
	copy_program(false);
	member = start_in(0, "a");
	set_merge("a", "1");
	execute(member, PROGRAM);
	expect_marked(member);
	expect_merged(member);
	set_merge("a", "0");
	expect_unmarked_now(member);
	execute(member, PROGRAM);
	expect_never_marked(member);
}

static void moved(void)
{
	struct member *member;

	begin();
	set_merge("a", "1");
	member = start_in(0, "a");
	expect_marked(member);
	expect_merged(member);
	move_to(member->child.pid, "b");
	expect_unmarked(member);
	ksm_expect("merged pages", member->merged, 0);
}

static void descendant(void)
{
	struct member *member;

	begin();
	write_to("a", "cgroup.subtree_control", "+memory");
	make_cgroup("a/x");
	member = start_in(0, "a/x");
	set_merge("a", "1");
	expect_marked_now(member);
	/* Either of the two is enough. */
	set_merge("a/x", "1");
	set_merge("a", "0");
	expect_marked_now(member);
	set_merge("a/x", "0");
	expect_unmarked_now(member);
	/* The process gets into the cgroup above without being moved. */
	set_merge("a/x", "1");
	expect_marked_now(member);
	write_to("a", "cgroup.subtree_control", "-memory");
	expect_unmarked(member);
}

static void asked_themselves(void)
{
	struct member *before, *later, *never, *advised;

	begin();
	before = start_as(0, 0, ASK_PRCTL);
	later = start_as(1, 0, 0);
	advised = start_as(2, 0, ASK_ADVICE);
	never = start_as(3, 0, 0);
	move_to(before->child.pid, "a");
	move_to(later->child.pid, "a");
	move_to(never->child.pid, "a");
	move_to(advised->child.pid, "a");
	set_merge("a", "1");
	tell(later, ASK);
	set_merge("a", "0");
	expect_marked_now(before);
	expect_marked_now(later);
	expect_unmarked_now(never);
	tell(advised, REPORT);
	ksm_expect("PR_GET of a process with advice", advised->merge, 0);
	ksm_check(advised->mergeable, "its advice is still there");
	expect_merged(advised);
}

static void opted_out(void)
{
	struct member *member;

	begin();
	copy_program(false);
	member = start_in(0, "a");
	set_merge("a", "1");
	expect_marked_now(member);
	tell(member, OPT_OUT);
	set_merge("a", "1");
	expect_unmarked_now(member);
	move_to(member->child.pid, "b");
	move_to(member->child.pid, "a");
	expect_never_marked(member);
	execute(member, PROGRAM);
	expect_marked(member);
	set_merge("a", "0");
	expect_unmarked_now(member);
}

static void gains_privileges(void)
{
	struct member *member, *by_user;

	begin();
	copy_program(true);
	member = start_as(0, USER, 0);
	by_user = start_as(1, USER, 0);
	move_to(member->child.pid, "a");
	move_to(by_user->child.pid, "b");
	set_merge("a", "1");
	write_as_user("b", "1");
	expect_marked_now(member);
	expect_marked_now(by_user);
	execute(member, PROGRAM);
	execute(by_user, PROGRAM);
	expect_never_marked(member);
	expect_unmarked_now(by_user);
	/* Nor if the file is written again. */
	set_merge("a", "1");
	write_as_user("b", "1");
	expect_unmarked_now(member);
	expect_unmarked_now(by_user);
	unlink(PROGRAM);
}

static void unprivileged_writer(void)
{
	struct member *of_root, *of_user, *later, *executes;

	begin();
	copy_program(false);
	of_root = start_in(0, "a");
	of_user = start_as(1, USER, 0);
	executes = start_as(2, USER, 0);
	move_to(of_user->child.pid, "a");
	move_to(executes->child.pid, "a");
	write_as_user("a", "1");
	ksm_expect("memory.ksm.merge", get_merge("a"), 1);
	expect_unmarked_now(of_root);
	expect_marked_now(of_user);
	later = start_in(3, "a");
	execute(of_root, PROGRAM);
	execute(executes, PROGRAM);
	expect_marked(executes);
	/* A program that the user must not read. */
	ksm_check(!chmod(PROGRAM, 0711), "chmod");
	execute(executes, PROGRAM);
	expect_never_marked(executes);
	expect_unmarked_now(later);
	expect_unmarked_now(of_root);
	/* The same file, written by root. */
	set_merge("a", "1");
	expect_marked_now(of_root);
	expect_marked_now(later);
	expect_marked_now(executes);
	write_as_user("a", "1");
	expect_unmarked_now(of_root);
	expect_marked_now(of_user);
	set_merge("a", "0");
	expect_unmarked_now(of_user);
	unlink(PROGRAM);
}

/* A privileged process writes to a file that a user has opened. */
static void opened_by_user(void)
{
	struct member *of_root;
	int fd;

	begin();
	of_root = start_in(0, "a");
	move_to(getpid(), "a");
	ksm_check(!chown(OURS "a/memory.ksm.merge", USER, USER), "chown");
	ksm_check(!setresuid(-1, USER, 0), "setresuid");
	fd = open(OURS "a/memory.ksm.merge", O_WRONLY);
	ksm_check(!setresuid(-1, 0, 0), "setresuid");
	ksm_check(fd >= 0 && write(fd, "1", 1) == 1, "writing the file");
	expect_never_marked(of_root);
	ksm_expect("PR_GET of the writer", ksm_get_merge(), 0);
}

static void ignore(int signal)
{
	(void)signal;
}

/* Returns whether a write was interrupted, which has to leave everything as it was. */
static bool interrupt_write(const char *text)
{
	struct itimerval often = { .it_interval.tv_usec = 50, .it_value.tv_usec = 50 };
	const struct itimerval never = {};
	int err;

	setitimer(ITIMER_REAL, &often, NULL);
	err = try_write("a", "memory.ksm.merge", text);
	setitimer(ITIMER_REAL, &never, NULL);
	if (err && err != -EINTR)
		ksm_fail("a write that is interrupted: %d", err);
	return err;
}

static bool all_are(bool (*condition)(void *arg))
{
	unsigned int i;

	for (i = 0; i < MEMBERS; i++)
		if (!condition(&members[i]))
			return false;
	return true;
}

static bool all_marked(void *unused)
{
	return all_are(is_marked);
}

static bool all_unmarked(void *unused)
{
	return all_are(is_unmarked);
}

static void signals(void)
{
	const struct sigaction action = { .sa_handler = ignore };
	unsigned int i, on = 0, off = 0;

	begin();
	ksm_check(!sigaction(SIGALRM, &action, NULL), "sigaction");
	for (i = 0; i < MEMBERS; i++)
		start_in(i, "a");
	for (i = 0; i < 200 && (!on || !off); i++) {
		set_merge("a", "0");
		if (interrupt_write("1")) {
			on++;
			ksm_expect("memory.ksm.merge", get_merge("a"), 0);
			ksm_check(ksm_poll(all_unmarked, NULL), "nothing has changed");
		}
		set_merge("a", "1");
		if (interrupt_write("0")) {
			off++;
			ksm_expect("memory.ksm.merge", get_merge("a"), 1);
			ksm_check(ksm_poll(all_marked, NULL), "nothing has changed");
		}
	}
	ksft_print_msg("%u writes of 1 and %u writes of 0 were interrupted\n", on, off);
	if (!on || !off)
		ksm_skip("no write was interrupted");
}

/* Everything at once; ends when it is killed. */

static void race_forks(struct ksm_child *self, void *arg)
{
	unsigned int i;
	pid_t pid;

	(void)self;
	for (i = 0;; i++) {
		ksm_fill_same(ksm_map(4), 4, SEED);
		pid = fork();
		if (pid > 0) {
			waitpid(pid, NULL, 0);
		} else if (i % 4 == 0) {
			execl(PROGRAM, "ksm_cgroup_merge", EXEC_NOTHING, NULL);
		} else if (i % 4 == 1 && !fork()) {
			ksm_set_merge(i % 3);
			_exit(0);
		}
		if (!pid)
			_exit(0);
	}
}

static void race_writes(struct ksm_child *self, void *arg)
{
	const char *cgroup = arg;
	unsigned int i;

	(void)self;
	for (i = 0;; i++)
		try_write(cgroup, "memory.ksm.merge", i % 2 ? "1" : "0");
}

static void race_user(struct ksm_child *self, void *arg)
{
	(void)self;
	become_user();
	for (;;) {
		try_write("b", "memory.ksm.merge", "1");
		usleep(1000);
	}
}

static void races(void)
{
	struct ksm_child racers[6];
	struct member *member;
	unsigned int i;
	long end;

	begin();
	copy_program(false);
	ksm_set("sleep_millisecs", 0);
	ksm_check(!chown(OURS "b/memory.ksm.merge", USER, USER), "chown");
	member = start_in(0, "a");
	for (i = 0; i < 3; i++)
		ksm_child_start(&racers[i], race_forks, NULL);
	ksm_child_start(&racers[3], race_writes, "a");
	ksm_child_start(&racers[4], race_writes, "b");
	ksm_child_start(&racers[5], race_user, NULL);
	for (i = 0, end = ksm_now_ms() + RACE_MS; ksm_now_ms() < end; i++) {
		move_to(racers[i % 3].pid, i % 2 ? "a" : "b");
		move_to(member->child.pid, i % 2 ? "b" : "a");
		tell(member, i % 7 ? REPORT : OPT_OUT);
	}
	for (i = 0; i < 6; i++)
		ksm_child_kill(&racers[i]);
	unlink(PROGRAM);
	set_merge("a", "0");
	set_merge("b", "0");
	expect_unmarked(member);
	tell(member, ASK);
	tell(member, OPT_OUT);
	expect_unmarked_now(member);
}

static const struct ksm_case cases[] = {
	{ "memory.ksm.merge takes 0 and 1", values },
	{ "processes of the cgroup are merged", present },
	{ "a process that is started later is merged", started_later },
	{ "a program that is executed is merged", executed },
	{ "a process that is moved in is merged until it is moved out", moved },
	{ "processes of a descendant are merged", descendant },
	{ "0 leaves alone what a process has asked for", asked_themselves },
	{ "a process leaves by prctl until its next exec", opted_out },
	{ "an exec that gains privileges ends the mark", gains_privileges },
	{ "a user marks only processes that it may read", unprivileged_writer },
	{ "the user that opened the file counts", opened_by_user },
	{ "a write that is interrupted changes nothing", signals },
	{ "fork, exec, attach, exit and writes at once", races },
};

static void restore(void)
{
	ksm_try("run", "2");
	ksm_try("run", ksm_initial("run"));
	unlink(PROGRAM);
	remove_all();
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], EXEC_REPORT))
		return report(argv);
	if (argc == 2 && !strcmp(argv[1], EXEC_NOTHING))
		return 0;
	atexit(restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
