// SPDX-License-Identifier: GPL-2.0
/*
 * Writes to memory.ksm.merge, and moves into a cgroup that is merged, while allocations
 * fail. A write that fails changes nothing. A process that has moved is marked all the
 * same.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_inject.h"

#define MEMBERS	4
#define PAGES	12
#define SEED	0xcf000000
/* Several tries of the kernel, which tries every 100 ms. */
#define WHILE_US	1000000

struct member {
	struct ksm_child child;
	bool marked;
	bool mergeable;
};

static struct member *members;
static unsigned int nr_members;

static void run_member(struct ksm_child *self, void *arg)
{
	struct member *member = arg;
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	for (;;) {
		member->marked = ksm_get_merge() == 1;
		member->mergeable = ksm_vmflag(area, "mg");
		ksm_check_same(area, PAGES, SEED);
		ksm_child_pause(self);
	}
}

static void begin(unsigned int nr)
{
	unsigned int i;

	inject_nothing();
	cgroup_begin();
	cgroup_make("a");
	cgroup_make("b");
	if (cgroup_try_write("a", "memory.ksm.merge", "0"))
		ksm_skip("this kernel has no memory.ksm.merge");
	members = mmap(NULL, MEMBERS * sizeof(*members), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksm_check(members != MAP_FAILED, "mmap");
	nr_members = nr;
	for (i = 0; i < nr; i++) {
		struct ksm_child child;

		ksm_child_start(&child, run_member, &members[i]);
		members[i].child = child;
		ksm_child_wait(&members[i].child);
		cgroup_move(members[i].child.pid, "a");
	}
	ksm_set("run", 1);
}

static bool all_are(bool marked)
{
	unsigned int i;

	for (i = 0; i < nr_members; i++) {
		ksm_child_step(&members[i].child);
		if (members[i].marked != marked || members[i].mergeable != marked)
			return false;
	}
	return true;
}

static bool all_marked(void *unused)
{
	return all_are(true);
}

static bool none_marked(void *unused)
{
	return all_are(false);
}

/* Writes @to to a file that has the other value; the allocation fails. */
static enum outcome try_write(unsigned int nth, long to)
{
	const char *const text = to ? "1" : "0";
	enum outcome outcome;
	long now;
	int err;

	inject(nth);
	err = cgroup_try_write("a", "memory.ksm.merge", text);
	outcome = inject_judge("a write to memory.ksm.merge", -err, ENOMEM);
	now = outcome == REFUSED ? !to : to;
	ksm_expect("memory.ksm.merge", cgroup_read("a", "memory.ksm.merge"), now);
	ksm_check(ksm_poll(now ? all_marked : none_marked, NULL),
		  "the processes are as the file says");
	return outcome;
}

static enum outcome try_on(unsigned int nth)
{
	cgroup_write("a", "memory.ksm.merge", "0");
	return try_write(nth, 1);
}

static void on(void)
{
	begin(MEMBERS);
	inject_each(try_on);
	ksm_check(outcomes[REFUSED], "a write fails without memory");
}

static void on_slots(void)
{
	begin(MEMBERS);
	inject_only("ksm_mm_slot");
	inject_each(try_on);
	ksm_expect("writes that fail for a slot", outcomes[REFUSED], MEMBERS);
}

/* All pages are shared, so that each needs a copy. */
static enum outcome try_off(unsigned int nth)
{
	cgroup_write("a", "memory.ksm.merge", "1");
	ksm_settle();
	return try_write(nth, 0);
}

static void off(void)
{
	begin(MEMBERS);
	inject_each(try_off);
	ksm_check(outcomes[REFUSED] >= PAGES, "a write fails for the copy of a page");
}

/* Either the move is refused, or the process is marked soon. */
static enum outcome try_move(unsigned int nth)
{
	struct ksm_child *child = &members[0].child;
	enum outcome outcome;
	char text[16];
	int err;

	cgroup_move(child->pid, "b");
	ksm_check(ksm_poll(none_marked, NULL), "the process is not marked");
	snprintf(text, sizeof(text), "%d", child->pid);
	inject(nth);
	err = cgroup_try_write("a", "cgroup.procs", text);
	outcome = inject_judge("a move", -err, ENOMEM);
	if (outcome != REFUSED)
		ksm_check(ksm_poll(all_marked, NULL), "the process is marked");
	return outcome;
}

static void move(void)
{
	begin(1);
	cgroup_write("a", "memory.ksm.merge", "1");
	inject_each(try_move);
}

/* Nothing can remember the process that moves, until there is memory again. */
static void move_without_memory(const char *cgroup)
{
	inject_caches("ksm_mm_check", 1, 100);
	cgroup_move(members[0].child.pid, cgroup);
	usleep(WHILE_US);
	ksm_check(inject_count("failslab") > 1, "the move and a later try have no memory");
}

static void marked_later(void)
{
	begin(1);
	cgroup_move(members[0].child.pid, "b");
	cgroup_write("a", "memory.ksm.merge", "1");
	move_without_memory("a");
	ksm_check(none_marked(NULL), "the process is not marked yet");
	inject_nothing();
	ksm_check(ksm_poll(all_marked, NULL), "the process is marked when there is memory");
}

/* No cgroup is left that marks processes. */
static void unmarked_later(void)
{
	begin(1);
	cgroup_write("a", "memory.ksm.merge", "1");
	move_without_memory("b");
	ksm_check(all_marked(NULL), "the process is still marked");
	ksm_expect("rmdir", cgroup_remove("a"), 0);
	inject_nothing();
	ksm_check(ksm_poll(none_marked, NULL), "the mark goes when there is memory");
}

static const struct ksm_case cases[] = {
	{ "a write of 1 that fails marks no process", on },
	{ "a write of 1 fails for the slot of each process", on_slots },
	{ "a write of 0 that fails leaves all processes marked", off },
	{ "a process that moves is marked although an allocation fails", move },
	{ "a process that moves is marked when there is memory again", marked_later },
	{ "a process that moves away is unmarked when there is memory again", unmarked_later },
};

static void restore(void)
{
	ksm_try("run", "2");
	ksm_try("run", ksm_initial("run"));
	cgroup_remove_all();
}

int main(void)
{
	atexit(restore);
	return inject_run_cases(cases, ARRAY_SIZE(cases));
}
