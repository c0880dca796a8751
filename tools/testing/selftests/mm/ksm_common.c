// SPDX-License-Identifier: GPL-2.0
/*
 * What the ksm_* selftests share; ksm_common.h says what for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ksm_common.h"

#define KSM_DIR		"/sys/kernel/mm/ksm/"
#define KSM_CASE_MS	300000L
#define KSM_TEXT	64
#define CGROUP		"/sys/fs/cgroup/"
#define CGROUP_OURS	CGROUP "ksm_selftest/"
#define ZRAM_DEVICE	"/dev/zram0"
#define ZRAM_DIR	"/sys/block/zram0/"

const char *const ksm_files[KSM_NR_FILES] = {
	"run", "pages_to_scan", "sleep_millisecs", "merge_across_nodes",
	"use_zero_pages", "max_page_sharing",
	"stable_node_chains_prune_millisecs", "smart_scan", "advisor_mode",
	"advisor_max_cpu", "advisor_min_pages_to_scan",
	"advisor_max_pages_to_scan", "advisor_target_scan_time",
	/* From here on: figures. */
	"full_scans", "pages_scanned", "pages_skipped", "pages_shared",
	"pages_sharing", "pages_unshared", "pages_volatile", "ksm_zero_pages",
	"stable_node_chains", "stable_node_dups", "general_profit",
};

/* What a case tells the process that started it. */
struct ksm_shared {
	char reason[256];
	bool swap_is_ours;
	bool cgroup_is_ours;
};

static struct ksm_shared *shared_state;
static char initial[KSM_NR_CONTROLS][KSM_TEXT];

/* Verdicts. */

void ksm_fail(const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s\n", text);
	_exit(KSFT_FAIL);
}

void ksm_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(shared_state->reason, sizeof(shared_state->reason), fmt, args);
	va_end(args);
	_exit(KSFT_SKIP);
}

void ksm_expect(const char *what, long got, long want)
{
	if (got != want)
		ksm_fail("%s: %ld instead of %ld", what, got, want);
}

void ksm_check(bool ok, const char *what)
{
	if (!ok)
		ksm_fail("does not hold: %s (errno %d)", what, errno);
}

/* Files. Plain system calls, so that a signal handler may use them too. */

int ksm_write_file(const char *path, const char *text)
{
	ssize_t len = strlen(text), done;
	int fd, err = 0;

	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	done = write(fd, text, len);
	if (done < 0)
		err = -errno;
	else if (done != len)
		err = -EIO;
	close(fd);
	return err;
}

static ssize_t read_text(const char *path, char *text, size_t size)
{
	ssize_t len;
	int fd;

	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	if (len < 0)
		len = -errno;
	close(fd);
	text[len < 0 ? 0 : len] = '\0';
	return len;
}

static const char *ksm_path(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), KSM_DIR "%s", name);
	return path;
}

int ksm_try(const char *name, const char *text)
{
	return ksm_write_file(ksm_path(name), text);
}

void ksm_set(const char *name, long value)
{
	char text[KSM_TEXT];
	int err;

	snprintf(text, sizeof(text), "%ld", value);
	err = ksm_try(name, text);
	if (err)
		ksm_fail("writing %ld to %s: %s", value, name, strerror(-err));
}

void ksm_get_text(const char *name, char *text, size_t size)
{
	ssize_t len = read_text(ksm_path(name), text, size);

	if (len < 0)
		ksm_fail("reading %s: %s", name, strerror(-len));
}

long ksm_get(const char *name)
{
	char text[KSM_TEXT];

	ksm_get_text(name, text, sizeof(text));
	return strtol(text, NULL, 10);
}

/* What a knob held before the first case. */
const char *ksm_initial(const char *name)
{
	unsigned int i;

	for (i = 0; i < KSM_NR_CONTROLS; i++)
		if (!strcmp(ksm_files[i], name))
			return initial[i];
	return "";
}

