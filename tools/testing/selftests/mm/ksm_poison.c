// SPDX-License-Identifier: GPL-2.0
/*
 * Memory errors. A shared page that is taken offline in time moves with all of its
 * mappings. A shared page that is poisoned is replaced if another shared page has its
 * content; otherwise each process that maps it gets a signal, and no other process does.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	8
#define SEED	0x120000
/* Pages that take seconds to unmerge. */
#define MANY_PAGES (psize() > 4096 ? 5000 : 20000)
#define UNPOISON "/sys/kernel/debug/hwpoison/unpoison-pfn"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

static sigjmp_buf lost;
/* What the last signal said. */
static siginfo_t told;

static void on_access(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	told = *info;
	siglongjmp(lost, 1);
}

static void catch_access(void)
{
	struct sigaction action = { .sa_sigaction = on_access, .sa_flags = SA_SIGINFO };

	ksm_check(!sigaction(SIGBUS, &action, NULL), "sigaction");
}

/* The signal names the page. */
static void expect_told(const char *what, const siginfo_t *info, int code, const char *page)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	at -= at % psize();
	if (info->si_code != code || at != (uintptr_t)page)
		ksm_fail("%s: si_code %d and si_addr %p instead of %d and %p", what,
			 info->si_code, info->si_addr, code, page);
}

static bool is_lost(const char *page)
{
	if (sigsetjmp(lost, 1)) {
		expect_told("an access", &told, BUS_MCEERR_AR, page);
		return true;
	}
	ksm_holds(page, SEED);
	return false;
}

static size_t count_lost(const char *area, size_t pages)
{
	size_t i, count = 0;

	catch_access();
	for (i = 0; i < pages; i++)
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

/* The caller gets the signal that an access to the page would raise. */
static void poison(char *page)
{
	catch_access();
	if (sigsetjmp(lost, 1)) {
		ksm_expect("si_code for the caller", told.si_code, BUS_MCEERR_AR);
		ksm_check(!((uintptr_t)told.si_addr % psize()), "si_addr is that of a page");
		return;
	}
	if (madvise(page, psize(), MADV_HWPOISON))
		ksm_skip("memory cannot be poisoned here: %s", strerror(errno));
	ksm_fail("the caller gets no signal for its own page");
}

/* Poisons a page of the caller, and returns its page frame. */
static unsigned long poisoned(char *page)
{
	const unsigned long pfn = ksm_pfn(page);

	poison(page);
	return pfn;
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
	count = count_lost(area, PAGES);
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

/* Whether the signal has come, and what it says; it is not held back any more. */
static bool was_told(siginfo_t *info)
{
	const struct timespec now = { 0 };
	sigset_t set;
	bool came;

	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	came = sigtimedwait(&set, info, &now) == SIGBUS;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return came;
}

/* Processes that get their signal early, and when they read the page. */
static void told_early(struct ksm_child *self, void *arg)
{
	siginfo_t info;

	hold_back_signal();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	ksm_child_pause(self);
	ksm_check(was_told(&info), "a process that asked for early signals gets one");
	ksm_expect("si_code of an early signal", info.si_code, BUS_MCEERR_AO);
	ksm_expect("mappings that lost their page", count_lost(arg, PAGES), PAGES);
}

static void finds_out(struct ksm_child *self, void *arg)
{
	siginfo_t info;

	hold_back_signal();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_LATE, 0, 0);
	ksm_child_pause(self);
	ksm_check(!was_told(&info), "no other process gets a signal before it reads the page");
	ksm_expect("mappings that lost their page", count_lost(arg, PAGES), PAGES);
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

/* The poisoned page still exists, and must not be read. */
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
	ksm_check(!joined, "pages that are filled later do not share the poisoned one");
	ksm_expect("merged pages", ksm_count_merged(later, PAGES), PAGES);
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check_same(later, PAGES, SEED);
}

/*
 * A process that maps the content, at an address of its own, and what it should find
 * when the page of another process has been poisoned.
 */
struct mapper {
	const char *name;
	unsigned int pad;
	bool early;
	/* Its page was replaced, or is the other page of that content. */
	bool spared;
	/* It inherited the mapping. */
	bool forked;
	/* It has written to the page since, and got a copy. */
	bool left;
	struct ksm_child child;
};

static char *inherited;

static void expect_lost(const struct mapper *self, const char *page)
{
	siginfo_t info;

	ksm_expect(self->name, was_told(&info), self->early);
	if (self->early)
		expect_told(self->name, &info, BUS_MCEERR_AO, page);
	ksm_expect(self->name, count_lost(page, 1), 1);
}

static void expect_spared(const struct mapper *self, const char *page, uint64_t seed)
{
	siginfo_t info;

	if (was_told(&info))
		ksm_fail("%s gets a signal and has lost nothing: si_code %d, si_addr %p",
			 self->name, info.si_code, info.si_addr);
	ksm_check(ksm_holds(page, seed), self->name);
}

static void map_content(struct ksm_child *self, void *arg)
{
	struct mapper *mapper = arg;
	char *page = inherited;

	hold_back_signal();
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET,
	      mapper->early ? PR_MCE_KILL_EARLY : PR_MCE_KILL_LATE, 0, 0);
	if (!mapper->forked) {
		ksm_map(mapper->pad);
		page = ksm_map_mergeable(1);
		ksm_fill(page, SEED);
		munmap(inherited, psize());
	}
	ksm_child_pause(self);
	ksm_check(ksm_is_merged(page), "it is merged");
	if (mapper->left)
		ksm_fill(page, SEED + 1);
	ksm_child_pause(self);
	if (mapper->left)
		expect_spared(mapper, page, SEED + 1);
	else if (mapper->spared)
		expect_spared(mapper, page, SEED);
	else
		expect_lost(mapper, page);
}

