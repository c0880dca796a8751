// SPDX-License-Identifier: GPL-2.0
/*
 * Relatives of a worker: threads, processes that share its memory, and children, of
 * which some exit at once. Each checks its memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

#define CHILDREN	3
#define BURST		30
#define MANY_PAGES	8
#define STACK		(256 << 10)
/* With a limit to processes, more are started than it allows. */
#define BOMB_DEPTH	7
#define BOMB_DEPTH_FREE	3
#define BOMB_TURN	"/tmp/ksm_torture.bomb"
#define FILE_PAGES	16

static pid_t children[CHILDREN];

/* A process may be killed, by the OOM killer or a relative, and must not fail. */
static void judge(const char *what, int status)
{
	if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		torture_fail("worker %u: %s ended with wait status 0x%x", worker, what, status);
}

void wait_for(const char *what, pid_t pid)
{
	int status;

	if (pid > 0 && waitpid(pid, &status, 0) == pid)
		judge(what, status);
}

/* The child dies with its parent, even if that has exited already. */
pid_t fork_kin(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(0);
	} else if (pid > 0) {
		torture_count(COUNT_MMS);
	}
	return pid;
}

/* Writes to pages while they merge. */

static void *writer_run(void *arg)
{
	struct area *area = arg;
	uint64_t same[HUGE_PAGES] = { }, value = 0;
	unsigned int round;
	size_t i;

	for (i = 0; i < area->pages; i++)
		same[i] = *(uint64_t *)(area->addr + i * psize());
	for (round = 0; round < 40; round++) {
		for (i = 0; i < area->pages; i++) {
			uint64_t *word = (uint64_t *)(area->addr + i * psize());
			uint64_t want = round % 2 ? value - area->pages + i : same[i];

			if (__atomic_load_n(word, __ATOMIC_RELAXED) != want)
				torture_fail("worker %u: a write by a thread was lost", worker);
			*word = round % 2 ? same[i] : value + i;
		}
		if (round % 2 == 0)
			value += area->pages;
		usleep(1000);
	}
	return NULL;
}

/* A page after MADV_FREE may change by itself. */
static void keep_all(struct area *area)
{
	size_t i;

	for (i = 0; i < area->pages; i++)
		if (area->content[i].freed)
			fill_page(area, i, area->content[i].seed);
}

static void disturb(struct area *area)
{
	struct range range;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		range = any_range(area);
		madvise(range.start, range.pages * psize(),
			chance(&dice, 30) ? MADV_UNMERGEABLE : MADV_MERGEABLE);
		if (chance(&dice, 30))
			op_migrate(area);
		if (chance(&dice, 30))
			madvise(range.start, range.pages * psize(), MADV_PAGEOUT);
		usleep(roll(&dice, 5000));
	}
}

void op_write_beside(struct area *area)
{
	pthread_t thread;

	keep_all(area);
	if (pthread_create(&thread, NULL, writer_run, area))
		return;
	disturb(area);
	pthread_join(thread, NULL);
}

static int writer_process(void *area)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	writer_run(area);
	return 0;
}

/* A process that shares the memory and is no thread. */
void op_clone_beside(struct area *area)
{
	char *stack = mmap(NULL, STACK, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	pid_t pid;

	if (stack == MAP_FAILED)
		return;
	keep_all(area);
	pid = clone(writer_process, stack + STACK, CLONE_VM | SIGCHLD, area);
	if (pid > 0) {
		disturb(area);
		wait_for("a process with the same memory", pid);
	}
	munmap(stack, STACK);
}

/* The child shares the memory, and exits. */
void op_vfork(struct area *area)
{
	pid_t pid = vfork();

	if (!pid) {
		op_advise(area);
		op_write(area);
		_exit(0);
	}
	wait_for("a process by vfork()", pid);
}

/* Children that live on */

pid_t any_child(void)
{
	return children[roll(&dice, CHILDREN)];
}

void reap(void)
{
	unsigned int i;
	int status;

	for (i = 0; i < CHILDREN; i++) {
		if (!children[i] || waitpid(children[i], &status, WNOHANG) != children[i])
			continue;
		children[i] = 0;
		judge("a child", status);
	}
}

/* They check their memory before they exit. */
void wait_for_children(void)
{
	unsigned int i;

	for (i = 0; i < CHILDREN; i++) {
		wait_for("a child", children[i]);
		children[i] = 0;
	}
}

static void live_as_child(uint64_t seed)
{
	char text[32];

	memset(children, 0, sizeof(children));
	begin_life(seed, 7);
	if (chance(&dice, 30))
		op_change_cgroup(NULL);
	operate(roll(&dice, 12));
	check_all();
	if (chance(&dice, 20))
		kill(getpid(), SIGKILL);
	wait_for_children();
	if (chance(&dice, 30)) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
		faults_spare_me();
		execl("/proc/self/exe", "ksm_torture", "--live", text, NULL);
	}
	_exit(0);
}