void ksm_expect_figures(long shared, long sharing, long unshared)
{
	long figures[4] = {
		ksm_get("pages_shared"), ksm_get("pages_sharing"),
		ksm_get("pages_unshared"), ksm_get("pages_volatile"),
	};

	if (figures[0] != shared || figures[1] != sharing ||
	    figures[2] != unshared || figures[3] != 0)
		ksm_fail("shared %ld sharing %ld unshared %ld volatile %ld, not %ld %ld %ld 0",
			 figures[0], figures[1], figures[2], figures[3],
			 shared, sharing, unshared);
}

void ksm_expect_nothing(void)
{
	ksm_expect_figures(0, 0, 0);
	ksm_expect("ksm_zero_pages", ksm_get("ksm_zero_pages"), 0);
	ksm_expect("stable_node_chains", ksm_get("stable_node_chains"), 0);
	ksm_expect("stable_node_dups", ksm_get("stable_node_dups"), 0);
}

/* Saving and restoring. */

static void save_knobs(void)
{
	unsigned int i;

	for (i = 0; i < KSM_NR_CONTROLS; i++)
		read_text(ksm_path(ksm_files[i]), initial[i], KSM_TEXT);
}

/*
 * Everything is unmerged first, since two knobs refuse to change while pages
 * are shared; the advisor comes last, since pages_to_scan is its own while it
 * is on, and run after that.
 */
static void restore_knobs(void)
{
	unsigned int i;

	ksm_try("run", "2");
	ksm_try("advisor_mode", "none");
	for (i = 1; i < KSM_NR_CONTROLS; i++)
		if (strcmp(ksm_files[i], "advisor_mode"))
			ksm_try(ksm_files[i], initial[i]);
	if (strstr(ksm_initial("advisor_mode"), "[scan-time]"))
		ksm_try("advisor_mode", "scan-time");
	ksm_try("run", ksm_initial("run"));
}

/* Each case begins with everything unmerged, ksmd at rest but fast. */
static void set_test_knobs(void)
{
	static const char *const values[KSM_NR_CONTROLS] = {
		"2", "20000", "1", "1", "0", "256", "2000", "0", "none",
		"70", "500", "30000", "200",
	};
	unsigned int i;

	ksm_try("run", "2");
	ksm_try("advisor_mode", "none");
	for (i = 1; i < KSM_NR_CONTROLS; i++)
		ksm_try(ksm_files[i], values[i]);
}

static void on_signal(int signal)
{
	restore_knobs();
	_exit(128 + signal);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action = { .sa_handler = on_signal };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
}

static void default_signals(void)
{
	signal(SIGHUP, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

/* Waiting. */

long ksm_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000;
}

bool ksm_poll(bool (*condition)(void *arg), void *arg)
{
	long end = ksm_now_ms() + KSM_PATIENCE_MS;

	while (!condition(arg)) {
		if (ksm_now_ms() > end)
			return false;
		usleep(1000);
	}
	return true;
}

struct figure {
	const char *name;
	long value;
};

static bool figure_is(void *arg)
{
	struct figure *figure = arg;

	return ksm_get(figure->name) == figure->value;
}

static bool figure_reached(void *arg)
{
	struct figure *figure = arg;

	return ksm_get(figure->name) >= figure->value;
}

bool ksm_wait_figure(const char *name, long want)
{
	struct figure figure = { name, want };

	return ksm_poll(figure_is, &figure);
}

static bool is_ksmd(const char *pid)
{
	char path[300], name[16] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(name, sizeof(name), file))
		name[0] = '\0';
	fclose(file);
	return !strcmp(name, "ksmd\n");
}

/* 0 where ksmd is not to be seen. */
pid_t ksm_ksmd(void)
{
	static pid_t ksmd;
	struct dirent *entry;
	DIR *proc;

	if (ksmd)
		return ksmd;
	proc = opendir("/proc");
	while (proc && !ksmd && (entry = readdir(proc)))
		if (is_ksmd(entry->d_name))
			ksmd = atoi(entry->d_name);
	if (proc)
		closedir(proc);
	return ksmd;
}

static bool ksmd_asleep(void *arg)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", ksm_ksmd());
	file = fopen(path, "r");
	if (!file)
		ksm_skip("ksmd is not to be seen in /proc");
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(file);
	return state == 'S';
}

