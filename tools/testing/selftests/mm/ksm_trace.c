// SPDX-License-Identifier: GPL-2.0
/*
 * The trace events that programs know by name: they exist with their fields
 * and come when what they are named after happens.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"
#include "ksm_tracing.h"

#define PAGES	20
#define SEED	0xf0000

/* Does the format of an event have a field of this name? */
static bool has_field(const char *format, const char *name)
{
	char word[64];

	snprintf(word, sizeof(word), " %s;", name);
	if (strstr(format, word))
		return true;
	snprintf(word, sizeof(word), "*%s;", name);
	return strstr(format, word);
}

static void check_fields(const char *event, const char *const *fields)
{
	char path[256], format[4096] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/events/ksm/%s/format", tracing_root(), event);
	file = fopen(path, "r");
	if (!file)
		ksm_fail("there is no event %s", event);
	format[fread(format, 1, sizeof(format) - 1, file)] = '\0';
	fclose(file);
	for (; *fields; fields++)
		if (!has_field(format, *fields))
			ksm_fail("the event %s has no field %s", event, *fields);
}

static void scan_fields(void)
{
	static const char *const fields[] = { "seq", "rmap_entries", NULL };

	check_fields("ksm_start_scan", fields);
	check_fields("ksm_stop_scan", fields);
}

static void enter_fields(void)
{
	static const char *const fields[] = { "mm", NULL };

	check_fields("ksm_enter", fields);
	check_fields("ksm_exit", fields);
}

static void merge_fields(void)
{
	static const char *const fields[] = { "pfn", "rmap_item", "mm", "err", NULL };

	check_fields("ksm_merge_one_page", fields);
	check_fields("ksm_merge_with_ksm_page", fields);
}

static void remove_fields(void)
{
	static const char *const page[] = { "pfn", NULL };
	static const char *const item[] = { "pfn", "rmap_item", "mm", NULL };

	check_fields("ksm_remove_ksm_page", page);
	check_fields("ksm_remove_rmap_item", item);
}

static void advisor_fields(void)
{
	static const char *const fields[] = {
		"scan_time", "pages_to_scan", "cpu_percent", NULL
	};

	check_fields("ksm_advisor", fields);
}

/* An event may come a moment after what it tells can be read. */
static void wait_for_events(const char *event, unsigned int least)
{
	unsigned int i;

	for (i = 0; i < 1000 && tracing_count(event, "") < least; i++)
		usleep(10000);
}

static void expect_events(const char *event, unsigned int least)
{
	unsigned int count = tracing_count(event, "");

	tracing_end();
	if (count < least)
		ksm_fail("%u events %s instead of %u at least", count, event, least);
}

static void starts(void)
{
	tracing_start("ksm_start_scan");
	ksm_merged_area(PAGES, SEED);
	expect_events("ksm_start_scan", 3);
}

static void stops(void)
{
	tracing_start("ksm_stop_scan");
	ksm_merged_area(PAGES, SEED);
	expect_events("ksm_stop_scan", 3);
}

static void enters(void)
{
	tracing_start("ksm_enter");
	ksm_map_mergeable(PAGES);
	expect_events("ksm_enter", 1);
}

static void exit_child(struct ksm_child *self, void *arg)
{
	(void)arg;
	ksm_map_mergeable(PAGES);
	ksm_child_pause(self);
}

static void exits(void)
{
	struct ksm_child child;

	tracing_start("ksm_exit");
	ksm_child_start(&child, exit_child, NULL);
	ksm_child_wait(&child);
	ksm_child_end(&child);
	expect_events("ksm_exit", 1);
}

/* A page merged on its own, with the zero page. */
static void merges_one(void)
{
	char *area = ksm_map_mergeable(PAGES);

	tracing_start("ksm_merge_one_page");
	ksm_set("use_zero_pages", 1);
	ksm_fill_same(area, PAGES, 0);
	ksm_settle();
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), PAGES);
	expect_events("ksm_merge_one_page", PAGES);
}

static void merges_with(void)
{
	tracing_start("ksm_merge_with_ksm_page");
	ksm_merged_area(PAGES, SEED);
	expect_events("ksm_merge_with_ksm_page", PAGES - 2);
}

static void removes_items(void)
{
	char *area;

	tracing_start("ksm_remove_rmap_item");
	area = ksm_merged_area(PAGES, SEED);
	munmap(area, (PAGES - 4) * psize());
	ksm_passes(2);
	ksm_unmerge_all();
	expect_events("ksm_remove_rmap_item", 1);
}

static void removes_pages(void)
{
	char *area;

	tracing_start("ksm_remove_ksm_page");
	area = ksm_merged_area(PAGES, SEED);
	ksm_unmergeable(area, PAGES);
	ksm_unmerge_all();
	expect_events("ksm_remove_ksm_page", 1);
}

static void advises(void)
{
	tracing_start("ksm_advisor");
	ksm_try("advisor_mode", "scan-time");
	ksm_merged_area(PAGES, SEED);
	ksm_passes(3);
	expect_events("ksm_advisor", 1);
}

/* Returns whether there is an event of the advisor with such a decision. */
static bool advised(long pages_to_scan, long cpu_percent)
{
	char words[128];

	snprintf(words, sizeof(words), "pages_to_scan %ld cpu percent %ld\n", pages_to_scan,
		 cpu_percent);
	return tracing_count("ksm_advisor", words);
}

