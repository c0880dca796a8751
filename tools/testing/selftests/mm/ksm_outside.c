// SPDX-License-Identifier: GPL-2.0
/*
 * Others than the process itself read and write its memory: by /proc, from another
 * process, through a pipe, or by a pin. They never see a page that they should not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../mm/gup_test.h"
#include "ksm_common.h"

#define PAGES	30
#define SEED	0xd0000

static void proc_mem_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	int fd = open("/proc/self/mem", O_RDWR);

	ksm_fill(page, SEED + 1);
	ksm_check(pwrite(fd, page, psize(), (uintptr_t)area) == psize(), "writing /proc/self/mem");
	ksm_check(ksm_holds(area, SEED + 1), "the page written holds the new");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
	ksm_check(!ksm_is_merged(area), "the page written is private");
	close(fd);
}

/* With force: the mapping is read-only and the write goes to a copy. */
static void proc_mem_write_read_only(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	int fd = open("/proc/self/mem", O_RDWR);

	ksm_check(!mprotect(area, PAGES * psize(), PROT_READ), "mprotect");
	ksm_fill(page, SEED + 1);
	if (pwrite(fd, page, psize(), (uintptr_t)area) != psize())
		ksm_skip("/proc/self/mem does not write to read-only memory here");
	ksm_check(ksm_holds(area, SEED + 1), "the page written holds the new");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
	ksm_check(ksm_access_refused(area, true), "the memory is still read-only");
	close(fd);
}

static void proc_mem_read(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	int fd = open("/proc/self/mem", O_RDONLY);

	ksm_check(pread(fd, page, psize(), (uintptr_t)area) == psize() && ksm_holds(page, SEED),
		  "reading /proc/self/mem");
	ksm_expect_merged(area, PAGES, PAGES);
	close(fd);
}

static void written_child(struct ksm_child *self, void *arg)
{
	char *area = arg;

	ksm_child_pause(self);
	ksm_check(ksm_holds(area, SEED + 1), "what another process wrote is there");
	ksm_check_same(area + psize(), PAGES - 1, SEED);
}

