// SPDX-License-Identifier: GPL-2.0
/*
 * Races between ksmd and a process that uses its memory. No write to a page that is
 * being merged may be lost, new memory must not have old contents, and advice has to
 * take effect at any time. Each case repeats one race for some seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"

#define RACE_MS		4000
#define PAGES		128
#define REPLACED	48
#define LAG		8
#define SEED		0x110000
#define AREAS		4000
#define ADVISED		60
/* Lines of a page. With pages of 4 KiB, they are as long as cache lines. */
#define LINES		64
/* Odd, so that steps of this length visit all pages. */
#define STRIDE		37
/* As many are reserved on each node, so that all of them can move. */
#define HUGE_PAGES	4

/* Processes on one CPU do not race, so ksmd leaves the first CPU to the cases. */
static void part_cpus(void)
{
	cpu_set_t first, others;
	int cpu;

	CPU_ZERO(&first);
	CPU_ZERO(&others);
	CPU_SET(0, &first);
	for (cpu = 1; cpu < CPU_SETSIZE; cpu++)
		CPU_SET(cpu, &others);
	if (ksm_ksmd() && !sched_setaffinity(ksm_ksmd(), sizeof(others), &others))
		sched_setaffinity(0, sizeof(first), &first);
}

static void leave_first_cpu(pid_t pid)
{
	cpu_set_t others;

	memset(&others, 0xff, sizeof(others));
	CPU_CLR(0, &others);
	sched_setaffinity(pid, sizeof(others), &others);
}

static void join_cpus(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	if (ksm_ksmd())
		sched_setaffinity(ksm_ksmd(), sizeof(all), &all);
}

/* What the first word of each page was set to. */
static uint64_t held[PAGES];

static uint64_t *first_word(char *area, size_t page)
{
	return (uint64_t *)(area + page * psize());
}

static void set_word(char *area, size_t page, uint64_t value)
{
	*first_word(area, page) = value;
	held[page] = value;
}

static void check_word(char *area, size_t page)
{
	uint64_t found = __atomic_load_n(first_word(area, page), __ATOMIC_RELAXED);

	if (found != held[page])
		ksm_fail("page %zu holds %llx where %llx was written", page,
			 (unsigned long long)found, (unsigned long long)held[page]);
}

/* Pages that stay shared all the time, for others to be merged with. */
static void keep_shared(uint64_t seed)
{
	char *kept = ksm_merged_area(4, seed);

	ksm_expect("pages that stay merged", ksm_count_merged(kept, 4), 4);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
}

/* Makes equal pages differ, and pages that differ equal. */
static void toggle_words(char *area, uint64_t same, uint64_t other)
{
	size_t i;

	for (i = 0; i < PAGES; i++) {
		check_word(area, i);
		set_word(area, i, held[i] == same ? other + i : same);
	}
}

static void written_while_merged(void)
{
	char *area = ksm_map_mergeable(PAGES);
	long end = ksm_now_ms() + RACE_MS;
	uint64_t same, other;
	size_t i;

	keep_shared(SEED);
	ksm_fill_same(area, PAGES, SEED);
	same = *first_word(area, 0);
	for (i = 0; i < PAGES; i++)
		held[i] = same;
	for (other = 1; ksm_now_ms() < end; other += PAGES)
		toggle_words(area, same, other);
	for (i = 0; i < PAGES; i++) {
		check_word(area, i);
		set_word(area, i, same);
	}
	ksm_check_same(area, PAGES, SEED);
}

/* Memory that is new holds what was written to it, and zeros. */
static void check_new_page(char *area, size_t page)
{
	check_word(area, page);
	if (first_word(area, page)[1])
		ksm_fail("new memory holds what was there before");
}

/* Pages that differ from later ones in a word only, so that ksmd reads whole pages. */
static void keep_alike(uint64_t seed)
{
	char *alike = ksm_map_mergeable(16);
	size_t i;

	ksm_fill_same(alike, 16, seed);
	for (i = 0; i < 16; i++)
		first_word(alike, i)[i * (psize() / 128)]++;
	ksm_settle();
}

/*
 * Replaces one page after the other by a new one. After LAG more pages, ksmd has ended
 * what it may have been doing with the page. Then the page is checked, and gets content
 * that merges again.
 */
