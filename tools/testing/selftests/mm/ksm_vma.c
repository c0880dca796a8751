// SPDX-License-Identifier: GPL-2.0
/*
 * Areas and their flags: advice for a part splits an area and no more, clearing
 * one flag leaves the others, and memory mapped under the prctl comes in as few
 * areas as without it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ksm_common.h"

#ifndef SYS_mseal
#define SYS_mseal	462
#endif

#define PAGES	30
#define SEED	0xe0000
#define PROT_RW	(PROT_READ | PROT_WRITE)

/* How many lines of /proc/self/maps touch a range. */
static unsigned int areas_in(const char *start, size_t pages)
{
	uintptr_t first = (uintptr_t)start, last = first + pages * psize(), from, to;
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned int count = 0;
	char line[512];

	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx", &from, &to) == 2 && from < last && to > first)
			count++;
	fclose(file);
	return count;
}

static unsigned int areas_named(const char *name)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned int count = 0;
	char line[512];

	while (fgets(line, sizeof(line), file))
		count += !!strstr(line, name);
	fclose(file);
	return count;
}

/* Addresses with nothing mapped, and nothing of ours next to them. */
static char *free_addresses(size_t pages)
{
	char *area = mmap(NULL, (pages + 2) * psize(), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ksm_check(area != MAP_FAILED, "mmap");
	munmap(area + psize(), pages * psize());
	return area + psize();
}

static void map_at(char *addr, size_t pages)
{
	char *area = mmap(addr, pages * psize(), PROT_RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	ksm_check(area == addr, "mmap at a fixed address");
}

static void set_merge(unsigned long on)
{
	ksm_check(!prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0), "PR_SET_MEMORY_MERGE");
}

static void part_is_split(void)
{
	char *area = ksm_map(PAGES), *part = area + 10 * psize();

	/* Areas split before they have pages do not become one again. */
	ksm_fill_same(area, PAGES, SEED);
	ksm_expect("areas at first", areas_in(area, PAGES), 1);
	ksm_mergeable(part, 10);
	ksm_expect("areas with a part mergeable", areas_in(area, PAGES), 3);
	ksm_check(!ksm_vmflag(area, "mg") && ksm_vmflag(part, "mg") &&
		  !ksm_vmflag(area + 20 * psize(), "mg"), "the part alone is mergeable");
	ksm_settle();
	ksm_expect_figures(1, 9, 0);
	ksm_expect("merged pages of the part", ksm_count_merged(part, 10), 10);
	ksm_unmergeable(part, 10);
	ksm_expect("areas once it no longer is", areas_in(area, PAGES), 1);
	ksm_check_same(area, PAGES, SEED);
}

static void part_taken_out(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	ksm_unmergeable(area + 10 * psize(), 10);
	ksm_expect("areas", areas_in(area, PAGES), 3);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 20);
	ksm_settle();
	ksm_expect_figures(1, 19, 0);
	ksm_mergeable(area + 10 * psize(), 10);
	ksm_expect("areas", areas_in(area, PAGES), 1);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
}

/*
 * The upper page is in the unstable index. The lower page gets its content, and is
 * searched for in the next pass but one. By then the upper page is not mergeable any more.
 */
static void taken_out_is_no_match(void)
{
	char *area = ksm_map_mergeable(2), *old = area + psize();

	ksm_fill_unique(area, 2, SEED);
	ksm_one_pass();
	ksm_one_pass();
	ksm_expect_figures(0, 0, 2);
	ksm_fill(area, SEED + 1);
	ksm_one_pass();
	ksm_unmergeable(old, 1);
	ksm_one_pass();
	ksm_expect("merged pages", ksm_count_merged(area, 2), 0);
	ksm_expect_figures(0, 0, 1);
	ksm_check_same(area, 2, SEED + 1);
}

static void advice_joins_neighbours(void)
{
	char *area = free_addresses(PAGES);

	map_at(area, 10);
	ksm_mergeable(area, 10);
	map_at(area + 10 * psize(), 10);
	ksm_mergeable(area + 10 * psize(), 10);
	ksm_expect("areas", areas_in(area, 20), 1);
}