static void start_mapper(struct mapper *mapper)
{
	ksm_child_start(&mapper->child, map_content, mapper);
	ksm_child_wait(&mapper->child);
}

static void step_all(struct mapper *mappers, size_t nr)
{
	while (nr)
		ksm_child_step(&mappers[--nr].child);
}

static void end_all(struct mapper *mappers, size_t nr)
{
	while (nr)
		ksm_child_end(&mappers[--nr].child);
}

static void told_which_page(void)
{
	struct mapper mappers[] = {
		{ .name = "early", .pad = 3, .early = true },
		{ .name = "late", .pad = 5 },
		{ .name = "early, by fork", .early = true, .forked = true },
		{ .name = "late, by fork", .forked = true },
	};
	unsigned long pfn;

	need_unpoison();
	inherited = ksm_map_mergeable(1);
	ksm_fill(inherited, SEED);
	start_mapper(&mappers[0]);
	start_mapper(&mappers[1]);
	ksm_settle();
	ksm_expect_figures(1, 2, 0);
	start_mapper(&mappers[2]);
	start_mapper(&mappers[3]);
	step_all(mappers, ARRAY_SIZE(mappers));
	pfn = ksm_pfn(inherited);
	poison(inherited);
	expect_told("the caller", &told, BUS_MCEERR_AR, inherited);
	end_all(mappers, ARRAY_SIZE(mappers));
	unpoison(pfn);
}

static void poison_quietly(char *page)
{
	catch_access();
	if (sigsetjmp(lost, 1))
		ksm_fail("the caller gets a signal for a page that can be replaced");
	ksm_check(!madvise(page, psize(), MADV_HWPOISON), "MADV_HWPOISON succeeds");
}