static void replaced_while_merged(void)
{
	char *area = ksm_map_mergeable(REPLACED);
	long end = ksm_now_ms() + RACE_MS;
	size_t n, page, then;

	keep_alike(SEED);
	keep_shared(SEED);
	ksm_fill_same(area, REPLACED, SEED);
	for (n = 0; n % REPLACED || ksm_now_ms() < end; n++) {
		page = n % REPLACED;
		madvise(area + page * psize(), psize(), MADV_DONTNEED);
		set_word(area, page, n + 1);
		if (n < LAG)
			continue;
		then = (n - LAG) % REPLACED;
		check_new_page(area, then);
		ksm_fill(area + then * psize(), SEED);
	}
}

/* Many areas, so that a pass takes long to find that none is mergeable. */
static void map_many_areas(void)
{
	char *area = mmap(NULL, AREAS * 2 * psize(), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t i;

	ksm_check(area != MAP_FAILED, "mmap");
	for (i = 0; i < AREAS; i++)
		ksm_check(!mprotect(area + i * 2 * psize(), psize(), PROT_READ),
			  "mprotect of every other page");
}

static bool both_merged(void *area)
{
	return ksm_count_merged(area, 2) == 2;
}

/* Advice comes at every moment of a pass that finds nothing to merge. */
static void advised_while_nothing_found(void)
{
	char *area;
	unsigned int i;

	map_many_areas();
	area = ksm_map(2);
	ksm_fill_same(area, 2, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; i < ADVISED; i++) {
		ksm_mergeable(area, 2);
		if (!ksm_poll(both_merged, area))
			ksm_fail("pages advised %u times are not merged any more", i + 1);
		ksm_unmergeable(area, 2);
		usleep(i % 20 * 500);
	}
}

/* Moves an area from one node to the other until the process is killed. */
static void keep_moving(struct ksm_child *self, void *arg)
{
	char *area = arg;
	int nodes[2], status[4];
	unsigned int i;

	ksm_need_nodes(nodes);
	ksm_child_pause(self);
	for (i = 0;; i++)
		ksm_move_pages(area, 4, nodes[i % 2], MPOL_MF_MOVE_ALL, status);
}

/* A shared page loses and gets mappings while it is migrated. */
static void moved_while_left(void)
{
	char *area = ksm_map_mergeable(PAGES), *kept;
	struct ksm_child child;
	long end;
	size_t i;
	int nodes[2];

	ksm_need_nodes(nodes);
	/* The child has all the mappings as well. */
	ksm_set("max_page_sharing", 4 * PAGES);
	ksm_fill_same(area, PAGES, SEED);
	kept = ksm_merged_area(4, SEED);
	ksm_child_start(&child, keep_moving, kept);
	ksm_child_wait(&child);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	ksm_child_go(&child);
	for (end = ksm_now_ms() + RACE_MS; ksm_now_ms() < end;) {
		for (i = 0; i < PAGES; i++)
			++*first_word(area, i);
		for (i = 0; i < PAGES; i++)
			--*first_word(area, i);
		usleep(2000);
	}
	ksm_child_kill(&child);
	ksm_check_same(area, PAGES, SEED);
	ksm_check_same(kept, 4, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES + 3, 0);
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* Pages of a process that its child moves from node to node. */
struct moved {
	char *area;
	size_t pages;
	size_t page_size;
};

/* Moves pages of the parent that only the parent maps. */
static void keep_moving_parent(struct ksm_child *self, void *arg)
{
	const struct moved *moved = arg;
	int nodes[2], target[PAGES], status[PAGES];
	void *addr[PAGES];
	unsigned int i, page;

	ksm_need_nodes(nodes);
	ksm_child_pause(self);
	for (page = 0; page < moved->pages; page++)
		addr[page] = moved->area + page * moved->page_size;
	for (i = 0;; i++) {
		for (page = 0; page < moved->pages; page++)
			target[page] = nodes[i % 2];
		syscall(SYS_move_pages, getppid(), moved->pages, addr, target, status,
			MPOL_MF_MOVE_ALL);
	}
}

/* Lets PAGEMAP_SCAN report writes to a range. Returns the userfaultfd. */
static int track_writes(char *area, size_t size)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		ksm_skip("writes cannot be tracked here: %s", strerror(errno));
	ksm_check(!uffd_register(fd, area, size, false, true, false),
		  "UFFDIO_REGISTER");
	return fd;
}

/* Counts the pages, in units of the base page, written to since the last call. */
static size_t count_written(char *area, size_t size)
{
	struct page_region regions[PAGES];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
		.start = (uintptr_t)area,
		.end = (uintptr_t)area + size,
		.vec = (uintptr_t)regions,
		.vec_len = PAGES,
		.category_mask = PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_WRITTEN,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY), count;
	size_t pages = 0;

	ksm_check(pagemap >= 0, "/proc/self/pagemap");
	count = ioctl(pagemap, PAGEMAP_SCAN, &scan);
	if (count < 0)
		ksm_fail("PAGEMAP_SCAN: %s", strerror(errno));
	close(pagemap);
	while (count--)
		pages += (regions[count].end - regions[count].start) / psize();
	return pages;
}

