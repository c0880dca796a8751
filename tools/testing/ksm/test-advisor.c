// SPDX-License-Identifier: GPL-2.0
/*
 * The advisor against its formula, computed with more bits than it has.
 */

#include <limits.h>

#include <linux/time64.h>

#include "harness.h"

/* A pass that began when nothing had been scanned, in whole seconds. */
static bool pass(struct ksm_advisor *advisor, u64 seconds, u64 busy_percent,
		 struct ksm_advice *advice)
{
	u64 start = 1 + rnd_below(1U << 30), cpu = rnd_below(1U << 30);
	u64 length = seconds * NSEC_PER_SEC;

	ksm_advisor_start(advisor, start, cpu);
	return ksm_advisor_stop(advisor, start + length,
				cpu + length / 100 * busy_percent, advice);
}

static void test_defaults(void)
{
	struct ksm_advisor advisor;

	ksm_advisor_init(&advisor);
	CHECK_EQ(advisor.mode, KSM_ADVISOR_NONE);
	CHECK_EQ(advisor.pages_to_scan, 100);
	CHECK_EQ(advisor.max_cpu, 70);
	CHECK_EQ(advisor.min_pages_to_scan, 500);
	CHECK_EQ(advisor.max_pages_to_scan, 30000);
	CHECK_EQ(advisor.target_scan_time, 200);
	CHECK_EQ(advisor.start_available, 20);
	CHECK_EQ(advisor.full_available, 5);
}

static void test_off(void)
{
	struct ksm_advisor advisor, before;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	before = advisor;
	CHECK(!pass(&advisor, 20, 50, &advice));
	CHECK_EQ(advisor.pages_to_scan, before.pages_to_scan);
	CHECK_EQ(advisor.start, 0);
}

static void test_modes(void)
{
	struct ksm_advisor advisor;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	advisor.pages_to_scan = 1234;
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
	CHECK_EQ(advisor.pages_to_scan, 1234);

	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	CHECK_EQ(advisor.pages_to_scan, 500);
	/* The pass that is under way began unseen. */
	CHECK(!ksm_advisor_stop(&advisor, 99 * NSEC_PER_SEC, NSEC_PER_SEC, &advice));
	CHECK(pass(&advisor, 20, 50, &advice));
	CHECK_NE(advisor.pages_to_scan, 500);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	CHECK_EQ(advisor.pages_to_scan, advice.pages_to_scan);

	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
	CHECK_EQ(advisor.pages_to_scan, 100);
	CHECK(!pass(&advisor, 20, 50, &advice));
	advisor.min_pages_to_scan = 700;
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	CHECK_EQ(advisor.pages_to_scan, 700);
	CHECK_EQ(advisor.scan_time, 0);

	/* Batches that can't be: none at all, more than a batch may have. */
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
	advisor.min_pages_to_scan = 0;
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	CHECK_EQ(advisor.pages_to_scan, 1);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
	advisor.min_pages_to_scan = UINT_MAX + 1UL;
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	CHECK_EQ(advisor.pages_to_scan, UINT_MAX);
}

static u128 least(u128 a, u128 b)
{
	return a < b ? a : b;
}

static u128 most(u128 a, u128 b)
{
	return a > b ? a : b;
}

/* What the next pass should have, from what the one before it took. */
static u128 model(const struct ksm_advisor *old, u64 seconds, u64 busy)
{
	u128 before = old->scan_time ?: seconds;
	u128 trend = (old->change * (u128)70 +
		      most(seconds * (u128)100 / before, 1) * 30) / 100;
	u128 speed = most(old->target_scan_time * (u128)100 / seconds, 1);
	u128 per_percent = most(old->pages_to_scan / busy, 1);
	u128 pages = old->pages_to_scan * (u128)100 / speed * trend / 100;

	pages = least(pages, per_percent * old->max_cpu);
	pages = most(pages, per_percent * 10);
	return least(pages, old->max_pages_to_scan);
}

