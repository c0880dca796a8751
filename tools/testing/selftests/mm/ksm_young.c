// SPDX-License-Identifier: GPL-2.0
/*
 * With smart_scan, ksmd reads and clears accessed bits, to skip pages that nobody uses.
 * A page that changes is scanned soon, and the bits are not lost to others.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x70c900
#define NEW_SEED	0x70ca00
#define PAGES		64
/* Passes after which all that is idle is skipped for longest. */
#define QUIET		70
/* Passes in which a changed page has to be merged. */
#define SOON		8
#define TRACKED		20

/* Huge pages. */

static size_t huge_pages(void)
{
	size_t size = read_pmd_pagesize();

	if (!size)
		ksm_skip("there are no transparent huge pages here");
	return size / psize();
}

static char *huge_area(unsigned int count)
{
	size_t pages = huge_pages(), size = pages * psize();
	char *area = mmap(NULL, (count + 1) * size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ksm_check(area != MAP_FAILED, "mmap");
	area += -(uintptr_t)area % size;
	madvise(area, count * size, MADV_HUGEPAGE);
	ksm_fill_unique(area, count * pages, SEED);
	if (ksm_count_flag(area, count * pages, KPF_THP_BIT) != count * pages)
		ksm_skip("no huge pages could be allocated");
	ksm_mergeable(area, count * pages);
	return area;
}

static void quiet_passes(void)
{
	unsigned int i;

	ksm_set("smart_scan", 1);
	for (i = 0; i < QUIET; i++)
		ksm_one_pass();
}

/* How many pages a pass scans, on average. One page is read before each pass. */
static long scanned_per_pass(char *area, size_t pages, const char *used)
{
	long before = ksm_get("pages_scanned");
	unsigned int i;

	for (i = 0; i < QUIET; i++) {
		if (used) {
			ksm_flush_tlb(area, pages);
			ksm_holds(used, 0);
		}
		ksm_one_pass();
	}
	return (ksm_get("pages_scanned") - before) / QUIET;
}

static void idle_huge_is_skipped(void)
{
	size_t pages = huge_pages();
	char *area = huge_area(1);
	long scanned;

	quiet_passes();
	scanned = scanned_per_pass(area, pages, NULL);
	ksft_print_msg("%ld pages a pass\n", scanned);
	ksm_check(scanned <= (long)pages / 16, "pages of an idle huge page are skipped");
	ksm_expect("pages in huge pages", ksm_count_flag(area, pages, KPF_THP_BIT), pages);
}

static void huge_in_use_at_one_page(void)
{
	size_t pages = huge_pages();
	char *area = huge_area(1);
	long scanned;

	quiet_passes();
	scanned = scanned_per_pass(area, pages, area + 300 % pages * psize());
	ksft_print_msg("%ld pages a pass\n", scanned);
	ksm_check(scanned >= (long)pages / 8, "no page of a huge page in use counts as idle");
	ksm_expect("pages in huge pages", ksm_count_flag(area, pages, KPF_THP_BIT), pages);
}

/* Runs passes until so many pages are sharing. */
static void expect_merged_soon(long sharing)
{
	unsigned int passes = 0;

	while (passes < SOON && ksm_get("pages_sharing") < sharing) {
		ksm_one_pass();
		passes++;
	}
	ksft_print_msg("%ld pages share after %u passes\n", ksm_get("pages_sharing"), passes);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), sharing);
}

static void huge_that_changes(void)
{
	size_t pages = huge_pages();
	char *area = huge_area(2);

	quiet_passes();
	ksm_flush_tlb(area, 2 * pages);
	ksm_fill_unique(area, pages, NEW_SEED);
	ksm_fill_unique(area + pages * psize(), pages, NEW_SEED);
	expect_merged_soon(pages);
	ksm_check_unique(area, pages, NEW_SEED);
	ksm_check_unique(area + pages * psize(), pages, NEW_SEED);
}

/* Pages that change without any accessed bit. */

static void written(char *area, char *content)
{
	ksm_flush_tlb(area, PAGES);
	memcpy(area, content, PAGES * psize());
}

static void written_by_writev(char *area, char *content)
{
	struct iovec from = { content, PAGES * psize() }, to = { area, PAGES * psize() };

	if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != (ssize_t)(PAGES * psize()))
		ksm_skip("process_vm_writev does not work here");
}

static const char *disk;

static void read_directly(char *area, char *content)
{
	int fd = open(disk, O_RDONLY | O_DIRECT);

	(void)content;
	ksm_check(fd >= 0, "the disk can be opened");
	ksm_check(pread(fd, area, PAGES * psize(), 0) == (ssize_t)(PAGES * psize()),
		  "the disk can be read");
	close(fd);
}

/* Unique pages are quiet for long, then two of each have the same new content. */
static void changes(void (*change)(char *area, char *content), char *content)
{
	char *area = ksm_map_mergeable(2 * PAGES);

	ksm_fill_unique(area, 2 * PAGES, SEED);
	quiet_passes();
	ksm_expect_figures(0, 0, 2 * PAGES);
	change(area, content);
	change(area + PAGES * psize(), content);
	expect_merged_soon(PAGES);
	ksm_check_unique(area, PAGES, NEW_SEED);
	ksm_check_unique(area + PAGES * psize(), PAGES, NEW_SEED);
}

