// SPDX-License-Identifier: GPL-2.0
/*
 * With smart_scan, ksmd reads and clears accessed bits, to skip pages that nobody uses.
 * A page that changes is scanned soon, and the bits are not lost to others.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x70c900
#define NEW_SEED	0x70d900
#define PAGES		64
/* Passes after which all that is idle is skipped for longest. */
#define QUIET		70
/* Passes in which a changed page has to be merged. */
#define SOON		8
#define TRACKED		20
#define KPF_REFERENCED_BIT	BIT_ULL(2)

/* Huge pages. */

static char *huge_area(unsigned int count)
{
	size_t pages = ksm_huge_pages();
	char *area = ksm_map_huge(count);

	ksm_fill_unique(area, count * pages, SEED);
	if (ksm_count_flag(area, count * pages, KPF_THP_BIT) != count * pages)
		ksm_skip("no huge pages could be allocated");
	ksm_mergeable(area, count * pages);
	return area;
}

static void some_passes(unsigned int count)
{
	while (count--)
		ksm_one_pass();
}

static void quiet_passes(void)
{
	ksm_set("smart_scan", 1);
	some_passes(QUIET);
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
	size_t pages = ksm_huge_pages();
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
	size_t pages = ksm_huge_pages();
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
	size_t pages = ksm_huge_pages();
	char *area = huge_area(2);

	quiet_passes();
	ksm_flush_tlb(area, 2 * pages);
	ksm_fill_unique(area, pages, NEW_SEED);
	ksm_fill_unique(area + pages * psize(), pages, NEW_SEED);
	expect_merged_soon(pages);
	ksm_check_unique(area, pages, NEW_SEED);
	ksm_check_unique(area + pages * psize(), pages, NEW_SEED);
}

/* Pages that change, with an accessed bit and without. */

/**
 * struct contents - what is written to pages, and is on the disk in this order
 * @new: what they change to
 * @old: what they hold before, all unique
 */
struct contents {
	char *new;
	char *old;
};

#define DISK_PAGES	(3 * PAGES)

static struct contents contents;

static void make_contents(void)
{
	contents.new = ksm_map(DISK_PAGES);
	contents.old = contents.new + PAGES * psize();
	ksm_fill_unique(contents.new, PAGES, NEW_SEED);
	ksm_fill_unique(contents.old, 2 * PAGES, SEED);
}

static void written(char *area, char *content, size_t pages)
{
	ksm_flush_tlb(area, pages);
	memcpy(area, content, pages * psize());
}

static void written_by_writev(char *area, char *content, size_t pages)
{
	struct iovec from = { content, pages * psize() }, to = { area, pages * psize() };

	if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != (ssize_t)(pages * psize()))
		ksm_skip("process_vm_writev does not work here");
}

static const char *disk;

static void read_directly(char *area, char *content, size_t pages)
{
	int fd = open(disk, O_RDONLY | O_DIRECT);

	ksm_check(fd >= 0, "the disk can be opened");
	ksm_check(pread(fd, area, pages * psize(), content - contents.new) ==
		  (ssize_t)(pages * psize()), "the disk can be read");
	close(fd);
}

/**
 * struct changes - how pages change
 * @change: what changes them
 * @before: how often it wrote them before, without changing them
 */
struct changes {
	void (*change)(char *area, char *content, size_t pages);
	unsigned int before;
};

static char *quiet_area(const struct changes *how)
{
	char *area = ksm_map_mergeable(2 * PAGES);
	unsigned int i;

	ksm_fill_unique(area, 2 * PAGES, SEED);
	for (i = 0; i < how->before; i++)
		how->change(area, contents.old, 2 * PAGES);
	quiet_passes();
	ksm_expect_figures(0, 0, 2 * PAGES);
	return area;
}

static void expect_new_content(char *area)
{
	expect_merged_soon(PAGES);
	ksm_check_unique(area, PAGES, NEW_SEED);
	ksm_check_unique(area + PAGES * psize(), PAGES, NEW_SEED);
}

/* Unique pages are quiet for long, then two of each have the same new content. */
static void changes(const struct changes *how)
{
	char *area = quiet_area(how);

	how->change(area, contents.new, PAGES);
	how->change(area + PAGES * psize(), contents.new, PAGES);
	expect_new_content(area);
}

static void changed_by_process(void)
{
	make_contents();
	changes(&(struct changes){ .change = written });
}

static void changed_by_writev(void)
{
	make_contents();
	changes(&(struct changes){ .change = written_by_writev });
}

static void changed_by_writev_again(void)
{
	make_contents();
	changes(&(struct changes){ .change = written_by_writev, .before = 1 });
}