static void test_formula(void)
{
	struct ksm_advisor advisor;
	unsigned long i;

	ksm_advisor_init(&advisor);
	for (i = 0; i < rounds(20000); i++) {
		u64 seconds = 1 + rnd_below(one_in(10) ? 100000 : 400);
		u64 busy = 1 + rnd_below(100);
		struct ksm_advisor old;
		struct ksm_advice advice;

		if (one_in(20)) {
			ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
			advisor.min_pages_to_scan = 1 + rnd_below(10000);
			advisor.max_pages_to_scan = 10000 + rnd_below(100000);
			advisor.target_scan_time = 1 + rnd_below(2000);
			advisor.max_cpu = rnd_below(101);
		}
		ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
		old = advisor;
		CHECK(pass(&advisor, seconds, busy, &advice));
		CHECK_EQ(advice.scan_time, seconds);
		CHECK_EQ(advice.cpu_percent, busy);
		CHECK_EQ(advice.pages_to_scan, model(&old, seconds, busy));
		CHECK_EQ(advisor.pages_to_scan, advice.pages_to_scan);
		CHECK_EQ(advisor.scan_time, seconds);
	}
}

static void test_short_pass(void)
{
	struct ksm_advisor advisor;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	ksm_advisor_start(&advisor, 1, 0);
	CHECK(ksm_advisor_stop(&advisor, 1, 0, &advice));
	CHECK_EQ(advice.scan_time, 1);
	CHECK_EQ(advice.cpu_percent, 1);
	CHECK_GE(advice.pages_to_scan, 1);
}

/*
 * A host whose passes take as long as there are pages: the advisor has to come
 * near to the target and stay, or to the bound that forbids it.
 */
static u64 settle(struct ksm_advisor *advisor, u64 pages, u64 pages_per_cpu_second)
{
	u64 seconds = 0;
	unsigned int i;

	ksm_advisor_set_mode(advisor, KSM_ADVISOR_SCAN_TIME);
	for (i = 0; i < 200; i++) {
		u64 batches = pages / advisor->pages_to_scan + 1;
		u64 cpu = pages * NSEC_PER_SEC / pages_per_cpu_second;
		u64 length = batches * 20 * 1000000 + cpu;
		struct ksm_advice advice;

		ksm_advisor_start(advisor, 1, 0);
		CHECK(ksm_advisor_stop(advisor, 1 + length, cpu, &advice));
		seconds = advice.scan_time;
	}
	return seconds;
}

static void test_settles(void)
{
	struct ksm_advisor advisor;
	u64 seconds;

	ksm_advisor_init(&advisor);
	seconds = settle(&advisor, 40000000, 1000000);
	CHECK_GE(seconds, 190);
	CHECK_LE(seconds, 210);

	/* So few pages that it stays at the least CPU share, and is done early. */
	ksm_advisor_init(&advisor);
	seconds = settle(&advisor, 4000000, 1000000);
	CHECK_GE(seconds, 36);
	CHECK_LE(seconds, 44);

	/* More pages than the largest batch can do in time. */
	ksm_advisor_init(&advisor);
	advisor.max_pages_to_scan = 1000;
	settle(&advisor, 40000000, 1000000);
	CHECK_EQ(advisor.pages_to_scan, 1000);
}

static unsigned long any_ulong(void)
{
	switch (rnd_below(6)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return ULONG_MAX - rnd_below(3);
	case 3:
		return UINT_MAX - 1UL + rnd_below(4);
	case 4:
		return rnd() >> rnd_below(64);
	default:
		return rnd_below(1000);
	}
}

