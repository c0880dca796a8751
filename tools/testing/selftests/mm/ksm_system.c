// SPDX-License-Identifier: GPL-2.0
/*
 * The common part of the ksm_* selftests: figures of processes, child processes, swap,
 * memory cgroups and NUMA nodes. See ksm_common.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ksm_common.h"

#define CGROUP		"/sys/fs/cgroup/"
#define ZRAM_DEVICE	"/dev/zram0"
#define ZRAM_DIR	"/sys/block/zram0/"

/* Figures in files of lines. */

/* Returns the value if @line is "NAME value" or "NAME: value", otherwise NULL. */
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

/* Copies the value of @name. Returns whether the file has it. */
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
		ksm_fail("process %d has no %s", pid, name);
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

/* PR_SET_MEMORY_MERGE and PR_GET_MEMORY_MERGE, with their results and errno. */

int ksm_set_merge(unsigned long on)
{
	return prctl(PR_SET_MEMORY_MERGE, on, 0, 0, 0);
}

int ksm_get_merge(void)
{
	return prctl(PR_GET_MEMORY_MERGE, 0, 0, 0, 0);
}

/* Children. */

static void send_byte(int fd)
{
	char byte = 0;

	if (write(fd, &byte, 1) != 1)
		ksm_fail("the other process of a case has ended: %s", strerror(errno));
}

static bool receive_byte(int fd, int patience_ms)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char byte;

	return poll(&ready, 1, patience_ms) == 1 && read(fd, &byte, 1) == 1;
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

/*
 * In the child: reports to the parent and waits for it, without a limit. There is one for
 * the parent, and the child does not outlive it.
 */
void ksm_child_pause(struct ksm_child *self)
{
	send_byte(self->out);
	if (!receive_byte(self->in, -1))
		_exit(KSFT_FAIL);
}

bool ksm_child_reported(const struct ksm_child *child)
{
	struct pollfd ready = { .fd = child->in, .events = POLLIN };

	return poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN);
}

void ksm_child_wait(struct ksm_child *child)
{
	if (!receive_byte(child->in, KSM_PATIENCE_MS))
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

/* Lets the child run to its end. The child has to pass. */
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

/* The header that mkswap(8) writes. */
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

	if (ksm_read_file(ZRAM_DIR "initstate", text, sizeof(text)) < 0 || text[0] != '0')
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
	ksm_shared->swap_is_ours = true;
}

/* Makes a memory cgroup. No process is in it yet. */
void ksm_need_cgroup(void)
{
	ksm_write_file(CGROUP "cgroup.subtree_control", "+memory");
	if (mkdir(KSM_CGROUP, 0755) && errno != EEXIST)
		ksm_skip("no cgroup can be made in " CGROUP);
	ksm_shared->cgroup_is_ours = true;
	if (access(KSM_CGROUP "memory.max", W_OK))
		ksm_skip("there is no memory controller in cgroups here");
}

/* Moves the calling process to the cgroup. */
void ksm_enter_cgroup(void)
{
	char pid[KSM_TEXT];

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (ksm_write_file(KSM_CGROUP "cgroup.procs", pid))
		ksm_skip("no process can be moved to a cgroup here");
}

static size_t cgroup_used(void)
{
	char text[KSM_TEXT];

	ksm_check(ksm_read_file(KSM_CGROUP "memory.current", text, sizeof(text)) > 0,
		  "memory.current");
	return strtoul(text, NULL, 10);
}

static void set_cgroup_high(size_t bytes)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%zu", bytes);
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.high", text), "memory.high is set");
}

/*
 * Moves the calling process to the cgroup, which is at memory.high from then on. The
 * first write takes back what CPUs have charged in advance. The second sets a limit just
 * above what is used, so that nothing is reclaimed.
 */
void ksm_fill_cgroup_to_high(void)
{
	const size_t size = 64 << 20;

	ksm_enter_cgroup();
	memset(ksm_map(size / psize()), 1, size);
	set_cgroup_high(cgroup_used() - psize());
	set_cgroup_high(cgroup_used() / 128 * 129);
}

/*
 * Moves the case to a memory cgroup of its own, for memory.reclaim. MADV_PAGEOUT does
 * not reclaim pages that are mapped more than once.
 */
void ksm_need_reclaim(void)
{
	ksm_need_swap();
	ksm_need_cgroup();
	if (access(KSM_CGROUP "memory.reclaim", W_OK))
		ksm_skip("there is no memory.reclaim in cgroups here");
	ksm_enter_cgroup();
}

