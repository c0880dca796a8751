// SPDX-License-Identifier: GPL-2.0
/*
 * Memory keeps its meaning when it merges and unmerges: locks, protection,
 * userfaultfd and soft-dirty marks, advice, pins and writes from outside; and
 * memory that is not for merging is left alone.
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
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../mm/gup_test.h"
#include "ksm_common.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE	0x08
#endif

#define PAGES	30
#define SEED	0xd0000
#define PROT_RW	(PROT_READ | PROT_WRITE)

static void expect_merged(const char *area, size_t want)
{
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), want);
}

/* Protection */

/*
 * Is an access refused? The kernel makes it on our behalf, and so answers
 * with an error where the program itself would get a signal.
 */
static bool faults(char *byte, bool write_it)
{
	char value = 1;
	ssize_t done;
	int ends[2];

	ksm_check(!pipe(ends), "pipe");
	if (write_it) {
		ksm_check(write(ends[1], &value, 1) == 1, "writing to a pipe");
		done = read(ends[0], byte, 1);
	} else {
		done = write(ends[1], byte, 1);
	}
	close(ends[0]);
	close(ends[1]);
	return done < 0 && errno == EFAULT;
}

static void protect(char *area, int prot)
{
	ksm_check(!mprotect(area, PAGES * psize(), prot), "mprotect");
}

