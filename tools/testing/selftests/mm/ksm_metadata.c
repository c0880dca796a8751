// SPDX-License-Identifier: GPL-2.0
/*
 * What KSM itself needs memory for: it is given back when pages go, and it is charged
 * to the memory cgroup of the pages. A cgroup at its limit does not suffer for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x3e7a000
/* Pages whose records are allocated together, and bytes of a record. */
#define LEAF		64
#define RECORD		16
/* Bytes of a bucket of the index, which is for two pages. */
#define BUCKET		8
#define FEW		100
/* The records of this many pages take more memory than a cgroup is charged in advance. */
#define NEW_PAGES	20000
/* Much less than the time of a pass over them without memory. */
#define SHORT_US	4000000
/* The kernel brings memory.stat up to date every two seconds. */
#define STAT_US		3000000

#define MANY		16384
#define PAIRS		512

/* Nothing is merged, so the profit of the process is what its records cost. */
static long record_bytes(void)
{
	return -ksm_stat(0, "ksm_process_profit");
}

static char *aligned_area(void)
{
	const size_t size = LEAF * psize();
	char *area = ksm_map(2 * LEAF);

	area += -(uintptr_t)area % size;
	ksm_mergeable(area, LEAF);
	return area;
}

/* All pages go, except for one. */
static void leaf_shrinks(size_t kept)
{
	char *area = aligned_area();
	size_t i;

	ksm_fill_unique(area, LEAF, SEED);
	ksm_settle();
	ksm_check(record_bytes() >= LEAF * RECORD, "each page has a record");
	for (i = 0; i < LEAF; i++)
		if (i != kept)
			madvise(area + i * psize(), psize(), MADV_DONTNEED);
	ksm_passes(2);
	ksm_expect_figures(0, 0, 1);
	if (record_bytes() >= FEW)
		ksm_fail("the records of a page take %ld bytes", record_bytes());
	ksm_check(ksm_holds(area + kept * psize(), SEED + kept), "the page is unchanged");
	munmap(area, LEAF * psize());
	ksm_unmerge_all();
}

static void leaves_shrink(void)
{
	leaf_shrinks(0);
	leaf_shrinks(17);
	leaf_shrinks(LEAF - 1);
}

static void leaves_shrink_smart(void)
{
	ksm_set("smart_scan", 1);
	leaves_shrink();
}

static void leaf_goes(void)
{
	char *area = aligned_area();

	ksm_fill_unique(area, LEAF, SEED);
	ksm_settle();
	madvise(area, LEAF * psize(), MADV_DONTNEED);
	ksm_passes(2);
	ksm_expect("bytes", record_bytes(), 0);
}

/* Cgroups. The child is a member, and the case is not. */

static long group_figure(const char *file, const char *name)
{
	char path[128], value[KSM_TEXT];

	snprintf(path, sizeof(path), KSM_CGROUP "%s", file);
	if (!ksm_field(path, name, value, sizeof(value)))
		ksm_skip("there is no %s in %s", name, file);
	return strtol(value, NULL, 10);
}

static long slab_bytes(void)
{
	return group_figure("memory.stat", "slab_unreclaimable");
}

/* Each CPU collects the charges of a cgroup until they make up a page. */
static long unseen_bytes(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) * psize();
}

static bool charged_for(void *arg)
{
	return slab_bytes() >= *(long *)arg;
}

static bool charged_no_more(void *arg)
{
	return slab_bytes() < *(long *)arg;
}

static void unique_member(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(MANY);

	(void)arg;
	ksm_enter_cgroup();
	ksm_fill_unique(area, MANY, SEED);
	ksm_child_pause(self);
	/* A pass needs a page to scan. */
	munmap(area + psize(), (MANY - 1) * psize());
	ksm_child_pause(self);
}

/* Nothing is merged, so the profit is what the records, the index and the filter cost. */
static void charged_to_group(void)
{
	struct ksm_child child;
	long before, least, cost;

	ksm_need_cgroup();
	ksm_child_start(&child, unique_member, NULL);
	ksm_child_wait(&child);
	usleep(STAT_US);
	before = slab_bytes();
	ksm_settle();
	ksm_expect_figures(0, 0, MANY);
	cost = -ksm_get("general_profit");
	ksm_check(cost >= MANY * (RECORD + BUCKET / 2), "each page costs memory");
	least = before + cost - unseen_bytes();
	if (!ksm_poll(charged_for, &least))
		ksm_fail("the cgroup is charged for %ld of the %ld bytes that its pages cost",
			 slab_bytes() - before, cost);
	ksm_child_step(&child);
	ksm_passes(2);
	ksm_check(ksm_poll(charged_no_more, &least), "the charge goes with the pages");
	ksm_child_end(&child);
}

