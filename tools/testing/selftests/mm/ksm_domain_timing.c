// SPDX-License-Identifier: GPL-2.0
/*
 * With merge_across_cgroups 0, a process cannot learn from the time that a write takes
 * whether a process of another cgroup has a page of equal content.
 *
 * A process writes to pages that another process has as well, and to pages that only it
 * has, in random order. The times of both kinds are compared by their ranks: which part
 * of all pairs has the longer time at the page that both have. A slow or busy machine
 * delays writes of both kinds alike. As a control, the same is done within a cgroup,
 * where a write to a page that both have makes a copy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ksm_cgroup.h"
#include "ksm_common.h"

/* Pages of each kind. */
#define PAGES		2000
#define KNOWN		0xd1000000
#define UNIQUE		0xd2000000
/*
 * Parts of all pairs in permille, 500 if the times do not depend on the kind. Four
 * standard deviations of the part for this number of pages are 37.
 */
#define MOST_APART	37
#define LEAST_CONTROL	900

/**
 * struct sample - a write to a page
 * @page: the page
 * @known: another process has a page of equal content
 * @time: how long the write took
 */
struct sample {
	char *page;
	bool known;
	uint64_t time;
};

static struct sample samples[2 * PAGES];

/* Has the pages that are guessed. */
static void run_victim(struct ksm_child *self, void *cgroup)
{
	char *area;

	cgroup_move(getpid(), cgroup);
	area = ksm_map_mergeable(PAGES);
	ksm_fill_unique(area, PAGES, KNOWN);
	for (;;) {
		ksm_child_pause(self);
		ksm_check_unique(area, PAGES, KNOWN);
	}
}

/* Half of the pages, which are chosen at random, are those of the victim. */
static void make_guesses(void)
{
	char *area = ksm_map_mergeable(2 * PAGES);
	size_t i, at, known = 0, unique = 0;
	struct sample other;

	srandom(1);
	for (i = 0; i < 2 * PAGES; i++)
		samples[i] = (struct sample){ .page = area + i * psize(), .known = i % 2 };
	for (i = 2 * PAGES - 1; i; i--) {
		at = random() % (i + 1);
		other = samples[at];
		samples[at].known = samples[i].known;
		samples[i].known = other.known;
	}
	for (i = 0; i < 2 * PAGES; i++)
		ksm_fill(samples[i].page, samples[i].known ? KNOWN + known++ : UNIQUE + unique++);
}

static uint64_t now(void)
{
	struct timespec time;

#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#endif
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static void write_to_all(void)
{
	uint64_t begin;
	size_t i;

	/* The code and the stack are there before the first write. */
	for (i = 0; i < 100; i++)
		begin = now();
	for (i = 0; i < 2 * PAGES; i++) {
		begin = now();
		__atomic_fetch_add(samples[i].page, 1, __ATOMIC_RELAXED);
		samples[i].time = now() - begin;
	}
}

static int compare_times(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return (x->time > y->time) - (x->time < y->time);
}

/*
 * Of all pairs of a known and a unique page, the part in permille where the known one
 * took longer. Pairs of equal times count as a half.
 */
static long part_longer(void)
{
	unsigned long long halves = 0, below = 0;
	size_t i, j, end;

	qsort(samples, 2 * PAGES, sizeof(*samples), compare_times);
	for (i = 0; i < 2 * PAGES; i = end) {
		unsigned long known = 0, unique = 0;

		for (end = i; end < 2 * PAGES && samples[end].time == samples[i].time; end++)
			;
		for (j = i; j < end; j++)
			known += samples[j].known;
		unique = end - i - known;
		halves += known * (2 * below + unique);
		below += unique;
	}
	return halves * 1000 / 2 / PAGES / PAGES;
}

/* Returns part_longer() for a victim in a cgroup; this process is in "a". */
static long guess(const char *cgroup, long shared, long unshared)
{
	struct ksm_child victim;

	cgroup_begin_domains();
	cgroup_make("a");
	cgroup_make("b");
	cgroup_move(getpid(), "a");
	ksm_child_start(&victim, run_victim, (void *)cgroup);
	ksm_child_wait(&victim);
	make_guesses();
	ksm_settle();
	ksm_expect_figures(shared, shared, unshared);
	ksm_stop();
	write_to_all();
	ksm_child_step(&victim);
	return part_longer();
}

static void other_domain(void)
{
	const long part = guess("b", 0, 3 * PAGES);

	ksft_print_msg("the known page takes longer in %ld of 1000 pairs\n", part);
	ksm_check(labs(part - 500) <= MOST_APART, "both kinds take equally long");
}

static void same_domain(void)
{
	const long part = guess("a", PAGES, PAGES);

	ksft_print_msg("the known page takes longer in %ld of 1000 pairs\n", part);
	ksm_check(part >= LEAST_CONTROL, "a copy takes longer");
}

static const struct ksm_case cases[] = {
	{ "a write does not tell what another domain has", other_domain },
	{ "control: a write tells what is in the same domain", same_domain },
};

int main(void)
{
	atexit(cgroup_restore);
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