/* A change of sleep_millisecs wakes ksmd only if it sleeps already. */
void ksm_wait_asleep(void)
{
	ksm_check(ksm_poll(ksmd_asleep, NULL), "ksmd goes to sleep");
}

/* Lets ksmd go round @count times more, and stops it. */
void ksm_passes(unsigned int count)
{
	struct figure figure = { "full_scans", ksm_get("full_scans") + count };

	ksm_set("run", 1);
	if (!ksm_poll(figure_reached, &figure))
		ksm_fail("full_scans stands at %ld and did not reach %ld within %ld s",
			 ksm_get("full_scans"), figure.value, KSM_PATIENCE_MS / 1000);
	ksm_stop();
}

/*
 * One pass and no more, for cases where a second one would matter: ksmd sleeps
 * very long after it, and wakes when that time is changed.
 */
void ksm_one_pass(void)
{
	static unsigned int turn;
	struct figure figure = { "full_scans", ksm_get("full_scans") + 1 };

	ksm_wait_asleep();
	ksm_set("sleep_millisecs", 1000000 + ++turn % 2);
	ksm_set("run", 1);
	if (!ksm_poll(figure_is, &figure))
		ksm_fail("full_scans stands at %ld and not at %ld after %ld s",
			 ksm_get("full_scans"), figure.value, KSM_PATIENCE_MS / 1000);
}

/* The three passes after which the figures have to be exact. */
void ksm_settle(void)
{
	ksm_passes(3);
}

void ksm_stop(void)
{
	ksm_set("run", 0);
}

void ksm_unmerge_all(void)
{
	ksm_set("run", 2);
}

/* Memory. */

