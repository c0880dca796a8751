// SPDX-License-Identifier: GPL-2.0
/*
 * Every file of /sys/kernel/mm/ksm: that it is there, its mode, its default,
 * what it takes and what it refuses and how, and when.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ksm_common.h"

#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define MAX_TEXTS	12
#define SEED		0x2000

struct refusal {
	const char *text;
	int err;
};

struct knob {
	const char *name;
	const char *def;
	const char *taken[MAX_TEXTS];		/* read back as written */
	struct refusal refused[MAX_TEXTS];
};

#define ULONG_TAKEN	{ "0", "1", "500", "4294967296", "18446744073709551615" }
#define UINT_TAKEN	{ "0", "1", "100", "4294967295" }

/* Texts that no numeric control accepts. */
static const char *const not_numbers[] = { "-1", "abc", "1 2", "0x10", "\n", "1.5" };

static const struct knob knobs[] = {
	{ "run", "0", { "0", "1", "2", "0", "2" },
	  { { "3", -EINVAL }, { "4294967296", -EINVAL } } },
	{ "pages_to_scan", "100", UINT_TAKEN,
	  { { "4294967296", -EINVAL } } },
	{ "sleep_millisecs", "20", UINT_TAKEN,
	  { { "4294967296", -EINVAL } } },
	{ "merge_across_nodes", "1", { "0", "1" },
	  { { "2", -EINVAL }, { "99999999999999999999", -ERANGE } } },
	{ "use_zero_pages", "0", { "1", "0" },
	  { { "2", -EINVAL }, { "a", -EINVAL }, { "om", -EINVAL } } },
	{ "min_ptes_merged", "1", { "1", "2", "64", "512" },
	  { { "0", -EINVAL }, { "4294967295", -EINVAL }, { "4294967296", -ERANGE } } },
	{ "max_page_sharing", "256", { "2", "3", "1000000", "2147483647" },
	  { { "0", -EINVAL }, { "1", -EINVAL }, { "2147483648", -ERANGE } } },
	{ "stable_node_chains_prune_millisecs", "2000", UINT_TAKEN,
	  { { "4294967296", -EINVAL } } },
	{ "smart_scan", "1", { "0", "1" },
	  { { "2", -EINVAL }, { "a", -EINVAL }, { "om", -EINVAL } } },
	{ "advisor_max_cpu", "70", UINT_TAKEN,
	  { { "18446744073709551616", -EINVAL } } },
	{ "advisor_min_pages_to_scan", "500", ULONG_TAKEN,
	  { { "18446744073709551616", -EINVAL } } },
	{ "advisor_max_pages_to_scan", "30000", ULONG_TAKEN,
	  { { "18446744073709551616", -EINVAL } } },
	{ "advisor_target_scan_time", "200", { "1", "200", "18446744073709551615" },
	  { { "0", -EINVAL }, { "18446744073709551616", -EINVAL } } },
	{ "advisor_start_available", "20", { "5", "6", "100", "20" },
	  { { "0", -EINVAL }, { "4", -EINVAL }, { "101", -EINVAL } } },
	{ "advisor_full_available", "5", { "1", "20", "5" },
	  { { "0", -EINVAL }, { "21", -EINVAL }, { "101", -EINVAL } } },
};

/* The knob that the case at hand is about; the frame passes no argument. */
static const struct knob *knob_named(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		if (!strcmp(knobs[i].name, name))
			return &knobs[i];
	ksm_fail("no knob is named %s", name);
}

static bool is_boolean(const char *name)
{
	return !strcmp(name, "use_zero_pages") || !strcmp(name, "smart_scan");
}

