// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations that fail, by chance or at an interval: those of KSM's objects; and those
 * of pages by ksmd, by the writer of 2 to run, and by some workers, which get copies by
 * writes and from swap.
 *
 * CONFIG_FAIL_FUNCTION is of no use: it needs functions with ALLOW_ERROR_INJECTION(), and
 * mm/ksm/ has none. Functions there fail because of memory, a signal, or a lock or
 * reference of others. The last of these happens all the time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ksm_common.h"
#include "ksm_torture.h"

#define DEBUGFS		"/sys/kernel/debug/"
/* The kernel counts down from this number. */
#define MOST_FAULTS	"100000000"

const char *const torture_caches[TORTURE_CACHES] = {
	"ksm_mm_slot", "ksm_rmap_item", "ksm_stable_node", "ksm_leaf_1",
	"ksm_leaf_4", "ksm_leaf_16", "ksm_leaf_64", "ksm_mm_check",
};

/* How often allocations fail: in percent, or one in so many. */
struct mode {
	const char *percent;
	const char *interval;
};

static const struct mode nothing_fails = { "0", "1" };

static void set(const char *kind, const char *what, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", kind, what);
	ksm_write_file(path, value);
}

static void set_mode(const char *kind, const struct mode *mode)
{
	set(kind, "probability", "0");
	set(kind, "interval", mode->interval);
	set(kind, "probability", mode->percent);
}

static void set_up(const char *kind)
{
	set(kind, "ignore-gfp-wait", "N");
	set(kind, "verbose", "0");
	set(kind, "times", MOST_FAULTS);
}

static void hit(pid_t pid, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/make-it-fail", pid);
	ksm_write_file(path, value);
}

void faults_begin(void)
{
	static const struct mode objects = { "10", "1" }, pages = { "5", "1" };
	char path[128];
	unsigned int i;

	for (i = 0; i < TORTURE_CACHES; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", torture_caches[i]);
		ksm_write_file(path, "1");
	}
	set("failslab", "cache-filter", "Y");
	set_up("failslab");
	hit(ksm_ksmd(), "1");
	set("fail_page_alloc", "task-filter", "Y");
	set("fail_page_alloc", "ignore-gfp-highmem", "N");
	set("fail_page_alloc", "min-order", "0");
	set_up("fail_page_alloc");
	set_mode("failslab", &objects);
	set_mode("fail_page_alloc", &pages);
}

/* An interval hits rare allocations as often as others. */
void faults_choose(struct dice *dice)
{
	static const struct mode of_objects[] = {
		{ "10", "1" }, { "50", "1" }, { "100", "3" }, { "100", "17" }, { "100", "100" },
	};
	static const struct mode of_pages[] = {
		{ "5", "1" }, { "1", "1" }, { "100", "13" }, { "100", "97" }, { "100", "1000" },
	};

	set_mode("failslab", &of_objects[roll(dice, ARRAY_SIZE(of_objects))]);
	set_mode("fail_page_alloc", &of_pages[roll(dice, ARRAY_SIZE(of_pages))]);
}

static bool hits_me;

/* From here on, allocations of pages by the caller and its children may fail. */
void faults_hit_me(void)
{
	hits_me = torture->faults;
	if (hits_me)
		hit(getpid(), "1");
}

/* If an allocation fails half-way through an exec, the process is killed. */
void faults_spare_me(void)
{
	if (hits_me)
		hit(getpid(), "0");
}

void faults_hit_me_again(void)
{
	if (hits_me)
		hit(getpid(), "1");
}

static long faults_of(const char *kind)
{
	char path[128], text[32] = "";
	FILE *file;

	snprintf(path, sizeof(path), DEBUGFS "%s/times", kind);
	file = fopen(path, "r");
	if (!file)
		return 0;
	if (!fgets(text, sizeof(text), file))
		text[0] = '\0';
	fclose(file);
	return text[0] ? strtol(MOST_FAULTS, NULL, 10) - strtol(text, NULL, 10) : 0;
}

void faults_end(void)
{
	torture->failed_objects = faults_of("failslab");
	torture->failed_pages = faults_of("fail_page_alloc");
	set_mode("failslab", &nothing_fails);
	set_mode("fail_page_alloc", &nothing_fails);
	hit(ksm_ksmd(), "0");
}