char *ksm_map(size_t pages)
{
	char *area = mmap(NULL, pages * psize(), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		ksm_fail("mapping %zu pages: %s", pages, strerror(errno));
	/* Huge pages are the matter of ksm_thp alone. */
	madvise(area, pages * psize(), MADV_NOHUGEPAGE);
	return area;
}

void ksm_mergeable(void *area, size_t pages)
{
	if (madvise(area, pages * psize(), MADV_MERGEABLE))
		ksm_fail("MADV_MERGEABLE: %s", strerror(errno));
}

void ksm_unmergeable(void *area, size_t pages)
{
	if (madvise(area, pages * psize(), MADV_UNMERGEABLE))
		ksm_fail("MADV_UNMERGEABLE: %s", strerror(errno));
}

char *ksm_map_mergeable(size_t pages)
{
	char *area = ksm_map(pages);

	ksm_mergeable(area, pages);
	return area;
}

/* Words that look random, differ between seeds, and repeat with the seed. */
static uint64_t word_of(uint64_t seed, size_t index)
{
	uint64_t word = seed * 0x9e3779b97f4a7c15ULL + index;

	if (!seed)
		return 0;
	word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
	return word ^ (word >> 27);
}

void ksm_fill(char *page, uint64_t seed)
{
	uint64_t *words = (uint64_t *)page;
	size_t i;

	for (i = 0; i < psize() / sizeof(*words); i++)
		words[i] = word_of(seed, i);
}

bool ksm_holds(const char *page, uint64_t seed)
{
	const uint64_t *words = (const uint64_t *)page;
	size_t i;

	for (i = 0; i < psize() / sizeof(*words); i++)
		if (words[i] != word_of(seed, i))
			return false;
	return true;
}

void ksm_fill_same(char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		ksm_fill(area + i * psize(), seed);
}

void ksm_fill_unique(char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		ksm_fill(area + i * psize(), seed + i);
}

void ksm_check_same(const char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (!ksm_holds(area + i * psize(), seed))
			ksm_fail("page %zu of %zu no longer holds what was written", i, pages);
}

void ksm_check_unique(const char *area, size_t pages, uint64_t seed)
{
	size_t i;

	for (i = 0; i < pages; i++)
		if (!ksm_holds(area + i * psize(), seed + i))
			ksm_fail("page %zu of %zu no longer holds what was written", i, pages);
}

/* An area of equal pages that ksmd has merged, with ksmd stopped again. */
char *ksm_merged_area(size_t pages, uint64_t seed)
{
	char *area = ksm_map_mergeable(pages);

	ksm_fill_same(area, pages, seed);
	ksm_settle();
	ksm_expect("merged pages", ksm_count_merged(area, pages), pages);
	return area;
}

/* Pages. */

static uint64_t read_entry(const char *path, uint64_t index)
{
	uint64_t entry = 0;
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		ksm_skip("%s cannot be opened", path);
	if (pread(fd, &entry, sizeof(entry), index * sizeof(entry)) != sizeof(entry))
		ksm_fail("reading %s: %s", path, strerror(errno));
	close(fd);
	return entry;
}

uint64_t ksm_pagemap(const void *addr)
{
	return read_entry("/proc/self/pagemap", (uintptr_t)addr / psize());
}

unsigned long ksm_pfn(const void *addr)
{
	uint64_t entry = ksm_pagemap(addr);

	return PAGEMAP_PRESENT(entry) ? PAGEMAP_PFN(entry) : 0;
}

uint64_t ksm_pageflags(const void *addr)
{
	unsigned long pfn = ksm_pfn(addr);

	return pfn ? read_entry("/proc/kpageflags", pfn) : 0;
}

long ksm_mapcount(const void *addr)
{
	unsigned long pfn = ksm_pfn(addr);

	return pfn ? (long)read_entry("/proc/kpagecount", pfn) : 0;
}

static bool probe_flag(void)
{
	char *page = ksm_map(1);
	bool result;

	ksm_fill(page, 1);
	result = !(ksm_pageflags(page) & KPF_KSM_BIT);
	munmap(page, psize());
	return result;
}

/* Some kernels set the flag for anonymous pages of every kind. */
bool ksm_flag_trusted(void)
{
	static int trusted = -1;

	if (trusted < 0)
		trusted = probe_flag();
	return trusted;
}

/* Where the flag says nothing, being mapped more than once has to do. */
bool ksm_is_merged(const void *addr)
{
	return (ksm_pageflags(addr) & KPF_KSM_BIT) &&
	       (ksm_flag_trusted() || ksm_mapcount(addr) > 1);
}

size_t ksm_count_soft_dirty(const char *area, size_t pages)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		count += !!(ksm_pagemap(area + i * psize()) & PM_SOFT_DIRTY);
	return count;
}

void ksm_clear_soft_dirty(void)
{
	ksm_check(!ksm_write_file("/proc/self/clear_refs", "4"), "clear_refs");
}

size_t ksm_count_flag(const char *area, size_t pages, uint64_t flag)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		if (ksm_pageflags(area + i * psize()) & flag)
			count++;
	return count;
}

size_t ksm_count_merged(const char *area, size_t pages)
{
	size_t i, count = 0;

	for (i = 0; i < pages; i++)
		count += ksm_is_merged(area + i * psize());
	return count;
}

