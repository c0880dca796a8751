// SPDX-License-Identifier: GPL-2.0
/*
 * exec: the prctl stays, advice does not, and an exec that fails leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"

#define SEED		0x4000
#define PAGES		50
/* Time in which a task gets as far as it can. */
#define STEP_USEC	300000

/* Arguments with which this program runs itself. */
#define EXEC_ASK	"--tell-memory-merge"
#define EXEC_ASK_ALL	"--tell-all-marks"
#define EXEC_MERGE	"--merge-an-area"

/* What the new program tells. */
#define ASK_PRCTL	1
#define ASK_NEW	2
#define ASK_ROOT	4

static int run_again(const char *argument)
{
	char *const argv[] = { "ksm_exec", (char *)argument, NULL };
	pid_t pid = fork();
	int status;

	if (!pid) {
		execv("/proc/self/exe", argv);
		_exit(126);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		ksm_fail("the new program did not exit");
	return WEXITSTATUS(status);
}

static void exec_keeps_prctl(void)
{
	ksm_set_merge(1);
	ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 1);
	ksm_set_merge(0);
	ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 0);
}

/* A copy of this program, which is setuid root or not. */
static int run_as_user(const char *program, bool setuid_root)
{
	char *const argv[] = { "ksm_exec", EXEC_ASK_ALL, NULL };
	pid_t pid;
	int status;

	if (chown(program, 0, 0) || chmod(program, setuid_root ? 04755 : 0755))
		ksm_fail("chmod: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000) ||
		    ksm_set_merge(1))
			_exit(125);
		execv(program, argv);
		_exit(126);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		ksm_fail("the new program did not exit");
	return WEXITSTATUS(status);
}

static void copy_program(const char *to)
{
	char buffer[4096];
	int in = open("/proc/self/exe", O_RDONLY), out;
	ssize_t size;

	unlink(to);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0755);
	if (in < 0 || out < 0)
		ksm_skip("%s cannot be made", to);
	while ((size = read(in, buffer, sizeof(buffer))) > 0)
		ksm_check(write(out, buffer, size) == size, "writing the copy");
	close(in);
	close(out);
}

static void exec_with_privileges(void)
{
	const char *program = "/tmp/ksm_exec_setuid";
	int same, more;

	copy_program(program);
	ksm_set("run", 1);
	same = run_as_user(program, false);
	more = run_as_user(program, true);
	unlink(program);
	ksm_expect("marks of a program of the same user", same, ASK_PRCTL | ASK_NEW);
	ksm_expect("marks of a program that gains privileges", more, ASK_ROOT);
}

/* Runs in the new program: a bit for each mark, and whether it is root. */
static int tell_all(void)
{
	char *new = ksm_map(1);

	return (ksm_get_merge() ? ASK_PRCTL : 0) | (ksm_vmflag(new, "mg") ? ASK_NEW : 0) |
	       (geteuid() ? 0 : ASK_ROOT);
}

static void exec_drops_advice(void)
{
	ksm_map_mergeable(PAGES);
	ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 0);
}

static void exec_merges(void)
{
	ksm_set("run", 1);
	ksm_set_merge(1);
	ksm_expect("exit status of the program", run_again(EXEC_MERGE), 0);
}

/* Runs in the new program, which has inherited only the prctl. */
static bool area_merged(void *area)
{
	return ksm_count_merged(area, PAGES) == PAGES;
}

