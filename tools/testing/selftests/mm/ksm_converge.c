// SPDX-License-Identifier: GPL-2.0
/*
 * Convergence is exact: once full_scans has gone up by three over memory that
 * does not change, the figures are the true counts, whatever the pages hold
 * and however they are spread over processes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ksm_common.h"

#define WORDS		(psize() / sizeof(uint64_t))
#define SEED_GROUP	0x1000
#define SEED_UNIQUE	0x100000
#define NR_CHILDREN	4
/* Nice values of ksmd that it chooses itself. */
#define NICE_AUTOMATIC	6
#define NICE_RAISED	(-19)

static uint64_t *page_words(char *area, size_t page)
{
	return (uint64_t *)(area + page * psize());
}

/* Group g has g + 2 pages, so that all groups have different sizes. */
static size_t fill_groups(char *area, unsigned int groups)
{
	size_t page = 0;
	unsigned int g;

	for (g = 0; g < groups; g++) {
		ksm_fill_same(area + page * psize(), g + 2, SEED_GROUP + g);
		page += g + 2;
	}
	return page;
}

static void check_groups(const char *area, unsigned int groups)
{
	size_t page = 0;
	unsigned int g;

	for (g = 0; g < groups; g++) {
		ksm_check_same(area + page * psize(), g + 2, SEED_GROUP + g);
		page += g + 2;
	}
}

static void mixture(void)
{
	char *area = ksm_map_mergeable(400);
	size_t grouped = fill_groups(area, 20), unique = 400 - grouped;

	ksm_fill_unique(area + grouped * psize(), unique, SEED_UNIQUE);
	ksm_settle();
	ksm_expect_figures(20, grouped - 20, unique);
	check_groups(area, 20);
	ksm_check_unique(area + grouped * psize(), unique, SEED_UNIQUE);
}

static void only_unique(void)
{
	char *area = ksm_map_mergeable(2000);

	ksm_fill_unique(area, 2000, SEED_UNIQUE);
	ksm_settle();
	ksm_expect_figures(0, 0, 2000);
	ksm_check_unique(area, 2000, SEED_UNIQUE);
}

static void zero_pages(void)
{
	char *area = ksm_map_mergeable(64);

	ksm_fill_same(area, 64, 0);
	ksm_settle();
	ksm_expect_figures(1, 63, 0);
	ksm_check_same(area, 64, 0);
}

static void single_pair_far_apart(void)
{
	char *area = ksm_map_mergeable(1000);

	ksm_fill_unique(area, 1000, SEED_UNIQUE);
	ksm_fill(area + 999 * psize(), SEED_UNIQUE);
	ksm_settle();
	ksm_expect_figures(1, 1, 998);
	ksm_check(ksm_pfn(area) == ksm_pfn(area + 999 * psize()),
		  "the pair shares one page");
}

/* Each child: 10 groups common to all, 50 pages only it has. */
static void converge_child(struct ksm_child *self, void *arg)
{
	uint64_t own = SEED_UNIQUE + 1000 * (uintptr_t)arg;
	char *area = ksm_map_mergeable(200);
	size_t grouped = fill_groups(area, 10);
	char *rest = area + grouped * psize();

	ksm_fill_unique(rest, 50, own);
	ksm_child_pause(self);
	check_groups(area, 10);
	ksm_check_unique(rest, 50, own);
}

static void start_children(struct ksm_child *children)
{
	uintptr_t i;

	for (i = 0; i < NR_CHILDREN; i++) {
		ksm_child_start(&children[i], converge_child, (void *)i);
		ksm_child_wait(&children[i]);
	}
}

static void end_children(struct ksm_child *children)
{
	unsigned int i;

	for (i = 0; i < NR_CHILDREN; i++)
		ksm_child_end(&children[i]);
}

/* The groups of a child have 2 + 3 + ... + 11 = 65 pages. */
static void several_processes(void)
{
	struct ksm_child children[NR_CHILDREN];

	start_children(children);
	ksm_settle();
	ksm_expect_figures(10, NR_CHILDREN * 65 - 10, NR_CHILDREN * 50);
	end_children(children);
}

static void earlier_child(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(300);

	(void)arg;
	ksm_fill_unique(area, 300, SEED_UNIQUE + 100000);
	ksm_child_pause(self);
	ksm_check_unique(area, 300, SEED_UNIQUE + 100000);
}