static int compare_pfns(const void *a, const void *b)
{
	const unsigned long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

size_t ksm_distinct_merged(const char *area, size_t pages)
{
	unsigned long *pfns = calloc(pages, sizeof(*pfns));
	size_t i, count = 0, distinct = 0;

	for (i = 0; i < pages; i++)
		if (ksm_is_merged(area + i * psize()))
			pfns[count++] = ksm_pfn(area + i * psize());
	qsort(pfns, count, sizeof(*pfns), compare_pfns);
	for (i = 0; i < count; i++)
		distinct += !i || pfns[i] != pfns[i - 1];
	free(pfns);
	return distinct;
}

/* Figures in files of lines. */

/* If @line is "NAME value" or "NAME: value", where its value begins. */
static char *value_in(char *line, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(line, name, len))
		return NULL;
	line += len;
	if (*line != ':' && *line != ' ')
		return NULL;
	line += strspn(line, ": \t");
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* Copies what stands after @name in its line, and says whether it is there. */
bool ksm_field(const char *path, const char *name, char *value, size_t size)
{
	FILE *file = fopen(path, "r");
	char line[512], *found = NULL;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = value_in(line, name);
	fclose(file);
	if (found)
		snprintf(value, size, "%s", found);
	return found;
}

bool ksm_stat_text(pid_t pid, const char *name, char *value, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_stat", pid ? pid : getpid());
	return ksm_field(path, name, value, size);
}

long ksm_stat(pid_t pid, const char *name)
{
	char value[KSM_TEXT];

	if (!ksm_stat_text(pid, name, value, sizeof(value)))
		ksm_fail("process %d does not tell its %s", pid, name);
	return strtol(value, NULL, 10);
}

long ksm_vmstat(const char *name)
{
	char value[KSM_TEXT];

	if (!ksm_field("/proc/vmstat", name, value, sizeof(value)))
		ksm_fail("there is no %s in /proc/vmstat", name);
	return strtol(value, NULL, 10);
}

/* Is @line the head of the VMA that holds @addr? */
static bool vma_head(const char *line, const void *addr, bool *inside)
{
	unsigned long start, end;

	if (sscanf(line, "%lx-%lx ", &start, &end) != 2)
		return false;
	*inside = (uintptr_t)addr >= start && (uintptr_t)addr < end;
	return true;
}

bool ksm_smaps(const void *addr, const char *name, char *value, size_t size)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512], *found = NULL;
	bool inside = false;

	if (!file)
		ksm_skip("/proc/self/smaps cannot be opened");
	while (!found && fgets(line, sizeof(line), file))
		if (!vma_head(line, addr, &inside) && inside)
			found = value_in(line, name);
	fclose(file);
	if (found)
		snprintf(value, size, "%s", found);
	return found;
}

bool ksm_vmflag(const void *addr, const char *flag)
{
	char flags[256], *word;

	if (!ksm_smaps(addr, "VmFlags", flags, sizeof(flags)))
		ksm_fail("there is no VmFlags line in smaps");
	for (word = strtok(flags, " "); word; word = strtok(NULL, " "))
		if (!strcmp(word, flag))
			return true;
	return false;
}

/* Children. */

static void send_byte(int fd)
{
	char byte = 0;

	if (write(fd, &byte, 1) != 1)
		ksm_fail("the other side of a case has gone: %s", strerror(errno));
}

static bool receive_byte(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char byte;

	return poll(&ready, 1, KSM_PATIENCE_MS) == 1 && read(fd, &byte, 1) == 1;
}

static void close_ends(struct ksm_child *child)
{
	close(child->in);
	close(child->out);
}

void ksm_child_start(struct ksm_child *child,
		     void (*run)(struct ksm_child *self, void *arg), void *arg)
{
	int down[2], up[2];

	if (pipe(down) || pipe(up))
		ksm_fail("pipe: %s", strerror(errno));
	child->pid = fork();
	if (child->pid < 0)
		ksm_fail("fork: %s", strerror(errno));
	if (!child->pid) {
		struct ksm_child self = { .pid = getpid(), .in = down[0], .out = up[1] };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		close(up[0]);
		run(&self, arg);
		_exit(KSFT_PASS);
	}
	close(down[0]);
	close(up[1]);
	child->in = up[0];
	child->out = down[1];
}

/* In the child: says that it has come this far, and waits to be let on. */
void ksm_child_pause(struct ksm_child *self)
{
	send_byte(self->out);
	if (!receive_byte(self->in))
		_exit(KSFT_FAIL);
}

void ksm_child_wait(struct ksm_child *child)
{
	if (!receive_byte(child->in))
		ksm_fail("a child ended early or hung");
}

void ksm_child_go(struct ksm_child *child)
{
	send_byte(child->out);
}

void ksm_child_step(struct ksm_child *child)
{
	ksm_child_go(child);
	ksm_child_wait(child);
}

/* Lets the child run to its end, which has to be a good one. */
void ksm_child_end(struct ksm_child *child)
{
	ksm_child_go(child);
	ksm_wait_ok(child->pid);
	close_ends(child);
}