/* Writes to pages in rounds, while they are merged and moved. */
static void write_while_moved(char *area, void (*check)(char *area))
{
	struct moved moved = { area, PAGES, psize() };
	struct ksm_child child;
	uint64_t round;
	long end;
	size_t i;

	ksm_child_start(&child, keep_moving_parent, &moved);
	ksm_child_wait(&child);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	ksm_child_go(&child);
	for (round = 1, end = ksm_now_ms() + RACE_MS; ksm_now_ms() < end; round++) {
		for (i = 0; i < PAGES; i++)
			set_word(area, i, round);
		check(area);
		for (i = 0; i < PAGES; i++)
			check_word(area, i);
	}
	ksm_child_kill(&child);
}

static void check_reported(char *area)
{
	const size_t size = PAGES * psize();

	ksm_expect("pages reported that were written to", count_written(area, size), PAGES);
	ksm_expect("pages reported that were not written to", count_written(area, size), 0);
}

/*
 * A page may be migrating or just merged when it is write-protected. Each write is
 * reported once, and nothing else is.
 */
static void tracked_while_moved(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int nodes[2];

	ksm_need_nodes(nodes);
	ksm_fill_same(area, PAGES, SEED);
	track_writes(area, PAGES * psize());
	write_while_moved(area, check_reported);
}

static size_t huge_size(void)
{
	char value[64];

	if (!ksm_field("/proc/meminfo", "Hugepagesize", value, sizeof(value)))
		ksm_skip("there are no huge pages");
	return strtol(value, NULL, 10) * 1024;
}

/* Sets the number of huge pages on each node. */
static bool set_huge_pages(unsigned int count)
{
	char path[128], text[16];
	bool done = true;
	int node;

	snprintf(text, sizeof(text), "%u", count);
	for (node = 0; node < 2; node++) {
		snprintf(path, sizeof(path),
			 "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/nr_hugepages",
			 node, huge_size() / 1024);
		done &= !ksm_write_file(path, text);
	}
	return done;
}

/* Runs at the end of the program. The case cannot free pages that it maps. */
static void free_huge_pages(void)
{
	char value[64];

	if (ksm_field("/proc/meminfo", "HugePages_Total", value, sizeof(value)) &&
	    strtol(value, NULL, 10) == 2 * HUGE_PAGES)
		set_huge_pages(0);
}

static void write_huge_while_moved(struct moved *moved)
{
	const size_t size = moved->pages * moved->page_size;
	struct ksm_child child;
	uint64_t round;
	long end;
	size_t i;

	ksm_child_start(&child, keep_moving_parent, moved);
	ksm_child_wait(&child);
	leave_first_cpu(child.pid);
	ksm_child_go(&child);
	for (round = 1, end = ksm_now_ms() + RACE_MS; ksm_now_ms() < end; round++) {
		for (i = 0; i < moved->pages; i++)
			*(uint64_t *)(moved->area + i * moved->page_size) = round;
		/* A write waits for a migration. Let the next one begin before the scan. */
		usleep(round % 8 * 200);
		ksm_expect("pages reported that were written to",
			   count_written(moved->area, size), size / psize());
		ksm_expect("pages reported that were not written to",
			   count_written(moved->area, size), 0);
	}
	ksm_child_kill(&child);
}

/* The same for hugetlb. ksmd is not involved, so its CPU is left to the child. */
static void huge_tracked_while_moved(void)
{
	struct moved moved = { NULL, HUGE_PAGES, huge_size() };
	const size_t size = HUGE_PAGES * huge_size();
	int nodes[2];

	ksm_need_nodes(nodes);
	if (!set_huge_pages(HUGE_PAGES))
		ksm_skip("the number of huge pages cannot be set");
	moved.area = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (moved.area == MAP_FAILED)
		ksm_skip("there are no huge pages: %s", strerror(errno));
	memset(moved.area, 1, size);
	track_writes(moved.area, size);
	write_huge_while_moved(&moved);
}

/* The marks are cleared for the next round. */
static void check_marked(char *area)
{
	ksm_expect("pages marked that were written to", ksm_count_soft_dirty(area, PAGES),
		   PAGES);
	ksm_clear_soft_dirty();
}