/* A child with pairs of equal pages, some of which KSM may know already. */
struct member {
	bool known;
};

static void paired_member(struct ksm_child *self, void *arg)
{
	const struct member *member = arg;
	char *area = ksm_map_mergeable(2 * PAIRS), *second = area + PAIRS * psize();

	ksm_enter_cgroup();
	ksm_fill_unique(area, PAIRS, SEED);
	ksm_fill_unique(second, PAIRS, SEED + PAIRS);
	ksm_child_pause(self);
	if (!member->known)
		ksm_fill_unique(area, PAIRS, SEED + PAIRS);
	ksm_fill_unique(second, PAIRS, member->known ? SEED : SEED + PAIRS);
	ksm_child_pause(self);
	ksm_check_unique(area, PAIRS, member->known ? SEED : SEED + PAIRS);
	ksm_check_unique(second, PAIRS, member->known ? SEED : SEED + PAIRS);
}

/* No memory is left to the cgroup. It is at its limit, but not beyond. */
static void limit_group(void)
{
	char text[KSM_TEXT];

	ksm_check(ksm_read_file(KSM_CGROUP "memory.current", text, sizeof(text)) > 0,
		  "memory.current");
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.max", text), "memory.max");
	usleep(STAT_US);
}

static void at_limit(bool known)
{
	struct member member = { known };
	struct ksm_child child;
	long scanned, ooms, kills, sharing;

	ksm_need_cgroup();
	ksm_child_start(&child, paired_member, &member);
	ksm_child_wait(&child);
	if (known)
		ksm_settle();
	ksm_child_step(&child);
	limit_group();
	scanned = group_figure("memory.stat", "pgscan");
	ooms = group_figure("memory.events", "oom");
	kills = group_figure("memory.events", "oom_kill");
	ksm_passes(10);
	usleep(STAT_US);
	sharing = ksm_get("pages_sharing");
	ksft_print_msg("%ld pages share at the limit\n", sharing);
	/* New pages may have to wait, since their records are charged. */
	ksm_check(sharing || !known, "known pages are merged at the limit");
	ksm_expect("pages that reclaim scanned", group_figure("memory.stat", "pgscan"), scanned);
	ksm_expect("oom", group_figure("memory.events", "oom"), ooms);
	ksm_expect("oom_kill", group_figure("memory.events", "oom_kill"), kills);
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.max", "max"), "memory.max");
	ksm_settle();
	ksm_expect_figures(PAIRS, PAIRS, 0);
	ksm_child_end(&child);
}

static void new_at_limit(void)
{
	at_limit(false);
}

static void known_at_limit(void)
{
	at_limit(true);
}

/* Pages without neighbours, since these need the most memory for their records. */
static void lone_member(struct ksm_child *self, void *arg)
{
	const size_t step = LEAF * psize(), size = NEW_PAGES * step;
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t i;

	(void)arg;
	ksm_check(area != MAP_FAILED, "mmap");
	madvise(area, size, MADV_NOHUGEPAGE);
	ksm_check(!madvise(area, size, MADV_MERGEABLE), "MADV_MERGEABLE");
	ksm_enter_cgroup();
	for (i = 0; i < NEW_PAGES; i++)
		*(size_t *)(area + i * step) = SEED + i;
	ksm_child_pause(self);
}

/*
 * A page without a record uses up as much of a batch as a leaf, so a pass over these
 * pages takes many batches.
 */
static void pass_at_limit(void)
{
	struct ksm_child child;
	long passes;

	ksm_need_cgroup();
	if (psize() > 4096)
		ksm_skip("%d pages of %u KiB take too much memory", NEW_PAGES,
			 psize() / 1024);
	ksm_child_start(&child, lone_member, NULL);
	ksm_child_wait(&child);
	limit_group();
	ksm_set("pages_to_scan", 10 * LEAF);
	ksm_set("sleep_millisecs", 20);
	ksm_set("run", 1);
	passes = ksm_get("full_scans");
	usleep(SHORT_US);
	passes = ksm_get("full_scans") - passes;
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.max", "max"), "memory.max");
	ksm_check(passes <= 1, "a pass without memory for records is not faster than others");
	ksm_child_end(&child);
}

static const struct ksm_case cases[] = {
	{ "records take little memory when pages have gone", leaves_shrink },
	{ "so they do with smart_scan", leaves_shrink_smart },
	{ "records take no memory when all pages have gone", leaf_goes },
	{ "a cgroup is charged for the records and the index of its pages", charged_to_group },
	{ "a cgroup at its limit with pages that are new", new_at_limit },
	{ "a cgroup at its limit with pages that KSM knows", known_at_limit },
	{ "a pass over pages that get no records", pass_at_limit },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
