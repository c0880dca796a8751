/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The common part of the ksm_* selftests. It runs each case in a process of its own
 * and restores all controls. It waits for ksmd with a time limit, maps memory of known
 * content, and reads what the kernel reports about KSM.
 *
 * A case that fails ends its process with ksm_fail(). A case that cannot run ends it
 * with ksm_skip(). A case need not clean up: before the next case starts, its process
 * and all children have been killed and everything has been unmerged.
 */
#ifndef KSM_COMMON_H
#define KSM_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../kselftest.h"
#include "vm_util.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE	67
#define PR_GET_MEMORY_MERGE	68
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

/* Bits of /proc/kpageflags. */
#define KPF_KSM_BIT		BIT_ULL(21)
#define KPF_THP_BIT		BIT_ULL(22)
#define KPF_ZERO_PAGE_BIT	BIT_ULL(24)

/* The memory cgroup of a case. */
#define KSM_CGROUP		"/sys/fs/cgroup/ksm_selftest/"

/* Long enough for a debug kernel on an emulated CPU. */
#define KSM_PATIENCE_MS		60000L

#define KSM_NR_FILES		27
#define KSM_NR_CONTROLS		16
/* Bytes for the text of a file with a single value. */
#define KSM_TEXT		64

/* The files of /sys/kernel/mm/ksm, controls first. */
extern const char *const ksm_files[KSM_NR_FILES];

/**
 * struct ksm_shared - what a case tells the process that runs it
 * @reason: why the case is skipped
 * @swap_is_ours: the case has turned on swap
 * @cgroup_is_ours: the case has made a cgroup
 */
struct ksm_shared {
	char reason[256];
	bool swap_is_ours;
	bool cgroup_is_ours;
};

struct ksm_case {
	const char *name;
	void (*run)(void);
};

int ksm_run_cases(const struct ksm_case *cases, unsigned int count);

__noreturn __printf(1, 2) void ksm_fail(const char *fmt, ...);
__noreturn __printf(1, 2) void ksm_skip(const char *fmt, ...);
void ksm_expect(const char *what, long got, long want);
void ksm_check(bool ok, const char *what);

/* Controls and figures. */
long ksm_get(const char *name);
void ksm_get_text(const char *name, char *text, size_t size);
void ksm_set(const char *name, long value);
int ksm_try(const char *name, const char *text);
const char *ksm_initial(const char *name);
void ksm_expect_figures(long shared, long sharing, long unshared);
void ksm_expect_nothing(void);

/* Waiting. The result is false if KSM_PATIENCE_MS were not enough. */
long ksm_now_ms(void);
bool ksm_poll(bool (*condition)(void *arg), void *arg);
bool ksm_wait_figure(const char *name, long want);
pid_t ksm_ksmd(void);
unsigned long long ksm_ksmd_ns(void);
long ksm_ksmd_ms(void);
char ksm_state(pid_t pid);
long ksm_faults(pid_t pid);
void ksm_wait_asleep(void);
void ksm_passes(unsigned int count);
void ksm_one_pass(void);
void ksm_settle(void);
void ksm_stop(void);
void ksm_unmerge_all(void);

/* Memory of known content. Seed 0 is a page of zeros. */
char *ksm_map(size_t pages);
char *ksm_map_mergeable(size_t pages);
size_t ksm_huge_pages(void);
char *ksm_map_huge(unsigned int count);
char *ksm_huge_area(unsigned int count, uint64_t seed);
void ksm_mergeable(void *area, size_t pages);
void ksm_unmergeable(void *area, size_t pages);
void ksm_fill(char *page, uint64_t seed);
void ksm_fill_same(char *area, size_t pages, uint64_t seed);
void ksm_fill_unique(char *area, size_t pages, uint64_t seed);
bool ksm_holds(const char *page, uint64_t seed);
void ksm_check_same(const char *area, size_t pages, uint64_t seed);
void ksm_check_unique(const char *area, size_t pages, uint64_t seed);
bool ksm_access_refused(char *byte, bool write_it);
char *ksm_merged_area(size_t pages, uint64_t seed);

/* What the kernel reports about a page or a process. Pid 0 is the caller. */
uint64_t ksm_pagemap(const void *addr);
void ksm_read_pagemap(const void *addr, size_t pages, uint64_t *entries);
unsigned long ksm_pfn(const void *addr);
uint64_t ksm_pageflags(const void *addr);
long ksm_mapcount(const void *addr);
bool ksm_flag_trusted(void);
bool ksm_is_merged(const void *addr);
size_t ksm_count_merged(const char *area, size_t pages);
void ksm_expect_merged(const char *area, size_t pages, size_t want);
size_t ksm_count_flag(const char *area, size_t pages, uint64_t flag);
int ksm_open_idle(void);
bool ksm_idle(int fd, const void *addr);
void ksm_set_idle(int fd, const void *addr);
bool ksm_idle_tracked(int fd, const char *area, size_t pages);
void ksm_flush_tlb(char *area, size_t pages);
size_t ksm_count_soft_dirty(const char *area, size_t pages);
void ksm_clear_soft_dirty(void);
size_t ksm_distinct_merged(const char *area, size_t pages);
bool ksm_field(const char *path, const char *name, char *value, size_t size);
bool ksm_stat_text(pid_t pid, const char *name, char *value, size_t size);
long ksm_stat(pid_t pid, const char *name);
long ksm_vmstat(const char *name);
bool ksm_smaps(const void *addr, const char *name, char *value, size_t size);
bool ksm_vmflag(const void *addr, const char *flag);

/* Children that proceed step by step with their parent. */
struct ksm_child {
	pid_t pid;
	int in;
	int out;
};

void ksm_child_start(struct ksm_child *child,
		     void (*run)(struct ksm_child *self, void *arg), void *arg);
/* Whether a child has come to its next ksm_child_pause(). */
bool ksm_child_reported(const struct ksm_child *child);
void ksm_child_wait(struct ksm_child *child);
void ksm_child_go(struct ksm_child *child);
void ksm_child_step(struct ksm_child *child);
void ksm_child_end(struct ksm_child *child);
void ksm_child_kill(struct ksm_child *child);
void ksm_child_pause(struct ksm_child *self);
void ksm_wait_ok(pid_t pid);

/* Swap, cgroups and NUMA nodes. The ksm_need functions skip the case if there are none. */
void ksm_need_swap(void);
void ksm_need_cgroup(void);
void ksm_enter_cgroup(void);
void ksm_fill_cgroup_to_high(void);
void ksm_need_reclaim(void);
void ksm_stay_on_cpu(void);
/* Has a process run on the last CPU only. */
void ksm_use_last_cpu(pid_t pid);
/*
 * Starts a child of real-time priority that never leaves the last CPU. Other tasks there
 * get a few percent of it, also while they hold a lock. Skips the case with one CPU.
 */
pid_t ksm_hog_last_cpu(void);
bool ksm_reclaim(const char *area, size_t pages);
void ksm_need_nodes(int nodes[2]);
char *ksm_map_on_node(size_t pages, int node);
int ksm_node_of(const void *addr);
long ksm_move_pages(char *area, size_t pages, int node, int flags, int *status);
int ksm_set_merge(unsigned long on);
int ksm_get_merge(void);
int ksm_write_file(const char *path, const char *text);
ssize_t ksm_read_file(const char *path, char *text, size_t size);

/* Used only within the common part. */
extern struct ksm_shared *ksm_shared;
void ksm_give_back_cgroup(void);
void ksm_give_back_swap(void);

#endif /* KSM_COMMON_H */
