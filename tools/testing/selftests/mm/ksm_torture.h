/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Common definitions of ksm_torture:
 *
 *	ksm_torture.c		starts, kills and watches processes
 *	ksm_torture_census.c	stops all processes and adds up their figures
 *	ksm_torture_work.c	workers, which use mergeable memory and check it
 *	ksm_torture_memory.c	their memory
 *	ksm_torture_kin.c	the processes that they start
 *	ksm_torture_io.c	accesses by disks, pipes and guests
 *	ksm_torture_uffd.c	userfaultfd
 *	ksm_torture_poison.c	memory errors
 *	ksm_torture_host.c	what an administrator may do
 *	ksm_torture_domains.c	moves between cgroups
 *	ksm_torture_faults.c	allocations that fail
 */
#ifndef KSM_TORTURE_H
#define KSM_TORTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TORTURE_WORKERS		6
#define TORTURE_REASON		256
#define TORTURE_BLOCKS		32

#define HUGE_PAGES		512
#define NO_WORD			0xffff
#define PROT_RW			(PROT_READ | PROT_WRITE)
/* The descriptor of the memory that all processes share, also after an exec. */
#define TORTURE_FD		200

enum torture_role {
	ROLE_KNOBS,
	ROLE_KNOBS_TOO,
	ROLE_MACHINE,
	ROLE_OFFLINE,
	ROLE_READER,
	ROLE_MANY,
	ROLE_CGROUPS,
	ROLE_MERGER,
	ROLE_MERGER_TOO,
	ROLES,
};

/* Events that are counted. */
enum torture_count {
	COUNT_MMS,
	COUNT_FORKS_REFUSED,
	COUNT_OOM_DEATHS,
	COUNT_FLIPS,
	COUNT_CENSUSES,
	COUNT_UNMERGED,
	COUNT_BLOCKS_SHARED,
	COUNT_BLOCKS,
	COUNT_PIPES_OLD,
	COUNT_PIPES_NEW,
	COUNT_FILES,
	COUNT_MISSING,
	COUNT_PROTECTED,
	COUNT_MINOR,
	COUNT_DIRTY,
	COUNT_POKES,
	COUNT_SOFT_OFFLINE,
	COUNT_ZERO_KEPT,
	COUNT_HARD_POISON,
	COUNT_LOST,
	COUNT_MOVES,
	COUNT_REMOVED,
	COUNT_APART,
	COUNT_TOGETHER,
	COUNT_COMPARED,
	COUNT_MERGED_NOW,
	COUNT_INTERRUPTED,
	TORTURE_COUNTS,
};

/**
 * struct torture - memory that all processes share
 * @begin: when it began, in ms
 * @length: how long it lasts, in ms
 * @stop: the processes are to exit
 * @pause: the workers are to begin no operation
 * @keep_domains: only a census turns domains on and off
 * @parked: workers that have seen @pause
 * @flag_trusted: the kernel says which pages are shared
 * @faults: allocations are being made to fail
 * @failed_objects: failed allocations of KSM's objects
 * @failed_pages: failed allocations of pages
 * @beats: operations that each worker has begun
 * @doing: the present operation of each worker
 * @role_beats: operations that each disturber has begun
 * @counts: how often each event occurred
 * @refusals: how often each block of memory could not be taken offline
 * @poisoned: pages that were taken offline or poisoned so far
 * @reason: the first failure, or empty
 */
struct torture {
	long begin;
	long length;
	int stop;
	int pause;
	int keep_domains;
	bool parked[TORTURE_WORKERS];
	bool flag_trusted;
	bool faults;
	long failed_objects;
	long failed_pages;
	unsigned long beats[TORTURE_WORKERS];
	const char *doing[TORTURE_WORKERS];
	unsigned long role_beats[ROLES];
	unsigned long counts[TORTURE_COUNTS];
	unsigned int refusals[TORTURE_BLOCKS];
	unsigned int poisoned;
	char reason[TORTURE_REASON];
};

extern struct torture *torture;

/* Random numbers. The same seed gives the same numbers. */
struct dice {
	uint64_t state;
};

void dice_init(struct dice *dice, uint64_t seed, uint64_t stream);
uint64_t roll(struct dice *dice, uint64_t sides);

static inline bool chance(struct dice *dice, unsigned int percent)
{
	return roll(dice, 100) < percent;
}

static inline bool torture_over(void)
{
	return __atomic_load_n(&torture->stop, __ATOMIC_RELAXED);
}