static void prot_none_after(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	protect(area, PROT_NONE);
	ksm_passes(2);
	ksm_check(faults(area, false), "reading faults under PROT_NONE");
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
	ksm_check(faults(area, false), "reading faults under PROT_NONE");
	ksm_check(faults(area, true), "writing faults under PROT_NONE");
	ksm_unmerge_all();
	ksm_check(faults(area, false), "reading faults after unmerging");
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
	ksm_check(faults(area, true), "writing faults while merged");
	ksm_unmerge_all();
	expect_merged(area, 0);
	ksm_check(faults(area, true), "writing faults after unmerging");
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

/* Zero pages too: the mark says that nobody has written, not what is there. */
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

/* Memory that is not for merging */

/* Something else has to merge, so that three passes are known to have been. */
static void expect_left_alone(char *area)
{
	char *other = ksm_map_mergeable(4);

	ksm_fill_same(other, 4, SEED + 9);
	ksm_settle();
	expect_merged(area, 0);
	ksm_expect_figures(1, 3, 0);
}

static char *map_or_skip(int flags, int fd, const char *what)
{
	char *area = mmap(NULL, PAGES * psize(), PROT_RW, flags, fd, 0);

	if (area == MAP_FAILED)
		ksm_skip("%s cannot be mapped here", what);
	return area;
}

static void shared_anonymous(void)
{
	char *area = map_or_skip(MAP_SHARED | MAP_ANONYMOUS, -1, "shared memory");

	ksm_fill_same(area, PAGES, SEED);
	ksm_mergeable(area, PAGES);
	ksm_check(!ksm_vmflag(area, "mg"), "shared memory is not mergeable");
	expect_left_alone(area);
	ksm_check_same(area, PAGES, SEED);
}

static int file_of_pages(void)
{
	int fd = memfd_create("ksm_meaning", 0);
	char *page = ksm_map(1);
	size_t i;

	ksm_fill(page, SEED);
	for (i = 0; i < PAGES; i++)
		ksm_check(write(fd, page, psize()) == psize(), "writing a file");
	return fd;
}

static void shared_file(void)
{
	char *area = map_or_skip(MAP_SHARED, file_of_pages(), "a file");

	ksm_mergeable(area, PAGES);
	ksm_check_same(area, PAGES, SEED);
	ksm_check(!ksm_vmflag(area, "mg"), "a shared file is not mergeable");
	expect_left_alone(area);
}

static void private_file_unwritten(void)
{
	char *area = map_or_skip(MAP_PRIVATE, file_of_pages(), "a file");

	ksm_mergeable(area, PAGES);
	ksm_check_same(area, PAGES, SEED);
	expect_left_alone(area);
}

static void private_file_written(void)
{
	int fd = file_of_pages();
	char *area = map_or_skip(MAP_PRIVATE, fd, "a file"), *page = ksm_map(1);

	ksm_mergeable(area, PAGES);
	ksm_fill_same(area, PAGES / 2, SEED + 1);
	ksm_settle();
	ksm_expect_figures(1, PAGES / 2 - 1, 0);
	ksm_check_same(area, PAGES / 2, SEED + 1);
	ksm_check_same(area + PAGES / 2 * psize(), PAGES / 2, SEED);
	ksm_check(pread(fd, page, psize(), 0) == psize() && ksm_holds(page, SEED),
		  "the file holds what it held");
}

static void hugetlb_memory(void)
{
	size_t size = default_huge_page_size();
	char *area = mmap(NULL, 2 * size, PROT_RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (area == MAP_FAILED)
		ksm_skip("there are no hugetlb pages reserved");
	ksm_fill_same(area, 2 * size / psize(), SEED);
	ksm_expect("MADV_MERGEABLE", madvise(area, 2 * size, MADV_MERGEABLE), 0);
	ksm_check(!ksm_vmflag(area, "mg"), "hugetlb memory is not mergeable");
	expect_left_alone(area);
	ksm_check_same(area, 2 * size / psize(), SEED);
	munmap(area, 2 * size);
}

static void droppable_memory(void)
{
	char *area = map_or_skip(MAP_DROPPABLE | MAP_ANONYMOUS, -1, "droppable memory");

	ksm_fill_same(area, PAGES, SEED);
	ksm_mergeable(area, PAGES);
	ksm_check(!ksm_vmflag(area, "mg"), "droppable memory is not mergeable");
	expect_left_alone(area);
}

static void secret_memory(void)
{
	char *area;
	int fd = syscall(447 /* memfd_secret */, 0);

	if (fd < 0 || ftruncate(fd, PAGES * psize()))
		ksm_skip("there is no secret memory here");
	area = map_or_skip(MAP_SHARED, fd, "secret memory");
	ksm_fill_same(area, PAGES, SEED);
	ksm_mergeable(area, PAGES);
	ksm_check(!ksm_vmflag(area, "mg"), "secret memory is not mergeable");
	ksm_merged_area(4, SEED);
	ksm_expect_figures(1, 3, 0);
	ksm_check_same(area, PAGES, SEED);
}

static void not_advised(void)
{
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	expect_left_alone(area);
}

static size_t count_present(const char *area, size_t pages)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		count += !!ksm_pfn(area + i * psize());
	return count;
}

static void holes(void)
{
	char *area = ksm_map_mergeable(PAGES);
	size_t i;

	ksm_check(!mprotect(area + 10 * psize(), 10 * psize(), PROT_NONE), "a guard");
	for (i = 0; i < 10; i += 2) {
		ksm_fill(area + i * psize(), SEED);
		ksm_fill(area + (20 + i) * psize(), SEED);
	}
	ksm_settle();
	ksm_expect_figures(1, 9, 0);
	ksm_expect("pages present", count_present(area, PAGES), 10);
	ksm_check(faults(area + 10 * psize(), false), "the guard is one still");
	ksm_unmerge_all();
	ksm_expect("pages present", count_present(area, PAGES), 10);
}

/* Writes from outside, and pins */

static void proc_mem_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	int fd = open("/proc/self/mem", O_RDWR);

	ksm_fill(page, SEED + 1);
	ksm_check(pwrite(fd, page, psize(), (uintptr_t)area) == psize(), "writing /proc/self/mem");
	ksm_check(ksm_holds(area, SEED + 1), "the page written holds the new");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
	ksm_check(!ksm_is_merged(area), "the page written is private");
	close(fd);
}

