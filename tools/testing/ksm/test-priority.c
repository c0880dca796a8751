// SPDX-License-Identifier: GPL-2.0
/*
 * The priority of ksmd, with a clock, a memory and an administrator of the test.
 */

#include <linux/jiffies.h>
#include <linux/sched.h>
#include <linux/time64.h>

#include "harness.h"
#include "priority.h"

#define NICE		6
#define NICE_RAISED	(-19)
#define STEP		(200 * NSEC_PER_USEC)
#define RAM		1000000UL

static struct ksm_priority priority;
static u64 time, cpu_time;
static unsigned long max_cpu;

static void begin(unsigned long percent_available)
{
	shim.ram = RAM;
	shim.available = RAM / 100 * percent_available;
	time = 12345 * NSEC_PER_SEC;
	cpu_time = 678 * NSEC_PER_MSEC;
	max_cpu = 70;
	ksm_priority_init(&priority);
	current->nice = priority.nice;
	CHECK_EQ(current->nice, NICE);
	ksm_priority_update(&priority, time, cpu_time, max_cpu);
}

/* Time passes, of which ksmd has run for @used. */
static void pass(u64 elapsed, u64 used)
{
	time += elapsed;
	cpu_time += used;
	jiffies = time / NSEC_PER_MSEC;
	ksm_priority_update(&priority, time, cpu_time, max_cpu);
}

static void pass_idle(void)
{
	pass(NSEC_PER_SEC, 0);
}

/* With others that want all of the CPU, ksmd runs only at raised priority. */
static u64 share_of(unsigned long seconds, u64 *longest)
{
	const u64 steps = seconds * NSEC_PER_SEC / STEP;
	u64 i, stretch = 0, used = 0;

	*longest = 0;
	for (i = 0; i < steps; i++) {
		bool raised = current->nice == NICE_RAISED;

		stretch = raised ? stretch + STEP : 0;
		if (stretch > *longest)
			*longest = stretch;
		used += raised;
		pass(STEP, raised ? STEP : 0);
	}
	return used * 1000 / steps;
}

static void test_share(void)
{
	static const unsigned long percents[] = { 1, 10, 25, 50, 70, 90, 99 };
	unsigned int i;
	u64 longest;

	for (i = 0; i < ARRAY_SIZE(percents); i++) {
		u64 share;

		begin(10);
		max_cpu = percents[i];
		share = share_of(20, &longest);
		note("%lu percent: %llu per mille, at most %llu us", max_cpu, share,
		     longest / NSEC_PER_USEC);
		CHECK_LE(share, max_cpu * 10 + 1);
		/* What is lost is due to the steps of the clock. */
		CHECK_GE(share, max_cpu * 9 - 1);
		if (max_cpu == 70)
			CHECK_LE(longest, 7 * NSEC_PER_MSEC);
	}
}

static void test_no_share(void)
{
	u64 longest;

	begin(10);
	max_cpu = 0;
	CHECK_EQ(share_of(5, &longest), 0);
	begin(10);
	max_cpu = 100;
	CHECK_GE(share_of(5, &longest), 990);
	/* More than all of a CPU is all of it. */
	begin(10);
	pass(NSEC_PER_SEC, NSEC_PER_SEC);
	max_cpu = 100000;
	pass(21 * NSEC_PER_MSEC, 0);
	CHECK_EQ(current->nice, NICE);
	pass(NSEC_PER_MSEC, 0);
	CHECK_EQ(current->nice, NICE_RAISED);
}

/* CPU time counts that ksmd takes at low priority, but not for ever. */
static void test_overdraft(void)
{
	begin(10);
	pass(NSEC_PER_SEC / 2, NSEC_PER_SEC / 2);
	CHECK_EQ(current->nice, NICE);
	pass(31 * NSEC_PER_MSEC, 0);
	CHECK_EQ(current->nice, NICE);
	pass(NSEC_PER_MSEC, 0);
	CHECK_EQ(current->nice, NICE_RAISED);
}

/* A long pause gives no more than a short one. */
static void test_pause(void)
{
	begin(10);
	pass(3600 * NSEC_PER_SEC, 0);
	CHECK_EQ(current->nice, NICE_RAISED);
	pass(6 * NSEC_PER_MSEC, 6 * NSEC_PER_MSEC);
	CHECK_EQ(current->nice, NICE_RAISED);
	pass(NSEC_PER_MSEC, NSEC_PER_MSEC);
	CHECK_EQ(current->nice, NICE);
}

