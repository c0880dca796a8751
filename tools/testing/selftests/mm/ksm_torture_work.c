// SPDX-License-Identifier: GPL-2.0
/*
 * A worker: a process with mergeable memory. It does what programs do to their memory,
 * in an order drawn from a seed, and knows what each word has to hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../../../mm/gup_test.h"
#include "ksm_common.h"
#include "ksm_torture.h"

#define MOST_PAGES	160
#define PIN_TURN	"/tmp/ksm_torture.pin"

/* Operations. An operation that fails is left out. */

static void op_map(struct area *unused)
{
	struct area *area = any_place();
	bool huge = chance(&dice, 8);
	size_t i, pages = huge ? HUGE_PAGES : 1 + roll(&dice, MOST_PAGES);
	uint64_t seed = any_seed();
	char *addr;

	if (area->addr)
		return;
	addr = mmap(NULL, pages * psize() * (huge ? 2 : 1), PROT_RW,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (addr == MAP_FAILED)
		return;
	if (huge) {
		size_t slack = -(uintptr_t)addr & (pages * psize() - 1);

		if (slack)
			munmap(addr, slack);
		munmap(addr + slack + pages * psize(), pages * psize() - slack);
		addr += slack;
		madvise(addr, pages * psize(), MADV_HUGEPAGE);
	}
	area->addr = addr;
	area->pages = pages;
	if (chance(&dice, 80))
		madvise(addr, pages * psize(), MADV_MERGEABLE);
	for (i = 0; i < pages; i++)
		fill_page(area, i, chance(&dice, 60) ? seed : any_seed());
}

static void op_unmap(struct area *area)
{
	check_area(area);
	if (!munmap(area->addr, area->pages * psize()))
		area->addr = NULL;
}

static void op_fill(struct area *area)
{
	struct range range = any_range(area);
	uint64_t seed = any_seed();
	size_t i;

	for (i = range.from; i < range.from + range.pages; i++)
		fill_page(area, i, seed);
}

void op_write(struct area *area)
{
	unsigned int i, count = 1 + roll(&dice, 20);

	for (i = 0; i < count; i++)
		set_word(area, roll(&dice, area->pages));
}

void op_check(struct area *area)
{
	check_area(area);
}

/* Restore a content that others have, so that the page merges again. */
void op_restore(struct area *area)
{
	size_t i;

	for (i = 0; i < area->pages; i++)
		if (area->content[i].at != NO_WORD)
			fill_page(area, i, area->content[i].seed);
}

void op_advise(struct area *area)
{
	static const int advice[] = {
		MADV_MERGEABLE, MADV_MERGEABLE, MADV_MERGEABLE, MADV_UNMERGEABLE,
		MADV_COLD, MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLLAPSE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_WILLNEED,
	};
	struct range range = any_range(area);

	madvise(range.start, range.pages * psize(), advice[roll(&dice, ARRAY_SIZE(advice))]);
}

/* What is mapped at these addresses in a child, or in this process. */
static void op_advise_other(struct area *area)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE, MADV_WILLNEED,
	};
	struct range range = any_range(area);
	struct iovec iov = { range.start, range.pages * psize() };
	int pidfd = syscall(SYS_pidfd_open, any_child() ?: getpid(), 0);

	syscall(SYS_process_madvise, pidfd, &iov, 1, advice[roll(&dice, ARRAY_SIZE(advice))], 0);
	close(pidfd);
}

static void op_merge_any(struct area *area)
{
	prctl(PR_SET_MEMORY_MERGE, chance(&dice, 60), 0, 0, 0);
}

/* Whether no page is mapped there any more. */
bool drop(struct area *area, const struct range *range)
{
	bool dropped = !madvise(range->start, range->pages * psize(), MADV_DONTNEED);
	size_t i;

	/* If a part is locked, the pages before it may have gone. */
	for (i = range->from; i < range->from + range->pages; i++)
		if (dropped)
			area->content[i] = (struct content){ .at = NO_WORD };
		else
			area->content[i].freed = true;
	return dropped;
}

static void op_dontneed(struct area *area)
{
	struct range range = any_range(area);

	drop(area, &range);
}

static void op_free(struct area *area)
{
	struct range range = any_range(area);
	size_t i;

	madvise(range.start, range.pages * psize(), MADV_FREE);
	for (i = range.from; i < range.from + range.pages; i++)
		area->content[i].freed = true;
}