static void arrives_while_scanning(void)
{
	struct ksm_child earlier, children[NR_CHILDREN];

	ksm_child_start(&earlier, earlier_child, NULL);
	ksm_child_wait(&earlier);
	ksm_passes(1);
	ksm_set("run", 1);
	start_children(children);
	ksm_settle();
	ksm_expect_figures(10, NR_CHILDREN * 65 - 10, NR_CHILDREN * 50 + 300);
	end_children(children);
	ksm_child_end(&earlier);
}

static void small_batches(void)
{
	char *area = ksm_map_mergeable(100);
	size_t grouped = fill_groups(area, 8);

	ksm_fill_unique(area + grouped * psize(), 100 - grouped, SEED_UNIQUE);
	ksm_set("pages_to_scan", 7);
	ksm_set("sleep_millisecs", 0);
	ksm_settle();
	ksm_expect_figures(8, grouped - 8, 100 - grouped);
}

/* The figures count all memory of the process, so only the area is checked. */
static void prctl_child(struct ksm_child *self, void *arg)
{
	char *area;

	(void)arg;
	ksm_check(!prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0), "PR_SET_MEMORY_MERGE");
	area = ksm_map(100);
	ksm_fill_same(area, 40, SEED_GROUP);
	ksm_fill_unique(area + 40 * psize(), 60, SEED_UNIQUE + 1000 * getpid());
	ksm_child_pause(self);
	ksm_expect("merged pages", ksm_count_merged(area, 100), 40);
	ksm_expect("pages merged into", ksm_distinct_merged(area, 40), 1);
	ksm_check_same(area, 40, SEED_GROUP);
	ksm_check_unique(area + 40 * psize(), 60, SEED_UNIQUE + 1000 * getpid());
}

static void prctl_processes(void)
{
	struct ksm_child children[NR_CHILDREN];
	unsigned int i;

	for (i = 0; i < NR_CHILDREN; i++) {
		ksm_child_start(&children[i], prctl_child, NULL);
		ksm_child_wait(&children[i]);
	}
	ksm_settle();
	end_children(children);
}

/* Pages equal but for one word, whose place in page i is @place(i). */
static void one_word_apart(size_t pages, size_t (*place)(size_t page))
{
	char *area = ksm_map_mergeable(pages);
	size_t i;

	ksm_fill_same(area, pages, SEED_GROUP);
	for (i = 0; i < pages; i++)
		page_words(area, i)[place(i)] = SEED_UNIQUE + i;
	ksm_settle();
	ksm_expect_figures(0, 0, pages);
	for (i = 0; i < pages; i++)
		ksm_check(page_words(area, i)[place(i)] == SEED_UNIQUE + i,
			  "the word in which the pages differ is as written");
}

static size_t first_word(size_t page)
{
	(void)page;
	return 0;
}

static size_t last_word(size_t page)
{
	(void)page;
	return WORDS - 1;
}

/* Every place mod 64, each time in another block of 64 words. */
static size_t walking_word(size_t page)
{
	return (page % 64 + 64 * (page / 64 + page)) % WORDS;
}

static void differ_first(void)
{
	one_word_apart(300, first_word);
}

static void differ_last(void)
{
	one_word_apart(300, last_word);
}

static void differ_walking(void)
{
	one_word_apart(256, walking_word);
}

/* Two of each: page w and its duplicate have one bit of word w flipped. */
static void one_bit_each_word(void)
{
	size_t i, words = WORDS;
	char *area = ksm_map_mergeable(2 * words);

	ksm_fill_same(area, 2 * words, SEED_GROUP);
	for (i = 0; i < 2 * words; i++)
		page_words(area, i)[i % words] ^= 1ULL << (i % words % 64);
	ksm_settle();
	ksm_expect_figures(words, words, 0);
	for (i = 0; i < words; i++)
		ksm_check(ksm_pfn(area + i * psize()) ==
			  ksm_pfn(area + (i + words) * psize()),
			  "each page is merged with its duplicate");
}

static void differ_last_in_twos(void)
{
	char *area = ksm_map_mergeable(400);
	size_t i;

	ksm_fill_same(area, 400, 0);
	for (i = 0; i < 400; i++)
		page_words(area, i)[WORDS - 1] = i / 2 + 1;
	ksm_settle();
	ksm_expect_figures(200, 200, 0);
}