static void set_available(long start, long full)
{
	ksm_set("advisor_full_available", 1);
	ksm_set("advisor_start_available", start);
	ksm_set("advisor_full_available", full);
}

/* Plentiful memory is followed by a shortage, and that by plenty. */
static void advises_under_pressure(void)
{
	bool at_first, when_short;

	set_available(2, 1);
	ksm_set("advisor_min_pages_to_scan", 600);
	ksm_set("advisor_max_pages_to_scan", 700);
	ksm_set("advisor_max_cpu", 60);
	ksm_fill_same(ksm_map_mergeable(PAGES), PAGES, SEED);
	tracing_start("ksm_advisor");
	ksm_try("advisor_mode", "pressure");
	ksm_set("run", 1);
	/* The mode alone sets pages_to_scan; the decision comes later. */
	wait_for_events("ksm_advisor", 1);
	ksm_check(ksm_wait_figure("pages_to_scan", 600), "memory is plentiful at first");
	set_available(100, 100);
	ksm_check(ksm_wait_figure("pages_to_scan", 700), "memory gets short");
	set_available(2, 1);
	ksm_check(ksm_wait_figure("pages_to_scan", 600), "memory is plentiful again");
	wait_for_events("ksm_advisor", 3);
	at_first = advised(600, 0);
	when_short = advised(700, 60);
	expect_events("ksm_advisor", 3);
	ksm_check(at_first, "the first decision is reported");
	ksm_check(when_short, "the decision that memory is short is reported");
}

static unsigned int count_reason(const char *reason)
{
	char words[64];

	snprintf(words, sizeof(words), " reason %s\n", reason);
	return tracing_count("ksm_page_skipped", words);
}

static void expect_reason(const char *reason, unsigned int least)
{
	unsigned int count = count_reason(reason);

	if (count < least)
		ksm_fail("%u events with the reason %s instead of %u at least", count,
			 reason, least);
}

static void skipped_fields(void)
{
	static const char *const fields[] = { "mm", "address", "reason", NULL };

	check_fields("ksm_page_skipped", fields);
}

/* In the first pass a page is new, in the second it has no duplicate. */
static void skips_unique(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_unique(area, PAGES, SEED);
	tracing_start("ksm_page_skipped");
	ksm_settle();
	expect_reason("changed", PAGES);
	expect_reason("no duplicate", PAGES);
	tracing_end();
}

static void skips_pinned(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct iovec pinned = { .iov_base = area, .iov_len = psize() };
	int ends[2];

	ksm_fill_same(area, PAGES, SEED);
	ksm_check(!pipe(ends), "pipe");
	ksm_expect("vmsplice", vmsplice(ends[1], &pinned, 1, 0), psize());
	tracing_start("ksm_page_skipped");
	ksm_settle();
	expect_reason("pinned", 1);
	tracing_end();
}

static void inheriting_child(struct ksm_child *self, void *area)
{
	ksm_child_pause(self);
	ksm_check_unique(area, PAGES, SEED);
}

/* After a fork, the only page with the same content is the page itself. */
static void skips_inherited(void)
{
	char *area = ksm_map_mergeable(PAGES);
	struct ksm_child child;

	ksm_fill_unique(area, PAGES, SEED);
	ksm_child_start(&child, inheriting_child, area);
	ksm_child_wait(&child);
	tracing_start("ksm_page_skipped");
	ksm_settle();
	expect_reason("mapped elsewhere", 1);
	tracing_end();
	ksm_child_end(&child);
}

/* What the process shares in the domain that it leaves. */
static void skips_other_domain(void)
{
	char *area = ksm_map_mergeable(PAGES);

	cgroup_begin_domains();
	cgroup_make("a");
	cgroup_make("b");
	cgroup_move(getpid(), "a");
	ksm_fill_same(area, PAGES, SEED);
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	tracing_start("ksm_page_skipped");
	cgroup_move(getpid(), "b");
	ksm_settle();
	ksm_expect_figures(1, PAGES - 1, 0);
	expect_reason("other domain", PAGES);
	tracing_end();
}

static const struct ksm_case cases[] = {
	{ "fields of ksm_start_scan and ksm_stop_scan", scan_fields },
	{ "fields of ksm_enter and ksm_exit", enter_fields },
	{ "fields of the two merge events", merge_fields },
	{ "fields of the two remove events", remove_fields },
	{ "fields of ksm_advisor", advisor_fields },
	{ "fields of ksm_page_skipped", skipped_fields },
	{ "ksm_page_skipped tells new pages and pages without a duplicate", skips_unique },
	{ "ksm_page_skipped tells a pinned page", skips_pinned },
	{ "ksm_page_skipped tells pages that another process maps", skips_inherited },
	{ "ksm_page_skipped tells pages of a domain that was left", skips_other_domain },
	{ "ksm_start_scan comes with each pass", starts },
	{ "ksm_stop_scan comes with each pass", stops },
	{ "ksm_enter comes with the first advice", enters },
	{ "ksm_exit comes with exit", exits },
	{ "ksm_merge_one_page comes with each zero page", merges_one },
	{ "ksm_merge_with_ksm_page comes with each merge", merges_with },
	{ "ksm_remove_rmap_item comes with unmapping", removes_items },
	{ "ksm_remove_ksm_page comes with the end of a shared page", removes_pages },
	{ "ksm_advisor comes while the advisor is on", advises },
	{ "ksm_advisor tells each decision of mode pressure", advises_under_pressure },
};

int main(void)
{
	atexit(cgroup_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
