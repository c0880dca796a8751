/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Kernel Samepage Merging: tests of the advisor.
 */

#ifdef CONFIG_KSM_KUNIT_TEST

#ifndef _KSM_ADVISOR_KUNIT_H
#define _KSM_ADVISOR_KUNIT_H

#include <kunit/test.h>

static struct ksm_advice ksm_test_pass(struct kunit *test, struct ksm_advisor *advisor,
				       u64 seconds, u64 busy_percent)
{
	struct ksm_advice advice = {};

	ksm_advisor_start(advisor, 1, 0);
	KUNIT_EXPECT_TRUE(test, ksm_advisor_stop(advisor, 1 + seconds * NSEC_PER_SEC,
						 seconds * busy_percent * (NSEC_PER_SEC / 100),
						 &advice));
	KUNIT_EXPECT_EQ(test, advisor->pages_to_scan, (unsigned int)advice.pages_to_scan);
	return advice;
}

static void ksm_test_advisor_modes(struct kunit *test)
{
	struct ksm_advisor advisor;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	KUNIT_EXPECT_EQ(test, advisor.mode, KSM_ADVISOR_NONE);
	KUNIT_EXPECT_EQ(test, advisor.pages_to_scan, 100);
	ksm_advisor_start(&advisor, 1, 0);
	KUNIT_EXPECT_FALSE(test, ksm_advisor_stop(&advisor, NSEC_PER_SEC, 0, &advice));
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	KUNIT_EXPECT_EQ(test, advisor.pages_to_scan, 500);
	/* The pass under way began before. */
	KUNIT_EXPECT_FALSE(test, ksm_advisor_stop(&advisor, NSEC_PER_SEC, 0, &advice));
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_NONE);
	KUNIT_EXPECT_EQ(test, advisor.pages_to_scan, 100);
}

/* 500 pages a batch, 400 s at half a CPU: twice as fast, as the trend allows. */
static void ksm_test_advisor_formula(struct kunit *test)
{
	struct ksm_advisor advisor;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	advice = ksm_test_pass(test, &advisor, 400, 50);
	KUNIT_EXPECT_EQ(test, advice.scan_time, 400UL);
	KUNIT_EXPECT_EQ(test, advice.cpu_percent, 50);
	/* 500 * 100 / 50 is 1000, of which a trend of 30 % is taken. */
	KUNIT_EXPECT_EQ(test, advice.pages_to_scan, 300UL);
	advice = ksm_test_pass(test, &advisor, 400, 50);
	/* 300 * 100 / 50 is 600, and the trend is at 30 * 0.7 + 100 * 0.3. */
	KUNIT_EXPECT_EQ(test, advice.pages_to_scan, 306UL);
}

static void ksm_test_advisor_bounds(struct kunit *test)
{
	struct ksm_advisor advisor;
	unsigned int i;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
	for (i = 0; i < 50; i++)
		KUNIT_EXPECT_LE(test, ksm_test_pass(test, &advisor, 100000, 20).pages_to_scan,
				advisor.max_pages_to_scan);
	KUNIT_EXPECT_EQ(test, (unsigned long)advisor.pages_to_scan,
			advisor.max_pages_to_scan);
	/* At 100 % of a CPU, no more than 70 % of that. */
	KUNIT_EXPECT_EQ(test, ksm_test_pass(test, &advisor, 100000, 100).pages_to_scan,
			30000UL / 100 * 70);
}

static void ksm_test_advisor_extremes(struct kunit *test)
{
	static const unsigned long value[] = { 0, 1, UINT_MAX, ULONG_MAX };
	struct ksm_advisor advisor;
	unsigned int i;

	for (i = 0; i < 64; i++) {
		ksm_advisor_init(&advisor);
		advisor.max_cpu = value[i % 4];
		advisor.min_pages_to_scan = value[i / 4 % 4];
		advisor.max_pages_to_scan = value[i / 16];
		advisor.target_scan_time = value[i % 3 + 1];
		ksm_advisor_set_mode(&advisor, KSM_ADVISOR_SCAN_TIME);
		KUNIT_EXPECT_GT(test, advisor.pages_to_scan, 0);
		KUNIT_EXPECT_GT(test, ksm_test_pass(test, &advisor, 0, 0).pages_to_scan, 0UL);
		KUNIT_EXPECT_GT(test, ksm_test_pass(test, &advisor, 1, 100).pages_to_scan, 0UL);
	}
}

static void ksm_test_advisor_rest(struct kunit *test)
{
	const u64 busy = 30 * NSEC_PER_MSEC;

	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(busy, 0, 0), 300U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(busy, 10, 640), 300U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(busy, 11, 640), 0U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(0, 0, 640), 0U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(NSEC_PER_MSEC / 2, 0, 640), 5U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(NSEC_PER_SEC, 0, 640), 10000U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(U64_MAX, 0, ULONG_MAX), 10000U);
	KUNIT_EXPECT_EQ(test, ksm_back_off_millisecs(busy, ULONG_MAX, ULONG_MAX), 0U);
}

static void ksm_test_advisor_pressure(struct kunit *test)
{
	struct ksm_memory memory = { .available = 20001, .total = 100000 };
	struct ksm_advisor advisor;
	struct ksm_advice advice;

	ksm_advisor_init(&advisor);
	ksm_advisor_set_mode(&advisor, KSM_ADVISOR_PRESSURE);
	KUNIT_EXPECT_TRUE(test, ksm_advisor_decide(&advisor, &memory, &advice));
	KUNIT_EXPECT_EQ(test, advisor.share, 5);
	KUNIT_EXPECT_TRUE(test, advisor.plentiful);
	KUNIT_EXPECT_EQ(test, advice.pages_to_scan, 500UL);
	KUNIT_EXPECT_FALSE(test, ksm_advisor_decide(&advisor, &memory, &advice));
	memory.available = 12500;
	KUNIT_EXPECT_TRUE(test, ksm_advisor_decide(&advisor, &memory, &advice));
	KUNIT_EXPECT_EQ(test, advisor.share, 526);
	KUNIT_EXPECT_FALSE(test, advisor.plentiful);
	memory.available = 5000;
	KUNIT_EXPECT_TRUE(test, ksm_advisor_decide(&advisor, &memory, &advice));
	KUNIT_EXPECT_EQ(test, advice.cpu_percent, 70);
	KUNIT_EXPECT_EQ(test, advice.pages_to_scan, 30000UL);
	KUNIT_EXPECT_EQ(test, ksm_advisor_pause(&advisor, 7 * NSEC_PER_MSEC),
			3 * NSEC_PER_MSEC);
}

static struct kunit_case ksm_advisor_cases[] = {
	KUNIT_CASE(ksm_test_advisor_modes),
	KUNIT_CASE(ksm_test_advisor_formula),
	KUNIT_CASE(ksm_test_advisor_bounds),
	KUNIT_CASE(ksm_test_advisor_extremes),
	KUNIT_CASE(ksm_test_advisor_rest),
	KUNIT_CASE(ksm_test_advisor_pressure),
	{ }
};

static struct kunit_suite ksm_advisor_suite = {
	.name = "ksm_advisor",
	.test_cases = ksm_advisor_cases,
};

kunit_test_suite(ksm_advisor_suite);

#endif /* _KSM_ADVISOR_KUNIT_H */

#endif /* CONFIG_KSM_KUNIT_TEST */
