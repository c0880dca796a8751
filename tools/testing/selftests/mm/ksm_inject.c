// SPDX-License-Identifier: GPL-2.0
/*
 * Makes allocations fail. See ksm_inject.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_inject.h"

#define DEBUGFS		"/sys/kernel/debug/"
#define MAKE_IT_FAIL	"/proc/self/make-it-fail"
/* An operation that allocates more often counts as endless. */
#define MOST_ATTEMPTS	2000
/* "times" counts down from here. */
#define MOST_FAULTS	1000000L
/* The page allocator has no block of this order. */
#define NO_ORDER	64

/* The files in debugfs at the start of a case: no allocation fails. */
static const struct {
	const char *name;
	const char *value;
} settings[] = {
	{ "failslab/probability", "0" },
	{ "failslab/interval", "1" },
	{ "failslab/times", "-1" },
	{ "failslab/space", "0" },
	{ "failslab/verbose", "0" },
	{ "failslab/task-filter", "N" },
	{ "failslab/cache-filter", "N" },
	{ "failslab/ignore-gfp-wait", "N" },
	{ "fail_page_alloc/probability", "0" },
	{ "fail_page_alloc/interval", "1" },
	{ "fail_page_alloc/times", "-1" },
	{ "fail_page_alloc/space", "0" },
	{ "fail_page_alloc/verbose", "0" },
	{ "fail_page_alloc/task-filter", "N" },
	{ "fail_page_alloc/min-order", "0" },
	{ "fail_page_alloc/ignore-gfp-wait", "N" },
	{ "fail_page_alloc/ignore-gfp-highmem", "N" },
};

/* The caches of KSM, and others that cases use. */
static const char *const caches[] = {
	"ksm_mm_slot", "ksm_rmap_item", "ksm_stable_node", "ksm_leaf_1",
	"ksm_leaf_4", "ksm_leaf_16", "ksm_leaf_64", "ksm_mm_check", "kmalloc-2k",
	"radix_tree_node", "vm_area_struct",
};

unsigned int outcomes[OUTCOMES];
static char before[ARRAY_SIZE(settings)][32];
static struct ksm_child witness;

/* Settings. */

static int try_setting(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "%s", name);
	return ksm_write_file(path, value);
}

static void set(const char *kind, const char *what, const char *value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/%s", kind, what);
	ksm_check(!try_setting(name, value), name);
}

static void set_number(const char *kind, const char *what, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	set(kind, what, text);
}

static void read_setting(const char *name, char *value, size_t size)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), DEBUGFS "%s", name);
	file = fopen(path, "r");
	if (!file || !fgets(value, size, file))
		value[0] = '\0';
	if (file)
		fclose(file);
}

static int flag_cache(const char *cache, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/failslab", cache);
	return ksm_write_file(path, value);
}

static int tell_ksmd(const char *file, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", ksm_ksmd(), file);
	return ksm_write_file(path, value);
}

void inject_nothing(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		try_setting(settings[i].name, settings[i].value);
	for (i = 0; i < ARRAY_SIZE(caches); i++)
		flag_cache(caches[i], "0");
	ksm_write_file(MAKE_IT_FAIL, "0");
	tell_ksmd("make-it-fail", "0");
	tell_ksmd("fail-nth", "0");
}

static bool save_settings(void)
{
	bool complete = !access("/proc/self/fail-nth", W_OK);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		read_setting(settings[i].name, before[i], sizeof(before[i]));
		complete &= !!before[i][0];
	}
	return complete;
}

static void restore_settings(void)
{
	unsigned int i;

	inject_nothing();
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		try_setting(settings[i].name, before[i]);
}

int inject_run_cases(const struct ksm_case *cases, unsigned int count)
{
	if (!save_settings()) {
		ksft_print_header();
		ksft_exit_skip("needs FAILSLAB, FAIL_PAGE_ALLOC, FAULT_INJECTION_DEBUG_FS\n");
	}
	atexit(restore_settings);
	return ksm_run_cases(cases, count);
}

/* One allocation fails. */

/* The file stays open, because opening it allocates memory. */
static int own_file(void)
{
	static pid_t owner;
	static int fd;

	if (owner != getpid()) {
		owner = getpid();
		fd = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
		ksm_check(fd >= 0, "/proc/self/fail-nth can be opened");
	}
	return fd;
}

static void write_nth(int fd, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	ksm_check(pwrite(fd, text, len, 0) == len, "fail-nth can be written to");
}

/* Ends the injection. Returns whether the allocation has failed. */
static bool end_nth(int fd)
{
	char text[16] = "";

	ksm_check(pread(fd, text, sizeof(text) - 1, 0) > 0, "fail-nth can be read");
	write_nth(fd, 0);
	return !strtoul(text, NULL, 10);
}

void inject(unsigned int nth)
{
	write_nth(own_file(), nth);
}

bool injected(void)
{
	return end_nth(own_file());
}

enum outcome inject_judge(const char *what, int error, int want)
{
	bool failed = injected();

	if (error && error != want)
		ksm_fail("%s without memory: %s", what, strerror(error));
	if (error && !failed)
		ksm_fail("%s: %s, though there was memory", what, strerror(error));
	if (!failed)
		return UNTOUCHED;
	return error ? REFUSED : WENT_ON;
}