static inline bool torture_pauses(void)
{
	return __atomic_load_n(&torture->pause, __ATOMIC_RELAXED) && !torture_over();
}

static inline void torture_count(enum torture_count what)
{
	__atomic_fetch_add(&torture->counts[what], 1, __ATOMIC_RELAXED);
}

__noreturn __printf(1, 2) void torture_fail(const char *fmt, ...);

/* The slab caches of KSM. */
#define TORTURE_CACHES		7
extern const char *const torture_caches[TORTURE_CACHES];

/* The memory of a worker */

/**
 * struct content - what a page has to hold
 * @seed: as ksm_fill() was told
 * @word: another value for one word
 * @at: which word that is, or NO_WORD
 * @freed: after MADV_FREE; the page may hold zeros instead
 */
struct content {
	uint64_t seed;
	uint64_t word;
	unsigned int at;
	bool freed;
};

struct area {
	char *addr;
	size_t pages;
	struct content content[HUGE_PAGES];
};

struct range {
	char *start;
	size_t from;
	size_t pages;
};

extern struct dice dice;
extern unsigned int worker;

void check_read(const struct area *area, size_t i, const uint64_t *found);
void check_page(const struct area *area, size_t i);
void check_area(const struct area *area);
void content_of(uint64_t *page, const struct content *content);
struct area *any_place(void);
struct area *any_area(void);
uint64_t any_seed(void);
void fill_page(struct area *area, size_t i, uint64_t seed);
const struct content *choose_word(struct area *area, size_t i);
void set_word(struct area *area, size_t i);
struct range any_range(struct area *area);
bool drop(struct area *area, const struct range *range);

void op_advise(struct area *area);
void op_write(struct area *area);
void op_check(struct area *area);
void op_migrate(struct area *area);
void op_rest(struct area *area);
extern const char *doing;
void operate(unsigned int count);
void check_all(void);
void begin_life(uint64_t seed, uint64_t stream);
uint64_t any_identity(void);
int try_hard(int (*attempt)(void *arg), void *arg);
uint64_t pagemap_of(const void *addr);
unsigned long pfn_of(const void *addr);
bool has_flag(const void *addr, uint64_t flag);
void wait_for(const char *what, pid_t pid);
pid_t fork_kin(void);

void op_io_uring(struct area *area);
void op_direct(struct area *area);
void op_pipe(struct area *area);
void op_guest(struct area *area);
void op_pinned_guest(struct area *area);
void op_place(struct area *area);
void op_track(struct area *area);
void op_serve_missing(struct area *area);
void op_serve_protected(struct area *area);
void op_serve_minor(struct area *area);

void op_fork(struct area *area);
void op_vfork(struct area *area);
void op_burst(struct area *area);
void op_bomb(struct area *area);
void op_write_beside(struct area *area);
void op_clone_beside(struct area *area);
void op_share_file(struct area *area);
void op_poke(struct area *area);
pid_t any_child(void);
void reap(void);
void wait_for_children(void);
void op_soft_offline(struct area *area);
void op_hard_poison(struct area *area);
void op_change_cgroup(struct area *area);

__noreturn void torture_work(unsigned int worker, uint64_t seed);
__noreturn void torture_live_on(uint64_t seed);

__noreturn void torture_knobs(uint64_t seed, enum torture_role role);
__noreturn void torture_machine(uint64_t seed, enum torture_role role);
__noreturn void torture_offline(uint64_t seed, enum torture_role role);
__noreturn void torture_read(uint64_t seed, enum torture_role role);
__noreturn void torture_merge_now(uint64_t seed, enum torture_role role);
__noreturn void torture_start_many(uint64_t seed, enum torture_role role);
__noreturn void torture_cgroups(uint64_t seed, enum torture_role role);
void torture_set_up(void);
void torture_tear_down(void);
void torture_confine(void);
bool torture_confine_bomb(void);

void faults_begin(void);
void faults_choose(struct dice *dice);
void faults_hit_me(void);
void faults_spare_me(void);
void faults_hit_me_again(void);
void faults_end(void);

void torture_collect(void);
void torture_cgroups_set_up(void);
bool torture_cgroups_remove(char *text, size_t size);
bool torture_has_domains(void);
void torture_set_domains(bool on);
bool torture_domains_apart(char *text, size_t size);
void torture_census(bool unmerge);
void torture_end_all(void);
bool torture_figures_are_zero(char *text, size_t size);

#endif /* KSM_TORTURE_H */