static void expect_text(const char *name, const char *want)
{
	char text[64];

	ksm_get_text(name, text, sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	if (strcmp(text, want))
		ksm_fail("%s reads \"%s\" instead of \"%s\"", name, text, want);
}

static void expect_taken(const char *name, const char *text, const char *reads)
{
	int err = ksm_try(name, text);

	if (err)
		ksm_fail("%s refuses \"%s\": %s", name, text, strerror(-err));
	expect_text(name, reads);
}

static void expect_refused(const char *name, const char *text, int want)
{
	char before[64];
	int err;

	ksm_get_text(name, before, sizeof(before));
	before[strcspn(before, "\n")] = '\0';
	err = ksm_try(name, text);
	if (err != want)
		ksm_fail("%s answers %d to \"%s\" instead of %d", name, err, text, want);
	expect_text(name, before);
}

static void check_knob(const char *name)
{
	const struct knob *knob = knob_named(name);
	char line[64];
	unsigned int i;

	for (i = 0; i < MAX_TEXTS && knob->taken[i]; i++) {
		expect_taken(name, knob->taken[i], knob->taken[i]);
		snprintf(line, sizeof(line), "%s\n", knob->taken[i]);
		expect_taken(name, line, knob->taken[i]);
	}
	for (i = 0; !is_boolean(name) && i < ARRAY_SIZE(not_numbers); i++)
		expect_refused(name, not_numbers[i], -EINVAL);
	for (i = 0; i < MAX_TEXTS && knob->refused[i].text; i++)
		expect_refused(name, knob->refused[i].text, knob->refused[i].err);
}

#define KNOB_CASE(knob_name)				\
	static void case_##knob_name(void)		\
	{						\
		if (access(KSM_DIR #knob_name, F_OK))	\
			ksm_skip("there is no such file here"); \
		check_knob(#knob_name);			\
	}

KNOB_CASE(run)
KNOB_CASE(pages_to_scan)
KNOB_CASE(sleep_millisecs)
KNOB_CASE(merge_across_nodes)
KNOB_CASE(use_zero_pages)
KNOB_CASE(min_ptes_merged)
KNOB_CASE(max_page_sharing)
KNOB_CASE(stable_node_chains_prune_millisecs)
KNOB_CASE(smart_scan)
KNOB_CASE(advisor_max_cpu)
KNOB_CASE(advisor_min_pages_to_scan)
KNOB_CASE(advisor_max_pages_to_scan)
KNOB_CASE(advisor_target_scan_time)
KNOB_CASE(advisor_start_available)
KNOB_CASE(advisor_full_available)

static bool nodes_missing(const char *name)
{
	return !strcmp(name, "merge_across_nodes") &&
	       access("/sys/devices/system/node", F_OK);
}

static void files_present(void)
{
	char path[128];
	unsigned int i;

	for (i = 0; i < KSM_NR_FILES; i++) {
		snprintf(path, sizeof(path), KSM_DIR "%s", ksm_files[i]);
		if (access(path, F_OK) && !nodes_missing(ksm_files[i]))
			ksm_fail("there is no %s", path);
	}
}

static bool is_known(const char *name)
{
	unsigned int i;

	for (i = 0; i < KSM_NR_FILES; i++)
		if (!strcmp(ksm_files[i], name))
			return true;
	return false;
}

/* PCP matches by prefix: a new name that begins like an old one shadows it. */
static void check_new_name(const char *name)
{
	unsigned int i;

	for (i = 0; i < KSM_NR_FILES; i++)
		if (!strncmp(name, ksm_files[i], strlen(ksm_files[i])))
			ksm_fail("the new name %s begins with the name %s", name, ksm_files[i]);
}

static void new_names(void)
{
	DIR *dir = opendir(KSM_DIR);
	struct dirent *entry;

	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && !is_known(entry->d_name))
			check_new_name(entry->d_name);
	closedir(dir);
}

static void check_readable(const char *name)
{
	char path[300], text[4096];
	struct stat st;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), KSM_DIR "%s", name);
	if (stat(path, &st) || (st.st_mode & 0444) != 0444)
		ksm_fail("%s is not readable for all", name);
	fd = open(path, O_RDONLY);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (len < 2 || text[len - 1] != '\n')
		ksm_fail("%s does not read as a line", name);
	close(fd);
}

static void all_readable(void)
{
	DIR *dir = opendir(KSM_DIR);
	struct dirent *entry;

	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			check_readable(entry->d_name);
	closedir(dir);
}

static mode_t mode_of(const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), KSM_DIR "%s", name);
	if (stat(path, &st))
		ksm_fail("%s: %s", path, strerror(errno));
	return st.st_mode & 07777;
}

static void modes(void)
{
	unsigned int i;
	mode_t want;

	for (i = 0; i < KSM_NR_FILES; i++) {
		if (nodes_missing(ksm_files[i]))
			continue;
		want = i < KSM_NR_CONTROLS ? 0644 : 0444;
		if (mode_of(ksm_files[i]) != want)
			ksm_fail("the mode of %s is %o instead of %o", ksm_files[i],
				 mode_of(ksm_files[i]), want);
	}
}

static void figures_refuse_writing(void)
{
	unsigned int i;

	for (i = KSM_NR_CONTROLS; i < KSM_NR_FILES; i++)
		ksm_expect(ksm_files[i], ksm_try(ksm_files[i], "0"), -EACCES);
}