void ksm_child_kill(struct ksm_child *child)
{
	kill(child->pid, SIGKILL);
	waitpid(child->pid, NULL, 0);
	close_ends(child);
}

void ksm_wait_ok(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		ksm_fail("waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == KSFT_SKIP)
		_exit(KSFT_SKIP);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		ksm_fail("a child ended with wait status 0x%x", status);
}

/* Swap. */

static bool have_swap(void)
{
	char value[KSM_TEXT];

	return ksm_field("/proc/meminfo", "SwapTotal", value, sizeof(value)) &&
	       strtol(value, NULL, 10) > 0;
}

/* The header mkswap(8) writes, and no more. */
static bool write_swap_header(const char *device, uint32_t pages)
{
	uint32_t *page = calloc(1, psize());
	int fd = open(device, O_WRONLY);
	bool done;

	page[1024 / sizeof(*page)] = 1;
	page[1024 / sizeof(*page) + 1] = pages - 1;
	memcpy((char *)page + psize() - 10, "SWAPSPACE2", 10);
	done = fd >= 0 && pwrite(fd, page, psize(), 0) == (ssize_t)psize();
	if (fd >= 0)
		close(fd);
	free(page);
	return done;
}

static bool swap_on_zram(void)
{
	char text[KSM_TEXT];

	if (read_text(ZRAM_DIR "initstate", text, sizeof(text)) < 0 || text[0] != '0')
		return false;
	if (ksm_write_file(ZRAM_DIR "disksize", "256M"))
		return false;
	return write_swap_header(ZRAM_DEVICE, (256 << 20) / psize()) &&
	       !swapon(ZRAM_DEVICE, 0);
}

void ksm_need_swap(void)
{
	if (have_swap())
		return;
	if (!swap_on_zram())
		ksm_skip("there is no swap, and no free zram device to make some");
	shared_state->swap_is_ours = true;
}

/*
 * Puts the case into a memory cgroup of its own, which can be told to give
 * memory back: MADV_PAGEOUT leaves alone what is mapped more than once.
 */
void ksm_need_reclaim(void)
{
	char pid[KSM_TEXT];

	ksm_need_swap();
	ksm_write_file(CGROUP "cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP_OURS, 0755) && errno != EEXIST)
		ksm_skip("no cgroup can be made in " CGROUP);
	shared_state->cgroup_is_ours = true;
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (access(CGROUP_OURS "memory.reclaim", W_OK) ||
	    ksm_write_file(CGROUP_OURS "cgroup.procs", pid))
		ksm_skip("there is no memory.reclaim in cgroups here");
}

struct range {
	const char *area;
	size_t pages;
};

/* Makes all pages of the case look unused, or reclaim would rather wait. */
static void age_pages(void)
{
	FILE *file = fopen(CGROUP_OURS "cgroup.procs", "r");
	char path[64];
	int pid;

	while (file && fscanf(file, "%d", &pid) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
		ksm_write_file(path, "1");
	}
	if (file)
		fclose(file);
}

static bool swapped_out(void *arg)
{
	const struct range *range = arg;
	size_t i;

	age_pages();
	/* It says EAGAIN when it found less than it was asked for. */
	ksm_write_file(CGROUP_OURS "memory.reclaim", "256K");
	for (i = 0; i < range->pages; i++)
		if (!(ksm_pagemap(range->area + i * psize()) & PM_SWAP))
			return false;
	return true;
}

/* Has all of an area swapped out. */
bool ksm_reclaim(const char *area, size_t pages)
{
	struct range range = { area, pages };

	return ksm_poll(swapped_out, &range);
}

/* Nodes. */

static void parse_nodes(const char *text, int nodes[2])
{
	char *end;
	long first, last;
	int count = 0;

	while (count < 2 && *text >= '0' && *text <= '9') {
		first = strtol(text, &end, 10);
		last = *end == '-' ? strtol(end + 1, &end, 10) : first;
		for (; first <= last && count < 2; first++)
			nodes[count++] = first;
		text = *end == ',' ? end + 1 : end;
	}
}

void ksm_need_nodes(int nodes[2])
{
	char text[256] = "";

	nodes[1] = -1;
	read_text("/sys/devices/system/node/has_memory", text, sizeof(text));
	parse_nodes(text, nodes);
	if (nodes[1] < 0)
		ksm_skip("there are no two NUMA nodes with memory");
}

char *ksm_map_on_node(size_t pages, int node)
{
	unsigned long mask = 1UL << node;
	char *area = ksm_map(pages);

	if (syscall(SYS_mbind, area, pages * psize(), MPOL_BIND, &mask,
		    sizeof(mask) * 8, 0))
		ksm_fail("mbind to node %d: %s", node, strerror(errno));
	return area;
}

int ksm_node_of(const void *addr)
{
	int status = -1;

	syscall(SYS_move_pages, 0, 1UL, &addr, NULL, &status, 0);
	return status;
}

/* As move_pages(2), for a range; @status is for every page of it. */
long ksm_move_pages(char *area, size_t pages, int node, int flags, int *status)
{
	void **addrs = calloc(pages, sizeof(*addrs));
	int *nodes = calloc(pages, sizeof(*nodes));
	long result;
	size_t i;

	for (i = 0; i < pages; i++) {
		addrs[i] = area + i * psize();
		nodes[i] = node;
		status[i] = -EAGAIN;
	}
	result = syscall(SYS_move_pages, 0, pages, addrs, nodes, status, flags);
	free(addrs);
	free(nodes);
	return result;
}

/* The frame. */

static void give_back(void)
{
	if (shared_state->cgroup_is_ours)
		rmdir(CGROUP_OURS);
	shared_state->cgroup_is_ours = false;
}

static void give_back_swap(void)
{
	if (!shared_state->swap_is_ours)
		return;
	swapoff(ZRAM_DEVICE);
	ksm_write_file(ZRAM_DIR "reset", "1");
}

/* Waits for the case and, as their reaper, for all it left behind. */
static int collect_case(pid_t pid)
{
	long end = ksm_now_ms() + KSM_CASE_MS;
	int status = 0, verdict = KSFT_FAIL;

	while (!waitpid(pid, &status, WNOHANG)) {
		if (ksm_now_ms() > end) {
			ksft_print_msg("the case did not end within %ld s\n", KSM_CASE_MS / 1000);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		usleep(1000);
	}
	if (WIFEXITED(status))
		verdict = WEXITSTATUS(status);
	else
		ksft_print_msg("the case was ended by signal %d\n", WTERMSIG(status));
	kill(-pid, SIGKILL);
	while (waitpid(-1, &status, 0) > 0 || errno == EINTR)
		;
	return verdict;
}

static void start_case(const struct ksm_case *test)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	default_signals();
	test->run();
	_exit(KSFT_PASS);
}

static void run_case(const struct ksm_case *test)
{
	int verdict = KSFT_FAIL;
	pid_t pid;

	set_test_knobs();
	fflush(stdout);
	pid = fork();
	if (!pid)
		start_case(test);
	if (pid > 0)
		verdict = collect_case(pid);
	give_back();
	if (verdict == KSFT_SKIP)
		ksft_test_result_skip("%s: %s\n", test->name, shared_state->reason);
	else
		ksft_test_result(verdict == KSFT_PASS, "%s\n", test->name);
}

static void begin(unsigned int count)
{
	ksft_print_header();
	if (access(KSM_DIR "run", F_OK))
		ksft_exit_skip("this kernel has no KSM\n");
	if (geteuid())
		ksft_exit_skip("needs root\n");
	shared_state = mmap(NULL, sizeof(*shared_state), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared_state == MAP_FAILED)
		ksft_exit_fail_perror("mmap");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ksft_set_plan(count);
	save_knobs();
	catch_signals();
}

int ksm_run_cases(const struct ksm_case *cases, unsigned int count)
{
	unsigned int i;

	begin(count);
	for (i = 0; i < count; i++)
		run_case(&cases[i]);
	restore_knobs();
	give_back_swap();
	ksft_finished();
}