static void process_vm_write(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	struct iovec local = { page, psize() }, remote = { area, psize() };
	struct ksm_child child;

	ksm_fill(page, SEED + 1);
	ksm_child_start(&child, written_child, area);
	ksm_child_wait(&child);
	if (process_vm_writev(child.pid, &local, 1, &remote, 1, 0) != psize())
		ksm_skip("process_vm_writev: %s", strerror(errno));
	ksm_check_same(area, PAGES, SEED);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

static void traced_child(struct ksm_child *self, void *arg)
{
	long *word = arg;

	ksm_child_pause(self);
	ksm_check(*word == 0x123456789, "the word poked is there");
	ksm_check_same((char *)arg + psize(), PAGES - 1, SEED);
}

static void ptrace_poke(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	struct ksm_child child;
	int status;

	ksm_child_start(&child, traced_child, area);
	ksm_child_wait(&child);
	if (ptrace(PTRACE_ATTACH, child.pid, NULL, NULL))
		ksm_skip("ptrace is refused: %s", strerror(errno));
	ksm_check(waitpid(child.pid, &status, 0) == child.pid, "the child stops");
	ksm_check(!ptrace(PTRACE_POKEDATA, child.pid, area, (void *)0x123456789L),
		  "PTRACE_POKEDATA");
	ksm_check(!ptrace(PTRACE_DETACH, child.pid, NULL, NULL), "PTRACE_DETACH");
	ksm_check_same(area, PAGES, SEED);
	ksm_child_end(&child);
	ksm_check_same(area, PAGES, SEED);
}

/* A page in a pipe is read there later, so it may be neither moved nor shared. */
static void page_in_pipe(void)
{
	char *area = ksm_map_mergeable(PAGES), *page = ksm_map(1);
	struct iovec iov = { area, psize() };
	int ends[2];

	ksm_fill_same(area, PAGES, SEED);
	ksm_check(!pipe(ends), "pipe");
	ksm_check(vmsplice(ends[1], &iov, 1, 0) == psize(), "vmsplice");
	ksm_settle();
	ksm_check(!ksm_is_merged(area), "the page in the pipe is not merged");
	area[0]++;
	ksm_check(read(ends[0], page, psize()) == psize() && page[0] == area[0],
		  "the pipe has what was written to the page");
	area[0]--;
	ksm_settle();
	ksm_expect_merged(area, PAGES, PAGES);
}

/* Shared first, then put into a pipe: a write must not show there. */
static void shared_page_in_pipe(void)
{
	char *area = ksm_merged_area(PAGES, SEED), *page = ksm_map(1);
	struct iovec iov = { area, psize() };
	int ends[2];

	ksm_check(!pipe(ends), "pipe");
	ksm_check(vmsplice(ends[1], &iov, 1, 0) == psize(), "vmsplice");
	ksm_fill(area + psize(), SEED + 1);
	ksm_unmerge_all();
	ksm_check(read(ends[0], page, psize()) == psize() && ksm_holds(page, SEED),
		  "the pipe has what the page held");
	ksm_check(ksm_holds(area, SEED) && ksm_holds(area + psize(), SEED + 1),
		  "pages hold what was written to them");
}

static int longterm_pin(char *area, size_t pages)
{
	struct pin_longterm_test args = {
		.addr = (uintptr_t)area,
		.size = pages * psize(),
		.flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE,
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (fd < 0)
		ksm_skip("there is no gup_test in debugfs");
	if (ioctl(fd, PIN_LONGTERM_TEST_START, &args))
		ksm_fail("pinning: %s", strerror(errno));
	return fd;
}

/* What the pin reads is what is in the mapping. */
static void check_pinned(int fd, char *area, size_t pages)
{
	char *copy = ksm_map(pages);
	uint64_t to = (uintptr_t)copy;

	ksm_check(!ioctl(fd, PIN_LONGTERM_TEST_READ, &to), "reading through the pin");
	ksm_check(!memcmp(copy, area, pages * psize()), "the pin sees the pages that are mapped");
}

static void pinned_not_merged(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int fd;

	ksm_fill_same(area, PAGES, SEED);
	fd = longterm_pin(area, 5);
	ksm_settle();
	ksm_expect("pinned pages merged", ksm_count_merged(area, 5), 0);
	ksm_fill_unique(area, 5, SEED + 1);
	check_pinned(fd, area, 5);
	ksm_fill_same(area, 5, SEED);
	check_pinned(fd, area, 5);
	close(fd);
	ksm_settle();
	ksm_expect_merged(area, PAGES, PAGES);
}

/* One page that cannot merge is no reason for the others not to. */
static void pinned_among_like(void)
{
	char *area = ksm_map_mergeable(PAGES);
	int fd;

	ksm_fill_same(area, PAGES, SEED);
	fd = longterm_pin(area, 1);
	ksm_set("run", 1);
	ksm_check(ksm_wait_figure("pages_sharing", PAGES - 2), "the others merge");
	ksm_check(!ksm_is_merged(area), "the pinned page does not");
	check_pinned(fd, area, 1);
	close(fd);
}

static void merged_then_pinned(void)
{
	char *area = ksm_merged_area(PAGES, SEED);
	int fd = longterm_pin(area, 5);

	ksm_expect("pinned pages merged", ksm_count_merged(area, 5), 0);
	ksm_fill_unique(area, 5, SEED + 1);
	check_pinned(fd, area, 5);
	ksm_check_same(area + 5 * psize(), PAGES - 5, SEED);
	ksm_settle();
	check_pinned(fd, area, 5);
	close(fd);
}

static const struct ksm_case cases[] = {
	{ "/proc/PID/mem writes to a copy", proc_mem_write },
	{ "/proc/PID/mem writes to a copy of read-only memory", proc_mem_write_read_only },
	{ "/proc/PID/mem reads without unmerging", proc_mem_read },
	{ "process_vm_writev writes to a copy", process_vm_write },
	{ "ptrace writes to a copy", ptrace_poke },
	{ "a page in a pipe does not merge", page_in_pipe },
	{ "a merged page in a pipe stays as it was", shared_page_in_pipe },
	{ "pinned pages do not merge", pinned_not_merged },
	{ "a pinned page does not keep others like it from merging", pinned_among_like },
	{ "pinning unmerges", merged_then_pinned },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
