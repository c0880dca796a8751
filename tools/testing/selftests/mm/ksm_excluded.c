// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is not for merging is left alone, and what lies beside it merges.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE	0x08
#endif

#define PAGES	30
#define SEED	0xd0000
#define PROT_RW	(PROT_READ | PROT_WRITE)

/* Something else has to merge, so that three passes are known to have been. */
static void expect_left_alone(char *area)
{
	char *other = ksm_map_mergeable(4);

	ksm_fill_same(other, 4, SEED + 9);
	ksm_settle();
	ksm_expect_merged(area, PAGES, 0);
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
	ksm_check(ksm_access_refused(area + 10 * psize(), false), "the guard is one still");
	ksm_unmerge_all();
	ksm_expect("pages present", count_present(area, PAGES), 10);
}

static const struct ksm_case cases[] = {
	{ "shared memory is left alone", shared_anonymous },
	{ "shared files are left alone", shared_file },
	{ "private files never written are left alone", private_file_unwritten },
	{ "written pages of private files merge", private_file_written },
	{ "hugetlb memory is left alone", hugetlb_memory },
	{ "droppable memory is left alone", droppable_memory },
	{ "secret memory is left alone", secret_memory },
	{ "memory without advice is left alone", not_advised },
	{ "holes and guards stay empty", holes },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
