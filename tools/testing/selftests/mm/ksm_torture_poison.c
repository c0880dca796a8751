// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors. A page that is taken offline in time is not lost. If a page is lost,
 * each process that maps it gets a signal when it reads the page, and no other process.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

/* These 16 MiB stay unusable until the machine is booted again. */
#define MOST_POISONED	4096
#define LOSING_PAGES	8
#define SIGNAL_PAGES	16

#define ENTRY_SWAP	BIT_ULL(62)
#define ENTRY_TYPE(e)	((e) & 0x1f)
#define ENTRY_OFFSET(e)	(((e) & (BIT_ULL(55) - 1)) >> 5)

/* Lower types are swap devices. There are fewer of these here. */
#define FIRST_SPECIAL	16

/*
 * The pagemap entry of a lost page: its PFN, and a type that no other entry has. Both
 * are 0 if the first page has only a swap entry.
 */
struct loss {
	uint64_t type;
	uint64_t pfn;
};

static sigjmp_buf lost;
static int signal_code;
static char *signal_addr;

/* The poisoned pages are spread over the length of the run. */
static bool may_poison(void)
{
	long gone = ksm_now_ms() - torture->begin;

	return torture->poisoned < (double)MOST_POISONED * gone / torture->length;
}

static void count_poisoned(void)
{
	__atomic_fetch_add(&torture->poisoned, 1, __ATOMIC_RELAXED);
}

/* A read of a page that was never written maps the zero page, which must stay. */
static void offline_zero_page(void)
{
	char *page = mmap(NULL, psize(), PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		return;
	if (ksm_holds(page, 0) && has_flag(page, KPF_ZERO_PAGE_BIT)) {
		if (!madvise(page, psize(), MADV_SOFT_OFFLINE))
			torture_fail("worker %u: the zero page was taken out of use", worker);
		torture_count(COUNT_ZERO_KEPT);
	}
	if (!ksm_holds(page, 0))
		torture_fail("worker %u: the zero page holds something else", worker);
	munmap(page, psize());
}

void op_soft_offline(struct area *area)
{
	size_t i = roll(&dice, area->pages);

	if (chance(&dice, 30))
		offline_zero_page();
	if (!may_poison())
		return;
	if (!madvise(area->addr + i * psize(), psize(), MADV_SOFT_OFFLINE)) {
		count_poisoned();
		torture_count(COUNT_SOFT_OFFLINE);
	}
	check_page(area, i);
}

/* Memory is lost in a process of its own. */

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
	signal_code = info->si_code;
	signal_addr = info->si_addr;
	siglongjmp(lost, 1);
}

/*
 * If the kernel cannot write the signal frame, it kills the process. So the stack for
 * signals is neither shared nor swapped out.
 */
static bool handle_sigbus(void)
{
	static const struct sigaction action = {
		.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK,
	};
	stack_t stack = { .ss_size = SIGNAL_PAGES * psize() };
	bool ready;

	faults_spare_me();
	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ready = stack.ss_sp != MAP_FAILED &&
		!madvise(stack.ss_sp, stack.ss_size, MADV_UNMERGEABLE) &&
		!madvise(stack.ss_sp, stack.ss_size, MADV_DONTFORK) &&
		!mlock(stack.ss_sp, stack.ss_size) &&
		!sigaltstack(&stack, NULL) && !sigaction(SIGBUS, &action, NULL);
	faults_hit_me_again();
	return ready;
}

/* Whether a page can be read; then it holds what was written. */
static bool is_readable(const char *page, uint64_t seed)
{
	if (!sigsetjmp(lost, 1)) {
		if (!ksm_holds(page, seed))
			torture_fail("a page beside a lost one has another content");
		return true;
	}
	if (signal_code != BUS_MCEERR_AR)
		torture_fail("the signal for a lost page has si_code %d", signal_code);
	if (signal_addr < page || signal_addr >= page + psize())
		torture_fail("the signal names another page than the one that was read");
	return false;
}

static bool is_lost(const char *page, const struct loss *loss)
{
	uint64_t entry = pagemap_of(page);

	return loss->pfn && entry & ENTRY_SWAP && ENTRY_TYPE(entry) == loss->type &&
	       ENTRY_OFFSET(entry) == loss->pfn;
}

