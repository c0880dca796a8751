// SPDX-License-Identifier: GPL-2.0
/*
 * Memory keeps its meaning when it merges and unmerges: locks, protection,
 * userfaultfd and soft-dirty marks, and advice.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	30
#define SEED	0xd0000
#define PROT_RW	(PROT_READ | PROT_WRITE)

static void expect_merged(const char *area, size_t want)
{
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), want);
}

/* Protection */

static void protect(char *area, int prot)
{
	ksm_check(!mprotect(area, PAGES * psize(), prot), "mprotect");
}

static void prot_none_after(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	protect(area, PROT_NONE);
	ksm_passes(2);
	ksm_check(ksm_access_refused(area, false), "reading faults under PROT_NONE");
	protect(area, PROT_RW);
	ksm_check_same(area, PAGES, SEED);
	ksm_fill_unique(area, PAGES / 2, SEED + 1);
	ksm_check_unique(area, PAGES / 2, SEED + 1);
	ksm_check_same(area + PAGES / 2 * psize(), PAGES / 2, SEED);
}

static void prot_none_before(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	protect(area, PROT_NONE);
	ksm_merged_area(4, SEED + 9);
	ksm_check(ksm_access_refused(area, false), "reading faults under PROT_NONE");
	ksm_check(ksm_access_refused(area, true), "writing faults under PROT_NONE");
	ksm_unmerge_all();
	ksm_check(ksm_access_refused(area, false), "reading faults after unmerging");
	protect(area, PROT_RW);
	ksm_check_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(2, PAGES - 1 + 3, 0);
}

static void read_only(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	protect(area, PROT_READ);
	ksm_settle();
	expect_merged(area, PAGES);
	ksm_check(ksm_access_refused(area, true), "writing faults while merged");
	ksm_unmerge_all();
	expect_merged(area, 0);
	ksm_check(ksm_access_refused(area, true), "writing faults after unmerging");
	ksm_check_same(area, PAGES, SEED);
	protect(area, PROT_RW);
	ksm_fill_unique(area, PAGES, SEED + 1);
	ksm_check_unique(area, PAGES, SEED + 1);
}

/* mlock */

static void locked_merges(void)
{
	char *area = ksm_map_mergeable(PAGES), value[64];

	ksm_fill_same(area, PAGES, SEED);
	ksm_check(!mlock(area, PAGES * psize()), "mlock");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	ksm_check(ksm_field("/proc/self/status", "VmLck", value, sizeof(value)), "VmLck");
	ksm_expect("VmLck", strtol(value, NULL, 10), PAGES * (psize() / 1024));
	ksm_check(ksm_vmflag(area, "lo"), "the area is still locked");
	ksm_check_same(area, PAGES, SEED);
	ksm_check(!munlock(area, PAGES * psize()), "munlock");
	ksm_unmerge_all();
	ksm_check_same(area, PAGES, SEED);
}

/* What is next to it goes out, so that reclaim is known to have worked. */
static void locked_stays_in(void)
{
	char *area, *other;
	size_t i;

	ksm_need_reclaim();
	area = ksm_map_mergeable(PAGES);
	other = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_fill_unique(other, PAGES, SEED);
	ksm_check(!mlock(area, PAGES * psize()), "mlock");
	ksm_settle();
	ksm_check(ksm_reclaim(other, PAGES), "memory not locked goes out");
	for (i = 0; i < PAGES; i++)
		ksm_check(ksm_pfn(area + i * psize()), "locked pages stay in memory");
}

static void locked_unmerges(void)
{
	char *area, *other;
	size_t i;

	ksm_need_reclaim();
	area = ksm_map_mergeable(PAGES);
	other = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_fill_unique(other, PAGES, SEED);
	ksm_check(!mlock(area, PAGES * psize()), "mlock");
	ksm_settle();
	ksm_unmerge_all();
	ksm_check(ksm_reclaim(other, PAGES), "memory not locked goes out");
	for (i = 0; i < PAGES; i++)
		ksm_check(ksm_pfn(area + i * psize()), "unmerged pages are locked again");
	ksm_check_same(area, PAGES, SEED);
}

/* userfaultfd */

static int uffd_for(char *area)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		ksm_skip("there is no userfaultfd write-protection here");
	if (uffd_register(fd, area, PAGES * psize(), false, true, false))
		ksm_skip("userfaultfd does not write-protect private memory here");
	return fd;
}

