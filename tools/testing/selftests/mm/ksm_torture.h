/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of ksm_torture share: ksm_torture.c starts, kills and watches,
 * ksm_torture_work.c lives with mergeable memory and checks it, ksm_torture_io.c
 * has what goes to that memory by other ways than the CPU's, and
 * ksm_torture_host.c does to all what the owner of a machine may do.
 */
#ifndef KSM_TORTURE_H
#define KSM_TORTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TORTURE_WORKERS		6
#define TORTURE_REASON		256

#define HUGE_PAGES		512
#define NO_WORD			0xffff
#define PROT_RW			(PROT_READ | PROT_WRITE)
/* A disk of which each process has a page of its own, by its number. */
#define TORTURE_DISK		"/dev/zram1"

/**
 * struct torture - what all processes see
 * @stop: come to an end
 * @faults: allocations are being made to fail
 * @failed_objects: how many of KSM's objects were
 * @failed_pages: how many of ksmd's pages were
 * @beats: operations that each worker has begun
 * @doing: the operation that each worker is at
 * @poisoned: pages that were taken out of use so far
 * @reason: what went wrong, empty where nothing has
 */
struct torture {
	int stop;
	bool faults;
	long failed_objects;
	long failed_pages;
	unsigned long beats[TORTURE_WORKERS];
	const char *doing[TORTURE_WORKERS];
	unsigned int poisoned;
	char reason[TORTURE_REASON];
};

extern struct torture *torture;

/* A source of choices: the same seed makes the same ones. */
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

__noreturn __printf(1, 2) void torture_fail(const char *fmt, ...);

/* The memory of a worker */

/**
 * struct content - what a page has to hold
 * @seed: as ksm_fill() was told
 * @word: but for this word
 * @at: which one, or NO_WORD
 * @freed: by MADV_FREE: it may hold zeros just as well
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
uint64_t any_seed(void);
void fill_page(struct area *area, size_t i, uint64_t seed);
const struct content *choose_word(struct area *area, size_t i);
void set_word(struct area *area, size_t i);
struct range any_range(struct area *area);
bool drop(struct area *area, const struct range *range);

void op_io_uring(struct area *area);
void op_direct(struct area *area);
void op_guest(struct area *area);
void op_pinned_guest(struct area *area);
void op_place(struct area *area);
void op_track(struct area *area);

__noreturn void torture_work(unsigned int worker, uint64_t seed);
__noreturn void torture_live_on(uint64_t seed);

__noreturn void torture_knobs(uint64_t seed);
__noreturn void torture_machine(uint64_t seed);
__noreturn void torture_read(uint64_t seed);
void torture_set_up(void);
void torture_tear_down(void);
void torture_confine(void);

#endif /* KSM_TORTURE_H */