/*
 * A process that mapped the lost page cannot read it, and no PTE maps it any more. A page
 * that is swapped out and still in the swap cache is lost as well.
 */
static void check_loss(const char *page, uint64_t seed, const struct loss *loss)
{
	bool readable = is_readable(page, seed), gone = is_lost(page, loss);

	if (readable && gone)
		torture_fail("a page that was lost can be read");
	if (!readable && !gone && !(pagemap_of(page) & ENTRY_SWAP))
		torture_fail("another page than the poisoned one is lost");
	if (loss->pfn && pfn_of(page) == loss->pfn)
		torture_fail("a page that was lost is still mapped");
}

static void check_losses(const char *area, const uint64_t *seeds, const struct loss *loss)
{
	unsigned int i;

	for (i = 0; i < LOSING_PAGES; i++)
		check_loss(area + i * psize(), seeds[i], loss);
}

/* If the first page can be read, it was moved, or replaced by an equal one. */
static bool has_lost(const char *area, const uint64_t *seeds, struct loss *loss)
{
	uint64_t entry;

	if (is_readable(area, seeds[0]))
		return false;
	entry = pagemap_of(area);
	*loss = (struct loss){ };
	if (ENTRY_TYPE(entry) >= FIRST_SPECIAL)
		*loss = (struct loss){ ENTRY_TYPE(entry), ENTRY_OFFSET(entry) };
	return true;
}

/* A child has the same pages by fork, and reads from a pipe which one was lost. */
static void inherit_loss(int from, const char *area, const uint64_t *seeds)
{
	struct loss loss;

	if (handle_sigbus() && read(from, &loss, sizeof(loss)) == sizeof(loss))
		check_losses(area, seeds, &loss);
	_exit(0);
}

static void poison(char *area, const uint64_t *seeds, int to_child)
{
	struct loss loss;

	if (!sigsetjmp(lost, 1)) {
		if (madvise(area, psize(), MADV_HWPOISON))
			return;
	} else if (signal_addr < area ||
		   signal_addr >= area + LOSING_PAGES * psize()) {
		torture_fail("the signal for a poisoned page names memory outside of the area");
	}
	count_poisoned();
	torture_count(COUNT_HARD_POISON);
	if (!has_lost(area, seeds, &loss))
		return;
	torture_count(COUNT_LOST);
	/* The OOM killer may have killed the child. */
	if (write(to_child, &loss, sizeof(loss)) != sizeof(loss) && errno != EPIPE)
		torture_fail("the child cannot be told which page is lost: %s", strerror(errno));
	check_losses(area, seeds, &loss);
}

/* Whether the pages are shared depends on their content. Half of the runs fork. */
static void lose_memory(void)
{
	char *area = mmap(NULL, LOSING_PAGES * psize(), PROT_RW, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	bool same = chance(&dice, 60), forks = chance(&dice, 50);
	uint64_t seeds[LOSING_PAGES], first = any_identity();
	int ends[2], status;
	unsigned int i;
	pid_t pid = 0;

	if (area == MAP_FAILED || pipe(ends) || !handle_sigbus())
		_exit(0);
	madvise(area, LOSING_PAGES * psize(), MADV_MERGEABLE);
	for (i = 0; i < LOSING_PAGES; i++) {
		seeds[i] = same ? first : first + i;
		ksm_fill(area + i * psize(), seeds[i]);
	}
	usleep(roll(&dice, 600000));
	if (forks) {
		pid = fork_kin();
		if (!pid) {
			close(ends[1]);
			inherit_loss(ends[0], area, seeds);
		}
	}
	poison(area, seeds, ends[1]);
	close(ends[1]);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status &&
	    !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		torture_fail("a child with lost memory ended with wait status 0x%x", status);
	_exit(0);
}

void op_hard_poison(struct area *area)
{
	uint64_t seed = roll(&dice, UINT64_MAX);
	pid_t pid;

	if (!may_poison())
		return;
	pid = fork_kin();
	if (pid)
		return wait_for("a process that loses memory", pid);
	begin_life(seed, 9);
	lose_memory();
}