static int merge_an_area(void)
{
	char *area = ksm_map(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	if (!ksm_poll(area_merged, area))
		return 1;
	ksm_check_same(area, PAGES, SEED);
	return 0;
}

/* The first pass may visit the new mm before it has a mergeable VMA. */
static void exec_under_scan(void)
{
	unsigned int i;

	ksm_set("run", 1);
	ksm_set("sleep_millisecs", 0);
	ksm_set_merge(1);
	for (i = 0; i < 20; i++)
		ksm_expect("PR_GET after exec", run_again(EXEC_ASK), 1);
	ksm_expect("exit status of the program", run_again(EXEC_MERGE), 0);
}

static void vfork_exec(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	int status;
	pid_t pid;

	pid = vfork();
	if (!pid) {
		execl("/proc/self/exe", "ksm_exec", EXEC_ASK, NULL);
		_exit(126);
	}
	ksm_check(waitpid(pid, &status, 0) == pid, "waitpid");
	ksm_expect("wait status", status, 0);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_expect("ksm_merging_pages", ksm_stat(0, "ksm_merging_pages"), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* With CLONE_VM, the prctl is of the common mm. */
static int clone_vm_child(void *arg)
{
	(void)arg;
	return prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) ? 1 : 0;
}

static void clone_vm(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *stack = ksm_map(16);
	pid_t pid;

	pid = clone(clone_vm_child, stack + 16 * psize(), CLONE_VM | SIGCHLD, NULL);
	ksm_check(pid > 0, "clone with CLONE_VM");
	ksm_wait_ok(pid);
	ksm_expect("PR_GET after a clone has set it", ksm_get_merge(), 1);
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* An exec that fails before the new mm has a VMA */

#define VM_DIR		"/proc/sys/vm/"
#define REFUSALS	3000
#define CHARGE_STEP	(1024UL * 1024 * 1024)
/* An mm_struct is larger than that. */
#define LEAST_MM_KIB	1

static long overcommit[3];
static const char *const overcommit_files[] = {
	VM_DIR "overcommit_memory", VM_DIR "overcommit_ratio", VM_DIR "overcommit_kbytes",
};

static void save_commit_limit(void)
{
	unsigned int i;
	FILE *file;

	for (i = 0; i < ARRAY_SIZE(overcommit_files); i++) {
		file = fopen(overcommit_files[i], "r");
		if (!file || fscanf(file, "%ld", &overcommit[i]) != 1)
			overcommit[i] = 0;
		if (file)
			fclose(file);
	}
}

static void restore_commit_limit(void)
{
	/* A write to one of ratio and kbytes clears the other. */
	const unsigned int limit = overcommit[2] ? 2 : 1;
	char text[32];

	snprintf(text, sizeof(text), "%ld", overcommit[limit]);
	ksm_write_file(overcommit_files[limit], text);
	snprintf(text, sizeof(text), "%ld", overcommit[0]);
	ksm_write_file(overcommit_files[0], text);
}

static unsigned long meminfo_kib(const char *name)
{
	char value[64];

	ksm_check(ksm_field("/proc/meminfo", name, value, sizeof(value)), name);
	return strtoul(value, NULL, 10);
}

/*
 * Charges more memory than the commit limit will be, which is the size of the swap. An
 * exec that fails while it moves its stack takes too much off Committed_AS in 6.12, and
 * other tests have such execs: so Committed_AS may be far below 0, and is shown as 0.
 */
static void charge_commit(void)
{
	const unsigned long want = meminfo_kib("SwapTotal") + 64 * 1024;

	while (meminfo_kib("Committed_AS") < want)
		if (mmap(NULL, CHARGE_STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0) == MAP_FAILED)
			ksm_skip("memory cannot be charged: %s", strerror(errno));
}

/* From here on no process gets more memory, not even the stack of a new program. */
static void refuse_commit(void)
{
	if (ksm_write_file(overcommit_files[0], "1"))
		ksm_skip("overcommit_memory cannot be set");
	charge_commit();
	if (ksm_write_file(overcommit_files[2], "1") ||
	    ksm_write_file(overcommit_files[0], "2"))
		ksm_skip("the commit limit cannot be set");
}

/* KASAN keeps freed objects in a quarantine, until their cache is shrunk. */
static void shrink_slabs(void)
{
	glob_t caches;
	size_t i;

	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &caches))
		return;
	for (i = 0; i < caches.gl_pathc; i++)
		ksm_write_file(caches.gl_pathv[i], "1");
	globfree(&caches);
}

/* Kernel memory that is not reclaimable, in KiB. */
static long slab_memory(void)
{
	shrink_slabs();
	return meminfo_kib("SUnreclaim");
}

/* Returns how many of the execs failed. */
static unsigned int fail_execs(void)
{
	char *const argv[] = { "ksm_exec", EXEC_ASK, NULL };
	unsigned int i, failed = 0;

	refuse_commit();
	for (i = 0; i < REFUSALS; i++)
		failed += execv("/proc/self/exe", argv) && errno == ENOMEM;
	restore_commit_limit();
	return failed;
}

static void exec_fails(void)
{
	long before, grown;

	ksm_expect("PR_SET 1", ksm_set_merge(1), 0);
	before = slab_memory();
	ksm_expect("execs that fail", fail_execs(), REFUSALS);
	grown = slab_memory() - before;
	if (grown > REFUSALS * LEAST_MM_KIB / 2)
		ksm_fail("after %u failed execs the slabs have grown by %ld KiB", REFUSALS, grown);
}

static void exec_fails_stopped(void)
{
	ksm_stop();
	exec_fails();
}

static void exec_fails_scanned(void)
{
	char *area = ksm_map_mergeable(PAGES);

	ksm_fill_same(area, PAGES, SEED);
	ksm_set("sleep_millisecs", 0);
	ksm_set("run", 1);
	exec_fails();
	ksm_settle();
	/* Other memory of the process is mergeable, too. */
	ksm_expect("merged pages", ksm_count_merged(area, PAGES), PAGES);
	ksm_check_same(area, PAGES, SEED);
}

/* An exec that fails while ksmd is at the new mm */

/* The argument is in a page that is missing, so the exec waits for it. */
static void exec_that_waits(struct ksm_child *self, void *arg)
{
	struct uffdio_register missing = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *page = ksm_map(1), *const argv[] = { page, NULL };
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	(void)arg;
	ksm_set_merge(1);
	missing.range.start = (uintptr_t)page;
	missing.range.len = psize();
	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &missing))
		ksm_skip("there is no userfaultfd here");
	ksm_child_pause(self);
	execv("/proc/self/exe", argv);
}