/* Pages that have changed merge by their new content. */
static void changes_then_settles(void)
{
	char *area = ksm_map_mergeable(300);

	ksm_fill_same(area, 100, SEED_GROUP);
	ksm_fill_unique(area + 100 * psize(), 200, SEED_UNIQUE);
	ksm_settle();
	ksm_expect_figures(1, 99, 200);
	ksm_fill_unique(area, 50, SEED_UNIQUE + 1000);
	ksm_fill_same(area + 200 * psize(), 100, SEED_GROUP + 1);
	ksm_settle();
	ksm_expect_figures(2, 49 + 99, 150);
	ksm_check_unique(area, 50, SEED_UNIQUE + 1000);
	ksm_check_same(area + 50 * psize(), 50, SEED_GROUP);
	ksm_check_same(area + 200 * psize(), 100, SEED_GROUP + 1);
}

/* A page written between two passes may not be merged by its old content. */
static void changes_between_passes(void)
{
	char *area = ksm_map_mergeable(100);
	unsigned int round;

	for (round = 0; round < 6; round++) {
		ksm_fill_unique(area, 100, SEED_UNIQUE + 100 * round);
		ksm_passes(1);
	}
	ksm_fill_same(area, 100, SEED_UNIQUE);
	ksm_settle();
	ksm_expect_figures(1, 99, 0);
	ksm_check_same(area, 100, SEED_UNIQUE);
}

static void stays_so(void)
{
	char *area = ksm_map_mergeable(200);
	size_t grouped = fill_groups(area, 10);

	ksm_fill_unique(area + grouped * psize(), 200 - grouped, SEED_UNIQUE);
	ksm_passes(20);
	ksm_expect_figures(10, grouped - 10, 200 - grouped);
}

static void smart_scan_converges(void)
{
	char *area = ksm_map_mergeable(400);
	size_t grouped = fill_groups(area, 20);

	ksm_set("smart_scan", 1);
	ksm_fill_unique(area + grouped * psize(), 400 - grouped, SEED_UNIQUE);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", grouped - 20),
		  "with smart_scan all duplicates merge");
	ksm_expect("pages_shared", ksm_get("pages_shared"), 20);
	check_groups(area, 20);
}

/* Pages that were unique for many passes get duplicates. */
static void smart_scan_late_duplicates(void)
{
	char *area = ksm_map_mergeable(200);

	ksm_set("smart_scan", 1);
	ksm_fill_unique(area, 100, SEED_UNIQUE);
	ksm_passes(30);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 0);
	ksm_fill_unique(area + 100 * psize(), 100, SEED_UNIQUE);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", 100),
		  "pages that ksmd skips merge once they have duplicates");
	ksm_check_unique(area, 100, SEED_UNIQUE);
	ksm_check_unique(area + 100 * psize(), 100, SEED_UNIQUE);
}

/* Late pages that differ in one word from a page that is shared already. */
static void differ_from_shared(void)
{
	char *shared = ksm_map_mergeable(2), *late = ksm_map_mergeable(32);
	size_t i, apart = WORDS / 32;

	ksm_fill_same(shared, 2, SEED_GROUP);
	ksm_settle();
	ksm_expect_figures(1, 1, 0);
	ksm_fill_same(late, 32, SEED_GROUP);
	for (i = 0; i < 32; i++)
		page_words(late, i)[i * apart] = SEED_UNIQUE + i;
	ksm_settle();
	ksm_expect_figures(1, 1, 32);
	for (i = 0; i < 32; i++)
		ksm_check(page_words(late, i)[i * apart] == SEED_UNIQUE + i,
			  "the word in which the pages differ is as written");
	ksm_check_same(shared, 2, SEED_GROUP);
}

/* The pause after a pass is ten times as long as the pass. Allow some work besides. */
static void backs_off(void)
{
	char *area = ksm_map_mergeable(8192);
	long busy, start;

	ksm_fill_unique(area, 8192, SEED_UNIQUE);
	ksm_set("smart_scan", 0);
	ksm_set("pages_to_scan", 100000);
	ksm_set("sleep_millisecs", 1);
	ksm_passes(6);
	ksm_set("run", 1);
	busy = ksm_ksmd_ms();
	start = ksm_now_ms();
	usleep(3000000);
	busy = ksm_ksmd_ms() - busy;
	ksm_check(busy * 5 < ksm_now_ms() - start, "ksmd takes less than a fifth of a CPU");
}

