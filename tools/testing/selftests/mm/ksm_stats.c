// SPDX-License-Identifier: GPL-2.0
/*
 * Each statistic against what /proc/kpageflags, /proc/kpagecount and
 * /proc/PID/pagemap say of the pages themselves.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0xb0000
#define CHUNK		4096

/* Groups of 2, 3, ... 11 pages and 35 pages on their own: 100 in all. */
static char *groups_area(void)
{
	char *area = ksm_map_mergeable(100);
	size_t page = 0;
	unsigned int g;

	for (g = 0; g < 10; g++) {
		ksm_fill_same(area + page * psize(), g + 2, SEED + g);
		page += g + 2;
	}
	ksm_fill_unique(area + page * psize(), 100 - page, SEED + 100 + getpid() * 100UL);
	return area;
}

static void flag_is_exact(void)
{
	char *area = ksm_map_mergeable(20);
	size_t i;

	ksm_fill_same(area, 10, SEED);
	ksm_fill_unique(area + 10 * psize(), 10, SEED + 1);
	ksm_settle();
	for (i = 0; i < 20; i++)
		ksm_expect(i < 10 ? "bit 21 of a shared page" : "bit 21 of a unique page",
			   !!(ksm_pageflags(area + i * psize()) & KPF_KSM_BIT), i < 10);
}

static void distinct_pages(void)
{
	char *area = groups_area();

	ksm_settle();
	ksm_expect("pages_shared", ksm_get("pages_shared"), ksm_distinct_merged(area, 100));
	ksm_expect("mappings of shared pages",
		   ksm_get("pages_shared") + ksm_get("pages_sharing"),
		   ksm_count_merged(area, 100));
	ksm_expect("pages_shared", ksm_get("pages_shared"), 10);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), 55);
}

static void mapcounts(void)
{
	char *area = groups_area();
	size_t page = 0;
	unsigned int g;

	ksm_settle();
	for (g = 0; g < 10; g++) {
		ksm_expect("mappings of a page", ksm_mapcount(area + page * psize()), g + 2);
		page += g + 2;
	}
	ksm_expect("mappings of a unique page", ksm_mapcount(area + page * psize()), 1);
}

struct whole {
	long pages;
	long mappings;
};

static void count_chunk(const uint64_t *flags, const uint64_t *counts, size_t len,
			struct whole *whole)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (!(flags[i] & KPF_KSM_BIT))
			continue;
		whole->pages++;
		whole->mappings += counts[i];
	}
}

/* All KSM pages of the machine, and how often they are mapped. */
static struct whole whole_machine(void)
{
	static uint64_t flags[CHUNK], counts[CHUNK];
	int fd_flags = open("/proc/kpageflags", O_RDONLY);
	int fd_counts = open("/proc/kpagecount", O_RDONLY);
	struct whole whole = { 0 };
	ssize_t len;

	if (fd_flags < 0 || fd_counts < 0)
		ksm_skip("there are no page files in /proc");
	while ((len = read(fd_flags, flags, sizeof(flags))) > 0) {
		ksm_check(read(fd_counts, counts, len) == len,
			  "kpagecount is as long as kpageflags");
		count_chunk(flags, counts, len / sizeof(*flags), &whole);
	}
	close(fd_flags);
	close(fd_counts);
	return whole;
}

static void groups_child(struct ksm_child *self, void *arg)
{
	if (arg)
		prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0);
	groups_area();
	ksm_child_pause(self);
}

static void machine_agrees(bool by_prctl)
{
	struct ksm_child children[3];
	struct whole whole;
	unsigned int i;

	if (!ksm_flag_trusted())
		ksm_skip("bit 21 of kpageflags is set for other pages too");
	for (i = 0; i < 3; i++) {
		ksm_child_start(&children[i], groups_child, by_prctl ? &whole : NULL);
		ksm_child_wait(&children[i]);
	}
	ksm_settle();
	whole = whole_machine();
	ksm_expect("pages_shared against all pages", ksm_get("pages_shared"), whole.pages);
	ksm_expect("mappings of all pages",
		   ksm_get("pages_shared") + ksm_get("pages_sharing"), whole.mappings);
	for (i = 0; i < 3; i++)
		ksm_child_end(&children[i]);
}

static void machine_madvise(void)
{
	machine_agrees(false);
}

static void machine_prctl(void)
{
	machine_agrees(true);
}