/* Nothing that sysfs lets in, and no clock, makes it divide by zero or overflow. */
static void test_extremes(void)
{
	struct ksm_advisor advisor;
	unsigned long i;

	ksm_advisor_init(&advisor);
	for (i = 0; i < rounds(100000); i++) {
		struct ksm_advice advice;

		if (one_in(4))
			ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
		if (one_in(4))
			advisor.pages_to_scan = any_ulong();
		if (one_in(4))
			advisor.max_cpu = any_ulong();
		if (one_in(4))
			advisor.min_pages_to_scan = any_ulong();
		if (one_in(4))
			advisor.max_pages_to_scan = any_ulong();
		if (one_in(4))
			advisor.target_scan_time = any_ulong() ?: 1;
		if (one_in(2))
			ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
		ksm_advisor_start(&advisor, any_ulong(), any_ulong());
		if (!ksm_advisor_stop(&advisor, any_ulong(), any_ulong(), &advice))
			continue;
		CHECK_LE(advice.pages_to_scan, advisor.max_pages_to_scan ?: 1);
		CHECK_LE(advice.pages_to_scan, UINT_MAX);
		CHECK_EQ(advisor.pages_to_scan, advice.pages_to_scan);
		CHECK_GE(advice.scan_time, 1);
		CHECK_GE(advice.cpu_percent, 1);
		CHECK_LE(advice.cpu_percent, 100);
		/* A batch of no pages would never get to the end of a pass. */
		CHECK_GE(advice.pages_to_scan, 1);
	}
}

static void test_back_off(void)
{
	unsigned int i;

	for (i = 0; i < 100000; i++) {
		u64 busy = rnd_below(2 * NSEC_PER_SEC), millisecs = busy / 100000;
		unsigned long records = rnd_below(1U << 30), changed = rnd_below(records + 1);

		CHECK_EQ(ksm_back_off_millisecs(busy, changed, records),
			 changed > records / 64 ? 0 : millisecs < 10000 ? millisecs : 10000);
	}
}

/* One percent of memory is 1000 pages. */
static unsigned int share_at(struct ksm_advisor *advisor, unsigned long available)
{
	const struct ksm_memory memory = { .available = available, .total = 100000 };
	struct ksm_advice advice;

	ksm_advisor_decide(advisor, &memory, &advice);
	CHECK_EQ(advice.scan_time, 0);
	CHECK_EQ(advice.cpu_percent, advisor->share / 10);
	CHECK_EQ(advice.pages_to_scan, advisor->pages_to_scan);
	return advisor->share;
}

static void test_pressure(void)
{
	struct ksm_advisor advisor;
	unsigned int before = 0;
	unsigned long available;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_PRESSURE);
	CHECK_EQ(share_at(&advisor, 100000), 5);
	CHECK(advisor.plentiful);
	CHECK_EQ(advisor.pages_to_scan, 500);
	CHECK_EQ(share_at(&advisor, 20001), 5);
	CHECK(advisor.plentiful);
	CHECK_EQ(share_at(&advisor, 20000), 5);
	CHECK(!advisor.plentiful);
	/* Half way from 20 to 5 percent: three quarters of the way from 5 to 700. */
	CHECK_EQ(share_at(&advisor, 12500), 526);
	CHECK_EQ(share_at(&advisor, 5000), 700);
	CHECK_EQ(advisor.pages_to_scan, 30000);
	CHECK_EQ(share_at(&advisor, 0), 700);
	for (available = 30000; available--; before = advisor.share)
		CHECK_GE(share_at(&advisor, available), before);
	advisor.full_available = advisor.start_available;
	CHECK_EQ(share_at(&advisor, 20000), 700);
	CHECK_EQ(share_at(&advisor, 20001), 5);
}

static void test_pressure_differs(void)
{
	struct ksm_memory memory = { .available = 50000, .total = 100000 };
	struct ksm_advisor advisor;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_PRESSURE);
	CHECK(ksm_advisor_decide(&advisor, &memory, &advice));
	CHECK(!ksm_advisor_decide(&advisor, &memory, &advice));
	memory.cgroup_short = true;
	CHECK(ksm_advisor_decide(&advisor, &memory, &advice));
	CHECK_EQ(advisor.share, 700);
	/* The host is not short: only the memory of the cgroup is scanned again. */
	CHECK(advisor.plentiful);
	CHECK(!ksm_advisor_decide(&advisor, &memory, &advice));
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
	CHECK_EQ(advisor.pages_to_scan, 100);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_PRESSURE);
	CHECK(ksm_advisor_decide(&advisor, &memory, &advice));
}

