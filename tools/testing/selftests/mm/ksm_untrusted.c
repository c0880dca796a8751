// SPDX-License-Identifier: GPL-2.0
/*
 * Users without privileges. They cannot change settings of the machine, access the memory
 * of other users, learn about their processes, or use more memory than they may.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_common.h"

#define NOBODY	65534
#define SEED	0x130000
/* An unsigned long, as the product with a page size of 64 KiB is more than 4 GiB. */
#define MANY	80000UL
/* One page in so many has content. */
#define FILLED	64
#define MILLION	1000000UL
#define MILLION_MS 20000L
#define MAX_MAP_COUNT "/proc/sys/vm/max_map_count"
#define CROWD	20000
#define CROWD_PASSES 30
#define ROUNDS	5
/*
 * Reading all of a page of 4 KiB takes twice the instructions of reading its sample, of
 * a kind that is slow to emulate. A larger page has a sample of the same size.
 */
#define READ_ALL (6 * psize() / 4096)

static char limit_before[16];

static void become_nobody(void)
{
	ksm_check(!setresgid(NOBODY, NOBODY, NOBODY), "setresgid");
	ksm_check(!setresuid(NOBODY, NOBODY, NOBODY), "setresuid");
}

static void expect_denied(const char *path, int flags)
{
	int fd = open(path, flags);

	if (fd >= 0 || (errno != EACCES && errno != EPERM))
		ksm_fail("%s: opened, or errno is %d", path, errno);
}

static void knobs_are_not_theirs(void)
{
	char path[128], text[64];
	unsigned int i;

	become_nobody();
	for (i = 0; i < KSM_NR_FILES; i++) {
		snprintf(path, sizeof(path), "/sys/kernel/mm/ksm/%s", ksm_files[i]);
		expect_denied(path, O_WRONLY);
		ksm_get_text(ksm_files[i], text, sizeof(text));
	}
}

static const char *const process_files[] = { "ksm_stat", "ksm_merging_pages" };

static void expect_parent_denied(void)
{
	char path[64];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(process_files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", getppid(), process_files[i]);
		expect_denied(path, O_RDONLY);
	}
}

static void look_at_parent(struct ksm_child *self, void *arg)
{
	become_nobody();
	expect_parent_denied();
	ksm_child_pause(self);
}

static void processes_are_not_theirs(void)
{
	struct ksm_child child;

	ksm_merged_area(10, SEED);
	ksm_child_start(&child, look_at_parent, NULL);
	ksm_child_wait(&child);
	ksm_child_end(&child);
}

static void leave_namespaces(int flags)
{
	if (unshare(flags))
		ksm_skip("this kernel has no such namespaces: %s", strerror(errno));
}

/* Enters a new user namespace: all capabilities, but over nothing outside of it. */
static void become_root_of_namespace(void)
{
	char map[32];

	become_nobody();
	/* Otherwise root would own its files in /proc. */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	leave_namespaces(CLONE_NEWUSER);
	snprintf(map, sizeof(map), "0 %d 1", NOBODY);
	ksm_expect("setgroups", ksm_write_file("/proc/self/setgroups", "deny"), 0);
	ksm_expect("gid_map", ksm_write_file("/proc/self/gid_map", map), 0);
	ksm_expect("uid_map", ksm_write_file("/proc/self/uid_map", map), 0);
	ksm_expect("the user in its own namespace", geteuid(), 0);
}

static void look_from_user_namespace(struct ksm_child *self, void *arg)
{
	long count;

	become_root_of_namespace();
	expect_parent_denied();
	count = ksm_stat(0, "ksm_merging_pages");
	ksm_expect("ksm_merging_pages of its own", count, 0);
}

static void not_from_user_namespace(void)
{
	struct ksm_child child;

	ksm_merged_area(10, SEED);
	ksm_child_start(&child, look_from_user_namespace, NULL);
	ksm_wait_ok(child.pid);
}