static void machine_after_unmerging(void)
{
	if (!ksm_flag_trusted())
		ksm_skip("bit 21 of kpageflags is set for other pages too");
	groups_area();
	ksm_settle();
	ksm_unmerge_all();
	ksm_expect("KSM pages in the machine", whole_machine().pages, 0);
}

static void processes_add_up(void)
{
	struct ksm_child children[3];
	long sum = 0;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		ksm_child_start(&children[i], groups_child, NULL);
		ksm_child_wait(&children[i]);
	}
	ksm_settle();
	ksm_expect_figures(10, 3 * 65 - 10, 3 * 35);
	for (i = 0; i < 3; i++)
		sum += ksm_stat(children[i].pid, "ksm_merging_pages");
	ksm_expect("the processes' ksm_merging_pages together", sum, 3 * 65);
	for (i = 0; i < 3; i++)
		ksm_child_end(&children[i]);
}

static long smaps_kib(const void *addr)
{
	char value[64];

	if (!ksm_smaps(addr, "KSM", value, sizeof(value)))
		ksm_fail("there is no KSM line in smaps");
	return strtol(value, NULL, 10);
}

static void smaps_line(void)
{
	char *area = groups_area();

	ksm_expect("KSM in smaps before", smaps_kib(area), 0);
	ksm_settle();
	ksm_expect("KSM in smaps", smaps_kib(area), 65 * (psize() / 1024));
	ksm_unmerge_all();
	ksm_expect("KSM in smaps after", smaps_kib(area), 0);
}

static void smaps_rollup_line(void)
{
	char value[64];

	groups_area();
	ksm_settle();
	ksm_check(ksm_field("/proc/self/smaps_rollup", "KSM", value, sizeof(value)),
		  "smaps_rollup has a KSM line");
	ksm_expect("KSM in smaps_rollup", strtol(value, NULL, 10), 65 * (psize() / 1024));
}

static void smaps_leaves_zero_pages_out(void)
{
	char *area = ksm_map_mergeable(30);

	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, 10, 0);
	ksm_fill_same(area + 10 * psize(), 20, SEED);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 10);
	ksm_expect("KSM in smaps", smaps_kib(area), 20 * (psize() / 1024));
}

static void vmflag_mg(void)
{
	char *area = ksm_map(4);

	ksm_check(!ksm_vmflag(area, "mg"), "no mg before");
	ksm_mergeable(area, 4);
	ksm_check(ksm_vmflag(area, "mg"), "mg after MADV_MERGEABLE");
	ksm_unmergeable(area, 4);
	ksm_check(!ksm_vmflag(area, "mg"), "no mg after MADV_UNMERGEABLE");
}

/* After each change, the figures match the pages. */
static void follows_changes(void)
{
	char *area = ksm_map_mergeable(60);
	unsigned int i;

	for (i = 0; i < 6; i++) {
		ksm_fill_same(area, 10 * i + 2 > 60 ? 60 : 10 * i + 2, SEED + i);
		ksm_settle();
		ksm_expect("pages_shared", ksm_get("pages_shared"), ksm_distinct_merged(area, 60));
		ksm_expect("mappings", ksm_get("pages_shared") + ksm_get("pages_sharing"),
			   ksm_count_merged(area, 60));
	}
}

static void resident_set_shows_mappings(void)
{
	char *area = groups_area(), before[64], after[64];

	ksm_smaps(area, "Rss", before, sizeof(before));
	ksm_settle();
	ksm_smaps(area, "Rss", after, sizeof(after));
	ksm_check(!strcmp(before, after), "Rss is the same before and after merging");
	ksm_expect("Rss", strtol(after, NULL, 10), 100 * (psize() / 1024));
}

static const struct ksm_case cases[] = {
	{ "bit 21 of kpageflags marks shared pages and no others", flag_is_exact },
	{ "pages_shared is the number of distinct pages", distinct_pages },
	{ "kpagecount says how many share a page", mapcounts },
	{ "all KSM pages of the machine are in the figures", machine_madvise },
	{ "all KSM pages are in the figures, with prctl", machine_prctl },
	{ "no KSM page is left after unmerging", machine_after_unmerging },
	{ "the processes' counts add up", processes_add_up },
	{ "KSM line of smaps", smaps_line },
	{ "KSM line of smaps_rollup", smaps_rollup_line },
	{ "KSM line of smaps leaves zero pages out", smaps_leaves_zero_pages_out },
	{ "mg in VmFlags", vmflag_mg },
	{ "figures follow changes", follows_changes },
	{ "Rss counts mappings", resident_set_shows_mappings },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