static void changed_by_writev_twice(void)
{
	make_contents();
	changes(&(struct changes){ .change = written_by_writev, .before = 2 });
}

static void changed_by_writev_often(void)
{
	make_contents();
	changes(&(struct changes){ .change = written_by_writev, .before = 5 });
}

/* Has PTEs map a huge page. */
static void map_by_ptes(char *area)
{
	mprotect(area, psize(), PROT_READ);
	mprotect(area, psize(), PROT_READ | PROT_WRITE);
}

/* Some pages of two huge pages change, but not the first ones. */
static void huge_area_changes(const struct changes *how, char *area)
{
	size_t pages = ksm_huge_pages();
	char *one = area + PAGES * psize(), *two = one + pages * psize();

	quiet_passes();
	ksm_expect("pages in huge pages", ksm_count_flag(area, 2 * pages, KPF_THP_BIT),
		   2 * pages);
	how->change(one, contents.new, PAGES);
	how->change(two, contents.new, PAGES);
	expect_merged_soon(PAGES);
	ksm_check_unique(one, PAGES, NEW_SEED);
	ksm_check_unique(two, PAGES, NEW_SEED);
}

static void huge_changes(const struct changes *how)
{
	huge_area_changes(how, huge_area(2));
}

static void mapped_by_ptes_changes(const struct changes *how)
{
	char *area = huge_area(2);

	map_by_ptes(area);
	map_by_ptes(area + ksm_huge_pages() * psize());
	huge_area_changes(how, area);
}

static void huge_changed_by_writev(void)
{
	make_contents();
	huge_changes(&(struct changes){ .change = written_by_writev });
}

/* Pages that the kernel wrote and that are idle since. */

static char *written_area(unsigned int before)
{
	make_contents();
	return quiet_area(&(struct changes){ .change = written_by_writev, .before = before });
}

static void written_idle_is_skipped(void)
{
	char *area = written_area(5);
	long scanned = scanned_per_pass(area, 2 * PAGES, NULL);

	ksft_print_msg("%ld pages a pass\n", scanned);
	ksm_check(scanned <= 2 * PAGES / 16, "idle pages that the kernel wrote are skipped");
}

/* Reclaim uses this mark to tell which pages were used. */
static void referenced_stays(void)
{
	char *area = written_area(0);

	written_by_writev(area, contents.old, 2 * PAGES);
	ksm_expect("referenced pages", ksm_count_flag(area, 2 * PAGES, KPF_REFERENCED_BIT),
		   2 * PAGES);
	some_passes(2 * SOON);
	ksm_expect("referenced pages", ksm_count_flag(area, 2 * PAGES, KPF_REFERENCED_BIT),
		   2 * PAGES);
}

/* ksmd takes the mark that the kernel wrote a page. It is written to swap all the same. */
static void written_goes_to_swap(void)
{
	char *area;

	ksm_need_reclaim();
	area = written_area(1);
	ksm_check(ksm_reclaim(area, 2 * PAGES), "the pages are swapped out");
	ksm_check_unique(area, 2 * PAGES, SEED);
	some_passes(2);
	written_by_writev(area, contents.new, PAGES);
	some_passes(SOON);
	ksm_check(ksm_reclaim(area, 2 * PAGES), "the pages are swapped out again");
	ksm_check_unique(area, PAGES, NEW_SEED);
	ksm_check_unique(area + PAGES * psize(), PAGES, SEED + PAGES);
}

/**
 * struct slow - a write of the kernel that takes long
 * @to: the page
 * @from: where the new content appears later
 * @written: the result
 */
struct slow {
	char *to;
	char *from;
	ssize_t written;
};

static void *write_slowly(void *arg)
{
	struct slow *slow = arg;
	struct iovec from = { slow->from, psize() }, to = { slow->to, psize() };

	slow->written = process_vm_writev(getpid(), &from, 1, &to, 1, 0);
	return NULL;
}

/* Returns a userfaultfd that has the writer wait at the missing page. */
static int hold(char *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register args = {
		.range = { (uintptr_t)page, psize() },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &args))
		ksm_skip("there is no userfaultfd here");
	return fd;
}