/* Likewise by soft-dirty marks. */
static void soft_dirty_while_moved(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int nodes[2];

	ksm_need_nodes(nodes);
	ksm_fill_same(area, PAGES, SEED);
	if (!ksm_count_soft_dirty(area, PAGES))
		ksm_skip("there are no soft-dirty marks here");
	ksm_clear_soft_dirty();
	write_while_moved(area, check_marked);
}

static void wait_for_pass(void)
{
	long scans = ksm_get("full_scans"), end = ksm_now_ms() + KSM_PATIENCE_MS;

	while (ksm_get("full_scans") == scans)
		if (ksm_now_ms() > end)
			ksm_fail("ksmd does not get to the end of a pass");
}

/* Changes a word in each line, so that the page differs in every part that ksmd reads. */
static void change_lines(char *page)
{
	size_t line;

	for (line = 0; line < LINES; line++)
		++*(uint64_t *)(page + line * (psize() / LINES));
}

static void check_lines(char *page, uint64_t seed)
{
	size_t line;

	for (line = 0; line < LINES; line++)
		--*(uint64_t *)(page + line * (psize() / LINES));
	ksm_check(ksm_holds(page, seed), "a page that was changed holds what was written");
}

static void wait_for_first_merge(void)
{
	long end = ksm_now_ms() + KSM_PATIENCE_MS;

	while (!ksm_get("pages_sharing"))
		if (ksm_now_ms() > end)
			ksm_fail("ksmd merges nothing");
}

/*
 * Pairs of equal pages. While ksmd merges one pair after the other, one page of each pair
 * is changed once: in some pairs the page that ksmd visits first, in others the second.
 * The test takes the pairs in another order than ksmd, so that some pages change while
 * ksmd is merging them. ksmd has to undo what it has done to such a pair.
 */
static void changed_while_made_shared(void)
{
	char *area[2] = { ksm_map_mergeable(PAGES), ksm_map_mergeable(PAGES) };
	long end = ksm_now_ms() + RACE_MS;
	size_t i, page;
	uint64_t seed;

	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (seed = SEED; ksm_now_ms() < end; seed += PAGES) {
		ksm_fill_unique(area[0], PAGES, seed);
		ksm_fill_unique(area[1], PAGES, seed);
		wait_for_first_merge();
		for (i = 0; i < PAGES; i++) {
			change_lines(area[i % 2] + i * STRIDE % PAGES * psize());
			/* This takes about as long as ksmd takes for a page. */
			ksm_get("pages_sharing");
		}
		wait_for_pass();
		wait_for_pass();
		ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
		for (i = 0; i < PAGES; i++) {
			page = i * STRIDE % PAGES;
			check_lines(area[i % 2] + page * psize(), seed + page);
		}
		ksm_check_unique(area[0], PAGES, seed);
		ksm_check_unique(area[1], PAGES, seed);
	}
	ksm_unmerge_all();
	ksm_expect_nothing();
}

/* A PTE reads as none while it is write-protected. ksmd reads one of 64 without a lock. */
static void protected_while_scanned(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct uffdio_writeprotect wp = { .range.len = psize() };
	int fd = track_writes(area, PAGES * psize());
	long end = ksm_now_ms() + RACE_MS;
	unsigned int i;

	wp.range.start = ((uintptr_t)area | (64 * psize() - 1)) + 1;
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	for (i = 0; ksm_now_ms() < end; i++) {
		wp.mode ^= UFFDIO_WRITEPROTECT_MODE_WP;
		ksm_check(!ioctl(fd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
		if (i % 64 == 0)
			ksm_expect("shared pages", ksm_stat(0, "ksm_merging_pages"), PAGES);
	}
}

static const struct ksm_case cases[] = {
	{ "a write while a page is merged is not lost", written_while_merged },
	{ "memory that is new stays new", replaced_while_merged },
	{ "advice while ksmd finds nothing counts", advised_while_nothing_found },
	{ "a page moves while mappings come and go", moved_while_left },
	{ "a page moves while writes to it are tracked", tracked_while_moved },
	{ "a hugetlb page moves while writes to it are tracked", huge_tracked_while_moved },
	{ "a page moves while soft-dirty marks are cleared", soft_dirty_while_moved },
	{ "a page changes while it becomes a shared page", changed_while_made_shared },
	{ "a shared page is write-protected while it is scanned", protected_while_scanned },
};

int main(void)
{
	atexit(join_cpus);
	atexit(free_huge_pages);
	part_cpus();
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
