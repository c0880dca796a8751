// SPDX-License-Identifier: GPL-2.0
/*
 * A process that lives with mergeable memory: it does what programs do to their
 * memory, in an order drawn from a seed, and knows what each word has to hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <setjmp.h>
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
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../mm/gup_test.h"
#include "ksm_common.h"
#include "ksm_torture.h"

#define AREAS		10
#define MOST_PAGES	160
/* Contents that all workers have, so that they share pages. */
#define COMMON_SEEDS	20
#define CHILDREN	3
#define BURST		30
#define POISON_BUDGET	48
#define PIN_TURN	"/tmp/ksm_torture.pin"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

static struct area areas[AREAS];
struct dice dice;
static pid_t children[CHILDREN];
static uint64_t next_unique;
unsigned int worker;
static const char *doing = "start";

/* What memory holds */

static void content_of(uint64_t *page, const struct content *content)
{
	ksm_fill((char *)page, content->seed);
	if (content->at != NO_WORD)
		page[content->at] = content->word;
}

/* @found is page @i of the area, as it was read. */
void check_read(const struct area *area, size_t i, const uint64_t *found)
{
	static uint64_t want[8192];
	const struct content *content = &area->content[i];
	size_t word;

	content_of(want, content);
	if (!memcmp(found, want, psize()) || (content->freed && ksm_holds((char *)found, 0)))
		return;
	for (word = 0; found[word] == want[word] && word < psize() / 8 - 1; word++)
		;
	torture_fail("worker %u, %s: page %zu of %zu, word %zu is %llx and not %llx (seed %llx)",
		     worker, doing, i, area->pages, word, (unsigned long long)found[word],
		     (unsigned long long)want[word], (unsigned long long)content->seed);
}

void check_page(const struct area *area, size_t i)
{
	check_read(area, i, (uint64_t *)(area->addr + i * psize()));
}

static void check_area(const struct area *area)
{
	size_t i;

	for (i = 0; i < area->pages; i++)
		check_page(area, i);
}

static void check_all(void)
{
	unsigned int i;

	for (i = 0; i < AREAS; i++)
		if (areas[i].addr)
			check_area(&areas[i]);
}

uint64_t any_seed(void)
{
	if (chance(&dice, 20))
		return 0;
	if (chance(&dice, 75))
		return 1 + roll(&dice, COMMON_SEEDS);
	return ((uint64_t)getpid() << 32) + ++next_unique;
}

void fill_page(struct area *area, size_t i, uint64_t seed)
{
	struct content *content = &area->content[i];

	*content = (struct content){ .seed = seed, .at = NO_WORD };
	ksm_fill(area->addr + i * psize(), seed);
}

/* A word that a page is to hold: whoever asks has to write it. */
const struct content *choose_word(struct area *area, size_t i)
{
	struct content *content = &area->content[i];

	if (content->freed || content->at != NO_WORD)
		fill_page(area, i, content->seed);
	content->at = chance(&dice, 50) ? psize() / 8 - 1 : roll(&dice, psize() / 8);
	content->word = 1 + roll(&dice, 3);
	return content;
}

void set_word(struct area *area, size_t i)
{
	const struct content *content = choose_word(area, i);

	((uint64_t *)(area->addr + i * psize()))[content->at] = content->word;
}

static struct area *any_area(void)
{
	unsigned int i, first = roll(&dice, AREAS);

	for (i = 0; i < AREAS; i++)
		if (areas[(first + i) % AREAS].addr)
			return &areas[(first + i) % AREAS];
	return NULL;
}

struct range any_range(struct area *area)
{
	size_t from = roll(&dice, area->pages), pages = 1 + roll(&dice, area->pages - from);

	return (struct range){ area->addr + from * psize(), from, pages };
}

/* Operations. Those that the kernel refuses are just not done. */