static void op_lock(struct area *area)
{
	struct range range = any_range(area);

	if (chance(&dice, 50))
		mlock(range.start, range.pages * psize());
	else
		munlock(area->addr, area->pages * psize());
}

static int mprotect_area(void *area)
{
	return mprotect(((struct area *)area)->addr, ((struct area *)area)->pages * psize(),
			PROT_RW);
}

static void make_accessible(struct area *area)
{
	if (try_hard(mprotect_area, area))
		torture_fail("worker %u: memory cannot be made accessible again: %s", worker,
			     strerror(errno));
}

static void op_protect(struct area *area)
{
	struct range range = any_range(area);

	mprotect(range.start, range.pages * psize(), chance(&dice, 50) ? PROT_NONE : PROT_READ);
	usleep(roll(&dice, 5000));
	make_accessible(area);
}

static void op_move(struct area *area)
{
	size_t size = area->pages * psize();
	char *to = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			-1, 0);
	bool stay = chance(&dice, 20);
	char *moved;

	if (to == MAP_FAILED)
		return;
	moved = mremap(area->addr, size, size,
		       MREMAP_MAYMOVE | MREMAP_FIXED | (stay ? MREMAP_DONTUNMAP : 0), to);
	if (moved == MAP_FAILED) {
		munmap(to, size);
		return;
	}
	if (stay)
		munmap(area->addr, size);
	area->addr = moved;
}

static void op_shrink(struct area *area)
{
	size_t pages = 1 + roll(&dice, area->pages);

	if (!munmap(area->addr + pages * psize(), (area->pages - pages) * psize()))
		area->pages = pages;
}