static long mem_kib(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	char line[128];
	long kib = -1;

	ksm_check(file, "/proc/meminfo");
	while (kib < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, strlen(name)))
			kib = atol(line + strlen(name));
	fclose(file);
	ksm_check(kib >= 0, name);
	return kib;
}

/*
 * Leaves a sixth of memory available. ksmd hurries if it is less than a quarter. Huge
 * pages save time on a kernel that checks each page.
 */
static char *take_memory(size_t *length)
{
	long all = mem_kib("MemTotal:"), available = mem_kib("MemAvailable:");
	char *area;

	*length = (available - all / 6) * 1024;
	area = mmap(NULL, *length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ksm_check(area != MAP_FAILED, "there is room for most of memory");
	madvise(area, *length, MADV_HUGEPAGE);
	madvise(area, *length, MADV_POPULATE_WRITE);
	ksm_check(mem_kib("MemAvailable:") < all / 4, "memory is short");
	return area;
}

static bool ksmd_has_nice(void *nice)
{
	return getpriority(PRIO_PROCESS, ksm_ksmd()) == *(int *)nice;
}

static void expect_nice(int nice, const char *when)
{
	ksm_check(ksm_poll(ksmd_has_nice, &nice), when);
}

/*
 * ksmd keeps a nice value that it was given while memory is short.  It is started once it
 * has the value.  The value that hands control back is set before a check fails, because
 * ksmd would otherwise keep the other one for all tests that follow.
 */
static void stays_reniced(int given)
{
	long passes = ksm_get("full_scans"), end = ksm_now_ms() + KSM_PATIENCE_MS;
	int nice;

	if (setpriority(PRIO_PROCESS, ksm_ksmd(), given))
		ksm_skip("ksmd can be reniced by root only");
	ksm_set("run", 1);
	while (ksm_get("full_scans") < passes + 2 && ksm_now_ms() < end)
		usleep(1000);
	passes = ksm_get("full_scans") - passes;
	nice = getpriority(PRIO_PROCESS, ksm_ksmd());
	setpriority(PRIO_PROCESS, ksm_ksmd(), NICE_AUTOMATIC);
	ksm_check(passes >= 2, "ksmd continues while memory is short");
	ksm_expect("nice of ksmd", nice, given);
}

static void hurries(void)
{
	static const int given[] = { 3, 5, 19, -20, -5 };
	unsigned int i;
	char *taken;
	size_t length;

	ksm_fill_unique(ksm_map_mergeable(64), 64, SEED_UNIQUE);
	ksm_set("sleep_millisecs", 1);
	ksm_set("run", 1);
	expect_nice(NICE_AUTOMATIC, "ksmd has low priority while there is memory");
	/* It is stopped until it is reniced, so that it cannot raise its priority before. */
	ksm_stop();
	taken = take_memory(&length);
	for (i = 0; i < ARRAY_SIZE(given); i++)
		stays_reniced(given[i]);
	expect_nice(NICE_RAISED, "ksmd has high priority while memory is short");
	munmap(taken, length);
	expect_nice(NICE_AUTOMATIC, "ksmd has low priority again");
}

static const struct ksm_case cases[] = {
	{ "groups and unique pages in one process", mixture },
	{ "unique pages alone", only_unique },
	{ "pages of zeros merge like others", zero_pages },
	{ "one pair among a thousand", single_pair_far_apart },
	{ "groups across processes", several_processes },
	{ "memory that comes while ksmd is at work", arrives_while_scanning },
	{ "batches smaller than a pass", small_batches },
	{ "processes made mergeable by prctl", prctl_processes },
	{ "pages that differ in their first 8 bytes", differ_first },
	{ "pages that differ in their last 8 bytes", differ_last },
	{ "pages that differ in one word anywhere", differ_walking },
	{ "a bit of every word tells pages apart", one_bit_each_word },
	{ "pairs that differ from others in the last word", differ_last_in_twos },
	{ "late pages that differ in one word from a shared one", differ_from_shared },
	{ "new content is counted anew", changes_then_settles },
	{ "pages that change at every pass merge once they stop", changes_between_passes },
	{ "figures stay exact over many passes", stays_so },
	{ "smart_scan merges all duplicates too", smart_scan_converges },
	{ "smart_scan finds late duplicates of old pages", smart_scan_late_duplicates },
	{ "ksmd backs off while nothing changes", backs_off },
	{ "ksmd hurries while memory is short, unless reniced", hurries },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