/* With max_page_sharing 2, four mappings need two shared pages. */
static void replaced_by_equal(void)
{
	struct mapper mappers[] = {
		{ .name = "early", .pad = 3, .early = true, .spared = true },
		{ .name = "late", .pad = 5, .spared = true },
		{ .name = "one more", .pad = 7, .early = true, .spared = true },
		{ .name = "early, by fork", .early = true, .forked = true, .spared = true },
	};
	unsigned long pfn;
	char *later;
	size_t i;

	need_unpoison();
	ksm_set("max_page_sharing", 2);
	inherited = ksm_map_mergeable(1);
	ksm_fill(inherited, SEED);
	for (i = 0; i < 3; i++)
		start_mapper(&mappers[i]);
	ksm_settle();
	ksm_expect_figures(2, 2, 0);
	start_mapper(&mappers[3]);
	step_all(mappers, ARRAY_SIZE(mappers));
	pfn = ksm_pfn(inherited);
	poison_quietly(inherited);
	ksm_check(ksm_holds(inherited, SEED), "the content is there");
	ksm_check(ksm_pfn(inherited) != pfn, "the poisoned page is not mapped");
	ksm_expect_figures(2, 2, 0);
	/* The scan finds the page in its new place, and the child that shares it. */
	ksm_settle();
	ksm_expect_figures(2, 3, 0);
	end_all(mappers, ARRAY_SIZE(mappers));
	/* The node is that of the new page, so another page can join it. */
	later = ksm_map_mergeable(1);
	ksm_fill(later, SEED);
	ksm_settle();
	ksm_expect_figures(1, 1, 0);
	ksm_check(ksm_pfn(later) == ksm_pfn(inherited), "a later page joins the new page");
	unpoison(pfn);
	ksm_fill(inherited, SEED + 1);
	ksm_settle();
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* The rmap_item stays until ksmd visits the page, and a write gives the page up now. */
static void left_before_lost(void)
{
	struct mapper mappers[] = {
		{ .name = "written to", .pad = 3, .early = true, .left = true },
		{ .name = "still there", .pad = 5, .early = true },
		{ .name = "written to after a fork", .early = true, .forked = true, .left = true },
	};
	unsigned long pfn;

	need_unpoison();
	inherited = ksm_map_mergeable(1);
	ksm_fill(inherited, SEED);
	start_mapper(&mappers[0]);
	start_mapper(&mappers[1]);
	ksm_settle();
	ksm_expect_figures(1, 2, 0);
	start_mapper(&mappers[2]);
	step_all(mappers, ARRAY_SIZE(mappers));
	pfn = ksm_pfn(inherited);
	poison(inherited);
	end_all(mappers, ARRAY_SIZE(mappers));
	unpoison(pfn);
}

/* The process that maps it loses it, and nothing is merged with it. */
static void lost_before_shared(void)
{
	char *area = ksm_map_mergeable(PAGES), *later;
	unsigned long pfn;

	need_unpoison();
	ksm_fill_unique(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	pfn = ksm_pfn(area);
	poison(area);
	expect_told("the caller", &told, BUS_MCEERR_AR, area);
	later = ksm_map_mergeable(1);
	ksm_fill(later, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	ksm_expect("mappings that lost their page", count_lost(area, PAGES), 1);
	unpoison(pfn);
	ksm_check(ksm_holds(later, SEED), "a page with the lost content is there");
	ksm_check_unique(area + psize(), PAGES - 1, SEED + 1);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

static void taken_out_before_shared(void)
{
	char *area = ksm_map_mergeable(PAGES), *later;
	unsigned long pfn;

	need_unpoison();
	ksm_fill_unique(area, PAGES, SEED);
	ksm_settle();
	pfn = ksm_pfn(area);
	if (madvise(area, psize(), MADV_SOFT_OFFLINE))
		ksm_skip("memory cannot be taken out of use here: %s", strerror(errno));
	unpoison(pfn);
	ksm_check(ksm_pfn(area) != pfn, "the page has moved");
	ksm_check_unique(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(0, 0, PAGES);
	later = ksm_map_mergeable(1);
	ksm_fill(later, SEED);
	ksm_settle();
	ksm_expect_figures(1, 1, PAGES - 1);
	ksm_check(ksm_pfn(later) == ksm_pfn(area), "it is found where it has moved to");
}

/* Zeros that KSM merged, and memory that nobody wrote to. */
static void has_zeros(struct ksm_child *self, void *arg)
{
	char *unwritten = ksm_map(PAGES);

	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	ksm_check_same(unwritten, PAGES, 0);
	ksm_child_pause(self);
	ksm_check_same(unwritten, PAGES, 0);
	ksm_check_same(arg, PAGES, 0);
	ksm_fill_same(arg, PAGES / 2, SEED);
	ksm_check_same(arg, PAGES / 2, SEED);
	ksm_check_same((char *)arg + PAGES / 2 * psize(), PAGES / 2, 0);
}

static char *merged_zeros(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_set("use_zero_pages", 1);
	/* Pages of their own, which a read alone does not make. */
	ksm_fill_same(area, PAGES, SEED);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), PAGES);
	return area;
}

static void unmerge_slowly(struct ksm_child *self, void *arg)
{
	(void)self;
	(void)arg;
	ksm_use_last_cpu(0);
	ksm_set("run", 2);
}

/*
 * Unmerging everything takes many seconds on a CPU that another task has.  The time of the
 * memory error alone says little: it waits for work on that CPU as well.
 */
static void does_not_wait(void)
{
	char *area = ksm_merged_area(MANY_PAGES, SEED), *last = area + (MANY_PAGES - 1) * psize();
	struct ksm_child child;
	long left;
	pid_t hog;

	need_unpoison();
	hog = ksm_hog_last_cpu();
	ksm_child_start(&child, unmerge_slowly, NULL);
	while (ksm_is_merged(area))
		usleep(1000);
	ksm_check(ksm_is_merged(last), "pages are unmerged from the first to the last one");
	unpoison(poisoned(last));
	left = ksm_get("pages_sharing");
	kill(hog, SIGKILL);
	ksm_child_end(&child);
	if (left < MANY_PAGES / 2)
		ksm_fail("when the memory error was handled, only %ld pages were still shared",
			 left);
}

/*
 * The kernel cannot do without the zero page: it only sets the flag. No process gets a
 * signal, and every page of zeros is as it was.
 */
static void advise_zero_page(int advice)
{
	char *area = merged_zeros();
	struct ksm_child child;

	ksm_child_start(&child, has_zeros, area);
	ksm_child_wait(&child);
	ksm_check(madvise(area, psize(), advice) == -1, "it is refused");
	if (errno == EINVAL || errno == EPERM)
		ksm_skip("memory cannot be poisoned here: %s", strerror(errno));
	ksm_check_same(area, PAGES, 0);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 2 * PAGES);
	ksm_child_end(&child);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_check_same(area, PAGES, 0);
	ksm_expect("pages of zeros that are still common",
		   ksm_count_flag(area, PAGES, KPF_ZERO_PAGE_BIT), 0);
}

static void zero_page_taken_out(void)
{
	advise_zero_page(MADV_SOFT_OFFLINE);
}

/* This cannot be undone, so it is the last case. */
static void zero_page_lost(void)
{
	need_unpoison();
	advise_zero_page(MADV_HWPOISON);
}

static const struct ksm_case cases[] = {
	{ "a shared page is taken out of use in time", taken_out_in_time },
	{ "a shared page is lost to all its mappings", lost_to_all },
	{ "a shared page is lost to other processes", lost_to_other_processes },
	{ "a lost page is not shared again", not_shared_again },
	{ "a lost page is named to each process that maps it", told_which_page },
	{ "a poisoned page is replaced by a copy of an equal one", replaced_by_equal },
	{ "a process that wrote to a page before gets no signal", left_before_lost },
	{ "a page that is not shared is lost to its owner", lost_before_shared },
	{ "a page that is not shared is taken out of use", taken_out_before_shared },
	{ "a memory error does not wait while everything is unmerged", does_not_wait },
	{ "the zero page is not taken out of use", zero_page_taken_out },
	{ "the zero page is lost to nobody", zero_page_lost },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