/* Time that ksmd waits for a CPU counts as a pause, but not all of a long time. */
static void test_pause_begins(void)
{
	const u64 due = 5000 * NSEC_PER_MSEC, busy = 7 * NSEC_PER_MSEC, end = due + busy;

	CHECK_EQ(ksm_advisor_pause_begins(due, busy, end), end);
	CHECK_EQ(ksm_advisor_pause_begins(due, busy, end + 1), end);
	CHECK_EQ(ksm_advisor_pause_begins(due, busy, end + 200 * NSEC_PER_MSEC), end);
	CHECK_EQ(ksm_advisor_pause_begins(due, busy, end + 201 * NSEC_PER_MSEC),
		 end + NSEC_PER_MSEC);
	CHECK_EQ(ksm_advisor_pause_begins(due, busy, end - 1), end - 1);
	CHECK_EQ(ksm_advisor_pause_begins(0, busy, NSEC_PER_MSEC), NSEC_PER_MSEC);
}

/* The pause makes the CPU time the share of all time. */
static void test_pressure_pause(void)
{
	struct ksm_advisor advisor;
	unsigned int i;

	ksm_advisor_init(&advisor);
	for (i = 0; i < 10000; i++) {
		u64 busy = rnd_below(100 * NSEC_PER_MSEC), all;

		advisor.share = 1 + rnd_below(1000);
		all = busy + ksm_advisor_pause(&advisor, busy);
		CHECK_LE(all * advisor.share / 1000, busy);
		CHECK_GE((all + 1) * advisor.share / 1000 + 1, busy);
	}
	advisor.share = 1000;
	CHECK_EQ(ksm_advisor_pause(&advisor, NSEC_PER_SEC), 0);
}

static void test_pressure_extremes(void)
{
	struct ksm_advisor advisor;
	unsigned long i;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_PRESSURE);
	for (i = 0; i < rounds(100000); i++) {
		struct ksm_memory memory = {
			.available = rnd() >> 12,
			.total = (rnd() >> 12) * !one_in(10),
			.cgroup_short = one_in(4),
		};
		struct ksm_advice advice;

		advisor.max_cpu = any_ulong();
		advisor.min_pages_to_scan = any_ulong();
		advisor.max_pages_to_scan = any_ulong();
		advisor.start_available = 1 + rnd_below(100);
		advisor.full_available = 1 + rnd_below(100);
		ksm_advisor_decide(&advisor, &memory, &advice);
		CHECK_GE(advisor.share, 1);
		CHECK_LE(advisor.share, 1000);
		CHECK_GE(advisor.pages_to_scan, 1);
		CHECK_LE(advisor.pages_to_scan, advisor.max_pages_to_scan ?: 1);
	}
}

const struct test advisor_tests[] = {
	{ "defaults are those of the admin guide", test_defaults },
	{ "no advice while it is off", test_off },
	{ "a change of mode starts afresh", test_modes },
	{ "advice follows the formula", test_formula },
	{ "a pass shorter than the clock can tell", test_short_pass },
	{ "settles near the target time or at a bound", test_settles },
	{ "extreme values", test_extremes },
	{ "ksmd backs off for ten times the CPU time if little has changed", test_back_off },
	{ "pressure: the share grows as memory gets short", test_pressure },
	{ "pressure: a decision is reported when it differs", test_pressure_differs },
	{ "pressure: waiting for a CPU is a pause", test_pause_begins },
	{ "pressure: pauses keep to the share", test_pressure_pause },
	{ "pressure: extreme values", test_pressure_extremes },
	{ }
};