void op_fork(struct area *area)
{
	uint64_t seed = roll(&dice, UINT64_MAX);
	unsigned int i;

	reap();
	for (i = 0; i < CHILDREN && children[i]; i++)
		;
	if (i == CHILDREN)
		return;
	children[i] = fork_kin();
	if (!children[i])
		live_as_child(seed);
	if (children[i] < 0)
		children[i] = 0;
}

/* Processes that exit before ksmd scans them, or meanwhile. */

static void live_briefly(struct area *area, unsigned int number)
{
	check_page(area, number % area->pages);
	set_word(area, number % area->pages);
	usleep(number % 4 * 2000);
	check_page(area, number % area->pages);
	_exit(0);
}

void op_burst(struct area *area)
{
	unsigned int i, count = 1 + roll(&dice, BURST);
	pid_t pids[BURST];

	for (i = 0; i < count; i++) {
		pids[i] = fork_kin();
		if (!pids[i])
			live_briefly(area, i);
	}
	for (i = 0; i < count; i++) {
		if (pids[i] > 0 && chance(&dice, 50))
			kill(pids[i], SIGKILL);
		wait_for("one of many processes", pids[i]);
	}
}

/* Starts processes with little memory, thousands of them. */
void torture_start_many(uint64_t seed, enum torture_role role)
{
	struct area area = { .pages = MANY_PAGES };
	size_t i;

	begin_life(seed, 15);
	area.addr = ksm_map(area.pages);
	madvise(area.addr, area.pages * psize(), MADV_MERGEABLE);
	for (i = 0; i < area.pages; i++)
		fill_page(&area, i, any_seed());
	for (;;) {
		__atomic_fetch_add(&torture->role_beats[role], 1, __ATOMIC_RELAXED);
		while (torture_pauses())
			usleep(10000);
		op_burst(&area);
		set_word(&area, roll(&dice, area.pages));
		usleep(roll(&dice, 100000));
	}
}

/* Each process forks twice, up to @depth. */
static void explode(struct area *area, unsigned int depth)
{
	pid_t pids[2] = { };
	unsigned int i;

	check_page(area, depth % area->pages);
	set_word(area, depth % area->pages);
	for (i = 0; depth && i < ARRAY_SIZE(pids); i++) {
		pids[i] = fork_kin();
		if (!pids[i]) {
			explode(area, depth - 1);
			_exit(0);
		}
		if (pids[i] < 0)
			torture_count(COUNT_FORKS_REFUSED);
	}
	for (i = 0; i < ARRAY_SIZE(pids); i++)
		wait_for("a part of a fork bomb", pids[i]);
	check_page(area, depth % area->pages);
}