static void uffd_protect(int fd, char *area, size_t pages, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)area, .len = pages * psize() },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	ksm_check(!ioctl(fd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

static size_t count_uffd_wp(const char *area)
{
	size_t i, count = 0;

	for (i = 0; i < PAGES; i++)
		count += !!(ksm_pagemap(area + i * psize()) & PM_UFFD_WP);
	return count;
}

static void uffd_wp_survives_unmerge(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	int fd = uffd_for(area);

	uffd_protect(fd, area, PAGES, true);
	ksm_expect("marks while merged", count_uffd_wp(area), PAGES);
	ksm_unmergeable(area, PAGES);
	expect_merged(area, 0);
	ksm_expect("marks after unmerging", count_uffd_wp(area), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

static void uffd_wp_survives_merge(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int fd = uffd_for(area);

	ksm_fill_same(area, PAGES, SEED);
	uffd_protect(fd, area, PAGES, true);
	ksm_merged_area(4, SEED + 9);
	ksm_expect("marks after merging", count_uffd_wp(area), PAGES);
	ksm_unmerge_all();
	ksm_expect("marks after unmerging", count_uffd_wp(area), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* Zero pages, too: the mark is about writes, and not about the content. */
static void uffd_wp_survives_zero_page(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int fd = uffd_for(area);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	uffd_protect(fd, area, PAGES, true);
	ksm_merged_area(4, SEED + 9);
	ksm_expect("marks after merging", count_uffd_wp(area), PAGES);
	ksm_unmerge_all();
	ksm_expect("marks after unmerging", count_uffd_wp(area), PAGES);
}

static void *write_first_byte(void *area)
{
	*(char *)area = 1;
	return NULL;
}

static void expect_wp_event(int fd, char *area)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	struct uffd_msg msg;

	ksm_check(poll(&ready, 1, KSM_PATIENCE_MS) == 1, "a write is reported");
	ksm_check(read(fd, &msg, sizeof(msg)) == sizeof(msg), "the report can be read");
	ksm_check(msg.event == UFFD_EVENT_PAGEFAULT &&
		  msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP,
		  "it is a write-protection fault");
	ksm_check((char *)(uintptr_t)(msg.arg.pagefault.address & -(uint64_t)psize()) == area,
		  "it is about the page written");
}

static void uffd_wp_reports_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	int fd = uffd_for(area);
	pthread_t writer;

	uffd_protect(fd, area, PAGES, true);
	ksm_check(!pthread_create(&writer, NULL, write_first_byte, area), "a thread");
	expect_wp_event(fd, area);
	ksm_check(ksm_holds(area, SEED), "the write waits");
	uffd_protect(fd, area, 1, false);
	pthread_join(writer, NULL);
	ksm_check(area[0] == 1, "the write is done once let go");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
	ksm_expect("marks on the other pages", count_uffd_wp(area), PAGES - 1);
}

/* soft-dirty */

static void need_soft_dirty(const char *area)
{
	if (ksm_count_soft_dirty(area, PAGES) != PAGES)
		ksm_skip("there are no soft-dirty marks here");
}

static void soft_dirty_kept_by_merging(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED + 1);
	need_soft_dirty(area);
	ksm_clear_soft_dirty();
	ksm_expect("marks once cleared", ksm_count_soft_dirty(area, PAGES), 0);
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	expect_merged(area, PAGES);
	ksm_expect("marks of pages written, then merged",
		   ksm_count_soft_dirty(area, PAGES), PAGES);
}

static void soft_dirty_not_made(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	need_soft_dirty(area);
	ksm_clear_soft_dirty();
	ksm_settle();
	expect_merged(area, PAGES);
	ksm_expect("marks made by merging", ksm_count_soft_dirty(area, PAGES), 0);
	ksm_unmerge_all();
	ksm_expect("marks made by unmerging", ksm_count_soft_dirty(area, PAGES), 0);
}

/* On some architectures, a dirty PTE has a soft-dirty mark, and KSM sets dirty ones. */
static void soft_dirty_not_made_by_zeros(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_fill_same(area, PAGES, 0);
	need_soft_dirty(area);
	ksm_clear_soft_dirty();
	ksm_set("use_zero_pages", 1);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), PAGES);
	ksm_expect("marks made by merging", ksm_count_soft_dirty(area, PAGES), 0);
}

static void soft_dirty_on_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	need_soft_dirty(area);
	ksm_clear_soft_dirty();
	ksm_fill_unique(area, 5, SEED + 1);
	ksm_expect("marks after 5 writes to merged pages",
		   ksm_count_soft_dirty(area, PAGES), 5);
}

/* Advice */

static void dontneed(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	madvise(area, PAGES / 2 * psize(), MADV_DONTNEED);
	ksm_check_same(area, PAGES / 2, 0);
	ksm_check_same(area + PAGES / 2 * psize(), PAGES / 2, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES / 2 - 1, 0);
}

