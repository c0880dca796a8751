// SPDX-License-Identifier: GPL-2.0
/*
 * PR_SET_MEMORY_MERGE and PR_GET_MEMORY_MERGE: arguments, results and what they do to
 * VMAs that exist and VMAs that come later.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_common.h"

#define SEED		0x4000
#define PAGES		50
#define NOBODY		65534

static void prctl_on_off(void)
{
	ksm_expect("PR_GET at first", ksm_get_merge(), 0);
	ksm_expect("PR_SET 1", ksm_set_merge(1), 0);
	ksm_expect("PR_GET after PR_SET 1", ksm_get_merge(), 1);
	ksm_expect("PR_SET 1 again", ksm_set_merge(1), 0);
	ksm_expect("PR_GET", ksm_get_merge(), 1);
	ksm_expect("PR_SET 0", ksm_set_merge(0), 0);
	ksm_expect("PR_GET after PR_SET 0", ksm_get_merge(), 0);
	ksm_expect("PR_SET 0 again", ksm_set_merge(0), 0);
	ksm_expect("PR_GET", ksm_get_merge(), 0);
}

static void expect_einval(int option, unsigned long a2, unsigned long a3,
			  unsigned long a4, unsigned long a5)
{
	errno = 0;
	if (prctl(option, a2, a3, a4, a5) != -1 || errno != EINVAL)
		ksm_fail("prctl(%d, %lu, %lu, %lu, %lu) is not refused with EINVAL",
			 option, a2, a3, a4, a5);
}

static void prctl_set_arguments(void)
{
	expect_einval(PR_SET_MEMORY_MERGE, 1, 1, 0, 0);
	expect_einval(PR_SET_MEMORY_MERGE, 1, 0, 1, 0);
	expect_einval(PR_SET_MEMORY_MERGE, 1, 0, 0, 1);
	expect_einval(PR_SET_MEMORY_MERGE, 0, 1, 0, 0);
	ksm_expect("PR_GET after refusals", ksm_get_merge(), 0);
}

static void prctl_get_arguments(void)
{
	expect_einval(PR_GET_MEMORY_MERGE, 1, 0, 0, 0);
	expect_einval(PR_GET_MEMORY_MERGE, 0, 1, 0, 0);
	expect_einval(PR_GET_MEMORY_MERGE, 0, 0, 1, 0);
	expect_einval(PR_GET_MEMORY_MERGE, 0, 0, 0, 1);
}

/* A kernel may require CAP_SYS_RESOURCE.  A refusal must not change anything. */
static void prctl_without_capability(void)
{
	int result;

	ksm_check(!setresuid(NOBODY, NOBODY, NOBODY), "setresuid");
	errno = 0;
	result = ksm_set_merge(1);
	if (result && errno != EPERM)
		ksm_fail("PR_SET without capabilities fails with errno %d", errno);
	ksm_expect("PR_GET", ksm_get_merge(), !result);
}

static void prctl_marks_what_is_there(void)
{
	char *before = ksm_map(PAGES), *after;

	ksm_set_merge(1);
	after = ksm_map(PAGES);
	ksm_check(ksm_vmflag(before, "mg"), "memory mapped earlier is mergeable");
	ksm_check(ksm_vmflag(after, "mg"), "memory mapped later is mergeable");
	ksm_set_merge(0);
	ksm_check(!ksm_vmflag(before, "mg"), "memory mapped earlier no longer is");
	ksm_check(!ksm_vmflag(after, "mg"), "memory mapped later no longer is");
}

static void prctl_off_unmerges(void)
{
	char *area;

	ksm_set_merge(1);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("PR_SET 0", ksm_set_merge(0), 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_check_same(area, PAGES, SEED);
}

/* PR_SET_MEMORY_MERGE 0 undoes PR_SET_MEMORY_MERGE 1, not MADV_MERGEABLE. */
static void prctl_off_leaves_advice(void)
{
	char *area = ksm_merged_area(PAGES, SEED);

	ksm_expect("PR_SET 0", ksm_set_merge(0), 0);
	ksm_check(ksm_vmflag(area, "mg"), "the advised area is mergeable still");
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
}

static void advice_against_prctl(void)
{
	char *area;

	ksm_set_merge(1);
	area = ksm_map(PAGES);
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	ksm_unmergeable(area, PAGES);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), 0);
	ksm_expect("PR_GET", ksm_get_merge(), 1);
}

static void prctl_on_off_at_work(void)
{
	char *area = ksm_map(PAGES);
	unsigned int i;

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("run", 1);
	for (i = 0; i < 300; i++)
		ksm_expect("PR_SET", ksm_set_merge(!(i & 1)), 0);
	ksm_check_same(area, PAGES, SEED);
	ksm_unmerge_all();
	ksm_expect_nothing();
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), 0);
}

static size_t vma_pages(const void *addr)
{
	char value[64];

	ksm_check(ksm_smaps(addr, "Size", value, sizeof(value)), "smaps has the size of a VMA");
	return strtol(value, NULL, 10) * 1024 / psize();
}

static char *map_at(char *addr, size_t pages)
{
	char *area = mmap(addr, pages * psize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	ksm_check(area == addr, "mmap at a fixed address");
	return area;
}

/* A new VMA is marked before the kernel looks for a neighbour to merge it with. */
static void vmas_merge(void)
{
	char *area = mmap(NULL, 4 * PAGES * psize(), PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ksm_check(area != MAP_FAILED, "mmap");
	ksm_expect("PR_SET 1", ksm_set_merge(1), 0);
	map_at(area + PAGES * psize(), PAGES);
	map_at(area + 2 * PAGES * psize(), PAGES);
	ksm_expect("pages of the VMA", vma_pages(area + PAGES * psize()), 2 * PAGES);
	ksm_check(ksm_vmflag(area + PAGES * psize(), "mg"), "the VMA is mergeable");
	ksm_check(!mprotect(area, PAGES * psize(), PROT_READ | PROT_WRITE), "mprotect");
	ksm_expect("pages of the VMA after mprotect", vma_pages(area), 3 * PAGES);
}

static const struct ksm_case cases[] = {
	{ "prctl turns merging on and off, twice", prctl_on_off },
	{ "PR_SET_MEMORY_MERGE refuses arguments 3 to 5", prctl_set_arguments },
	{ "PR_GET_MEMORY_MERGE refuses arguments 2 to 5", prctl_get_arguments },
	{ "prctl without capabilities works or fails with EPERM", prctl_without_capability },
	{ "prctl marks existing and later VMAs", prctl_marks_what_is_there },
	{ "prctl off unmerges", prctl_off_unmerges },
	{ "prctl off leaves advised memory alone if it was never on", prctl_off_leaves_advice },
	{ "MADV_UNMERGEABLE takes a VMA out of prctl", advice_against_prctl },
	{ "prctl on and off while ksmd runs", prctl_on_off_at_work },
	{ "VMAs of a process under the prctl merge", vmas_merge },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