static void expect_nice(unsigned long available, int nice)
{
	shim.available = available;
	pass_idle();
	CHECK_EQ(current->nice, nice);
}

static void test_memory(void)
{
	begin(100);
	expect_nice(RAM / 4, NICE);
	expect_nice(RAM / 4 - 1, NICE_RAISED);
	expect_nice(RAM / 4 + 1, NICE_RAISED);
	expect_nice(RAM / 32 * 9 - 1, NICE_RAISED);
	expect_nice(RAM / 32 * 9, NICE);
	expect_nice(RAM / 4, NICE);
	expect_nice(0, NICE_RAISED);
	expect_nice(RAM, NICE);
}

/* Of memory that is set aside for huge pages, nothing can be saved. */
static void test_hugetlb(void)
{
	begin(100);
	shim.hugetlb = RAM / 2;
	expect_nice(RAM / 8, NICE);
	expect_nice(RAM / 8 - 1, NICE_RAISED);
}

/* To ask how much memory is available takes long: once in a tick is enough. */
static void test_tick(void)
{
	begin(100);
	pass_idle();
	shim.available = 0;
	ksm_priority_update(&priority, time, cpu_time, max_cpu);
	CHECK_EQ(current->nice, NICE);
	jiffies++;
	ksm_priority_update(&priority, time, cpu_time, max_cpu);
	CHECK_EQ(current->nice, NICE_RAISED);
}

static void test_renice_from(unsigned long available, int given)
{
	begin(100);
	shim.available = available;
	pass_idle();
	current->nice = given;
	for (shim.available = 0; shim.available < RAM; shim.available += RAM / 10) {
		pass_idle();
		CHECK_EQ(current->nice, given);
		pass(NSEC_PER_SEC, NSEC_PER_SEC);
		CHECK_EQ(current->nice, given);
	}
	/* The administrator hands control back. */
	current->nice = NICE;
	expect_nice(0, NICE_RAISED);
	expect_nice(RAM, NICE);
}

static void test_renice(void)
{
	int given;

	for (given = -20; given < 20; given++) {
		if (given == NICE || given == NICE_RAISED)
			continue;
		test_renice_from(0, given);
		test_renice_from(RAM, given);
	}
}

/* A ksmd that sleeps after each batch does so at raised priority. */
static void test_paced(void)
{
	u64 used = 0, stretch = 0;
	unsigned int i;

	begin(10);
	priority.paced = true;
	pass_idle();
	for (i = 0; i < 100000; i++) {
		CHECK_EQ(current->nice, NICE_RAISED);
		if (priority.spent) {
			pass(4 * NSEC_PER_MSEC, 0);
			CHECK(!priority.spent);
			stretch = 0;
			continue;
		}
		pass(STEP, STEP);
		used += STEP;
		stretch += STEP;
		CHECK_LE(stretch, 7 * NSEC_PER_MSEC);
	}
	CHECK_LE(used * 100, (time - 12345 * NSEC_PER_SEC) * max_cpu);
	CHECK_GE(used * 100, (time - 12345 * NSEC_PER_SEC) * 50);
}

/* Nor does it have to sleep where its priority is not raised. */
static void test_paced_low(void)
{
	begin(90);
	priority.paced = true;
	pass_idle();
	pass(NSEC_PER_SEC, NSEC_PER_SEC);
	CHECK_EQ(current->nice, NICE);
	CHECK(!priority.spent);
	begin(10);
	priority.paced = true;
	pass_idle();
	current->nice = 0;
	pass(NSEC_PER_SEC, NSEC_PER_SEC);
	CHECK_EQ(current->nice, 0);
	CHECK(!priority.spent);
}

const struct test priority_tests[] = {
	{ "the share of a CPU at raised priority", test_share },
	{ "no share, and all of a CPU", test_no_share },
	{ "CPU time at low priority counts", test_overdraft },
	{ "a long pause", test_pause },
	{ "how much memory is short", test_memory },
	{ "memory for huge pages", test_hugetlb },
	{ "memory is checked once in a tick", test_tick },
	{ "with pauses: raised while it sleeps", test_paced },
	{ "with pauses: not raised", test_paced_low },
	{ "a nice value that an administrator has set", test_renice },
	{ }
};