/* With force: the mapping is read-only and the write goes to a copy. */
static void proc_mem_write_read_only(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	int fd = open("/proc/self/mem", O_RDWR);

	protect(area, PROT_READ);
	ksm_fill(page, SEED + 1);
	if (pwrite(fd, page, psize(), (uintptr_t)area) != psize())
		ksm_skip("/proc/self/mem does not write to read-only memory here");
	ksm_check(ksm_holds(area, SEED + 1), "the page written holds the new");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
	ksm_check(faults(area, true), "the memory is still read-only");
	close(fd);
}

static void proc_mem_read(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	int fd = open("/proc/self/mem", O_RDONLY);

	ksm_check(pread(fd, page, psize(), (uintptr_t)area) == psize() && ksm_holds(page, SEED),
		  "reading /proc/self/mem");
	expect_merged(area, PAGES);
	close(fd);
}

static void written_child(struct ksm_child *self, void *arg)
{
	char *area = arg;

	ksm_child_pause(self);
	ksm_check(ksm_holds(area, SEED + 1), "what another process wrote is there");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
}

static void process_vm_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	struct iovec local = { page, psize() }, remote = { area, psize() };
	struct ksm_child child;

	ksm_fill(page, SEED + 1);
	ksm_child_start(&child, written_child, area);
	ksm_child_wait(&child);
	if (process_vm_writev(child.pid, &local, 1, &remote, 1, 0) != psize())
		ksm_skip("process_vm_writev: %s", strerror(errno));
	ksm_check_same(area, PAGES, SEED);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

static void traced_child(struct ksm_child *self, void *arg)
{
	long *word = arg;

	ksm_child_pause(self);
	ksm_check(*word == 0x123456789, "the word poked is there");
	ksm_check_same((char *)arg + psize(), PAGES - 1, SEED);
}

static void ptrace_poke(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child child;
	int status;

	ksm_child_start(&child, traced_child, area);
	ksm_child_wait(&child);
	if (ptrace(PTRACE_ATTACH, child.pid, NULL, NULL))
		ksm_skip("ptrace is refused: %s", strerror(errno));
	ksm_check(waitpid(child.pid, &status, 0) == child.pid, "the child stops");
	ksm_check(!ptrace(PTRACE_POKEDATA, child.pid, area, (void *)0x123456789L),
		  "PTRACE_POKEDATA");
	ksm_check(!ptrace(PTRACE_DETACH, child.pid, NULL, NULL), "PTRACE_DETACH");
	ksm_check_same(area, PAGES, SEED);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

/* A page in a pipe is read there later, so it may be neither moved nor shared. */
static void page_in_pipe(void)
{
	char *area = ksm_map_mergeable(PAGES), *page = ksm_map(1);
	struct iovec iov = { area, psize() };
	int ends[2];

	ksm_fill_same(area, PAGES, SEED);
	ksm_check(!pipe(ends), "pipe");
	ksm_check(vmsplice(ends[1], &iov, 1, 0) == psize(), "vmsplice");
	ksm_settle();
	ksm_check(!ksm_is_merged(area), "the page in the pipe is not merged");
	area[0]++;
	ksm_check(read(ends[0], page, psize()) == psize() && page[0] == area[0],
		  "the pipe has what was written to the page");
	area[0]--;
	ksm_settle();
	expect_merged(area, PAGES);
}

/* Shared first, then put into a pipe: a write must not show there. */
static void shared_page_in_pipe(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	struct iovec iov = { area, psize() };
	int ends[2];

	ksm_check(!pipe(ends), "pipe");
	ksm_check(vmsplice(ends[1], &iov, 1, 0) == psize(), "vmsplice");
	ksm_fill(area + psize(), SEED + 1);
	ksm_unmerge_all();
	ksm_check(read(ends[0], page, psize()) == psize() && ksm_holds(page, SEED),
		  "the pipe has what the page held");
	ksm_check(ksm_holds(area, SEED) && ksm_holds(area + psize(), SEED + 1),
		  "pages hold what was written to them");
}

static int longterm_pin(char *area, size_t pages)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)area,
		.size = pages * psize(),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (fd < 0)
		ksm_skip("there is no gup_test in debugfs");
	if (ioctl(fd, PIN_LONGTERM_TEST_START, &args))
		ksm_fail("pinning: %s", strerror(errno));
	return fd;
}