static void op_map(struct area *unused)
{
	struct area *area = &areas[roll(&dice, AREAS)];
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
	munmap(area->addr, area->pages * psize());
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

static void op_write(struct area *area)
{
	unsigned int i, count = 1 + roll(&dice, 20);

	for (i = 0; i < count; i++)
		set_word(area, roll(&dice, area->pages));
}

static void op_check(struct area *area)
{
	check_area(area);
}

/* Back to what others have, so that it merges again. */
static void op_restore(struct area *area)
{
	size_t i;

	for (i = 0; i < area->pages; i++)
		if (area->content[i].at != NO_WORD)
			fill_page(area, i, area->content[i].seed);
}

static void op_advise(struct area *area)
{
	static const int advice[] = {
		MADV_MERGEABLE, MADV_MERGEABLE, MADV_MERGEABLE, MADV_UNMERGEABLE,
		MADV_COLD, MADV_PAGEOUT, MADV_PAGEOUT, MADV_COLLAPSE, MADV_HUGEPAGE,
		MADV_NOHUGEPAGE, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_WILLNEED,
	};
	struct range range = any_range(area);

	madvise(range.start, range.pages * psize(), advice[roll(&dice, ARRAY_SIZE(advice))]);
}

/* What is there at these addresses in a child of this process, or in itself. */
static void op_advise_other(struct area *area)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_COLLAPSE, MADV_WILLNEED,
	};
	struct range range = any_range(area);
	struct iovec iov = { range.start, range.pages * psize() };
	int pidfd = syscall(SYS_pidfd_open, children[roll(&dice, CHILDREN)] ?: getpid(), 0);

	syscall(SYS_process_madvise, pidfd, &iov, 1, advice[roll(&dice, ARRAY_SIZE(advice))], 0);
	close(pidfd);
}

static void op_merge_any(struct area *area)
{
	prctl(PR_SET_MEMORY_MERGE, chance(&dice, 60), 0, 0, 0);
}

/* Whether nothing is there any more. */
bool drop(struct area *area, const struct range *range)
{
	bool dropped = !madvise(range->start, range->pages * psize(), MADV_DONTNEED);
	size_t i;

	/* Where a part is locked, what lies before that may have gone. */
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

static void op_protect(struct area *area)
{
	struct range range = any_range(area);

	mprotect(range.start, range.pages * psize(), chance(&dice, 50) ? PROT_NONE : PROT_READ);
	usleep(roll(&dice, 5000));
	if (mprotect(area->addr, area->pages * psize(), PROT_RW))
		torture_fail("worker %u: memory cannot be made accessible again: %s", worker,
			     strerror(errno));
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

	munmap(area->addr + pages * psize(), (area->pages - pages) * psize());
	area->pages = pages;
}

/* A pipe holds the page as it was when it went in. */
static void op_pipe(struct area *area)
{
	size_t i = roll(&dice, area->pages);
	struct iovec iov = { area->addr + i * psize(), psize() };
	static char found[1 << 16];
	int ends[2];

	check_page(area, i);
	if (pipe(ends))
		return;
	if (vmsplice(ends[1], &iov, 1, 0) == psize()) {
		usleep(roll(&dice, 10000));
		if (read(ends[0], found, psize()) == psize() &&
		    memcmp(found, iov.iov_base, psize()) && !area->content[i].freed)
			torture_fail("worker %u: a pipe gives back something else", worker);
	}
	close(ends[0]);
	close(ends[1]);
}

/* A page that is pinned for long is the one that is mapped. */
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

	/* Opening it, and closing it again, ends what another one has pinned. */
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

/* A write that asks nobody: it breaks the share all the same. */
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
	mprotect(area->addr, area->pages * psize(), PROT_RW);
	close(fd);
	if (area->content[i].freed)
		fill_page(area, i, content.seed);
}

static void op_migrate(struct area *area)
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
	ksm_write_file("/proc/self/clear_refs", chance(&dice, 50) ? "4" : "1");
}

static void op_soft_offline(struct area *area)
{
	size_t i = roll(&dice, area->pages);

	if (__atomic_fetch_add(&torture->poisoned, 1, __ATOMIC_RELAXED) < POISON_BUDGET)
		madvise(area->addr + i * psize(), psize(), MADV_SOFT_OFFLINE);
	else
		__atomic_fetch_sub(&torture->poisoned, 1, __ATOMIC_RELAXED);
}

static void op_rest(struct area *area)
{
	usleep(roll(&dice, 30000));
}

/* A thread that writes to pages while these merge. */

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

static void op_write_beside(struct area *area)
{
	struct range range;
	pthread_t thread;
	unsigned int i;

	for (i = 0; i < area->pages; i++)
		if (area->content[i].freed)
			fill_page(area, i, area->content[i].seed);
	if (pthread_create(&thread, NULL, writer_run, area))
		return;
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
	pthread_join(thread, NULL);
}

/* Hard poison, in a process of its own: who loses memory is to be told so. */

static sigjmp_buf poisoned_access;

static void on_sigbus(int signal)
{
	siglongjmp(poisoned_access, 1);
}