/* Freed pages may go at any time, but they hold the old or zeros. */
static void free_advice(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	size_t i, half = PAGES / 2;

	ksm_check(!madvise(area, half * psize(), MADV_FREE), "MADV_FREE");
	ksm_passes(2);
	for (i = 0; i < half; i++)
		ksm_check(ksm_holds(area + i * psize(), SEED) || ksm_holds(area + i * psize(), 0),
			  "a freed page holds what it held, or zeros");
	ksm_check_same(area + half * psize(), PAGES - half, SEED);
}

static void free_advice_reclaimed(void)
{
	char *area;
	size_t half = PAGES / 2;

	ksm_need_reclaim();
	area = ksm_merged_area(PAGES, SEED);
	madvise(area, half * psize(), MADV_FREE);
	ksm_check(ksm_reclaim(area + half * psize(), PAGES - half), "the other half goes out");
	ksm_check_same(area + half * psize(), PAGES - half, SEED);
}

/* Freed first, merged after: what merges must not vanish. */
static void free_then_merge(void)
{
	char *area = ksm_map_mergeable(PAGES), *kept = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_fill_same(kept, PAGES, SEED);
	madvise(area, PAGES * psize(), MADV_FREE);
	ksm_settle();
	ksm_write_file("/proc/sys/vm/drop_caches", "3");
	ksm_check_same(kept, PAGES, SEED);
	ksm_fill_unique(area, PAGES, SEED + 1);
	ksm_check_unique(area, PAGES, SEED + 1);
	ksm_check_same(kept, PAGES, SEED);
}

/* The shared page is one that was free to go, and others come to share it. */
static void free_then_shared_reclaimed(void)
{
	char *freed = ksm_map_mergeable(2), *kept;

	ksm_need_reclaim();
	ksm_fill_same(freed, 2, SEED);
	madvise(freed, 2 * psize(), MADV_FREE);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(freed, 2), 2);
	kept = ksm_merged_area(PAGES, SEED);
	ksm_check(ksm_reclaim(kept, PAGES), "the pages go out");
	ksm_check_same(kept, PAGES, SEED);
}

static void populate_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	if (madvise(area, PAGES * psize(), MADV_POPULATE_WRITE))
		ksm_skip("MADV_POPULATE_WRITE is not known here");
	expect_merged(area, 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

static void cold_and_pageout(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	madvise(area, PAGES * psize(), MADV_COLD);
	madvise(area, PAGES * psize(), MADV_PAGEOUT);
	ksm_check_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

static void wipe_child(struct ksm_child *self, void *arg)
{
	ksm_check_same(arg, PAGES, 0);
	ksm_child_pause(self);
}

static void wipe_on_fork(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child child;

	ksm_check(!madvise(area, PAGES * psize(), MADV_WIPEONFORK), "MADV_WIPEONFORK");
	ksm_child_start(&child, wipe_child, area);
	ksm_child_wait(&child);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

static const struct ksm_case cases[] = {
	{ "PROT_NONE over merged pages", prot_none_after },
	{ "PROT_NONE before merging", prot_none_before },
	{ "read-only memory stays read-only", read_only },
	{ "locked memory merges and stays locked", locked_merges },
	{ "locked merged pages are not swapped out", locked_stays_in },
	{ "locked pages are locked after unmerging", locked_unmerges },
	{ "userfaultfd write-protection survives unmerging", uffd_wp_survives_unmerge },
	{ "userfaultfd write-protection survives merging", uffd_wp_survives_merge },
	{ "it survives merging with the zero page", uffd_wp_survives_zero_page },
	{ "userfaultfd reports a write to a merged page", uffd_wp_reports_write },
	{ "merging keeps soft-dirty marks", soft_dirty_kept_by_merging },
	{ "merging and unmerging make no soft-dirty marks", soft_dirty_not_made },
	{ "merging with the zero page makes no soft-dirty marks", soft_dirty_not_made_by_zeros },
	{ "a write to a merged page makes a soft-dirty mark", soft_dirty_on_write },
	{ "MADV_DONTNEED", dontneed },
	{ "MADV_FREE", free_advice },
	{ "MADV_FREE of pages that others share, and reclaim", free_advice_reclaimed },
	{ "MADV_FREE before merging", free_then_merge },
	{ "MADV_FREE before merging, and reclaim", free_then_shared_reclaimed },
	{ "MADV_POPULATE_WRITE gives pages back", populate_write },
	{ "MADV_COLD and MADV_PAGEOUT", cold_and_pageout },
	{ "MADV_WIPEONFORK", wipe_on_fork },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
