// SPDX-License-Identifier: GPL-2.0
/*
 * Memory tags of arm64. Tags belong to the content, but a comparison of bytes does
 * not see them. So a page with tags is not merged and not a reason to split a huge
 * page, and its tags stay.
 */
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ksm_common.h"

#define PAGES	20
#define SEED	0xe0000

#ifdef __aarch64__

#ifndef HWCAP2_MTE
#define HWCAP2_MTE	BIT_ULL(18)
#endif
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

#define PROT_TAGGED	(PROT_READ | PROT_WRITE | PROT_MTE)
#define TAG_SHIFT	56
#define GRANULE		16

static void need_tags(void)
{
	if (!(getauxval(AT_HWCAP2) & HWCAP2_MTE))
		ksm_skip("this CPU has no memory tags");
}

/* The compiler emits instructions for memory tags only in these functions. */
#define __memtag	__attribute__((target("arch=armv8.5-a+memtag")))

/* Gives 16 bytes a tag. */
static __memtag void set_tag(char *granule, unsigned long tag)
{
	unsigned long tagged = (unsigned long)granule | tag << TAG_SHIFT;

	asm volatile("stg %0, [%0]" : : "r" (tagged) : "memory");
}

static __memtag unsigned long get_tag(const char *granule)
{
	unsigned long tagged = (unsigned long)granule;

	asm volatile("ldg %0, [%0]" : "+r" (tagged) : : "memory");
	return tagged >> TAG_SHIFT & 0xf;
}

/* Page number @i gets the tags (@i + 1) & 15, in its first and last granule. */
static void tag_pages(char *area, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++) {
		set_tag(area + i * psize(), (i + 1) & 0xf);
		set_tag(area + (i + 1) * psize() - GRANULE, (i + 1) & 0xf);
	}
}

static void check_tags(const char *area, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++) {
		ksm_expect("first tag of a page", get_tag(area + i * psize()), (i + 1) & 0xf);
		ksm_expect("last tag of a page",
			   get_tag(area + (i + 1) * psize() - GRANULE), (i + 1) & 0xf);
	}
}

static char *map_tagged(size_t pages)
{
	char *area = mmap(NULL, pages * psize(), PROT_TAGGED, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		ksm_skip("PROT_MTE is not known here");
	return area;
}

/* Equal bytes and different tags. */
static void tagged_not_merged(void)
{
	char *area, *other;

	need_tags();
	area = map_tagged(PAGES);
	ksm_mergeable(area, PAGES);
	ksm_fill_same(area, PAGES, SEED);
	tag_pages(area, PAGES);
	other = ksm_map_mergeable(PAGES);
	ksm_fill_same(other, PAGES, SEED);
	ksm_settle();
	ksm_expect("merged pages with tags", ksm_count_merged(area, PAGES), 0);
	ksm_expect("merged pages without", ksm_count_merged(other, PAGES), PAGES);
	ksm_expect("pages_shared", ksm_get("pages_shared"), 1);
	ksm_expect("pages_sharing", ksm_get("pages_sharing"), PAGES - 1);
	check_tags(area, PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* Zeros with tags are not the zero page. */
static void tagged_zeros(void)
{
	char *area;

	need_tags();
	ksm_set("use_zero_pages", 1);
	area = map_tagged(PAGES);
	ksm_mergeable(area, PAGES);
	ksm_fill_same(area, PAGES, 0);
	tag_pages(area, PAGES);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	check_tags(area, PAGES);
	ksm_check_same(area, PAGES, 0);
}

/* Half of the mappings of a shared page get tags. Writes there must not reach the rest. */
static void merged_then_tagged(void)
{
	const size_t half = PAGES / 2;
	char *area, *rest;

	need_tags();
	area = ksm_merged_area(PAGES, SEED);
	rest = area + half * psize();
	ksm_check(!mprotect(area, half * psize(), PROT_TAGGED), "mprotect with PROT_MTE");
	tag_pages(area, half);
	check_tags(area, half);
	ksm_check_same(area, PAGES, SEED);
	ksm_expect("merged pages with tags", ksm_count_merged(area, half), 0);
	ksm_settle();
	ksm_expect("merged pages with tags", ksm_count_merged(area, half), 0);
	check_tags(area, half);
	ksm_fill_unique(area, half, SEED + 1);
	ksm_check_unique(area, half, SEED + 1);
	ksm_check_same(rest, PAGES - half, SEED);
	check_tags(area, half);
	ksm_unmerge_all();
	ksm_check_same(rest, PAGES - half, SEED);
}

/* A huge page with tags, and two duplicates of one of its pages without tags. */
static void tagged_stays_huge(void)
{
	size_t pages, size;
	char *area, *duplicates;

	need_tags();
	pages = ksm_huge_pages();
	size = pages * psize();
	area = map_tagged(2 * pages);
	area = (char *)(((uintptr_t)area + size - 1) & ~(size - 1));
	if (madvise(area, size, MADV_HUGEPAGE))
		ksm_skip("MADV_HUGEPAGE is not known here");
	ksm_fill_unique(area, pages, SEED);
	tag_pages(area, pages);
	if (ksm_count_flag(area, pages, KPF_THP_BIT) != pages)
		ksm_skip("no huge page could be allocated");
	ksm_mergeable(area, pages);
	duplicates = ksm_map_mergeable(2);
	ksm_fill_same(duplicates, 2, SEED + 3);
	ksm_settle();
	ksm_expect("pages in the huge page", ksm_count_flag(area, pages, KPF_THP_BIT), pages);
	ksm_expect("merged pages", ksm_count_merged(area, pages), 0);
	ksm_expect("merged duplicates", ksm_count_merged(duplicates, 2), 2);
	check_tags(area, pages);
	ksm_check_unique(area, pages, SEED);
}

static const struct ksm_case cases[] = {
	{ "pages with tags are not merged", tagged_not_merged },
	{ "zeros with tags do not become the zero page", tagged_zeros },
	{ "a shared page is copied before it gets tags", merged_then_tagged },
	{ "a huge page with tags is not split", tagged_stays_huge },
};

#else

static void no_tags(void)
{
	ksm_skip("only arm64 has memory tags");
}

static const struct ksm_case cases[] = {
	{ "pages with tags are not merged", no_tags },
};

#endif

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
