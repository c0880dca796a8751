// SPDX-License-Identifier: GPL-2.0
/*
 * Processes in cgroups, for tests of memory.ksm.merge; see ksm_merge_member.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_merge_member.h"

/* With this argument, the program of a member goes on after an exec. */
#define EXEC_REPORT	"--report"
/* Descriptor of the members for a new program. */
#define MEMBERS_FD	200

struct member *members;

void merge_begin(void)
{
	int fd = memfd_create("members", 0);

	cgroup_begin();
	cgroup_make("a");
	cgroup_make("b");
	if (access(KSM_CGROUPS "a/memory.ksm.merge", F_OK))
		ksm_skip("this kernel has no memory.ksm.merge");
	ksm_check(fd >= 0 && dup2(fd, MEMBERS_FD) == MEMBERS_FD, "memfd_create");
	ksm_check(!ftruncate(MEMBERS_FD, MEMBERS * sizeof(*members)), "ftruncate");
	members = mmap(NULL, MEMBERS * sizeof(*members), PROT_READ | PROT_WRITE, MAP_SHARED,
		       MEMBERS_FD, 0);
	ksm_check(members != MAP_FAILED, "mmap");
	ksm_set("run", 1);
}

void merge_restore(void)
{
	ksm_try("run", "2");
	ksm_try("run", ksm_initial("run"));
	unlink(PROGRAM);
	cgroup_remove_all();
}

void merge_set(const char *cgroup, const char *text)
{
	cgroup_write(cgroup, "memory.ksm.merge", text);
}

long merge_get(const char *cgroup)
{
	return cgroup_read(cgroup, "memory.ksm.merge");
}

void become_user(void)
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
		execl(member->program, "ksm_merge_member", EXEC_REPORT, index, in, out, NULL);
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
static void report(char **argv)
{
	struct ksm_child self = { .pid = getpid(), .in = atoi(argv[3]), .out = atoi(argv[4]) };

	members = mmap(NULL, MEMBERS * sizeof(*members), PROT_READ | PROT_WRITE, MAP_SHARED,
		       MEMBERS_FD, 0);
	if (members == MAP_FAILED)
		exit(1);
	members[atoi(argv[2])].ask = 0;
	live(&self, &members[atoi(argv[2])]);
}

bool member_is_program(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], EXEC_REPORT))
		report(argv);
	return argc == 2 && !strcmp(argv[1], EXEC_NOTHING);
}

struct member *member_start_as(unsigned int i, uid_t uid, unsigned int ask)
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

struct member *member_start_in(unsigned int i, const char *cgroup)
{
	struct member *member = member_start_as(i, 0, 0);

	cgroup_move(member->child.pid, cgroup);
	return member;
}

void member_tell(struct member *member, enum order order)
{
	member->order = order;
	ksm_child_step(&member->child);
	member->order = REPORT;
}

void member_execute(struct member *member, const char *program)
{
	member->program = program;
	member_tell(member, EXEC);
}

bool is_marked(void *arg)
{
	struct member *member = arg;

	member_tell(member, REPORT);
	return member->merge == 1 && member->mergeable;
}

bool is_unmarked(void *arg)
{
	struct member *member = arg;

	member_tell(member, REPORT);
	return !member->merge && !member->mergeable;
}

bool is_merged(void *arg)
{
	struct member *member = arg;

	member_tell(member, REPORT);
	return member->merged == PAGES;
}

void expect_marked_now(struct member *member)
{
	ksm_check(is_marked(member), "the process is marked");
}

void expect_unmarked_now(struct member *member)
{
	ksm_check(is_unmarked(member), "the process is not marked");
}

void expect_marked(struct member *member)
{
	ksm_check(ksm_poll(is_marked, member), "the process is marked soon");
}

void expect_unmarked(struct member *member)
{
	ksm_check(ksm_poll(is_unmarked, member), "the process is soon not marked");
}

void expect_never_marked(struct member *member)
{
	usleep(500000);
	expect_unmarked_now(member);
}

void expect_merged(struct member *member)
{
	ksm_check(ksm_poll(is_merged, member), "the pages of the process are merged");
}

void merge_write_as_user(const char *cgroup, const char *text)
{
	char path[192];
	int status;
	pid_t pid;

	cgroup_path(path, sizeof(path), cgroup, "memory.ksm.merge");
	ksm_check(!chown(path, USER, USER), "chown");
	pid = fork();
	if (!pid) {
		become_user();
		_exit(!!ksm_write_file(path, text));
	}
	ksm_check(waitpid(pid, &status, 0) == pid && !status, "the user can write the file");
}

void member_copy_program(bool setuid_root)
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