static void unmergeable_clears_mg_alone(void)
{
	char *area = ksm_map(PAGES), before[256], after[256];

	ksm_check(!madvise(area, PAGES * psize(), MADV_DONTFORK), "MADV_DONTFORK");
	ksm_check(!madvise(area, PAGES * psize(), MADV_DONTDUMP), "MADV_DONTDUMP");
	ksm_check(!madvise(area, PAGES * psize(), MADV_RANDOM), "MADV_RANDOM");
	ksm_smaps(area, "VmFlags", before, sizeof(before));
	ksm_mergeable(area, PAGES);
	ksm_unmergeable(area, PAGES);
	ksm_smaps(area, "VmFlags", after, sizeof(after));
	if (strcmp(before, after))
		ksm_fail("VmFlags are \"%s\", and were \"%s\"", after, before);
}

static void protection_key_survives(void)
{
	char *area = ksm_map(PAGES), key[32];
	int pkey = pkey_alloc(0, 0);

	if (pkey < 0)
		ksm_skip("there are no protection keys here");
	ksm_check(!pkey_mprotect(area, PAGES * psize(), PROT_RW, pkey), "pkey_mprotect");
	ksm_fill_same(area, PAGES, SEED);
	ksm_mergeable(area, PAGES);
	ksm_settle();
	ksm_check(ksm_smaps(area, "ProtectionKey", key, sizeof(key)) && atoi(key) == pkey,
		  "the key is there while merged");
	ksm_unmergeable(area, PAGES);
	ksm_check(ksm_smaps(area, "ProtectionKey", key, sizeof(key)) && atoi(key) == pkey,
		  "the key survives MADV_UNMERGEABLE");
}

static void seal_survives(void)
{
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	if (syscall(SYS_mseal, area, PAGES * psize(), 0))
		ksm_skip("there is no mseal here");
	ksm_mergeable(area, PAGES);
	ksm_settle();
	ksm_unmergeable(area, PAGES);
	errno = 0;
	ksm_check(munmap(area, PAGES * psize()) && errno == EPERM,
		  "sealed memory is sealed after MADV_UNMERGEABLE");
	ksm_check_same(area, PAGES, SEED);
}

static void seal_survives_prctl(void)
{
	char *area = ksm_map(PAGES);

	if (syscall(SYS_mseal, area, PAGES * psize(), 0))
		ksm_skip("there is no mseal here");
	set_merge(1);
	set_merge(0);
	errno = 0;
	ksm_check(munmap(area, PAGES * psize()) && errno == EPERM,
		  "sealed memory is sealed after prctl on and off");
}

static void mmaps_join(void)
{
	char *area = free_addresses(PAGES);

	set_merge(1);
	map_at(area, 10);
	map_at(area + 10 * psize(), 10);
	map_at(area + 20 * psize(), 10);
	ksm_expect("areas of three adjacent mmaps", areas_in(area, PAGES), 1);
	ksm_check(ksm_vmflag(area, "mg"), "they are mergeable");
}

static void mmaps_join_downwards(void)
{
	char *area = free_addresses(PAGES);

	set_merge(1);
	map_at(area + 20 * psize(), 10);
	map_at(area + 10 * psize(), 10);
	map_at(area, 10);
	ksm_expect("areas of three adjacent mmaps", areas_in(area, PAGES), 1);
}

static void mmap_fills_gap(void)
{
	char *area = free_addresses(PAGES);

	set_merge(1);
	map_at(area, 10);
	map_at(area + 20 * psize(), 10);
	ksm_fill_same(area, 10, SEED);
	ksm_fill_same(area + 20 * psize(), 10, SEED);
	map_at(area + 10 * psize(), 10);
	ksm_check(areas_in(area, PAGES) <= 2, "what fills a gap joins a neighbour");
	ksm_check_same(area, 10, SEED);
	ksm_check_same(area + 20 * psize(), 10, SEED);
}

static void grow_heap(void)
{
	char *more = sbrk(4 * psize());

	ksm_check(more != (char *)-1, "sbrk");
	ksm_fill_same(more, 4, SEED);
}

/* What is older than a fork may not be joined to; all that is newer is. */
static void heap_stays_one(void)
{
	unsigned int i, before;

	set_merge(1);
	grow_heap();
	before = areas_named("[heap]");
	for (i = 0; i < 16; i++)
		grow_heap();
	ksm_expect("areas of the heap", areas_named("[heap]"), before);
}