/* A pinned page has to stay mapped. */
static void op_pin(struct area *area)
{
	struct range range = any_range(area);
	struct pin_longterm_test args = {
		.addr = (uintptr_t)range.start,
		.size = range.pages * psize(),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	int turn = open(PIN_TURN, O_RDWR | O_CREAT | O_CLOEXEC, 0600), fd = -1;
	char *copy = malloc(args.size);
	uint64_t to = (uintptr_t)copy;
	size_t i;

	/* Opening and closing the file unpins the pages of another process. */
	if (!flock(turn, LOCK_EX | LOCK_NB))
		fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	if (fd >= 0 && copy && !ioctl(fd, PIN_LONGTERM_TEST_START, &args)) {
		usleep(roll(&dice, 20000));
		for (i = range.from; i < range.from + range.pages; i++)
			set_word(area, i);
		if (!ioctl(fd, PIN_LONGTERM_TEST_READ, &to) &&
		    memcmp(copy, range.start, args.size))
			torture_fail("worker %u: pinned pages are not those that are mapped",
				     worker);
	}
	free(copy);
	close(fd);
	close(turn);
}

/* A write through /proc/PID/mem ignores the protection, and gets a copy, too. */
static void op_force_write(struct area *area)
{
	size_t i = roll(&dice, area->pages);
	static uint64_t page[8192];
	struct content content = { .seed = any_seed(), .at = NO_WORD };
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	content_of(page, &content);
	if (chance(&dice, 50))
		mprotect(area->addr, area->pages * psize(), PROT_READ);
	if (pwrite(fd, page, psize(), (uintptr_t)area->addr + i * psize()) == psize())
		area->content[i] = content;
	else
		area->content[i].freed = true;
	make_accessible(area);
	close(fd);
	if (area->content[i].freed)
		fill_page(area, i, content.seed);
}

void op_migrate(struct area *area)
{
	unsigned long from = 1UL << roll(&dice, 2), to = 3 - from;
	struct range range = any_range(area);
	int status[HUGE_PAGES];

	if (chance(&dice, 70))
		ksm_move_pages(range.start, range.pages, roll(&dice, 2),
			       chance(&dice, 50) ? MPOL_MF_MOVE_ALL : MPOL_MF_MOVE, status);
	else
		syscall(SYS_migrate_pages, 0, 8 * sizeof(from), &from, &to);
}

static void op_clear_refs(struct area *area)
{
	ksm_write_file("/proc/self/clear_refs", "1");
}

/* A write after clear_refs has to set the mark, whether the page is merged or not. */
static void op_soft_dirty(struct area *area)
{
	size_t i = roll(&dice, area->pages);

	if (ksm_write_file("/proc/self/clear_refs", "4"))
		return;
	set_word(area, i);
	usleep(roll(&dice, 20000));
	if (!(pagemap_of(area->addr + i * psize()) & PM_SOFT_DIRTY))
		torture_fail("worker %u: soft-dirty misses a page that was written to", worker);
	torture_count(COUNT_DIRTY);
}

void op_rest(struct area *area)
{
	usleep(roll(&dice, 30000));
}

static const struct op {
	const char *name;
	void (*run)(struct area *area);
	unsigned int weight;
} ops[] = {
	{ "map", op_map, 14 },
	{ "unmap", op_unmap, 4 },
	{ "fill", op_fill, 10 },
	{ "write", op_write, 10 },
	{ "restore", op_restore, 6 },
	{ "check", op_check, 10 },
	{ "madvise", op_advise, 16 },
	{ "process_madvise", op_advise_other, 4 },
	{ "PR_SET_MEMORY_MERGE", op_merge_any, 2 },
	{ "MADV_DONTNEED", op_dontneed, 3 },
	{ "MADV_FREE", op_free, 3 },
	{ "mlock", op_lock, 3 },
	{ "mprotect", op_protect, 3 },
	{ "mremap", op_move, 4 },
	{ "shrink", op_shrink, 2 },
	{ "vmsplice", op_pipe, 3 },
	{ "pin", op_pin, 2 },
	{ "io_uring", op_io_uring, 2 },
	{ "O_DIRECT", op_direct, 4 },
	{ "KVM", op_guest, 3 },
	{ "KVM with a device", op_pinned_guest, 2 },
	{ "UFFDIO_COPY", op_place, 3 },
	{ "PAGEMAP_SCAN", op_track, 3 },
	{ "missing faults", op_serve_missing, 2 },
	{ "protection faults", op_serve_protected, 2 },
	{ "minor faults", op_serve_minor, 2 },
	{ "/proc/self/mem", op_force_write, 3 },
	{ "migrate", op_migrate, 5 },
	{ "clear_refs", op_clear_refs, 2 },
	{ "soft-dirty", op_soft_dirty, 2 },
	{ "soft offline", op_soft_offline, 2 },
	{ "hard poison", op_hard_poison, 1 },
	{ "rest", op_rest, 12 },
	{ "write beside", op_write_beside, 3 },
	{ "fork", op_fork, 6 },
	{ "vfork", op_vfork, 2 },
	{ "burst", op_burst, 3 },
	{ "fork bomb", op_bomb, 1 },
	{ "CLONE_VM", op_clone_beside, 2 },
	{ "pidfd_getfd", op_share_file, 2 },
	{ "PTRACE_POKEDATA", op_poke, 2 },
	{ "change of cgroup", op_change_cgroup, 3 },
};

static const struct op *any_op(void)
{
	unsigned int i, sum = 0;
	uint64_t at;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		sum += ops[i].weight;
	at = roll(&dice, sum);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	return &ops[i];
}

void operate(unsigned int count)
{
	while (count-- && !torture_over()) {
		while (torture_pauses())
			usleep(10000);
		const struct op *op = any_op();
		struct area *area = any_area();

		doing = op->name;
		if (area || op->run == op_map)
			op->run(area);
	}
}

static void park(void)
{
	while (torture_pauses()) {
		__atomic_store_n(&torture->parked[worker], true, __ATOMIC_RELAXED);
		usleep(10000);
	}
	__atomic_store_n(&torture->parked[worker], false, __ATOMIC_RELAXED);
}

void torture_work(unsigned int number, uint64_t seed)
{
	worker = number;
	begin_life(seed, 3);
	/* Unmap half of the areas, but not the last one. */
	if (!worker || chance(&dice, 40))
		torture_confine();
	if (chance(&dice, 30))
		faults_hit_me();
	while (!torture_over()) {
		park();
		operate(1);
		torture->doing[worker] = doing;
		torture->beats[worker]++;
		reap();
	}
	doing = "the end";
	check_all();
	wait_for_children();
	_exit(0);
}

void torture_live_on(uint64_t seed)
{
	begin_life(seed, 5);
	if (chance(&dice, 30))
		faults_hit_me();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	operate(20);
	check_all();
	wait_for_children();
	_exit(0);
}