static bool readable(const char *page, uint64_t seed)
{
	if (sigsetjmp(poisoned_access, 1))
		return false;
	if (!ksm_holds(page, seed))
		torture_fail("a poisoned page reads as something else");
	return true;
}

static void poison_and_read(uint64_t seed)
{
	char *area = mmap(NULL, 8 * psize(), PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	if (area == MAP_FAILED)
		return;
	signal(SIGBUS, on_sigbus);
	madvise(area, 8 * psize(), MADV_MERGEABLE);
	for (i = 0; i < 8; i++)
		ksm_fill(area + i * psize(), seed);
	usleep(500000);
	if (!sigsetjmp(poisoned_access, 1))
		madvise(area, psize(), MADV_HWPOISON);
	for (i = 0; i < 8; i++)
		readable(area + i * psize(), seed);
}

/* Processes */

static void operate(unsigned int count);

static void live_as_child(uint64_t seed)
{
	char text[32];

	memset(children, 0, sizeof(children));
	dice_init(&dice, seed, 7);
	operate(roll(&dice, 12));
	check_all();
	if (chance(&dice, 20))
		kill(getpid(), SIGKILL);
	if (chance(&dice, 30)) {
		snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
		execl("/proc/self/exe", "ksm_torture", "--live", text, NULL);
	}
	_exit(0);
}

static void reap(void)
{
	unsigned int i;
	int status;

	for (i = 0; i < CHILDREN; i++) {
		if (!children[i] || waitpid(children[i], &status, WNOHANG) != children[i])
			continue;
		children[i] = 0;
		if (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
			torture_fail("worker %u: a child ended with wait status 0x%x", worker,
				     status);
	}
}

static bool may_poison(void)
{
	if (!chance(&dice, 4))
		return false;
	if (__atomic_fetch_add(&torture->poisoned, 1, __ATOMIC_RELAXED) < POISON_BUDGET)
		return true;
	__atomic_fetch_sub(&torture->poisoned, 1, __ATOMIC_RELAXED);
	return false;
}

static void op_fork(struct area *area)
{
	uint64_t seed = roll(&dice, UINT64_MAX);
	bool poison = may_poison();
	unsigned int i;

	reap();
	for (i = 0; i < CHILDREN && children[i]; i++)
		;
	if (i == CHILDREN)
		return;
	children[i] = fork();
	if (children[i]) {
		if (children[i] < 0)
			children[i] = 0;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (poison) {
		poison_and_read(seed | 1UL << 63);
		_exit(0);
	}
	live_as_child(seed);
}

/* Who shares this memory goes, and it stays. */
static void op_vfork(struct area *area)
{
	pid_t pid = vfork();

	if (!pid) {
		op_advise(area);
		op_write(area);
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

/* Processes that are gone before ksmd has come to them, or while it is at them. */
static void op_burst(struct area *area)
{
	unsigned int i, count = 1 + roll(&dice, BURST);
	pid_t pids[BURST];

	for (i = 0; i < count; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			area->addr[0]++;
			usleep(i % 4 * 2000);
			_exit(0);
		}
	}
	for (i = 0; i < count; i++) {
		if (pids[i] < 0)
			continue;
		if (chance(&dice, 50))
			kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
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
	{ "/proc/self/mem", op_force_write, 3 },
	{ "migrate", op_migrate, 5 },
	{ "clear_refs", op_clear_refs, 2 },
	{ "soft offline", op_soft_offline, 1 },
	{ "rest", op_rest, 12 },
	{ "write beside", op_write_beside, 3 },
	{ "fork", op_fork, 6 },
	{ "vfork", op_vfork, 2 },
	{ "burst", op_burst, 1 },
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

static void operate(unsigned int count)
{
	while (count-- && !torture_over()) {
		const struct op *op = any_op();
		struct area *area = any_area();

		doing = op->name;
		if (area || op->run == op_map)
			op->run(area);
	}
}

void torture_work(unsigned int number, uint64_t seed)
{
	worker = number;
	dice_init(&dice, seed, 3);
	if (chance(&dice, 50))
		torture_confine();
	while (!torture_over()) {
		operate(1);
		torture->doing[worker] = doing;
		torture->beats[worker]++;
		reap();
	}
	doing = "the end";
	check_all();
	_exit(0);
}

void torture_live_on(uint64_t seed)
{
	torture->poisoned = POISON_BUDGET;
	dice_init(&dice, seed, 5);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	operate(20);
	check_all();
	_exit(0);
}