/* ksmd begins a pass, stays at the first mm, and scans nothing. A new pause wakes it. */
static void begin_pass(unsigned long pause)
{
	ksm_set("run", 2);
	ksm_set("pages_to_scan", 0);
	ksm_set("run", 1);
	ksm_set("sleep_millisecs", pause);
	usleep(STEP_USEC);
}

/*
 * An mm has an owner, which is asked for its memory cgroup. The owner of the mm of an
 * exec that has failed may not exist any more. On the debug kernel, KASAN tells.
 */
static void exec_fails_while_visited(void)
{
	struct ksm_child child;

	cgroup_begin();
	cgroup_make("a");
	ksm_child_start(&child, exec_that_waits, NULL);
	ksm_child_wait(&child);
	/* The new mm comes before the one at which ksmd is, and so first in the next pass. */
	begin_pass(100000);
	ksm_child_go(&child);
	usleep(STEP_USEC);
	begin_pass(200000);
	ksm_child_kill(&child);
	usleep(STEP_USEC);
	ksm_expect("zero pages of a cgroup", cgroup_stat("a", "ksm_zero_pages"), 0);
}

static const struct ksm_case cases[] = {
	{ "exec keeps the prctl", exec_keeps_prctl },
	{ "exec drops advice", exec_drops_advice },
	{ "exec of a setuid program drops the prctl", exec_with_privileges },
	{ "a new program under the prctl merges", exec_merges },
	{ "exec while ksmd runs", exec_under_scan },
	{ "vfork and exec leave the parent merged", vfork_exec },
	{ "a CLONE_VM clone sets the prctl of the common memory", clone_vm },
	{ "an exec that fails leaves no mm behind while ksmd is stopped", exec_fails_stopped },
	{ "an exec that fails leaves no mm behind while ksmd runs", exec_fails_scanned },
	{ "an exec that fails leaves an mm without owner", exec_fails_while_visited },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], EXEC_ASK))
		return ksm_get_merge();
	if (argc == 2 && !strcmp(argv[1], EXEC_ASK_ALL))
		return tell_all();
	if (argc == 2 && !strcmp(argv[1], EXEC_MERGE))
		return merge_an_area();
	save_commit_limit();
	atexit(restore_commit_limit);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