/**
 * struct range - pages that are to be swapped out
 * @area: the first
 * @pages: how many
 * @out: how many of the first ones were out when they were last seen
 */
struct range {
	const char *area;
	size_t pages;
	size_t out;
};

/* Reclaim skips pages that were used. Clear the accessed bits of the case. */
static void age_pages(void)
{
	FILE *file = fopen(KSM_CGROUP "cgroup.procs", "r");
	char path[64];
	int pid;

	while (file && fscanf(file, "%d", &pid) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
		ksm_write_file(path, "1");
	}
	if (file)
		fclose(file);
}

/* Reclaims a sixteenth of the range, or 256 KiB. */
static void reclaim_some(const struct range *range)
{
	const size_t some = range->pages * psize() / 16, least = 256 << 10;
	char text[KSM_TEXT];

	age_pages();
	snprintf(text, sizeof(text), "%zu", some > least ? some : least);
	/* The write fails with EAGAIN if less than that was reclaimed. */
	ksm_write_file(KSM_CGROUP "memory.reclaim", text);
}

#define CHUNK		512UL
#define PAGE_CLUSTER	"/proc/sys/vm/page-cluster"

/* Counts the pages at the start that are in swap, and not in the swap cache any more. */
static size_t count_out(const char *area, size_t pages)
{
	unsigned char cached[CHUNK];
	uint64_t entries[CHUNK];
	size_t i;

	ksm_read_pagemap(area, pages, entries);
	if (mincore((void *)area, pages * psize(), cached))
		return 0;
	for (i = 0; i < pages; i++)
		if (!(entries[i] & PM_SWAP) || cached[i])
			break;
	return i;
}

/* Moves range->out to the next page that is not out. Returns whether there is none. */
static bool rest_is_out(struct range *range)
{
	size_t out, some;

	do {
		some = range->pages - range->out;
		some = some < CHUNK ? some : CHUNK;
		out = count_out(range->area + range->out * psize(), some);
		range->out += out;
	} while (out == CHUNK);
	return range->out == range->pages;
}

static bool swapped_out(void *arg)
{
	struct range *range = arg;

	reclaim_some(range);
	return rest_is_out(range);
}

static bool reclaim_all(struct range *range)
{
	while (ksm_poll(swapped_out, range)) {
		range->out = 0;
		if (rest_is_out(range))
			return true;
	}
	return false;
}

/*
 * Returns whether all pages of an area could be swapped out. Reclaim swaps out pages of
 * this program, too. When it needs them, readahead from a disk would read pages of the
 * area back that are next to them in swap.
 */
bool ksm_reclaim(const char *area, size_t pages)
{
	struct range range = { .area = area, .pages = pages };
	char cluster[KSM_TEXT];
	bool all;

	ksm_check(ksm_read_file(PAGE_CLUSTER, cluster, sizeof(cluster)) > 0, PAGE_CLUSTER);
	ksm_write_file(PAGE_CLUSTER, "0");
	all = reclaim_all(&range);
	ksm_write_file(PAGE_CLUSTER, cluster);
	return all;
}

void ksm_give_back_cgroup(void)
{
	if (ksm_shared->cgroup_is_ours)
		rmdir(KSM_CGROUP);
	ksm_shared->cgroup_is_ours = false;
}

void ksm_give_back_swap(void)
{
	if (!ksm_shared->swap_is_ours)
		return;
	swapoff(ZRAM_DEVICE);
	ksm_write_file(ZRAM_DIR "reset", "1");
}

/* CPUs and nodes. */

void ksm_stay_on_cpu(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ksm_check(!sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity");
}

void ksm_use_last_cpu(pid_t pid)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &cpus);
	ksm_check(!sched_setaffinity(pid, sizeof(cpus), &cpus), "sched_setaffinity");
}

pid_t ksm_hog_last_cpu(void)
{
	const struct sched_param param = { .sched_priority = 1 };
	pid_t pid;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		ksm_skip("this needs two CPUs");
	pid = fork();
	if (!pid) {
		ksm_use_last_cpu(0);
		for (;;)
			;
	}
	ksm_check(pid > 0, "fork");
	if (sched_setscheduler(pid, SCHED_FIFO, &param)) {
		kill(pid, SIGKILL);
		ksm_skip("there is no real-time priority: %s", strerror(errno));
	}
	return pid;
}

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
	ksm_read_file("/sys/devices/system/node/has_memory", text, sizeof(text));
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

/* move_pages(2) for a range. @status has an element for each page. */
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
