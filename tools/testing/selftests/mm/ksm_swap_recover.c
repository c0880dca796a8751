// SPDX-License-Identifier: GPL-2.0
/*
 * Processes read all their shared pages back from swap at the same time. Their memory
 * cgroup has no space for a copy of the pages for each. With copies, pages would be
 * swapped out and in again and again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ksm_swap_world.h"

#define MIB		(1024UL * 1024)
#define EACH		(64 * MIB)	/* of each process */
#define LIMIT		(96 * MIB)	/* in the cgroup */
#define RECOVERY_MS	3000
/* On a slow machine, this many times the time of a process that reads them alone. */
#define RECOVERY_READS	4

static void limit_cgroup(unsigned long bytes)
{
	char text[KSM_TEXT];

	snprintf(text, sizeof(text), "%lu", bytes);
	ksm_check(!ksm_write_file(KSM_CGROUP "memory.max", text), "memory.max is set");
}

/* How long all processes take to read all pages, in ms. */
static long read_together(struct world *world)
{
	const long start = ksm_now_ms();
	unsigned int i;

	for (i = 0; i < SHARERS; i++)
		ksm_child_go(&world->child[i]);
	ksm_check_unique(world->area, world->pages, SEED);
	for (i = 0; i < SHARERS; i++)
		ksm_child_wait(&world->child[i]);
	return ksm_now_ms() - start;
}

/* How long one process takes to read pages that no other process needs, in ms. */
static long read_alone(struct world *world)
{
	const long start = ksm_now_ms();

	ksm_check_unique(world->area, world->pages, SEED);
	return ksm_now_ms() - start;
}

static void recovers(void)
{
	long alone, limit, took;
	struct world world;

	share(&world, EACH / psize());
	page_out(&world);
	alone = read_alone(&world);
	page_out(&world);
	limit_cgroup(LIMIT);
	took = read_together(&world);
	ksft_print_msg("%d processes took %ld ms, and one process alone %ld ms\n", SHARERS + 1,
		       took, alone);
	ksft_print_msg("%ld pages were read from swap for %zu\n", swapped_in() - world.read,
		       world.pages);
	expect_shared(&world);
	expect_no_copies(&world);
	expect_read_once(&world);
	limit = alone * RECOVERY_READS > RECOVERY_MS ? alone * RECOVERY_READS : RECOVERY_MS;
	if (took > limit)
		ksm_fail("the recovery took %ld ms, and may take %ld", took, limit);
}

static const struct ksm_case cases[] = {
	{ "4 x 64 MiB are shared at once in a cgroup of 96 MiB", recovers },
};

int main(void)
{
	return ksm_run_cases(cases, ARRAY_SIZE(cases));
}