/* What the pin reads is what is in the mapping. */
static void check_pinned(int fd, char *area, size_t pages)
{
	char *copy = ksm_map(pages);
	uint64_t to = (uintptr_t)copy;

	ksm_check(!ioctl(fd, PIN_LONGTERM_TEST_READ, &to), "reading through the pin");
	ksm_check(!memcmp(copy, area, pages * psize()), "the pin sees the pages that are mapped");
}

static void pinned_not_merged(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int fd;

	ksm_fill_same(area, PAGES, SEED);
	fd = longterm_pin(area, 5);
	ksm_settle();
	ksm_expect("pinned pages merged", ksm_count_merged(area, 5), 0);
	ksm_fill_unique(area, 5, SEED + 1);
	check_pinned(fd, area, 5);
	ksm_fill_same(area, 5, SEED);
	check_pinned(fd, area, 5);
	close(fd);
	ksm_settle();
	expect_merged(area, PAGES);
}

/* One page that cannot merge is no reason for the others not to. */
static void pinned_among_like(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int fd;

	ksm_fill_same(area, PAGES, SEED);
	fd = longterm_pin(area, 1);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", PAGES - 2), "the others merge");
	ksm_check(!ksm_is_merged(area), "the pinned page does not");
	check_pinned(fd, area, 1);
	close(fd);
}

static void merged_then_pinned(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	int fd = longterm_pin(area, 5);

	ksm_expect("pinned pages merged", ksm_count_merged(area, 5), 0);
	ksm_fill_unique(area, 5, SEED + 1);
	check_pinned(fd, area, 5);
	ksm_check_same(area + 5 * psize(), PAGES - 5, SEED);
	ksm_settle();
	check_pinned(fd, area, 5);
	close(fd);
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
	{ "a write to a merged page makes a soft-dirty mark", soft_dirty_on_write },
	{ "MADV_DONTNEED", dontneed },
	{ "MADV_FREE", free_advice },
	{ "MADV_FREE of pages that others share, and reclaim", free_advice_reclaimed },
	{ "MADV_FREE before merging", free_then_merge },
	{ "MADV_FREE before merging, and reclaim", free_then_shared_reclaimed },
	{ "MADV_POPULATE_WRITE gives pages back", populate_write },
	{ "MADV_COLD and MADV_PAGEOUT", cold_and_pageout },
	{ "MADV_WIPEONFORK", wipe_on_fork },
	{ "shared memory is left alone", shared_anonymous },
	{ "shared files are left alone", shared_file },
	{ "private files never written are left alone", private_file_unwritten },
	{ "written pages of private files merge", private_file_written },
	{ "hugetlb memory is left alone", hugetlb_memory },
	{ "droppable memory is left alone", droppable_memory },
	{ "secret memory is left alone", secret_memory },
	{ "memory without advice is left alone", not_advised },
	{ "holes and guards stay empty", holes },
	{ "/proc/PID/mem writes to a copy", proc_mem_write },
	{ "/proc/PID/mem writes to a copy of read-only memory", proc_mem_write_read_only },
	{ "/proc/PID/mem reads without unmerging", proc_mem_read },
	{ "process_vm_writev writes to a copy", process_vm_write },
	{ "ptrace writes to a copy", ptrace_poke },
	{ "a page in a pipe does not merge", page_in_pipe },
	{ "a merged page in a pipe stays as it was", shared_page_in_pipe },
	{ "pinned pages do not merge", pinned_not_merged },
	{ "a pinned page does not keep others like it from merging", pinned_among_like },
	{ "pinning unmerges", merged_then_pinned },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