/* Runs in the first process of a PID namespace, and mounts its /proc. */
static void look_from_pid_namespace(const char *proc, pid_t outside)
{
	char path[128], text[16];
	unsigned int i;

	ksm_check(getpid() == 1, "it is the first of its namespace");
	ksm_check(!mount("proc", proc, "proc", 0, NULL), "mounting /proc");
	for (i = 0; i < ARRAY_SIZE(process_files); i++) {
		snprintf(path, sizeof(path), "%s/%d/%s", proc, outside, process_files[i]);
		if (open(path, O_RDONLY) != -1 || errno != ENOENT)
			ksm_fail("%s: opened, or errno is %d", path, errno);
		snprintf(path, sizeof(path), "%s/1/%s", proc, process_files[i]);
		ksm_check(open(path, O_RDONLY) != -1, "its own files are there");
	}
	snprintf(path, sizeof(path), "%s/1/ksm_stat", proc);
	ksm_check(ksm_field(path, "ksm_merging_pages", text, sizeof(text)), "ksm_stat");
	ksm_expect("ksm_merging_pages of its own", atoi(text), 0);
}

static void not_from_pid_namespace(void)
{
	char proc[] = "/tmp/ksm_untrusted.XXXXXX";
	pid_t outside = getpid(), pid;

	ksm_merged_area(10, SEED);
	ksm_check(mkdtemp(proc), "mkdtemp");
	pid = fork();
	if (!pid) {
		/* In the new namespace, the process ID of the case must not exist. */
		ksm_check(outside > 1, "the case is not the first process");
		leave_namespaces(CLONE_NEWNS | CLONE_NEWPID);
		ksm_check(!mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL),
			  "mounts of its own");
		pid = fork();
		if (!pid) {
			look_from_pid_namespace(proc, outside);
			_exit(KSFT_PASS);
		}
		ksm_wait_ok(pid);
		_exit(KSFT_PASS);
	}
	ksm_wait_ok(pid);
	rmdir(proc);
}

/* Advice about the memory of another process has to be refused, with this errno. */
static void advise_other(pid_t pid, char *area, int advice, int err)
{
	struct iovec range = { area, 10 * psize() };
	int fd = syscall(SYS_pidfd_open, pid, 0);

	ksm_check(fd >= 0, "pidfd_open");
	errno = 0;
	if (syscall(SYS_process_madvise, fd, &range, 1, advice, 0) != -1 || errno != err)
		ksm_fail("advice %d about the memory of another process is taken, or errno is %d",
			 advice, errno);
	close(fd);
}

/*
 * Advice about the memory of another process fails with EACCES if the caller may not read
 * that memory. It fails with EPERM if the caller may, but lacks CAP_SYS_NICE. Advice to
 * merge fails with EINVAL, even for root.
 */
static void advise_without_rights(pid_t pid, char *area, int err)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_COLLAPSE,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(advice); i++)
		advise_other(pid, area, advice[i], err);
	advise_other(pid, area, MADV_MERGEABLE, EINVAL);
	advise_other(pid, area, MADV_UNMERGEABLE, EINVAL);
}

static void wait_as_nobody(struct ksm_child *self, void *arg)
{
	become_nobody();
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	ksm_child_pause(self);
}

static void advise_parent(struct ksm_child *self, void *arg)
{
	struct ksm_child equal;

	ksm_child_start(&equal, wait_as_nobody, NULL);
	ksm_child_wait(&equal);
	become_nobody();
	advise_without_rights(getppid(), arg, EACCES);
	advise_without_rights(equal.pid, arg, EPERM);
	ksm_child_end(&equal);
	ksm_child_pause(self);
}

static void memory_is_not_theirs(void)
{
	char *area = ksm_map(10), *merged = ksm_merged_area(10, SEED);
	struct ksm_child child;

	ksm_fill_same(area, 10, SEED);
	ksm_child_start(&child, advise_parent, area);
	ksm_child_wait(&child);
	advise_other(child.pid, area, MADV_MERGEABLE, EINVAL);
	advise_other(child.pid, merged, MADV_UNMERGEABLE, EINVAL);
	ksm_child_end(&child);
	ksm_check(!ksm_vmflag(area, "mg"), "memory is not mergeable by another's advice");
	ksm_expect("merged pages", ksm_count_merged(merged, 10), 10);
}

