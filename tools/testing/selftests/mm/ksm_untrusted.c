// SPDX-License-Identifier: GPL-2.0
/*
 * Users who are not to be trusted: they change nothing on the machine, reach
 * nobody else's memory, learn nothing of other people's processes, and use up no
 * more than the kernel lets them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ksm_common.h"

#define NOBODY	65534
#define SEED	0x130000
#define MANY	80000
/* One page in so many has content. */
#define FILLED	64

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

static void look_at_parent(struct ksm_child *self, void *arg)
{
	static const char *const files[] = { "ksm_stat", "ksm_merging_pages" };
	char path[64];
	unsigned int i;

	become_nobody();
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", getppid(), files[i]);
		expect_denied(path, O_RDONLY);
	}
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

/* Whether advice about the memory of another process is refused. */
static void advise_other(pid_t pid, char *area, int advice)
{
	struct iovec range = { area, 10 * psize() };
	int fd = syscall(SYS_pidfd_open, pid, 0);

	ksm_check(fd >= 0, "pidfd_open");
	if (syscall(SYS_process_madvise, fd, &range, 1, advice, 0) != -1)
		ksm_fail("advice %d about the memory of another process is taken", advice);
	close(fd);
}

static void advise_parent(struct ksm_child *self, void *arg)
{
	become_nobody();
	advise_other(getppid(), arg, MADV_MERGEABLE);
	advise_other(getppid(), arg, MADV_UNMERGEABLE);
	ksm_child_pause(self);
}

static void memory_is_not_theirs(void)
{
	char *area = ksm_map(10), *merged = ksm_merged_area(10, SEED);
	struct ksm_child child;

	ksm_fill_same(area, 10, SEED);
	ksm_child_start(&child, advise_parent, area);
	ksm_child_wait(&child);
	advise_other(child.pid, area, MADV_MERGEABLE);
	advise_other(child.pid, merged, MADV_UNMERGEABLE);
	ksm_child_end(&child);
	ksm_check(!ksm_vmflag(area, "mg"), "memory is not mergeable by another's advice");
	ksm_expect("merged pages", ksm_count_merged(merged, 10), 10);
}

/* Every other page is advised, until the kernel has had enough areas. */
static void as_many_areas_as_there_may_be(void)
{
	char *area = ksm_map(MANY);
	size_t i, advised = 0, filled = 0;

	for (i = 0; i < MANY; i += 2) {
		if (madvise(area + i * psize(), psize(), MADV_MERGEABLE))
			break;
		if (i % FILLED == 0) {
			ksm_fill(area + i * psize(), SEED);
			filled++;
		}
		advised++;
	}
	ksm_check(i < MANY && (errno == ENOMEM || errno == EAGAIN),
		  "there is an end, and it is told");
	ksm_check(advised > 1000, "it comes late");
	ksm_set("max_page_sharing", MANY);
	ksm_settle();
	ksm_expect_figures(1, filled - 1, 0);
	ksm_check(ksm_holds(area, SEED), "memory holds what was written");
	munmap(area, MANY * psize());
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_shared", 0), "what is unmapped is forgotten");
	ksm_check(ksm_wait_figure("pages_volatile", 0), "its records are, too");
	ksm_expect_nothing();
}

static const struct ksm_case cases[] = {
	{ "the knobs are not theirs", knobs_are_not_theirs },
	{ "other people's processes are not theirs to look at", processes_are_not_theirs },
	{ "other people's memory is not theirs to advise on", memory_is_not_theirs },
	{ "as many areas as there may be", as_many_areas_as_there_may_be },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