static void check_default(const char *name, const char *want)
{
	char text[64];

	snprintf(text, sizeof(text), "%s\n", want);
	if (strcmp(ksm_initial(name), text))
		ksm_fail("%s was %s instead of %s at the start", name, ksm_initial(name), want);
}

static void defaults(void)
{
	unsigned int i;

	if (ksm_initial("run")[0] == '1')
		ksm_skip("KSM was in use, so its knobs may have been set");
	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		if (strcmp(knobs[i].name, "run") && !nodes_missing(knobs[i].name))
			check_default(knobs[i].name, knobs[i].def);
	check_default("advisor_mode", "[none] scan-time pressure");
}

static void run_reads_back(void)
{
	expect_taken("run", "2", "2");
	expect_taken("run", "2", "2");
	expect_taken("run", "1", "1");
	expect_taken("run", "1", "1");
	expect_taken("run", "0", "0");
	expect_taken("run", "2", "2");
}

/* oVirt keeps its files open and reads again from the start. */
static void read_again_after_seek(void)
{
	int fd = open(KSM_DIR "sleep_millisecs", O_RDONLY);
	char text[16] = "";

	ksm_set("sleep_millisecs", 111);
	ksm_check(read(fd, text, sizeof(text)) == 4 && !memcmp(text, "111\n", 4),
		  "the first value is read");
	ksm_set("sleep_millisecs", 222);
	ksm_check(lseek(fd, 0, SEEK_SET) == 0, "lseek to the start");
	ksm_check(read(fd, text, sizeof(text)) == 4 && !memcmp(text, "222\n", 4),
		  "the second value is read from the same descriptor");
	close(fd);
}

static void booleans(const char *name)
{
	static const char *const yes[] = { "y", "Y", "on", "1\n", "yes" };
	static const char *const no[] = { "n", "N", "off", "0\n", "no" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(yes); i++) {
		expect_taken(name, yes[i], "1");
		expect_taken(name, no[i], "0");
	}
}

static void boolean_words(void)
{
	booleans("use_zero_pages");
	booleans("smart_scan");
}

static void advisor_text(void)
{
	expect_taken("advisor_mode", "scan-time", "none [scan-time] pressure");
	expect_taken("advisor_mode", "none", "[none] scan-time pressure");
	expect_taken("advisor_mode", "scan-time\n", "none [scan-time] pressure");
	expect_taken("advisor_mode", "scan-time", "none [scan-time] pressure");
	expect_taken("advisor_mode", "pressure\n", "none scan-time [pressure]");
	expect_taken("advisor_mode", "none\n", "[none] scan-time pressure");
}

static void advisor_refusals(void)
{
	expect_refused("advisor_mode", "scan_time", -EINVAL);
	expect_refused("advisor_mode", "1", -EINVAL);
	expect_refused("advisor_mode", "none scan-time", -EINVAL);
	expect_refused("advisor_mode", "pressured", -EINVAL);
	expect_refused("advisor_mode", "\n", -EINVAL);
}

static void advisor_owns_pages_to_scan(void)
{
	ksm_try("advisor_mode", "scan-time");
	expect_refused("pages_to_scan", "100", -EINVAL);
	expect_refused("pages_to_scan", "abc", -EINVAL);
	ksm_try("advisor_mode", "pressure");
	expect_refused("pages_to_scan", "100", -EINVAL);
	ksm_try("advisor_mode", "none");
	expect_taken("pages_to_scan", "1234", "1234");
}

static void advisor_sets_pages_to_scan(void)
{
	ksm_set("advisor_min_pages_to_scan", 777);
	ksm_set("pages_to_scan", 1234);
	ksm_try("advisor_mode", "scan-time");
	expect_text("pages_to_scan", "777");
	ksm_try("advisor_mode", "none");
	expect_text("pages_to_scan", "100");
}

static void advisor_keeps_bounds(void)
{
	char *area = ksm_map_mergeable(500);
	long pages;

	ksm_fill_unique(area, 500, SEED);
	ksm_set("advisor_min_pages_to_scan", 600);
	ksm_set("advisor_max_pages_to_scan", 700);
	ksm_try("advisor_mode", "scan-time");
	ksm_passes(4);
	pages = ksm_get("pages_to_scan");
	if (pages < 600 || pages > 700)
		ksm_fail("the advisor set pages_to_scan to %ld, out of 600 to 700", pages);
}