void inject_ksmd(unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	ksm_check(!tell_ksmd("fail-nth", text), "fail-nth of ksmd can be written to");
}

enum outcome inject_judge_ksmd(void)
{
	char path[64];
	bool failed;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/fail-nth", ksm_ksmd());
	fd = open(path, O_RDWR);
	ksm_check(fd >= 0, "fail-nth of ksmd can be opened");
	failed = end_nth(fd);
	close(fd);
	return failed ? WENT_ON : UNTOUCHED;
}

void inject_each(attempt_fn *attempt)
{
	enum outcome outcome;
	unsigned int nth = 0;

	do {
		outcome = attempt(++nth);
		outcomes[outcome]++;
		if (witness.pid)
			ksm_child_step(&witness);
	} while (outcome != UNTOUCHED && nth < MOST_ATTEMPTS);
	ksft_print_msg("%u failed: %u refused, %u went on, %u killed\n",
		       nth - 1, outcomes[REFUSED], outcomes[WENT_ON],
		       outcomes[KILLED]);
	ksm_check(outcome == UNTOUCHED, "at last no allocation is left to fail");
}

pid_t inject_child_start(attempt_fn *attempt, unsigned int nth)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(attempt(nth));
	}
	return pid;
}

enum outcome inject_child_end(pid_t pid, bool may_be_killed)
{
	int status;

	ksm_check(waitpid(pid, &status, 0) == pid, "waitpid");
	if (WIFEXITED(status) && WEXITSTATUS(status) >= UNTOUCHED)
		return WEXITSTATUS(status);
	if (!may_be_killed || !WIFSIGNALED(status))
		ksm_fail("an attempt ended with wait status 0x%x", status);
	return KILLED;
}

enum outcome inject_child(attempt_fn *attempt, unsigned int nth, bool may_be_killed)
{
	pid_t pid = inject_child_start(attempt, nth);

	ksm_check(pid >= 0, "fork");
	return inject_child_end(pid, may_be_killed);
}

static void witness_run(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(INJECT_PAGES);

	(void)arg;
	ksm_fill_same(area, INJECT_PAGES, INJECT_SEED);
	for (;;) {
		ksm_child_pause(self);
		ksm_check_same(area, INJECT_PAGES, INJECT_SEED);
	}
}

void inject_call_witness(void)
{
	ksm_child_start(&witness, witness_run, NULL);
	ksm_child_wait(&witness);
}

void inject_dismiss_witness(void)
{
	ksm_child_kill(&witness);
	witness.pid = 0;
}

/* Many allocations fail. */

/*
 * Lets the caches that match the pattern fail. The kernel may have merged a cache with
 * another one. Then it cannot fail alone.
 */
static void flag_caches(const char *pattern)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(caches); i++) {
		if (fnmatch(pattern, caches[i], 0))
			continue;
		if (flag_cache(caches[i], "1"))
			ksm_skip("the cache %s is merged with another one; boot with slab_nomerge",
				 caches[i]);
	}
	set("failslab", "cache-filter", "Y");
}

/*
 * Without this, other allocations of a debug kernel count for inject(): kmemleak allocates
 * an object for each other object, and slabs grow now and then.
 */
void inject_only(const char *pattern)
{
	flag_caches(pattern);
	set_number("fail_page_alloc", "min-order", NO_ORDER);
}

void inject_caches(const char *pattern, long interval, long percent)
{
	flag_caches(pattern);
	set_number("failslab", "times", MOST_FAULTS);
	set_number("failslab", "interval", interval);
	set_number("failslab", "probability", percent);
}

void inject_own(const char *cache)
{
	ksm_check(!ksm_write_file(MAKE_IT_FAIL, "1"), "the test can be made to fail");
	set("failslab", "task-filter", "Y");
	inject_caches(cache, 1, 100);
}

/* The caller needs the file to end this, because opening it allocates memory. */
int inject_own_pages(unsigned int allowed)
{
	int fd = open(MAKE_IT_FAIL, O_WRONLY);

	set("fail_page_alloc", "task-filter", "Y");
	/* An allocation passes while "space" is greater than its size, which is 1. */
	set_number("fail_page_alloc", "space", allowed ? allowed + 1 : 0);
	set_number("fail_page_alloc", "times", MOST_FAULTS);
	set_number("fail_page_alloc", "probability", 100);
	ksm_check(pwrite(fd, "1", 1, 0) == 1, "the test can be made to fail");
	return fd;
}

void inject_own_pages_end(int fd)
{
	ksm_check(pwrite(fd, "0", 1, 0) == 1, "the test has memory again");
	close(fd);
}

void inject_ksmd_all(const char *kind)
{
	ksm_check(!tell_ksmd("make-it-fail", "1"), "ksmd can be made to fail");
	set(kind, "task-filter", "Y");
	set_number(kind, "times", MOST_FAULTS);
	set_number(kind, "probability", 100);
}

long inject_count(const char *kind)
{
	char name[64], value[32];

	snprintf(name, sizeof(name), "%s/times", kind);
	read_setting(name, value, sizeof(value));
	return MOST_FAULTS - strtol(value, NULL, 10);
}