static char *new_content(void)
{
	char *content = ksm_map(PAGES);

	ksm_fill_unique(content, PAGES, NEW_SEED);
	return content;
}

static void changed_by_process(void)
{
	changes(written, new_content());
}

static void changed_by_writev(void)
{
	changes(written_by_writev, new_content());
}

/* A new zram device. Returns its number. */
static int make_disk(const char *content)
{
	static char path[64];
	char text[KSM_TEXT];
	int fd, number;

	if (ksm_read_file("/sys/class/zram-control/hot_add", text, sizeof(text)) <= 0)
		ksm_skip("there are no zram devices");
	number = atoi(text);
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", number);
	ksm_check(!ksm_write_file(path, "16M"), "the disk has a size");
	snprintf(path, sizeof(path), "/dev/zram%d", number);
	fd = open(path, O_WRONLY);
	ksm_check(fd >= 0 && pwrite(fd, content, PAGES * psize(), 0) ==
		  (ssize_t)(PAGES * psize()) && !fsync(fd), "the disk can be written");
	close(fd);
	disk = path;
	return number;
}

static void disk_reader(struct ksm_child *self, void *content)
{
	(void)self;
	changes(read_directly, content);
}

/* The disk has to be removed if the test fails, too. */
static void changed_by_direct_read(void)
{
	char *content = new_content(), text[KSM_TEXT];
	int number = make_disk(content), status;
	struct ksm_child child;

	ksm_child_start(&child, disk_reader, content);
	ksm_check(waitpid(child.pid, &status, 0) == child.pid, "waitpid");
	snprintf(text, sizeof(text), "%d", number);
	ksm_check(!ksm_write_file("/sys/class/zram-control/hot_remove", text),
		  "the disk can be removed");
	ksm_expect("status of the reader", status, 0);
}

/* Idle page tracking. */

/* Not all of memory is tracked: pages elsewhere are kept, and others taken. */
static char *map_tracked(int fd)
{
	char *area;

	do {
		area = ksm_map(TRACKED);
		ksm_fill_unique(area, TRACKED, SEED);
	} while (!ksm_idle_tracked(fd, area, TRACKED));
	ksm_mergeable(area, TRACKED);
	return area;
}

static void set_all_idle(int fd, char *area)
{
	size_t i, idle = 0;

	for (i = 0; i < TRACKED; i++)
		ksm_set_idle(fd, area + i * psize());
	ksm_flush_tlb(area, TRACKED);
	for (i = 0; i < TRACKED; i++)
		idle += ksm_idle(fd, area + i * psize());
	ksm_expect("idle pages", idle, TRACKED);
}

/* All pages are used, and scanned by ksmd. */
static void expect_not_idle(int fd, char *area, uint64_t seed)
{
	size_t i;

	ksm_check_unique(area, TRACKED, seed);
	ksm_passes(10);
	for (i = 0; i < TRACKED; i++)
		ksm_check(!ksm_idle(fd, area + i * psize()),
			  "a page that was used does not count as idle");
}

static void idle_page_tracking(void)
{
	int fd = ksm_open_idle();
	char *area = map_tracked(fd);

	ksm_set("smart_scan", 1);
	ksm_passes(5);
	set_all_idle(fd, area);
	expect_not_idle(fd, area, SEED);
}

/* A private mapping has pages of the file until they are written to. */
static char *map_file(int fd, size_t pages)
{
	char *area = mmap(NULL, pages * psize(), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	ksm_check(area != MAP_FAILED, "mmap of a file");
	return area;
}

static int file_of_pages(size_t pages)
{
	int fd = memfd_create("ksm_young", 0);
	char page[psize()];
	size_t i;

	ksm_check(fd >= 0, "memfd_create");
	for (i = 0; i < pages; i++) {
		ksm_fill(page, SEED + i);
		ksm_check(write(fd, page, psize()) == (ssize_t)psize(), "a file is written");
	}
	return fd;
}

/* Beside pages of the process, which ksmd scans. */
static void file_pages(void)
{
	int fd = ksm_open_idle(), file = file_of_pages(TRACKED + PAGES);
	char *area = map_file(file, TRACKED + PAGES), *own = area + TRACKED * psize();

	ksm_fill_unique(own, PAGES, NEW_SEED);
	ksm_check_unique(area, TRACKED, SEED);
	if (!ksm_idle_tracked(fd, area, TRACKED))
		ksm_skip("the pages of the file are at the end of memory");
	ksm_mergeable(area, TRACKED + PAGES);
	ksm_set("smart_scan", 1);
	ksm_passes(5);
	ksm_expect_figures(0, 0, PAGES);
	set_all_idle(fd, area);
	expect_not_idle(fd, area, SEED);
}

static const struct ksm_case cases[] = {
	{ "an idle huge page is skipped", idle_huge_is_skipped },
	{ "a huge page that is used at one page is scanned", huge_in_use_at_one_page },
	{ "an idle huge page that changes merges soon", huge_that_changes },
	{ "idle pages that their process writes merge soon", changed_by_process },
	{ "idle pages that process_vm_writev writes merge soon", changed_by_writev },
	{ "idle pages that O_DIRECT reads into merge soon", changed_by_direct_read },
	{ "idle page tracking sees what was used", idle_page_tracking },
	{ "idle page tracking sees a file page that was used", file_pages },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