static void nodes_busy_while_shared(void)
{
	if (nodes_missing("merge_across_nodes"))
		ksm_skip("this kernel knows no nodes");
	ksm_merged_area(10, SEED);
	expect_refused("merge_across_nodes", "0", -EBUSY);
	expect_taken("merge_across_nodes", "1", "1");
	expect_refused("merge_across_nodes", "2", -EINVAL);
	ksm_unmerge_all();
	expect_taken("merge_across_nodes", "0", "0");
}

static void sharing_bound_busy_while_shared(void)
{
	ksm_merged_area(10, SEED);
	expect_refused("max_page_sharing", "100", -EBUSY);
	expect_taken("max_page_sharing", "256", "256");
	expect_refused("max_page_sharing", "1", -EINVAL);
	ksm_unmerge_all();
	expect_taken("max_page_sharing", "100", "100");
}

/* Only shared pages stand in the way, not those that have merely been seen. */
static void change_with_unshared_pages(void)
{
	char *area = ksm_map_mergeable(100);

	ksm_fill_unique(area, 100, SEED);
	ksm_settle();
	expect_taken("max_page_sharing", "64", "64");
	if (!nodes_missing("merge_across_nodes"))
		expect_taken("merge_across_nodes", "0", "0");
	ksm_fill_same(area, 100, SEED);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, 100), 100);
}

static bool not_zero(void *name)
{
	return ksm_get(name) > 0;
}

/* A long sleep ends when a shorter one is asked for. */
static void shorter_sleep_wakes(void)
{
	char *area = ksm_map_mergeable(100);

	ksm_fill_unique(area, 100, SEED);
	ksm_set("sleep_millisecs", 1000000);
	ksm_set("pages_to_scan", 50);
	ksm_set("run", 1);
	ksm_check(ksm_poll(not_zero, "pages_scanned"), "a first batch runs");
	ksm_set("sleep_millisecs", 1);
	ksm_check(ksm_poll(not_zero, "full_scans"), "further batches follow");
}

/* Writing the knobs of a ksmd at work must not disturb what it does. */
static void knobs_change_at_work(void)
{
	char *area = ksm_map_mergeable(200);
	unsigned int i;

	ksm_fill_same(area, 200, SEED);
	ksm_set("run", 1);
	for (i = 0; i < 200; i++) {
		ksm_set("pages_to_scan", 1 + i * 7 % 300);
		ksm_set("sleep_millisecs", i % 3);
		ksm_set("smart_scan", i & 1);
		ksm_try("advisor_mode", i & 4 ? "scan-time" : "none");
		ksm_try("advisor_mode", "none");
	}
	ksm_set("smart_scan", 0);
	ksm_settle();
	ksm_expect_figures(1, 199, 0);
}

#define KNOB(name)	{ "range and errors of " #name, case_##name }

static const struct ksm_case cases[] = {
	{ "all files are there", files_present },
	{ "no new name begins with an old one", new_names },
	{ "every file reads as a line, for all", all_readable },
	{ "modes", modes },
	{ "figures cannot be written", figures_refuse_writing },
	{ "defaults", defaults },
	KNOB(run),
	KNOB(pages_to_scan),
	KNOB(sleep_millisecs),
	KNOB(merge_across_nodes),
	KNOB(use_zero_pages),
	KNOB(min_ptes_merged),
	KNOB(max_page_sharing),
	KNOB(stable_node_chains_prune_millisecs),
	KNOB(smart_scan),
	KNOB(advisor_max_cpu),
	KNOB(advisor_min_pages_to_scan),
	KNOB(advisor_max_pages_to_scan),
	KNOB(advisor_target_scan_time),
	KNOB(advisor_start_available),
	KNOB(advisor_full_available),
	{ "run reads back what was written", run_reads_back },
	{ "an open file reads anew after a seek", read_again_after_seek },
	{ "words for yes and no", boolean_words },
	{ "advisor_mode shows and takes its words", advisor_text },
	{ "advisor_mode refuses other words", advisor_refusals },
	{ "pages_to_scan is refused while the advisor is on", advisor_owns_pages_to_scan },
	{ "the advisor starts at its least and ends at the default", advisor_sets_pages_to_scan },
	{ "the advisor keeps to its bounds", advisor_keeps_bounds },
	{ "merge_across_nodes is busy while pages are shared", nodes_busy_while_shared },
	{ "max_page_sharing is busy while pages are shared", sharing_bound_busy_while_shared },
	{ "both change while pages are only known", change_with_unshared_pages },
	{ "a shorter sleep takes effect at once", shorter_sleep_wakes },
	{ "knobs change while ksmd is at work", knobs_change_at_work },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