/* One at a time: its processes keep the file open until the last one exits. */
void op_bomb(struct area *area)
{
	int turn = open(BOMB_TURN, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	pid_t pid = -1;

	if (!flock(turn, LOCK_EX | LOCK_NB))
		pid = fork_kin();
	if (!pid) {
		explode(area, torture_confine_bomb() ? BOMB_DEPTH : BOMB_DEPTH_FREE);
		_exit(0);
	}
	close(turn);
	wait_for("a fork bomb", pid);
}

/* A file of another process, taken by pidfd_getfd() */

struct talk {
	int to_child[2];
	int to_parent[2];
};

static bool tell(const int ends[2], int number)
{
	return write(ends[1], &number, sizeof(number)) == sizeof(number);
}

static bool hear(const int ends[2], int *number)
{
	return read(ends[0], number, sizeof(*number)) == sizeof(*number);
}

/* A private mapping of the file, in which every second page is written to. */
static char *map_copy(int file, uint64_t seed)
{
	char *copy = mmap(NULL, FILE_PAGES * psize(), PROT_RW, MAP_PRIVATE, file, 0);
	size_t i;

	if (copy == MAP_FAILED)
		return NULL;
	madvise(copy, FILE_PAGES * psize(), MADV_MERGEABLE);
	for (i = 1; i < FILE_PAGES; i += 2)
		ksm_fill(copy + i * psize(), seed);
	return copy;
}

/* Pages that were written to hold @seed, the others the content of the file. */
static void check_copy(const char *copy, uint64_t seed, uint64_t file_seed)
{
	size_t i;

	for (i = 0; i < FILE_PAGES; i++)
		if (!ksm_holds(copy + i * psize(), i % 2 ? seed : file_seed))
			torture_fail("worker %u: page %zu of a copy of a file is wrong", worker, i);
}

static void own_file(const struct talk *talk, uint64_t seed)
{
	int heard, file = syscall(SYS_memfd_create, "torture", 0);
	char *all, *copy;
	size_t i;

	if (file < 0 || ftruncate(file, FILE_PAGES * psize()))
		_exit(0);
	all = mmap(NULL, FILE_PAGES * psize(), PROT_RW, MAP_SHARED, file, 0);
	if (all == MAP_FAILED)
		_exit(0);
	ksm_fill_same(all, FILE_PAGES, seed + 1);
	copy = map_copy(file, seed);
	if (!copy || !tell(talk->to_parent, file) || !hear(talk->to_child, &heard))
		_exit(0);
	for (i = 0; i < FILE_PAGES; i++)
		ksm_fill(all + i * psize(), seed + 2);
	if (tell(talk->to_parent, 0))
		check_copy(copy, seed, seed + 2);
	_exit(0);
}

static int take_file(pid_t pid, int file)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	int taken = syscall(SYS_pidfd_getfd, pidfd, file, 0);

	close(pidfd);
	return taken;
}

static void use_file(const struct talk *talk, pid_t pid, uint64_t seed)
{
	int heard, file;
	char *copy;

	if (!hear(talk->to_parent, &heard))
		return;
	file = take_file(pid, heard);
	copy = file < 0 ? NULL : map_copy(file, seed);
	if (copy) {
		usleep(roll(&dice, 30000));
		check_copy(copy, seed, seed + 1);
		if (tell(talk->to_child, 0) && hear(talk->to_parent, &heard)) {
			check_copy(copy, seed, seed + 2);
			torture_count(COUNT_FILES);
		}
		munmap(copy, FILE_PAGES * psize());
	}
	close(file);
}

static void close_ends(const int ends[2])
{
	close(ends[0]);
	close(ends[1]);
}

/* There are few seeds, so that the copies of several processes are shared. */
void op_share_file(struct area *area)
{
	uint64_t seed = 0x10000 + 4 * roll(&dice, 4);
	struct talk talk;
	pid_t pid;

	if (pipe(talk.to_child))
		return;
	if (pipe(talk.to_parent)) {
		close_ends(talk.to_child);
		return;
	}
	pid = fork_kin();
	if (!pid) {
		close(talk.to_child[1]);
		close(talk.to_parent[0]);
		own_file(&talk, seed);
	}
	close(talk.to_child[0]);
	close(talk.to_parent[1]);
	if (pid > 0)
		use_file(&talk, pid, seed);
	close(talk.to_child[1]);
	close(talk.to_parent[0]);
	wait_for("a process with a file", pid);
}

/* A write by ptrace() */

static void be_poked(struct area *area, size_t i, const struct content *content)
{
	area->content[i] = *content;
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	check_all();
	_exit(0);
}

/* Continues the process until it exits. */
static int trace_to_the_end(pid_t pid)
{
	int status;

	do {
		ptrace(PTRACE_CONT, pid, NULL, NULL);
		if (waitpid(pid, &status, 0) != pid)
			return 0;
	} while (WIFSTOPPED(status));
	return status;
}

static void poke(pid_t pid, void *addr, uint64_t word)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
		judge("a process before it is traced", status);
		return;
	}
	usleep(roll(&dice, 30000));
	if (ptrace(PTRACE_POKEDATA, pid, addr, word))
		kill(pid, SIGKILL);
	else
		torture_count(COUNT_POKES);
	judge("a traced process", trace_to_the_end(pid));
}

/* The word changes in the child, and not here. */
void op_poke(struct area *area)
{
	size_t i = roll(&dice, area->pages);
	struct content content;
	pid_t pid;

	if (area->content[i].freed || area->content[i].at != NO_WORD)
		fill_page(area, i, area->content[i].seed);
	content = area->content[i];
	content.at = roll(&dice, psize() / 8);
	content.word = 1 + roll(&dice, 3);
	pid = fork_kin();
	if (!pid)
		be_poked(area, i, &content);
	if (pid > 0)
		poke(pid, area->addr + i * psize() + content.at * sizeof(content.word),
		     content.word);
	check_page(area, i);
}