/* The kernel has a reference to the page, then come some passes, and then it writes. */
static void written_late(void)
{
	char *area = written_area(0), *page = ksm_map(1);
	struct slow slow = { .to = area, .from = page };
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page, .src = (uintptr_t)contents.new, .len = psize(),
	};
	struct uffd_msg msg;
	int fd = hold(page);
	pthread_t thread;

	written_by_writev(area + psize(), contents.new, 1);
	ksm_check(!pthread_create(&thread, NULL, write_slowly, &slow), "pthread_create");
	ksm_check(read(fd, &msg, sizeof(msg)) == sizeof(msg), "the kernel is about to write");
	some_passes(2 * SOON);
	ksm_check(!ioctl(fd, UFFDIO_COPY, &copy), "UFFDIO_COPY");
	pthread_join(thread, NULL);
	ksm_expect("bytes written", slow.written, psize());
	expect_merged_soon(1);
	ksm_check(ksm_holds(area, NEW_SEED) && ksm_holds(area + psize(), NEW_SEED),
		  "both pages hold the new content");
}

/* Pages that a disk is read into. */

/* A new zram device. Returns its number. */
static int make_disk(void)
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
	ksm_check(fd >= 0 && pwrite(fd, contents.new, DISK_PAGES * psize(), 0) ==
		  (ssize_t)(DISK_PAGES * psize()) && !fsync(fd), "the disk can be written");
	close(fd);
	disk = path;
	return number;
}

/**
 * struct reader - a process that a disk is read into
 * @run: what it does
 * @how: how its pages change
 */
struct reader {
	void (*run)(const struct changes *how);
	struct changes how;
};

static void disk_reader(struct ksm_child *self, void *arg)
{
	const struct reader *reader = arg;

	(void)self;
	reader->run(&reader->how);
}

/* The disk has to be removed if the test fails, too. */
static void read_from_disk(void (*run)(const struct changes *how), unsigned int before)
{
	struct reader reader = { run, { .change = read_directly, .before = before } };
	char text[KSM_TEXT];
	struct ksm_child child;
	int number, status;

	make_contents();
	number = make_disk();
	ksm_child_start(&child, disk_reader, &reader);
	ksm_check(waitpid(child.pid, &status, 0) == child.pid, "waitpid");
	snprintf(text, sizeof(text), "%d", number);
	ksm_check(!ksm_write_file("/sys/class/zram-control/hot_remove", text),
		  "the disk can be removed");
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		exit(KSFT_SKIP);
	ksm_expect("status of the reader", status, 0);
}

static void changed_by_direct_read(void)
{
	read_from_disk(changes, 0);
}

static void changed_by_direct_read_again(void)
{
	read_from_disk(changes, 1);
}

static void changed_by_direct_read_often(void)
{
	read_from_disk(changes, 5);
}

static void huge_changed_by_direct_read(void)
{
	read_from_disk(huge_changes, 0);
}

static void mapped_by_ptes_changed_by_direct_read(void)
{
	read_from_disk(mapped_by_ptes_changes, 0);
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

/* As map_tracked(), with pages of a file, and PAGES more that need not be tracked. */
static char *map_tracked_file(int fd)
{
	char *area;

	do {
		area = map_file(file_of_pages(TRACKED + PAGES), TRACKED + PAGES);
		ksm_check_unique(area, TRACKED, SEED);
	} while (!ksm_idle_tracked(fd, area, TRACKED));
	return area;
}

/* Beside pages of the process, which ksmd scans. */
static void file_pages(void)
{
	int fd = ksm_open_idle();
	char *area = map_tracked_file(fd), *own = area + TRACKED * psize();

	ksm_fill_unique(own, PAGES, NEW_SEED);
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
	{ "idle pages that process_vm_writev wrote once before", changed_by_writev_again },
	{ "idle pages that process_vm_writev wrote twice before", changed_by_writev_twice },
	{ "idle pages that process_vm_writev wrote often before", changed_by_writev_often },
	{ "an idle huge page that process_vm_writev writes merges soon", huge_changed_by_writev },
	{ "idle pages that O_DIRECT reads into merge soon", changed_by_direct_read },
	{ "idle pages that O_DIRECT read into once before", changed_by_direct_read_again },
	{ "idle pages that O_DIRECT read into often before", changed_by_direct_read_often },
	{ "an idle huge page that O_DIRECT reads into merges soon", huge_changed_by_direct_read },
	{ "pages of a huge page that PTEs map and O_DIRECT reads into merge soon",
	  mapped_by_ptes_changed_by_direct_read },
	{ "a page that the kernel writes long after it took a reference", written_late },
	{ "idle pages that the kernel wrote are skipped", written_idle_is_skipped },
	{ "pages that the kernel wrote stay referenced", referenced_stays },
	{ "pages that the kernel wrote keep their content in swap", written_goes_to_swap },
	{ "idle page tracking sees what was used", idle_page_tracking },
	{ "idle page tracking sees a file page that was used", file_pages },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
