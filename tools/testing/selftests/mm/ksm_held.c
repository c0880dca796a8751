// SPDX-License-Identifier: GPL-2.0
/*
 * A process that holds its mmap_lock for seconds delays the merging of its own memory, and
 * nothing else. Threads that take the lock in turn do not prevent a merge.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_holder.h"

#define SEED		0x4e00
#define PAGES		(psize() > 4096 ? 100 : 1000)
/* Pages that take many seconds to unmerge on a CPU that another task has. */
#define HELD_PAGES	(psize() > 4096 ? 5000 : 40000)
/* ksmd may take 40 ms. The rest is for an emulated CPU that others use, too. */
#define ANSWER_MS	1000
#define THREADS		4
#define CHILDREN	3
#define KILLS		40

/* Beside the memory that it unmerges, the child has pages without a duplicate. */
static void hold(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_fill_unique(ksm_map_mergeable(PAGES), PAGES, SEED);
	holder_run(self, HELD_PAGES);
	ksm_child_pause(self);
}

static void start_holder(struct ksm_child *holder)
{
	ksm_child_start(holder, hold, NULL);
	ksm_child_wait(holder);
	ksm_settle();
}

static void expect_held(const struct ksm_child *holder)
{
	ksm_check(!ksm_child_reported(holder), "the child holds its mmap_lock meanwhile");
}

/* Gives the child its CPU back and waits until it has released its mmap_lock. */
static void end_hold(struct ksm_child *holder, pid_t hog)
{
	kill(hog, SIGKILL);
	waitpid(hog, NULL, 0);
	ksm_child_wait(holder);
}

/* Two copies of what the child has. */
static char *fill_copies(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);

	ksm_fill_unique(area, PAGES, SEED);
	ksm_fill_unique(area + PAGES * psize(), PAGES, SEED);
	return area;
}

static bool copies_merged(void *area)
{
	return ksm_count_merged(area, 2 * PAGES) == 2 * PAGES;
}

static void expect_answer(const struct ksm_child *holder, long run)
{
	const long began = ksm_now_ms();
	long taken;

	ksm_set("run", run);
	taken = ksm_now_ms() - began;
	expect_held(holder);
	if (taken > ANSWER_MS)
		ksm_fail("a write to run took %ld ms", taken);
}

static void merge_beside(const struct ksm_child *holder, char *area)
{
	ksm_set("run", 1);
	ksm_check(ksm_poll(copies_merged, area), "equal pages of others are merged");
	expect_held(holder);
	expect_answer(holder, 0);
}

static void others_are_merged(void)
{
	struct ksm_child holder;
	char *area;
	pid_t hog;

	start_holder(&holder);
	area = fill_copies();
	hog = holder_begin(&holder);
	merge_beside(&holder, area);
	end_hold(&holder, hog);
	ksm_settle();
	ksm_expect_figures(PAGES, 2 * PAGES, 0);
}

/* The child is to leave the domain in which it shares pages. */
static void moves_to_another_domain(void)
{
	struct ksm_child holder;
	char *area;
	pid_t hog;

	cgroup_begin_domains();
	cgroup_make("a");
	cgroup_make("b");
	start_holder(&holder);
	cgroup_move(holder.pid, "a");
	ksm_settle();
	cgroup_move(holder.pid, "b");
	cgroup_move(getpid(), "a");
	area = fill_copies();
	hog = holder_begin(&holder);
	merge_beside(&holder, area);
	end_hold(&holder, hog);
	ksm_settle();
	ksm_expect_figures(PAGES, PAGES, PAGES);
}

static void ask_for_merging(struct ksm_child *self, void *arg)
{
	const struct ksm_child *holder = arg;
	char path[64];

	(void)self;
	snprintf(path, sizeof(path), "/proc/%d/ksm_merge", holder->pid);
	ksm_write_file(path, "1");
	ksm_child_pause(self);
}

static bool is_waiting(void *writer)
{
	return ksm_state(((const struct ksm_child *)writer)->pid) == 'D';
}

/* A write to ksm_merge waits for the child and can be killed. Others do not wait for it. */
static void asked_for(void)
{
	struct ksm_child holder, writer;
	long began, taken;
	char *area;
	pid_t hog;

	start_holder(&holder);
	area = fill_copies();
	hog = holder_begin(&holder);
	ksm_child_start(&writer, ask_for_merging, &holder);
	ksm_check(ksm_poll(is_waiting, &writer), "the writer waits");
	merge_beside(&holder, area);
	ksm_check(!ksm_child_reported(&writer), "the writer still waits");
	began = ksm_now_ms();
	ksm_child_kill(&writer);
	taken = ksm_now_ms() - began;
	expect_held(&holder);
	if (taken > ANSWER_MS)
		ksm_fail("the writer was killed after %ld ms", taken);
	end_hold(&holder, hog);
	ksm_settle();
	ksm_expect_figures(PAGES, 2 * PAGES, 0);
}

static void *map_and_unmap(void *stop)
{
	while (!__atomic_load_n((bool *)stop, __ATOMIC_RELAXED)) {
		char *page = ksm_map(1);

		*page = 1;
		munmap(page, psize());
	}
	return NULL;
}

static void expect_merge_now(char *area)
{
	int err;

	do
		err = ksm_write_file("/proc/self/ksm_merge", "1");
	while (err == -EAGAIN && !copies_merged(area));
	ksm_check(!err || err == -EAGAIN, "a write to ksm_merge succeeds");
	ksm_check(copies_merged(area), "a write to ksm_merge merges");
}

/* At each moment, some of the threads wait for the lock. */
static void start_threads(pthread_t *thread, bool *stop)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		ksm_check(!pthread_create(&thread[i], NULL, map_and_unmap, stop), "a thread");
}

static void threads_in_turn(void)
{
	pthread_t thread[THREADS];
	bool stop = false;
	unsigned int i;
	char *area;

	start_threads(thread, &stop);
	area = fill_copies();
	ksm_set("run", 1);
	ksm_check(ksm_poll(copies_merged, area), "ksmd merges beside the threads");
	ksm_stop();
	munmap(area, 2 * PAGES * psize());
	expect_merge_now(fill_copies());
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static void run_threads(struct ksm_child *self, void *arg)
{
	pthread_t thread[THREADS];
	bool stop = false;

	(void)arg;
	start_threads(thread, &stop);
	ksm_fill_unique(ksm_map_mergeable(PAGES), PAGES, SEED);
	ksm_child_pause(self);
}

/* Each of the processes has duplicates of the pages of the others. */
static void killed_beside_ksmd(void)
{
	struct ksm_child child[CHILDREN];
	unsigned int i;

	/* Without any mergeable memory, ksmd makes no passes. */
	ksm_map_mergeable(1);
	ksm_set("run", 1);
	for (i = 0; i < KILLS + CHILDREN; i++) {
		if (i >= CHILDREN)
			ksm_child_kill(&child[i % CHILDREN]);
		if (i < KILLS) {
			ksm_child_start(&child[i % CHILDREN], run_threads, NULL);
			ksm_child_wait(&child[i % CHILDREN]);
			usleep(1000 * (1 + random() % 50));
		}
	}
	ksm_settle();
	ksm_expect_figures(0, 0, 0);
}

static const struct ksm_case cases[] = {
	{ "memory of others is merged", others_are_merged },
	{ "a process that changes its cgroup does not stop ksmd", moves_to_another_domain },
	{ "a write to ksm_merge does not stop ksmd", asked_for },
	{ "threads that take the lock in turn", threads_in_turn },
	{ "processes with such threads are killed", killed_beside_ksmd },
};

int main(void)
{
	atexit(cgroup_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
