// SPDX-License-Identifier: GPL-2.0
/*
 * Broken memory. A shared page that is taken out of use in time takes all its
 * mappings along; one that is lost is lost to every process that maps it, each of
 * which is told so, and to no other.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	8
#define SEED	0x120000
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

static sigjmp_buf lost;

static void on_access(int signal)
{
	siglongjmp(lost, 1);
}

static bool is_lost(const char *page)
{
	if (sigsetjmp(lost, 1))
		return true;
	ksm_holds(page, SEED);
	return false;
}

static size_t count_lost(const char *area)
{
	size_t i, count = 0;

	signal(SIGBUS, on_access);
	for (i = 0; i < PAGES; i++)
		count += is_lost(area + i * psize());
	return count;
}

/* Gives the page frame back, so that the machine loses nothing. */
static void unpoison(unsigned long pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", pfn);
	ksm_write_file(UNPOISON, text);
}

static void poison(char *page)
{
	signal(SIGBUS, on_access);
	if (!sigsetjmp(lost, 1) && madvise(page, psize(), MADV_HWPOISON))
		ksm_skip("memory cannot be poisoned here: %s", strerror(errno));
}

static void need_unpoison(void)
{
	if (access(UNPOISON, W_OK))
		ksm_skip("there is no hwpoison in debugfs to undo it");
}

static void taken_out_in_time(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	unsigned long pfn = ksm_pfn(area);

	need_unpoison();
	if (madvise(area, psize(), MADV_SOFT_OFFLINE))
		ksm_skip("memory cannot be taken out of use here: %s", strerror(errno));
	unpoison(pfn);
	ksm_check(ksm_pfn(area) != pfn, "the page has moved");
	ksm_check_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect_figures(1, PAGES - 1, 0);
}

static void lost_to_all(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *other = ksm_merged_area(PAGES, SEED + 1);
	unsigned long pfn = ksm_pfn(area);
	size_t count;

	need_unpoison();
	poison(area);
	count = count_lost(area);
	unpoison(pfn);
	ksm_expect("mappings that lost their page", count, PAGES);
	ksm_check_same(other, PAGES, SEED + 1);
	munmap(area, PAGES * psize());
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

static void hold_back_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Whether the signal has come; it is not held back any more. */
static bool was_told(void)
{
	sigset_t set;
	bool told;

	sigpending(&set);
	told = sigismember(&set, SIGBUS);
	signal(SIGBUS, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return told;
}

/* A process that asked to be told at once, and one that will find out. */
static void told_early(struct ksm_child *self, void *arg)
{
	hold_back_signal();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	ksm_child_pause(self);
	ksm_check(was_told(), "who asked for it is told at once");
	ksm_expect("mappings that lost their page", count_lost(arg), PAGES);
}

static void finds_out(struct ksm_child *self, void *arg)
{
	hold_back_signal();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	ksm_child_pause(self);
	ksm_check(!was_told(), "nobody else is told before it looks");
	ksm_expect("mappings that lost their page", count_lost(arg), PAGES);
}

static void lost_to_other_processes(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child early, late;
	unsigned long pfn;

	need_unpoison();
	ksm_fill_same(area, PAGES, SEED);
	ksm_child_start(&early, told_early, area);
	ksm_child_start(&late, finds_out, area);
	ksm_child_wait(&early);
	ksm_child_wait(&late);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	pfn = ksm_pfn(area);
	poison(area);
	ksm_child_end(&early);
	ksm_child_end(&late);
	unpoison(pfn);
}

/* It is there still, for nobody to read. */
static void not_shared_again(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *later;
	unsigned long pfn = ksm_pfn(area);
	bool joined;

	need_unpoison();
	poison(area);
	later = ksm_map_mergeable(PAGES);
	ksm_fill_same(later, PAGES, SEED);
	ksm_settle();
	joined = ksm_pfn(later) == pfn;
	unpoison(pfn);
	ksm_check(!joined, "pages that are filled later do not share the broken one");
	ksm_expect("merged pages", ksm_count_merged(later, PAGES), PAGES);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(later, PAGES, SEED);
}

static const struct ksm_case cases[] = {
	{ "a shared page is taken out of use in time", taken_out_in_time },
	{ "a shared page is lost to all its mappings", lost_to_all },
	{ "a shared page is lost to other processes", lost_to_other_processes },
	{ "a lost page is not shared again", not_shared_again },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