static void restore_limit(void)
{
	if (limit_before[0])
		ksm_write_file(MAX_MAP_COUNT, limit_before);
}

static void set_limit(unsigned long limit)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", limit);
	if (ksm_write_file(MAX_MAP_COUNT, text))
		ksm_skip(MAX_MAP_COUNT " cannot be written here");
}

static unsigned long count_areas(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned long lines = 0;
	int c;

	ksm_check(file, "/proc/self/maps");
	while ((c = getc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

static bool memory_is_short(void)
{
	char total[32], available[32];

	return ksm_field("/proc/meminfo", "MemTotal", total, sizeof(total)) &&
	       ksm_field("/proc/meminfo", "MemAvailable", available, sizeof(available)) &&
	       atol(available) < atol(total) / 4;
}

/*
 * Advises every other page until the kernel refuses, and returns the index of the page
 * that was refused. When time or memory is short, the limit becomes the number of VMAs
 * so far.
 */
static size_t advise_until_refused(char *area, size_t pages)
{
	long end = ksm_now_ms() + MILLION_MS;
	unsigned long areas;
	size_t i;

	for (i = 0; i < pages; i += 2) {
		if (madvise(area + i * psize(), psize(), MADV_MERGEABLE))
			return i;
		if (i % 10000 || (ksm_now_ms() < end && !memory_is_short()))
			continue;
		areas = count_areas();
		ksft_print_msg("%lu VMAs are as many as time and memory allow\n", areas);
		set_limit(areas);
		end += MILLION_MS;
	}
	ksm_fail("the kernel has not refused any of the VMAs");
}

/* ksmd makes no pass once the process has no slot, so wait for the figures. */
static void expect_forgotten(void)
{
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_shared", 0), "what is unmapped is forgotten");
	ksm_check(ksm_wait_figure("pages_volatile", 0), "its records are, too");
	ksm_expect_nothing();
}

/* Every other page is advised, until the kernel refuses more VMAs. */
static void as_many_areas_as_there_may_be(void)
{
	char *area = ksm_map(MANY);
	size_t i, end, filled;

	end = advise_until_refused(area, MANY);
	ksm_check(errno == ENOMEM || errno == EAGAIN, "too many VMAs fail with ENOMEM or EAGAIN");
	ksm_check(end > 2000, "the kernel allows 1000 VMAs");
	for (i = 0, filled = 0; i < end; i += FILLED, filled++)
		ksm_fill(area + i * psize(), SEED);
	ksm_set("max_page_sharing", MANY);
	ksm_settle();
	ksm_expect_figures(1, filled - 1, 0);
	ksm_check(ksm_holds(area, SEED), "memory holds what was written");
	ksm_check(!munmap(area, MANY * psize()), "munmap");
	expect_forgotten();
}

/* Waits until the case has set @arg, without a limit. */
static void share_meanwhile(struct ksm_child *self, void *arg)
{
	char *area = ksm_map_mergeable(10);
	int *done = arg;

	ksm_fill_same(area, 10, SEED);
	while (!__atomic_load_n(done, __ATOMIC_ACQUIRE))
		usleep(10000);
	ksm_check_same(area, 10, SEED);
	ksm_expect("merged pages", ksm_count_merged(area, 10), 10);
	ksm_check(ksm_holds(ksm_map(1), 0), "there is memory for others");
}

/* A process that advises too many VMAs gets an error, and other processes merge. */
static void a_million_areas(void)
{
	const size_t pages = 2 * MILLION;
	struct ksm_child other;
	size_t i, end;
	char *area;
	int *done;

	done = mmap(NULL, psize(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ksm_check(done != MAP_FAILED, "mmap");
	ksm_child_start(&other, share_meanwhile, done);
	set_limit(MILLION);
	area = mmap(NULL, pages * psize(), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ksm_check(area != MAP_FAILED, "mmap");
	end = advise_until_refused(area, pages);
	ksm_check(errno == ENOMEM || errno == EAGAIN, "too many VMAs fail with ENOMEM or EAGAIN");
	for (i = 0; i < 10; i++)
		ksm_fill(area + end / 20 * 2 * i * psize(), SEED);
	ksm_settle();
	ksm_expect_figures(1, 19, 0);
	__atomic_store_n(done, 1, __ATOMIC_RELEASE);
	ksm_wait_ok(other.pid);
	for (i = 0; i < 10; i++)
		ksm_check(ksm_holds(area + end / 20 * 2 * i * psize(), SEED),
			  "memory holds what was written");
	ksm_check(!munmap(area, pages * psize()), "munmap");
	expect_forgotten();
}

static unsigned long long ksmd_ns(void)
{
	unsigned long long ns = ksm_ksmd_ns();

	if (!ns)
		ksm_skip("the CPU time of ksmd is not known");
	return ns;
}

static uint64_t draw(void)
{
	static uint64_t state = SEED;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void fill_random(uint64_t *words, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		words[i] = draw();
}

/* Pages with the same words in different orders. No sum tells them apart. */
static void fill_permuted(uint64_t *words, size_t count)
{
	size_t i, other;
	uint64_t word;

	ksm_fill((char *)words, SEED);
	for (i = count - 1; i; i--) {
		other = draw() % (i + 1);
		word = words[i];
		words[i] = words[other];
		words[other] = word;
	}
}

/* Pages that are equal except for a word. Few of their lines tell them apart. */
static void fill_alike(uint64_t *words, size_t count)
{
	ksm_fill((char *)words, SEED);
	words[draw() % count] = draw();
}

/* The CPU time of ksmd for new pages, in so many passes that it knows them well. */
static unsigned long long cost_of(void (*fill)(uint64_t *words, size_t count))
{
	char *area = ksm_map_mergeable(CROWD);
	unsigned long long before;
	size_t i;

	for (i = 0; i < CROWD; i++)
		fill((uint64_t *)(area + i * psize()), psize() / sizeof(uint64_t));
	before = ksmd_ns();
	ksm_passes(CROWD_PASSES);
	before = ksmd_ns() - before;
	ksm_expect_figures(0, 0, CROWD);
	munmap(area, CROWD * psize());
	ksm_unmerge_all();
	return before;
}

/*
 * Checks that pages cost at most @most times as much as random pages. If they cost more,
 * both are measured again, because other load on the machine may be the cause.
 */
static void costs_no_more(const char *what, void (*fill)(uint64_t *words, size_t count),
			  unsigned int most)
{
	unsigned long long random, chosen;
	unsigned int i;

	ksm_set("smart_scan", 1);
	/* No pause between passes. */
	ksm_set("sleep_millisecs", 0);
	for (i = 0; i < ROUNDS; i++) {
		chosen = cost_of(fill);
		random = cost_of(fill_random);
		ksft_print_msg("%s take %llu us of ksmd, random pages %llu us\n", what,
			       chosen / 1000, random / 1000);
		if (chosen <= most * random)
			return;
	}
	ksm_fail("%s cost more than %u times what random pages do", what, most);
}

static void permuted_pages(void)
{
	costs_no_more("pages with the same words", fill_permuted, 2);
}

/*
 * To tell these pages apart, ksmd reads whole pages, not only four lines in 64. That sets
 * the bound, until smart_scan skips the pages.
 */
static void alike_pages(void)
{
	costs_no_more("pages that are equal except for a word", fill_alike, READ_ALL);
}

static const struct ksm_case cases[] = {
	{ "they cannot write to the controls", knobs_are_not_theirs },
	{ "they cannot read the figures of processes of others", processes_are_not_theirs },
	{ "they cannot do so in a user namespace of their own", not_from_user_namespace },
	{ "they cannot do so in a PID namespace of their own", not_from_pid_namespace },
	{ "they cannot advise on memory of others", memory_is_not_theirs },
	{ "as many mergeable VMAs as the kernel allows", as_many_areas_as_there_may_be },
	{ "a million VMAs", a_million_areas },
	{ "pages with the same words cost ksmd no more than others", permuted_pages },
	{ "pages that differ in one word cost as much as reading all of them", alike_pages },
};

int main(void)
{
	FILE *file = fopen(MAX_MAP_COUNT, "r");

	if (file && fscanf(file, "%15s", limit_before) == 1)
		atexit(restore_limit);
	if (file)
		fclose(file);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