/* As a program does that was started under the prctl. */
static void heap_of_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	heap_stays_one();
	ksm_child_pause(self);
}

static void heap_after_fork(void)
{
	struct ksm_child child;

	set_merge(1);
	ksm_child_start(&child, heap_of_child, NULL);
	ksm_child_wait(&child);
	ksm_child_end(&child);
}

static void file_and_anonymous(void)
{
	char *area = free_addresses(20);
	int fd = memfd_create("ksm_vma", 0);

	ksm_check(!ftruncate(fd, 20 * psize()), "ftruncate");
	set_merge(1);
	ksm_check(mmap(area, 10 * psize(), PROT_RW, MAP_PRIVATE | MAP_FIXED, fd, 0) == area &&
		  mmap(area + 10 * psize(), 10 * psize(), PROT_RW, MAP_PRIVATE | MAP_FIXED,
		       fd, 10 * psize()) == area + 10 * psize(), "mapping a file in two parts");
	ksm_expect("areas of adjacent parts of a file", areas_in(area, 20), 1);
	ksm_check(ksm_vmflag(area, "mg"), "they are mergeable");
}

static void special_areas_unmarked(void)
{
	FILE *file;
	unsigned long start;
	char line[512];

	set_merge(1);
	file = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof(line), file)) {
		if (!strstr(line, "[v") || sscanf(line, "%lx-", &start) != 1)
			continue;
		if (strstr(line, "[vvar") && ksm_vmflag((void *)start, "mg"))
			ksm_fail("an area of the kernel's is mergeable: %s", line);
	}
	fclose(file);
}

static void shared_unmarked(void)
{
	char *shared = mmap(NULL, psize(), PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	set_merge(1);
	ksm_check(!ksm_vmflag(shared, "mg"), "shared memory is not marked by prctl");
	shared = mmap(NULL, psize(), PROT_RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksm_check(!ksm_vmflag(shared, "mg"), "nor is shared memory mapped afterwards");
}

static void merged_after_joining(void)
{
	char *area = free_addresses(PAGES);

	set_merge(1);
	map_at(area, 10);
	ksm_fill_same(area, 10, SEED);
	map_at(area + 10 * psize(), 20);
	ksm_fill_same(area + 10 * psize(), 20, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("distinct pages", ksm_distinct_merged(area, PAGES), 1);
	ksm_check_same(area, PAGES, SEED);
}

static void bad_ranges(void)
{
	char *area = ksm_map(PAGES);

	errno = 0;
	ksm_check(madvise(area + 1, psize(), MADV_MERGEABLE) && errno == EINVAL,
		  "an address inside a page is refused with EINVAL");
	munmap(area + 10 * psize(), 10 * psize());
	errno = 0;
	ksm_check(madvise(area, PAGES * psize(), MADV_MERGEABLE) && errno == ENOMEM,
		  "a hole is answered with ENOMEM");
	ksm_check(ksm_vmflag(area, "mg") && ksm_vmflag(area + 20 * psize(), "mg"),
		  "and what is mapped is mergeable all the same");
	ksm_expect("MADV_MERGEABLE of nothing", madvise(area, 0, MADV_MERGEABLE), 0);
}

static const struct ksm_case cases[] = {
	{ "advice for a part of an area", part_is_split },
	{ "a part taken out of a merged area", part_taken_out },
	{ "a page taken out is no match for others", taken_out_is_no_match },
	{ "areas with the same advice become one", advice_joins_neighbours },
	{ "ranges that are refused", bad_ranges },
	{ "MADV_UNMERGEABLE clears mg alone", unmergeable_clears_mg_alone },
	{ "a protection key survives", protection_key_survives },
	{ "a seal survives", seal_survives },
	{ "a seal survives the prctl", seal_survives_prctl },
	{ "areas of the kernel's are not marked", special_areas_unmarked },
	{ "shared memory is not marked", shared_unmarked },
	{ "joined areas merge", merged_after_joining },
	{ "under prctl adjacent mmaps become one area", mmaps_join },
	{ "under prctl they do so downwards", mmaps_join_downwards },
	{ "under prctl what fills a gap joins", mmap_fills_gap },
	{ "under prctl the heap stays one area", heap_stays_one },
	{ "under an inherited prctl the heap stays one area", heap_after_fork },
	{ "under prctl adjacent parts of a file become one area", file_and_anonymous },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
